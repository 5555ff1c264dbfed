//! The gRPC edge as an ordinary client meets it: sockets, encodings, limits, and the codes of bad requests.

use bytes::Bytes;
use prost::Message;
use tempfile::TempDir;
use tonic::codec::CompressionEncoding;
use tonic::transport::Channel;
use tonic::{Code, Status};

use crate::client::{self, TRACES, call_raw};
use crate::data;
use crate::harness::{Collector, passthrough, say};
use crate::sink::Sink;

/// The answer of every success: an empty partial success (reference: collector-core, 6.3).
const SUCCESS: &[u8] = &[0x0a, 0x00];

fn start(sink: &Sink, grpc: &str) -> Collector {
    Collector::start("edge", &passthrough(grpc, sink.address(), "compression: none"))
}

async fn channel(edge: &Collector) -> Channel {
    client::connect(edge.grpc()).await
}

async fn refused(edge: &Collector, method: &'static str, body: Vec<u8>) -> Status {
    call_raw(channel(edge).await, method, Bytes::from(body)).await.expect_err("refused")
}

#[tokio::test(flavor = "multi_thread")]
async fn success_is_the_message_that_go_clients_expect() {
    let sink = Sink::start();
    let edge = start(&sink, "endpoint: 127.0.0.1:0");
    let body = Bytes::from(data::spans(1, 2).encode_to_vec());
    let answer = call_raw(channel(&edge).await, TRACES, body).await.expect("accepted");
    assert_eq!(answer.into_inner(), SUCCESS);
    edge.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_request_succeeds_and_is_not_handed_on() {
    let sink = Sink::start();
    let edge = start(&sink, "endpoint: 127.0.0.1:0");
    let answer = call_raw(channel(&edge).await, TRACES, Bytes::new()).await.expect("accepted");
    assert_eq!(answer.into_inner(), SUCCESS);
    assert!(sink.traces().is_empty());
    edge.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn gzip_and_zstd_requests_arrive_as_they_were() {
    let sink = Sink::start();
    let edge = start(&sink, "endpoint: 127.0.0.1:0");
    let plain = client::traces(edge.grpc()).await;
    let sent = data::spans(1, 500);
    for encoding in [CompressionEncoding::Gzip, CompressionEncoding::Zstd] {
        let mut client = plain.clone().send_compressed(encoding);
        client.export(sent.clone()).await.expect("accepted");
    }
    assert_eq!(sink.traces(), [sent.clone(), sent]);
    edge.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn fields_of_a_newer_protocol_survive() {
    let sink = Sink::start();
    let edge = start(&sink, "endpoint: 127.0.0.1:0");
    let mut body = data::spans(1, 2).encode_to_vec();
    // Field 1000, length-delimited, "new": unknown to every schema of today.
    body.extend([0xc2, 0x3e, 3, b'n', b'e', b'w']);
    call_raw(channel(&edge).await, TRACES, Bytes::from(body)).await.expect("accepted");
    assert_eq!(sink.traces(), [data::spans(1, 2)]);
    edge.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn malformed_requests_are_invalid_arguments_and_reach_nobody() {
    let sink = Sink::start();
    let edge = start(&sink, "endpoint: 127.0.0.1:0");
    let good = data::spans(1, 2).encode_to_vec();
    let mut short_id = data::spans(1, 1);
    short_id.resource_spans[0].scope_spans[0].spans[0].span_id.pop();
    let cases = [
        ("cut off", good[..good.len() - 1].to_vec()),
        ("a length past the end", vec![0x0a, 0x7f, 0x00]),
        ("a group", vec![0x0b, 0x0c]),
        ("a varint without an end", vec![0x0a, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]),
        ("the wrong wire type", vec![0x08, 0x01]),
        ("text", b"this is not protobuf".to_vec()),
        ("a span id of seven bytes", short_id.encode_to_vec()),
    ];
    for (what, body) in cases {
        let status = refused(&edge, TRACES, body).await;
        assert_eq!(status.code(), Code::InvalidArgument, "{what}: {status}");
        assert!(!status.message().is_empty(), "{what}");
    }
    assert!(sink.traces().is_empty());
    edge.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_over_the_limit_is_resource_exhausted() {
    let sink = Sink::start();
    let edge = start(&sink, "{endpoint: '127.0.0.1:0', max_recv_msg_size_mib: 1}");
    let over = (1 << 20) + 1;
    let status = refused(&edge, TRACES, vec![0; over]).await;
    assert_eq!(status.code(), Code::ResourceExhausted, "{status}");
    assert_eq!(status.message(), format!("grpc: received message larger than max ({over} vs. 1048576)"));
    // The connection is still good for others.
    client::traces(edge.grpc()).await.export(data::spans(1, 1)).await.expect("accepted");
    edge.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_small_message_that_unpacks_over_the_limit_is_resource_exhausted() {
    let sink = Sink::start();
    let edge = start(&sink, "{endpoint: '127.0.0.1:0', max_recv_msg_size_mib: 1}");
    let mut bomb = data::spans(1, 1);
    bomb.resource_spans[0].scope_spans[0].spans[0].name = "a".repeat(8 << 20);
    for encoding in [CompressionEncoding::Gzip, CompressionEncoding::Zstd] {
        let mut client = client::traces(edge.grpc()).await.send_compressed(encoding);
        let status = client.export(bomb.clone()).await.expect_err("refused");
        assert_eq!(status.code(), Code::ResourceExhausted, "{status}");
    }
    assert!(sink.traces().is_empty());
    edge.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn methods_that_are_not_served_are_unimplemented() {
    let sink = Sink::start();
    let edge = start(&sink, "endpoint: 127.0.0.1:0");
    for method in [
        // No pipeline of this collector carries metrics.
        "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export",
        "/opentelemetry.proto.collector.trace.v1.TraceService/Import",
        "/grpc.health.v1.Health/Check",
        "/nothing",
    ] {
        let status = refused(&edge, method, Vec::new()).await;
        assert_eq!(status.code(), Code::Unimplemented, "{method}: {status}");
    }
    edge.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_unix_socket_serves_and_is_removed_at_the_end() {
    let sink = Sink::start();
    let dir = TempDir::new().expect("a folder for the socket");
    let socket = dir.path().join("otlp.sock");
    let edge = start(&sink, &format!("{{endpoint: {}, transport: unix}}", socket.display()));
    let channel = client::connect_uri(format!("unix:{}", socket.display())).await;
    let body = Bytes::from(data::spans(1, 2).encode_to_vec());
    call_raw(channel, TRACES, body).await.expect("accepted");
    assert_eq!(sink.traces(), [data::spans(1, 2)]);
    edge.stop();
    assert!(!socket.exists(), "the socket file is left over");
}

#[tokio::test(flavor = "multi_thread")]
async fn ipv6_loopback_serves() {
    if std::net::TcpListener::bind("[::1]:0").is_err() {
        say("skipped ipv6_loopback_serves: this machine has no IPv6 loopback");
        return;
    }
    let sink = Sink::start();
    let edge = start(&sink, "endpoint: '[::1]:0'");
    assert!(edge.grpc().is_ipv6());
    client::traces(edge.grpc()).await.export(data::spans(1, 2)).await.expect("accepted");
    assert_eq!(sink.traces(), [data::spans(1, 2)]);
    edge.stop();
}
