//! The queue in memory.

use std::time::Duration;

use spanbridge_component::{Acknowledges, Batch, Code, ConsumeError, Metadata, Payload, Signal, Status};
use spanbridge_testkit::metric_count;
use tokio::time::{Instant, timeout};

use crate::testing::{Answer, Running, Scripted, not_let_in, settle, unavailable};

#[tokio::test(start_paused = true)]
async fn callers_are_answered_when_their_request_is_in_the_queue_and_order_is_kept() {
    let to = Scripted::new(|_, _| Answer::After(Duration::from_secs(1), Box::new(Answer::Ok)));
    let running = Running::start("{sending_queue: {num_consumers: 1}}", &to).await;
    assert_eq!(running.exporter.capabilities().acknowledges, Acknowledges::Accepted);
    for _ in 0..5 {
        running.consume(2).await.unwrap();
    }
    assert_eq!((to.ids().len(), running.metric("queue_size"), running.balance().held), (0, 5, 10));
    assert_eq!(running.metric("queue_capacity"), 1000);
    to.wait_for_items(4).await;
    assert_eq!(to.taken_ids(), [[0, 1], [2, 3]]);
    settle().await;
    assert_eq!((running.metric("queue_size"), running.metric("in_flight_requests")), (3, 1));
    to.wait_for_items(10).await;
    settle().await;
    assert_eq!(to.taken_ids().concat(), (0..10).collect::<Vec<_>>());
    assert_eq!((running.metric("queue_size"), running.metric("in_flight_requests")), (0, 0));
    let labels = [("exporter", "otlp_grpc")];
    assert_eq!(metric_count(&running.settings.telemetry, "otelcol_exporter_enqueue_size", &labels), Some(5));
    assert_eq!(running.balance().delivered, 10);
}

#[tokio::test(start_paused = true)]
async fn as_many_requests_are_on_their_way_as_there_are_consumers() {
    let to = Scripted::new(|_, _| Answer::Hang);
    let running = Running::start("{timeout: 0s, sending_queue: {num_consumers: 4}}", &to).await;
    for _ in 0..9 {
        running.consume(1).await.unwrap();
    }
    settle().await;
    assert_eq!((to.attempts(), running.metric("in_flight_requests")), (4, 4));
}

/// core#5952: data that cannot be enqueued was dropped before any retry, without a word to its sender.
#[tokio::test(start_paused = true)]
async fn core_5952_a_full_queue_refuses_with_a_retryable_error_and_counts_it() {
    let to = Scripted::new(|_, _| Answer::Hang);
    let running = Running::start("{timeout: 0s, sending_queue: {queue_size: 2}}", &to).await;
    running.consume(3).await.unwrap();
    running.consume(3).await.unwrap();
    let error = running.consume(5).await.unwrap_err();
    assert_eq!((error.message(), error.is_permanent()), ("sending queue is full", false));
    assert_eq!(running.metric("enqueue_failed_spans"), 5);
    assert_eq!((running.balance().returned, running.balance().held), (5, 6));
}

/// core#12928: an item larger than the queue hung the exporter when it was to wait for room.
#[tokio::test(start_paused = true)]
async fn core_12928_a_request_larger_than_the_queue_is_refused_at_once_in_both_modes() {
    for block in [true, false] {
        let to = Scripted::working();
        let yaml = format!("{{sending_queue: {{sizer: items, queue_size: 4, block_on_overflow: {block}}}}}");
        let running = Running::start(&yaml, &to).await;
        let error = timeout(Duration::from_secs(1), running.consume(5)).await.unwrap().unwrap_err();
        assert!(error.message().starts_with("element size too large"), "{error}");
        assert!(error.is_permanent(), "a client that tries again would do so for ever");
        running.consume(4).await.unwrap();
        to.wait_for_items(4).await;
        assert_eq!(running.balance().returned, 5);
    }
}

#[tokio::test(start_paused = true)]
async fn with_block_on_overflow_callers_wait_for_room_in_their_order() {
    let to = Scripted::new(|_, _| Answer::After(Duration::from_secs(1), Box::new(Answer::Ok)));
    let yaml = "{sending_queue: {sizer: items, queue_size: 10, num_consumers: 1, block_on_overflow: true}}";
    let running = Running::start(yaml, &to).await;
    let mut callers: Vec<_> = Vec::new();
    for _ in 0..5 {
        callers.push(running.spawn(5));
        settle().await;
    }
    assert_eq!(callers.iter().filter(|caller| caller.is_finished()).count(), 2);
    callers.remove(3).abort();
    to.wait_for_items(20).await;
    for caller in callers {
        caller.await.unwrap().unwrap();
    }
    assert_eq!(to.taken_ids().concat(), (0..15).chain(20..25).collect::<Vec<_>>());
    settle().await;
    let balance = running.balance();
    assert_eq!((balance.delivered, balance.returned, balance.taken), (20, 5, 25));
}

#[tokio::test(start_paused = true)]
async fn empty_requests_are_discarded_where_they_have_no_size_and_sent_where_requests_count() {
    for (sizer, attempts) in [("items", 0), ("bytes", 0), ("requests", 1)] {
        let to = Scripted::working();
        let running = Running::start(&format!("{{sending_queue: {{sizer: {sizer}}}}}"), &to).await;
        running.exporter.consume(Batch::new(Payload::empty(Signal::Traces))).await.unwrap();
        settle().await;
        assert_eq!(to.attempts(), attempts, "{sizer}");
    }
}

#[tokio::test(start_paused = true)]
async fn behind_the_queue_the_context_stays_and_the_callers_deadline_does_not_bind() {
    let to = Scripted::new(|_, _| Answer::After(Duration::from_secs(4), Box::new(Answer::Ok)));
    let running = Running::start("{}", &to).await;
    let mut batch = running.batch(1);
    batch.context.metadata = Metadata::from_pairs([("x-tenant", "a")]);
    batch.context.deadline = Some((Instant::now() + Duration::from_secs(1)).into_std());
    running.exporter.consume(batch).await.unwrap();
    to.wait_for_items(1).await;
    assert_eq!(to.taken()[0].context.metadata.values("x-tenant"), ["a"]);
}

#[tokio::test(start_paused = true)]
async fn with_wait_for_result_callers_get_the_outcome_and_their_deadline_holds() {
    let to = Scripted::new(|attempt, _| match attempt {
        0 => Answer::After(Duration::from_secs(2), Box::new(Answer::Ok)),
        1 => Answer::Fail(ConsumeError::permanent("bad").into()),
        _ => Answer::Hang,
    });
    let running = Running::start("{sending_queue: {wait_for_result: true}}", &to).await;
    assert_eq!(running.exporter.capabilities().acknowledges, Acknowledges::Delivered);
    let began = Instant::now();
    running.consume(1).await.unwrap();
    assert_eq!(began.elapsed().as_secs(), 2);
    let error = running.consume(2).await.unwrap_err();
    assert_eq!(error.message(), "not retryable error: Permanent error: bad");
    let mut batch = running.batch(4);
    batch.context.deadline = Some((Instant::now() + Duration::from_secs(3)).into_std());
    let began = Instant::now();
    let error = running.exporter.consume(batch).await.unwrap_err();
    assert_eq!(began.elapsed().as_secs(), 3);
    assert!(error.message().starts_with("request will be cancelled before next retry"), "{error}");
    let balance = running.balance();
    assert_eq!((balance.delivered, balance.returned, balance.dropped_total()), (1, 6, 0));
}

#[tokio::test(start_paused = true)]
async fn a_request_whose_waiting_caller_went_away_is_not_sent() {
    let to = Scripted::new(|_, _| Answer::After(Duration::from_secs(4), Box::new(Answer::Ok)));
    let running = Running::start("{sending_queue: {num_consumers: 1, wait_for_result: true}}", &to).await;
    let first = running.spawn(1);
    settle().await;
    let gone = running.spawn(2);
    settle().await;
    gone.abort();
    first.await.unwrap().unwrap();
    settle().await;
    assert_eq!((to.attempts(), running.metric("queue_size")), (1, 0));
    assert_eq!(running.balance().returned, 2);
}

#[tokio::test(start_paused = true)]
async fn a_request_that_is_given_up_is_dropped_with_its_reason() {
    let cases = [
        ("{}", ConsumeError::permanent("bad"), "refused"),
        ("{}", ConsumeError::retryable("down"), "retries_exhausted"),
        ("{retry_on_failure: {enabled: false}}", ConsumeError::retryable("down"), "retries_disabled"),
    ];
    for (yaml, error, reason) in cases {
        let to = Scripted::new(move |_, _| Answer::Fail(error.clone().into()));
        let running = Running::start(yaml, &to).await;
        running.consume(1).await.unwrap();
        tokio::time::sleep(Duration::from_secs(600)).await;
        assert_eq!(running.balance().dropped.into_iter().collect::<Vec<_>>(), [(reason, 1)]);
        assert_eq!(running.metric("send_failed_spans"), 1);
        assert_eq!(running.metric("queue_size"), 0);
    }
}

/// As in the Go collector a request between two attempts occupies a consumer; it does not stop the others.
#[tokio::test(start_paused = true)]
async fn a_request_that_waits_for_its_next_attempt_occupies_one_consumer_only() {
    let to = Scripted::new(|attempt, _| if attempt == 0 { unavailable() } else { Answer::Ok });
    let running = Running::start("{sending_queue: {num_consumers: 2}}", &to).await;
    for _ in 0..3 {
        running.consume(1).await.unwrap();
        settle().await;
    }
    assert_eq!(to.ids(), [1, 2]);
    assert_eq!(running.status.reports().last(), Some(&Status::Ok));
    to.wait_for_items(3).await;
}

/// On several threads, with callers that go away at any moment.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn nothing_gets_stuck_or_lost_on_many_threads() {
    let to = Scripted::new(|attempt, _| {
        let pause = Duration::from_micros(attempt as u64 % 7 * 50);
        Answer::After(pause, Box::new(Answer::Ok))
    });
    for batch in ["", ", batch: {min_size: 7, max_size: 9, flush_timeout: 2ms}"] {
        for waits in [true, false] {
            let yaml = format!(
                "{{sending_queue: {{sizer: items, queue_size: 20, num_consumers: 5, block_on_overflow: true, \
                  wait_for_result: {waits}{batch}}}}}"
            );
            let running = Running::start(&yaml, &to).await;
            let callers: Vec<_> = (0..1500).map(|n| (n, running.spawn(1 + n % 4))).collect();
            let mut answered = 0;
            for (n, caller) in callers {
                if n % 10 == 0 {
                    caller.abort();
                }
                let answer = timeout(Duration::from_secs(60), caller).await.expect("a caller is stuck");
                answered += usize::from(answer.is_ok_and(|answer| answer.is_ok()));
            }
            assert!(answered >= 1350, "{answered}");
            running.stop(30).await.unwrap();
            let balance = running.balance();
            assert_eq!((balance.held, balance.dropped_total(), running.metric("queue_size")), (0, 0, 0));
        }
    }
}

// === while the destination does not let this process in ===

#[tokio::test(start_paused = true)]
async fn what_was_acknowledged_is_kept_until_the_credentials_are_mended() {
    let to = Scripted::new(|_, _| Answer::Fail(not_let_in()));
    let running = Running::start("{}", &to).await;
    running.consume(3).await.unwrap();
    tokio::time::sleep(Duration::from_secs(200)).await;
    assert!((8..20).contains(&to.attempts()), "{}", to.attempts());
    assert_eq!((running.balance().held, running.metric("send_failed_spans")), (3, 0));
    let [.., Status::RecoverableError(error)] = &running.status.reports()[..] else { panic!() };
    assert_eq!(error, "invalid credentials");
    to.does(|_, _| Answer::Ok);
    to.wait_for_items(3).await;
    assert_eq!(running.balance().delivered, 3);
}

#[tokio::test(start_paused = true)]
async fn without_retries_or_after_the_last_what_was_acknowledged_is_dropped_all_the_same() {
    let cases = [("{}", "retries_exhausted"), ("{retry_on_failure: {enabled: false}}", "refused")];
    for (yaml, reason) in cases {
        let to = Scripted::new(|_, _| Answer::Fail(not_let_in()));
        let running = Running::start(yaml, &to).await;
        running.consume(3).await.unwrap();
        tokio::time::sleep(Duration::from_secs(400)).await;
        assert_eq!(running.metric("send_failed_spans"), 3, "{yaml}");
        assert_eq!(running.balance().dropped, [(reason, 3)].into(), "{yaml}");
    }
}

#[tokio::test(start_paused = true)]
async fn who_waits_for_the_outcome_hears_at_once_that_this_process_is_not_let_in() {
    for yaml in ["{sending_queue: {enabled: false}}", "{sending_queue: {wait_for_result: true}}"] {
        let to = Scripted::new(|_, _| Answer::Fail(not_let_in()));
        let running = Running::start(yaml, &to).await;
        let error = running.consume(3).await.unwrap_err();
        assert_eq!((error.code(), error.is_permanent(), to.attempts()), (Code::Unauthenticated, true, 1));
        assert_eq!(error.message(), "not retryable error: Permanent error: invalid credentials");
        assert_eq!(running.balance().returned, 3);
    }
}
