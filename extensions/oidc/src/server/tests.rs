//! Requests with tokens, against keys in files and issuers on loopback.

use std::path::{Path, PathBuf};
use std::time::Duration;

use http::HeaderMap;
use proptest::prelude::*;
use serde_json::{Value, json};
use spanbridge_component::{AuthValue, Code, Component as _, Extension as _, Kind, Status};
use spanbridge_testkit::{StatusLog, host, settings_of};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio_util::task::AbortOnDropHandle;

use super::*;
use crate::extension::Oidc;
use crate::signing::{Signer, jwks};
use crate::{Config, ProviderConfig};

const BOUND: Duration = Duration::from_secs(60);
const ISSUER: &str = "https://issuer.example";

type Answer = Result<Arc<dyn AuthData>, AuthError>;

/// A running extension.
struct Running {
    extension: Oidc,
    server: Arc<dyn ServerAuthenticator>,
    status: Arc<StatusLog>,
}

async fn run(providers: Vec<ProviderConfig>) -> Running {
    let settings = settings_of(Kind::Extension, "oidc");
    let extension = Oidc::new(&settings, &Config { providers, ..Config::default() }).unwrap();
    let (host, status) = host(&settings);
    extension.start(host).await.unwrap();
    Running { server: extension.as_server_authenticator().unwrap(), extension, status }
}

fn with_file(issuer: &str, path: &Path) -> ProviderConfig {
    ProviderConfig { public_keys_file: Some(path.to_owned()), ..asked(issuer) }
}

fn asked(issuer: &str) -> ProviderConfig {
    ProviderConfig {
        issuer_url: issuer.to_owned(),
        audience: "spans".to_owned(),
        ..ProviderConfig::default()
    }
}

struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.0.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    }
}

async fn ask_as(server: &dyn ServerAuthenticator, value: &str) -> Answer {
    let mut headers = HeaderMap::new();
    headers.insert("authorization", HeaderValue::from_bytes(value.as_bytes()).unwrap());
    let request = AuthRequest { headers: &headers, peer: None, certificates: &[], is_secured: true };
    tokio::time::timeout(BOUND, server.authenticate(&request)).await.unwrap()
}

async fn ask(running: &Running, token: &str) -> Answer {
    ask_as(&*running.server, &format!("Bearer {token}")).await
}

fn claims(issuer: &str) -> Value {
    json!({"iss": issuer, "aud": "spans", "sub": "edge-1", "exp": 4_102_444_800_u64})
}

fn vectors() -> Value {
    serde_json::from_str(include_str!("../../testdata/vectors.json")).unwrap()
}

fn entries<'a>(vectors: &'a Value, name: &str) -> Vec<(&'a str, &'a str)> {
    let map = vectors[name].as_object().unwrap();
    map.iter().map(|(name, token)| (name.as_str(), token.as_str().unwrap())).collect()
}

#[tokio::test]
async fn tokens_of_another_implementation_come_in_with_each_algorithm_and_its_tricks_do_not() {
    let (folder, vectors) = (Folder::new(), vectors());
    let path = folder.write("jwks", &vectors["jwks"].to_string());
    let running = run(vec![with_file(ISSUER, &path)]).await;
    let good = entries(&vectors, "good");
    assert_eq!(good.len(), 9);
    for (algorithm, token) in good {
        let data = ask(&running, token).await.unwrap_or_else(|error| panic!("{algorithm}: {error}"));
        assert!(data.attribute("subject") == Some(AuthValue::Text("edge-1".to_owned())), "{algorithm}");
        assert!(data.attribute("raw") == Some(AuthValue::Text(token.to_owned())));
    }
    let bad = entries(&vectors, "bad");
    assert_eq!(bad.len(), 10);
    for (trick, token) in bad {
        let error = ask(&running, token).await.expect_err(trick);
        assert_eq!(error.code(), Code::Unauthenticated, "{trick}: {error}");
    }
}

#[tokio::test]
async fn a_token_that_says_two_things_or_too_much_is_refused_though_its_signature_is_right() {
    let (folder, signer) = (Folder::new(), Signer::new("a"));
    let path = folder.write("jwks", &jwks(&[&signer]));
    let running = run(vec![with_file(ISSUER, &path)]).await;
    let (header, body) = (r#"{"alg":"ES256","kid":"a"}"#, claims(ISSUER).to_string());
    assert!(ask(&running, &signer.token_of(header, &body)).await.is_ok());
    let deep = format!(
        r#"{{"iss":"{ISSUER}","aud":"spans","exp":4102444800,"x":{}{}}}"#,
        "[".repeat(50),
        "]".repeat(50)
    );
    let long = json!({"iss": ISSUER, "aud": "spans", "exp": 4_102_444_800_u64, "x": "y".repeat(16 * 1024)});
    for (header, body) in [
        (header, format!(r#"{{"iss":"other","aud":"spans","exp":4102444800,"iss":"{ISSUER}"}}"#)),
        (header, deep),
        (header, long.to_string()),
        (header, "[]".to_owned()),
        (r#"{"alg":"none","alg":"ES256","kid":"a"}"#, body.clone()),
        (r#"{"alg":"ES256","kid":"a","crit":["exp"],"exp":1}"#, body.clone()),
        (r#"{"alg":"ES256","kid":7}"#, body.clone()),
        (r#"{"alg":"es256","kid":"a"}"#, body.clone()),
        (r#"{"kid":"a"}"#, body.clone()),
        ("", body.clone()),
    ] {
        let error = ask(&running, &signer.token_of(header, &body)).await.unwrap_err();
        assert_eq!(error.code(), Code::Unauthenticated, "{header}: {error}");
        assert!(error.message().starts_with("failed to parse the token: "), "{header}: {error}");
    }
}

#[tokio::test]
async fn headers_without_a_token_are_refused_in_the_words_of_the_reference() {
    let (folder, signer) = (Folder::new(), Signer::new("a"));
    let path = folder.write("jwks", &jwks(&[&signer]));
    let running = run(vec![with_file(ISSUER, &path)]).await;
    for (value, message, is_missing) in [
        ("", "authentication didn't succeed", true),
        ("Basic dXNlcjpwdw==", "authentication didn't succeed", true),
        ("Bearer", "invalid authorization header format", false),
        ("Bearer  x", "invalid authorization header format", false),
        ("Bearer x y", "invalid authorization header format", false),
        (
            "Bearer \u{e4}",
            "failed to parse the token: the token is no signed JWT: it does not have three parts",
            false,
        ),
    ] {
        let error = ask_as(&*running.server, value).await.unwrap_err();
        assert_eq!((error.message(), error.is_missing()), (message, is_missing), "{value}");
        assert_eq!(error.challenges(), [CHALLENGE], "{value}");
    }
    let token = signer.token(&claims(ISSUER));
    for scheme in ["Bearer", "bearer", "Token"] {
        assert!(ask_as(&*running.server, &format!("{scheme} {token}")).await.is_ok(), "{scheme}");
    }
}

#[tokio::test]
async fn a_token_is_in_the_answer_and_not_in_what_is_remembered() {
    let (_folder, server, tokens) = tokio::task::spawn_blocking(vector_server).await.unwrap();
    for _ in 0..2 {
        let data = ask_as(&*server, &format!("Bearer {}", tokens[0])).await.unwrap();
        assert!(data.attribute("raw") == Some(AuthValue::Text(tokens[0].clone())));
        assert!(server.find(&tokens[0]).await.unwrap().attribute("raw").is_none());
        assert!(data.names().is_sorted(), "{:?}", data.names());
    }
}

#[tokio::test]
async fn several_issuers_are_told_apart_and_none_can_speak_for_another() {
    let (folder, one, other) = (Folder::new(), Signer::new("k"), Signer::new("k"));
    let (first, second) = (folder.write("1", &jwks(&[&one])), folder.write("2", &jwks(&[&other])));
    let running = run(vec![with_file("one", &first), with_file("other", &second)]).await;
    assert!(ask(&running, &one.token(&claims("one"))).await.is_ok());
    assert!(ask(&running, &other.token(&claims("other"))).await.is_ok());
    for (token, message) in [
        (one.token(&claims("other")), "failed to verify token: failed to verify signature"),
        (other.token(&claims("one")), "failed to verify token: failed to verify signature"),
        (one.token(&claims("third")), "failed to resolve OIDC provider: no provider is configured"),
    ] {
        let error = ask(&running, &token).await.unwrap_err();
        assert!(error.message().starts_with(message), "{error}");
        assert_eq!(error.code(), Code::Unauthenticated);
    }
}

#[tokio::test]
async fn a_file_of_keys_is_followed_and_what_was_known_is_forgotten_with_it() {
    let (folder, old, new) = (Folder::new(), Signer::new("a"), Signer::new("b"));
    let path = folder.write("jwks", &jwks(&[&old]));
    let running = run(vec![with_file(ISSUER, &path)]).await;
    let (old_token, new_token) = (old.token(&claims(ISSUER)), new.token(&claims(ISSUER)));
    assert!(ask(&running, &old_token).await.is_ok());
    assert!(ask(&running, &new_token).await.is_err());
    folder.write("jwks", &jwks(&[&new]));
    eventually(async || ask(&running, &new_token).await.is_ok()).await;
    let error = ask(&running, &old_token).await.unwrap_err();
    assert_eq!(error.code(), Code::Unauthenticated, "remembered, and not to be believed any more");
}

async fn eventually(holds: impl AsyncFn() -> bool) {
    tokio::time::timeout(BOUND, async {
        while !holds().await {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await
    .expect("in time");
}

/// An issuer on loopback; its keys can be exchanged.
struct Issuer {
    url: String,
    keys: Arc<std::sync::Mutex<String>>,
    tasks: Vec<AbortOnDropHandle<()>>,
}

impl Issuer {
    /// One that is not there yet.
    async fn absent() -> Self {
        let address = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
        Self { url: format!("http://{address}"), keys: Arc::default(), tasks: Vec::new() }
    }

    async fn appear(&mut self, keys: &str) {
        let listener = TcpListener::bind(self.url.trim_start_matches("http://")).await.unwrap();
        keys.clone_into(&mut self.keys.lock().unwrap());
        let (url, keys) = (self.url.clone(), self.keys.clone());
        let task = tokio::spawn(async move {
            loop {
                let (mut socket, _) = listener.accept().await.unwrap();
                let mut got = Vec::new();
                while !got.ends_with(b"\r\n\r\n") && socket.read_buf(&mut got).await.unwrap_or(0) > 0 {}
                let body = if got.starts_with(b"GET /.well-known/openid-configuration ") {
                    json!({"issuer": url, "jwks_uri": format!("{url}/keys")}).to_string()
                } else {
                    keys.lock().unwrap().clone()
                };
                let _ = socket.write_all(format!("HTTP/1.1 200 OK\r\n\r\n{body}").as_bytes()).await;
            }
        });
        self.tasks.push(AbortOnDropHandle::new(task));
    }
}

#[tokio::test]
async fn an_issuer_that_is_away_refuses_everybody_until_it_is_back() {
    let (mut issuer, signer) = (Issuer::absent().await, Signer::new("a"));
    let running = run(vec![asked(&issuer.url)]).await;
    let token = signer.token(&claims(&issuer.url));
    let error = ask(&running, &token).await.unwrap_err();
    assert_eq!(error.code(), Code::Unavailable);
    assert!(error.message().contains("keys are not known yet"), "{error}");
    eventually(async || !running.status.reports().is_empty()).await;
    let reports = running.status.reports();
    assert!(matches!(&reports[0], Status::RecoverableError(text) if text.contains("connection refused")));
    issuer.appear(&jwks(&[&signer])).await;
    eventually(async || ask(&running, &token).await.is_ok()).await;
    eventually(async || running.status.reports().last() == Some(&Status::Ok)).await;
    running.extension.shutdown(tokio::time::Instant::now() + BOUND).await.unwrap();
}

#[tokio::test]
async fn an_unknown_key_makes_it_ask_the_issuer_and_the_request_waits_for_the_answer() {
    let (mut issuer, old, new) = (Issuer::absent().await, Signer::new("a"), Signer::new("b"));
    issuer.appear(&jwks(&[&old])).await;
    let running = run(vec![asked(&issuer.url)]).await;
    let (old_token, new_token) = (old.token(&claims(&issuer.url)), new.token(&claims(&issuer.url)));
    eventually(async || ask(&running, &old_token).await.is_ok()).await;
    *issuer.keys.lock().unwrap() = jwks(&[&new]);
    // One request is enough.
    assert!(ask(&running, &new_token).await.is_ok());
    assert_eq!(ask(&running, &old_token).await.unwrap_err().code(), Code::Unauthenticated);
    // A key of this name with another signature is no reason to ask.
    let stranger = Signer::new("b").token(&claims(&issuer.url));
    assert_eq!(ask(&running, &stranger).await.unwrap_err().code(), Code::Unauthenticated);
}

#[tokio::test]
async fn an_issuer_that_claims_to_be_another_gives_no_keys() {
    let (mut issuer, signer) = (Issuer::absent().await, Signer::new("a"));
    issuer.appear(&jwks(&[&signer])).await;
    let config = ProviderConfig { issuer_url: format!("{}/", issuer.url), ..asked(&issuer.url) };
    let running = run(vec![config]).await;
    eventually(async || !running.status.reports().is_empty()).await;
    let reports = running.status.reports();
    assert!(
        matches!(&reports[0], Status::RecoverableError(text) if text.contains("the two have to be equal"))
    );
    let error = ask(&running, &signer.token(&claims(&issuer.url))).await.unwrap_err();
    assert_eq!(error.code(), Code::Unavailable);
}

/// A server with one key of each type, and good tokens.
fn vector_server() -> (tempfile::TempDir, Arc<Server>, Vec<String>) {
    let (folder, vectors) = (Folder::new(), vectors());
    let path = folder.write("jwks", &vectors["jwks"].to_string());
    let tokens = entries(&vectors, "good").into_iter().map(|(_, token)| token.to_owned()).collect();
    let provider = Provider::new(with_file(ISSUER, &path));
    let (host, _) = host(&settings_of(Kind::Extension, "oidc"));
    let server = Arc::new(Server::new("authorization", vec![provider.clone()]).unwrap());
    spanbridge_testkit::block_on(async { drop(provider.start(&host, &server.providers).unwrap()) });
    (folder.0, server, tokens)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn a_token_that_was_tampered_with_anywhere_is_refused(which in 0usize..9, place in any::<prop::sample::Index>(), byte in 0x21u8..0x7f) {
        let (_folder, server, tokens) = vector_server();
        let mut token = tokens[which].clone().into_bytes();
        let place = place.index(token.len());
        prop_assume!(token[place] != byte);
        token[place] = byte;
        let value = format!("Bearer {}", String::from_utf8(token).unwrap());
        let error = spanbridge_testkit::block_on(ask_as(&*server, &value)).expect_err(&value);
        prop_assert_eq!(error.code(), Code::Unauthenticated);
    }

    #[test]
    fn a_token_with_parts_of_others_cut_off_or_put_on_is_refused(
        parts in prop::collection::vec((0usize..9, 0usize..3), 1..5),
        cut in 0usize..20,
    ) {
        let (_folder, server, tokens) = vector_server();
        let part = |(token, part): (usize, usize)| tokens[token].split('.').nth(part).unwrap().to_owned();
        let mut token = parts.into_iter().map(part).collect::<Vec<_>>().join(".");
        token.truncate(token.len().saturating_sub(cut));
        prop_assume!(!tokens.contains(&token));
        // Claims are the same in all, so that a header may meet the payload of another.
        let good = ask_value(&server, &token).is_ok();
        let same = tokens.iter().any(|known| known == &token);
        prop_assert_eq!(good, same);
    }

    #[test]
    fn no_header_makes_it_panic(value in "[ -~]{0,300}") {
        let (_folder, server, _) = vector_server();
        prop_assert!(ask_value(&server, &value).is_err());
    }
}

fn ask_value(server: &Server, token: &str) -> Answer {
    spanbridge_testkit::block_on(ask_as(server, &format!("Bearer {token}")))
}
