//! The file system as a log uses it; a trait, so that tests can make it fail at any point.

use std::fs::{self, File};
use std::io::{self, IoSlice};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use rustix::io::Errno;
use spanbridge_component::{StorageError, StorageErrorKind};

use crate::names::segment_name;

/// The folder of one log.
pub(crate) trait Disk: Send + Sync {
    /// Where it is.
    fn folder(&self) -> &Path;
    /// Makes a file that is not there yet.
    fn create(&self, name: &str) -> io::Result<Arc<dyn DiskFile>>;
    /// Opens a file to read and write in place.
    fn open(&self, name: &str) -> io::Result<Arc<dyn DiskFile>>;
    /// Deletes a file.
    fn remove(&self, name: &str) -> io::Result<()>;
    /// Renames a file, over another of that name.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;
    /// Makes what was created, renamed and deleted survive a power loss.
    fn sync_folder(&self) -> io::Result<()>;
}

/// One file, accessed by position.
pub(crate) trait DiskFile: Send + Sync {
    /// Reads what is there, at most `buffer`; less at the end of the file.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize>;
    /// Writes all of `bytes`.
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()>;
    /// Writes some of `slices`, in one call of the system, which with `sync` returns when the disk has them. Other
    /// changes of the file are not waited for.
    fn write_vectored_at(&self, slices: &[IoSlice<'_>], offset: u64, sync: bool) -> io::Result<usize>;
    /// Makes the contents survive a power loss.
    fn sync(&self) -> io::Result<()>;
    /// Cuts the file off.
    fn truncate(&self, bytes: u64) -> io::Result<()>;
    /// How long it is.
    fn bytes(&self) -> io::Result<u64>;
}

/// A folder of the real file system.
#[derive(Debug)]
pub(crate) struct Folder(pub(crate) PathBuf);

impl Disk for Folder {
    fn folder(&self) -> &Path {
        &self.0
    }

    fn create(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        let file = File::options().read(true).write(true).create_new(true).open(self.0.join(name))?;
        Ok(Arc::new(file))
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        Ok(Arc::new(File::options().read(true).write(true).open(self.0.join(name))?))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        fs::remove_file(self.0.join(name))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        fs::rename(self.0.join(from), self.0.join(to))
    }

    fn sync_folder(&self) -> io::Result<()> {
        File::open(&self.0)?.sync_all()
    }
}

impl DiskFile for File {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut read = 0;
        while read < buffer.len() {
            match FileExt::read_at(self, &mut buffer[read..], offset + read as u64) {
                Ok(0) => break,
                Ok(bytes) => read += bytes,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(read)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.write_all_at(bytes, offset)
    }

    fn write_vectored_at(&self, slices: &[IoSlice<'_>], offset: u64, sync: bool) -> io::Result<usize> {
        if !sync {
            return Ok(rustix::io::pwritev(self, slices, offset)?);
        }
        match write_synced(self, slices, offset) {
            // Not every file system, and only Linux, can wait for a part of a file.
            Err(Errno::OPNOTSUPP | Errno::NOSYS) => {
                let bytes = rustix::io::pwritev(self, slices, offset)?;
                self.sync_data()?;
                Ok(bytes)
            }
            result => Ok(result?),
        }
    }

    fn sync(&self) -> io::Result<()> {
        self.sync_data()
    }

    fn truncate(&self, bytes: u64) -> io::Result<()> {
        self.set_len(bytes)
    }

    fn bytes(&self) -> io::Result<u64> {
        Ok(self.metadata()?.len())
    }
}

#[cfg(target_os = "linux")]
fn write_synced(file: &File, slices: &[IoSlice<'_>], offset: u64) -> Result<usize, Errno> {
    rustix::io::pwritev2(file, slices, offset, rustix::io::ReadWriteFlags::DSYNC)
}

#[cfg(not(target_os = "linux"))]
fn write_synced(_: &File, _: &[IoSlice<'_>], _: u64) -> Result<usize, Errno> {
    Err(Errno::NOSYS)
}

/// Most slices that the system takes in one call (`IOV_MAX` of Linux).
const SLICES_MAX: usize = 1024;

/// Writes all of `slices` at `offset` with as few calls of the system as it takes.
pub(crate) fn write_all_vectored(
    file: &dyn DiskFile,
    mut slices: &mut [IoSlice<'_>],
    mut offset: u64,
    sync: bool,
) -> io::Result<()> {
    IoSlice::advance_slices(&mut slices, 0);
    while !slices.is_empty() {
        let now = &slices[..slices.len().min(SLICES_MAX)];
        match file.write_vectored_at(now, offset, sync) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(bytes) => {
                offset += bytes as u64;
                IoSlice::advance_slices(&mut slices, bytes);
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Segments that stay open for reading and for changes in place.
const OPEN_FILES_MAX: usize = 8;

/// Opens segments when they are needed and keeps a few of them open: a log may have more segments than a process may
/// have files.
pub(crate) struct Files {
    disk: Arc<dyn Disk>,
    open: Mutex<Vec<(u64, Arc<dyn DiskFile>)>>,
}

impl Files {
    pub(crate) fn new(disk: Arc<dyn Disk>) -> Self {
        Self { disk, open: Mutex::default() }
    }

    pub(crate) fn disk(&self) -> &dyn Disk {
        &*self.disk
    }

    /// Segment `number`, which is there.
    pub(crate) fn segment(&self, number: u64) -> io::Result<Arc<dyn DiskFile>> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(at) = open.iter().position(|(n, _)| *n == number) {
            let found = open.remove(at);
            open.push(found);
        } else {
            let file = self.disk.open(&segment_name(number))?;
            if open.len() >= OPEN_FILES_MAX {
                open.remove(0);
            }
            open.push((number, file));
        }
        open.last().map(|(_, file)| file.clone()).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    /// Segment `number` will not be used again.
    pub(crate) fn forget(&self, number: u64) {
        self.open.lock().unwrap_or_else(PoisonError::into_inner).retain(|(n, _)| *n != number);
    }
}

/// Whether `error` says that there is no room. A limit on file sizes is one, too: it passes when segments are freed.
pub(crate) fn is_full(error: &io::Error) -> bool {
    use io::ErrorKind::{FileTooLarge, QuotaExceeded, StorageFull};
    matches!(error.kind(), StorageFull | QuotaExceeded | FileTooLarge)
}

/// `error`, which came when `what` was attempted on `path`.
pub(crate) fn failure(what: &str, path: &Path, error: &io::Error) -> StorageError {
    let kind = if is_full(error) { StorageErrorKind::Full } else { StorageErrorKind::Io };
    StorageError::new(kind, format!("cannot {what} {}: {error}", path.display()))
}
