//! Strings that are not UTF-8 are repaired, and nothing else is touched.
#![no_main]

use libfuzzer_sys::fuzz_target;
use spanbridge_pdata::{InvalidUtf8, Payload};
use spanbridge_pdata_fuzz::descriptors::request_type;
use spanbridge_pdata_fuzz::{Input, check_invariant, repair_model};

fuzz_target!(|data: &[u8]| {
    let Some(input) = Input::new(data) else { return };
    let request = input.request();
    let Ok(received) = Payload::from_wire(input.signal, request.clone().into(), InvalidUtf8::Repair) else { return };
    let (expected, count) = repair_model::repair(request_type(input.signal), &request);
    assert_eq!(received.repaired_strings, count);
    assert_eq!(received.payload.segments().concat(), expected);
    check_invariant(&received.payload);
});
