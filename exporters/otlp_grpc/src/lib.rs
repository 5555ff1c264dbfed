//! The `otlp_grpc` exporter: sends telemetry to an OTLP/gRPC server.

mod config;
mod factory;

pub use config::Config;
pub use factory::Factory;

#[cfg(test)]
mod tests;
