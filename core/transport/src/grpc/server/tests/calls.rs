//! Calls: what is answered to which request.

use std::io::Write as _;

use super::*;
use crate::grpc::compression::Encoding;

fn config() -> ServerConfig {
    ServerConfig { max_recv_msg_size_mib: 1, ..ServerConfig::default() }
}

fn gzip(data: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(data).unwrap();
    encoder.finish().unwrap()
}

fn with(path: &str, name: &'static str, value: &'static str) -> Request<()> {
    let mut request = post(path);
    request.headers_mut().insert(name, value.parse().unwrap());
    request
}

#[tokio::test(start_paused = true)]
async fn a_message_of_any_size_is_handed_over_and_answered() {
    let mut client = Rig::new(&config()).client().await;
    for len in [0, 1, 16_384, 70_000, 300_000, 1024 * 1024] {
        let message: Vec<u8> = (0..=255).cycle().take(len).collect();
        let answer = client.unary(ECHO, &message).await;
        assert_eq!((answer.http, answer.code()), (200, Some(Code::Ok)));
        assert_eq!(answer.headers["content-type"], "application/grpc");
        assert!(answer.message == message, "{len} bytes");
    }
}

#[tokio::test(start_paused = true)]
async fn compressed_messages_are_decompressed() {
    let mut client = Rig::new(&config()).client().await;
    let message = vec![7; 100_000];
    let mut snappy = snap::write::FrameEncoder::new(Vec::new());
    snappy.write_all(&message).unwrap();
    for (name, body) in [
        ("gzip", gzip(&message)),
        ("zstd", zstd::stream::encode_all(message.as_slice(), 1).unwrap()),
        ("snappy", snappy.into_inner().unwrap()),
    ] {
        let answer = client.send(with(ECHO, "grpc-encoding", name), framed(true, &body)).await;
        assert_eq!((answer.code(), answer.message == message), (Some(Code::Ok), true), "{name}");
    }
    // An encoding may be named and not be used.
    for name in ["gzip", "identity"] {
        let answer = client.send(with(ECHO, "grpc-encoding", name), framed(false, b"plain")).await;
        assert_eq!(answer.message, "plain");
    }
}

#[tokio::test(start_paused = true)]
async fn an_unknown_encoding_is_refused_with_the_known_ones() {
    let mut client = Rig::new(&config()).client().await;
    let answer = client.send(with(ECHO, "grpc-encoding", "br"), framed(true, b"?")).await;
    assert_eq!(answer.code(), Some(Code::Unimplemented));
    assert_eq!(answer.text(), "grpc: Decompressor is not installed for grpc-encoding \"br\"");
    assert_eq!(answer.headers["grpc-accept-encoding"], Encoding::ACCEPT);
}

#[tokio::test(start_paused = true)]
async fn messages_over_the_limit_are_refused_and_the_connection_goes_on() {
    let mut client = Rig::new(&config()).client().await;
    let answer = client.unary(ECHO, &vec![0; 1024 * 1024 + 1]).await;
    assert_eq!(answer.code(), Some(Code::ResourceExhausted));
    assert_eq!(answer.text(), "grpc: received message larger than max (1048577 vs. 1048576)");
    let bomb = gzip(&vec![0; 8 << 20]);
    let answer = client.send(with(ECHO, "grpc-encoding", "gzip"), framed(true, &bomb)).await;
    assert_eq!(answer.code(), Some(Code::ResourceExhausted));
    assert_eq!(answer.text(), "grpc: received message after decompression larger than max 1048576");
    assert_eq!(client.unary(ECHO, b"still here").await.message, "still here");
}

#[tokio::test(start_paused = true)]
async fn refused_bodies_give_their_part_of_the_window_back() {
    let mut client = Rig::new(&config()).client().await;
    // Each leaves up to a stream's window unread; together that is five times the window of the connection.
    for _ in 0..20 {
        let answer = client.unary("/other.Service/Echo", &vec![0; 1024 * 1024 - 5]).await;
        assert_eq!(answer.code(), Some(Code::Unimplemented));
    }
    assert_eq!(client.unary(ECHO, &vec![1; 300_000]).await.message.len(), 300_000);
}

#[tokio::test(start_paused = true)]
async fn a_declared_length_over_the_limit_is_refused_before_the_body() {
    let mut client = Rig::new(&config()).client().await;
    let (response, mut stream) = client.open(post(ECHO)).await;
    stream.send_data(Bytes::from_static(&[0, 0xff, 0xff, 0xff, 0xff]), false).unwrap();
    assert_eq!(answer(response).await.code(), Some(Code::ResourceExhausted));
}

#[tokio::test(start_paused = true)]
async fn bodies_that_are_not_one_message_have_their_codes() {
    let mut client = Rig::new(&config()).client().await;
    let two = [framed(false, b"one"), framed(false, b"two")].concat();
    let trailing = [framed(false, b"one").as_ref(), b"garbage"].concat();
    for (body, code) in [
        (two.into(), Code::Unimplemented),
        (trailing.into(), Code::Unimplemented),
        (Bytes::new(), Code::Unimplemented),
        (framed(false, b"cut off").slice(..9), Code::Internal),
        (Bytes::from_static(&[0, 0]), Code::Internal),
        (Bytes::from_static(&[9, 0, 0, 0, 0]), Code::Internal),
        (framed(true, b"no encoding named"), Code::Internal),
    ] {
        assert_eq!(client.send(post(ECHO), body.clone()).await.code(), Some(code), "{body:?}");
    }
    let answer = client.send(with(ECHO, "grpc-encoding", "gzip"), framed(true, b"not gzip")).await;
    assert_eq!(answer.code(), Some(Code::Internal));
}

#[tokio::test(start_paused = true)]
async fn unknown_methods_are_named() {
    let mut client = Rig::new(&config()).client().await;
    for (path, text) in [
        ("/test.Service/Nope", "unknown method Nope for service test.Service"),
        ("/other.Service/Echo", "unknown service other.Service"),
        ("/nothing", "malformed method name: \"/nothing\""),
    ] {
        let answer = client.unary(path, b"").await;
        assert_eq!((answer.http, answer.code(), answer.text()), (200, Some(Code::Unimplemented), text));
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_not_grpc_gets_an_http_status() {
    let mut client = Rig::new(&config()).client().await;
    for content_type in ["application/json", "application/grpc-web", "application/grpc+json", ""] {
        let mut request = post(ECHO);
        request.headers_mut().insert("content-type", content_type.parse().unwrap());
        assert_eq!(client.send(request, Bytes::new()).await.http, 415, "{content_type}");
    }
    for content_type in ["application/grpc+proto", "application/grpc;charset=utf-8"] {
        let mut request = post(ECHO);
        request.headers_mut().insert("content-type", content_type.parse().unwrap());
        assert_eq!(client.send(request, framed(false, b"")).await.http, 200, "{content_type}");
    }
    let get = Request::get("http://localhost/test.Service/Echo").body(()).unwrap();
    let answer = client.send(get, Bytes::new()).await;
    assert_eq!((answer.http, &answer.headers["allow"]), (405, &"POST".parse().unwrap()));
}

#[tokio::test(start_paused = true)]
async fn a_status_of_the_handler_arrives_with_its_details() {
    let mut client = Rig::new(&config()).client().await;
    let answer = client.unary("/test.Service/Fail", b"").await;
    let status = answer.status.unwrap();
    assert_eq!((status.code(), status.message()), (Code::ResourceExhausted, "queue is füll"));
    assert_eq!(status.retry_delay(), Some(Duration::from_secs(2)));
}

#[tokio::test(start_paused = true)]
async fn a_panic_is_answered_and_the_connection_goes_on() {
    let mut client = Rig::new(&config()).client().await;
    for size in [0, 1024 * 1024] {
        let answer = client.unary("/test.Service/Panic", &vec![0; size]).await;
        assert_eq!((answer.code(), answer.text()), (Some(Code::Internal), "internal error"));
    }
    assert_eq!(client.unary(ECHO, b"still here").await.message, "still here");
}

#[tokio::test(start_paused = true)]
async fn a_deadline_ends_the_call_and_the_handler() {
    let rig = Rig::new(&config());
    let mut client = rig.client().await;
    for size in [0, 1024 * 1024] {
        let before = rig.counts();
        let request = with("/test.Service/Wait", "grpc-timeout", "1500m");
        let start = tokio::time::Instant::now();
        let answer = client.send(request, framed(false, &vec![0; size])).await;
        assert_eq!(answer.code(), Some(Code::DeadlineExceeded));
        assert_eq!(start.elapsed().as_millis() / 10, 150);
        tokio::task::yield_now().await;
        assert_eq!(rig.counts(), (before.0 + 1, before.1 + 1));
    }
    let answer = client.send(with(ECHO, "grpc-timeout", "soon"), framed(false, b"")).await;
    assert_eq!((answer.code(), answer.text()), (Some(Code::Internal), "malformed grpc-timeout"));
}

#[tokio::test(start_paused = true)]
async fn a_reset_by_the_client_drops_the_handler() {
    let rig = Rig::new(&config());
    let mut client = rig.client().await;
    for size in [0, 1024 * 1024] {
        let before = rig.counts();
        let (response, mut stream) = client.open(post("/test.Service/Wait")).await;
        send_all(&mut stream, framed(false, &vec![0; size])).await;
        while rig.counts().0 == before.0 {
            tokio::task::yield_now().await;
        }
        stream.send_reset(h2::Reason::CANCEL);
        drop(response);
        while rig.counts().1 == before.1 {
            tokio::task::yield_now().await;
        }
    }
    assert_eq!(client.unary(ECHO, b"still here").await.message, "still here");
}

#[tokio::test(start_paused = true)]
async fn a_reset_within_the_body_leaves_nothing_behind() {
    let rig = Rig::new(&config());
    let mut client = rig.client().await;
    let before = rig.counts();
    for _ in 0..100 {
        let (_, mut stream) = client.open(post(ECHO)).await;
        stream.send_data(framed(false, &[0; 1000]).slice(..500), false).unwrap();
        tokio::task::yield_now().await;
        stream.send_reset(h2::Reason::CANCEL);
        assert_eq!(client.unary(ECHO, b"between").await.message, "between");
    }
    assert_eq!(rig.counts(), (before.0 + 100, before.1 + 100), "only the complete calls were handled");
}

#[tokio::test(start_paused = true)]
async fn a_body_may_not_dribble_for_ever() {
    let mut client = Rig::new(&config()).client().await;
    let (response, mut stream) = client.open(post(ECHO)).await;
    let dribble = async {
        loop {
            let piece = framed(false, &[0; 1000]).slice(..1);
            if stream.send_data(piece, false).is_err() {
                return;
            }
            tokio::time::sleep(Duration::from_secs(30)).await;
        }
    };
    let start = tokio::time::Instant::now();
    let answer = tokio::select! {
        answer = answer(response) => answer,
        () = dribble => panic!("reset without an answer"),
    };
    assert_eq!(answer.code(), Some(Code::DeadlineExceeded));
    assert_eq!(start.elapsed().as_secs(), 120);
}

#[tokio::test(start_paused = true)]
async fn a_connection_has_a_budget_of_bytes() {
    let rig = Rig::new(&config());
    let mut client = rig.client().await;
    let mut waiting = Vec::new();
    for _ in 0..16 {
        let (response, mut stream) = client.open(post("/test.Service/Wait")).await;
        send_all(&mut stream, framed(false, &vec![0; 1024 * 1024])).await;
        waiting.push(response);
    }
    while rig.counts().0 < 17 {
        tokio::task::yield_now().await;
    }
    let answer17 = client.unary(ECHO, b"one byte too many").await;
    assert_eq!(answer17.code(), Some(Code::Unavailable));
    for response in waiting {
        rig.service.release.notify_one();
        assert_eq!(answer(response).await.code(), Some(Code::Ok));
    }
    assert_eq!(client.unary(ECHO, b"fits").await.message, "fits");
}
