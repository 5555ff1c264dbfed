//! The limits in bytes.

use crate::Config;

const MIB: u64 = 1024 * 1024;

/// What the process may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Limits {
    /// Bytes that it should never exceed.
    pub(crate) hard: u64,
    /// Bytes from which on nothing more is taken.
    pub(crate) soft: u64,
}

impl Limits {
    /// The limits that are configured, where `total` tells how much memory there is; it is asked for percentages only.
    pub(crate) fn new<E>(config: &Config, total: impl FnOnce() -> Result<u64, E>) -> Result<Self, E> {
        let (hard, spike) = if config.limit_mib > 0 {
            (u64::from(config.limit_mib) * MIB, u64::from(config.spike_limit_mib) * MIB)
        } else {
            let total = total()?;
            (part(total, config.limit_percentage), part(total, config.spike_limit_percentage))
        };
        // "20% of the hard limit"; a spike as large as the limit can only come from rounding.
        let spike = if spike == 0 || spike >= hard { hard / 5 } else { spike };
        Ok(Self { hard, soft: hard - spike })
    }

    /// The difference of the two.
    pub(crate) fn spike(&self) -> u64 {
        self.hard - self.soft
    }
}

fn part(total: u64, percentage: u32) -> u64 {
    let part = u128::from(total) * u128::from(percentage) / 100;
    u64::try_from(part).unwrap_or(u64::MAX)
}

/// For log lines.
pub(crate) fn mib(bytes: u64) -> u64 {
    bytes / MIB
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits(config: &Config, total: u64) -> Limits {
        Limits::new(config, || Ok::<_, ()>(total)).unwrap()
    }

    #[test]
    fn mib_come_before_percentages() {
        let config = Config { limit_mib: 100, limit_percentage: 50, ..Config::default() };
        assert_eq!(limits(&config, 1), Limits { hard: 100 * MIB, soft: 80 * MIB });
        let config = Config { spike_limit_mib: 30, ..config };
        assert_eq!(limits(&config, 1), Limits { hard: 100 * MIB, soft: 70 * MIB });
        assert_eq!(limits(&config, 1).spike(), 30 * MIB);
    }

    #[test]
    fn percentages_are_of_all_memory() {
        let config = Config { limit_percentage: 50, ..Config::default() };
        assert_eq!(limits(&config, 1000), Limits { hard: 500, soft: 400 });
        let config = Config { spike_limit_percentage: 20, ..config };
        assert_eq!(limits(&config, 1000), Limits { hard: 500, soft: 300 });
        assert_eq!(limits(&config, u64::MAX).hard, u64::MAX / 2);
    }

    #[test]
    fn an_unknown_total_matters_only_to_percentages() {
        let config = Config { limit_percentage: 50, ..Config::default() };
        assert!(Limits::new(&config, || Err("unknown")).is_err());
        let config = Config { limit_mib: 1, ..config };
        assert!(Limits::new(&config, || Err("unknown")).is_ok());
    }
}
