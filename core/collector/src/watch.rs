//! `--watch`: notices that a configuration file has changed.
//!
//! Files are looked at, not subscribed to: that works on every file system, network and overlay ones included, and sees
//! what Kubernetes does to a mounted `ConfigMap`, where a symbolic link on the way to the file is replaced.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::time::Duration;

use tokio::time::{MissedTickBehavior, interval};

use crate::Control;

/// How often the files are looked at. A change is acted upon when it has stood for one such time, so that a file that is
/// still being written is not read.
const INTERVAL: Duration = Duration::from_secs(1);

/// What tells one state of a file from another: device, inode, length, and the times of the last change of the content
/// and of the inode, in seconds and nanoseconds. `None` if there is no such file.
type Stamp = Option<(u64, u64, u64, (i64, i64), (i64, i64))>;

/// Asks `control` for a reload each time one of `files` has changed. Runs until it is dropped.
pub(crate) async fn watch(files: Vec<PathBuf>, control: Control) {
    let mut ticks = interval(INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut acted_upon = stamps(&files).await;
    let mut seen = acted_upon.clone();
    loop {
        ticks.tick().await;
        let now = stamps(&files).await;
        if now == seen && now != acted_upon {
            tracing::info!("A configuration file has changed");
            control.reload();
            acted_upon.clone_from(&now);
        }
        seen = now;
    }
}

/// Looks at the files on a thread for blocking work: a network file system may hang.
async fn stamps(files: &[PathBuf]) -> Vec<Stamp> {
    let files = files.to_vec();
    let looking = tokio::task::spawn_blocking(move || files.iter().map(stamp).collect());
    looking.await.unwrap_or_default()
}

/// Follows symbolic links, wherever on the path they stand.
fn stamp(file: &PathBuf) -> Stamp {
    let file = fs::metadata(file).ok()?;
    let (changed, touched) = ((file.mtime(), file.mtime_nsec()), (file.ctime(), file.ctime_nsec()));
    Some((file.dev(), file.ino(), file.len(), changed, touched))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;
    use std::path::Path;

    use tokio::time::timeout;

    use super::*;

    const BOUND: Duration = Duration::from_secs(30);

    /// Runs `change` once the watcher has seen the files, and waits for the reload it asks for.
    async fn notices(file: PathBuf, change: impl FnOnce()) {
        let control = Control::new();
        let watcher = tokio::spawn(watch(vec![file], control.clone()));
        timeout(INTERVAL * 3, control.reload_asked()).await.expect_err("nothing has changed yet");
        change();
        timeout(BOUND, control.reload_asked()).await.unwrap();
        watcher.abort();
    }

    fn write(path: &Path, text: &str) {
        fs::write(path, text).unwrap();
    }

    #[tokio::test]
    async fn a_file_that_is_written_anew_is_noticed() {
        let dir = tempfile::TempDir::new().unwrap();
        let file = dir.path().join("config.yaml");
        write(&file, "a: 1");
        notices(file.clone(), || write(&file, "a: 2")).await;
    }

    #[tokio::test]
    async fn the_swap_of_a_link_as_in_a_config_map_is_noticed() {
        let dir = tempfile::TempDir::new().unwrap();
        let at = |name: &str| dir.path().join(name);
        for version in ["v1", "v2"] {
            fs::create_dir(at(version)).unwrap();
            write(&at(version).join("config.yaml"), "the same length");
        }
        symlink("v1", at("..data")).unwrap();
        symlink("..data/config.yaml", at("config.yaml")).unwrap();
        notices(at("config.yaml"), || {
            symlink("v2", at("..new")).unwrap();
            fs::rename(at("..new"), at("..data")).unwrap();
        })
        .await;
    }
}
