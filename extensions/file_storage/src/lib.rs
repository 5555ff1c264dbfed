//! The `file_storage` extension: durable queues on disk for other components, one write-ahead log each.
//!
//! `format` is what lies on disk, `scan` finds records in it whatever happened to it, `recover` opens a log, `state` is
//! what is known of it in memory, `shared` how its users wait for one another, `writer` is the one thread that changes
//! it, `reader` reads it back, `memory` says how much of that may be in memory, and `log` is what its owner sees.

mod config;
mod damage;
mod disk;
mod extension;
mod factory;
#[cfg(test)]
mod faults;
mod format;
mod lock;
mod log;
mod memory;
mod names;
mod reader;
mod recover;
mod scan;
mod shared;
mod state;
mod writer;

pub use config::{Compaction, Config};
pub use factory::Factory;

#[doc(hidden)]
pub use scan::{make_segment, scan_bytes};
