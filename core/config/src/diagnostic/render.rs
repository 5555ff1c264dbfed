//! Diagnostics as text.

use std::fmt::Write as _;

use super::{Diagnostic, Diagnostics, snippet};

/// More diagnostics than this are counted, not printed.
const PRINTED_MAX: usize = 200;

/// How diagnostics print.
#[derive(Debug, Clone, Copy, Default)]
pub struct RenderOptions {
    /// With ANSI colours.
    pub color: bool,
}

/// The colours, or nothing in their place.
#[derive(Clone, Copy)]
struct Palette {
    error: &'static str,
    warning: &'static str,
    gutter: &'static str,
    strong: &'static str,
    end: &'static str,
}

const PLAIN: Palette = Palette { error: "", warning: "", gutter: "", strong: "", end: "" };
const COLORED: Palette = Palette {
    error: "\u{1b}[1;31m",
    warning: "\u{1b}[1;33m",
    gutter: "\u{1b}[1;34m",
    strong: "\u{1b}[1m",
    end: "\u{1b}[0m",
};

/// Everything sorted by place, and a summary line.
pub(super) fn render(diagnostics: &Diagnostics, options: RenderOptions) -> String {
    let palette = if options.color { COLORED } else { PLAIN };
    let mut sorted: Vec<&Diagnostic> = diagnostics.iter().collect();
    sorted.sort_by_key(|diagnostic| {
        let span = diagnostic.location.as_ref().map(|location| location.span);
        (span.is_none(), span)
    });
    let mut out = String::new();
    for diagnostic in sorted.iter().take(PRINTED_MAX) {
        one(&mut out, diagnostic, palette);
        out.push('\n');
    }
    if sorted.len() > PRINTED_MAX {
        let _ = writeln!(out, "... and {} more", sorted.len() - PRINTED_MAX);
    }
    let counts: Vec<String> = [(diagnostics.errors(), "error"), (diagnostics.warnings(), "warning")]
        .into_iter()
        .filter(|(count, _)| *count > 0)
        .map(|(count, what)| format!("{count} {what}{}", if count == 1 { "" } else { "s" }))
        .collect();
    if !counts.is_empty() {
        let _ = writeln!(out, "{}", counts.join(", "));
    }
    out
}

fn one(out: &mut String, diagnostic: &Diagnostic, palette: Palette) {
    let Palette { error, warning, gutter, strong, end } = palette;
    let (color, name) = if diagnostic.is_error() { (error, "error") } else { (warning, "warning") };
    let _ = writeln!(out, "{color}{name}{end}{strong}: {}{end}", one_line(&diagnostic.message));
    let mut width = 1;
    if let Some(location) = &diagnostic.location {
        let start = location.span.start;
        width = start.line.to_string().len();
        let place = format!("{}:{}:{}", location.source.name(), start.line, start.column);
        let _ = writeln!(out, "{:width$} {gutter}-->{end} {}", "", one_line(&place));
        let snippet = snippet::of(location);
        let _ = writeln!(out, "{:width$}  {gutter}|{end}", "");
        let _ = writeln!(out, " {gutter}{:>width$} |{end} {}", start.line, snippet.line);
        let carets = format!("{}{color}{}", " ".repeat(snippet.before), "^".repeat(snippet.marked));
        let at = at(diagnostic, " at ");
        let _ = writeln!(out, "{:width$}  {gutter}|{end} {carets}{at}{end}", "");
    } else if !diagnostic.path.is_empty() {
        let _ = writeln!(out, "{:width$}  {gutter}={end} {}", "", at(diagnostic, "at: "));
    }
    if let Some(help) = &diagnostic.help {
        let _ = writeln!(out, "{:width$}  {gutter}={end} help: {}", "", one_line(help));
    }
}

fn at(diagnostic: &Diagnostic, before: &str) -> String {
    if diagnostic.path.is_empty() { String::new() } else { format!("{before}{}", one_line(&diagnostic.path)) }
}

/// Control characters could change what a terminal shows; line ends would break the layout.
fn one_line(text: &str) -> String {
    text.trim_end().chars().map(|c| if c == '\n' || c == '\t' { ' ' } else { snippet::visible(c) }).collect()
}
