//! What a detector found.

use spanbridge_pdata::Value;

use crate::config::Toggles;

/// The attributes of a detector, each with whether it is written when the configuration says nothing.
pub(crate) type Table = [(&'static str, bool)];

/// Attributes in the order in which they were found.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Found(pub(crate) Vec<(String, Value)>);

/// Collects those that are wanted.
#[derive(Debug)]
pub(crate) struct Collector<'a> {
    toggles: &'a Toggles,
    table: &'static Table,
    found: Found,
}

impl<'a> Collector<'a> {
    pub(crate) fn new(toggles: &'a Toggles, table: &'static Table) -> Self {
        Self { toggles, table, found: Found::default() }
    }

    /// Whether this attribute of the table is wanted.
    pub(crate) fn wants(&self, name: &str) -> bool {
        self.toggles.is_on(name, self.table)
    }

    /// Adds a text of the table if it is wanted, and not empty.
    pub(crate) fn text(&mut self, name: &str, text: impl Into<String>) {
        self.value(name, Value::Str(text.into()));
    }

    /// Adds a list of texts of the table if it is wanted, and not empty.
    pub(crate) fn list(&mut self, name: &str, texts: Vec<String>) {
        self.value(name, Value::List(texts.into_iter().map(Value::Str).collect()));
    }

    /// Adds a value of the table if it is wanted, and not empty.
    pub(crate) fn value(&mut self, name: &str, value: Value) {
        let is_empty = match &value {
            Value::Str(text) => text.is_empty(),
            Value::List(values) => values.is_empty(),
            _ => false,
        };
        if !is_empty && self.wants(name) {
            self.found.0.push((name.to_owned(), value));
        }
    }

    /// Adds what is in no table.
    pub(crate) fn extra(&mut self, name: String, text: String) {
        self.found.0.push((name, Value::Str(text)));
    }

    pub(crate) fn finish(self) -> Found {
        self.found
    }
}

/// Puts together what detectors found, in their order: the first one that has an attribute wins.
pub(crate) fn merge(found: impl IntoIterator<Item = Found>) -> Found {
    let mut merged = Found::default();
    for (name, value) in found.into_iter().flat_map(|found| found.0) {
        if merged.0.iter().all(|(known, _)| *known != name) {
            merged.0.push((name, value));
        }
    }
    merged
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_detector_that_has_an_attribute_wins() {
        let found = |pairs: &[(&str, &str)]| {
            Found(pairs.iter().map(|(name, text)| ((*name).to_owned(), Value::from(*text))).collect())
        };
        let merged = merge([
            found(&[("a", "1"), ("b", "1")]),
            found(&[]),
            found(&[("b", "2"), ("c", "2")]),
            found(&[("c", "3")]),
        ]);
        assert_eq!(merged, found(&[("a", "1"), ("b", "1"), ("c", "2")]));
    }

    #[test]
    fn only_what_is_wanted_and_not_empty_is_found() {
        const TABLE: &Table = &[("on", true), ("off", false), ("empty", true), ("list", true)];
        let toggles = Toggles::default();
        let mut collector = Collector::new(&toggles, TABLE);
        collector.text("on", "1");
        collector.text("off", "1");
        collector.text("empty", "");
        collector.list("list", vec![]);
        assert_eq!(collector.finish().0.len(), 1);
    }
}
