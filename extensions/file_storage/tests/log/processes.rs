//! What needs processes of its own: kill -9, locks, limits, memory.

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use file_storage_extension::Config;
use spanbridge_component::{Log, StorageErrorKind};
use tokio::task::JoinSet;

use crate::harness::{append, config, drain, number, open, record, take, try_open};

const ROLE: &str = "SPANBRIDGE_LOG_TEST_ROLE";
const FOLDER: &str = "SPANBRIDGE_LOG_TEST_FOLDER";
/// Numbers of one appender of the child begin at a multiple of this.
const STRIDE: u64 = 1_000_000;
const APPENDERS: u64 = 6;

/// This test binary again, as a process that does what `role` says. `before` is put in front of the command.
fn child(role: &str, folder: &Path, before: &str) -> Command {
    let program = std::env::current_exe().expect("this program");
    let mut command = Command::new("sh");
    let script = format!("{before}\nexec \"$0\" --exact processes::a_child --ignored --nocapture");
    command.args(["-c", &script]).arg(program).env(ROLE, role).env(FOLDER, folder);
    command.stdin(Stdio::null()).stdout(Stdio::piped());
    command
}

#[test]
#[ignore = "the other tests run it, in a process of its own"]
fn a_child() {
    let Ok(role) = std::env::var(ROLE) else { return };
    let folder = std::env::var_os(FOLDER).expect("a folder");
    let config = config(Path::new(&folder));
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    runtime.expect("a runtime").block_on(async {
        match role.as_str() {
            "works" => work(config).await,
            "works with fsync" => work(Config { fsync: true, ..config }).await,
            "holds" => hold(config).await,
            "fills" => fill(config).await,
            "is limited" => be_limited(config).await,
            other => panic!("no role {other}"),
        }
    });
}

fn say(text: &str) {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{text}").and_then(|()| out.flush()).expect("somebody listens");
}

// --- kill -9 ---

/// Appends, takes and removes until it is killed, and says what it did after it, and what it removes before it.
async fn work(config: Config) {
    let log = open(config).await;
    let mut tasks = JoinSet::new();
    for appender in 0..APPENDERS {
        let log = log.clone();
        tasks.spawn(async move {
            for i in 0.. {
                let number = appender * STRIDE + i;
                append(&log, number, usize::try_from(number % 5000).expect("small")).await;
                say(&format!("kept {number}"));
            }
        });
    }
    tasks.spawn(async move {
        loop {
            let taken = take(&log).await;
            if number(&taken).is_multiple_of(3) {
                say(&format!("removes {}", number(&taken)));
                log.remove(taken.position).await;
            }
        }
    });
    tasks.join_all().await;
}

/// contrib#50102: everything that was buffered was gone after a restart without fsync.
#[test]
fn kill_9_at_any_instant_loses_nothing_acknowledged() {
    for round in 0..10u64 {
        let folder = tempfile::tempdir().unwrap();
        let role = if round % 2 == 0 { "works" } else { "works with fsync" };
        let mut process = child(role, folder.path(), "").spawn().unwrap();
        let mut lines = BufReader::new(process.stdout.take().unwrap());
        let mut said = String::new();
        // Wait until it works, then a moment that differs from round to round.
        while !said.contains("kept") {
            assert!(lines.read_line(&mut said).unwrap() > 0, "{said}");
        }
        let killing = std::thread::spawn(move || {
            std::thread::sleep(Duration::from_micros(fastrand::Rng::with_seed(round).u64(100..60_000)));
            process.kill().unwrap();
            process.wait().unwrap();
        });
        lines.read_to_string(&mut said).unwrap();
        killing.join().unwrap();
        check_after_kill(folder.path(), &said, role);
    }
}

fn check_after_kill(folder: &Path, said: &str, role: &str) {
    // The last line may be cut off.
    let whole = &said[..said.rfind('\n').map_or(0, |at| at + 1)];
    let numbers = |verb: &str| -> BTreeSet<u64> {
        whole.lines().filter_map(|line| line.strip_prefix(verb)?.trim().parse().ok()).collect()
    };
    let (kept, removed) = (numbers("kept "), numbers("removes "));
    let found = spanbridge_testkit::block_on(async {
        let log = open(config(folder)).await;
        let records = log.usage().records;
        drain(&log, records).await
    });
    for number in kept.difference(&removed) {
        assert!(found.contains(number), "{role}: {number} was acknowledged and is lost");
    }
    for appender in 0..APPENDERS {
        let of_one = found.iter().filter(|number| **number / STRIDE == appender);
        assert!(of_one.is_sorted_by(|a, b| a < b), "{role}: out of order or twice: {found:?}");
    }
    println!("{role}: {} acknowledged, {} removed, {} came back", kept.len(), removed.len(), found.len());
}

// --- locks ---

async fn hold(config: Config) {
    let _log = open(config).await;
    say("holds it");
    std::thread::sleep(Duration::from_secs(600));
}

struct KilledAtLast(Child);

impl Drop for KilledAtLast {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[tokio::test]
async fn a_second_process_is_refused_and_told_who_has_the_log_until_that_is_killed() {
    let folder = tempfile::tempdir().unwrap();
    let mut holder = KilledAtLast(child("holds", folder.path(), "").spawn().unwrap());
    let mut lines = BufReader::new(holder.0.stdout.take().unwrap()).lines();
    assert!(lines.any(|line| line.unwrap().contains("holds it")));
    let impatient = Config { timeout: spanbridge_config::Duration::from_millis(10), ..config(folder.path()) };
    let error = try_open(impatient.clone()).await.map(drop).unwrap_err();
    assert_eq!(error.kind, StorageErrorKind::Busy);
    let who = format!("is in use by process {} (", holder.0.id());
    assert!(error.message.contains(&who), "{error}");
    assert!(error.message.ends_with("for exporter \"otlp\" (traces)"), "{error}");
    drop(holder);
    open(impatient).await;
}

// --- memory ---

/// What a process may grow by while it queues: the records kept in memory, what is on its way, and some slack.
const GROWTH_KIB_MAX: u64 = 40 << 10;
const BODY_BYTES: usize = 57_800;
const RECORDS: u64 = 4_000;

fn resident_kib() -> u64 {
    let status = fs::read_to_string("/proc/self/status").expect("procfs");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("a size");
    line.trim().trim_end_matches(" kB").parse().expect("a number")
}

async fn fill(config: Config) {
    let log = open(config.clone()).await;
    let before = resident_kib();
    let mut peak = before;
    for i in 0..RECORDS {
        append(&log, i, BODY_BYTES).await;
        peak = peak.max(if i % 100 == 0 { resident_kib() } else { 0 });
    }
    log.close().await;
    drop(log);
    let log = open(config).await;
    assert_eq!(log.usage().records, RECORDS);
    for i in 0..RECORDS {
        assert_eq!(drain(&log, 1).await, [i]);
        peak = peak.max(if i % 100 == 0 { resident_kib() } else { 0 });
    }
    say(&format!("grew by {}", peak - before));
}

#[test]
fn memory_stays_flat_while_the_queue_grows() {
    let folder = tempfile::tempdir().unwrap();
    let output = child("fills", folder.path(), "").stderr(Stdio::piped()).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    let grew: u64 = said.lines().find_map(|line| line.split("grew by ").nth(1)).unwrap().parse().unwrap();
    println!("{} MiB queued and drained, {grew} KiB grown", (RECORDS * BODY_BYTES as u64) >> 20);
    assert!(grew < GROWTH_KIB_MAX, "{grew} KiB");
}

// --- limits ---

/// Appends more than one file may hold.
async fn be_limited(config: Config) {
    let log = open(config).await;
    for i in 0..300 {
        append(&log, i, 10_000).await;
    }
    assert_eq!(drain(&log, 300).await, Vec::from_iter(0..300));
    say("was not stopped");
}

#[test]
fn a_limit_on_file_sizes_is_met_by_smaller_segments() {
    let folder = tempfile::tempdir().unwrap();
    // In blocks of 512 or 1024 bytes, as the shell likes.
    let limits = "trap '' XFSZ\nulimit -f 1000";
    let output = child("is limited", folder.path(), limits).stderr(Stdio::piped()).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(said.contains("was not stopped"), "{said}{}", String::from_utf8_lossy(&output.stderr));
}

struct Mounted(tempfile::TempDir);

impl Mounted {
    /// A file system in memory of `size`; `None` where one may not mount.
    fn new(size: &str) -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", &format!("size={size}"), "tmpfs"]).arg(folder.path());
        mount.stderr(Stdio::null()).status().is_ok_and(|status| status.success()).then_some(Self(folder))
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.0.path()).status();
    }
}

#[tokio::test]
async fn a_real_full_disk_refuses_keeps_what_it_has_and_recovers_by_itself() {
    let Some(mounted) = Mounted::new("3m") else {
        println!("skipped: this user may not mount a file system");
        return;
    };
    let config = config(mounted.0.path());
    let log: Arc<dyn Log> = open(config.clone()).await;
    let mut appended = 0;
    let error = loop {
        match log.append(record(appended, 10_000)).await {
            Ok(()) => appended += 1,
            Err(error) => break error,
        }
    };
    assert_eq!(error.kind, StorageErrorKind::Full);
    assert!(appended > 250, "{appended}");
    // Somebody else takes the last byte, too.
    let rest = fs::write(mounted.0.path().join("rest"), vec![1; 1 << 20]);
    assert!(rest.is_err());
    log.close().await;

    // It starts on the full disk, and everything that was accepted is there and can be removed.
    let log = open(config.clone()).await;
    assert_eq!(log.usage().records, appended);
    assert_eq!(log.append(record(0, 10_000)).await.unwrap_err().kind, StorageErrorKind::Full);
    assert_eq!(drain(&log, appended - 1).await, Vec::from_iter(0..appended - 1));
    assert_eq!(drain(&log, 1).await, [appended - 1]);
    for i in 0..100 {
        append(&log, i, 10_000).await;
    }
    log.close().await;
    let log = open(config).await;
    assert_eq!(drain(&log, 100).await, Vec::from_iter(0..100));
    assert_eq!(log.usage().damaged, 0);
}
