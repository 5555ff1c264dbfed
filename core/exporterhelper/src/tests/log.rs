//! What the log says.

use std::time::Duration;

use spanbridge_component::ConsumeError;
use spanbridge_testkit::Log;

use crate::SendError;
use crate::testing::{Answer, Running, Scripted, not_let_in, settle};

/// What is logged when a destination answers so, for two requests of three items within a minute.
async fn logged(yaml: &str, error: impl Into<SendError>) -> Vec<String> {
    let log = Log::record();
    let error = error.into();
    let to = Scripted::new(move |_, _| Answer::Fail(error.clone()));
    let running = Running::start(yaml, &to).await;
    for _ in 0..2 {
        let _ = running.spawn(3).await.unwrap();
        settle().await;
    }
    tokio::time::sleep(Duration::from_secs(60)).await;
    log.lines()
}

#[tokio::test(start_paused = true)]
async fn data_that_is_given_up_is_logged_with_what_would_have_helped_once_in_a_while() {
    let down = || ConsumeError::retryable("down");
    let cases = [
        (
            "{sending_queue: {enabled: false}, retry_on_failure: {enabled: false}}",
            "ERROR Exporting failed. Rejecting data. Try enabling retry_on_failure config option to retry on \
             retryable errors. Try enabling sending_queue to survive temporary failures. error=down \
             rejected_items=3 held_back=0",
        ),
        (
            "{retry_on_failure: {enabled: false}}",
            "ERROR Exporting failed. Dropping data. Try enabling retry_on_failure config option to retry on \
             retryable errors. error=down dropped_items=3 held_back=0",
        ),
        (
            "{retry_on_failure: {max_elapsed_time: 30s, initial_interval: 30s, randomization_factor: 0}}",
            "ERROR Exporting failed. Dropping data. error=no more retries left: down dropped_items=3 held_back=0",
        ),
    ];
    for (yaml, expected) in cases {
        let lines = logged(yaml, down()).await;
        let errors: Vec<_> = lines.iter().filter(|line| line.starts_with("ERROR")).collect();
        assert_eq!(errors, [expected], "{yaml}: {lines:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn retries_are_logged_with_their_interval_once_in_a_while() {
    let yaml = "{retry_on_failure: {randomization_factor: 0, max_interval: 5s}}";
    let lines = logged(yaml, ConsumeError::retryable("down")).await;
    let text =
        "INFO Exporting failed. Will retry the request after interval. error=down interval=5s held_back=";
    assert_eq!(lines[0], format!("{text}0"));
    assert!(lines.iter().all(|line| line.starts_with(text)), "{lines:?}");
    assert!((5..=7).contains(&lines.len()), "{lines:?}");
}

#[tokio::test(start_paused = true)]
async fn refused_credentials_are_an_error_that_says_what_to_do() {
    let yaml = "{retry_on_failure: {randomization_factor: 0, max_interval: 5s}}";
    let lines = logged(yaml, not_let_in()).await;
    assert!(
        lines[0].starts_with("ERROR Exporting failed. Will retry the request after interval."),
        "{lines:?}"
    );
    assert!(lines[0].contains("correct them") && lines[0].contains("invalid credentials"), "{lines:?}");
    assert!((5..=7).contains(&lines.len()), "{lines:?}");
}

#[tokio::test(start_paused = true)]
async fn a_queue_that_refuses_is_logged() {
    let yaml = "{sending_queue: {sizer: items, queue_size: 2}}";
    let lines = logged(yaml, ConsumeError::retryable("down")).await;
    assert_eq!(
        lines,
        [
            "ERROR Exporting failed. Rejecting data. error=element size too large: 3, and sending_queue::queue_size is 2 \
          rejected_items=3 held_back=0"
        ]
    );
}
