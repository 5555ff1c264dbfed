use std::time::Duration;

use prometheus::IntGauge;
use proptest::collection::vec;
use proptest::prelude::*;
use spanbridge_component::{Batch, Ledger, Payload, Signal};
use spanbridge_testkit::block_on_paused;
use tokio::time::timeout;

use super::*;
use crate::testing::settle;
use crate::ticket::{Keeper, Ticket};

fn room(capacity: u64) -> (Room, IntGauge) {
    let gauge = IntGauge::new("size", "size").unwrap();
    (Room::new(capacity, gauge.clone()), gauge)
}

fn part(ledger: &Ledger) -> Part {
    let entry = ledger.take(Signal::Traces, 0);
    Part::new(Batch::new(Payload::empty(Signal::Traces)), Ticket::new(entry, Keeper::Memory, None))
}

/// What a caller or the end of an export does.
#[derive(Debug, Clone)]
enum Step {
    Take {
        size: u64,
        blocks: bool,
    },
    /// The caller goes away while it waits, if it waits.
    TakeAndLeave {
        size: u64,
    },
    /// The oldest that is held is done with.
    Release,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        (0_u64..8, any::<bool>()).prop_map(|(size, blocks)| Step::Take { size, blocks }),
        (0_u64..8).prop_map(|size| Step::TakeAndLeave { size }),
        Just(Step::Release),
        Just(Step::Release),
    ]
}

/// A room as it should be: sums only.
async fn follow(capacity: u64, steps: Vec<Step>) -> Result<(), TestCaseError> {
    let (room, gauge) = room(capacity);
    let room = Arc::new(room);
    let (mut held, mut waiting) = (VecDeque::new(), VecDeque::new());
    let mut expected: VecDeque<u64> = VecDeque::new();
    for step in steps {
        let taken: u64 = expected.iter().sum();
        match step {
            Step::Take { size, blocks } if size > capacity => {
                let refused = room.take(size, blocks).await.unwrap_err();
                prop_assert!(
                    refused.is_permanent() && refused.message().starts_with("element size too large")
                );
            }
            Step::Take { size, blocks: true } => {
                let room = room.clone();
                let mut taking = Box::pin(async move { room.take(size, true).await });
                match timeout(Duration::ZERO, &mut taking).await {
                    Ok(place) => {
                        prop_assert!(taken + size <= capacity);
                        held.push_back(place.unwrap());
                        expected.push_back(size);
                    }
                    Err(_) => waiting.push_back((size, taking)),
                }
            }
            Step::Take { size, blocks: false } => match room.take(size, false).await {
                Ok(place) => {
                    prop_assert!(taken + size <= capacity);
                    held.push_back(place);
                    expected.push_back(size);
                }
                Err(error) => {
                    prop_assert!(!error.is_permanent() && error.message() == "sending queue is full");
                    prop_assert!(taken + size > capacity || !waiting.is_empty());
                }
            },
            Step::TakeAndLeave { size } => {
                if let Ok(Ok(place)) = timeout(Duration::ZERO, room.take(size, true)).await {
                    held.push_back(place);
                    expected.push_back(size);
                }
            }
            Step::Release => drop((held.pop_front(), expected.pop_front())),
        }
        // Whoever waits gets its place in the order of the calls.
        while let Some((size, mut taking)) = waiting.pop_front() {
            if let Ok(place) = timeout(Duration::ZERO, &mut taking).await {
                held.push_back(place.unwrap());
                expected.push_back(size);
            } else {
                let taken: u64 = expected.iter().sum();
                prop_assert!(taken + size > capacity, "the first in line waits though there is room");
                waiting.push_front((size, taking));
                break;
            }
        }
        let taken: u64 = expected.iter().sum();
        prop_assert!(taken <= capacity);
        prop_assert_eq!(gauge.get(), i64::try_from(taken).unwrap());
    }
    drop((held, waiting));
    prop_assert_eq!(gauge.get(), 0);
    prop_assert!(room.take(capacity, false).await.is_ok(), "everything came back");
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn the_room_is_never_exceeded_and_comes_back(capacity in 1_u64..12, steps in vec(step(), 0..60)) {
        block_on_paused(follow(capacity, steps))?;
    }
}

#[tokio::test(start_paused = true)]
async fn every_waiting_consumer_gets_a_request_however_they_come_in() {
    let ledger = Ledger::new();
    let queue = Arc::new(MemoryQueue::new(room(100).0));
    let consumer = |queue: &Arc<MemoryQueue>| {
        let queue = queue.clone();
        tokio::spawn(async move { queue.take().await.is_some() })
    };
    let consumers: Vec<_> = (0..10).map(|_| consumer(&queue)).collect();
    settle().await;
    for _ in 0..10 {
        assert!(queue.push(part(&ledger)).is_ok());
    }
    for consumer in consumers {
        assert!(timeout(Duration::from_secs(1), consumer).await.unwrap().unwrap());
    }
}

#[tokio::test(start_paused = true)]
async fn a_closed_queue_gives_out_what_it_holds_and_takes_nothing() {
    let ledger = Ledger::new();
    let queue = Arc::new(MemoryQueue::new(room(1).0));
    let _place = queue.room.take(1, false).await.unwrap();
    assert!(queue.push(part(&ledger)).is_ok());
    let blocked = {
        let queue = queue.clone();
        tokio::spawn(async move { queue.room.take(1, true).await.unwrap_err() })
    };
    settle().await;
    queue.close();
    assert!(!blocked.await.unwrap().is_permanent());
    assert!(queue.push(part(&ledger)).is_err());
    assert!(queue.take().await.is_some());
    assert!(queue.take().await.is_none());
}
