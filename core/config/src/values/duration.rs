//! Durations as Go writes them.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;
use std::time;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use super::protocol;

/// A duration of the configuration: Go's text form (`1h30m`, `200ms`, `1.5s`), or a bare integer in **nanoseconds**.
///
/// Source: Go `time.ParseDuration`; reference: collector-core, 3.1. Negative durations are refused: no key of ours has
/// a meaning for them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Hash)]
pub struct Duration(time::Duration);

/// Why a text is no duration.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs)] // the messages say it
pub enum DurationError {
    #[error("time: invalid duration \"{0}\"")]
    Invalid(String),
    #[error("time: missing unit in duration \"{0}\"; write for example \"{0}s\"")]
    MissingUnit(String),
    #[error("time: unknown unit \"{1}\" in duration \"{0}\"; units are ns, us, ms, s, m, h")]
    UnknownUnit(String, String),
    #[error("duration \"{0}\" is negative")]
    Negative(String),
}

impl Duration {
    /// No time at all; many keys read it as "no limit".
    pub const ZERO: Self = Self(time::Duration::ZERO);

    /// A number of milliseconds.
    pub const fn from_millis(millis: u64) -> Self {
        Self(time::Duration::from_millis(millis))
    }

    /// A number of seconds.
    pub const fn from_secs(secs: u64) -> Self {
        Self(time::Duration::from_secs(secs))
    }

    /// As the standard library's type.
    pub const fn get(self) -> time::Duration {
        self.0
    }

    /// Whether it is zero.
    pub const fn is_zero(self) -> bool {
        self.0.is_zero()
    }
}

impl From<time::Duration> for Duration {
    fn from(duration: time::Duration) -> Self {
        Self(duration)
    }
}

impl FromStr for Duration {
    type Err = DurationError;

    fn from_str(text: &str) -> Result<Self, DurationError> {
        let invalid = || DurationError::Invalid(text.to_owned());
        let (negative, mut rest) = match text.as_bytes().first() {
            Some(b'-') => (true, &text[1..]),
            Some(b'+') => (false, &text[1..]),
            _ => (false, text),
        };
        if rest == "0" {
            return Ok(Self::ZERO);
        }
        if rest.is_empty() {
            return Err(invalid());
        }
        let mut nanos: u128 = 0;
        while !rest.is_empty() {
            let number_len = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
            let (number, after) = rest.split_at(number_len);
            if number.is_empty() || number == "." || number.matches('.').count() > 1 {
                return Err(invalid());
            }
            let unit_len = after.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(after.len());
            let (unit, after) = after.split_at(unit_len);
            if unit.is_empty() {
                return Err(DurationError::MissingUnit(text.to_owned()));
            }
            let scale = unit_nanos(unit)
                .ok_or_else(|| DurationError::UnknownUnit(text.to_owned(), unit.to_owned()))?;
            nanos = scaled(number, scale).and_then(|n| nanos.checked_add(n)).ok_or_else(invalid)?;
            rest = after;
        }
        if negative && nanos > 0 {
            return Err(DurationError::Negative(text.to_owned()));
        }
        // Go holds durations in a signed 64-bit number of nanoseconds.
        i64::try_from(nanos)
            .map_err(|_| invalid())
            .map(|n| Self(time::Duration::from_nanos(n.unsigned_abs())))
    }
}

fn unit_nanos(unit: &str) -> Option<u64> {
    Some(match unit {
        "ns" => 1,
        "us" | "µs" | "μs" => 1_000,
        "ms" => 1_000_000,
        "s" => 1_000_000_000,
        "m" => 60_000_000_000,
        "h" => 3_600_000_000_000,
        _ => return None,
    })
}

/// `number`, which may have a fraction, times `scale`; truncated to whole nanoseconds. `None` on overflow.
fn scaled(number: &str, scale: u64) -> Option<u128> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let whole: u128 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
    // 18 digits are exact far below a nanosecond of an hour.
    let digits = &fraction[..fraction.len().min(18)];
    let part = if digits.is_empty() {
        0
    } else {
        let divisor = 10_u128.checked_pow(u32::try_from(digits.len()).ok()?)?;
        digits.parse::<u128>().ok()?.checked_mul(u128::from(scale))? / divisor
    };
    whole.checked_mul(u128::from(scale))?.checked_add(part)
}

impl fmt::Display for Duration {
    /// As Go's `Duration.String`: `1h30m0s`, `200ms`, `1.5s`, `0s`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let nanos = self.0.as_nanos();
        if nanos == 0 {
            return f.write_str("0s");
        }
        if nanos < 1_000 {
            return write!(f, "{nanos}ns");
        }
        if nanos < 1_000_000 {
            return write!(f, "{}µs", decimal(nanos, 1_000));
        }
        if nanos < 1_000_000_000 {
            return write!(f, "{}ms", decimal(nanos, 1_000_000));
        }
        let (minutes, rest) = (nanos / 60_000_000_000, nanos % 60_000_000_000);
        let (hours, minutes) = (minutes / 60, minutes % 60);
        if hours > 0 {
            write!(f, "{hours}h")?;
        }
        if hours > 0 || minutes > 0 {
            write!(f, "{minutes}m")?;
        }
        write!(f, "{}s", decimal(rest, 1_000_000_000))
    }
}

/// `value / unit` with the zeros at the end of the fraction cut.
fn decimal(value: u128, unit: u128) -> String {
    let width = unit.ilog10() as usize;
    let text = format!("{}.{:0width$}", value / unit, value % unit);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

impl Serialize for Duration {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Duration {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl<'de> de::Visitor<'de> for Visitor {
            type Value = Duration;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a duration such as \"200ms\" or \"1m30s\"")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Duration, E> {
                text.parse().map_err(E::custom)
            }

            fn visit_u64<E: de::Error>(self, nanos: u64) -> Result<Duration, E> {
                Ok(Duration(time::Duration::from_nanos(nanos)))
            }

            fn visit_i64<E: de::Error>(self, nanos: i64) -> Result<Duration, E> {
                u64::try_from(nanos)
                    .map(|n| Duration(time::Duration::from_nanos(n)))
                    .map_err(|_| E::custom(DurationError::Negative(nanos.to_string())))
            }

            fn visit_unit<E: de::Error>(self) -> Result<Duration, E> {
                Ok(Duration::ZERO)
            }

            fn visit_newtype_struct<D: Deserializer<'de>>(
                self,
                deserializer: D,
            ) -> Result<Duration, D::Error> {
                deserializer.deserialize_any(self)
            }
        }
        deserializer.deserialize_newtype_struct(protocol::DURATION, Visitor)
    }
}

impl JsonSchema for Duration {
    fn schema_name() -> Cow<'static, str> {
        "Duration".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "A duration such as 200ms or 1m30s; a bare integer is nanoseconds.",
            "anyOf": [
                { "type": "string", "pattern": "^[-+]?(0|([0-9]*\\.?[0-9]*(ns|us|µs|ms|s|m|h))+)$" },
                { "type": "integer" }
            ]
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Result<u128, String> {
        text.parse::<Duration>().map(|d| d.get().as_nanos()).map_err(|e| e.to_string())
    }

    #[test]
    fn parses_what_go_parses() {
        assert_eq!(parsed("1h30m"), Ok(5_400_000_000_000));
        assert_eq!(parsed("1.5s"), Ok(1_500_000_000));
        assert_eq!(parsed(".5ms"), Ok(500_000));
        assert_eq!(parsed("0"), Ok(0));
        assert_eq!(parsed("+3us"), Ok(3_000));
        assert_eq!(parsed("2m0.5s"), Ok(120_500_000_000));
    }

    #[test]
    fn refuses_what_go_refuses_and_says_what_is_missing() {
        assert_eq!(
            parsed("10"),
            Err("time: missing unit in duration \"10\"; write for example \"10s\"".into())
        );
        assert_eq!(parsed(""), Err("time: invalid duration \"\"".into()));
        assert_eq!(parsed("abc"), Err("time: invalid duration \"abc\"".into()));
        assert!(parsed("3 s").is_err() && parsed("1.2.3s").is_err() && parsed("9999999999h").is_err());
        assert_eq!(parsed("-1s"), Err("duration \"-1s\" is negative".into()));
    }

    #[test]
    fn prints_as_go_prints() {
        for (nanos, text) in [
            (0, "0s"),
            (1, "1ns"),
            (1_500, "1.5µs"),
            (200_000_000, "200ms"),
            (90_000_000_000, "1m30s"),
            (5_400_000_000_000, "1h30m0s"),
        ] {
            assert_eq!(Duration(time::Duration::from_nanos(nanos)).to_string(), text);
        }
    }
}
