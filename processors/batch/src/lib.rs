//! The `batch` processor: it gathers small requests into large batches, and tells each caller what became of its own.
//!
//! # How it works
//!
//! - Requests of one *shard* (one combination of the values of `metadata_keys`) are appended to the shard's *open
//!   batch*. Appending moves handles; no telemetry is copied or decoded.
//! - A batch is closed by its size, or by its own timer, and is then exported by a task of its own. Collecting goes on
//!   meanwhile, and several batches of a shard may be on their way ([`EXPORTS_MAX`]).
//! - All callers in a batch share one outcome. With `acknowledge: delivered` they wait for it.
//!
//! # Why a mutex and not a task with a channel
//!
//! The work for one request is a look-up, an append and a comparison, some hundred nanoseconds. A channel to a task and
//! a channel back would add two wake-ups and an allocation to each request; here only each batch pays those. No lock is
//! held across an await, and a caller that goes away cannot leave half of a step behind, since a step has no await.
//!
//! # What bounds it
//!
//! Telemetry that was taken in and is not resolved holds *room* ([`ROOM_BYTES`]); without room callers wait. Shards
//! vanish when nothing of theirs is pending or on its way, so that old metadata values cost nothing.

mod batcher;
mod config;
mod factory;
mod flight;
mod outcome;
mod processor;
mod room;
mod shards;
mod telemetry;

pub use config::{Acknowledge, Config};
pub use factory::Factory;
pub use flight::EXPORTS_MAX;
pub use room::ROOM_BYTES;
