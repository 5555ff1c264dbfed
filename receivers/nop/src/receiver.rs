//! The receiver itself.

use spanbridge_component::{Component, Receiver};

/// Holds nothing and does nothing: the lifecycle's default answers are its whole behaviour.
pub(crate) struct NopReceiver;

impl Component for NopReceiver {}

impl Receiver for NopReceiver {}
