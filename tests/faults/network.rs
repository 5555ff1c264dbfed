//! What the way to the backend, and the backend itself, can do.

use std::time::Duration;

use super::backend::Mood;
use super::{in_every_mode, long};

fn seconds(short: u64, long_run: u64) -> Duration {
    Duration::from_secs(if long() { long_run } else { short })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backend_that_refuses_three_requests_of_ten_loses_nothing() {
    in_every_mode("refusing 30%", "10s", |backend, proxy| async move {
        backend.set(Mood::Refuse { percent: 30 });
        tokio::time::sleep(seconds(3, 60)).await;
        backend.set(Mood::Take);
        (backend, proxy)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backend_that_hangs_loses_nothing() {
    in_every_mode("hanging", "2s", |backend, proxy| async move {
        for _ in 0..if long() { 20 } else { 2 } {
            backend.set(Mood::Hang);
            // Longer than the exporter's timeout of two seconds.
            tokio::time::sleep(Duration::from_millis(2500)).await;
            backend.set(Mood::Take);
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        (backend, proxy)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_that_are_reset_lose_nothing() {
    in_every_mode("resetting connections", "10s", |backend, proxy| async move {
        for _ in 0..if long() { 600 } else { 30 } {
            tokio::time::sleep(Duration::from_millis(fastrand::u64(20..200))).await;
            proxy.reset();
        }
        (backend, proxy)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backend_that_is_down_loses_nothing() {
    in_every_mode("down", "10s", |backend, mut proxy| async move {
        proxy.go_down();
        tokio::time::sleep(seconds(5, 60)).await;
        proxy.come_up();
        (backend, proxy)
    })
    .await;
}
