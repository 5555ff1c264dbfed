//! Partitions: every item goes to its part, in order, with all that stands above it, and nothing else does.

use proptest::prelude::*;
use spanbridge_pdata::{ItemKind, Payload, Signal, ValueRef, sample};

use crate::model::{Entry, Leaf};
use crate::{accept, check_invariant, model, payload, signals, tapes};

fn merged(signal: Signal, tapes: &[Vec<u8>]) -> Payload {
    let mut merged = Payload::empty(signal);
    for tape in tapes {
        merged.append(payload(signal, tape)).unwrap();
    }
    merged
}

/// The items with what stands above them.
fn items(payload: &Payload) -> Vec<Leaf> {
    let leaves = model::leaves(&model::nodes(payload.decode().unwrap()));
    leaves.into_iter().filter(Leaf::is_item).collect()
}

/// Where items or resources go, in turn.
fn targets() -> impl Strategy<Value = Vec<usize>> {
    prop::collection::vec(0usize..5, 1..9)
}

proptest! {
    #[test]
    fn every_item_goes_to_its_part_with_what_stands_above_it(
        signal in signals(),
        tapes in prop::collection::vec(tapes(), 0..3),
        targets in targets(),
        parts in 1usize..5,
    ) {
        let whole = merged(signal, &tapes);
        let mut turn = targets.iter().cycle();
        let dealt = whole.partition_items(parts, |_| *turn.next().unwrap());
        prop_assert_eq!(dealt.len(), parts);
        let mut expected = vec![Vec::new(); parts];
        for (item, target) in items(&whole).into_iter().zip(targets.iter().cycle()) {
            expected[(*target).min(parts - 1)].push(item);
        }
        for (part, expected) in dealt.iter().zip(expected) {
            check_invariant(part)?;
            prop_assert_eq!(part.items(), expected.len());
            prop_assert_eq!(items(part), expected);
        }
    }

    #[test]
    fn every_resource_goes_to_its_part_as_it_is(
        signal in signals(),
        tapes in prop::collection::vec(tapes(), 0..3),
        targets in targets(),
        parts in 1usize..5,
    ) {
        let whole = merged(signal, &tapes);
        let mut turn = targets.iter().cycle();
        let dealt = whole.partition_resources(parts, |_| *turn.next().unwrap());
        let mut expected = vec![Vec::new(); parts];
        for (node, target) in model::nodes(whole.decode().unwrap()).into_iter().zip(targets.iter().cycle()) {
            expected[(*target).min(parts - 1)].push(node);
        }
        prop_assert_eq!(dealt.iter().map(Payload::items).sum::<usize>(), whole.items());
        for (part, expected) in dealt.iter().zip(expected) {
            check_invariant(part)?;
            let expected = model::encode(&model::request(signal, expected));
            prop_assert_eq!(model::canonical(part), expected);
        }
    }

    #[test]
    fn items_that_stay_together_are_passed_on_without_a_copy(signal in signals(), tape in tapes()) {
        let whole = payload(signal, &tape);
        let dealt = whole.partition_items(3, |_| 1);
        prop_assert!(dealt[0].is_empty() && dealt[2].is_empty());
        if whole.items() > 0 {
            prop_assert_eq!(dealt[1].segments()[0].as_ptr(), whole.segments()[0].as_ptr());
        }
    }

    #[test]
    fn fields_of_items_are_those_that_prost_sees(signal in signals(), tape in tapes()) {
        let whole = payload(signal, &tape);
        let mut seen = Vec::new();
        whole.partition_items(1, |item| {
            let pairs = |(key, value): (&str, ValueRef<'_>)| (key.to_owned(), format!("{:?}", value.to_value()));
            let attributes: Vec<_> = item.attributes().map(pairs).collect();
            let scope: Vec<_> = item.scope_attributes().map(pairs).collect();
            for (key, _) in item.attributes() {
                assert!(item.attribute(key).is_some());
            }
            seen.push((item.trace_id().to_vec(), item.name().to_owned(), item.span_kind(), attributes, scope));
            assert!(item.kind() == ItemKind::LogRecord || item.severity_text().is_empty());
            0
        });
        let mut expected = Vec::new();
        for node in model::nodes(whole.decode().unwrap()) {
            for scope in node.scopes {
                let scope_pairs = scope.scope.map(|s| s.attributes).unwrap_or_default();
                let scope_pairs = model_pairs(&scope_pairs);
                for entry in scope.entries {
                    expected.extend(model_fields(entry).into_iter().map(|(id, name, kind, pairs)| {
                        (id, name, kind, pairs, scope_pairs.clone())
                    }));
                }
            }
        }
        prop_assert_eq!(seen, expected);
    }
}

type Fields = (Vec<u8>, String, i32, Vec<(String, String)>);

fn model_pairs(pairs: &[opentelemetry_proto::tonic::common::v1::KeyValue]) -> Vec<(String, String)> {
    let pair = |pair: &opentelemetry_proto::tonic::common::v1::KeyValue| {
        (pair.key.clone(), format!("{:?}", model::value(pair.value.as_ref())))
    };
    pairs.iter().map(pair).collect()
}

/// Trace id, name, kind and attributes of the items of an entry.
fn model_fields(mut entry: Entry) -> Vec<Fields> {
    let (trace_id, name, kind) = match &entry {
        Entry::Span(span) => (span.trace_id.clone(), span.name.clone(), span.kind),
        Entry::Log(record) => (record.trace_id.clone(), String::new(), 0),
        Entry::Metric(metric) => (Vec::new(), metric.name.clone(), 0),
    };
    let all = model::item_attributes(&mut entry).into_iter();
    all.map(|pairs| (trace_id.clone(), name.clone(), kind, model_pairs(pairs))).collect()
}

#[test]
fn unknown_fields_are_repeated_in_each_part() {
    // ResourceSpans { unknown 100: "r", ScopeSpans { unknown 101: "s", Span {}, Span {} } }, request-level unknown 102
    let scope = [&[0xaa, 0x06, 1, b's'][..], &[0x12, 0, 0x12, 0]].concat();
    let resource = [&[0xa2, 0x06, 1, b'r', 0x12, 8][..], &scope].concat();
    let request = [&[0x0a, 14][..], &resource, &[0xb2, 0x06, 1, b'q']].concat();
    let mut next = 0;
    let parts = accept(Signal::Traces, request).partition_items(2, |_| {
        next += 1;
        next - 1
    });
    let part =
        [&[0xb2, 0x06, 1, b'q', 0x0a, 12, 0xa2, 0x06, 1, b'r', 0x12, 6, 0xaa, 0x06, 1, b's', 0x12, 0][..]];
    assert_eq!(parts[0].segments(), part);
    assert_eq!(parts[1].segments(), part);
}

#[test]
fn a_log_record_tells_its_severity_and_body() {
    let request = accept(Signal::Logs, sample::rich_logs(1).to_vec());
    let mut seen = Vec::new();
    request.partition_items(1, |item| {
        seen.push((item.severity_text().to_owned(), item.body().as_str().unwrap_or_default().to_owned()));
        0
    });
    let severity = &seen[0].0;
    assert!(!severity.is_empty() && !seen[0].1.is_empty(), "{seen:?}");
}
