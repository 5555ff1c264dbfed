use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use spanbridge_pdata::{Attribute, InvalidUtf8, ItemEdit, sample};

use super::*;

fn ring() -> Ring {
    Ring::new(["a:4317", "b:4317", "c:4317"])
}

fn routing(key: RoutingKey, attributes: &[&str], signal: Signal) -> Routing {
    let attributes: Vec<_> = attributes.iter().map(|name| (*name).to_owned()).collect();
    Routing::new(key, &attributes, signal).unwrap()
}

fn accept(signal: Signal, bytes: impl Into<Vec<u8>>) -> Payload {
    Payload::from_wire(signal, bytes.into().into(), InvalidUtf8::Refuse).unwrap().payload
}

/// The trace ids of the items of each part.
fn traces(parts: &[Payload]) -> Vec<BTreeSet<Vec<u8>>> {
    let ids = |part: &Payload| {
        let mut ids = BTreeSet::new();
        let seen = part.edit_items(|item| {
            ids.insert(item.trace_id().to_vec());
            ItemEdit::Keep
        });
        seen.unwrap();
        ids
    };
    parts.iter().map(ids).collect()
}

#[test]
fn a_trace_goes_to_one_backend_and_all_backends_get_some() {
    let payload = accept(Signal::Traces, sample::rich_traces(400));
    let parts = routing(RoutingKey::Default, &[], Signal::Traces).deal(&payload, &ring(), &[]);
    assert_eq!(parts.iter().map(Payload::items).sum::<usize>(), 400);
    let mut seen = BTreeMap::<Vec<u8>, usize>::new();
    for (number, ids) in traces(&parts).into_iter().enumerate() {
        assert!(!ids.is_empty(), "backend {number} has its share");
        for id in ids {
            assert_eq!(ring().find(&id, |_| false), Some(number));
            assert_eq!(seen.insert(id, number), None, "a trace at two backends");
        }
    }
}

#[test]
fn the_share_of_a_backend_that_is_out_goes_to_the_others() {
    let payload = accept(Signal::Traces, sample::rich_traces(400));
    let routing = routing(RoutingKey::Default, &[], Signal::Traces);
    let (before, after) =
        (routing.deal(&payload, &ring(), &[]), routing.deal(&payload, &ring(), &[false, true, false]));
    assert!(before[1].items() > 0 && after[1].is_empty());
    assert_eq!(after.iter().map(Payload::items).sum::<usize>(), 400);
    let (before, after) = (traces(&before), traces(&after));
    assert!(before[0].is_subset(&after[0]) && before[2].is_subset(&after[2]), "nothing else moves");
}

#[test]
fn log_records_without_a_trace_id_are_spread() {
    let record = [0x12, 0];
    let scope = [vec![0x12, 200, 1], record.repeat(100)].concat();
    let request = [vec![0x0a, 203, 1], scope].concat();
    let payload = accept(Signal::Logs, request);
    assert_eq!(payload.items(), 100);
    let parts = routing(RoutingKey::TraceId, &[], Signal::Logs).deal(&payload, &ring(), &[]);
    assert!(parts.iter().all(|part| part.items() > 0), "one in 3^99 runs fails here");
}

/// Requests of three services and one without a name, merged.
fn services(signal: Signal) -> Payload {
    let mut merged = Payload::empty(signal);
    for service in ["checkout", "cart", "payment", ""] {
        let bytes = match signal {
            Signal::Traces => sample::rich_traces(10),
            Signal::Metrics => sample::rich_metrics(10),
            Signal::Logs => sample::rich_logs(10),
        };
        let appended = merged.append(accept(signal, bytes).edit_resources(|attributes| {
            if service.is_empty() {
                attributes.delete(SERVICE_NAME);
            } else {
                attributes.upsert(&Attribute::new(SERVICE_NAME, service));
            }
        }));
        assert!(appended.is_ok(), "both are of one signal");
    }
    merged
}

#[test]
fn a_service_goes_to_one_backend_and_those_without_a_name_are_not_lost() {
    for signal in Signal::ALL {
        let payload = services(signal);
        let parts = routing(RoutingKey::Service, &[], signal).deal(&payload, &ring(), &[]);
        assert_eq!(parts.iter().map(Payload::items).sum::<usize>(), 40);
        for (number, part) in parts.iter().enumerate() {
            for resource in part.resources() {
                let name = resource.get(SERVICE_NAME);
                let name = name.as_ref().and_then(ValueRef::as_str).unwrap_or_default();
                assert_eq!(ring().find(name.as_bytes(), |_| false), Some(number), "{name}");
            }
        }
    }
}

/// The keys of all items.
fn keys(routing: &Routing, payload: &Payload) -> Vec<Vec<u8>> {
    let mut keys = Vec::new();
    let seen = payload.edit_items(|item| {
        let mut key = Vec::new();
        routing.push_item(&item, &mut key);
        keys.push(key);
        ItemEdit::Keep
    });
    seen.unwrap();
    keys
}

#[test]
fn attributes_are_looked_up_from_the_resource_inwards() {
    let routing = routing(
        RoutingKey::Attributes,
        &["service.name", "span.kind", "no.such", "span.name"],
        Signal::Traces,
    );
    let keys = keys(&routing, &accept(Signal::Traces, sample::rich_traces(2)));
    assert_eq!(String::from_utf8_lossy(&keys[0]), "checkoutServerGET /api/v1/orders/{orderId}/items");
    // That of the resource wins over a pseudo-attribute, and other values than texts count, too.
    let named = accept(Signal::Traces, sample::rich_traces(1)).edit_resources(|attributes| {
        attributes.upsert(&Attribute::new(SPAN_NAME, "of the resource"));
    });
    let routing = self::routing(RoutingKey::Attributes, &["span.name", "process.pid"], Signal::Traces);
    assert_eq!(self::keys(&routing, &named), [b"of the resource1"]);
}

#[test]
fn a_metric_has_its_name_as_key_and_a_stream_all_that_identifies_it() {
    let payload = accept(Signal::Metrics, sample::rich_metrics(30));
    let names: BTreeSet<_> =
        keys(&routing(RoutingKey::Metric, &[], Signal::Metrics), &payload).into_iter().collect();
    assert_eq!(names.len(), 3);
    let streams: BTreeSet<_> =
        keys(&routing(RoutingKey::StreamId, &[], Signal::Metrics), &payload).into_iter().collect();
    assert!(streams.len() > names.len(), "{}", streams.len());
}

proptest! {
    #[test]
    fn the_order_of_attributes_does_not_matter(
        pairs in prop::collection::btree_map("[a-z]{1,3}", "[a-z]{0,3}", 0..6),
        seed in any::<u64>(),
    ) {
        let mut shuffled: Vec<_> = pairs.iter().collect();
        fastrand::Rng::with_seed(seed).shuffle(&mut shuffled);
        let key = |pairs: Vec<(&String, &String)>| {
            let mut key = Vec::new();
            push_pairs(pairs.into_iter().map(|(k, v)| (k.as_str(), ValueRef::Str(v))), &mut key);
            key
        };
        prop_assert_eq!(key(shuffled), key(pairs.iter().collect()));
    }
}
