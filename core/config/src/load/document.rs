//! A loaded configuration.

use serde::Serialize;
use serde::de::DeserializeOwned;
use spanbridge_component::{Problem, Unsupported, Validate};

use crate::de::{self, Decoded};
use crate::diagnostic::{Diagnostic, Diagnostics};
use crate::document::{Node, SourceMap, Span, Value};

/// A loaded, merged and expanded configuration.
#[derive(Debug, Clone)]
pub struct Document {
    root: Node,
    sources: SourceMap,
    warnings: Diagnostics,
}

impl Document {
    pub(crate) fn new(root: Node, sources: SourceMap, warnings: Diagnostics) -> Self {
        Self { root, sources, warnings }
    }

    /// A document from one text named `config.yaml`, without environment variables; for tests and examples.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub fn from_yaml(text: &str) -> Result<Self, Diagnostics> {
        let mut loader = super::Loader::new(&super::NoEnvironment);
        match loader.text("config.yaml", text.to_owned()) {
            Some(root) => super::finish(loader, root),
            None => Err(loader.found),
        }
    }

    /// The configuration as a whole: a map.
    pub fn root(&self) -> &Node {
        &self.root
    }

    /// The texts that the configuration was read from.
    pub fn sources(&self) -> &SourceMap {
        &self.sources
    }

    /// What loading has to tell: unset and empty variables.
    pub fn warnings(&self) -> &Diagnostics {
        &self.warnings
    }

    /// Turns the value at `path` into a `T`, and collects every error in it.
    ///
    /// What the user wrote is laid over `T::default()`, level by level. `path` is where `node` stands in the
    /// configuration, for messages; `unsupported` are keys, relative to `node`, that are refused with a reason.
    pub fn decode<T>(&self, node: &Node, path: &[&str], unsupported: &[Unsupported]) -> Decoded<T>
    where
        T: DeserializeOwned + Serialize + Default,
    {
        de::decode(node, path, unsupported, &self.sources)
    }

    /// As [`Document::decode`], and validates what was decoded. What follows from a decode error is not reported.
    pub fn decode_and_validate<T>(
        &self,
        node: &Node,
        path: &[&str],
        unsupported: &[Unsupported],
    ) -> Decoded<T>
    where
        T: DeserializeOwned + Serialize + Default + Validate,
    {
        let mut decoded = self.decode::<T>(node, path, unsupported);
        let problems = decoded.problems();
        let found = problems.iter().map(|problem| self.diagnose(problem, node, path));
        decoded.add(found.collect());
        decoded
    }

    /// Finds the place of a problem, whose path is relative to `node`; `path` is where `node` stands in the
    /// configuration. A key that is absent is reported at the nearest value around it, at last at the
    /// beginning of the first text.
    pub fn diagnose(&self, problem: &Problem, node: &Node, path: &[&str]) -> Diagnostic {
        let mut dotted = path.join(".");
        let (mut here, mut span) = (Some(node), self.key_span(path).unwrap_or(node.span));
        for step in &problem.path {
            let is_index = here.is_some_and(|node| matches!(node.value, Value::List(_)));
            dotted.push_str(&de::step(step, is_index, dotted.is_empty()));
            let below = here.and_then(|node| child(node, step));
            here = below.map(|(node, _)| node);
            if let Some((node, key)) = below {
                span = [node.handy_span(), key, Some(node.span)].into_iter().flatten().next().unwrap_or(span);
            }
        }
        let mut diagnostic = Diagnostic {
            severity: problem.severity,
            message: problem.message.clone(),
            help: problem.help.clone(),
            path: dotted,
            location: self.sources.locate(span).or_else(|| self.sources.beginning()),
        };
        if let Some(node) = here {
            de::mask_reference(&mut diagnostic, node);
        }
        diagnostic
    }

    fn key_span(&self, path: &[&str]) -> Option<Span> {
        let mut here = &self.root;
        let mut span = None;
        for step in path {
            let entry = here.as_map()?.entry(step)?;
            (here, span) = (&entry.value, Some(entry.key.span));
        }
        span
    }
}

/// The value at a step with the place of its key.
fn child<'a>(node: &'a Node, step: &str) -> Option<(&'a Node, Option<Span>)> {
    match &node.value {
        Value::Map(map) => map.entry(step).map(|entry| (&entry.value, Some(entry.key.span))),
        Value::List(items) => items.get(step.parse::<usize>().ok()?).map(|item| (item, None)),
        _ => None,
    }
}
