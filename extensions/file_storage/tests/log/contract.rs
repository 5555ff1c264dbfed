//! The contract of [`spanbridge_component::Log`].

use std::sync::Arc;
use std::time::Duration;

use file_storage_extension::Config;
use spanbridge_component::{LogUsage, StorageErrorKind};
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::harness::{PATIENCE, append, config, drain, drain_all, number, open, record, take, try_open};

const MIB: usize = 1 << 20;

#[tokio::test]
async fn records_come_back_in_order_and_as_they_were() {
    let folder = tempfile::tempdir().unwrap();
    let log = open(config(folder.path())).await;
    for i in 0..100 {
        append(&log, i, 1000).await;
    }
    assert_eq!(drain(&log, 100).await, Vec::from_iter(0..100));
    assert_eq!(log.usage().records, 0);
}

#[tokio::test]
async fn what_was_not_removed_comes_back_first_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let log = open(config(folder.path())).await;
    for i in 0..10 {
        append(&log, i, 100).await;
    }
    assert_eq!(drain(&log, 3).await, [0, 1, 2]);
    let in_flight = take(&log).await;
    assert_eq!(number(&in_flight), 3);
    log.close().await;

    let log = open(config(folder.path())).await;
    let usage = log.usage();
    assert_eq!((usage.records, usage.bytes, usage.damaged), (7, 700, 0));
    append(&log, 10, 100).await;
    assert_eq!(drain_all(&log).await, Vec::from_iter(3..=10));
}

#[tokio::test]
async fn records_that_are_no_longer_in_memory_are_read_from_disk_in_order() {
    let folder = tempfile::tempdir().unwrap();
    let log = open(config(folder.path())).await;
    for i in 0..100 {
        append(&log, i, MIB).await;
    }
    let usage = log.usage();
    assert_eq!((usage.records, usage.bytes), (100, 100 * MIB as u64));
    let mut expected = 0;
    // New ones arrive while the old ones are read.
    for i in 100..150 {
        append(&log, i, MIB).await;
        assert_eq!(drain(&log, 2).await, [expected, expected + 1]);
        expected += 2;
    }
    assert_eq!(drain_all(&log).await, Vec::from_iter(expected..150));
    assert!(log.usage().disk_bytes <= 33 * MIB as u64, "{:?}", log.usage());
}

#[tokio::test]
async fn a_record_larger_than_a_segment_and_one_without_a_body_are_kept() {
    let folder = tempfile::tempdir().unwrap();
    let log = open(config(folder.path())).await;
    append(&log, 0, 0).await;
    append(&log, 1, 40 * MIB).await;
    append(&log, 2, 0).await;
    log.close().await;
    let log = open(config(folder.path())).await;
    assert_eq!(drain_all(&log).await, [0, 1, 2]);
}

#[tokio::test]
async fn the_last_note_comes_back_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let log = open(config(folder.path())).await;
    append(&log, 0, 10).await;
    append(&log, 1, 10).await;
    let first = take(&log).await;
    assert_eq!(first.note, [0; 16]);
    log.annotate(first.position, [1; 16]).await;
    log.annotate(first.position, [2; 16]).await;
    log.close().await;
    let log = open(config(folder.path())).await;
    assert_eq!(take(&log).await.note, [2; 16]);
    assert_eq!(take(&log).await.note, [0; 16]);
}

#[tokio::test]
async fn take_waits_for_a_record_and_takes_nothing_when_it_is_dropped() {
    let folder = tempfile::tempdir().unwrap();
    let log = open(config(folder.path())).await;
    assert!(timeout(Duration::from_millis(20), log.take()).await.is_err());
    let taking = tokio::spawn({
        let log = log.clone();
        async move { take(&log).await }
    });
    tokio::task::yield_now().await;
    append(&log, 7, 10).await;
    assert_eq!(number(&taking.await.unwrap()), 7);
}

#[tokio::test(flavor = "multi_thread")]
async fn dropped_takes_lose_nothing_while_the_disk_is_read() {
    let folder = tempfile::tempdir().unwrap();
    let log = open(config(folder.path())).await;
    for i in 0..300 {
        append(&log, i, 100_000).await;
    }
    log.close().await;
    let log = open(config(folder.path())).await;
    let mut numbers = Vec::new();
    let mut patience = Duration::ZERO;
    while numbers.len() < 300 {
        match timeout(patience, log.take()).await {
            Ok(taken) => numbers.push(number(&taken.unwrap())),
            Err(_) => patience += Duration::from_micros(10),
        }
    }
    assert_eq!(numbers, Vec::from_iter(0..300));
}

#[tokio::test(flavor = "multi_thread")]
async fn many_appenders_and_takers_lose_and_double_nothing() {
    for fsync in [false, true] {
        let folder = tempfile::tempdir().unwrap();
        let log = open(Config { fsync, ..config(folder.path()) }).await;
        let mut appenders = JoinSet::new();
        for appender in 0..16 {
            let log = log.clone();
            appenders.spawn(async move {
                for i in 0..50 {
                    append(&log, appender * 50 + i, 3000).await;
                }
            });
        }
        let mut takers = JoinSet::new();
        for _ in 0..8 {
            let log = log.clone();
            takers.spawn(async move { drain(&log, 100).await });
        }
        appenders.join_all().await;
        let mut taken = timeout(PATIENCE, takers.join_all()).await.unwrap().concat();
        taken.sort_unstable();
        assert_eq!(taken, Vec::from_iter(0..800));
        let expected = LogUsage { disk_bytes: log.usage().disk_bytes, ..LogUsage::default() };
        assert_eq!(log.usage(), expected);
    }
}

#[tokio::test]
async fn removing_twice_or_what_was_never_taken_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let log = open(config(folder.path())).await;
    append(&log, 0, 10).await;
    append(&log, 1, 10).await;
    let first = take(&log).await;
    log.remove(first.position).await;
    log.remove(first.position).await;
    log.annotate(first.position, [1; 16]).await;
    assert_eq!(log.usage().records, 1);
    assert_eq!(drain_all(&log).await, [1]);
}

#[tokio::test]
async fn after_close_everything_fails_with_closed() {
    let folder = tempfile::tempdir().unwrap();
    let log = open(config(folder.path())).await;
    let waiting = tokio::spawn({
        let log = log.clone();
        async move { log.take().await }
    });
    tokio::task::yield_now().await;
    log.close().await;
    assert_eq!(
        timeout(PATIENCE, waiting).await.unwrap().unwrap().unwrap_err().kind,
        StorageErrorKind::Closed
    );
    assert_eq!(log.append(record(1, 10)).await.unwrap_err().kind, StorageErrorKind::Closed);
    assert_eq!(log.take().await.unwrap_err().kind, StorageErrorKind::Closed);
    log.close().await;
}

#[tokio::test]
async fn a_log_is_open_once_and_free_again_when_it_is_closed_or_dropped() {
    let folder = tempfile::tempdir().unwrap();
    let config = Config { timeout: spanbridge_config::Duration::from_millis(50), ..config(folder.path()) };
    let log = open(config.clone()).await;
    let error = try_open(config.clone()).await.map(drop).unwrap_err();
    assert_eq!(error.kind, StorageErrorKind::Busy);
    assert!(error.message.ends_with("is in use by exporter \"otlp\" (traces) of this process"), "{error}");
    log.close().await;
    // The handle is still there; what counts is that it was closed.
    let again = open(config.clone()).await;
    drop(again);
    let patient = Config { timeout: spanbridge_config::Duration::from_secs(60), ..config };
    open(patient).await;
    drop(log);
}

#[tokio::test]
async fn appends_whose_futures_are_dropped_are_kept_whole_or_not_at_all() {
    let folder = tempfile::tempdir().unwrap();
    let log = open(config(folder.path())).await;
    for i in 0..200 {
        let _ = timeout(Duration::from_micros(i % 50), log.append(record(i, 2000))).await;
    }
    append(&log, 1000, 10).await;
    log.close().await;
    let log: Arc<_> = open(config(folder.path())).await;
    let numbers = drain_all(&log).await;
    assert!(numbers.is_sorted() && numbers.last() == Some(&1000), "{numbers:?}");
    assert_eq!(log.usage().damaged, 0);
}

#[tokio::test]
async fn max_size_refuses_what_does_not_fit_and_recovers_when_there_is_room() {
    let folder = tempfile::tempdir().unwrap();
    let log = open(Config { max_size: 1 << 20, ..config(folder.path()) }).await;
    let mut appended = 0;
    let error = loop {
        match log.append(record(appended, 10_000)).await {
            Ok(()) => appended += 1,
            Err(error) => break error,
        }
    };
    assert_eq!(error.kind, StorageErrorKind::Full);
    assert!(error.message.contains("has reached max_size"), "{error}");
    assert!(appended > 90, "{appended} of 104 fit");
    assert!(log.usage().disk_bytes <= 1 << 20);
    // For ever: nothing this large will ever fit, with what is written around it, and a smaller one may.
    for bytes in [2 << 20, 1 << 20, (1 << 20) - 4150] {
        let error = log.append(record(0, bytes)).await.unwrap_err();
        assert_eq!(error.kind, StorageErrorKind::TooLarge, "{error}");
        assert!(error.message.contains("can never fit"), "{error}");
    }
    assert_eq!(drain(&log, 40).await, Vec::from_iter(0..40));
    append(&log, appended, 10_000).await;
    assert_eq!(drain_all(&log).await, Vec::from_iter(40..=appended));
    append(&log, 0, 900_000).await;
}
