//! The door accepts what prost decodes, but for the deliberate differences: groups and ids of a wrong length.
#![no_main]

use libfuzzer_sys::fuzz_target;
use spanbridge_pdata::{Fault, InvalidUtf8, Payload, count_items};
use spanbridge_pdata_fuzz::{Input, check_invariant, model};

fuzz_target!(|data: &[u8]| {
    let Some(input) = Input::new(data) else { return };
    let (signal, request) = (input.signal, input.request());
    let decoded = model::decode(signal, &request);
    match Payload::from_wire(signal, request.clone().into(), InvalidUtf8::Refuse) {
        Ok(received) => {
            let items = model::count(&model::nodes(decoded.expect("prost decodes what is accepted")));
            assert_eq!(received.payload.items(), items);
            assert_eq!(count_items(signal, &request), items);
        }
        Err(error) => {
            let deliberate =
                matches!(error.fault(), Fault::Group | Fault::TraceIdLength(_) | Fault::SpanIdLength(_));
            assert!(deliberate || decoded.is_none(), "{error}");
            assert!(error.offset() <= request.len());
            assert!(!error.to_string().is_empty());
        }
    }
    if let Ok(received) = Payload::from_wire(signal, request.into(), InvalidUtf8::Repair) {
        check_invariant(&received.payload);
    }
});
