//! OTLP as exporters speak it: the calls and what their answers mean.
//!
//! [`OtlpGrpcSender`] makes one attempt at one request over a [`spanbridge_transport::grpc::Channel`]; queue, retry and
//! timeout around it are the exporter helper's. What an answer means for the request is told by [`send_error`].

mod classify;
mod partial_success;
mod sender;
mod size;

pub use classify::send_error;
pub use sender::{OtlpGrpcSender, client_config_default};
