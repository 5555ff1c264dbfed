use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::*;
use crate::{AnyValue, Duration, Headers, Opaque, Optional, Toggle, yaml};

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
struct Server {
    endpoint: String,
    max_size: u32,
    keepalive: Option<Duration>,
    tls: Optional<Tls>,
}

impl Default for Server {
    fn default() -> Self {
        Self { endpoint: "none".into(), max_size: 4, keepalive: None, tls: Optional::off() }
    }
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
struct Tls {
    cert_file: String,
    key_pem: Opaque,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum Level {
    #[default]
    Basic,
    Detailed,
}

crate::squash! {
    /// A test.
    #[derive(Debug, Clone, PartialEq)]
    struct Config {
        /// The server.
        flatten server: Server,
        /// How long.
        timeout: Duration,
        queue: Toggle<Queue>,
        batch: Toggle<Queue>,
        headers: Headers,
        level: Level,
        names: Vec<String>,
        labels: BTreeMap<String, String>,
        value: AnyValue,
        queues: BTreeMap<String, Queue>,
        enabled_by_default: bool,
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            server: Server { endpoint: "localhost:4317".into(), ..Server::default() },
            timeout: Duration::from_secs(5),
            queue: Toggle::on(Queue { size: 1000, consumers: 10 }),
            batch: Toggle::off(Queue { size: 8192, consumers: 1 }),
            headers: Headers::default(),
            level: Level::Basic,
            names: vec!["a".into()],
            labels: BTreeMap::from([("team".into(), "core".into())]),
            value: AnyValue::Null,
            queues: BTreeMap::new(),
            enabled_by_default: true,
        }
    }
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
struct Queue {
    #[serde(alias = "queue_size")]
    size: i64,
    consumers: u16,
}

fn decode_text<T: DeserializeOwned + Serialize + Default>(text: &str) -> (Option<T>, Vec<String>) {
    let mut sources = SourceMap::new();
    let id = sources.add("config.yaml", text);
    let node = yaml::parse(text, id).unwrap();
    let decoded = decode::<T>(&node, &["c"], &[], &sources);
    let shown = decoded
        .diagnostics()
        .iter()
        .map(|d| {
            let start = d.location.as_ref().unwrap().span.start;
            let help = d.help.as_ref().map_or(String::new(), |help| format!(" ({help})"));
            format!("{}:{} {}: {}{help}", start.line, start.column, d.path, d.message)
        })
        .collect();
    (decoded.into_parts().0, shown)
}

fn ok(text: &str) -> Config {
    let (value, found) = decode_text(text);
    assert_eq!(found, Vec::<String>::new());
    value.unwrap()
}

fn errors(text: &str) -> Vec<String> {
    let (value, found) = decode_text::<Config>(text);
    assert!(value.is_none());
    found
}

#[test]
fn nothing_written_gives_the_default() {
    assert_eq!(ok(""), Config::default());
    assert_eq!(ok("{}"), Config::default());
}

#[test]
fn the_container_default_decides_inside_its_blocks() {
    let config = ok("batch:\nmax_size: 7\nqueue: {size: 5}\nlabels: {env: prod}\n");
    assert_eq!(config.batch, Toggle::on(Queue { size: 8192, consumers: 1 }));
    assert_eq!(config.queue, Toggle::on(Queue { size: 5, consumers: 10 }));
    assert_eq!(config.server, Server { endpoint: "localhost:4317".into(), max_size: 7, ..Server::default() });
    assert_eq!(config.labels.len(), 2, "entries are merged over default entries");
}

#[test]
fn a_literal_null_keeps_the_default() {
    assert_eq!(
        ok("endpoint:\ntimeout:\nheaders:\nnames:\nlabels:\nlevel:\nvalue:\nenabled_by_default:\nqueue:\n"),
        Config::default()
    );
}

#[test]
fn optional_blocks_are_off_as_null_and_on_as_a_map() {
    assert_eq!(ok("tls:").server.tls, Optional::off());
    assert_eq!(ok("tls: {}").server.tls, Optional::on(Tls::default()));
    assert_eq!(ok("tls: {enabled: false, cert_file: x}").server.tls, Optional::off());
    assert_eq!(ok("queue: {enabled: false}").queue, Toggle::off(Queue { size: 1000, consumers: 10 }));
    assert!(ok("batch: {enabled: true}").batch.is_on());
    assert_eq!(
        errors("queue: {enabled: false, nonsense: 1}\ntls: {enabled: yes}\n"),
        [
            "1:25 c.queue: unknown key \"nonsense\" (valid keys: queue_size, size, consumers)",
            "2:16 c.tls.enabled: unexpected type string for 'enabled': got 'yes' value expected 'true' or 'false'",
        ]
    );
}

#[test]
fn all_errors_come_out_at_once() {
    assert_eq!(
        errors(
            "endpoint: 123\nmax_size: -2\ntimeout: 10 s\nqueue:\n  size: many\n  consmers: 4\nlevel: detaild\nbogus: 1\nnames: [1, b]\n"
        ),
        [
            "1:11 c.endpoint: expected a string, found the integer 123 (quote it: \"123\")",
            "2:11 c.max_size: cannot parse value as 'uint32': -2 overflows uint",
            "3:10 c.timeout: time: unknown unit \" s\" in duration \"10 s\"; units are ns, us, ms, s, m, h",
            "5:9 c.queue.size: expected an integer, found the string \"many\"",
            "6:3 c.queue: unknown key \"consmers\" (did you mean \"consumers\"?)",
            "7:8 c.level: unknown value \"detaild\" (did you mean \"detailed\"?)",
            "8:1 c: unknown key \"bogus\" (valid keys: batch, enabled_by_default, endpoint, headers, keepalive, labels, level, max_size, names, queue, queues, timeout, tls, value)",
            "9:9 c.names[0]: expected a string, found the integer 1 (quote it: \"1\")",
        ]
    );
}
