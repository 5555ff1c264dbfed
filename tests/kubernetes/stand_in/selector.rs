//! Label and field selectors, as far as the API server knows them.

use serde_json::Value as Json;

/// Fields of pods that can be selected by; of everything else only the name and namespace.
const POD_FIELDS: [&str; 4] = ["spec.nodeName", "spec.hostNetwork", "status.phase", "status.podIP"];
const FIELDS: [&str; 2] = ["metadata.name", "metadata.namespace"];

/// What a request selects.
#[derive(Debug, Clone, Default)]
pub(super) struct Selector {
    labels: Vec<Term>,
    fields: Vec<Term>,
}

#[derive(Debug, Clone)]
enum Term {
    Equals(String, String),
    NotEquals(String, String),
    Exists(String),
    Absent(String),
}

impl Selector {
    /// Reads both texts; the error is what the server answers.
    pub(super) fn parse(plural: &str, labels: &str, fields: &str) -> Result<Self, String> {
        if labels.contains("===") {
            return Err("unable to parse requirement: found '=', expected: identifier".to_owned());
        }
        let parse = |text: &str| text.split(',').filter(|t| !t.is_empty()).map(term).collect::<Vec<_>>();
        let selector = Self { labels: parse(labels), fields: parse(fields) };
        for term in &selector.fields {
            let (Term::Equals(key, _) | Term::NotEquals(key, _)) = term else {
                return Err(format!("invalid field selector: {fields}"));
            };
            let known =
                FIELDS.contains(&key.as_str()) || plural == "pods" && POD_FIELDS.contains(&key.as_str());
            if !known && ["pods", "nodes", "namespaces"].contains(&plural) {
                return Err(format!("field label not supported: {key}"));
            }
            if !known {
                let only = "only \"metadata.name\", \"metadata.namespace\"";
                return Err(format!("\"{key}\" is not a known field selector: {only}"));
            }
        }
        Ok(selector)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.labels.is_empty() && self.fields.is_empty()
    }

    pub(super) fn matches(&self, object: &Json) -> bool {
        let label = |key: &str| object["metadata"]["labels"][key].as_str().map(str::to_owned);
        let field = |key: &str| {
            let value = key.split('.').fold(object, |object, step| &object[step]);
            Some(value.as_str().map_or_else(|| value.to_string().replace("null", ""), str::to_owned))
        };
        self.labels.iter().all(|term| term.holds(label)) && self.fields.iter().all(|term| term.holds(field))
    }
}

fn term(text: &str) -> Term {
    if let Some((key, value)) = text.split_once("!=") {
        Term::NotEquals(key.to_owned(), value.to_owned())
    } else if let Some((key, value)) = text.split_once('=') {
        Term::Equals(key.to_owned(), value.trim_start_matches('=').to_owned())
    } else if let Some(key) = text.strip_prefix('!') {
        Term::Absent(key.to_owned())
    } else {
        Term::Exists(text.to_owned())
    }
}

impl Term {
    fn holds(&self, value_of: impl Fn(&str) -> Option<String>) -> bool {
        match self {
            Self::Equals(key, value) => value_of(key).as_ref() == Some(value),
            Self::NotEquals(key, value) => value_of(key).as_ref() != Some(value),
            Self::Exists(key) => value_of(key).is_some(),
            Self::Absent(key) => value_of(key).is_none(),
        }
    }
}
