//! Which backend an item goes to.

use spanbridge_pdata::{Item, ItemKind, Payload, ResourceView, Signal, Value, ValueRef};

use crate::RoutingKey;
use crate::ring::Ring;

/// The resource attribute that `service` looks at.
const SERVICE_NAME: &str = "service.name";

/// Pseudo-attributes of `routing_attributes`.
const SPAN_NAME: &str = "span.name";
const SPAN_KIND: &str = "span.kind";
const LOG_SEVERITY: &str = "log.severity";

/// Between the parts of a key that are joined, so that different parts do not make equal keys.
const SEPARATOR: u8 = 0xff;

/// What decides, for one signal.
#[derive(Debug, Clone)]
pub(crate) struct Routing {
    key: RoutingKey,
    attributes: Vec<String>,
}

impl Routing {
    /// Routing of `signal` by `key`; `None` if its items have no such key.
    pub(crate) fn new(key: RoutingKey, attributes: &[String], signal: Signal) -> Option<Self> {
        Some(Self { key: key.of(signal)?, attributes: attributes.to_vec() })
    }

    /// Deals the payload out to the endpoints of `ring`, by their numbers. `is_out` says which of them are to be spared.
    pub(crate) fn deal(&self, payload: &Payload, ring: &Ring, is_out: &[bool]) -> Vec<Payload> {
        let mut key = Vec::new();
        let is_out = |number: usize| is_out.get(number).copied().unwrap_or(false);
        let find = |key: &[u8]| ring.find(key, is_out).unwrap_or_default();
        match self.key {
            RoutingKey::Service => payload.partition_resources(ring.len(), |resource| {
                key.clear();
                push_service(resource, &mut key);
                find(&key)
            }),
            RoutingKey::Resource => payload.partition_resources(ring.len(), |resource| {
                key.clear();
                push_pairs(resource.attributes(), &mut key);
                find(&key)
            }),
            _ => payload.partition_items(ring.len(), |item| {
                key.clear();
                self.push_item(&item, &mut key);
                find(&key)
            }),
        }
    }

    fn push_item(&self, item: &Item<'_>, key: &mut Vec<u8>) {
        match self.key {
            RoutingKey::Attributes => {
                for name in &self.attributes {
                    push_attribute(item, name, key);
                }
            }
            RoutingKey::Metric => key.extend_from_slice(item.name().as_bytes()),
            RoutingKey::StreamId => push_stream(item, key),
            // Without a trace id there is nothing that it would have to be together with.
            _ if item.trace_id().is_empty() => key.extend_from_slice(&fastrand::u64(..).to_ne_bytes()),
            _ => key.extend_from_slice(item.trace_id()),
        }
    }
}

/// What has no service name has the empty one, and goes to one backend all together.
fn push_service(resource: ResourceView<'_>, key: &mut Vec<u8>) {
    if let Some(name) = resource.get(SERVICE_NAME) {
        push_value(&name, key);
    }
}

/// The value of the attribute `name`: that of the resource, the scope, a pseudo-attribute or the item, whichever comes
/// first. Values follow one another without a separator, as in the Go exporter.
fn push_attribute(item: &Item<'_>, name: &str, key: &mut Vec<u8>) {
    if let Some(value) = item.resource().get(name).or_else(|| item.scope_attribute(name)) {
        return push_value(&value, key);
    }
    match (item.kind(), name) {
        (ItemKind::Span, SPAN_NAME) => key.extend_from_slice(item.name().as_bytes()),
        (ItemKind::Span, SPAN_KIND) => key.extend_from_slice(span_kind(item.span_kind()).as_bytes()),
        (ItemKind::LogRecord, LOG_SEVERITY) => key.extend_from_slice(item.severity_text().as_bytes()),
        _ => {
            if let Some(value) = item.attribute(name) {
                push_value(&value, key);
            }
        }
    }
}

/// As the Go collector words it.
fn span_kind(number: i32) -> &'static str {
    match number {
        0 => "Unspecified",
        1 => "Internal",
        2 => "Server",
        3 => "Client",
        4 => "Producer",
        5 => "Consumer",
        _ => "",
    }
}

/// What makes a time series.
fn push_stream(item: &Item<'_>, key: &mut Vec<u8>) {
    push_pairs(item.resource().attributes(), key);
    for text in [item.scope_name(), item.scope_version(), item.name()] {
        key.extend_from_slice(text.as_bytes());
        key.push(SEPARATOR);
    }
    push_pairs(item.scope_attributes(), key);
    push_pairs(item.attributes(), key);
}

/// Attributes in an order that does not depend on how they were sent.
fn push_pairs<'a>(pairs: impl Iterator<Item = (&'a str, ValueRef<'a>)>, key: &mut Vec<u8>) {
    let mut pairs: Vec<_> = pairs.collect();
    pairs.sort_by_key(|(name, _)| *name);
    for (name, value) in pairs {
        key.extend_from_slice(name.as_bytes());
        key.push(SEPARATOR);
        push_value(&value, key);
        key.push(SEPARATOR);
    }
    key.push(SEPARATOR);
}

/// Texts and bytes as they are, so that a text makes the key that it makes in the Go exporter; other values as they print.
fn push_value(value: &ValueRef<'_>, key: &mut Vec<u8>) {
    match value {
        ValueRef::Empty => {}
        ValueRef::Str(text) => key.extend_from_slice(text.as_bytes()),
        ValueRef::Bytes(bytes) => key.extend_from_slice(bytes),
        ValueRef::Bool(value) => key.extend_from_slice(value.to_string().as_bytes()),
        ValueRef::Int(number) => key.extend_from_slice(number.to_string().as_bytes()),
        ValueRef::Double(number) => key.extend_from_slice(number.to_string().as_bytes()),
        ValueRef::List(_) | ValueRef::Map(_) => push_nested(&value.to_value(), key),
    }
}

fn push_nested(value: &Value, key: &mut Vec<u8>) {
    key.extend_from_slice(format!("{value:?}").as_bytes());
}

#[cfg(test)]
mod tests;
