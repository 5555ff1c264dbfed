//! The `load_balancing` exporter: sends everything with the same key (a trace, a service) to the same OTLP/gRPC backend.
//!
//! The way of a request: `routing` finds the backend of each item on the `ring` and deals the items out; `exporter` sends
//! the parts at the same time and says which failed; the exporter helper around it sends those again, on the ring as it
//! is then. `resolver` keeps the set of `backends` up to date.

mod backends;
mod config;
mod exporter;
mod factory;
mod health;
mod kubernetes;
mod resolver;
mod ring;
mod routing;
mod slices;
mod telemetry;

pub use config::{
    Config, DnsConfig, KubernetesConfig, OtlpConfig, Port, ProtocolConfig, ResolverConfig, RoutingKey,
    StaticConfig,
};
pub use factory::Factory;
