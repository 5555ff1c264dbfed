//! Where configuration texts come from.

use std::fs::File;
use std::io::Read as _;

use super::environment::Environment;
use super::http;
use super::uri::Uri;
use crate::yaml::DOCUMENT_MAX_BYTES;

/// What a URI holds.
pub(super) struct Retrieved {
    pub(super) text: String,
    /// The text is meant as it is, and not as YAML: the explicit empty default of a variable.
    pub(super) verbatim: bool,
    pub(super) notice: Option<Notice>,
}

/// What the user should know about a variable.
pub(super) enum Notice {
    Unset(String),
    Empty(String),
}

impl Retrieved {
    fn text(text: String) -> Self {
        Self { text, verbatim: false, notice: None }
    }
}

impl Notice {
    pub(super) fn message(&self) -> String {
        match self {
            Notice::Unset(name) => format!("Configuration references unset environment variable \"{name}\""),
            Notice::Empty(name) => format!("Configuration references empty environment variable \"{name}\""),
        }
    }
}

/// Reads a URI. The error is for the user.
pub(super) fn retrieve(uri: &Uri, environment: &dyn Environment) -> Result<Retrieved, String> {
    match uri.scheme.as_str() {
        "env" => variable(&uri.opaque, environment),
        "yaml" => Ok(Retrieved::text(uri.opaque.clone())),
        "http" | "https" => http::fetch(uri).map(Retrieved::text),
        _ => file(&uri.opaque).map(Retrieved::text),
    }
}

fn file(path: &str) -> Result<String, String> {
    let refuse = |error: &dyn std::fmt::Display| format!("unable to read the file file:{path}: {error}");
    let mut bytes = Vec::new();
    let limit = u64::try_from(DOCUMENT_MAX_BYTES).unwrap_or(u64::MAX);
    File::open(path)
        .and_then(|file| file.take(limit + 1).read_to_end(&mut bytes))
        .map_err(|error| refuse(&error))?;
    if bytes.len() > DOCUMENT_MAX_BYTES {
        return Err(refuse(&format_args!("it is longer than {DOCUMENT_MAX_BYTES} bytes")));
    }
    String::from_utf8(bytes).map_err(|error| refuse(&error.utf8_error()))
}

/// `NAME` or `NAME:-default`. The default stands in for an unset variable only, not for an empty one.
fn variable(opaque: &str, environment: &dyn Environment) -> Result<Retrieved, String> {
    let (name, default) = match opaque.split_once(":-") {
        Some((name, default)) => (name, Some(default)),
        None => (opaque, None),
    };
    if !is_variable_name(name) {
        return Err(format!(
            "environment variable \"{name}\" has invalid name: must match regex ^[a-zA-Z_][a-zA-Z0-9_]*$"
        ));
    }
    Ok(match (environment.var(name), default) {
        (Some(text), _) if text.is_empty() => {
            Retrieved { notice: Some(Notice::Empty(name.to_owned())), ..Retrieved::text(text) }
        }
        (Some(text), _) => Retrieved::text(text),
        (None, Some(default)) => {
            Retrieved { verbatim: default.is_empty(), ..Retrieved::text(default.to_owned()) }
        }
        (None, None) => {
            Retrieved { notice: Some(Notice::Unset(name.to_owned())), ..Retrieved::text(String::new()) }
        }
    })
}

fn is_variable_name(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}
