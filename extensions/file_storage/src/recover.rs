//! Opening a log: what is in it, and what happened to it.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use spanbridge_component::{StorageError, StorageErrorKind};

use crate::damage::{Damage, cover};
use crate::disk::{DiskFile, Files, failure};
use crate::format::{
    BadFileHeader, FILE_HEADER_BYTES, FileHeader, REMOVED, RecordHeader, SEGMENT_HEADER_BYTES, state_at,
};
use crate::names::{segment_name, segment_number};
use crate::scan::{Found, Scanner, States, checksum_on_disk};
use crate::state::Segment;

/// What an existing log holds.
#[derive(Debug, Default)]
pub(crate) struct Recovered {
    pub(crate) segments: BTreeMap<u64, Segment>,
    pub(crate) next_segment: u64,
    pub(crate) next_sequence: u64,
    /// Records that could not be read.
    pub(crate) damaged: u64,
}

/// Reads the headers of all segments, and every byte of the last one: that is where the process was writing when it
/// ended. Segments without a record are deleted.
pub(crate) fn recover(files: &Files, log: &str, recreate: bool) -> Result<Recovered, StorageError> {
    let numbers = segment_numbers(files)?;
    let next_segment = numbers.last().map_or(1, |last| last.saturating_add(1));
    let mut recovered = Recovered { next_segment, next_sequence: 1, ..Recovered::default() };
    let last = numbers.last().copied();
    for number in numbers {
        let path = files.disk().folder().join(segment_name(number));
        let mut segment = Opened { files, log, number, recovered: &mut recovered };
        let found = segment.read(Some(number) == last).map_err(|error| failure("read", &path, &error))?;
        match found {
            Inside::Records(segment) => drop(recovered.segments.insert(number, segment)),
            Inside::Nothing => {
                files.forget(number);
                files
                    .disk()
                    .remove(&segment_name(number))
                    .map_err(|error| failure("delete the empty segment", &path, &error))?;
            }
            Inside::Newer(version) if recreate => back_up(files, number, version)?,
            Inside::Newer(version) => {
                let message = format!(
                    "{} has format version {version}, which a newer release wrote; use that release, move the file \
                     away, or set recreate: true",
                    path.display()
                );
                return Err(StorageError::new(StorageErrorKind::Io, message));
            }
        }
    }
    Ok(recovered)
}

fn segment_numbers(files: &Files) -> Result<Vec<u64>, StorageError> {
    let folder = files.disk().folder();
    let entries = std::fs::read_dir(folder).map_err(|error| failure("read the folder", folder, &error))?;
    let names = entries.filter_map(Result::ok).map(|entry| entry.file_name());
    let mut numbers: Vec<_> = names.filter_map(|name| segment_number(name.to_str()?)).collect();
    numbers.sort_unstable();
    Ok(numbers)
}

fn back_up(files: &Files, number: u64, version: u32) -> Result<(), StorageError> {
    files.forget(number);
    let name = segment_name(number);
    let backup = format!("{name}.{}.backup", jiff::Timestamp::now().strftime("%Y-%m-%dT%H-%M-%SZ"));
    let path = files.disk().folder().join(&name);
    files.disk().rename(&name, &backup).map_err(|error| failure("rename", &path, &error))?;
    tracing::warn!(file = %path.display(), version, backup, "A segment of a newer format version was put away");
    Ok(())
}

/// What a segment turned out to hold.
enum Inside {
    Records(Segment),
    Nothing,
    Newer(u32),
}

struct Opened<'a> {
    files: &'a Files,
    log: &'a str,
    number: u64,
    recovered: &'a mut Recovered,
}

impl Opened<'_> {
    fn read(&mut self, is_last: bool) -> io::Result<Inside> {
        let file = self.files.segment(self.number)?;
        let length = file.bytes()?;
        let mut start = [0; 32];
        let read = file.read_at(&mut start, 0)?;
        let header =
            if read < start.len() { Err(BadFileHeader::Damaged) } else { FileHeader::decode(&start) };
        let salt = match header {
            Ok(header) => Some(header.salt),
            Err(BadFileHeader::Version(version)) => return Ok(Inside::Newer(version)),
            // Made, and not yet written to.
            Err(BadFileHeader::Damaged) if length == 0 => return Ok(Inside::Nothing),
            Err(BadFileHeader::Damaged) => None,
        };
        let segment = self.walk(&file, salt, length, is_last)?;
        Ok(if segment.records > 0 { Inside::Records(segment) } else { Inside::Nothing })
    }

    fn walk(
        &mut self,
        file: &Arc<dyn DiskFile>,
        salt: Option<u64>,
        length: u64,
        is_last: bool,
    ) -> io::Result<Segment> {
        let from = SEGMENT_HEADER_BYTES.min(length);
        let states = States::read(&**file)?;
        let mut scanner = Scanner::new(&**file, salt, from..length);
        let mut segment = Segment { end: length, sealed: true, ..Segment::default() };
        while let Some(found) = scanner.step()? {
            match found {
                Found::Record(header) if states.is_removed(&header) => self.number_seen(&header),
                Found::Record(header) => {
                    self.number_seen(&header);
                    if !is_last || self.check(&**file, &header)? {
                        segment.records += 1;
                        segment.items = segment.items.saturating_add(header.items);
                        segment.bytes += header.body_bytes;
                    }
                }
                Found::Damage { range, records } => {
                    let at_end = range.end == length;
                    let what = if at_end {
                        "A log ends in bytes that are no record: an append was cut off, or the end is damaged"
                    } else {
                        "Damaged bytes in a log are skipped"
                    };
                    let damage = Damage::new(self.files, self.log);
                    if !damage.set_aside(self.number, &**file, &range, what) {
                        // The reader comes across it again, and counts it then.
                        continue;
                    }
                    self.recovered.damaged += records;
                    if at_end {
                        file.truncate(range.start)?;
                        segment.end = range.start;
                    } else {
                        cover(&**file, &range, scanner.salt())?;
                    }
                }
            }
        }
        segment.salt = scanner.salt();
        if salt.is_none() {
            self.mend_header(&**file, FILE_HEADER_BYTES.min(length), segment.salt)?;
        }
        Ok(segment)
    }

    fn number_seen(&mut self, header: &RecordHeader) {
        let next = header.sequence.saturating_add(1);
        self.recovered.next_sequence = self.recovered.next_sequence.max(next);
    }

    /// Whether the contents of a record are what was appended; if not, it is set aside and removed.
    fn check(&mut self, file: &dyn DiskFile, header: &RecordHeader) -> io::Result<bool> {
        if checksum_on_disk(file, header)? == header.checksum {
            return Ok(true);
        }
        let what = "A record in a log does not match its checksum and is skipped";
        let damage = Damage::new(self.files, self.log);
        if !damage.set_aside(self.number, file, &(header.offset..header.end()), what) {
            // The reader comes across it again.
            return Ok(true);
        }
        self.recovered.damaged += 1;
        file.write_at(&[REMOVED], state_at(header.index))?;
        Ok(false)
    }

    /// Writes a file header in place of one that is damaged.
    fn mend_header(&self, file: &dyn DiskFile, bytes: u64, salt: Option<u64>) -> io::Result<()> {
        let what = "The header of a segment is damaged; its records are read all the same";
        let damage = Damage::new(self.files, self.log);
        let kept = damage.set_aside(self.number, file, &(0..bytes), what);
        match salt {
            Some(salt) if kept => file.write_at(&FileHeader { segment: self.number, salt }.encode(), 0),
            _ => Ok(()),
        }
    }
}
