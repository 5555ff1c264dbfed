//! The client against servers that answer what a test tells them to.

use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use spanbridge_config::Opaque;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_util::task::AbortOnDropHandle;

use super::*;
use crate::grpc::{ClientTls, ServerTls};
use crate::tls::tests::authority::{Authority, Issued};
use crate::tls::{Acceptor, TlsSettings};

const BOUND: Duration = Duration::from_secs(60);
/// For what has to time out.
const SHORT: Duration = Duration::from_millis(200);

/// What a server does with one connection after it has read the head of the request and its body.
#[derive(Clone)]
struct Script {
    answer: String,
    /// Whether it leaves the connection open afterwards.
    hangs: bool,
}

fn script(answer: impl Into<String>) -> Script {
    Script { answer: answer.into(), hangs: false }
}

/// A server, and the requests that it got.
struct Server {
    address: String,
    requests: mpsc::UnboundedReceiver<String>,
    _task: AbortOnDropHandle<()>,
}

/// How a server takes connections.
enum Door {
    Plain,
    Tls(Box<Acceptor>),
    TlsWithoutAlpn(tokio_rustls::TlsAcceptor),
}

async fn serve(door: Door, scripts: Vec<Script>) -> Server {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let (send, requests) = mpsc::unbounded_channel();
    let task = tokio::spawn(async move {
        for script in scripts.iter().cycle() {
            let (socket, _) = listener.accept().await.unwrap();
            match &door {
                Door::Plain => play(socket, script, &send).await,
                Door::Tls(acceptor) => {
                    // A client that does not trust us is gone.
                    let Ok((stream, _)) = acceptor.accept(socket).await else { continue };
                    play(stream, script, &send).await;
                }
                Door::TlsWithoutAlpn(acceptor) => {
                    play(acceptor.accept(socket).await.unwrap(), script, &send).await;
                }
            }
        }
    });
    Server { address, requests, _task: AbortOnDropHandle::new(task) }
}

async fn play(
    mut socket: impl AsyncRead + AsyncWrite + Unpin,
    script: &Script,
    requests: &mpsc::UnboundedSender<String>,
) {
    let mut got = Vec::new();
    while !is_whole(&got) {
        if socket.read_buf(&mut got).await.unwrap_or(0) == 0 {
            break;
        }
    }
    let _ = requests.send(String::from_utf8_lossy(&got).into_owned());
    let _ = socket.write_all(script.answer.as_bytes()).await;
    let _ = socket.flush().await;
    if script.hangs {
        // Until the client has gone away.
        let _ = socket.read(&mut [0]).await;
    }
    let _ = socket.shutdown().await;
}

fn is_whole(request: &[u8]) -> bool {
    // A handshake of TLS, which a plaintext server takes for a bad request.
    if request.first() == Some(&0x16) {
        return true;
    }
    let text = String::from_utf8_lossy(request).to_ascii_lowercase();
    let Some((head, body)) = text.split_once("\r\n\r\n") else { return false };
    let length = head.split_once("content-length: ").and_then(|(_, rest)| rest.split("\r\n").next());
    body.len() >= length.map_or(0, |length| length.parse().unwrap())
}

fn client(limits: Limits) -> Client {
    Client::new(limits, ClientTls::plaintext())
}

fn short() -> Limits {
    Limits { connect_timeout: BOUND, timeout: SHORT, ..Limits::default() }
}

async fn get(client: &Client, url: &str) -> Result<Response, Error> {
    timeout(BOUND, client.send(Request::get(url).unwrap())).await.unwrap()
}

/// The failure of one `GET` that this answer causes.
async fn failure(answer: &str, limits: Limits) -> Error {
    let server = serve(Door::Plain, vec![script(answer)]).await;
    get(&client(limits), &format!("http://{}/", server.address)).await.unwrap_err()
}

fn trusting(authority: &Authority) -> Client {
    let settings = TlsSettings { ca_pem: Opaque::new(authority.pem()), ..TlsSettings::default() };
    Client::new(Limits::default(), ClientTls { settings, ..ClientTls::default() })
}

fn secure(issued: &Issued) -> Door {
    let settings = TlsSettings {
        cert_pem: Opaque::new(&issued.cert),
        key_pem: Opaque::new(&issued.key),
        ..TlsSettings::default()
    };
    Door::Tls(Box::new(Acceptor::new(&ServerTls { settings, ..ServerTls::default() }, b"http/1.1").unwrap()))
}

fn secure_without_alpn(issued: &Issued) -> Door {
    let chain = vec![CertificateDer::from_pem_slice(issued.cert.as_bytes()).unwrap()];
    let key = PrivateKeyDer::from_pem_slice(issued.key.as_bytes()).unwrap();
    let config =
        rustls::ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .unwrap();
    Door::TlsWithoutAlpn(Arc::new(config).into())
}

const OK: &str = "HTTP/1.1 200 OK\r\nx-a: b\r\ncontent-length: 5\r\n\r\nhello";

#[tokio::test]
async fn an_answer_comes_back_whole_and_the_request_arrives_as_it_was_made() {
    let missing = "HTTP/1.1 404 Not Found\r\ntransfer-encoding: chunked\r\n\r\n2\r\nno\r\n0\r\n\r\n";
    let mut server = serve(Door::Plain, vec![script(OK), script(missing)]).await;
    let client = client(Limits::default());
    let url = format!("http://{}/a/b?c=d#e", server.address);
    let request = Request::post_form(&url, [("grant", "x y")]).unwrap().header("X-Key", "1").unwrap();
    let response = timeout(BOUND, client.send(request)).await.unwrap().unwrap();
    assert_eq!((response.status.as_u16(), &response.body[..]), (200, &b"hello"[..]));
    assert_eq!(response.headers["x-a"], "b");
    let got = server.requests.recv().await.unwrap();
    assert!(got.starts_with("POST /a/b?c=d HTTP/1.1\r\n") && got.ends_with("\r\n\r\ngrant=x+y"), "{got}");
    assert!(got.contains(&format!("host: {}\r\n", server.address)) && got.contains("x-key: 1"), "{got}");
    let response = get(&client, &format!("http://{}", server.address)).await.unwrap();
    assert_eq!((response.status.as_u16(), &response.body[..]), (404, &b"no"[..]));
}

#[tokio::test]
async fn a_unix_socket_is_a_server_too() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("docker.sock");
    let listener = UnixListener::bind(&path).unwrap();
    let (send, mut requests) = mpsc::unbounded_channel();
    let _task = AbortOnDropHandle::new(tokio::spawn(async move {
        let (socket, _) = listener.accept().await.unwrap();
        play(socket, &script(OK), &send).await;
    }));
    let client = Client::unix(Limits::default(), &path);
    let response = get(&client, "http://docker/info").await.unwrap();
    assert_eq!(&response.body[..], b"hello");
    let got = requests.recv().await.unwrap();
    assert!(got.starts_with("GET /info HTTP/1.1\r\n") && got.contains("host: docker\r\n"), "{got}");
    let none = Client::unix(Limits::default(), dir.path().join("none"));
    let error = get(&none, "http://docker/info").await.unwrap_err();
    assert_eq!(error.kind(), Kind::Unreachable);
    assert!(error.to_string().contains("none: no such file or directory"), "{error}");
}

#[tokio::test]
async fn an_answer_that_is_too_large_is_refused_announced_or_not() {
    let limits = Limits { body_bytes_max: 4, ..Limits::default() };
    let chunked = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nhel\r\n2\r\nlo\r\n0\r\n\r\n";
    for answer in [OK, chunked, "HTTP/1.1 200 OK\r\n\r\nuntil the end"] {
        let error = failure(answer, limits).await;
        assert_eq!(error.kind(), Kind::TooLarge, "{error}");
        assert!(error.to_string().contains("limit of 4 bytes"), "{error}");
    }
    let many = format!("HTTP/1.1 200 OK\r\n{}\r\n", "a: b\r\n".repeat(1000));
    assert_eq!(failure(&many, limits).await.kind(), Kind::TooLarge);
    let long = format!("HTTP/1.1 200 OK\r\na: {}\r\n\r\n", "b".repeat(1 << 20));
    assert_eq!(failure(&long, limits).await.kind(), Kind::TooLarge);
}

#[tokio::test]
async fn a_server_that_takes_too_long_is_given_up_wherever_it_stops() {
    for answer in ["", "HTTP/1.1 200 OK\r\ncontent-le", "HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhe"] {
        let script = Script { answer: answer.to_owned(), hangs: true };
        let server = serve(Door::Plain, vec![script]).await;
        let error =
            get(&client(short()), &format!("http://{}/x?key=hunter2", server.address)).await.unwrap_err();
        assert_eq!(error.kind(), Kind::Timeout, "{error}");
        let expected = format!("GET http://{}/x: no whole answer within 200ms", server.address);
        assert_eq!(error.to_string(), expected);
    }
}

#[tokio::test]
async fn a_handshake_that_nobody_answers_ends_with_the_time_to_connect() {
    // Connections wait in the queue of the kernel.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("https://{}/", listener.local_addr().unwrap());
    let limits = Limits { connect_timeout: SHORT, ..Limits::default() };
    let error = get(&trusting_with(&Authority::new("ours"), limits), &url).await.unwrap_err();
    assert_eq!((error.kind(), error.cause()), (Kind::Timeout, "cannot connect within 200ms"));
}

fn trusting_with(authority: &Authority, limits: Limits) -> Client {
    let settings = TlsSettings { ca_pem: Opaque::new(authority.pem()), ..TlsSettings::default() };
    Client::new(limits, ClientTls { settings, ..ClientTls::default() })
}

#[tokio::test]
async fn failures_say_what_went_wrong() {
    let free = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let error = get(&client(Limits::default()), &format!("http://{free}/")).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Unreachable);
    assert!(error.to_string().contains(&format!("tcp {free}: connection refused")), "{error}");
    for (answer, cause) in [
        ("", "closed the connection before"),
        ("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhe", "before its answer was complete"),
        ("SSH-2.0-OpenSSH\r\n\r\n", "not HTTP/1"),
    ] {
        let error = failure(answer, Limits::default()).await;
        assert!(error.kind() == Kind::Broken && error.to_string().contains(cause), "{answer:?}: {error}");
    }
}

#[tokio::test]
async fn redirects_are_errors_unless_asked_for() {
    let target = serve(Door::Plain, vec![script(OK)]).await;
    let to = format!("HTTP/1.1 302 Found\r\nlocation: http://{}/there?key=hunter2\r\n\r\n", target.address);
    let server = serve(Door::Plain, vec![script(to)]).await;
    let url = format!("http://{}/here", server.address);
    let error = get(&client(Limits::default()), &url).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Redirect);
    assert!(error.to_string().contains("/there, which is not followed"), "{error}");
    assert!(!error.to_string().contains("hunter2"), "{error}");
    let following = client(Limits { redirects_max: 1, ..Limits::default() });
    let request = Request::get(&url).unwrap().header("authorization", "hunter2").unwrap();
    let response = timeout(BOUND, following.send(request)).await.unwrap().unwrap();
    assert_eq!(&response.body[..], b"hello");
    let mut target = target;
    let got = target.requests.recv().await.unwrap();
    assert!(got.starts_with("GET /there?key=hunter2 ") && !got.contains("authorization"), "{got}");
    let posted = Request::post_form(&url, []).unwrap();
    assert_eq!(timeout(BOUND, following.send(posted)).await.unwrap().unwrap_err().kind(), Kind::Redirect);
}

#[tokio::test]
async fn redirects_end_and_never_lead_from_https_to_http() {
    let round = serve(Door::Plain, vec![script("HTTP/1.1 307 X\r\nlocation: /again\r\n\r\n")]).await;
    let following = client(Limits { redirects_max: 3, ..Limits::default() });
    let error = get(&following, &format!("http://{}/", round.address)).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Redirect);
    let mut round = round;
    let mut count = 0;
    while round.requests.try_recv().is_ok() {
        count += 1;
    }
    assert_eq!(count, 4);
    let authority = Authority::new("ours");
    let down = "HTTP/1.1 302 Found\r\nlocation: http://127.0.0.1:1/\r\n\r\n";
    let server = serve(secure(&authority.issue("127.0.0.1")), vec![script(down)]).await;
    let limits = Limits { redirects_max: 3, ..Limits::default() };
    let error = get(&trusting_with(&authority, limits), &format!("https://{}/", server.address)).await;
    assert_eq!(error.unwrap_err().kind(), Kind::Redirect);
}

#[tokio::test]
async fn tls_is_spoken_with_servers_that_know_alpn_and_with_those_that_do_not() {
    let authority = Authority::new("ours");
    let issued = authority.issue("127.0.0.1");
    for door in [secure(&issued), secure_without_alpn(&issued)] {
        let server = serve(door, vec![script(OK)]).await;
        let response = get(&trusting(&authority), &format!("https://{}/", server.address)).await.unwrap();
        assert_eq!(&response.body[..], b"hello");
    }
}

#[tokio::test]
async fn a_certificate_that_is_not_the_right_one_is_refused_with_its_reason() {
    let (ours, theirs) = (Authority::new("ours"), Authority::new("theirs"));
    for (door, cause) in [
        (secure(&theirs.issue("127.0.0.1")), "signed by an unknown authority"),
        (secure(&ours.issue("other.example")), "is for \"other.example\", not for \"127.0.0.1\""),
        (Door::Plain, "write http:// in place of https://"),
    ] {
        let server = serve(door, vec![script("HTTP/1.1 400 Bad Request\r\n\r\n")]).await;
        let error = get(&trusting(&ours), &format!("https://{}/", server.address)).await.unwrap_err();
        assert_eq!(error.kind(), Kind::Tls, "{error}");
        assert!(error.to_string().contains(cause), "{error}");
    }
}
