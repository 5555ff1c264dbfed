//! Any bytes are a segment: each is walked over once, without a panic. A byte of the input that says so turns the bytes
//! behind it into an intact record first, which must then be found.
#![no_main]

use file_storage_extension::{make_segment, scan_bytes};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    scan_bytes(input);
    let Some((&pieces, rest)) = input.split_first() else { return };
    let (bodies, damage) = rest.split_at(rest.len() / 2);
    let bodies: Vec<&[u8]> = bodies.chunks(usize::from(pieces).max(1)).collect();
    let mut segment = make_segment(&bodies);
    let intact = scan_bytes(&segment);
    assert_eq!(intact, (bodies.len() as u64, 0));
    // Two bytes of position, then what to write there.
    let Some((place, garbage)) = damage.split_at_checked(2) else { return };
    let at = usize::from(u16::from_le_bytes([place[0], place[1]])) % segment.len().max(1);
    let end = (at + garbage.len()).min(segment.len());
    segment[at..end].copy_from_slice(&garbage[..end - at]);
    scan_bytes(&segment);
});
