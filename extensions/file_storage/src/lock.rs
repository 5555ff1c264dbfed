//! The lock that keeps a log to one process and one component, and says whose it is.

use std::fs::{File, TryLockError};
use std::io::{Read, Seek, Write};
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use spanbridge_component::{StorageError, StorageErrorKind, StorageOwner};

use crate::disk::failure;

/// The file in a log's folder that is locked.
pub(crate) const LOCK_FILE: &str = "lock";
/// How often a lock that somebody holds is tried again.
const RETRY_EVERY: Duration = Duration::from_millis(20);
/// More of the lock file is not read.
const HOLDER_BYTES_MAX: u64 = 4 << 10;

/// An exclusive lock on a folder. The system releases it when this is dropped, and when the process ends however it
/// ends.
#[derive(Debug)]
pub(crate) struct FolderLock {
    _file: File,
}

impl FolderLock {
    /// Locks `folder` for `owner`, waiting up to `timeout`.
    ///
    /// # Errors
    /// [`StorageErrorKind::Busy`] with who has it.
    pub(crate) fn acquire(
        folder: &Path,
        owner: &StorageOwner,
        timeout: Duration,
    ) -> Result<Self, StorageError> {
        let path = folder.join(LOCK_FILE);
        let opened = File::options().read(true).write(true).create(true).truncate(false).open(&path);
        let mut file = opened.map_err(|error| failure("open the lock file", &path, &error))?;
        let began = Instant::now();
        loop {
            match file.try_lock() {
                Ok(()) => break,
                Err(TryLockError::Error(error)) => return Err(failure("lock", &path, &error)),
                Err(TryLockError::WouldBlock) if began.elapsed() >= timeout => {
                    return Err(busy(folder, &mut file));
                }
                Err(TryLockError::WouldBlock) => thread::sleep(RETRY_EVERY),
            }
        }
        // Only the words of an error depend on it, and it must not keep anyone from emptying a full disk.
        let _ = write_holder(&mut file, owner);
        Ok(Self { _file: file })
    }
}

fn write_holder(file: &mut File, owner: &StorageOwner) -> std::io::Result<()> {
    // The command without its arguments: those may hold secrets.
    let command = std::env::args_os().next().unwrap_or_default();
    let node = rustix::system::uname();
    let holder = format!(
        "pid {}\ncommand {}\nhost {}\nsince {}\nowner {owner}\n",
        std::process::id(),
        command.to_string_lossy(),
        node.nodename().to_string_lossy(),
        jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ"),
    );
    file.set_len(0)?;
    file.rewind()?;
    file.write_all(holder.as_bytes())
}

fn busy(folder: &Path, file: &mut File) -> StorageError {
    let mut text = Vec::new();
    let _ = file.take(HOLDER_BYTES_MAX).read_to_end(&mut text);
    let text = String::from_utf8_lossy(&text);
    let fact = |key: &str| {
        text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(' ')).unwrap_or("unknown")
    };
    let (pid, owner) = (fact("pid"), fact("owner"));
    let holder = if pid == std::process::id().to_string() {
        format!("{owner} of this process")
    } else {
        let (command, host, since) = (fact("command"), fact("host"), fact("since"));
        format!("process {pid} ({command}) on host {host} since {since}, for {owner}")
    };
    let message = format!("the log {} is in use by {holder}", folder.display());
    StorageError::new(StorageErrorKind::Busy, message)
}

#[cfg(test)]
mod tests {
    use spanbridge_component::Kind;

    use super::*;

    fn owner() -> StorageOwner {
        StorageOwner { kind: Kind::Exporter, id: "otlp/x".parse().unwrap(), name: "traces".to_owned() }
    }

    #[test]
    fn a_second_lock_says_who_has_the_first_and_succeeds_when_it_is_released() {
        let folder = tempfile::tempdir().unwrap();
        let first = FolderLock::acquire(folder.path(), &owner(), Duration::ZERO).unwrap();
        let error = FolderLock::acquire(folder.path(), &owner(), Duration::ZERO).unwrap_err();
        assert_eq!(error.kind, StorageErrorKind::Busy);
        let end = "is in use by exporter \"otlp/x\" (traces) of this process";
        assert!(error.message.ends_with(end), "{}", error.message);
        drop(first);
        FolderLock::acquire(folder.path(), &owner(), Duration::ZERO).unwrap();
    }

    #[test]
    fn what_a_dead_process_left_in_the_lock_file_does_not_matter() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join(LOCK_FILE), vec![0xFF; 10_000]).unwrap();
        let _first = FolderLock::acquire(folder.path(), &owner(), Duration::ZERO).unwrap();
        let text = std::fs::read_to_string(folder.path().join(LOCK_FILE)).unwrap();
        assert!(text.contains(&format!("pid {}\n", std::process::id())), "{text}");
        assert!(text.contains("owner exporter \"otlp/x\" (traces)\n"), "{text}");
    }
}
