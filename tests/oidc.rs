//! Tokens at the door of a running collector: the right ones come in, everything else has its code and sends nothing, keys
//! change and issuers go away and come back without a restart.

pub(crate) mod issuer;

use std::net::SocketAddr;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::{Value, json};
use tonic::Code;

use crate::auth::{eventually, metadata, send};
use crate::harness::Collector;
use crate::sink::Sink;
use issuer::{AUDIENCE, CLIENT, Issuer, Signer, now, signing_input};

/// A collector that lets in who `authenticator` lets in, and tells the sink who that was. `tls` is a block or nothing.
pub(crate) fn remote(issuer: &Issuer, authenticator: &str, tls: &str, sink: SocketAddr) -> Collector {
    let (url, ca) = (&issuer.url, issuer.file("ca.pem"));
    let config = format!(
        "
extensions:
  oidc:
    providers:
      - {{issuer_url: '{url}', audience: {AUDIENCE}, issuer_ca_path: {ca}}}
  basicauth: {{htpasswd: {{inline: 'old:{{PLAIN}}password'}}}}
  any_auth: {{authenticators: [oidc, basicauth]}}
  headers_setter:
    headers:
      - {{key: x-subject, action: upsert, from_attribute: subject}}
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
  extensions: [any_auth, basicauth, oidc, headers_setter]
  telemetry: {{metrics: {{level: none}}, logs: {{level: debug}}}}
  pipelines:
    traces: {{receivers: [otlp], exporters: [otlp_grpc]}}
"
    );
    Collector::start("remote", &config)
}

fn bearer(token: &str) -> String {
    format!("Bearer {token}")
}

/// The claims of a good token, with these changed.
fn changed(issuer: &Issuer, change: &Value) -> Value {
    let mut claims = issuer.claims();
    for (name, value) in change.as_object().expect("an object") {
        claims[name] = value.clone();
    }
    claims
}

#[tokio::test(flavor = "multi_thread")]
async fn only_tokens_of_the_issuer_for_us_and_for_now_come_in() {
    let (sink, issuer) = (Sink::start(), Issuer::start().await);
    let remote = remote(&issuer, "oidc", "", sink.address());
    remote.wait_for_line("The issuer's keys are in use");
    let good = issuer.token(&issuer.claims());
    let key = issuer.state.lock().expect("the state").signer.public().to_vec();
    let hmac = {
        let message = signing_input("HS256", "first", &issuer.claims());
        let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, &key);
        format!("{message}.{}", URL_SAFE_NO_PAD.encode(ring::hmac::sign(&key, message.as_bytes())))
    };
    let (head, signature) = good.rsplit_once('.').expect("a signature");
    let (_, payload) = head.split_once('.').expect("a payload");
    let other_payload = issuer.token(&changed(&issuer, &json!({"sub": "admin"})));
    let (other_head, _) = other_payload.rsplit_once('.').expect("a signature");
    for (what, token, text) in [
        ("expired", issuer.token(&changed(&issuer, &json!({"exp": now() - 1}))), "the token has expired"),
        ("audience", issuer.token(&changed(&issuer, &json!({"aud": "other"}))), "is for another audience"),
        ("issuer", issuer.token(&changed(&issuer, &json!({"iss": "https://other"}))), "is of another issuer"),
        ("future", issuer.token(&changed(&issuer, &json!({"nbf": now() + 3600}))), "is not valid yet"),
        ("none", format!("{}.", signing_input("none", "first", &issuer.claims())), "is not signed"),
        ("HS256", hmac, "a shared secret"),
        (
            "foreign key of the same name",
            Signer::new("first").token(&issuer.claims()),
            "failed to verify signature",
        ),
        ("foreign key", Signer::new("foreign").token(&issuer.claims()), "failed to verify signature"),
        ("other payload", format!("{other_head}.{signature}"), "failed to verify signature"),
        ("no signature", format!("{}.{payload}", "e30"), "does not have three parts"),
    ] {
        let status = send(remote.grpc(), Some(&bearer(&token))).await.expect_err(what);
        assert_eq!(status.code(), Code::Unauthenticated, "{what}: {status}");
        assert!(status.message().contains(text), "{what}: {status}");
    }
    let status = send(remote.grpc(), None).await.expect_err("no token");
    assert_eq!((status.code(), status.message()), (Code::Unauthenticated, "authentication didn't succeed"));
    assert!(sink.span_counts().is_empty());
    send(remote.grpc(), Some(&bearer(&good))).await.expect("let in");
    eventually("the spans", || async { sink.metadata().len() == 1 }).await;
    assert_eq!(metadata(&sink, "x-subject"), [CLIENT]);
    let log = remote.log();
    remote.stop();
    assert!(!log.contains(signature), "a token in the log:\n{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_key_of_the_issuer_is_fetched_when_a_token_names_it() {
    let (sink, issuer) = (Sink::start(), Issuer::start().await);
    let remote = remote(&issuer, "oidc", "", sink.address());
    remote.wait_for_line("The issuer's keys are in use");
    let old = bearer(&issuer.token(&issuer.claims()));
    send(remote.grpc(), Some(&old)).await.expect("let in");
    issuer.rotate("second");
    let new = bearer(&issuer.token(&issuer.claims()));
    // The request waits for the key rather than be lost.
    send(remote.grpc(), Some(&new)).await.expect("let in by the new key");
    let status = send(remote.grpc(), Some(&old)).await.expect_err("withdrawn");
    assert_eq!(status.code(), Code::Unauthenticated);
    remote.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_issuer_that_is_down_at_the_start_is_waited_for_and_nobody_comes_in_meanwhile() {
    let (sink, issuer) = (Sink::start(), Issuer::absent());
    let remote = remote(&issuer, "oidc", "", sink.address());
    let token = bearer(&issuer.token(&issuer.claims()));
    let line = remote.wait_for_line("The issuer's keys cannot be fetched");
    assert!(line.contains("connection refused"), "{line}");
    let status = send(remote.grpc(), Some(&token)).await.expect_err("nobody can say");
    assert_eq!(status.code(), Code::Unavailable, "{status}");
    assert!(sink.span_counts().is_empty());
    issuer.appear().await;
    eventually("let in", || async { send(remote.grpc(), Some(&token)).await.is_ok() }).await;
    remote.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_move_from_passwords_to_tokens_on_one_listener() {
    let (sink, issuer) = (Sink::start(), Issuer::start().await);
    let remote = remote(&issuer, "any_auth", "", sink.address());
    remote.wait_for_line("The issuer's keys are in use");
    let password = |password: &str| format!("Basic {}", STANDARD.encode(format!("old:{password}")));
    send(remote.grpc(), Some(&password("password"))).await.expect("by password");
    eventually("the first spans", || async { sink.metadata().len() == 1 }).await;
    send(remote.grpc(), Some(&bearer(&issuer.token(&issuer.claims())))).await.expect("by token");
    eventually("the second spans", || async { sink.metadata().len() == 2 }).await;
    assert_eq!(metadata(&sink, "x-way-in"), ["basicauth", "oidc"]);
    assert_eq!(
        (metadata(&sink, "x-user"), metadata(&sink, "x-subject")),
        (vec!["old".to_owned()], vec![CLIENT.to_owned()])
    );
    let status = send(remote.grpc(), Some(&password("wrong"))).await.expect_err("a wrong password");
    assert_eq!((status.code(), status.message()), (Code::Unauthenticated, "invalid credentials"));
    let expired = bearer(&issuer.token(&changed(&issuer, &json!({"exp": 1}))));
    let status = send(remote.grpc(), Some(&expired)).await.expect_err("an old token");
    assert!(status.message().contains("has expired"), "{status}");
    remote.stop();
}
