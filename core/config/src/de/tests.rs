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

/// As if `${env:V}` had been expanded to each variable's value.
fn expanded(text: &str, value: &str) -> (Option<Config>, Vec<String>) {
    let variables = BTreeMap::from([("V".to_owned(), value.to_owned())]);
    let sources = crate::Sources { configs: vec![format!("yaml:{text}")], sets: Vec::new() };
    let document = crate::load(&sources, &variables).unwrap();
    let (config, found) = document.decode::<Config>(document.root(), &[], &[]).into_parts();
    (config, found.into_iter().map(|d| d.message).collect())
}

#[test]
fn the_type_of_an_expanded_value_depends_on_the_field() {
    let (config, found) =
        expanded("{endpoint: \"${V}\", max_size: \"${V}\", value: \"${V}\", labels: {x: \"${V}\"}}", "0123");
    let config = config.unwrap_or_else(|| panic!("{found:?}"));
    assert_eq!((config.server.endpoint.as_str(), config.server.max_size), ("0123", 83));
    assert_eq!((config.value, config.labels["x"].as_str()), (AnyValue::Int(83), "0123"));
    let (config, _) = expanded("names: ${V}", "[a, b]");
    assert_eq!(config.unwrap().names, ["a", "b"]);
    let (config, _) = expanded("names: ${V}", "a, b");
    assert_eq!(config.unwrap().names, ["a", " b"], "cut at commas, not trimmed");
    let (_, found) = expanded("max_size: ${V}", "\"5\"");
    assert_eq!(found, ["expected a non-negative integer, found a string"]);
}

#[test]
fn an_expanded_null_is_the_zero_value_and_not_the_default() {
    let text = "{endpoint: \"${V}\", max_size: \"${V}\", timeout: \"${V}\", names: \"${V}\", labels: \"${V}\", \
                headers: \"${V}\", enabled_by_default: \"${V}\", keepalive: \"${V}\", queue: \"${V}\"}";
    let (config, found) = expanded(text, "");
    let config = config.unwrap_or_else(|| panic!("{found:?}"));
    assert_eq!((config.server.endpoint.as_str(), config.server.max_size), ("", 0));
    assert_eq!((config.timeout, config.server.keepalive), (Duration::ZERO, None));
    assert!(config.names.is_empty() && !config.enabled_by_default);
    assert!(config.queue.is_on() && config.labels.is_empty());
}

#[test]
fn nulls_inside_an_expanded_map_keep_defaults() {
    let (config, found) = expanded("queue: ${V}", "{size: null, consumers: 3}");
    assert_eq!(
        config.unwrap_or_else(|| panic!("{found:?}")).queue,
        Toggle::on(Queue { size: 1000, consumers: 3 })
    );
}

#[test]
fn integers_take_floats_and_durations_take_nanoseconds() {
    let config = ok("{max_size: 7.9, timeout: 10ns, keepalive: 1m, queues: {a: {size: -3.7}}}");
    assert_eq!(config.server.max_size, 7);
    assert_eq!(config.timeout, "10ns".parse().unwrap());
    assert_eq!(config.queues["a"].size, -3);
    assert_eq!(
        errors("{max_size: 4294967296, queue: {consumers: .inf, size: 1e30}}"),
        [
            "1:12 c.max_size: cannot parse value as 'uint32': 4294967296 overflows uint32",
            "1:43 c.queue.consumers: cannot parse value as 'uint16': inf overflows it",
            "1:55 c.queue.size: cannot parse value as 'int64': 1000000000000000000000000000000 overflows it",
        ]
    );
}

#[test]
fn a_duration_without_a_unit_is_nanoseconds_and_worth_one_warning() {
    let (config, found) = decode_text::<Config>("{timeout: 10, max_size: x}");
    assert!(config.is_none());
    let warning =
        "1:11 c.timeout: a bare 10 is 10 nanoseconds (write a unit: 10s, 10ms; or 10ns if that is meant)";
    assert_eq!(found.iter().filter(|found| *found == warning).count(), 1, "{found:?}");
    let (config, found) = decode_text::<Config>("timeout: 10");
    assert_eq!(
        (config.unwrap().timeout, found),
        ("10ns".parse().unwrap(), vec![warning.replace("1:11", "1:10")])
    );
    for written in ["timeout: 0", "timeout: 10s", "timeout: null", "{}"] {
        ok(written);
    }
}

#[test]
fn lists_of_strings_take_one_string_and_other_lists_do_not() {
    assert_eq!(ok("names: a,b,,c").names, ["a", "b", "", "c"]);
    assert_eq!(ok("names: \"\"").names, Vec::<String>::new());
    assert_eq!(ok("names: []").names, Vec::<String>::new());
    let (value, found) = decode_text::<Vec<spanbridge_component::ComponentId>>("otlp");
    assert_eq!((value, found), (None, vec!["1:1 c: expected a list, found the string \"otlp\"".to_owned()]));
    let (value, _) = decode_text::<Vec<spanbridge_component::ComponentId>>("[otlp, otlp/2]");
    assert_eq!(value.unwrap().len(), 2);
}

#[test]
fn nothing_is_converted_between_types() {
    assert_eq!(
        errors(
            "{endpoint: true, enabled_by_default: yes, max_size: \"1\", level: 1, names: {a: 1}, labels: [a], queue: 5, tls: on, headers: x}"
        ),
        [
            "1:12 c.endpoint: expected a string, found the boolean true (quote it: \"true\")",
            "1:38 c.enabled_by_default: expected true or false, found the string \"yes\" (write true)",
            "1:53 c.max_size: expected a non-negative integer, found the string \"1\" (leave out the quotes: 1)",
            "1:65 c.level: expected one of basic, detailed, found the integer 1",
            "1:75 c.names: expected a list, found a map",
            "1:91 c.labels: expected a map, found a list",
            "1:103 c.queue: expected a map, found the integer 5",
            "1:111 c.tls: expected a map, found the string \"on\"",
            "1:124 c.headers: expected a map of header names and values, or a list of {name, value}, found the string \"x\"",
        ]
    );
}

#[test]
fn a_component_that_is_no_map_is_one_error() {
    assert_eq!(errors("text"), ["1:1 c: expected a map, found the string \"text\""]);
    assert_eq!(errors("[a]"), ["1:1 c: expected a map, found a list"]);
}

#[test]
fn headers_come_as_a_map_or_a_list() {
    let names = |config: &Config| config.headers.iter().map(|(name, _)| name.to_owned()).collect::<Vec<_>>();
    assert_eq!(names(&ok("headers: {b: x, a: y}")), ["a", "b"]);
    assert_eq!(names(&ok("headers: [{name: b, value: x}, {name: a, value: y}]")), ["b", "a"]);
    assert_eq!(
        errors("headers: [{name: b, value: x}, {name: b}, {nam: c}]"),
        [
            "1:10 c.headers: duplicate keys in map-style list: [b]",
            "1:43 c.headers[2]: the key \"name\" is missing",
            "1:44 c.headers[2]: unknown key \"nam\" (did you mean \"name\"?)",
        ]
    );
    assert_eq!(errors("headers: {a: 123}"), ["1:14 c.headers.a: expected a string, found an integer"]);
}

#[test]
fn values_of_any_type_keep_it() {
    let value = ok("value: {a: [1, 1.5, true, ~, x], b: \"1\"}").value;
    let items = vec![
        AnyValue::Int(1),
        AnyValue::Float(1.5),
        AnyValue::Bool(true),
        AnyValue::Null,
        AnyValue::String("x".into()),
    ];
    let want = vec![("a".to_owned(), AnyValue::List(items)), ("b".to_owned(), AnyValue::String("1".into()))];
    assert_eq!(value, AnyValue::Map(want));
}

#[test]
fn an_alias_of_a_key_replaces_its_default() {
    assert_eq!(ok("queue: {queue_size: 3}").queue, Toggle::on(Queue { size: 3, consumers: 10 }));
    assert_eq!(errors("queue: {queue_size: 3, size: 4}"), ["1:8 c.queue: the key \"size\" is given twice"]);
}

#[test]
fn ids_that_differ_in_white_space_only_are_refused() {
    type Ids = BTreeMap<spanbridge_component::ComponentId, AnyValue>;
    let (value, found) = decode_text::<Ids>("{otlp: 1, \" otlp\": 2, a b: 3}");
    assert!(value.is_none());
    assert_eq!(
        found,
        [
            "1:11 c: duplicate name \"otlp\" after trimming the white space around it",
            "1:23 c: in \"a b\" id: invalid character(s) in type \"a b\"",
        ]
    );
}

#[test]
fn the_default_in_print_form_reads_back_as_itself() {
    let printed = crate::to_yaml(&serde_json::to_value(Config::default()).unwrap());
    assert_eq!(ok(&printed), Config::default(), "{printed}");
}

#[test]
fn many_errors_end_in_finite_time() {
    let text = format!("names: [{}]", "1, ".repeat(3000));
    let (value, found) = decode_text::<Config>(&text);
    assert!(value.is_none());
    assert!(found.len() <= ROUNDS_MAX, "{}", found.len());
}

#[test]
fn the_schema_of_a_squashed_configuration_has_the_keys_of_all_parts() {
    let schema = crate::schema::of::<Config>();
    let properties = schema["properties"].as_object().unwrap();
    for key in ["endpoint", "max_size", "timeout", "queue"] {
        assert!(properties.contains_key(key), "{key} is missing in {schema:#}");
    }
}
