//! What a disk can do: be full, and hold a torn or damaged tail after a crash.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use super::backend::Backend;
use super::load::Load;
use super::proxy::Proxy;
use super::tally::Tally;
use super::{DRAIN, Mode, Setup, WARM_UP, end, report, settle};
use crate::harness::{Collector, Launch, say};

/// Size of the file system that fills up. Small enough to fill within a second or two.
const DISK: &str = "2m";

/// A program that gives the collector a small file system of its own at `dir`, in a name space that ends with it.
/// `None`, with the reason printed, where the system does not allow that.
fn small_disk(dir: &Path) -> Option<Launch> {
    let script = format!("mount -t tmpfs -o size={DISK} none '{}' && exec \"$@\"", dir.display());
    let wrapper = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", &script, "sh"];
    let wrapper: Vec<String> = wrapper.map(str::to_owned).to_vec();
    let attempt = std::process::Command::new(&wrapper[0]).args(&wrapper[1..]).arg("true").output();
    match attempt {
        Ok(output) if output.status.success() => Some(Launch { wrapper, ..Launch::default() }),
        Ok(output) => {
            say(&format!("faults/full disk: skipped: {}", String::from_utf8_lossy(&output.stderr).trim()));
            None
        }
        Err(error) => {
            say(&format!("faults/full disk: skipped: unshare: {error}"));
            None
        }
    }
}

async fn fill_and_drain(
    row: &str,
    setup: &Setup<'_>,
    launch: &Launch,
    home: &Path,
    mut proxy: Proxy,
    backend: &Backend,
) {
    let collector = Collector::start_in(home, "full disk", &setup.config(), launch);
    let mut load = Load::start(collector.grpc());
    load.gets_through(WARM_UP).await;
    proxy.go_down();
    load.is_refused(WARM_UP).await;
    proxy.come_up();
    load.gets_through(WARM_UP).await;
    settle(row, Mode::Disk, load, backend, collector).await;
}

/// core#7198, core#8115: what is done with could not be removed from a full disk.
#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_refuses_and_recovers_by_itself() {
    let home = TempDir::new().expect("a folder for the configuration");
    let disk = TempDir::new().expect("a folder for the disk");
    let Some(launch) = small_disk(disk.path()) else {
        return assert!(!crate::peers::is_required("unshare"), "user name spaces are required here");
    };
    let backend = Backend::start();
    let proxy = Proxy::start(backend.address());
    let mut setup = Setup::new(Mode::Disk, proxy.address(), disk.path());
    setup.queue = "queue_size: 100000";
    fill_and_drain("full disk", &setup, &launch, home.path(), proxy, &backend).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_storage_at_its_own_limit_refuses_and_recovers_by_itself() {
    let dir = TempDir::new().expect("a folder for the row");
    let backend = Backend::start();
    let proxy = Proxy::start(backend.address());
    let mut setup = Setup::new(Mode::Disk, proxy.address(), dir.path());
    setup.storage = "fsync: true, max_size: 262144";
    fill_and_drain("storage limit", &setup, &Launch::default(), dir.path(), proxy, &backend).await;
}

/// The segment that is written to: the newest file of the log.
fn newest_segment(dir: &Path) -> PathBuf {
    let mut found = Vec::new();
    let mut folders = vec![dir.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("read the storage") {
            let path = entry.expect("an entry of the storage").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "segment") {
                found.push(path);
            }
        }
    }
    found.sort();
    found.pop().expect("a segment")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_torn_tail_is_set_aside_and_everything_before_it_is_delivered() {
    let dir = TempDir::new().expect("a folder for the row");
    let backend = Backend::start();
    let mut proxy = Proxy::start(backend.address());
    let setup = Setup::new(Mode::Disk, proxy.address(), dir.path());
    let mut collector = setup.start();
    let mut load = Load::start(collector.grpc());
    load.gets_through(WARM_UP).await;
    proxy.go_down();
    load.gets_through(WARM_UP).await;
    let record = load.stop().await;
    collector.kill();
    let segment = newest_segment(dir.path());
    // What a write that the power cut short leaves: the beginning of a record that looks like the others.
    let beginning = fs::read(&segment).expect("read the segment")[..2000].to_vec();
    let mut file = OpenOptions::new().append(true).open(&segment).expect("open the segment");
    file.write_all(&beginning[64..]).and_then(|()| file.write_all(&[0xa5; 777])).expect("damage the tail");
    drop(file);
    proxy.come_up();
    let collector = setup.start();
    let tally = Tally::take(&record, &backend, DRAIN).await;
    report("torn tail", Mode::Disk, tally, &record);
    assert_eq!(tally.lost, 0, "{}", collector.log());
    collector.wait_for_line("A log ends in bytes that are no record");
    end("torn tail", collector);
}
