//! Numbers, times and ids as Go prints them.

use std::fmt;

use jiff::Timestamp;

/// A float as Go's `%f`: six decimals, `+Inf`, `-Inf`, `NaN`.
pub(super) struct Fixed(pub(super) f64);

/// A float as Go's `%v`: the shortest digits that read back as the same number.
pub(super) struct Shortest(pub(super) f64);

/// A float as Go's `encoding/json` writes it, with the OTLP/JSON names for what JSON has no number for.
pub(super) struct JsonNumber(pub(super) f64);

/// Nanoseconds since 1970 as Go's `time.Time.String` in UTC.
pub(super) struct Time(pub(super) u64);

/// A trace or span id in hexadecimal; empty when all bytes are zero.
pub(super) struct Id<'a>(pub(super) &'a [u8]);

impl fmt::Display for Fixed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match infinite(self.0) {
            Some(name) => f.write_str(name),
            None => write!(f, "{:.6}", self.0),
        }
    }
}

impl fmt::Display for Shortest {
    /// Below 0.0001 and from a million on it has an exponent of at least two digits.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(name) = infinite(self.0) {
            return f.write_str(name);
        }
        let (mantissa, exponent) = scientific(self.0);
        if self.0 != 0.0 && !(-4..6).contains(&exponent) {
            let sign = if exponent < 0 { '-' } else { '+' };
            return write!(f, "{mantissa}e{sign}{:02}", exponent.unsigned_abs());
        }
        write!(f, "{}", self.0)
    }
}

impl fmt::Display for JsonNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_nan() {
            return f.write_str("NaN");
        }
        if self.0.is_infinite() {
            return f.write_str(if self.0 > 0.0 { "Infinity" } else { "-Infinity" });
        }
        let magnitude = self.0.abs();
        if magnitude != 0.0 && !(1e-6..1e21).contains(&magnitude) {
            let (mantissa, exponent) = scientific(self.0);
            let sign = if exponent < 0 { '-' } else { '+' };
            return write!(f, "{mantissa}e{sign}{}", exponent.unsigned_abs());
        }
        write!(f, "{}", self.0)
    }
}

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Go holds the time in a signed number: what is past the year 2262 wraps to before 1970 there and here.
        let nanos = self.0.cast_signed();
        let (seconds, fraction) = (nanos.div_euclid(1_000_000_000), nanos.rem_euclid(1_000_000_000));
        let second = Timestamp::from_second(seconds).unwrap_or_default();
        write!(f, "{}", second.strftime("%Y-%m-%d %H:%M:%S"))?;
        if fraction != 0 {
            let digits = format!("{fraction:09}");
            write!(f, ".{}", digits.trim_end_matches('0'))?;
        }
        f.write_str(" +0000 UTC")
    }
}

impl fmt::Display for Id<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.iter().all(|byte| *byte == 0) {
            return Ok(());
        }
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// Go's name for what has no digits.
fn infinite(value: f64) -> Option<&'static str> {
    if value.is_nan() {
        Some("NaN")
    } else if value.is_infinite() {
        Some(if value > 0.0 { "+Inf" } else { "-Inf" })
    } else {
        None
    }
}

/// The shortest digits that read back as `value`, with their decimal exponent.
fn scientific(value: f64) -> (String, i32) {
    let text = format!("{value:e}");
    match text.split_once('e') {
        Some((mantissa, exponent)) => (mantissa.to_owned(), exponent.parse().unwrap_or(0)),
        None => (text, 0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fixed_floats_have_six_decimals() {
        let text = |v: f64| Fixed(v).to_string();
        assert_eq!(text(1.23), "1.230000");
        assert_eq!(text(-0.0), "-0.000000");
        assert_eq!(text(1e21), "1000000000000000000000.000000");
        assert_eq!(text(1.234_567_89e-5), "0.000012");
        assert_eq!([text(f64::INFINITY), text(f64::NEG_INFINITY), text(f64::NAN)], ["+Inf", "-Inf", "NaN"]);
    }

    #[test]
    fn shortest_floats_switch_to_an_exponent_where_go_does() {
        let text = |v: f64| Shortest(v).to_string();
        assert_eq!([text(0.0), text(-0.0), text(1.0), text(0.1)], ["0", "-0", "1", "0.1"]);
        assert_eq!([text(100_000.0), text(999_999.5)], ["100000", "999999.5"]);
        assert_eq!([text(1e6), text(1_048_576.0)], ["1e+06", "1.048576e+06"]);
        assert_eq!([text(0.0001), text(0.000_01)], ["0.0001", "1e-05"]);
        assert_eq!([text(1.234_5e-7), text(1e100)], ["1.2345e-07", "1e+100"]);
        assert_eq!(text(f64::INFINITY), "+Inf");
    }

    #[test]
    fn json_numbers_switch_to_an_exponent_where_go_does() {
        let text = |v: f64| JsonNumber(v).to_string();
        assert_eq!([text(0.0), text(5.0), text(-1.5)], ["0", "5", "-1.5"]);
        assert_eq!([text(0.000_001), text(0.000_000_1)], ["0.000001", "1e-7"]);
        assert_eq!([text(1e20), text(1e21)], ["100000000000000000000", "1e+21"]);
        assert_eq!(text(-1.5e-10), "-1.5e-10");
        assert_eq!(
            [text(f64::NAN), text(f64::INFINITY), text(f64::NEG_INFINITY)],
            ["NaN", "Infinity", "-Infinity"]
        );
    }

    #[test]
    fn times_are_utc_with_the_fraction_trimmed() {
        let text = |nanos: u64| Time(nanos).to_string();
        assert_eq!(text(0), "1970-01-01 00:00:00 +0000 UTC");
        assert_eq!(text(1_581_452_772_000_000_321), "2020-02-11 20:26:12.000000321 +0000 UTC");
        assert_eq!(text(1_581_452_772_120_000_000), "2020-02-11 20:26:12.12 +0000 UTC");
        assert_eq!(text(i64::MAX as u64), "2262-04-11 23:47:16.854775807 +0000 UTC");
        assert_eq!(text(u64::MAX), "1969-12-31 23:59:59.999999999 +0000 UTC");
    }

    #[test]
    fn ids_of_zeros_are_empty() {
        assert_eq!(Id(&[0; 16]).to_string(), "");
        assert_eq!(Id(&[]).to_string(), "");
        assert_eq!(Id(&[0, 0xab, 1]).to_string(), "00ab01");
    }
}
