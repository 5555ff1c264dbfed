//! The `grpc-timeout` header.

use std::time::Duration;

/// Name of the header.
pub const GRPC_TIMEOUT: &str = "grpc-timeout";

/// "`TimeoutValue` → {positive integer as ASCII string of at most 8 digits}"
const DIGITS_MAX: usize = 8;
/// Longer timeouts are cut to this: no timer needs more, and sums with "now" stay far from overflow.
const TIMEOUT_MAX: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// A header value that is no timeout.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("malformed grpc-timeout")]
pub struct MalformedTimeout;

/// The timeout in a header value, at most 30 days.
///
/// "Timeout → "grpc-timeout" `TimeoutValue` `TimeoutUnit`". Zero is accepted and has passed at once, as in grpc-go.
///
/// # Errors
/// If it is not up to eight digits and one of the units `H M S m u n`.
pub fn parse_timeout(value: &[u8]) -> Result<Duration, MalformedTimeout> {
    let (unit, digits) = value.split_last().ok_or(MalformedTimeout)?;
    if digits.is_empty() || digits.len() > DIGITS_MAX || !digits.iter().all(u8::is_ascii_digit) {
        return Err(MalformedTimeout);
    }
    let value = digits.iter().fold(0_u64, |value, digit| value * 10 + u64::from(digit - b'0'));
    let timeout = match unit {
        b'H' => Duration::from_secs(value * 3600),
        b'M' => Duration::from_secs(value * 60),
        b'S' => Duration::from_secs(value),
        b'm' => Duration::from_millis(value),
        b'u' => Duration::from_micros(value),
        b'n' => Duration::from_nanos(value),
        _ => return Err(MalformedTimeout),
    };
    Ok(timeout.min(TIMEOUT_MAX))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn every_unit_is_read() {
        for (text, timeout) in [
            ("2H", Duration::from_secs(7200)),
            ("3M", Duration::from_secs(180)),
            ("10S", Duration::from_secs(10)),
            ("4999m", Duration::from_millis(4999)),
            ("7u", Duration::from_micros(7)),
            ("99999999n", Duration::from_nanos(99_999_999)),
            ("0n", Duration::ZERO),
            ("99999999H", TIMEOUT_MAX),
        ] {
            assert_eq!(parse_timeout(text.as_bytes()), Ok(timeout), "{text}");
        }
    }

    #[test]
    fn anything_else_is_refused() {
        for text in ["", "S", "10", "10s", "-1S", "+1S", "1.5S", " 1S", "123456789n", "1SS", "١S"] {
            assert_eq!(parse_timeout(text.as_bytes()), Err(MalformedTimeout), "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_refused_or_bounded(value in proptest::collection::vec(any::<u8>(), 0..12)) {
            if let Ok(timeout) = parse_timeout(&value) {
                prop_assert!(timeout <= TIMEOUT_MAX && value.len() <= DIGITS_MAX + 1);
            }
        }

        #[test]
        fn what_clients_write_is_read_back(seconds in 0_u64..100_000) {
            prop_assert_eq!(parse_timeout(format!("{seconds}S").as_bytes()), Ok(Duration::from_secs(seconds)));
        }
    }
}
