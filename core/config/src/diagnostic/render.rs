//! Diagnostics as text.

use std::fmt::Write as _;

use super::{Diagnostic, Diagnostics};

/// How diagnostics print.
#[derive(Debug, Clone, Copy, Default)]
pub struct RenderOptions {
    /// With ANSI colours.
    pub color: bool,
}

/// Everything sorted by place, and a summary line.
pub(super) fn render(diagnostics: &Diagnostics, _options: RenderOptions) -> String {
    let mut out = String::new();
    for diagnostic in diagnostics.iter() {
        one(&mut out, diagnostic);
    }
    out
}

fn one(out: &mut String, diagnostic: &Diagnostic) {
    let _ = writeln!(out, "error: {} (at {})", diagnostic.message, diagnostic.path);
    if let Some(location) = &diagnostic.location {
        let start = location.span.start;
        let _ = writeln!(out, "  --> {}:{}:{}", location.source.name(), start.line, start.column);
    }
    if let Some(help) = &diagnostic.help {
        let _ = writeln!(out, "   = help: {help}");
    }
}
