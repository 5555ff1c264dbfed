//! Draining, and its end.

use std::time::Duration;

use batch_processor::{Acknowledge, Config};
use spanbridge_component::ConsumeError;
use spanbridge_testkit::{Failing, Gate, Sink, metric};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::harness::{Fixture, config, millis, settle};

#[tokio::test(start_paused = true)]
async fn shutdown_sends_what_is_pending_without_waiting_for_the_timer() {
    let sink = Sink::new();
    let config = Config { metadata_keys: vec!["x-tenant".into()], ..config() };
    let mut batch = Fixture::new(config, sink.clone());
    let callers = [batch.send_as("a", 3), batch.send_as("b", 4)];
    settle().await;
    let start = Instant::now();
    batch.shut_down().await;
    assert_eq!((start.elapsed(), sink.items()), (millis(0), 7));
    for caller in callers {
        assert_eq!(caller.await.unwrap(), Ok(()));
    }
    let labels = &[("processor", "batch")];
    let triggered = metric(&batch.telemetry, "otelcol_processor_batch_timeout_trigger_send", labels);
    assert_eq!(triggered, Some(2.0));
}

#[tokio::test(start_paused = true)]
async fn nothing_waits_for_more_once_the_process_drains() {
    let sink = Sink::new();
    let settings = spanbridge_testkit::settings("batch");
    let draining = CancellationToken::new();
    let host = spanbridge_testkit::host(&settings).0.with_draining(draining.clone());
    let mut batch = Fixture::with_settings(settings, config(), sink.clone());
    batch.processor.start(host).await.unwrap();
    let start = Instant::now();
    let pending = batch.send(3);
    settle().await;
    draining.cancel();
    assert_eq!(pending.await.unwrap(), Ok(()));
    let late = batch.send(4);
    assert_eq!(late.await.unwrap(), Ok(()));
    assert_eq!((start.elapsed(), sink.items()), (millis(0), 7));
    batch.shut_down().await;
}

#[tokio::test(start_paused = true)]
async fn shutdown_waits_for_what_is_on_its_way() {
    let sink = Sink::new();
    let gate = Gate::closed(sink.clone());
    let mut batch = Fixture::new(config(), gate.clone());
    let caller = batch.send(10);
    gate.wait_for_waiting(1).await;
    let processor = batch.processor.clone();
    let stopping =
        tokio::spawn(async move { processor.shutdown(Instant::now() + Duration::from_secs(5)).await });
    settle().await;
    assert!(!stopping.is_finished());
    gate.open();
    stopping.await.unwrap().unwrap();
    assert_eq!(sink.items(), 10);
    assert_eq!(caller.await.unwrap(), Ok(()));
}

#[tokio::test(start_paused = true)]
async fn what_comes_after_shutdown_is_refused_and_may_be_tried_elsewhere() {
    let mut batch = Fixture::new(config(), Sink::new());
    batch.shut_down().await;
    let error = batch.send(1).await.unwrap().unwrap_err();
    assert!(!error.is_permanent());
    assert_eq!(error.message(), "the batch processor is shutting down");
}

#[tokio::test(start_paused = true)]
async fn a_hanging_destination_ends_shutdown_at_its_deadline_and_every_caller_is_told() {
    let mut batch = Fixture::new(config(), Gate::hanging());
    // More batches than may be on their way, and one that is pending.
    let sizes = std::iter::repeat_n(10, 12).chain([3]);
    let callers: Vec<_> = sizes.map(|items| batch.send(items)).collect();
    settle().await;
    let start = Instant::now();
    let error = batch.processor.shutdown(start + Duration::from_secs(5)).await.unwrap_err();
    assert_eq!(start.elapsed(), Duration::from_secs(5));
    assert_eq!(error.undelivered_items, 123);
    for caller in callers {
        assert!(!caller.await.unwrap().unwrap_err().is_permanent());
    }
    settle().await;
    assert_eq!(tokio::runtime::Handle::current().metrics().num_alive_tasks(), 0);
}

#[tokio::test(start_paused = true)]
async fn callers_that_wait_for_room_are_sent_away() {
    let gate = Gate::hanging();
    let batch = Fixture::new(Config { acknowledge: Acknowledge::Accepted, ..config() }, gate.clone());
    let payload = spanbridge_testkit::Payloads::rich().request(spanbridge_component::Signal::Traces, 2000);
    let callers: Vec<_> = (0..100)
        .map(|_| {
            let batch = (batch.processor.clone(), spanbridge_component::Batch::new(payload.clone()));
            tokio::spawn(async move { batch.0.consume(batch.1).await })
        })
        .collect();
    settle().await;
    let waiting = callers.iter().filter(|caller| !caller.is_finished()).count();
    assert!(waiting > 0);
    let error = batch.processor.shutdown(Instant::now() + millis(10)).await.unwrap_err();
    assert_eq!(error.undelivered_items, (100 - waiting) * 2000);
    let mut refused = 0;
    for caller in callers {
        refused += usize::from(caller.await.unwrap().is_err());
    }
    assert_eq!(refused, waiting);
}

#[tokio::test(start_paused = true)]
async fn what_was_accepted_and_fails_while_draining_is_reported() {
    let accepted = Config { acknowledge: Acknowledge::Accepted, ..config() };
    let mut batch = Fixture::new(accepted, Failing::always(ConsumeError::retryable("down")));
    batch.send(3).await.unwrap().unwrap();
    let error = batch.processor.shutdown(Instant::now() + millis(10)).await.unwrap_err();
    assert_eq!(error.undelivered_items, 3);
    assert_eq!(error.to_string(), "batch processor: 3 items could not be handed on");
}
