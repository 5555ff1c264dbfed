mod property;
mod reload;

use std::time::Duration;

use spanbridge_component::Signal;
use tokio::time::{Instant, timeout};

use super::Graph;
use crate::books::Books;
use crate::status::StatusBoard;
use crate::testing::{Recorder, batch, config, environment};

const TIMEOUT: Duration = Duration::from_secs(30);

/// A graph of this configuration, and what happens in it.
fn graph(yaml: &str) -> (Graph, Recorder, StatusBoard) {
    let recorder = Recorder::default();
    let board = StatusBoard::new();
    let graph = Graph::build(config(yaml, &recorder), environment(), &board, Books::default()).unwrap();
    (graph, recorder, board)
}

/// One pipeline with two processors and an extension; `{...}` after a component is its configuration.
fn line(receiver: &str, processor: &str, exporter: &str) -> String {
    format!(
        "receivers: {{in: {receiver}}}\nprocessors: {{mark: {processor}, mark/2: }}\nexporters: {{out: {exporter}}}\n\
         extensions: {{ext: }}\nservice:\n  extensions: [ext]\n  pipelines:\n    \
         traces: {{receivers: [in], processors: [mark, mark/2], exporters: [out]}}\n"
    )
}

const DIAMOND: &str = "
receivers: {in: }
processors: {mark: }
exporters: {out: , out/unused: }
connectors: {same: , count: }
service:
  pipelines:
    traces/first: {receivers: [in], processors: [mark], exporters: [same, count]}
    traces/second: {receivers: [same], processors: [mark], exporters: [out]}
    metrics: {receivers: [count, in], exporters: [out]}
";

#[tokio::test(start_paused = true)]
async fn the_pipelines_are_ready_from_the_last_start_until_just_before_the_first_stop() {
    let (mut graph, _, board) = graph(&line("{shutdown: hang}", "", ""));
    let readiness = board.cell().readiness();
    assert_eq!(*readiness.borrow(), None);
    graph.start().await.unwrap();
    assert!(readiness.borrow().is_some());
    let shutdown = graph.shutdown(TIMEOUT);
    let mut shutdown = std::pin::pin!(shutdown);
    assert!(timeout(Duration::from_millis(1), &mut shutdown).await.is_err(), "the receiver hangs");
    assert_eq!(*readiness.borrow(), None);
    shutdown.await;
}

#[tokio::test]
async fn a_start_that_fails_is_never_ready() {
    let (mut graph, _, board) = graph(&line("{start: fail}", "", ""));
    assert!(graph.start().await.is_err());
    assert_eq!(*board.cell().readiness().borrow(), None);
    graph.shutdown(TIMEOUT).await;
}

#[tokio::test]
async fn starts_from_the_end_and_stops_from_the_beginning() {
    let (mut graph, recorder, _) = graph(&line("", "", ""));
    recorder.take();
    graph.start().await.unwrap();
    assert_eq!(
        recorder.take(),
        ["start ext", "start out", "start mark/2@traces", "start mark@traces", "start in"]
    );
    assert!(graph.shutdown(TIMEOUT).await.is_clean());
    assert_eq!(
        recorder.take(),
        ["shutdown in", "shutdown mark@traces", "shutdown mark/2@traces", "shutdown out", "shutdown ext"]
    );
}

#[tokio::test]
async fn creates_one_instance_an_id_but_one_a_pipeline_for_processors_and_nothing_unused() {
    let (_, recorder, _) = graph(DIAMOND);
    let mut created = recorder.take();
    created.sort();
    assert_eq!(
        created,
        [
            "create count",
            "create in",
            "create mark@traces/first",
            "create mark@traces/second",
            "create out",
            "create same"
        ]
    );
}

#[tokio::test]
async fn a_connector_starts_after_and_stops_before_all_that_it_feeds() {
    let (mut graph, recorder, _) = graph(DIAMOND);
    recorder.take();
    graph.start().await.unwrap();
    let started = recorder.take();
    graph.shutdown(TIMEOUT).await;
    let stopped = recorder.take();
    let place = |events: &[String], name: &str| events.iter().position(|e| e.ends_with(name)).unwrap();
    for (upstream, downstream) in [
        (" in", " mark@traces/first"),
        (" mark@traces/first", " same"),
        (" mark@traces/first", " count"),
        (" same", " mark@traces/second"),
        (" mark@traces/second", " out"),
        (" count", " out"),
    ] {
        assert!(place(&started, upstream) > place(&started, downstream), "start: {started:?}");
        assert!(place(&stopped, upstream) < place(&stopped, downstream), "shutdown: {stopped:?}");
    }
    assert_eq!(started.last().unwrap(), "start in", "receivers are last");
}

#[tokio::test]
async fn a_receiver_feeds_every_pipeline_that_lists_it_and_no_other_signal() {
    let (_, recorder, _) = graph(DIAMOND);
    let outputs = recorder.outputs("in");
    assert!(outputs.get(Signal::Logs).is_none());
    recorder.take();
    outputs.get(Signal::Traces).unwrap().consume(batch(Signal::Traces)).await.unwrap();
    assert_eq!(
        recorder.take(),
        [
            "consume traces mark@traces/first",
            "consume traces same",
            "consume traces mark@traces/second",
            "consume traces out",
            "consume traces count"
        ]
    );
    outputs.get(Signal::Metrics).unwrap().consume(batch(Signal::Metrics)).await.unwrap();
    assert_eq!(recorder.take(), ["consume metrics out"]);
}

#[tokio::test]
async fn ids_listed_twice_count_once() {
    let yaml = "
receivers: {in: }
exporters: {out: }
service: {pipelines: {logs: {receivers: [in, in], exporters: [out, out]}}}
";
    let (_, recorder, _) = graph(yaml);
    recorder.take();
    recorder.outputs("in").get(Signal::Logs).unwrap().consume(batch(Signal::Logs)).await.unwrap();
    assert_eq!(recorder.take(), ["consume logs out"]);
}

#[tokio::test]
async fn a_failed_start_leaves_the_rest_alone_and_what_was_touched_is_stopped() {
    let (mut graph, recorder, _) = graph(&line("", "{start: fail}", ""));
    recorder.take();
    let error = graph.start().await.unwrap_err();
    assert_eq!(error.to_string(), "failed to start \"mark\" processor in pipeline \"traces\": start fails");
    assert!(graph.shutdown(TIMEOUT).await.is_clean());
    assert_eq!(
        recorder.take(),
        [
            "start ext",
            "start out",
            "start mark/2@traces",
            "start mark@traces",
            "shutdown mark@traces",
            "shutdown mark/2@traces",
            "shutdown out",
            "shutdown ext"
        ]
    );
}

#[tokio::test]
async fn a_panic_in_start_is_a_failed_start() {
    let (mut graph, _, _) = graph(&line("{start: panic}", "", ""));
    let error = graph.start().await.unwrap_err();
    assert_eq!(error.to_string(), "failed to start \"in\" receiver: panicked: start panics");
}

#[tokio::test(start_paused = true)]
async fn a_start_that_hangs_can_be_given_up_and_everything_touched_stops() {
    let (mut graph, recorder, _) = graph(&line("{start: hang}", "", ""));
    timeout(Duration::from_secs(5), graph.start()).await.unwrap_err();
    recorder.take();
    assert!(graph.shutdown(TIMEOUT).await.is_clean());
    assert_eq!(recorder.take().len(), 5);
}

#[tokio::test(start_paused = true)]
async fn one_that_hangs_in_shutdown_takes_its_own_share_of_the_time_and_no_more() {
    let (mut graph, recorder, _) = graph(&line("", "{shutdown: hang}", ""));
    graph.start().await.unwrap();
    recorder.take();
    let begin = Instant::now();
    let report = graph.shutdown(TIMEOUT).await;
    assert!(begin.elapsed() < Duration::from_secs(9), "took {:?}", begin.elapsed());
    assert_eq!(report.failures.len(), 1);
    assert_eq!(report.failures[0].id.as_str(), "mark");
    assert_eq!(report.failures[0].message, "did not stop by its deadline and was abandoned");
    assert_eq!(recorder.take().len(), 5, "the others stop all the same");
    // Five stages of 30 s: 6 s for the first; the second has a quarter of the rest, and what it used is gone.
    assert_eq!(recorder.time_given("in", begin), Duration::from_secs(6));
    assert_eq!(recorder.time_given("mark@traces", begin), Duration::from_millis(7_500));
    assert_eq!(recorder.time_given("ext", begin), TIMEOUT);
}

#[tokio::test(start_paused = true)]
async fn shutdown_is_bounded_when_everything_hangs() {
    let hang = "{shutdown: hang}";
    let (mut graph, _, _) = graph(&line(hang, hang, hang));
    graph.start().await.unwrap();
    let begin = Instant::now();
    let report = graph.shutdown(TIMEOUT).await;
    assert_eq!(report.failures.len(), 3);
    assert!(begin.elapsed() <= TIMEOUT + Duration::from_millis(5 * 500), "took {:?}", begin.elapsed());
}

#[tokio::test]
async fn failed_shutdowns_are_reported_with_what_was_not_delivered() {
    let (mut graph, recorder, _) = graph(&line("{shutdown: panic}", "{shutdown: fail, undelivered: 7}", ""));
    graph.start().await.unwrap();
    recorder.take();
    let report = graph.shutdown(TIMEOUT).await;
    let failures: Vec<_> =
        report.failures.iter().map(|f| (f.id.as_str(), f.message.as_str(), f.undelivered_items)).collect();
    assert_eq!(failures, [("in", "panicked: shutdown panics", 0), ("mark", "shutdown fails", 7)]);
    assert_eq!(recorder.take().len(), 5);
}

#[tokio::test]
async fn a_fatal_status_of_a_component_reaches_the_service() {
    let (mut graph, _, board) = graph(&line("{start: fatal}", "", ""));
    graph.start().await.unwrap();
    let fatal = timeout(TIMEOUT, board.fatal()).await.unwrap();
    assert_eq!((fatal.id.as_str(), fatal.message.as_str()), ("in", "cannot go on"));
}

#[test]
fn a_component_that_cannot_be_made_is_named() {
    let recorder = Recorder::default();
    let config = config(&line("", "{create: fail}", ""), &recorder);
    let error = Graph::build(config, environment(), &StatusBoard::new(), Books::default()).err().unwrap();
    assert_eq!(
        error.to_string(),
        "failed to create \"mark\" processor, in pipeline \"traces\": create fails"
    );
}

#[test]
fn components_are_told_the_signals_of_the_pipelines_that_use_them() {
    let (_, recorder, _) = graph(DIAMOND);
    for (name, signals) in [
        ("in", vec![Signal::Traces, Signal::Metrics]),
        ("mark@traces/first", vec![Signal::Traces]),
        ("same", vec![Signal::Traces]),
        ("count", vec![Signal::Traces]),
        ("out", vec![Signal::Traces, Signal::Metrics]),
    ] {
        assert_eq!(recorder.signals(name), signals, "{name}");
    }
}

#[tokio::test]
async fn a_component_finds_the_extension_that_it_names_when_it_starts() {
    let (mut graph, recorder, _) = graph(&line("", "", "{storage: ext}"));
    recorder.take();
    graph.start().await.unwrap();
    assert_eq!(recorder.take()[..2], ["start ext", "start out"]);
}
