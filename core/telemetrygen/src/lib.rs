//! `spanbridge telemetrygen`: generates OTLP load over the network, as the Go `telemetrygen` does.
//!
//! [`Args`] is the command line; [`run`] does the work until it has sent what was asked for, the time is over, or the
//! shutdown token fires.
//!
//! # What is the same as in Go
//!
//! Flag names, defaults and the text of value errors; names, kinds, attributes, parents and times of what is sent.
//! Counts are exact: `--workers 2 --traces 5 --child-spans 3` sends 2 x 5 x (1 + 3) spans, or fails.
//!
//! # What differs
//!
//! - `--rate` is 0 by default: no throttling.
//! - OTLP/HTTP and TLS are refused by name in this version, so `--otlp-insecure` is needed.
//! - Integer header values, which Go accepts and silently does not send, are refused.
//! - A rejected item of a partial success is a failed item.
//!
//! # Limits
//!
//! Each worker has one connection and at most 8 exports that wait for their answer; when they
//! are used up it waits. A batch is sent when it has `--batch-size` records, when the records in it reach
//! 2 MiB bytes, or a second after its first record. An export that is not answered in `--timeout` fails.

mod args;
mod error;
mod run;
mod value;

pub use args::{
    Args, Command, CommonArgs, LogsArgs, MetricType, MetricsArgs, StatusCode, Temporality, TracesArgs,
};
pub use error::Error;
pub use run::{Summary, run};
pub use value::{DurationOrInf, KeyValue, Value};
