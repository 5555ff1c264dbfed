//! Item edits: what is kept, dropped or replaced in bytes is so in the tree.

use bytes::Bytes;
use proptest::prelude::*;
use spanbridge_pdata::{Item, ItemEdit, Signal};

use crate::model::ModelEdit;
use crate::{accept, check_invariant, model, payload, signals, tapes};

fn edits() -> impl Strategy<Value = Vec<ModelEdit>> {
    prop::collection::vec(
        prop::sample::select(&[ModelEdit::Keep, ModelEdit::Drop, ModelEdit::Clear][..]),
        1..8,
    )
}

proptest! {
    #[test]
    fn item_edits_do_to_bytes_what_they_do_to_trees(signal in signals(), tape in tapes(), edits in edits()) {
        let payload = payload(signal, &tape);
        let mut nodes = model::nodes(payload.decode().unwrap());
        let mut turn = edits.iter().cycle();
        model::edit_items(&mut nodes, || *turn.next().unwrap());
        let mut turn = edits.iter().cycle();
        let edited = payload.edit_items(|_| match turn.next().unwrap() {
            ModelEdit::Keep => ItemEdit::Keep,
            ModelEdit::Drop => ItemEdit::Drop,
            ModelEdit::Clear => ItemEdit::Replace(Bytes::new()),
        });
        let edited = edited.unwrap();
        check_invariant(&edited)?;
        prop_assert_eq!(edited.items(), model::count(&nodes));
        prop_assert_eq!(model::canonical(&edited), model::encode(&model::request(signal, nodes)));
    }

    #[test]
    fn items_are_seen_in_order_with_what_contains_them(signal in signals(), tape in tapes()) {
        let payload = payload(signal, &tape);
        let nodes = model::nodes(payload.decode().unwrap());
        let entries = nodes.iter().flat_map(|node| node.scopes.iter().map(move |scope| (node, scope)));
        let expected: Vec<_> = entries
            .flat_map(|(node, scope)| scope.entries.iter().map(move |entry| (node, entry)))
            .flat_map(|(node, entry)| model::items(entry).into_iter().map(move |item| (node.schema_url.clone(), item)))
            .collect();
        let mut seen = Vec::new();
        let kept = payload.edit_items(|item| {
            seen.push((item.resource().schema_url().to_owned(), canonical(&item)));
            ItemEdit::Keep
        });
        prop_assert_eq!(seen, expected);
        let kept = kept.unwrap();
        for (kept, before) in kept.segments().iter().zip(payload.segments()) {
            prop_assert_eq!(kept.as_ptr(), before.as_ptr());
        }
    }
}

/// The item decoded and encoded again.
fn canonical(item: &Item<'_>) -> Vec<u8> {
    use opentelemetry_proto::tonic::{logs::v1 as logs, metrics::v1 as metrics, trace::v1 as trace};
    use prost::Message;
    use spanbridge_pdata::ItemKind as Kind;
    fn again<M: Message + Default>(bytes: &[u8]) -> Vec<u8> {
        M::decode(bytes).unwrap().encode_to_vec()
    }
    match item.kind() {
        Kind::Span => again::<trace::Span>(item.bytes()),
        Kind::LogRecord => again::<logs::LogRecord>(item.bytes()),
        Kind::NumberDataPoint => again::<metrics::NumberDataPoint>(item.bytes()),
        Kind::HistogramDataPoint => again::<metrics::HistogramDataPoint>(item.bytes()),
        Kind::ExponentialHistogramDataPoint => again::<metrics::ExponentialHistogramDataPoint>(item.bytes()),
        Kind::SummaryDataPoint => again::<metrics::SummaryDataPoint>(item.bytes()),
    }
}

#[test]
fn an_invalid_replacement_is_refused() {
    let payload = accept(Signal::Traces, vec![0x0a, 4, 0x12, 2, 0x12, 0]);
    assert_eq!(payload.items(), 1);
    let bad_name = Bytes::from_static(&[0x2a, 1, 0xff]);
    let error = payload.edit_items(|_| ItemEdit::Replace(bad_name.clone())).unwrap_err();
    assert_eq!((error.path(), error.offset()), ("name", 2));
}

#[test]
fn a_payload_that_loses_every_item_is_empty() {
    let payload = accept(Signal::Traces, vec![0x0a, 4, 0x12, 2, 0x12, 0]);
    let edited = payload.edit_items(|_| ItemEdit::Drop).unwrap();
    assert!(edited.is_empty());
    assert_eq!(edited.items(), 0);
}
