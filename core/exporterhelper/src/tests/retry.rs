//! Timeouts and retries, without a queue.

use std::time::Duration;

use spanbridge_component::{Acknowledges, Code, ConsumeError, Status};
use tokio::time::{Instant, timeout};

use crate::testing::{Answer, Running, Scripted, settle, unavailable};

/// Pauses of 5, 7.5, 11.25 ... seconds.
const NO_QUEUE: &str = "{sending_queue: {enabled: false}, retry_on_failure: {randomization_factor: 0}}";
const PLAIN: &str = "{sending_queue: {enabled: false}, retry_on_failure: {enabled: false}}";

fn fails(times: usize) -> impl Fn(usize, &spanbridge_component::Batch) -> Answer + Send + Sync {
    move |attempt, _| if attempt < times { unavailable() } else { Answer::Ok }
}

#[tokio::test(start_paused = true)]
async fn a_caller_waits_until_its_request_is_delivered() {
    let to = Scripted::new(fails(2));
    let running = Running::start(NO_QUEUE, &to).await;
    assert_eq!(running.exporter.capabilities().acknowledges, Acknowledges::Delivered);
    let began = Instant::now();

    running.consume(3).await.unwrap();

    assert_eq!(began.elapsed().as_millis(), 12_500);
    assert_eq!((to.attempts(), to.ids()), (3, vec![0, 1, 2]));
    assert_eq!(running.metric("sent_spans"), 3);
    assert_eq!(running.balance().delivered, 3);
    let [Status::RecoverableError(_), Status::Ok] = &running.status.reports()[..] else {
        panic!("{:?}", running.status.reports())
    };
}

#[tokio::test(start_paused = true)]
async fn failures_end_with_the_references_texts() {
    let cases = [
        (NO_QUEUE, ConsumeError::permanent("bad"), "not retryable error: Permanent error: bad"),
        (PLAIN, ConsumeError::permanent("bad"), "bad"),
        (PLAIN, ConsumeError::retryable("down"), "down"),
        (NO_QUEUE, ConsumeError::retryable("down"), "no more retries left: down"),
    ];
    for (yaml, error, expected) in cases {
        let answer = error.clone();
        let to = Scripted::new(move |_, _| Answer::Fail(answer.clone().into()));
        let running = Running::start(yaml, &to).await;
        let failed = running.consume(2).await.unwrap_err();
        assert_eq!(failed.message(), expected);
        assert_eq!(failed.is_permanent(), error.is_permanent());
        assert_eq!(running.metric("send_failed_spans"), 2);
        assert_eq!(running.balance().returned, 2);
    }
}

#[tokio::test(start_paused = true)]
async fn the_delay_that_the_destination_asks_for_is_kept_and_is_too_long_for_some_callers() {
    let error = ConsumeError::retryable("slow down").with_retry_after(Duration::from_secs(60));
    let to = Scripted::new(
        move |attempt, _| {
            if attempt == 0 { Answer::Fail(error.clone().into()) } else { Answer::Ok }
        },
    );
    let running = Running::start(NO_QUEUE, &to).await;
    let began = Instant::now();
    running.consume(1).await.unwrap();
    assert_eq!(began.elapsed().as_secs(), 60);

    to.does(|_, _| unavailable());
    let mut batch = running.batch(1);
    batch.context.deadline = Some((Instant::now() + Duration::from_secs(4)).into_std());
    let error = running.exporter.consume(batch).await.unwrap_err();
    assert_eq!(error.message(), "request will be cancelled before next retry: connection refused");
}

#[tokio::test(start_paused = true)]
async fn an_attempt_ends_with_the_timeout_or_the_callers_deadline_and_the_sender_knows_it() {
    let to = Scripted::new(|_, _| Answer::Hang);
    let running = Running::start(PLAIN, &to).await;
    let began = Instant::now();
    let error = running.consume(1).await.unwrap_err();
    assert_eq!((began.elapsed().as_secs(), error.code()), (5, Code::DeadlineExceeded));
    assert!(!error.is_permanent());
    let deadline = to.sent()[0].context.deadline.unwrap();
    assert_eq!(Instant::from_std(deadline) - began, Duration::from_secs(5));

    let began = Instant::now();
    let mut batch = running.batch(1);
    batch.context.deadline = Some((began + Duration::from_secs(2)).into_std());
    running.exporter.consume(batch).await.unwrap_err();
    assert_eq!(began.elapsed().as_secs(), 2);
}

#[tokio::test(start_paused = true)]
async fn what_failed_of_a_request_is_sent_again_and_the_rest_is_not() {
    let to = Scripted::new(|attempt, batch| {
        if attempt > 0 {
            return Answer::Ok;
        }
        let five = std::num::NonZeroUsize::new(5).unwrap();
        let failed = batch.payload.clone().split_items(five, five).skip(1).collect();
        let error = ConsumeError::retryable("one backend of two");
        Answer::Fail(crate::SendError { failed: Some(failed), ..error.into() })
    });
    let running = Running::start(NO_QUEUE, &to).await;
    running.consume(8).await.unwrap();
    assert_eq!(to.taken_ids(), [[5, 6, 7]]);
    assert_eq!((running.metric("sent_spans"), running.balance().delivered), (8, 8));
}

#[tokio::test(start_paused = true)]
async fn a_caller_that_goes_away_has_its_request_back() {
    let to = Scripted::new(|_, _| Answer::Hang);
    let running = Running::start(NO_QUEUE, &to).await;
    assert!(timeout(Duration::from_secs(1), running.consume(4)).await.is_err());
    let balance = running.balance();
    assert_eq!((balance.returned, balance.held, balance.lost), (4, 0, 0));
    running.stop(1).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_retry_in_its_callers_call_is_interrupted_by_a_shutdown() {
    let to = Scripted::down();
    let running = Running::start(NO_QUEUE, &to).await;
    let caller = running.spawn(2);
    settle().await;
    let began = Instant::now();
    let error = running.stop(30).await.unwrap_err();
    assert_eq!((began.elapsed().as_secs(), error.undelivered_items), (0, 2));
    let error = caller.await.unwrap().unwrap_err();
    assert_eq!(error.message(), "interrupted due to shutdown: connection refused");
    assert_eq!(running.balance().returned, 2);
    let after = running.consume(1).await.unwrap_err();
    assert!(!after.is_permanent());
}

#[tokio::test(start_paused = true)]
async fn a_caller_whose_destination_hangs_is_cut_off_at_the_end_of_the_shutdown() {
    let to = Scripted::new(|_, _| Answer::Hang);
    let running = Running::start("{timeout: 0s, sending_queue: {enabled: false}}", &to).await;
    let caller = running.spawn(2);
    settle().await;
    let error = running.stop(4).await.unwrap_err();
    assert_eq!(error.undelivered_items, 2);
    assert!(!caller.await.unwrap().unwrap_err().is_permanent());
    assert_eq!(running.balance().returned, 2);
}

#[test]
fn the_futures_of_the_hot_path_are_small() {
    let [with_queue, without] = crate::lane::future_sizes();
    assert!(with_queue < 2048 && without < 5120, "{with_queue} {without}");
}

#[tokio::test(start_paused = true)]
async fn a_sender_that_panics_fails_the_request_and_nothing_else() {
    let to = Scripted::new(|attempt, _| if attempt == 0 { Answer::Panic } else { Answer::Ok });
    let running = Running::start("{sending_queue: {num_consumers: 1}}", &to).await;
    running.consume(1).await.unwrap();
    running.consume(1).await.unwrap();
    to.wait_for_items(1).await;
    assert_eq!(to.ids(), [1]);
    running.stop(5).await.unwrap();
    assert_eq!(running.balance().dropped_total(), 1);
}
