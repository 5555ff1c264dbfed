//! What users write under `processors::memory_limiter`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use spanbridge_component::{Problems, Validate};
use spanbridge_config::Duration;

/// Configuration of the `memory_limiter` processor (reference: collector-core, 10.2).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// How often the resident memory of the process is looked at. It must be set; `1s` suits.
    pub check_interval: Duration,

    /// The hard limit in MiB. Default 0: `limit_percentage` decides. It comes before `limit_percentage`.
    pub limit_mib: u32,

    /// The soft limit is so many MiB below the hard one. Default 0: 20% of the hard limit.
    pub spike_limit_mib: u32,

    /// The hard limit as a percentage of the memory there is: of the control group where that has a limit, else of the
    /// machine.
    pub limit_percentage: u32,

    /// As `spike_limit_mib`, as a percentage of the memory there is. Default 0: 20% of the hard limit.
    pub spike_limit_percentage: u32,

    /// No effect: tunes the garbage collector of the Go collector, and there is none here. Default `10s`.
    pub min_gc_interval_when_soft_limited: Duration,

    /// No effect: tunes the garbage collector of the Go collector, and there is none here. Default `0s`.
    pub min_gc_interval_when_hard_limited: Duration,

    /// No effect: tunes the garbage collector of the Go collector, and there is none here. Default `30s`.
    pub max_gc_interval_when_soft_limited: Duration,

    /// No effect: tunes the garbage collector of the Go collector, and there is none here. Default `30s`.
    pub max_gc_interval_when_hard_limited: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            check_interval: Duration::ZERO,
            limit_mib: 0,
            spike_limit_mib: 0,
            limit_percentage: 0,
            spike_limit_percentage: 0,
            min_gc_interval_when_soft_limited: Duration::from_secs(10),
            min_gc_interval_when_hard_limited: Duration::ZERO,
            max_gc_interval_when_soft_limited: Duration::from_secs(30),
            max_gc_interval_when_hard_limited: Duration::from_secs(30),
        }
    }
}

impl Config {
    /// The keys that have no effect here and were set to something else than their defaults.
    pub(crate) fn keys_without_effect(&self) -> Vec<&'static str> {
        let default = Self::default();
        [
            (
                "min_gc_interval_when_soft_limited",
                self.min_gc_interval_when_soft_limited,
                default.min_gc_interval_when_soft_limited,
            ),
            (
                "min_gc_interval_when_hard_limited",
                self.min_gc_interval_when_hard_limited,
                default.min_gc_interval_when_hard_limited,
            ),
            (
                "max_gc_interval_when_soft_limited",
                self.max_gc_interval_when_soft_limited,
                default.max_gc_interval_when_soft_limited,
            ),
            (
                "max_gc_interval_when_hard_limited",
                self.max_gc_interval_when_hard_limited,
                default.max_gc_interval_when_hard_limited,
            ),
        ]
        .into_iter()
        .filter(|(_, value, default)| value != default)
        .map(|(key, ..)| key)
        .collect()
    }

    fn validate_gc_intervals(&self, problems: &mut Problems) {
        let (min_soft, min_hard) =
            (self.min_gc_interval_when_soft_limited, self.min_gc_interval_when_hard_limited);
        let (max_soft, max_hard) =
            (self.max_gc_interval_when_soft_limited, self.max_gc_interval_when_hard_limited);
        if min_soft < min_hard {
            problems.error_at(
                "min_gc_interval_when_soft_limited",
                "'min_gc_interval_when_soft_limited' should be larger than 'min_gc_interval_when_hard_limited'",
            );
        }
        for (state, min, max) in [("soft", min_soft, max_soft), ("hard", min_hard, max_hard)] {
            if !max.is_zero() && max < min {
                problems.error_at(
                    &format!("max_gc_interval_when_{state}_limited"),
                    format!(
                        "'max_gc_interval_when_{state}_limited' must be greater than or equal to \
                         'min_gc_interval_when_{state}_limited' (or 0 to disable)"
                    ),
                );
            }
        }
        if !max_soft.is_zero() && max_soft < max_hard {
            problems.error_at(
                "max_gc_interval_when_soft_limited",
                "'max_gc_interval_when_soft_limited' must be greater than or equal to \
                 'max_gc_interval_when_hard_limited' (or 0 to disable)",
            );
        }
    }

    fn validate_limits(&self, problems: &mut Problems) {
        if self.limit_mib == 0 && self.limit_percentage == 0 {
            problems.error("'limit_mib' or 'limit_percentage' must be greater than zero");
        }
        for (key, percentage) in [
            ("limit_percentage", self.limit_percentage),
            ("spike_limit_percentage", self.spike_limit_percentage),
        ] {
            if percentage > 100 {
                problems.error_at(
                    key,
                    "'limit_percentage' and 'spike_limit_percentage' must be greater than zero and less than \
                     or equal to hundred",
                );
            }
        }
        if self.limit_mib > 0 && self.limit_mib <= self.spike_limit_mib {
            problems.error_at("spike_limit_mib", "'spike_limit_mib' must be smaller than 'limit_mib'");
        }
        if self.limit_percentage > 0 && self.limit_percentage <= self.spike_limit_percentage {
            problems.error_at(
                "spike_limit_percentage",
                "'spike_limit_percentage' must be smaller than 'limit_percentage'",
            );
        }
    }
}

impl Validate for Config {
    fn validate(&self, problems: &mut Problems) {
        if self.check_interval.is_zero() {
            problems
                .error_at("check_interval", "'check_interval' must be greater than zero")
                .help("write `check_interval: 1s`");
        }
        self.validate_gc_intervals(problems);
        self.validate_limits(problems);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problems(config: &Config) -> Vec<String> {
        let mut problems = Problems::new();
        config.validate(&mut problems);
        problems.into_found().into_iter().map(|problem| problem.message).collect()
    }

    fn valid() -> Config {
        Config { check_interval: Duration::from_secs(1), limit_mib: 100, ..Config::default() }
    }

    #[test]
    fn the_defaults_lack_an_interval_and_a_limit() {
        assert_eq!(
            problems(&Config::default()),
            [
                "'check_interval' must be greater than zero",
                "'limit_mib' or 'limit_percentage' must be greater than zero",
            ]
        );
        assert!(problems(&valid()).is_empty());
        assert!(valid().keys_without_effect().is_empty());
    }

    #[test]
    fn every_rule_of_the_reference_is_checked() {
        let secs = Duration::from_secs;
        for (config, message) in [
            (
                Config { min_gc_interval_when_hard_limited: secs(11), ..valid() },
                "'min_gc_interval_when_soft_limited' should be larger than",
            ),
            (
                Config { max_gc_interval_when_soft_limited: secs(9), ..valid() },
                "'max_gc_interval_when_soft_limited' must be greater than or equal to 'min_gc",
            ),
            (
                Config {
                    min_gc_interval_when_hard_limited: secs(5),
                    max_gc_interval_when_hard_limited: secs(4),
                    ..valid()
                },
                "'max_gc_interval_when_hard_limited' must be greater than or equal to 'min_gc",
            ),
            (
                Config { max_gc_interval_when_hard_limited: secs(31), ..valid() },
                "must be greater than or equal to 'max_gc_interval_when_hard_limited'",
            ),
            (Config { limit_percentage: 101, ..valid() }, "less than or equal to hundred"),
            (Config { spike_limit_mib: 100, ..valid() }, "'spike_limit_mib' must be smaller than"),
            (
                Config { limit_mib: 0, limit_percentage: 20, spike_limit_percentage: 20, ..valid() },
                "'spike_limit_percentage' must be smaller than 'limit_percentage'",
            ),
        ] {
            let problems = problems(&config);
            assert!(problems.len() <= 2 && problems[0].contains(message), "{message}: {problems:?}");
        }
        let equal = Config { min_gc_interval_when_hard_limited: secs(10), ..valid() };
        assert!(problems(&equal).is_empty());
    }

    #[test]
    fn every_key_is_read() {
        let config: Config =
            spanbridge_config::from_yaml(include_str!("../testdata/every_key.yaml")).unwrap();
        assert_eq!(config.check_interval, Duration::from_millis(500));
        assert_eq!((config.limit_mib, config.spike_limit_mib), (400, 100));
        assert_eq!((config.limit_percentage, config.spike_limit_percentage), (75, 15));
        assert_eq!(config.keys_without_effect().len(), 4);
        assert!(problems(&config).is_empty());
    }
}
