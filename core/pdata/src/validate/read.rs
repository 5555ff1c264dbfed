//! Reads of single fields. Each gets a window that ends where the innermost message ends, and says why it stopped.

use crate::malformed::Fault;
use crate::wire::read_varint;

/// Why and where a walk stopped.
#[derive(Debug, Clone, Copy)]
pub(super) struct Stop {
    pub(super) fault: Fault,
    /// The number of the field, 0 if unknown.
    pub(super) field: u32,
    pub(super) offset: usize,
}

#[inline]
pub(super) fn read_key(window: &[u8], pos: usize) -> Result<(u32, usize), Stop> {
    let (key, value) = varint(window, pos, 0)?;
    match u32::try_from(key) {
        Ok(key) => Ok((key, value)),
        Err(_) => Err(Stop { fault: Fault::Key, field: 0, offset: pos }),
    }
}

#[inline]
fn varint(window: &[u8], pos: usize, field: u32) -> Result<(u64, usize), Stop> {
    match read_varint(window, pos) {
        Some(read) => Ok(read),
        None => Err(varint_stop(window, pos, field)),
    }
}

#[cold]
fn varint_stop(window: &[u8], pos: usize, field: u32) -> Stop {
    let rest = window.get(pos..).unwrap_or_default();
    let is_short = rest.len() < 10 && rest.iter().all(|byte| *byte >= 0x80);
    Stop { fault: if is_short { Fault::Truncated } else { Fault::Varint }, field, offset: pos }
}

/// Reads the length at `pos`: where the content starts and where it ends.
#[inline]
pub(super) fn read_content(window: &[u8], pos: usize, field: u32) -> Result<(usize, usize), Stop> {
    let (len, start) = varint(window, pos, field)?;
    if len > (window.len() - start) as u64 {
        return Err(Stop { fault: Fault::Truncated, field, offset: pos });
    }
    #[expect(clippy::cast_possible_truncation, reason = "not above the length of a slice")]
    Ok((start, start + len as usize))
}

#[inline]
pub(super) fn read_id(
    window: &[u8],
    pos: usize,
    field: u32,
    want: usize,
    fault: fn(usize) -> Fault,
) -> Result<usize, Stop> {
    let (start, stop) = read_content(window, pos, field)?;
    let len = stop - start;
    if len != want && len != 0 {
        return Err(Stop { fault: fault(len), field, offset: pos });
    }
    Ok(stop)
}

#[inline]
pub(super) fn skip_varint(window: &[u8], pos: usize, field: u32) -> Result<usize, Stop> {
    varint(window, pos, field).map(|(_, end)| end)
}

#[inline]
pub(super) fn skip_fixed(window: &[u8], pos: usize, field: u32, size: usize) -> Result<usize, Stop> {
    if window.len() - pos < size {
        return Err(Stop { fault: Fault::Truncated, field, offset: pos });
    }
    Ok(pos + size)
}

pub(super) fn skip_packed_varints(window: &[u8], pos: usize, field: u32) -> Result<usize, Stop> {
    let (mut pos, stop) = read_content(window, pos, field)?;
    let window = window.get(..stop).unwrap_or_default();
    while pos < stop {
        pos = skip_varint(window, pos, field)?;
    }
    Ok(stop)
}

pub(super) fn skip_packed_fixed64(window: &[u8], pos: usize, field: u32) -> Result<usize, Stop> {
    let (start, stop) = read_content(window, pos, field)?;
    if !(stop - start).is_multiple_of(8) {
        return Err(Stop { fault: Fault::Truncated, field, offset: pos });
    }
    Ok(stop)
}
