//! Finding records in a segment, whatever happened to it.

use std::io::{self, IoSlice};
use std::ops::Range;

use crate::disk::DiskFile;
use crate::format::{
    COVER, FileHeader, RECORD_HEADER_BYTES, RECORD_HEADER_LEN, RECORD_MAGIC, REMOVED, RecordHeader,
    RecordHeaderBytes, SEGMENT_HEADER_BYTES, SEGMENT_HEADER_LEN, state_at,
};

/// Bytes read at once while headers lie close together, and while looking for one.
const WINDOW_BYTES: usize = 64 << 10;
/// Bytes read at once while records are larger than the window.
const SMALL_WINDOW_BYTES: usize = 4 << 10;

/// What lies at a place of a segment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Found {
    /// A record whose header is intact and which lies within the segment. Its contents were not looked at.
    Record(RecordHeader),
    /// Bytes that are no record, up to the next one or to the end.
    Damage {
        /// Where.
        range: Range<u64>,
        /// How many records are missing, at least; as their numbers tell if there are intact ones on both sides.
        records: u64,
    },
}

/// Which records of a segment are done with.
pub(crate) struct States(Vec<u8>);

impl States {
    /// As they are on disk now.
    pub(crate) fn read(file: &dyn DiskFile) -> io::Result<Self> {
        let mut page = vec![0; SEGMENT_HEADER_LEN];
        file.read_at(&mut page, 0)?;
        Ok(Self(page))
    }

    /// Whether the record is done with.
    pub(crate) fn is_removed(&self, header: &RecordHeader) -> bool {
        let at = usize::try_from(state_at(header.index)).unwrap_or(usize::MAX);
        header.index == COVER || self.0.get(at) == Some(&REMOVED)
    }
}

/// Walks over the records of a segment by their headers.
///
/// Where a header is not intact, or its record would not fit, it goes on at the next intact header. It is sure about
/// that one: see [`RecordHeader::decode`]. Never panics, and reads each byte a bounded number of times.
pub(crate) struct Scanner<'a> {
    file: &'a dyn DiskFile,
    salt: Option<u64>,
    at: u64,
    end: u64,
    last_sequence: Option<u64>,
    window: Vec<u8>,
    window_at: u64,
    window_bytes: usize,
}

impl<'a> Scanner<'a> {
    /// Over the bytes `range` of `file`; `salt` is the segment's, if its header could be read.
    pub(crate) fn new(file: &'a dyn DiskFile, salt: Option<u64>, range: Range<u64>) -> Self {
        Self {
            file,
            salt,
            at: range.start,
            end: range.end,
            last_sequence: None,
            window: Vec::new(),
            window_at: 0,
            window_bytes: SMALL_WINDOW_BYTES,
        }
    }

    /// The segment's salt: the given one, or the first record's.
    pub(crate) fn salt(&self) -> Option<u64> {
        self.salt
    }

    /// What comes next; `None` at the end.
    pub(crate) fn step(&mut self) -> io::Result<Option<Found>> {
        if self.at >= self.end {
            return Ok(None);
        }
        if let Some(header) = self.header(self.at)? {
            self.pass(&header);
            return Ok(Some(Found::Record(header)));
        }
        let start = self.at;
        let next = self.resynchronize(start + 1)?;
        self.at = next.as_ref().map_or(self.end, |header| header.offset);
        let missing = match (self.last_sequence, &next) {
            (Some(before), Some(next)) => next.sequence.saturating_sub(before).saturating_sub(1),
            _ => 1,
        };
        Ok(Some(Found::Damage { range: start..self.at, records: missing.max(1) }))
    }

    fn pass(&mut self, header: &RecordHeader) {
        let far = header.content_bytes() > SMALL_WINDOW_BYTES as u64;
        self.window_bytes = if far { SMALL_WINDOW_BYTES } else { WINDOW_BYTES };
        self.at = header.end();
        self.salt.get_or_insert(header.salt);
        // What covers damage has the number 0.
        self.last_sequence = self.last_sequence.max(Some(header.sequence));
    }

    /// The header at `offset`, if there is one whose record fits.
    fn header(&mut self, offset: u64) -> io::Result<Option<RecordHeader>> {
        let (salt, end) = (self.salt, self.end);
        let Some(bytes) =
            self.look(offset, RECORD_HEADER_LEN)?.and_then(|b| b.first_chunk::<RECORD_HEADER_LEN>())
        else {
            return Ok(None);
        };
        Ok(decode_within(bytes, offset, salt, end))
    }

    /// The first header at `from` or behind it.
    fn resynchronize(&mut self, mut from: u64) -> io::Result<Option<RecordHeader>> {
        self.window_bytes = WINDOW_BYTES;
        let (salt, end) = (self.salt, self.end);
        while let Some(bytes) = self.look(from, RECORD_HEADER_LEN)? {
            let candidates = bytes.windows(RECORD_HEADER_LEN).enumerate();
            let found = candidates
                .filter(|(_, bytes)| bytes.starts_with(&RECORD_MAGIC))
                .filter_map(|(at, bytes)| Some((from + at as u64, bytes.first_chunk::<RECORD_HEADER_LEN>()?)))
                .find_map(|(offset, bytes)| decode_within(bytes, offset, salt, end));
            if found.is_some() {
                return Ok(found);
            }
            from += (bytes.len() - RECORD_HEADER_LEN + 1) as u64;
        }
        Ok(None)
    }

    /// The bytes at `offset`, at least `least` and as many more as happen to be in memory; `None` past the end.
    fn look(&mut self, offset: u64, least: usize) -> io::Result<Option<&[u8]>> {
        if offset.saturating_add(least as u64) > self.end {
            return Ok(None);
        }
        let within = |window: &[u8], window_at: u64| {
            offset
                .checked_sub(window_at)
                .and_then(|at| usize::try_from(at).ok())
                .filter(|at| at.checked_add(least).is_some_and(|end| end <= window.len()))
        };
        if within(&self.window, self.window_at).is_none() {
            let left = usize::try_from(self.end - offset).unwrap_or(usize::MAX);
            self.window.resize(self.window_bytes.max(least).min(left), 0);
            self.window_at = offset;
            let read = self.file.read_at(&mut self.window, offset)?;
            self.window.truncate(read);
        }
        Ok(within(&self.window, self.window_at).map(|at| &self.window[at..]))
    }
}

fn decode_within(
    bytes: &RecordHeaderBytes,
    offset: u64,
    salt: Option<u64>,
    end: u64,
) -> Option<RecordHeader> {
    RecordHeader::decode(bytes, offset, salt).filter(|header| header.end() <= end)
}

/// The checksum over the contents of `header`'s record.
pub(crate) fn checksum_on_disk(file: &dyn DiskFile, header: &RecordHeader) -> io::Result<u32> {
    let mut hasher = crc32fast::Hasher::new();
    let mut buffer = vec![0; WINDOW_BYTES];
    let mut at = header.offset + RECORD_HEADER_BYTES;
    while at < header.end() {
        let left = usize::try_from(header.end() - at).unwrap_or(usize::MAX);
        let read = file.read_at(&mut buffer[..left.min(WINDOW_BYTES)], at)?;
        if read == 0 {
            break;
        }
        hasher.update(&buffer[..read]);
        at += read as u64;
    }
    Ok(hasher.finalize())
}

/// For the fuzz target: reads `bytes` as a segment and returns how many records and damaged places it has. The walk must
/// cover every byte once, whatever the bytes are.
#[doc(hidden)]
pub fn scan_bytes(bytes: &[u8]) -> (u64, u64) {
    let end = bytes.len() as u64;
    let header = bytes.first_chunk().map(FileHeader::decode);
    let salt = header.and_then(Result::ok).map(|header| header.salt);
    let mut scanner = Scanner::new(&bytes, salt, SEGMENT_HEADER_BYTES.min(end)..end);
    let (mut records, mut damaged, mut at) = (0, 0, SEGMENT_HEADER_BYTES.min(end));
    while let Ok(Some(found)) = scanner.step() {
        let range = match found {
            Found::Record(header) => {
                records += u64::from(checksum_on_disk(&bytes, &header).is_ok());
                header.offset..header.end()
            }
            Found::Damage { range, .. } => {
                damaged += 1;
                range
            }
        };
        assert!(range.start == at && range.end > at && range.end <= end, "{range:?} after {at} of {end}");
        at = range.end;
    }
    assert_eq!(at, end, "bytes that were not looked at");
    (records, damaged)
}

/// For the fuzz target and the tests: an intact segment with these bodies.
#[doc(hidden)]
pub fn make_segment(bodies: &[&[u8]]) -> Vec<u8> {
    let salt = 99;
    let mut bytes = FileHeader { segment: 1, salt }.encode().to_vec();
    bytes.resize(SEGMENT_HEADER_LEN, 0);
    for (index, body) in (0..).zip(bodies) {
        let header = RecordHeader {
            salt,
            offset: bytes.len() as u64,
            sequence: u64::from(index) + 1,
            items: 1,
            body_bytes: body.len() as u64,
            header_bytes: 0,
            checksum: crc32fast::hash(body),
            index,
            note: [0; 16],
        };
        bytes.extend(header.encode());
        bytes.extend(*body);
    }
    bytes
}

/// Bytes in memory as a file that cannot be changed.
impl DiskFile for &[u8] {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let from = usize::try_from(offset).map_or(self.len(), |offset| offset.min(self.len()));
        let bytes = buffer.len().min(self.len() - from);
        buffer[..bytes].copy_from_slice(&self[from..from + bytes]);
        Ok(bytes)
    }

    fn write_at(&self, _: &[u8], _: u64) -> io::Result<()> {
        Err(io::ErrorKind::PermissionDenied.into())
    }

    fn write_vectored_at(&self, _: &[IoSlice<'_>], _: u64, _: bool) -> io::Result<usize> {
        Err(io::ErrorKind::PermissionDenied.into())
    }

    fn sync(&self) -> io::Result<()> {
        Ok(())
    }

    fn truncate(&self, _: u64) -> io::Result<()> {
        Err(io::ErrorKind::PermissionDenied.into())
    }

    fn bytes(&self) -> io::Result<u64> {
        Ok(self.len() as u64)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const HEADER: usize = SEGMENT_HEADER_LEN;

    /// A segment of records whose bodies are `bodies`, and where each record lies.
    fn segment(bodies: &[Vec<u8>]) -> (Vec<u8>, Vec<Range<u64>>) {
        let mut end = SEGMENT_HEADER_BYTES;
        let place = |body: &Vec<u8>| {
            let start = end;
            end += RECORD_HEADER_BYTES + body.len() as u64;
            start..end
        };
        let places = bodies.iter().map(place).collect();
        (make_segment(&bodies.iter().map(Vec::as_slice).collect::<Vec<_>>()), places)
    }

    fn intact(bytes: &[u8]) -> Vec<Range<u64>> {
        let mut scanner = Scanner::new(&bytes, Some(99), SEGMENT_HEADER_BYTES..bytes.len() as u64);
        let mut found = Vec::new();
        while let Some(next) = scanner.step().unwrap() {
            if let Found::Record(header) = next
                && checksum_on_disk(&bytes, &header).unwrap() == header.checksum
            {
                found.push(header.offset..header.end());
            }
        }
        found
    }

    #[test]
    fn a_record_inside_a_damaged_one_is_not_taken_for_one() {
        // A client sends what was on somebody's disk: the inner record has another offset.
        let (inner, _) = segment(&[vec![1; 50]]);
        let (mut bytes, places) = segment(&[inner, vec![2; 50]]);
        bytes[HEADER + 10] ^= 0xFF;
        assert_eq!(intact(&bytes), places[1..]);
    }

    #[test]
    fn a_gap_in_the_numbers_says_how_many_are_missing() {
        let (mut bytes, places) = segment(&[vec![1; 10], vec![2; 10], vec![3; 10], vec![4; 10]]);
        for place in &places[1..3] {
            bytes[usize::try_from(place.start).unwrap() + 20] ^= 0xFF;
        }
        let bytes = bytes.as_slice();
        let mut scanner = Scanner::new(&bytes, Some(99), SEGMENT_HEADER_BYTES..bytes.len() as u64);
        scanner.step().unwrap();
        let damage = Found::Damage { range: places[1].start..places[3].start, records: 2 };
        assert_eq!(scanner.step().unwrap(), Some(damage));
    }

    proptest! {
        #[test]
        fn any_bytes_are_walked_over_once(bytes in proptest::collection::vec(any::<u8>(), 0..9000)) {
            scan_bytes(&bytes);
        }

        #[test]
        fn every_record_outside_the_damage_is_found(
            bodies in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..300), 1..40),
            from in 0.0..1.0f64,
            garbage in proptest::collection::vec(any::<u8>(), 1..400),
        ) {
            let (mut bytes, places) = segment(&bodies);
            let body = bytes.len() - HEADER;
            #[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss)]
            let start = HEADER + (body as f64 * from) as usize;
            let end = (start + garbage.len()).min(bytes.len());
            bytes[start..end].copy_from_slice(&garbage[..end - start]);
            scan_bytes(&bytes);
            let found = intact(&bytes);
            let damaged = start as u64..end as u64;
            for place in places {
                if place.end <= damaged.start || place.start >= damaged.end {
                    prop_assert!(found.contains(&place), "{place:?} is lost to damage at {damaged:?}");
                }
            }
        }

        #[test]
        fn a_segment_cut_anywhere_keeps_every_whole_record(
            bodies in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..300), 1..20),
            cut in 0..5000usize,
        ) {
            let (bytes, places) = segment(&bodies);
            let bytes = &bytes[..(HEADER + cut).min(bytes.len())];
            let whole: Vec<_> = places.into_iter().filter(|p| p.end <= bytes.len() as u64).collect();
            prop_assert_eq!(intact(bytes), whole);
        }
    }
}
