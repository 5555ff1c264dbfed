//! What is known about the connections of a channel, and which one a request takes.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::watch;
use tokio::time::Instant;

use super::connection::Handle;
use super::load::choose;
use crate::grpc::Balancer;

/// The state of one subchannel (gRPC "Connectivity Semantics").
#[derive(Debug)]
pub(crate) enum State {
    /// It is being connected for the first time, or again after it had been ready.
    Connecting,
    /// It takes requests.
    Ready(Handle),
    /// Connecting failed; it stays in this state through further attempts until one succeeds.
    Failed(Arc<str>),
}

/// What a request does now.
#[derive(Debug, Clone)]
pub(crate) enum Picker {
    /// Nothing is decided: wait.
    Connecting,
    /// Take one of these.
    Ready(Arc<ReadySet>),
    /// No destination can be reached: fail, unless it is to wait for ready.
    Failing(Arc<str>),
    /// The channel is closed.
    Closed,
}

/// The states of all subchannels; publishes what requests do.
#[derive(Debug)]
pub(crate) struct Roster {
    policy: Balancer,
    known: Mutex<Known>,
    picker: watch::Sender<Picker>,
}

#[derive(Debug, Default)]
struct Known {
    subchannels: BTreeMap<u64, State>,
    /// Why no address is known; `None` before the first answer and once there is one.
    unresolved: Option<Arc<str>>,
    last_failure: Option<Arc<str>>,
    closed: bool,
}

impl Roster {
    /// Nothing is known; requests are to be spread as `policy` says.
    pub(crate) fn new(policy: Balancer) -> Arc<Self> {
        Arc::new(Self { policy, known: Mutex::default(), picker: watch::Sender::new(Picker::Connecting) })
    }

    /// Where requests look.
    pub(crate) fn picker(&self) -> &watch::Sender<Picker> {
        &self.picker
    }

    /// Subchannel `id` is now in `state`.
    pub(crate) fn set(&self, id: u64, state: State) {
        self.update(|known| {
            if let State::Failed(error) = &state {
                known.last_failure = Some(Arc::clone(error));
            }
            known.subchannels.insert(id, state);
            known.unresolved = None;
        });
    }

    /// Subchannel `id` is gone.
    pub(crate) fn remove(&self, id: u64) {
        self.update(|known| drop(known.subchannels.remove(&id)));
    }

    /// No address could be found. Known ones stay in use.
    pub(crate) fn unresolved(&self, error: Arc<str>) {
        self.update(|known| known.unresolved = Some(error));
    }

    /// Why nothing could be reached, as far as is known.
    pub(crate) fn last_failure(&self) -> Option<Arc<str>> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.last_failure.clone().or_else(|| known.unresolved.clone())
    }

    /// No request is served from now on.
    pub(crate) fn close(&self) {
        self.update(|known| known.closed = true);
    }

    fn update(&self, change: impl FnOnce(&mut Known)) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        change(&mut known);
        // Published under the lock, so that pickers appear in the order of their causes.
        self.picker.send_replace(known.picker(self.policy));
    }
}

impl Known {
    fn picker(&self, policy: Balancer) -> Picker {
        if self.closed {
            return Picker::Closed;
        }
        let states = self.subchannels.values();
        let ready: Box<[Handle]> = states
            .clone()
            .filter_map(|s| if let State::Ready(h) = s { Some(h.clone()) } else { None })
            .collect();
        if !ready.is_empty() {
            return Picker::Ready(Arc::new(ReadySet::new(policy, ready)));
        }
        if states.clone().any(|s| matches!(s, State::Connecting)) {
            return Picker::Connecting;
        }
        let failure = if self.subchannels.is_empty() { &self.unresolved } else { &self.last_failure };
        failure.clone().map_or(Picker::Connecting, Picker::Failing)
    }
}

/// Connections that take requests.
#[derive(Debug)]
pub(crate) struct ReadySet {
    policy: Balancer,
    connections: Box<[Handle]>,
    next: AtomicUsize,
}

impl ReadySet {
    fn new(policy: Balancer, connections: Box<[Handle]>) -> Self {
        // A random start, so that many clients that start together do not all begin with the same server.
        let next = AtomicUsize::new(fastrand::usize(..connections.len().max(1)));
        Self { policy, connections, next }
    }

    /// How many there are.
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.connections.len()
    }

    /// The usable connection that the policy takes; `avoid` only if there is no other.
    pub(crate) fn pick(&self, avoid: Option<&Handle>) -> Option<Handle> {
        match self.policy {
            Balancer::PeakEwma => {
                let now = Instant::now();
                let is_other = |h: &Handle| !avoid.is_some_and(|avoid| h.is(avoid));
                let rested = self.cheaper(now, |h| is_other(h) && !h.rests(now));
                rested.or_else(|| self.cheaper(now, is_other)).or_else(|| self.cheaper(now, |_| true))
            }
            Balancer::RoundRobin | Balancer::PickFirst => self.next(avoid),
        }
    }

    fn cheaper(&self, now: Instant, is_candidate: impl Fn(&Handle) -> bool) -> Option<Handle> {
        let connections = &self.connections;
        let index = choose(
            connections.len(),
            |i| connections[i].is_usable() && is_candidate(&connections[i]),
            |i| connections[i].cost(now),
            |count| fastrand::usize(..count),
        )?;
        connections.get(index).cloned()
    }

    fn next(&self, avoid: Option<&Handle>) -> Option<Handle> {
        let count = self.connections.len();
        let start = self.next.fetch_add(1, Ordering::Relaxed);
        let mut fallback = None;
        for offset in 0..count {
            let connection = &self.connections[start.wrapping_add(offset) % count];
            if !connection.is_usable() {
                continue;
            }
            if avoid.is_some_and(|other| connection.is(other)) {
                fallback = Some(connection);
                continue;
            }
            return Some(connection.clone());
        }
        fallback.cloned()
    }
}
