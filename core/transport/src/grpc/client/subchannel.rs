//! One subchannel: connects, connects again, and tells the roster.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use tokio::sync::{Notify, oneshot, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_util::sync::CancellationToken;
use tracing::Instrument as _;

use super::backoff::Backoff;
use super::connection::{Connection, ConnectionOptions, Handle};
use super::dial::{Address, cause, dial};
use super::load::Load;
use super::roster::{Roster, State};
use crate::tls::{HandshakeError, Opening};

/// An attempt, HTTP/2 handshake included: `MIN_CONNECT_TIMEOUT` of gRPC's "Connection Backoff Protocol".
const CONNECT_TIMEOUT: Duration = Duration::from_secs(20);

/// How long an address of several may keep the next one waiting (RFC 8305, section 5: 250 milliseconds).
const CONNECT_STAGGER: Duration = Duration::from_millis(250);

/// What subchannels of a channel have in common.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) roster: Arc<Roster>,
    pub(crate) options: ConnectionOptions,
    pub(crate) backoff: Backoff,
    /// Told when an address has failed: there may be better ones now.
    pub(crate) resolve_now: Notify,
    /// By how much the interval of keepalive pings is stretched: 1 until a server asks for calm.
    pub(crate) keepalive_stretch: AtomicU32,
}

/// The interval of keepalive pings is not stretched further than by this: 10 s become 43 min.
const KEEPALIVE_STRETCH_MAX: u32 = 256;

impl Shared {
    /// The options of the next connection.
    pub(super) fn options(&self) -> ConnectionOptions {
        let mut options = self.options.clone();
        if let Some(keepalive) = &mut options.keepalive {
            keepalive.time *= self.keepalive_stretch.load(Ordering::Relaxed);
        }
        options
    }

    /// gRFC A8: a client that is told `too_many_pings` doubles its interval.
    pub(super) fn ping_less_often(&self) {
        let double = |stretch: u32| (stretch < KEEPALIVE_STRETCH_MAX).then_some(stretch * 2);
        let _ = self.keepalive_stretch.fetch_update(Ordering::Relaxed, Ordering::Relaxed, double);
        let interval = self.options().keepalive.map(|keepalive| keepalive.time).unwrap_or_default();
        tracing::warn!(?interval, "the server finds the keepalive pings too many; pinging less often");
    }
}

/// Keeps one connection to the first of its addresses that answers.
pub(crate) struct Subchannel {
    pub(crate) id: u64,
    pub(crate) addresses: watch::Receiver<Arc<[Address]>>,
    pub(crate) shared: Arc<Shared>,
    /// How loaded its destination looks; remembered from one connection to the next.
    pub(crate) load: Arc<Load>,
    /// Ends it: no new requests, and those in flight finish.
    pub(crate) retire: CancellationToken,
}

/// How one connection, or the attempt at one, ended.
enum Outcome {
    /// The subchannel is to end.
    Retired,
    /// No connection came about.
    Refused(String),
    /// The connection goes to an address that is no longer wanted.
    Moved,
    /// A connection takes no more requests.
    Ended(String),
}

impl Subchannel {
    /// Runs until it is retired and the last request on its connections has ended.
    pub(crate) async fn run(mut self) {
        let mut connections = JoinSet::new();
        let mut delays = self.shared.backoff.start();
        let (mut failing, mut hurried) = (false, false);
        self.shared.roster.set(self.id, State::Connecting);
        loop {
            let (delay, started) = (delays.next(), Instant::now());
            let reason = match self.connection(&mut connections, &mut failing).await {
                Outcome::Retired => break,
                Outcome::Moved => {
                    delays.reset();
                    self.shared.roster.set(self.id, State::Connecting);
                    continue;
                }
                // gRPC connects again at once. A connection that ends sooner than an attempt is due gets that once; then it
                // counts as a failed attempt, so that a server that hangs up on everyone is not called without pause.
                Outcome::Ended(reason) if started.elapsed() >= delay || !hurried => {
                    tracing::debug!(%reason, "connection ended; connecting again");
                    hurried = started.elapsed() < delay;
                    delays.reset();
                    self.shared.roster.set(self.id, State::Connecting);
                    self.shared.resolve_now.notify_one();
                    continue;
                }
                Outcome::Refused(reason) => reason,
                Outcome::Ended(reason) => {
                    format!("connection error: desc = \"error reading from server: {reason}\"")
                }
            };
            if !std::mem::replace(&mut failing, true) {
                tracing::warn!(error = %reason, "cannot connect; will keep trying");
            }
            self.shared.roster.set(self.id, State::Failed(reason.into()));
            self.shared.resolve_now.notify_one();
            tokio::select! {
                biased;
                () = self.retire.cancelled() => break,
                () = sleep_until(started + delay) => {}
                Ok(()) = self.addresses.changed() => delays.reset(),
            }
        }
        self.shared.roster.remove(self.id);
        while connections.join_next().await.is_some() {}
    }

    /// Connects and waits until the connection takes no more requests; what is left of it goes on in `connections`.
    async fn connection(&mut self, connections: &mut JoinSet<()>, failing: &mut bool) -> Outcome {
        let retire = self.retire.clone();
        let (connection, handle) = tokio::select! {
            biased;
            () = retire.cancelled() => return Outcome::Retired,
            attempt = self.connect() => match attempt {
                Ok(made) => made,
                Err(error) => return Outcome::Refused(error),
            },
        };
        if std::mem::take(failing) {
            tracing::info!(address = %handle.address(), "connected again");
        }
        let (unusable, mut ended) = oneshot::channel();
        // Reaps those that have ended since.
        while connections.try_join_next().is_some() {}
        connections.spawn(connection.run(unusable).in_current_span());
        self.shared.roster.set(self.id, State::Ready(handle.clone()));
        loop {
            tokio::select! {
                biased;
                () = retire.cancelled() => {
                    handle.retire();
                    return Outcome::Retired;
                }
                reason = &mut ended => {
                    if handle.was_pinged_too_often() {
                        self.shared.ping_less_often();
                    }
                    return Outcome::Ended(reason.unwrap_or_else(|e| e.to_string()));
                }
                Ok(()) = self.addresses.changed() => {
                    if !self.addresses.borrow().contains(handle.address()) {
                        handle.retire();
                        return Outcome::Moved;
                    }
                }
            }
        }
    }

    /// The first connection that comes about; addresses are tried in order, each with a head start on the next.
    async fn connect(&mut self) -> Result<(Connection, Handle), String> {
        let addresses = Arc::clone(&self.addresses.borrow_and_update());
        let options = self.shared.options();
        let mut waiting = addresses.iter();
        let mut attempts = FuturesUnordered::new();
        let mut error = "no addresses".to_owned();
        loop {
            match waiting.next() {
                Some(address) => {
                    let load = Arc::clone(&self.load);
                    attempts.push(connect_to(address.clone(), &options, load));
                }
                None if attempts.is_empty() => return Err(error),
                None => {}
            }
            let more = waiting.len() > 0;
            tokio::select! {
                biased;
                Some(attempt) = attempts.next() => match attempt {
                    Ok(made) => return Ok(made),
                    Err(failure) => error = failure,
                },
                () = sleep(CONNECT_STAGGER), if more => {}
            }
        }
    }
}

/// As grpc-go words it.
fn unauthenticated(error: &HandshakeError) -> String {
    format!("connection error: desc = \"transport: authentication handshake failed: {error}\"")
}

async fn connect_to(
    address: Address,
    options: &ConnectionOptions,
    load: Arc<Load>,
) -> Result<(Connection, Handle), String> {
    let dialing = |address: &Address, cause: &str| {
        format!("connection error: desc = \"transport: Error while dialing: dial {address}: {cause}\"")
    };
    let connect = async {
        let user_timeout = options.keepalive.map(|k| k.timeout);
        let socket = dial(&address, user_timeout)
            .await
            .map_err(|e| dialing(&address, &format!("connect: {}", cause(&e))))?;
        let Some(tls) = &options.tls else {
            let (socket, heard) = Opening::new(socket);
            let made = Connection::establish(Box::new(socket), address.clone(), options, load).await;
            return made.map_err(|error| heard.plaintext_advice(error));
        };
        let socket = tls.connect(socket).await.map_err(|error| unauthenticated(&error))?;
        Connection::establish(Box::new(socket), address.clone(), options, load).await
    };
    timeout(CONNECT_TIMEOUT, connect).await.unwrap_or_else(|_| Err(dialing(&address, "i/o timeout")))
}
