//! What reads, remembers and reports while a configuration is loaded.

use std::collections::{HashMap, HashSet};
use std::rc::Rc;

use super::environment::Environment;
use super::provider::{self, Retrieved};
use super::uri::{SCHEMES, Uri};
use crate::diagnostic::{Diagnostic, Diagnostics, hide_secret_lines, hide_secrets};
use crate::document::{Node, SourceId, SourceMap, Span, Value};
use crate::yaml;

/// State of one loading.
pub(super) struct Loader<'e> {
    environment: &'e dyn Environment,
    pub(super) sources: SourceMap,
    pub(super) found: Diagnostics,
    /// Every reference is read once, so that one configuration sees one state of a file.
    cache: HashMap<Uri, Result<Rc<Parsed>, String>>,
    noticed: HashSet<String>,
}

/// What a reference stands for.
pub(super) struct Parsed {
    pub(super) text: String,
    /// Of a file: with places in that file. Otherwise without places.
    pub(super) node: Node,
}

impl<'e> Loader<'e> {
    pub(super) fn new(environment: &'e dyn Environment) -> Self {
        Self {
            environment,
            sources: SourceMap::new(),
            found: Diagnostics::new(),
            cache: HashMap::new(),
            noticed: HashSet::new(),
        }
    }

    /// Reports something at a place.
    pub(super) fn fail(&mut self, diagnostic: Diagnostic, span: Span) {
        self.found.push(diagnostic.with_location(self.sources.locate(span)));
    }

    /// A whole source of the command line; `None` if it failed, which is reported.
    pub(super) fn source(&mut self, argument: &str) -> Option<Node> {
        let uri = match Uri::of_argument(argument) {
            Ok(uri) => uri,
            Err(message) => {
                let help = format!("supported are paths and {}", SCHEMES.join(", "));
                self.found.push(Diagnostic::error(message).with_help(help));
                return None;
            }
        };
        let name = match uri.scheme.as_str() {
            "file" => uri.opaque.clone(),
            "yaml" => "yaml".to_owned(),
            _ => uri.to_string(),
        };
        match provider::retrieve(&uri, self.environment) {
            Ok(retrieved) => {
                self.notice(&retrieved, "", Span::NONE);
                self.text(&name, retrieved.text)
            }
            Err(message) => {
                self.found.push(Diagnostic::error(message));
                None
            }
        }
    }

    /// A text that must hold a map; `None` if it does not, which is reported.
    pub(super) fn text(&mut self, name: &str, text: String) -> Option<Node> {
        let id = self.sources.add(name, text);
        let parsed = self.sources.get(id).map(|source| yaml::parse(source.text(), id))?;
        match parsed {
            Ok(Node { value: Value::Null, .. }) => Some(Node::empty_map()),
            Ok(node @ Node { value: Value::Map(_), .. }) => {
                hide_secrets(&node, &self.sources);
                Some(node)
            }
            Ok(node) => {
                let kind = node.value.kind();
                let error = Diagnostic::error(format!("the configuration must be a map, found {kind}"));
                self.fail(error, node.span);
                None
            }
            Err(error) => {
                hide_secret_lines(id, &self.sources);
                let mut diagnostic = Diagnostic::error(error.message);
                diagnostic.help = error.help;
                self.fail(diagnostic, error.span);
                None
            }
        }
    }

    /// What the inside of a `${...}` stands for. The error is for the user.
    pub(super) fn reference(&mut self, inside: &str, path: &str, span: Span) -> Result<Rc<Parsed>, String> {
        let uri = Uri::of_reference(inside)?;
        if let Some(parsed) = self.cache.get(&uri) {
            return parsed.clone();
        }
        let parsed = provider::retrieve(&uri, self.environment).map(|retrieved| {
            self.notice(&retrieved, path, span);
            Rc::new(self.parse(&uri, retrieved))
        });
        self.cache.insert(uri, parsed.clone());
        parsed
    }

    /// The value of a text: YAML, or the text itself where it is a string or no YAML.
    fn parse(&mut self, uri: &Uri, Retrieved { text, verbatim, .. }: Retrieved) -> Parsed {
        let mut node = Node::new(Value::String(text.clone()), Span::NONE);
        if verbatim {
            return Parsed { text, node };
        }
        let parsed = yaml::parse(&text, SourceId::NONE).map(|node| node.value);
        match parsed {
            Err(_) | Ok(Value::String(_)) => {}
            Ok(Value::Map(_) | Value::List(_)) if uri.is_document() => {
                let id = self.sources.add(uri.to_string(), text.clone());
                if let Ok(parsed) = yaml::parse(&text, id) {
                    hide_secrets(&parsed, &self.sources);
                    node = parsed;
                }
            }
            Ok(value) => node.value = value,
        }
        Parsed { text, node }
    }

    fn notice(&mut self, retrieved: &Retrieved, path: &str, span: Span) {
        let Some(notice) = &retrieved.notice else { return };
        let message = notice.message();
        if self.noticed.insert(message.clone()) {
            self.fail(Diagnostic::warning(message).with_path(path), span);
        }
    }
}
