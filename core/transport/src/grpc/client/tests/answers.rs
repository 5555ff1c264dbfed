//! What the answers of a server mean.

use super::peer::{Peer, framed, grpc_head};
use super::*;

const DETAILS: &[u8] = b"\x08\x0e\x12\x01x";

#[tokio::test]
async fn every_code_arrives_with_message_and_details_after_a_message_or_without() {
    let peer = Peer::start(|exchange| async {
        let code = Code::from_number(exchange.header("x-code").parse().unwrap());
        let status = Status::new(code, "größer 100 %").with_details(Bytes::from_static(DETAILS));
        if exchange.header("x-trailers-only") == "yes" {
            exchange.answer_trailers_only(&status);
        } else {
            exchange.answer_with(grpc_head(), framed(false, b"partial"), Some(&status));
        }
    })
    .await;
    let channel = channel(peer.address);
    for code in Code::ALL.into_iter().skip(1) {
        for trailers_only in ["yes", "no"] {
            let mut metadata = HeaderMap::new();
            metadata.insert("x-code", HeaderValue::from(code.number()));
            metadata.insert("x-trailers-only", HeaderValue::from_static(trailers_only));
            let status = patiently(channel.unary(&PATH, &[], &metadata, None)).await.unwrap_err();
            assert_eq!((status.code(), status.message()), (code, "größer 100 %"));
            assert_eq!(status.details(), DETAILS);
        }
    }
}

#[tokio::test]
async fn a_response_that_is_not_grpc_is_told_by_its_http_status() {
    let peer = Peer::start(|exchange| async {
        let http = exchange.header("x-http").to_owned();
        let head = http::Response::builder().status(http.as_str()).header("content-type", "text/html");
        exchange.answer_with(head.body(()).unwrap(), Bytes::from_static(b"<h1>oops</h1>"), None);
    })
    .await;
    let channel = channel(peer.address);
    for (http, code) in [
        (400, Code::Internal),
        (401, Code::Unauthenticated),
        (403, Code::PermissionDenied),
        (404, Code::Unimplemented),
        (429, Code::Unavailable),
        (502, Code::Unavailable),
        (503, Code::Unavailable),
        (504, Code::Unavailable),
        (500, Code::Unknown),
        (302, Code::Unknown),
        (200, Code::Unknown),
    ] {
        let mut metadata = HeaderMap::new();
        metadata.insert("x-http", HeaderValue::from(http));
        let status = patiently(channel.unary(&PATH, &[], &metadata, None)).await.unwrap_err();
        assert_eq!(status.code(), code, "{http}: {status}");
        assert!(status.message().contains("unexpected content-type \"text/html\""), "{status}");
        assert!(status.message().ends_with("data: \"<h1>oops</h1>\""), "{status}");
        if http == 502 {
            let start = "unexpected HTTP status code received from server: 502 (Bad Gateway); ";
            assert!(status.message().starts_with(start), "{status}");
        }
    }
}

#[tokio::test]
async fn answers_that_break_the_protocol_are_errors() {
    let peer = Peer::start(|exchange| async {
        let ok = Status::new(Code::Ok, "");
        let mut second = framed(false, b"one").to_vec();
        second.extend_from_slice(&framed(false, b"two"));
        let huge = Bytes::from_static(&[0, 0, 64, 0, 1]);
        match exchange.header("x-case").to_owned().as_str() {
            "no trailers" => exchange.answer_with(grpc_head(), framed(false, b""), None),
            "no message" => exchange.answer_with(grpc_head(), Bytes::new(), Some(&ok)),
            "two messages" => exchange.answer_with(grpc_head(), second.into(), Some(&ok)),
            "half a message" => {
                exchange.answer_with(grpc_head(), framed(false, b"abc").slice(..6), Some(&ok));
            }
            "huge" => exchange.answer_with(grpc_head(), huge, Some(&ok)),
            "compressed with nothing" => exchange.answer_with(grpc_head(), framed(true, b"x"), Some(&ok)),
            _ => {
                let mut head = grpc_head();
                head.headers_mut().insert("grpc-encoding", HeaderValue::from_static("lzma"));
                exchange.answer_with(head, framed(true, b"x"), Some(&ok));
            }
        }
    })
    .await;
    let channel = channel(peer.address);
    for (case, code, text) in [
        ("no trailers", Code::Internal, "server closed the stream without sending trailers"),
        ("no message", Code::Internal, "none was sent"),
        ("two messages", Code::Internal, "more data follows"),
        ("half a message", Code::Internal, "ended after 6 of 8 bytes"),
        ("huge", Code::Internal, "the answer: grpc: received message larger than max (4194305 vs. 4194304)"),
        ("compressed with nothing", Code::Internal, "compressed flag set with identity"),
        ("unknown encoding", Code::Internal, "not installed for grpc-encoding \"lzma\""),
    ] {
        let mut metadata = HeaderMap::new();
        metadata.insert("x-case", HeaderValue::from_static(case));
        let status = patiently(channel.unary(&PATH, &[], &metadata, None)).await.unwrap_err();
        assert_eq!(status.code(), code, "{case}: {status}");
        assert!(status.message().contains(text), "{case}: {status}");
    }
}

#[tokio::test]
async fn resets_have_the_codes_of_the_grpc_specification() {
    let peer = Peer::start(|exchange| async {
        let reason: u32 = exchange.header("x-reason").parse().unwrap();
        exchange.reset(reason.into());
    })
    .await;
    let channel = channel(peer.address);
    for (reason, code) in [
        (h2::Reason::PROTOCOL_ERROR, Code::Internal),
        (h2::Reason::INTERNAL_ERROR, Code::Internal),
        (h2::Reason::CANCEL, Code::Canceled),
        (h2::Reason::ENHANCE_YOUR_CALM, Code::ResourceExhausted),
        (h2::Reason::INADEQUATE_SECURITY, Code::PermissionDenied),
    ] {
        let mut metadata = HeaderMap::new();
        metadata.insert("x-reason", HeaderValue::from(u32::from(reason)));
        let status = patiently(channel.unary(&PATH, &[], &metadata, None)).await.unwrap_err();
        assert_eq!(status.code(), code, "{status}");
        let text = format!("stream terminated by RST_STREAM with error code: {reason:?}");
        assert_eq!(status.message(), text);
    }
}

#[tokio::test]
async fn an_answer_may_come_before_the_request_is_read() {
    let mut builder = h2::server::Builder::new();
    builder.initial_window_size(100);
    // The handler below runs only once the body is in, so this peer answers by hand.
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let server = tokio::spawn(async move {
        let (socket, _) = listener.accept().await.unwrap();
        let mut connection = builder.handshake::<_, Bytes>(socket).await.unwrap();
        let mut kept = Vec::new();
        while let Some(Ok((request, mut respond))) = connection.accept().await {
            let mut head = grpc_head();
            Status::new(Code::ResourceExhausted, "too large").write_to(head.headers_mut());
            respond.send_response(head, true).unwrap();
            kept.push(request);
        }
    });
    let channel = channel(address);
    let status = call_with(&channel, &[Bytes::from(vec![7; 100_000])]).await.unwrap_err();
    assert_eq!((status.code(), status.message()), (Code::ResourceExhausted, "too large"));
    assert_eq!(channel.close(Instant::now() + PATIENCE).await, 0);
    patiently(server).await.unwrap();
}
