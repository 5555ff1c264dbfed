//! What becomes of telemetry whose callers were answered at once.

use std::sync::Arc;

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
