//! Merging concatenates.

use proptest::prelude::*;
use spanbridge_pdata::{Payload, count_items};

use crate::{check_invariant, model, payload, signals, tapes};

proptest! {
    #[test]
    fn a_merged_payload_holds_what_its_parts_held(signal in signals(), tapes in prop::collection::vec(tapes(), 0..4)) {
        let mut merged = Payload::empty(signal);
        let mut expected = Vec::new();
        for tape in &tapes {
            let part = payload(signal, tape);
            expected.extend(model::nodes(part.decode().unwrap()));
            merged.append(part);
        }
        check_invariant(&merged)?;
        prop_assert_eq!(merged.items(), model::count(&expected));
        let contiguous = merged.segments().concat();
        prop_assert_eq!(merged.len(), contiguous.len());
        prop_assert_eq!(count_items(signal, &contiguous), merged.items());
        let expected = model::encode(&model::request(signal, expected));
        prop_assert_eq!(&model::canonical(&merged), &expected);
        prop_assert_eq!(model::encode(&model::decode(signal, &contiguous).unwrap()), expected);
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
