//! What the processor holds while downstream hangs.

use batch_processor::{Acknowledge, Config, EXPORTS_MAX, ROOM_BYTES};
use spanbridge_component::{Batch, Signal};
use spanbridge_testkit::{Gate, Payloads, Sink};

use crate::harness::{Fixture, config, settle};

fn accepted() -> Config {
    Config { acknowledge: Acknowledge::Accepted, ..config() }
}

#[tokio::test(start_paused = true)]
async fn so_many_batches_are_on_their_way_and_no_more() {
    let sink = Sink::new();
    let gate = Gate::closed(sink.clone());
    let mut batch = Fixture::new(accepted(), gate.clone());
    for _ in 0..3 * EXPORTS_MAX {
        batch.send(10).await.unwrap().unwrap();
    }
    settle().await;
    assert_eq!(gate.waiting(), EXPORTS_MAX);
    gate.open();
    sink.wait_for_items(30 * EXPORTS_MAX).await;
    assert_eq!(sink.item_counts().len(), 30 * EXPORTS_MAX);
}

#[tokio::test(start_paused = true)]
async fn callers_wait_when_all_room_is_taken_and_nothing_is_lost() {
    let sink = Sink::new();
    let gate = Gate::closed(sink.clone());
    let batch = Fixture::new(accepted(), gate.clone());
    // One shared request of a megabyte; each copy is a handle that counts in full.
    let payload = Payloads::rich().request(Signal::Traces, 2000);
    let fitting = ROOM_BYTES / payload.len().next_multiple_of(1024);
    let callers: Vec<_> = (0..fitting + 5)
        .map(|_| {
            let (processor, batch) = (batch.processor.clone(), Batch::new(payload.clone()));
            tokio::spawn(async move { processor.consume(batch).await })
        })
        .collect();
    gate.wait_for_waiting(EXPORTS_MAX).await;
    settle().await;
    assert_eq!(callers.iter().filter(|caller| caller.is_finished()).count(), fitting);
    gate.open();
    for caller in callers {
        caller.await.unwrap().unwrap();
    }
    sink.wait_for_items((fitting + 5) * 2000).await;
}

#[tokio::test(start_paused = true)]
async fn a_pending_batch_is_sent_when_it_takes_the_last_room() {
    let (sink, size) = (Sink::new(), 100_000_000);
    let batch = Fixture::new(Config { send_batch_size: size, ..accepted() }, sink.clone());
    let payload = Payloads::rich().request(Signal::Traces, 2000);
    let start = tokio::time::Instant::now();
    for _ in 0..2 * ROOM_BYTES / payload.len() {
        batch.processor.consume(Batch::new(payload.clone())).await.unwrap();
    }
    assert!(start.elapsed().is_zero(), "callers waited for the timer of the pending batch");
}

#[tokio::test(start_paused = true)]
async fn overload_does_not_cut_batches_small() {
    let sink = Sink::new();
    let gate = Gate::closed(sink.clone());
    let batch = Fixture::new(Config { send_batch_size: 10_000, ..config() }, gate.clone());
    // Five requests of a megabyte make a batch. The room is no multiple of that, and is taken one and a half times.
    let payload = Payloads::rich().request(Signal::Traces, 2000);
    let callers: Vec<_> = (0..100)
        .map(|_| {
            let (processor, batch) = (batch.processor.clone(), Batch::new(payload.clone()));
            tokio::spawn(async move { processor.consume(batch).await })
        })
        .collect();
    gate.wait_for_waiting(EXPORTS_MAX).await;
    settle().await;
    gate.open();
    for caller in callers {
        caller.await.unwrap().unwrap();
    }
    assert_eq!(sink.batch_sizes(), [10_000; 20]);
}

#[tokio::test(start_paused = true)]
async fn a_request_in_very_many_parts_goes_a_few_at_a_time() {
    let sink = Sink::new();
    let gate = Gate::closed(sink.clone());
    let config = Config { send_batch_size: 1, send_batch_max_size: 1, ..accepted() };
    let mut batch = Fixture::new(config, gate.clone());
    let caller = batch.send(5000);
    gate.wait_for_waiting(EXPORTS_MAX).await;
    settle().await;
    let alive = tokio::runtime::Handle::current().metrics().num_alive_tasks();
    assert!(alive <= EXPORTS_MAX + 2, "{alive} tasks for one request");
    gate.open();
    assert_eq!(caller.await.unwrap(), Ok(()));
    sink.wait_for_items(5000).await;
    assert_eq!(sink.item_counts().len(), 5000);
}
