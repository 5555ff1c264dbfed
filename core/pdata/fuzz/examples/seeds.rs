//! Writes the seed corpus: small rich requests of every signal, and tapes for the generator of odd encodings.

use std::fs;
use std::path::Path;

use spanbridge_pdata::{Signal, sample};
use spanbridge_pdata_fuzz::TAPE;

const TARGETS: [&str; 7] =
    ["validate", "count_merge", "split", "resources", "items", "item_attributes", "repair"];
const TAPES: u64 = 200;

fn main() -> std::io::Result<()> {
    for target in TARGETS {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(target);
        fs::create_dir_all(&folder)?;
        for (index, signal) in Signal::ALL.into_iter().enumerate() {
            let option = u8::try_from(index).unwrap_or(0);
            let request = match signal {
                Signal::Traces => sample::rich_traces(2),
                Signal::Metrics => sample::rich_metrics(24),
                Signal::Logs => sample::rich_logs(2),
            };
            fs::write(folder.join(format!("rich-{signal}")), [&[option, 100, 1, 200, 7][..], &request].concat())?;
            for seed in 0..TAPES {
                let tape = tape(seed * 3 + index as u64);
                // The high bits of the seed choose oddities.
                let option = option | TAPE | u8::try_from(seed & 7).unwrap_or(0) << 2;
                fs::write(folder.join(format!("tape-{signal}-{seed}")), [&[option][..], &tape].concat())?;
            }
        }
    }
    Ok(())
}

/// Bytes that depend on the seed alone.
fn tape(seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let len = 20 + seed * 7 % 600;
    let next = |_| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[3]
    };
    (0..len).map(next).collect()
}
