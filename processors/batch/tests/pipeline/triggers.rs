//! When a batch is closed, and how requests are cut.

use batch_processor::Config;
use spanbridge_component::{Batch, Payload, Signal};
use spanbridge_config::Duration;
use spanbridge_testkit::{Gate, Payloads, Sink, metric, metric_count};
use tokio::time::Instant;

use crate::harness::{Fixture, config, millis, settle};

#[tokio::test(start_paused = true)]
async fn a_batch_that_has_enough_items_is_exported_at_once() {
    let sink = Sink::new();
    let mut batch = Fixture::new(config(), sink.clone());
    let start = Instant::now();
    let callers = [batch.send(4), batch.send(4), batch.send(4)];
    for caller in callers {
        assert_eq!(caller.await.unwrap(), Ok(()));
    }
    assert_eq!(start.elapsed(), millis(0));
    assert_eq!(sink.batch_sizes(), [12]);
    assert_eq!(sink.batches()[0].payload.segments().len(), 3, "requests are appended, not copied");
}

#[tokio::test(start_paused = true)]
async fn the_timer_of_a_batch_runs_from_its_first_item() {
    let sink = Sink::new();
    let mut batch = Fixture::new(config(), sink.clone());
    tokio::time::advance(millis(150)).await;
    let start = Instant::now();
    let first = batch.send(1);
    settle().await;
    tokio::time::advance(millis(199)).await;
    let second = batch.send(1);
    settle().await;
    assert_eq!(sink.items(), 0);
    assert_eq!(first.await.unwrap(), Ok(()));
    assert_eq!(second.await.unwrap(), Ok(()));
    assert_eq!(start.elapsed(), millis(200));
    assert_eq!(sink.batch_sizes(), [2]);
}

#[tokio::test(start_paused = true)]
async fn after_a_batch_was_closed_by_size_the_next_has_the_whole_timeout() {
    let sink = Sink::new();
    let mut batch = Fixture::new(config(), sink.clone());
    let first = batch.send(1);
    settle().await;
    tokio::time::advance(millis(100)).await;
    first.abort();
    batch.send(9).await.unwrap().unwrap();
    let start = Instant::now();
    batch.send(1).await.unwrap().unwrap();
    assert_eq!(start.elapsed(), millis(200));
    assert_eq!(sink.batch_sizes(), [10, 1]);
}

#[tokio::test(start_paused = true)]
async fn without_a_timeout_or_a_size_every_request_is_exported_at_once() {
    let no_timeout = Config { timeout: Duration::ZERO, ..Config::default() };
    let no_size = Config { send_batch_size: 0, ..Config::default() };
    for config in [no_timeout, no_size] {
        let sink = Sink::new();
        let mut batch = Fixture::new(config, sink.clone());
        let start = Instant::now();
        batch.send(3).await.unwrap().unwrap();
        batch.send(2).await.unwrap().unwrap();
        assert_eq!(start.elapsed(), millis(0));
        assert_eq!(sink.batch_sizes(), [3, 2]);
    }
}

#[tokio::test(start_paused = true)]
async fn requests_are_cut_exactly_at_the_maximum_and_the_rest_stays_pending() {
    for signal in Signal::ALL {
        let sink = Sink::new();
        let batch = Fixture::new(Config { send_batch_max_size: 15, ..config() }, sink.clone());
        let mut payloads = Payloads::small();
        let start = Instant::now();
        let (small, large) = (payloads.request(signal, 4), payloads.request(signal, 45));
        let consume = |payload| batch.processor.consume(Batch::new(payload));
        assert_eq!(tokio::join!(consume(small), consume(large)), (Ok(()), Ok(())));
        assert_eq!(sink.batch_sizes(), [15, 15, 15, 4], "{signal}");
        assert_eq!(start.elapsed(), millis(200), "the rest waits for the timer");
        let mut ids = sink.item_ids();
        ids.sort_unstable();
        assert_eq!(ids, (0..49).collect::<Vec<_>>(), "{signal}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_rest_that_has_enough_items_does_not_wait() {
    let sink = Sink::new();
    let mut batch = Fixture::new(Config { send_batch_max_size: 15, ..config() }, sink.clone());
    let start = Instant::now();
    batch.send(27).await.unwrap().unwrap();
    assert_eq!(start.elapsed(), millis(0));
    let mut sizes = sink.batch_sizes();
    sizes.sort_unstable();
    assert_eq!(sizes, [12, 15]);
}

#[tokio::test(start_paused = true)]
async fn without_a_timeout_the_maximum_still_holds() {
    let sink = Sink::new();
    let config = Config { timeout: Duration::ZERO, send_batch_max_size: 4, ..config() };
    let mut batch = Fixture::new(config, sink.clone());
    batch.send(10).await.unwrap().unwrap();
    let mut sizes = sink.batch_sizes();
    sizes.sort_unstable();
    assert_eq!(sizes, [2, 4, 4]);
}

#[tokio::test(start_paused = true)]
async fn a_request_without_items_is_dropped() {
    let sink = Sink::new();
    let batch = Fixture::new(config(), sink.clone());
    let empty = Batch::new(Payload::empty(Signal::Traces));
    assert_eq!(batch.processor.consume(empty).await, Ok(()));
    batch.shut_down().await;
    assert!(sink.batches().is_empty());
}

#[tokio::test(start_paused = true)]
async fn collecting_goes_on_while_a_batch_is_on_its_way() {
    let sink = Sink::new();
    let gate = Gate::closed(sink.clone());
    let mut batch = Fixture::new(config(), gate.clone());
    let callers = [batch.send(10), batch.send(10), batch.send(10)];
    gate.wait_for_waiting(3).await;
    gate.open();
    for caller in callers {
        assert_eq!(caller.await.unwrap(), Ok(()));
    }
    assert_eq!(sink.batch_sizes(), [10, 10, 10]);
}

#[tokio::test(start_paused = true)]
async fn sends_are_counted_by_their_trigger_and_only_when_they_succeed() {
    let sink = Sink::new();
    let failing = spanbridge_testkit::Failing::scripted(
        [
            spanbridge_testkit::Outcome::Fail(spanbridge_component::ConsumeError::retryable("down")),
            spanbridge_testkit::Outcome::Pass,
        ],
        sink.clone(),
    );
    let mut batch = Fixture::new(config(), failing);
    batch.send(10).await.unwrap().unwrap_err();
    batch.send(10).await.unwrap().unwrap();
    batch.send(3).await.unwrap().unwrap();
    let labels = &[("processor", "batch")];
    let value = |name: &str| metric(&batch.telemetry, &format!("otelcol_processor_batch_{name}"), labels);
    assert_eq!(value("batch_size_trigger_send"), Some(1.0));
    assert_eq!(value("timeout_trigger_send"), Some(1.0));
    assert_eq!(value("batch_send_size"), Some(13.0));
    assert_eq!(value("metadata_cardinality"), Some(1.0));
    let bytes: usize = sink.batches().iter().map(|batch| batch.payload.len()).sum();
    #[allow(clippy::cast_precision_loss, reason = "a few thousand")]
    let bytes = bytes as f64;
    assert_eq!(value("batch_send_size_bytes"), Some(bytes));
    let name = "otelcol_processor_batch_batch_send_size";
    assert_eq!(metric_count(&batch.telemetry, name, labels), Some(2));
}

#[test]
fn metrics_exist_from_their_level_on() {
    use spanbridge_component::telemetry::{Level, Telemetry};
    let families = |level| {
        let mut settings = spanbridge_testkit::settings("batch");
        settings.telemetry = Telemetry::new(level, settings.telemetry.registry().clone());
        let batch = Fixture::with_settings(settings, config(), Sink::new());
        batch.telemetry.registry().gather().len()
    };
    assert_eq!(families(Level::None), 0);
    assert_eq!(families(Level::Basic), 0);
    assert_eq!(families(Level::Normal), 4);
    assert_eq!(families(Level::Detailed), 5);
}
