//! Signals, sent to this very process: alone in its binary, since they reach every listener in it.

use std::time::Duration;

use rustix::process::{Signal, getpid, kill_process};
use spanbridge::{Control, Signals};
use tokio::time::timeout;

const BOUND: Duration = Duration::from_secs(30);

#[tokio::test]
async fn the_first_signal_asks_to_stop_and_the_second_to_end_at_once() {
    let control = Control::new();
    let forced = tokio::spawn(Signals::listen().unwrap().until_forced(control.clone()));
    let send = |signal| kill_process(getpid(), signal).unwrap();

    send(Signal::HUP);
    tokio::task::yield_now().await;
    assert!(!control.shutdown().is_cancelled(), "a hangup stops nothing");

    send(Signal::TERM);
    timeout(BOUND, control.shutdown().cancelled()).await.unwrap();
    assert!(!forced.is_finished(), "one signal waits for the orderly end");

    send(Signal::INT);
    timeout(BOUND, forced).await.unwrap().unwrap();
}
