//! What is accepted and what is refused, and where.

use spanbridge_component::{Problems, Severity, Signal, Validate};

use crate::harness::{config, created};

/// One block a line, each with one mistake or more.
const WRONG: [&str; 22] = [
    "{}",
    "{match_type: strict}",
    "{services: [a]}",
    "{match_type: exact, services: [a]}",
    "{match_type: regex, resources: [{key: a}]}",
    "{match_type: regexp, services: [ok, '('], span_names: [')']}",
    "{match_type: regexp, attributes: [{key: a, value: 1}]}",
    "{match_type: regexp, attributes: [{key: a, value: true}, {key: b, value: [x]}, {key: c, value: {x: y}}]}",
    "{match_type: regexp, resources: [{key: a, value: '*'}]}",
    "{match_type: regexp, libraries: [{name: '[', version: '+'}]}",
    "{match_type: strict, attributes: [{value: a}]}",
    "{match_type: strict, resources: [{key: '', value: a}]}",
    "{match_type: strict, span_kinds: [SPAN_KIND_SERVER, server]}",
    "{match_type: strict, span_kinds: [SPAN_KIND_CLEINT]}",
    "{match_type: regexp, span_kinds: ['(']}",
    "{match_type: regexp, log_bodies: ['(']}",
    "{match_type: regexp, log_severity_texts: ['(']}",
    "{match_type: regexp, metric_names: ['(']}",
    "{match_type: strict, span_names: [a], log_bodies: [a]}",
    "{match_type: strict, metric_names: [a], attributes: [{key: a}]}",
    "{match_type: strict, libraries: [{name: a}, {name: b}]}",
    "{match_type: regexp, services: [a], regexp: {cacheenabled: true, cachemaxnumentries: 100}}",
];

fn problems(yaml: &str) -> String {
    let mut problems = Problems::new();
    config(yaml).validate(&mut problems);
    let line = |problem: spanbridge_component::Problem| {
        let help = problem.help.map(|help| format!("\n    help: {}", help.replace('\n', "\n    ")));
        let warning = if problem.severity == Severity::Warning { "warning: " } else { "" };
        format!("{}: {warning}{}{}", problem.path.join("."), problem.message, help.unwrap_or_default())
    };
    problems.into_found().into_iter().map(line).collect::<Vec<_>>().join("\n")
}

#[test]
fn every_wrong_condition_is_reported_where_it_stands() {
    let actions = "actions: [{key: a, action: delete}]";
    let all = WRONG.map(|block| format!("{block}\n{}", problems(&format!("include: {block}\n{actions}"))));
    insta::assert_snapshot!(all.join("\n\n"));
    let excluded = problems(&format!("exclude: {}\n{actions}", WRONG[2]));
    assert_eq!(excluded.split(": ").next(), Some("exclude"));
}

#[test]
fn actions_are_checked_as_those_of_the_resource_processor() {
    assert_eq!(problems("{}"), "actions: missing required field \"actions\"");
    let unknown = problems("actions: [{key: a, action: delete}, {key: a, action: isnert}]");
    let expected = "actions.1.action: error creating AttrProc due to unsupported action \"isnert\" at the 1-th \
        actions\n    help: did you mean \"insert\"?";
    assert_eq!(unknown, expected);
}

#[test]
fn conditions_that_are_not_for_the_signal_of_the_pipeline_are_refused() {
    let missing = "at least one of";
    for (signal, block, expected) in [
        (Signal::Traces, "log_bodies: [a]", "log_bodies should not be specified for trace spans"),
        (
            Signal::Traces,
            "log_severity_texts: [a]",
            "log_severity_texts should not be specified for trace spans",
        ),
        (
            Signal::Traces,
            "log_severity_number: {min: 1}",
            "log_severity_number should not be specified for trace spans",
        ),
        (Signal::Traces, "metric_names: [a]", "metric_names should not be specified for trace spans"),
        (
            Signal::Logs,
            "services: [a]",
            "services, span_names, span_kinds and metric_names are not valid for log records",
        ),
        (
            Signal::Logs,
            "span_names: [a]",
            "services, span_names, span_kinds and metric_names are not valid for log records",
        ),
        (
            Signal::Logs,
            "metric_names: [a]",
            "services, span_names, span_kinds and metric_names are not valid for log records",
        ),
        (Signal::Metrics, "services: [a]", "are not valid for metrics"),
        (Signal::Metrics, "attributes: [{key: a}]", "are not valid for metrics"),
        (Signal::Metrics, "libraries: [{name: a}]", "are not valid for metrics"),
        (Signal::Metrics, "log_bodies: [a]", "are not valid for metrics"),
        (Signal::Traces, "", missing),
        (Signal::Logs, "", missing),
        (Signal::Metrics, "", missing),
    ] {
        for key in ["include", "exclude"] {
            let yaml =
                format!("{key}: {{match_type: strict, {block}}}\nactions: [{{key: a, action: delete}}]");
            let error = created(signal, &yaml).0.err().unwrap().to_string();
            assert!(
                error.starts_with(&format!("{key}: ")) && error.contains(expected),
                "{signal} {block}: {error}"
            );
        }
    }
}

#[test]
fn what_validation_refuses_is_not_created_either() {
    for (yaml, expected) in [
        ("actions: [{key: k, action: none}]", "error creating AttrProc due to unsupported action \"none\""),
        (
            "{include: {match_type: regexp, span_names: ['(']}, actions: [{key: k, action: delete}]}",
            "include: error parsing regexp",
        ),
    ] {
        let error = created(Signal::Traces, yaml).0.err().unwrap().to_string();
        assert!(error.starts_with(expected), "{error}");
    }
}

#[test]
fn the_examples_are_valid_and_can_be_created() {
    for (signal, yaml) in [
        (Signal::Traces, include_str!("../../testdata/spans.yaml")),
        (Signal::Logs, include_str!("../../testdata/logs.yaml")),
        (Signal::Metrics, include_str!("../../testdata/metrics.yaml")),
        (Signal::Traces, include_str!("../../testdata/minimal.yaml")),
    ] {
        assert_eq!(problems(yaml), "");
        assert!(created(signal, yaml).0.is_ok());
    }
}
