//! The contract between the service and its components.
//!
//! A component crate needs this crate, `spanbridge_pdata` and `spanbridge_config`, and nothing of the service. The
//! contracts are written on the traits: [`Component`] for the lifecycle, [`Consumer`] for the data path, the factory
//! traits for how a configuration becomes a component.

mod auth;
mod capabilities;
mod code;
mod consumer;
mod context;
mod error;
mod factory;
mod fanout;
mod id;
pub mod ledger;
mod lifecycle;
mod link;
mod listen;
mod permissions;
mod storage;
pub mod telemetry;
mod validate;

pub use async_trait::async_trait;
pub use auth::{AuthAttributes, AuthError, AuthRequest, ClientAuthenticator, ServerAuthenticator};
pub use capabilities::{Acknowledges, Capabilities};
pub use code::Code;
pub use consumer::{Batch, Consumer};
pub use context::{AuthData, AuthValue, Context, Metadata};
pub use error::{BuildError, ConsumeError, ErrorClass, ShutdownError, StartError};
pub use factory::{
    BuildInfo, Config, ConnectorFactory, ConnectorOutputs, Descriptor, ExporterFactory, ExtensionFactory,
    Offers, Outputs, ProcessorFactory, ReceiverFactory, Settings, Stability, Unsupported,
};
pub use fanout::FanOut;
pub use id::{ComponentId, ComponentType, IdError, PipelineId};
pub use ledger::Ledger;
pub use lifecycle::{
    Component, Connector, Exporter, Extension, Extensions, Host, Kind, Processor, Readiness, ReadySince,
    Receiver, Status, StatusSink,
};
pub use link::Link;
pub use listen::{Family, Listen};
pub use permissions::{Permissions, Rule};
pub use spanbridge_pdata::{Payload, Signal};
pub use storage::{
    Log, LogUsage, Note, Position, Record, Storage, StorageError, StorageErrorKind, StorageOwner, Taken,
};
pub use validate::{Listener, Problem, Problems, Reference, Role, Severity, Validate};
