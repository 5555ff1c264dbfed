//! Requests that are refused as a whole are taken apart.

use std::time::Duration;

use proptest::collection::{btree_set, vec};
use proptest::prelude::*;
use spanbridge_component::Batch;
use spanbridge_testkit::{block_on_paused, item_ids};

use crate::apart::REFUSALS_MAX;
use crate::limit::LIMIT_LIFETIME;
use crate::testing::{Answer, Running, Scripted, refused, refuses_items, settle, too_large, unavailable};

const QUEUE: &str = "{sending_queue: {num_consumers: 1}}";
const BATCH: &str = "{sending_queue: {batch: {min_size: 100, flush_timeout: 1s}}}";
const WAITING_BATCH: &str =
    "{sending_queue: {wait_for_result: true, batch: {min_size: 100, flush_timeout: 1s}}}";
const NO_QUEUE: &str = "{sending_queue: {enabled: false}}";

fn takes_bytes(limit: usize, told: bool) -> impl Fn(usize, &Batch) -> Answer + Send + Sync {
    move |_, batch| {
        if batch.payload.len() > limit { Answer::Fail(too_large(told.then_some(limit))) } else { Answer::Ok }
    }
}

#[tokio::test(start_paused = true)]
async fn a_message_that_is_too_large_is_cut_as_told_and_later_ones_beforehand() {
    for yaml in [QUEUE, NO_QUEUE] {
        let to = Scripted::new(takes_bytes(2000, true));
        let running = Running::start(yaml, &to).await;
        running.consume(100).await.unwrap();
        to.wait_for_items(100).await;
        assert_eq!(to.ids(), (0..100).collect::<Vec<_>>());
        assert_eq!(to.attempts(), to.taken().len() + 1, "one refusal");
        let before = to.attempts();
        running.consume(100).await.unwrap();
        to.wait_for_items(200).await;
        assert_eq!(to.attempts() - before, to.taken().len() - (before - 1), "no refusal");
        // The destination takes more after a while: that must be found out.
        to.does(|_, _| Answer::Ok);
        tokio::time::sleep(LIMIT_LIFETIME).await;
        let before = to.attempts();
        running.consume(100).await.unwrap();
        to.wait_for_items(300).await;
        assert_eq!(to.attempts() - before, 1);
        settle().await;
        assert_eq!(running.balance().delivered, 300);
    }
}

#[tokio::test(start_paused = true)]
async fn without_a_limit_it_is_halved_until_it_fits() {
    let to = Scripted::new(takes_bytes(2000, false));
    let running = Running::start(QUEUE, &to).await;
    running.consume(200).await.unwrap();
    to.wait_for_items(200).await;
    assert_eq!(to.ids(), (0..200).collect::<Vec<_>>());
    assert_eq!(running.balance().dropped_total(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_single_item_that_is_too_large_is_dropped_and_its_neighbours_are_not() {
    let to = Scripted::new(takes_bytes(500, true));
    let running = Running::start(QUEUE, &to).await;
    let mut payload = running.payload(2);
    let mut rich = spanbridge_testkit::Payloads::rich();
    rich.skip(100);
    payload.append(rich.request(spanbridge_component::Signal::Traces, 1)).unwrap();
    payload.append(running.payload(2)).unwrap();
    running.exporter.consume(Batch::new(payload)).await.unwrap();
    to.wait_for_items(4).await;
    settle().await;
    assert_eq!(to.ids(), [0, 1, 2, 3]);
    let balance = running.balance();
    assert_eq!(balance.dropped.into_iter().collect::<Vec<_>>(), [("too_large", 1)]);
}

#[tokio::test(start_paused = true)]
async fn only_the_bad_request_of_a_batch_is_lost_and_its_caller_alone_hears_of_it() {
    let to = Scripted::new(refuses_items(&[7]));
    let running = Running::start(WAITING_BATCH, &to).await;
    let callers: Vec<_> = (0..5).map(|_| running.spawn(3)).collect();
    let mut answers = Vec::new();
    for caller in callers {
        answers.push(caller.await.unwrap().is_ok());
    }
    assert_eq!(answers, [true, true, false, true, true]);
    assert_eq!(to.ids(), [0, 1, 2, 3, 4, 5, 9, 10, 11, 12, 13, 14], "the caller has its whole request");
    assert_eq!(running.balance().returned, 3);
}

#[tokio::test(start_paused = true)]
async fn where_nobody_waits_only_the_bad_items_are_lost() {
    for yaml in [BATCH, QUEUE] {
        let to = Scripted::new(refuses_items(&[3, 17]));
        let running = Running::start(yaml, &to).await;
        running.consume(10).await.unwrap();
        running.consume(10).await.unwrap();
        to.wait_for_items(18).await;
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert_eq!(to.ids(), (0..20).filter(|id| ![3, 17].contains(id)).collect::<Vec<_>>());
        let balance = running.balance();
        assert_eq!(balance.dropped.into_iter().collect::<Vec<_>>(), [("refused", 2)]);
        assert_eq!((running.metric("sent_spans"), running.metric("queue_size")), (18, 0));
    }
}

#[tokio::test(start_paused = true)]
async fn without_a_queue_a_request_goes_back_whole_but_what_was_put_together_upstream_is_parted() {
    let to = Scripted::new(refuses_items(&[1]));
    let running = Running::start(NO_QUEUE, &to).await;
    let error = running.consume(3).await.unwrap_err();
    assert_eq!((error.code(), to.attempts()), (spanbridge_component::Code::InvalidArgument, 1));

    to.does(refuses_items(&[5]));
    let mut payload = running.payload(2);
    for _ in 0..3 {
        payload.append(running.payload(2)).unwrap();
    }
    let error = running.exporter.consume(Batch::new(payload)).await.unwrap_err();
    assert!(error.is_permanent());
    assert_eq!(to.ids(), [3, 4, 7, 8, 9, 10]);
    let balance = running.balance();
    assert_eq!((balance.delivered, balance.returned), (6, 5));
}

#[tokio::test(start_paused = true)]
async fn a_request_of_which_a_part_is_refused_and_another_not_delivered_is_to_be_sent_again() {
    for bad in [&[0_u64], &[3]] {
        let to = Scripted::new(move |_, batch| match refuses_items(bad)(0, batch) {
            Answer::Ok => unavailable(),
            answer => answer,
        });
        let running = Running::start(NO_QUEUE, &to).await;
        let mut payload = running.payload(2);
        payload.append(running.payload(2)).unwrap();
        let error = running.exporter.consume(Batch::new(payload)).await.unwrap_err();
        assert!(!error.is_permanent(), "{error}");
        assert_eq!(error.code(), spanbridge_component::Code::Unavailable, "what the client acts by");
        assert_eq!(running.balance().returned, 4);
    }
}

#[tokio::test(start_paused = true)]
async fn a_destination_that_refuses_everything_is_not_asked_for_ever() {
    for script in [refused, || too_large(None)] {
        let to = Scripted::new(move |_, _| Answer::Fail(script()));
        let running = Running::start(QUEUE, &to).await;
        running.consume(5000).await.unwrap();
        settle().await;
        assert!(to.attempts() <= 2 * REFUSALS_MAX as usize + 2, "{}", to.attempts());
        assert_eq!(running.balance().dropped_total(), 5000);
    }
}

#[tokio::test(start_paused = true)]
async fn a_refusal_for_the_contents_that_may_pass_is_retried_as_a_whole() {
    let mut error = refused();
    error.error = spanbridge_component::ConsumeError::retryable("try later");
    let to =
        Scripted::new(move |attempt, _| if attempt == 0 { Answer::Fail(error.clone()) } else { Answer::Ok });
    let running = Running::start(QUEUE, &to).await;
    running.consume(4).await.unwrap();
    to.wait_for_items(4).await;
    assert_eq!(to.taken().len(), 1);
}

#[tokio::test]
async fn what_is_given_up_goes_to_the_dead_letters_and_what_a_caller_has_does_not() {
    let dir = tempfile::tempdir().unwrap();
    let letters = format!("dead_letter: {{directory: '{}'}}", dir.path().display());
    let to = Scripted::new(refuses_items(&[2]));
    let running = Running::start(&format!("{{{letters}, sending_queue: {{enabled: false}}}}"), &to).await;
    running.consume(4).await.unwrap_err();
    let file = dir.path().join("otlp_grpc.traces.otlp");
    assert_eq!(std::fs::metadata(&file).unwrap().len(), 0);
    running.stop(5).await.unwrap();

    to.does(refuses_items(&[1]));
    let running = Running::start(&format!("{{{letters}}}"), &to).await;
    running.consume(4).await.unwrap();
    to.wait_for_items(3).await;
    running.stop(5).await.unwrap();
    assert_eq!(running.metric("dead_letter_items"), 1);
    let index = std::fs::read_to_string(dir.path().join("otlp_grpc.traces.index")).unwrap();
    assert!(index.contains("\t1\trefused\tInvalidArgument\t"), "{index}");
    assert!(std::fs::metadata(&file).unwrap().len() > 0);
    assert_eq!(running.balance().dropped_total(), 1);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn what_can_be_delivered_is(
        requests in vec(1_usize..20, 1..10), limit in 120_usize..3000, told: bool,
        bad in btree_set(0_u64..100, 0..4), batched: bool,
    ) {
        block_on_paused(async {
            let refused_ids = bad.clone();
            let to = Scripted::new(move |_, batch| {
                if batch.payload.len() > limit {
                    Answer::Fail(too_large(told.then_some(limit)))
                } else if item_ids(&batch.payload).iter().any(|id| refused_ids.contains(id)) {
                    Answer::Fail(refused())
                } else {
                    Answer::Ok
                }
            });
            let running = Running::start(if batched { BATCH } else { QUEUE }, &to).await;
            for items in &requests {
                running.consume(*items).await.unwrap();
            }
            tokio::time::sleep(Duration::from_secs(5)).await;
            let total = requests.iter().sum::<usize>() as u64;
            let balance = running.balance();
            prop_assert_eq!(balance.held, 0);
            prop_assert_eq!(balance.delivered + balance.dropped_total(), total);
            let taken = to.ids();
            prop_assert!(taken.windows(2).all(|pair| pair[0] != pair[1]), "doubled");
            prop_assert_eq!(taken.len() as u64, balance.delivered);
            // A message with one small span is about 130 bytes long.
            if limit > 300 {
                let expected: Vec<_> = (0..total).filter(|id| !bad.contains(id)).collect();
                prop_assert_eq!(taken, expected);
            }
            Ok(())
        })?;
    }
}
