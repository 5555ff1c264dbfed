//! Runs the real binary: finds it, starts it on a configuration file, reads its log, stops it.
//!
//! Every wait is bounded, every process is killed on drop, and a failing test prints the log of each collector it started.

use std::ffi::OsStr;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::{Arc, Condvar, Mutex, OnceLock, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

/// Long enough for a debug build on a busy machine; no passing test waits for it.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

const READY: &str = "Everything is ready. Begin running and processing data.";
const LISTENING: &str = "Starting GRPC server";

/// The root of the workspace.
pub(crate) fn workspace() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("tests/ is inside the workspace")
}

/// Prints a line that the test runner does not capture: counts and reasons that belong in the log of a passing run.
pub(crate) fn say(line: &str) {
    let _ = writeln!(std::io::stderr(), "{line}");
}

/// The binary under test: `SPANBRIDGE_BIN`, or the one next to this test's executable, built when it is missing or stale.
pub(crate) fn binary() -> &'static Path {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    BINARY.get_or_init(|| {
        if let Some(given) = std::env::var_os("SPANBRIDGE_BIN") {
            return PathBuf::from(given);
        }
        let test = std::env::current_exe().expect("path of this executable");
        // target/<profile>/deps/e2e-<hash>
        let profile_dir = test.ancestors().nth(2).expect("cargo puts tests in a profile's deps folder");
        let binary = profile_dir.join("spanbridge");
        if !is_fresh(&binary) {
            build(profile_dir);
        }
        binary
    })
}

/// Whether `binary` is newer than every source file it was made of, by the list that cargo writes beside it.
fn is_fresh(binary: &Path) -> bool {
    let modified = |path: &Path| fs::metadata(path).and_then(|m| m.modified());
    let (Ok(built), Ok(list)) = (modified(binary), fs::read_to_string(binary.with_extension("d"))) else {
        return false;
    };
    let sources = list.split_once(": ").map_or("", |(_, sources)| sources);
    let paths: Vec<&str> = sources.split_whitespace().collect();
    !paths.is_empty()
        && paths.iter().all(|path| modified(Path::new(path)).is_ok_and(|changed| changed <= built))
}

fn build(profile_dir: &Path) {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.args(["build", "--quiet", "--package", "spanbridge", "--bin", "spanbridge"]);
    command.arg("--target-dir").arg(profile_dir.parent().expect("a profile's folder is inside target/"));
    match profile_dir.file_name().and_then(|name| name.to_str()) {
        Some("debug") | None => {}
        Some(profile) => {
            command.args(["--profile", profile]);
        }
    }
    let status = command.current_dir(workspace()).stdin(Stdio::null()).status().expect("cargo can be run");
    assert!(status.success(), "building the binary under test failed");
}

/// Runs the binary to its end with these arguments and environment, in `dir`.
pub(crate) fn run(dir: &Path, arguments: &[&str], environment: &[(String, String)]) -> Output {
    let mut command = Command::new(binary());
    command
        .args(arguments)
        .current_dir(dir)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command.envs(environment.iter().map(|(key, value)| (key, value)));
    let mut child = command.spawn().expect("the binary under test starts");
    let deadline = Instant::now() + PATIENCE;
    while child.try_wait().expect("state of the process").is_none() {
        if Instant::now() > deadline {
            let _ = child.kill();
            panic!("spanbridge {} did not end within {PATIENCE:?}", arguments.join(" "));
        }
        thread::sleep(Duration::from_millis(5));
    }
    child.wait_with_output().expect("output of the process")
}

#[derive(Default)]
struct Log {
    lines: Mutex<Vec<String>>,
    grew: Condvar,
}

impl Log {
    fn push(&self, line: String) {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner).push(line);
        self.grew.notify_all();
    }
}

/// What is special about the start of a collector.
#[derive(Default)]
pub(crate) struct Launch {
    /// More arguments.
    pub(crate) arguments: Vec<String>,
    /// Additions to its environment.
    pub(crate) environment: Vec<(String, String)>,
    /// A program with arguments that replaces itself with the collector.
    pub(crate) wrapper: Vec<String>,
}

/// A running collector.
pub(crate) struct Collector {
    name: &'static str,
    child: Child,
    log: Arc<Log>,
    file: PathBuf,
    own_dir: Option<TempDir>,
}

impl Collector {
    /// Starts the binary on `config` and waits until it is ready. `name` marks its lines when a test fails.
    pub(crate) fn start(name: &'static str, config: &str) -> Self {
        Self::start_with(name, config, &[])
    }

    /// As [`Collector::start`], with more arguments.
    pub(crate) fn start_with(name: &'static str, config: &str, arguments: &[&str]) -> Self {
        let dir = TempDir::new().expect("a folder for the configuration");
        let arguments = arguments.iter().map(|argument| (*argument).to_owned()).collect();
        let mut collector =
            Self::start_in(dir.path(), name, config, &Launch { arguments, ..Launch::default() });
        collector.own_dir = Some(dir);
        collector
    }

    /// As [`Collector::start`], with the configuration file in `dir`, which outlives the process.
    pub(crate) fn start_in(dir: &Path, name: &'static str, config: &str, launch: &Launch) -> Self {
        let collector = Self::spawn_in(dir, name, config, launch);
        collector.wait_for_line(READY);
        collector
    }

    /// As [`Collector::start_in`], without waiting for anything.
    pub(crate) fn spawn_in(dir: &Path, name: &'static str, config: &str, launch: &Launch) -> Self {
        let file = dir.join("config.yaml");
        fs::write(&file, config).expect("write the configuration");
        let program = launch.wrapper.iter().map(OsStr::new).chain([binary().as_os_str()]);
        let mut words = program.collect::<Vec<_>>().into_iter();
        let mut child = Command::new(words.next().expect("a program"))
            .args(words)
            .arg("--config")
            .arg(&file)
            .args(&launch.arguments)
            .envs(launch.environment.iter().map(|(key, value)| (key, value)))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the binary under test starts");
        let log = Arc::new(Log::default());
        follow(child.stderr.take().expect("stderr is piped"), &log);
        follow(child.stdout.take().expect("stdout is piped"), &log);
        Self { name, child, log, file, own_dir: None }
    }

    /// Puts another configuration in the place of the one it was started on, at once.
    pub(crate) fn rewrite(&self, config: &str) {
        let new = self.file.with_extension("next");
        fs::write(&new, config).expect("write the configuration");
        fs::rename(&new, &self.file).expect("replace the configuration");
    }

    /// Asks it to read its configuration again.
    pub(crate) fn hang_up(&self) {
        self.signal(Signal::HUP);
    }

    /// Replaces the configuration and asks the process to read it.
    pub(crate) fn reload(&self, config: &str) {
        self.rewrite(config);
        self.hang_up();
    }

    /// Ends it without a warning, and waits until it is gone.
    pub(crate) fn kill(&mut self) {
        self.signal(Signal::KILL);
        self.wait();
    }

    /// The address of the only gRPC server, read from the log because configurations ask for port 0.
    pub(crate) fn grpc(&self) -> SocketAddr {
        let line = self.wait_for_line(LISTENING);
        let endpoint = endpoint_of(&line).unwrap_or_else(|| panic!("no endpoint in: {line}"));
        endpoint.parse().unwrap_or_else(|e| panic!("{e}: {endpoint}"))
    }

    /// Waits for a log line that contains `text` and returns it.
    pub(crate) fn wait_for_line(&self, text: &str) -> String {
        self.wait_for_lines(text, 1)
    }

    /// Waits until `count` log lines contain `text` and returns the last of them.
    pub(crate) fn wait_for_lines(&self, text: &str, count: usize) -> String {
        let deadline = Instant::now() + PATIENCE;
        let mut lines = self.log.lines.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            if let Some(line) = lines.iter().filter(|line| line.contains(text)).nth(count - 1) {
                return line.clone();
            }
            let left = deadline.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "{}: no log line with {text:?} within {PATIENCE:?}", self.name);
            lines = self.log.grew.wait_timeout(lines, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// The log so far.
    pub(crate) fn log(&self) -> String {
        self.log.lines.lock().unwrap_or_else(PoisonError::into_inner).join("\n")
    }

    /// Everything that it has printed, once it has ended.
    pub(crate) fn whole_log(&self) -> String {
        let deadline = Instant::now() + PATIENCE;
        // Who follows a stream holds the log until the stream ends.
        while Arc::strong_count(&self.log) > 1 {
            assert!(Instant::now() < deadline, "{}: its streams are open after {PATIENCE:?}", self.name);
            thread::sleep(Duration::from_millis(5));
        }
        self.log()
    }

    /// Its most resident memory so far, in bytes.
    pub(crate) fn peak_resident_bytes(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).expect("its status");
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("VmHWM");
        let kib: u64 = line.trim().trim_end_matches("kB").trim().parse().expect("a number");
        kib * 1024
    }

    /// Ends it as the C library's `abort` does.
    pub(crate) fn abort(&self) {
        self.signal(Signal::ABORT);
    }

    /// Asks it to stop in order.
    pub(crate) fn terminate(&self) {
        self.signal(Signal::TERM);
    }

    fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw).expect("a process id");
        kill_process(pid, signal).expect("signal the collector");
    }

    /// Waits for the end of the process.
    pub(crate) fn wait(&mut self) -> ExitStatus {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().expect("state of the process") {
                return status;
            }
            assert!(Instant::now() < deadline, "{}: still running after {PATIENCE:?}", self.name);
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// Stops it in order and checks that it says so with exit code 0.
    pub(crate) fn stop(self) {
        self.stopped_log();
    }

    /// As [`Collector::stop`]; returns the whole log.
    pub(crate) fn stopped_log(mut self) -> String {
        self.terminate();
        let status = self.wait();
        assert!(status.success(), "{}: {status}", self.name);
        self.wait_for_line("Shutdown complete.");
        self.log()
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if thread::panicking() {
            say(&format!("--- log of {} ---\n{}\n---", self.name, self.log()));
        }
    }
}

/// Collects the lines of a stream; the thread ends with the process that writes them.
fn follow(stream: impl std::io::Read + Send + 'static, log: &Arc<Log>) {
    let log = log.clone();
    thread::spawn(move || {
        for line in BufReader::new(stream).lines().map_while(Result::ok) {
            log.push(line);
        }
    });
}

/// The value of the field `endpoint` of a log line in either encoding.
fn endpoint_of(line: &str) -> Option<&str> {
    let (_, rest) = line.split_once("\"endpoint\"")?;
    let (_, rest) = rest.split_once('"')?;
    rest.split_once('"').map(|(value, _)| value)
}

/// An exporter that acknowledges what its destination has acknowledged, and makes one attempt: what a test sees at one end
/// is what happened at the other.
pub(crate) const END_TO_END: &str = "sending_queue: {enabled: false}\n    retry_on_failure: {enabled: false}";

/// A configuration that receives every signal, inserts two resource attributes, batches, and exports to `target`.
pub(crate) fn pipeline(target: SocketAddr, batch: &str, exporter: &str) -> String {
    format!(
        "
receivers:
  otlp:
    protocols:
      grpc:
        endpoint: 127.0.0.1:0
processors:
  resource:
    attributes:
      - {{key: {ZONE}, value: {ZONE_VALUE}, action: insert}}
      - {{key: {CLUSTER}, value: {CLUSTER_VALUE}, action: insert}}
  batch: {{{batch}}}
exporters:
  otlp_grpc:
    endpoint: {target}
    tls: {{insecure: true}}
    {END_TO_END}
    {exporter}
service:
  telemetry:
    metrics: {{level: none}}
  pipelines:
    traces: {{receivers: [otlp], processors: [resource, batch], exporters: [otlp_grpc]}}
    metrics: {{receivers: [otlp], processors: [resource, batch], exporters: [otlp_grpc]}}
    logs: {{receivers: [otlp], processors: [resource, batch], exporters: [otlp_grpc]}}
"
    )
}

/// A configuration that hands everything from `endpoint` to `target` unchanged.
pub(crate) fn passthrough(endpoint: &str, target: SocketAddr, exporter: &str) -> String {
    format!(
        "
receivers:
  otlp:
    protocols:
      grpc:
        {endpoint}
exporters:
  otlp_grpc:
    endpoint: {target}
    tls: {{insecure: true}}
    {END_TO_END}
    {exporter}
service:
  telemetry:
    metrics: {{level: none}}
  pipelines:
    traces: {{receivers: [otlp], exporters: [otlp_grpc]}}
"
    )
}

/// The attributes that [`pipeline`] inserts.
pub(crate) const ZONE: &str = "cloud.availability_zone";
pub(crate) const ZONE_VALUE: &str = "zone-a";
pub(crate) const CLUSTER: &str = "k8s.cluster.name";
pub(crate) const CLUSTER_VALUE: &str = "edge-7";
