//! Components that record what happens to them, for the tests of this crate.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use spanbridge_component::telemetry::Telemetry;
use spanbridge_component::{
    Batch, BuildError, BuildInfo, Component, ComponentId, Connector, ConnectorFactory, ConnectorOutputs,
    ConsumeError, Consumer, Descriptor, Exporter, ExporterFactory, Extension, ExtensionFactory, Host,
    Outputs, Problems, Processor, ProcessorFactory, Receiver, ReceiverFactory, Settings, ShutdownError,
    Signal, Stability, StartError, Status, Unsupported, Validate, async_trait,
};
use spanbridge_config::{Diagnostic, Diagnostics, Document, NoEnvironment, Sources, load};
use spanbridge_pdata::{InvalidUtf8, Payload};
use tokio::sync::Semaphore;
use tokio::time::Instant;

use crate::{Config, Environment, Registry};

/// What the recording components share.
#[derive(Clone)]
pub(crate) struct Recorder {
    events: Arc<Mutex<Vec<String>>>,
    receivers: Arc<Mutex<BTreeMap<String, Outputs>>>,
    deadlines: Arc<Mutex<BTreeMap<String, Instant>>>,
    /// What only one at a time may use, with its user.
    used: Arc<Mutex<BTreeMap<String, String>>>,
    running: Arc<Mutex<Vec<String>>>,
    gate: Arc<Semaphore>,
    makes_no_more: Arc<AtomicBool>,
    settings: Arc<Mutex<BTreeMap<String, Settings>>>,
}

/// What a recording component does besides recording.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct StubConfig {
    create: Act,
    start: Act,
    shutdown: Act,
    undelivered: usize,
    /// What `consume` does: fail, or hang until [`Recorder::open_gate`].
    consume: Act,
    /// An extension that has to run when this starts, and that lends only one at a time what is of this name.
    storage: Option<ComponentId>,
    /// What only one component at a time may use.
    port: Option<u16>,
    /// Whether to keep what comes and to answer at once.
    hold: bool,
    /// Means nothing; makes one configuration different from another.
    knob: usize,
}

/// What one call does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Act {
    #[default]
    Succeed,
    Fail,
    Panic,
    Hang,
    /// Reports a fatal status and succeeds.
    Fatal,
    /// Wrong, says `validate`.
    Invalid,
}

impl Validate for StubConfig {
    fn validate(&self, problems: &mut Problems) {
        if self.start == Act::Invalid {
            problems.error_at("start", "invalid is not valid");
        }
        if let Some(storage) = &self.storage {
            problems.refer_at("storage", storage);
        }
    }
}

struct Stub {
    name: String,
    config: StubConfig,
    recorder: Recorder,
    next: Outputs,
    held: Mutex<Vec<Batch>>,
    is_running: AtomicBool,
}

impl Stub {
    /// What only one at a time may use.
    fn uses(&self) -> Vec<String> {
        let log = self.config.storage.as_ref().map(|id| format!("log of {} in {id}", self.name));
        self.config.port.map(|port| format!("port {port}")).into_iter().chain(log).collect()
    }

    fn acquire(&self) -> Result<(), StartError> {
        let mut used = self.recorder.used.lock().unwrap();
        for thing in self.uses() {
            if let Some(user) = used.insert(thing.clone(), self.name.clone()) {
                used.insert(thing.clone(), user.clone());
                return Err(StartError(format!("{user} has {thing}")));
            }
        }
        Ok(())
    }

    fn release(&self) {
        if self.is_running.swap(false, Ordering::Relaxed) {
            self.recorder.stopped(&self.name);
            let mut used = self.recorder.used.lock().unwrap();
            self.uses().iter().for_each(|thing| drop(used.remove(thing)));
        }
    }
}

#[async_trait]
impl Component for Stub {
    async fn start(&self, host: Host) -> Result<(), StartError> {
        self.recorder.push(format!("start {}", self.name));
        tracing::info!("stub starts");
        if let Some(storage) = self.config.storage.as_ref().filter(|id| host.extension(id).is_none()) {
            return Err(StartError(format!("there is no {storage}")));
        }
        match self.config.start {
            Act::Fail => return Err(StartError("start fails".into())),
            Act::Panic => panic!("start panics"),
            Act::Hang => std::future::pending().await,
            Act::Fatal => host.report(Status::FatalError("cannot go on".into())),
            Act::Succeed | Act::Invalid => {}
        }
        self.acquire()?;
        self.is_running.store(true, Ordering::Relaxed);
        self.recorder.running.lock().unwrap().push(self.name.clone());
        Ok(())
    }

    async fn shutdown(&self, deadline: Instant) -> Result<(), ShutdownError> {
        self.recorder.push(format!("shutdown {}", self.name));
        self.recorder.deadlines.lock().unwrap().insert(self.name.clone(), deadline);
        self.release();
        match self.config.shutdown {
            Act::Fail => Err(ShutdownError {
                message: "shutdown fails".into(),
                undelivered_items: self.config.undelivered,
            }),
            Act::Panic => panic!("shutdown panics"),
            Act::Hang => std::future::pending().await,
            _ => Ok(()),
        }
    }

    async fn retire(&self, _: Instant) -> Result<Vec<Batch>, ShutdownError> {
        self.recorder.push(format!("retire {}", self.name));
        self.release();
        Ok(std::mem::take(&mut *self.held.lock().unwrap()))
    }
}

#[async_trait]
impl Consumer for Stub {
    async fn consume(&self, batch: Batch) -> Result<(), ConsumeError> {
        self.recorder.push(format!("consume {} {}", batch.signal(), self.name));
        tracing::info!("stub consumes");
        match self.config.consume {
            Act::Fail => return Err(ConsumeError::permanent("consume fails")),
            Act::Hang => drop(self.recorder.gate.acquire().await),
            _ => {}
        }
        if self.config.hold {
            self.held.lock().unwrap().push(batch);
            return Ok(());
        }
        match self.next.get(batch.signal()) {
            Some(next) => next.consume(batch).await,
            None => Ok(()),
        }
    }
}

impl Receiver for Stub {}
impl Processor for Stub {}
impl Exporter for Stub {}
impl Connector for Stub {}
impl Extension for Stub {}

impl Default for Recorder {
    fn default() -> Self {
        Self {
            events: Arc::default(),
            receivers: Arc::default(),
            deadlines: Arc::default(),
            settings: Arc::default(),
            used: Arc::default(),
            running: Arc::default(),
            gate: Arc::new(Semaphore::new(0)),
            makes_no_more: Arc::default(),
        }
    }
}

impl Recorder {
    fn push(&self, event: String) {
        self.events.lock().unwrap().push(event);
    }

    /// What happened since the last call.
    pub(crate) fn take(&self) -> Vec<String> {
        std::mem::take(&mut *self.events.lock().unwrap())
    }

    /// What a receiver was given to hand on to.
    pub(crate) fn outputs(&self, receiver: &str) -> Outputs {
        self.receivers.lock().unwrap()[receiver].clone()
    }

    /// The signals that a component was told it is used for.
    pub(crate) fn signals(&self, name: &str) -> Vec<Signal> {
        self.settings.lock().unwrap()[name].signals.clone()
    }

    /// The names of all that were started and not stopped, sorted.
    pub(crate) fn running(&self) -> Vec<String> {
        let mut running = self.running.lock().unwrap().clone();
        running.sort();
        running
    }

    /// Lets all pass that hang in `consume`.
    pub(crate) fn open_gate(&self) {
        self.gate.close();
    }

    /// From now on no component can be made.
    pub(crate) fn make_no_more(&self) {
        self.makes_no_more.store(true, Ordering::Relaxed);
    }

    fn stopped(&self, name: &str) {
        let mut running = self.running.lock().unwrap();
        let place = running.iter().position(|n| n == name).unwrap();
        running.remove(place);
    }

    /// How long a component was given to stop, counted from `start`.
    pub(crate) fn time_given(&self, name: &str, start: Instant) -> Duration {
        self.deadlines.lock().unwrap()[name] - start
    }

    fn stub(&self, settings: &Settings, config: StubConfig, next: Outputs) -> Result<Arc<Stub>, BuildError> {
        let pipeline = settings.pipeline.as_ref().map(|p| format!("@{p}")).unwrap_or_default();
        let name = format!("{}{pipeline}", settings.id);
        self.push(format!("create {name}"));
        self.settings.lock().unwrap().insert(name.clone(), settings.clone());
        if config.create == Act::Fail || self.makes_no_more.load(Ordering::Relaxed) {
            return Err(BuildError("create fails".into()));
        }
        let (held, is_running) = (Mutex::default(), AtomicBool::new(false));
        Ok(Arc::new(Stub { name, config, recorder: self.clone(), next, held, is_running }))
    }
}

/// A factory of one recording type.
pub(crate) struct Stubs {
    type_name: &'static str,
    signals: &'static [(Signal, Stability)],
    recorder: Recorder,
}

const ALL_SIGNALS: &[(Signal, Stability)] = &[
    (Signal::Traces, Stability::Beta),
    (Signal::Metrics, Stability::Beta),
    (Signal::Logs, Stability::Alpha),
];

impl Stubs {
    fn describe(&self) -> Descriptor {
        Descriptor {
            type_name: self.type_name,
            aliases: if self.type_name == "out" { &["old"] } else { &[] },
            signals: self.signals,
            unsupported: &[Unsupported { path: "later", reason: "it comes later" }],
        }
    }
}

impl ReceiverFactory for Stubs {
    type Config = StubConfig;

    fn descriptor(&self) -> Descriptor {
        self.describe()
    }

    fn create(
        &self,
        settings: Settings,
        config: StubConfig,
        next: Outputs,
    ) -> Result<Arc<dyn Receiver>, BuildError> {
        self.recorder.receivers.lock().unwrap().insert(settings.id.to_string(), next.clone());
        Ok(self.recorder.stub(&settings, config, next)?)
    }
}

impl ProcessorFactory for Stubs {
    type Config = StubConfig;

    fn descriptor(&self) -> Descriptor {
        self.describe()
    }

    fn create(
        &self,
        settings: Settings,
        config: StubConfig,
        next: Arc<dyn Consumer>,
    ) -> Result<Arc<dyn Processor>, BuildError> {
        let next = Signal::ALL.into_iter().fold(Outputs::new(), |outputs, s| outputs.with(s, next.clone()));
        Ok(self.recorder.stub(&settings, config, next)?)
    }
}

impl ExporterFactory for Stubs {
    type Config = StubConfig;

    fn descriptor(&self) -> Descriptor {
        self.describe()
    }

    fn create(&self, settings: Settings, config: StubConfig) -> Result<Arc<dyn Exporter>, BuildError> {
        Ok(self.recorder.stub(&settings, config, Outputs::new())?)
    }
}

impl ConnectorFactory for Stubs {
    type Config = StubConfig;

    fn descriptor(&self) -> Descriptor {
        self.describe()
    }

    fn connects(&self, input: Signal, output: Signal) -> bool {
        if self.type_name == "count" {
            (input, output) == (Signal::Traces, Signal::Metrics)
        } else {
            input == output
        }
    }

    fn create(
        &self,
        settings: Settings,
        config: StubConfig,
        next: ConnectorOutputs,
    ) -> Result<Arc<dyn Connector>, BuildError> {
        Ok(self.recorder.stub(&settings, config, next.fan_out())?)
    }
}

impl ExtensionFactory for Stubs {
    type Config = StubConfig;

    fn descriptor(&self) -> Descriptor {
        self.describe()
    }

    fn create(&self, settings: Settings, config: StubConfig) -> Result<Arc<dyn Extension>, BuildError> {
        Ok(self.recorder.stub(&settings, config, Outputs::new())?)
    }
}

/// Receiver `in`, processors `mark` and `tracer` (traces only), exporter `out` (alias `old`), connectors `same`, `out` and
/// `count` (traces to metrics), extension `ext`.
pub(crate) fn registry(recorder: &Recorder) -> Registry {
    let stubs = |type_name, signals| Stubs { type_name, signals, recorder: recorder.clone() };
    let only_traces = &ALL_SIGNALS[..1];
    Registry::new()
        .receiver(stubs("in", ALL_SIGNALS))
        .processor(stubs("mark", ALL_SIGNALS))
        .processor(stubs("tracer", only_traces))
        .exporter(stubs("out", ALL_SIGNALS))
        .connector(stubs("same", ALL_SIGNALS))
        .connector(stubs("out", ALL_SIGNALS))
        .connector(stubs("count", only_traces))
        .extension(stubs("ext", &[]))
}

/// A request with one item.
pub(crate) fn batch(signal: Signal) -> Batch {
    let item: &[u8] = match signal {
        // An id of a trace and of a span; a gauge with a point; an empty record.
        Signal::Traces => &[
            0x0A, 16, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 0x12, 8, 1, 2, 3, 4, 5, 6, 7, 8,
        ],
        Signal::Metrics => &[0x2A, 2, 0x0A, 0],
        Signal::Logs => &[],
    };
    let within = |tag: u8, inner: &[u8]| [&[tag, u8::try_from(inner.len()).unwrap()], inner].concat();
    let request = within(0x0A, &within(0x12, &within(0x12, item)));
    let received = Payload::from_wire(signal, request.into(), InvalidUtf8::Refuse).unwrap();
    assert_eq!(received.payload.items(), 1);
    Batch::new(received.payload)
}

/// About the build of the tests.
pub(crate) const BUILD: BuildInfo = BuildInfo { command: "spanbridge", description: "", version: "1.2.3" };

/// What the recording components share with their service.
pub(crate) fn environment() -> Environment {
    Environment { telemetry: Telemetry::detached(), build: BUILD }
}

/// A document of this YAML.
pub(crate) fn document(yaml: &str) -> Result<Document, Diagnostics> {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), yaml).unwrap();
    let sources = Sources { configs: vec![file.path().display().to_string()], sets: vec![] };
    load(&sources, &NoEnvironment)
}

/// A configuration that must be free of errors.
pub(crate) fn config(yaml: &str, recorder: &Recorder) -> Config {
    match document(yaml).and_then(|document| Config::read(&document, &registry(recorder))) {
        Ok((config, _)) => config,
        Err(found) => panic!("{}", lines(&found)),
    }
}

/// Diagnostics, one a line, whatever their layout on a terminal.
pub(crate) fn lines(found: &Diagnostics) -> String {
    let mut found: Vec<&Diagnostic> = found.iter().collect();
    found.sort_by_key(|d| d.location.as_ref().map(|location| location.span));
    let line = |d: &Diagnostic| {
        let place = d.location.as_ref().map_or("-".to_owned(), |location| {
            format!("{}:{}", location.span.start.line, location.span.start.column)
        });
        let help = d.help.as_ref().map(|help| format!(" | {help}")).unwrap_or_default();
        let severity = if d.is_error() { "error" } else { "warning" };
        format!("{place} {severity} at \"{}\": {}{help}\n", d.path, d.message)
    };
    found.into_iter().map(line).collect()
}
