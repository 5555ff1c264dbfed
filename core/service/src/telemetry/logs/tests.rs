use std::sync::{Arc, Mutex};

use serde_json::{Value, json};
use spanbridge_component::telemetry::Telemetry;
use spanbridge_component::{Kind, Settings};
use spanbridge_testkit::open_callsites;
use tracing::subscriber::with_default;
use tracing_subscriber::layer::SubscriberExt;

use super::output::Outputs;
use super::{Config, Logging, Sampling};
use crate::telemetry::{Resource, resource};
use crate::testing::BUILD;

/// What `log` writes when the logger is configured like this, without the times.
fn written(config: Value, log: impl FnOnce()) -> Vec<String> {
    written_with(&serde_json::from_value(config).unwrap(), log)
}

fn written_with(config: &Config, log: impl FnOnce()) -> Vec<String> {
    let (logging, layer) = Logging::new();
    let (outputs, memory) = Outputs::memory();
    open_callsites();
    with_default(tracing_subscriber::registry().with(layer), || {
        logging.install_with(config, &resource(), outputs);
        log();
    });
    lines(&memory)
}

/// A resource with a name that is the same each time.
fn resource() -> Resource {
    let config = json!({ "service.name": "s", "service.version": null, "service.instance.id": null });
    Resource::new(&serde_json::from_value::<resource::Config>(config).unwrap(), BUILD)
}

fn lines(memory: &Arc<Mutex<Vec<u8>>>) -> Vec<String> {
    let text = String::from_utf8(memory.lock().unwrap().clone()).unwrap();
    text.lines().map(|line| line.split_once('\t').map_or(line, |(_, rest)| rest).to_owned()).collect()
}

fn settings(kind: Kind, id: &str, pipeline: Option<&str>) -> Settings {
    Settings {
        id: id.parse().unwrap(),
        kind,
        pipeline: pipeline.map(|p| p.parse().unwrap()),
        signals: Vec::new(),
        ledger: spanbridge_component::Ledger::new(),
        telemetry: Telemetry::detached(),
        build: BUILD,
    }
}

#[test]
fn records_carry_the_resource_and_the_identity_of_their_component() {
    let span_of = |kind, id, pipeline| settings(kind, id, pipeline).span();
    let lines = written(json!({ "disable_caller": true }), || {
        tracing::info!("outside");
        span_of(Kind::Processor, "batch/2", Some("traces/in")).in_scope(|| {
            tracing::warn!(size = 3, ok = true, name = "x", ratio = 0.5, "inside");
            span_of(Kind::Exporter, "otlp", None).in_scope(|| tracing::error!("called by the processor"));
        });
    });
    assert_eq!(
        lines,
        [
            "info\toutside\t{\"resource\": {\"service.name\": \"s\"}}",
            "warn\tinside\t{\"resource\": {\"service.name\": \"s\"}, \"otelcol.component.id\": \"batch/2\", \
             \"otelcol.component.kind\": \"processor\", \"otelcol.pipeline.id\": \"traces/in\", \"size\": 3, \
             \"ok\": true, \"name\": \"x\", \"ratio\": 0.5}",
            "error\tcalled by the processor\t{\"resource\": {\"service.name\": \"s\"}, \
             \"otelcol.component.id\": \"otlp\", \"otelcol.component.kind\": \"exporter\"}",
        ]
    );
}

#[test]
fn spans_inside_a_component_add_their_fields() {
    let lines = written(json!({ "disable_caller": true, "disable_zap_resource": true }), || {
        settings(Kind::Receiver, "otlp", None).span().in_scope(|| {
            tracing::info_span!("connection", peer = "p", late = tracing::field::Empty).in_scope(|| {
                tracing::Span::current().record("late", 1);
                tracing::info!("m");
            });
        });
    });
    assert_eq!(
        lines,
        ["info\tm\t{\"otelcol.component.id\": \"otlp\", \"otelcol.component.kind\": \"receiver\", \
          \"peer\": \"p\", \"late\": 1}"]
    );
}

#[test]
fn only_records_of_the_level_and_above_are_written() {
    let lines =
        written(json!({ "level": "WARN", "disable_caller": true, "disable_zap_resource": true }), || {
            tracing::debug!("debug");
            tracing::info!("info");
            tracing::warn!("warn");
            tracing::error!("error");
        });
    assert_eq!(lines, ["warn\twarn", "error\terror"]);
}

#[test]
fn other_projects_crates_speak_only_from_warn_upwards() {
    let lines =
        written(json!({ "level": "debug", "disable_caller": true, "disable_zap_resource": true }), || {
            tracing::debug!(target: "h2::codec", "frames");
            tracing::warn!(target: "h2::codec", "trouble");
            tracing::debug!(target: "otlp_receiver", "ours");
        });
    assert_eq!(lines, ["warn\ttrouble", "debug\tours"]);
}

#[test]
fn the_caller_is_the_crate_and_the_file() {
    let lines = written(json!({ "disable_zap_resource": true }), || tracing::info!("m"));
    assert!(lines[0].starts_with("info\tservice/telemetry/logs/tests.rs:"), "{}", lines[0]);
}

#[test]
fn equal_records_are_thinned_out_unless_sampling_is_off() {
    let log = || (0..15).for_each(|_| tracing::info!("m"));
    let sampling = |sampling| Config { sampling, ..Config::default() };
    let few = Sampling { initial: 2, thereafter: 5, ..Sampling::default() };
    assert_eq!(written_with(&sampling(few), log).len(), 4, "1, 2, 7 and 12");
    assert_eq!(written_with(&sampling(Sampling { enabled: false, ..Sampling::default() }), log).len(), 15);
    assert_eq!(written_with(&Config::default(), log).len(), 10, "on by default");
}

#[test]
fn initial_fields_come_first() {
    let config = json!({ "initial_fields": { "env": "test" }, "disable_caller": true });
    assert_eq!(
        written(config, || tracing::info!("m")),
        ["info\tm\t{\"env\": \"test\", \"resource\": {\"service.name\": \"s\"}}"]
    );
}

#[test]
fn what_is_logged_before_the_configuration_is_known_is_written_as_it_says() {
    let (logging, layer) = Logging::new();
    let (outputs, memory) = Outputs::memory();
    open_callsites();
    with_default(tracing_subscriber::registry().with(layer), || {
        tracing::debug!("too little");
        tracing::warn!("early");
        assert!(lines(&memory).is_empty());
        let config = json!({ "disable_caller": true, "disable_zap_resource": true });
        logging.install_with(&serde_json::from_value::<Config>(config).unwrap(), &resource(), outputs);
        tracing::info!("late");
    });
    assert_eq!(lines(&memory), ["warn\tearly", "info\tlate"]);
}
