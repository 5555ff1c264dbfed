//! Any value of the `grpc-timeout` header is refused or a bounded duration.

#![no_main]

use std::time::{Duration, Instant};

use libfuzzer_sys::fuzz_target;
use spanbridge_transport::grpc::timeout::parse_timeout;

fuzz_target!(|data: &[u8]| {
    if let Ok(timeout) = parse_timeout(data) {
        assert!(timeout <= Duration::from_secs(30 * 24 * 60 * 60));
        assert!(data.len() <= 9 && data[..data.len() - 1].iter().all(u8::is_ascii_digit));
        assert!(Instant::now().checked_add(timeout).is_some());
    }
});
