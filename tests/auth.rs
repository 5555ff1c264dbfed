//! Authentication between two running collectors: who gets in, what the others are told, and that no secret leaks.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use tempfile::TempDir;
use tonic::{Code, Request, Status};

use crate::harness::{Collector, PATIENCE, pipeline, run, workspace};
use crate::peers::{Peer, Receiver, assert_complete, assert_same, or_skip};
use crate::sink::Sink;
use crate::tls::pki::{Pki, have};
use crate::{client, data};

const PASSWORD: &str = "right-s3cret:pass";
const WRONG: &str = "wrong-s3cret-guess";
const TOKEN: &str = "t0ken-of-the-test";
/// Made by `htpasswd -nbB -C 8 user-1 <PASSWORD>`.
const HASH: &str = "$2y$08$0PbEJVvGsSm0w0JYvg9oPufXIgV9sixro56hG4tvmpaCcIWSANFhi";

/// A collector that lets in who `authenticator` lets in, tells the sink who that was, and logs everything.
fn remote(dir: &Path, authenticator: &str, sink: SocketAddr) -> Collector {
    secured_remote(dir, authenticator, "", sink)
}

/// The same with further keys of the listener.
fn secured_remote(dir: &Path, authenticator: &str, tls: &str, sink: SocketAddr) -> Collector {
    let table = dir.join("htpasswd");
    if !table.exists() {
        fs::write(&table, format!("user-1:{HASH}\n")).expect("write the table");
    }
    let table = table.display();
    let config = format!(
        "
extensions:
  basicauth/server: {{htpasswd: {{file: {table}, inline: 'user-2:{{PLAIN}}{TOKEN}'}}}}
  bearertokenauth: {{token: {TOKEN}}}
  any_auth: {{client_certificate: true, authenticators: [bearertokenauth, basicauth/server]}}
  headers_setter:
    headers:
      - {{key: x-user, action: upsert, from_attribute: username}}
      - {{key: x-way-in, action: upsert, from_attribute: authenticator}}
receivers:
  otlp:
    protocols:
      grpc:
        endpoint: 127.0.0.1:0
        auth: {{authenticator: {authenticator}}}
        {tls}
exporters:
  otlp_grpc:
    endpoint: {sink}
    tls: {{insecure: true}}
    auth: {{authenticator: headers_setter}}
service:
  extensions: [any_auth, basicauth/server, bearertokenauth, headers_setter]
  telemetry: {{metrics: {{level: none}}, logs: {{level: debug}}}}
  pipelines:
    traces: {{receivers: [otlp], exporters: [otlp_grpc]}}
"
    );
    Collector::start("remote", &config)
}

/// A collector that anybody may send to, and that says at `remote` who it is.
fn edge(extension: &str, remote: SocketAddr) -> Collector {
    let (id, _) = extension.split_once(':').expect("an id and its keys");
    let config = format!(
        "
extensions:
  {extension}
receivers: {{otlp: {{protocols: {{grpc: {{endpoint: '127.0.0.1:0'}}}}}}}}
exporters:
  otlp_grpc:
    endpoint: {remote}
    tls: {{insecure: true}}
    auth: {{authenticator: {id}, allow_plaintext: true}}
service:
  extensions: [{id}]
  telemetry: {{metrics: {{level: none}}, logs: {{level: debug}}}}
  pipelines:
    traces: {{receivers: [otlp], exporters: [otlp_grpc]}}
"
    );
    Collector::start("edge", &config)
}

fn basic(credentials: &str) -> String {
    format!("Basic {}", STANDARD.encode(credentials))
}

/// Sends three spans with this `authorization`, which may be none.
pub(crate) async fn send(remote: SocketAddr, authorization: Option<&str>) -> Result<(), Status> {
    let mut request = Request::new(data::spans(1, 3));
    if let Some(value) = authorization {
        request.metadata_mut().insert("authorization", value.parse().expect("a header value"));
    }
    client::traces(remote).await.export(request).await.map(drop)
}

/// Waits until it holds, within the patience of these tests.
pub(crate) async fn eventually<F: Future<Output = bool>>(what: &str, holds: impl Fn() -> F) {
    let deadline = Instant::now() + PATIENCE;
    while !holds().await {
        assert!(Instant::now() < deadline, "not within {PATIENCE:?}: {what}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// The values that the sink got under this name, in order.
pub(crate) fn metadata(sink: &Sink, name: &str) -> Vec<String> {
    let value = |metadata: &tonic::metadata::MetadataMap| Some(metadata.get(name)?.to_str().ok()?.to_owned());
    sink.metadata().iter().filter_map(value).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_edge_with_the_right_password_gets_its_spans_through() {
    let (sink, dir) = (Sink::start(), TempDir::new().expect("a folder"));
    let remote = remote(dir.path(), "basicauth/server", sink.address());
    let keys = format!("basicauth/client: {{client_auth: {{username: user-1, password: '{PASSWORD}'}}}}");
    let edge = edge(&keys, remote.grpc());
    send(edge.grpc(), None).await.expect("the edge takes it");
    eventually("three spans at the sink", || async { sink.span_counts().len() == 3 }).await;
    assert_eq!(metadata(&sink, "x-user"), ["user-1"]);
    assert_eq!(metadata(&sink, "authorization"), Vec::<String>::new());
    edge.stop();
    remote.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_edge_with_the_wrong_password_is_told_so_and_keeps_what_it_has_until_the_password_is_right() {
    let (sink, dir) = (Sink::start(), TempDir::new().expect("a folder"));
    let remote = remote(dir.path(), "basicauth/server", sink.address());
    let password = dir.path().join("password");
    fs::write(&password, WRONG).expect("write the password");
    let keys = format!(
        "basicauth/client: {{client_auth: {{username: user-1, password_file: {}}}}}",
        password.display()
    );
    let edge = edge(&keys, remote.grpc());
    send(edge.grpc(), None).await.expect("the queue takes it");
    let line = edge.wait_for_line("Exporting failed. Will retry the request after interval.");
    assert!(line.contains("invalid credentials"), "{line}");
    assert!(remote.wait_for_line("Refused a request at the door").contains("wrong password"));
    assert!(sink.span_counts().is_empty());
    fs::write(&password, PASSWORD).expect("write the password");
    eventually("the spans that waited", || async { sink.span_counts().len() == 3 }).await;
    assert_eq!(metadata(&sink, "x-user"), ["user-1"]);
    edge.stop();
    remote.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_queue_on_disk_outlives_a_crash_and_a_password_that_was_withdrawn() {
    let (sink, dir) = (Sink::start(), TempDir::new().expect("a folder"));
    let remote = remote(dir.path(), "basicauth/server", sink.address());
    let table = dir.path().join("htpasswd");
    fs::write(&table, "").expect("write the table");
    remote.wait_for_lines("Users were read", 2);
    let config = format!(
        "
extensions:
  basicauth/client: {{client_auth: {{username: user-1, password: '{PASSWORD}'}}}}
  file_storage: {{directory: {dir}, fsync: true}}
receivers: {{otlp: {{protocols: {{grpc: {{endpoint: '127.0.0.1:0'}}}}}}}}
exporters:
  otlp_grpc:
    endpoint: {remote}
    tls: {{insecure: true}}
    auth: {{authenticator: basicauth/client, allow_plaintext: true}}
    retry_on_failure: {{initial_interval: 100ms, max_interval: 500ms}}
    sending_queue: {{storage: file_storage}}
service:
  extensions: [basicauth/client, file_storage]
  telemetry: {{metrics: {{level: none}}}}
  pipelines:
    traces: {{receivers: [otlp], exporters: [otlp_grpc]}}
",
        dir = dir.path().display(),
        remote = remote.grpc()
    );
    let mut edge = Collector::start("edge", &config);
    let mut client = client::traces(edge.grpc()).await;
    for request in 0..20 {
        client.export(data::spans(1 + request * 10, 10)).await.expect("the queue takes it");
    }
    edge.wait_for_line("Exporting failed. Will retry the request after interval.");
    edge.kill();
    let edge = Collector::start("edge", &config);
    edge.wait_for_line("Exporting failed. Will retry the request after interval.");
    assert!(sink.span_counts().is_empty());
    fs::write(&table, format!("user-1:{HASH}\n")).expect("write the table");
    eventually("all that was acknowledged", || async { sink.span_counts().len() == 200 }).await;
    edge.stop();
    remote.stop();
    assert!(sink.span_counts().values().all(|count| *count == 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn each_way_of_not_being_let_in_has_its_code_its_text_and_its_log_line() {
    let (sink, dir) = (Sink::start(), TempDir::new().expect("a folder"));
    let remote = remote(dir.path(), "basicauth/server", sink.address());
    for (authorization, text, reason) in [
        (None, "no basic auth provided", "the request has no credentials"),
        (Some(basic(&format!("user-1:{WRONG}"))), "invalid credentials", "wrong password"),
        (Some(basic(&format!("user-9:{PASSWORD}"))), "invalid credentials", "unknown user"),
        (Some(basic(&format!("user-1:{PASSWORD}\n"))), "invalid credentials", "ends with a newline"),
        (Some("Basic ?".to_owned()), "invalid authorization format", "not base64"),
        (Some(format!("Bearer {TOKEN}")), "invalid authorization scheme prefix", "another scheme"),
    ] {
        let status = send(remote.grpc(), authorization.as_deref()).await.expect_err("not let in");
        assert_eq!((status.code(), status.message()), (Code::Unauthenticated, text), "{reason}");
        let line = remote.wait_for_line(reason);
        assert!(
            line.contains("Refused a request at the door") && line.contains("basicauth/server"),
            "{line}"
        );
    }
    remote.stop();
    assert!(sink.span_counts().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn users_come_and_go_with_the_file_and_a_broken_file_changes_nothing() {
    let (sink, dir) = (Sink::start(), TempDir::new().expect("a folder"));
    let remote = remote(dir.path(), "basicauth/server", sink.address());
    let right = basic(&format!("user-1:{PASSWORD}"));
    let is_in = || async { send(remote.grpc(), Some(&right)).await.is_ok() };
    assert!(is_in().await);
    let table = dir.path().join("htpasswd");
    fs::write(&table, "user-1:$y$j9T$unknown\n").expect("write the table");
    remote.wait_for_line("the last good table stays in use");
    assert!(is_in().await);
    fs::write(&table, "").expect("write the table");
    eventually("the removed user is out", || async { !is_in().await }).await;
    let status = send(remote.grpc(), Some(&right)).await.expect_err("removed");
    assert_eq!((status.code(), status.message()), (Code::Unauthenticated, "invalid credentials"));
    fs::write(&table, format!("user-1:{HASH}\n")).expect("write the table");
    eventually("the user is back", is_in).await;
    remote.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn passwords_and_tokens_come_in_on_one_listener() {
    let (sink, dir) = (Sink::start(), TempDir::new().expect("a folder"));
    let remote = remote(dir.path(), "any_auth", sink.address());
    let edge = edge(&format!("bearertokenauth: {{token: {TOKEN}}}"), remote.grpc());
    send(edge.grpc(), None).await.expect("the edge takes it");
    eventually("the edge's spans", || async { sink.metadata().len() == 1 }).await;
    send(remote.grpc(), Some(&basic(&format!("user-2:{TOKEN}")))).await.expect("let in");
    eventually("the client's spans", || async { sink.metadata().len() == 2 }).await;
    assert_eq!(metadata(&sink, "x-way-in"), ["bearertokenauth", "basicauth/server"]);
    assert_eq!(metadata(&sink, "x-user"), ["user-2"]);
    for authorization in [None, Some(format!("Bearer {WRONG}")), Some(basic(&format!("user-2:{WRONG}")))] {
        let status = send(remote.grpc(), authorization.as_deref()).await.expect_err("not let in");
        assert_eq!(status.code(), Code::Unauthenticated);
    }
    edge.stop();
    remote.stop();
}

/// A collector that reaches `remote` over TLS, with these keys of `tls` and of the exporter.
fn secured_edge(remote: SocketAddr, tls: &str, keys: &str) -> Collector {
    let config = format!(
        "
extensions:
  basicauth/client: {{client_auth: {{username: user-2, password: {TOKEN}}}}}
receivers: {{otlp: {{protocols: {{grpc: {{endpoint: '127.0.0.1:0'}}}}}}}}
exporters:
  otlp_grpc:
    endpoint: {remote}
    tls: {{{tls}}}
    sending_queue: {{enabled: false}}
    retry_on_failure: {{enabled: false}}
    {keys}
service:
  extensions: [basicauth/client]
  telemetry: {{metrics: {{level: none}}}}
  pipelines:
    traces: {{receivers: [otlp], exporters: [otlp_grpc]}}
"
    );
    Collector::start("edge", &config)
}

#[tokio::test(flavor = "multi_thread")]
async fn certificates_and_passwords_come_in_on_one_listener() {
    if !have("openssl", "version") {
        return;
    }
    let (ca, other) = Pki::of_both_ends();
    let (cert, key, ca_file) = (ca.at("server.pem"), ca.at("server.key"), ca.at("ca.pem"));
    let tls = format!(
        "tls: {{cert_file: {cert}, key_file: {key}, client_ca_file: {ca_file}, client_certificate_optional: true}}"
    );
    let (sink, dir) = (Sink::start(), TempDir::new().expect("a folder"));
    let remote = secured_remote(dir.path(), "any_auth", &tls, sink.address());
    let own = |pki: &Pki| {
        let (cert, key) = (pki.at("client.pem"), pki.at("client.key"));
        format!("ca_file: {ca_file}, cert_file: {cert}, key_file: {key}")
    };
    let password = "auth: {authenticator: basicauth/client}";
    let by_certificate = secured_edge(remote.grpc(), &own(&ca), "");
    send(by_certificate.grpc(), None).await.expect("let in");
    let by_password = secured_edge(remote.grpc(), &format!("ca_file: {ca_file}"), password);
    send(by_password.grpc(), None).await.expect("let in");
    eventually("what both sent", || async { sink.metadata().len() == 2 }).await;
    assert_eq!(metadata(&sink, "x-way-in"), ["client_certificate", "basicauth/server"]);

    let without = secured_edge(remote.grpc(), &format!("ca_file: {ca_file}"), "");
    assert_eq!(send(without.grpc(), None).await.expect_err("not let in").code(), Code::Unauthenticated);
    // A certificate that is shown has to be right, whatever else the client has.
    let foreign = secured_edge(remote.grpc(), &own(&other), password);
    assert_eq!(send(foreign.grpc(), None).await.expect_err("not let in").code(), Code::Unavailable);
    assert_eq!(sink.metadata().len(), 2);
    for collector in [by_certificate, by_password, without, foreign, remote] {
        collector.stop();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_secret_of_a_run_is_in_logs_errors_or_printed_configurations() {
    let (sink, dir) = (Sink::start(), TempDir::new().expect("a folder"));
    let remote = remote(dir.path(), "any_auth", sink.address());
    let keys = format!("basicauth/client: {{client_auth: {{username: user-1, password: '{PASSWORD}'}}}}");
    let edge = edge(&keys, remote.grpc());
    let mut texts = Vec::new();
    send(edge.grpc(), None).await.expect("the edge takes it");
    for credentials in [format!("user-1:{WRONG}"), format!("{WRONG}:{WRONG}"), format!("user-1:{PASSWORD}\n")]
    {
        texts
            .push(send(remote.grpc(), Some(&basic(&credentials))).await.expect_err("not let in").to_string());
    }
    texts.push(
        send(remote.grpc(), Some(&format!("Bearer {WRONG}"))).await.expect_err("not let in").to_string(),
    );
    fs::write(dir.path().join("htpasswd"), format!("user-1:{HASH}x\n")).expect("write the table");
    remote.wait_for_line("the last good table stays in use");
    let config = format!(
        "extensions:\n  basicauth/server:\n    htpasswd:\n      inline: |\n        user-1:{HASH}x\n        user-2:{PASSWORD}\n  \
         basicauth/client: {{client_auth: {{username: user-1, password: '{PASSWORD}', nonsense: 1}}}}\n  \
         bearertokenauth: {{tokens: ['{TOKEN}', [{TOKEN}]]}}\n"
    );
    fs::write(dir.path().join("bad.yaml"), &config).expect("write the configuration");
    let good = config.replace(&format!("{HASH}x"), HASH).replace(", nonsense: 1", "");
    fs::write(dir.path().join("good.yaml"), good.replace(&format!(", [{TOKEN}]"), "")).expect("write");
    for arguments in [
        ["validate", "--config", "bad.yaml"],
        ["print-config", "--config", "bad.yaml"],
        ["validate", "--config", "good.yaml"],
        ["print-config", "--config", "good.yaml"],
    ] {
        let output = run(dir.path(), &arguments, &[]);
        let output = [output.stdout, output.stderr].concat();
        assert!(!output.is_empty(), "{arguments:?}");
        texts.push(format!("{arguments:?}: {}", String::from_utf8_lossy(&output)));
    }
    texts.extend([edge.log(), remote.log()]);
    assert!(texts[5].contains("line 1 of htpasswd.inline") || texts[4].contains("line 1 of htpasswd.inline"));
    edge.stop();
    remote.stop();
    let raw = [PASSWORD, WRONG].map(|password| STANDARD.encode(format!("user-1:{password}")));
    for secret in
        [PASSWORD, WRONG, TOKEN, HASH, &HASH[7..], raw[0].trim_end_matches('='), raw[1].trim_end_matches('=')]
    {
        for text in &texts {
            assert!(!text.contains(secret), "{secret} in:\n{text}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_tutorials_remote_collector_runs_as_it_is_and_lets_the_right_client_in() {
    let sink = Sink::start();
    let dir = TempDir::new().expect("a folder");
    let overrides = dir.path().join("loopback.yaml");
    let target = sink.address();
    fs::write(
        &overrides,
        format!(
            "receivers: {{otlp/basicauth: {{protocols: {{grpc: {{endpoint: '127.0.0.1:0'}}}}}}}}\n\
             exporters: {{otlp/jaeger: {{endpoint: '{target}'}}}}\n\
             service: {{telemetry: {{metrics: {{level: none}}}}}}\n"
        ),
    )
    .expect("write the configuration");
    let config =
        fs::read_to_string(workspace().join("tests/acceptance/remote.yaml")).expect("the tutorial's file");
    let remote =
        Collector::start_with("remote", &config, &["--config", overrides.to_str().expect("a path in UTF-8")]);
    for authorization in [None, Some(basic("user-1:12345")), Some(basic("user-2:1234"))] {
        let status = send(remote.grpc(), authorization.as_deref()).await.expect_err("not let in");
        assert_eq!(status.code(), Code::Unauthenticated);
    }
    assert!(sink.span_counts().is_empty());
    send(remote.grpc(), Some(&basic("user-1:1234"))).await.expect("let in");
    eventually("three spans at the sink", || async { sink.span_counts().len() == 3 }).await;
    remote.stop();
}

/// The SDK says who it is with the environment variable of the specification.
fn sdk_comes_in_with_its_password(test: &str, language: &str, peer: Result<Peer, String>) {
    let Some(peer) = or_skip(test, language, peer) else { return };
    let header = basic("user-1:1234").replace(' ', "%20").replace('=', "%3D");
    let peer = peer.with_variable("OTEL_EXPORTER_OTLP_HEADERS", format!("authorization={header}"));
    let (direct, via) = (Receiver::start(&peer), Receiver::start(&peer));
    let target = via.address().parse().expect("an address");
    let auth = "extensions: {basicauth: {htpasswd: {inline: 'user-1:1234'}}}\n";
    let config = pipeline(target, "timeout: 20ms", "compression: gzip")
        .replace("endpoint: 127.0.0.1:0", "endpoint: 127.0.0.1:0\n        auth: {authenticator: basicauth}")
        .replace("service:\n", "service:\n  extensions: [basicauth]\n");
    let remote = Collector::start("remote", &format!("{auth}{config}"));
    let account = peer.send_both(&direct, &remote.grpc().to_string(), "none");
    remote.stop();
    assert_complete(test, &account, &via.items());
    assert_same(direct.items(), via.items());
}

#[test]
fn the_python_sdk_comes_in_with_its_password() {
    sdk_comes_in_with_its_password("python_sdk_auth", "python", Peer::python());
}

#[test]
fn the_node_sdk_comes_in_with_its_password() {
    sdk_comes_in_with_its_password("node_sdk_auth", "node", Peer::node());
}
