//! What files and folders are called.

use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};

use spanbridge_component::StorageOwner;

/// The end of a log's folder: the Go collector keeps a file of the same name without it.
const LOG_SUFFIX: &str = ".wal";
/// The end of a segment's name.
const SEGMENT_SUFFIX: &str = ".segment";
/// What a bbolt database has at offset 16, in either byte order.
const BBOLT_MAGIC: [[u8; 4]; 2] = [[0xED, 0xDA, 0x0C, 0xED], [0xED, 0x0C, 0xDA, 0xED]];
const BBOLT_MAGIC_AT: usize = 16;
/// Most entries of the directory that are looked at for databases of the Go collector.
const FOREIGN_LOOKED_AT_MAX: usize = 1000;

/// The name of an owner's files: `<kind>_<type>_<name>_<which>`, as the Go collector builds it.
pub(crate) fn owner_name(owner: &StorageOwner) -> String {
    let id = &owner.id;
    let name = match owner.name.as_str() {
        "" => format!("{}_{}_{}", owner.kind, id.type_name(), id.name()),
        which => format!("{}_{}_{}_{which}", owner.kind, id.type_name(), id.name()),
    };
    escape(&name)
}

/// The folder of an owner's log, below the storage's directory.
pub(crate) fn log_folder(owner: &StorageOwner) -> String {
    owner_name(owner) + LOG_SUFFIX
}

/// `text` as a file name that is safe everywhere: what is not a letter, a digit, `.`, `_` or `-` becomes `~` and four
/// hexadecimal digits (reference: contrib-components, D.6).
fn escape(text: &str) -> String {
    use std::fmt::Write as _;
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-') {
            escaped.push(c);
        } else {
            let _ = write!(escaped, "~{:04X}", u32::from(c));
        }
    }
    escaped
}

/// The file name of segment `number`. Zeros in front make the order of names that of numbers.
pub(crate) fn segment_name(number: u64) -> String {
    format!("{number:020}{SEGMENT_SUFFIX}")
}

/// The number in a segment's file name; `None` for any other file.
pub(crate) fn segment_number(name: &str) -> Option<u64> {
    let digits = name.strip_suffix(SEGMENT_SUFFIX)?;
    (digits.len() == 20 && digits.bytes().all(|b| b.is_ascii_digit())).then(|| digits.parse().ok())?
}

/// Databases of the Go collector's `file_storage` in `directory`.
pub(crate) fn foreign_databases(directory: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(directory) else { return Vec::new() };
    let entries = entries.take(FOREIGN_LOOKED_AT_MAX).filter_map(Result::ok);
    let files = entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_file()));
    let mut found: Vec<_> = files.map(|entry| entry.path()).filter(|path| is_bbolt(path)).collect();
    found.sort();
    found
}

fn is_bbolt(path: &Path) -> bool {
    let mut start = [0; BBOLT_MAGIC_AT + 4];
    let read = File::open(path).and_then(|mut file| file.read_exact(&mut start));
    read.is_ok() && BBOLT_MAGIC.iter().any(|magic| start[BBOLT_MAGIC_AT..] == *magic)
}

#[cfg(test)]
mod tests {
    use spanbridge_component::Kind;

    use super::*;

    fn owner(id: &str, name: &str) -> StorageOwner {
        StorageOwner { kind: Kind::Exporter, id: id.parse().unwrap(), name: name.to_owned() }
    }

    #[test]
    fn folders_are_named_as_in_the_go_collector_with_an_end_of_our_own() {
        assert_eq!(log_folder(&owner("otlp", "traces")), "exporter_otlp__traces.wal");
        assert_eq!(log_folder(&owner("otlp_grpc/backend", "logs")), "exporter_otlp_grpc_backend_logs.wal");
        assert_eq!(log_folder(&owner("otlp/backend", "")), "exporter_otlp_backend.wal");
    }

    #[test]
    fn characters_that_could_leave_the_directory_are_escaped() {
        assert_eq!(
            log_folder(&owner("otlp/../../etc", "traces")),
            "exporter_otlp_..~002F..~002Fetc_traces.wal"
        );
        assert_eq!(escape("a~b ü"), "a~007Eb~0020~00FC");
    }

    #[test]
    fn segment_names_read_back_and_nothing_else_is_one() {
        for number in [0, 1, 12_345, u64::MAX] {
            assert_eq!(segment_number(&segment_name(number)), Some(number));
        }
        for name in
            ["lock", "1.segment", "00000000000000000001.segment.damaged-1", "+0000000000000000001.segment"]
        {
            assert_eq!(segment_number(name), None, "{name}");
        }
        assert!(segment_name(9) < segment_name(10));
    }

    #[test]
    fn a_database_of_the_go_collector_is_recognized() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("exporter_otlp__traces");
        let mut page = vec![0; 4096];
        page[16..20].copy_from_slice(&[0xED, 0xDA, 0x0C, 0xED]);
        fs::write(&path, page).unwrap();
        fs::write(folder.path().join("short"), "x").unwrap();
        assert_eq!(foreign_databases(folder.path()), [path]);
    }
}
