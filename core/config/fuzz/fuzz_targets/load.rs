//! No text of YAML, no references in it and no values of variables panic, hang or take all memory; and what decodes
//! prints as YAML that decodes to the same.
#![no_main]

use std::collections::BTreeMap;

use libfuzzer_sys::fuzz_target;
use serde::{Deserialize, Serialize};
use spanbridge_config::{AnyValue, Document, Duration, Headers, Opaque, Optional, Sources, Toggle, load, to_yaml};

/// One field of every kind.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Config {
    text: String,
    number: u16,
    float: f32,
    switch: bool,
    names: Vec<String>,
    labels: BTreeMap<String, String>,
    headers: Headers,
    timeout: Duration,
    secret: Opaque,
    any: AnyValue,
    mode: Mode,
    maybe: Option<i64>,
    block: Optional<Block>,
    toggle: Toggle<Block>,
    blocks: Vec<Block>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            text: "default".to_owned(),
            number: 7,
            float: 0.5,
            switch: true,
            names: vec!["a".to_owned()],
            labels: BTreeMap::from([("k".to_owned(), "v".to_owned())]),
            headers: Headers::default(),
            timeout: Duration::from_secs(5),
            secret: Opaque::default(),
            any: AnyValue::Null,
            mode: Mode::One,
            maybe: None,
            block: Optional::off(),
            toggle: Toggle::off(Block { size: 3, inner: BTreeMap::new() }),
            blocks: Vec::new(),
        }
    }
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Block {
    size: i64,
    inner: BTreeMap<String, AnyValue>,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Mode {
    #[default]
    One,
    Two(u8),
    Three {
        x: String,
    },
}

// The first line is the variable `A`, the second `B`, the rest the configuration. `file:` would read this machine's
// files and `http:` its network.
fuzz_target!(|text: &str| {
    if ["file:", "http:", "https:"].iter().any(|scheme| text.to_ascii_lowercase().contains(scheme)) {
        return;
    }
    let mut parts = text.splitn(3, '\n');
    let mut part = || parts.next().unwrap_or_default().to_owned();
    let environment = BTreeMap::from([("A".to_owned(), part()), ("B".to_owned(), part())]);
    let sources = Sources { configs: vec![format!("yaml:{}", part())], sets: Vec::new() };
    let document = match load(&sources, &environment) {
        Ok(document) => document,
        Err(found) => return drop(found.to_string()),
    };
    let decoded = document.decode::<Config>(document.root(), &["c"], &[]);
    for diagnostic in decoded.diagnostics() {
        drop(spanbridge_config::Diagnostics::from(diagnostic.clone()).to_string());
    }
    if let Some(config) = decoded.value() {
        read_back(config);
    }
});

fn read_back(config: &Config) {
    let Ok(json) = spanbridge_config::values::reveal(|| serde_json::to_value(config)) else { return };
    let printed = to_yaml(&json);
    // A printed value may hold what reads as a reference or an escape.
    if printed.contains('$') || printed.contains("::") {
        return;
    }
    let Ok(document) = Document::from_yaml(&printed) else { panic!("does not read back:\n{printed}") };
    let again = document.decode::<Config>(document.root(), &[], &[]);
    assert!(again.value().is_some(), "does not decode again: {:?}\n{printed}", again.diagnostics());
}
