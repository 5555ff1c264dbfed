//! Merging concatenates.

use proptest::prelude::*;
use spanbridge_pdata::{Payload, Signal, count_items};

use crate::{check_invariant, model, payload, signals, tapes};

proptest! {
    #[test]
    fn a_merged_payload_holds_what_its_parts_held(signal in signals(), tapes in prop::collection::vec(tapes(), 0..4)) {
        let mut merged = Payload::empty(signal);
        let mut expected = Vec::new();
        for tape in &tapes {
            let part = payload(signal, tape);
            expected.extend(model::nodes(part.decode().unwrap()));
            merged.append(part).unwrap();
        }
        check_invariant(&merged)?;
        prop_assert_eq!(merged.items(), model::count(&expected));
        let contiguous = merged.segments().concat();
        prop_assert_eq!(merged.len(), contiguous.len());
        prop_assert_eq!(count_items(signal, &contiguous), merged.items());
        prop_assert_eq!(merged.metrics(), model::count_metrics(&expected));
        let expected = model::encode(&model::request(signal, expected));
        prop_assert_eq!(&model::canonical(&merged), &expected);
        prop_assert_eq!(model::encode(&model::decode(signal, &contiguous).unwrap()), expected);
    }

    #[test]
    fn a_payload_of_another_signal_is_given_back(tape in tapes()) {
        let mut traces = payload(Signal::Traces, &tape);
        let logs = payload(Signal::Logs, &tape);
        let before = (traces.items(), traces.len());
        let back = traces.append(logs.clone()).unwrap_err();
        prop_assert_eq!(back.segments(), logs.segments());
        prop_assert_eq!((back.signal(), back.items()), (Signal::Logs, logs.items()));
        prop_assert_eq!((traces.items(), traces.len()), before);
    }

    #[test]
    fn encoding_what_was_decoded_gives_the_same_telemetry(signal in signals(), tape in tapes()) {
        let payload = payload(signal, &tape);
        let decoded = payload.decode().unwrap();
        let encoded = Payload::encode(&decoded).unwrap();
        prop_assert_eq!(encoded.items(), payload.items());
        prop_assert_eq!(model::canonical(&encoded), model::encode(&decoded));
    }
}
