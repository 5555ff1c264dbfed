//! What an extension that keeps data on disk offers to components.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;

use crate::{ComponentId, Kind};

/// Whose data it is: one log for each owner.
///
/// The id is the one written in the configuration, so renaming a component leaves its data behind, as in the Go
/// collector (reference: collector-core, 9.1).
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct StorageOwner {
    /// The component's kind.
    pub kind: Kind,
    /// The component's id as written.
    pub id: ComponentId,
    /// Which of the component's logs; for a sending queue the signal's name: `traces`.
    pub name: String,
}

impl fmt::Display for StorageOwner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} \"{}\" ({})", self.kind, self.id, self.name)
    }
}

/// Keeps logs for components: what an extension gives to those who name it (`sending_queue::storage`).
#[async_trait]
pub trait Storage: Send + Sync {
    /// Opens the log of `owner`, or makes it. It stays open, and nobody else can open it, until [`Log::close`] or until
    /// the last handle is dropped.
    ///
    /// # Errors
    /// If the directory cannot be used, or another process or component has the log open; the message says which.
    async fn open_log(&self, owner: &StorageOwner) -> Result<Arc<dyn Log>, StorageError>;
}

/// A durable queue of records, oldest first.
///
/// # Contract
///
/// - Records are taken in the order in which they were appended, also those left from an earlier process, which come
///   first. A record that was taken and not removed when the process ended is taken again by the next.
/// - Every method may be called from many tasks at once, and every future may be dropped. An append whose future was
///   dropped may or may not have happened.
/// - A record that cannot be read back (its checksum is wrong) is set aside in a file, reported in the log, counted in
///   [`LogUsage::damaged`], and skipped; those around it are delivered.
#[async_trait]
pub trait Log: Send + Sync {
    /// Appends a record and resolves when it is kept as the storage's configuration promises.
    ///
    /// # Errors
    /// [`StorageErrorKind::Full`] if there is no room: nothing is kept, and a later call may succeed.
    /// [`StorageErrorKind::TooLarge`] if there can never be room for this record.
    async fn append(&self, record: Record) -> Result<(), StorageError>;

    /// Takes the oldest record that was not taken since the log was opened; waits for one. Dropping the future takes
    /// nothing. What is read back is charged to the process's account of memory as long as a slice of it lives; a log may
    /// wait for room there, but not for ever when nothing that it gave out is in memory.
    ///
    /// # Errors
    /// [`StorageErrorKind::Closed`] after [`Log::close`]; otherwise if the disk cannot be read.
    async fn take(&self) -> Result<Taken, StorageError>;

    /// Forgets a taken record: it is done with. Works on a full disk. If the disk fails, the record is forgotten in
    /// memory all the same, and the next process will see it again; the storage reports that.
    async fn remove(&self, position: Position);

    /// Writes a small note beside a taken record, over the one before; [`Taken::note`] gives it back to the next
    /// process. Works on a full disk; a failure is reported by the storage and otherwise ignored.
    async fn annotate(&self, position: Position, note: Note);

    /// What the log holds.
    fn usage(&self) -> LogUsage;

    /// Ends it: appends that are under way finish, further calls fail with [`StorageErrorKind::Closed`], files and
    /// locks are released. What was not removed stays.
    async fn close(&self);
}

/// A record to append.
#[derive(Debug, Clone)]
pub struct Record {
    /// Spans, data points or log records in it, for [`LogUsage::items`].
    pub items: u64,
    /// The owner's own header: what it needs beside the body, such as the request's context.
    pub header: Bytes,
    /// The body in pieces that belong together, such as the segments of a payload. They are written as they are.
    pub body: Vec<Bytes>,
}

/// A record that was taken.
#[derive(Debug, Clone)]
pub struct Taken {
    /// Where it lies, for [`Log::remove`] and [`Log::annotate`].
    pub position: Position,
    /// As appended.
    pub items: u64,
    /// As appended.
    pub header: Bytes,
    /// As appended, in one piece or several: the boundaries between the pieces are not kept.
    pub body: Vec<Bytes>,
    /// The last note written beside it; zeros if none was.
    pub note: Note,
}

/// Where a record lies. Opaque; it means something to the log that gave it only.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Position {
    /// The file of the log, counted up.
    pub segment: u64,
    /// Bytes from the beginning of the file.
    pub offset: u64,
}

/// A few bytes that an owner may keep beside a record and change in place: the state of its retries.
pub type Note = [u8; 16];

/// What a log holds: everything appended and not removed, taken or not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LogUsage {
    /// Records.
    pub records: u64,
    /// The sum of [`Record::items`].
    pub items: u64,
    /// Bytes of the records' bodies.
    pub bytes: u64,
    /// Bytes on disk, with everything around them and what is removed but not yet freed.
    pub disk_bytes: u64,
    /// Records that could not be read back since the log was opened.
    pub damaged: u64,
}

/// What kind of failure it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StorageErrorKind {
    /// The disk, or the limit of the configuration, has no room; may pass by itself.
    Full,
    /// The record does not fit even into an empty log; trying again is in vain.
    TooLarge,
    /// Somebody else uses it.
    Busy,
    /// The log was closed.
    Closed,
    /// The disk or the file system failed, or does not allow it.
    Io,
}

/// Why a storage could not do what was asked: what was attempted, on which file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct StorageError {
    /// What kind of failure.
    pub kind: StorageErrorKind,
    /// In words.
    pub message: String,
}

impl StorageError {
    /// An error of `kind`.
    pub fn new(kind: StorageErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into() }
    }
}
