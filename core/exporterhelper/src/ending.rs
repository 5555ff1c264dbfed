//! What a queue in memory does with the time it has to drain.
//!
//! The consumers give everything that waits one attempt, so that a request which the destination never takes does not hold
//! up the others. What failed then goes into rounds, with a pause before each, until it is delivered or the time is over:
//! a destination that comes back within the time loses nothing.

use std::sync::{Arc, PoisonError};
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream;
use spanbridge_component::Signal;
use tokio::select;
use tokio::time::sleep;

use crate::delivery::Delivery;
use crate::lane::Lane;
use crate::ticket::Parcel;

/// The pause before the first round; each is twice as long as the last.
const PAUSE_FIRST: Duration = Duration::from_millis(100);
/// The longest pause between two rounds.
const PAUSE_MAX: Duration = Duration::from_secs(2);

/// Sends what failed while the exporter was ending, round after round, until nothing is left. It ends by itself when the
/// exporter is cut off.
pub(crate) async fn try_again(delivery: &Delivery, lanes: &[Option<Arc<Lane>>; 3]) {
    let mut pause = PAUSE_FIRST;
    loop {
        let round = take(delivery);
        if round.is_empty() {
            return;
        }
        select! {
            () = sleep(pause) => {}
            () = delivery.stop.halted() => {}
        }
        pause = (pause * 2).min(PAUSE_MAX);
        let side_by_side = lanes.iter().flatten().map(|lane| lane.consumers()).max().unwrap_or(1);
        let attempts = stream::iter(round).map(|(signal, parcel)| attempt(delivery, lanes, signal, parcel));
        attempts.buffer_unordered(side_by_side).for_each(|()| std::future::ready(())).await;
    }
}

fn take(delivery: &Delivery) -> Vec<(Signal, Parcel)> {
    std::mem::take(&mut *delivery.again.lock().unwrap_or_else(PoisonError::into_inner))
}

/// One attempt. What fails again is in the next round.
async fn attempt(delivery: &Delivery, lanes: &[Option<Arc<Lane>>; 3], signal: Signal, parcel: Parcel) {
    if let Some(lane) = &lanes[signal.index()] {
        delivery.deliver(signal, &lane.metrics, parcel).await;
    }
}
