//! From `--config` and `--set` to one document.

mod document;
mod environment;
mod expand;
mod http;
mod loader;
mod merge;
mod provider;
mod reference;
mod uri;

#[cfg(test)]
mod tests;

pub use document::Document;
pub use environment::{Environment, NoEnvironment, ProcessEnvironment};

use std::path::PathBuf;

use crate::diagnostic::{Diagnostic, Diagnostics};
use crate::document::Node;
use loader::Loader;
use uri::Uri;

/// What the command line names, each list in its order. All configs come before all sets; later ones win.
#[derive(Debug, Clone, Default)]
pub struct Sources {
    /// `--config`: a path, or `file:`, `env:`, `yaml:`, `http:`, `https:` and what to read.
    pub configs: Vec<String>,
    /// `--set`: `a.b.c=value`, the value in YAML.
    pub sets: Vec<String>,
}

impl Sources {
    /// The files among the configs, in their order; not those that `${file:...}` names in a text.
    pub fn files(&self) -> Vec<PathBuf> {
        let uris = self.configs.iter().filter_map(|config| Uri::of_argument(config).ok());
        uris.filter(|uri| uri.scheme == "file").map(|uri| uri.opaque.into()).collect()
    }
}

/// Reads every source, merges them and expands `${...}`.
///
/// Blocking: reads files, and for `http:` and `https:` fetches within 30 seconds each. A text may have 10 MiB and nest
/// 100 levels; what references and aliases expand to is bounded too.
///
/// # Errors
/// Everything that is wrong with the sources. Warnings about variables are in [`Document::warnings`].
pub fn load(sources: &Sources, environment: &dyn Environment) -> Result<Document, Diagnostics> {
    if sources.configs.is_empty() && sources.sets.is_empty() {
        return Err(Diagnostic::error("at least one config flag must be provided").into());
    }
    let mut loader = Loader::new(environment);
    let mut root = Node::empty_map();
    for config in &sources.configs {
        if let Some(node) = loader.source(config) {
            merge::merge(&mut root, node);
        }
    }
    for set in &sources.sets {
        if let Some(node) = set_source(&mut loader, set) {
            merge::merge(&mut root, node);
        }
    }
    finish(loader, root)
}

fn finish(mut loader: Loader<'_>, mut root: Node) -> Result<Document, Diagnostics> {
    if !loader.found.has_errors() {
        expand::expand(&mut loader, &mut root);
    }
    if loader.found.has_errors() {
        return Err(loader.found);
    }
    Ok(Document::new(root, loader.sources, loader.found))
}

/// `a.b.c=value` is the YAML text `a::b::c: value`.
fn set_source(loader: &mut Loader<'_>, set: &str) -> Option<Node> {
    let Some((key, value)) = set.split_once('=') else {
        loader.found.push(
            Diagnostic::error("missing equal sign").with_help("write --set=processors.batch.timeout=2s"),
        );
        return None;
    };
    let key = key.trim().replace('.', "::");
    loader.text("--set", format!("{key}: {}", value.trim()))
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
    value.ok_or_else(|| diagnostics.into_iter().collect())
}
