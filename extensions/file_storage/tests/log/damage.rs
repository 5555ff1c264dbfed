//! Whatever happens to a log's files, what lies outside the damage is delivered.

use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};

use file_storage_extension::Config;
use spanbridge_component::StorageErrorKind;

use crate::harness::{append, config, drain, drain_all, number, open, take, try_open};

/// The first page of a segment: its header and the states of its records.
const HEADER: usize = 4096;
/// Segments of 128 KiB.
const MAX_SIZE: u64 = 1 << 20;

fn small_segments(folder: &Path) -> Config {
    Config { max_size: MAX_SIZE, ..config(folder) }
}

/// The log's files whose names end in `end` or contain `.damaged-`, in order.
fn files(folder: &Path, part: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder.join("exporter_otlp__traces.wal")).unwrap();
    let paths = entries.map(|entry| entry.unwrap().path());
    let name = |path: &PathBuf| path.file_name().unwrap().to_str().unwrap().to_owned();
    let mut found: Vec<_> = paths
        .filter(|path| if part == SEGMENTS { name(path).ends_with(part) } else { name(path).contains(part) })
        .collect();
    found.sort();
    found
}

const SEGMENTS: &str = ".segment";
const DAMAGED: &str = ".damaged-";

/// Where each record of an intact segment lies, and its number.
fn places(segment: &[u8]) -> Vec<(Range<usize>, u64)> {
    let word = |at: usize| u64::from_le_bytes(segment[at..at + 8].try_into().unwrap());
    let (mut at, mut found) = (HEADER, Vec::new());
    while at < segment.len() {
        let body = usize::try_from(word(at + 40)).unwrap();
        let end = at + 80 + 8 + body;
        found.push((at..end, word(at + 80)));
        at = end;
    }
    found
}

async fn filled(folder: &Path, records: u64) {
    let log = open(small_segments(folder)).await;
    for i in 0..records {
        append(&log, i, usize::try_from(i * 37 % 5000).unwrap()).await;
    }
    log.close().await;
}

/// contrib#35899, #36840, #49735: a damaged file made the process panic, and cost everything in it.
#[tokio::test]
async fn every_record_outside_random_damage_comes_back_in_order() {
    for seed in 0..60 {
        let mut rng = fastrand::Rng::with_seed(seed);
        let folder = tempfile::tempdir().unwrap();
        filled(folder.path(), 150).await;
        let segments = files(folder.path(), SEGMENTS);
        assert!(segments.len() > 2);
        let victim = &segments[rng.usize(0..segments.len())];
        let mut bytes = fs::read(victim).unwrap();
        let places = places(&bytes);
        let damaged = damage(&mut rng, &mut bytes);
        fs::write(victim, &bytes).unwrap();
        let hit = |place: &Range<usize>| place.start < damaged.end && damaged.start < place.end;
        let lost: Vec<u64> = places.iter().filter(|(place, _)| hit(place)).map(|(_, n)| *n).collect();

        let log = open(small_segments(folder.path())).await;
        let found = drain_all(&log).await;
        assert!(found.is_sorted(), "seed {seed}");
        for number in (0..150).filter(|number| !lost.contains(number)) {
            assert!(found.contains(&number), "seed {seed}: {number} is lost; the damage hit {lost:?}");
        }
        let usage = log.usage();
        let is_complete = lost.iter().all(|number| found.contains(number));
        assert!(is_complete || usage.damaged > 0, "seed {seed}: {lost:?} went without a word");
        append(&log, 1000, 10).await;
        assert_eq!(drain_all(&log).await, [1000], "seed {seed}");
        assert_eq!((usage.records, usage.items, usage.bytes), (0, 0, 0), "seed {seed}");
        log.close().await;
        // What was found damaged is not found again.
        assert_eq!(open(small_segments(folder.path())).await.usage().damaged, 0, "seed {seed}");
    }
}

/// Damages `bytes` somewhere behind the first page; returns where.
fn damage(rng: &mut fastrand::Rng, bytes: &mut Vec<u8>) -> Range<usize> {
    let start = rng.usize(HEADER..bytes.len());
    let end = (start + rng.usize(1..9000)).min(bytes.len());
    match rng.u8(0..4) {
        0 => bytes[start..end].fill_with(|| rng.u8(..)),
        1 => bytes[start..end].fill(0),
        2 => bytes[start] ^= 1 << rng.u8(0..8),
        _ => {
            bytes.truncate(start);
            return start..usize::MAX;
        }
    }
    start..end
}

/// A segment of ten records, and its bytes with one flipped in the fourth, with the place of that record.
async fn damaged(folder: &Path) -> (PathBuf, Vec<u8>, Range<usize>) {
    filled(folder, 10).await;
    let segment = files(folder, SEGMENTS)[0].clone();
    let mut bytes = fs::read(&segment).unwrap();
    let place = places(&bytes)[3].0.clone();
    bytes[place.start + 100] ^= 0xFF;
    (segment, bytes, place)
}

#[tokio::test]
async fn damaged_bytes_are_set_aside_as_they_were() {
    let folder = tempfile::tempdir().unwrap();
    let (segment, bytes, place) = damaged(folder.path()).await;
    fs::write(segment, &bytes).unwrap();

    let log = open(small_segments(folder.path())).await;
    assert_eq!(log.usage().damaged, 1);
    let aside = files(folder.path(), DAMAGED);
    assert_eq!(aside.len(), 1);
    assert!(aside[0].to_str().unwrap().ends_with(&format!(".segment.damaged-{}", place.start)));
    assert_eq!(fs::read(&aside[0]).unwrap(), bytes[place]);
    assert_eq!(drain_all(&log).await, [0, 1, 2, 4, 5, 6, 7, 8, 9]);
}

/// Segment numbers begin anew when a log is empty, and a process may end while it sets bytes aside.
#[tokio::test]
async fn damaged_bytes_are_set_aside_beside_those_of_an_earlier_damage_and_only_once() {
    let folder = tempfile::tempdir().unwrap();
    let (segment, bytes, place) = damaged(folder.path()).await;
    let aside = format!("{}.damaged-{}", segment.display(), place.start);
    let (second, partial) = (format!("{aside}-2"), format!("{aside}-2.partial"));
    fs::write(&aside, b"other bytes").unwrap();
    fs::write(&partial, b"half of").unwrap();
    for _ in 0..2 {
        // As if what was set aside could not be covered: the next process finds the same.
        fs::write(&segment, &bytes).unwrap();
        let log = open(small_segments(folder.path())).await;
        assert_eq!(log.usage().damaged, 1);
        log.close().await;
        assert_eq!(fs::read(&aside).unwrap(), b"other bytes");
        assert_eq!(fs::read(&second).unwrap(), bytes[place.clone()]);
        assert_eq!(files(folder.path(), DAMAGED).len(), 2);
    }
}

#[tokio::test]
async fn damage_while_the_log_is_open_is_skipped_and_counted() {
    let folder = tempfile::tempdir().unwrap();
    filled(folder.path(), 150).await;
    let log = open(small_segments(folder.path())).await;
    assert_eq!(drain(&log, 1).await, [0]);
    // Not the first segment: of that, the beginning was read ahead.
    let segment = &files(folder.path(), SEGMENTS)[1];
    let mut bytes = fs::read(segment).unwrap();
    let places = places(&bytes);
    bytes[places[2].0.start] ^= 0xFF;
    bytes[places[5].0.start + 85] ^= 0xFF;
    fs::write(segment, &bytes).unwrap();
    let gone = [places[2].1, places[5].1];
    let found = drain_all(&log).await;
    assert_eq!(found, Vec::from_iter((1..150).filter(|number| !gone.contains(number))));
    assert_eq!(log.usage().damaged, 2);
    log.close().await;
    assert_eq!(open(small_segments(folder.path())).await.usage().damaged, 0);
}

#[tokio::test]
async fn a_damaged_file_header_costs_no_record() {
    let folder = tempfile::tempdir().unwrap();
    filled(folder.path(), 10).await;
    let segment = &files(folder.path(), SEGMENTS)[0];
    let mut bytes = fs::read(segment).unwrap();
    bytes[..32].fill(0xEE);
    fs::write(segment, &bytes).unwrap();
    let log = open(small_segments(folder.path())).await;
    assert_eq!(number(&take(&log).await), 0);
    log.close().await;
    let log = open(small_segments(folder.path())).await;
    assert_eq!(log.usage().damaged, 0);
    assert_eq!(drain_all(&log).await, Vec::from_iter(0..10));
}

#[tokio::test]
async fn files_that_are_no_segments_at_all_do_not_keep_a_log_from_opening() {
    for contents in [&b""[..], &b"x"[..], &[0; 5000], &[0xFF; 10_000]] {
        let folder = tempfile::tempdir().unwrap();
        filled(folder.path(), 10).await;
        let segment = &files(folder.path(), SEGMENTS)[0];
        fs::write(segment, contents).unwrap();
        let log = open(small_segments(folder.path())).await;
        append(&log, 10, 10).await;
        assert_eq!(drain_all(&log).await.last(), Some(&10));
    }
}

#[tokio::test]
async fn a_segment_that_vanishes_does_not_hold_up_the_others() {
    let folder = tempfile::tempdir().unwrap();
    // More segments than are kept open; what is open is read to its end.
    let records = 12 * 4064;
    let log = open(config(folder.path())).await;
    for i in 0..records {
        append(&log, i, 0).await;
    }
    log.close().await;
    let log = open(config(folder.path())).await;
    let segments = files(folder.path(), SEGMENTS);
    assert_eq!(segments.len(), 12);
    fs::remove_file(&segments[1]).unwrap();
    let expected = (0..4064).chain(2 * 4064..records);
    assert_eq!(drain_all(&log).await, Vec::from_iter(expected));
    assert!(log.usage().damaged > 0);
    assert_eq!(log.usage().records, 0);
}

#[tokio::test]
async fn a_newer_format_is_refused_by_name_or_put_away_with_recreate() {
    let folder = tempfile::tempdir().unwrap();
    filled(folder.path(), 10).await;
    let segment = &files(folder.path(), SEGMENTS)[0];
    let mut bytes = fs::read(segment).unwrap();
    bytes[8] = 9;
    let mut checked = bytes[..12].to_vec();
    checked.extend_from_slice(&bytes[16..32]);
    bytes[12..16].copy_from_slice(&crc32fast::hash(&checked).to_le_bytes());
    fs::write(segment, &bytes).unwrap();

    let error = try_open(small_segments(folder.path())).await.map(drop).unwrap_err();
    assert_eq!(error.kind, StorageErrorKind::Io);
    assert!(error.message.contains("has format version 9, which a newer release wrote"), "{error}");
    let log = open(Config { recreate: true, ..small_segments(folder.path()) }).await;
    assert_eq!(log.usage().records, 0);
    append(&log, 11, 10).await;
    let backups = files(folder.path(), ".backup");
    assert_eq!(fs::read(&backups[0]).unwrap(), bytes);
}
