//! The task behind a channel: resolves the endpoint and keeps a subchannel for what it finds.

use std::collections::HashMap;
use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::sync::CancellationToken;
use tracing::Instrument as _;

use super::dial::{Address, cause};
use super::load::Load;
use super::resolve::Resolve;
use super::subchannel::{Shared, Subchannel};
use crate::grpc::{Balancer, Endpoint, HostPort};

/// Most addresses of a name that are used; the rest is left out with a warning.
const ADDRESSES_MAX: usize = 256;

/// How long the name service may take.
const RESOLVE_TIMEOUT: Duration = Duration::from_secs(20);

/// When names are resolved again.
#[derive(Debug, Clone, Copy)]
pub struct ReResolution {
    /// Always after this long: new addresses of a name that works are found too.
    pub interval: Duration,
    /// When a connection has failed, but not sooner than this after the last time.
    pub interval_min: Duration,
}

impl Default for ReResolution {
    fn default() -> Self {
        Self { interval: Duration::from_secs(30), interval_min: Duration::from_secs(5) }
    }
}

/// Resolves and balances, until it is told to stop.
pub(crate) struct BalancerTask {
    pub(crate) endpoint: Endpoint,
    pub(crate) policy: Balancer,
    pub(crate) connections_per_address: usize,
    pub(crate) resolver: Arc<dyn Resolve>,
    pub(crate) re_resolution: ReResolution,
    pub(crate) shared: Arc<Shared>,
    /// No more connecting; connections close once their requests have ended.
    pub(crate) stop: CancellationToken,
}

/// What a subchannel stands for: each address several times over, under `pick_first` all of them together.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Place {
    All,
    One(Address, usize),
}

/// The running subchannels.
struct Members {
    by_place: HashMap<Place, Member>,
    tasks: JoinSet<()>,
    next_id: u64,
}

struct Member {
    addresses: watch::Sender<Arc<[Address]>>,
    retire: CancellationToken,
}

impl BalancerTask {
    /// Runs until `stop`, and then until the last request has ended.
    pub(crate) async fn run(self) {
        let mut members = Members { by_place: HashMap::new(), tasks: JoinSet::new(), next_id: 0 };
        tokio::select! {
            biased;
            () = self.stop.cancelled() => {}
            () = self.keep_resolved(&mut members) => {}
        }
        for member in members.by_place.values() {
            member.retire.cancel();
        }
        while members.tasks.join_next().await.is_some() {}
    }

    async fn keep_resolved(&self, members: &mut Members) {
        let target = match &self.endpoint {
            Endpoint::Unix(path) => {
                self.apply(vec![Address::Unix(path.as_path().into())], members);
                return std::future::pending().await;
            }
            Endpoint::Dns(target) | Endpoint::Passthrough(target) => target,
        };
        // An address needs no name service.
        if let Ok(ip) = target.host.parse::<IpAddr>() {
            self.apply(vec![Address::Tcp((ip, target.port).into())], members);
            return std::future::pending().await;
        }
        let mut delays = self.shared.backoff.start();
        let mut failing = false;
        loop {
            let asked = Instant::now();
            let next = match self.resolve(target).await {
                Ok(addresses) => {
                    delays.reset();
                    failing = false;
                    self.apply(addresses, members);
                    self.re_resolution.interval
                }
                Err(error) => {
                    let error = format!("name resolver error: lookup {}: {}", target.host, cause(&error));
                    if !std::mem::replace(&mut failing, true) {
                        tracing::warn!(%error, "cannot resolve the endpoint; will keep trying");
                    }
                    self.shared.roster.unresolved(error.into());
                    delays.next()
                }
            };
            tokio::select! {
                () = sleep_until(asked + next) => {}
                () = self.shared.resolve_now.notified() => {
                    sleep_until(asked + self.re_resolution.interval_min.min(next)).await;
                }
            }
        }
    }

    async fn resolve(&self, target: &HostPort) -> io::Result<Vec<Address>> {
        let mut addresses: Vec<Address> = timeout(RESOLVE_TIMEOUT, self.resolver.resolve(target))
            .await
            .map_err(|_| io::Error::other("i/o timeout"))??
            .into_iter()
            .map(Address::Tcp)
            .collect();
        // getaddrinfo may name an address once for each socket type.
        let mut seen = std::collections::HashSet::new();
        addresses.retain(|a| seen.insert(a.clone()));
        if addresses.is_empty() {
            return Err(io::Error::other("no addresses"));
        }
        if addresses.len() > ADDRESSES_MAX {
            tracing::warn!(found = addresses.len(), used = ADDRESSES_MAX, "endpoint has too many addresses");
            addresses.truncate(ADDRESSES_MAX);
        }
        Ok(addresses)
    }

    /// Brings the subchannels in line with `addresses`.
    fn apply(&self, addresses: Vec<Address>, members: &mut Members) {
        // Reaps those that have ended since.
        while members.tasks.try_join_next().is_some() {}
        // The dialer of a passthrough endpoint sees one destination.
        let one = self.policy == Balancer::PickFirst || matches!(self.endpoint, Endpoint::Passthrough(_));
        let wanted: HashMap<Place, Arc<[Address]>> = if one {
            HashMap::from([(Place::All, addresses.into())])
        } else {
            let places = addresses.into_iter().flat_map(|address| {
                let all: Arc<[Address]> = [address.clone()].into();
                (0..self.connections_per_address)
                    .map(move |index| (Place::One(address.clone(), index), Arc::clone(&all)))
            });
            places.collect()
        };
        members.by_place.retain(|place, member| {
            let stays = wanted.contains_key(place);
            if !stays {
                member.retire.cancel();
            }
            stays
        });
        for (place, addresses) in wanted {
            if let Some(member) = members.by_place.get(&place) {
                member.addresses.send_if_modified(|known| {
                    let changed = **known != *addresses;
                    *known = addresses;
                    changed
                });
            } else {
                let member = self.spawn(addresses, members);
                members.by_place.insert(place, member);
            }
        }
    }

    fn spawn(&self, addresses: Arc<[Address]>, members: &mut Members) -> Member {
        let (addresses, receiver) = watch::channel(addresses);
        let retire = CancellationToken::new();
        let subchannel = Subchannel {
            id: members.next_id,
            addresses: receiver,
            shared: Arc::clone(&self.shared),
            load: Arc::new(Load::new(Instant::now())),
            retire: retire.clone(),
        };
        members.next_id += 1;
        members.tasks.spawn(subchannel.run().in_current_span());
        Member { addresses, retire }
    }
}
