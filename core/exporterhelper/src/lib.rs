//! What every exporter has around its send function: timeout, retry, sending queue, batching.

mod sender;

pub use sender::{Refusal, SendError, Sender};
