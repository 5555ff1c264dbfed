//! A duration prints as a text that reads back as the same duration, and no text panics.
#![no_main]

use libfuzzer_sys::fuzz_target;
use spanbridge_config::Duration;

fuzz_target!(|text: &str| {
    if let Ok(duration) = text.parse::<Duration>() {
        assert_eq!(duration.to_string().parse::<Duration>(), Ok(duration), "{text:?} prints as {duration}");
    }
});
