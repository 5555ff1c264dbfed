//! From one configuration to the next.

use std::sync::Arc;
use std::time::Duration;

use spanbridge_component::ledger::Balance;
use spanbridge_component::{Consumer, Kind, PipelineId, Signal};
use tokio::task::yield_now;
use tokio::time::{Instant, sleep, timeout};

use super::TIMEOUT;
use crate::books::Books;
use crate::graph::{Graph, Key, ReloadError};
use crate::status::StatusBoard;
use crate::testing::{Recorder, batch, config, environment};

/// A running graph, and what happens in it.
pub(super) struct Run {
    pub(super) graph: Graph,
    pub(super) recorder: Recorder,
    pub(super) books: Books,
}

impl Run {
    pub(super) async fn of(yaml: &str) -> Self {
        let (recorder, books) = (Recorder::default(), Books::default());
        let config = config(yaml, &recorder);
        let mut graph = Graph::build(config, environment(), &StatusBoard::new(), books.clone()).unwrap();
        graph.start().await.unwrap();
        recorder.take();
        Self { graph, recorder, books }
    }

    pub(super) async fn reload(&mut self, yaml: &str) -> Result<super::super::Changes, ReloadError> {
        let config = config(yaml, &self.recorder);
        self.graph.reload(config, TIMEOUT).await
    }

    /// Waits until everything that was taken out has ended.
    pub(super) async fn settle(&mut self) {
        while let Some(ended) = self.graph.winding.join_next().await {
            assert_eq!(ended.unwrap(), []);
        }
        while !self.graph.heirs.is_idle() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    /// Lets pass what hangs, after this time, if it `opens` at all.
    fn gate_opens_after(&self, time: Duration, opens: bool) -> impl Future<Output = ()> + use<> {
        let recorder = self.recorder.clone();
        async move {
            sleep(time).await;
            if opens {
                recorder.open_gate();
            }
        }
    }

    fn entrance(&self, signal: Signal) -> Arc<dyn Consumer> {
        self.recorder.outputs("in").get(signal).unwrap()
    }

    /// Sends an item in on a task of its own, and lets it get as far as it can.
    async fn send(&self) -> tokio::task::JoinHandle<Result<(), spanbridge_component::ConsumeError>> {
        let outputs = self.recorder.outputs("in");
        let call =
            tokio::spawn(
                async move { outputs.get(Signal::Traces).unwrap().consume(batch(Signal::Traces)).await },
            );
        for _ in 0..20 {
            yield_now().await;
        }
        call
    }

    /// Sends in some items, one by one.
    async fn feed(&self, items: usize) {
        for _ in 0..items {
            self.entrance(Signal::Traces).consume(batch(Signal::Traces)).await.unwrap();
        }
        self.recorder.take();
    }

    /// How many batches the exporter was offered since the last look.
    fn offered(&self) -> usize {
        self.recorder.take().iter().filter(|event| *event == "consume traces out").count()
    }

    /// The books of the exporter.
    fn balance(&self) -> Balance {
        let mut accounts = self.books.accounts().into_iter();
        accounts.find(|account| account.owner.to_string() == "\"out\" exporter").unwrap().balance
    }

    fn node(&self, kind: Kind, id: &str, pipeline: Option<&str>) -> usize {
        let pipeline = pipeline.map(|id| id.parse::<PipelineId>().unwrap());
        let key = Key { kind, id: id.parse().unwrap(), pipeline };
        Arc::as_ptr(&self.graph.layout.nodes[&key]) as usize
    }
}

/// One line of components; `{...}` after a component is its configuration.
fn line(processor: &str, exporter: &str, extension: &str) -> String {
    format!(
        "receivers: {{in: }}\nprocessors: {{mark: {processor}}}\nexporters: {{out: {exporter}}}\nextensions: {{ext: \
         {extension}}}\nservice:\n  extensions: [ext]\n  pipelines:\n    traces: {{receivers: [in], processors: \
         [mark], exporters: [out]}}\n"
    )
}

#[tokio::test]
async fn the_same_configuration_touches_nothing() {
    let mut run = Run::of(&line("", "{storage: ext}", "")).await;
    let changes = run.reload(&line("{knob: 0}", "{storage: ext}", "")).await.unwrap();
    assert_eq!(changes.unchanged, 4);
    assert_eq!(run.recorder.take(), [""; 0]);
}

#[tokio::test]
async fn a_changed_processor_starts_before_and_ends_after_the_change_and_the_rest_stays() {
    let mut run = Run::of(&line("", "", "")).await;
    let before = (run.node(Kind::Receiver, "in", None), run.node(Kind::Exporter, "out", None));

    let changes = run.reload(&line("{knob: 1}", "", "")).await.unwrap();
    run.settle().await;

    assert_eq!(changes.replaced, ["\"mark\" processor in pipeline \"traces\""]);
    assert_eq!(changes.unchanged, 3);
    assert_eq!(run.recorder.take(), ["create mark@traces", "start mark@traces", "retire mark@traces"]);
    assert_eq!((run.node(Kind::Receiver, "in", None), run.node(Kind::Exporter, "out", None)), before);
    run.entrance(Signal::Traces).consume(batch(Signal::Traces)).await.unwrap();
    assert_eq!(run.recorder.take(), ["consume traces mark@traces", "consume traces out"]);
}

#[tokio::test]
async fn what_a_replaced_component_holds_goes_to_its_successor() {
    for exporter in ["hold: true", "hold: true, storage: ext"] {
        let mut run = Run::of(&line("", &format!("{{{exporter}}}"), "")).await;
        for _ in 0..3 {
            run.entrance(Signal::Traces).consume(batch(Signal::Traces)).await.unwrap();
        }
        run.recorder.take();
        run.reload(&line("", &format!("{{{}}}", exporter.replace("hold: true", "knob: 1")), ""))
            .await
            .unwrap();
        run.settle().await;
        let events = run.recorder.take();
        assert_eq!(events.iter().filter(|event| *event == "consume traces out").count(), 3, "{events:?}");
    }
}

#[tokio::test]
async fn calls_that_are_under_way_end_in_the_component_they_went_to() {
    let mut run = Run::of(&line("", "{consume: hang}", "")).await;
    let call = run.send().await;
    run.recorder.take();

    run.reload(&line("", "{knob: 1}", "")).await.unwrap();
    let after = run.send().await;
    assert_eq!(after.await.unwrap(), Ok(()), "new calls go to the successor");
    assert!(!call.is_finished());
    assert!(!run.recorder.take().contains(&"retire out".to_owned()), "it ends when its calls have");
    run.recorder.open_gate();

    assert_eq!(call.await.unwrap(), Ok(()));
    run.settle().await;
    assert_eq!(run.recorder.take(), ["retire out"]);
}

#[tokio::test(start_paused = true)]
async fn calls_wait_while_a_component_is_replaced_that_cannot_run_beside_its_successor() {
    let mut run = Run::of(&line("", "{storage: ext, consume: hang}", "")).await;
    let first = run.send().await;
    let recorder = run.recorder.clone();
    run.recorder.take();
    let outputs = recorder.outputs("in");
    let new = config(&line("", "{storage: ext, knob: 1}", ""), &recorder);
    let reload = run.graph.reload(new, TIMEOUT);
    let meanwhile = async {
        tokio::time::sleep(Duration::from_millis(1)).await;
        let second =
            tokio::spawn(
                async move { outputs.get(Signal::Traces).unwrap().consume(batch(Signal::Traces)).await },
            );
        tokio::time::sleep(Duration::from_millis(1)).await;
        assert!(!second.is_finished(), "it waits for the successor");
        recorder.open_gate();
        (first.await.unwrap(), second.await.unwrap())
    };
    let (changes, answers) = tokio::join!(reload, meanwhile);
    assert_eq!(changes.unwrap().replaced, ["\"out\" exporter"]);
    assert_eq!(answers, (Ok(()), Ok(())));
    assert_eq!(run.recorder.running(), ["ext", "in", "mark@traces", "out"]);
}

#[tokio::test]
async fn a_changed_extension_restarts_those_who_name_it_and_nobody_else() {
    let mut run = Run::of(&line("", "{storage: ext}", "")).await;
    let changes = run.reload(&line("", "{storage: ext}", "{knob: 1, port: 1}")).await.unwrap();
    assert_eq!(changes.replaced, ["\"out\" exporter", "\"ext\" extension"]);
    assert_eq!(
        run.recorder.take(),
        ["create ext", "create out", "retire out", "shutdown ext", "start ext", "start out"]
    );
}

#[tokio::test]
async fn pipelines_and_signals_come_and_go_under_a_receiver_that_stays() {
    let two = "
receivers: {in: }
exporters: {out: , out/2: }
service:
  pipelines:
    traces: {receivers: [in], exporters: [out]}
    logs: {receivers: [in], exporters: [out/2]}
";
    let one = "
receivers: {in: }
exporters: {out: }
service: {pipelines: {traces: {receivers: [in], exporters: [out]}}}
";
    let mut run = Run::of(one).await;
    let outputs = run.recorder.outputs("in");
    assert!(!outputs.has(Signal::Logs));
    let changes = run.reload(two).await.unwrap();
    assert_eq!((changes.added, changes.unchanged), (vec!["\"out/2\" exporter".to_owned()], 2));
    outputs.get(Signal::Logs).unwrap().consume(batch(Signal::Logs)).await.unwrap();
    run.recorder.take();

    run.reload(one).await.unwrap();
    run.settle().await;
    assert!(!outputs.has(Signal::Logs));
    assert_eq!(run.recorder.take(), ["shutdown out/2"]);
    let accounts = run.books.accounts();
    assert!(accounts.iter().any(|account| account.owner.to_string() == "\"logs\" pipeline"), "books stay");
}

#[tokio::test]
async fn an_exporter_that_gets_another_signal_is_made_anew_and_one_that_loses_one_stays() {
    let yaml = |signals: &[&str]| {
        let pipelines = signals.iter().map(|s| format!("{s}: {{receivers: [in], exporters: [out]}}"));
        let pipelines = pipelines.collect::<Vec<_>>().join(", ");
        format!("receivers: {{in: }}\nexporters: {{out: }}\nservice: {{pipelines: {{{pipelines}}}}}\n")
    };
    let mut run = Run::of(&yaml(&["traces"])).await;
    let changes = run.reload(&yaml(&["traces", "logs"])).await.unwrap();
    assert_eq!(changes.replaced, ["\"out\" exporter"]);
    assert_eq!(run.recorder.signals("out"), [Signal::Traces, Signal::Logs]);
    let changes = run.reload(&yaml(&["logs"])).await.unwrap();
    assert_eq!((changes.replaced.len(), changes.unchanged), (0, 2));
}

#[tokio::test]
async fn a_component_that_cannot_be_made_changes_nothing() {
    let mut run = Run::of(&line("", "", "")).await;
    let error = run.reload(&line("{knob: 1}", "{create: fail}", "")).await.unwrap_err();
    assert!(matches!(error, ReloadError::Create(_)));
    assert_eq!(error.to_string(), "failed to create \"out\" exporter: create fails");
    run.recorder.take();
    run.entrance(Signal::Traces).consume(batch(Signal::Traces)).await.unwrap();
    assert_eq!(run.recorder.take(), ["consume traces mark@traces", "consume traces out"]);
}

#[tokio::test]
async fn a_component_that_does_not_start_is_taken_back_with_all_that_came_with_it() {
    let mut run = Run::of(&line("{hold: true}", "", "")).await;
    let before = (run.node(Kind::Exporter, "out", None), run.node(Kind::Processor, "mark", Some("traces")));
    let broken = line("{start: fail}", "{knob: 1}", "");
    let error = run.reload(&broken).await.unwrap_err();
    assert!(error.to_string().ends_with("start fails"), "{error}");
    let after = (run.node(Kind::Exporter, "out", None), run.node(Kind::Processor, "mark", Some("traces")));
    assert_eq!(after, before, "what had not stopped is still there");
    assert_eq!(run.recorder.running(), ["ext", "in", "mark@traces", "out"]);
    run.recorder.take();
    run.entrance(Signal::Traces).consume(batch(Signal::Traces)).await.unwrap();
    assert_eq!(run.recorder.take(), ["consume traces mark@traces"], "the former one, which holds");
}

#[tokio::test(start_paused = true)]
async fn what_was_stopped_for_a_component_that_does_not_start_is_made_anew_and_gets_its_telemetry_back() {
    let mut run = Run::of(&line("", "{storage: ext, hold: true}", "")).await;
    run.entrance(Signal::Traces).consume(batch(Signal::Traces)).await.unwrap();
    run.recorder.take();

    let error = run.reload(&line("", "{storage: ext, start: fail}", "")).await.unwrap_err();

    assert!(matches!(error, ReloadError::Start(_)), "{error}");
    run.settle().await;
    assert_eq!(
        run.recorder.take(),
        [
            "create out",
            "retire out",
            "start out",
            "create out",
            "retire out",
            "start out",
            "consume traces out"
        ]
    );
    assert_eq!(run.recorder.running(), ["ext", "in", "mark@traces", "out"]);
    timeout(TIMEOUT, run.entrance(Signal::Traces).consume(batch(Signal::Traces))).await.unwrap().unwrap();
    assert!(run.graph.shutdown(TIMEOUT).await.is_clean());
}

#[tokio::test]
async fn a_port_that_is_taken_brings_the_former_receivers_back() {
    let yaml = |receivers: &str, used: &str| {
        format!(
            "receivers: {{{receivers}}}\nexporters: {{out: }}\nservice: {{pipelines: {{traces: {{receivers: [{used}], \
             exporters: [out]}}}}}}\n"
        )
    };
    let mut run = Run::of(&yaml("in: {port: 1}, in/2: {port: 2}", "in, in/2")).await;
    let clash = yaml("in: {port: 1, knob: 1}, in/2: {port: 2}, in/3: {port: 2}", "in, in/2, in/3");
    let error = run.reload(&clash).await.unwrap_err();
    assert_eq!(error.to_string(), "failed to start \"in/3\" receiver: in/2 has port 2");
    assert_eq!(run.recorder.running(), ["in", "in/2", "out"]);
    run.entrance(Signal::Traces).consume(batch(Signal::Traces)).await.unwrap();

    // A receiver may take over the port of one that goes.
    run.reload(&yaml("in/3: {port: 2}, in: {port: 3}", "in, in/3")).await.unwrap();
    assert_eq!(run.recorder.running(), ["in", "in/3", "out"]);
    assert!(run.graph.shutdown(TIMEOUT).await.is_clean());
    assert_eq!(run.recorder.running(), [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn what_a_successor_does_not_take_is_reported_and_booked_as_dropped() {
    let mut run = Run::of(&line("", "{hold: true}", "")).await;
    run.entrance(Signal::Traces).consume(batch(Signal::Traces)).await.unwrap();
    run.reload(&line("", "{consume: fail}", "")).await.unwrap();
    let report = run.graph.shutdown(TIMEOUT).await;
    let failed: Vec<_> = report.failures.iter().map(|f| (f.id.as_str(), f.undelivered_items)).collect();
    assert_eq!(failed, [("out", 1)]);
    let balance =
        &report.accounts.iter().find(|a| a.owner.to_string() == "\"out\" exporter").unwrap().balance;
    assert_eq!(balance.dropped.get("not_handed_over"), Some(&1));
}

#[tokio::test(start_paused = true)]
async fn a_successor_may_take_hours_and_is_offered_several_batches_at_a_time() {
    for exporter in ["{hold: true}", "{hold: true, storage: ext}"] {
        let mut run = Run::of(&line("", exporter, "")).await;
        run.feed(25).await;
        run.reload(&line("", &exporter.replace("hold: true", "consume: hang"), "")).await.unwrap();
        sleep(Duration::from_secs(3600)).await;
        assert_eq!((run.offered(), run.balance().held), (10, 25));
        run.recorder.open_gate();
        run.settle().await;
        assert_eq!((run.offered(), run.balance().held, run.balance().dropped_total()), (15, 0, 0));
        assert!(run.graph.shutdown(TIMEOUT).await.is_clean());
    }
}

#[tokio::test(start_paused = true)]
async fn a_reload_waits_for_no_successor_and_what_is_still_held_goes_to_the_next() {
    for storage in ["", ", storage: ext"] {
        let mut run = Run::of(&line("", &format!("{{hold: true{storage}}}"), "")).await;
        run.feed(25).await;
        let begin = Instant::now();
        for knob in 0..20 {
            let hangs = format!("{{consume: hang, knob: {knob}{storage}}}");
            run.reload(&line("", &hangs, "")).await.unwrap();
            sleep(Duration::from_millis(1)).await;
        }
        assert!(begin.elapsed() < Duration::from_secs(1), "{:?}", begin.elapsed());
        run.recorder.take();
        run.reload(&line("", &format!("{{knob: 20{storage}}}"), "")).await.unwrap();
        run.settle().await;
        assert_eq!((run.offered(), run.balance().dropped_total()), (25, 0));
        assert!(run.graph.shutdown(TIMEOUT).await.is_clean());
    }
}

#[tokio::test(start_paused = true)]
async fn a_component_is_not_taken_out_before_it_has_what_it_inherits_but_not_for_ever() {
    let without = "
receivers: {in: }
exporters: {out/2: }
service: {pipelines: {traces: {receivers: [in], exporters: [out/2]}}}
";
    for opens in [true, false] {
        let mut run = Run::of(&line("", "{hold: true}", "")).await;
        run.feed(25).await;
        run.reload(&line("", "{consume: hang}", "")).await.unwrap();
        let gate = run.gate_opens_after(Duration::from_secs(10), opens);
        let begin = Instant::now();
        let (changes, ()) = tokio::join!(run.reload(without), gate);
        assert!(changes.unwrap().removed.contains(&"\"out\" exporter".to_owned()));
        let waited = if opens { 10 } else { 30 };
        assert_eq!(begin.elapsed().as_secs(), waited);
        run.settle().await;
        let report = run.graph.shutdown(TIMEOUT).await;
        assert_eq!(report.is_clean(), opens, "{:?}", report.failures);
        assert_eq!(run.balance().dropped_total(), if opens { 0 } else { 25 });
    }
}

#[tokio::test(start_paused = true)]
async fn a_shutdown_goes_on_handing_over_and_reports_and_books_what_is_left() {
    for opens in [true, false] {
        let mut run = Run::of(&line("", "{hold: true}", "")).await;
        run.feed(25).await;
        run.reload(&line("", "{consume: hang}", "")).await.unwrap();
        let gate = run.gate_opens_after(Duration::from_secs(1), opens);
        let begin = Instant::now();
        let (report, ()) = tokio::join!(run.graph.shutdown(TIMEOUT), gate);
        assert!(begin.elapsed() < TIMEOUT, "{:?}", begin.elapsed());
        let failed: Vec<_> = report.failures.iter().map(|f| (f.id.as_str(), f.undelivered_items)).collect();
        assert_eq!(failed, if opens { vec![] } else { vec![("out", 25)] });
        let balance = run.balance();
        assert_eq!((balance.held, balance.lost), (0, 0));
        assert_eq!(balance.dropped.get("not_handed_over").copied(), (!opens).then_some(25));
    }
}

#[tokio::test(start_paused = true)]
async fn what_was_held_is_accounted_for_when_there_is_no_way_back() {
    let mut run = Run::of(&line("", "{storage: ext, hold: true}", "")).await;
    run.feed(3).await;
    let recorder = run.recorder.clone();
    let nothing_works = async {
        sleep(Duration::from_secs(1)).await;
        recorder.make_no_more();
    };
    let hangs = line("", "{storage: ext, start: hang}", "");
    let (outcome, ()) = tokio::join!(run.reload(&hangs), nothing_works);
    assert!(matches!(outcome.unwrap_err(), ReloadError::Broken { .. }));
    let report = run.graph.shutdown(TIMEOUT).await;
    let failed: Vec<_> = report.failures.iter().map(|f| (f.id.as_str(), f.undelivered_items)).collect();
    assert_eq!(failed, [("out", 3)]);
    assert_eq!(run.balance().dropped.get("not_handed_over"), Some(&3));
}

#[tokio::test]
async fn a_component_that_inherits_and_is_replaced_hands_on_all_of_it() {
    let mut run = Run::of(&line("", "{hold: true}", "")).await;
    run.entrance(Signal::Traces).consume(batch(Signal::Traces)).await.unwrap();
    run.recorder.take();
    run.reload(&line("", "{hold: true, knob: 1}", "")).await.unwrap();
    run.reload(&line("", "{hold: true, knob: 2}", "")).await.unwrap();
    run.reload(&line("", "{knob: 3}", "")).await.unwrap();
    run.settle().await;
    let events = run.recorder.take();
    assert_eq!(events.iter().filter(|event| *event == "consume traces out").count(), 3, "{events:?}");
}

#[tokio::test(start_paused = true)]
async fn a_shutdown_ends_what_an_earlier_reload_took_out_and_waits_no_longer_than_its_bound() {
    let mut run = Run::of(&line("", "{consume: hang}", "")).await;
    let call = run.send().await;
    run.reload(&line("", "{knob: 1}", "")).await.unwrap();
    let begin = tokio::time::Instant::now();
    let report = run.graph.shutdown(TIMEOUT).await;
    assert!(begin.elapsed() <= TIMEOUT, "{:?}", begin.elapsed());
    let failed: Vec<_> = report.failures.iter().map(|f| (f.id.as_str(), f.message.as_str())).collect();
    assert_eq!(failed, [("out", "did not end before the process and was abandoned")]);
    assert!(run.graph.winding.is_empty());
    call.abort();
}
