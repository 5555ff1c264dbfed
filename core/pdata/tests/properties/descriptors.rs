//! The official message types, as opentelemetry-proto ships them: what requests are generated from.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use prost::Message as _;
use prost_types::field_descriptor_proto::{Label, Type};
use prost_types::{DescriptorProto, FileDescriptorSet};
use spanbridge_pdata::Signal;

/// A message type and its fields.
#[derive(Debug)]
pub struct MessageType {
    pub name: String,
    pub fields: Vec<FieldType>,
}

/// A field of a message type.
#[derive(Debug)]
pub struct FieldType {
    pub number: u32,
    pub name: String,
    pub ty: Type,
    pub repeated: bool,
    /// The type of an embedded message.
    pub message: Option<String>,
}

static TYPES: LazyLock<BTreeMap<String, MessageType>> = LazyLock::new(|| {
    let set =
        FileDescriptorSet::decode(opentelemetry_proto::DESCRIPTORS).expect("opentelemetry-proto is sound");
    let mut types = BTreeMap::new();
    for file in &set.file {
        for message in &file.message_type {
            add(&mut types, &format!(".{}", file.package()), message);
        }
    }
    types
});

fn add(types: &mut BTreeMap<String, MessageType>, scope: &str, message: &DescriptorProto) {
    let name = format!("{scope}.{}", message.name());
    for nested in &message.nested_type {
        add(types, &name, nested);
    }
    let fields = message.field.iter().map(|field| FieldType {
        number: field.number().cast_unsigned(),
        name: field.name().to_owned(),
        ty: field.r#type(),
        repeated: field.label() == Label::Repeated,
        message: field.type_name.clone().filter(|_| field.r#type() == Type::Message),
    });
    let fields = fields.collect();
    types.insert(name.clone(), MessageType { name, fields });
}

/// The message type with this full name, such as `.opentelemetry.proto.trace.v1.Span`.
pub fn message_type(name: &str) -> &'static MessageType {
    &TYPES[name]
}

/// The type of a signal's requests.
pub fn request_type(signal: Signal) -> &'static MessageType {
    message_type(match signal {
        Signal::Traces => ".opentelemetry.proto.collector.trace.v1.ExportTraceServiceRequest",
        Signal::Metrics => ".opentelemetry.proto.collector.metrics.v1.ExportMetricsServiceRequest",
        Signal::Logs => ".opentelemetry.proto.collector.logs.v1.ExportLogsServiceRequest",
    })
}
