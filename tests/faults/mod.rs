//! Faults under load: whatever was acknowledged arrives. Each row prints its counts, and `lost` must be 0.
//!
//! The rows take a minute or two together. With `SPANBRIDGE_FAULTS=long` in the environment each goes on many times
//! longer (the backend is down for a whole minute, a hundred kills instead of five):
//! `SPANBRIDGE_FAULTS=long cargo test -p spanbridge_tests --test e2e -- --nocapture faults::`.

mod backend;
mod disk;
mod load;
mod network;
mod proxy;
mod restart;
mod tally;

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use serde_json::Value;

use self::backend::Backend;
use self::load::{Load, Record};
use self::proxy::Proxy;
use self::tally::Tally;
use crate::harness::{Collector, Launch, say};

/// The last line of an orderly end, and those that say what became of every item.
const END: &str = "Shutdown complete.";
const BOOKS: &str = "Items accounted for";

/// How long what was acknowledged may take to arrive once the fault is over.
const DRAIN: Duration = Duration::from_secs(60);

/// Requests that are acknowledged before a fault begins, and after it ends.
const WARM_UP: u64 = 40;

/// Whether to go on for much longer than a test should.
fn long() -> bool {
    std::env::var("SPANBRIDGE_FAULTS").is_ok_and(|value| value == "long")
}

/// Who has taken responsibility when a client is told so.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    /// The backend: there is no queue.
    EndToEnd,
    /// The backend: there is no queue, and requests are joined to batches on their way.
    Batched,
    /// The collector's memory.
    Memory,
    /// The collector's disk.
    Disk,
}

impl Mode {
    const ALL: [Mode; 4] = [Mode::EndToEnd, Mode::Batched, Mode::Memory, Mode::Disk];

    fn name(self) -> &'static str {
        match self {
            Mode::EndToEnd => "no queue",
            Mode::Batched => "no queue, batch",
            Mode::Memory => "memory queue",
            Mode::Disk => "disk queue",
        }
    }

    fn queue(self) -> &'static str {
        match self {
            Mode::EndToEnd | Mode::Batched => "enabled: false",
            Mode::Memory => "enabled: true",
            Mode::Disk => "storage: file_storage",
        }
    }
}

/// A collector under test: what may differ between rows.
struct Setup<'a> {
    mode: Mode,
    listen: String,
    target: SocketAddr,
    dir: &'a Path,
    /// More keys of the extension `file_storage`.
    storage: &'a str,
    /// More keys of `sending_queue`.
    queue: &'a str,
    /// Of one attempt: long, where nothing hangs, so that a busy machine does not look like a fault.
    timeout: &'a str,
}

impl<'a> Setup<'a> {
    fn new(mode: Mode, target: SocketAddr, dir: &'a Path) -> Self {
        Self {
            mode,
            listen: "127.0.0.1:0".into(),
            target,
            dir,
            storage: "fsync: true",
            queue: "",
            timeout: "10s",
        }
    }

    fn config(&self) -> String {
        self.config_with("", "")
    }

    /// The configuration with another timeout of the exporter, and further pipelines.
    fn config_with(&self, exporter: &str, pipelines: &str) -> String {
        let Self { mode, listen, target, dir, storage, queue, timeout } = self;
        let (extension, used) = match mode {
            Mode::Disk => (
                format!("extensions: {{file_storage: {{directory: '{}', {storage}}}}}", dir.display()),
                "[file_storage]",
            ),
            Mode::EndToEnd | Mode::Batched | Mode::Memory => (String::new(), "[]"),
        };
        let processors = if *mode == Mode::Batched { "batch" } else { "" };
        format!(
            "
{extension}
processors:
  batch: {{timeout: 20ms, send_batch_size: 50}}
receivers:
  otlp:
    protocols:
      grpc: {{endpoint: '{listen}'}}
exporters:
  otlp_grpc:
    endpoint: {target}
    tls: {{insecure: true}}
    compression: none
    timeout: {timeout}
    retry_on_failure: {{initial_interval: 50ms, max_interval: 500ms, max_elapsed_time: 0}}
    sending_queue: {{{mode_keys}, {queue}}}
    {exporter}
service:
  extensions: {used}
  # Every line is looked for, also the eleventh of equal ones within a moment.
  telemetry: {{metrics: {{level: none}}, logs: {{sampling: {{enabled: false}}}}}}
  pipelines:
    traces: {{receivers: [otlp], processors: [{processors}], exporters: [otlp_grpc]}}
    {pipelines}
",
            mode_keys = mode.queue(),
        )
    }

    fn start(&self) -> Collector {
        Collector::start_in(self.dir, self.mode.name(), &self.config(), &Launch::default())
    }
}

/// Prints a row.
fn report(row: &str, mode: Mode, tally: Tally, record: &Record) {
    let errors: Vec<String> =
        record.errors.iter().map(|(error, count)| format!("{count} x {error}")).collect();
    say(&format!("faults/{row}, {}: {tally}; refused with [{}]", mode.name(), errors.join(", ")));
}

/// The end of every row: waits for what is still under way, prints, and checks.
async fn settle(row: &str, mode: Mode, load: Load, backend: &Backend, collector: Collector) -> Tally {
    let record = load.stop().await;
    let tally = Tally::take(&record, backend, DRAIN).await;
    report(row, mode, tally, &record);
    assert_eq!(tally.lost, 0, "{row}, {}: acknowledged and not delivered\n{}", mode.name(), collector.log());
    assert!(tally.acknowledged > 0, "{row}: no request got through");
    end(row, collector);
    tally
}

/// Stops the collector in order and checks its books: every item it took is accounted for, and none was given up.
fn end(row: &str, mut collector: Collector) {
    collector.terminate();
    let status = collector.wait();
    assert!(status.success(), "{row}: {status}\n{}", collector.log());
    collector.wait_for_line(END);
    let log = collector.log();
    let books: Vec<&str> = log.lines().filter(|line| line.contains(BOOKS)).collect();
    assert!(books.iter().any(|book| book.contains("exporter")), "{row}: no books of the exporter\n{log}");
    for book in books {
        let fields = book.find('{').map(|at| &book[at..]).expect("fields of the line");
        let fields: Value = serde_json::from_str(fields).expect("fields as JSON");
        let of = |key: &str| fields[key].as_u64().unwrap_or_else(|| panic!("{row}: no {key} in {book}"));
        assert_eq!((of("lost"), of("held"), of("dropped")), (0, 0, 0), "{row}: {book}");
        let gone = of("delivered") + of("returned") + of("kept");
        assert_eq!(of("taken") + of("restored"), gone, "{row}: {book}");
    }
}

/// Runs a fault in the middle of a load, once for each mode, all at the same time.
async fn in_every_mode<F, R>(row: &'static str, timeout: &'static str, fault: F)
where
    F: Fn(Backend, Proxy) -> R + Copy + Send + 'static,
    R: Future<Output = (Backend, Proxy)> + Send + 'static,
{
    let mut rows = tokio::task::JoinSet::new();
    for mode in Mode::ALL {
        rows.spawn(async move {
            let dir = tempfile::TempDir::new().expect("a folder for the row");
            let backend = Backend::start();
            let proxy = Proxy::start(backend.address());
            let collector = Setup { timeout, ..Setup::new(mode, proxy.address(), dir.path()) }.start();
            let mut load = Load::start(collector.grpc());
            load.gets_through(WARM_UP).await;
            let (backend, _proxy) = fault(backend, proxy).await;
            load.gets_through(WARM_UP).await;
            settle(row, mode, load, &backend, collector).await;
        });
    }
    while let Some(row) = rows.join_next().await {
        if let Err(error) = row {
            std::panic::resume_unwind(error.into_panic());
        }
    }
}
