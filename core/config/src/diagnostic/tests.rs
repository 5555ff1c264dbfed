use std::collections::BTreeMap;

use insta::assert_snapshot;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use spanbridge_component::{Problems, Unsupported, Validate};

use super::*;
use crate::{Document, Duration, Headers, Opaque, Optional, Sources, load};

#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
struct Config {
    endpoint: String,
    timeout: Duration,
    retries: u32,
    headers: Headers,
    sealed: Optional<Sealed>,
    lines: Vec<Line>,
}

#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
struct Sealed {
    phrase: Opaque,
    size: i64,
}

#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
struct Line {
    name: String,
    width: i64,
}

impl Validate for Config {
    fn validate(&self, problems: &mut Problems) {
        if self.endpoint.is_empty() {
            problems.error_at("endpoint", "must be set").help("write host:port");
        }
        if self.sealed.is_on() {
            problems.error_at("sealed", "must be off");
        }
        if self.retries > 10 {
            problems.warn_at("retries", "is a lot");
        }
        problems.at("lines", |problems| {
            for (index, line) in self.lines.iter().enumerate() {
                problems.at(index, |problems| {
                    if line.name == "long" {
                        problems.error_at("shape", "must be set");
                    }
                    if line.width < 0 {
                        problems.error_at("width", "must not be negative");
                    }
                });
            }
        });
    }
}

const UNSUPPORTED: &[Unsupported] = &[
    Unsupported { path: "tls", reason: "it comes later" },
    Unsupported { path: "lines.*.color", reason: "lines are plain" },
];

fn environment(variables: &[(&str, &str)]) -> BTreeMap<String, String> {
    variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

/// What a user sees of a component's configuration that is written under `exporters.x`.
fn seen(text: &str, variables: &[(&str, &str)]) -> String {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("config.yaml");
    std::fs::write(&path, text).unwrap();
    let sources = Sources { configs: vec![path.display().to_string()], sets: vec![] };
    let mut found = Diagnostics::new();
    match load(&sources, &environment(variables)) {
        Err(errors) => found.extend(errors),
        Ok(document) => {
            found.extend(document.warnings().iter().cloned());
            let node = document.root().get("exporters").and_then(|node| node.get("x")).unwrap();
            let decoded = document.decode_and_validate::<Config>(node, &["exporters", "x"], UNSUPPORTED);
            found.extend(decoded.into_parts().1);
        }
    }
    found.to_string().replace(&format!("{}/", folder.path().display()), "")
}

#[test]
fn every_error_of_a_component_is_shown_with_its_place() {
    assert_snapshot!(seen(
        "exporters:\n  x:\n    endpont: 0.0.0.0:4317\n    tls: {}\n    timeout: 10\u{20}s\n    retries: \"3\"\n    lines:\n      - {name: 1, color: red}\n      - name: b\n        width: wide\n",
        &[]
    ));
}

#[test]
fn validation_points_at_values_and_at_the_nearest_place_for_absent_ones() {
    assert_snapshot!(seen(
        "exporters:\n  x:\n    retries: 11\n    lines:\n    - name: long\n      width: -1\n    sealed:\n      phrase: x\n",
        &[]
    ));
}

#[test]
fn what_follows_from_a_decode_error_is_not_reported() {
    let text = seen("exporters: {x: {endpont: a, retries: 11}}", &[]);
    assert!(!text.contains("must be set"), "{text}");
    assert!(text.contains("is a lot") && text.ends_with("1 error, 1 warning\n"), "{text}");
}

#[test]
fn a_value_from_the_environment_shows_its_reference() {
    let text = seen(
        "exporters:\n  x:\n    timeout: ${env:T}\n    retries: ${env:R}\n    endpoint: a\n    lines: ${env:L}\n    sealed: {phrase: \"${env:P}\", size: x}\n",
        &[
            ("T", "hunter2 seconds"),
            ("R", "hunter2"),
            ("L", "[{name: hunter2, width: hunter2}]"),
            ("P", "[hunter2]"),
        ],
    );
    assert!(!text.contains("hunter2"), "{text}");
    assert_snapshot!(text);
}

#[test]
fn secrets_of_the_file_do_not_show() {
    let text = seen(
        "exporters:\n  x:\n    endpoint: a\n    headers: {x-key: hunter2, y-key: [hunter2], z: 1}\n    sealed: {phrase: hunter2, sise: 1}\n    lines: [{name: a, password: hunter2 }, {token: hunter2}]\n",
        &[],
    );
    assert!(!text.contains("hunter2"), "{text}");
    assert_snapshot!(text);
}

#[test]
fn secrets_of_a_text_that_is_no_yaml_do_not_show() {
    let text = seen("exporters:\n  x:\n    password: hunter2: x\n", &[]);
    assert!(!text.contains("hunter2"), "{text}");
    assert_snapshot!(text);
}

#[test]
fn secrets_do_not_show_before_anything_is_decoded() {
    for text in [
        "exporters: {x: {headers: {x-key: hunter2, y: \"${nope:x}\"}}}",
        "exporters: {x: {api_key: hunter2, y: \"${nope:x}\"}}",
        "exporters: {x: {auth_token: [hunter2, {a: hunter2}], y: \"${nope:x}\"}}",
        "exporters: {x: {password: \"${env:P:-hunter2}\", y: \"${nope:x}\"}}",
    ] {
        let text = seen(text, &[]);
        assert!(text.contains("[REDACTED]") && !text.contains("hunter2"), "{text}");
    }
    let text = seen("exporters: {x: {password: \"${env:P}\", token_file: /t, y: \"${nope:x}\"}}", &[]);
    assert!(text.contains("${env:P}") && text.contains("/t"), "{text}");
}

#[test]
fn a_reference_is_named_without_its_default_and_the_text_around_it() {
    let text = seen(
        "exporters:\n  x:\n    endpoint: a\n    retries: |-\n      hunter2${env:A}\n    timeout: |-\n      ${env:B:-hunter2}\n",
        &[("A", "x")],
    );
    assert!(!text.contains("hunter2"), "{text}");
    assert!(text.contains("comes from ${env:A}") && text.contains("${env:B:-...}"), "{text}");
}

#[test]
fn a_secret_of_the_wrong_type_is_not_named() {
    let text = seen("exporters: {x: {endpoint: a, sealed: {phrase: 4711}}}", &[]);
    assert!(!text.contains("4711"), "{text}");
    let text = seen(
        "exporters:\n  x:\n    endpoint: a\n    sealed:\n      size: x\n      phrase: |\n        hunter2\n",
        &[],
    );
    assert!(!text.contains("hunter2"), "{text}");
}

#[test]
fn long_lines_are_cut_around_the_place() {
    let text =
        seen(&format!("exporters: {{x: {{lines: [{}{{nane: a}}]}}}}", "{name: abcdefgh}, ".repeat(40)), &[]);
    assert_snapshot!(text);
}

#[test]
fn colors_come_only_on_request() {
    let error: Diagnostics = Diagnostic::error("no").with_path("a.b").into();
    assert_eq!(error.to_string(), "error: no\n   = at: a.b\n\n1 error\n");
    assert!(error.render(RenderOptions { color: true }).contains("\u{1b}[1;31merror"));
}

#[test]
fn what_a_text_holds_cannot_change_the_terminal() {
    let document = Document::from_yaml("a: \"\\e[31m\"\n\u{202e}b: 1\n").unwrap();
    let node = document.root().get("a").unwrap();
    let found = document.decode::<Config>(node, &["a"], &[]).into_parts().1;
    let text: Diagnostics = found.into_iter().next().unwrap().into();
    assert!(!text.to_string().contains('\u{1b}'), "{text}");
    let control = Document::from_yaml("a: \u{1b}[31m").unwrap_err().to_string();
    assert!(!control.contains('\u{1b}'), "{control}");
}
