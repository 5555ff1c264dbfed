//! The server against clients that speak plain bytes.

use std::sync::atomic::{AtomicUsize, Ordering};

use spanbridge_component::{
    AuthAttributes, AuthData, Problems, ServerAuthenticator, Validate as _, async_trait,
};
use spanbridge_config::{Opaque, Optional};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::*;
use crate::auth::ServerAuthConfig;

const BOUND: Duration = Duration::from_secs(60);

/// Says which path was asked for, and counts.
#[derive(Default)]
struct Echo(AtomicUsize);

impl Handler for Echo {
    fn answer(&self, head: &http::request::Parts) -> Response<Bytes> {
        self.0.fetch_add(1, Ordering::Relaxed);
        text(StatusCode::OK, format!("{} {}", head.method, head.uri.path()))
    }
}

struct Doorman;

#[async_trait]
impl ServerAuthenticator for Doorman {
    async fn authenticate(&self, request: &AuthRequest<'_>) -> Result<Arc<dyn AuthData>, AuthError> {
        match request.header("authorization").map(http::HeaderValue::as_bytes) {
            Some(b"friend") => Ok(Arc::new(AuthAttributes::new())),
            Some(b"busy") => Err(AuthError::undecided("later", "too much to do").with_challenge("Friend")),
            _ => Err(AuthError::missing("no credentials")
                .with_challenge("Friend")
                .with_challenge("Foe x=\"y\"")),
        }
    }
}

fn config() -> ServerConfig {
    ServerConfig { endpoint: "127.0.0.1:0".into(), ..ServerConfig::default() }
}

async fn start(config: &ServerConfig, auth: Option<ServerAuth>) -> (Server, Arc<Echo>) {
    let echo = Arc::new(Echo::default());
    (Server::start(config, echo.clone(), auth).await.unwrap(), echo)
}

async fn connect(server: &Server) -> TcpStream {
    TcpStream::connect(server.endpoint()).await.unwrap()
}

/// Sends this and reads until the server closes.
async fn talk(stream: &mut TcpStream, request: &str) -> String {
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    // A server that closes while we still send resets the connection; what it said before counts.
    let _ = tokio::time::timeout(BOUND, stream.read_to_end(&mut answer)).await.expect("the server closes");
    String::from_utf8(answer).unwrap()
}

async fn ask(server: &Server, request: &str) -> String {
    talk(&mut connect(server).await, request).await
}

fn soon() -> Instant {
    Instant::now() + BOUND
}

#[tokio::test]
async fn requests_are_answered_from_their_heads_with_the_configured_headers() {
    let header = ("x-served-by", Opaque::new("me"));
    let (server, _) =
        start(&ServerConfig { response_headers: [header].into_iter().collect(), ..config() }, None).await;
    let answer =
        ask(&server, "POST /a HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: 2\r\n\r\nhi").await;
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.ends_with("\r\n\r\nPOST /a"), "{answer}");
    assert!(answer.contains("\r\nx-served-by: me\r\n"), "{answer}");
    let answer = ask(&server, "HEAD / HTTP/1.0\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.0 200 OK\r\n") && answer.ends_with("\r\n\r\n"), "{answer}");
    server.shutdown(soon()).await;
    assert!(TcpStream::connect(server.endpoint()).await.is_err(), "nobody listens any more");
}

#[tokio::test]
async fn a_connection_serves_several_requests_unless_that_is_switched_off() {
    let two = "GET /1 HTTP/1.1\r\nhost: x\r\n\r\nGET /2 HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
    let (server, _) = start(&config(), None).await;
    assert!(ask(&server, two).await.contains("GET /2"));
    let (server, echo) = start(&ServerConfig { keep_alives_enabled: false, ..config() }, None).await;
    assert!(!ask(&server, two).await.contains("GET /2"));
    assert_eq!(echo.0.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn who_is_not_let_in_reaches_nothing() {
    let auth = ServerAuth::new("doorman".parse().unwrap(), Arc::new(Doorman));
    let (server, echo) = start(&config(), Some(auth)).await;
    for (header, status) in [
        ("x: y", "401 Unauthorized"),
        ("authorization: busy", "503 Service Unavailable"),
        ("authorization: friend", "200 OK"),
    ] {
        let answer =
            ask(&server, &format!("GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n{header}\r\n\r\n"))
                .await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}\r\n")), "{header}: {answer}");
        let challenges: Vec<_> =
            answer.lines().filter_map(|line| line.strip_prefix("www-authenticate: ")).collect();
        let expected: &[_] = if status.starts_with("401") { &["Friend", "Foe x=\"y\""] } else { &[] };
        assert_eq!(challenges, expected, "{header}");
    }
    assert_eq!(echo.0.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn a_server_that_asks_for_credentials_does_not_start_without_somebody_who_checks_them() {
    let auth = Optional::on(ServerAuthConfig {
        authenticator: Some("basicauth".parse().unwrap()),
        ..Default::default()
    });
    let refused = Server::start(&ServerConfig { auth, ..config() }, Arc::new(Echo::default()), None).await;
    assert!(refused.unwrap_err().to_string().contains("no authenticator was given"));
}

#[tokio::test]
async fn a_head_that_is_too_long_is_refused() {
    let (server, echo) = start(&config(), None).await;
    let long = "a".repeat(HEAD_BYTES_MAX + 1);
    let answer = ask(&server, &format!("GET / HTTP/1.1\r\nx: {long}\r\n\r\n")).await;
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 4"), "{answer}");
    assert_eq!(echo.0.load(Ordering::Relaxed), 0);
}

#[tokio::test]
async fn a_client_that_never_finishes_does_not_hold_up_the_shutdown() {
    let (server, _) = start(&config(), None).await;
    let (mut half, mut idle) = (connect(&server).await, connect(&server).await);
    half.write_all(b"GET / HT").await.unwrap();
    let mut first = [0; 12];
    idle.write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    idle.read_exact(&mut first).await.unwrap();
    assert_eq!(&first, b"HTTP/1.1 200");
    let tasks = server.tasks.clone();
    server.shutdown(soon()).await;
    assert!(tasks.is_empty(), "every connection has ended");
}

#[test]
fn headers_that_nobody_may_send_are_found_before_the_start() {
    for (name, value) in [("bad name", "x"), ("x-fine", "a\nb")] {
        let headers = [(name, Opaque::new(value))].into_iter().collect();
        let mut problems = Problems::new();
        ServerConfig { response_headers: headers, ..config() }.validate(&mut problems);
        let found = problems.into_found();
        assert_eq!(found.len(), 1, "{found:?}");
        assert_eq!(found[0].path, ["response_headers"]);
    }
}

#[tokio::test]
async fn a_tls_client_on_a_plaintext_endpoint_is_named_in_the_log() {
    let log = spanbridge_testkit::Log::record();
    let (server, echo) = start(&config(), None).await;
    for _ in 0..2 {
        let mut client = connect(&server).await;
        client.write_all(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03").await.unwrap();
        let _ = tokio::time::timeout(BOUND, client.read(&mut [0; 8])).await.expect("the server closes");
    }
    server.shutdown(soon()).await;
    let lines: Vec<_> = log.lines().into_iter().filter(|line| line.starts_with("WARN")).collect();
    assert!(
        matches!(&lines[..], [line] if line.contains("A TLS client connected to this plaintext HTTP")),
        "{lines:?}"
    );
    assert_eq!(echo.0.load(Ordering::Relaxed), 0);
}
