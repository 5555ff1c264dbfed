//! What every component owes, as checks that its own tests call.
//!
//! One line in the component's tests makes one test of each check:
//!
//! ```text
//! spanbridge_testkit::component_conformance!(Config, Subject::processor(Factory, config()));
//! spanbridge_testkit::processor_conformance!(Factory, config(), Delivery::Exact);
//! ```
//!
//! The configuration passed in must be valid: with everything required, on loopback, with port 0.
//!
//! That a receiver or an exporter neither loses nor doubles anything, and hands on errors as what they are, is checked over
//! its real protocol: put a client or a server of the test's own around it and use [`Contract::run`].

mod config;
mod contract;
mod lifecycle;
mod macros;
mod processor;

pub use config::{
    an_empty_document_is_the_default, the_default_survives_a_round_trip, the_descriptor_is_sound,
    the_schema_describes_every_key, unknown_keys_are_refused, valid,
};
pub use contract::{Contract, Delivery};
pub use lifecycle::{
    Subject, shuts_down_after_a_start, shuts_down_without_a_start, two_instances_live_side_by_side,
};
pub use processor::{delivers_what_it_acknowledges, hands_on_errors, hands_on_every_signal};
