//! Configuration: sources, `${}` expansion, merging, decoding with positions, diagnostics.

pub mod values;

pub use values::{Duration, Opaque};
