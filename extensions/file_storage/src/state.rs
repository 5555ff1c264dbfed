//! What is known of a log in memory: counters for each segment, what was taken, and the newest records.
//!
//! It does not grow with the log but for a few numbers a segment. Nothing here touches the disk.

use std::collections::{BTreeMap, HashMap, VecDeque};

use spanbridge_component::{LogUsage, Note, Position, Record, StorageError, Taken};
use tokio::sync::{OwnedSemaphorePermit, oneshot};

use crate::format::SEGMENT_HEADER_BYTES;

/// What a record in memory costs beside its bytes, about.
const RECENT_OVERHEAD_BYTES: u64 = 256;
/// Bytes that the writer takes on at a time, or one larger record.
const GROUP_BYTES_MAX: u64 = 8 << 20;
/// What a segment holds.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Segment {
    /// Records that were not removed, their items, and the bytes of their bodies.
    pub(crate) records: u64,
    pub(crate) items: u64,
    pub(crate) bytes: u64,
    /// The end of what was promised to be kept. Bytes behind it do not count.
    pub(crate) end: u64,
    /// Nothing more is appended.
    pub(crate) sealed: bool,
    /// `None` if the file's header is damaged.
    pub(crate) salt: Option<u64>,
}

/// Everything that changes while a log is open, behind one lock.
pub(crate) struct State {
    pub(crate) segments: BTreeMap<u64, Segment>,
    /// Sealed segments without a record, to be deleted.
    pub(crate) dead: Vec<u64>,
    /// Where the next record to take lies, behind those in `ready`.
    cursor: Position,
    /// Read from disk ahead of being asked for.
    pub(crate) ready: VecDeque<(Taken, InFlight)>,
    /// The newest records without a gap, as they were appended.
    pub(crate) recent: VecDeque<Recent>,
    recent_bytes: u64,
    /// Taken and not removed.
    pub(crate) in_flight: HashMap<Position, InFlight>,
    pub(crate) usage: LogUsage,
    pub(crate) waiting: VecDeque<Append>,
    pub(crate) changes: Vec<Change>,
    pub(crate) closed: bool,
}

/// An append on its way to the writer.
pub(crate) struct Append {
    pub(crate) record: Record,
    pub(crate) body_bytes: u64,
    pub(crate) checksum: u32,
    pub(crate) answer: oneshot::Sender<Result<(), StorageError>>,
    pub(crate) permit: OwnedSemaphorePermit,
}

/// What is known of a record that was taken.
#[derive(Debug, Clone, Copy)]
pub(crate) struct InFlight {
    pub(crate) index: u32,
    pub(crate) items: u64,
    /// Of the body.
    pub(crate) bytes: u64,
}

/// A change in place.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Change {
    /// Of the record `index` of a segment.
    Remove {
        segment: u64,
        index: u32,
    },
    Note(Position, Note),
}

/// What the writer is to do.
pub(crate) struct Work {
    pub(crate) changes: Vec<Change>,
    pub(crate) appends: VecDeque<Append>,
    pub(crate) dead: Vec<u64>,
    /// No more will come.
    pub(crate) closed: bool,
}

/// A record that the writer has appended.
pub(crate) struct Recent {
    pub(crate) position: Position,
    pub(crate) index: u32,
    pub(crate) end: u64,
    pub(crate) record: Record,
    pub(crate) body_bytes: u64,
}

/// What is to be taken next.
pub(crate) enum Next {
    Taken(Taken),
    /// It has to be read first.
    OnDisk(Stretch),
    Nothing,
    Closed,
}

/// A part of a segment with records that were not taken.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Stretch {
    pub(crate) segment: u64,
    pub(crate) from: u64,
    pub(crate) to: u64,
    pub(crate) salt: Option<u64>,
}

/// What came of reading a stretch.
pub(crate) struct Filled {
    pub(crate) segment: u64,
    /// Up to where it was read.
    pub(crate) to: u64,
    /// Records that are intact.
    pub(crate) taken: Vec<(Taken, InFlight)>,
    /// Records whose contents are damaged.
    pub(crate) bad: Vec<InFlight>,
    /// Records of which nothing is left.
    pub(crate) missing: u64,
}

// === impl Recent ===

impl Recent {
    fn cost(&self) -> u64 {
        self.body_bytes + self.record.header.len() as u64 + RECENT_OVERHEAD_BYTES
    }
}

// === impl State ===

impl State {
    /// Of a log that holds `segments`.
    pub(crate) fn new(segments: BTreeMap<u64, Segment>, damaged: u64) -> Self {
        let sum = |of: fn(&Segment) -> u64| segments.values().map(of).fold(0, u64::saturating_add);
        let usage = LogUsage {
            records: sum(|s| s.records),
            items: sum(|s| s.items),
            bytes: sum(|s| s.bytes),
            disk_bytes: sum(|s| s.end),
            damaged,
        };
        let first = segments.keys().next().copied().unwrap_or_default();
        let cursor = Position { segment: first, offset: SEGMENT_HEADER_BYTES };
        Self {
            segments,
            dead: Vec::new(),
            cursor,
            ready: VecDeque::new(),
            recent: VecDeque::new(),
            recent_bytes: 0,
            in_flight: HashMap::new(),
            usage,
            waiting: VecDeque::new(),
            changes: Vec::new(),
            closed: false,
        }
    }

    pub(crate) fn next(&mut self) -> Next {
        if self.closed {
            return Next::Closed;
        }
        if let Some((taken, known)) = self.ready.pop_front() {
            self.in_flight.insert(taken.position, known);
            return Next::Taken(taken);
        }
        self.advance();
        if self.recent.front().is_some_and(|recent| recent.position == self.cursor)
            && let Some(recent) = self.pop_recent()
        {
            self.cursor.offset = recent.end;
            let known =
                InFlight { index: recent.index, items: recent.record.items, bytes: recent.body_bytes };
            self.in_flight.insert(recent.position, known);
            let Record { items, header, body } = recent.record;
            return Next::Taken(Taken {
                position: recent.position,
                items,
                header,
                body,
                note: Note::default(),
            });
        }
        let Some(segment) = self.segments.get(&self.cursor.segment) else { return Next::Nothing };
        let in_memory_from = self.recent.front().map(|recent| recent.position);
        let to =
            in_memory_from.filter(|p| p.segment == self.cursor.segment).map_or(segment.end, |p| p.offset);
        if self.cursor.offset >= to {
            return Next::Nothing;
        }
        let Position { segment: number, offset: from } = self.cursor;
        Next::OnDisk(Stretch { segment: number, from, to, salt: segment.salt })
    }

    /// Moves the cursor from the end of a segment to the next one that there is.
    fn advance(&mut self) {
        loop {
            let number = self.cursor.segment;
            match self.segments.get(&number) {
                Some(segment) if self.cursor.offset < segment.end || !segment.sealed => return,
                Some(_) => self.reconcile(number),
                None => {}
            }
            let Some((&next, _)) = self.segments.range(number.saturating_add(1)..).next() else { return };
            self.cursor = Position { segment: next, offset: SEGMENT_HEADER_BYTES };
        }
    }

    /// All of sealed segment `number` was taken, so what is left of it is what is in flight. Records that were counted
    /// when the log was opened and could not be read since then would keep it for ever.
    fn reconcile(&mut self, number: u64) {
        let mut left = Segment::default();
        for (_, known) in self.in_flight.iter().filter(|(position, _)| position.segment == number) {
            left.records += 1;
            left.items = left.items.saturating_add(known.items);
            left.bytes += known.bytes;
        }
        let Some(segment) = self.segments.get_mut(&number) else { return };
        let lost = segment.records.saturating_sub(left.records);
        if lost == 0 {
            return;
        }
        let (items, bytes) =
            (segment.items.saturating_sub(left.items), segment.bytes.saturating_sub(left.bytes));
        (segment.records, segment.items, segment.bytes) = (left.records, left.items, left.bytes);
        forget(&mut self.usage, lost, items, bytes);
        if left.records == 0 {
            self.dead.push(number);
        }
    }

    fn pop_recent(&mut self) -> Option<Recent> {
        let recent = self.recent.pop_front()?;
        self.recent_bytes -= recent.cost();
        Some(recent)
    }

    /// The record's index, if it was taken.
    pub(crate) fn remove(&mut self, position: Position) -> Option<u32> {
        let known = self.in_flight.remove(&position)?;
        self.uncount(position.segment, known);
        Some(known.index)
    }

    fn uncount(&mut self, number: u64, InFlight { items, bytes, .. }: InFlight) {
        forget(&mut self.usage, 1, items, bytes);
        let Some(segment) = self.segments.get_mut(&number) else { return };
        segment.records = segment.records.saturating_sub(1);
        segment.items = segment.items.saturating_sub(items);
        segment.bytes = segment.bytes.saturating_sub(bytes);
        if segment.records == 0 && segment.sealed {
            self.dead.push(number);
        }
    }

    pub(crate) fn has_work(&self) -> bool {
        self.closed || !(self.waiting.is_empty() && self.changes.is_empty() && self.dead.is_empty())
    }

    pub(crate) fn hand_out(&mut self) -> Work {
        let mut appends = VecDeque::new();
        let mut bytes = 0;
        while let Some(append) = self.waiting.front() {
            bytes += append.body_bytes;
            if bytes > GROUP_BYTES_MAX && !appends.is_empty() {
                break;
            }
            appends.extend(self.waiting.pop_front());
        }
        Work { changes: std::mem::take(&mut self.changes), appends, dead: self.bury(), closed: self.closed }
    }

    pub(crate) fn bury(&mut self) -> Vec<u64> {
        let dead = std::mem::take(&mut self.dead);
        for number in &dead {
            if let Some(segment) = self.segments.remove(number) {
                self.usage.disk_bytes -= segment.end;
            }
        }
        dead
    }

    pub(crate) fn publish(
        &mut self,
        number: u64,
        salt: u64,
        end: u64,
        records: Vec<Recent>,
        recent_max: u64,
    ) {
        if self.segments.is_empty() {
            self.cursor = Position { segment: number, offset: SEGMENT_HEADER_BYTES };
        }
        let segment = self.segments.entry(number).or_default();
        segment.salt = Some(salt);
        self.usage.disk_bytes += end - segment.end;
        segment.end = end;
        for recent in records {
            segment.records += 1;
            segment.items = segment.items.saturating_add(recent.record.items);
            segment.bytes += recent.body_bytes;
            self.usage.records += 1;
            self.usage.items = self.usage.items.saturating_add(recent.record.items);
            self.usage.bytes += recent.body_bytes;
            self.recent_bytes += recent.cost();
            self.recent.push_back(recent);
        }
        self.keep_recent(recent_max);
    }

    /// Lets the oldest of the newest records go until the others take no more than `bytes`.
    pub(crate) fn keep_recent(&mut self, bytes: u64) {
        while self.recent_bytes > bytes {
            self.pop_recent();
        }
    }

    pub(crate) fn filled(&mut self, filled: Filled) {
        self.cursor = Position { segment: filled.segment, offset: filled.to };
        self.ready.extend(filled.taken);
        self.usage.damaged += filled.missing + filled.bad.len() as u64;
        for bad in filled.bad {
            self.uncount(filled.segment, bad);
            self.changes.push(Change::Remove { segment: filled.segment, index: bad.index });
        }
    }
}

/// Numbers of a file that somebody wrote to are not to be trusted to add up.
fn forget(usage: &mut LogUsage, records: u64, items: u64, bytes: u64) {
    usage.records = usage.records.saturating_sub(records);
    usage.items = usage.items.saturating_sub(items);
    usage.bytes = usage.bytes.saturating_sub(bytes);
}
