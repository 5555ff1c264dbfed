//! Requests to a token endpoint on loopback.

use std::sync::Arc;

use spanbridge_config::Opaque;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_util::task::AbortOnDropHandle;

use super::*;

const TOKEN: &str = "HTTP/1.1 200 OK\r\n\r\n{\"access_token\":\"t\",\"expires_in\":60}";
const REFUSED: &str = "HTTP/1.1 401 Unauthorized\r\n\r\n{\"error\":\"invalid_client\"}";

/// An endpoint whose answers depend on the request, and the requests that it got.
struct Server {
    url: String,
    requests: mpsc::UnboundedReceiver<String>,
    _task: AbortOnDropHandle<()>,
}

async fn serve(answer: impl Fn(&str) -> &'static str + Send + Sync + 'static) -> Server {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/token?tenant=1", listener.local_addr().unwrap());
    let (send, requests) = mpsc::unbounded_channel();
    let answer = Arc::new(answer);
    let task = tokio::spawn(async move {
        loop {
            let (mut socket, _) = listener.accept().await.unwrap();
            let mut got = Vec::new();
            while !is_whole(&got) && socket.read_buf(&mut got).await.unwrap_or(0) > 0 {}
            let got = String::from_utf8(got).unwrap();
            let _ = socket.write_all(answer(&got).as_bytes()).await;
            let _ = send.send(got);
        }
    });
    Server { url, requests, _task: AbortOnDropHandle::new(task) }
}

fn is_whole(request: &[u8]) -> bool {
    let text = String::from_utf8_lossy(request).to_ascii_lowercase();
    let Some((head, body)) = text.split_once("\r\n\r\n") else { return false };
    let length = head.split_once("content-length: ").and_then(|(_, rest)| rest.split("\r\n").next());
    body.len() >= length.map_or(0, |length| length.parse().unwrap())
}

fn config(url: &str) -> Config {
    Config {
        client_id: "me: you".to_owned(),
        client_secret: Opaque::new("hunter2&x"),
        token_url: url.to_owned(),
        ..Config::default()
    }
}

#[tokio::test]
async fn the_form_holds_what_is_configured_and_the_header_the_credentials() {
    let mut server = serve(|_| TOKEN).await;
    let params = [("audience".to_owned(), vec![Opaque::new("a b"), Opaque::new("c")])];
    let config = Config {
        scopes: vec!["one".to_owned(), "two".to_owned()],
        endpoint_params: params.into(),
        ..config(&server.url)
    };
    let grant = Endpoint::new(config).fetch().await.unwrap();
    assert_eq!(grant.credentials.expose(), "Bearer t");
    assert_eq!(grant.lifetime, Some(Duration::from_secs(60)));
    let got = server.requests.recv().await.unwrap();
    assert!(got.starts_with("POST /token?tenant=1 HTTP/1.1\r\n"), "{got}");
    assert!(
        got.ends_with("\r\n\r\ngrant_type=client_credentials&scope=one+two&audience=a+b&audience=c"),
        "{got}"
    );
    // RFC 6749, 2.3.1: both halves are encoded as in a form.
    let expected = format!("authorization: Basic {}\r\n", STANDARD.encode("me%3A+you:hunter2%26x"));
    assert!(got.contains(&expected), "{got}");
}

#[tokio::test]
async fn an_endpoint_that_wants_the_credentials_in_the_form_is_found_out_once() {
    let mut server =
        serve(|request| if request.contains("client_secret=hunter2%26x") { TOKEN } else { REFUSED }).await;
    let endpoint = Endpoint::new(config(&server.url));
    endpoint.fetch().await.unwrap();
    endpoint.fetch().await.unwrap();
    let mut got = Vec::new();
    for _ in 0..3 {
        got.push(server.requests.recv().await.unwrap());
    }
    let with_header = got.iter().filter(|request| request.contains("authorization: ")).count();
    assert_eq!(with_header, 1, "{got:?}");
    assert!(got[2].ends_with("client_id=me%3A+you&client_secret=hunter2%26x"), "{}", got[2]);
    assert!(server.requests.try_recv().is_err());
}

#[tokio::test]
async fn failures_name_the_endpoint_and_no_secret() {
    let mut server = serve(|_| REFUSED).await;
    let error = Endpoint::new(config(&server.url)).fetch().await.unwrap_err();
    let url = server.url.split('?').next().unwrap();
    let start = format!("failed to get security token from token endpoint (endpoint \"{url}\"): ");
    assert_eq!(error, format!("{start}it answers 401 Unauthorized: invalid_client"));
    assert!(server.requests.recv().await.is_some());
    let free = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let error = Endpoint::new(config(&format!("http://{free}/"))).fetch().await.unwrap_err();
    assert!(error.contains("connection refused"), "{error}");
    let down = serve(|_| "HTTP/1.1 503 Down\r\n\r\n").await;
    let error = Endpoint::new(config(&down.url)).fetch().await.unwrap_err();
    assert!(error.ends_with("it answers 503 Service Unavailable"), "{error}");
    let away = serve(|_| "HTTP/1.1 307 Away\r\nlocation: http://elsewhere.example/\r\n\r\n").await;
    let error = Endpoint::new(config(&away.url)).fetch().await.unwrap_err();
    assert!(error.contains("redirects") && error.contains("not followed"), "{error}");
}

#[tokio::test]
async fn the_files_of_the_credentials_are_read_for_every_fetch() {
    let mut server = serve(|_| TOKEN).await;
    let dir = tempfile::tempdir().unwrap();
    let (id, secret) = (dir.path().join("id"), dir.path().join("secret"));
    std::fs::write(&id, "from-file\n").unwrap();
    std::fs::write(&secret, "old\n").unwrap();
    let config =
        Config { client_id_file: Some(id), client_secret_file: Some(secret.clone()), ..config(&server.url) };
    let endpoint = Endpoint::new(config);
    endpoint.fetch().await.unwrap();
    std::fs::write(&secret, "new").unwrap();
    endpoint.fetch().await.unwrap();
    for expected in ["from-file:old", "from-file:new"] {
        let got = server.requests.recv().await.unwrap();
        assert!(got.contains(&STANDARD.encode(expected)), "{got}");
    }
    std::fs::write(&secret, "").unwrap();
    let error = endpoint.fetch().await.unwrap_err();
    assert!(error.contains("secret\" is empty"), "{error}");
}
