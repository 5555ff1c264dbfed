//! What diagnostics must not show.

use crate::document::{Node, Origin, Position, SourceId, SourceMap, Span, Value};

/// Parts of key names whose values are taken for secrets.
const SECRET_WORDS: [&str; 17] = [
    "password",
    "passwd",
    "passphrase",
    "secret",
    "token",
    "api_key",
    "apikey",
    "api-key",
    "access_key",
    "private_key",
    "key_pem",
    "authorization",
    "credential",
    "cookie",
    "signature",
    "htpasswd",
    "owner_auth",
];
/// Keys whose values, a map or a list, are secrets as a whole.
const SECRET_MAPS: [&str; 2] = ["headers", "response_headers"];
/// Endings of key names that say where a secret is, and not what it is.
const HARMLESS_ENDINGS: [&str; 5] = ["_file", "_path", "_url", "_endpoint", "_from"];

/// Whether the value of a key is likely a secret, judged by the key's name.
pub(crate) fn looks_secret(key: &str) -> bool {
    let key = key.to_ascii_lowercase();
    if SECRET_MAPS.contains(&key.as_str()) {
        return true;
    }
    !HARMLESS_ENDINGS.iter().any(|ending| key.ends_with(ending))
        && SECRET_WORDS.iter().any(|word| key.contains(word))
}

/// Remembers that a value must not be shown. A reference may be: it is not the secret.
pub(crate) fn hide_value(node: &Node, sources: &SourceMap) {
    if !matches!(node.origin, Origin::Reference { .. } | Origin::Inside { .. } | Origin::Default) {
        sources.hide(node.span);
    }
}

/// Remembers the values of all keys whose names look secret. For trees whose references are not expanded yet.
pub(crate) fn hide_secrets(node: &Node, sources: &SourceMap) {
    for item in node.items() {
        hide_secrets(item, sources);
    }
    for entry in node.entries() {
        if looks_secret(&entry.key.text) {
            hide_all(&entry.value, sources);
        } else {
            hide_secrets(&entry.value, sources);
        }
    }
}

fn hide_all(node: &Node, sources: &SourceMap) {
    match &node.value {
        Value::List(_) | Value::Map(_) => {
            node.items().for_each(|item| hide_all(item, sources));
            node.entries().for_each(|entry| hide_all(&entry.value, sources));
        }
        Value::String(text) if is_reference(text) => {}
        Value::Null => {}
        _ => sources.hide(node.span),
    }
}

/// Whether a text is one reference and nothing else, without a default that may itself be the secret.
fn is_reference(text: &str) -> bool {
    text.starts_with("${")
        && text.ends_with('}')
        && text.matches("${").count() == 1
        && !text.contains(":-")
        && !text.starts_with("${yaml:")
}

/// Remembers what stands behind `key:` on a line for all keys whose names look secret. For texts that are no YAML.
pub(crate) fn hide_secret_lines(id: SourceId, sources: &SourceMap) {
    let Some(source) = sources.get(id) else { return };
    for number in 1..=source.line_count() {
        let line = source.line(number);
        if let Some(start) = secret_start(line) {
            let position = |offset: usize| Position { line: number, column: column(line, offset) };
            source.hide(Span { source: id, start: position(start), end: position(line.len()) });
        }
    }
}

/// The byte offset at which the first secret-looking value of a line starts.
fn secret_start(line: &str) -> Option<usize> {
    line.match_indices(':').find_map(|(colon, _)| {
        let key = line[..colon].rsplit(['{', ',', ' ', '\t', ':']).next()?;
        let value = line[colon + 1..].trim_start();
        (looks_secret(key.trim_matches(['"', '\''])) && !value.is_empty()).then(|| line.len() - value.len())
    })
}

fn column(line: &str, offset: usize) -> u32 {
    u32::try_from(line[..offset].chars().count() + 1).unwrap_or(u32::MAX)
}

/// The references inside a text as they may be shown: without their defaults, without the texts around them.
pub(crate) fn shown_references(text: &str) -> String {
    let shown = |inside: &str| {
        if inside.starts_with("yaml:") {
            return "${yaml:...}".to_owned();
        }
        match inside.split_once(":-") {
            Some((name, _)) => format!("${{{name}:-...}}"),
            None => format!("${{{inside}}}"),
        }
    };
    let references: Vec<String> = text
        .split("${")
        .skip(1)
        .filter_map(|rest| rest.split_once('}'))
        .map(|(inside, _)| shown(inside))
        .collect();
    references.join(" and ")
}
