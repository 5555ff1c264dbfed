//! The one thread that changes a log: it appends in groups, marks what is done with, and deletes what is empty.

use std::collections::{BTreeSet, VecDeque};
use std::hash::{BuildHasher, Hasher, RandomState};
use std::io::{self, IoSlice};
use std::sync::Arc;
use std::time::{Duration, Instant};

use spanbridge_component::{Position, StorageError, StorageErrorKind};

use crate::disk::{DiskFile, failure, is_full, write_all_vectored};
use crate::format::{
    FileHeader, NOTE_AT, RECORD_HEADER_BYTES, REMOVED, RecordHeader, RecordHeaderBytes, SEGMENT_HEADER_BYTES,
    SEGMENT_HEADER_LEN, SEGMENT_RECORDS_MAX, state_at, store_note,
};
use crate::lock::FolderLock;
use crate::names::segment_name;
use crate::shared::{Relief, Shared};
use crate::state::{Append, Change, Recent};

/// A segment is closed before it grows beyond this; a larger record has one of its own. Space is freed in these steps.
const SEGMENT_BYTES_MAX: u64 = 32 << 20;
/// A log of limited size has at least about this many segments, so that it frees space before it is empty.
const SEGMENTS_OF_A_LIMITED_LOG: u64 = 8;
/// With `fsync`, how long a removal may stay unsynced: what a power loss can bring back.
const REMOVALS_SYNC_EVERY: Duration = Duration::from_secs(1);

/// How a log is written.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Options {
    pub(crate) fsync: bool,
    /// Bytes on disk, 0 for no limit.
    pub(crate) max_size: u64,
}

impl Options {
    fn segment_bytes(self) -> u64 {
        match self.max_size {
            0 => SEGMENT_BYTES_MAX,
            limit => (limit / SEGMENTS_OF_A_LIMITED_LOG).min(SEGMENT_BYTES_MAX),
        }
    }
}

/// Owns the changing side of a log, and its lock.
pub(crate) struct Writer {
    shared: Arc<Shared>,
    options: Options,
    active: Option<Active>,
    next_segment: u64,
    next_sequence: u64,
    /// Segments with removals that were not synced.
    unsynced: BTreeSet<u64>,
    /// Segments were deleted and the folder was not synced.
    folder_unsynced: bool,
    sync_at: Option<Instant>,
    relief: Relief,
    reported: Reported,
    _lock: FolderLock,
}

/// The segment that is appended to.
struct Active {
    number: u64,
    salt: u64,
    file: Arc<dyn DiskFile>,
    /// The end of what was promised to be kept.
    end: u64,
    /// How many records that are.
    records: u32,
}

/// What was said already, so that a full disk does not fill the log as well.
#[derive(Default)]
struct Reported {
    full: bool,
    changes_fail: bool,
    appends_fail: bool,
}

/// At which step an append failed.
enum Failed {
    Write(io::Error),
    Sync(io::Error),
}

impl Active {
    /// Whether one more record fits behind `ahead` others, `bytes` together. One that is larger than a segment fits into
    /// an empty one.
    fn takes(&self, ahead: u32, bytes: u64, options: Options) -> bool {
        let records = self.records.saturating_add(ahead);
        records == 0 || records < SEGMENT_RECORDS_MAX && self.end + bytes <= options.segment_bytes()
    }
}

impl Writer {
    pub(crate) fn new(
        shared: Arc<Shared>,
        options: Options,
        next_segment: u64,
        next_sequence: u64,
        lock: FolderLock,
    ) -> Self {
        Self {
            shared,
            options,
            active: None,
            next_segment,
            next_sequence,
            unsynced: BTreeSet::new(),
            folder_unsynced: false,
            sync_at: None,
            relief: Relief::default(),
            reported: Reported::default(),
            _lock: lock,
        }
    }

    /// Works until the log is closed and everything accepted is written.
    pub(crate) fn run(mut self) {
        loop {
            let wake_at = self.sync_at.into_iter().chain(self.relief.at()).min();
            let work = self.shared.work(wake_at);
            self.change(work.changes);
            self.delete(work.dead);
            let ends = work.closed && work.appends.is_empty();
            self.append(work.appends);
            self.relief.look(&self.shared);
            if ends || self.sync_at.is_some_and(|at| at <= Instant::now()) {
                self.sync_changes();
            }
            if ends {
                return;
            }
        }
    }

    // --- appends ---

    fn append(&mut self, mut waiting: VecDeque<Append>) {
        while !waiting.is_empty() {
            let run = self.take_run(&mut waiting);
            if !run.is_empty() {
                self.append_run(run);
            }
        }
    }

    /// Takes from `waiting` what fits into the active segment. What does not fit anywhere is answered here.
    fn take_run(&mut self, waiting: &mut VecDeque<Append>) -> Vec<Append> {
        let mut run = Vec::new();
        let mut bytes = 0;
        while let Some(append) = waiting.pop_front() {
            let more = record_bytes(&append);
            let ahead = u32::try_from(run.len()).unwrap_or(u32::MAX);
            if self.active.as_ref().is_some_and(|a| !a.takes(ahead, bytes + more, self.options)) {
                waiting.push_front(append);
                if run.is_empty() {
                    self.seal();
                    continue;
                }
                break;
            }
            match self.make_room(bytes + more) {
                Ok(()) => {
                    bytes += more;
                    run.push(append);
                }
                // What was taken before may be what is in the way.
                Err(_) if !run.is_empty() => {
                    waiting.push_front(append);
                    break;
                }
                Err(error) => self.refuse(vec![append], &error),
            }
        }
        run
    }

    /// Sees to it that there is an active segment, and that `bytes` more keep the log within its limit.
    fn make_room(&mut self, bytes: u64) -> Result<(), StorageError> {
        if !self.is_within_limit(bytes) {
            self.free();
            if !self.is_within_limit(bytes) {
                let message = format!("the log {} has reached max_size", self.shared.name);
                return Err(StorageError::new(StorageErrorKind::Full, message));
            }
        }
        if self.active.is_none() {
            self.active = Some(self.create()?);
        }
        Ok(())
    }

    fn is_within_limit(&self, bytes: u64) -> bool {
        let is_new = self.active.as_ref().is_none_or(|active| active.records == 0);
        let header = if is_new { SEGMENT_HEADER_BYTES } else { 0 };
        let used = self.shared.usage().disk_bytes;
        self.options.max_size == 0 || used.saturating_add(bytes + header) <= self.options.max_size
    }

    /// Deletes the active segment if nothing in it is needed any more. Whether that gave room.
    fn free(&mut self) -> bool {
        let is_spent = self.active.as_ref().is_some_and(|a| a.records > 0 && self.shared.is_empty(a.number));
        if is_spent {
            self.seal();
            let dead = self.shared.dead();
            self.delete(dead);
        }
        is_spent
    }

    fn create(&mut self) -> Result<Active, StorageError> {
        let number = self.next_segment;
        let name = segment_name(number);
        let disk = self.shared.files.disk();
        let wrap = |error: io::Error| failure("create the segment", &disk.folder().join(&name), &error);
        let file = disk.create(&name).map_err(wrap)?;
        self.next_segment = number.saturating_add(1);
        // Keyed from the system's random numbers: nobody who sends telemetry can know it.
        let salt = RandomState::new().build_hasher().finish();
        let mut page = [0; SEGMENT_HEADER_LEN];
        let header = FileHeader { segment: number, salt }.encode();
        page[..header.len()].copy_from_slice(&header);
        // By itself, so that the system keeps this page apart from the records when it writes what has changed.
        if let Err(error) = file.write_at(&page, 0) {
            let _ = disk.remove(&name);
            return Err(wrap(error));
        }
        Ok(Active { number, salt, file, end: SEGMENT_HEADER_BYTES, records: 0 })
    }

    fn append_run(&mut self, run: Vec<Append>) {
        match self.write(&run) {
            Ok(end) => self.accept(run, end),
            Err(Failed::Write(error)) => {
                let refusal = self.failure("write", &error);
                self.undo();
                if error.kind() == io::ErrorKind::FileTooLarge && self.active_has_records() {
                    // A limit on the size of files, below a segment's: several smaller ones do as well.
                    self.seal();
                    self.append(run.into());
                } else if is_full(&error) && self.free() {
                    // The records were refused for want of room that is there now.
                    self.append(run.into());
                } else if is_full(&error) && run.len() > 1 {
                    // Some of them may fit.
                    for append in run {
                        self.append_run_of_one(append);
                    }
                } else {
                    self.refuse(run, &refusal);
                }
            }
            Err(Failed::Sync(error)) => {
                let error = self.failure("sync", &error);
                self.abandon();
                self.refuse(run, &error);
            }
        }
    }

    fn active_has_records(&self) -> bool {
        self.active.as_ref().is_some_and(|active| active.records > 0)
    }

    fn append_run_of_one(&mut self, append: Append) {
        if let Err(error) = self.make_room(record_bytes(&append)) {
            self.refuse(vec![append], &error);
        } else {
            self.append_run(vec![append]);
        }
    }

    /// Writes `run` behind the active segment's end and, if that is promised, waits until the disk has it. Returns the
    /// new end.
    fn write(&self, run: &[Append]) -> Result<u64, Failed> {
        let Some(active) = &self.active else { return Err(Failed::Write(io::ErrorKind::NotFound.into())) };
        let headers = self.record_headers(active, run);
        let mut slices = Vec::with_capacity(run.len() * 4);
        for (append, header) in run.iter().zip(&headers) {
            slices.push(IoSlice::new(header));
            let pieces = std::iter::once(&append.record.header).chain(&append.record.body);
            slices.extend(pieces.filter(|piece| !piece.is_empty()).map(|piece| IoSlice::new(piece)));
        }
        let bytes: u64 = slices.iter().map(|slice| slice.len() as u64).sum();
        let sync = self.options.fsync;
        let failed =
            |error| if sync && !is_full(&error) { Failed::Sync(error) } else { Failed::Write(error) };
        write_all_vectored(&*active.file, &mut slices, active.end, sync).map_err(failed)?;
        if sync && active.records == 0 {
            // The first page and the file's name.
            active.file.sync().map_err(Failed::Sync)?;
            self.shared.files.disk().sync_folder().map_err(Failed::Sync)?;
        }
        Ok(active.end + bytes)
    }

    fn record_headers(&self, active: &Active, run: &[Append]) -> Vec<RecordHeaderBytes> {
        let mut offset = active.end;
        let mut headers = Vec::with_capacity(run.len());
        let numbers = (self.next_sequence..).zip(active.records..);
        for ((sequence, index), append) in numbers.zip(run) {
            let header = RecordHeader {
                salt: active.salt,
                offset,
                sequence,
                items: append.record.items,
                body_bytes: append.body_bytes,
                header_bytes: u32::try_from(append.record.header.len()).unwrap_or(u32::MAX),
                checksum: append.checksum,
                index,
                note: [0; 16],
            };
            offset = header.end();
            headers.push(header.encode());
        }
        headers
    }

    fn accept(&mut self, run: Vec<Append>, end: u64) {
        let Some(active) = &mut self.active else { return };
        let mut offset = active.end;
        active.end = end;
        self.next_sequence += run.len() as u64;
        let (number, salt) = (active.number, active.salt);
        let mut answers = Vec::with_capacity(run.len());
        let mut records = Vec::with_capacity(run.len());
        for append in run {
            let position = Position { segment: number, offset };
            offset += record_bytes(&append);
            let Append { record, body_bytes, answer, permit, .. } = append;
            records.push(Recent { position, index: active.records, end: offset, record, body_bytes });
            active.records += 1;
            answers.push((answer, permit));
        }
        self.shared.publish(number, salt, end, records);
        for (answer, _permit) in answers {
            // Who does not wait any more does not want to know.
            let _ = answer.send(Ok(()));
        }
        if self.reported.full || self.reported.appends_fail {
            tracing::info!(log = self.shared.name, "The log takes records again");
            self.reported.full = false;
            self.reported.appends_fail = false;
        }
    }

    fn refuse(&mut self, run: Vec<Append>, error: &StorageError) {
        let is_full = error.kind == StorageErrorKind::Full;
        let reported = if is_full { &mut self.reported.full } else { &mut self.reported.appends_fail };
        if !std::mem::replace(reported, true) {
            let log = &self.shared.name;
            if is_full {
                tracing::warn!(log, %error, "No room for the log: records are refused until there is");
            } else {
                tracing::error!(log, %error, "The log cannot take records");
            }
        }
        for append in run {
            let _ = append.answer.send(Err(error.clone()));
        }
    }

    /// Takes back what a failed append may have written.
    fn undo(&mut self) {
        if let Some(active) = &self.active
            && active.file.truncate(active.end).is_err()
        {
            self.abandon();
        }
    }

    /// Writes to the active segment no more: after a failed sync nobody knows which of the pages written since the last
    /// one reached the disk, and asking again would report success. What was synced before is there.
    fn abandon(&mut self) {
        let Some(active) = self.active.take() else { return };
        if let Err(error) = active.file.truncate(active.end) {
            let file = segment_name(active.number);
            tracing::warn!(log = self.shared.name, file, %error, "Refused records may come back after a restart");
        }
        if active.records == 0 {
            let _ = self.shared.files.disk().remove(&segment_name(active.number));
        } else {
            self.shared.seal(active.number);
        }
    }

    fn seal(&mut self) {
        let Some(active) = self.active.take() else { return };
        self.shared.seal(active.number);
    }

    fn failure(&self, what: &str, error: &io::Error) -> StorageError {
        let name = self.active.as_ref().map(|active| segment_name(active.number)).unwrap_or_default();
        failure(what, &self.shared.files.disk().folder().join(name), error)
    }

    // --- changes in place ---

    fn change(&mut self, changes: Vec<Change>) {
        let mut removed = Vec::with_capacity(changes.len());
        for change in changes {
            match change {
                Change::Remove { segment, index } => removed.push((segment, index)),
                Change::Note(at, note) => {
                    self.write_in_place(at.segment, &store_note(note), at.offset + NOTE_AT);
                }
            }
        }
        // Records mostly end in the order in which they came: their states are neighbours.
        removed.sort_unstable();
        for run in removed.chunk_by(|a, b| a.0 == b.0 && a.1 + 1 == b.1) {
            self.write_in_place(run[0].0, &vec![REMOVED; run.len()], state_at(run[0].1));
        }
        self.sync_later();
    }

    fn write_in_place(&mut self, segment: u64, bytes: &[u8], offset: u64) {
        let file = match &self.active {
            Some(active) if active.number == segment => Ok(active.file.clone()),
            _ => self.shared.files.segment(segment),
        };
        match file.and_then(|file| file.write_at(bytes, offset)) {
            Ok(()) => {
                self.unsynced.insert(segment);
                self.reported.changes_fail = false;
            }
            Err(error) if !std::mem::replace(&mut self.reported.changes_fail, true) => {
                let file = segment_name(segment);
                let text =
                    "Cannot mark records of the log: those done with may be delivered again after a restart";
                tracing::warn!(log = self.shared.name, file, %error, "{text}");
            }
            Err(_) => {}
        }
    }

    fn delete(&mut self, dead: Vec<u64>) {
        for number in dead {
            self.shared.files.forget(number);
            self.unsynced.remove(&number);
            self.folder_unsynced = true;
            let name = segment_name(number);
            let disk = self.shared.files.disk();
            match disk.remove(&name) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => {
                    let file = disk.folder().join(name);
                    tracing::warn!(log = self.shared.name, file = %file.display(), %error, "Cannot delete a segment");
                }
            }
        }
        self.sync_later();
    }

    fn sync_later(&mut self) {
        let is_needed = self.options.fsync && (self.folder_unsynced || !self.unsynced.is_empty());
        if is_needed {
            self.sync_at.get_or_insert_with(|| Instant::now() + REMOVALS_SYNC_EVERY);
        } else {
            self.unsynced.clear();
            self.sync_at = None;
        }
    }

    /// Makes removals and deletions survive a power loss, if that is promised. A failure costs duplicates only.
    fn sync_changes(&mut self) {
        if self.options.fsync {
            for number in &self.unsynced {
                let file = match &self.active {
                    Some(active) if active.number == *number => Ok(active.file.clone()),
                    _ => self.shared.files.segment(*number),
                };
                if let Err(error) = file.and_then(|file| file.sync()) {
                    let file = segment_name(*number);
                    tracing::warn!(log = self.shared.name, file, %error, "Cannot sync what was removed");
                }
            }
            if self.folder_unsynced {
                let _ = self.shared.files.disk().sync_folder();
            }
        }
        self.unsynced.clear();
        self.folder_unsynced = false;
        self.sync_at = None;
    }
}

/// Bytes of a record on disk.
fn record_bytes(append: &Append) -> u64 {
    RECORD_HEADER_BYTES + append.record.header.len() as u64 + append.body_bytes
}
