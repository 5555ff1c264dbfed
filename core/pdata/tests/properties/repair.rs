//! Strings that are not UTF-8 are repaired, and nothing else is touched.

use proptest::prelude::*;
use spanbridge_pdata::{InvalidUtf8, Payload};

use crate::descriptors::request_type;
use crate::generate::{Oddities, request};
use crate::{check_invariant, model, repair_model, signals, tapes};

proptest! {
    #[test]
    fn a_repaired_request_is_what_the_model_makes_of_it(signal in signals(), tape in tapes()) {
        let bytes = request(signal, &tape, Oddities { invalid_utf8: true, ..Oddities::default() });
        let (expected, count) = repair_model::repair(request_type(signal), &bytes);
        let received = Payload::from_wire(signal, bytes.clone().into(), InvalidUtf8::Repair).unwrap();
        prop_assert_eq!(received.repaired_strings, count);
        prop_assert_eq!(received.payload.segments().concat(), expected);
        check_invariant(&received.payload)?;
        prop_assert_eq!(received.payload.items(), model::count(&model::nodes(received.payload.decode().unwrap())));
        prop_assert_eq!(Payload::from_wire(signal, bytes.into(), InvalidUtf8::Refuse).is_err(), count > 0);
    }
}
