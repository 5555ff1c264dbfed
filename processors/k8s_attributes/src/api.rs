//! The Kubernetes API: how it is reached, listed and watched.

mod access;
mod failure;
mod health;
mod pace;
mod reflector;
mod stream;

pub(crate) use access::Access;
pub(crate) use health::{Health, HealthState};
pub(crate) use pace::Throttle;
pub(crate) use reflector::{Link, reflect};
