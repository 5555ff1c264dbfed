//! The resource processor as a pipeline sees it.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests report by panicking, their helpers too")]

mod actions;
mod configuration;
mod context;
mod harness;
mod telemetry;
