//! The end of an exporter with its queue in memory, by a shutdown or a reload.

use std::time::Duration;

use spanbridge_component::{Batch, ConsumeError, Kind, Metadata};
use spanbridge_testkit::{Payloads, host, item_ids, settings_of};
use tokio::time::Instant;

use crate::testing::{Answer, Running, Scripted, To, config, settle, unavailable};

const QUEUE: &str = "{sending_queue: {num_consumers: 2}}";

#[tokio::test(start_paused = true)]
async fn shutdown_interrupts_retries_and_gives_everything_one_more_attempt() {
    let to = Scripted::down();
    let running = Running::start(QUEUE, &to).await;
    for _ in 0..6 {
        running.consume(1).await.unwrap();
    }
    settle().await;
    assert_eq!(to.attempts(), 2, "both consumers wait for their next attempt");
    to.does(|_, _| Answer::Ok);
    let began = Instant::now();
    running.stop(30).await.unwrap();
    assert_eq!((began.elapsed().as_secs(), to.ids()), (0, vec![0, 1, 2, 3, 4, 5]));
    assert_eq!((running.balance().delivered, running.balance().held), (6, 0));
}

#[tokio::test(start_paused = true)]
async fn what_is_not_taken_in_all_the_time_is_reported_and_dropped() {
    let to = Scripted::down();
    let running = Running::start(QUEUE, &to).await;
    for _ in 0..6 {
        running.consume(2).await.unwrap();
    }
    settle().await;
    let began = Instant::now();
    let error = running.stop(30).await.unwrap_err();
    assert_eq!(error.undelivered_items, 12);
    assert!((29..=30).contains(&began.elapsed().as_secs()), "{:?}", began.elapsed());
    // One each by the consumers, and rounds with pauses that grow to two seconds.
    assert!((15 * 6..20 * 6).contains(&to.attempts()), "{}", to.attempts());
    assert_eq!(running.balance().dropped.into_iter().collect::<Vec<_>>(), [("shutdown", 12)]);
    assert_eq!(running.metric("send_failed_spans"), 12);
}

#[tokio::test(start_paused = true)]
async fn a_destination_that_comes_back_within_the_time_to_drain_gets_everything() {
    for yaml in [QUEUE, "{sending_queue: {batch: {min_size: 2}, num_consumers: 2}}"] {
        let began = Instant::now();
        let to = Scripted::new(move |_, _| match began.elapsed().as_secs() {
            0..5 => unavailable(),
            _ => Answer::Ok,
        });
        let running = Running::start(yaml, &to).await;
        for _ in 0..6 {
            running.consume(1).await.unwrap();
        }
        settle().await;
        running.stop(30).await.unwrap();
        assert!((5..10).contains(&began.elapsed().as_secs()), "{yaml}: {:?}", began.elapsed());
        assert_eq!((running.balance().delivered, running.balance().held), (6, 0), "{yaml}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_request_that_is_never_taken_does_not_keep_the_others_from_draining() {
    let to = Scripted::new(
        |_, batch| {
            if item_ids(&batch.payload).contains(&0) { unavailable() } else { Answer::Ok }
        },
    );
    let running = Running::start("{sending_queue: {num_consumers: 1}}", &to).await;
    for _ in 0..50 {
        running.consume(1).await.unwrap();
    }
    settle().await;
    let error = running.stop(10).await.unwrap_err();
    assert_eq!(error.undelivered_items, 1);
    assert_eq!((running.balance().delivered, running.balance().dropped_total()), (49, 1));
}

#[tokio::test(start_paused = true)]
async fn without_retries_the_shutdown_makes_one_attempt_each() {
    let to = Scripted::down();
    let running =
        Running::start("{sending_queue: {num_consumers: 1}, retry_on_failure: {enabled: false}}", &to).await;
    to.does(|_, _| Answer::Hang);
    for _ in 0..3 {
        running.consume(1).await.unwrap();
    }
    settle().await;
    to.does(|_, _| unavailable());
    let began = Instant::now();
    let _ = running.stop(60).await;
    assert_eq!(to.attempts(), 3, "the one that hung, and two more");
    assert!(began.elapsed().as_secs() < 10, "{:?}", began.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_hung_destination_does_not_hold_up_the_shutdown() {
    for yaml in [QUEUE, "{sending_queue: {batch: {min_size: 2}, num_consumers: 2}}"] {
        let to = Scripted::new(|_, _| Answer::Hang);
        let running = Running::start(yaml, &to).await;
        for _ in 0..1000 {
            running.consume(1).await.unwrap();
        }
        let error = running.stop(4).await.unwrap_err();
        assert_eq!(error.undelivered_items, 1000, "{yaml}");
        assert_eq!(running.balance().dropped.into_iter().collect::<Vec<_>>(), [("shutdown", 1000)]);
    }
}

#[tokio::test(start_paused = true)]
async fn an_open_batch_is_sent_by_the_shutdown() {
    let to = Scripted::working();
    let running = Running::start("{sending_queue: {batch: {flush_timeout: 1h}}}", &to).await;
    for _ in 0..3 {
        running.consume(2).await.unwrap();
    }
    settle().await;
    assert_eq!(to.attempts(), 0);
    running.stop(5).await.unwrap();
    assert_eq!(to.taken_ids(), [[0, 1, 2, 3, 4, 5]]);
}

#[tokio::test(start_paused = true)]
async fn callers_that_wait_are_all_answered() {
    let to = Scripted::down();
    let yaml =
        "{sending_queue: {wait_for_result: true, num_consumers: 1, queue_size: 2, block_on_overflow: true}}";
    let running = Running::start(yaml, &to).await;
    let callers: Vec<_> = (0..4).map(|_| running.spawn(1)).collect();
    settle().await;
    let error = running.stop(5).await.unwrap_err();
    assert_eq!(error.undelivered_items, 2);
    for caller in callers {
        assert!(!caller.await.unwrap().unwrap_err().is_permanent());
    }
    assert_eq!((running.balance().returned, running.balance().dropped_total()), (4, 0));
}

#[tokio::test(start_paused = true)]
async fn a_successor_gets_what_is_left_in_its_order_and_context() {
    let to = Scripted::new(|attempt, _| match attempt {
        0 => Answer::After(Duration::from_secs(2), Box::new(Answer::Ok)),
        1 => Answer::After(Duration::from_secs(2), Box::new(unavailable())),
        _ => Answer::Hang,
    });
    let running = Running::start("{sending_queue: {num_consumers: 3}, timeout: 0s}", &to).await;
    for id in 0..6 {
        let mut batch = running.batch(1);
        batch.context.metadata = Metadata::from_pairs([("n", id.to_string())]);
        running.exporter.consume(batch).await.unwrap();
    }
    settle().await;
    let began = Instant::now();
    let batches = running.exporter.retire(Instant::now() + Duration::from_secs(10)).await.unwrap();
    assert!(began.elapsed() <= Duration::from_secs(10));
    let ids: Vec<_> = batches.iter().map(|batch| item_ids(&batch.payload)).collect();
    assert_eq!((to.ids(), ids), (vec![0], vec![vec![1], vec![2], vec![3], vec![4], vec![5]]));
    assert_eq!(batches[4].context.metadata.values("n"), ["5"]);
    let balance = running.balance();
    assert_eq!((balance.delivered, balance.returned, balance.held), (1, 5, 0));
    assert!(running.consume(1).await.is_err());
}

#[tokio::test(start_paused = true)]
async fn a_successor_gets_the_requests_of_an_open_batch_one_by_one() {
    let to = Scripted::working();
    let running = Running::start("{sending_queue: {batch: {flush_timeout: 1h}}}", &to).await;
    for _ in 0..3 {
        running.consume(2).await.unwrap();
    }
    settle().await;
    assert_eq!(running.retire(5).await, [[0, 1], [2, 3], [4, 5]]);
    assert_eq!(to.attempts(), 0);
}

#[tokio::test(start_paused = true)]
async fn what_is_inherited_waits_for_room_and_goes_before_what_comes_later() {
    let to = Scripted::down();
    let running = Running::start("{sending_queue: {queue_size: 2, num_consumers: 1}}", &to).await;
    running.consume(1).await.unwrap();
    running.consume(1).await.unwrap();
    let heritage: Vec<_> = (0..3)
        .map(|_| {
            let (exporter, batch) = (running.exporter.clone(), running.batch(1));
            tokio::spawn(async move { exporter.inherit(batch).await })
        })
        .collect();
    settle().await;
    assert!(heritage.iter().all(|call| !call.is_finished()));
    to.does(|_, _| Answer::After(Duration::from_secs(1), Box::new(Answer::Ok)));
    while !heritage.iter().all(tokio::task::JoinHandle::is_finished) {
        assert!(running.consume(1).await.is_err(), "nothing gets ahead");
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
    to.wait_for_items(5).await;
    assert_eq!(to.taken_ids().concat(), [0, 1, 2, 3, 4]);
}

#[tokio::test(start_paused = true)]
async fn what_is_inherited_is_taken_even_if_it_is_larger_than_the_queue() {
    let to = Scripted::working();
    let running = Running::start("{sending_queue: {sizer: items, queue_size: 2}}", &to).await;
    assert!(running.consume(3).await.unwrap_err().is_permanent());
    running.exporter.inherit(running.batch(3)).await.unwrap();
    to.wait_for_items(3).await;
}

#[tokio::test(start_paused = true)]
async fn who_waits_for_the_outcome_hears_of_the_reload_and_has_its_request() {
    let to = Scripted::down();
    let running = Running::start("{sending_queue: {wait_for_result: true, num_consumers: 1}}", &to).await;
    let callers = [running.spawn(1), running.spawn(1)];
    settle().await;
    assert!(running.retire(5).await.is_empty());
    for caller in callers {
        assert!(!caller.await.unwrap().unwrap_err().is_permanent());
    }
    assert_eq!(running.balance().returned, 2);
}

#[tokio::test(start_paused = true)]
async fn before_the_start_and_after_the_end_nothing_is_taken() {
    let settings = settings_of(Kind::Exporter, "otlp_grpc");
    let to = Scripted::working();
    let exporter = crate::ExporterHelper::new(settings.clone(), config("{}"), To(to.clone())).unwrap();
    let batch = Batch::new(Payloads::small().request(spanbridge_component::Signal::Logs, 1));
    let early: ConsumeError = exporter.consume(batch.clone()).await.unwrap_err();
    assert!(!early.is_permanent());
    exporter.shutdown(Instant::now()).await.unwrap();
    assert!(exporter.consume(batch).await.is_err());
    assert!(settings.ledger.balance(spanbridge_component::Signal::Logs).is_empty());
    drop(host(&settings));
}
