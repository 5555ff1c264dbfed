//! How a configuration becomes a component.

use std::collections::BTreeMap;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::Serialize;
use serde::de::DeserializeOwned;
use spanbridge_pdata::Signal;

use crate::telemetry::Telemetry;
use crate::{
    BuildError, ComponentId, Connector, Consumer, Exporter, Extension, Kind, Ledger, Link, Permissions,
    PipelineId, Processor, Receiver, Validate,
};

/// How mature a component is for one signal. The texts are the Go collector's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stability {
    /// May change or vanish.
    Development,
    /// Fit for limited use.
    Alpha,
    /// Configuration is settled.
    Beta,
    /// For production.
    Stable,
    /// Will be removed.
    Deprecated,
}

impl Stability {
    /// `Beta`, as `components` prints it.
    pub const fn name(self) -> &'static str {
        match self {
            Stability::Development => "Development",
            Stability::Alpha => "Alpha",
            Stability::Beta => "Beta",
            Stability::Stable => "Stable",
            Stability::Deprecated => "Deprecated",
        }
    }
}

/// A key of the Go collector that this version refuses by name, with the reason.
#[derive(Debug, Clone, Copy)]
pub struct Unsupported {
    /// Dotted path from the component's configuration: `protocols.grpc.tls`. `*` stands for any one step.
    pub path: &'static str,
    /// Why, and what to do: completes "is not supported by this version: ".
    pub reason: &'static str,
}

/// The constant facts about a component type.
#[derive(Debug, Clone, Copy)]
pub struct Descriptor {
    /// Name in configurations: `otlp_grpc`.
    pub type_name: &'static str,
    /// Former names that are still accepted, each with one deprecation warning: `otlp`.
    pub aliases: &'static [&'static str],
    /// Which signals it can carry, and how mature each is. Extensions carry none.
    pub signals: &'static [(Signal, Stability)],
    /// Keys that the Go collector knows and this version does not.
    pub unsupported: &'static [Unsupported],
}

impl Descriptor {
    /// Whether the component can carry `signal`.
    pub fn supports(&self, signal: Signal) -> bool {
        self.signals.iter().any(|(s, _)| *s == signal)
    }
}

/// About this build of the program.
#[derive(Debug, Clone, Copy)]
pub struct BuildInfo {
    /// `spanbridge`.
    pub command: &'static str,
    /// One line of prose.
    pub description: &'static str,
    /// Semantic version.
    pub version: &'static str,
}

/// What the program passes to a component when it creates it.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The component's id as written in the configuration.
    pub id: ComponentId,
    /// Its kind.
    pub kind: Kind,
    /// The pipeline a processor belongs to; `None` for everything else.
    pub pipeline: Option<PipelineId>,
    /// The signals of the pipelines that use it, for a connector of those that feed it; empty for an extension.
    ///
    /// A reload that adds a signal makes an exporter or connector anew; one that takes a signal away keeps it. A
    /// receiver is kept in either case: it asks its [`Outputs`].
    pub signals: Vec<Signal>,
    /// Where it keeps books of the items it takes responsibility for.
    pub ledger: Ledger,
    /// Where it creates its metrics.
    pub telemetry: Telemetry,
    /// About this build.
    pub build: BuildInfo,
}

impl Settings {
    /// The span in which every task of the component runs, so that its log lines say whose they are.
    pub fn span(&self) -> tracing::Span {
        let span = tracing::info_span!(
            "component",
            otelcol.component.id = %self.id,
            otelcol.component.kind = self.kind.name(),
            otelcol.pipeline.id = tracing::field::Empty,
        );
        if let Some(pipeline) = &self.pipeline {
            span.record("otelcol.pipeline.id", tracing::field::display(pipeline));
        }
        span
    }
}

/// The next consumer for each signal that has one.
///
/// A reload may give a signal a consumer, take it away, or put another in its place, without restarting the receiver
/// that holds this. So a receiver asks for each request and does not keep the answer; what it cannot ask anew, such as
/// which streams it opens at start, it opens for all signals that it supports.
#[derive(Debug, Clone, Default)]
pub struct Outputs {
    by_signal: [Link; 3],
}

impl Outputs {
    /// No consumer at all.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the consumer of `signal`, here and not in clones.
    #[must_use]
    pub fn with(mut self, signal: Signal, next: Arc<dyn Consumer>) -> Self {
        self.by_signal[signal.index()] = Link::to(next);
        self
    }

    /// The consumer of `signal` at this moment, for one call; `None` when no pipeline of that signal uses the receiver.
    pub fn get(&self, signal: Signal) -> Option<Arc<dyn Consumer>> {
        self.link(signal).next()
    }

    /// Whether `signal` has a consumer at this moment.
    pub fn has(&self, signal: Signal) -> bool {
        self.link(signal).is_connected()
    }

    /// The signals that have a consumer at this moment.
    pub fn signals(&self) -> impl Iterator<Item = Signal> + '_ {
        Signal::ALL.into_iter().filter(|s| self.has(*s))
    }

    /// The edge of `signal`: the service points it.
    pub fn link(&self, signal: Signal) -> &Link {
        &self.by_signal[signal.index()]
    }
}

/// The pipelines that a connector feeds.
#[derive(Clone, Default)]
pub struct ConnectorOutputs {
    /// First consumer of each pipeline that lists the connector as a receiver.
    pub pipelines: BTreeMap<PipelineId, Arc<dyn Consumer>>,
}

impl ConnectorOutputs {
    /// One consumer a signal that feeds every pipeline of that signal.
    pub fn fan_out(&self) -> Outputs {
        Signal::ALL.into_iter().fold(Outputs::new(), |outputs, signal| {
            let targets: Vec<_> = self
                .pipelines
                .iter()
                .filter(|(id, _)| id.signal() == signal)
                .map(|(_, c)| c.clone())
                .collect();
            if targets.is_empty() { outputs } else { outputs.with(signal, crate::FanOut::over(targets)) }
        })
    }
}

/// What every factory's configuration type can do.
///
/// `Deserialize` refuses unknown keys; `Default` is the only source of defaults (`#[serde(default)]` on the
/// container); `Serialize` prints the effective configuration with secrets redacted; `JsonSchema` documents it.
pub trait Config:
    DeserializeOwned + Serialize + JsonSchema + Default + Validate + Clone + Send + Sync + 'static
{
}

impl<T> Config for T where
    T: DeserializeOwned + Serialize + JsonSchema + Default + Validate + Clone + Send + Sync + 'static
{
}

/// Makes receivers of one type.
pub trait ReceiverFactory: Send + Sync + 'static {
    /// What users write.
    type Config: Config;
    /// The constant facts about this type.
    fn descriptor(&self) -> Descriptor;
    /// Makes one receiver for an id, whatever the number of signals and pipelines that use it. Does no I/O.
    fn create(
        &self,
        settings: Settings,
        config: Self::Config,
        next: Outputs,
    ) -> Result<Arc<dyn Receiver>, BuildError>;
}

/// Makes processors of one type.
pub trait ProcessorFactory: Send + Sync + 'static {
    /// What users write.
    type Config: Config;
    /// The constant facts about this type.
    fn descriptor(&self) -> Descriptor;
    /// What a component with this configuration needs from the Kubernetes API: exactly that, since `k8s rbac` makes roles
    /// of it.
    ///
    /// # Errors
    /// What about the configuration makes that unknown.
    fn permissions(&self, config: &Self::Config) -> Result<Permissions, BuildError> {
        let _ = config;
        Ok(Permissions::default())
    }
    /// Makes the processor of one pipeline, which hands on to `next`. Does no I/O.
    fn create(
        &self,
        settings: Settings,
        config: Self::Config,
        next: Arc<dyn Consumer>,
    ) -> Result<Arc<dyn Processor>, BuildError>;
}

/// Makes exporters of one type.
pub trait ExporterFactory: Send + Sync + 'static {
    /// What users write.
    type Config: Config;
    /// The constant facts about this type.
    fn descriptor(&self) -> Descriptor;
    /// What a component with this configuration needs from the Kubernetes API: exactly that, since `k8s rbac` makes roles
    /// of it.
    ///
    /// # Errors
    /// What about the configuration makes that unknown.
    fn permissions(&self, config: &Self::Config) -> Result<Permissions, BuildError> {
        let _ = config;
        Ok(Permissions::default())
    }
    /// Makes one exporter for an id. Does no I/O.
    fn create(&self, settings: Settings, config: Self::Config) -> Result<Arc<dyn Exporter>, BuildError>;
}

/// Makes connectors of one type.
pub trait ConnectorFactory: Send + Sync + 'static {
    /// What users write.
    type Config: Config;
    /// The constant facts about this type; the signals are those it takes in.
    fn descriptor(&self) -> Descriptor;
    /// Whether it can turn `input` into `output`.
    fn connects(&self, input: Signal, output: Signal) -> bool;
    /// Makes one connector for an id. Does no I/O.
    fn create(
        &self,
        settings: Settings,
        config: Self::Config,
        next: ConnectorOutputs,
    ) -> Result<Arc<dyn Connector>, BuildError>;
}

/// What an extension with a certain configuration does for others, as far as it is checked before anything starts.
///
/// Where an extension passes this on from others that its configuration names (an authenticator that asks further
/// ones), it says what it does itself; the service follows the references.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[expect(clippy::struct_excessive_bools, reason = "each says something of its own")]
pub struct Offers {
    /// It lets requests into servers.
    pub server_authenticator: bool,
    /// It lets clients in by their certificates, for which the server has to ask.
    pub takes_client_certificates: bool,
    /// It gives credentials to clients.
    pub client_authenticator: bool,
    /// Those credentials may only go over an encrypted transport.
    pub requires_transport_security: bool,
}

/// Makes extensions of one type.
pub trait ExtensionFactory: Send + Sync + 'static {
    /// What users write.
    type Config: Config;
    /// The constant facts about this type.
    fn descriptor(&self) -> Descriptor;
    /// What an extension with this configuration does for others.
    fn offers(&self, config: &Self::Config) -> Offers {
        let _ = config;
        Offers::default()
    }
    /// Makes one extension for an id. Does no I/O.
    fn create(&self, settings: Settings, config: Self::Config) -> Result<Arc<dyn Extension>, BuildError>;
}
