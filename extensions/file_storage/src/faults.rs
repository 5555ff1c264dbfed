//! A disk that fails when it is told to, and what a log does about it.

use std::collections::{BTreeSet, HashMap};
use std::io::{self, IoSlice};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use spanbridge_component::{Kind, Log, Position, Record, StorageErrorKind, StorageOwner, Taken};
use spanbridge_pdata::memory::Account;
use spanbridge_testkit::block_on;

use crate::disk::{Disk, DiskFile, Folder};
use crate::log::{FileLog, Opening};
use crate::writer::Options;

/// What shall fail.
#[derive(Default)]
struct Plan {
    /// Bytes by which files may grow before the disk is full.
    room: AtomicU64,
    sync_fails: AtomicBool,
    truncate_fails: AtomicBool,
    in_place_fails: AtomicBool,
    /// What a power loss leaves: contents as last synced, and the names that the folder had when it was.
    synced: Mutex<HashMap<String, Vec<u8>>>,
    linked: Mutex<BTreeSet<String>>,
}

#[derive(Clone)]
struct FaultyDisk {
    folder: Arc<Folder>,
    plan: Arc<Plan>,
}

struct FaultyFile {
    name: String,
    file: Arc<dyn DiskFile>,
    plan: Arc<Plan>,
}

impl FaultyDisk {
    fn new(folder: &Path) -> Self {
        let plan = Plan { room: AtomicU64::new(u64::MAX), ..Plan::default() };
        Self { folder: Arc::new(Folder(folder.to_owned())), plan: Arc::new(plan) }
    }

    fn wrap(&self, name: &str, file: Arc<dyn DiskFile>) -> Arc<dyn DiskFile> {
        Arc::new(FaultyFile { name: name.to_owned(), file, plan: self.plan.clone() })
    }

    fn names(&self) -> BTreeSet<String> {
        let entries = std::fs::read_dir(self.folder()).unwrap();
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    }

    /// The machine loses power: only what was synced is there, and names that were not synced away come back.
    fn lose_power(&self) {
        let linked = self.plan.linked.lock().unwrap().clone();
        let synced = self.plan.synced.lock().unwrap();
        for name in self.names().difference(&linked).filter(|name| name.ends_with(".segment")) {
            std::fs::remove_file(self.folder().join(name)).unwrap();
        }
        for name in linked.iter().filter(|name| name.ends_with(".segment")) {
            let contents = synced.get(name).cloned().unwrap_or_default();
            std::fs::write(self.folder().join(name), contents).unwrap();
        }
    }
}

impl Disk for FaultyDisk {
    fn folder(&self) -> &Path {
        self.folder.folder()
    }

    fn create(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        Ok(self.wrap(name, self.folder.create(name)?))
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        Ok(self.wrap(name, self.folder.open(name)?))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let bytes = self.folder.open(name)?.bytes()?;
        self.folder.remove(name)?;
        let _ = self.plan.room.fetch_update(Relaxed, Relaxed, |room| Some(room.saturating_add(bytes)));
        Ok(())
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.folder.rename(from, to)
    }

    fn sync_folder(&self) -> io::Result<()> {
        *self.plan.linked.lock().unwrap() = self.names();
        Ok(())
    }
}

impl FaultyFile {
    /// How many of `bytes` at `offset` there is room for.
    fn grow(&self, bytes: u64, offset: u64) -> io::Result<u64> {
        let more = (offset + bytes).saturating_sub(self.file.bytes()?);
        let room = self.plan.room.load(Relaxed);
        self.plan.room.store(room.saturating_sub(more), Relaxed);
        Ok(bytes - more.saturating_sub(room).min(bytes))
    }
}

impl DiskFile for FaultyFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        self.file.read_at(buffer, offset)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let is_in_place = offset + bytes.len() as u64 <= self.file.bytes()?;
        if is_in_place && self.plan.in_place_fails.load(Relaxed) {
            return Err(io::Error::from_raw_os_error(EIO));
        }
        if self.grow(bytes.len() as u64, offset)? < bytes.len() as u64 {
            return Err(io::ErrorKind::StorageFull.into());
        }
        self.file.write_at(bytes, offset)
    }

    fn write_vectored_at(&self, slices: &[IoSlice<'_>], offset: u64, sync: bool) -> io::Result<usize> {
        let mut bytes: Vec<u8> = slices.iter().flat_map(|slice| slice.iter().copied()).collect();
        let fits = self.grow(bytes.len() as u64, offset)?;
        bytes.truncate(usize::try_from(fits).unwrap());
        if bytes.is_empty() {
            return Err(io::ErrorKind::StorageFull.into());
        }
        self.file.write_at(&bytes, offset)?;
        if sync && self.plan.sync_fails.load(Relaxed) {
            return Err(io::Error::from_raw_os_error(EIO));
        }
        if sync {
            // These bytes alone.
            let mut synced = self.plan.synced.lock().unwrap();
            let contents = synced.entry(self.name.clone()).or_default();
            let (from, to) =
                (usize::try_from(offset).unwrap(), usize::try_from(offset).unwrap() + bytes.len());
            contents.resize(contents.len().max(to), 0);
            contents[from..to].copy_from_slice(&bytes);
        }
        Ok(bytes.len())
    }

    fn sync(&self) -> io::Result<()> {
        if self.plan.sync_fails.load(Relaxed) {
            return Err(io::Error::from_raw_os_error(EIO));
        }
        let mut contents = vec![0; usize::try_from(self.file.bytes()?).unwrap()];
        self.file.read_at(&mut contents, 0)?;
        self.plan.synced.lock().unwrap().insert(self.name.clone(), contents);
        Ok(())
    }

    fn truncate(&self, bytes: u64) -> io::Result<()> {
        if self.plan.truncate_fails.load(Relaxed) {
            return Err(io::Error::from_raw_os_error(EIO));
        }
        let freed = self.file.bytes()?.saturating_sub(bytes);
        self.file.truncate(bytes)?;
        let _ = self.plan.room.fetch_update(Relaxed, Relaxed, |room| Some(room.saturating_add(freed)));
        Ok(())
    }

    fn bytes(&self) -> io::Result<u64> {
        self.file.bytes()
    }
}

const EIO: i32 = 5;
const PATIENCE: Duration = Duration::from_secs(60);

fn open(disk: &FaultyDisk, fsync: bool, max_size: u64) -> FileLog {
    let owner = StorageOwner { kind: Kind::Exporter, id: "otlp".parse().unwrap(), name: "traces".to_owned() };
    let options = Options { fsync, max_size };
    let opening = Opening { timeout: PATIENCE, recreate: false, options, account: Account::new() };
    FileLog::open(Arc::new(disk.clone()), &owner, &opening).unwrap()
}

fn record(number: u64, bytes: usize) -> Record {
    let header = Bytes::from(number.to_le_bytes().to_vec());
    Record { items: 1, header, body: vec![Bytes::from(vec![0xAB; bytes])] }
}

fn number(taken: &Taken) -> u64 {
    u64::from_le_bytes(taken.header[..].try_into().unwrap())
}

async fn take(log: &FileLog) -> (u64, Position) {
    let taken = tokio::time::timeout(PATIENCE, log.take()).await.unwrap().unwrap();
    (number(&taken), taken.position)
}

async fn take_all(log: &FileLog) -> Vec<(u64, Position)> {
    let mut taken = Vec::new();
    for _ in 0..log.usage().records {
        taken.push(take(log).await);
    }
    taken
}

#[test]
fn a_full_disk_refuses_is_emptied_and_takes_records_again() {
    let folder = tempfile::tempdir().unwrap();
    let disk = FaultyDisk::new(folder.path());
    disk.plan.room.store(100_000, Relaxed);
    block_on(async {
        let log = open(&disk, false, 0);
        let mut appended = 0;
        let error = loop {
            match log.append(record(appended, 1000)).await {
                Ok(()) => appended += 1,
                Err(error) => break error,
            }
        };
        assert_eq!(error.kind, StorageErrorKind::Full);
        assert!(error.message.starts_with("cannot write "), "{error}");
        // A smaller one may fit still: what was written of the larger one is gone.
        assert!(disk.plan.room.load(Relaxed) >= 98);
        log.append(record(appended, 10)).await.unwrap();
        disk.plan.room.store(0, Relaxed);
        let all = take_all(&log).await;
        assert_eq!(all.len() as u64, appended + 1);
        for (_, position) in all {
            log.remove(position).await;
        }
        // The first append finds the disk full, frees what is done with and goes through.
        log.append(record(500, 1000)).await.unwrap();
        log.close().await;
        let log = open(&disk, false, 0);
        assert_eq!(take(&log).await.0, 500);
        assert_eq!((log.usage().records, log.usage().damaged), (1, 0));
    });
}

#[test]
fn a_failed_sync_is_never_a_success_and_its_segment_is_not_used_again() {
    let folder = tempfile::tempdir().unwrap();
    let disk = FaultyDisk::new(folder.path());
    block_on(async {
        let log = open(&disk, true, 0);
        log.append(record(0, 100)).await.unwrap();
        disk.plan.sync_fails.store(true, Relaxed);
        let error = log.append(record(1, 100)).await.unwrap_err();
        assert_eq!(error.kind, StorageErrorKind::Io);
        assert!(error.message.starts_with("cannot sync "), "{error}");
        disk.plan.sync_fails.store(false, Relaxed);
        log.append(record(2, 100)).await.unwrap();
        let segments = disk.names().into_iter().filter(|name| name.ends_with(".segment")).count();
        assert_eq!(segments, 2);
        log.close().await;
        let log = open(&disk, true, 0);
        let numbers: Vec<_> = take_all(&log).await.into_iter().map(|(number, _)| number).collect();
        assert_eq!(numbers, [0, 2]);
    });
}

#[test]
fn what_cannot_be_marked_is_forgotten_and_comes_back_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let disk = FaultyDisk::new(folder.path());
    block_on(async {
        let log = open(&disk, false, 0);
        log.append(record(0, 100)).await.unwrap();
        log.append(record(1, 100)).await.unwrap();
        let (_, position) = take(&log).await;
        disk.plan.in_place_fails.store(true, Relaxed);
        log.remove(position).await;
        assert_eq!(log.usage().records, 1);
        log.close().await;
        disk.plan.in_place_fails.store(false, Relaxed);
        let log = open(&disk, false, 0);
        assert_eq!(take(&log).await.0, 0);
    });
}

/// What a log must hold: numbers in the order in which they were accepted.
#[derive(Default)]
struct Model {
    kept: BTreeSet<u64>,
    /// Appends that failed, and removals that may not have reached the disk: they may be there or not.
    unsure: BTreeSet<u64>,
    taken: Vec<(u64, Position)>,
    next: u64,
    truncation_failed: bool,
}

impl Model {
    async fn step(&mut self, rng: &mut fastrand::Rng, disk: &FaultyDisk, log: &FileLog) {
        match rng.u8(0..100) {
            0..50 => {
                let number = self.next;
                self.next += 1;
                match log.append(record(number, rng.usize(0..3000))).await {
                    Ok(()) => drop(self.kept.insert(number)),
                    Err(_) => drop(self.unsure.insert(number)),
                }
            }
            50..70 if log.usage().records > self.taken.len() as u64 => {
                self.taken.push(take(log).await);
            }
            70..90 if !self.taken.is_empty() => {
                let (number, position) = self.taken.swap_remove(rng.usize(0..self.taken.len()));
                log.remove(position).await;
                self.kept.remove(&number);
                self.unsure.insert(number);
            }
            90..93 => disk.plan.room.store(rng.u64(0..20_000), Relaxed),
            93..95 => disk.plan.room.store(u64::MAX, Relaxed),
            95..97 => disk.plan.sync_fails.store(rng.bool(), Relaxed),
            97 => {
                self.truncation_failed = true;
                disk.plan.truncate_fails.store(rng.bool(), Relaxed);
            }
            98 => disk.plan.in_place_fails.store(rng.bool(), Relaxed),
            _ => {}
        }
    }

    /// After a restart: all that must be there is, in order, and nothing that cannot be.
    async fn check(&mut self, log: &FileLog, seed: u64) {
        self.taken = take_all(log).await;
        let found: Vec<u64> = self.taken.iter().map(|(number, _)| *number).collect();
        assert!(found.is_sorted(), "seed {seed}: {found:?}");
        for number in &found {
            assert!(
                self.kept.contains(number) || self.unsure.contains(number),
                "seed {seed}: {number} came from nowhere"
            );
        }
        for number in &self.kept {
            assert!(found.contains(number), "seed {seed}: {number} was accepted and is lost: {found:?}");
        }
        self.kept = found.into_iter().collect();
    }
}

#[test]
fn whatever_fails_and_whenever_nothing_accepted_is_lost_over_restarts() {
    for seed in 0..60 {
        let mut rng = fastrand::Rng::with_seed(seed);
        let folder = tempfile::tempdir().unwrap();
        let disk = FaultyDisk::new(folder.path());
        let fsync = seed % 2 == 0;
        let max_size = if seed % 3 == 0 { 100_000 } else { 0 };
        let mut model = Model::default();
        for _ in 0..4 {
            block_on(async {
                let log = open(&disk, fsync, max_size);
                // Half an append stays if it could be neither finished nor taken back.
                assert!(log.usage().damaged == 0 || model.truncation_failed, "seed {seed}");
                model.check(&log, seed).await;
                for _ in 0..rng.usize(0..300) {
                    model.step(&mut rng, &disk, &log).await;
                }
                log.close().await;
            });
            disk.plan.room.store(u64::MAX, Relaxed);
            for fault in [&disk.plan.sync_fails, &disk.plan.truncate_fails, &disk.plan.in_place_fails] {
                fault.store(false, Relaxed);
            }
        }
    }
}

#[test]
fn with_fsync_a_power_loss_loses_nothing_accepted() {
    for seed in 0..40 {
        let mut rng = fastrand::Rng::with_seed(seed);
        let folder = tempfile::tempdir().unwrap();
        let disk = FaultyDisk::new(folder.path());
        let mut model = Model::default();
        for _ in 0..3 {
            block_on(async {
                let log = open(&disk, true, 100_000);
                model.check(&log, seed).await;
                for _ in 0..rng.usize(0..200) {
                    model.step(&mut rng, &disk, &log).await;
                }
                // Nothing is synced any more: neither what close would write.
                disk.plan.sync_fails.store(true, Relaxed);
                let linked = disk.plan.linked.lock().unwrap().clone();
                log.close().await;
                *disk.plan.linked.lock().unwrap() = linked;
            });
            disk.plan.room.store(u64::MAX, Relaxed);
            for fault in [&disk.plan.sync_fails, &disk.plan.truncate_fails, &disk.plan.in_place_fails] {
                fault.store(false, Relaxed);
            }
            disk.lose_power();
        }
    }
}
