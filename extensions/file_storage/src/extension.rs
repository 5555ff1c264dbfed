//! The extension: opens logs for others.

use std::fs;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use spanbridge_component::{
    BuildError, Component, Extension, Host, Log, Settings, ShutdownError, StartError, Storage, StorageError,
    StorageErrorKind, StorageOwner, async_trait,
};
use spanbridge_pdata::memory::Account;
use tokio::task::spawn_blocking;
use tokio::time::{Instant, timeout_at};
use tracing::Span;

use crate::Config;
use crate::disk::{Folder, failure};
use crate::log::{FileLog, Opening};
use crate::names::{foreign_databases, log_folder};
use crate::shared::Shared;
use crate::writer::Options;

/// Keeps logs in a directory.
pub(crate) struct FileStorage {
    config: Config,
    permissions: u32,
    span: Span,
    /// The logs that were opened, to close those that their owners left open.
    logs: Mutex<Vec<Weak<Shared>>>,
}

impl FileStorage {
    pub(crate) fn new(settings: &Settings, config: Config) -> Result<Self, BuildError> {
        // Unless the directory is to be made, the key is not looked at, as in the Go collector.
        let permissions = match config.permissions() {
            Ok(permissions) => permissions,
            Err(text) if config.create_directory => return Err(BuildError(text.to_owned())),
            Err(_) => DEFAULT_PERMISSIONS,
        };
        Ok(Self { config, permissions, span: settings.span(), logs: Mutex::default() })
    }

    fn opening(&self) -> Opening {
        let Config { timeout, recreate, fsync, max_size, .. } = self.config;
        Opening {
            timeout: timeout.get(),
            recreate,
            options: Options { fsync, max_size },
            account: Account::process().clone(),
        }
    }
}

const DEFAULT_PERMISSIONS: u32 = 0o750;

#[async_trait]
impl Component for FileStorage {
    async fn start(&self, _host: Host) -> Result<(), StartError> {
        let directory = self.config.directory.clone();
        let create = self.config.create_directory.then_some(self.permissions);
        let span = self.span.clone();
        let prepared = spawn_blocking(move || span.in_scope(|| prepare(&directory, create))).await;
        prepared.map_err(|error| StartError(error.to_string()))?.map_err(StartError)
    }

    async fn shutdown(&self, deadline: Instant) -> Result<(), ShutdownError> {
        let logs = std::mem::take(&mut *self.logs.lock().unwrap_or_else(PoisonError::into_inner));
        for log in logs.iter().filter_map(Weak::upgrade) {
            log.close();
            if timeout_at(deadline, log.ended()).await.is_err() {
                let message = format!("the disk did not take the end of the log {} in time", log.name);
                return Err(ShutdownError { message, undelivered_items: 0 });
            }
        }
        Ok(())
    }
}

impl Extension for FileStorage {
    fn as_storage(&self) -> Option<&dyn Storage> {
        Some(self)
    }
}

#[async_trait]
impl Storage for FileStorage {
    async fn open_log(&self, owner: &StorageOwner) -> Result<Arc<dyn Log>, StorageError> {
        let folder = self.config.directory.join(log_folder(owner));
        let (owner, opening, permissions) = (owner.clone(), self.opening(), self.permissions);
        let span = self.span.clone();
        let open = move || span.in_scope(|| open(folder, permissions, &owner, &opening));
        let opened = spawn_blocking(open).await;
        let log = opened.map_err(|error| StorageError::new(StorageErrorKind::Io, error.to_string()))??;
        let mut logs = self.logs.lock().unwrap_or_else(PoisonError::into_inner);
        logs.retain(|log| log.strong_count() > 0);
        logs.push(log.shared());
        Ok(Arc::new(log))
    }
}

fn prepare(directory: &Path, create: Option<u32>) -> Result<(), String> {
    if let Some(permissions) = create {
        make_folder(directory, permissions)
            .map_err(|error| format!("cannot create {}: {error}", directory.display()))?;
    }
    if !directory.is_dir() {
        return Err(format!("{} is not a directory", directory.display()));
    }
    for file in foreign_databases(directory) {
        tracing::warn!(
            file = %file.display(),
            "A queue of the Go collector lies here; it is in another format and is not taken over"
        );
    }
    Ok(())
}

fn make_folder(path: &Path, permissions: u32) -> std::io::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(permissions).create(path)
}

fn open(
    folder: PathBuf,
    permissions: u32,
    owner: &StorageOwner,
    opening: &Opening,
) -> Result<FileLog, StorageError> {
    make_folder(&folder, permissions).map_err(|error| failure("create", &folder, &error))?;
    // Also if it was there already: it may be of a process that ended before it came to this.
    if opening.options.fsync
        && let Some(directory) = folder.parent()
    {
        let sync = |path: &Path| fs::File::open(path).and_then(|folder| folder.sync_all());
        sync(directory).map_err(|error| failure("sync", directory, &error))?;
        // That may be new as well; but not every parent may be read.
        let _ = directory.parent().map(sync);
    }
    FileLog::open(Arc::new(Folder(folder)), owner, opening)
}
