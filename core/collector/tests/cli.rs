//! The real binary: what it prints where, and with which code it ends.
#![expect(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail the test")]

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

/// Longest wait for anything.
const BOUND: Duration = Duration::from_secs(30);

/// A pipeline that needs no port, with the process's own metrics on a free one.
const GOOD: &str = "
receivers: {nop: }
exporters: {nop: }
service:
  telemetry: {metrics: {readers: [{pull: {exporter: {prometheus: {host: localhost, port: 0}}}}]}}
  pipelines: {traces: {receivers: [nop], exporters: [nop]}}
";
const READY: &str = "Everything is ready. Begin running and processing data.";

fn spanbridge() -> Command {
    Command::new(env!("CARGO_BIN_EXE_spanbridge"))
}

/// Runs to the end.
fn run(args: &[&str]) -> Output {
    spanbridge().args(args).output().unwrap()
}

fn stdout(output: &Output) -> &str {
    std::str::from_utf8(&output.stdout).unwrap()
}

fn stderr(output: &Output) -> &str {
    std::str::from_utf8(&output.stderr).unwrap()
}

/// A folder with one configuration file.
fn file(yaml: &str) -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("config.yaml");
    std::fs::write(&path, yaml).unwrap();
    (folder, path)
}

/// A running collector and its log.
struct Running {
    child: Child,
    lines: Receiver<String>,
    seen: Vec<String>,
}

impl Running {
    fn start(config: &Path, extra: &[&str]) -> Self {
        let mut child =
            spanbridge().arg("--config").arg(config).args(extra).stderr(Stdio::piped()).spawn().unwrap();
        let (sender, lines) = channel();
        let stderr = BufReader::new(child.stderr.take().unwrap());
        std::thread::spawn(move || {
            stderr.lines().map_while(Result::ok).try_for_each(|line| sender.send(line))
        });
        Self { child, lines, seen: Vec::new() }
    }

    /// Waits for a line of the log with this text.
    fn wait_for(&mut self, text: &str) -> String {
        let deadline = Instant::now() + BOUND;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let Ok(line) = self.lines.recv_timeout(left) else { panic!("no {text:?} in {:#?}", self.seen) };
            self.seen.push(line.clone());
            if line.contains(text) {
                return line;
            }
        }
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Waits for the end, and reads the log to its end.
    fn wait(&mut self) -> ExitStatus {
        let deadline = Instant::now() + BOUND;
        while let Ok(line) = self.lines.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            self.seen.push(line);
        }
        // Its standard error is closed, so this is a matter of moments.
        self.child.wait().unwrap()
    }

    fn saw(&self, text: &str) -> bool {
        self.seen.iter().any(|line| line.contains(text))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn prints_its_version() {
    for flag in ["--version", "-v"] {
        let output = run(&[flag]);
        assert!(output.status.success());
        assert_eq!(stdout(&output), concat!("spanbridge version ", env!("CARGO_PKG_VERSION"), "\n"));
    }
}

#[test]
fn needs_a_configuration() {
    let output = run(&[]);
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(stderr(&output), "Error: at least one config flag must be provided\n");
}

#[test]
fn an_unknown_flag_or_command_ends_with_1() {
    for args in [&["--bogus"][..], &["bogus"], &["validate", "extra"], &["--config", "x", "validate"]] {
        let output = run(args);
        assert_eq!(output.status.code(), Some(1), "{args:?}");
        assert!(stdout(&output).is_empty() && !stderr(&output).is_empty(), "{args:?}");
    }
}

#[test]
fn feature_gates_that_would_change_something_are_refused() {
    let (_folder, path) = file(GOOD);
    let path = path.to_str().unwrap();
    let output = run(&["validate", "--config", path, "--feature-gates", "service.profilesSupport"]);
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(
        stderr(&output),
        "Error: feature gate \"service.profilesSupport\" is not supported by this version\n"
    );
    let output = run(&["validate", "--config", path, "--feature-gates", "-service.profilesSupport"]);
    assert_eq!(output.status.code(), Some(0));
}

#[test]
fn validate_prints_nothing_when_all_is_well() {
    let (_folder, path) = file(GOOD);
    let output = run(&["validate", "--config", path.to_str().unwrap()]);
    assert_eq!((output.status.code(), stdout(&output), stderr(&output)), (Some(0), "", ""));
}

#[test]
fn validate_shows_every_mistake_with_its_place() {
    let (_folder, path) = file("receivers: {nopp: }\nexporters: {nop: }\nservces: \n");
    let output = run(&["validate", "--config", path.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(1));
    let place = |position: &str| format!("--> {}:{position}\n", path.display());
    for text in
        ["unknown type: \"nopp\"", &place("1:13"), "did you mean \"service\"?", &place("3:1"), "2 errors"]
    {
        assert!(stderr(&output).contains(text), "no {text:?} in {}", stderr(&output));
    }
}

#[test]
fn set_comes_after_every_file_wherever_it_stands() {
    let (_folder, path) = file(GOOD);
    let level = "service.telemetry.logs.level=debug";
    let output = run(&["print-config", "--set", level, "--config", path.to_str().unwrap()]);
    assert!(stdout(&output).contains("level: debug"), "{}", stdout(&output));
}

#[test]
fn print_config_fills_in_defaults_in_both_formats() {
    let (_folder, path) = file(GOOD);
    let path = path.to_str().unwrap();
    let yaml = run(&["print-config", "--config", path]);
    assert!(yaml.status.success());
    assert!(stdout(&yaml).contains("\n                tick: 10s\n"), "{}", stdout(&yaml));
    let alias = run(&["print-initial-config", "--config", path, "--format", "JSON"]);
    let json: serde_json::Value = serde_json::from_slice(&alias.stdout).unwrap();
    assert_eq!(json["service"]["telemetry"]["logs"]["sampling"]["initial"], 10);
    let again = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(again.path(), &yaml.stdout).unwrap();
    let output = run(&["print-config", "--config", again.path().to_str().unwrap()]);
    assert_eq!(stdout(&output), stdout(&yaml), "what it prints is a configuration, and the same one");
}

#[test]
fn print_config_can_do_without_validation() {
    let (_folder, path) = file("receivers: {nop: }\n");
    let path = path.to_str().unwrap();
    assert_eq!(run(&["print-config", "--config", path]).status.code(), Some(1));
    let output = run(&["print-config", "--config", path, "--validate=false"]);
    assert!(output.status.success());
    assert!(stdout(&output).starts_with("receivers:\n    nop: {}\n"));
}

#[test]
fn components_lists_what_is_in_the_binary() {
    let output = run(&["components"]);
    assert!(output.status.success());
    assert!(stdout(&output).starts_with("buildinfo:\n    command: spanbridge\n"));
    assert!(stdout(&output).contains("\nexporters:\n"));
    assert!(stdout(&output).contains("traces-to-traces: "));
}

#[test]
fn the_schema_is_json_and_knows_every_section() {
    let output = run(&["config", "schema"]);
    let schema: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    for section in ["receivers", "processors", "exporters", "connectors", "extensions", "service"] {
        assert!(schema["properties"][section].is_object(), "no {section}");
    }
}

#[test]
fn runs_until_it_is_told_to_stop() {
    let (_folder, path) = file(GOOD);
    for (signal, name) in [(Signal::TERM, "terminated"), (Signal::INT, "interrupt")] {
        let mut collector = Running::start(&path, &[]);
        assert!(collector.wait_for("Starting spanbridge...").contains("\"Version\": "));
        collector.wait_for(READY);
        collector.signal(signal);
        assert_eq!(collector.wait().code(), Some(0), "{:#?}", collector.seen);
        assert!(
            collector.saw("Received signal from OS") && collector.saw(&format!("\"signal\": \"{name}\""))
        );
        assert!(collector.saw("Starting shutdown...") && collector.saw("Shutdown complete."));
    }
}

#[test]
fn a_hangup_reads_the_configuration_again() {
    let (_folder, path) = file(GOOD);
    let mut collector = Running::start(&path, &[]);
    collector.wait_for(READY);
    collector.signal(Signal::HUP);
    let line = collector.wait_for("The new configuration is in force");
    assert!(line.contains("\"unchanged\": 2}"), "{line}");
    collector.signal(Signal::TERM);
    assert_eq!(collector.wait().code(), Some(0));
}

#[test]
fn serves_its_own_metrics_where_the_log_says() {
    use std::io::{Read, Write};
    let (_folder, path) = file(GOOD);
    let mut collector = Running::start(&path, &[]);
    let line = collector.wait_for("Serving internal metrics");
    let address = line.split("\"endpoint\": \"").nth(1).and_then(|rest| rest.split('"').next()).unwrap();
    let mut stream = std::net::TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(BOUND)).unwrap();
    stream.write_all(b"GET /metrics HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.contains("\notelcol_process_uptime "), "{answer}");
}

#[test]
fn a_port_in_use_is_a_start_error() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let (_folder, path) = file(&GOOD.replace("port: 0", &format!("port: {port}")));
    let output = run(&["--config", path.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(1));
    let expected = format!("cannot listen on localhost:{port} for internal metrics");
    assert!(stderr(&output).contains(&expected), "{}", stderr(&output));
}

#[test]
fn logs_go_where_the_configuration_says_from_the_first_line_on() {
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("collector.log");
    let logs = format!("logs: {{encoding: json, output_paths: ['{}']}}, metrics:", log.display());
    let (_folder, path) = file(&GOOD.replace("metrics:", &logs).replace("{nop: }", "{nop: , nop/unused: }"));
    let mut collector = Running::start(&path, &[]);
    let deadline = Instant::now() + BOUND;
    let text = loop {
        let text = std::fs::read_to_string(&log).unwrap_or_default();
        if text.contains(READY) {
            break text;
        }
        assert!(Instant::now() < deadline, "no log: {text}");
        std::thread::sleep(Duration::from_millis(10));
    };
    let first: serde_json::Value = serde_json::from_str(text.lines().next().unwrap()).unwrap();
    assert_eq!(first["level"], "warn");
    assert!(first["msg"].as_str().unwrap().contains("\"nop/unused\" is defined but not used"));
    assert_eq!(first["resource"]["service.name"], "spanbridge");
    collector.signal(Signal::TERM);
    assert_eq!(collector.wait().code(), Some(0));
    assert!(collector.seen.is_empty(), "standard error has {:#?}", collector.seen);
}

#[test]
fn a_log_file_that_cannot_be_opened_is_a_start_error() {
    let (_folder, path) = file(&GOOD.replace("metrics:", "logs: {output_paths: [/no/such/x.log]}, metrics:"));
    let output = run(&["--config", path.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(1));
    let expected = "Error: failed to create logger: cannot open the log file /no/such/x.log: ";
    assert!(stderr(&output).contains(expected), "{}", stderr(&output));
}

#[test]
fn output_that_nobody_reads_is_an_error_and_no_panic() {
    let Ok(full) = File::options().write(true).open("/dev/full") else { return };
    let output = spanbridge().arg("components").stdout(full).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).starts_with("Error: cannot write to standard output: "));
}
