//! What a call sends.

use std::sync::atomic::AtomicUsize;

use tokio::sync::{mpsc, oneshot};

use super::peer::{Exchange, Peer, framed, grpc_head};
use super::*;
use crate::grpc::compression::Encoding;
use crate::grpc::compression::decode::decompress;
use crate::grpc::{Balancer, Compression};

fn headers(pairs: &[(&str, &str)]) -> spanbridge_config::Headers {
    pairs.iter().map(|(name, value)| (*name, spanbridge_config::Opaque::new(*value))).collect()
}

/// A peer that hands its requests to the test and echoes them.
async fn recording(builder: h2::server::Builder) -> (Peer, mpsc::UnboundedReceiver<Recorded>) {
    let (sender, receiver) = mpsc::unbounded_channel();
    let peer = Peer::start_with(builder, "127.0.0.1:0", move |exchange: Exchange| {
        let recorded = Recorded {
            request: exchange.request.clone(),
            body: exchange.body.clone(),
            frames: exchange.frames.clone(),
        };
        let _ = sender.send(recorded);
        async { exchange.echo() }
    })
    .await;
    (peer, receiver)
}

struct Recorded {
    request: http::Request<()>,
    body: Bytes,
    frames: Vec<usize>,
}

#[tokio::test]
async fn a_request_has_the_headers_of_the_grpc_specification() {
    let (peer, mut requests) = recording(h2::server::Builder::new()).await;
    let config = ClientConfig {
        headers: headers(&[("X-Tenant", "blue"), ("x-shared", "configured"), ("x-raw-bin", "\u{1}")]),
        ..config(peer.address)
    };
    let channel = Channel::new(&config, settings()).unwrap();
    let mut metadata = HeaderMap::new();
    metadata.append("x-shared", HeaderValue::from_static("one"));
    metadata.append("x-shared", HeaderValue::from_static("two"));
    metadata.append("grpc-timeout", HeaderValue::from_static("1n"));
    let deadline = Instant::now() + Duration::from_secs(90);
    patiently(channel.unary(&PATH, &[], &metadata, Some(deadline))).await.unwrap();
    let request = requests.recv().await.unwrap().request;
    assert_eq!(request.method(), "POST");
    assert_eq!(request.uri().to_string(), format!("http://{}/test.Service/Method", peer.address));
    let value = |name: &str| request.headers().get(name).map_or("", |v| v.to_str().unwrap());
    assert_eq!(value("content-type"), "application/grpc");
    assert_eq!(value("te"), "trailers");
    assert_eq!(value("grpc-accept-encoding"), "identity,gzip,zstd,snappy");
    assert_eq!(value("grpc-encoding"), "");
    assert!(value("user-agent").starts_with("Test Program/1.2.3 (linux/"), "{}", value("user-agent"));
    assert_eq!((value("x-tenant"), value("x-raw-bin")), ("blue", "AQ"));
    let shared: Vec<_> = request.headers().get_all("x-shared").iter().collect();
    assert_eq!(shared, ["one", "two"]);
    let timeout = value("grpc-timeout").strip_suffix('u').unwrap().parse::<u64>().unwrap();
    assert!((80_000_000..=90_000_000).contains(&timeout), "{timeout}");
}

#[tokio::test]
async fn authority_and_user_agent_can_be_overridden() {
    let (peer, mut requests) = recording(h2::server::Builder::new()).await;
    let config = ClientConfig {
        authority: "tenant.example:443".into(),
        user_agent: "mine/1".into(),
        ..config(peer.address)
    };
    call(&Channel::new(&config, settings()).unwrap(), "x").await.unwrap();
    let request = requests.recv().await.unwrap().request;
    assert_eq!(request.uri().authority().unwrap(), "tenant.example:443");
    assert_eq!(request.headers()["user-agent"], "mine/1");
}

#[tokio::test]
async fn messages_are_compressed_as_configured_and_answers_decompressed() {
    for encoding in Encoding::ALL {
        let peer = Peer::start(move |exchange| async move {
            assert_eq!(exchange.header("grpc-encoding"), encoding.name());
            assert_eq!(exchange.body[0], 1);
            let plain = decompress(encoding, &exchange.message(), 1 << 20).unwrap();
            let mut head = grpc_head();
            head.headers_mut().insert("grpc-encoding", HeaderValue::from_static(encoding.name()));
            head.headers_mut().insert("x-length", HeaderValue::from(plain.len()));
            // What came in goes back as it is.
            let body = exchange.body.clone();
            exchange.answer_with(head, body, Some(&Status::new(Code::Ok, "")));
        })
        .await;
        let config = ClientConfig { compression: Compression::With(encoding), ..config(peer.address) };
        let channel = Channel::new(&config, settings()).unwrap();
        for size in [1_000, 600_000] {
            let segments = vec![Bytes::from(vec![b'a'; size]), Bytes::from(vec![b'b'; size / 2])];
            let response = call_with(&channel, &segments).await.unwrap();
            assert_eq!(response.message, segments.concat());
            assert_eq!(response.metadata["x-length"], (size + size / 2).to_string());
        }
    }
}

#[tokio::test]
async fn an_empty_message_is_sent_uncompressed() {
    let (peer, mut requests) = recording(h2::server::Builder::new()).await;
    let config = ClientConfig { compression: Compression::With(Encoding::Gzip), ..config(peer.address) };
    let channel = Channel::new(&config, settings()).unwrap();
    call_with(&channel, &[]).await.unwrap();
    let request = requests.recv().await.unwrap();
    assert_eq!(request.body, framed(false, b""));
    assert!(!request.request.headers().contains_key("grpc-encoding"));
}

#[tokio::test]
async fn a_large_message_gets_through_tiny_windows_and_in_frames_of_the_peers_size() {
    let segments: Vec<Bytes> = (0..5_u8).map(|n| Bytes::from(vec![n; 70_000 + usize::from(n)])).collect();
    for (window, frame) in [(1, 16_384), (1_000, 16_384), (1 << 20, 16_384), (1 << 20, 1 << 20)] {
        let mut builder = h2::server::Builder::new();
        builder.initial_window_size(window).initial_connection_window_size(1 << 20).max_frame_size(frame);
        // A window of one byte is a frame a byte: keep that message short.
        let segments = if window == 1 { vec![Bytes::from_static(b"short")] } else { segments.clone() };
        let (peer, mut requests) = recording(builder).await;
        call_with(&channel(peer.address), &segments).await.unwrap();
        let request = requests.recv().await.unwrap();
        assert_eq!(request.body, framed(false, &segments.concat()), "{window} {frame}");
        let largest = *request.frames.iter().max().unwrap();
        assert!(largest <= usize::try_from(window.min(frame)).unwrap(), "{largest}");
        assert!(frame == 16_384 || largest > 300_000, "the peer's frame size is used: {largest}");
    }
}

#[tokio::test]
async fn a_peer_that_hangs_is_left_at_the_deadline_and_told_so() {
    let (sender, mut resets) = mpsc::unbounded_channel();
    let peer = Peer::start(move |mut exchange| {
        let sender = sender.clone();
        async move {
            let reason = std::future::poll_fn(|cx| exchange.respond.poll_reset(cx)).await;
            let _ = sender.send((exchange.header("grpc-timeout").to_owned(), reason.unwrap()));
        }
    })
    .await;
    let channel = channel(peer.address);
    let deadline = Instant::now() + Duration::from_millis(200);
    let status = patiently(channel.unary(&PATH, &[], &HeaderMap::new(), Some(deadline))).await.unwrap_err();
    assert_eq!((status.code(), status.message()), (Code::DeadlineExceeded, "context deadline exceeded"));
    let (timeout, reason) = patiently(resets.recv()).await.unwrap();
    assert_eq!(reason, h2::Reason::CANCEL);
    assert!(timeout.ends_with('u') || timeout.ends_with('n'), "{timeout}");
}

#[tokio::test]
async fn a_call_whose_deadline_has_passed_is_not_sent() {
    let (peer, mut requests) = recording(h2::server::Builder::new()).await;
    let channel = channel(peer.address);
    let metadata = HeaderMap::new();
    let status = channel.unary(&PATH, &[], &metadata, Some(Instant::now())).await.unwrap_err();
    assert_eq!(status.code(), Code::DeadlineExceeded);
    call(&channel, "next").await.unwrap();
    assert_eq!(requests.recv().await.unwrap().body, framed(false, b"next"));
}

#[tokio::test]
async fn dropping_a_call_cancels_it_on_the_server() {
    let (arrived, mut arrivals) = mpsc::unbounded_channel();
    let (sender, mut resets) = mpsc::unbounded_channel();
    let peer = Peer::start(move |mut exchange| {
        let sender = sender.clone();
        let _ = arrived.send(());
        async move {
            let reason = std::future::poll_fn(|cx| exchange.respond.poll_reset(cx)).await;
            let _ = sender.send(reason.unwrap());
        }
    })
    .await;
    let channel = channel(peer.address);
    let metadata = HeaderMap::new();
    let hanging = channel.unary(&PATH, &[], &metadata, None);
    tokio::select! {
        _ = hanging => panic!("nobody answers"),
        _ = arrivals.recv() => {}
    }
    assert_eq!(patiently(resets.recv()).await, Some(h2::Reason::CANCEL));
}

#[tokio::test]
async fn a_call_that_waits_for_the_peers_window_is_cancelled_too() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let server = tokio::spawn(async move {
        let (socket, _) = listener.accept().await.unwrap();
        let mut builder = h2::server::Builder::new();
        let mut connection = builder.initial_window_size(100).handshake::<_, Bytes>(socket).await.unwrap();
        let (_unread, mut respond) = connection.accept().await.unwrap().unwrap();
        let reset = std::future::poll_fn(|cx| respond.poll_reset(cx));
        tokio::select! {
            reason = reset => reason.unwrap(),
            _ = connection.accept() => panic!("the connection has ended"),
        }
    });
    let channel = channel(address);
    let deadline = Instant::now() + Duration::from_millis(100);
    let message = [Bytes::from(vec![0; 10_000])];
    let status =
        patiently(channel.unary(&PATH, &message, &HeaderMap::new(), Some(deadline))).await.unwrap_err();
    assert_eq!(status.code(), Code::DeadlineExceeded);
    assert_eq!(patiently(server).await.unwrap(), h2::Reason::CANCEL);
}

#[tokio::test]
async fn the_peers_stream_limit_makes_calls_wait() {
    let (now, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let mut builder = h2::server::Builder::new();
    builder.max_concurrent_streams(2);
    let (running, peak) = (now.clone(), most.clone());
    let peer = Peer::start_with(builder, "127.0.0.1:0", move |exchange: Exchange| {
        let (running, peak) = (running.clone(), peak.clone());
        async move {
            peak.fetch_max(running.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            tokio::time::sleep(Duration::from_millis(5)).await;
            running.fetch_sub(1, Ordering::SeqCst);
            exchange.echo();
        }
    })
    .await;
    let channel = channel(peer.address);
    let results = futures_util::future::join_all((0..20).map(|_| call(&channel, "x"))).await;
    assert!(results.iter().all(Result::is_ok), "{results:?}");
    assert_eq!(most.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn no_more_calls_are_in_flight_than_the_settings_say() {
    let (arrived, mut arrivals) = mpsc::unbounded_channel::<oneshot::Sender<()>>();
    let peer = Peer::start(move |exchange| {
        let (go, went) = oneshot::channel();
        let _ = arrived.send(go);
        async move {
            let _ = went.await;
            exchange.echo();
        }
    })
    .await;
    let settings = ChannelSettings { in_flight_max: 1, ..settings() };
    let channel = Channel::new(&config(peer.address), settings).unwrap();
    let calls = futures_util::future::join(call(&channel, "1"), call(&channel, "2"));
    let release = async {
        let first = arrivals.recv().await.unwrap();
        tokio::time::sleep(Duration::from_millis(50)).await;
        assert!(arrivals.try_recv().is_err(), "the second call waits for the first");
        first.send(()).unwrap();
        arrivals.recv().await.unwrap().send(()).unwrap();
    };
    let ((first, second), ()) = patiently(futures_util::future::join(calls, release)).await;
    assert!(first.is_ok() && second.is_ok());
}

#[tokio::test]
async fn a_unix_socket_is_an_endpoint_too() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("otel.sock");
    let listener = tokio::net::UnixListener::bind(&path).unwrap();
    let server = tokio::spawn(async move {
        let (socket, _) = listener.accept().await.unwrap();
        let mut connection = h2::server::handshake(socket).await.unwrap();
        while let Some(Ok((request, mut respond))) = connection.accept().await {
            assert_eq!(request.uri().authority().unwrap(), "localhost");
            let mut head = grpc_head();
            Status::new(Code::Aborted, "here").write_to(head.headers_mut());
            let _ = respond.send_response(head, true);
        }
    });
    let config =
        ClientConfig { balancer_name: Balancer::PickFirst, ..config(format!("unix://{}", path.display())) };
    let channel = Channel::new(&config, settings()).unwrap();
    assert_eq!(call(&channel, "x").await.unwrap_err().message(), "here");
    drop(channel);
    patiently(server).await.unwrap();
}
