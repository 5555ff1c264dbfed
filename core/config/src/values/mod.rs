//! Value types that configurations are made of. Each refuses what is wrong by itself while decoding.

mod duration;
mod opaque;

pub use duration::Duration;
pub use opaque::{Opaque, reveal};
