//! The queue on disk when the process ends, and when it begins again.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use proptest::collection::vec;
use proptest::prelude::*;
use spanbridge_component::{Component, Extension, Kind};
use spanbridge_testkit::{block_on_paused, host, settings_of};

use crate::testing::{Answer, MemoryLog, Running, Scripted, To, config, settle, unavailable};

const QUEUE: &str = "{sending_queue: {storage: file_storage, num_consumers: 2}}";
const NO_RETRIES: &str =
    "{sending_queue: {storage: file_storage, num_consumers: 2}, retry_on_failure: {enabled: false}}";
const BATCH: &str =
    "{sending_queue: {storage: file_storage, batch: {min_size: 4, max_size: 6, flush_timeout: 1s}}}";

/// core#6771: a persistent item whose last send failed was lost across the shutdown.
#[tokio::test(start_paused = true)]
async fn core_6771_a_request_that_fails_while_the_process_ends_stays_on_disk() {
    for yaml in [QUEUE, NO_RETRIES] {
        let log = Arc::<MemoryLog>::default();
        let to = Scripted::new(|_, _| Answer::After(Duration::from_secs(1), Box::new(unavailable())));
        let running = Running::start_with(yaml, &to, Some(log.clone())).await;
        running.consume(3).await.unwrap();
        settle().await;
        assert_eq!(to.attempts(), 1, "on its way");
        running.stop(10).await.unwrap();
        assert_eq!((to.attempts(), log.ids()), (1, vec![0, 1, 2]), "{yaml}");
        let balance = running.balance();
        assert_eq!((balance.kept, balance.dropped_total(), balance.held), (3, 0, 0));

        let next = Scripted::working();
        let running = Running::start_with(yaml, &next, Some(log.clone())).await;
        next.wait_for_items(3).await;
        settle().await;
        assert_eq!((next.ids(), log.records()), (vec![0, 1, 2], 0));
        let balance = running.balance();
        assert_eq!((balance.restored, balance.delivered), (3, 3));
    }
}

/// core#15677: the queue deleted persisted items on shutdown while the destination was down.
#[tokio::test(start_paused = true)]
async fn core_15677_a_shutdown_while_the_destination_is_down_or_hangs_deletes_nothing() {
    for hangs in [false, true] {
        for yaml in [QUEUE, BATCH] {
            let log = Arc::<MemoryLog>::default();
            let to = Scripted::new(move |_, _| if hangs { Answer::Hang } else { unavailable() });
            let running = Running::start_with(yaml, &to, Some(log.clone())).await;
            for _ in 0..10 {
                running.consume(2).await.unwrap();
            }
            settle().await;
            running.stop(3).await.unwrap();
            assert_eq!(log.ids(), (0..20).collect::<Vec<_>>());
            assert_eq!((running.balance().kept, running.balance().held), (20, 0));

            let next = Scripted::working();
            let running = Running::start_with(yaml, &next, Some(log.clone())).await;
            next.wait_for_items(20).await;
            settle().await;
            assert_eq!(
                next.taken_ids().concat(),
                (0..20).collect::<Vec<_>>(),
                "in order, what was taken first"
            );
            assert_eq!((running.balance().delivered, log.records()), (20, 0));
        }
    }
}

/// core#12711: a batch processor before the queue held what it had acknowledged. Batching behind the queue does not.
#[tokio::test(start_paused = true)]
async fn core_12711_what_waits_in_an_open_batch_is_on_disk() {
    let log = Arc::<MemoryLog>::default();
    let to = Scripted::working();
    let yaml = "{sending_queue: {storage: file_storage, batch: {min_size: 1000, flush_timeout: 1h}}}";
    let running = Running::start_with(yaml, &to, Some(log.clone())).await;
    running.consume(3).await.unwrap();
    running.consume(3).await.unwrap();
    settle().await;
    assert_eq!((to.attempts(), log.ids()), (0, vec![0, 1, 2, 3, 4, 5]));
    running.stop(5).await.unwrap();
    assert_eq!((to.attempts(), log.records(), running.balance().kept), (0, 2, 6));
}

#[tokio::test(start_paused = true)]
async fn a_reload_leaves_the_queue_on_disk_to_the_successor() {
    let log = Arc::<MemoryLog>::default();
    let to = Scripted::new(|_, _| Answer::After(Duration::from_secs(1), Box::new(Answer::Ok)));
    let running = Running::start_with(QUEUE, &to, Some(log.clone())).await;
    for _ in 0..5 {
        running.consume(1).await.unwrap();
    }
    settle().await;
    assert!(running.retire(5).await.is_empty());
    assert_eq!((to.ids(), log.ids(), log.is_open()), (vec![0, 1], vec![2, 3, 4], false));
    assert_eq!((running.balance().delivered, running.balance().kept), (2, 3));
    let successor = Running::start_with(BATCH, &to, Some(log.clone())).await;
    to.wait_for_items(5).await;
    successor.stop(5).await.unwrap();
}

/// An extension that stores nothing.
struct NotAStorage;
impl Component for NotAStorage {}
impl Extension for NotAStorage {}

#[tokio::test(start_paused = true)]
async fn a_storage_that_is_none_fails_the_start() {
    let settings = settings_of(Kind::Exporter, "otlp_grpc");
    let start = |extensions: BTreeMap<_, Arc<dyn Extension>>| {
        let to = To(Scripted::working());
        let exporter = crate::ExporterHelper::new(settings.clone(), config(QUEUE), to).unwrap();
        let host = host(&settings).0.with_extensions(Arc::new(extensions));
        async move { exporter.start(host).await.unwrap_err().to_string() }
    };
    let missing = start(BTreeMap::new()).await;
    assert!(missing.starts_with("no storage client extension found"), "{missing}");
    let wrong = start(BTreeMap::from([("file_storage".parse().unwrap(), Arc::new(NotAStorage) as _)])).await;
    assert!(wrong.starts_with("requested extension is not a storage extension"), "{wrong}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    /// Processes that end at any moment, one after the other, on one disk: at the end everything acknowledged is delivered,
    /// and nothing out of order but what was on its way.
    #[test]
    fn whatever_ends_when_everything_acknowledged_is_delivered(
        lives in vec((vec(1_usize..5, 0..10), vec(0_u8..4, 10), 0_u64..5000), 1..6), batched: bool,
    ) {
        block_on_paused(async {
            let log = Arc::<MemoryLog>::default();
            let yaml = if batched { BATCH } else { QUEUE };
            let mut delivered = Vec::new();
            let mut next_id = 0;
            for (requests, answers, life) in lives {
                let to = Scripted::new(move |attempt, _| match answers.get(attempt) {
                    Some(0) => unavailable(),
                    Some(1) => Answer::Hang,
                    Some(2) => Answer::After(Duration::from_millis(400), Box::new(Answer::Ok)),
                    _ => Answer::Ok,
                });
                let running = Running::start_with(yaml, &to, Some(log.clone())).await;
                running.payloads.lock().unwrap().skip(next_id);
                for items in requests {
                    running.consume(items).await.unwrap();
                    next_id += items as u64;
                }
                tokio::time::sleep(Duration::from_millis(life)).await;
                running.stop(1).await.unwrap();
                let balance = running.balance();
                prop_assert_eq!((balance.held, balance.dropped_total()), (0, 0));
                prop_assert_eq!(balance.kept + balance.delivered, balance.taken + balance.restored);
                delivered.extend(to.ids());
            }
            let last = Scripted::working();
            let running = Running::start_with(yaml, &last, Some(log.clone())).await;
            tokio::time::sleep(Duration::from_secs(10)).await;
            running.stop(1).await.unwrap();
            prop_assert_eq!(log.records(), 0);
            let left = last.taken_ids().concat();
            prop_assert!(left.is_sorted(), "the order of what is left is kept");
            delivered.extend(left);
            delivered.sort_unstable();
            delivered.dedup();
            prop_assert_eq!(delivered, (0..next_id).collect::<Vec<_>>());
            Ok(())
        })?;
    }
}
