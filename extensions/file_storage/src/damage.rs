//! What happens to bytes that are no record: they are set aside, reported and covered.

use std::io;
use std::ops::Range;

use crate::disk::{Disk, DiskFile, Files};
use crate::format::{COVER, RECORD_HEADER_BYTES, RecordHeader};
use crate::names::segment_name;

/// Damaged bytes that are kept for a log, in files beside its segments. Further ones are reported only.
const KEPT_BYTES_MAX: u64 = 64 << 20;
const BUFFER_BYTES: usize = 64 << 10;
/// What stands between a segment's name and the offset of the damage.
const DAMAGED: &str = ".damaged-";
/// The end of the name of a copy that is not complete.
const PARTIAL: &str = ".partial";
/// Copies of one place. The numbers of segments begin anew when a log is empty, so there may be several.
const COPIES_MAX: usize = 100;

/// Reports and keeps damaged bytes.
pub(crate) struct Damage<'a> {
    files: &'a Files,
    log: &'a str,
}

impl<'a> Damage<'a> {
    pub(crate) fn new(files: &'a Files, log: &'a str) -> Self {
        Self { files, log }
    }

    /// Copies `range` of segment `number` to a file of its own and says so. Returns whether the bytes may now be given
    /// up: not if they could not be copied, which a later start will try again.
    pub(crate) fn set_aside(&self, number: u64, file: &dyn DiskFile, range: &Range<u64>, what: &str) -> bool {
        let segment = segment_name(number);
        let name = format!("{segment}{DAMAGED}{}", range.start);
        let result = copy(self.files.disk(), file, range, &name);
        let (kept, done) = match &result {
            Ok(Kept::File(name)) => (self.files.disk().folder().join(name).display().to_string(), true),
            Ok(Kept::Zeros) => ("nowhere: all bytes are zero".to_owned(), true),
            Ok(Kept::TooMuch) => (format!("nowhere: {KEPT_BYTES_MAX} bytes are kept already"), true),
            Err(error) => (format!("nowhere: {error}"), false),
        };
        tracing::warn!(
            log = self.log,
            file = %self.files.disk().folder().join(&segment).display(),
            offset = range.start,
            length = range.end - range.start,
            set_aside = kept,
            "{what}"
        );
        done
    }
}

/// Makes one record that was never live of `range`, so that it is not found damaged again. Needs no room.
pub(crate) fn cover(file: &dyn DiskFile, range: &Range<u64>, salt: Option<u64>) -> io::Result<()> {
    let (Some(salt), Some(body_bytes)) = (salt, (range.end - range.start).checked_sub(RECORD_HEADER_BYTES))
    else {
        return Ok(());
    };
    let cover = RecordHeader {
        salt,
        offset: range.start,
        sequence: 0,
        items: 0,
        body_bytes,
        header_bytes: 0,
        checksum: 0,
        index: COVER,
        note: [0; 16],
    };
    file.write_at(&cover.encode(), range.start)
}

enum Kept {
    /// Of this name.
    File(String),
    Zeros,
    TooMuch,
}

fn copy(disk: &dyn Disk, file: &dyn DiskFile, range: &Range<u64>, name: &str) -> io::Result<Kept> {
    if is_zero(file, range)? {
        return Ok(Kept::Zeros);
    }
    let Some((name, is_there)) = find_name(disk, file, range, name)? else { return Ok(Kept::TooMuch) };
    if is_there {
        return Ok(Kept::File(name));
    }
    let partial = format!("{name}{PARTIAL}");
    // Of a process that ended while it wrote it.
    let _ = disk.remove(&partial);
    if kept_bytes(disk).saturating_add(range.end - range.start) > KEPT_BYTES_MAX {
        return Ok(Kept::TooMuch);
    }
    let copy = disk.create(&partial)?;
    let written = each_chunk(file, range, |chunk, at| copy.write_at(chunk, at - range.start).map(|()| true));
    let named = written.and_then(|_| copy.sync()).and_then(|()| disk.rename(&partial, &name));
    if let Err(error) = named {
        let _ = disk.remove(&partial);
        return Err(error);
    }
    disk.sync_folder()?;
    Ok(Kept::File(name))
}

/// The name for a copy of `range`, and whether that is there already; `None` if too many others are.
fn find_name(
    disk: &dyn Disk,
    file: &dyn DiskFile,
    range: &Range<u64>,
    name: &str,
) -> io::Result<Option<(String, bool)>> {
    for copy in 1..=COPIES_MAX {
        let name = if copy == 1 { name.to_owned() } else { format!("{name}-{copy}") };
        match disk.open(&name) {
            Ok(kept) if is_copy(&*kept, file, range)? => return Ok(Some((name, true))),
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Some((name, false))),
            Err(error) => return Err(error),
        }
    }
    Ok(None)
}

/// Whether `kept` has what `range` of `file` has: damage that could not be covered is found again.
fn is_copy(kept: &dyn DiskFile, file: &dyn DiskFile, range: &Range<u64>) -> io::Result<bool> {
    if kept.bytes()? != range.end - range.start {
        return Ok(false);
    }
    let mut buffer = vec![0; BUFFER_BYTES];
    each_chunk(file, range, |chunk, at| {
        let read = kept.read_at(&mut buffer[..chunk.len()], at - range.start)?;
        Ok(buffer[..read] == *chunk)
    })
}

fn is_zero(file: &dyn DiskFile, range: &Range<u64>) -> io::Result<bool> {
    each_chunk(file, range, |chunk, _| Ok(chunk.iter().all(|byte| *byte == 0)))
}

/// Calls `f` with the bytes of `range` and their offset, piece by piece, until it says `false`; whether it never did.
fn each_chunk(
    file: &dyn DiskFile,
    range: &Range<u64>,
    mut f: impl FnMut(&[u8], u64) -> io::Result<bool>,
) -> io::Result<bool> {
    let mut buffer = vec![0; BUFFER_BYTES];
    let mut at = range.start;
    while at < range.end {
        let left = usize::try_from(range.end - at).unwrap_or(usize::MAX);
        let read = file.read_at(&mut buffer[..left.min(BUFFER_BYTES)], at)?;
        if read == 0 {
            break;
        }
        if !f(&buffer[..read], at)? {
            return Ok(false);
        }
        at += read as u64;
    }
    Ok(true)
}

fn kept_bytes(disk: &dyn Disk) -> u64 {
    let Ok(entries) = std::fs::read_dir(disk.folder()) else { return 0 };
    let damaged =
        entries.filter_map(Result::ok).filter(|e| e.file_name().to_string_lossy().contains(DAMAGED));
    damaged.filter_map(|entry| entry.metadata().ok()).map(|found| found.len()).sum()
}
