//! The queues that are compared.

use std::collections::HashMap;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::mpsc;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use bytes::Bytes;
use fjall::{Database, Keyspace, KeyspaceCreateOptions, KvSeparationOptions, PersistMode};
use redb::{ReadableDatabase, ReadableTable, StorageBackend, TableDefinition};
use spanbridge_component::telemetry::Telemetry;
use spanbridge_component::{
    BuildInfo, Extension, ExtensionFactory, Kind, Ledger, Log, Position, Record, Settings, StorageOwner,
    async_trait,
};
use tokio::sync::{Mutex as AsyncMutex, mpsc as async_mpsc, oneshot};

/// What a sending queue needs.
#[async_trait]
pub trait Queue: Send + Sync {
    async fn append(&self, body: Bytes);
    /// The oldest record's key and length.
    async fn take(&self) -> (u64, usize);
    async fn remove(&self, key: u64);
    async fn close(&self);
}

pub async fn open(store: &str, folder: &Path, fsync: bool) -> Arc<dyn Queue> {
    match store {
        "log" => Arc::new(OwnLog::open(folder, fsync).await),
        "redb" => Arc::new(Grouped::open(Redb::open(folder, fsync))),
        "fjall" => Arc::new(Grouped::open(Fjall::open(folder, fsync))),
        other => panic!("no store {other}"),
    }
}

// === the log of file_storage ===

struct OwnLog {
    log: Arc<dyn Log>,
    taken: Mutex<HashMap<u64, Position>>,
    _extension: Arc<dyn Extension>,
}

impl OwnLog {
    async fn open(folder: &Path, fsync: bool) -> Self {
        let config =
            file_storage_extension::Config { directory: folder.to_owned(), fsync, ..Default::default() };
        let settings = Settings {
            id: "file_storage".parse().unwrap(),
            kind: Kind::Extension,
            pipeline: None,
            signals: Vec::new(),
            ledger: Ledger::new(),
            telemetry: Telemetry::detached(),
            build: BuildInfo { command: "bench", description: "bench", version: "0.0.0" },
        };
        let extension = file_storage_extension::Factory.create(settings, config).unwrap();
        let owner =
            StorageOwner { kind: Kind::Exporter, id: "otlp".parse().unwrap(), name: "traces".to_owned() };
        let log = extension.as_storage().unwrap().open_log(&owner).await.unwrap();
        Self { log, taken: Mutex::default(), _extension: extension }
    }
}

#[async_trait]
impl Queue for OwnLog {
    async fn append(&self, body: Bytes) {
        self.log.append(Record { items: 100, header: Bytes::new(), body: vec![body] }).await.unwrap();
    }

    async fn take(&self) -> (u64, usize) {
        let taken = self.log.take().await.unwrap();
        let key = taken.position.segment << 32 | taken.position.offset;
        self.taken.lock().unwrap().insert(key, taken.position);
        (key, taken.body.iter().map(Bytes::len).sum())
    }

    async fn remove(&self, key: u64) {
        let position = self.taken.lock().unwrap().remove(&key).unwrap();
        self.log.remove(position).await;
    }

    async fn close(&self) {
        self.log.close().await;
    }
}

// === a queue around a store ===

/// What a store does for the queue around it.
trait Backend: Send + Sync + 'static {
    /// One transaction, as durable as was asked for.
    fn commit(&self, appends: &[(u64, Bytes)], removes: &[u64]);
    fn read(&self, key: u64) -> usize;
    fn keys(&self) -> Vec<u64>;
}

enum Op {
    Append(Bytes, oneshot::Sender<()>),
    Remove(u64),
    Close,
}

/// Most bytes of one transaction: as the log's groups.
const GROUP_BYTES_MAX: usize = 8 << 20;

struct Grouped<B> {
    backend: Arc<B>,
    ops: mpsc::Sender<Op>,
    /// Keys, and how long the body is if it is still in memory: a queue that keeps up does not read.
    ready: AsyncMutex<async_mpsc::UnboundedReceiver<(u64, Option<usize>)>>,
    writer: Mutex<Option<JoinHandle<()>>>,
}

impl<B: Backend> Grouped<B> {
    fn open(backend: B) -> Self {
        let backend = Arc::new(backend);
        let (ops, work) = mpsc::channel();
        let (arrived, ready) = async_mpsc::unbounded_channel();
        let keys = backend.keys();
        let next = keys.last().map_or(0, |last| last + 1);
        for key in keys {
            arrived.send((key, None)).unwrap();
        }
        let writer = std::thread::spawn({
            let backend = backend.clone();
            move || write(&*backend, &work, next, &arrived)
        });
        Self { backend, ops, ready: AsyncMutex::new(ready), writer: Mutex::new(Some(writer)) }
    }
}

fn write<B: Backend>(
    backend: &B,
    work: &mpsc::Receiver<Op>,
    mut next: u64,
    arrived: &async_mpsc::UnboundedSender<(u64, Option<usize>)>,
) {
    let mut closed = false;
    while !closed {
        let (mut appends, mut removes, mut answers, mut bytes) = (Vec::new(), Vec::new(), Vec::new(), 0);
        let mut op = work.recv().ok();
        while let Some(now) = op {
            match now {
                Op::Append(body, answer) => {
                    bytes += body.len();
                    appends.push((next, body));
                    answers.push(answer);
                    next += 1;
                }
                Op::Remove(key) => removes.push(key),
                Op::Close => closed = true,
            }
            op = if bytes < GROUP_BYTES_MAX { work.try_recv().ok() } else { None };
        }
        backend.commit(&appends, &removes);
        for ((key, body), answer) in appends.into_iter().zip(answers) {
            let _ = arrived.send((key, Some(body.len())));
            let _ = answer.send(());
        }
    }
}

#[async_trait]
impl<B: Backend> Queue for Grouped<B> {
    async fn append(&self, body: Bytes) {
        let (answer, answered) = oneshot::channel();
        self.ops.send(Op::Append(body, answer)).unwrap();
        answered.await.unwrap();
    }

    async fn take(&self) -> (u64, usize) {
        let (key, bytes) = self.ready.lock().await.recv().await.unwrap();
        let bytes = match bytes {
            Some(bytes) => bytes,
            None => {
                let backend = self.backend.clone();
                tokio::task::spawn_blocking(move || backend.read(key)).await.unwrap()
            }
        };
        (key, bytes)
    }

    async fn remove(&self, key: u64) {
        self.ops.send(Op::Remove(key)).unwrap();
    }

    async fn close(&self) {
        self.ops.send(Op::Close).unwrap();
        let writer = self.writer.lock().unwrap().take().unwrap();
        tokio::task::spawn_blocking(|| writer.join().unwrap()).await.unwrap();
    }
}

// === redb ===

const TABLE: TableDefinition<'static, u64, &[u8]> = TableDefinition::new("records");

struct Redb(redb::Database);

/// A file whose syncs can be left out: redb has no mode between "survives a power loss" and "may be lost with the
/// process", so this is how it survives the process alone.
#[derive(Debug)]
struct Backing {
    file: File,
    sync: bool,
}

impl StorageBackend for Backing {
    fn len(&self) -> std::io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> std::io::Result<()> {
        self.file.read_exact_at(out, offset)
    }

    fn set_len(&self, len: u64) -> std::io::Result<()> {
        self.file.set_len(len)
    }

    fn sync_data(&self) -> std::io::Result<()> {
        if self.sync { self.file.sync_data() } else { Ok(()) }
    }

    fn write(&self, offset: u64, data: &[u8]) -> std::io::Result<()> {
        self.file.write_all_at(data, offset)
    }
}

impl Redb {
    fn open(folder: &Path, sync: bool) -> Self {
        let path = folder.join("redb");
        let file = File::options().read(true).write(true).create(true).truncate(false).open(path).unwrap();
        let backend = Backing { file, sync };
        let database =
            redb::Database::builder().set_cache_size(16 << 20).create_with_backend(backend).unwrap();
        let write = database.begin_write().unwrap();
        write.open_table(TABLE).unwrap();
        write.commit().unwrap();
        Self(database)
    }
}

impl Backend for Redb {
    fn commit(&self, appends: &[(u64, Bytes)], removes: &[u64]) {
        let mut write = self.0.begin_write().unwrap();
        if appends.is_empty() {
            // As in the log, removals alone are not worth a sync.
            write.set_durability(redb::Durability::None).unwrap();
        }
        {
            let mut table = write.open_table(TABLE).unwrap();
            for (key, body) in appends {
                table.insert(key, &body[..]).unwrap();
            }
            for key in removes {
                table.remove(key).unwrap();
            }
        }
        write.commit().unwrap();
    }

    fn read(&self, key: u64) -> usize {
        let read = self.0.begin_read().unwrap();
        let value = read.open_table(TABLE).unwrap().get(key).unwrap().unwrap();
        Bytes::copy_from_slice(value.value()).len()
    }

    fn keys(&self) -> Vec<u64> {
        let read = self.0.begin_read().unwrap();
        let table = read.open_table(TABLE).unwrap();
        table.iter().unwrap().map(|entry| entry.unwrap().0.value()).collect()
    }
}

// === fjall ===

struct Fjall {
    database: Database,
    records: Keyspace,
    mode: PersistMode,
}

impl Fjall {
    fn open(folder: &Path, fsync: bool) -> Self {
        let database = Database::builder(folder.join("fjall"))
            .cache_size(16 << 20)
            .journal_compression(fjall::CompressionType::None)
            .open()
            .unwrap();
        // Values of this size belong beside the tree, says its documentation.
        let options = || {
            let values = KvSeparationOptions::default().compression(fjall::CompressionType::None);
            KeyspaceCreateOptions::default().with_kv_separation(Some(values))
        };
        let records = database.keyspace("records", options).unwrap();
        let mode = if fsync { PersistMode::SyncData } else { PersistMode::Buffer };
        Self { database, records, mode }
    }
}

impl Backend for Fjall {
    fn commit(&self, appends: &[(u64, Bytes)], removes: &[u64]) {
        // Removals alone need not be durable at once; the log does not sync for them either.
        let mode = if appends.is_empty() { PersistMode::Buffer } else { self.mode };
        let mut batch = self.database.batch().durability(Some(mode));
        for (key, body) in appends {
            batch.insert(&self.records, key.to_be_bytes(), &body[..]);
        }
        for key in removes {
            batch.remove(&self.records, key.to_be_bytes());
        }
        batch.commit().unwrap();
    }

    fn read(&self, key: u64) -> usize {
        let value = self.records.get(key.to_be_bytes()).unwrap().unwrap();
        Bytes::copy_from_slice(&value).len()
    }

    fn keys(&self) -> Vec<u64> {
        let key = |guard: fjall::Guard| u64::from_be_bytes(guard.key().unwrap()[..].try_into().unwrap());
        self.records.iter().map(key).collect()
    }
}
