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
//! - `--rate` is 0 by default: no throttling. A worker that was held up may hurry for 10 ms, as timers are coarse.
//! - OTLP/HTTP and TLS are refused by name in this version, so `--otlp-insecure` is needed.
//! - Integer header values, which Go accepts and silently does not send, are refused.
//! - An export is tried once; what a partial success rejects has failed.
//! - A trace that has begun when the time is over or the process is told to stop ends early, with its parent span.
//! - `--marshal` marks the parents of child spans as remote. In Go v0.160 it changes nothing that is sent.
//! - The peer's name is the attribute `peer.service`, which Go v0.160 calls `service.peer.name`.
//! - Metrics and log records carry the scope `telemetrygen` as spans do, and log records an observed time.
//! - `--interval`, which Go leaves unused, is how often the progress on a terminal is renewed.
//! - `--size` fills with `x` rather than with zero bytes.
//!
//! # Limits
//!
//! At most 1024 workers, each with one connection and at most 8 exports that wait for their answer; when they are used
//! up it waits. A batch is sent when it has `--batch-size` records, when they reach 2 MiB, or a second after its first
//! record. An export that is not answered within `--timeout` fails, and a run that is told to stop ends within that
//! time. `--size` is at most 64 MiB, `--child-spans` a million, `--span-links` a thousand.

mod args;
mod error;
mod export;
mod generate;
mod limiter;
mod plan;
mod progress;
mod run;
mod value;
mod worker;

pub use args::{
    Args, Command, CommonArgs, LogsArgs, MetricType, MetricsArgs, StatusCode, Temporality, TracesArgs,
};
pub use error::Error;
pub use run::{Summary, run};
pub use value::{DurationOrInf, KeyValue, Value};
