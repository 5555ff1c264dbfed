//! Batching behind the queue.

use std::time::Duration;

use proptest::collection::vec;
use proptest::prelude::*;
use spanbridge_component::{Batch, ConsumeError, Metadata};
use spanbridge_testkit::block_on_paused;
use tokio::time::Instant;

use crate::testing::{Answer, Running, Scripted, settle, unavailable};

fn queue(keys: &str) -> String {
    format!("{{sending_queue: {{{keys}}}, retry_on_failure: {{randomization_factor: 0}}}}")
}

async fn of_tenant(running: &Running, items: usize, tenant: &str) {
    let mut batch = running.batch(items);
    batch.context.metadata = Metadata::from_pairs([("x-tenant", tenant), ("x-other", "1")]);
    running.exporter.consume(batch).await.unwrap();
}

fn sizes(to: &Scripted) -> Vec<usize> {
    to.taken().iter().map(Batch::items).collect()
}

#[tokio::test(start_paused = true)]
async fn a_batch_goes_when_it_is_large_enough_or_late() {
    let to = Scripted::working();
    let running = Running::start(&queue("batch: {min_size: 10, flush_timeout: 3s}"), &to).await;
    for items in [4, 4, 4, 1] {
        running.consume(items).await.unwrap();
    }
    settle().await;
    assert_eq!(sizes(&to), [12]);
    let began = Instant::now();
    to.wait_for_items(13).await;
    assert_eq!((began.elapsed().as_secs(), sizes(&to)), (3, vec![12, 1]));
    assert_eq!(running.metric("queue_batch_send_size"), 13);
    assert_eq!(running.balance().delivered, 13);
}

#[tokio::test(start_paused = true)]
async fn requests_are_cut_to_full_batches_and_the_rest_waits() {
    let to = Scripted::working();
    let yaml = queue("batch: {min_size: 5, max_size: 5, flush_timeout: 1s}");
    let running = Running::start(&yaml, &to).await;
    for items in [3, 14] {
        running.consume(items).await.unwrap();
    }
    settle().await;
    assert_eq!(sizes(&to), [5, 5, 5]);
    assert_eq!(running.metric("queue_size"), 1, "a request is done with when all of its parts are");
    to.wait_for_items(17).await;
    settle().await;
    assert_eq!((sizes(&to), running.metric("queue_size")), (vec![5, 5, 5, 2], 0));
    assert_eq!(to.ids(), (0..17).collect::<Vec<_>>());
}

#[tokio::test(start_paused = true)]
async fn batches_by_bytes_are_within_their_size() {
    let to = Scripted::working();
    let yaml = queue("batch: {sizer: bytes, min_size: 900, max_size: 1000}");
    let running = Running::start(&yaml, &to).await;
    for items in [3, 50, 1, 7, 20] {
        running.consume(items).await.unwrap();
    }
    to.wait_for_items(81).await;
    assert_eq!(to.ids(), (0..81).collect::<Vec<_>>());
    assert!(to.taken().iter().all(|batch| batch.payload.len() <= 1000), "{:?}", sizes(&to));
}

/// core#12893: a record larger than a byte-sized batch looped until memory was gone.
#[tokio::test(start_paused = true)]
async fn core_12893_an_item_larger_than_a_batch_may_be_is_dropped_with_its_reason() {
    let to = Scripted::working();
    let yaml = queue("wait_for_result: true, batch: {sizer: bytes, min_size: 100, max_size: 300}");
    let running = Running::start(&yaml, &to).await;
    let mut batch = running.batch(1);
    let large = spanbridge_testkit::Payloads::rich().request(spanbridge_component::Signal::Traces, 1);
    batch.payload.append(large).unwrap();
    let error = running.exporter.consume(batch).await.unwrap_err();
    assert!(error.is_permanent() && error.message().contains("max_size"), "{error}");
    assert_eq!((to.ids(), running.balance().returned), (vec![0], 1));

    let accepted = queue("batch: {sizer: bytes, min_size: 100, max_size: 300}");
    let running = Running::start(&accepted, &to).await;
    let payload = spanbridge_testkit::Payloads::rich().request(spanbridge_component::Signal::Traces, 3);
    running.exporter.consume(Batch::new(payload)).await.unwrap();
    settle().await;
    assert_eq!(running.balance().dropped.into_iter().collect::<Vec<_>>(), [("too_large", 3)]);
}

/// core#14795: batching dropped the request's metadata, so tenant headers were empty.
#[tokio::test(start_paused = true)]
async fn core_14795_partition_keys_stay_with_their_batches_and_a_lone_request_keeps_its_context() {
    let to = Scripted::working();
    let yaml = queue("batch: {min_size: 10, partition: {metadata_keys: [X-Tenant]}}");
    let running = Running::start(&yaml, &to).await;
    for (items, tenant) in [(6, "a"), (6, "b"), (6, "a"), (2, "")] {
        of_tenant(&running, items, tenant).await;
    }
    running.consume(2).await.unwrap();
    to.wait_for_items(22).await;
    let mut batches: Vec<_> = to
        .taken()
        .iter()
        .map(|batch| {
            let metadata = &batch.context.metadata;
            (batch.items(), metadata.values("x-tenant").to_vec(), metadata.values("x-other").len())
        })
        .collect();
    batches.sort();
    let tenant = |name: &str| vec![name.to_owned()];
    // Merged: the keys only. Alone: everything. Unset and empty differ.
    assert_eq!(batches, [(2, vec![], 0), (2, tenant(""), 1), (6, tenant("b"), 1), (12, tenant("a"), 0)]);
}

#[tokio::test(start_paused = true)]
async fn callers_wait_for_every_part_of_their_request() {
    let to = Scripted::new(|attempt, _| match attempt {
        1 => Answer::After(Duration::from_secs(3), Box::new(Answer::Ok)),
        2 => Answer::Fail(ConsumeError::permanent("bad").into()),
        _ => Answer::Ok,
    });
    let yaml = queue("wait_for_result: true, batch: {min_size: 4, max_size: 4, flush_timeout: 1s}");
    let running = Running::start(&yaml, &to).await;
    let began = Instant::now();
    running.consume(8).await.unwrap();
    assert_eq!(began.elapsed().as_secs(), 3);
    let (bad, good) = (running.spawn(4), running.spawn(3));
    let error = bad.await.unwrap().unwrap_err();
    assert_eq!(error.message(), "not retryable error: Permanent error: bad");
    good.await.unwrap().unwrap();
    let balance = running.balance();
    assert_eq!((balance.delivered, balance.returned), (11, 4));
}

#[tokio::test(start_paused = true)]
async fn when_a_part_of_a_batch_failed_every_caller_waits_for_that_part() {
    let to = Scripted::new(|attempt, batch| {
        let failed = |error: ConsumeError| {
            let five = std::num::NonZeroUsize::new(5).unwrap();
            let failed = batch.payload.clone().split_items(five, five).skip(1).collect();
            Answer::Fail(crate::SendError { failed: Some(failed), ..error.into() })
        };
        match attempt {
            0 => failed(ConsumeError::retryable("one backend of two")),
            2 => failed(ConsumeError::permanent("bad")),
            _ => Answer::Ok,
        }
    });
    let running = Running::start(&queue("wait_for_result: true, batch: {min_size: 9}"), &to).await;
    for succeeds in [true, false] {
        let callers: Vec<_> = (0..3).map(|_| running.spawn(3)).collect();
        for caller in callers {
            assert_eq!(caller.await.unwrap().is_ok(), succeeds);
        }
    }
    assert_eq!(to.taken_ids(), [[5, 6, 7, 8]]);
    let balance = running.balance();
    assert_eq!((balance.delivered, balance.returned), (9 + 5, 4));
    assert_eq!((running.metric("sent_spans"), running.metric("send_failed_spans")), (14, 4));
}

#[tokio::test(start_paused = true)]
async fn a_batch_waits_for_a_free_worker_and_then_the_queue_fills() {
    let to = Scripted::new(|_, _| Answer::Hang);
    let yaml = "{timeout: 0s, sending_queue: {num_consumers: 2, queue_size: 5, batch: {min_size: 1}}}";
    let running = Running::start(yaml, &to).await;
    for _ in 0..5 {
        running.consume(1).await.unwrap();
        settle().await;
    }
    assert_eq!((to.attempts(), running.metric("queue_size")), (2, 5));
    assert!(running.consume(1).await.is_err());
}

#[tokio::test(start_paused = true)]
async fn more_partitions_than_there_may_be_send_the_oldest_on_its_way() {
    let to = Scripted::working();
    let yaml = queue(
        "queue_size: 20000, batch: {min_size: 10, flush_timeout: 1h, \
                      partition: {metadata_keys: [x-tenant]}}",
    );
    let running = Running::start(&yaml, &to).await;
    for tenant in 0..10_002 {
        of_tenant(&running, 1, &tenant.to_string()).await;
    }
    settle().await;
    let mut first = to.ids();
    first.sort_unstable();
    assert_eq!(first, [0, 1]);
    running.stop(60).await.unwrap();
    assert_eq!(running.balance().delivered, 10_002);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    /// Whatever the sizes, and however the destination fails: everything is delivered once or in the books, batches keep
    /// their limits, and every caller who waits is answered truly.
    #[test]
    fn nothing_is_lost_or_doubled_in_batches(
        requests in vec((1_usize..30, 0_u8..3), 1..30),
        min in 0_u64..20, extra in 0_u64..10, limited: bool, waits: bool, consumers in 1_usize..4,
        failures in vec(0_u8..4, 40),
    ) {
        block_on_paused(async {
            let to = Scripted::new(move |attempt, _| match failures.get(attempt) {
                Some(0) => unavailable(),
                Some(1) => Answer::Fail(ConsumeError::permanent("bad").into()),
                Some(2) => Answer::After(Duration::from_millis(300), Box::new(Answer::Ok)),
                _ => Answer::Ok,
            });
            let max = if limited { (min + extra).max(1) } else { 0 };
            let yaml = queue(&format!(
                "wait_for_result: {waits}, num_consumers: {consumers}, batch: {{min_size: {min}, max_size: {max}, \
                 partition: {{metadata_keys: [x-tenant]}}}}"
            ));
            let running = Running::start(&yaml, &to).await;
            let mut callers = Vec::new();
            for (items, tenant) in requests {
                let mut batch = running.batch(items);
                batch.context.metadata = Metadata::from_pairs([("x-tenant", tenant.to_string())]);
                callers.push((spanbridge_testkit::item_ids(&batch.payload), running.spawn_batch(batch)));
                tokio::time::sleep(Duration::from_millis(70)).await;
            }
            tokio::time::sleep(Duration::from_secs(1000)).await;
            let taken = to.ids();
            let sent = to.taken();
            prop_assert!(max == 0 || sent.iter().all(|batch| batch.items() as u64 <= max));
            prop_assert!(taken.windows(2).all(|pair| pair[0] != pair[1]), "doubled");
            for (ids, caller) in callers {
                prop_assert!(caller.is_finished(), "a waiter was lost");
                let delivered = ids.iter().all(|id| taken.binary_search(id).is_ok());
                let answer = caller.await.unwrap();
                prop_assert_eq!(answer.is_ok(), delivered || !waits);
            }
            prop_assert_eq!(running.metric("queue_size"), 0);
            running.stop(5).await.unwrap();
            let balance = running.balance();
            prop_assert_eq!(balance.delivered, taken.len() as u64);
            prop_assert_eq!(balance.held, 0);
            Ok(())
        })?;
    }
}
