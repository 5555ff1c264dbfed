//! From what users write to conditions. What is wrong is refused with the reference's texts.

use regex::Regex;
use spanbridge_attributes::{suggestion, typed};
use spanbridge_component::Problems;
use spanbridge_config::AnyValue;
use spanbridge_pdata::Value;

use super::matcher::{AttributeTest, LibraryTest, Matcher, SeverityTest, Texts, ValueTest};
use crate::{AttributeMatch, LibraryMatch, MatchConfig};

/// The values of `match_type`.
pub(crate) const STRICT: &str = "strict";
pub(crate) const REGEXP: &str = "regexp";
/// The kinds that a span can be said to have, in alphabetical order.
const SPAN_KINDS: [&str; 5] = [
    "SPAN_KIND_CLIENT",
    "SPAN_KIND_CONSUMER",
    "SPAN_KIND_INTERNAL",
    "SPAN_KIND_PRODUCER",
    "SPAN_KIND_SERVER",
];

/// Why a block is refused, and where.
#[derive(Debug)]
pub(crate) struct Fault {
    /// Keys and indices from the block.
    path: Vec<String>,
    pub(crate) message: String,
    help: Option<String>,
}

impl Fault {
    /// Reports it to `problems`, at the place of the block.
    pub(crate) fn report(self, problems: &mut Problems) {
        match self.path.split_first() {
            None => {
                problems.error(self.message);
                if let Some(help) = self.help {
                    problems.help(help);
                }
            }
            Some((step, rest)) => {
                let inner = Self { path: rest.to_vec(), ..self };
                problems.at(step.clone(), |problems| inner.report(problems));
            }
        }
    }
}

/// The conditions of `config`, or everything that is wrong with them, which is at least one thing.
pub(crate) fn compile(config: &MatchConfig) -> Result<Matcher, Vec<Fault>> {
    let mut compiler = Compiler { how: How::of(config), used: false, faults: Vec::new() };
    let matcher = compiler.matcher(config);
    compiler.check_match_type(config);
    if compiler.faults.is_empty() { Ok(matcher) } else { Err(compiler.faults) }
}

/// How texts are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum How {
    Equal,
    Matching,
    /// `match_type` says nothing, or nothing that is known.
    Unknown,
}

impl How {
    fn of(config: &MatchConfig) -> Self {
        match config.match_type.as_str() {
            STRICT => Self::Equal,
            REGEXP => Self::Matching,
            _ => Self::Unknown,
        }
    }
}

struct Compiler {
    how: How,
    /// Whether there was anything to compare.
    used: bool,
    faults: Vec<Fault>,
}

impl Compiler {
    fn matcher(&mut self, config: &MatchConfig) -> Matcher {
        self.check_span_kinds(config);
        let severity = config.log_severity_number.as_ref();
        Matcher {
            services: self.list("services", &config.services),
            resources: self.attributes("resources", &config.resources),
            libraries: self.libraries(&config.libraries),
            metric_names: self.list("metric_names", &config.metric_names),
            span_names: self.list("span_names", &config.span_names),
            span_kinds: self.list("span_kinds", &config.span_kinds),
            log_bodies: self.list("log_bodies", &config.log_bodies),
            severity_texts: self.list("log_severity_texts", &config.log_severity_texts),
            severity: severity
                .map(|config| SeverityTest { min: config.min, undefined: config.match_undefined }),
            attributes: self.attributes("attributes", &config.attributes),
        }
    }

    fn list(&mut self, key: &str, texts: &[String]) -> Option<Texts> {
        if texts.is_empty() {
            return None;
        }
        let paths = (0..texts.len()).map(|index| vec![key.to_owned(), index.to_string()]);
        let texts: Vec<_> = texts.iter().map(String::as_str).zip(paths).collect();
        Some(self.texts(texts))
    }

    fn texts(&mut self, texts: Vec<(&str, Vec<String>)>) -> Texts {
        self.used = true;
        if self.how == How::Matching {
            let patterns = texts.into_iter().filter_map(|(text, path)| self.pattern(text, path));
            Texts::Matching(patterns.collect())
        } else {
            Texts::Equal(texts.into_iter().map(|(text, _)| text.into()).collect())
        }
    }

    fn pattern(&mut self, pattern: &str, path: Vec<String>) -> Option<Regex> {
        match Regex::new(pattern) {
            Ok(regex) => Some(regex),
            Err(error) => {
                let message = format!("error parsing regexp: {pattern:?} is no regular expression");
                self.faults.push(Fault { path, message, help: Some(error.to_string()) });
                None
            }
        }
    }

    fn libraries(&mut self, libraries: &[LibraryMatch]) -> Box<[LibraryTest]> {
        let tests = libraries.iter().enumerate().map(|(index, library)| {
            let path = |key: &str| vec!["libraries".to_owned(), index.to_string(), key.to_owned()];
            let name = self.texts(vec![(&library.name, path("name"))]);
            let version =
                library.version.as_ref().map(|version| self.texts(vec![(version, path("version"))]));
            LibraryTest { name, version }
        });
        tests.collect()
    }

    fn attributes(&mut self, key: &str, attributes: &[AttributeMatch]) -> Box<[AttributeTest]> {
        let mut tests = Vec::with_capacity(attributes.len());
        for (index, attribute) in attributes.iter().enumerate() {
            let path = |field: &str| vec![key.to_owned(), index.to_string(), field.to_owned()];
            if attribute.key.is_empty() {
                let mut path = path("key");
                path.truncate(2);
                self.fault(path, "can't have empty key in the list of attributes".to_owned());
            }
            let value = self.value(attribute, path("value"));
            tests.push(AttributeTest { key: attribute.key.as_str().into(), value });
        }
        tests.into()
    }

    fn value(&mut self, attribute: &AttributeMatch, path: Vec<String>) -> ValueTest {
        if attribute.value == AnyValue::Null {
            return ValueTest::Any;
        }
        self.used = true;
        match (self.how, typed(&attribute.value)) {
            (How::Matching, Value::Str(pattern)) => {
                self.pattern(&pattern, path).map_or(ValueTest::Any, ValueTest::Matching)
            }
            (How::Matching, value) => {
                let (key, found) = (&attribute.key, type_name(&value));
                let message = format!("match_type=regexp for {key:?} only supports Str, but found {found}");
                self.fault(path, message);
                ValueTest::Any
            }
            (_, value) => ValueTest::Equal(value),
        }
    }

    /// Without `match_type` a block is complete where there is nothing to compare.
    fn check_match_type(&mut self, config: &MatchConfig) {
        let given = config.match_type.as_str();
        if self.how != How::Unknown || given.is_empty() && !self.used {
            return;
        }
        let message = format!("unrecognized match_type: '{given}', valid types are: [{REGEXP} {STRICT}]");
        let help = Some(suggestion(given, &[REGEXP, STRICT]));
        let path = if given.is_empty() { Vec::new() } else { vec!["match_type".to_owned()] };
        self.faults.push(Fault { path, message, help });
    }

    fn check_span_kinds(&mut self, config: &MatchConfig) {
        if self.how != How::Equal {
            return;
        }
        for (index, kind) in config.span_kinds.iter().enumerate() {
            if !SPAN_KINDS.contains(&kind.as_str()) {
                let message = format!(
                    "span_kinds string must match one of the standard span kinds when match_type=strict: [{}]",
                    SPAN_KINDS.join(" ")
                );
                let help = Some(suggestion(kind, &SPAN_KINDS));
                self.faults.push(Fault {
                    path: vec!["span_kinds".to_owned(), index.to_string()],
                    message,
                    help,
                });
            }
        }
    }

    fn fault(&mut self, path: Vec<String>, message: String) {
        self.faults.push(Fault { path, message, help: None });
    }
}

/// The Go collector's name of a value's type.
fn type_name(value: &Value) -> &'static str {
    match value {
        Value::Empty => "Empty",
        Value::Str(_) => "Str",
        Value::Bool(_) => "Bool",
        Value::Int(_) => "Int",
        Value::Double(_) => "Double",
        Value::Bytes(_) => "Bytes",
        Value::List(_) => "Slice",
        Value::Map(_) => "Map",
    }
}
