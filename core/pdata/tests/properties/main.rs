//! Properties of every operation: what it does to bytes is what the model does to trees decoded by prost, on requests of
//! all signals in every encoding that protobuf allows.

#![expect(unreachable_pub, reason = "modules are shared with the fuzz targets")]
#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")]

mod attributes;
mod descriptors;
mod generate;
mod items;
mod merge;
mod model;
mod partition;
mod repair;
mod repair_model;
mod split;
mod validate;

use proptest::prelude::*;
use spanbridge_pdata::{InvalidUtf8, Payload, Signal};

/// Any signal.
fn signals() -> impl Strategy<Value = Signal> {
    prop::sample::select(&Signal::ALL[..])
}

/// What requests are generated from.
fn tapes() -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(any::<u8>(), 0..600)
}

/// The payload of a legal request.
fn payload(signal: Signal, tape: &[u8]) -> Payload {
    let request = generate::request(signal, tape, generate::Oddities::default());
    accept(signal, request)
}

/// A request through the door.
fn accept(signal: Signal, request: Vec<u8>) -> Payload {
    Payload::from_wire(signal, request.into(), InvalidUtf8::Refuse).expect("a legal request").payload
}

/// Each segment of a payload is a valid request by itself, and the count is right.
fn check_invariant(payload: &Payload) -> Result<(), TestCaseError> {
    let mut items = 0;
    for segment in payload.segments() {
        prop_assert!(!segment.is_empty());
        let received = Payload::from_wire(payload.signal(), segment.clone(), InvalidUtf8::Refuse);
        items += received.map_err(|error| TestCaseError::fail(error.to_string()))?.payload.items();
    }
    prop_assert_eq!(items, payload.items());
    Ok(())
}
