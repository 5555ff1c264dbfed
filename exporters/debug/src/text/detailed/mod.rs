//! The layout `detailed`: one line a field.

mod data_points;
mod metrics;
mod traces;

pub(super) use data_points::buckets;
pub(super) use metrics::metrics;
pub(super) use traces::{logs, traces};

use std::fmt::Display;

use opentelemetry_proto::tonic::common::v1::{EntityRef, InstrumentationScope, KeyValue};
use opentelemetry_proto::tonic::resource::v1::Resource;

use super::value::Typed;
use super::{Text, line};

/// What all signals write of a resource: `title` is `ResourceSpans`, say.
fn resource(text: &mut Text<'_>, title: &str, index: usize, schema_url: &str, resource: Option<&Resource>) {
    line!(text, "{title} #{index}");
    line!(text, "Resource SchemaURL: {schema_url}");
    if let Some(resource) = resource {
        attributes(text, "", "Resource attributes:", &resource.attributes);
        entity_refs(text, &resource.entity_refs);
    }
}

/// What all signals write of a scope: `title` is `ScopeSpans`, say.
fn scope(
    text: &mut Text<'_>,
    title: &str,
    index: usize,
    schema_url: &str,
    scope: Option<&InstrumentationScope>,
) {
    line!(text, "{title} #{index}");
    line!(text, "{title} SchemaURL: {schema_url}");
    let Some(scope) = scope else {
        // Name and version are empty; both blanks stay.
        line!(text, "InstrumentationScope  ");
        return;
    };
    line!(text, "InstrumentationScope {} {}", scope.name, scope.version);
    attributes(text, "", "InstrumentationScope attributes:", &scope.attributes);
}

fn entity_refs(text: &mut Text<'_>, entity_refs: &[EntityRef]) {
    if entity_refs.is_empty() {
        return;
    }
    line!(text, "Resource entity refs:");
    for (index, entity) in entity_refs.iter().enumerate() {
        line!(text, "     -> Entity ref #{index}:");
        line!(text, "          -> Type: {}", entity.r#type);
        if !entity.schema_url.is_empty() {
            line!(text, "          -> Schema URL: {}", entity.schema_url);
        }
        keys(text, "ID keys", &entity.id_keys);
        keys(text, "Description keys", &entity.description_keys);
    }
}

fn keys(text: &mut Text<'_>, title: &str, keys: &[String]) {
    if keys.is_empty() {
        return;
    }
    line!(text, "          -> {title}:");
    for key in keys {
        line!(text, "               -> {key}");
    }
}

/// A block of attributes under `header`, everything moved right by `indent`; nothing when there are none.
fn attributes(text: &mut Text<'_>, indent: &str, header: impl Display, attributes: &[KeyValue]) {
    if attributes.is_empty() {
        return;
    }
    line!(text, "{header}");
    for attribute in attributes {
        line!(text, "{indent}     -> {}: {}", attribute.key, Typed(attribute.value.as_ref()));
    }
}

/// The indentation of blocks below `     -> Name`.
const NESTED: &str = "     ";
