//! Ends and new beginnings: kill -9, SIGTERM and reloads under load, and a clock that is set.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tempfile::TempDir;

use super::backend::Backend;
use super::load::{Load, SPANS};
use super::proxy::Proxy;
use super::tally::Tally;
use super::{DRAIN, Mode, Setup, WARM_UP, end, long, report, settle};
use crate::harness::{Collector, Launch, say};

/// Requests that 16 clients and 10 consumers can have under way when the process is killed.
const IN_FLIGHT: u64 = 64;

async fn kill_again_and_again(row: &str, storage: &str) {
    let dir = TempDir::new().expect("a folder for the row");
    let backend = Backend::start();
    let mut setup = Setup { storage, ..Setup::new(Mode::Disk, backend.address(), dir.path()) };
    let mut collector = setup.start();
    let address: SocketAddr = collector.grpc();
    setup.listen = address.to_string();
    let mut load = Load::start(address);
    let kills = if long() { 100 } else { 5 };
    for _ in 0..kills {
        load.gets_through(fastrand::u64(1..200)).await;
        collector.kill();
        collector = setup.start();
    }
    load.gets_through(WARM_UP).await;
    let tally = settle(row, Mode::Disk, load, &backend, collector).await;
    let bound = kills * IN_FLIGHT * SPANS;
    assert!(tally.duplicated <= bound, "{} duplicated, more than were in flight: {bound}", tally.duplicated);
}

#[tokio::test(flavor = "multi_thread")]
async fn kill_9_with_a_disk_queue_and_fsync_loses_nothing() {
    kill_again_and_again("kill -9, fsync", "fsync: true").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn kill_9_with_a_disk_queue_without_fsync_loses_nothing() {
    kill_again_and_again("kill -9, no fsync", "fsync: false").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sigterm_under_load_loses_nothing_in_any_mode() {
    for mode in Mode::ALL {
        let dir = TempDir::new().expect("a folder for the row");
        let backend = Backend::start();
        let setup = Setup::new(mode, backend.address(), dir.path());
        let mut collector = setup.start();
        let mut load = Load::start(collector.grpc());
        load.gets_through(WARM_UP).await;
        collector.terminate();
        let status = collector.wait();
        let record = load.stop().await;
        if mode == Mode::Disk {
            // What was left on disk is for the next process.
            let next = setup.start();
            Tally::take(&record, &backend, DRAIN).await;
            next.stop();
        }
        let tally = Tally::count(&record, &backend);
        report("SIGTERM", mode, tally, &record);
        assert!(status.success(), "{status}\n{}", collector.log());
        assert_eq!(tally.lost, 0, "acknowledged and not delivered\n{}", collector.log());
    }
}

/// core#6771, core#15677: what was waiting or being retried was deleted at shutdown. core#6020: what was under way was not
/// loaded again.
#[tokio::test(flavor = "multi_thread")]
async fn a_sigterm_while_the_backend_is_down_keeps_everything_on_disk() {
    let dir = TempDir::new().expect("a folder for the row");
    let backend = Backend::start();
    let mut proxy = Proxy::start(backend.address());
    let setup = Setup::new(Mode::Disk, proxy.address(), dir.path());
    let mut collector = setup.start();
    let mut load = Load::start(collector.grpc());
    load.gets_through(WARM_UP).await;
    proxy.go_down();
    load.gets_through(WARM_UP).await;
    collector.terminate();
    let status = collector.wait();
    assert!(status.success(), "what is kept on disk is not undelivered: {status}\n{}", collector.log());
    let record = load.stop().await;
    let before = Tally::count(&record, &backend);
    assert!(before.lost > 0, "nothing was waiting when the process ended: {before}");
    proxy.come_up();
    let collector = setup.start();
    let tally = Tally::take(&record, &backend, DRAIN).await;
    report("SIGTERM while the backend is down", Mode::Disk, tally, &record);
    assert_eq!(tally.lost, 0, "{}", collector.log());
    end("after a restart", collector);
}

#[tokio::test(flavor = "multi_thread")]
async fn reloads_under_load_lose_and_refuse_nothing() {
    for mode in Mode::ALL {
        let dir = TempDir::new().expect("a folder for the row");
        let backend = Backend::start();
        // A load that outruns the backend fills a queue, reload or not.
        let setup =
            Setup { queue: "block_on_overflow: true", ..Setup::new(mode, backend.address(), dir.path()) };
        let collector = setup.start();
        let mut load = Load::start(collector.grpc());
        let added = "logs: {receivers: [otlp], exporters: [otlp_grpc]}";
        for number in 0..if long() { 100 } else { 5 } {
            load.gets_through(WARM_UP).await;
            let pipelines = if number % 2 == 0 { added } else { "" };
            collector.reload(&setup.config_with(&format!("headers: {{x-reload: \"{number}\"}}"), pipelines));
            collector.wait_for_lines("The new configuration is in force", number + 1);
        }
        load.gets_through(WARM_UP).await;
        let tally = settle("reload", mode, load, &backend, collector).await;
        assert_eq!(tally.sent, tally.acknowledged, "a reload must not fail a request");
    }
}

/// `libfaketime`, as Debian packages it.
fn faketime() -> Option<PathBuf> {
    let folders = ["/usr/lib/x86_64-linux-gnu/faketime", "/usr/lib/aarch64-linux-gnu/faketime"];
    folders.iter().map(|folder| Path::new(folder).join("libfaketimeMT.so.1")).find(|path| path.exists())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_is_set_loses_nothing() {
    let Some(library) = faketime() else {
        assert!(!crate::peers::is_required("faketime"), "libfaketime is required here and is not installed");
        return say(
            "faults/clock step: skipped, libfaketime (Debian package `libfaketime`) is not installed",
        );
    };
    let dir = TempDir::new().expect("a folder for the row");
    let clock = dir.path().join("clock");
    fs::write(&clock, "+0").expect("set the clock");
    let environment = [
        ("LD_PRELOAD", library.display().to_string()),
        ("FAKETIME_TIMESTAMP_FILE", clock.display().to_string()),
        ("FAKETIME_NO_CACHE", "1".to_owned()),
        // The kernel's monotonic clock does not leap when somebody sets the date.
        ("FAKETIME_DONT_FAKE_MONOTONIC", "1".to_owned()),
    ];
    let environment = environment.map(|(key, value)| (key.to_owned(), value)).to_vec();
    let launch = Launch { environment, ..Launch::default() };
    let backend = Backend::start();
    let mut proxy = Proxy::start(backend.address());
    let mut setup = Setup::new(Mode::Disk, proxy.address(), dir.path());
    setup.queue = "queue_size: 100000";
    let mut collector = Collector::start_in(dir.path(), "clock", &setup.config(), &launch);
    let mut load = Load::start(collector.grpc());
    load.gets_through(WARM_UP).await;
    proxy.go_down();
    for step in ["+2y", "-2y", "+0"] {
        fs::write(&clock, step).expect("set the clock");
        load.gets_through(WARM_UP).await;
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
    // The next process finds the clock years ahead of what the records were written under.
    let record = load.stop().await;
    collector.kill();
    fs::write(&clock, "+2y").expect("set the clock");
    proxy.come_up();
    let collector = Collector::start_in(dir.path(), "clock", &setup.config(), &launch);
    let tally = Tally::take(&record, &backend, DRAIN).await;
    report("clock step", Mode::Disk, tally, &record);
    assert_eq!(tally.lost, 0, "{}", collector.log());
    end("after a restart", collector);
}
