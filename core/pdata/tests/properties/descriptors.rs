//! The official message types, as opentelemetry-proto ships them: what requests are generated from.

use std::sync::LazyLock;

use prost::Message as _;
use prost_types::field_descriptor_proto::{Label, Type};
use prost_types::{DescriptorProto, FieldDescriptorProto, FileDescriptorSet};
use spanbridge_pdata::Signal;

/// A message type and its fields.
#[derive(Debug)]
pub struct MessageType {
    pub name: String,
    pub fields: Vec<FieldType>,
    /// Which of the fields lead to items, or to nested values.
    pub containers: Vec<usize>,
}

/// A field of a message type.
#[derive(Debug)]
pub struct FieldType {
    pub number: u32,
    pub name: String,
    pub ty: Type,
    pub repeated: bool,
    /// Index of the type of an embedded message.
    message: Option<usize>,
}

impl FieldType {
    /// The type of an embedded message.
    pub fn message(&self) -> Option<&'static MessageType> {
        self.message.map(|index| &TYPES[index])
    }
}

static TYPES: LazyLock<Vec<MessageType>> = LazyLock::new(|| {
    let set =
        FileDescriptorSet::decode(opentelemetry_proto::DESCRIPTORS).expect("opentelemetry-proto is sound");
    let mut all = Vec::new();
    for file in &set.file {
        for message in &file.message_type {
            collect(&format!(".{}", file.package()), message, &mut all);
        }
    }
    all.iter().map(|(name, message)| message_type(name, message, &all)).collect()
});

fn collect<'a>(scope: &str, message: &'a DescriptorProto, all: &mut Vec<(String, &'a DescriptorProto)>) {
    let name = format!("{scope}.{}", message.name());
    for nested in &message.nested_type {
        collect(&name, nested, all);
    }
    all.push((name, message));
}

fn message_type(name: &str, message: &DescriptorProto, all: &[(String, &DescriptorProto)]) -> MessageType {
    let field = |field: &FieldDescriptorProto| FieldType {
        number: field.number().cast_unsigned(),
        name: field.name().to_owned(),
        ty: field.r#type(),
        repeated: field.label() == Label::Repeated,
        message: all
            .iter()
            .position(|(name, _)| field.r#type() == Type::Message && name == field.type_name()),
    };
    let fields: Vec<_> = message.field.iter().map(field).collect();
    let containers = (0..fields.len()).filter(|index| is_container(&fields[*index])).collect();
    MessageType { name: name.to_owned(), fields, containers }
}

fn is_container(field: &FieldType) -> bool {
    const EXACT: [&str; 9] = [
        "metrics",
        "spans",
        "log_records",
        "gauge",
        "sum",
        "histogram",
        "exponential_histogram",
        "data_points",
        "values",
    ];
    let name = field.name.as_str();
    let is_level = name.starts_with("resource_") || name.starts_with("scope_") || EXACT.contains(&name);
    is_level && field.message.is_some()
}

/// The type of a signal's requests.
pub fn request_type(signal: Signal) -> &'static MessageType {
    static REQUESTS: LazyLock<[&'static MessageType; 3]> = LazyLock::new(|| {
        ["trace.v1.ExportTrace", "metrics.v1.ExportMetrics", "logs.v1.ExportLogs"].map(|name| {
            let name = format!(".opentelemetry.proto.collector.{name}ServiceRequest");
            TYPES.iter().find(|ty| ty.name == name).expect("opentelemetry-proto is complete")
        })
    });
    REQUESTS[signal.index()]
}
