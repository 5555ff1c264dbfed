use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use proptest::prelude::*;

use super::*;

/// Counts how often it is woken.
#[derive(Default)]
struct Bell(AtomicUsize);

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

fn poll(reserving: &mut Reserving, bell: &Arc<Bell>) -> Poll<Option<Charge>> {
    pin!(reserving).poll(&mut Context::from_waker(&Waker::from(bell.clone())))
}

#[test]
fn a_segment_is_charged_until_its_last_slice_is_gone() {
    let account = Account::new();
    let mut buffer = Vec::with_capacity(1000);
    buffer.extend_from_slice(b"telemetry");
    let segment = account.segment(buffer);
    assert_eq!(account.used(), 1000 + SEGMENT_BYTES);
    let slice = segment.slice(2..4);
    drop(segment);
    assert_eq!((slice.as_ref(), account.used()), (b"le".as_slice(), 1000 + SEGMENT_BYTES));
    drop(slice);
    assert_eq!(account.used(), 0);
    assert!(account.segment(Vec::new()).is_empty());
    assert_eq!(account.used(), 0);
}

#[test]
fn a_reservation_becomes_the_charge_of_the_segment_and_is_not_counted_twice() {
    let account = Account::new();
    let _limit = account.limit_to(5000);
    let reserved = account.try_reserve(4000).unwrap();
    let segment = reserved.hold(Bytes::from_static(b"1234"));
    assert_eq!(account.used(), 4 + SEGMENT_BYTES);
    drop(segment);
    assert_eq!(account.used(), 0);
}

#[test]
fn asking_is_limited_and_charging_is_not() {
    let account = Account::new();
    let limit = account.limit_to(10);
    let mut first = account.try_reserve(6).unwrap();
    assert!(account.try_reserve(5).is_none());
    assert!(!first.try_raise(11));
    assert!(first.try_raise(10));
    let forced = account.charge(7);
    assert_eq!(account.used(), 17);
    assert!(account.try_reserve(0).is_none(), "even nothing is too much beyond the limit");
    limit.set(100);
    assert!(account.try_reserve(83).is_some());
    drop((first, forced, limit));
    assert_eq!(
        account.usage(),
        Usage { used: 0, standing: 0, limit: None, waiting: 0, waits: 0, refusals: 0 }
    );
}

#[test]
fn the_strictest_limit_applies_until_it_goes() {
    let account = Account::new();
    let (wide, strict) = (account.limit_to(100), account.limit_to(10));
    assert_eq!(account.limit(), 10);
    strict.set(20);
    assert_eq!((account.limit(), account.capacity()), (20, 20));
    strict.set(0);
    assert_eq!((account.limit(), account.capacity()), (0, 20));
    drop(strict);
    assert_eq!(account.limit(), 100);
    drop(wide);
    assert_eq!(account.limit(), usize::MAX);
}

#[test]
fn what_may_come_is_part_of_what_is_used() {
    let account = Account::new();
    let _there = account.charge(5);
    let standing = account.try_charge(7, 12).unwrap().into_standing();
    assert_eq!((account.usage().used, account.usage().standing), (12, 7));
    drop(standing);
    assert_eq!((account.usage().used, account.usage().standing), (5, 0));
}

#[test]
fn waiting_is_in_order_and_small_ones_do_not_overtake() {
    let account = Account::new();
    let _limit = account.limit_to(10);
    let held = account.try_reserve(8).unwrap();
    let (large_bell, small_bell) = (Arc::<Bell>::default(), Arc::<Bell>::default());
    let (mut large, mut small) = (account.reserve(9), account.reserve(1));
    assert!(poll(&mut large, &large_bell).is_pending());
    assert!(poll(&mut small, &small_bell).is_pending());
    assert!(account.try_reserve(1).is_none());
    assert_eq!((account.usage().waiting, account.usage().waits), (2, 2));
    drop(held);
    assert_eq!((large_bell.0.load(Ordering::SeqCst), small_bell.0.load(Ordering::SeqCst)), (1, 0));
    assert!(poll(&mut small, &small_bell).is_pending());
    let Poll::Ready(Some(first)) = poll(&mut large, &large_bell) else { panic!("there is room") };
    assert_eq!(small_bell.0.load(Ordering::SeqCst), 1, "there is room for both");
    let Poll::Ready(Some(second)) = poll(&mut small, &small_bell) else { panic!("there is room") };
    assert_eq!(account.used(), 10);
    drop((first, second));
    assert_eq!(account.used(), 0);
}

#[test]
fn who_gives_up_leaves_the_queue_to_the_next() {
    let account = Account::new();
    let _limit = account.limit_to(10);
    let _held = account.try_reserve(8).unwrap();
    let bell = Arc::<Bell>::default();
    let (mut large, mut small) = (account.reserve(9), account.reserve(1));
    assert!(poll(&mut large, &bell).is_pending());
    assert!(poll(&mut small, &bell).is_pending());
    drop(large);
    assert_eq!(bell.0.load(Ordering::SeqCst), 1);
    assert!(poll(&mut small, &bell).is_ready());
    assert!(!account.is_contended());
}

#[test]
fn too_many_that_wait_are_refused_at_once() {
    let account = Account::new();
    let _limit = account.limit_to(0);
    let bell = Arc::<Bell>::default();
    let mut waiting: Vec<Reserving> = (0..WAITERS_MAX).map(|_| account.reserve(1)).collect();
    assert!(waiting.iter_mut().all(|reserving| poll(reserving, &bell).is_pending()));
    assert!(matches!(poll(&mut account.reserve(1), &bell), Poll::Ready(None)));
}

#[test]
fn a_raised_limit_wakes_the_first() {
    let account = Account::new();
    let limit = account.limit_to(0);
    let bell = Arc::<Bell>::default();
    let mut reserving = account.reserve(5);
    assert!(poll(&mut reserving, &bell).is_pending());
    limit.set(4);
    assert_eq!(bell.0.load(Ordering::SeqCst), 0);
    limit.set(5);
    assert_eq!(bell.0.load(Ordering::SeqCst), 1);
}

#[test]
fn nobody_sleeps_through_a_release_on_several_threads() {
    let account = Account::new();
    let _limit = account.limit_to(3);
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let account = account.clone();
            scope.spawn(move || {
                for round in 0..2000_usize {
                    let charge = wait(account.reserve(1 + (round + thread) % 3)).unwrap();
                    drop(charge);
                }
            });
        }
    });
    assert_eq!(account.used(), 0);
}

/// Waits on this thread. A wake that is lost shows as a test that hangs, so the wait is bounded.
fn wait(mut reserving: Reserving) -> Option<Charge> {
    struct Thread(std::thread::Thread);
    impl Wake for Thread {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Waker::from(Arc::new(Thread(std::thread::current())));
    loop {
        if let Poll::Ready(charge) = pin!(&mut reserving).poll(&mut Context::from_waker(&waker)) {
            return charge;
        }
        let before = std::time::Instant::now();
        std::thread::park_timeout(std::time::Duration::from_secs(20));
        assert!(before.elapsed().as_secs() < 20, "a wake was lost");
    }
}

/// What a test does with the things it holds.
#[derive(Debug, Clone)]
enum Step {
    Charge(usize),
    Reserve(usize),
    Set(usize, usize),
    Raise(usize, usize),
    Hold(usize, usize),
    Slice(usize),
    DropCharge(usize),
    DropBytes(usize),
    Limit(usize),
}

fn step() -> impl Strategy<Value = Step> {
    let (size, index) = (0_usize..2000, any::<usize>());
    prop_oneof![
        size.clone().prop_map(Step::Charge),
        size.clone().prop_map(Step::Reserve),
        (index, size.clone()).prop_map(|(i, n)| Step::Set(i, n)),
        (index, size.clone()).prop_map(|(i, n)| Step::Raise(i, n)),
        (index, size.clone()).prop_map(|(i, n)| Step::Hold(i, n)),
        index.prop_map(Step::Slice),
        index.prop_map(Step::DropCharge),
        index.prop_map(Step::DropBytes),
        size.prop_map(Step::Limit),
    ]
}

proptest! {
    #[test]
    fn the_account_is_the_sum_of_what_lives_and_ends_at_zero(
        steps in proptest::collection::vec(step(), 0..60),
    ) {
        let account = Account::new();
        let mut limit = None;
        let (mut charges, mut segments) = (Vec::<Charge>::new(), Vec::<(usize, Vec<Bytes>)>::new());
        for step in steps {
            match step {
                Step::Charge(bytes) => charges.push(account.charge(bytes)),
                Step::Reserve(bytes) => {
                    let fits = account.used() + bytes <= account.limit();
                    let reserved = account.try_reserve(bytes);
                    prop_assert_eq!(reserved.is_some(), fits);
                    charges.extend(reserved);
                }
                Step::Set(i, bytes) if !charges.is_empty() => {
                    let i = i % charges.len();
                    charges[i].set(bytes);
                }
                Step::Raise(i, bytes) if !charges.is_empty() => {
                    let i = i % charges.len();
                    let before = charges[i].bytes();
                    let raised = charges[i].try_raise(bytes);
                    prop_assert_eq!(charges[i].bytes(), if raised { before.max(bytes) } else { before });
                }
                Step::Hold(i, bytes) if !charges.is_empty() => {
                    let charge = charges.swap_remove(i % charges.len());
                    let buffer = vec![7; bytes];
                    let cost = buffer.capacity() + SEGMENT_BYTES;
                    segments.push((cost, vec![charge.hold(buffer)]));
                }
                Step::Slice(i) if !segments.is_empty() => {
                    let i = i % segments.len();
                    let slices = &mut segments[i].1;
                    slices.push(slices[0].slice(..slices[0].len() / 2));
                }
                Step::DropCharge(i) if !charges.is_empty() => drop(charges.swap_remove(i % charges.len())),
                Step::DropBytes(i) if !segments.is_empty() => {
                    let i = i % segments.len();
                    segments[i].1.swap_remove(0);
                    if segments[i].1.is_empty() {
                        segments.swap_remove(i);
                    }
                }
                Step::Limit(bytes) => limit = Some(account.limit_to(bytes)),
                _ => {}
            }
            // An empty slice has no owner.
            segments.retain(|(_, slices)| slices.iter().any(|slice| !slice.is_empty()));
            let live: usize = charges.iter().map(Charge::bytes).sum::<usize>()
                + segments.iter().map(|(cost, _)| cost).sum::<usize>();
            prop_assert_eq!(account.used(), live);
        }
        drop((limit, charges, segments));
        prop_assert_eq!(account.used(), 0);
        prop_assert_eq!(account.limit(), usize::MAX);
    }
}
