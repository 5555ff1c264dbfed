//! What the operations cost on the rich request of 100 spans, beside decoding and encoding it with prost.

#![expect(clippy::expect_used, reason = "a benchmark may panic")]

use std::hint::black_box;
use std::num::NonZeroUsize;

use bytes::Bytes;
use divan::Bencher;
use divan::counter::{BytesCount, ItemsCount};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue, any_value};
use prost::Message;
use spanbridge_pdata::{
    Attribute, Attributes, EditAttributes, InvalidUtf8, Item, ItemEdit, Payload, Signal, count_items, sample,
};

const SPANS: usize = 100;

fn main() {
    divan::main();
}

fn request() -> Bytes {
    sample::rich_traces(SPANS)
}

fn payload() -> Payload {
    Payload::from_wire(Signal::Traces, request(), InvalidUtf8::Refuse).expect("the sample is valid").payload
}

fn counted<'a, 'b>(bencher: Bencher<'a, 'b>, bytes: usize, items: usize) -> Bencher<'a, 'b> {
    bencher.counter(ItemsCount::new(items)).counter(BytesCount::new(bytes))
}

#[divan::bench]
fn validate(bencher: Bencher<'_, '_>) {
    let request = request();
    counted(bencher, request.len(), SPANS)
        .bench(|| Payload::from_wire(Signal::Traces, black_box(request.clone()), InvalidUtf8::Refuse));
}

#[divan::bench]
fn validate_logs(bencher: Bencher<'_, '_>) {
    let request = sample::rich_logs(SPANS);
    counted(bencher, request.len(), SPANS)
        .bench(|| Payload::from_wire(Signal::Logs, black_box(request.clone()), InvalidUtf8::Refuse));
}

#[divan::bench]
fn validate_metrics(bencher: Bencher<'_, '_>) {
    let request = sample::rich_metrics(SPANS);
    counted(bencher, request.len(), SPANS)
        .bench(|| Payload::from_wire(Signal::Metrics, black_box(request.clone()), InvalidUtf8::Refuse));
}

#[divan::bench]
fn count(bencher: Bencher<'_, '_>) {
    let request = request();
    counted(bencher, request.len(), SPANS).bench(|| count_items(Signal::Traces, black_box(&request)));
}

#[divan::bench]
fn insert_two_resource_attributes(bencher: Bencher<'_, '_>) {
    let payload = payload();
    let attributes = [
        Attribute::new("k8s.cluster.name", "edge-7"),
        Attribute::new("deployment.environment", "production"),
    ];
    counted(bencher, payload.len(), SPANS).bench(|| {
        black_box(&payload).edit_resources(|resource| {
            for attribute in &attributes {
                resource.insert(attribute);
            }
        })
    });
}

/// Puts an attribute into every item.
struct Upsert(Attribute);

impl EditAttributes for Upsert {
    fn item(&mut self, _: Item<'_>, attributes: &mut Attributes<'_>) {
        attributes.upsert(&self.0);
    }
}

/// Looks for an attribute in every item, in vain.
struct Miss;

impl EditAttributes for Miss {
    fn item(&mut self, _: Item<'_>, attributes: &mut Attributes<'_>) {
        attributes.delete("no.such.key");
    }
}

#[divan::bench]
fn upsert_an_attribute_of_every_item(bencher: Bencher<'_, '_>) {
    let payload = payload();
    let mut upsert = Upsert(Attribute::new("deployment.environment", "production"));
    counted(bencher, payload.len(), SPANS)
        .bench_local(|| black_box(&payload).edit_item_attributes(&mut upsert));
}

#[divan::bench]
fn look_for_an_attribute_of_every_item_in_vain(bencher: Bencher<'_, '_>) {
    let payload = payload();
    counted(bencher, payload.len(), SPANS)
        .bench_local(|| black_box(&payload).edit_item_attributes(&mut Miss));
}

#[divan::bench]
fn keep_all_items(bencher: Bencher<'_, '_>) {
    let payload = payload();
    counted(bencher, payload.len(), SPANS).bench(|| black_box(&payload).edit_items(|_| ItemEdit::Keep));
}

#[divan::bench]
fn drop_every_second_item(bencher: Bencher<'_, '_>) {
    let payload = payload();
    counted(bencher, payload.len(), SPANS).bench(|| {
        let mut odd = false;
        black_box(&payload).edit_items(|_| {
            odd = !odd;
            if odd { ItemEdit::Drop } else { ItemEdit::Keep }
        })
    });
}

#[divan::bench(args = [1, 10, 33, 100])]
fn split_items(bencher: Bencher<'_, '_>, items: usize) {
    let payload = payload();
    let limit = NonZeroUsize::new(items).expect("not zero");
    counted(bencher, payload.len(), SPANS)
        .bench(|| black_box(payload.clone()).split_items(limit, limit).map(|part| part.len()).sum::<usize>());
}

#[divan::bench]
fn split_bytes_in_ten(bencher: Bencher<'_, '_>) {
    let payload = payload();
    let limit = NonZeroUsize::new(payload.len() / 10).expect("not zero");
    counted(bencher, payload.len(), SPANS).bench(|| {
        black_box(payload.clone()).split_bytes(limit).map(|part| part.into_payload().len()).sum::<usize>()
    });
}

#[divan::bench]
fn merge_82_requests(bencher: Bencher<'_, '_>) {
    let payload = payload();
    counted(bencher, 82 * payload.len(), 82 * SPANS).bench(|| {
        let mut merged = Payload::empty(Signal::Traces);
        for _ in 0..82 {
            merged.append(black_box(&payload).clone()).expect("one signal");
        }
        merged
    });
}

#[divan::bench]
fn prost_decode(bencher: Bencher<'_, '_>) {
    let request = request();
    counted(bencher, request.len(), SPANS)
        .bench(|| ExportTraceServiceRequest::decode(black_box(&*request)).expect("the sample is valid"));
}

#[divan::bench]
fn prost_decode_insert_two_encode(bencher: Bencher<'_, '_>) {
    let request = request();
    counted(bencher, request.len(), SPANS).bench(|| {
        let mut tree = ExportTraceServiceRequest::decode(black_box(&*request)).expect("the sample is valid");
        for spans in &mut tree.resource_spans {
            let resource = spans.resource.get_or_insert_default();
            for (key, text) in [("k8s.cluster.name", "edge-7"), ("deployment.environment", "production")] {
                let value = any_value::Value::StringValue(text.to_owned());
                let value = Some(AnyValue { value: Some(value) });
                resource.attributes.push(KeyValue { key: key.to_owned(), value, ..KeyValue::default() });
            }
        }
        tree.encode_to_vec()
    });
}
