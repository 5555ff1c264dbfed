//! What the service would pass to a component.

use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};

use spanbridge_component::telemetry::Telemetry;
use spanbridge_component::{
    BuildInfo, ComponentId, Host, Kind, Ledger, PipelineId, Settings, Signal, Status, StatusSink,
};

/// Settings of the component `id` (`type` or `type/name`) of `kind`, with metrics of its own at level `detailed`.
///
/// A processor is put into the pipeline `traces`; change the field where that matters.
pub fn settings_of(kind: Kind, id: &str) -> Settings {
    let pipeline = "traces".parse::<PipelineId>().expect("`traces` is a pipeline id");
    Settings {
        id: id.parse::<ComponentId>().unwrap_or_else(|error| panic!("{error}")),
        kind,
        pipeline: (kind == Kind::Processor).then_some(pipeline),
        signals: if kind == Kind::Extension { Vec::new() } else { Signal::ALL.to_vec() },
        ledger: Ledger::new(),
        telemetry: Telemetry::detached(),
        build: BuildInfo { command: "spanbridge", description: "under test", version: "0.0.0" },
    }
}

/// As [`settings_of`], for a processor.
pub fn settings(id: &str) -> Settings {
    settings_of(Kind::Processor, id)
}

/// The host that a component gets at its start, and the log of what it reported.
pub fn host(settings: &Settings) -> (Host, Arc<StatusLog>) {
    let log = Arc::new(StatusLog::default());
    (Host::new(settings.kind, settings.id.clone(), log.clone()), log)
}

/// Remembers the status reports of a component.
#[derive(Debug, Default)]
pub struct StatusLog(Mutex<Vec<Status>>);

impl StatusLog {
    /// Every report so far, in order.
    pub fn reports(&self) -> Vec<Status> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl StatusSink for StatusLog {
    fn report(&self, _: Kind, _: &ComponentId, status: Status) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(status);
    }
}

/// Runs `test` on a single-threaded runtime with network and timers, for tests that are not async themselves.
pub fn block_on<R>(test: impl Future<Output = R>) -> R {
    run(false, test)
}

/// As [`block_on`], under paused time: the clock leaps to the next timer whenever nothing else is to be done.
pub fn block_on_paused<R>(test: impl Future<Output = R>) -> R {
    run(true, test)
}

fn run<R>(paused: bool, test: impl Future<Output = R>) -> R {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(paused).build();
    runtime.expect("a runtime for the test").block_on(test)
}
