//! Test data: deterministic requests as rich as those of real instrumentations, for benchmarks and tests.
//!
//! Not for production use: there is nothing here but made-up telemetry. The default request of the benchmarks is
//! [`rich_traces`]`(100)`: one resource of ten attributes, one scope, spans of twelve attributes, about 57.8 kB.

use bytes::Bytes;

use crate::wire::{put_len_field, put_varint};
use crate::{Attribute, Value};

/// 2026-01-01T00:00:00Z in nanoseconds.
const EPOCH_NANOS: u64 = 1_767_225_600_000_000_000;

/// A trace request with this many spans.
pub fn rich_traces(spans: usize) -> Bytes {
    request((0..spans as u64).map(span))
}

/// A logs request with this many records.
pub fn rich_logs(records: usize) -> Bytes {
    request((0..records as u64).map(log_record))
}

/// A metrics request with this many data points, ten to a metric: gauges, sums and histograms in turn.
pub fn rich_metrics(points: usize) -> Bytes {
    let points: Vec<u64> = (0..points as u64).collect();
    request(points.chunks(10).enumerate().map(|(index, points)| metric(index, points)))
}

/// A request of one resource and one scope with these items (or metrics).
fn request(items: impl Iterator<Item = Vec<u8>>) -> Bytes {
    let mut scope = Vec::new();
    let mut library = Vec::new();
    put_len_field(&mut library, 1, b"io.opentelemetry.spring-webmvc-6.0");
    put_len_field(&mut library, 2, b"2.10.0-alpha");
    put_len_field(&mut scope, 1, &library);
    for item in items {
        put_len_field(&mut scope, 2, &item);
    }
    let mut resource = Vec::new();
    put_len_field(&mut resource, 1, &resource_message());
    put_len_field(&mut resource, 2, &scope);
    put_len_field(&mut resource, 3, b"https://opentelemetry.io/schemas/1.24.0");
    let mut request = Vec::new();
    put_len_field(&mut request, 1, &resource);
    request.into()
}

fn resource_message() -> Vec<u8> {
    let mut resource = Vec::new();
    let attributes = [
        ("service.name", "checkout".into()),
        ("service.version", "1.42.7".into()),
        ("service.instance.id", "627cc493-f310-47de-96bd-71410b7dec09".into()),
        ("telemetry.sdk.name", "opentelemetry".into()),
        ("telemetry.sdk.language", "java".into()),
        ("telemetry.sdk.version", "1.45.0".into()),
        ("host.name", "checkout-6c9d5c7f5d-x2x7k".into()),
        ("process.pid", Value::Int(1)),
        ("process.runtime.name", "OpenJDK Runtime Environment".into()),
        ("os.type", "linux".into()),
    ];
    put_attributes(&mut resource, 1, attributes);
    resource
}

fn span(index: u64) -> Vec<u8> {
    let start = EPOCH_NANOS + index * 1_250_000;
    let mut span = Vec::new();
    put_len_field(&mut span, 1, &id(index / 8));
    put_len_field(&mut span, 2, &id(index + 1_000)[..8]);
    put_len_field(&mut span, 4, &id(index + 999)[..8]);
    put_len_field(&mut span, 5, b"GET /api/v1/orders/{orderId}/items");
    span.extend([6 << 3, 2]);
    put_fixed64(&mut span, 7, start);
    put_fixed64(&mut span, 8, start + 750_000 + index % 977 * 1_000);
    put_attributes(&mut span, 9, span_attributes(index));
    span.extend([15 << 3 | 2, 0]);
    put_varint(&mut span, 16 << 3 | 5);
    span.extend(0x101_u32.to_le_bytes());
    span
}

fn span_attributes(index: u64) -> [(&'static str, Value); 12] {
    let order = 100_000 + index * 37 % 900_000;
    [
        ("http.request.method", "GET".into()),
        ("url.scheme", "https".into()),
        ("url.path", format!("/api/v1/orders/{order}/items").into()),
        ("http.route", "/api/v1/orders/{orderId}/items".into()),
        ("http.response.status_code", Value::Int(200)),
        ("server.address", "checkout.shop.svc.cluster.local".into()),
        ("server.port", Value::Int(8443)),
        ("client.address", format!("10.42.{}.{}", index % 16, index % 251).into()),
        ("network.protocol.version", "1.1".into()),
        ("user_agent.original", "okhttp/4.12.0 (Linux; Android 14; Pixel 8 Build/AP1A.240405.002)".into()),
        ("thread.id", Value::Int(40 + (index % 60).cast_signed())),
        ("thread.name", format!("http-nio-8443-exec-{}", index % 60).into()),
    ]
}

fn log_record(index: u64) -> Vec<u8> {
    let time = EPOCH_NANOS + index * 330_000;
    let body = Value::from(format!("order {} accepted after {} ms", 100_000 + index, index % 977));
    let mut record = Vec::new();
    put_fixed64(&mut record, 1, time);
    record.extend([2 << 3, 9]);
    put_len_field(&mut record, 3, b"INFO");
    put_len_field(&mut record, 5, &body.encode(1));
    let attributes = [
        ("log.logger.name", "com.example.shop.checkout.OrderService".into()),
        ("thread.name", format!("http-nio-8443-exec-{}", index % 60).into()),
        ("order.id", Value::Int((100_000 + index).cast_signed())),
        ("customer.tier", "gold".into()),
        ("code.function", "acceptOrder".into()),
        ("code.lineno", Value::Int(217)),
    ];
    put_attributes(&mut record, 6, attributes);
    record.push(8 << 3 | 5);
    record.extend(1_u32.to_le_bytes());
    put_len_field(&mut record, 9, &id(index / 8));
    put_len_field(&mut record, 10, &id(index)[..8]);
    put_fixed64(&mut record, 11, time + 40_000);
    record
}

fn metric(index: usize, points: &[u64]) -> Vec<u8> {
    const HISTOGRAM: usize = 2;
    let (name, unit, field) = [
        ("jvm.memory.used", "By", 5),
        ("http.server.request.count", "{request}", 7),
        ("http.server.request.duration", "s", 9),
    ][index % 3];
    let mut data = Vec::new();
    for point in points {
        put_len_field(&mut data, 1, &data_point(*point, index % 3 == HISTOGRAM));
    }
    if field != 5 {
        data.extend([2 << 3, 2]);
    }
    if field == 7 {
        data.extend([3 << 3, 1]);
    }
    let mut metric = Vec::new();
    put_len_field(&mut metric, 1, name.as_bytes());
    put_len_field(&mut metric, 2, b"Measured by the instrumentation of the server.");
    put_len_field(&mut metric, 3, unit.as_bytes());
    put_len_field(&mut metric, field, &data);
    metric
}

fn data_point(index: u64, histogram: bool) -> Vec<u8> {
    let mut point = Vec::new();
    let attributes = [
        ("http.request.method", "GET".into()),
        ("http.route", format!("/api/v1/orders/{}", index % 40).into()),
        ("http.response.status_code", Value::Int(200)),
        ("server.address", "checkout.shop.svc.cluster.local".into()),
    ];
    put_attributes(&mut point, if histogram { 9 } else { 7 }, attributes);
    put_fixed64(&mut point, 2, EPOCH_NANOS);
    put_fixed64(&mut point, 3, EPOCH_NANOS + 60_000_000_000 + index);
    if histogram {
        put_fixed64(&mut point, 4, 10);
        put_fixed64(&mut point, 5, 1.75_f64.to_bits());
        let counts: Vec<u8> = [1_u64, 2, 3, 4].into_iter().flat_map(u64::to_le_bytes).collect();
        let bounds: Vec<u8> = [0.01_f64, 0.1, 1.0].into_iter().flat_map(f64::to_le_bytes).collect();
        put_len_field(&mut point, 6, &counts);
        put_len_field(&mut point, 7, &bounds);
    } else {
        put_fixed64(&mut point, 6, 1_000 + index);
    }
    point
}

fn put_attributes<const N: usize>(
    message: &mut Vec<u8>,
    number: u32,
    attributes: [(&'static str, Value); N],
) {
    for (key, value) in attributes {
        put_len_field(message, number, Attribute::new(key, value).pair());
    }
}

fn put_fixed64(message: &mut Vec<u8>, number: u32, value: u64) {
    put_varint(message, u64::from(number << 3 | 1));
    message.extend(value.to_le_bytes());
}

/// Sixteen bytes that look random and depend on the seed alone (splitmix64).
fn id(seed: u64) -> [u8; 16] {
    let mix = |seed: u64| {
        let mut z = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    };
    let mut id = [0; 16];
    id[..8].copy_from_slice(&mix(2 * seed + 1).to_le_bytes());
    id[8..].copy_from_slice(&mix(2 * seed + 2).to_le_bytes());
    id
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{InvalidUtf8, Payload, Signal};

    #[test]
    fn the_samples_are_valid_and_hold_what_is_asked_for() {
        for (signal, bytes) in [
            (Signal::Traces, rich_traces(100)),
            (Signal::Logs, rich_logs(100)),
            (Signal::Metrics, rich_metrics(100)),
        ] {
            let received = Payload::from_wire(signal, bytes.clone(), InvalidUtf8::Refuse).unwrap();
            assert_eq!(received.payload.items(), 100);
            let decoded = received.payload.decode().unwrap();
            assert_eq!(Payload::encode(&decoded).unwrap().len(), bytes.len());
        }
    }

    #[test]
    fn a_rich_span_has_about_578_bytes() {
        let span = (rich_traces(200).len() - rich_traces(100).len()) / 100;
        assert!((560..600).contains(&span), "{span}");
    }
}
