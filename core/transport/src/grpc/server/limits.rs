//! The bounds of a server that no configuration key sets.
//!
//! Memory of one connection is at most the sum of: one frame (`read_buffer_size`), the write buffer, received and unread
//! data ([`CONNECTION_WINDOW_BYTES`]), the messages of its calls ([`connection_budget_bytes`]), and the headers of its calls
//! (`max_concurrent_streams` times [`HEADER_LIST_BYTES_MAX`]). Where a memory limit is set, all connections together
//! also stay within that; see `admission.rs`.

use std::time::Duration;

use crate::tls::READ_AHEAD_BYTES;

/// Connections of one server; more are closed as soon as they are accepted.
pub(super) const CONNECTIONS_MAX: usize = 8192;
/// Connections that the kernel holds until they are accepted.
pub(super) const BACKLOG: u32 = 1024;
/// Time a client has to say that it speaks HTTP/2.
pub(super) const HANDSHAKE_TIME_MAX: Duration = Duration::from_secs(10);
/// Time a client has to send the body of a request, whatever its own deadline.
pub(super) const BODY_TIME_MAX: Duration = Duration::from_secs(120);
/// Time a client may leave what we write unread.
pub(super) const WRITE_STALL_MAX: Duration = Duration::from_secs(60);
/// Calls in flight on one connection where the configuration says 0.
pub(super) const CONCURRENT_STREAMS_DEFAULT: u32 = 1000;
/// Size of all headers of a request, decoded; a larger list is answered 431 by HTTP/2.
pub(super) const HEADER_LIST_BYTES_MAX: u32 = 32 * 1024;
/// Bounds of the HTTP/2 frame size that `read_buffer_size` announces: what RFC 9113 allows, and what the window of a
/// stream lets through anyway.
pub(super) const FRAME_BYTES: std::ops::RangeInclusive<u32> = 16_384..=STREAM_WINDOW_BYTES;
/// Flow-control window of a stream.
pub(super) const STREAM_WINDOW_BYTES: u32 = 1024 * 1024;
/// Flow-control window of a connection: data received and not yet admitted. Smaller where memory is limited.
pub(super) const CONNECTION_WINDOW_BYTES: u32 = 4 * 1024 * 1024;
/// The smallest window of a connection: what RFC 9113 gives every client unasked ("65,535 octets").
pub(super) const CONNECTION_WINDOW_MIN: u32 = 65_535;
/// What a connection costs beside what it receives: the state of HTTP/2, its task, what is gathered to be written.
pub(super) const CONNECTION_BYTES: usize = 32 * 1024;
/// What TLS holds for a connection beside that: what it reads ahead, and a record on its way in each direction.
pub(super) const TLS_BYTES: usize = READ_AHEAD_BYTES + 2 * TLS_RECORD_BYTES;
/// The largest record, RFC 8446 5.2: 2^14 bytes and what encryption adds.
const TLS_RECORD_BYTES: usize = 16 * 1024 + 256;
/// What a call costs beside its message: its headers, its stream, its future.
pub(super) const CALL_BYTES: usize = 4 * 1024;
/// How long a message waits for memory before it is refused. Shorter than clients commonly wait for an answer (5 s
/// and 10 s), so that they get ours.
pub(super) const ADMISSION_TIME_MAX: Duration = Duration::from_secs(2);
/// How often the body of a call is looked at, whether it comes too slowly while others wait for memory...
pub(super) const SLOW_BODY_CHECK: Duration = Duration::from_secs(5);
/// ...which is below this many bytes a second: a message of the largest common size, 4 MiB, may take a minute.
pub(super) const SLOW_BODY_BYTES_PER_SECOND: usize = 64 * 1024;
/// What a connection that keeps to that rate brings from one look to the next. Its calls are not too slow then, however many
/// share it; cutting them all would only have them sent again, as slowly.
pub(super) const SLOW_INTERVAL_BYTES: usize = SLOW_BODY_BYTES_PER_SECOND * 5;
const _: () = assert!(SLOW_BODY_CHECK.as_secs() == 5);
/// Messages below this size are copied out of the buffer they were received in: it may be much larger, and would
/// live as long as they do. From this size on the copy would cost more than the memory it saves.
pub(super) const COPY_BYTES_MAX: usize = 16 * 1024;
/// Streams that a client may reset before they are looked at; more end the connection (rapid reset, CVE-2023-44487).
pub(super) const PENDING_RESETS_MAX: usize = 100;
/// Streams that we reset and still remember, to ignore what arrives for them. As many as can be open: all of them may be
/// refused at once, with data on the way, and that for a forgotten one counts as the client's error.
pub(super) const REMEMBERED_RESETS_MAX: usize = CONCURRENT_STREAMS_DEFAULT as usize;
/// Streams that we reset because of a client's protocol errors; more end the connection.
pub(super) const ERROR_RESETS_MAX: usize = 256;
/// What is read and thrown away of the body of a refused call, and for how long: what a client can have on its way before it
/// hears of the refusal. Then its stream is reset.
pub(super) const DISCARD_BYTES_MAX: usize = STREAM_WINDOW_BYTES as usize;
/// See [`DISCARD_BYTES_MAX`].
pub(super) const DISCARD_TIME_MAX: Duration = Duration::from_secs(2);
/// What `h2` takes from a connection's budget of small DATA frames for one of them, at most, until it is read. Out of it, the
/// connection is closed: its default, half the window, would let some hundred small requests that wait for their
/// authentication or for memory cost the client its connection where memory is limited.
const SMALL_FRAME_BYTES: usize = 256;
/// Largest messages that fit into the budget of a connection at the same time.
const BUDGET_MESSAGES: usize = 16;
/// Messages from this size on, and compressed ones, are handled in a task of their own, so that one connection can
/// keep several cores busy. Smaller ones cost less than the detour.
pub(super) const OWN_TASK_BYTES: usize = 256 * 1024;
/// After the graceful GOAWAY, a connection without calls is closed this much later even if its client says nothing.
pub(super) const DRAIN_IDLE_MAX: Duration = Duration::from_secs(1);
/// Time to write the last frames of a connection that ends, and to let the client read them and close. The same
/// as grpc-go's.
pub(super) const LINGER_MAX: Duration = Duration::from_secs(1);
/// TCP keepalive of accepted connections: idle time and interval, as Go's listeners.
pub(super) const TCP_KEEPALIVE: Duration = Duration::from_secs(15);
/// Pause after a failed accept, such as one without a free file descriptor.
pub(super) const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// Largest `write_buffer_size`.
pub(super) const WRITE_BUFFER_BYTES_MAX: i64 = 64 * 1024 * 1024;

/// The budget of small DATA frames of a connection: two for each call, or half the window if that is more.
pub(super) fn small_frames_budget_bytes(concurrent_streams: u32, window_bytes: u32) -> usize {
    let calls = usize::try_from(concurrent_streams).unwrap_or(usize::MAX);
    calls.saturating_mul(2 * SMALL_FRAME_BYTES).max(window_bytes as usize / 2)
}

/// Bytes that the messages of one connection may take, from the declared length on until the call is answered. Calls
/// beyond it are refused with `UNAVAILABLE`, to be tried again.
pub(super) const fn connection_budget_bytes(message_bytes_max: usize) -> usize {
    message_bytes_max.saturating_mul(BUDGET_MESSAGES)
}
