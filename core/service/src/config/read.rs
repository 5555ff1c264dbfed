//! Decodes every section of a document.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::Serialize;
use serde::de::DeserializeOwned;
use spanbridge_component::{ComponentId, IdError, Kind, PipelineId, Problem, Severity};
use spanbridge_config::document::Entry as KeyValue;
use spanbridge_config::{Decoded, Diagnostic, Diagnostics, Document, Node, Value, nearest};

use super::{Components, Config, Defined, Pipeline, ServiceSection, check};
use crate::registry::{Checks, Entry, Recipe, Registry, Role, Types};
use crate::telemetry;

const SERVICE: &str = "service";
const PIPELINES: &str = "pipelines";
const SECTIONS: [&str; 6] = ["receivers", "processors", "exporters", "connectors", "extensions", SERVICE];
const SERVICE_KEYS: [&str; 3] = ["telemetry", "extensions", PIPELINES];

/// Decodes and checks `document`.
pub(super) fn read(
    document: &Document,
    registry: &Registry,
    checks: Checks,
) -> Result<(Config, Diagnostics), Diagnostics> {
    let mut reader = Reader {
        document,
        checks,
        found: Diagnostics::new(),
        undecoded: Vec::new(),
        incomplete: BTreeSet::new(),
    };
    reader.refuse_unknown_keys(document.root(), &[], &SECTIONS);
    let components = Components {
        receivers: reader.section(&registry.receivers),
        processors: reader.section(&registry.processors),
        exporters: reader.section(&registry.exporters),
        connectors: reader.section(&registry.connectors),
        extensions: reader.section(&registry.extensions),
    };
    let service = reader.service();
    if checks == Checks::All {
        let definitions = check::Definitions {
            components: &components,
            undecoded: &reader.undecoded,
            incomplete: &reader.incomplete,
        };
        for problem in check::all(&definitions, &service) {
            reader.found.push(reader.place(&problem));
        }
    }
    let Reader { found, .. } = reader;
    if found.has_errors() { Err(found) } else { Ok((Config { components, service }, found)) }
}

/// Decodes, and collects what is wrong.
struct Reader<'a> {
    document: &'a Document,
    checks: Checks,
    found: Diagnostics,
    /// Components that are defined but could not be decoded: references to them are not wrong on top of that.
    undecoded: Vec<(Kind, ComponentId)>,
    /// Sections in which something could not be decoded: what seems to be missing there is not wrong on top of that.
    incomplete: BTreeSet<String>,
}

impl Reader<'_> {
    /// Decodes every component of one kind.
    fn section<R: Role>(&mut self, types: &Types<R>) -> Defined<R> {
        let section = R::KIND.section();
        let mut defined = BTreeMap::new();
        for entry in self.entries(&[section]) {
            let key = entry.key.text.as_str();
            let id = match key.parse::<ComponentId>() {
                Ok(id) => id,
                Err(error) => {
                    self.bad_id(&error, &[section, key]);
                    self.incomplete.insert(section.to_owned());
                    continue;
                }
            };
            if defined.contains_key(&id) || self.is_undecoded(R::KIND, &id) {
                self.error_at_key(&[section, key], format!("duplicate name \"{id}\" after trimming"), None);
                continue;
            }
            let recipe = if let Some(found) = types.find(id.type_name()) {
                self.component(found, &id, &entry.value, &[section, key])
            } else {
                self.unknown_type(types, &id, &[section, key]);
                None
            };
            match recipe {
                Some(recipe) => drop(defined.insert(id, recipe)),
                None => self.undecoded.push((R::KIND, id)),
            }
        }
        defined
    }

    fn component<R: Role>(
        &mut self,
        entry: &Arc<dyn Entry<R>>,
        id: &ComponentId,
        node: &Node,
        path: &[&str],
    ) -> Option<Arc<dyn Recipe<R>>> {
        let descriptor = entry.descriptor();
        let written = id.type_name();
        if written != descriptor.type_name {
            let message =
                format!("\"{written}\" alias is deprecated; use \"{}\" instead", descriptor.type_name);
            self.warn_at_key(path, message);
        }
        let (recipe, found) = entry.decode(self.document, node, path, self.checks);
        self.found.extend(found);
        recipe
    }

    fn unknown_type<R: Role>(&mut self, types: &Types<R>, id: &ComponentId, path: &[&str]) {
        let names = types.names();
        let help =
            nearest(id.type_name(), names.iter().copied()).map(|name| format!("did you mean \"{name}\"?"));
        let message = format!(
            "unknown type: \"{}\" for id: \"{id}\" (valid values: [{}])",
            id.type_name(),
            names.join(" ")
        );
        self.error_at_key(path, message, help);
    }

    /// Decodes the section `service`; what cannot be decoded keeps its default.
    fn service(&mut self) -> ServiceSection {
        let document = self.document;
        let Some(node) = document.root().get(SERVICE).filter(|node| !node.is_null()) else {
            return ServiceSection::default();
        };
        self.refuse_unknown_keys(node, &[SERVICE], &SERVICE_KEYS);
        let telemetry = node.get("telemetry").and_then(|node| {
            let path = [SERVICE, "telemetry"];
            let decoded: Decoded<telemetry::Config> = match self.checks {
                Checks::All => document.decode_and_validate(node, &path, telemetry::UNSUPPORTED),
                Checks::Types => document.decode(node, &path, telemetry::UNSUPPORTED),
            };
            let (mut config, found) = decoded.into_parts();
            self.found.extend(found);
            // The one block that is on by default and that null switches off, as in the Go collector.
            let is_off = node.get("logs").and_then(|logs| logs.get("sampling")).is_some_and(Node::is_null);
            if let Some(config) = config.as_mut().filter(|_| is_off) {
                config.logs.sampling.enabled = false;
            }
            config
        });
        let extensions = node.get("extensions").map(|node| self.decode(node, &[SERVICE, "extensions"]));
        if extensions.as_ref().is_some_and(Option::is_none) {
            self.incomplete.insert(check::EXTENSIONS.to_owned());
        }
        ServiceSection {
            telemetry: telemetry.unwrap_or_default(),
            extensions: extensions.flatten().unwrap_or_default(),
            pipelines: self.pipelines(),
        }
    }

    fn pipelines(&mut self) -> BTreeMap<PipelineId, Pipeline> {
        let mut pipelines = BTreeMap::new();
        for entry in self.entries(&[SERVICE, PIPELINES]) {
            let key = entry.key.text.as_str();
            let path = [SERVICE, PIPELINES, key];
            match key.parse::<PipelineId>() {
                Err(error) => {
                    self.bad_id(&error, &path);
                    self.incomplete.insert(PIPELINES.to_owned());
                }
                Ok(id) if pipelines.contains_key(&id) => {
                    self.error_at_key(&path, format!("duplicate name \"{id}\" after trimming"), None);
                }
                Ok(id) => {
                    let pipeline = self.decode::<Pipeline>(&entry.value, &path).map(Some).unwrap_or_default();
                    pipelines.insert(id, pipeline);
                }
            }
        }
        // A pipeline that could not be decoded was only there to be found as a duplicate.
        if pipelines.values().any(Option::is_none) {
            self.incomplete.insert(PIPELINES.to_owned());
        }
        pipelines.into_iter().filter_map(|(id, pipeline)| Some((id, pipeline?))).collect()
    }

    fn decode<T: DeserializeOwned + Serialize + Default>(&mut self, node: &Node, path: &[&str]) -> Option<T> {
        let (value, found) = self.document.decode::<T>(node, path, &[]).into_parts();
        self.found.extend(found);
        value
    }

    /// The entries of the map at `path`; absent and null are empty, anything else is an error.
    fn entries(&mut self, path: &[&str]) -> Vec<KeyValue> {
        let node = path.iter().try_fold(self.document.root(), |node, step| node.get(step));
        match node.map(|node| &node.value) {
            None | Some(Value::Null) => Vec::new(),
            Some(Value::Map(map)) => map.entries().to_vec(),
            Some(other) => {
                self.error_at_key(path, format!("expected a map, found {}", other.kind()), None);
                self.incomplete.extend(path.last().map(|section| (*section).to_owned()));
                Vec::new()
            }
        }
    }

    fn refuse_unknown_keys(&mut self, node: &Node, path: &[&str], known: &[&'static str]) {
        if !matches!(node.value, Value::Map(_) | Value::Null) {
            self.error_at_key(path, format!("expected a map, found {}", node.value.kind()), None);
            self.incomplete.extend(path.last().map(|section| (*section).to_owned()));
        }
        for entry in node.entries() {
            let key = entry.key.text.as_str();
            if !known.contains(&key) {
                let help = match nearest(key, known.iter().copied()) {
                    Some(near) => {
                        self.incomplete.insert(near.to_owned());
                        format!("did you mean \"{near}\"?")
                    }
                    None => format!("valid keys are {}", known.join(", ")),
                };
                let path: Vec<&str> = path.iter().copied().chain([key]).collect();
                self.error_at_key(&path, format!("unknown key \"{key}\""), Some(help));
            }
        }
    }

    fn bad_id(&mut self, error: &IdError, path: &[&str]) {
        let help = "an id is a type, or a type and a name: otlp, otlp/2";
        self.error_at_key(path, error.to_string(), Some(help.to_owned()));
    }

    fn is_undecoded(&self, kind: Kind, id: &ComponentId) -> bool {
        self.undecoded.iter().any(|(k, i)| *k == kind && i == id)
    }

    fn error_at_key(&mut self, path: &[&str], message: String, help: Option<String>) {
        self.push_at_key(path, &Problem { path: Vec::new(), message, help, severity: Severity::Error });
    }

    fn warn_at_key(&mut self, path: &[&str], message: String) {
        self.push_at_key(
            path,
            &Problem { path: Vec::new(), message, help: None, severity: Severity::Warning },
        );
    }

    fn push_at_key(&mut self, path: &[&str], problem: &Problem) {
        let diagnostic = self.document.diagnose(problem, self.document.root(), path);
        self.found.push(diagnostic);
    }

    /// Finds the place of a problem whose path begins at the root: an item of a list, else the key of a map.
    fn place(&self, problem: &Problem) -> Diagnostic {
        let root = self.document.root();
        let steps = written_steps(root, &problem.path);
        let (Some((last, parents)), Some(parent)) = (steps.split_last(), parent_of(root, &steps)) else {
            return self.document.diagnose(problem, root, &[]);
        };
        let is_item = matches!(parent.value, Value::List(_));
        // A text inside a component is wrong itself; elsewhere it is the key that is looked for.
        let is_text = parents.len() >= 2
            && parents[0] != SERVICE
            && parent.get(last).is_some_and(|node| node.as_str().is_some());
        if is_item || is_text {
            let problem = Problem { path: steps, ..problem.clone() };
            return self.document.diagnose(&problem, root, &[]);
        }
        let path: Vec<&str> = parents.iter().chain([last]).map(String::as_str).collect();
        self.document.diagnose(&Problem { path: Vec::new(), ..problem.clone() }, root, &path)
    }
}

/// The same steps with ids spelt as the document has them: `" otlp / 2 "` for `otlp/2`. Steps that lead nowhere are
/// left out, so that the problem is reported at what is around them.
fn written_steps(root: &Node, steps: &[String]) -> Vec<String> {
    let mut here = root;
    let mut written = Vec::new();
    for step in steps {
        let (key, next) = match &here.value {
            Value::List(items) => (step.as_str(), step.parse().ok().and_then(|i: usize| items.get(i))),
            _ => here
                .entries()
                .find(|e| e.key.text == *step || same_id(&e.key.text, step))
                .map_or((step.as_str(), None), |e| (e.key.text.as_str(), Some(&e.value))),
        };
        let Some(next) = next else { break };
        written.push(key.to_owned());
        here = next;
    }
    written
}

fn parent_of<'a>(root: &'a Node, steps: &[String]) -> Option<&'a Node> {
    let (_, parents) = steps.split_last()?;
    parents.iter().try_fold(root, |here, step| match &here.value {
        Value::List(items) => items.get(step.parse::<usize>().ok()?),
        _ => here.get(step),
    })
}

fn same_id(key: &str, id: &str) -> bool {
    key.parse::<ComponentId>().is_ok_and(|key| key.as_str() == id)
}
