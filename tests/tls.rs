//! TLS between real collectors, and through a real nginx, with certificates of the real openssl: what is right arrives, and
//! each thing that is wrong has a log line that says so, a status for the client, and no span that arrives.

mod ingress;
pub(crate) mod pki;
mod rotation;

use tonic::Code;

use crate::client;
use crate::data;
use crate::harness::{Collector, END_TO_END, passthrough};
use crate::sink::Sink;
use pki::{Nginx, Pki, have};

/// An edge collector that sends to `endpoint` with this `tls` block.
fn edge(endpoint: &str, tls: &str) -> Collector {
    Collector::start(
        "edge",
        &format!(
            "
receivers:
  otlp: {{protocols: {{grpc: {{endpoint: '127.0.0.1:0'}}}}}}
exporters:
  otlp_grpc:
    endpoint: {endpoint}
    tls: {{{tls}}}
    {END_TO_END}
service:
  telemetry:
    metrics: {{level: none}}
  pipelines:
    traces: {{receivers: [otlp], exporters: [otlp_grpc]}}
"
        ),
    )
}

/// A remote collector with this `tls` block.
fn remote(sink: &Sink, tls: &str) -> Collector {
    let endpoint = format!("endpoint: '127.0.0.1:0'\n        tls: {{{tls}}}");
    Collector::start("remote", &passthrough(&endpoint, sink.address(), ""))
}

/// Sends a few spans through `edge`.
async fn send(edge: &Collector) -> Result<(), tonic::Status> {
    client::traces(edge.grpc()).await.export(data::spans(1, 5)).await.map(drop)
}

/// Sends, and checks that it fails as it should: status, text, log line, nothing arrives.
async fn refused(edge: Collector, sink: &Sink, text: &str) {
    let status = send(&edge).await.expect_err("refused");
    assert_eq!(status.code(), Code::Unavailable, "{status}");
    assert!(status.message().contains(text), "{status}");
    edge.wait_for_line(&text.replace('"', "\\\""));
    assert!(sink.traces().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_nginx_ingress_is_verified_and_each_mistake_is_named() {
    if !have("openssl", "version") || !have("nginx", "-v") {
        return;
    }
    let (ca, other) = (Pki::new(), Pki::new());
    ca.issue("good", "remote.example");
    ca.issue_expired("old", "remote.example");
    let sink = Sink::start();
    let remote = Collector::start("remote", &passthrough("endpoint: '127.0.0.1:0'", sink.address(), ""));
    let good = Nginx::start(&ca.path("good.pem"), &ca.path("good.key"), "", remote.grpc());
    let old = Nginx::start(&ca.path("old.pem"), &ca.path("old.key"), "", remote.grpc());
    let (ca_file, other_file) = (ca.at("ca.pem"), other.at("ca.pem"));
    let (to_good, to_old) = (format!("127.0.0.1:{}", good.port()), format!("127.0.0.1:{}", old.port()));
    let named = |name: &str| format!("ca_file: {ca_file}, server_name_override: {name}");

    let foreign = format!("ca_file: {other_file}, server_name_override: remote.example");
    refused(edge(&to_good, &foreign), &sink, "signed by an unknown authority").await;
    let text = "is for \"remote.example\", \"127.0.0.1\", not for \"wrong.example\"";
    refused(edge(&to_good, &named("wrong.example")), &sink, text).await;
    let text = "has expired: it was valid until 2021-01-01T00:00:00Z";
    refused(edge(&to_old, &named("remote.example")), &sink, text).await;
    refused(edge(&to_good, ""), &sink, "signed by an unknown authority").await;

    let right = edge(&to_good, &named("remote.example"));
    send(&right).await.expect("accepted");
    assert_eq!(sink.traces().len(), 1);
    let by_address = edge(&format!("https://127.0.0.1:{}", good.port()), &format!("ca_file: {ca_file}"));
    send(&by_address).await.expect("accepted");
    assert_eq!(sink.traces().len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collector_requires_and_verifies_client_certificates() {
    if !have("openssl", "version") {
        return;
    }
    let (ca, other) = Pki::of_both_ends();
    let sink = Sink::start();
    let (cert, key, ca_file) = (ca.at("server.pem"), ca.at("server.key"), ca.at("ca.pem"));
    let remote = remote(&sink, &format!("cert_file: {cert}, key_file: {key}, client_ca_file: {ca_file}"));
    let endpoint = remote.grpc().to_string();

    refused(edge(&endpoint, &format!("ca_file: {ca_file}")), &sink, "requires a client certificate").await;
    remote.wait_for_line("the client gave no certificate, and this endpoint requires one (client_ca_file)");
    let of = |pki: &Pki| {
        let (cert, key) = (pki.at("client.pem"), pki.at("client.key"));
        format!("ca_file: {ca_file}, cert_file: {cert}, key_file: {key}")
    };
    let text = "does not know the authority of our client certificate";
    refused(edge(&endpoint, &of(&other)), &sink, text).await;
    remote.wait_for_line("the client's certificate is signed by an unknown authority");

    let known = edge(&endpoint, &of(&ca));
    send(&known).await.expect("accepted");
    assert_eq!(sink.traces().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn plaintext_against_tls_is_said_on_both_sides() {
    if !have("openssl", "version") {
        return;
    }
    let ca = Pki::new();
    ca.issue("server", "remote.example");
    let sink = Sink::start();
    let secure =
        remote(&sink, &format!("cert_file: {}, key_file: {}", ca.at("server.pem"), ca.at("server.key")));
    let plain = Collector::start("plain", &passthrough("endpoint: '127.0.0.1:0'", sink.address(), ""));

    let text = "the server speaks plaintext HTTP/2, and this client TLS; if the server is plaintext on purpose, set tls: \
                {insecure: true}";
    refused(edge(&plain.grpc().to_string(), &format!("ca_file: {}", ca.at("ca.pem"))), &sink, text).await;
    plain.wait_for_line("A TLS client connected to this plaintext gRPC endpoint");

    let text = "the server speaks TLS, and this client plaintext; remove insecure: true";
    refused(edge(&secure.grpc().to_string(), "insecure: true"), &sink, text).await;
    secure
        .wait_for_line("the client speaks plaintext HTTP/2, and this endpoint TLS; make the client use TLS");
}
