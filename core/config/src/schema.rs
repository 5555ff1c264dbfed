//! JSON schemas of configurations, for editors.

use schemars::transform::{Transform, transform_subschemas};
use schemars::{JsonSchema, Schema};
use serde_json::{Map, Value as Json, json};

/// Loosens the schema of a whole configuration by what every value may be instead: null, which keeps the default, and a
/// `${...}` reference.
///
/// `schema` is a complete schema with its `$defs`, made from the types' own `JsonSchema`.
pub fn permit_references(schema: Json) -> Json {
    let Ok(mut schema) = Schema::try_from(schema) else { return Json::Bool(true) };
    transform_subschemas(&mut References, &mut schema);
    schema.to_value()
}

/// The schema of a map from ids, whose type decides what their values look like.
///
/// `types` gives the name of each component type, whether it is deprecated, and the schema of its configuration.
pub fn section<'a>(types: impl IntoIterator<Item = (&'a str, bool, Schema)>) -> Json {
    let mut patterns = Map::new();
    for (name, deprecated, schema) in types {
        let mut allowed = json!({ "anyOf": [schema, { "type": "null" }] });
        if deprecated {
            allowed["deprecated"] = true.into();
        }
        patterns.insert(format!("^\\s*{name}\\s*(/.+)?$"), allowed);
    }
    json!({ "type": ["object", "null"], "patternProperties": patterns, "additionalProperties": false })
}

/// Adds the alternatives to every schema that does not allow them yet.
struct References;

impl Transform for References {
    fn transform(&mut self, schema: &mut Schema) {
        // The choices of an enum are told apart by their constants; the enum as a whole gets the alternatives.
        let is_choice = |schema: &Json| schema.get("const").is_some() || schema.get("enum").is_some();
        let is_enum = schema.get("enum").is_some()
            || schema
                .get("oneOf")
                .and_then(Json::as_array)
                .is_some_and(|choices| choices.iter().all(is_choice));
        if !is_enum {
            transform_subschemas(self, schema);
        }
        if schema.get("type").is_some_and(|name| name == "string") && !is_bounded_text(schema) && !is_enum {
            schema.insert("type".to_owned(), json!(["string", "null"]));
        } else if is_enum || is_bounded_text(schema) || is_closed_type(schema) {
            let texts = ["title", "description", "default", "deprecated"];
            let Some(object) = schema.as_object_mut() else { return };
            let kept: Map<String, Json> = texts.iter().filter_map(|key| object.remove_entry(*key)).collect();
            let inner = std::mem::take(object);
            let mut loose = schemars::json_schema!({
                "anyOf": [inner, { "type": "null" }, { "type": "string", "pattern": "\\$\\{.+\\}" }]
            });
            if let Some(object) = loose.as_object_mut() {
                object.extend(kept);
            }
            *schema = loose;
        }
    }
}

/// Whether it wants a text of some form.
fn is_bounded_text(schema: &Schema) -> bool {
    ["pattern", "format", "minLength", "maxLength"].iter().any(|key| schema.get(*key).is_some())
}

/// Whether it wants a type that is no text.
fn is_closed_type(schema: &Schema) -> bool {
    match schema.get("type") {
        Some(Json::String(name)) => name != "string" && name != "null",
        Some(Json::Array(names)) => !names.iter().any(|name| name == "string"),
        _ => false,
    }
}

/// The schema of one configuration type, as a whole document.
pub fn of<T: JsonSchema>() -> Json {
    permit_references(schemars::schema_for!(T).to_value())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(JsonSchema)]
    #[serde(rename_all = "snake_case")]
    #[expect(dead_code, reason = "only its schema counts")]
    enum Level {
        /// Little.
        Basic,
        Detailed,
    }

    #[derive(JsonSchema)]
    #[serde(deny_unknown_fields)]
    #[expect(dead_code, reason = "only its schema counts")]
    struct Config {
        name: String,
        /// How many.
        size: u32,
        level: Level,
        names: Vec<String>,
    }

    #[test]
    fn every_value_but_a_text_may_be_null_or_a_reference() {
        insta::assert_snapshot!(format!("{:#}", of::<Config>()));
    }

    #[test]
    fn a_section_is_keyed_by_type_and_name() {
        let section = section([("otlp", false, schemars::json_schema!({ "type": "object" }))]);
        assert!(section["patternProperties"].as_object().unwrap().contains_key("^\\s*otlp\\s*(/.+)?$"));
    }
}
