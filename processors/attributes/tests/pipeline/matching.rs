//! `include` and `exclude`: which items each condition chooses (reference: contrib-components, C.3).

use opentelemetry_proto::tonic::common::v1::any_value::Value as Any;
use spanbridge_component::{Context, Signal};

use crate::harness::{Row, item_attributes, list, processed, request, text};

/// Five items that differ in everything that can be asked for. The first two have the resource of their own, others none.
fn rows() -> Vec<Row> {
    let shop = vec![("service.name", text("shop")), ("host.cpus", Any::IntValue(8))];
    let auth = vec![("service.name", text("auth-eu")), ("host.cpus", text("8"))];
    vec![
        Row {
            resource: shop,
            scope: ("http", "1.0"),
            name: "login",
            kind: 2,
            severity: ("INFO", 9),
            attributes: vec![("id", text("1")), ("env", text("dev")), ("code", Any::IntValue(200))],
            ..Row::default()
        },
        Row {
            resource: auth,
            scope: ("http", ""),
            name: "login/callback",
            kind: 3,
            severity: ("WARN", 13),
            attributes: vec![("id", text("2")), ("env", text("production")), ("code", text("200"))],
            ..Row::default()
        },
        Row {
            scope: ("sql", "1.0"),
            name: "query",
            kind: 1,
            severity: ("debug", 5),
            attributes: vec![
                ("id", text("3")),
                ("ok", Any::BoolValue(true)),
                ("ratio", Any::DoubleValue(0.5)),
            ],
            ..Row::default()
        },
        Row {
            name: "number",
            body: Some(Any::IntValue(42)),
            kind: 77,
            attributes: vec![("id", text("4")), ("tags", list(vec![text("a"), Any::IntValue(1)]))],
            ..Row::default()
        },
        Row { name: "bare", attributes: vec![("id", text("5"))], ..Row::default() },
    ]
}

/// The ids of the items that a processor with these blocks edits.
async fn chosen(signal: Signal, blocks: &str) -> String {
    let yaml = format!("{blocks}\nactions: [{{key: mark, action: insert, value: x}}]");
    let out = processed(signal, &yaml, request(signal, &rows()), Context::default()).await;
    let mut ids = Vec::new();
    for attributes in item_attributes(out) {
        if attributes.iter().any(|(key, _)| key == "mark") {
            let id = attributes.into_iter().find(|(key, _)| key == "id").map(|(_, value)| value);
            let Some(Any::StringValue(id)) = id else { panic!("every item has an id") };
            ids.push(id);
        }
    }
    ids.join(" ")
}

/// Checks what `include` with these conditions chooses, and that `exclude` leaves exactly the others.
async fn check(signal: Signal, conditions: &str, expected: &str) {
    let block = |key: &str| format!("{key}: {{{conditions}}}");
    assert_eq!(chosen(signal, &block("include")).await, expected, "{signal}: include {conditions}");
    let others: Vec<_> = ["1", "2", "3", "4", "5"].into_iter().filter(|id| !expected.contains(id)).collect();
    assert_eq!(chosen(signal, &block("exclude")).await, others.join(" "), "{signal}: exclude {conditions}");
}

#[tokio::test]
async fn without_blocks_every_item_is_edited() {
    for signal in Signal::ALL {
        assert_eq!(chosen(signal, "").await, "1 2 3 4 5");
    }
}

#[tokio::test]
async fn services_are_the_names_of_the_resource() {
    for (conditions, expected) in [
        ("match_type: strict, services: [shop]", "1"),
        ("match_type: strict, services: [shop, auth-eu]", "1 2"),
        ("match_type: strict, services: [auth]", ""),
        ("match_type: regexp, services: [auth]", "2"),
        ("match_type: regexp, services: [^sho, -eu$]", "1 2"),
        ("match_type: regexp, services: ['.']", "1 2 3 4 5"),
        ("match_type: strict, services: [<nil-service-name>]", "3 4 5"),
    ] {
        check(Signal::Traces, conditions, expected).await;
    }
}

#[tokio::test]
async fn span_names_and_kinds_are_those_of_the_span() {
    for (conditions, expected) in [
        ("match_type: strict, span_names: [login]", "1"),
        ("match_type: regexp, span_names: [^login]", "1 2"),
        ("match_type: strict, span_names: [login, query]", "1 3"),
        ("match_type: strict, span_kinds: [SPAN_KIND_SERVER]", "1"),
        ("match_type: strict, span_kinds: [SPAN_KIND_CLIENT, SPAN_KIND_INTERNAL]", "2 3"),
        ("match_type: regexp, span_kinds: [UNSPECIFIED]", "5"),
        ("match_type: regexp, span_kinds: [^$]", "4"),
        ("match_type: strict, span_names: [login, query], span_kinds: [SPAN_KIND_SERVER]", "1"),
    ] {
        check(Signal::Traces, conditions, expected).await;
    }
}

#[tokio::test]
async fn log_bodies_and_severities_are_those_of_the_record() {
    for (conditions, expected) in [
        ("match_type: strict, log_bodies: [login]", "1"),
        ("match_type: regexp, log_bodies: [^login]", "1 2"),
        ("match_type: strict, log_bodies: ['42']", "4"),
        ("match_type: strict, log_severity_texts: [INFO, debug]", "1 3"),
        ("match_type: regexp, log_severity_texts: ['(?i)de']", "3"),
        ("log_severity_number: {min: 9}", "1 2"),
        ("match_type: strict, log_severity_number: {min: 13}", "2"),
        ("log_severity_number: {min: 9, match_undefined: true}", "1 2 4 5"),
        ("match_type: strict, log_bodies: [login, query], log_severity_number: {min: 9}", "1"),
    ] {
        check(Signal::Logs, conditions, expected).await;
    }
}

#[tokio::test]
async fn metric_names_are_those_of_the_metric() {
    for (conditions, expected) in [
        ("match_type: strict, metric_names: [login, bare]", "1 5"),
        ("match_type: regexp, metric_names: [^login, e$]", "1 2 5"),
        ("match_type: regexp, metric_names: [^login], resources: [{key: service.name, value: auth}]", "2"),
    ] {
        check(Signal::Metrics, conditions, expected).await;
    }
}

#[tokio::test]
async fn attributes_match_by_type_and_value_or_by_their_text() {
    for signal in [Signal::Traces, Signal::Logs] {
        for (conditions, expected) in [
            ("attributes: [{key: env}]", "1 2"),
            ("match_type: strict, attributes: [{key: env, value: dev}]", "1"),
            ("match_type: strict, attributes: [{key: env}, {key: code, value: 200}]", "1"),
            ("match_type: strict, attributes: [{key: code, value: '200'}]", "2"),
            ("match_type: strict, attributes: [{key: ok, value: true}]", "3"),
            ("match_type: strict, attributes: [{key: ratio, value: 0.5}]", "3"),
            ("match_type: strict, attributes: [{key: tags, value: [a, 1]}]", "4"),
            ("match_type: strict, attributes: [{key: tags, value: [1, a]}]", ""),
            ("match_type: regexp, attributes: [{key: env, value: ^p}]", "2"),
            ("match_type: regexp, attributes: [{key: code, value: ^20.$}]", "1 2"),
            ("match_type: regexp, attributes: [{key: ok, value: ^t}]", "3"),
            ("match_type: regexp, attributes: [{key: ratio, value: '^0\\.5$'}]", "3"),
            ("match_type: regexp, attributes: [{key: tags, value: '.*'}]", ""),
        ] {
            check(signal, conditions, expected).await;
        }
    }
}

#[tokio::test]
async fn resources_match_by_all_their_attributes_whatever_the_signal() {
    for signal in Signal::ALL {
        for (conditions, expected) in [
            ("match_type: strict, resources: [{key: host.cpus, value: 8}]", "1"),
            ("match_type: regexp, resources: [{key: host.cpus, value: '8'}]", "1 2"),
            ("resources: [{key: host.cpus}]", "1 2"),
            ("match_type: strict, resources: [{key: host.cpus}, {key: service.name, value: shop}]", "1"),
            ("resources: [{key: absent}]", ""),
        ] {
            check(signal, conditions, expected).await;
        }
    }
}

#[tokio::test]
async fn libraries_match_by_name_and_by_version_if_one_is_given() {
    for signal in [Signal::Traces, Signal::Logs] {
        for (conditions, expected) in [
            ("match_type: strict, libraries: [{name: http}]", "1 2"),
            ("match_type: strict, libraries: [{name: http, version: ''}]", "2"),
            ("match_type: strict, libraries: [{name: http, version: '1.0'}]", "1"),
            ("match_type: strict, libraries: [{name: http, version: '2.0'}]", ""),
            ("match_type: regexp, libraries: [{name: '^(http|sql)$', version: '^1'}]", "1 3"),
            ("match_type: regexp, libraries: [{name: h}, {name: p}]", "1 2"),
            ("match_type: strict, libraries: [{name: http}], attributes: [{key: env, value: dev}]", "1"),
        ] {
            check(signal, conditions, expected).await;
        }
    }
}

#[tokio::test]
async fn exclude_is_taken_off_what_include_chose() {
    let include = "include: {match_type: regexp, attributes: [{key: id, value: '[1234]'}]}";
    for (exclude, expected) in [
        ("exclude: {match_type: strict, libraries: [{name: http}]}", "3 4"),
        ("exclude: {match_type: strict, resources: [{key: service.name, value: shop}]}", "2 3 4"),
        (
            "exclude: {match_type: strict, attributes: [{key: ok, value: true}], libraries: [{name: sql}]}",
            "1 2 4",
        ),
        (
            "exclude: {match_type: strict, attributes: [{key: ok, value: true}], libraries: [{name: http}]}",
            "1 2 3 4",
        ),
    ] {
        for signal in [Signal::Traces, Signal::Logs] {
            assert_eq!(
                chosen(signal, &format!("{include}\n{exclude}")).await,
                expected,
                "{signal} {exclude}"
            );
        }
    }
    let service =
        "include: {match_type: regexp, services: [.]}\nexclude: {match_type: strict, services: [shop]}";
    assert_eq!(chosen(Signal::Traces, service).await, "2 3 4 5");
}
