//! What a configuration type and a descriptor owe.

use serde_json::{Value, json};
use spanbridge_component::{ComponentType, Config, Descriptor, Problem, Problems, Severity};
use spanbridge_config::Diagnostics;

/// A key that no component has.
const NO_KEY_OF_OURS: &str = "no_such_key_anywhere";

/// The default, printed and read back, prints the same.
pub fn the_default_survives_a_round_trip<C: Config>() {
    let printed = to_value(&C::default());
    let read = from_value::<C>(&printed).unwrap_or_else(|error| panic!("{error} in {printed}"));
    assert_eq!(to_value(&read), printed, "read back, the default is something else");
}

/// A document without keys is the default: `Default` is the only source of defaults.
pub fn an_empty_document_is_the_default<C: Config>() {
    let read = from_value::<C>(&json!({})).unwrap_or_else(|error| panic!("{error} in an empty document"));
    assert_eq!(to_value(&read), to_value(&C::default()), "serde and `Default` disagree");
}

/// A key that the configuration does not have is an error that names it.
pub fn unknown_keys_are_refused<C: Config>() {
    let Err(error) = from_value::<C>(&json!({ NO_KEY_OF_OURS: 1 })) else {
        panic!("an unknown key was accepted");
    };
    assert!(error.to_string().contains(NO_KEY_OF_OURS), "the error does not name the key: {error}");
}

/// The JSON schema has every key, and each has a description.
pub fn the_schema_describes_every_key<C: Config>() {
    let schema = schemars::schema_for!(C).to_value();
    let properties = schema.get("properties").cloned().unwrap_or_else(|| json!({}));
    let Value::Object(keys) = to_value(&C::default()) else {
        panic!("a configuration is a map");
    };
    for key in keys.keys() {
        let property = properties.get(key).unwrap_or_else(|| panic!("the schema lacks the key {key}"));
        let described = property.get("description").and_then(Value::as_str).is_some_and(|d| !d.is_empty());
        assert!(described, "the key {key} has no doc comment");
    }
}

/// `config` validates without an error.
pub fn valid<C: Config>(config: &C) {
    let errors: Vec<Problem> = errors(config);
    assert!(errors.is_empty(), "the configuration under test is not valid: {errors:?}");
}

/// Names are well-formed and distinct, and no key is both known and refused by name.
pub fn the_descriptor_is_sound<C: Config>(descriptor: &Descriptor) {
    let names: Vec<&str> =
        [descriptor.type_name].into_iter().chain(descriptor.aliases.iter().copied()).collect();
    for (i, name) in names.iter().enumerate() {
        assert!(name.parse::<ComponentType>().is_ok(), "{name} is no component type");
        assert!(!names[..i].contains(name), "{name} is there twice");
    }
    for (i, (signal, _)) in descriptor.signals.iter().enumerate() {
        let again = descriptor.signals[..i].iter().any(|(earlier, _)| earlier == signal);
        assert!(!again, "{signal} is there twice");
    }
    let defaults = to_value(&C::default());
    for unsupported in descriptor.unsupported {
        let known = defaults.get(unsupported.path).is_some();
        assert!(!known, "{} is a key of the configuration and refused as well", unsupported.path);
        assert!(!unsupported.reason.is_empty(), "{} is refused without a reason", unsupported.path);
    }
}

fn errors<C: Config>(config: &C) -> Vec<Problem> {
    let mut problems = Problems::new();
    config.validate(&mut problems);
    problems.into_found().into_iter().filter(|problem| problem.severity == Severity::Error).collect()
}

fn to_value<C: Config>(config: &C) -> Value {
    serde_json::to_value(config).expect("a configuration serializes")
}

/// Through our own deserializer, as every configuration is read: optional blocks need it. JSON is YAML.
fn from_value<C: Config>(value: &Value) -> Result<C, Diagnostics> {
    spanbridge_config::from_yaml(&value.to_string())
}
