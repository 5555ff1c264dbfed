//! What former components held, on its way to those that came in their place.

use std::collections::BTreeMap;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::stream::{self, StreamExt as _};
use spanbridge_component::{Batch, ConsumeError, Consumer, Ledger, ShutdownError, ledger};
use tokio::select;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::Key;
use super::gate::Gates;
use super::layout::Layout;
use super::lifecycle::{Failure, failure_of};
use crate::books::Books;

/// The reason in the books for what nobody took.
const NOT_HANDED_OVER: &str = "not_handed_over";
/// How long to wait before one that refused is asked again.
const RETRY: Duration = Duration::from_millis(50);
/// How many batches are offered to one component at a time: it may answer only when its destination has.
const OFFERS_MAX: usize = 10;

/// Those that came in the place of others, and get what these held.
///
/// That takes as long as it takes: what is held was acknowledged, and the destination may be down for hours. Only the end
/// of the process and of the component's name end it. A later reload that replaces an heir waits for nothing: what is
/// still held goes to the next one.
pub(super) struct Heirs {
    by_name: BTreeMap<Key, Heir>,
    /// One for each heir. They say what it did not take.
    tasks: JoinSet<Option<Failure>>,
    books: Books,
    /// When to give up; `None` while the process runs.
    end: watch::Sender<Option<Instant>>,
}

/// The one of a name, whichever component that is now.
#[derive(Clone)]
pub(super) struct Heir {
    place: Arc<Place>,
    waiting: mpsc::UnboundedSender<Held>,
    ledger: Ledger,
    left: Arc<watch::Sender<usize>>,
}

type Place = watch::Sender<Whereabouts>;

/// Where an heir is.
#[derive(Clone)]
enum Whereabouts {
    At(Arc<dyn Consumer>),
    /// Its component does not run yet, or is about to go unless the reload turns back.
    Unknown,
    /// Its name is no more.
    Gone,
}

/// A batch of which no component keeps the books until it is handed over.
struct Held {
    batch: Batch,
    entry: ledger::Entry,
    /// How many batches are held for the same heir.
    left: Arc<watch::Sender<usize>>,
}

/// Why an heir did not take something.
struct Refused {
    items: usize,
    reason: String,
}

// === impl Heirs ===

impl Heirs {
    /// Nobody.
    pub(super) fn new(books: Books) -> Self {
        let (by_name, tasks, end) = (BTreeMap::new(), JoinSet::new(), watch::Sender::new(None));
        Self { by_name, tasks, books, end }
    }

    /// The heir of this name, which is at `door`, or does not run yet.
    pub(super) fn enter(&mut self, key: &Key, door: Option<Arc<dyn Consumer>>) -> Heir {
        let whereabouts = door.map_or(Whereabouts::Unknown, Whereabouts::At);
        if let Some(heir) = self.by_name.get(key) {
            heir.point(whereabouts);
            return heir.clone();
        }
        let (waiting, batches) = mpsc::unbounded_channel();
        let heir = Heir {
            place: Arc::new(watch::Sender::new(whereabouts)),
            waiting,
            ledger: self.books.component(key),
            left: Arc::new(watch::Sender::new(0)),
        };
        self.tasks.spawn(hand_over(key.clone(), heir.place.clone(), batches, self.end.subscribe()));
        self.by_name.insert(key.clone(), heir.clone());
        heir
    }

    /// Sends everybody's heritage where `layout` says. What is for a component behind a gate waits here: a call that had
    /// passed it would have to be made again.
    pub(super) fn point(&self, layout: &Layout, gates: &Gates) {
        let door = |key: &Key| match gates.get(key) {
            Some(_) => None,
            None => layout.nodes.get(key)?.door(),
        };
        for (key, heir) in &self.by_name {
            heir.point(door(key).map_or(Whereabouts::Unknown, Whereabouts::At));
        }
    }

    /// Whether nothing is held.
    pub(super) fn is_idle(&self) -> bool {
        self.by_name.values().all(|heir| *heir.left.borrow() == 0)
    }

    /// Whether `next` has no component for one of them.
    pub(super) fn any_leaves(&self, next: &Layout) -> bool {
        self.by_name.keys().any(|key| !next.nodes.contains_key(key))
    }

    /// Waits, but not longer than `limit`, until those have everything that `next` has no component for.
    pub(super) async fn await_leaving(&self, next: &Layout, limit: Duration) {
        let leaving = self.by_name.iter().filter(|(key, _)| !next.nodes.contains_key(*key));
        let all = async {
            for (_, heir) in leaving {
                let _ = heir.left.subscribe().wait_for(|left| *left == 0).await;
            }
        };
        let _ = timeout(limit, all).await;
    }

    /// Gives up what is still held for names that `layout` does not have.
    pub(super) fn forget(&mut self, layout: &Layout) {
        self.by_name.retain(|key, heir| {
            let stays = layout.nodes.contains_key(key);
            if !stays {
                heir.point(Whereabouts::Gone);
            }
            stays
        });
    }

    /// Hands over until `deadline`; what is left then is dropped. Says what was dropped since the process began.
    pub(super) async fn finish(&mut self, deadline: Instant) -> Vec<Failure> {
        self.end.send_replace(Some(deadline));
        self.by_name.clear();
        let mut failures = Vec::new();
        while let Some(ended) = self.tasks.join_next().await {
            failures.extend(ended.ok().flatten());
        }
        failures
    }
}

// === impl Heir ===

impl Heir {
    /// Hands over, after everything that is held already, and does not wait for it.
    pub(super) fn leave(&self, held: Vec<Batch>) {
        for mut batch in held {
            // The callers of what is handed over have gone: their deadlines mean nothing any more.
            batch.context.deadline = None;
            let entry = self.ledger.take(batch.signal(), batch.items());
            self.left.send_modify(|left| *left += 1);
            // The task ends after the last heir of the name; if it was aborted, the batch is booked as dropped.
            let _ = self.waiting.send(Held { batch, entry, left: self.left.clone() });
        }
    }

    /// Calls end that went to another place.
    fn point(&self, to: Whereabouts) {
        self.place.send_if_modified(|place| {
            let is_same = matches!((&*place, &to), (Whereabouts::At(one), Whereabouts::At(other)) if Arc::ptr_eq(one, other));
            *place = to;
            !is_same
        });
    }
}

/// Hands over what comes, in order, until nothing more can come.
async fn hand_over(
    key: Key,
    place: Arc<Place>,
    mut batches: mpsc::UnboundedReceiver<Held>,
    end: watch::Receiver<Option<Instant>>,
) -> Option<Failure> {
    let offers = stream::poll_fn(move |context| batches.poll_recv(context))
        .map(|held| held.offer(&place, end.clone()))
        .buffer_unordered(OFFERS_MAX);
    let mut offers = pin!(offers);
    let mut refused: Option<Refused> = None;
    while let Some(answer) = offers.next().await {
        let Err(Refused { items, reason }) = answer else { continue };
        let before = refused.as_ref().map_or(0, |refused| refused.items);
        if before == 0 {
            tracing::error!(component = %key, reason, "What its predecessor held is not taken and is dropped");
        }
        refused = Some(Refused { items: before + items, reason });
    }
    refused.map(|Refused { items: undelivered_items, reason }| {
        let message = format!("what it held could not be given to its successor: {reason}");
        failure_of(&key, ShutdownError { message, undelivered_items })
    })
}

// === impl Held ===

impl Held {
    /// Offers it to whoever is in the place, until it is taken, or can not be, or the end has come.
    async fn offer(mut self, place: &Place, end: watch::Receiver<Option<Instant>>) -> Result<(), Refused> {
        let items = self.batch.items();
        let mut place = place.subscribe();
        let mut ended = pin!(has_come(end));
        let refused = |reason: String| Err(Refused { items, reason });
        loop {
            let whereabouts = place.borrow_and_update().clone();
            let answer = select! {
                biased; // an answer that is there counts
                answer = self.offer_at(whereabouts) => answer,
                // Whoever was there may wait for this call to end.
                _ = place.changed() => continue,
                () = &mut ended => return refused("it did not answer in time".to_owned()),
            };
            let Err(error) = answer else {
                self.entry.returned(items);
                return Ok(());
            };
            if error.is_permanent() {
                return refused(error.to_string());
            }
            select! {
                () = sleep(pause_after(&error)) => {}
                _ = place.changed() => {}
                () = &mut ended => return refused(error.to_string()),
            }
        }
    }

    async fn offer_at(&self, whereabouts: Whereabouts) -> Result<(), ConsumeError> {
        match whereabouts {
            Whereabouts::At(heir) => heir.inherit(self.batch.clone()).await,
            Whereabouts::Unknown => std::future::pending().await,
            Whereabouts::Gone => Err(ConsumeError::permanent("nothing is in its place")),
        }
    }
}

/// Whatever happens, what was not handed over is booked.
impl Drop for Held {
    fn drop(&mut self) {
        self.entry.dropped(usize::MAX, NOT_HANDED_OVER);
        self.left.send_modify(|left| *left -= 1);
    }
}

fn pause_after(error: &ConsumeError) -> Duration {
    error.retry_after().map_or(RETRY, |wait| wait.max(RETRY))
}

/// Completes at the end that is set, once one is.
async fn has_come(mut end: watch::Receiver<Option<Instant>>) {
    let deadline = end.wait_for(Option::is_some).await.ok().and_then(|end| *end);
    if let Some(deadline) = deadline {
        sleep_until(deadline).await;
    }
}
