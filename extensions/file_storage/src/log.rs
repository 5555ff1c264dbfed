//! A log as its owner sees it.

use std::path::Path;
use std::sync::{Arc, Weak};
use std::thread;
use std::time::Duration;

use spanbridge_component::{
    Log, LogUsage, Note, Position, Record, StorageError, StorageErrorKind, StorageOwner, Taken, async_trait,
};
use spanbridge_pdata::memory::Account;
use tokio::sync::Mutex;
use tokio::task::spawn_blocking;

use crate::disk::{Disk, Files, failure};
use crate::format::{RECORD_HEADER_BYTES, SEGMENT_HEADER_BYTES};
use crate::lock::FolderLock;
use crate::memory::Memory;
use crate::reader::fill;
use crate::recover::recover;
use crate::shared::Shared;
use crate::state::Next;
use crate::writer::{Options, Writer};

/// Longest header of an owner: its length has 32 bits on disk.
const OWNERS_HEADER_BYTES_MAX: usize = 16 << 20;

/// A log in a folder. Dropping it closes it without waiting.
pub(crate) struct FileLog {
    shared: Arc<Shared>,
    /// One takes at a time, in turn.
    turn: Arc<Mutex<()>>,
    max_size: u64,
}

/// How a log is opened.
#[derive(Debug, Clone)]
pub(crate) struct Opening {
    pub(crate) timeout: Duration,
    pub(crate) recreate: bool,
    pub(crate) options: Options,
    /// Where what is read is charged.
    pub(crate) account: Account,
}

impl FileLog {
    /// Opens the log of `owner` on `disk`, whose folder exists. Blocks.
    pub(crate) fn open(
        disk: Arc<dyn Disk>,
        owner: &StorageOwner,
        opening: &Opening,
    ) -> Result<Self, StorageError> {
        let lock = FolderLock::acquire(disk.folder(), owner, opening.timeout)?;
        let name = name_of(disk.folder());
        let files = Files::new(disk);
        let recovered = recover(&files, &name, opening.recreate)?;
        let (next_segment, next_sequence) = (recovered.next_segment, recovered.next_sequence);
        let memory = Memory::new(opening.account.clone());
        let shared = Shared::new(files, name, memory, recovered.segments, recovered.damaged);
        let LogUsage { records, items, bytes, damaged, .. } = shared.usage();
        if records > 0 || damaged > 0 {
            let log = &shared.name;
            tracing::info!(
                log,
                records,
                items,
                bytes,
                damaged,
                "The log holds records of an earlier process"
            );
        }
        let writer = Writer::new(shared.clone(), opening.options, next_segment, next_sequence, lock);
        let ends = Ends(shared.clone());
        let span = tracing::Span::current();
        let thread = thread::Builder::new().name("file_storage".to_owned()).spawn(move || {
            // In this order: who waits for the end may open the log again.
            let _ends = ends;
            span.in_scope(|| writer.run());
        });
        thread.map_err(|error| failure("start a thread for", shared.files.disk().folder(), &error))?;
        Ok(Self { shared, turn: Arc::default(), max_size: opening.options.max_size })
    }

    /// To close it from elsewhere.
    pub(crate) fn shared(&self) -> Weak<Shared> {
        Arc::downgrade(&self.shared)
    }

    fn check(&self, record: &Record) -> Result<(), StorageError> {
        let body = record.body.iter().map(|piece| piece.len() as u64).sum::<u64>();
        if record.header.len() > OWNERS_HEADER_BYTES_MAX {
            let message = format!("a header of {} bytes is too long for a log", record.header.len());
            return Err(StorageError::new(StorageErrorKind::TooLarge, message));
        }
        let bytes = SEGMENT_HEADER_BYTES + RECORD_HEADER_BYTES + record.header.len() as u64 + body;
        if self.max_size > 0 && bytes > self.max_size {
            let message = format!(
                "a record that takes {bytes} bytes on disk can never fit into a max_size of {}",
                self.max_size
            );
            return Err(StorageError::new(StorageErrorKind::TooLarge, message));
        }
        Ok(())
    }
}

fn name_of(folder: &Path) -> String {
    folder.file_name().unwrap_or(folder.as_os_str()).to_string_lossy().into_owned()
}

/// Says that the writer has ended, even if it panicked.
struct Ends(Arc<Shared>);

impl Drop for Ends {
    fn drop(&mut self) {
        self.0.end();
    }
}

impl Drop for FileLog {
    fn drop(&mut self) {
        self.shared.close();
    }
}

#[async_trait]
impl Log for FileLog {
    async fn append(&self, record: Record) -> Result<(), StorageError> {
        self.check(&record)?;
        self.shared.append(record).await
    }

    async fn take(&self) -> Result<Taken, StorageError> {
        let mut turn = self.turn.clone().lock_owned().await;
        loop {
            let arrived = self.shared.arrived.notified();
            match self.shared.next() {
                Next::Taken(taken) => return Ok(taken),
                Next::Closed => return Err(self.shared.closed_error()),
                Next::Nothing => arrived.await,
                Next::OnDisk(_) if !self.shared.memory.has_room() => self.shared.memory.room().await,
                Next::OnDisk(stretch) => {
                    let shared = self.shared.clone();
                    // The turn goes along: if this future is dropped, nobody else reads the same meanwhile.
                    let reading = spawn_blocking(move || (fill(&shared, stretch), turn));
                    let result;
                    (result, turn) = reading.await.map_err(|_| self.shared.closed_error())?;
                    result?;
                }
            }
        }
    }

    async fn remove(&self, position: Position) {
        self.shared.remove(position).await;
    }

    async fn annotate(&self, position: Position, note: Note) {
        self.shared.annotate(position, note).await;
    }

    fn usage(&self) -> LogUsage {
        self.shared.usage()
    }

    async fn close(&self) {
        self.shared.close();
        self.shared.ended().await;
    }
}
