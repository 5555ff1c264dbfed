//! `components`: the component types of this program.

use serde_json::{Map, Value, json};
use spanbridge_component::Kind;
use spanbridge_config::to_yaml;
use spanbridge_service::{Registered, Registry};

use crate::BUILD;

/// Schemes that configurations can be read from, in alphabetical order.
const SCHEMES: [&str; 5] = ["env", "file", "http", "https", "yaml"];

/// All component types as YAML (reference: collector-core, 1.5).
pub(super) fn list(registry: &Registry) -> String {
    let mut root = Map::new();
    root.insert(
        "buildinfo".into(),
        json!({ "command": BUILD.command, "description": BUILD.description, "version": BUILD.version }),
    );
    for kind in [Kind::Receiver, Kind::Processor, Kind::Exporter, Kind::Connector, Kind::Extension] {
        let types: Vec<Value> = registry.registered(kind).iter().map(component).collect();
        if !types.is_empty() {
            root.insert(kind.section().into(), types.into());
        }
    }
    let providers = SCHEMES.map(|scheme| json!({ "scheme": scheme, "module": module("spanbridge_config") }));
    root.insert("providers".into(), Value::Array(providers.into()));
    to_yaml(&Value::Object(root))
}

fn component(registered: &Registered) -> Value {
    let descriptor = registered.descriptor;
    let mut stability = Map::new();
    for (signal, level) in descriptor.signals {
        if registered.kind == Kind::Connector {
            for (_, output) in registered.connections.iter().filter(|(input, _)| input == signal) {
                stability.insert(format!("{signal}-to-{output}"), level.name().into());
            }
        } else {
            stability.insert(signal.name().into(), level.name().into());
        }
    }
    json!({ "name": descriptor.type_name, "module": module(registered.module), "stability": stability })
}

/// A crate of this program with its version: all crates share the program's.
fn module(krate: &str) -> String {
    format!("{krate} v{}", BUILD.version)
}
