//! The batch processor as a pipeline sees it, under paused time.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests report by panicking, their helpers too")]

mod acknowledgement;
mod bounds;
mod harness;
mod lifecycle;
mod metadata;
mod responsibility;
mod stress;
mod triggers;
