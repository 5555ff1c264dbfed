//! Opens logs the way an exporter does.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use file_storage_extension::{Config, Factory};
use spanbridge_component::{
    Extension, ExtensionFactory, Kind, Log, Record, StorageError, StorageOwner, Taken,
};
use spanbridge_testkit::{host, settings_of};

/// No wait of a test takes longer.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// The default configuration in `directory`.
pub(crate) fn config(directory: &Path) -> Config {
    Config { directory: directory.to_owned(), create_directory: true, ..Config::default() }
}

/// A started extension.
pub(crate) async fn storage(config: Config) -> Arc<dyn Extension> {
    let settings = settings_of(Kind::Extension, "file_storage");
    let extension = Factory.create(settings.clone(), config).expect("an extension");
    extension.start(host(&settings).0).await.expect("a start");
    extension
}

pub(crate) fn owner(id: &str) -> StorageOwner {
    StorageOwner { kind: Kind::Exporter, id: id.parse().expect("an id"), name: "traces".to_owned() }
}

pub(crate) async fn try_open(config: Config) -> Result<Arc<dyn Log>, StorageError> {
    let extension = storage(config).await;
    extension.as_storage().expect("a storage").open_log(&owner("otlp")).await
}

pub(crate) async fn open(config: Config) -> Arc<dyn Log> {
    try_open(config).await.expect("a log")
}

/// A record that says its number, with a body of `bytes` in two pieces.
pub(crate) fn record(number: u64, bytes: usize) -> Record {
    let body = vec![u8::try_from(number % 251).expect("small"); bytes];
    let mut front = Bytes::from(body);
    let back = front.split_off(bytes / 2);
    Record { items: number % 7, header: Bytes::from(number.to_le_bytes().to_vec()), body: vec![front, back] }
}

/// The number of a record that [`record`] made; checks the rest of it.
pub(crate) fn number(taken: &Taken) -> u64 {
    let number = u64::from_le_bytes(taken.header[..].try_into().expect("a header of 8 bytes"));
    assert_eq!(taken.items, number % 7);
    assert!(taken.body.iter().all(|piece| piece.iter().all(|byte| u64::from(*byte) == number % 251)));
    number
}

pub(crate) async fn append(log: &Arc<dyn Log>, number: u64, bytes: usize) {
    log.append(record(number, bytes)).await.expect("room");
}

pub(crate) async fn take(log: &Arc<dyn Log>) -> Taken {
    tokio::time::timeout(PATIENCE, log.take()).await.expect("a record in time").expect("a record")
}

/// Takes `count` records, removes them, and returns their numbers.
pub(crate) async fn drain(log: &Arc<dyn Log>, count: u64) -> Vec<u64> {
    let mut numbers = Vec::new();
    for _ in 0..count {
        let taken = take(log).await;
        numbers.push(number(&taken));
        log.remove(taken.position).await;
    }
    numbers
}

/// Everything that is in the log now.
pub(crate) async fn drain_all(log: &Arc<dyn Log>) -> Vec<u64> {
    let mut numbers = Vec::new();
    while log.usage().records > 0 {
        // What cannot be read any more is noticed by trying.
        let Ok(taken) = tokio::time::timeout(Duration::from_secs(2), log.take()).await else { break };
        let taken = taken.expect("a record");
        numbers.push(number(&taken));
        log.remove(taken.position).await;
    }
    numbers
}
