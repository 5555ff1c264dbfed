//! From a request, or several put together, to the answer of the destination.

use std::collections::VecDeque;
use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::FutureExt as _;
use spanbridge_component::{Batch, Code, ConsumeError, Signal};
use tokio::select;
use tokio::time::{Instant, sleep, timeout_at};

use crate::apart::{REFUSALS_MAX, halves, within};
use crate::backoff::{Backoff, Trials};
use crate::dead_letter::DeadLetters;
use crate::limit::LearntLimit;
use crate::report::{Cause, Reporter};
use crate::stop::Stop;
use crate::telemetry::LaneMetrics;
use crate::ticket::{Keeper, Parcel};
use crate::{Refusal, SendError, Sender};

/// Why items are dropped, as the ledger counts them.
pub(crate) mod reason {
    pub(crate) const REFUSED: &str = "refused";
    pub(crate) const TOO_LARGE: &str = "too_large";
    pub(crate) const RETRIES_EXHAUSTED: &str = "retries_exhausted";
    pub(crate) const RETRIES_OFF: &str = "retries_disabled";
    pub(crate) const SHUTDOWN: &str = "shutdown";
}

/// The sending side of an exporter, which all its signals share.
pub(crate) struct Delivery {
    pub(crate) sender: Arc<dyn Sender>,
    /// `None` is no limit.
    pub(crate) timeout: Option<Duration>,
    /// `None` makes every failure final.
    pub(crate) backoff: Option<Backoff>,
    pub(crate) limit: LearntLimit,
    pub(crate) stop: Stop,
    pub(crate) reporter: Reporter,
    pub(crate) dead_letters: Option<DeadLetters>,
    /// Items that were not delivered because the exporter ended.
    pub(crate) undelivered: AtomicUsize,
    /// What goes to a successor.
    pub(crate) left_over: Mutex<Vec<Batch>>,
    /// What failed while the exporter ends and is tried again as long as there is time: see `ending.rs`.
    pub(crate) again: Mutex<Vec<(Signal, Parcel)>>,
}

/// Why a parcel was not delivered as it is.
enum Failure {
    /// For good.
    Final { error: ConsumeError, reason: &'static str },
    /// It will not be taken; as its refusal says, a part of it might be.
    Refused { error: ConsumeError, refusal: Refusal },
    /// The exporter ends.
    Interrupted(ConsumeError),
}

/// What the destination refused of one parcel, and of what it was taken apart into.
#[derive(Default)]
struct Refusals {
    /// Of messages that could be cut.
    count: u32,
    /// The smallest message that was too large although it held but one item, in bytes, and the answer to it.
    smallest_item: Option<(usize, ConsumeError)>,
}

/// How an attempt ended that brought no success.
enum Failed {
    Answered(SendError),
    CutOff,
}

impl Delivery {
    /// Sends a parcel, with retries and, if need be, in parts, and settles what becomes of each.
    pub(crate) async fn deliver(&self, signal: Signal, metrics: &LaneMetrics, mut parcel: Parcel) {
        parcel.parts.retain(|part| !part.owners.iter().all(|owner| owner.ticket.is_abandoned()));
        let _in_flight = metrics.in_flight();
        let mut trials = Trials::resume(parcel.history());
        let mut refusals = Refusals::default();
        // What a parcel is taken apart into, in order; the usual parcel is not.
        let mut work = VecDeque::new();
        let mut next = Some(parcel);
        while let Some(parcel) = next.take().or_else(|| work.pop_front()) {
            let mut parcel = match self.limit.get() {
                Some(limit) if parcel.len() > limit && parcel.items() > 1 => {
                    let mut parcels = within(parcel, limit).into_iter();
                    let Some(first) = parcels.next() else { continue };
                    parcels.rev().for_each(|parcel| work.push_front(parcel));
                    first
                }
                _ => parcel,
            };
            if let Some(error) = refusals.of_a_smaller_item(&parcel) {
                Box::pin(self.fail(signal, parcel, &error, reason::TOO_LARGE)).await;
                continue;
            }
            match self.send(signal, &mut parcel, &mut trials).await {
                Ok(()) => {
                    self.reporter.sent(signal, parcel.items());
                    parcel.delivered().await;
                }
                // What is rare is boxed: the future is allocated for every request.
                Err(Failure::Interrupted(error)) => Box::pin(self.interrupt(signal, parcel, error)).await,
                Err(Failure::Final { error, reason }) => {
                    Box::pin(self.fail(signal, parcel, &error, reason)).await;
                }
                Err(Failure::Refused { error, refusal }) => {
                    match self.take_apart(parcel, refusal, &error, &mut refusals) {
                        Ok(parcels) => parcels.into_iter().rev().for_each(|parcel| work.push_front(parcel)),
                        Err((parcel, reason)) => Box::pin(self.fail(signal, *parcel, &error, reason)).await,
                    }
                }
            }
        }
    }

    /// Sends one message until it is taken or given up.
    async fn send(&self, signal: Signal, parcel: &mut Parcel, trials: &mut Trials) -> Result<(), Failure> {
        loop {
            if self.stop.is_halted() {
                return Err(Failure::Interrupted(interrupted()));
            }
            let SendError { error, refusal, failed } = match self.attempt(parcel).await {
                Ok(()) => return Ok(()),
                Err(Failed::CutOff) => return Err(Failure::Interrupted(interrupted())),
                Err(Failed::Answered(answer)) => answer,
            };
            if let Some(failed) = failed {
                self.reporter.sent(signal, parcel.keep_only(failed));
            }
            let is_refused = match refusal {
                Refusal::TooLarge { .. } => true,
                // Who has the data still gets the answer; what is ours is not thrown away for our credentials.
                Refusal::Credentials => parcel.has_callers() || self.backoff.is_none(),
                Refusal::Contents | Refusal::Whole => error.is_permanent(),
            };
            if is_refused {
                let error = self.not_retryable(error);
                return Err(Failure::Refused { error, refusal });
            }
            self.reporter.not_working(&error);
            self.pause(parcel, trials, refusal, error).await?;
        }
    }

    /// Waits for the time of the next attempt.
    async fn pause(
        &self,
        parcel: &Parcel,
        trials: &mut Trials,
        refusal: Refusal,
        error: ConsumeError,
    ) -> Result<(), Failure> {
        if self.stop.is_stopping() {
            return Err(Failure::Interrupted(error.context("interrupted due to shutdown")));
        }
        let Some(backoff) = &self.backoff else {
            return Err(Failure::Final { error, reason: reason::RETRIES_OFF });
        };
        let caller = parcel.context().deadline.map(Instant::from_std);
        let pause = match trials.next(backoff, error.retry_after(), caller) {
            Ok(pause) => pause,
            Err(why) => {
                let error = error.context(why.text());
                return Err(Failure::Final { error, reason: reason::RETRIES_EXHAUSTED });
            }
        };
        self.reporter.will_retry(&error, refusal, pause);
        for ticket in parcel.tickets() {
            if let Keeper::Stored(queue, position) = ticket.keeper() {
                queue.note(*position, trials.history()).await;
            }
        }
        select! {
            () = sleep(pause) => Ok(()),
            // What is in memory only gets its next attempt at once; a caller still has its request.
            () = self.stop.stopping() => {
                if self.stop.is_halted() || parcel.has_callers() {
                    Err(Failure::Interrupted(error.context("interrupted due to shutdown")))
                } else {
                    Ok(())
                }
            }
        }
    }

    /// One attempt, within the timeout and the caller's deadline.
    async fn attempt(&self, parcel: &Parcel) -> Result<(), Failed> {
        // A parcel has parts as long as it is not settled, and all of one signal. What is not sent is never taken for sent.
        let Some(payload) = parcel.payload() else {
            let error = ConsumeError::permanent("the parts of a message are not of one signal");
            return Err(Failed::Answered(error.into()));
        };
        let mut context = parcel.context().clone();
        let own = self.timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        let deadline = [own, context.deadline.map(Instant::from_std)].into_iter().flatten().min();
        context.deadline = deadline.map(Instant::into_std);
        let batch = Batch { payload, context };
        let attempt = AssertUnwindSafe(self.sender.send(&batch)).catch_unwind();
        let in_time = async {
            match deadline {
                Some(deadline) => timeout_at(deadline, attempt).await,
                None => Ok(attempt.await),
            }
        };
        let answer = select! {
            biased; // an answer that is there counts
            answer = in_time => answer,
            () = self.stop.is_cut_off() => return Err(Failed::CutOff),
        };
        match answer {
            Ok(Ok(answer)) => answer.map_err(Failed::Answered),
            Ok(Err(_)) => Err(Failed::Answered(
                ConsumeError::permanent("the exporter failed on it: see the log").into(),
            )),
            Err(_) => Err(Failed::Answered(no_answer().into())),
        }
    }

    /// Parcels that may be taken where this one was not.
    ///
    /// A request whose caller waits is not cut between its items for what is in it: its caller gets the refusal and still
    /// has it. Where somebody upstream put requests together, it is cut between those.
    fn take_apart(
        &self,
        parcel: Parcel,
        refusal: Refusal,
        error: &ConsumeError,
        refusals: &mut Refusals,
    ) -> Result<Vec<Parcel>, (Box<Parcel>, &'static str)> {
        match refusal {
            Refusal::TooLarge { limit } => {
                if parcel.is_one_item() {
                    refusals.smallest_item = Some((parcel.len(), error.clone()));
                    return Err((Box::new(parcel), reason::TOO_LARGE));
                }
                if !refusals.may_go_on() {
                    return Err((Box::new(parcel), reason::TOO_LARGE));
                }
                let len = parcel.len();
                // A limit that the message keeps is measured otherwise; then half is as good as any.
                let limit = limit.filter(|limit| (1..len).contains(limit)).unwrap_or(len / 2).max(1);
                self.limit.learn(limit);
                Ok(within(parcel, limit))
            }
            Refusal::Contents if refusals.may_go_on() => {
                let by_items = !parcel.has_callers();
                halves(parcel, by_items).map(Vec::from).map_err(|parcel| (parcel, reason::REFUSED))
            }
            Refusal::Contents | Refusal::Credentials | Refusal::Whole => {
                Err((Box::new(parcel), reason::REFUSED))
            }
        }
    }

    /// Gives a parcel up.
    pub(crate) async fn fail(
        &self,
        signal: Signal,
        parcel: Parcel,
        error: &ConsumeError,
        reason: &'static str,
    ) {
        let items = parcel.items();
        let cause = if reason == reason::SHUTDOWN { Cause::Shutdown } else { Cause::Destination };
        if parcel.has_callers() {
            self.reporter.rejected(signal, items, error, cause);
        } else {
            self.reporter.dropped(signal, items, error, cause);
            // Once the time to drain is over there is none for writing, request by request, all that is left.
            let has_time = cause != Cause::Shutdown || !self.stop.is_halted();
            if let (Some(letters), Some(payload), true) = (&self.dead_letters, parcel.payload(), has_time) {
                letters.write(payload, reason, error).await;
            }
        }
        parcel.failed(reason, error).await;
    }

    /// What becomes of a parcel when the exporter ends before it is delivered.
    pub(crate) async fn interrupt(&self, signal: Signal, parcel: Parcel, error: ConsumeError) {
        let items = parcel.items();
        if parcel.is_stored() {
            parcel.kept().await;
        } else if parcel.has_callers() {
            self.undelivered.fetch_add(items, Ordering::Relaxed);
            self.fail(signal, parcel, &error, reason::SHUTDOWN).await;
        } else if self.stop.hands_over() {
            let batches = parcel.hand_over();
            self.left_over.lock().unwrap_or_else(PoisonError::into_inner).extend(batches);
        } else if self.backoff.is_some() && !self.stop.is_halted() {
            self.again.lock().unwrap_or_else(PoisonError::into_inner).push((signal, parcel));
        } else {
            self.undelivered.fetch_add(items, Ordering::Relaxed);
            self.fail(signal, parcel, &error, reason::SHUTDOWN).await;
        }
    }

    /// Puts the retry's words before a permanent error, where there are retries.
    fn not_retryable(&self, error: ConsumeError) -> ConsumeError {
        if self.backoff.is_some() && error.is_permanent() {
            error.context("not retryable error: Permanent error")
        } else {
            error
        }
    }
}

// === impl Refusals ===

impl Refusals {
    /// Counts one, and says whether to cut the message.
    fn may_go_on(&mut self) -> bool {
        self.count += 1;
        self.count <= REFUSALS_MAX
    }

    /// The answer to a single item of at most this size that was too large.
    fn of_a_smaller_item(&self, parcel: &Parcel) -> Option<ConsumeError> {
        let (bytes, error) = self.smallest_item.as_ref()?;
        (parcel.is_one_item() && parcel.len() >= *bytes).then(|| error.clone())
    }
}

pub(crate) fn interrupted() -> ConsumeError {
    ConsumeError::retryable(
        "interrupted due to shutdown: the exporter ends before the request could be delivered",
    )
}

fn no_answer() -> ConsumeError {
    ConsumeError::retryable("the destination did not answer in time").with_code(Code::DeadlineExceeded)
}
