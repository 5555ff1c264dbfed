//! Files that are read again when they change: secrets that are rotated while the process runs.
//!
//! Files are looked at, not subscribed to: that works on every file system, follows the symbolic links of a mounted
//! Kubernetes secret, and costs a `stat` a second.

use std::fs::{File, Metadata};
use std::io::Read as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::time::sleep;
use tokio_util::task::AbortOnDropHandle;
use tracing::Instrument as _;

/// Time between two looks at a file.
pub const LOOK_INTERVAL: Duration = Duration::from_secs(1);
/// A change is read when the file has stayed the same for this long: it may be written in pieces.
const SETTLE: Duration = Duration::from_millis(200);
/// Looks at a file that does not settle; then it is read as it is.
const SETTLE_LOOKS_MAX: usize = 10;
/// Largest file that is read.
pub const FILE_BYTES_MAX: u64 = 16 * 1024 * 1024;

/// Reads a text file of at most [`FILE_BYTES_MAX`].
///
/// # Errors
/// What is wrong, without the path.
pub fn read_text(path: &Path) -> Result<String, String> {
    let file = File::open(path).map_err(|error| error.to_string())?;
    let mut bytes = Vec::new();
    file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(|error| error.to_string())?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        return Err(format!("larger than {FILE_BYTES_MAX} bytes"));
    }
    String::from_utf8(bytes).map_err(|error| {
        let line = error.as_bytes()[..error.utf8_error().valid_up_to()].split(|byte| *byte == b'\n').count();
        format!("line {line} is not UTF-8")
    })
}

/// What tells one state of a file from another.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Look {
    device: u64,
    inode: u64,
    bytes: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl From<Metadata> for Look {
    fn from(metadata: Metadata) -> Self {
        Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            bytes: metadata.size(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }
}

/// How files look now; `None` for one that is not there.
type Looks = Vec<Option<Look>>;

/// How files looked before they were read for the first time.
#[derive(Debug, Clone)]
pub struct Files {
    paths: Vec<PathBuf>,
    seen: Looks,
}

impl Files {
    /// Looks at these files. Whoever reads them does it after this, so that no change between the two is missed.
    pub fn new(paths: Vec<PathBuf>) -> Self {
        let seen = look(&paths);
        Self { paths, seen }
    }

    /// Calls `on_change`, on a thread that may block, whenever one of the files has changed, also when it was removed or
    /// came back. It ends when the handle is dropped, and runs in the current tracing span. `None` without files.
    pub fn watch(self, on_change: impl Fn() + Send + Sync + 'static) -> Option<AbortOnDropHandle<()>> {
        if self.paths.is_empty() {
            return None;
        }
        let span = tracing::Span::current();
        let on_change = std::sync::Arc::new(move || span.in_scope(&on_change));
        Some(AbortOnDropHandle::new(tokio::spawn(self.run(on_change).in_current_span())))
    }

    async fn run(mut self, on_change: std::sync::Arc<impl Fn() + Send + Sync + 'static>) {
        loop {
            sleep(LOOK_INTERVAL).await;
            let mut now = self.look().await;
            if now == self.seen {
                continue;
            }
            for _ in 0..SETTLE_LOOKS_MAX {
                sleep(SETTLE).await;
                let again = self.look().await;
                if again == now {
                    break;
                }
                now = again;
            }
            self.seen = now;
            let on_change = on_change.clone();
            if tokio::task::spawn_blocking(move || on_change()).await.is_err() {
                tracing::error!(
                    "Reading a file that has changed panicked; what was read before stays in use"
                );
            }
        }
    }

    async fn look(&self) -> Looks {
        let paths = self.paths.clone();
        tokio::task::spawn_blocking(move || look(&paths)).await.unwrap_or_else(|_| self.seen.clone())
    }
}

fn look(paths: &[PathBuf]) -> Looks {
    paths.iter().map(|path| std::fs::metadata(path).ok().map(Look::from)).collect()
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use tokio::sync::mpsc;
    use tokio::time::timeout;

    use super::*;

    const BOUND: Duration = Duration::from_secs(20);

    /// A Kubernetes secret: `name -> ..data/name`, `..data -> ..version`, and each version a folder.
    fn publish(dir: &Path, version: &str, text: &str) {
        let folder = dir.join(format!("..{version}"));
        fs::create_dir(&folder).unwrap();
        fs::write(folder.join("password"), text).unwrap();
        symlink(format!("..{version}"), dir.join("..tmp")).unwrap();
        fs::rename(dir.join("..tmp"), dir.join("..data")).unwrap();
    }

    #[tokio::test]
    async fn every_way_of_changing_a_file_is_seen() {
        let dir = tempfile::tempdir().unwrap();
        publish(dir.path(), "1", "first");
        let path = dir.path().join("password");
        symlink("..data/password", &path).unwrap();
        let (send, mut changes) = mpsc::unbounded_channel();
        let read = path.clone();
        let _watch = Files::new(vec![path.clone()]).watch(move || send.send(read_text(&read)).unwrap());
        publish(dir.path(), "2", "swapped");
        assert_eq!(timeout(BOUND, changes.recv()).await.unwrap().unwrap().unwrap(), "swapped");
        fs::write(dir.path().join("..2/password"), "written").unwrap();
        assert_eq!(timeout(BOUND, changes.recv()).await.unwrap().unwrap().unwrap(), "written");
        fs::remove_file(&path).unwrap();
        assert!(timeout(BOUND, changes.recv()).await.unwrap().unwrap().is_err());
        fs::write(&path, "back").unwrap();
        assert_eq!(timeout(BOUND, changes.recv()).await.unwrap().unwrap().unwrap(), "back");
    }

    #[test]
    fn a_text_that_is_none_is_refused_with_its_line() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("latin1");
        fs::write(&path, b"a:b\nc:\xe4\n").unwrap();
        assert_eq!(read_text(&path).unwrap_err(), "line 2 is not UTF-8");
        assert!(read_text(&dir.path().join("none")).unwrap_err().contains("No such file"));
    }
}
