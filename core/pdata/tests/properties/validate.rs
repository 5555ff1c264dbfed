//! The door lets in what prost can decode, and nothing else.

use proptest::prelude::*;
use spanbridge_pdata::{Fault, InvalidUtf8, Payload, Signal, count_items};

use crate::generate::{Oddities, request};
use crate::{model, signals, tapes};

/// The door and prost agree, but for the known deliberate differences: prost skips groups in unknown fields, knows no
/// length of an id, and both of these the door refuses.
fn check_against_prost(signal: Signal, bytes: &[u8]) -> Result<(), TestCaseError> {
    let decoded = model::decode(signal, bytes);
    match Payload::from_wire(signal, bytes.to_vec().into(), InvalidUtf8::Refuse) {
        Ok(received) => {
            let Some(decoded) = decoded else {
                return Err(TestCaseError::fail("accepted, but prost cannot decode it"));
            };
            let items = model::count(&model::nodes(decoded));
            prop_assert_eq!(received.payload.items(), items);
            prop_assert_eq!(count_items(signal, bytes), items);
            prop_assert_eq!(received.repaired_strings, 0);
        }
        Err(error) => {
            prop_assert!(error.offset() <= bytes.len());
            let deliberate =
                matches!(error.fault(), Fault::Group | Fault::TraceIdLength(_) | Fault::SpanIdLength(_));
            prop_assert!(deliberate || decoded.is_none(), "refused: {}", error);
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn every_legal_encoding_is_accepted(signal in signals(), tape in tapes()) {
        let bytes = request(signal, &tape, Oddities::default());
        prop_assert!(Payload::from_wire(signal, bytes.clone().into(), InvalidUtf8::Refuse).is_ok());
        check_against_prost(signal, &bytes)?;
    }

    #[test]
    fn odd_requests_are_judged_like_prost_does(signal in signals(), tape in tapes(), which in 1u8..8) {
        let oddities = Oddities { invalid_utf8: which & 1 > 0, bad_ids: which & 2 > 0, groups: which & 4 > 0 };
        check_against_prost(signal, &request(signal, &tape, oddities))?;
    }

    #[test]
    fn damaged_requests_are_judged_like_prost_does(
        signal in signals(),
        tape in tapes(),
        flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
        cut in prop::option::of(any::<prop::sample::Index>()),
    ) {
        let mut bytes = request(signal, &tape, Oddities::default());
        for (at, byte) in &flips {
            if !bytes.is_empty() {
                let at = at.index(bytes.len());
                bytes[at] = *byte;
            }
        }
        if let Some(cut) = cut {
            bytes.truncate(cut.index(bytes.len() + 1));
        }
        check_against_prost(signal, &bytes)?;
    }

    #[test]
    fn random_bytes_are_judged_like_prost_does(signal in signals(), bytes in prop::collection::vec(any::<u8>(), 0..40)) {
        check_against_prost(signal, &bytes)?;
    }

    #[test]
    fn a_request_of_another_signal_is_judged_like_prost_does(signal in signals(), as_signal in signals(), tape in tapes()) {
        check_against_prost(as_signal, &request(signal, &tape, Oddities::default()))?;
    }
}

/// Embeds `content` as field `number` of a new message.
fn embed(number: u32, content: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    prost::encoding::encode_key(number, prost::encoding::WireType::LengthDelimited, &mut out);
    prost::encoding::encode_varint(content.len() as u64, &mut out);
    out.extend_from_slice(content);
    out
}

#[test]
fn nesting_is_accepted_up_to_the_depth_that_prost_decodes() {
    // Nothing, a known field, an unknown field, a map with an attribute of the usual form.
    let pair = embed(6, &embed(1, &[0x0a, 1, b'k', 0x12, 2, 0x18, 1]));
    for innermost in [&[][..], &[0x18, 0x01], &[0xa0, 0x06, 0x01], &pair] {
        for maps in 0..3 {
            let mut refused = 0;
            for lists in 30..60 {
                // A list adds two messages to the depth, a map three.
                let value = (0..lists).fold(innermost.to_vec(), |value, _| embed(5, &embed(1, &value)));
                let value = (0..maps).fold(value, |value, _| embed(6, &embed(1, &embed(2, &value))));
                let request = embed(1, &embed(2, &embed(2, &embed(5, &value))));
                let accepted = Payload::from_wire(Signal::Logs, request.clone().into(), InvalidUtf8::Refuse);
                assert_eq!(accepted.is_ok(), model::decode(Signal::Logs, &request).is_some());
                if let Err(error) = accepted {
                    assert_eq!(error.fault(), Fault::TooDeep);
                    assert!(error.to_string().len() < 400);
                    refused += 1;
                }
            }
            assert!((5..25).contains(&refused));
        }
    }
}

/// The contents of `AnyValue`s of every kind: text, bool, short and long integers, double, bytes, list, map.
const VALUES: [&[u8]; 9] = [
    &[0x0a, 2, b'v', b'w'],
    &[0x10, 1],
    &[0x18, 7],
    &[0x18, 0xc8, 1],
    &[0x18, 0xff, 0xff, 0x7f],
    &[0x21, 1, 2, 3, 4, 5, 6, 7, 8],
    &[0x3a, 2, 0xff, 0],
    &[0x2a, 4, 0x0a, 2, 0x10, 0],
    &[0x32, 9, 0x0a, 7, 0x0a, 1, b'k', 0x12, 2, 0x18, 1],
];

/// A request of a span with an attribute, a name, and the attribute again.
fn with_attribute(value: &[u8]) -> Vec<u8> {
    let attribute = embed(9, &[&[0x0a, 1, b'k'], &*embed(2, value)].concat());
    embed(1, &embed(2, &embed(2, &[&*attribute, &[0x2a, 1, b'n'], &*attribute].concat())))
}

#[test]
fn any_change_of_one_byte_is_judged_like_prost_does() {
    for request in VALUES.map(with_attribute) {
        for at in 0..request.len() {
            for byte in 0..=255 {
                let mut request = request.clone();
                request[at] = byte;
                check_against_prost(Signal::Traces, &request).unwrap();
            }
        }
    }
}

#[test]
fn a_value_with_a_byte_more_or_less_is_judged_like_prost_does() {
    for value in VALUES {
        for at in 0..=value.len() {
            check_against_prost(Signal::Traces, &with_attribute(&value[..at])).unwrap();
            for byte in 0..=255 {
                let longer = [&value[..at], &[byte], &value[at..]].concat();
                check_against_prost(Signal::Traces, &with_attribute(&longer)).unwrap();
            }
        }
    }
}

#[test]
fn a_fault_is_reported_with_field_and_position() {
    let attribute = embed(9, &embed(2, &embed(1, &[b'a', 0xff])));
    let request = embed(1, &embed(2, &embed(2, &attribute)));
    let error = Payload::from_wire(Signal::Traces, request.into(), InvalidUtf8::Refuse).unwrap_err();
    assert_eq!(error.path(), "resource_spans.scope_spans.spans.attributes.value.string_value");
    assert_eq!(error.fault(), Fault::Utf8);
    assert_eq!(
        error.to_string(),
        "malformed OTLP request: string is not valid UTF-8 at byte 12 \
         (resource_spans.scope_spans.spans.attributes.value.string_value)"
    );
    let request = embed(1, &embed(2, &embed(2, &embed(1, &[7; 15]))));
    let error = Payload::from_wire(Signal::Traces, request.into(), InvalidUtf8::Refuse).unwrap_err();
    assert_eq!(
        (error.fault(), error.path()),
        (Fault::TraceIdLength(15), "resource_spans.scope_spans.spans.trace_id")
    );
    let error =
        Payload::from_wire(Signal::Metrics, vec![0x0a, 0x05, 0x00].into(), InvalidUtf8::Refuse).unwrap_err();
    assert_eq!((error.fault(), error.path(), error.offset()), (Fault::Truncated, "resource_metrics", 1));
    let error = Payload::from_wire(Signal::Logs, vec![0x0b].into(), InvalidUtf8::Refuse).unwrap_err();
    assert_eq!(error.fault(), Fault::Group);
    let error = Payload::from_wire(Signal::Logs, vec![0x08, 0x00].into(), InvalidUtf8::Refuse).unwrap_err();
    assert_eq!((error.fault(), error.path()), (Fault::WireType, "resource_logs"));
    let error = Payload::from_wire(Signal::Logs, vec![0x00].into(), InvalidUtf8::Refuse).unwrap_err();
    assert_eq!(error.fault(), Fault::Key);
}
