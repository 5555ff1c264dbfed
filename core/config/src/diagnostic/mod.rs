//! What is wrong with a configuration, and where.

mod redact;
mod render;
mod snippet;

use std::fmt;

pub(crate) use redact::{hide_secret_lines, hide_secrets, hide_value, shown_references};
pub use render::RenderOptions;
pub use spanbridge_component::Severity;

use crate::document::Location;

/// One thing that is wrong, or worth a warning.
#[derive(Debug, Clone)]
pub struct Diagnostic {
    /// Whether it refuses the configuration.
    pub severity: Severity,
    /// What is wrong; one line, no secrets.
    pub message: String,
    /// What to do about it, if there is more to say.
    pub help: Option<String>,
    /// Where in the configuration: `receivers.otlp.protocols.grpc`. Empty when it is about the whole.
    pub path: String,
    /// Where in which text, if anybody wrote it.
    pub location: Option<Location>,
}

/// Everything wrong with a configuration. Prints sorted by place, with a summary line.
#[derive(Debug, Clone, Default)]
pub struct Diagnostics {
    found: Vec<Diagnostic>,
}

impl Diagnostic {
    /// An error without place yet.
    pub fn error(message: impl Into<String>) -> Self {
        Self {
            severity: Severity::Error,
            message: message.into(),
            help: None,
            path: String::new(),
            location: None,
        }
    }

    /// A warning without place yet.
    pub fn warning(message: impl Into<String>) -> Self {
        Self { severity: Severity::Warning, ..Self::error(message) }
    }

    /// With what to do about it.
    #[must_use]
    pub fn with_help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// With where in the configuration it is.
    #[must_use]
    pub fn with_path(mut self, path: impl Into<String>) -> Self {
        self.path = path.into();
        self
    }

    /// With where in which text it is.
    #[must_use]
    pub fn with_location(mut self, location: Option<Location>) -> Self {
        self.location = location;
        self
    }

    /// Whether it refuses the configuration.
    pub fn is_error(&self) -> bool {
        self.severity == Severity::Error
    }
}

impl Diagnostics {
    /// Nothing found yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds one.
    pub fn push(&mut self, diagnostic: Diagnostic) {
        self.found.push(diagnostic);
    }

    /// Whether any of them refuses the configuration.
    pub fn has_errors(&self) -> bool {
        self.found.iter().any(Diagnostic::is_error)
    }

    /// How many errors there are.
    pub fn errors(&self) -> usize {
        self.found.iter().filter(|d| d.is_error()).count()
    }

    /// How many warnings there are.
    pub fn warnings(&self) -> usize {
        self.found.len() - self.errors()
    }

    /// Whether nothing was found.
    pub fn is_empty(&self) -> bool {
        self.found.is_empty()
    }

    /// Everything found, in order of discovery.
    pub fn iter(&self) -> impl Iterator<Item = &Diagnostic> {
        self.found.iter()
    }

    /// Prints everything sorted by place, each with its snippet, and a summary line.
    pub fn render(&self, options: RenderOptions) -> String {
        render::render(self, options)
    }
}

impl Extend<Diagnostic> for Diagnostics {
    fn extend<I: IntoIterator<Item = Diagnostic>>(&mut self, diagnostics: I) {
        self.found.extend(diagnostics);
    }
}

impl FromIterator<Diagnostic> for Diagnostics {
    fn from_iter<I: IntoIterator<Item = Diagnostic>>(diagnostics: I) -> Self {
        Self { found: diagnostics.into_iter().collect() }
    }
}

impl IntoIterator for Diagnostics {
    type Item = Diagnostic;
    type IntoIter = std::vec::IntoIter<Diagnostic>;

    fn into_iter(self) -> Self::IntoIter {
        self.found.into_iter()
    }
}

impl From<Diagnostic> for Diagnostics {
    fn from(diagnostic: Diagnostic) -> Self {
        Self { found: vec![diagnostic] }
    }
}

impl fmt::Display for Diagnostics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.render(RenderOptions::default()))
    }
}

impl std::error::Error for Diagnostics {}

#[cfg(test)]
mod tests;
