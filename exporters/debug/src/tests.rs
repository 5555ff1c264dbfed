//! The exporter as the service drives it.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use spanbridge_component::{
    Batch, ConsumeError, Exporter, ExporterFactory, Kind, Payload, Settings, ShutdownError,
};
use spanbridge_pdata::Decoded;
use spanbridge_testkit::{Log, host, metric, settings_of};
use tokio::time::{Instant, timeout};

use crate::text::samples;
use crate::{Config, Factory, Verbosity};

const DETAILED_TRACES: &str = include_str!("../testdata/traces.detailed.txt");
const NORMAL_LOGS: &str = include_str!("../testdata/logs.normal.txt");

/// A started exporter.
struct Running {
    exporter: Arc<dyn Exporter>,
    settings: Settings,
}

async fn started(id: &str, config: Config) -> Running {
    let settings = settings_of(Kind::Exporter, id);
    let exporter = Factory.create(settings.clone(), config).unwrap();
    exporter.start(host(&settings).0).await.unwrap();
    Running { exporter, settings }
}

impl Running {
    async fn consume(&self, decoded: &Decoded) -> Result<(), ConsumeError> {
        let batch = Batch::new(Payload::encode(decoded).unwrap());
        timeout(Duration::from_secs(20), self.exporter.consume(batch)).await.expect("the output hangs")
    }

    async fn stop(&self, within: Duration) -> Result<(), ShutdownError> {
        self.exporter.shutdown(Instant::now() + within).await
    }

    /// The value of a metric, as text.
    fn counted(&self, name: &str) -> String {
        let labels = [("exporter", self.settings.id.as_str())];
        metric(&self.settings.telemetry, name, &labels).unwrap_or(0.0).to_string()
    }
}

fn to_files(verbosity: Verbosity, paths: &[&PathBuf]) -> Config {
    Config {
        verbosity: Some(verbosity),
        use_internal_logger: false,
        output_paths: Some(paths.iter().map(|path| path.to_str().unwrap().to_owned()).collect()),
        ..Config::default()
    }
}

fn traces() -> Decoded {
    Decoded::Traces(samples::traces())
}

/// A trace request whose detailed text fits no pipe's buffer.
fn many_traces() -> Decoded {
    let mut traces = samples::traces();
    let spans = &mut traces.resource_spans[0].scope_spans[0].spans;
    *spans = vec![spans[0].clone(); 500];
    Decoded::Traces(traces)
}

// === files ===

#[tokio::test]
async fn files_get_the_summary_and_the_text_as_in_go() {
    let dir = tempfile::tempdir().unwrap();
    let (one, two) = (dir.path().join("one"), dir.path().join("two"));
    let running = started("debug", to_files(Verbosity::Detailed, &[&one, &two])).await;
    running.consume(&traces()).await.unwrap();
    running.stop(Duration::from_secs(5)).await.unwrap();
    let expected = format!("Traces\t{{\"resource spans\": 2, \"spans\": 3}}\n{DETAILED_TRACES}\n");
    assert_eq!(std::fs::read_to_string(one).unwrap(), expected);
    assert_eq!(std::fs::read_to_string(two).unwrap(), expected);
    assert_eq!(running.counted("otelcol_exporter_sent_spans"), "3");
}

#[tokio::test]
async fn basic_writes_one_line_a_batch() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("out");
    let running = started("debug", to_files(Verbosity::Basic, &[&path])).await;
    for decoded in samples::all() {
        running.consume(&decoded).await.unwrap();
    }
    running.stop(Duration::from_secs(5)).await.unwrap();
    let expected = "Traces\t{\"resource spans\": 2, \"spans\": 3}\n\
                    Metrics\t{\"resource metrics\": 1, \"metrics\": 7, \"data points\": 25}\n\
                    Logs\t{\"resource logs\": 2, \"log records\": 4}\n";
    assert_eq!(std::fs::read_to_string(path).unwrap(), expected);
}

#[tokio::test]
async fn with_a_queue_callers_do_not_wait_and_a_shutdown_prints_what_is_left() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("out");
    let sending_queue = spanbridge_config::Toggle::on(spanbridge_exporterhelper::QueueConfig::default());
    let config = Config { sending_queue, ..to_files(Verbosity::Basic, &[&path]) };
    let running = started("debug", config).await;
    for _ in 0..50 {
        running.consume(&traces()).await.unwrap();
    }
    running.stop(Duration::from_secs(20)).await.unwrap();
    let text = std::fs::read_to_string(path).unwrap();
    assert_eq!(text, "Traces\t{\"resource spans\": 2, \"spans\": 3}\n".repeat(50));
    assert!(running.settings.ledger.balance(spanbridge_component::Signal::Traces).is_balanced());
}

#[tokio::test]
async fn concurrent_batches_do_not_mix_their_records() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("out");
    let running = Arc::new(started("debug", to_files(Verbosity::Detailed, &[&path])).await);
    let mut callers = tokio::task::JoinSet::new();
    for _ in 0..20 {
        let running = Arc::clone(&running);
        callers.spawn(async move { running.consume(&traces()).await.unwrap() });
    }
    callers.join_all().await;
    running.stop(Duration::from_secs(5)).await.unwrap();
    let one = format!("Traces\t{{\"resource spans\": 2, \"spans\": 3}}\n{DETAILED_TRACES}\n");
    assert_eq!(std::fs::read_to_string(path).unwrap(), one.repeat(20));
}

#[tokio::test]
async fn sampling_applies_to_each_text() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("out");
    let config = Config { sampling_thereafter: Some(0), ..to_files(Verbosity::Normal, &[&path]) };
    let running = started("debug", config).await;
    // The first two pass and the others of the same second do not; should a second go by, two more pass.
    for _ in 0..50 {
        running.consume(&Decoded::Logs(samples::logs())).await.unwrap();
    }
    running.stop(Duration::from_secs(5)).await.unwrap();
    let text = std::fs::read_to_string(path).unwrap();
    let (summaries, bodies) = (text.matches("Logs\t").count(), text.matches(NORMAL_LOGS).count());
    assert!((2..20).contains(&summaries) && (2..20).contains(&bodies), "{summaries} {bodies}");
    assert_eq!(running.counted("otelcol_exporter_sent_log_records"), "200");
}

// === the process's own log ===

async fn logged(id: &str, config: Config, decoded: &Decoded) -> Vec<String> {
    let log = Log::record();
    let running = started(id, config).await;
    running.consume(decoded).await.unwrap();
    running.stop(Duration::from_secs(5)).await.unwrap();
    log.lines()
}

#[tokio::test]
async fn counts_are_fields_of_a_log_record() {
    let [traces, metrics, logs] = samples::all();
    let basic = |decoded| async move { logged("debug", Config::default(), &decoded).await };
    assert_eq!(basic(traces).await, ["INFO Traces otelcol.signal=\"traces\" resource spans=2 spans=3"]);
    assert_eq!(
        basic(metrics).await,
        ["INFO Metrics otelcol.signal=\"metrics\" resource metrics=1 metrics=7 data points=25"]
    );
    assert_eq!(basic(logs).await, ["INFO Logs otelcol.signal=\"logs\" resource logs=2 log records=4"]);
}

#[tokio::test]
async fn texts_are_messages_of_a_second_record() {
    let config = Config { verbosity: Some(Verbosity::Detailed), ..Config::default() };
    let lines = logged("debug", config, &traces()).await;
    assert_eq!(
        lines,
        [
            "INFO Traces otelcol.signal=\"traces\" resource spans=2 spans=3".to_owned(),
            format!("INFO {DETAILED_TRACES} otelcol.signal=\"traces\""),
        ]
    );
}

#[tokio::test]
async fn the_old_name_prints_normal_by_default() {
    let lines = logged("logging", Config::default(), &Decoded::Logs(samples::logs())).await;
    assert_eq!(lines[1], format!("INFO {NORMAL_LOGS} otelcol.signal=\"logs\""));
}

// === failures ===

#[tokio::test]
async fn a_path_that_cannot_be_opened_fails_the_start_with_its_name() {
    let path = PathBuf::from("/no/such/folder/out");
    let settings = settings_of(Kind::Exporter, "debug");
    let exporter = Factory.create(settings.clone(), to_files(Verbosity::Basic, &[&path])).unwrap();
    let error = exporter.start(host(&settings).0).await.unwrap_err().to_string();
    assert!(error.starts_with("cannot open /no/such/folder/out: "), "{error}");
    exporter.shutdown(Instant::now()).await.unwrap();
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_full_disk_is_a_retryable_error_and_counted() {
    let running = started("debug", to_files(Verbosity::Basic, &[&PathBuf::from("/dev/full")])).await;
    let error = running.consume(&traces()).await.unwrap_err();
    assert!(!error.is_permanent());
    assert!(error.message().starts_with("cannot write to /dev/full: "), "{error}");
    assert_eq!(running.counted("otelcol_exporter_send_failed_spans"), "3");
    running.stop(Duration::from_secs(5)).await.unwrap();
}

#[tokio::test]
async fn what_comes_after_shutdown_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let running = started("debug", to_files(Verbosity::Basic, &[&dir.path().join("out")])).await;
    running.stop(Duration::from_secs(5)).await.unwrap();
    assert!(!running.consume(&traces()).await.unwrap_err().is_permanent());
}

/// A named pipe that is open for reading, so that it can be opened for writing.
#[cfg(unix)]
fn pipe(dir: &tempfile::TempDir) -> (PathBuf, std::fs::File) {
    let path = dir.path().join("pipe");
    assert!(std::process::Command::new("mkfifo").arg(&path).status().unwrap().success());
    // For writing as well: then neither end waits for the other to be opened.
    let reader = std::fs::OpenOptions::new().read(true).write(true).open(&path).unwrap();
    (path, reader)
}

/// What the reader of a test's pipe waits for.
#[cfg(unix)]
const END: &[u8] = b"end of the test";

#[cfg(unix)]
#[tokio::test]
async fn a_slow_reader_is_back_pressure_and_does_not_stall_the_runtime() {
    let dir = tempfile::tempdir().unwrap();
    let (path, mut reader) = pipe(&dir);
    let running = started("debug", to_files(Verbosity::Detailed, &[&path])).await;
    let telemetry = many_traces();
    let batch = || Batch::new(Payload::encode(&telemetry).unwrap());
    let mut waiting = Box::pin(running.exporter.consume(batch()));
    // The runtime goes on while the write blocks: this timer fires, on the only thread there is.
    assert!(timeout(Duration::from_millis(200), &mut waiting).await.is_err());
    let reading = std::thread::spawn(move || {
        use std::io::Read as _;
        let mut buffer = vec![0; 64 * 1024];
        while reader.read(&mut buffer).is_ok_and(|read| !buffer[..read].ends_with(END)) {}
    });
    timeout(Duration::from_secs(20), waiting).await.expect("the reader does not help").unwrap();
    running.stop(Duration::from_secs(5)).await.unwrap();
    std::fs::write(&path, END).unwrap();
    reading.join().unwrap();
}

#[cfg(unix)]
#[tokio::test]
async fn an_output_that_hangs_does_not_hold_up_the_shutdown() {
    let dir = tempfile::tempdir().unwrap();
    let (path, _reader) = pipe(&dir);
    let running = started("debug", to_files(Verbosity::Detailed, &[&path])).await;
    let batch = Batch::new(Payload::encode(&many_traces()).unwrap());
    let items = batch.items();
    let mut waiting = Box::pin(running.exporter.consume(batch));
    assert!(timeout(Duration::from_millis(200), &mut waiting).await.is_err());
    let stopped = timeout(Duration::from_secs(20), running.stop(Duration::from_millis(100))).await;
    let error = stopped.expect("shutdown passes its deadline").unwrap_err();
    assert_eq!(error.undelivered_items, items);
}
