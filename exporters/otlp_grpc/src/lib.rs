//! The `otlp_grpc` exporter: sends telemetry to an OTLP/gRPC server.

mod config;
mod exporter;
mod factory;
mod outcome;
mod rate_limit;

pub use config::Config;
pub use factory::Factory;

#[cfg(test)]
mod tests;
