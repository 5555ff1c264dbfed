//! Random load, the same for the same seed.

use std::time::Duration;

use batch_processor::{Acknowledge, Config, Factory};
use fastrand::Rng;
use spanbridge_component::{Batch, ProcessorFactory, Signal};
use spanbridge_testkit::conformance::{Contract, Delivery};
use spanbridge_testkit::{Flaky, Payloads, Rates, Sink};
use tokio::task::JoinSet;

use crate::harness::{Fixture, tenant_context};

/// Requests of one run.
const REQUESTS: usize = 300;

async fn every_item_arrives_once(seed: u64, config: Config) {
    let sink = Sink::new();
    // Never fails, but takes a random time, so that batches overtake each other.
    let mut batch = Fixture::new(config, Flaky::new(seed, Rates::default(), sink.clone()));
    let (mut rng, mut callers) = (Rng::with_seed(seed), JoinSet::new());
    for _ in 0..REQUESTS {
        let (items, tenant) = (rng.usize(1..=40), rng.u8(0..4).to_string());
        let request = Batch { payload: batch.spans(items), context: tenant_context(&tenant) };
        let processor = batch.processor.clone();
        callers.spawn(async move { processor.consume(request).await });
        if rng.u8(0..10) == 0 {
            tokio::time::sleep(Duration::from_micros(rng.u64(0..5_000))).await;
        }
    }
    // Some are still waiting when the processor stops: they are served by the drain.
    tokio::task::yield_now().await;
    tokio::time::sleep(Duration::from_millis(1)).await;
    batch.shut_down().await;
    for answer in callers.join_all().await {
        assert_eq!(answer, Ok(()), "seed {seed}");
    }
    let sent = batch.payloads.next_id();
    let counts = sink.item_counts();
    assert_eq!(counts.len() as u64, sent, "seed {seed}: items are missing");
    assert!(counts.values().all(|times| *times == 1), "seed {seed}: items are doubled");
}

#[tokio::test(start_paused = true)]
async fn every_acknowledged_item_arrives_exactly_once() {
    for seed in 0..2 {
        let base = Config { send_batch_size: 100, ..Config::default() };
        every_item_arrives_once(seed, base.clone()).await;
        let cut = Config { send_batch_max_size: 110, ..base.clone() };
        every_item_arrives_once(seed, cut.clone()).await;
        let keys = vec!["x-tenant".to_owned()];
        every_item_arrives_once(seed, Config { metadata_keys: keys, ..cut }).await;
        every_item_arrives_once(seed, Config { acknowledge: Acknowledge::Accepted, ..base }).await;
    }
}

/// As above with real threads and real time: what paused time cannot show is two threads in one step.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn every_acknowledged_item_arrives_exactly_once_on_several_threads() {
    let sink = Sink::new();
    let config = Config { send_batch_size: 50, send_batch_max_size: 60, ..Config::default() };
    let config = Config { timeout: spanbridge_config::Duration::from_millis(1), ..config };
    let batch = Fixture::new(config, sink.clone());
    let mut clients = JoinSet::new();
    for client in 0..8_u64 {
        let processor = batch.processor.clone();
        clients.spawn(async move {
            let mut payloads = Payloads::small();
            payloads.skip(client * 1_000_000);
            for round in 0..300 {
                let request = payloads.request(Signal::Logs, 1 + round % 30);
                processor.consume(Batch::new(request)).await.unwrap();
            }
            payloads.next_id() - client * 1_000_000
        });
    }
    let sent: u64 = clients.join_all().await.into_iter().sum();
    batch.shut_down().await;
    let counts = sink.item_counts();
    assert_eq!(counts.len() as u64, sent);
    assert!(counts.values().all(|times| *times == 1));
}

#[test]
fn the_contract_holds_at_high_failure_rates_with_many_impatient_clients() {
    for seed in 0..10 {
        let contract = Contract {
            seed,
            rates: Rates { permanent: 0.2, retryable: 0.4 },
            impatient: 0.4,
            delivery: Delivery::Exact,
            ..Contract::default()
        };
        let config = Config { send_batch_size: 40, ..Config::default() };
        contract.check(|next| Factory.create(spanbridge_testkit::settings("batch"), config, next).unwrap());
    }
}
