//! A remote collector behind a real nginx that ends TLS: each way of not getting through, what the client of the edge is
//! told, what is in the logs of both sides, and that nothing arrives.

use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::time::Instant;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_client::TraceServiceClient;
use tempfile::TempDir;
use tonic::{Code, Request, Status};

use super::pki::{Nginx, Pki, have, htpasswd};
use super::send;
use crate::harness::{Collector, END_TO_END, PATIENCE, passthrough, say};
use crate::sink::Sink;
use crate::{client, data};

const RIGHT: &str = "ingress-s3cret";
const USER: &str = "basicauth: {client_auth: {username: user-1, password: ingress-s3cret}}";
const STRANGER: &str = "basicauth: {client_auth: {username: user-1, password: a-guess}}";

/// What is to come of it.
struct Case {
    name: &'static str,
    code: Code,
    /// In the status and in the log of the edge.
    says: &'static str,
    /// In the log of the remote collector; empty where the request does not get that far.
    remote_says: &'static str,
}

/// An edge collector that sends to the ingress with this `tls` block and, where it is not empty, as this extension says.
fn edge(ingress: &Nginx, tls: &str, extension: &str) -> Collector {
    let (extensions, auth, service) = match extension {
        "" => (String::new(), "", ""),
        keys => (
            format!("extensions:\n  {keys}\n"),
            "auth: {authenticator: basicauth}",
            "extensions: [basicauth]",
        ),
    };
    Collector::start(
        "edge",
        &format!(
            "{extensions}
receivers:
  otlp: {{protocols: {{grpc: {{endpoint: '127.0.0.1:0'}}}}}}
exporters:
  otlp_grpc:
    endpoint: 127.0.0.1:{}
    tls: {{{tls}}}
    {auth}
    {END_TO_END}
service:
  {service}
  telemetry: {{metrics: {{level: none}}}}
  pipelines:
    traces: {{receivers: [otlp], exporters: [otlp_grpc]}}
",
            ingress.port()
        ),
    )
}

/// A remote collector that lets in who is in `table`.
fn remote(table: &std::path::Path, sink: SocketAddr) -> Collector {
    let table = table.display();
    let config = passthrough("endpoint: 127.0.0.1:0\n        auth: {authenticator: basicauth}", sink, "");
    let config = config.replace("service:\n", "service:\n  extensions: [basicauth]\n");
    Collector::start(
        "remote",
        &format!("extensions: {{basicauth: {{htpasswd: {{file: {table}}}}}}}\n{config}"),
    )
}

fn row(name: &str, answer: &Result<(), Status>, arrived: usize) {
    let (code, text) = match answer {
        Ok(()) => (Code::Ok, ""),
        Err(status) => (status.code(), status.message()),
    };
    say(&format!("ingress: {name:<44} {:<16} {arrived} spans  {text}", format!("{code:?}")));
}

/// Sends through `edge`, and checks what is to come of it.
async fn check(edge: &Collector, remote: &Collector, sink: &Sink, case: &Case) {
    let before = sink.span_counts().len();
    let answer = send(edge).await;
    let arrived = sink.span_counts().len() - before;
    row(case.name, &answer, arrived);
    if case.code == Code::Ok {
        answer.expect(case.name);
        assert_eq!(arrived, 5, "{}", case.name);
        return;
    }
    let status = answer.expect_err(case.name);
    assert_eq!(status.code(), case.code, "{}: {status}", case.name);
    assert!(status.message().contains(case.says), "{}: {status}", case.name);
    edge.wait_for_line(&case.says.replace('"', "\\\""));
    if !case.remote_says.is_empty() {
        let line = remote.wait_for_line(case.remote_says);
        assert!(line.contains("Refused a request at the door"), "{}: {line}", case.name);
    }
    assert_eq!(arrived, 0, "{}", case.name);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_ingress_lets_through_who_is_known_and_each_other_is_told_why_not() {
    if !have("openssl", "version") || !have("nginx", "-v") || !have("htpasswd", "-nbs u p") {
        return;
    }
    let (ca, other, dir) = (Pki::new(), Pki::new(), TempDir::new().expect("a folder"));
    ca.issue("good", "remote.example");
    ca.issue_expired("old", "remote.example");
    let file = dir.path().join("htpasswd");
    fs::write(&file, htpasswd(&[("user-1", RIGHT), ("user-2", "another")])).expect("write");
    let sink = Sink::start();
    let remote = remote(&file, sink.address());
    let good = Nginx::start(&ca.path("good.pem"), &ca.path("good.key"), "", remote.grpc());
    let old = Nginx::start(&ca.path("old.pem"), &ca.path("old.key"), "", remote.grpc());
    let trusted = format!("ca_file: {}, server_name_override: remote.example", ca.at("ca.pem"));
    let foreign = trusted.replace(&ca.at("ca.pem"), &other.at("ca.pem"));
    let misnamed = trusted.replace("remote.example", "wrong.example");
    let (refused, down) = (Code::Unauthenticated, Code::Unavailable);
    let case = |name, code, says, remote_says| Case { name, code, says, remote_says };
    for (ingress, tls, extension, case) in [
        (&good, &trusted, STRANGER, case("wrong password", refused, "invalid credentials", "wrong password")),
        (&good, &trusted, "", case("no header", refused, "no basic auth provided", "has no credentials")),
        (&good, &foreign, USER, case("wrong CA", down, "signed by an unknown authority", "")),
        (&good, &misnamed, USER, case("wrong server name", down, "not for \"wrong.example\"", "")),
        (&old, &trusted, USER, case("expired certificate", down, "has expired", "")),
    ] {
        let edge = edge(ingress, tls, extension);
        check(&edge, &remote, &sink, &case).await;
        edge.stop();
    }
    assert!(sink.traces().is_empty());

    let edge = edge(&good, &trusted, USER);
    check(&edge, &remote, &sink, &case("right password", Code::Ok, "", "")).await;
    fs::write(&file, htpasswd(&[("user-2", "another")])).expect("write");
    remote.wait_for_lines("Users were read", 2);
    sink.forget();
    let removed = case("user removed from the running table", refused, "invalid credentials", "unknown user");
    check(&edge, &remote, &sink, &removed).await;
    edge.stop();
    remote.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_ingress_with_client_certificates_lets_through_those_it_knows() {
    if !have("openssl", "version") || !have("nginx", "-v") {
        return;
    }
    let (ca, other) = Pki::of_both_ends();
    let sink = Sink::start();
    let remote = Collector::start("remote", &passthrough("endpoint: '127.0.0.1:0'", sink.address(), ""));
    let verify = format!("ssl_client_certificate {}; ssl_verify_client on;", ca.at("ca.pem"));
    let ingress = Nginx::start(&ca.path("server.pem"), &ca.path("server.key"), &verify, remote.grpc());
    let trusted = format!("ca_file: {}, server_name_override: remote.example", ca.at("ca.pem"));
    let of = |pki: &Pki, name: &str| {
        let (cert, key) = (pki.at(&format!("{name}.pem")), pki.at(&format!("{name}.key")));
        format!("{trusted}, cert_file: {cert}, key_file: {key}")
    };
    // nginx ends the handshake and answers the request, so it is no failure of the connection: 400 is INTERNAL.
    for (name, tls, in_log_of_ingress) in [
        ("mTLS: no certificate", trusted.clone(), "client sent no required SSL certificate"),
        ("mTLS: certificate of another CA", of(&other, "client"), "client SSL certificate verify error"),
    ] {
        let edge = edge(&ingress, &tls, "");
        let case = Case { name, code: Code::Internal, says: "400", remote_says: "" };
        check(&edge, &remote, &sink, &case).await;
        ingress.wait_for_log(in_log_of_ingress);
        edge.stop();
    }
    assert!(sink.traces().is_empty());
    let edge = edge(&ingress, &of(&ca, "client"), "");
    let case = Case { name: "mTLS: right certificate", code: Code::Ok, says: "", remote_says: "" };
    check(&edge, &remote, &sink, &case).await;
    edge.stop();
    remote.stop();
}

/// Calls with these credentials and a forged address, from `from` through the ingress at `address`.
#[cfg(target_os = "linux")]
async fn call(from: [u8; 4], address: SocketAddr, credentials: &str) -> Result<(), Status> {
    let mut client = TraceServiceClient::new(client::connect_from(from.into(), address).await);
    let mut request = Request::new(data::spans(1, 5));
    let value = format!("Basic {}", STANDARD.encode(credentials));
    request.metadata_mut().insert("authorization", value.parse().expect("a header value"));
    request.metadata_mut().insert("x-forwarded-for", "127.0.0.3".parse().expect("a header value"));
    client.export(request).await.map(drop)
}

/// Somebody behind the ingress who guesses names until he is put off, and a client behind the same that has not come before.
#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread")]
async fn who_guesses_through_an_ingress_shuts_nobody_else_out() {
    if !have("openssl", "version") || !have("nginx", "-v") {
        return;
    }
    let ca = Pki::new();
    ca.issue("good", "remote.example");
    let sink = Sink::start();
    for (trusted, code) in [("trusted_proxies: [127.0.0.1]", Code::Ok), ("", Code::Unavailable)] {
        let auth = format!("{{authenticator: basicauth, {trusted}}}");
        let config = passthrough(&format!("endpoint: 127.0.0.1:0\n        auth: {auth}"), sink.address(), "");
        let config = config.replace("service:\n", "service:\n  extensions: [basicauth]\n");
        let table = format!("htpasswd: {{inline: 'user-1:{{PLAIN}}{RIGHT}'}}");
        let remote = Collector::start("remote", &format!("extensions: {{basicauth: {{{table}}}}}\n{config}"));
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let plaintext = listener.local_addr().expect("its address");
        drop(listener);
        let more =
            format!("listen {plaintext} http2; grpc_set_header X-Forwarded-For $proxy_add_x_forwarded_for;");
        let _ingress = Nginx::start(&ca.path("good.pem"), &ca.path("good.key"), &more, remote.grpc());

        let mut guesses = 0;
        let last = loop {
            let answer = call([127, 0, 0, 2], plaintext, &format!("user-{guesses}:{guesses}")).await;
            let status = answer.expect_err("a guess");
            guesses += 1;
            if status.code() != Code::Unauthenticated || guesses == 500 {
                break status;
            }
        };
        assert_eq!(last.message(), "too many failed authentications, try again later");
        let line = remote.wait_for_line("unknown user");
        let (peer, via) = ("\"peer\": \"127.0.0.2\"", "\"via\": \"127.0.0.1:");
        assert_eq!((line.contains(peer), line.contains(via)), (code == Code::Ok, code == Code::Ok), "{line}");

        let answer = call([127, 0, 0, 3], plaintext, &format!("user-1:{RIGHT}")).await;
        let found = answer.as_ref().map_or_else(Status::code, |()| Code::Ok);
        row(&format!("another client after {guesses} guesses {trusted}"), &answer, sink.span_counts().len());
        assert_eq!(found, code, "{answer:?}");
        remote.stop();
    }
}

/// Until the log of the ingress has this: it is written by another process.
impl Nginx {
    fn wait_for_log(&self, text: &str) {
        let deadline = Instant::now() + PATIENCE;
        while !self.log().contains(text) {
            assert!(Instant::now() < deadline, "nginx does not log {text:?}:\n{}", self.log());
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
    }
}
