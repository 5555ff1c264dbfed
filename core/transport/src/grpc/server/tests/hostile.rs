//! Bytes that no decent client sends.

use super::*;

pub(super) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
pub(super) const PING: u8 = 6;
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const GOAWAY: u8 = 7;
const CONTINUATION: u8 = 9;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;
/// `:method POST`, `:scheme http`, `:path /test.Service/Wait`, `content-type application/grpc` in HPACK.
const HEAD: &[u8] = b"\x83\x86\x04\x12/test.Service/Wait\x0f\x10\x10application/grpc";

#[derive(Debug, Clone, PartialEq)]
pub(super) struct Frame {
    pub(super) kind: u8,
    payload: Vec<u8>,
}

/// A whole connection with one request whose answer is as large.
pub(super) fn echo_request(body: &[u8]) -> Vec<u8> {
    let head = String::from_utf8_lossy(&HEAD[2..]).replace("Wait", "Echo");
    let head = [&HEAD[..2], head.as_bytes()].concat();
    [PREFACE, &frame(HEADERS, END_HEADERS, 1, &head), &frame(DATA, END_STREAM, 1, body)].concat()
}

/// The frames in what a server sent.
pub(super) fn frames(mut bytes: &[u8]) -> Vec<Frame> {
    let mut frames = Vec::new();
    while let Some((&[l1, l2, l3, kind, ..], rest)) = bytes.split_first_chunk::<9>() {
        let len = usize::from(l1) << 16 | usize::from(l2) << 8 | usize::from(l3);
        frames.push(Frame { kind, payload: rest[..len].to_vec() });
        bytes = &rest[len..];
    }
    frames
}

pub(super) fn ping() -> Vec<u8> {
    frame(PING, 0, 0, &[0; 8])
}

/// The answers to the pings in what a server sent.
pub(super) fn pongs(seen: &[u8]) -> Vec<u8> {
    const ACK: u8 = 1;
    let pings = frames_so_far(seen).into_iter().filter(|frame| frame.kind == PING);
    pings.flat_map(|ping| frame(PING, ACK, 0, &ping.payload)).collect()
}

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let [_, l1, l2, l3] = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&[l1, l2, l3, kind, flags], stream.to_be_bytes().as_slice(), payload].concat()
}

/// Sends `bytes` on a fresh connection; all that comes back until the server closes.
async fn talk(rig: &Rig, bytes: Vec<u8>) -> Vec<Frame> {
    let (mut read, mut write) = tokio::io::split(rig.raw());
    let sending = tokio::spawn(async move {
        // The server may hang up in the middle.
        let _ = write.write_all(&bytes).await;
        write
    });
    let mut seen = Vec::new();
    timeout(BOUND, read.read_to_end(&mut seen)).await.unwrap().unwrap();
    sending.abort();
    frames(&seen)
}

/// The error code and text of the last GOAWAY.
fn goaway(frames: &[Frame]) -> Option<(u32, String)> {
    let frame = frames.iter().rfind(|frame| frame.kind == GOAWAY)?;
    let code = u32::from_be_bytes(frame.payload[4..8].try_into().unwrap());
    Some((code, String::from_utf8_lossy(&frame.payload[8..]).into_owned()))
}

const PROTOCOL_ERROR: u32 = 1;
const FRAME_SIZE_ERROR: u32 = 6;
const ENHANCE_YOUR_CALM: u32 = 11;

#[tokio::test(start_paused = true)]
async fn a_bad_preface_closes_the_connection() {
    let rig = Rig::new(&ServerConfig::default());
    for bytes in [b"GET / HTTP/1.1\r\nHost: x\r\n\r\n".as_slice(), b"\x16\x03\x01\x02\x00\x01\x00", &[0; 100]]
    {
        let seen = talk(&rig, bytes.to_vec()).await;
        assert!(seen.iter().all(|frame| frame.kind != HEADERS));
    }
    assert_eq!(rig.client().await.unary(ECHO, b"fine").await.message, "fine");
}

#[tokio::test(start_paused = true)]
async fn a_ping_flood_is_told_so_and_cut_off() {
    let rig = Rig::new(&ServerConfig::default());
    let pings = ping().repeat(10_000);
    let seen = talk(&rig, [PREFACE, &pings].concat()).await;
    assert_eq!(goaway(&seen), Some((ENHANCE_YOUR_CALM, "too_many_pings".to_owned())));
}

#[tokio::test(start_paused = true)]
async fn two_pings_too_many_are_forgiven() {
    let rig = Rig::new(&ServerConfig::default());
    let mut raw = rig.raw();
    raw.write_all(&[PREFACE, &ping().repeat(3)].concat()).await.unwrap();
    let mut seen = Vec::new();
    while frames_so_far(&seen).iter().filter(|f| f.kind == PING).count() < 3 {
        timeout(BOUND, raw.read_buf(&mut seen)).await.unwrap().unwrap();
    }
    assert_eq!(goaway(&frames_so_far(&seen)), None);
}

/// As [`frames`], of bytes that may end within a frame.
pub(super) fn frames_so_far(bytes: &[u8]) -> Vec<Frame> {
    let mut end = 0;
    while let Some(&[l1, l2, l3]) = bytes.get(end..end + 3).and_then(|b| b.first_chunk()) {
        let next = end + 9 + (usize::from(l1) << 16 | usize::from(l2) << 8 | usize::from(l3));
        if next > bytes.len() {
            break;
        }
        end = next;
    }
    frames(&bytes[..end])
}

#[tokio::test(start_paused = true)]
async fn a_frame_beyond_the_limit_is_refused() {
    let rig = Rig::new(&ServerConfig::default());
    let seen = talk(&rig, [PREFACE, &frame(DATA, 0, 1, &vec![0; 1024 * 1024 + 1])].concat()).await;
    assert_eq!(goaway(&seen).unwrap().0, FRAME_SIZE_ERROR);
}

#[tokio::test(start_paused = true)]
async fn headers_beyond_the_limit_are_refused() {
    let rig = Rig::new(&ServerConfig::default());
    let mut client = rig.client().await;
    let mut request = post(ECHO);
    request.headers_mut().insert("x-long", "v".repeat(33_000).parse().unwrap());
    assert_eq!(client.send(request, Bytes::new()).await.http, 431);
    assert_eq!(client.unary(ECHO, b"still here").await.message, "still here");
}

#[tokio::test(start_paused = true)]
async fn a_flood_of_continuations_is_cut_off() {
    let rig = Rig::new(&ServerConfig::default());
    let literal = [b"\0\x01a\x7f\x81\x7f".as_slice(), &[b'v'; 16_000 + 256]].concat();
    let flood = frame(CONTINUATION, 0, 1, &literal[..16_000]).repeat(100);
    let seen = talk(&rig, [PREFACE, &frame(HEADERS, 0, 1, HEAD), &flood].concat()).await;
    assert!(goaway(&seen).is_some());
    let empty = frame(CONTINUATION, 0, 1, &[]).repeat(10_000);
    let seen = talk(&rig, [PREFACE, &frame(HEADERS, 0, 1, HEAD), &empty].concat()).await;
    assert!(goaway(&seen).is_some());
}

#[tokio::test(start_paused = true)]
async fn a_flood_of_resets_is_cut_off() {
    let rig = Rig::new(&ServerConfig::default());
    let mut flood = PREFACE.to_vec();
    for stream in (1..20_001).step_by(2) {
        flood.extend(frame(HEADERS, END_HEADERS, stream, HEAD));
        flood.extend(frame(RST_STREAM, 0, stream, &8_u32.to_be_bytes()));
    }
    let seen = talk(&rig, flood).await;
    assert_eq!(goaway(&seen).unwrap().0, ENHANCE_YOUR_CALM);
    assert_eq!(rig.counts().0, 0);
}

#[tokio::test(start_paused = true)]
async fn streams_beyond_the_limit_are_refused() {
    let config = ServerConfig { max_concurrent_streams: 2, ..ServerConfig::default() };
    let rig = Rig::new(&config);
    let mut raw = rig.raw();
    let mut bytes = PREFACE.to_vec();
    for stream in [1, 3, 5] {
        bytes.extend(frame(HEADERS, END_HEADERS, stream, HEAD));
    }
    raw.write_all(&bytes).await.unwrap();
    let mut seen = Vec::new();
    while !frames_so_far(&seen).iter().any(|frame| frame.kind == RST_STREAM) {
        timeout(BOUND, raw.read_buf(&mut seen)).await.unwrap().unwrap();
    }
    let reset = frames_so_far(&seen).into_iter().find(|frame| frame.kind == RST_STREAM).unwrap();
    assert_eq!(reset.payload, 7_u32.to_be_bytes(), "REFUSED_STREAM: safe to try again");
}

#[tokio::test(start_paused = true)]
async fn data_on_no_stream_and_even_streams_are_protocol_errors() {
    let rig = Rig::new(&ServerConfig::default());
    for bytes in [frame(DATA, 0, 0, b"x"), frame(DATA, 0, 1, b"x"), frame(HEADERS, END_HEADERS, 2, HEAD)] {
        let seen = talk(&rig, [PREFACE, &bytes].concat()).await;
        assert_eq!(goaway(&seen).unwrap().0, PROTOCOL_ERROR);
    }
}

#[tokio::test(start_paused = true)]
async fn tiny_data_frames_are_put_together() {
    let rig = Rig::new(&ServerConfig::default());
    let mut client = rig.client().await;
    let (response, mut stream) = client.open(post(ECHO)).await;
    let body = framed(false, &[5; 2000]);
    for at in 0..body.len() {
        stream.send_data(body.slice(at..=at), at + 1 == body.len()).unwrap();
    }
    assert_eq!(answer(response).await.message, vec![5; 2000]);
}
