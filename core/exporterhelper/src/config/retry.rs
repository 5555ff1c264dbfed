//! `retry_on_failure` (reference: collector-core, 5.11).

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use spanbridge_component::{Problems, Validate};
use spanbridge_config::Duration;

/// What happens to a request that the destination did not take, but may take later.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct RetryConfig {
    /// `false`: every failure is final. Default `true`.
    pub enabled: bool,
    /// The pause before the second attempt. Default `5s`.
    pub initial_interval: Duration,
    /// Each pause is longer or shorter by up to this share of it, at random. From 0 to 1, default 0.5.
    pub randomization_factor: f64,
    /// Each pause is this many times the one before. Default 1.5.
    pub multiplier: f64,
    /// No pause is longer than this, before randomization. Default `30s`. The destination may ask for more.
    pub max_interval: Duration,
    /// A request is given up if it would take longer than this, counted from the first attempt. `0s` is never. Default
    /// `5m`, and never for a queue on disk: such a queue is there for outages that are longer than that.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_elapsed_time: Option<Duration>,
}

/// The Go collector's default of `max_elapsed_time`.
const MAX_ELAPSED_TIME: Duration = Duration::from_secs(300);

impl Default for RetryConfig {
    fn default() -> Self {
        Self {
            enabled: true,
            initial_interval: Duration::from_secs(5),
            randomization_factor: 0.5,
            multiplier: 1.5,
            max_interval: Duration::from_secs(30),
            max_elapsed_time: None,
        }
    }
}

impl RetryConfig {
    /// When a request is given up; `None` is never.
    pub fn time_max(&self, queue_is_stored: bool) -> Option<std::time::Duration> {
        let time = match self.max_elapsed_time {
            Some(written) => written,
            None if queue_is_stored => Duration::ZERO,
            None => MAX_ELAPSED_TIME,
        };
        (!time.is_zero()).then(|| time.get())
    }
}

impl Validate for RetryConfig {
    /// Also for a block that is switched off, as in the Go collector.
    fn validate(&self, problems: &mut Problems) {
        const FACTOR: &str = "randomization_factor";
        if self.randomization_factor.is_nan() || self.randomization_factor < 0.0 {
            problems.error_at(FACTOR, "randomization_factor value must be greater than or equal to 0");
        } else if self.randomization_factor > 1.0 {
            problems.error_at(FACTOR, "randomization_factor value must be less than or equal to 1");
        }
        if self.multiplier.is_nan() || self.multiplier < 0.0 {
            problems.error_at("multiplier", "multiplier value must be greater than or equal to 0");
        }
        let Some(time) = self.max_elapsed_time.filter(|time| !time.is_zero()) else { return };
        for (other, name) in
            [(self.initial_interval, "initial_interval"), (self.max_interval, "max_interval")]
        {
            if time < other {
                problems
                    .error_at(
                        "max_elapsed_time",
                        format!("'max_elapsed_time' must not be less than '{name}'"),
                    )
                    .help(format!("{name} is {other} here; 0s retries for ever"));
            }
        }
    }
}
