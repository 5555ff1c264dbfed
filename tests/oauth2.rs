//! An edge that fetches tokens for a remote collector that checks them, everything over TLS.

use std::fs;
use std::path::Path;

use tempfile::TempDir;

use crate::auth::{eventually, metadata, send};
use crate::harness::Collector;
use crate::oidc::issuer::{AUDIENCE, CLIENT, Issuer, SECRET};
use crate::oidc::remote;
use crate::sink::Sink;

/// An edge that takes spans from anybody, with its secret in this file.
fn edge(issuer: &Issuer, secret: &Path, remote: &Collector) -> Collector {
    let (url, ca) = (&issuer.url, issuer.file("ca.pem"));
    let (secret, remote) = (secret.display(), remote.grpc());
    let config = format!(
        "
extensions:
  oauth2client:
    client_id: {CLIENT}
    client_secret_file: {secret}
    token_url: {url}/token
    endpoint_params: {{audience: [{AUDIENCE}]}}
    tls: {{ca_file: {ca}}}
receivers: {{otlp: {{protocols: {{grpc: {{endpoint: '127.0.0.1:0'}}}}}}}}
exporters:
  otlp_grpc:
    endpoint: {remote}
    tls: {{ca_file: {ca}}}
    auth: {{authenticator: oauth2client}}
    retry_on_failure: {{initial_interval: 100ms, max_interval: 500ms}}
service:
  extensions: [oauth2client]
  telemetry: {{metrics: {{level: none}}, logs: {{level: debug}}}}
  pipelines:
    traces: {{receivers: [otlp], exporters: [otlp_grpc]}}
"
    );
    Collector::start("edge", &config)
}

fn remote_with_tls(issuer: &Issuer, sink: &Sink) -> Collector {
    let tls =
        format!("tls: {{cert_file: {}, key_file: {}}}", issuer.file("server.pem"), issuer.file("server.key"));
    let remote = remote(issuer, "oidc", &tls, sink.address());
    remote.wait_for_line("The issuer's keys are in use");
    remote
}

#[tokio::test(flavor = "multi_thread")]
async fn an_edge_fetches_one_token_and_its_spans_come_through() {
    let (sink, issuer, dir) = (Sink::start(), Issuer::start().await, TempDir::new().expect("a folder"));
    let secret = dir.path().join("secret");
    fs::write(&secret, format!("{SECRET}\n")).expect("write the secret");
    let remote = remote_with_tls(&issuer, &sink);
    let edge = edge(&issuer, &secret, &remote);
    for _ in 0..5 {
        send(edge.grpc(), None).await.expect("the edge takes it");
    }
    eventually("the spans of five requests", || async { sink.metadata().len() == 5 }).await;
    assert_eq!(metadata(&sink, "x-subject"), [CLIENT; 5]);
    let logs = edge.log() + &remote.log();
    edge.stop();
    remote.stop();
    let state = issuer.state.lock().expect("the state");
    assert_eq!((state.tokens_asked, state.given.len()), (1, 1));
    assert!(!logs.contains(SECRET), "the secret is in a log:\n{logs}");
    assert!(!logs.contains(state.given[0].as_str()), "the token is in a log:\n{logs}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_secret_is_named_costs_nothing_and_can_be_mended_while_it_runs() {
    let (sink, issuer, dir) = (Sink::start(), Issuer::start().await, TempDir::new().expect("a folder"));
    let secret = dir.path().join("secret");
    fs::write(&secret, "wr0ng-secret").expect("write the secret");
    let remote = remote_with_tls(&issuer, &sink);
    let edge = edge(&issuer, &secret, &remote);
    send(edge.grpc(), None).await.expect("the edge takes it");
    let line = edge.wait_for_line("No new token");
    assert!(line.contains("failed to get security token from token endpoint"), "{line}");
    assert!(line.contains("401 Unauthorized: invalid_client"), "{line}");
    assert!(sink.span_counts().is_empty());
    fs::write(&secret, SECRET).expect("write the secret");
    eventually("the spans that waited", || async { sink.metadata().len() == 1 }).await;
    let log = edge.log();
    edge.stop();
    remote.stop();
    assert!(!log.contains("wr0ng-secret") && !log.contains(SECRET), "{log}");
}
