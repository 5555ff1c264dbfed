//! One block of conditions, compiled.

use std::collections::HashSet;

use regex::Regex;
use spanbridge_attributes::text_of;
use spanbridge_pdata::{Item, MetricView, ResourceView, ScopeView, Value, ValueRef};

use super::value::{put_text, same};

/// Where the name of the service stands in a resource.
const SERVICE_NAME: &str = "service.name";
/// What a resource without a name of the service is compared as.
const NO_SERVICE_NAME: &str = "<nil-service-name>";
/// Kinds of spans by their numbers.
const SPAN_KINDS: [&str; 6] = [
    "SPAN_KIND_UNSPECIFIED",
    "SPAN_KIND_INTERNAL",
    "SPAN_KIND_SERVER",
    "SPAN_KIND_CLIENT",
    "SPAN_KIND_PRODUCER",
    "SPAN_KIND_CONSUMER",
];

/// How far down a condition must look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Stage {
    Resource,
    Scope,
    Metric,
    Item,
}

impl Stage {
    /// How many there are.
    pub(crate) const COUNT: usize = 4;

    /// Its place in a table.
    pub(crate) const fn index(self) -> usize {
        self as usize
    }
}

/// Texts of which one must match.
#[derive(Debug)]
pub(crate) enum Texts {
    Equal(HashSet<Box<str>>),
    Matching(Box<[Regex]>),
}

impl Texts {
    fn matches(&self, text: &str) -> bool {
        match self {
            Self::Equal(texts) => texts.contains(text),
            Self::Matching(patterns) => patterns.iter().any(|pattern| pattern.is_match(text)),
        }
    }
}

/// An attribute that must be there.
#[derive(Debug)]
pub(crate) struct AttributeTest {
    pub(crate) key: Box<str>,
    pub(crate) value: ValueTest,
}

/// What the value of an attribute must be.
#[derive(Debug)]
pub(crate) enum ValueTest {
    Any,
    Equal(Value),
    Matching(Regex),
}

impl ValueTest {
    /// Numbers become a text in `text`. Lists, maps, bytes and nothing have no text to match.
    fn matches(&self, value: &ValueRef<'_>, text: &mut String) -> bool {
        match (self, value) {
            (Self::Any, _) => true,
            (Self::Equal(expected), value) => same(expected, value),
            (Self::Matching(pattern), ValueRef::Str(text)) => pattern.is_match(text),
            (Self::Matching(pattern), value) => put_text(value, text) && pattern.is_match(text),
        }
    }
}

/// An instrumentation scope.
#[derive(Debug)]
pub(crate) struct LibraryTest {
    pub(crate) name: Texts,
    pub(crate) version: Option<Texts>,
}

/// How high a severity must be.
#[derive(Debug)]
pub(crate) struct SeverityTest {
    pub(crate) min: i32,
    pub(crate) undefined: bool,
}

/// The conditions of a block, each where it can be decided first; all must be met. What is `None` or empty is no condition.
#[derive(Debug, Default)]
pub(crate) struct Matcher {
    pub(crate) services: Option<Texts>,
    pub(crate) resources: Box<[AttributeTest]>,
    pub(crate) libraries: Box<[LibraryTest]>,
    pub(crate) metric_names: Option<Texts>,
    pub(crate) span_names: Option<Texts>,
    pub(crate) span_kinds: Option<Texts>,
    pub(crate) log_bodies: Option<Texts>,
    pub(crate) severity_texts: Option<Texts>,
    pub(crate) severity: Option<SeverityTest>,
    pub(crate) attributes: Box<[AttributeTest]>,
}

impl Matcher {
    /// The stage at which everything is decided.
    pub(crate) fn last_stage(&self) -> Stage {
        let texts = [&self.span_names, &self.span_kinds, &self.log_bodies, &self.severity_texts];
        let is_about_items = texts.iter().any(|texts| texts.is_some());
        if is_about_items || self.severity.is_some() || !self.attributes.is_empty() {
            Stage::Item
        } else if self.metric_names.is_some() {
            Stage::Metric
        } else if !self.libraries.is_empty() {
            Stage::Scope
        } else {
            Stage::Resource
        }
    }

    pub(crate) fn resource(&self, resource: &ResourceView<'_>, text: &mut String) -> bool {
        let service_matches =
            self.services.as_ref().is_none_or(|services| match resource.get(SERVICE_NAME) {
                None => services.matches(NO_SERVICE_NAME),
                Some(value) => matches_as_text(services, &value),
            });
        service_matches && all(&self.resources, |key| resource.get(key), text)
    }

    pub(crate) fn scope(&self, scope: &ScopeView<'_>) -> bool {
        self.libraries.iter().all(|library| {
            library.name.matches(scope.name())
                && library.version.as_ref().is_none_or(|version| version.matches(scope.version()))
        })
    }

    pub(crate) fn metric(&self, metric: &MetricView<'_>) -> bool {
        self.metric_names.as_ref().is_none_or(|names| names.matches(metric.name()))
    }

    pub(crate) fn item(&self, item: &Item<'_>, text: &mut String) -> bool {
        let kind = || usize::try_from(item.span_kind()).ok().and_then(|kind| SPAN_KINDS.get(kind));
        self.span_names.as_ref().is_none_or(|names| names.matches(item.name()))
            && self.span_kinds.as_ref().is_none_or(|kinds| kinds.matches(kind().copied().unwrap_or_default()))
            && self.log_bodies.as_ref().is_none_or(|bodies| matches_as_text(bodies, &item.body()))
            && self.severity_texts.as_ref().is_none_or(|texts| texts.matches(item.severity_text()))
            && self.severity.as_ref().is_none_or(|severity| match item.severity_number() {
                0 => severity.undefined,
                number => number >= severity.min,
            })
            && all(&self.attributes, |key| item.attribute(key), text)
    }
}

fn all<'v>(
    tests: &[AttributeTest],
    mut get: impl FnMut(&str) -> Option<ValueRef<'v>>,
    text: &mut String,
) -> bool {
    tests.iter().all(|test| get(&test.key).is_some_and(|value| test.value.matches(&value, text)))
}

/// A value of any type as its canonical text.
fn matches_as_text(texts: &Texts, value: &ValueRef<'_>) -> bool {
    match value.as_str() {
        Some(text) => texts.matches(text),
        None => texts.matches(&text_of(&value.to_value())),
    }
}
