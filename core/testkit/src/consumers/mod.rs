//! Consumers to put behind a component under test.

mod failing;
mod flaky;
mod gate;
mod sink;

pub use failing::{Failing, Outcome};
pub use flaky::{Flaky, Rates};
pub use gate::{Gate, Slow};
pub use sink::Sink;
