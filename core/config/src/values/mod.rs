//! Value types that configurations are made of. Each refuses what is wrong by itself while decoding.

mod any;
mod defaults;
mod duration;
mod headers;
mod opaque;
mod optional;
mod toggle;

pub use any::AnyValue;
pub(crate) use defaults::{as_defaults, printing_defaults};
pub use duration::Duration;
pub use headers::Headers;
pub use opaque::{Opaque, reveal};
pub use optional::Optional;
pub use toggle::Toggle;

/// Names by which our types ask the deserializer for special treatment.
pub(crate) mod protocol {
    /// Newtype: the value is a secret.
    pub(crate) const OPAQUE: &str = "$spanbridge::opaque";
    /// Newtype: the value is a duration.
    pub(crate) const DURATION: &str = "$spanbridge::duration";
    /// Tuple of (enabled, contents), or unit for null.
    pub(crate) const OPTIONAL: &str = "$spanbridge::optional";
    /// Tuple of (enabled, contents); null is on.
    pub(crate) const TOGGLE: &str = "$spanbridge::toggle";
    pub(crate) use crate::squash::SQUASH;
    /// The key by which every optional block can be switched off.
    pub(crate) const ENABLED: &str = "enabled";
}
