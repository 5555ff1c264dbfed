//! What a log may keep in memory: the account of the process decides, since all bodies are on disk anyway.

use std::time::Duration;

use bytes::Bytes;
use spanbridge_pdata::memory::{Account, Limit};
use tokio::time::timeout;

/// Most bytes of the newest records that a log keeps in memory, so that a queue that keeps up never reads the disk.
const RECENT_BYTES_MAX: u64 = 16 << 20;
/// A log keeps at most this part of the memory for telemetry for its newest records, and as much for what it has read: a
/// queue whose destination is away must not keep new requests out that its disk has room for.
const SHARE_PART: usize = 8;
/// How often a log that waits looks whether the process has room again.
const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// The memory of one log.
pub(crate) struct Memory {
    process: Account,
    /// What was read from disk and is still in memory, wherever.
    read: Account,
    /// Up to where more is read; who waits for it waits in `read`.
    ceiling: Limit,
}

impl Memory {
    pub(crate) fn new(process: Account) -> Self {
        let read = Account::new();
        let ceiling = read.limit_to(usize::MAX);
        Self { process, read, ceiling }
    }

    /// Counts what was read from disk, for as long as any slice of it lives. It does not ask: whoever reads has looked
    /// whether there is room, or it is the one record without which a queue would never drain.
    pub(crate) fn hold(&self, contents: Vec<u8>) -> Bytes {
        self.process.charge(0).hold(self.read.segment(contents))
    }

    /// Whether more than one record may be read now.
    pub(crate) fn has_room(&self) -> bool {
        self.read.used() <= self.read_max()
    }

    /// Waits for [`Memory::has_room`], for a while. What the log itself holds is heard of when it goes, the rest of the
    /// process is looked at now and then.
    pub(crate) async fn room(&self) {
        self.ceiling.set(self.read_max());
        let _ = timeout(LOOK_AGAIN, self.read.reserve(0)).await;
    }

    /// How much of what was read may be in memory while more is read. With 0 nothing may, so one record is always read.
    fn read_max(&self) -> usize {
        if self.is_full() { 0 } else { self.process.limit() / SHARE_PART }
    }

    /// Bytes that the newest records may take.
    pub(crate) fn recent_max(&self) -> u64 {
        RECENT_BYTES_MAX.min((self.process.limit() / SHARE_PART) as u64)
    }

    /// Whether somebody needs memory more than a log does.
    pub(crate) fn is_needed(&self) -> bool {
        self.process.is_contended() || self.is_full()
    }

    fn is_full(&self) -> bool {
        self.process.used() >= self.process.limit()
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::sync::Arc;

    use spanbridge_component::{Kind, Log, Record, StorageOwner, Taken};

    use super::*;
    use crate::disk::Folder;
    use crate::log::{FileLog, Opening};
    use crate::writer::Options;

    const PATIENCE: Duration = Duration::from_secs(30);
    /// Long enough for a machine that stalls: what does not come within it does not come.
    const MOMENT: Duration = Duration::from_secs(1);
    const RECORD_BYTES: usize = 100_000;

    fn open(folder: &Path, account: &Account) -> FileLog {
        let owner =
            StorageOwner { kind: Kind::Exporter, id: "otlp".parse().unwrap(), name: "traces".to_owned() };
        let options = Options { fsync: false, max_size: 0 };
        let opening = Opening { timeout: PATIENCE, recreate: false, options, account: account.clone() };
        FileLog::open(Arc::new(Folder(folder.to_owned())), &owner, &opening).unwrap()
    }

    /// Appends `records`, whose bodies are charged as a receiver's are.
    async fn append(log: &FileLog, records: usize, account: &Account) {
        for _ in 0..records {
            let body = vec![account.segment(vec![7; RECORD_BYTES])];
            log.append(Record { items: 1, header: Bytes::from_static(b"header"), body }).await.unwrap();
        }
    }

    /// A log that was left with `records`.
    async fn left(folder: &Path, records: usize, account: &Account) -> FileLog {
        let log = open(folder, &Account::new());
        append(&log, records, &Account::new()).await;
        log.close().await;
        drop(log);
        open(folder, account)
    }

    async fn take(log: &FileLog) -> Taken {
        timeout(PATIENCE, log.take()).await.unwrap().unwrap()
    }

    #[tokio::test]
    async fn what_is_read_from_disk_is_charged_until_it_is_gone() {
        let (folder, account) = (tempfile::tempdir().unwrap(), Account::new());
        let log = left(folder.path(), 3, &account).await;
        let first = take(&log).await;
        assert!(account.used() >= 3 * RECORD_BYTES, "read ahead too: {account:?}");
        let others = [take(&log).await, take(&log).await];
        drop(first.body);
        assert!(account.used() >= 3 * RECORD_BYTES, "the header is a slice of the same buffer");
        drop((first.header, others));
        assert_eq!(account.used(), 0);
    }

    #[tokio::test]
    async fn while_the_process_is_full_a_queue_drains_record_by_record() {
        let (folder, account) = (tempfile::tempdir().unwrap(), Account::new());
        let log = left(folder.path(), 4, &account).await;
        let _limit = account.limit_to(1 << 20);
        let telemetry = account.charge(2 << 20);
        let first = take(&log).await;
        assert!(account.used() < telemetry.bytes() + 2 * RECORD_BYTES, "nothing is read ahead: {account:?}");
        assert!(timeout(MOMENT, log.take()).await.is_err(), "one is in memory already");
        log.remove(first.position).await;
        drop(first);
        let second = take(&log).await;
        assert!(timeout(MOMENT, log.take()).await.is_err(), "one is in memory already");
        drop(telemetry);
        drop((take(&log).await, second));
        take(&log).await;
    }

    #[tokio::test]
    async fn a_queue_whose_destination_is_away_reads_no_more_than_its_share() {
        let (folder, account) = (tempfile::tempdir().unwrap(), Account::new());
        let log = left(folder.path(), 100, &account).await;
        let _limit = account.limit_to(8 << 20);
        let mut taken = Vec::new();
        while let Ok(record) = timeout(MOMENT, log.take()).await {
            taken.push(record.unwrap());
        }
        assert!((5..25).contains(&taken.len()), "{} records of 100 kB, the share is 1 MiB", taken.len());
        taken.clear();
        take(&log).await;
    }

    #[tokio::test]
    async fn the_newest_records_leave_memory_when_somebody_needs_it() {
        let (folder, account) = (tempfile::tempdir().unwrap(), Account::new());
        let limit = 8 << 20;
        let _limit = account.limit_to(limit);
        let log = open(folder.path(), &account);
        append(&log, 50, &account).await;
        assert!((1..=limit / SHARE_PART).contains(&account.used()), "{account:?}");
        let all = timeout(PATIENCE, account.reserve(limit)).await.expect("the log gives way").unwrap();
        drop(all);
        for _ in 0..50 {
            take(&log).await;
        }
    }
}
