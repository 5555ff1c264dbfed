//! The account of the process over everything this crate does with payloads. It is the only test of this binary, so that
//! nothing else charges the process meanwhile.

#![expect(clippy::unwrap_used, reason = "this file is nothing but a test, helpers included")]

use std::collections::HashMap;
use std::num::NonZeroUsize;

use bytes::Bytes;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use spanbridge_pdata::memory::{Account, SEGMENT_BYTES};
use spanbridge_pdata::{Attribute, InvalidUtf8, ItemEdit, Payload, Signal, sample};

#[derive(Debug, Clone)]
enum Step {
    Receive(usize),
    Clone(usize),
    Append(usize, usize),
    Insert(usize),
    DropOdd(usize),
    SplitItems(usize, usize),
    SplitBytes(usize, usize),
    Encode(usize),
    Drop(usize),
}

fn step() -> impl Strategy<Value = Step> {
    let (index, size) = (0_usize..100, 1_usize..20);
    prop_oneof![
        size.clone().prop_map(Step::Receive),
        index.clone().prop_map(Step::Clone),
        (index.clone(), index.clone()).prop_map(|(i, j)| Step::Append(i, j)),
        index.clone().prop_map(Step::Insert),
        index.clone().prop_map(Step::DropOdd),
        (index.clone(), size.clone()).prop_map(|(i, n)| Step::SplitItems(i, n)),
        (index.clone(), size.prop_map(|n| n * 200)).prop_map(|(i, n)| Step::SplitBytes(i, n)),
        index.clone().prop_map(Step::Encode),
        index.prop_map(Step::Drop),
    ]
}

/// Takes one of the payloads out.
fn pick(payloads: &mut Vec<Payload>, index: usize) -> Option<Payload> {
    (!payloads.is_empty()).then(|| payloads.swap_remove(index % payloads.len()))
}

fn run(payloads: &mut Vec<Payload>, step: &Step) {
    let made: Vec<Payload> = match *step {
        Step::Receive(spans) => {
            let request = Account::process().segment(sample::rich_traces(spans).to_vec());
            vec![Payload::from_wire(Signal::Traces, request, InvalidUtf8::Refuse).unwrap().payload]
        }
        Step::Clone(i) => pick(payloads, i).map(|p| vec![p.clone(), p]).unwrap_or_default(),
        Step::Append(i, j) => match (pick(payloads, i), pick(payloads, j)) {
            (Some(mut one), Some(other)) => {
                one.append(other).unwrap();
                vec![one]
            }
            (one, other) => one.into_iter().chain(other).collect(),
        },
        Step::Insert(i) => {
            let attribute = Attribute::new("k8s.cluster.name", "edge-7");
            let edit = |payload: Payload| {
                payload.edit_resources(|resource| {
                    resource.insert(&attribute);
                })
            };
            pick(payloads, i).map(edit).into_iter().collect()
        }
        Step::DropOdd(i) => {
            let mut odd = false;
            let edit = |payload: Payload| {
                let edited = payload.edit_items(|_| {
                    odd = !odd;
                    if odd { ItemEdit::Drop } else { ItemEdit::Keep }
                });
                edited.unwrap()
            };
            pick(payloads, i).map(edit).into_iter().collect()
        }
        Step::SplitItems(i, n) => {
            let n = NonZeroUsize::new(n).unwrap();
            pick(payloads, i).into_iter().flat_map(|payload| payload.split_items(n, n)).collect()
        }
        Step::SplitBytes(i, n) => {
            let n = NonZeroUsize::new(n).unwrap();
            let parts = pick(payloads, i).into_iter().flat_map(|payload| payload.split_bytes(n));
            parts.map(spanbridge_pdata::SplitPart::into_payload).collect()
        }
        Step::Encode(i) => {
            let encode = |payload: Payload| Payload::encode(&payload.decode().unwrap()).unwrap();
            pick(payloads, i).map(encode).into_iter().collect()
        }
        Step::Drop(i) => {
            drop(pick(payloads, i));
            Vec::new()
        }
    };
    payloads.extend(made);
}

/// The bytes of the payloads, those that several share counted once.
fn distinct_bytes(payloads: &[Payload]) -> usize {
    let mut ends = HashMap::new();
    for segment in payloads.iter().flat_map(Payload::segments) {
        let range = range(segment);
        ends.insert(range.start, range.end.max(*ends.get(&range.start).unwrap_or(&0)));
    }
    let mut ranges: Vec<(usize, usize)> = ends.into_iter().collect();
    ranges.sort_unstable();
    let mut reached = 0;
    ranges.into_iter().fold(0, |sum, (start, end)| {
        let new = end.saturating_sub(start.max(reached));
        reached = reached.max(end);
        sum + new
    })
}

fn range(segment: &Bytes) -> std::ops::Range<usize> {
    let start = segment.as_ptr().addr();
    start..start + segment.len()
}

#[test]
fn every_byte_of_every_payload_is_charged_once_and_nothing_is_left_at_the_end() {
    let account = Account::process();
    let steps = proptest::collection::vec(step(), 0..40);
    let mut runner = TestRunner::new(Config::with_cases(200));
    let result = runner.run(&steps, |steps| {
        let mut payloads = Vec::new();
        for step in &steps {
            run(&mut payloads, step);
            let live = distinct_bytes(&payloads);
            prop_assert!(account.used() >= live, "{} charged, {live} live", account.used());
            let slices = payloads.iter().map(|payload| payload.segments().len()).sum::<usize>();
            prop_assert!(account.used() >= SEGMENT_BYTES * usize::from(slices > 0));
        }
        drop(payloads);
        prop_assert_eq!(account.used(), 0);
        Ok(())
    });
    result.unwrap();
}
