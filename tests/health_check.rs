//! What probes are told over the life of a process.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Instant;

use serde_json::Value as Json;
use tokio::sync::watch;

use crate::client;
use crate::data;
use crate::harness::{Collector, PATIENCE, passthrough};
use crate::sink::{Behaviour, Sink};

/// What a probe got: the code, and the body.
pub(crate) struct Probed {
    pub(crate) code: u16,
    pub(crate) body: String,
}

impl Probed {
    fn up_since(&self) -> String {
        let body: Json = serde_json::from_str(&self.body).expect("JSON");
        body["upSince"].as_str().expect("a date").to_owned()
    }
}

/// Asks as the kubelet does.
pub(crate) fn probe(address: SocketAddr, path: &str) -> Probed {
    let mut stream = TcpStream::connect_timeout(&address, PATIENCE).expect("somebody listens");
    stream.set_read_timeout(Some(PATIENCE)).expect("a bound");
    write!(stream, "GET {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n").expect("send");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
    let code = head.split(' ').nth(1).expect("a code").parse().expect("a number");
    Probed { code, body: body.to_owned() }
}

/// Where the extension listens: configurations ask for port 0.
pub(crate) fn address(collector: &Collector, starts: usize) -> SocketAddr {
    let line = collector.wait_for_lines("Starting health_check extension", starts);
    let (_, rest) = line.split_once("127.0.0.1:").expect("an address");
    let port: String = rest.chars().take_while(char::is_ascii_digit).collect();
    SocketAddr::from(([127, 0, 0, 1], port.parse().expect("a port")))
}

fn until(address: SocketAddr, code: u16) {
    let deadline = Instant::now() + PATIENCE;
    while probe(address, "/").code != code {
        assert!(Instant::now() < deadline, "probes are never told {code}");
    }
}

/// [`passthrough`] with the extension, which has these keys.
fn config(target: SocketAddr, keys: &str) -> String {
    let extension = format!("extensions:\n  health_check: {{endpoint: 127.0.0.1:0{keys}}}\n");
    let service = "service:\n  extensions: [health_check]";
    extension + &passthrough("endpoint: 127.0.0.1:0", target, "").replace("service:", service)
}

#[tokio::test(flavor = "multi_thread")]
async fn probes_are_told_of_the_end_before_what_is_in_flight_has_ended() {
    let (open, gate) = watch::channel(false);
    let sink = Sink::behaving(Behaviour { gate: Some(gate), ..Behaviour::default() });
    let mut collector = Collector::start("probed", &config(sink.address(), ""));
    let address = address(&collector, 1);
    let healthy = probe(address, "/");
    assert_eq!(healthy.code, 200);
    assert!(healthy.body.starts_with(r#"{"status":"Server available","upSince":"2"#), "{}", healthy.body);

    let mut traces = client::traces(collector.grpc()).await;
    let call = tokio::spawn(async move { traces.export(data::spans(1, 1)).await.map(drop) });
    // The sink keeps one end of the gate, and each call has one more.
    let deadline = Instant::now() + PATIENCE;
    while open.receiver_count() < 2 {
        assert!(Instant::now() < deadline, "the call never reaches the sink");
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    collector.terminate();
    until(address, 503);
    let unhealthy = probe(address, "/");
    assert_eq!(
        unhealthy.body,
        r#"{"status":"Server not available","upSince":"0001-01-01T00:00:00Z","uptime":""}"#
    );
    open.send(true).expect("the sink waits");
    call.await.expect("it ran").expect("what was in flight is finished");
    assert!(collector.wait().success());
    assert_eq!(sink.span_counts().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reload_changes_nothing_about_what_probes_are_told() {
    let sink = Sink::start();
    let collector = Collector::start("reloaded", &config(sink.address(), ""));
    let first = address(&collector, 1);
    let since = probe(first, "/").up_since();

    let batched = config(sink.address(), "")
        .replace("exporters:\n", "processors: {batch: }\nexporters:\n")
        .replace("exporters: [otlp_grpc]", "processors: [batch], exporters: [otlp_grpc]");
    collector.reload(&batched);
    collector.wait_for_line("The new configuration is in force");
    assert_eq!(probe(first, "/").up_since(), since);

    collector.reload("receivers: {}");
    collector.wait_for_line("The new configuration is refused");
    assert_eq!(probe(first, "/").code, 200);

    // The extension itself is exchanged: the pipelines have not stopped for that.
    collector.reload(&config(sink.address(), ", path: /health"));
    collector.wait_for_lines("The new configuration is in force", 2);
    let second = address(&collector, 2);
    assert_eq!(probe(second, "/").code, 404);
    assert_eq!(probe(second, "/health").up_since(), since);
    collector.stop();
}
