//! What callers are told, and when.

use std::time::Duration;

use batch_processor::{Acknowledge, Config};
use spanbridge_component::{Acknowledges, Batch, Code, ConsumeError, Context, Signal};
use spanbridge_testkit::{Failing, Gate, Outcome, Sink, Slow};
use tokio::time::{Instant, timeout};

use crate::harness::{Fixture, config, millis, settle};

#[tokio::test(start_paused = true)]
async fn callers_wait_until_their_batch_is_delivered() {
    let sink = Sink::new();
    let gate = Gate::closed(sink.clone());
    let mut batch = Fixture::new(config(), gate.clone());
    let caller = batch.send(10);
    gate.wait_for_waiting(1).await;
    settle().await;
    assert!(!caller.is_finished());
    gate.open();
    assert_eq!(caller.await.unwrap(), Ok(()));
    assert_eq!(sink.items(), 10);
}

#[tokio::test(start_paused = true)]
async fn callers_go_on_at_once_where_a_queue_takes_over() {
    let sink = Sink::acknowledging(Acknowledges::Accepted);
    let mut batch = Fixture::new(config(), sink.clone());
    assert_eq!(batch.processor.capabilities().acknowledges, Acknowledges::Accepted);
    let start = Instant::now();
    assert_eq!(batch.send(3).await.unwrap(), Ok(()));
    assert_eq!((start.elapsed(), sink.items()), (millis(0), 0));
    sink.wait_for_items(3).await;
    assert_eq!(start.elapsed(), millis(200));
}

#[tokio::test(start_paused = true)]
async fn the_key_overrides_the_rule_both_ways() {
    let delivered = Config { acknowledge: Acknowledge::Delivered, ..config() };
    let sink = Sink::acknowledging(Acknowledges::Accepted);
    let mut batch = Fixture::new(delivered, sink.clone());
    // Callers wait, but for what the queue behind promises.
    assert_eq!(batch.processor.capabilities().acknowledges, Acknowledges::Accepted);
    let start = Instant::now();
    batch.send(3).await.unwrap().unwrap();
    assert_eq!((start.elapsed(), sink.items()), (millis(200), 3));

    let accepted = Config { acknowledge: Acknowledge::Accepted, ..config() };
    let mut batch = Fixture::new(accepted, Failing::always(ConsumeError::permanent("no")));
    assert_eq!(batch.processor.capabilities().acknowledges, Acknowledges::Accepted);
    assert_eq!(batch.send(3).await.unwrap(), Ok(()));
}

#[tokio::test(start_paused = true)]
async fn everyone_in_a_refused_batch_gets_its_error_and_nobody_else_does() {
    let refused = ConsumeError::permanent("too old").with_code(Code::InvalidArgument);
    let sink = Sink::new();
    let mut batch = Fixture::new(config(), Failing::first([refused.clone()], sink.clone()));
    let in_first = [batch.send(5), batch.send(5)];
    settle().await;
    let in_second = batch.send(10);
    for caller in in_first {
        assert_eq!(caller.await.unwrap(), Err(refused.clone()));
    }
    assert_eq!(in_second.await.unwrap(), Ok(()));
    assert_eq!(sink.item_ids(), (10..20).collect::<Vec<_>>());
}

#[tokio::test(start_paused = true)]
async fn the_errors_of_all_parts_of_a_request_are_joined() {
    let script = [
        Outcome::Fail(ConsumeError::retryable("first")),
        Outcome::Fail(ConsumeError::permanent("second").with_code(Code::InvalidArgument)),
        Outcome::Pass,
    ];
    let slow = Slow::new(millis(1), Failing::scripted(script, Sink::new()));
    let config = Config { send_batch_max_size: 10, ..config() };
    let mut batch = Fixture::new(config, slow);
    let error = batch.send(30).await.unwrap().unwrap_err();
    assert_eq!(error.message(), "first; second");
    assert!(!error.is_permanent(), "or its client would give up the first part, too");
    assert_eq!(error.code(), Code::Unavailable);
}

#[tokio::test(start_paused = true)]
async fn a_caller_with_a_deadline_waits_no_longer() {
    let mut batch = Fixture::new(config(), Gate::hanging());
    let start = Instant::now();
    let deadline = Some((start + Duration::from_secs(3)).into_std());
    let answer = batch.send_with(10, Context { deadline, ..Context::default() }).await.unwrap();
    let error = answer.unwrap_err();
    assert_eq!((error.code(), error.is_permanent()), (Code::DeadlineExceeded, false));
    assert_eq!(start.elapsed(), Duration::from_secs(3));
}

#[tokio::test(start_paused = true)]
async fn a_caller_that_goes_away_leaves_its_items_and_the_others_unharmed() {
    let sink = Sink::new();
    let mut batch = Fixture::new(config(), sink.clone());
    let other = batch.send(3);
    settle().await;
    let mine = Batch::new(batch.spans(4));
    assert!(timeout(millis(50), batch.processor.consume(mine)).await.is_err());
    assert_eq!(other.await.unwrap(), Ok(()));
    assert_eq!(sink.item_ids(), (0..7).collect::<Vec<_>>());
}

#[tokio::test(start_paused = true)]
async fn a_caller_that_goes_away_does_not_end_the_export_it_set_off() {
    let sink = Sink::new();
    let gate = Gate::closed(sink.clone());
    let mut batch = Fixture::new(config(), gate.clone());
    let other = batch.send(3);
    settle().await;
    let last = batch.send(7);
    gate.wait_for_waiting(1).await;
    last.abort();
    gate.open();
    assert_eq!(other.await.unwrap(), Ok(()));
    assert_eq!(sink.items(), 10);
}

#[tokio::test(start_paused = true)]
async fn an_export_that_panics_is_answered_so_that_callers_try_again() {
    struct Panics;
    #[spanbridge_component::async_trait]
    impl spanbridge_component::Consumer for Panics {
        async fn consume(&self, _: Batch) -> Result<(), ConsumeError> {
            panic!("as a defect downstream would");
        }
    }
    let mut batch = Fixture::new(config(), std::sync::Arc::new(Panics));
    let error = batch.send(10).await.unwrap().unwrap_err();
    assert!(!error.is_permanent());
    batch.shut_down().await;
}

#[tokio::test(start_paused = true)]
async fn a_batch_has_no_deadline_and_no_address_of_any_of_its_callers() {
    let sink = Sink::new();
    let mut batch = Fixture::new(config(), sink.clone());
    let context = Context {
        client_address: Some("192.0.2.1:4317".parse().unwrap()),
        deadline: Some((Instant::now() + Duration::from_secs(9)).into_std()),
        ..crate::harness::tenant_context("a")
    };
    batch.send_with(10, context).await.unwrap().unwrap();
    let context = &sink.batches()[0].context;
    assert!(context.client_address.is_none() && context.deadline.is_none() && context.metadata.is_empty());
    assert_eq!(sink.batches()[0].signal(), Signal::Traces);
}
