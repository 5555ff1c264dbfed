//! The attributes processor as a pipeline sees it.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests report by panicking, their helpers too")]

mod actions;
mod configuration;
mod harness;
mod matching;
mod telemetry;
