//! Whatever comes after whatever: a reload leads to the graph that a fresh start would have built, and keeps what is the
//! same.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;

use proptest::prelude::*;
use spanbridge_component::{Kind, Signal};

use super::TIMEOUT;
use super::reload::Run;
use crate::graph::Key;
use crate::testing::{Recorder, batch};

/// What a random configuration says of one component.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Part {
    knob: usize,
    /// Index of an extension.
    storage: Option<usize>,
}

/// Receivers, processors in their order, exporters; each by index.
type Wiring = (Vec<usize>, Vec<usize>, Vec<usize>);

/// A random configuration of two of each kind.
#[derive(Debug, Clone)]
struct Spec {
    receivers: [Part; 2],
    processors: [Part; 2],
    exporters: [Part; 2],
    extensions: [Part; 2],
    connector: Part,
    /// Each pipeline that is there.
    pipelines: BTreeMap<&'static str, Wiring>,
    /// Whether the front pipelines of a signal feed those behind the connector.
    is_linked: [bool; 2],
}

const FRONT: [&str; 4] = ["traces", "traces/x", "logs", "metrics"];
const NAMES: [&str; 2] = ["", "/1"];

fn part() -> impl Strategy<Value = Part> {
    (0..2_usize, proptest::option::weighted(0.4, 0..2_usize))
        .prop_map(|(knob, storage)| Part { knob, storage })
}

fn some_of_two() -> impl Strategy<Value = Vec<usize>> {
    prop_oneof![Just(vec![0]), Just(vec![1]), Just(vec![0, 1]), Just(vec![1, 0])]
}

fn spec() -> impl Strategy<Value = Spec> {
    let pair = || [part(), part()];
    let pipeline = (some_of_two(), prop_oneof![Just(vec![]), some_of_two()], some_of_two());
    let pipelines = proptest::collection::btree_map(0..FRONT.len(), pipeline, 1..=FRONT.len());
    (pair(), pair(), pair(), pair(), part(), pipelines, any::<[bool; 2]>()).prop_map(
        |(receivers, processors, exporters, mut extensions, connector, pipelines, is_linked)| {
            // The first extension may name the second; not the other way, nor itself.
            extensions[0].storage = extensions[0].storage.and(Some(1));
            extensions[1].storage = None;
            let pipelines = pipelines.into_iter().map(|(n, pipeline)| (FRONT[n], pipeline)).collect();
            Spec { receivers, processors, exporters, extensions, connector, pipelines, is_linked }
        },
    )
}

impl Spec {
    fn yaml(&self) -> String {
        let mut yaml = String::new();
        let sections: [(&str, &str, &[Part]); 5] = [
            ("receivers", "in", &self.receivers),
            ("processors", "mark", &self.processors),
            ("exporters", "out", &self.exporters),
            ("extensions", "ext", &self.extensions),
            ("connectors", "same", std::slice::from_ref(&self.connector)),
        ];
        for (section, type_name, parts) in sections {
            let _ = writeln!(yaml, "{section}:");
            for (part, name) in parts.iter().zip(NAMES) {
                let storage = part.storage.map(|n| format!(", storage: ext{}", NAMES[n])).unwrap_or_default();
                let _ = writeln!(yaml, "  {type_name}{name}: {{knob: {}{storage}}}", part.knob);
            }
        }
        yaml.push_str("service:\n  extensions: [ext, ext/1]\n  pipelines:\n");
        for (id, (receivers, processors, exporters)) in &self.pipelines {
            let list = |type_name: &str, of: &[usize]| {
                of.iter().map(|n| format!("{type_name}{}", NAMES[*n])).collect::<Vec<_>>().join(", ")
            };
            let link = if self.links(id) { ", same" } else { "" };
            let _ = writeln!(
                yaml,
                "    {id}: {{receivers: [{}], processors: [{}], exporters: [{}{link}]}}",
                list("in", receivers),
                list("mark", processors),
                list("out", exporters)
            );
        }
        for (n, signal) in ["traces", "logs"].into_iter().enumerate() {
            if self.is_linked[n] && self.pipelines.keys().any(|id| id.starts_with(signal)) {
                let _ = writeln!(yaml, "    {signal}/back: {{receivers: [same], exporters: [out]}}");
            }
        }
        yaml
    }

    fn links(&self, id: &str) -> bool {
        (id.starts_with("traces") && self.is_linked[0]) || (id.starts_with("logs") && self.is_linked[1])
    }

    /// A component's own part and those of the extensions that it names: what must be equal for it to stay.
    fn facts(&self, key: &Key) -> Vec<Part> {
        let place = usize::from(key.id.as_str().ends_with("/1"));
        let own = match key.kind {
            Kind::Receiver => &self.receivers[place],
            Kind::Processor => &self.processors[place],
            Kind::Exporter => &self.exporters[place],
            Kind::Extension => &self.extensions[place],
            Kind::Connector => &self.connector,
        };
        let mut facts = vec![own.clone()];
        while let Some(extension) = facts.last().and_then(|part| part.storage) {
            facts.push(self.extensions[extension].clone());
        }
        facts
    }
}

/// Where an item of each signal goes that comes in at each receiver.
async fn ways(recorder: &Recorder) -> Vec<(String, Vec<String>)> {
    let mut ways = Vec::new();
    let receivers = recorder.running().into_iter().filter(|name| name.starts_with("in"));
    for receiver in receivers {
        for signal in Signal::ALL {
            recorder.take();
            if let Some(next) = recorder.outputs(&receiver).get(signal) {
                next.consume(batch(signal)).await.unwrap();
            }
            let mut events = recorder.take();
            events.sort();
            ways.push((format!("{receiver} {signal}"), events));
        }
    }
    ways
}

/// Goes from one configuration to the next, and compares with fresh starts.
async fn check(specs: &[Spec]) {
    let mut run = Run::of(&specs[0].yaml()).await;
    for (old, new) in specs.iter().zip(&specs[1..]) {
        let before = run.graph.layout.nodes.clone();
        run.reload(&new.yaml()).await.unwrap();
        run.settle().await;
        let fresh = Run::of(&new.yaml()).await;
        assert_eq!(run.recorder.running(), fresh.recorder.running());
        assert_eq!(ways(&run.recorder).await, ways(&fresh.recorder).await);
        assert!(run.graph.layout.nodes.keys().eq(fresh.graph.layout.nodes.keys()));
        for (key, node) in &run.graph.layout.nodes {
            let Some(former) = before.get(key) else { continue };
            let (feeds, signals) =
                (|n: &super::super::Node| n.feeds().cloned().collect::<Vec<_>>(), &former.signals);
            let used = &fresh.graph.layout.nodes[key];
            let serves = key.kind == Kind::Receiver
                || (used.signals.iter().all(|s| signals.contains(s)) && feeds(former) == feeds(used));
            let stays = old.facts(key) == new.facts(key) && serves;
            assert_eq!(
                Arc::ptr_eq(former, node),
                stays,
                "{key}: {:?} and {:?}",
                old.facts(key),
                new.facts(key)
            );
        }
    }
    let report = run.graph.shutdown(TIMEOUT).await;
    assert!(report.is_clean(), "{report:?}");
    assert!(report.accounts.iter().all(crate::Account::is_settled), "{:?}", report.accounts);
    assert_eq!(run.recorder.running(), [""; 0]);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_reload_builds_what_a_fresh_start_builds_and_keeps_what_is_the_same(
        specs in proptest::collection::vec(spec(), 2..5)
    ) {
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
        runtime.block_on(check(&specs));
    }
}
