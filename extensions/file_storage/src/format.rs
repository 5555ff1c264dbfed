//! What lies on disk: a segment is one page with a file header and the states of its records, and then the records, each
//! a record header, the owner's header, the body.
//!
//! All numbers are little-endian. A record header is found wherever it lies: it has a magic, a checksum, its own offset
//! and the segment's salt, so that neither a copy of it elsewhere nor a lookalike inside somebody's telemetry passes for
//! one. States and notes change in place and are outside the checksums; a change of them never needs new space. The
//! states are gathered in a page of their own because a changed byte makes the system write everything around it again,
//! which beside the records would be the records.

/// The beginning of a segment: file header and states.
pub(crate) const SEGMENT_HEADER_BYTES: u64 = SEGMENT_HEADER_LEN as u64;
/// The same, as the length of a buffer.
pub(crate) const SEGMENT_HEADER_LEN: usize = 4096;
/// What is in front of each record.
pub(crate) const RECORD_HEADER_BYTES: u64 = RECORD_HEADER_LEN as u64;
/// The same, as the length of a buffer.
pub(crate) const RECORD_HEADER_LEN: usize = 80;
/// The note's checksum and the note, from the beginning of the record.
pub(crate) const NOTE_AT: u64 = 60;
/// The state of a record that is done with. Any other byte is a live record: a damaged state rather delivers twice.
pub(crate) const REMOVED: u8 = b'R';
/// Records of a segment, at most: so many states fit into its page.
pub(crate) const SEGMENT_RECORDS_MAX: u32 = 4064;
/// The index of what stands in place of damaged bytes; it is never live.
pub(crate) const COVER: u32 = u32::MAX;
/// The first bytes of a record.
pub(crate) const RECORD_MAGIC: [u8; 4] = [0xF5, b'S', b'b', 0xD6];

/// The file header's share of the first page; the states follow.
pub(crate) const FILE_HEADER_BYTES: u64 = 32;
const FILE_MAGIC: [u8; 8] = *b"\xF5SPANLOG";
/// The version that this program writes, and the newest that it reads.
const VERSION: u32 = 1;
/// The checksum covers the record header from here to the note.
const CHECKED_FROM: usize = 8;
const CHECKED_TO: usize = 60;

/// Where the state of the record `index` of a segment lies.
pub(crate) fn state_at(index: u32) -> u64 {
    FILE_HEADER_BYTES + u64::from(index)
}

/// A note and the checksum in front of it, as on disk.
pub(crate) type StoredNote = [u8; 20];
/// A record header as on disk.
pub(crate) type RecordHeaderBytes = [u8; RECORD_HEADER_LEN];
/// A file header as on disk.
pub(crate) type FileHeaderBytes = [u8; 32];

/// What a segment says about itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FileHeader {
    pub(crate) segment: u64,
    /// A random number that each record header repeats.
    pub(crate) salt: u64,
}

/// Why a file header cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum BadFileHeader {
    /// It is intact and of a version that this program does not know.
    Version(u32),
    /// It is no file header.
    Damaged,
}

/// What a record says about itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct RecordHeader {
    pub(crate) salt: u64,
    /// Where it lies in its segment.
    pub(crate) offset: u64,
    /// Counts up through the log. A gap says how many records are missing.
    pub(crate) sequence: u64,
    pub(crate) items: u64,
    pub(crate) body_bytes: u64,
    /// Bytes of the owner's header.
    pub(crate) header_bytes: u32,
    /// Over the owner's header and the body.
    pub(crate) checksum: u32,
    /// Which record of its segment it is, counted from 0: where its state lies.
    pub(crate) index: u32,
    /// Zeros if there is none, or if it was torn.
    pub(crate) note: [u8; 16],
}

impl FileHeader {
    pub(crate) fn encode(self) -> FileHeaderBytes {
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&FILE_MAGIC);
        bytes[8..12].copy_from_slice(&VERSION.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.segment.to_le_bytes());
        bytes[24..].copy_from_slice(&self.salt.to_le_bytes());
        let checksum = Self::checksum(&bytes);
        bytes[12..16].copy_from_slice(&checksum.to_le_bytes());
        bytes
    }

    /// Whatever a later version changes, magic, version and checksum stay where they are.
    pub(crate) fn decode(bytes: &FileHeaderBytes) -> Result<Self, BadFileHeader> {
        let intact = bytes[..8] == FILE_MAGIC && u32_at(bytes, 12) == Self::checksum(bytes);
        match u32_at(bytes, 8) {
            _ if !intact => Err(BadFileHeader::Damaged),
            VERSION => Ok(Self { segment: u64_at(bytes, 16), salt: u64_at(bytes, 24) }),
            version => Err(BadFileHeader::Version(version)),
        }
    }

    fn checksum(bytes: &FileHeaderBytes) -> u32 {
        let mut hasher = crc32fast::Hasher::new();
        hasher.update(&bytes[..12]);
        hasher.update(&bytes[16..]);
        hasher.finalize()
    }
}

impl RecordHeader {
    /// As on disk, without a note.
    pub(crate) fn encode(&self) -> RecordHeaderBytes {
        let mut bytes = [0; 80];
        bytes[..4].copy_from_slice(&RECORD_MAGIC);
        bytes[8..16].copy_from_slice(&self.salt.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.offset.to_le_bytes());
        bytes[24..32].copy_from_slice(&self.sequence.to_le_bytes());
        bytes[32..40].copy_from_slice(&self.items.to_le_bytes());
        bytes[40..48].copy_from_slice(&self.body_bytes.to_le_bytes());
        bytes[48..52].copy_from_slice(&self.header_bytes.to_le_bytes());
        bytes[52..56].copy_from_slice(&self.checksum.to_le_bytes());
        bytes[56..60].copy_from_slice(&self.index.to_le_bytes());
        let checksum = crc32fast::hash(&bytes[CHECKED_FROM..CHECKED_TO]);
        bytes[4..8].copy_from_slice(&checksum.to_le_bytes());
        bytes
    }

    /// The header in `bytes`, which were read at `offset`; `salt` is the segment's, if it is known.
    ///
    /// `None` if it is none, or not one of this place.
    pub(crate) fn decode(bytes: &RecordHeaderBytes, offset: u64, salt: Option<u64>) -> Option<Self> {
        if bytes[..4] != RECORD_MAGIC || u64_at(bytes, 16) != offset {
            return None;
        }
        if u32_at(bytes, 4) != crc32fast::hash(&bytes[CHECKED_FROM..CHECKED_TO]) {
            return None;
        }
        let header = Self {
            salt: u64_at(bytes, 8),
            offset,
            sequence: u64_at(bytes, 24),
            items: u64_at(bytes, 32),
            body_bytes: u64_at(bytes, 40),
            header_bytes: u32_at(bytes, 48),
            checksum: u32_at(bytes, 52),
            index: u32_at(bytes, 56),
            note: note_of(bytes),
        };
        let is_of_this_segment = salt.is_none_or(|salt| salt == header.salt);
        let has_a_state = header.index < SEGMENT_RECORDS_MAX || header.index == COVER;
        // A sum that overflows is no length of ours, whatever the checksum says.
        (is_of_this_segment
            && has_a_state
            && header.total_bytes().and_then(|n| n.checked_add(offset)).is_some())
        .then_some(header)
    }

    /// Bytes of the owner's header and the body.
    pub(crate) fn content_bytes(&self) -> u64 {
        self.body_bytes.saturating_add(u64::from(self.header_bytes))
    }

    /// The first byte behind the record.
    pub(crate) fn end(&self) -> u64 {
        self.offset.saturating_add(RECORD_HEADER_BYTES).saturating_add(self.content_bytes())
    }

    fn total_bytes(&self) -> Option<u64> {
        self.body_bytes.checked_add(u64::from(self.header_bytes))?.checked_add(RECORD_HEADER_BYTES)
    }
}

/// `note` with the checksum that guards it.
pub(crate) fn store_note(note: [u8; 16]) -> StoredNote {
    let mut stored = [0; 20];
    stored[..4].copy_from_slice(&crc32fast::hash(&note).to_le_bytes());
    stored[4..].copy_from_slice(&note);
    stored
}

/// A write of it may be cut in the middle; half a note is none.
fn note_of(bytes: &RecordHeaderBytes) -> [u8; 16] {
    let mut note = [0; 16];
    note.copy_from_slice(&bytes[64..]);
    if u32_at(bytes, 60) == crc32fast::hash(&note) { note } else { [0; 16] }
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    let mut number = [0; 4];
    number.copy_from_slice(&bytes[at..at + 4]);
    u32::from_le_bytes(number)
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    let mut number = [0; 8];
    number.copy_from_slice(&bytes[at..at + 8]);
    u64::from_le_bytes(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header() -> RecordHeader {
        RecordHeader {
            salt: 7,
            offset: 32,
            sequence: 3,
            items: 100,
            body_bytes: 57_800,
            header_bytes: 12,
            checksum: 0xDEAD_BEEF,
            index: 1,
            note: [0; 16],
        }
    }

    #[test]
    fn a_record_header_reads_back_at_its_place_only() {
        let bytes = header().encode();
        assert_eq!(RecordHeader::decode(&bytes, 32, Some(7)), Some(header()));
        assert_eq!(RecordHeader::decode(&bytes, 32, None), Some(header()));
        assert_eq!(RecordHeader::decode(&bytes, 33, Some(7)), None);
        assert_eq!(RecordHeader::decode(&bytes, 32, Some(8)), None);
    }

    #[test]
    fn any_changed_byte_before_the_note_is_noticed() {
        for at in 0..60 {
            let mut bytes = header().encode();
            bytes[at] ^= 1;
            assert_eq!(RecordHeader::decode(&bytes, 32, None), None, "byte {at}");
        }
    }

    #[test]
    fn a_note_changes_in_place_and_a_torn_one_is_none() {
        let mut bytes = header().encode();
        let note_at = usize::try_from(NOTE_AT).unwrap();
        bytes[note_at..note_at + 20].copy_from_slice(&store_note([9; 16]));
        assert_eq!(RecordHeader::decode(&bytes, 32, Some(7)).unwrap().note, [9; 16]);
        bytes[note_at + 19] = 0;
        assert_eq!(RecordHeader::decode(&bytes, 32, Some(7)).unwrap().note, [0; 16]);
    }

    #[test]
    fn lengths_that_overflow_are_refused_even_with_a_right_checksum() {
        let bytes = RecordHeader { body_bytes: u64::MAX - 100, ..header() }.encode();
        assert_eq!(RecordHeader::decode(&bytes, 32, None), None);
    }

    #[test]
    fn a_file_header_reads_back_and_tells_a_newer_version_from_damage() {
        let header = FileHeader { segment: 5, salt: 6 };
        assert_eq!(FileHeader::decode(&header.encode()), Ok(header));
        for at in 0..32 {
            let mut bytes = header.encode();
            bytes[at] ^= 1;
            assert_eq!(FileHeader::decode(&bytes), Err(BadFileHeader::Damaged), "byte {at}");
        }
        let mut bytes = header.encode();
        bytes[8] = 2;
        let checksum = FileHeader::checksum(&bytes);
        bytes[12..16].copy_from_slice(&checksum.to_le_bytes());
        assert_eq!(FileHeader::decode(&bytes), Err(BadFileHeader::Version(2)));
    }
}
