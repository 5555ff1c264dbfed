use std::fmt::Write as _;

use super::Config;
use crate::testing::{Recorder, document, lines, registry};

/// What reading this finds, one a line: errors, or the warnings of what is accepted.
fn found(yaml: &str) -> String {
    let recorder = Recorder::default();
    let result = document(yaml).and_then(|document| Config::read(&document, &registry(&recorder)));
    match result {
        Ok((_, warnings)) => format!("accepted\n{}", lines(&warnings)),
        Err(errors) => lines(&errors),
    }
}

/// A good pipeline with room for more in each section.
fn with(extra: &str) -> String {
    let good = "receivers: {in: }\nexporters: {out: }\n";
    let service = "service: {pipelines: {traces: {receivers: [in], exporters: [out]}}}\n";
    format!("{good}{extra}{}", if extra.contains("service:") { "" } else { service })
}

fn pipelines(text: &str) -> String {
    format!("receivers: {{in: }}\nexporters: {{out: }}\nservice: {{pipelines: {text}}}\n")
}

fn referring(exporter: &str, extensions: &str, run: &str) -> String {
    format!(
        "receivers: {{in: }}\nexporters: {{out: {exporter}}}\nextensions: {{{extensions}}}\nservice:\n  extensions: \
         {run}\n  pipelines: {{traces: {{receivers: [in], exporters: [out]}}}}\n"
    )
}

#[test]
fn every_mistake_is_reported_at_its_place_with_the_way_out() {
    let cases = [
        ("nothing at all", String::new()),
        ("nothing but a service", "service: {pipelines: {}}\n".to_owned()),
        ("no receivers and no exporters", "processors: {mark: }\n".to_owned()),
        ("a service that is no map", "receivers: {in: }\nexporters: {out: }\nservice: 1\n".to_owned()),
        ("no pipelines", "receivers: {in: }\nexporters: {out: }\n".to_owned()),
        ("an unknown section", with("exporter: {}\n")),
        ("a section that is no map", with("processors: [mark]\n")),
        ("unknown keys of the service", with("service: {pipeline: {}, logs: }\n")),
        ("an unknown type", with("processors: {makr: }\n")),
        ("an id without a name", with("processors: {mark/: }\n")),
        ("an id without a type", with("processors: {/x: }\n")),
        ("two ids that are one", with("processors: {mark/a: , mark / a: }\n")),
        ("an unknown key of a component", with("processors: {mark: {strat: fail}}\n")),
        ("a key that is not supported", with("processors: {mark: {later: 1}}\n")),
        ("a value that is not valid", with("processors: {mark: {start: invalid}}\n")),
        ("a value of the wrong type", with("processors: {mark: {undelivered: many}}\n")),
        ("an unknown signal", pipelines("{spans: {receivers: [in], exporters: [out]}}")),
        ("empty pipelines", pipelines("{traces: , logs/2: {receivers: [in]}}")),
        ("an unknown key of a pipeline", pipelines("{traces: {receiver: [in], exporters: [out]}}")),
        ("a list that is no list", pipelines("{traces: {receivers: in, exporters: [out]}}")),
        (
            "references to nothing",
            pipelines("{traces: {receivers: [inn], processors: [x], exporters: [in]}}"),
        ),
        ("an id that is none in a list", pipelines("{traces: {receivers: [in], exporters: [out/]}}")),
        (
            "a processor twice",
            with(
                "processors: {mark: }\nservice: {pipelines: {traces: {receivers: [in], processors: [mark, mark], exporters: [out]}}}\n",
            ),
        ),
        (
            "a signal that is not supported",
            with(
                "processors: {tracer: }\nservice: {pipelines: {logs: {receivers: [in], processors: [tracer], exporters: [out]}}}\n",
            ),
        ),
        (
            "an extension that is not there",
            with("service: {extensions: [ext], pipelines: {traces: {receivers: [in], exporters: [out]}}}\n"),
        ),
        ("a reference to an extension that is not there", referring("{storage: exx}", "ext: ", "[ext]")),
        ("a reference to an extension that does not run", referring("{storage: ext}", "ext: ", "[]")),
        ("a reference to a receiver", referring("{storage: in}", "", "[]")),
        ("a reference to an extension that is wrong itself", referring("{storage: ext}", "ext: {start: 1}", "[ext]")),
        (
            "a reference of what nobody uses",
            with("processors: {mark: {storage: exx}}\n"),
        ),
        (
            "a connector like an exporter",
            "receivers: {in: }\nexporters: {out: }\nconnectors: {out: }\nservice: {pipelines: {logs: {receivers: [in], exporters: [out]}}}\n".to_owned(),
        ),
    ];
    insta::assert_snapshot!(report(cases));
}

#[test]
fn every_mistake_in_telemetry_is_reported_at_its_place() {
    let cases = [
        (
            "telemetry",
            with(
                "service:\n  telemetry:\n    logs: {level: loud, encoding: xml, output_paths: [''], processors: [], sampling: {tick: 0s}}\n    metrics: {level: all, readers: [{periodic: {}}, {pull: {exporter: {prometheus: {without_units: false}}}}], views: []}\n    traces: {level: basic}\n    resource: {attributes: [{name: '', value: 1}], schema_url: x}\n  pipelines: {traces: {receivers: [in], exporters: [out]}}\n",
            ),
        ),
        (
            "telemetry that is well-formed and wrong",
            with(
                "service:\n  telemetry:\n    logs: {development: true, disable_stacktrace: false, output_paths: ['', 'x://y'], sampling: {tick: 0s}}\n    metrics: {readers: [{}, {pull: {exporter: {prometheus: {without_units: false}}}}]}\n    traces: {level: basic}\n    resource: {attributes: [{name: '', value: }]}\n  pipelines: {traces: {receivers: [in], exporters: [out]}}\n",
            ),
        ),
        (
            "a resource with a schema",
            with(
                "service: {telemetry: {resource: {schema_url: x}}, pipelines: {traces: {receivers: [in], exporters: [out]}}}\n",
            ),
        ),
        (
            "metrics without readers",
            with(
                "service: {telemetry: {metrics: {readers: []}}, pipelines: {traces: {receivers: [in], exporters: [out]}}}\n",
            ),
        ),
        (
            "a mixed resource",
            with(
                "service: {telemetry: {resource: {attributes: [], a: b}}, pipelines: {traces: {receivers: [in], exporters: [out]}}}\n",
            ),
        ),
    ];
    insta::assert_snapshot!(report(cases));
}

/// Every case with what reading it finds.
fn report(cases: impl IntoIterator<Item = (&'static str, String)>) -> String {
    cases.into_iter().fold(String::new(), |mut report, (name, yaml)| {
        let _ = writeln!(report, "## {name}\n{yaml}--\n{}", found(&yaml));
        report
    })
}

#[test]
fn connectors_must_be_used_on_both_sides_and_in_no_circle() {
    let connectors = |pipelines: &str| {
        format!(
            "receivers: {{in: }}\nprocessors: {{mark: }}\nexporters: {{out: }}\nconnectors: {{same: , count: }}\n\
             service: {{pipelines: {{{pipelines}}}}}\n"
        )
    };
    let cases = [
        ("only as an exporter", "traces: {receivers: [in], exporters: [same]}"),
        ("only as a receiver", "traces: {receivers: [in, same], exporters: [out]}"),
        (
            "only for one signal",
            "traces: {receivers: [in], exporters: [count]}, traces/2: {receivers: [count], exporters: [out]}",
        ),
        ("a circle of one", "traces: {receivers: [in, same], processors: [mark], exporters: [same, out]}"),
        (
            "a circle of instances but not of signals",
            "traces/a: {receivers: [in], exporters: [same]}, traces/b: {receivers: [same], exporters: [count]}, \
             metrics/a: {receivers: [count], exporters: [same]}, metrics/b: {receivers: [same], exporters: [out]}",
        ),
        (
            "good",
            "traces: {receivers: [in], exporters: [same, count]}, traces/2: {receivers: [same], exporters: [out]}, metrics: {receivers: [count], processors: [mark], exporters: [out]}",
        ),
    ];
    let report = cases.into_iter().fold(String::new(), |mut report, (name, yaml)| {
        let _ = writeln!(report, "## {name}\n{yaml}\n--\n{}", found(&connectors(yaml)));
        report
    });
    insta::assert_snapshot!(report);
}

#[test]
fn what_is_accepted_may_have_warnings() {
    let yaml = "
receivers: {' in / 2 ': , in/unused: }
exporters: {old/x: }
extensions: {ext: }
service:
  telemetry:
    metrics: {address: 'localhost:0'}
    resource: {service.name: x}
  pipelines: {logs: {receivers: [in/2], exporters: [old/x]}}
";
    insta::assert_snapshot!(found(yaml));
}

#[test]
fn everything_defined_is_validated_even_when_nothing_uses_it() {
    assert!(found(&with("processors: {mark/unused: {start: invalid}}\n")).contains("invalid is not valid"));
}

#[test]
fn the_effective_configuration_has_every_default_and_ids_as_written() {
    let recorder = Recorder::default();
    let config = crate::testing::config(&with("extensions: {ext/1: {undelivered: 3}}\n"), &recorder);
    let effective = config.effective().unwrap();
    assert_eq!(effective["extensions"]["ext/1"]["undelivered"], 3);
    assert_eq!(effective["receivers"]["in"]["start"], "succeed");
    assert_eq!(effective["service"]["telemetry"]["metrics"]["level"], "normal");
    assert_eq!(effective["service"]["pipelines"]["traces"]["exporters"][0], "out");
}

#[test]
fn log_sampling_is_on_unless_it_is_null_or_says_otherwise() {
    let enabled = |sampling: &str| {
        let service = format!(
            "service: {{telemetry: {{logs: {sampling}}}, pipelines: {{traces: {{receivers: [in], exporters: [out]}}}}}}\n"
        );
        crate::testing::config(&with(&service), &Recorder::default()).telemetry().logs.sampling.enabled
    };
    assert!(enabled("{}") && enabled("{sampling: {initial: 3}}"));
    assert!(!enabled("{sampling: }") && !enabled("{sampling: {enabled: false}}"));
}

#[test]
fn the_schema_allows_every_type_by_name_and_by_alias_and_nothing_else() {
    let schema = registry(&Recorder::default()).schema();
    let exporters = &schema["properties"]["exporters"];
    let patterns: Vec<_> = exporters["patternProperties"].as_object().unwrap().keys().collect();
    assert_eq!(patterns, ["^\\s*out\\s*(/.+)?$", "^\\s*old\\s*(/.+)?$"]);
    assert_eq!(exporters["additionalProperties"], false);
    assert_eq!(exporters["patternProperties"]["^\\s*old\\s*(/.+)?$"]["deprecated"], true);
    assert!(schema["$defs"]["ServiceSection"]["properties"]["pipelines"].is_object());
}
