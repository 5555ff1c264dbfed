//! Reading records back, on a thread where that may block.

use std::io;

use spanbridge_component::{Position, StorageError, Taken};

use crate::damage::{Damage, cover};
use crate::disk::{DiskFile, failure};
use crate::format::{RECORD_HEADER_BYTES, RecordHeader};
use crate::memory::Memory;
use crate::names::segment_name;
use crate::scan::{Found, Scanner, States};
use crate::shared::Shared;
use crate::state::{Filled, InFlight, Stretch};

/// Bytes read ahead of being asked for while there is memory, or one larger record.
const READ_AHEAD_BYTES: u64 = 1 << 20;

/// Reads the beginning of `stretch` and hands it to `shared`.
///
/// # Errors
/// If nothing could be read. What was read before an error is handed over.
pub(crate) fn fill(shared: &Shared, stretch: Stretch) -> Result<(), StorageError> {
    let mut filled =
        Filled { segment: stretch.segment, to: stretch.from, taken: Vec::new(), bad: Vec::new(), missing: 0 };
    let result = read(shared, stretch, &mut filled);
    let path = || shared.files.disk().folder().join(segment_name(stretch.segment));
    match result {
        Ok(()) => {}
        // Somebody deleted it under our hands. To wait for it would keep everything behind it for ever.
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            tracing::error!(log = shared.name, file = %path().display(), "A segment is gone, with its records");
            filled.to = stretch.to;
            filled.missing += 1;
        }
        Err(error) if filled.to == stretch.from => return Err(failure("read", &path(), &error)),
        Err(error) => {
            tracing::warn!(log = shared.name, file = %path().display(), %error, "Cannot read further");
        }
    }
    shared.filled(filled);
    Ok(())
}

fn read(shared: &Shared, stretch: Stretch, filled: &mut Filled) -> io::Result<()> {
    let file = shared.files.segment(stretch.segment)?;
    let states = States::read(&*file)?;
    let mut scanner = Scanner::new(&*file, stretch.salt, stretch.from..stretch.to);
    let damage = Damage::new(&shared.files, &shared.name);
    let mut bytes = 0;
    while filled.taken.is_empty() || bytes < READ_AHEAD_BYTES && shared.memory.has_room() {
        match scanner.step()? {
            None => break,
            Some(Found::Record(header)) => {
                if !states.is_removed(&header) {
                    bytes += header.content_bytes();
                    read_record(&*file, &header, &damage, &shared.memory, filled)?;
                }
                filled.to = header.end();
            }
            Some(Found::Damage { range, records }) => {
                let what = "Damaged bytes in a log are skipped";
                if damage.set_aside(stretch.segment, &*file, &range, what) {
                    cover(&*file, &range, scanner.salt())?;
                }
                filled.missing += records;
                filled.to = range.end;
            }
        }
    }
    Ok(())
}

fn read_record(
    file: &dyn DiskFile,
    header: &RecordHeader,
    damage: &Damage<'_>,
    memory: &Memory,
    filled: &mut Filled,
) -> io::Result<()> {
    let position = Position { segment: filled.segment, offset: header.offset };
    let known = InFlight { index: header.index, items: header.items, bytes: header.body_bytes };
    let length = usize::try_from(header.content_bytes()).map_err(|_| io::ErrorKind::OutOfMemory)?;
    let mut contents = vec![0; length];
    let read = file.read_at(&mut contents, header.offset + RECORD_HEADER_BYTES)?;
    if read < length || crc32fast::hash(&contents) != header.checksum {
        let what = "A record in a log does not match its checksum and is skipped";
        damage.set_aside(filled.segment, file, &(header.offset..header.end()), what);
        filled.bad.push(known);
        return Ok(());
    }
    let mut body = memory.hold(contents);
    let owners = body.split_to(usize::try_from(header.header_bytes).unwrap_or(0));
    let taken = Taken { position, items: header.items, header: owners, body: vec![body], note: header.note };
    filled.taken.push((taken, known));
    Ok(())
}
