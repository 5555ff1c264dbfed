//! What becomes of telemetry whose callers were answered at once.

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use batch_processor::{Acknowledge, Config, EXPORTS_MAX, ROOM_BYTES};
use spanbridge_component::{Batch, ConsumeError, Consumer, Ledger, Settings, Signal};
use spanbridge_testkit::{Failing, Gate, Sink};
use tokio::time::{Instant, timeout};

use crate::harness::{Fixture, config, millis, settle, tenant_context};

fn accepted() -> Config {
    Config { acknowledge: Acknowledge::Accepted, ..config() }
}

fn fixture(config: Config, next: Arc<dyn Consumer>) -> (Fixture, Ledger) {
    let settings: Settings = spanbridge_testkit::settings("batch");
    let ledger = settings.ledger.clone();
    (Fixture::with_settings(settings, config, next), ledger)
}

#[tokio::test(start_paused = true)]
async fn a_batch_that_is_refused_for_now_is_kept_until_it_is_taken() {
    let full = || ConsumeError::retryable("sending queue is full");
    let sink = Sink::new();
    let (mut batch, ledger) = fixture(
        accepted(),
        Failing::first([full(), full().with_retry_after(millis(3000)), full()], sink.clone()),
    );
    let start = Instant::now();
    batch.send(10).await.unwrap().unwrap();
    assert_eq!(ledger.balance(Signal::Traces).held, 10);
    sink.wait_for_items(10).await;
    assert_eq!(start.elapsed(), millis(50 + 3000 + 200));
    settle().await;
    let balance = ledger.balance(Signal::Traces);
    assert!(balance.is_balanced(), "{balance:?}");
    assert_eq!((balance.taken, balance.delivered, balance.held), (10, 10, 0));
}

#[tokio::test(start_paused = true)]
async fn once_a_batch_is_taken_again_the_others_are_tried_at_once() {
    let sink = Sink::new();
    let refusals = (0..16).map(|_| ConsumeError::retryable("sending queue is full"));
    let (mut batch, _) = fixture(accepted(), Failing::first(refusals, sink.clone()));
    // The first is refused 9 times, and in a pause of 5 s when the second is refused 7 times and then taken.
    batch.send(10).await.unwrap().unwrap();
    tokio::time::sleep(millis(50 + 100 + 200 + 400 + 800 + 1600 + 3200 + 5000 + 100)).await;
    batch.send(10).await.unwrap().unwrap();
    let start = Instant::now();
    sink.wait_for_items(10).await;
    assert!(start.elapsed() <= millis(5000), "{:?}", start.elapsed());
    let start = Instant::now();
    sink.wait_for_items(20).await;
    assert!(start.elapsed() <= millis(100), "{:?}", start.elapsed());
}

#[tokio::test(start_paused = true)]
async fn callers_wait_when_what_is_refused_fills_the_room() {
    let sink = Sink::new();
    let refusals = (0..40).map(|_| ConsumeError::retryable("sending queue is full"));
    let (mut batch, ledger) = fixture(accepted(), Failing::first(refusals, sink.clone()));
    let payload = batch.spans(20_000);
    let requests = 2 * ROOM_BYTES / payload.len();
    let callers: Vec<_> = (0..requests)
        .map(|_| {
            let (processor, payload) = (batch.processor.clone(), payload.clone());
            tokio::spawn(async move { processor.consume(Batch::new(payload)).await })
        })
        .collect();
    settle().await;
    let waiting = callers.iter().filter(|caller| !caller.is_finished()).count();
    assert!((requests / 3..requests).contains(&waiting), "{waiting} of {requests}");
    for caller in callers {
        caller.await.unwrap().unwrap();
    }
    batch.shut_down().await;
    assert_eq!(sink.items(), requests * 20_000);
    let balance = ledger.balance(Signal::Traces);
    assert!(balance.is_balanced() && balance.held == 0, "{balance:?}");
}

#[tokio::test(start_paused = true)]
async fn what_is_refused_for_good_is_booked_as_dropped() {
    let (mut batch, ledger) = fixture(accepted(), Failing::always(ConsumeError::permanent("too old")));
    batch.send(3).await.unwrap().unwrap();
    batch.shut_down_with_losses().await;
    let balance = ledger.balance(Signal::Traces);
    assert!(balance.is_balanced(), "{balance:?}");
    assert_eq!(balance.dropped.get("refused"), Some(&3));
}

#[tokio::test(start_paused = true)]
async fn what_is_left_at_the_end_of_the_shutdown_is_booked_and_reported() {
    let (mut batch, ledger) = fixture(accepted(), Gate::closed(Sink::new()));
    batch.send(3).await.unwrap().unwrap();
    batch.send(4).await.unwrap().unwrap();
    let error = batch.processor.shutdown(Instant::now() + millis(10)).await.unwrap_err();
    assert_eq!(error.undelivered_items, 7);
    let balance = ledger.balance(Signal::Traces);
    assert!(balance.is_balanced(), "{balance:?}");
    assert_eq!(balance.dropped.get("shutdown"), Some(&7));
}

#[tokio::test(start_paused = true)]
async fn callers_who_wait_keep_their_telemetry_and_nothing_is_booked() {
    let config = Config { acknowledge: Acknowledge::Delivered, ..config() };
    let (mut batch, ledger) = fixture(config, Failing::always(ConsumeError::retryable("down")));
    let start = Instant::now();
    assert!(batch.send(10).await.unwrap().is_err());
    assert_eq!(start.elapsed(), millis(0), "they are told at once");
    assert!(ledger.balance(Signal::Traces).is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_request_that_is_cut_is_booked_once() {
    let sink = Sink::new();
    let config = Config { send_batch_size: 5, send_batch_max_size: 7, ..accepted() };
    let (mut batch, ledger) = fixture(config, sink.clone());
    for items in [33, 2, 7, 8] {
        batch.send(items).await.unwrap().unwrap();
    }
    batch.shut_down().await;
    let refused = batch.send(3).await.unwrap();
    assert!(refused.is_err());
    let balance = ledger.balance(Signal::Traces);
    assert!(balance.is_balanced(), "{balance:?}");
    assert_eq!((balance.delivered, sink.items()), (50, 50));
}

/// Hangs for one tenant.
struct HangsFor(&'static str, Arc<Sink>);

#[async_trait]
impl Consumer for HangsFor {
    async fn consume(&self, batch: Batch) -> Result<(), ConsumeError> {
        if batch.context.metadata.values("x-tenant").iter().any(|tenant| tenant.as_str() == self.0) {
            std::future::pending::<()>().await;
        }
        self.1.consume(batch).await
    }
}

#[tokio::test(start_paused = true)]
async fn a_tenant_whose_destination_hangs_leaves_room_to_the_others() {
    let sink = Sink::new();
    let config = Config { metadata_keys: vec!["X-Tenant".into()], ..accepted() };
    let (mut batch, _) = fixture(config, Arc::new(HangsFor("slow", sink.clone())));
    let payload = batch.spans(20_000);
    let requests = 2 * ROOM_BYTES / payload.len();
    let hanging: Vec<_> = (0..requests)
        .map(|_| {
            let (processor, payload) = (batch.processor.clone(), payload.clone());
            let context = tenant_context("slow");
            tokio::spawn(async move { processor.consume(Batch { payload, context }).await })
        })
        .collect();
    settle().await;
    assert!(hanging.iter().any(|caller| !caller.is_finished()), "the slow one has to wait");
    for _ in 0..20 {
        timeout(millis(1), batch.send_as("fast", 10))
            .await
            .expect("nobody waits for the slow one")
            .unwrap()
            .unwrap();
    }
    sink.wait_for_items(200).await;
    hanging.iter().for_each(tokio::task::JoinHandle::abort);
}

#[tokio::test(start_paused = true)]
async fn what_a_caller_who_leaves_before_its_answer_had_not_handed_on_is_its_own_again() {
    let gate = Gate::closed(Sink::new());
    let (mut batch, ledger) = fixture(Config { send_batch_max_size: 10, ..accepted() }, gate.clone());
    let caller = batch.send(10 * (EXPORTS_MAX + 3));
    settle().await;
    assert_eq!(gate.waiting(), EXPORTS_MAX);
    caller.abort();
    settle().await;
    gate.open();
    batch.shut_down().await;
    let balance = ledger.balance(Signal::Traces);
    assert!(balance.is_balanced() && balance.held == 0, "{balance:?}");
    assert!(balance.returned > 0, "{balance:?}");
}

#[tokio::test(start_paused = true)]
async fn what_was_accepted_and_is_not_taken_goes_to_a_successor() {
    let (sink, gate) = (Sink::new(), Gate::closed(Sink::new()));
    let full = || ConsumeError::retryable("sending queue is full");
    for (next, at_once) in [
        // Refused, and in the pause before the next try.
        (Failing::always(full()) as Arc<dyn Consumer>, true),
        // The same, and the second one without an answer.
        (Failing::first([full()], gate.clone()), false),
        (gate.clone(), false),
    ] {
        let (mut batch, ledger) = fixture(accepted(), next);
        // One on its way, and one that is still open.
        batch.send(10).await.unwrap().unwrap();
        settle().await;
        batch.send(4).await.unwrap().unwrap();
        let start = Instant::now();
        let left = batch.processor.retire(start + millis(5000)).await.unwrap();
        assert_eq!(start.elapsed(), if at_once { millis(0) } else { millis(5000) });
        let balance = ledger.balance(Signal::Traces);
        assert!(balance.is_balanced(), "{balance:?}");
        let items: usize = left.iter().map(Batch::items).sum();
        assert_eq!((balance.returned, items as u64 + balance.delivered), (items as u64, 14));
        for batch in left {
            sink.consume(batch).await.unwrap();
        }
    }
    assert!(sink.items() >= 28);
}

#[tokio::test(start_paused = true)]
async fn nothing_is_left_to_a_successor_of_what_can_be_handed_on_or_belongs_to_callers() {
    let sink = Sink::new();
    let (mut batch, _) = fixture(accepted(), sink.clone());
    batch.send(4).await.unwrap().unwrap();
    assert!(batch.processor.retire(Instant::now() + millis(5000)).await.unwrap().is_empty());
    assert_eq!(sink.items(), 4);
    let config = Config { acknowledge: Acknowledge::Delivered, ..config() };
    let (mut batch, _) = fixture(config, Gate::closed(Sink::new()));
    let caller = batch.send(4);
    settle().await;
    assert!(batch.processor.retire(Instant::now() + millis(5000)).await.unwrap().is_empty());
    assert!(caller.await.unwrap().is_err());
}

#[tokio::test(start_paused = true)]
async fn what_a_predecessor_held_comes_before_what_is_new() {
    let gate = Gate::closed(Sink::new());
    let (mut batch, _) = fixture(accepted(), gate.clone());
    let payload = batch.spans(20_000);
    for _ in 0..ROOM_BYTES / payload.len() {
        batch.processor.consume(Batch::new(payload.clone())).await.unwrap();
    }
    let done = Arc::new(Mutex::new(Vec::new()));
    for name in ["held 1", "new", "held 2"] {
        let (processor, payload, done) = (batch.processor.clone(), payload.clone(), done.clone());
        tokio::spawn(async move {
            let batch = Batch::new(payload);
            let answer =
                if name == "new" { processor.consume(batch).await } else { processor.inherit(batch).await };
            answer.unwrap();
            done.lock().unwrap().push(name);
        });
        settle().await;
    }
    assert!(done.lock().unwrap().is_empty());
    gate.open();
    tokio::time::sleep(millis(1000)).await;
    assert_eq!(*done.lock().unwrap(), ["held 1", "held 2", "new"]);
}
