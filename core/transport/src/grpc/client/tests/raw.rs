//! An HTTP/2 peer of bare frames, for what no well-behaved library does.

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

pub(super) const DATA: u8 = 0;
pub(super) const HEADERS: u8 = 1;
pub(super) const SETTINGS: u8 = 4;
pub(super) const PING: u8 = 6;
pub(super) const GOAWAY: u8 = 7;

const ACK: u8 = 1;

pub(super) struct Frame {
    pub(super) kind: u8,
    pub(super) stream: u32,
}

pub(super) struct Raw<S> {
    socket: S,
    pub(super) answers_pings: bool,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Raw<S> {
    /// Reads the client's preface and sends SETTINGS.
    pub(super) async fn accept(mut socket: S) -> Self {
        let mut preface = [0; 24];
        socket.read_exact(&mut preface).await.unwrap();
        assert_eq!(&preface, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
        let mut this = Self { socket, answers_pings: true };
        this.send(SETTINGS, 0, 0, &[]).await;
        this
    }

    pub(super) async fn send(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
        let len = u32::try_from(payload.len()).unwrap().to_be_bytes();
        let mut frame = vec![len[1], len[2], len[3], kind, flags];
        frame.extend_from_slice(&stream.to_be_bytes());
        frame.extend_from_slice(payload);
        // The client may be gone, which is for the test to judge.
        let _ = self.socket.write_all(&frame).await;
    }

    /// The next frame; SETTINGS and, unless told otherwise, PING are acknowledged on the way.
    pub(super) async fn next(&mut self) -> Option<Frame> {
        let mut head = [0; 9];
        self.socket.read_exact(&mut head).await.ok()?;
        let len = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        let mut payload = vec![0; usize::try_from(len).unwrap()];
        self.socket.read_exact(&mut payload).await.ok()?;
        let (kind, flags) = (head[3], head[4]);
        if flags & ACK == 0 && (kind == SETTINGS || (kind == PING && self.answers_pings)) {
            let answer = if kind == PING { payload } else { Vec::new() };
            self.send(kind, ACK, 0, &answer).await;
        }
        Some(Frame { kind, stream: u32::from_be_bytes([head[5], head[6], head[7], head[8]]) })
    }

    /// Waits for a frame of this kind; its stream.
    pub(super) async fn until(&mut self, kind: u8) -> Option<u32> {
        loop {
            let frame = self.next().await?;
            if frame.kind == kind {
                return Some(frame.stream);
            }
        }
    }

    /// Says that nothing above stream `last` was looked at.
    pub(super) async fn go_away(&mut self, last: u32, reason: h2::Reason) {
        let payload = [last.to_be_bytes(), u32::from(reason).to_be_bytes()].concat();
        self.send(GOAWAY, 0, 0, &payload).await;
    }
}
