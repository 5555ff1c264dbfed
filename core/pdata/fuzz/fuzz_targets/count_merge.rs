//! A merged payload holds what its parts held, and counts it right.
#![no_main]

use libfuzzer_sys::fuzz_target;
use spanbridge_pdata::{Payload, count_items};
use spanbridge_pdata_fuzz::{Input, accept, check_invariant, model, nodes};

fuzz_target!(|data: &[u8]| {
    let Some(input) = Input::new(data) else { return };
    let signal = input.signal;
    let mut merged = Payload::empty(signal);
    let mut expected = Vec::new();
    for request in input.requests() {
        let Some(part) = accept(signal, request) else { return };
        expected.extend(nodes(&part));
        merged.append(part).expect("one signal");
    }
    check_invariant(&merged);
    assert_eq!(merged.items(), model::count(&expected));
    let contiguous = merged.segments().concat();
    assert_eq!(merged.len(), contiguous.len());
    assert_eq!(count_items(signal, &contiguous), merged.items());
    assert_eq!(model::canonical(&merged), model::encode(&model::request(signal, expected)));
    let again = accept(signal, contiguous).expect("merged requests are a request");
    assert_eq!(model::canonical(&again), model::canonical(&merged));
});
