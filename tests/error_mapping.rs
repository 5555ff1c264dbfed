//! What a client is told when the far end refuses, hangs or is gone: nothing is acknowledged that nobody took.

use std::net::{Ipv4Addr, TcpListener};
use std::time::Duration;

use tonic::{Code, Status};

use crate::client;
use crate::data;
use crate::harness::{Collector, passthrough, pipeline};
use crate::sink::{Behaviour, Sink};

/// The status a client gets from a pass-through collector in front of `sink`.
async fn refused_by(sink: &Sink, exporter: &str) -> Status {
    let edge = Collector::start("edge", &passthrough("endpoint: 127.0.0.1:0", sink.address(), exporter));
    let answer = client::traces(edge.grpc()).await.export(data::spans(1, 3)).await;
    edge.stop();
    answer.expect_err("the destination did not take it")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_status_of_the_destination_reaches_the_client_unchanged() {
    for code in [Code::InvalidArgument, Code::PermissionDenied, Code::Unavailable, Code::Unimplemented] {
        let refuse = Some(Status::new(code, "as the destination says"));
        let sink = Sink::behaving(Behaviour { refuse, ..Behaviour::default() });
        let status = refused_by(&sink, "compression: none").await;
        assert_eq!(status.code(), code, "{status}");
        assert!(status.message().contains("as the destination says"), "{status}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_status_of_the_destination_reaches_the_client_through_batch() {
    let refuse = Some(Status::invalid_argument("as the destination says"));
    let sink = Sink::behaving(Behaviour { refuse, ..Behaviour::default() });
    let config = pipeline(sink.address(), "timeout: 10ms, acknowledge: delivered", "compression: none");
    let edge = Collector::start("edge", &config);
    let answer = client::traces(edge.grpc()).await.export(data::spans(1, 3)).await;
    let status = answer.expect_err("the destination did not take it");
    assert_eq!(status.code(), Code::InvalidArgument, "{status}");
    edge.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_destination_that_hangs_ends_in_deadline_exceeded_or_unavailable() {
    let sink = Sink::behaving(Behaviour { delay: Duration::from_secs(3600), ..Behaviour::default() });
    let status = refused_by(&sink, "timeout: 200ms").await;
    assert!(matches!(status.code(), Code::DeadlineExceeded | Code::Unavailable), "{status}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_destination_that_is_gone_ends_in_unavailable() {
    let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("bind");
    let address = free.local_addr().expect("address");
    drop(free);
    let edge = Collector::start("edge", &passthrough("endpoint: 127.0.0.1:0", address, "timeout: 2s"));
    let answer = client::traces(edge.grpc()).await.export(data::spans(1, 3)).await;
    let status = answer.expect_err("nobody is there");
    assert_eq!(status.code(), Code::Unavailable, "{status}");
    edge.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_gives_up_gets_its_own_deadline() {
    let sink = Sink::behaving(Behaviour { delay: Duration::from_secs(3600), ..Behaviour::default() });
    let edge = Collector::start("edge", &passthrough("endpoint: 127.0.0.1:0", sink.address(), "timeout: 2s"));
    let mut request = tonic::Request::new(data::spans(1, 3));
    request.set_timeout(Duration::from_millis(100));
    let answer = client::traces(edge.grpc()).await.export(request).await;
    let status = answer.expect_err("nobody answered");
    assert!(matches!(status.code(), Code::DeadlineExceeded | Code::Cancelled), "{status}");
    edge.stop();
}
