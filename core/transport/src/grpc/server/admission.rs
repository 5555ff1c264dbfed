//! Which bytes a connection may receive, by the account of the process.
//!
//! - What a client may send unasked is charged when its connection is accepted ([`Window`]): the HTTP/2 window of the
//!   connection, a frame that is half there, and what the connection costs by itself.
//! - A message asks for its declared length as soon as its prefix is there ([`Gate::try_admit`]). Only then is the window
//!   opened again for what came, so a client cannot send more than was charged.
//! - Without room the call waits for a bounded time, in the order of all calls of the process ([`Gate::wait`]); its
//!   client feels the window close. After that it is refused, to be tried again.
//!
//! Calls that wait keep a part of the window that calls already admitted may need: beyond half of it, those that wait
//! are refused at once.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use h2::RecvStream;
use spanbridge_pdata::memory::{Account, Charge, Standing};
use tokio::sync::Notify;
use tokio::time::{Instant, sleep, timeout_at};

use super::budget::{ByteBudget, Reservation};
use super::call::Refusal;
use super::limits::{
    ADMISSION_TIME_MAX, CALL_BYTES, CONNECTION_BYTES, CONNECTION_WINDOW_BYTES, CONNECTION_WINDOW_MIN,
    FRAME_BYTES, TLS_BYTES, connection_budget_bytes,
};
use crate::grpc::{Code, Status};

/// First guess of what a compressed message grows to, in multiples of its size; it is reserved with the message. What
/// grows further asks for it on the way.
const EXPANSION_GUESS: usize = 4;
/// A window larger than the smallest is at most this part of the limit...
const WINDOW_PART: usize = 64;
/// ...and is given only while this part of the limit, windows included, is in use.
const WINDOWS_PART: usize = 4;
/// Connections may exceed the capacity by this part of it: messages fill it to the brim, and new clients must get in to be
/// told.
const CONNECTIONS_EXCESS_PART: usize = 8;

/// What a connection may receive unasked, charged for as long as it lives.
#[derive(Debug)]
pub(super) struct Window {
    /// The HTTP/2 window of the connection.
    pub(super) bytes: u32,
    /// The largest frame.
    pub(super) frame_bytes: u32,
    /// What is charged for it and for the rest of its connection.
    standing_bytes: usize,
    _charge: Standing,
}

impl Window {
    /// The window of a new connection, as large as memory allows; `None` if there is no room for any. `is_secured` says
    /// that there will be TLS below it.
    pub(super) fn open(memory: &Account, frame_bytes: u32, is_secured: bool) -> Option<Self> {
        let limit = memory.limit();
        let connection = CONNECTION_BYTES + if is_secured { TLS_BYTES } else { 0 };
        let cost = |bytes: u32, frame_bytes: u32| connection + bytes as usize + frame_bytes as usize;
        let window = |bytes: u32, ceiling: usize| {
            let frame_bytes = frame_bytes.min(bytes / 2).max(*FRAME_BYTES.start());
            let standing_bytes = cost(bytes, frame_bytes);
            let charge = memory.try_charge(standing_bytes, ceiling)?;
            Some(Self { bytes, frame_bytes, standing_bytes, _charge: charge.into_standing() })
        };
        let mut bytes = CONNECTION_WINDOW_BYTES;
        while bytes > CONNECTION_WINDOW_MIN {
            if cost(bytes, 0) <= limit / WINDOW_PART
                && let Some(window) = window(bytes, limit / WINDOWS_PART)
            {
                return Some(window);
            }
            bytes /= 4;
        }
        let capacity = memory.capacity();
        window(CONNECTION_WINDOW_MIN, capacity.saturating_add(capacity / CONNECTIONS_EXCESS_PART))
    }
}

/// What the calls of one connection ask.
#[derive(Debug)]
pub(super) struct Gate {
    memory: Account,
    messages: Arc<ByteBudget>,
    window_bytes: usize,
    /// What this connection and one call on it cost: never there for a message.
    standing_bytes: usize,
    /// Bytes of bodies that were admitted, in all; it wraps.
    received: AtomicUsize,
    /// Bytes of the window that belong to calls that wait.
    waiting_bytes: AtomicUsize,
    /// Calls that were admitted and whose body is not complete.
    receiving: AtomicUsize,
    /// Tells calls that wait that one was admitted that may need their part of the window.
    crowded: Notify,
}

/// The room of one message, from its admission to its answer.
#[derive(Debug)]
pub(super) struct Admitted {
    /// Of the connection's bound on messages in flight.
    pub(super) connection: Reservation,
    /// Of the memory of the process.
    pub(super) memory: Charge,
}

/// Counts up while it lives.
#[derive(Debug)]
pub(super) struct Counted<'a> {
    counter: &'a AtomicUsize,
    count: usize,
}

impl<'a> Counted<'a> {
    fn new(counter: &'a AtomicUsize, count: usize) -> Self {
        counter.fetch_add(count, Ordering::Relaxed);
        Self { counter, count }
    }

    fn add(&mut self, count: usize) {
        self.counter.fetch_add(count, Ordering::Relaxed);
        self.count += count;
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.counter.fetch_sub(self.count, Ordering::Relaxed);
    }
}

impl Gate {
    pub(super) fn new(memory: Account, window: &Window, message_bytes_max: usize) -> Self {
        Self {
            memory,
            messages: ByteBudget::new(connection_budget_bytes(message_bytes_max)),
            window_bytes: window.bytes as usize,
            standing_bytes: window.standing_bytes + CALL_BYTES,
            received: AtomicUsize::new(0),
            waiting_bytes: AtomicUsize::new(0),
            receiving: AtomicUsize::new(0),
            crowded: Notify::new(),
        }
    }

    pub(super) fn memory(&self) -> &Account {
        &self.memory
    }

    /// The most that a message can ever have.
    fn capacity(&self) -> usize {
        self.memory.capacity().saturating_sub(self.standing_bytes)
    }

    /// Bytes of admitted bodies that came on this connection; it wraps.
    pub(super) fn received(&self) -> usize {
        self.received.load(Ordering::Relaxed)
    }

    /// Notes that so much of an admitted body came.
    pub(super) fn note_received(&self, bytes: usize) {
        self.received.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Charges what a call costs beside its message.
    pub(super) fn begin_call(&self) -> Charge {
        self.memory.charge(CALL_BYTES)
    }

    /// Notes that the body of an admitted call is on its way.
    pub(super) fn begin_body(&self) -> Counted<'_> {
        let counted = Counted::new(&self.receiving, 1);
        if self.is_crowded() {
            self.crowded.notify_waiters();
        }
        counted
    }

    /// Room for a message, if there is some at once.
    pub(super) fn try_admit(&self, declared: usize, compressed: bool) -> Result<Option<Admitted>, Status> {
        let connection = self.messages.reserve(declared).ok_or_else(out_of_budget)?;
        let memory = self.memory.try_reserve(self.room_for(declared, compressed));
        Ok(memory.map(|memory| Admitted { connection, memory }))
    }

    /// Room for a message, and what came of it meanwhile. `unreleased` bytes of it came before.
    pub(super) async fn wait(
        &self,
        body: &mut RecvStream,
        (declared, compressed): (usize, bool),
        unreleased: usize,
    ) -> Result<(Admitted, Vec<u8>), Refusal> {
        let capacity = self.capacity();
        if declared > capacity {
            return Err(self.refused(too_large(declared, capacity)));
        }
        let connection = self.messages.reserve(declared).ok_or_else(out_of_budget)?;
        let mut held = Counted::new(&self.waiting_bytes, unreleased);
        let mut reserving = pin!(self.memory.reserve(self.room_for(declared, compressed)));
        let mut patience = pin!(sleep(ADMISSION_TIME_MAX));
        let (mut came, mut ended) = (Vec::new(), false);
        loop {
            let crowded = self.crowded.notified();
            if self.is_crowded() {
                return Err(self.refused(Status::out_of_memory()));
            }
            tokio::select! {
                biased; // room that is there is taken
                memory = &mut reserving => {
                    let memory = memory.ok_or_else(|| self.refused(Status::out_of_memory()))?;
                    return Ok((Admitted { connection, memory }, came));
                }
                () = &mut patience => return Err(self.refused(Status::out_of_memory())),
                chunk = body.data(), if !ended => match chunk {
                    None => ended = true,
                    Some(chunk) => {
                        let chunk = chunk.map_err(|_| Refusal::Gone)?;
                        held.add(chunk.len());
                        came.extend_from_slice(&chunk);
                    }
                },
                () = crowded => {}
            }
        }
    }

    /// Raises `charge`, which stands for `input` bytes of a compressed message and what it `had` for the output, to what it
    /// takes with `wanted` bytes of output; returns how many of them it may have. While it waits it has the input alone.
    pub(super) async fn expand(
        &self,
        charge: &mut Charge,
        input: usize,
        wanted: usize,
        had: usize,
        end: Instant,
    ) -> Result<usize, Status> {
        let capacity = self.capacity();
        let most = capacity.saturating_sub(input);
        if had >= most {
            self.memory.note_refusal();
            return Err(too_large(input.saturating_add(wanted), capacity));
        }
        let output = wanted.min(most);
        if charge.try_raise(input + output) {
            return Ok(output);
        }
        charge.set(input);
        let more = timeout_at(end, self.memory.reserve(output)).await;
        let more = more.ok().flatten().ok_or_else(|| {
            self.memory.note_refusal();
            Status::out_of_memory()
        })?;
        charge.absorb(more);
        Ok(output)
    }

    /// What a message is given at first. What a compressed one grows to is a guess, which must not take everything.
    fn room_for(&self, declared: usize, compressed: bool) -> usize {
        if compressed {
            declared.saturating_mul(1 + EXPANSION_GUESS).min(declared.max(self.capacity() / 2))
        } else {
            declared
        }
    }

    /// A refusal for want of memory, which is counted.
    pub(super) fn refused(&self, status: Status) -> Refusal {
        self.memory.note_refusal();
        status.into()
    }

    /// Whether calls that wait hold so much of the window that one that was admitted may not get on.
    fn is_crowded(&self) -> bool {
        self.receiving.load(Ordering::Relaxed) > 0
            && self.waiting_bytes.load(Ordering::Relaxed) > self.window_bytes / 2
    }
}

pub(super) fn out_of_budget() -> Status {
    Status::new(Code::Unavailable, "too many bytes in flight on this connection, try again")
}

fn too_large(declared: usize, capacity: usize) -> Status {
    let text = format!(
        "a message of {declared} bytes is larger than the memory limit leaves room for ({capacity} bytes)"
    );
    Status::new(Code::ResourceExhausted, text)
}
