//! OTLP peers in other languages as processes, and the comparison of what two of their receivers got.
//!
//! A sender exports the same SDK objects twice: straight to one receiver and through Spanbridge to another. Whatever the
//! two ledgers disagree about was changed on the way.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use base64::Engine;
use serde_json::Value;
use tempfile::TempDir;

use crate::harness::{CLUSTER, CLUSTER_VALUE, PATIENCE, ZONE, ZONE_VALUE, say, workspace};

/// Where `.ci/run` installs what the peers need; `SPANBRIDGE_PEERS` points elsewhere.
fn installed() -> PathBuf {
    std::env::var_os("SPANBRIDGE_PEERS").map_or_else(|| workspace().join("target/peers"), PathBuf::from)
}

/// A peer that can be run here.
pub(crate) struct Peer {
    receive: Vec<OsString>,
    send: Vec<OsString>,
    environment: Vec<(&'static str, OsString)>,
}

impl Peer {
    /// The official Python SDK, or why it cannot be had.
    pub(crate) fn python() -> Result<Self, String> {
        let python = present(installed().join("python/bin/python"))?;
        probe(Command::new(&python).args(["-c", "import opentelemetry.sdk, opentelemetry.proto, grpc"]))?;
        let scripts = workspace().join("tests/peers/python");
        let script = |name: &str| vec![python.clone().into(), scripts.join(name).into()];
        Ok(Self { receive: script("receive.py"), send: script("send.py"), environment: Vec::new() })
    }

    /// The official Node SDK, or why it cannot be had.
    pub(crate) fn node() -> Result<Self, String> {
        let modules = present(installed().join("node/node_modules"))?;
        probe(Command::new("node").arg("--version"))?;
        let scripts = workspace().join("tests/peers/node");
        let script = |name: &str| vec!["node".into(), scripts.join(name).into()];
        let environment = vec![("NODE_PATH", modules.into())];
        Ok(Self { receive: script("receive.mjs"), send: script("send.mjs"), environment })
    }

    /// A receiver on grpc-go and the real `telemetrygen` of the Go collector, or why they cannot be had.
    pub(crate) fn go() -> Result<Self, String> {
        let folder = installed().join("go");
        let receive = vec![present(folder.join("receive"))?.into()];
        let send = vec![present(folder.join("telemetrygen"))?.into()];
        let environment = vec![("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip".into())];
        Ok(Self { receive, send, environment })
    }

    /// The same, with one more environment variable.
    pub(crate) fn with_variable(mut self, name: &'static str, value: String) -> Self {
        self.environment.push((name, value.into()));
        self
    }

    fn command(&self, program: &[OsString]) -> Command {
        let mut command = Command::new(&program[0]);
        command.args(&program[1..]).envs(self.environment.iter().cloned());
        command
    }

    /// Runs the sender to its end and returns what it printed.
    pub(crate) fn send(&self, arguments: &[&str]) -> String {
        let mut command = self.command(&self.send);
        command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let child = command.spawn().expect("start the sender");
        let deadline = Instant::now() + 2 * PATIENCE;
        let pid = child.id();
        let waiting = thread::spawn(move || child.wait_with_output());
        while !waiting.is_finished() {
            assert!(Instant::now() < deadline, "sender {pid} did not end within {:?}", 2 * PATIENCE);
            thread::sleep(Duration::from_millis(10));
        }
        let output = waiting.join().expect("the waiting thread").expect("output of the sender");
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "the sender failed: {}\n{errors}", output.status);
        String::from_utf8_lossy(&output.stdout).into_owned() + &errors
    }

    /// Sends with an SDK to a direct receiver and to `via`; returns the sender's own account of it.
    pub(crate) fn send_both(&self, direct: &Receiver, via: &str, compression: &str) -> Value {
        let address = direct.address();
        let printed = self.send(&["--direct", address, "--via", via, "--compression", compression]);
        let account = printed.lines().find(|line| line.starts_with('{')).unwrap_or_default();
        serde_json::from_str(account).unwrap_or_else(|e| panic!("{e} in the sender's account: {printed}"))
    }
}

/// The real `kube-apiserver`, with an etcd in its process, or why it cannot be had.
pub(crate) fn kube_apiserver() -> Result<PathBuf, String> {
    present(installed().join("kube/apiserver"))
}

/// `peer`, or a note that the test is skipped. Where `SPANBRIDGE_REQUIRE_PEERS` names the peer, or is `1`, a failure.
pub(crate) fn or_skip<T>(test: &str, language: &str, peer: Result<T, String>) -> Option<T> {
    match peer {
        Ok(peer) => Some(peer),
        Err(reason) => {
            assert!(!is_required(language), "{test} may not be skipped here: {reason}");
            say(&format!("skipped {test}: {reason}"));
            None
        }
    }
}

/// Whether `SPANBRIDGE_REQUIRE_PEERS` names this peer or tool, or all of them with `1`.
pub(crate) fn is_required(name: &str) -> bool {
    let required = std::env::var("SPANBRIDGE_REQUIRE_PEERS").unwrap_or_default();
    required == "1" || required.split(',').any(|required| required == name)
}

fn present(path: PathBuf) -> Result<PathBuf, String> {
    if path.exists() { Ok(path) } else { Err(format!("{} is missing; .ci/run installs it", path.display())) }
}

fn probe(command: &mut Command) -> Result<(), String> {
    let output =
        command.stdin(Stdio::null()).output().map_err(|e| format!("{command:?} does not run: {e}"))?;
    if output.status.success() {
        Ok(())
    } else {
        Err(format!("{command:?} failed: {}", String::from_utf8_lossy(&output.stderr).trim()))
    }
}

/// A running receiver of a peer.
pub(crate) struct Receiver {
    child: Child,
    address: String,
    dir: TempDir,
}

impl Receiver {
    /// Starts it and waits until it listens.
    pub(crate) fn start(peer: &Peer) -> Self {
        let dir = TempDir::new().expect("a folder for the ledger");
        let mut command = peer.command(&peer.receive);
        command.arg("--out").arg(ledger(dir.path())).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().expect("start the receiver");
        let mut lines = BufReader::new(child.stdout.take().expect("stdout is piped")).lines();
        let line = lines.next().expect("the receiver says where it listens").expect("text");
        let address = line.strip_prefix("LISTENING ").expect("the receiver says where it listens").to_owned();
        Self { child, address, dir }
    }

    /// `host:port`.
    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    /// Everything received so far, request by request.
    pub(crate) fn requests(&self) -> Vec<Value> {
        let lines = fs::read_to_string(ledger(self.dir.path())).expect("read the ledger");
        lines.lines().map(|line| serde_json::from_str(line).expect("a JSON line")).collect()
    }

    /// Everything received so far, item by item.
    pub(crate) fn items(&self) -> Vec<Item> {
        self.requests().iter().flat_map(items_of).collect()
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn ledger(dir: &Path) -> PathBuf {
    dir.join("ledger.jsonl")
}

/// One span, metric or log record with everything it belongs to. Batches may regroup requests, so this is what is compared.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Item {
    pub(crate) signal: &'static str,
    pub(crate) resource: Value,
    /// The scope, and the schema URLs on both levels.
    pub(crate) around: Value,
    pub(crate) body: Value,
}

impl Item {
    fn key(&self) -> String {
        format!("{} {} {} {}", self.signal, self.body, self.around, self.resource)
    }

    /// The id of a span in hexadecimal digits.
    pub(crate) fn span_id(&self) -> String {
        let id = self.body["spanId"].as_str().expect("a span id");
        let bytes = base64::engine::general_purpose::STANDARD.decode(id).expect("base64");
        let bytes: [u8; 8] = bytes.try_into().expect("a span id has 8 bytes");
        format!("{:016x}", u64::from_be_bytes(bytes))
    }

    /// The string value of a resource attribute.
    pub(crate) fn resource_text(&self, key: &str) -> Option<&str> {
        let attributes = self.resource["attributes"].as_array()?;
        attributes.iter().find(|a| a["key"] == key)?["value"]["stringValue"].as_str()
    }

    /// The same without the attributes that the pipeline inserts, which must be there with the right values.
    fn without_inserted(mut self) -> Self {
        for (key, value) in [(ZONE, ZONE_VALUE), (CLUSTER, CLUSTER_VALUE)] {
            assert_eq!(self.resource_text(key), Some(value), "{key} of {:?}", self.resource);
        }
        if let Some(attributes) = self.resource["attributes"].as_array_mut() {
            attributes.retain(|a| a["key"] != ZONE && a["key"] != CLUSTER);
        }
        self
    }
}

const SHAPES: [(&str, &str, &str, &str); 3] = [
    ("traces", "resourceSpans", "scopeSpans", "spans"),
    ("metrics", "resourceMetrics", "scopeMetrics", "metrics"),
    ("logs", "resourceLogs", "scopeLogs", "logRecords"),
];

fn items_of(line: &Value) -> Vec<Item> {
    let (signal, resources, scopes, items) = SHAPES
        .into_iter()
        .find(|(signal, ..)| line["signal"] == *signal)
        .unwrap_or_else(|| panic!("a line without a signal: {line}"));
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let mut found = Vec::new();
    for resource in list(&line["request"][resources]) {
        for scope in list(&resource[scopes]) {
            let around = serde_json::json!([resource["schemaUrl"], scope["schemaUrl"], scope["scope"]]);
            for body in list(&scope[items]) {
                found.push(Item {
                    signal,
                    resource: resource["resource"].clone(),
                    around: around.clone(),
                    body,
                });
            }
        }
    }
    found
}

/// Fails unless both receivers got the same items, but for the inserted attributes of those that came through Spanbridge.
pub(crate) fn assert_same(direct: Vec<Item>, via: Vec<Item>) {
    let sorted = |items: Vec<Item>| items.into_iter().map(|i| (i.key(), i)).collect::<BTreeMap<_, _>>();
    let (sent, arrived) = (direct.len(), via.len());
    let direct = sorted(direct);
    let via = sorted(via.into_iter().map(Item::without_inserted).collect());
    for (key, item) in &direct {
        assert!(via.contains_key(key), "missing or changed on the way: {item:#?}");
    }
    for (key, item) in &via {
        assert!(direct.contains_key(key), "added or changed on the way: {item:#?}");
    }
    assert_eq!(sent, arrived, "items received directly and through Spanbridge");
}

/// Checks the sender's account of what it sent against what a receiver got, and prints the counts.
pub(crate) fn assert_complete(test: &str, account: &Value, items: &[Item]) {
    let of = |signal: &'static str| items.iter().filter(move |item| item.signal == signal);
    let mut received: Vec<String> = of("traces").map(Item::span_id).collect();
    let mut sent: Vec<String> = serde_json::from_value(account["spans"].clone()).expect("span ids");
    received.sort();
    sent.sort();
    assert_eq!(received, sent, "span ids");

    let mut received: Vec<String> =
        of("metrics").map(|m| m.body["name"].as_str().unwrap_or_default().into()).collect();
    let mut metrics: Vec<String> = serde_json::from_value(account["metrics"].clone()).expect("metric names");
    received.sort();
    metrics.sort();
    assert_eq!(received, metrics, "metrics");

    let logs = of("logs").count();
    assert_eq!(Some(logs as u64), account["logs"].as_u64(), "log records");
    say(&format!("{test}: {} spans, {} metrics, {logs} log records, all as sent", sent.len(), metrics.len()));
}
