//! Pings, on a clock that the tests own.

use std::net::Ipv4Addr;

use tokio::io::DuplexStream;
use tokio::sync::oneshot;

use super::raw::{DATA, GOAWAY, HEADERS, PING, Raw};
use super::*;
use crate::grpc::Balancer;
use crate::grpc::client::connection::Connection;
use crate::grpc::client::dial::Address;

const TIME: Duration = Duration::from_secs(10);
const TIMEOUT: Duration = Duration::from_secs(20);

async fn connected(permit_without_stream: bool) -> (Connection, Handle, Raw<DuplexStream>) {
    let (client, server) = tokio::io::duplex(64 * 1024);
    let options = ConnectionOptions {
        tls: None,
        keepalive: Some(Keepalive { time: TIME, timeout: TIMEOUT, permit_without_stream }),
        read_buffer_bytes: 1024,
        write_buffer_bytes: 1024,
    };
    let address = Address::Tcp((Ipv4Addr::LOCALHOST, 1).into());
    let load = std::sync::Arc::new(crate::grpc::client::load::Load::new(tokio::time::Instant::now()));
    let accept = async {
        let mut raw = Raw::accept(server).await;
        raw.until(PING).await.unwrap();
        raw
    };
    let (made, raw) =
        futures_util::future::join(Connection::establish(Box::new(client), address, &options, load), accept)
            .await;
    let (connection, handle) = made.unwrap();
    (connection, handle, raw)
}

#[tokio::test(start_paused = true)]
async fn a_silent_peer_is_given_up_when_a_ping_goes_unanswered() {
    let (connection, _handle, mut raw) = connected(true).await;
    let (unusable, ended) = oneshot::channel();
    let started = Instant::now();
    let run = tokio::spawn(connection.run(unusable));
    raw.answers_pings = false;
    raw.until(PING).await.unwrap();
    assert!(started.elapsed() >= TIME);
    assert_eq!(ended.await.unwrap(), "keepalive ping failed to receive ACK within timeout");
    let waited = started.elapsed();
    assert!(waited >= TIME + TIMEOUT && waited < TIME + TIME + TIMEOUT + TIME, "{waited:?}");
    run.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn an_answered_ping_keeps_the_connection() {
    let (connection, _handle, mut raw) = connected(true).await;
    let (unusable, mut ended) = oneshot::channel();
    let _run = tokio::spawn(connection.run(unusable));
    for _ in 0..5 {
        raw.until(PING).await.unwrap();
    }
    assert!(ended.try_recv().is_err());
}

#[tokio::test(start_paused = true)]
async fn without_a_call_nothing_is_pinged_unless_permitted() {
    let (connection, handle, mut raw) = connected(false).await;
    let (unusable, _ended) = oneshot::channel();
    let _run = tokio::spawn(connection.run(unusable));
    assert!(tokio::time::timeout(TIME * 50, raw.until(PING)).await.is_err(), "nobody asked for it");
    let guard = handle.in_flight(None);
    raw.until(PING).await.unwrap();
    drop(guard);
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_talks_is_not_pinged_and_a_late_answer_is_enough() {
    let (connection, handle, mut raw) = connected(true).await;
    let (unusable, mut ended) = oneshot::channel();
    let _run = tokio::spawn(connection.run(unusable));
    let template = super::super::call::Template::new(
        (http::uri::Scheme::HTTP, Authority::from_static("backend")),
        HeaderValue::from_static("test"),
        [],
        None,
    );
    let request = template.request(&PATH, &HeaderMap::new(), false, None).unwrap();
    let message = OutgoingMessage::new(&[], false).unwrap();
    let caller = handle.clone();
    let _call = tokio::spawn(async move { attempt(&caller, request, message, None).await });
    let stream = raw.until(HEADERS).await.unwrap();
    raw.until(DATA).await.unwrap();
    // Any frame is a sign of life: `:status: 200` by its HPACK index, without end of stream.
    for _ in 0..20 {
        tokio::time::sleep(TIME / 2).await;
        raw.send(PING, 1, 0, &[0; 8]).await;
    }
    raw.send(HEADERS, 4, stream, &[0x88]).await;
    raw.answers_pings = false;
    raw.until(PING).await.unwrap();
    for _ in 0..5 {
        tokio::time::sleep(TIMEOUT / 2).await;
        raw.send(DATA, 0, stream, &[]).await;
    }
    assert!(ended.try_recv().is_err());
    assert!(ended.await.unwrap().contains("keepalive ping failed"));
}

#[tokio::test(start_paused = true)]
async fn too_many_pings_is_noticed_and_any_other_goaway_is_not() {
    let calm = u32::from(h2::Reason::ENHANCE_YOUR_CALM).to_be_bytes();
    for (words, noticed) in [(&b"too_many_pings"[..], true), (b"", false)] {
        let (connection, handle, mut raw) = connected(true).await;
        let (unusable, ended) = oneshot::channel();
        let _run = tokio::spawn(connection.run(unusable));
        let payload = [&[0; 4][..], &calm, words].concat();
        raw.send(GOAWAY, 0, 0, &payload).await;
        let reason = ended.await.unwrap();
        assert_eq!(handle.was_pinged_too_often(), noticed, "{reason}");
    }
}

#[test]
fn the_interval_of_pings_doubles_up_to_a_bound() {
    let options = ConnectionOptions {
        tls: None,
        keepalive: Some(Keepalive { time: TIME, timeout: TIMEOUT, permit_without_stream: true }),
        read_buffer_bytes: 1024,
        write_buffer_bytes: 1024,
    };
    let shared = crate::grpc::client::subchannel::Shared {
        roster: Roster::new(Balancer::RoundRobin),
        options,
        backoff: Backoff::default(),
        resolve_now: tokio::sync::Notify::new(),
        keepalive_stretch: std::sync::atomic::AtomicU32::new(1),
    };
    shared.ping_less_often();
    assert_eq!(shared.options().keepalive.unwrap().time, TIME * 2);
    (0..20).for_each(|_| shared.ping_less_often());
    assert_eq!(shared.options().keepalive.unwrap().time, TIME * 256);
    assert_eq!(shared.options().keepalive.unwrap().timeout, TIMEOUT);
}
