//! Memory: what is counted, and what happens when there is none.

use spanbridge_pdata::memory::SEGMENT_BYTES;

use super::super::admission::Window;
use super::super::limits::{
    ADMISSION_TIME_MAX, CALL_BYTES, CONNECTION_WINDOW_MIN, SLOW_BODY_CHECK, TLS_BYTES,
};
use super::*;

const KEEP: &str = "/test.Service/Keep";
const WAIT: &str = "/test.Service/Wait";
/// What a connection of the smallest window costs here: itself, its window, and its largest frame.
const CONNECTION: usize = 32 * 1024 + CONNECTION_WINDOW_MIN as usize + CONNECTION_WINDOW_MIN as usize / 2;
const REFUSED: &str = "data refused due to high memory usage";

/// A server whose account has room for one connection and, beside it, for `room` bytes.
fn rig(room: usize) -> (Rig, Account) {
    let memory = Account::new();
    // It lasts as long as the test.
    std::mem::forget(memory.limit_to(CONNECTION + room));
    (Rig::within(&ServerConfig::default(), memory.clone()), memory)
}

/// Lets every task run until none can.
async fn settle() {
    tokio::time::sleep(Duration::from_millis(1)).await;
}

fn keep(client: &Client, message: &[u8], compressed: bool) -> JoinHandle<Answer> {
    let mut request = post(KEEP);
    if compressed {
        request.headers_mut().insert("grpc-encoding", "gzip".parse().unwrap());
    }
    send(client, request, framed(compressed, message))
}

fn send(client: &Client, request: Request<()>, body: Bytes) -> JoinHandle<Answer> {
    let requests = client.send.clone();
    tokio::spawn(async move {
        let mut requests = timeout(BOUND, requests.ready()).await.unwrap().unwrap();
        let (response, mut stream) = requests.send_request(request, false).unwrap();
        tokio::join!(answer(response), send_all(&mut stream, body)).0
    })
}

fn gzip(data: &[u8]) -> Vec<u8> {
    use std::io::Write as _;
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(data).unwrap();
    encoder.finish().unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_message_is_charged_from_its_prefix_to_its_last_slice() {
    let (rig, memory) = rig(1 << 20);
    let mut client = rig.client().await;
    assert_eq!(memory.used(), CONNECTION);
    for len in [1000, 100_000] {
        let (response, mut stream) = client.open(post(KEEP)).await;
        let body = framed(false, &vec![7; len]);
        stream.send_data(body.slice(..5), false).unwrap();
        settle().await;
        assert_eq!(memory.used(), CONNECTION + CALL_BYTES + len);
        send_all(&mut stream, body.slice(5..)).await;
        assert_eq!(answer(response).await.code(), Some(Code::Ok));
        settle().await;
        assert_eq!(memory.used(), CONNECTION + len + SEGMENT_BYTES, "what is kept stays charged");
        rig.service.kept.lock().unwrap().clear();
    }
    drop(client);
    settle().await;
    assert_eq!(memory.used(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_message_waits_for_room_and_is_taken_when_there_is_some() {
    let (rig, memory) = rig(100_000);
    let client = rig.client().await;
    assert_eq!(keep(&client, &[1; 80_000], false).await.unwrap().code(), Some(Code::Ok));
    let second = keep(&client, &[2; 60_000], false);
    settle().await;
    assert!(!second.is_finished());
    assert_eq!((memory.usage().waiting, rig.service.kept.lock().unwrap().len()), (1, 1));
    rig.service.kept.lock().unwrap().clear();
    assert_eq!(second.await.unwrap().code(), Some(Code::Ok));
    assert_eq!(rig.service.kept.lock().unwrap()[0], vec![2; 60_000]);
    assert_eq!((memory.usage().waits, memory.usage().refusals), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn a_message_that_waits_too_long_is_refused_to_be_tried_again() {
    let (rig, memory) = rig(100_000);
    let client = rig.client().await;
    keep(&client, &[1; 80_000], false).await.unwrap();
    let start = tokio::time::Instant::now();
    let refused = keep(&client, &[2; 60_000], false).await.unwrap();
    assert!(start.elapsed() >= ADMISSION_TIME_MAX);
    assert_eq!((refused.code(), refused.text()), (Some(Code::Unavailable), REFUSED));
    assert_eq!(refused.status.unwrap().retry_delay(), Some(Duration::from_secs(1)));
    assert_eq!((memory.usage().refusals, memory.usage().waiting), (1, 0));
    rig.service.kept.lock().unwrap().clear();
    assert_eq!(
        keep(&client, &[3; 60_000], false).await.unwrap().code(),
        Some(Code::Ok),
        "the connection goes on"
    );
}

#[tokio::test(start_paused = true)]
async fn a_message_that_can_never_fit_is_refused_for_good_and_at_once() {
    let (rig, memory) = rig(100_000);
    let client = rig.client().await;
    let start = tokio::time::Instant::now();
    let refused = keep(&client, &[1; 300_000], false).await.unwrap();
    assert!(start.elapsed() < ADMISSION_TIME_MAX);
    assert_eq!(refused.code(), Some(Code::ResourceExhausted));
    assert!(refused.text().contains("memory limit"), "{}", refused.text());
    assert!(memory.used() <= memory.limit());
}

#[tokio::test(start_paused = true)]
async fn a_flood_on_one_connection_stays_within_the_limit() {
    let (rig, memory) = rig(300_000);
    let client = rig.client().await;
    keep(&client, &[1; 90_000], false).await.unwrap();
    let calls: Vec<_> = (0..50).map(|i| keep(&client, &[i; 70_000], i % 2 == 0)).collect();
    let mut most = 0;
    while !calls.iter().all(JoinHandle::is_finished) {
        settle().await;
        most = most.max(memory.used());
    }
    // What calls cost by themselves is charged without asking.
    assert!(most <= memory.limit() + 50 * CALL_BYTES, "{most}");
    for call in calls {
        let answer = call.await.unwrap();
        assert!(matches!(answer.code(), Some(Code::Ok | Code::Unavailable | Code::Internal)), "{answer:?}");
    }
    rig.service.kept.lock().unwrap().clear();
    settle().await;
    assert_eq!(memory.used(), CONNECTION);
}

#[tokio::test(start_paused = true)]
async fn a_bomb_asks_for_its_output_before_it_gets_it_and_is_refused_for_good() {
    let (rig, memory) = rig(300_000);
    let client = rig.client().await;
    let bomb = gzip(&vec![0; 4 << 20]);
    assert!(bomb.len() < 50_000);
    let refused = keep(&client, &bomb, true).await.unwrap();
    assert_eq!(refused.code(), Some(Code::ResourceExhausted), "it can never fit");
    assert!(refused.text().contains("memory limit"), "{}", refused.text());
    settle().await;
    assert_eq!((memory.used(), memory.usage().refusals), (CONNECTION, 1));
    let fine = keep(&client, &gzip(&[5; 90_000]), true).await.unwrap();
    assert_eq!(fine.code(), Some(Code::Ok));
    settle().await;
    let used = memory.used() - CONNECTION - SEGMENT_BYTES;
    assert!((90_000..100_000).contains(&used), "{used}");
}

#[tokio::test(start_paused = true)]
async fn a_gzip_message_asks_for_no_more_than_it_says() {
    let message = gzip(&[5; 90_000]);
    let (rig, _memory) = rig(CALL_BYTES + message.len() + 90_000 + SEGMENT_BYTES);
    let client = rig.client().await;
    assert_eq!(keep(&client, &message, true).await.unwrap().code(), Some(Code::Ok));
}

#[tokio::test(start_paused = true)]
async fn a_message_that_grows_beyond_its_guess_gives_back_what_it_has_and_waits() {
    let (rig, memory) = rig(300_000);
    let client = rig.client().await;
    keep(&client, &[1; 200_000], false).await.unwrap();
    // The last of two members says that there is one byte; the first has all the rest.
    let message = [gzip(&[7; 120_000]), gzip(&[7])].concat();
    let grows = keep(&client, &message, true);
    settle().await;
    assert_eq!(memory.usage().waiting, 1);
    let used = memory.used() - CONNECTION - CALL_BYTES - 200_000 - SEGMENT_BYTES;
    assert_eq!(used, message.len(), "the message alone");
    rig.service.kept.lock().unwrap().clear();
    assert_eq!(grows.await.unwrap().code(), Some(Code::Ok));
    assert_eq!(rig.service.kept.lock().unwrap()[0], vec![7; 120_001]);
    assert_eq!(memory.usage().refusals, 0);
}

#[tokio::test(start_paused = true)]
async fn a_slow_call_of_a_connection_that_gets_on_is_left_alone() {
    let (rig, memory) = rig(CONNECTION + 4_500_000);
    let (mut client, other) = (rig.client().await, rig.client().await);
    let (slow_answer, mut slow) = client.open(post(KEEP)).await;
    let slow_body = framed(false, &[1; 500_000]);
    slow.send_data(slow_body.slice(..1000), false).unwrap();
    let (busy_answer, mut busy) = client.open(post(KEEP)).await;
    let mut busy_body = framed(false, &vec![1; 3_000_000]);
    // Always waits for what these two have.
    let contender = tokio::spawn(async move {
        while keep(&other, &vec![2; 2_000_000], false).await.unwrap().code() == Some(Code::Unavailable) {}
    });
    for _ in 0..25 {
        // 100 kB/s, which is all that the two of them get.
        busy.send_data(busy_body.split_to(50_000), false).unwrap();
        tokio::time::sleep(SLOW_BODY_CHECK / 10).await;
    }
    assert!(memory.usage().refusals >= 5, "{memory:?}");
    tokio::join!(send_all(&mut slow, slow_body.slice(1000..)), send_all(&mut busy, busy_body));
    assert_eq!(answer(slow_answer).await.code(), Some(Code::Ok));
    assert_eq!(answer(busy_answer).await.code(), Some(Code::Ok));
    contender.abort();
}

#[tokio::test(start_paused = true)]
async fn a_client_that_trickles_loses_its_room_when_others_wait_for_it() {
    let (rig, memory) = rig(CONNECTION + 100_000);
    let (mut client, other) = (rig.client().await, rig.client().await);
    let (response, mut slow) = client.open(post(KEEP)).await;
    let body = framed(false, &[1; 90_000]);
    slow.send_data(body.slice(..1000), false).unwrap();
    tokio::time::sleep(2 * SLOW_BODY_CHECK + ADMISSION_TIME_MAX).await;
    assert_eq!(memory.used(), 2 * CONNECTION + CALL_BYTES + 90_000, "as long as nobody waits it may");
    // Waits from before the next check until after it.
    tokio::time::sleep(SLOW_BODY_CHECK.saturating_sub(ADMISSION_TIME_MAX + Duration::from_secs(1))).await;
    let next = keep(&other, &[2; 60_000], false);
    let refused = answer(response).await;
    assert_eq!((refused.code(), refused.text()), (Some(Code::Unavailable), REFUSED));
    assert_eq!(next.await.unwrap().code(), Some(Code::Ok));
    drop(slow);
}

#[tokio::test(start_paused = true)]
async fn calls_that_wait_leave_the_window_to_those_that_were_admitted() {
    let (rig, memory) = rig(100_000);
    let mut client = rig.client().await;
    let (response, mut admitted) = client.open(post(KEEP)).await;
    let body = framed(false, &[1; 90_000]);
    admitted.send_data(body.slice(..1000), false).unwrap();
    settle().await;
    let start = tokio::time::Instant::now();
    let waits = keep(&client, &[2; 60_000], false).await.unwrap();
    assert_eq!((waits.code(), waits.text()), (Some(Code::Unavailable), REFUSED));
    assert!(start.elapsed() < ADMISSION_TIME_MAX);
    send_all(&mut admitted, body.slice(1000..)).await;
    assert_eq!(answer(response).await.code(), Some(Code::Ok));
    assert_eq!(memory.usage().refusals, 1);
}

#[tokio::test(start_paused = true)]
async fn what_a_client_cancels_is_free_again() {
    let (rig, memory) = rig(200_000);
    let mut client = rig.client().await;
    let (response, mut stream) = client.open(post(WAIT)).await;
    send_all(&mut stream, framed(false, &[1; 50_000])).await;
    let (half, mut half_stream) = client.open(post(KEEP)).await;
    half_stream.send_data(framed(false, &[1; 70_000]).slice(..30_000), false).unwrap();
    settle().await;
    assert_eq!(memory.used(), CONNECTION + 2 * CALL_BYTES + 120_000 + SEGMENT_BYTES);
    drop((response, stream, half, half_stream));
    settle().await;
    assert_eq!(memory.used(), CONNECTION);
}

#[tokio::test(start_paused = true)]
async fn connections_are_charged_and_one_too_many_gets_no_further() {
    let memory = Account::new();
    let limit = memory.limit_to(3 * CONNECTION + 2 * CALL_BYTES);
    let rig = Rig::within(&ServerConfig::default(), memory.clone());
    let clients = [rig.client().await, rig.client().await, rig.client().await];
    assert_eq!(memory.used(), 3 * CONNECTION);
    assert!(rig.shared.admit(Peer::Unix).is_none());
    assert_eq!(memory.usage().refusals, 1);
    drop(clients);
    settle().await;
    assert_eq!(memory.used(), 0);
    limit.set(1 << 30);
    assert_eq!(
        rig.shared.admit(Peer::Unix).unwrap().1.bytes,
        4 << 20,
        "with much memory the window is large"
    );
}

/// More than HTTP/2 forgives of late data to streams that it has reset, and more calls than it remembers resets of.
const MANY: usize = 1500;

#[tokio::test(start_paused = true)]
async fn late_data_to_many_refused_calls_does_not_cost_the_connection() {
    let (rig, memory) = rig(100_000);
    let mut client = rig.client().await;
    for _ in 0..MANY.div_ceil(500) {
        let mut refused = Vec::new();
        for _ in 0..500 {
            let (response, mut stream) = client.open(post(KEEP)).await;
            stream.send_data(framed(false, &[1; 300_000]).slice(..5), false).unwrap();
            refused.push((response, stream));
        }
        let mut late = Vec::new();
        for (response, stream) in refused {
            assert_eq!(answer(response).await.code(), Some(Code::ResourceExhausted));
            late.push(stream);
        }
        for mut stream in late {
            stream.send_data(Bytes::from_static(&[1; 1000]), true).expect("the stream was not reset");
        }
    }
    assert_eq!(keep(&client, b"fine", false).await.unwrap().code(), Some(Code::Ok));
    rig.service.kept.lock().unwrap().clear();
    settle().await;
    assert_eq!(memory.used(), CONNECTION);
}

#[tokio::test(start_paused = true)]
async fn the_body_of_a_refused_call_is_not_read_for_long() {
    let (rig, _) = rig(100_000);
    let mut client = rig.client().await;
    let (response, mut stream) = client.open(post(KEEP)).await;
    stream.send_data(framed(false, &[1; 300_000]).slice(..5), false).unwrap();
    assert_eq!(answer(response).await.code(), Some(Code::ResourceExhausted));
    let reset = timeout(BOUND, std::future::poll_fn(|cx| stream.poll_reset(cx))).await.unwrap();
    assert_eq!(reset.unwrap(), h2::Reason::NO_ERROR);
    // One that sends without end is cut at the bytes.
    let (response, mut stream) = client.open(post(KEEP)).await;
    let start = tokio::time::Instant::now();
    let body = framed(false, &vec![1; 3_000_000]);
    let sent = send_all(&mut stream, body.clone());
    let (answer, ()) = tokio::join!(answer(response), sent);
    assert_eq!(answer.code(), Some(Code::ResourceExhausted));
    assert!(start.elapsed() < super::super::limits::DISCARD_TIME_MAX, "{:?}", start.elapsed());
    assert_eq!(keep(&client, b"fine", false).await.unwrap().code(), Some(Code::Ok));
}

#[test]
fn a_connection_with_tls_is_charged_for_what_tls_holds() {
    let memory = Account::new();
    let _limit = memory.limit_to(1 << 20);
    let plain = Window::open(&memory, 16_384, false).unwrap();
    let without = memory.used();
    drop(plain);
    let _secured = Window::open(&memory, 16_384, true).unwrap();
    assert_eq!(memory.used(), without + TLS_BYTES);
}
