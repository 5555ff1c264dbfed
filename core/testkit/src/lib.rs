//! What the tests of every component share: consumers to put behind it, payloads to feed it, settings to create it
//! with, and the conformance suite that every component passes.
//!
//! Everything here fails a test by panicking, with a message that says what was expected.
//!
//! | need | use |
//! |---|---|
//! | see what came out | [`Sink`] |
//! | make downstream fail | [`Failing`] (scripted), [`Flaky`] (random, seeded) |
//! | make downstream hang or crawl | [`Gate`], [`Slow`] |
//! | telemetry with items that can be told apart | [`Payloads`] |
//! | create a component | [`settings`], [`host`] |
//! | read its metrics | [`metric`] |
//! | read what it logs | [`Log`] |
//! | check what every component owes | [`conformance`] and the `*_conformance!` macros |
//!
//! # Traps
//!
//! - **Paused time jumps.** Under `#[tokio::test(start_paused = true)]` the clock leaps to the next timer whenever all
//!   tasks are idle. A bounded wait of this crate then ends at once if nothing else is going to happen: that is what
//!   makes tests fail fast, but it means that a test which waits for *another thread* or a *real socket* must not
//!   pause time: to the clock, such a wait looks idle.
//! - **A sink that is never asked cannot fail.** Assert on the sink's items, not only on the answer of `consume`.
//! - **A dropped future is a client that went away.** `timeout(.., processor.consume(batch))` cancels the call; the
//!   batch may or may not have been taken. Spawn the call when it is to go on.
//! - **A closed [`Gate`] holds its callers until it is opened or dropped.** Shutting a component down against a closed
//!   gate tests its deadline; forgetting to open one otherwise only tests patience.
//! - **Item ids are attributes.** [`Payloads`] numbers items in the attribute [`ITEM_ID`]; a component under test that
//!   deletes attributes of items must spare it, or [`Sink::item_ids`] panics.
#![allow(clippy::expect_used, clippy::panic, reason = "a test helper reports by panicking")]
#![allow(clippy::missing_panics_doc, reason = "so it is with every function here, as the crate's docs say")]

pub mod conformance;
mod consumers;
mod log;
mod metrics;
mod payloads;
mod settings;

pub use consumers::{Failing, Flaky, Gate, Outcome, Rates, Sink, Slow};
pub use log::{Log, open_callsites};
pub use metrics::{metric, metric_count};
pub use payloads::{ITEM_ID, Payloads, item_ids};
pub use settings::{StatusLog, block_on, block_on_paused, host, settings, settings_of};

/// How long a wait of this crate may take before it fails the test.
///
/// Generous, since it only ends tests that fail anyway: a loaded machine must not make it matter. Under paused time it
/// costs nothing.
pub const WAIT_MAX: std::time::Duration = std::time::Duration::from_secs(20);
