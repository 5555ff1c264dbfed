//! The contract checker: what was acknowledged is what was delivered.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use fastrand::Rng;
use spanbridge_component::{Batch, Consumer, Processor, Signal};
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};

use crate::settings::{block_on_paused, host, settings};
use crate::{Flaky, Payloads, Rates, Sink, item_ids};

/// What a processor promises about requests that downstream refused at first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Delivery {
    /// A request is delivered or refused as a whole: after retries each acknowledged item is there exactly once.
    Exact,
    /// A request may be delivered in parts, so that a retry doubles the parts that had arrived. Requests that were
    /// never refused are there exactly once all the same.
    AtLeastOnce,
}

/// Feeds a component from several clients, behind it a consumer that fails at random, and compares what the clients
/// were told with what arrived.
///
/// The clients behave as OTLP clients do: after a retryable error they send the same request again, after a permanent
/// one they give it up. Some go away before they have an answer.
#[derive(Debug, Clone, Copy)]
pub struct Contract {
    /// Decides everything that is random.
    pub seed: u64,
    /// The signal fed.
    pub signal: Signal,
    /// Clients at the same time.
    pub clients: usize,
    /// Requests of each client, one after the other.
    pub requests: usize,
    /// Items of a request, at most.
    pub items_max: usize,
    /// How often downstream fails.
    pub rates: Rates,
    /// Share of requests whose client goes away after a random time of up to 20 ms.
    pub impatient: f64,
    /// What the processor promises.
    pub delivery: Delivery,
}

impl Default for Contract {
    fn default() -> Self {
        Self {
            seed: 0,
            signal: Signal::Traces,
            clients: 8,
            requests: 25,
            items_max: 10,
            rates: Rates { permanent: 0.1, retryable: 0.2 },
            impatient: 0.05,
            delivery: Delivery::Exact,
        }
    }
}

/// Attempts of a client at one request. Never reached at the rates in use; it bounds a test that goes wrong.
const ATTEMPTS_MAX: usize = 1000;
/// Longest patience of an impatient client, in milliseconds.
const PATIENCE_MAX_MILLIS: u64 = 20;
/// How long the processor has to drain.
const SHUTDOWN_MAX: Duration = Duration::from_secs(60);

/// What the clients know about an item.
#[derive(Debug, Clone, Copy, Default)]
struct Fate {
    acknowledged: bool,
    refused_before: bool,
    abandoned: bool,
}

type Fates = Arc<Mutex<BTreeMap<u64, Fate>>>;

impl Contract {
    /// Runs the check against the processor that `make` puts in front of a consumer.
    ///
    /// The processor is started and shut down by the check. Runs under paused time: thousands of requests take
    /// milliseconds, and are the same for the same seed.
    pub fn check(self, make: impl FnOnce(Arc<dyn Consumer>) -> Arc<dyn Processor>) {
        block_on_paused(async {
            let (next, sink) = self.downstream();
            let processor = make(next);
            let (host, _) = host(&settings("under_test"));
            processor.start(host).await.unwrap_or_else(|error| panic!("cannot start: {error}"));
            let stop = async {
                let stopped = processor.shutdown(Instant::now() + SHUTDOWN_MAX).await;
                stopped.unwrap_or_else(|error| panic!("shutdown: {error}"));
            };
            self.run(processor.clone(), &sink, stop).await;
        });
    }

    /// What to put behind something that [`Contract::run`] checks, and what it delivers to.
    pub fn downstream(self) -> (Arc<dyn Consumer>, Arc<Sink>) {
        let sink = Sink::new();
        (Flaky::new(self.seed, self.rates, sink.clone()), sink)
    }

    /// Runs the check against anything: a receiver with its real client, an exporter with a real server.
    ///
    /// `entry` is where clients hand over their requests; for a receiver it is a client that sends them over the network
    /// and turns the answer into the error it stands for. Downstream is [`Contract::downstream`]; for an exporter it is
    /// put behind the server. `stop` ends what is under test, which then holds nothing any more. Do not pause time where
    /// real sockets are used.
    pub async fn run(self, entry: Arc<dyn Consumer>, sink: &Sink, stop: impl Future<Output = ()>) {
        let fates = self.run_clients(&entry).await;
        stop.await;
        self.judge(&fates, sink);
    }

    async fn run_clients(self, entry: &Arc<dyn Consumer>) -> BTreeMap<u64, Fate> {
        let payloads = Arc::new(Mutex::new(Payloads::small()));
        let fates = Fates::default();
        let mut clients = JoinSet::new();
        for client in 0..self.clients {
            let rng = Rng::with_seed(self.seed.wrapping_mul(1_000_003).wrapping_add(client as u64));
            clients.spawn(self.client(rng, entry.clone(), payloads.clone(), fates.clone()));
        }
        while let Some(ended) = clients.join_next().await {
            ended.expect("a client panicked");
        }
        std::mem::take(&mut *lock(&fates))
    }

    async fn client(
        self,
        mut rng: Rng,
        entry: Arc<dyn Consumer>,
        payloads: Arc<Mutex<Payloads>>,
        fates: Fates,
    ) {
        for _ in 0..self.requests {
            let items = rng.usize(1..=self.items_max);
            let payload = lock(&payloads).request(self.signal, items);
            let ids = item_ids(&payload);
            let batch = Batch::new(payload);
            let patience =
                (rng.f64() < self.impatient).then(|| Duration::from_millis(rng.u64(0..=PATIENCE_MAX_MILLIS)));
            let fate = deliver(&*entry, &batch, patience).await;
            lock(&fates).extend(ids.into_iter().map(|id| (id, fate)));
            if rng.bool() {
                tokio::time::sleep(Duration::from_millis(rng.u64(0..5))).await;
            }
        }
    }

    fn judge(self, fates: &BTreeMap<u64, Fate>, sink: &Sink) {
        let delivered = sink.item_counts();
        let invented: Vec<_> = delivered.keys().filter(|id| !fates.contains_key(id)).collect();
        assert!(invented.is_empty(), "seed {}: items that nobody sent: {invented:?}", self.seed);
        let mut wrong = BTreeMap::<&str, BTreeSet<u64>>::new();
        for (id, fate) in fates {
            let times = delivered.get(id).copied().unwrap_or(0);
            if let Some(fault) = self.fault(*fate, times) {
                wrong.entry(fault).or_default().insert(*id);
            }
        }
        assert!(wrong.is_empty(), "seed {}: {wrong:?}", self.seed);
        let acknowledged = fates.values().filter(|fate| fate.acknowledged).count();
        assert!(acknowledged > 0, "seed {}: nothing at all was acknowledged", self.seed);
    }

    fn fault(self, fate: Fate, times: usize) -> Option<&'static str> {
        let exact = self.delivery == Delivery::Exact;
        match (fate.acknowledged, times) {
            (true, 0) => Some("acknowledged and lost"),
            (_, 2..) if exact || !fate.refused_before => Some("delivered twice"),
            (false, 1..) if exact && !fate.abandoned => Some("refused and yet delivered"),
            _ => None,
        }
    }
}

async fn deliver(entry: &dyn Consumer, batch: &Batch, patience: Option<Duration>) -> Fate {
    let mut fate = Fate::default();
    let attempts = async {
        for _ in 0..ATTEMPTS_MAX {
            match entry.consume(batch.clone()).await {
                Ok(()) => {
                    fate.acknowledged = true;
                    return;
                }
                Err(error) => {
                    fate.refused_before = true;
                    if error.is_permanent() {
                        return;
                    }
                }
            }
        }
        panic!("{ATTEMPTS_MAX} attempts at one request did not do");
    };
    match patience {
        None => attempts.await,
        Some(patience) => {
            let answered = timeout(patience, attempts).await.is_ok();
            fate.abandoned = !answered;
        }
    }
    fate
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use async_trait::async_trait;
    use spanbridge_component::{Component, ConsumeError};

    use super::*;

    /// What a faulty processor does to every tenth batch.
    #[derive(Clone, Copy, PartialEq)]
    enum Fault {
        None,
        Loses,
        Doubles,
        SwallowsErrors,
        Invents,
    }

    struct Faulty {
        fault: Fault,
        calls: AtomicUsize,
        next: Arc<dyn Consumer>,
    }

    impl Component for Faulty {}
    impl Processor for Faulty {}

    #[async_trait]
    impl Consumer for Faulty {
        async fn consume(&self, batch: Batch) -> Result<(), ConsumeError> {
            let unlucky = self.calls.fetch_add(1, Ordering::Relaxed) % 10 == 9;
            match self.fault {
                Fault::Loses if unlucky => Ok(()),
                Fault::Doubles if unlucky => {
                    let _ = self.next.consume(batch.clone()).await;
                    self.next.consume(batch).await
                }
                Fault::SwallowsErrors => self.next.consume(batch).await.or(Ok(())),
                Fault::Invents if unlucky => {
                    let mut foreign = Payloads::small();
                    foreign.skip(1_000_000);
                    self.next.consume(Batch::new(foreign.request(batch.signal(), 1))).await?;
                    self.next.consume(batch).await
                }
                _ => self.next.consume(batch).await,
            }
        }
    }

    fn check(fault: Fault, delivery: Delivery) {
        let contract = Contract { delivery, ..Contract::default() };
        contract.check(|next| Arc::new(Faulty { fault, calls: AtomicUsize::new(0), next }));
    }

    #[test]
    fn a_processor_that_hands_on_passes() {
        check(Fault::None, Delivery::Exact);
        check(Fault::None, Delivery::AtLeastOnce);
    }

    #[test]
    #[should_panic(expected = "acknowledged and lost")]
    fn a_processor_that_loses_is_caught() {
        check(Fault::Loses, Delivery::AtLeastOnce);
    }

    #[test]
    #[should_panic(expected = "delivered twice")]
    fn a_processor_that_doubles_is_caught() {
        check(Fault::Doubles, Delivery::AtLeastOnce);
    }

    #[test]
    #[should_panic(expected = "acknowledged and lost")]
    fn a_processor_that_swallows_errors_is_caught() {
        check(Fault::SwallowsErrors, Delivery::AtLeastOnce);
    }

    #[test]
    #[should_panic(expected = "items that nobody sent")]
    fn a_processor_that_invents_is_caught() {
        check(Fault::Invents, Delivery::AtLeastOnce);
    }
}
