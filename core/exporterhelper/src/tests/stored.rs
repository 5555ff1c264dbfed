//! The queue on disk, while it runs.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use spanbridge_component::{Acknowledges, ConsumeError, Metadata};
use tokio::time::{Instant, timeout};

use crate::record;
use crate::testing::{Answer, MemoryLog, Running, Scripted, refuses_items, settle, too_large, unavailable};

/// A queue on disk with these keys, and with this under `retry_on_failure`.
fn stored(queue: &str, retry: &str) -> String {
    format!(
        "{{sending_queue: {{storage: file_storage, {queue}}}, \
          retry_on_failure: {{randomization_factor: 0, {retry}}}}}"
    )
}

async fn start(queue: &str, to: &Arc<Scripted>, log: &Arc<MemoryLog>) -> Running {
    Running::start_with(&stored(queue, ""), to, Some(log.clone())).await
}

#[tokio::test(start_paused = true)]
async fn a_request_is_acknowledged_when_it_is_kept_and_forgotten_when_it_is_delivered() {
    let log = Arc::<MemoryLog>::default();
    let to = Scripted::new(|_, _| Answer::After(Duration::from_secs(1), Box::new(Answer::Ok)));
    let running = start("num_consumers: 1", &to, &log).await;
    assert_eq!(running.exporter.capabilities().acknowledges, Acknowledges::Delivered);
    let mut batch = running.batch(2);
    batch.context.metadata = Metadata::from_pairs([("x-tenant", "a")]);
    batch.context.client_address = Some("10.1.2.3:5".parse().unwrap());
    batch.context.deadline = Some(std::time::Instant::now());
    running.exporter.consume(batch).await.unwrap();
    running.consume(3).await.unwrap();
    assert_eq!((log.ids(), running.metric("queue_size")), (vec![0, 1, 2, 3, 4], 2));
    assert_eq!(running.balance().held, 5);
    to.wait_for_items(5).await;
    settle().await;
    assert_eq!((log.records(), running.metric("queue_size")), (0, 0));
    let first = &to.taken()[0].context;
    assert_eq!(first.metadata.values("x-tenant"), ["a"]);
    assert_eq!(first.client_address, Some("10.1.2.3:5".parse().unwrap()));
    assert_eq!(to.taken_ids().concat(), [0, 1, 2, 3, 4]);
    assert_eq!(running.balance().delivered, 5);
    running.stop(5).await.unwrap();
    assert!(!log.is_open());
}

/// core#7198: with a full disk items could not be removed, and the queue never came back.
#[tokio::test(start_paused = true)]
async fn core_7198_a_full_disk_refuses_upstream_while_the_queue_drains_and_recovers_by_itself() {
    let log = Arc::<MemoryLog>::default();
    let to = Scripted::new(|_, _| Answer::After(Duration::from_secs(1), Box::new(Answer::Ok)));
    let running = start("", &to, &log).await;
    running.consume(1).await.unwrap();
    log.is_full.store(true, Ordering::Relaxed);
    let error = running.consume(4).await.unwrap_err();
    assert!(!error.is_permanent());
    assert!(error.message().contains("no space left on device"), "{error}");
    assert_eq!(running.metric("enqueue_failed_spans"), 4);
    to.wait_for_items(1).await;
    settle().await;
    assert_eq!(log.records(), 0, "removing works on a full disk");
    log.is_full.store(false, Ordering::Relaxed);
    running.consume(2).await.unwrap();
    to.wait_for_items(3).await;
    settle().await;
    let balance = running.balance();
    assert_eq!((balance.delivered, balance.returned, balance.held), (3, 4, 0));
}

#[tokio::test(start_paused = true)]
async fn what_the_storage_can_never_hold_is_refused_for_good() {
    let log = Arc::<MemoryLog>::default();
    let running = start("", &Scripted::down(), &log).await;
    log.is_too_small.store(true, Ordering::Relaxed);
    let error = running.consume(4).await.unwrap_err();
    assert!(error.is_permanent(), "{error}");
    assert!(error.message().starts_with("element size too large for the storage: "), "{error}");
    let balance = running.balance();
    assert_eq!((balance.returned, balance.held), (4, 0));
}

/// core#9451: a stored queue larger than `queue_size` blocked the start.
#[tokio::test(start_paused = true)]
async fn core_9451_a_queue_larger_than_its_new_limit_starts_and_drains() {
    let log = Arc::<MemoryLog>::default();
    let down = Scripted::down();
    let before = start("", &down, &log).await;
    for _ in 0..20 {
        before.consume(1).await.unwrap();
    }
    before.stop(5).await.unwrap();

    let to = Scripted::new(|_, _| Answer::After(Duration::from_secs(1), Box::new(Answer::Ok)));
    let running = start("queue_size: 5, num_consumers: 1", &to, &log).await;
    running.payloads.lock().unwrap().skip(100);
    assert_eq!(running.metric("queue_size"), 20);
    assert_eq!(running.consume(1).await.unwrap_err().message(), "sending queue is full");
    to.wait_for_items(16).await;
    settle().await;
    running.consume(1).await.unwrap();
    to.wait_for_items(21).await;
    settle().await;
    assert_eq!(to.taken_ids().concat(), (0..20).chain([101]).collect::<Vec<_>>());
    let balance = running.balance();
    assert_eq!((balance.restored, balance.delivered, balance.returned), (20, 21, 1));
}

/// core#15324: the first hours of a long outage were missing after it, since retries had ended.
#[tokio::test(start_paused = true)]
async fn core_15324_nothing_of_an_outage_of_days_is_lost_unless_it_is_written_so() {
    let log = Arc::<MemoryLog>::default();
    let to = Scripted::down();
    let running = start("", &to, &log).await;
    for _ in 0..100 {
        running.consume(1).await.unwrap();
        tokio::time::sleep(Duration::from_secs(3600)).await;
    }
    to.does(|_, _| Answer::Ok);
    to.wait_for_items(100).await;
    settle().await;
    assert_eq!(running.balance().delivered, 100);

    let log = Arc::<MemoryLog>::default();
    let to = Scripted::down();
    let yaml = stored("", "max_elapsed_time: 10m");
    let running = Running::start_with(&yaml, &to, Some(log.clone())).await;
    running.consume(1).await.unwrap();
    tokio::time::sleep(Duration::from_secs(660)).await;
    assert_eq!((running.balance().dropped_total(), log.records()), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn callers_wait_for_room_on_disk_in_their_order_if_they_shall() {
    let log = Arc::<MemoryLog>::default();
    let to = Scripted::new(|_, _| Answer::After(Duration::from_secs(1), Box::new(Answer::Ok)));
    let queue = "sizer: items, queue_size: 4, num_consumers: 1, block_on_overflow: true";
    let running = start(queue, &to, &log).await;
    let error = timeout(Duration::from_secs(1), running.consume(5)).await.unwrap().unwrap_err();
    assert!(error.is_permanent() && error.message().starts_with("element size too large"), "{error}");
    let mut callers = Vec::new();
    for _ in 0..5 {
        callers.push(running.spawn(2));
        settle().await;
    }
    assert_eq!(callers.iter().filter(|caller| caller.is_finished()).count(), 2);
    callers.remove(2).abort();
    to.wait_for_items(8).await;
    for caller in callers {
        caller.await.unwrap().unwrap();
    }
    assert_eq!(to.taken_ids(), [[5, 6], [7, 8], [11, 12], [13, 14]]);
}

#[tokio::test(start_paused = true)]
async fn a_disk_that_cannot_be_read_is_tried_again() {
    let log = Arc::<MemoryLog>::default();
    let to = Scripted::working();
    log.takes_fail.store(true, Ordering::Relaxed);
    let running = start("", &to, &log).await;
    running.consume(1).await.unwrap();
    tokio::time::sleep(Duration::from_secs(1)).await;
    log.takes_fail.store(false, Ordering::Relaxed);
    to.wait_for_items(1).await;
}

#[tokio::test(start_paused = true)]
async fn a_record_of_a_newer_version_stays_where_it_is() {
    let log = Arc::<MemoryLog>::default();
    let down = Scripted::down();
    let before = start("", &down, &log).await;
    before.consume(3).await.unwrap();
    before.stop(5).await.unwrap();
    log.set_headers(b"\x09new");
    let to = Scripted::working();
    let running = start("", &to, &log).await;
    settle().await;
    running.stop(5).await.unwrap();
    assert_eq!((to.attempts(), log.records(), running.balance().kept), (0, 1, 3));
}

#[tokio::test(start_paused = true)]
async fn a_caller_who_goes_away_during_the_append_has_its_request_back() {
    let log = Arc::<MemoryLog>::default();
    let to = Scripted::working();
    let running = start("", &to, &log).await;
    log.appends_hang.store(true, Ordering::Relaxed);
    assert!(timeout(Duration::from_secs(1), running.consume(3)).await.is_err());
    log.appends_hang.store(false, Ordering::Relaxed);
    running.consume(2).await.unwrap();
    to.wait_for_items(2).await;
    settle().await;
    let balance = running.balance();
    assert_eq!((balance.returned, balance.delivered, balance.held), (3, 2, 0));
}

#[tokio::test(start_paused = true)]
async fn batches_of_stored_requests_are_forgotten_when_every_part_is_done() {
    let log = Arc::<MemoryLog>::default();
    let to = Scripted::new(|attempt, _| if attempt == 1 { unavailable() } else { Answer::Ok });
    let running =
        start("num_consumers: 2, batch: {min_size: 5, max_size: 5, flush_timeout: 1s}", &to, &log).await;
    running.consume(3).await.unwrap();
    running.consume(7).await.unwrap();
    settle().await;
    assert_eq!(
        (to.taken_ids().len(), log.records()),
        (1, 1),
        "half of the second waits for its next attempt"
    );
    to.wait_for_items(10).await;
    settle().await;
    assert_eq!((to.ids(), log.records()), ((0..10).collect::<Vec<_>>(), 0));
    assert_eq!(running.balance().delivered, 10);
}

#[tokio::test(start_paused = true)]
async fn stored_requests_are_taken_apart_like_others() {
    let log = Arc::<MemoryLog>::default();
    let to = Scripted::new(refuses_items(&[2]));
    let running = start("", &to, &log).await;
    running.consume(8).await.unwrap();
    to.wait_for_items(7).await;
    settle().await;
    assert_eq!((running.balance().dropped_total(), log.records()), (1, 0));
    to.does(|_, batch| if batch.payload.len() > 400 { Answer::Fail(too_large(None)) } else { Answer::Ok });
    running.consume(8).await.unwrap();
    to.wait_for_items(15).await;
    settle().await;
    assert_eq!((running.balance().dropped_total(), log.records()), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn the_state_of_retries_is_written_and_honoured_by_the_next_process() {
    let log = Arc::<MemoryLog>::default();
    let yaml = stored("", "multiplier: 2, max_elapsed_time: 60s");
    let down = Scripted::down();
    let before = Running::start_with(&yaml, &down, Some(log.clone())).await;
    before.consume(1).await.unwrap();
    tokio::time::sleep(Duration::from_secs(17)).await; // after 5 s and 10 s
    before.stop(5).await.unwrap();
    let history = record::history(log.notes()[0]);
    assert_eq!((history.failures, history.elapsed.as_secs()), (3, 15));

    // An hour passes on the wall clock, or a year: only time spent trying counts.
    tokio::time::sleep(Duration::from_secs(3600)).await;
    let running = Running::start_with(&yaml, &down, Some(log.clone())).await;
    let began = Instant::now();
    while log.records() > 0 {
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    // 15 s before, an attempt, 30 s, an attempt, and 30 s more would be too long.
    assert_eq!(began.elapsed().as_secs(), 31);
    assert_eq!(running.balance().dropped.into_iter().collect::<Vec<_>>(), [("retries_exhausted", 1)]);
}

#[tokio::test(start_paused = true)]
async fn a_permanent_refusal_is_dropped_from_the_disk() {
    let log = Arc::<MemoryLog>::default();
    let to = Scripted::new(|_, _| Answer::Fail(ConsumeError::permanent("no").into()));
    let running = start("", &to, &log).await;
    running.consume(2).await.unwrap();
    settle().await;
    assert_eq!((log.records(), running.balance().dropped_total()), (0, 2));
}
