//! Kinds of components and the two calls that begin and end their lives.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::SystemTime;

use async_trait::async_trait;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::{
    Batch, ClientAuthenticator, ComponentId, Consumer, ServerAuthenticator, ShutdownError, StartError,
    Storage,
};

/// Which of the five kinds a component is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// Brings telemetry in.
    Receiver,
    /// Changes, drops, batches or delays telemetry within one pipeline.
    Processor,
    /// Sends telemetry out.
    Exporter,
    /// The exporter of one pipeline and the receiver of another.
    Connector,
    /// Serves the process rather than the data path.
    Extension,
}

impl Kind {
    /// The singular word of logs and errors: `receiver`.
    pub const fn name(self) -> &'static str {
        match self {
            Kind::Receiver => "receiver",
            Kind::Processor => "processor",
            Kind::Exporter => "exporter",
            Kind::Connector => "connector",
            Kind::Extension => "extension",
        }
    }

    /// The section of the configuration: `receivers`.
    pub const fn section(self) -> &'static str {
        match self {
            Kind::Receiver => "receivers",
            Kind::Processor => "processors",
            Kind::Exporter => "exporters",
            Kind::Connector => "connectors",
            Kind::Extension => "extensions",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The two lifecycle calls that every component has.
///
/// # Contract
///
/// - The service calls `start` once, after everything downstream has started, and `shutdown` once, after everything
///   upstream has stopped. It may call `shutdown` without `start` (another component failed to start), and a component
///   must take that.
/// - `start` returns when the component can do its work (a receiver: is listening). It does not block on the outside
///   world: an exporter whose destination is down starts all the same.
/// - When `shutdown` returns, every task of the component has ended and every resource is released, whatever the
///   result. It first drains: what it holds is handed on, until `deadline`. It returns by `deadline` even with a hung
///   destination, and reports what it could not deliver.
/// - Tasks in the background report through [`Host::report`]; they never exit or panic the process.
#[async_trait]
pub trait Component: Send + Sync {
    /// Begins the work.
    ///
    /// # Errors
    /// What was attempted and on which object, such as the address that is in use.
    async fn start(&self, host: Host) -> Result<(), StartError> {
        drop(host);
        Ok(())
    }

    /// Drains and ends the work, by `deadline`.
    ///
    /// # Errors
    /// What failed, and how many items were not delivered.
    async fn shutdown(&self, deadline: Instant) -> Result<(), ShutdownError> {
        let _ = deadline;
        Ok(())
    }

    /// Ends the work as [`Component::shutdown`] does, for a successor of the same id (a reload changed its
    /// configuration): what it holds in memory need not be drained and is handed over instead. The service gives it to
    /// the successor's `inherit`. What it holds on disk stays there, and is closed when this returns. In its books what it
    /// hands over is `returned`; the successor, which keeps the same books, takes it anew.
    ///
    /// Before this the [`Host::draining`] of this component is cancelled and nothing points at it any more; calls that
    /// are still under way have had time to end.
    ///
    /// # Errors
    /// As [`Component::shutdown`].
    async fn retire(&self, deadline: Instant) -> Result<Vec<Batch>, ShutdownError> {
        self.shutdown(deadline).await.map(|()| Vec::new())
    }
}

/// A receiver: it was given its consumers when it was created.
pub trait Receiver: Component {}

/// A processor within one pipeline; it was given the next consumer when it was created.
pub trait Processor: Component + Consumer {}

/// An exporter. One instance serves every signal and pipeline that names its id.
pub trait Exporter: Component + Consumer {}

/// A connector. One instance serves every pipeline that names its id; what it consumes comes from the pipelines that
/// use it as an exporter, tagged with their signal.
pub trait Connector: Component + Consumer {}

/// An extension. What it can do for other components, it offers through these methods.
pub trait Extension: Component {
    /// It as a storage, if it is one.
    fn as_storage(&self) -> Option<&dyn Storage> {
        None
    }

    /// What lets requests into servers, if it does that. Servers keep it and ask it for every request.
    fn as_server_authenticator(&self) -> Option<Arc<dyn ServerAuthenticator>> {
        None
    }

    /// What gives credentials to clients, if it does that. Clients keep it and ask it for every request.
    fn as_client_authenticator(&self) -> Option<Arc<dyn ClientAuthenticator>> {
        None
    }
}

/// How a component is doing (reference: collector-core, 4.6).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Status {
    /// `start` was called.
    Starting,
    /// It works.
    Ok,
    /// It does not work now and expects to recover by itself.
    RecoverableError(String),
    /// It does not work and will not until someone mends something; the process goes on.
    PermanentError(String),
    /// The process must end: it shuts down in order and exits with 1.
    FatalError(String),
    /// `shutdown` was called.
    Stopping,
    /// `shutdown` has returned.
    Stopped,
}

/// Takes the status reports of components; implemented by the service.
pub trait StatusSink: Send + Sync {
    /// `component` of `kind` is now in `status`. Moves that the state machine does not allow are ignored.
    fn report(&self, kind: Kind, component: &ComponentId, status: Status);
}

/// What a running component may ask of the process. Cheap to clone.
#[derive(Clone)]
pub struct Host {
    kind: Kind,
    id: ComponentId,
    sink: Arc<dyn StatusSink>,
    draining: CancellationToken,
    readiness: Readiness,
    extensions: Extensions,
}

/// Since when every pipeline has been working; `None` while they start, and from the moment the process begins to shut
/// down. A reload changes nothing about it.
pub type Readiness = watch::Receiver<Option<ReadySince>>;

/// The moment when the last pipeline had started.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReadySince {
    /// To be shown.
    pub date: SystemTime,
    /// To measure from.
    pub instant: Instant,
}

impl ReadySince {
    /// This moment.
    pub fn now() -> Self {
        Self { date: SystemTime::now(), instant: Instant::now() }
    }
}

/// The running extensions by id.
pub type Extensions = Arc<BTreeMap<ComponentId, Arc<dyn Extension>>>;

impl Host {
    /// The host as the component `id` sees it, in a process without extensions.
    pub fn new(kind: Kind, id: ComponentId, sink: Arc<dyn StatusSink>) -> Self {
        let (draining, readiness) = (CancellationToken::new(), watch::channel(None).1);
        Self { kind, id, sink, draining, readiness, extensions: Extensions::default() }
    }

    /// The same, in a process that runs these extensions.
    #[must_use]
    pub fn with_extensions(mut self, extensions: Extensions) -> Self {
        self.extensions = extensions;
        self
    }

    /// The running extension `id`; `None` if `service::extensions` does not list it.
    ///
    /// Extensions start before everything else, so a component may use what it finds here in its own `start`. Whoever
    /// calls this with an id from its configuration reports that id in [`crate::Validate::validate`] with
    /// [`crate::Problems::refer_at`]: then a wrong id is found at start, and a reload that changes the extension
    /// restarts the component.
    pub fn extension(&self, id: &ComponentId) -> Option<&Arc<dyn Extension>> {
        self.extensions.get(id)
    }

    /// The same, in a process that cancels `draining` when it begins to shut down.
    #[must_use]
    pub fn with_draining(mut self, draining: CancellationToken) -> Self {
        self.draining = draining;
        self
    }

    /// Cancelled when the process begins to shut down, before any component's `shutdown` is called.
    ///
    /// Receivers stop first, and wait for what is in flight. A component that lets callers wait for more telemetry to
    /// come takes this as the sign not to. A reload cancels it for the components that it takes out or replaces.
    pub fn draining(&self) -> &CancellationToken {
        &self.draining
    }

    /// The same, in a process that says there whether its pipelines work.
    #[must_use]
    pub fn with_readiness(mut self, readiness: Readiness) -> Self {
        self.readiness = readiness;
        self
    }

    /// Whether the pipelines of the process work, for extensions that tell others: it can be asked at any time, and
    /// waited for. It says no before the first component is told to stop, so that clients are sent elsewhere while what
    /// is in flight is finished.
    pub fn readiness(&self) -> Readiness {
        self.readiness.clone()
    }

    /// Reports how this component is doing.
    pub fn report(&self, status: Status) {
        self.sink.report(self.kind, &self.id, status);
    }
}

impl fmt::Debug for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Host").field("kind", &self.kind).field("id", &self.id).finish_non_exhaustive()
    }
}
