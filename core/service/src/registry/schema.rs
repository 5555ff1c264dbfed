//! The JSON schema of a whole configuration.

use schemars::SchemaGenerator;
use serde_json::{Map, Value, json};

use super::{Registry, Role, Types};
use crate::config::ServiceSection;

/// The schema of a configuration made of the registry's types.
pub(super) fn of(registry: &Registry) -> Value {
    let mut generator = SchemaGenerator::default();
    let mut properties = Map::new();
    section(&registry.receivers, &mut generator, &mut properties);
    section(&registry.processors, &mut generator, &mut properties);
    section(&registry.exporters, &mut generator, &mut properties);
    section(&registry.connectors, &mut generator, &mut properties);
    section(&registry.extensions, &mut generator, &mut properties);
    let service = generator.subschema_for::<ServiceSection>();
    properties.insert("service".into(), json!({ "anyOf": [service, { "type": "null" }] }));
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Spanbridge configuration",
        "type": "object",
        "properties": properties,
        "additionalProperties": false,
        "$defs": generator.take_definitions(true),
    })
}

/// One section: a map from ids, whose type decides what is allowed below them. Null stands for all defaults.
fn section<R: Role>(types: &Types<R>, generator: &mut SchemaGenerator, properties: &mut Map<String, Value>) {
    let mut patterns = Map::new();
    for entry in types.iter() {
        let schema = entry.schema(generator);
        let descriptor = entry.descriptor();
        for (index, name) in std::iter::once(&descriptor.type_name).chain(descriptor.aliases).enumerate() {
            let mut allowed = json!({ "anyOf": [schema, { "type": "null" }] });
            if index > 0 {
                allowed["deprecated"] = true.into();
                allowed["description"] = format!("Deprecated alias of {}.", descriptor.type_name).into();
            }
            patterns.insert(format!("^\\s*{name}\\s*(/.+)?$"), allowed);
        }
    }
    let section =
        json!({ "type": ["object", "null"], "patternProperties": patterns, "additionalProperties": false });
    properties.insert(R::KIND.section().into(), section);
}
