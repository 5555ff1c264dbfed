//! Connections: keepalive, age, draining, shutdown.

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::super::endpoint::{Endpoint, Listener};
use super::super::{Keepalive, KeepaliveParameters, Phase, Server, accept_until};
use super::*;

fn config(parameters: KeepaliveParameters) -> ServerConfig {
    let keepalive = Keepalive { server_parameters: parameters, ..Keepalive::default() };
    ServerConfig { keepalive, ..ServerConfig::default() }
}

fn secs(seconds: u64) -> spanbridge_config::Duration {
    Duration::from_secs(seconds).into()
}

#[tokio::test(start_paused = true)]
async fn an_idle_connection_is_closed_gracefully() {
    let rig = Rig::new(&config(KeepaliveParameters { max_connection_idle: secs(60), ..Default::default() }));
    let client = rig.client().await;
    let start = Instant::now();
    let Client { send, connection } = client;
    timeout(BOUND, connection).await.unwrap().unwrap().unwrap();
    assert_eq!(start.elapsed().as_secs(), 60);
    drop(send);
}

#[tokio::test(start_paused = true)]
async fn an_old_connection_is_closed_when_its_last_call_is_over() {
    let rig = Rig::new(&config(KeepaliveParameters { max_connection_age: secs(100), ..Default::default() }));
    let mut client = rig.client().await;
    let (response, mut stream) = client.open(post("/test.Service/Wait")).await;
    send_all(&mut stream, framed(false, b"slow")).await;
    tokio::time::sleep(Duration::from_secs(120)).await;
    let refused =
        async { client.send.clone().ready().await?.send_request(post(ECHO), false).map(drop) }.await;
    assert!(refused.is_err(), "no new call after the GOAWAY");
    rig.service.release.notify_one();
    assert_eq!(answer(response).await.message, "slow");
    client.closed().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn calls_on_an_old_connection_are_cut_after_the_grace() {
    let parameters = KeepaliveParameters {
        max_connection_age: secs(100),
        max_connection_age_grace: secs(5),
        ..Default::default()
    };
    let rig = Rig::new(&config(parameters));
    let mut client = rig.client().await;
    let start = Instant::now();
    let (response, mut stream) = client.open(post("/test.Service/Wait")).await;
    send_all(&mut stream, framed(false, b"slow")).await;
    assert!(timeout(BOUND, response).await.unwrap().is_err());
    let age = start.elapsed().as_secs();
    assert!((95..=115).contains(&age), "{age}");
    assert_eq!(rig.counts(), (2, 2), "the handler is gone");
    assert_eq!(rig.shared.aborted.load(Ordering::SeqCst), 0, "no shutdown did it");
}

#[tokio::test(start_paused = true)]
async fn a_client_that_answers_pings_stays_connected() {
    let rig =
        Rig::new(&config(KeepaliveParameters { time: secs(10), timeout: secs(2), ..Default::default() }));
    let mut client = rig.client().await;
    tokio::time::sleep(Duration::from_secs(3000)).await;
    assert_eq!(client.unary(ECHO, b"alive").await.message, "alive");
}

#[tokio::test(start_paused = true)]
async fn a_client_that_answers_no_pings_is_cut_off() {
    let rig =
        Rig::new(&config(KeepaliveParameters { time: secs(10), timeout: secs(2), ..Default::default() }));
    let mut raw = rig.raw();
    raw.write_all(hostile::PREFACE).await.unwrap();
    let start = Instant::now();
    let mut seen = Vec::new();
    timeout(BOUND, raw.read_to_end(&mut seen)).await.unwrap().unwrap();
    assert_eq!(start.elapsed().as_secs(), 12);
    assert_eq!(hostile::frames(&seen).iter().filter(|f| f.kind == hostile::PING).count(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_client_without_a_word_is_cut_off_before_the_handshake() {
    let rig = Rig::new(&ServerConfig::default());
    let mut raw = rig.raw();
    let start = Instant::now();
    timeout(BOUND, raw.read_to_end(&mut Vec::new())).await.unwrap().unwrap();
    assert_eq!(start.elapsed().as_secs(), 10);
}

#[tokio::test(start_paused = true)]
async fn a_client_that_reads_nothing_is_cut_off() {
    let rig = Rig::new(&ServerConfig::default());
    let (mut raw, far) = duplex(4096);
    let serving = tokio::spawn(rig.serve(far));
    raw.write_all(&hostile::echo_request(&framed(false, &[1; 16_000]))).await.unwrap();
    let start = Instant::now();
    timeout(BOUND, serving).await.unwrap().unwrap();
    assert_eq!((start.elapsed().as_secs(), rig.counts()), (60, (1, 1)));
}

#[tokio::test(start_paused = true)]
async fn draining_finishes_what_is_in_flight_and_takes_nothing_new() {
    let rig = Rig::new(&ServerConfig::default());
    let mut client = rig.client().await;
    let _idle = rig.client().await;
    let (response, mut stream) = client.open(post("/test.Service/Wait")).await;
    send_all(&mut stream, framed(false, b"in flight")).await;
    while rig.counts().0 < 3 {
        tokio::task::yield_now().await;
    }
    rig.shared.enter(Phase::Draining);
    rig.shared.tasks.close();
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!(rig.shared.tasks.len(), 1, "the idle connection is gone, the busy one is not");
    rig.service.release.notify_one();
    assert_eq!(answer(response).await.message, "in flight");
    timeout(BOUND, rig.shared.tasks.wait()).await.unwrap();
}

/// A connection of a server that drains, when all is read that the server sends.
async fn drained(rig: &Rig, answer_ping: bool) -> DuplexStream {
    let mut raw = rig.raw();
    raw.write_all(hostile::PREFACE).await.unwrap();
    let mut seen = Vec::new();
    raw.read_buf(&mut seen).await.unwrap();
    rig.shared.enter(Phase::Draining);
    if answer_ping {
        while !hostile::frames_so_far(&seen).iter().any(|frame| frame.kind == hostile::PING) {
            timeout(BOUND, raw.read_buf(&mut seen)).await.unwrap().unwrap();
        }
        raw.write_all(&hostile::pongs(&seen)).await.unwrap();
    }
    timeout(BOUND, raw.read_to_end(&mut Vec::new())).await.unwrap().unwrap();
    raw
}

#[tokio::test(start_paused = true)]
async fn what_a_client_still_says_after_the_end_resets_nothing() {
    for answer_ping in [true, false] {
        let rig = Rig::new(&ServerConfig::default());
        let mut raw = drained(&rig, answer_ping).await;
        for _ in 0..2 {
            raw.write_all(&hostile::ping()).await.expect("the server reads on");
            tokio::task::yield_now().await;
        }
        drop(raw);
        rig.shared.tasks.close();
        timeout(BOUND, rig.shared.tasks.wait()).await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn a_client_that_never_closes_is_not_waited_for_long() {
    let rig = Rig::new(&ServerConfig::default());
    let start = Instant::now();
    let raw = drained(&rig, false).await;
    rig.shared.tasks.close();
    timeout(BOUND, rig.shared.tasks.wait()).await.unwrap();
    let most = super::super::limits::DRAIN_IDLE_MAX + super::super::limits::LINGER_MAX;
    assert!(start.elapsed() <= most + Duration::from_secs(1), "{:?}", start.elapsed());
    drop(raw);
}

#[tokio::test]
async fn shutdown_cuts_what_does_not_finish_and_says_how_much() {
    let service = Arc::new(Service::default());
    let config = ServerConfig { endpoint: "localhost:0".into(), ..ServerConfig::default() };
    let server =
        Server::start(&config, service.clone(), Account::new(), None, |reason| panic!("died: {reason}"))
            .await
            .unwrap();
    let socket = tokio::net::TcpStream::connect(server.endpoint()).await.unwrap();
    let (send, connection) = h2::client::handshake(socket).await.unwrap();
    let mut client = Client { send, connection: tokio::spawn(connection) };
    let mut hanging = Vec::new();
    for size in [10, 1_000_000] {
        let (response, mut stream) = client.open(post("/test.Service/Wait")).await;
        send_all(&mut stream, framed(false, &vec![0; size])).await;
        hanging.push(response);
    }
    while service.started.load(Ordering::SeqCst) < 2 {
        tokio::task::yield_now().await;
    }
    let drained = server.shutdown(Instant::now() + Duration::from_millis(50)).await;
    assert_eq!(drained.aborted_calls, 2);
    assert_eq!(service.dropped.load(Ordering::SeqCst), 2, "no task is left");
    assert!(tokio::net::TcpStream::connect(server.endpoint()).await.is_err(), "nobody listens");
    for response in hanging {
        assert!(response.await.is_err());
    }
}

#[tokio::test]
async fn a_broken_listener_ends_accepting() {
    let config = ServerConfig { endpoint: "localhost:0".into(), ..ServerConfig::default() };
    let endpoint = Endpoint::parse(&config.endpoint, config.transport).unwrap();
    let listener = endpoint.listen(config.transport).await.unwrap();
    let Listener::Tcp(socket) = &listener else { panic!("not TCP") };
    socket2::SockRef::from(socket).shutdown(std::net::Shutdown::Both).unwrap();
    let shared = Arc::new(Shared::new(&config, Arc::new(Service::default()), Account::new(), None));
    let accepting = accept_until(listener, shared, CancellationToken::new());
    assert!(timeout(Duration::from_secs(5), accepting).await.unwrap().is_err());
}

#[tokio::test]
async fn a_server_without_calls_shuts_down_at_once() {
    let config = ServerConfig { endpoint: "localhost:0".into(), ..ServerConfig::default() };
    let server =
        Server::start(&config, Arc::new(Service::default()), Account::new(), None, |_| {}).await.unwrap();
    let socket = tokio::net::TcpStream::connect(server.endpoint()).await.unwrap();
    let (send, connection) = h2::client::handshake(socket).await.unwrap();
    let mut client = Client { send, connection: tokio::spawn(connection) };
    client.unary(ECHO, b"hello").await;
    let drained = timeout(Duration::from_secs(5), server.shutdown(Instant::now() + BOUND)).await.unwrap();
    assert_eq!(drained.aborted_calls, 0);
    client.closed().await.unwrap();
}
