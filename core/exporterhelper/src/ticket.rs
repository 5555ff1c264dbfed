//! Who is responsible for a request, and who waits for its outcome.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use smallvec::{SmallVec, smallvec};
use spanbridge_component::ledger::Entry;
use spanbridge_component::{Batch, ConsumeError, Context, Payload, Position};
use tokio::sync::oneshot;

use crate::backoff::History;
use crate::memory::Held;
use crate::stored::StoredQueue;

/// One request that the exporter took. It lives until everything that carries a part of it is settled.
pub(crate) struct Ticket {
    state: Mutex<State>,
    keeper: Keeper,
    /// Its place in the queue, free again when the request is done with.
    _room: Option<Held>,
}

struct State {
    entry: Unsettled,
    error: Option<ConsumeError>,
    is_kept: bool,
}

/// Who has the request if the exporter does not deliver it.
pub(crate) enum Keeper {
    /// The caller, in whose own call everything happens.
    Caller,
    /// The caller, who waits for the answer.
    Waiting(oneshot::Sender<Result<(), ConsumeError>>),
    /// Nobody else: the caller was answered when the request was in memory.
    Memory,
    /// A log on disk.
    Stored(Arc<StoredQueue>, Position),
}

/// A share in a ticket.
pub(crate) struct Owner {
    pub(crate) ticket: Arc<Ticket>,
    /// How many of the items are the ticket's.
    pub(crate) items: usize,
}

/// Telemetry of one request, or of several that cannot be told apart any more, with the tickets it belongs to.
pub(crate) struct Part {
    pub(crate) payload: Payload,
    pub(crate) context: Context,
    pub(crate) owners: SmallVec<[Owner; 1]>,
    pub(crate) history: History,
}

/// What is sent as one message: usually one part, several if requests were put together.
pub(crate) struct Parcel {
    pub(crate) parts: SmallVec<[Part; 1]>,
    /// The context of a message that carries several parts. One that carries a single part has its context.
    pub(crate) shared: Context,
}

/// The entry in the books. What is left of it when it is dropped, since a caller went away or a task ended before its
/// time, is booked as what it is then.
pub(crate) struct Unsettled {
    entry: Entry,
    leftover: Leftover,
}

#[derive(Clone, Copy)]
enum Leftover {
    Returned,
    Kept,
    /// A mistake of ours, and counted as that.
    Lost,
}

// === impl Ticket ===

impl Ticket {
    pub(crate) fn new(entry: Entry, keeper: Keeper, room: Option<Held>) -> Arc<Self> {
        let leftover = match &keeper {
            Keeper::Caller | Keeper::Waiting(_) => Leftover::Returned,
            Keeper::Memory => Leftover::Lost,
            Keeper::Stored(..) => Leftover::Kept,
        };
        let entry = Unsettled { entry, leftover };
        let state = State { entry, error: None, is_kept: false };
        Arc::new(Self { state: Mutex::new(state), keeper, _room: room })
    }

    pub(crate) fn keeper(&self) -> &Keeper {
        &self.keeper
    }

    /// Whether the caller who waited has gone away.
    pub(crate) fn is_abandoned(&self) -> bool {
        matches!(&self.keeper, Keeper::Waiting(caller) if caller.is_closed())
    }

    fn delivered(&self, items: usize) {
        self.state().entry.entry.delivered(items);
    }

    /// `items` are given up; with a caller they go back to it.
    fn failed(&self, items: usize, reason: &'static str, error: &ConsumeError) {
        let mut state = self.state();
        match &self.keeper {
            Keeper::Caller | Keeper::Waiting(_) => state.entry.entry.returned(items),
            Keeper::Memory | Keeper::Stored(..) => state.entry.entry.dropped(items, reason),
        }
        // A caller that shares a part with others hears its error, too: nobody knows whose items it carries.
        state.error = ConsumeError::join_parts(state.error.take().into_iter().chain([error.clone()]));
    }

    /// The request stays on disk.
    fn kept(&self, items: usize) {
        let mut state = self.state();
        state.is_kept = true;
        state.entry.entry.kept(items);
        if let Keeper::Stored(queue, _) = &self.keeper {
            queue.stays(items);
        }
    }

    /// `items` go on to a successor of this exporter, who books them.
    fn handed_over(&self, items: usize) {
        self.state().entry.entry.returned(items);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The answer for the caller in whose call everything happened, once everything is settled.
    pub(crate) fn outcome(&self) -> Result<(), ConsumeError> {
        self.state().error.take().map_or(Ok(()), Err)
    }

    /// Everything is settled: answers who waits, or forgets the record.
    async fn finish(self) {
        let state = self.state.into_inner().unwrap_or_else(PoisonError::into_inner);
        match self.keeper {
            Keeper::Waiting(caller) => {
                // A caller that went away does not want to know.
                let _ = caller.send(state.error.map_or(Ok(()), Err));
            }
            Keeper::Stored(queue, position) if !state.is_kept => queue.remove(position).await,
            Keeper::Caller | Keeper::Memory | Keeper::Stored(..) => {}
        }
    }
}

// === impl Owner ===

impl Owner {
    /// Gives up the share; the last one finishes the ticket.
    async fn release(self) {
        if let Some(ticket) = Arc::into_inner(self.ticket) {
            ticket.finish().await;
        }
    }
}

// === impl Part ===

impl Part {
    /// A whole request.
    pub(crate) fn new(batch: Batch, ticket: Arc<Ticket>) -> Self {
        let owner = Owner { ticket, items: batch.items() };
        Self {
            payload: batch.payload,
            context: batch.context,
            owners: smallvec![owner],
            history: History::default(),
        }
    }

    pub(crate) fn items(&self) -> usize {
        self.payload.items()
    }

    /// Takes the shares for `items` of the items. Who shares a part of several requests shares each of its parts, since
    /// nobody knows whose items are where.
    fn take_owners(&mut self, mut items: usize) -> SmallVec<[Owner; 1]> {
        let take = |owner: &mut Owner| {
            let taken = owner.items.min(items);
            items -= taken;
            owner.items -= taken;
            Owner { ticket: owner.ticket.clone(), items: taken }
        };
        self.owners.iter_mut().map(take).collect()
    }

    /// The same, with this payload, which is cut off the part.
    pub(crate) fn cut(&mut self, payload: Payload) -> Self {
        let owners = self.take_owners(payload.items());
        Self { payload, context: self.context.clone(), owners, history: self.history }
    }

    /// Everything but what failed was delivered.
    fn keep_only(&mut self, failed: Payload) {
        let mut delivered = self.payload.items().saturating_sub(failed.items());
        for owner in &mut self.owners {
            let items = owner.items.min(delivered);
            delivered -= items;
            owner.items -= items;
            owner.ticket.delivered(items);
        }
        self.payload = failed;
    }

    fn into_batch(self) -> Batch {
        Batch { payload: self.payload, context: self.context }
    }

    /// A request that was not taken after all goes back to its caller.
    pub(crate) fn give_back(self) {
        self.owners.iter().for_each(|owner| owner.ticket.handed_over(owner.items));
    }

    async fn release(self) {
        for owner in self.owners {
            owner.release().await;
        }
    }
}

// === impl Parcel ===

impl Parcel {
    /// A message of one part.
    pub(crate) fn single(part: Part) -> Self {
        Self { parts: smallvec![part], shared: Context::default() }
    }

    pub(crate) fn items(&self) -> usize {
        self.parts.iter().map(Part::items).sum()
    }

    pub(crate) fn len(&self) -> usize {
        self.parts.iter().map(|part| part.payload.len()).sum()
    }

    /// Whether there is nothing to cut.
    pub(crate) fn is_one_item(&self) -> bool {
        self.parts.len() == 1 && self.items() <= 1
    }

    /// The context of the message.
    pub(crate) fn context(&self) -> &Context {
        if let [part] = self.parts.as_slice() { &part.context } else { &self.shared }
    }

    /// The telemetry of all parts, sharing their bytes; `None` without parts, and if they are not of one signal, which those
    /// of one lane are.
    pub(crate) fn payload(&self) -> Option<Payload> {
        let mut parts = self.parts.iter();
        let mut payload = parts.next()?.payload.clone();
        for part in parts {
            payload.append(part.payload.clone()).ok()?;
        }
        Some(payload)
    }

    /// The tickets, each as often as it has shares.
    pub(crate) fn tickets(&self) -> impl Iterator<Item = &Ticket> {
        self.parts.iter().flat_map(|part| part.owners.iter()).map(|owner| &*owner.ticket)
    }

    /// What earlier processes tried.
    pub(crate) fn history(&self) -> History {
        self.parts.iter().map(|part| part.history).min().unwrap_or_default()
    }

    /// Whether a caller waits for the outcome. All requests of one exporter are alike in this.
    pub(crate) fn has_callers(&self) -> bool {
        self.tickets().any(|ticket| matches!(ticket.keeper, Keeper::Caller | Keeper::Waiting(_)))
    }

    /// Whether it lies on disk.
    pub(crate) fn is_stored(&self) -> bool {
        self.tickets().any(|ticket| matches!(ticket.keeper, Keeper::Stored(..)))
    }

    /// Everything but `failed` was delivered; how many items that were.
    pub(crate) fn keep_only(&mut self, failed: Vec<Payload>) -> usize {
        let before = self.items();
        let mut parts = failed.into_iter();
        let Some(mut rest) = parts.next() else { return 0 };
        for part in parts {
            // What was not sent says nothing of what was delivered: all of it is sent again.
            if rest.append(part).is_err() {
                return 0;
            }
        }
        let mut together = std::mem::take(&mut self.parts).into_iter();
        let Some(mut part) = together.next() else { return 0 };
        for other in together {
            if let Err(payload) = part.payload.append(other.payload) {
                self.parts.push(Part { payload, ..other });
                continue;
            }
            part.owners.extend(other.owners);
            part.history = part.history.min(other.history);
            part.context = self.shared.clone();
        }
        part.keep_only(rest);
        self.parts.push(part);
        before.saturating_sub(self.items())
    }

    pub(crate) async fn delivered(self) {
        self.settle(Ticket::delivered).await;
    }

    pub(crate) async fn failed(self, reason: &'static str, error: &ConsumeError) {
        self.settle(|ticket, items| ticket.failed(items, reason, error)).await;
    }

    pub(crate) async fn kept(self) {
        self.settle(Ticket::kept).await;
    }

    async fn settle(self, settle: impl Fn(&Ticket, usize)) {
        for part in self.parts {
            for owner in &part.owners {
                settle(&owner.ticket, owner.items);
            }
            part.release().await;
        }
    }

    /// The parts as batches for a successor.
    pub(crate) fn hand_over(self) -> Vec<Batch> {
        let hand_over = |part: Part| {
            part.owners.iter().for_each(|owner| owner.ticket.handed_over(owner.items));
            part.into_batch()
        };
        self.parts.into_iter().map(hand_over).collect()
    }
}

// === impl Unsettled ===

impl Unsettled {
    /// Items of a caller who is not answered yet: they go back to it unless they are taken out.
    pub(crate) fn of_caller(entry: Entry) -> Self {
        Self { entry, leftover: Leftover::Returned }
    }

    /// Takes everything out.
    pub(crate) fn take(&mut self) -> Entry {
        self.entry.split_off(self.entry.items())
    }
}

impl Drop for Unsettled {
    fn drop(&mut self) {
        let items = self.entry.items();
        match self.leftover {
            Leftover::Returned => self.entry.returned(items),
            Leftover::Kept => self.entry.kept(items),
            Leftover::Lost => {}
        }
    }
}
