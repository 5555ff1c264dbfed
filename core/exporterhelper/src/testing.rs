//! What the tests share: a sender that does as it is told, a log in memory, an exporter made of both.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use spanbridge_component::ledger::Balance;
use spanbridge_component::{
    Batch, Code, Component, ConsumeError, Exporter, Extension, Kind, Log, LogUsage, Note, Payload, Position,
    Record, Settings, Signal, Storage, StorageError, StorageErrorKind, StorageOwner, Taken,
};
use spanbridge_testkit::{Payloads, StatusLog, host, item_ids, metric, settings_of};
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, timeout};

use crate::{ExporterHelper, HelperConfig, Refusal, SendError, Sender};

/// What a destination does with a message.
pub(crate) enum Answer {
    Ok,
    Fail(SendError),
    /// Never answers.
    Hang,
    /// Answers after a while.
    After(Duration, Box<Answer>),
    Panic,
}

type Script = Box<dyn Fn(usize, &Batch) -> Answer + Send + Sync>;

/// A destination that answers as its script says, and remembers.
pub(crate) struct Scripted {
    script: Mutex<Script>,
    attempts: AtomicUsize,
    sent: Mutex<Vec<Batch>>,
    taken: Mutex<Vec<Batch>>,
    items: watch::Sender<usize>,
    in_flight: AtomicUsize,
    pub(crate) in_flight_max: AtomicUsize,
}

impl Scripted {
    pub(crate) fn new(script: impl Fn(usize, &Batch) -> Answer + Send + Sync + 'static) -> Arc<Self> {
        Arc::new(Self {
            script: Mutex::new(Box::new(script)),
            attempts: AtomicUsize::new(0),
            sent: Mutex::default(),
            taken: Mutex::default(),
            items: watch::Sender::new(0),
            in_flight: AtomicUsize::new(0),
            in_flight_max: AtomicUsize::new(0),
        })
    }

    pub(crate) fn working() -> Arc<Self> {
        Self::new(|_, _| Answer::Ok)
    }

    pub(crate) fn down() -> Arc<Self> {
        Self::new(|_, _| unavailable())
    }

    /// From now on it does this.
    pub(crate) fn does(&self, script: impl Fn(usize, &Batch) -> Answer + Send + Sync + 'static) {
        *self.script.lock().unwrap() = Box::new(script);
    }

    pub(crate) fn attempts(&self) -> usize {
        self.attempts.load(Ordering::Relaxed)
    }

    /// Every message it was sent.
    pub(crate) fn sent(&self) -> Vec<Batch> {
        self.sent.lock().unwrap().clone()
    }

    /// The messages it took.
    pub(crate) fn taken(&self) -> Vec<Batch> {
        self.taken.lock().unwrap().clone()
    }

    /// The items it took, message by message.
    pub(crate) fn taken_ids(&self) -> Vec<Vec<u64>> {
        self.taken().iter().map(|batch| item_ids(&batch.payload)).collect()
    }

    /// The items it took, sorted.
    pub(crate) fn ids(&self) -> Vec<u64> {
        let mut ids = self.taken_ids().concat();
        ids.sort_unstable();
        ids
    }

    pub(crate) async fn wait_for_items(&self, count: usize) {
        let mut items = self.items.subscribe();
        let waited = timeout(Duration::from_secs(36_000), items.wait_for(|items| *items >= count)).await;
        assert!(waited.is_ok(), "waited for {count} items and has {}", *self.items.borrow());
    }
}

/// A message on its way.
struct Flying<'a>(&'a Scripted);

impl Drop for Flying<'_> {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The scripted destination as a sender.
pub(crate) struct To(pub(crate) Arc<Scripted>);

#[async_trait]
impl Sender for To {
    async fn send(&self, batch: &Batch) -> Result<(), SendError> {
        let to = &self.0;
        let now = to.in_flight.fetch_add(1, Ordering::Relaxed) + 1;
        to.in_flight_max.fetch_max(now, Ordering::Relaxed);
        let _flying = Flying(to);
        let attempt = to.attempts.fetch_add(1, Ordering::Relaxed);
        to.sent.lock().unwrap().push(batch.clone());
        let mut answer = to.script.lock().unwrap()(attempt, batch);
        loop {
            match answer {
                Answer::Ok => break,
                Answer::Fail(error) => return Err(error),
                Answer::Hang => std::future::pending().await,
                Answer::After(time, then) => {
                    tokio::time::sleep(time).await;
                    answer = *then;
                }
                Answer::Panic => panic!("the sender fails on it"),
            }
        }
        to.taken.lock().unwrap().push(batch.clone());
        to.items.send_modify(|items| *items += batch.items());
        Ok(())
    }
}

pub(crate) fn unavailable() -> Answer {
    Answer::Fail(ConsumeError::retryable("connection refused").with_code(Code::Unavailable).into())
}

pub(crate) fn refused() -> SendError {
    let error = ConsumeError::permanent("bad span").with_code(Code::InvalidArgument);
    SendError { error, refusal: Refusal::Contents, failed: None }
}

pub(crate) fn not_let_in() -> SendError {
    let error = ConsumeError::permanent("invalid credentials").with_code(Code::Unauthenticated);
    SendError { error, refusal: Refusal::Credentials, failed: None }
}

pub(crate) fn too_large(limit: Option<usize>) -> SendError {
    let error = ConsumeError::permanent("message too large").with_code(Code::ResourceExhausted);
    SendError { error, refusal: Refusal::TooLarge { limit }, failed: None }
}

/// Refuses messages with one of these items, for what is in them.
pub(crate) fn refuses_items(bad: &'static [u64]) -> impl Fn(usize, &Batch) -> Answer + Send + Sync {
    move |_, batch| {
        if item_ids(&batch.payload).iter().any(|id| bad.contains(id)) {
            Answer::Fail(refused())
        } else {
            Answer::Ok
        }
    }
}

/// An exporter that runs.
pub(crate) struct Running {
    pub(crate) exporter: Arc<dyn Exporter>,
    pub(crate) settings: Settings,
    pub(crate) status: Arc<StatusLog>,
    pub(crate) payloads: Mutex<Payloads>,
}

impl Running {
    /// Reads a configuration and starts an exporter with it; a queue on disk finds this log.
    pub(crate) async fn start_with(yaml: &str, to: &Arc<Scripted>, log: Option<Arc<MemoryLog>>) -> Self {
        let settings = settings_of(Kind::Exporter, "otlp_grpc");
        let exporter = ExporterHelper::new(settings.clone(), config(yaml), To(to.clone())).unwrap();
        let (host, status) = host(&settings);
        let storage: Arc<dyn Extension> = Arc::new(MemoryStorage(log.unwrap_or_default()));
        let extensions = BTreeMap::from([("file_storage".parse().unwrap(), storage)]);
        exporter.start(host.with_extensions(Arc::new(extensions))).await.unwrap();
        Self { exporter, settings, status, payloads: Mutex::new(Payloads::small()) }
    }

    pub(crate) async fn start(yaml: &str, to: &Arc<Scripted>) -> Self {
        Self::start_with(yaml, to, None).await
    }

    pub(crate) fn payload(&self, items: usize) -> Payload {
        self.payloads.lock().unwrap().request(Signal::Traces, items)
    }

    pub(crate) fn batch(&self, items: usize) -> Batch {
        Batch::new(self.payload(items))
    }

    /// Hands over a request of so many items.
    pub(crate) async fn consume(&self, items: usize) -> Result<(), ConsumeError> {
        self.exporter.consume(self.batch(items)).await
    }

    /// The same in a task of its own.
    pub(crate) fn spawn(&self, items: usize) -> tokio::task::JoinHandle<Result<(), ConsumeError>> {
        self.spawn_batch(self.batch(items))
    }

    pub(crate) fn spawn_batch(&self, batch: Batch) -> tokio::task::JoinHandle<Result<(), ConsumeError>> {
        let exporter = self.exporter.clone();
        tokio::spawn(async move { exporter.consume(batch).await })
    }

    pub(crate) async fn stop(&self, within: u64) -> Result<(), spanbridge_component::ShutdownError> {
        let deadline = Instant::now() + Duration::from_secs(within);
        let result = self.exporter.shutdown(deadline).await;
        assert!(Instant::now() <= deadline + Duration::from_millis(5), "shutdown passed its deadline");
        result
    }

    pub(crate) async fn retire(&self, within: u64) -> Vec<Vec<u64>> {
        let batches = self.exporter.retire(Instant::now() + Duration::from_secs(within)).await.unwrap();
        batches.iter().map(|batch| item_ids(&batch.payload)).collect()
    }

    /// The books, which must be balanced.
    pub(crate) fn balance(&self) -> Balance {
        let balance = self.settings.ledger.balance(Signal::Traces);
        assert!(balance.is_balanced(), "{balance:?}");
        balance
    }

    /// The metric of the traces, 0 if there is none.
    pub(crate) fn metric(&self, name: &str) -> i64 {
        let with_type = [("exporter", "otlp_grpc"), ("data_type", "traces")];
        let name = format!("otelcol_exporter_{name}");
        let value = metric(&self.settings.telemetry, &name, &with_type)
            .or_else(|| metric(&self.settings.telemetry, &name, &with_type[..1]))
            .unwrap_or_default();
        value.to_string().parse().unwrap()
    }
}

pub(crate) fn config(yaml: &str) -> HelperConfig {
    let document = spanbridge_config::Document::from_yaml(yaml).unwrap();
    let decoded = document.decode_and_validate::<HelperConfig>(document.root(), &[], &[]);
    let (config, problems) = decoded.into_parts();
    assert!(problems.is_empty(), "{yaml}: {problems:?}");
    config.unwrap()
}

/// Lets every task run until nothing moves without time passing.
pub(crate) async fn settle() {
    for _ in 0..200 {
        tokio::task::yield_now().await;
    }
}

// === a log in memory ===

/// A log that outlives the exporter, as a disk does.
#[derive(Default)]
pub(crate) struct MemoryLog {
    state: Mutex<LogState>,
    changed: Notify,
    pub(crate) is_full: AtomicBool,
    pub(crate) is_too_small: AtomicBool,
    pub(crate) takes_fail: AtomicBool,
    pub(crate) appends_hang: AtomicBool,
}

#[derive(Default)]
struct LogState {
    /// By position; those before `next` have been taken.
    records: BTreeMap<u64, (Record, Note)>,
    waiting: VecDeque<u64>,
    appended: u64,
    is_open: bool,
}

impl MemoryLog {
    /// The items on disk, in order.
    pub(crate) fn ids(&self) -> Vec<u64> {
        let state = self.state.lock().unwrap();
        let ids = |record: &Record| {
            let body = bytes::Bytes::from(record.body.concat());
            let payload = Payload::from_wire(Signal::Traces, body, spanbridge_pdata::InvalidUtf8::Refuse);
            item_ids(&payload.unwrap().payload)
        };
        state.records.values().flat_map(|(record, _)| ids(record)).collect()
    }

    pub(crate) fn notes(&self) -> Vec<Note> {
        self.state.lock().unwrap().records.values().map(|(_, note)| *note).collect()
    }

    pub(crate) fn records(&self) -> u64 {
        self.usage().records
    }

    pub(crate) fn is_open(&self) -> bool {
        self.state.lock().unwrap().is_open
    }

    /// Writes another header over every record's.
    pub(crate) fn set_headers(&self, header: &'static [u8]) {
        for (record, _) in self.state.lock().unwrap().records.values_mut() {
            record.header = bytes::Bytes::from_static(header);
        }
    }

    fn open(&self) {
        let mut state = self.state.lock().unwrap();
        assert!(!state.is_open, "the log is open already");
        state.is_open = true;
        state.waiting = state.records.keys().copied().collect();
    }
}

#[async_trait]
impl Log for MemoryLog {
    async fn append(&self, record: Record) -> Result<(), StorageError> {
        tokio::task::yield_now().await;
        if self.appends_hang.load(Ordering::Relaxed) {
            std::future::pending::<()>().await;
        }
        if self.is_full.load(Ordering::Relaxed) {
            return Err(StorageError::new(StorageErrorKind::Full, "no space left on device"));
        }
        if self.is_too_small.load(Ordering::Relaxed) {
            return Err(StorageError::new(StorageErrorKind::TooLarge, "can never fit into a max_size of 1"));
        }
        let mut state = self.state.lock().unwrap();
        if !state.is_open {
            return Err(StorageError::new(StorageErrorKind::Closed, "closed"));
        }
        let position = state.appended;
        state.appended += 1;
        state.records.insert(position, (record, Note::default()));
        state.waiting.push_back(position);
        drop(state);
        self.changed.notify_waiters();
        Ok(())
    }

    async fn take(&self) -> Result<Taken, StorageError> {
        loop {
            let changed = self.changed.notified();
            if self.takes_fail.load(Ordering::Relaxed) {
                return Err(StorageError::new(StorageErrorKind::Io, "input/output error"));
            }
            {
                let mut state = self.state.lock().unwrap();
                if !state.is_open {
                    return Err(StorageError::new(StorageErrorKind::Closed, "closed"));
                }
                if let Some(offset) = state.waiting.pop_front() {
                    let (record, note) = state.records.get(&offset).unwrap().clone();
                    let position = Position { segment: 0, offset };
                    let Record { items, header, body } = record;
                    return Ok(Taken { position, items, header, body, note });
                }
            }
            changed.await;
        }
    }

    async fn remove(&self, position: Position) {
        tokio::task::yield_now().await;
        assert!(self.state.lock().unwrap().records.remove(&position.offset).is_some(), "removed twice");
    }

    async fn annotate(&self, position: Position, note: Note) {
        self.state.lock().unwrap().records.get_mut(&position.offset).unwrap().1 = note;
    }

    fn usage(&self) -> LogUsage {
        let state = self.state.lock().unwrap();
        let records = || state.records.values().map(|(record, _)| record);
        LogUsage {
            records: records().count() as u64,
            items: records().map(|record| record.items).sum(),
            bytes: records().flat_map(|record| &record.body).map(|piece| piece.len() as u64).sum(),
            ..LogUsage::default()
        }
    }

    async fn close(&self) {
        self.state.lock().unwrap().is_open = false;
        self.changed.notify_waiters();
    }
}

/// The same log for every owner: the tests use one signal. Logs of other signals stay empty.
struct MemoryStorage(Arc<MemoryLog>);

#[async_trait]
impl Storage for MemoryStorage {
    async fn open_log(&self, owner: &StorageOwner) -> Result<Arc<dyn Log>, StorageError> {
        assert_eq!(owner.id.as_str(), "otlp_grpc");
        let log = if owner.name == "traces" { self.0.clone() } else { Arc::default() };
        log.open();
        Ok(log)
    }
}

impl Component for MemoryStorage {}

impl Extension for MemoryStorage {
    fn as_storage(&self) -> Option<&dyn Storage> {
        Some(self)
    }
}
