//! Where calls go: connecting, balancing, and what happens when connections end.

use std::sync::atomic::AtomicUsize;

use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, mpsc};

use super::peer::{Exchange, Peer, framed, grpc_head};
use super::raw::{HEADERS, Raw};
use super::*;
use crate::grpc::Balancer;

/// A peer that answers with `name`.
async fn named(name: &'static str) -> Peer {
    Peer::start(move |exchange| async { exchange.answer(name.as_bytes()) }).await
}

async fn answer(channel: &Channel) -> String {
    String::from_utf8(call(channel, "who?").await.unwrap().message.to_vec()).unwrap()
}

/// An address that nothing listens on.
async fn dead_address() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap()
}

fn waiting(endpoint: impl std::fmt::Display) -> Channel {
    Channel::new(&ClientConfig { wait_for_ready: true, ..config(endpoint) }, settings()).unwrap()
}

#[tokio::test]
async fn a_dead_backend_fails_calls_at_once_and_is_used_again_when_it_is_back() {
    let address = dead_address().await;
    let channel = channel(address);
    let status = call(&channel, "x").await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable);
    assert_eq!(
        status.message(),
        format!(
            "connection error: desc = \"transport: Error while dialing: dial tcp {address}: connect: \
             connection refused\""
        )
    );
    let _peer = Peer::start_with(h2::server::Builder::new(), address, |exchange: Exchange| async {
        exchange.echo();
    })
    .await;
    eventually(|| async { call(&channel, "x").await.ok() }).await;
}

#[tokio::test]
async fn with_wait_for_ready_a_call_waits_for_the_backend_as_long_as_it_may() {
    let address = dead_address().await;
    let channel = waiting(address);
    let deadline = Instant::now() + Duration::from_millis(200);
    let status = patiently(channel.unary(&PATH, &[], &HeaderMap::new(), Some(deadline))).await.unwrap_err();
    assert_eq!(status.code(), Code::DeadlineExceeded);
    assert!(status.message().contains("while waiting for a connection"), "{status}");
    assert!(status.message().contains("connection refused"), "{status}");
    let starts_late = async {
        tokio::time::sleep(Duration::from_millis(50)).await;
        Peer::start_with(h2::server::Builder::new(), address, |exchange: Exchange| async {
            exchange.echo();
        })
        .await
    };
    let (peer, response) = futures_util::future::join(starts_late, call(&channel, "x")).await;
    assert_eq!(response.unwrap().message, "x");
    drop(peer);
}

#[tokio::test]
async fn round_robin_uses_every_address_in_turn_and_pick_first_only_one() {
    let (a, b) = (named("a").await, named("b").await);
    let addresses = Scripted::of(&[a.address, b.address]);
    let channel = Channel::new(&config("backend:4317"), addresses.settings()).unwrap();
    eventually(|| async { (a.connections() + b.connections() == 2).then_some(()) }).await;
    eventually(|| async { (answer(&channel).await != answer(&channel).await).then_some(()) }).await;
    let mut answers = Vec::new();
    for _ in 0..10 {
        answers.push(answer(&channel).await);
    }
    assert_eq!(answers.iter().filter(|name| *name == "a").count(), 5, "{answers:?}");

    let first = ClientConfig { balancer_name: Balancer::PickFirst, ..config("backend:4317") };
    let passthrough = config("passthrough:///backend:4317");
    for config in [first, passthrough] {
        let channel = Channel::new(&config, addresses.settings()).unwrap();
        for _ in 0..10 {
            assert_eq!(answer(&channel).await, "a");
        }
    }
    assert_eq!(b.connections(), 1);
}

#[tokio::test]
async fn several_connections_to_an_address_are_used_in_turn() {
    let peer = Peer::start(|exchange| async move {
        let name = exchange.connection.to_string();
        exchange.answer(name.as_bytes());
    })
    .await;
    let settings = ChannelSettings { connections_per_address: 3, ..settings() };
    let channel = Channel::new(&config(peer.address), settings).unwrap();
    let mut seen = std::collections::BTreeSet::new();
    eventually(|| {
        let channel = channel.clone();
        async move { Some(answer(&channel).await) }
    })
    .await;
    while seen.len() < 3 {
        seen.insert(answer(&channel).await);
    }
    assert_eq!(peer.connections(), 3);
}

#[tokio::test]
async fn a_dead_address_is_left_out_whatever_the_balancer() {
    let (dead, peer) = (dead_address().await, named("alive").await);
    for balancer_name in [Balancer::RoundRobin, Balancer::PickFirst] {
        let config = ClientConfig { balancer_name, ..config("backend:4317") };
        let addresses = Scripted::of(&[dead, peer.address]);
        let channel = Channel::new(&config, addresses.settings()).unwrap();
        for _ in 0..5 {
            assert_eq!(answer(&channel).await, "alive");
        }
    }
}

#[tokio::test]
async fn a_failed_connection_has_the_name_resolved_again() {
    let (old, new) = (named("old").await, named("new").await);
    for balancer_name in [Balancer::RoundRobin, Balancer::PickFirst] {
        let addresses = Scripted::of(&[old.address]);
        let config = ClientConfig { balancer_name, ..config("backend:4317") };
        let channel = Channel::new(&config, addresses.settings()).unwrap();
        assert_eq!(answer(&channel).await, "old");
        addresses.set(&[new.address]);
        old.go_away();
        eventually(|| async { (answer(&channel).await == "new").then_some(()) }).await;
    }
}

#[tokio::test]
async fn new_addresses_of_a_name_that_works_are_found_too() {
    let (a, b) = (named("a").await, named("b").await);
    let addresses = Scripted::of(&[a.address]);
    let mut settings = addresses.settings();
    settings.re_resolution.interval = Duration::from_millis(20);
    let channel = Channel::new(&config("backend:4317"), settings).unwrap();
    assert_eq!(answer(&channel).await, "a");
    addresses.set(&[a.address, b.address]);
    eventually(|| async { (answer(&channel).await == "b").then_some(()) }).await;
    addresses.set(&[b.address]);
    eventually(|| async {
        let answers = [answer(&channel).await, answer(&channel).await, answer(&channel).await];
        answers.iter().all(|name| name == "b").then_some(())
    })
    .await;
    assert_eq!(a.connections(), 1);
}

#[tokio::test]
async fn a_name_without_addresses_fails_calls_with_the_resolvers_words_until_it_has_some() {
    let addresses = Scripted::default();
    let channel = Channel::new(&config("backend:4317"), addresses.settings()).unwrap();
    let status = call(&channel, "x").await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable);
    assert_eq!(status.message(), "name resolver error: lookup backend: no such host");
    let peer = named("found").await;
    addresses.set(&[peer.address]);
    eventually(|| async { call(&channel, "x").await.ok() }).await;
}

#[tokio::test]
async fn a_goaway_lets_calls_finish_and_sends_new_ones_over_a_new_connection() {
    let gate = Arc::new(Semaphore::new(0));
    let (arrived, mut arrivals) = mpsc::unbounded_channel();
    let held = gate.clone();
    let peer = Peer::start(move |exchange: Exchange| {
        let gate = held.clone();
        let _ = arrived.send(exchange.connection);
        async move {
            if exchange.connection == 0 {
                let _ = gate.acquire().await;
            }
            let name = exchange.connection.to_string();
            exchange.answer(name.as_bytes());
        }
    })
    .await;
    let channel = channel(peer.address);
    let in_flight = answer(&channel);
    let others = async {
        assert_eq!(arrivals.recv().await, Some(0));
        peer.go_away();
        eventually(|| async { (peer.connections() == 2).then_some(()) }).await;
        assert_eq!(answer(&channel).await, "1");
        gate.add_permits(1);
    };
    let (first, ()) = patiently(futures_util::future::join(in_flight, others)).await;
    assert_eq!(first, "0");
}

#[tokio::test]
async fn calls_above_the_last_stream_of_a_goaway_are_sent_again() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let server = tokio::spawn(async move {
        let (socket, _) = listener.accept().await.unwrap();
        let mut raw = Raw::accept(socket).await;
        raw.until(HEADERS).await.unwrap();
        raw.go_away(0, h2::Reason::NO_ERROR).await;
        let (socket, _) = listener.accept().await.unwrap();
        let mut connection = h2::server::handshake(socket).await.unwrap();
        while let Some(Ok((_, mut respond))) = connection.accept().await {
            let mut stream = respond.send_response(grpc_head(), false).unwrap();
            stream.send_data(framed(false, b"second"), false).unwrap();
            let mut trailers = HeaderMap::new();
            Status::new(Code::Ok, "").write_to(&mut trailers);
            stream.send_trailers(trailers).unwrap();
        }
    });
    let channel = channel(address);
    assert_eq!(answer(&channel).await, "second");
    drop(channel);
    patiently(server).await.unwrap();
}

#[tokio::test]
async fn a_refused_stream_is_sent_once_more_and_no_oftener() {
    let attempts = Arc::new(AtomicUsize::new(0));
    let counter = attempts.clone();
    let peer = Peer::start(move |exchange| {
        let attempt = counter.fetch_add(1, Ordering::SeqCst);
        async move {
            if attempt == 0 || exchange.message() == "never" {
                exchange.reset(h2::Reason::REFUSED_STREAM);
            } else {
                exchange.echo();
            }
        }
    })
    .await;
    let channel = channel(peer.address);
    assert_eq!(call(&channel, "once").await.unwrap().message, "once");
    assert_eq!(attempts.load(Ordering::SeqCst), 2);
    let status = call(&channel, "never").await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable);
    assert_eq!(status.message(), "stream terminated by RST_STREAM with error code: REFUSED_STREAM");
    assert_eq!(attempts.load(Ordering::SeqCst), 4);
}

#[tokio::test]
async fn a_refused_stream_goes_to_another_address_if_there_is_one() {
    let refusing = Peer::start(|exchange| async { exchange.reset(h2::Reason::REFUSED_STREAM) }).await;
    let good = named("good").await;
    let addresses = Scripted::of(&[refusing.address, good.address]);
    let channel = Channel::new(&config("backend:4317"), addresses.settings()).unwrap();
    eventually(|| async { (good.connections() == 1).then_some(()) }).await;
    eventually(|| async { call(&channel, "x").await.ok() }).await;
    for _ in 0..6 {
        assert_eq!(answer(&channel).await, "good");
    }
}

#[tokio::test]
async fn a_connection_that_breaks_mid_call_fails_the_call_and_is_not_repeated() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let server = tokio::spawn(async move {
        let (socket, _) = listener.accept().await.unwrap();
        let mut raw = Raw::accept(socket).await;
        raw.until(HEADERS).await.unwrap();
        drop(raw);
        drop(listener);
    });
    let status = call(&channel(address), "x").await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable);
    assert!(status.message().starts_with("error reading from server: "), "{status}");
    assert!(status.message().contains(&address.to_string()), "{status}");
    patiently(server).await.unwrap();
}

#[tokio::test]
async fn a_server_that_accepts_and_hangs_up_is_not_called_without_pause() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let accepted = Arc::new(AtomicUsize::new(0));
    let counter = accepted.clone();
    let server = tokio::spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            counter.fetch_add(1, Ordering::SeqCst);
            drop(socket);
        }
    });
    let started = Instant::now();
    let channel = channel(address);
    let status = call(&channel, "x").await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable);
    assert!(status.message().contains("error reading server preface"), "{status}");
    eventually(|| async { (accepted.load(Ordering::SeqCst) >= 5).then_some(()) }).await;
    // Every 20 ms, as the test's backoff says.
    assert!(started.elapsed() >= Duration::from_millis(80), "{:?}", started.elapsed());
    server.abort();
}

#[tokio::test]
async fn a_server_of_another_protocol_is_told_apart() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let server = tokio::spawn(async move {
        while let Ok((mut socket, _)) = listener.accept().await {
            let _ = socket.write_all(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n").await;
        }
    });
    let status = call(&channel(address), "x").await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable);
    assert!(status.message().contains("error reading server preface"), "{status}");
    server.abort();
}

#[tokio::test]
async fn closing_waits_for_calls_in_flight_and_refuses_new_ones() {
    let gate = Arc::new(Semaphore::new(0));
    let (arrived, mut arrivals) = mpsc::unbounded_channel();
    let held = gate.clone();
    let peer = Peer::start(move |exchange| {
        let gate = held.clone();
        let _ = arrived.send(());
        async move {
            let _ = gate.acquire().await;
            exchange.echo();
        }
    })
    .await;
    let channel = channel(peer.address);
    let call_in_flight = call(&channel, "x");
    let close = async {
        arrivals.recv().await.unwrap();
        let closing = channel.close(Instant::now() + PATIENCE);
        let release = async {
            let status = eventually(|| async { call(&channel, "late").await.err() }).await;
            assert_eq!(status.code(), Code::Unavailable);
            gate.add_permits(1);
        };
        futures_util::future::join(closing, release).await.0
    };
    let (response, cut_off) = patiently(futures_util::future::join(call_in_flight, close)).await;
    assert_eq!(response.unwrap().message, "x");
    assert_eq!(cut_off, 0);
    assert_eq!(call(&channel, "x").await.unwrap_err().message(), "grpc: the client connection is closing");
}

#[tokio::test]
async fn closing_cuts_off_what_hangs_at_the_deadline() {
    let (arrived, mut arrivals) = mpsc::unbounded_channel();
    let peer = Peer::start(move |exchange| {
        let _ = arrived.send(());
        async move {
            std::future::pending::<()>().await;
            drop(exchange);
        }
    })
    .await;
    let channel = channel(peer.address);
    let close = async {
        arrivals.recv().await.unwrap();
        channel.close(Instant::now() + Duration::from_millis(50)).await
    };
    let (response, cut_off) = patiently(futures_util::future::join(call(&channel, "x"), close)).await;
    assert_eq!(response.unwrap_err().code(), Code::Unavailable);
    assert_eq!(cut_off, 1);
    // Closing a channel that never connected ends at once.
    let idle = self::channel(dead_address().await);
    assert_eq!(patiently(idle.close(Instant::now() + PATIENCE)).await, 0);
}

#[tokio::test]
async fn peak_ewma_keeps_away_from_a_backend_that_fails_fast_or_hangs() {
    let well = named("well").await;
    let failing = Peer::start(|exchange| async {
        exchange.answer_trailers_only(&Status::new(Code::Unavailable, "out of order"));
    })
    .await;
    let hanging = Peer::start(|_| std::future::pending()).await;
    let addresses = Scripted::of(&[well.address, failing.address, hanging.address]);
    let config = ClientConfig {
        balancer_name: Balancer::PeakEwma,
        connections_per_address: 2,
        ..config("backend:4317")
    };
    let channel = Channel::new(&config, addresses.settings()).unwrap();
    eventually(|| async {
        let ready = matches!(&*channel.0.roster.picker().borrow(), Picker::Ready(set) if set.len() == 6);
        ready.then_some(())
    })
    .await;
    // One after the other: whatever is asked later knows what became of what was asked before.
    let mut failures = 0;
    for _ in 0..60 {
        let deadline = Instant::now() + Duration::from_millis(200);
        failures += usize::from(channel.unary(&PATH, &[], &HeaderMap::new(), Some(deadline)).await.is_err());
    }
    // Each of the four bad connections is found out once, or is never drawn.
    assert!(failures <= 4, "{failures} of 60 calls went to bad backends");
}
