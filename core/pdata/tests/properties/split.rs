//! Splitting loses nothing, repeats only headers, keeps the limit and fills it.

use std::num::NonZeroUsize;

use proptest::prelude::*;
use spanbridge_pdata::{Payload, Signal, SplitPart};

use crate::model::Leaf;
use crate::{accept, check_invariant, model, payload, signals, tapes};

fn leaves(payload: &Payload) -> Vec<Leaf> {
    model::leaves(&model::nodes(payload.decode().unwrap()))
}

fn merged(signal: Signal, tapes: &[Vec<u8>]) -> Payload {
    let mut merged = Payload::empty(signal);
    for tape in tapes {
        merged.append(payload(signal, tape)).unwrap();
    }
    merged
}

fn limits() -> impl Strategy<Value = NonZeroUsize> {
    prop_oneof![1usize..4, 1usize..40].prop_map(|limit| NonZeroUsize::new(limit).unwrap())
}

proptest! {
    #[test]
    fn split_by_items_fills_every_part_but_the_last(
        signal in signals(),
        tapes in prop::collection::vec(tapes(), 0..3),
        first in limits(),
        rest in limits(),
    ) {
        let whole = merged(signal, &tapes);
        let parts: Vec<_> = whole.clone().split_items(first, rest).collect();
        let mut left = whole.items();
        for (index, part) in parts.iter().enumerate() {
            check_invariant(part)?;
            let limit = if index == 0 { first } else { rest };
            prop_assert_eq!(part.items(), left.min(limit.get()));
            left -= part.items();
            prop_assert!(part.items() > 0 || parts.len() == 1);
        }
        prop_assert_eq!(left, 0);
        let joined: Vec<_> = parts.iter().flat_map(leaves).collect();
        prop_assert_eq!(joined, leaves(&whole));
    }

    #[test]
    fn split_by_bytes_keeps_the_limit(
        signal in signals(),
        tapes in prop::collection::vec(tapes(), 0..3),
        max in 1usize..2000,
    ) {
        let whole = merged(signal, &tapes);
        let parts: Vec<_> = whole.clone().split_bytes(NonZeroUsize::new(max).unwrap()).collect();
        for part in &parts {
            match part {
                SplitPart::Fits(part) => {
                    check_invariant(part)?;
                    prop_assert!(part.len() <= max);
                }
                SplitPart::TooLarge(part) => {
                    check_invariant(part)?;
                    prop_assert!(part.len() > max);
                    prop_assert!(leaves(part).len() <= 1);
                }
            }
        }
        let parts: Vec<_> = parts.into_iter().map(SplitPart::into_payload).collect();
        let joined: Vec<_> = parts.iter().flat_map(leaves).collect();
        prop_assert_eq!(joined, leaves(&whole));
        prop_assert_eq!(parts.iter().map(Payload::items).sum::<usize>(), whole.items());
    }

    #[test]
    fn split_by_bytes_fills_every_part(signal in signals(), tape in tapes(), max in 1usize..2000) {
        // Canonical bytes, so that sizes can be computed by encoding.
        let whole = accept(signal, model::canonical(&payload(signal, &tape)));
        let parts: Vec<_> = whole.split_bytes(NonZeroUsize::new(max).unwrap()).collect();
        for pair in parts.windows(2) {
            let [SplitPart::Fits(part), next] = pair else { continue };
            // The next leaf would not have fitted in: it is in the next part with at least its own size.
            let smallest_next = next.clone().into_payload().split_items(NonZeroUsize::MIN, NonZeroUsize::MIN).next();
            let next_leaf = smallest_next.map_or(0, |payload| payload.len());
            prop_assert!(part.len() + next_leaf > max, "{} + {} <= {}", part.len(), next_leaf, max);
        }
    }

    #[test]
    fn what_fits_is_passed_on_without_a_copy(signal in signals(), tape in tapes()) {
        let whole = payload(signal, &tape);
        let items = NonZeroUsize::new(whole.items().max(1)).unwrap();
        let mut by_items = whole.clone().split_items(items, items);
        let same = |part: Option<Payload>| part.map(|part| part.segments()[0].as_ptr() as usize);
        let expected = whole.segments().first().map(|segment| segment.as_ptr() as usize);
        prop_assert_eq!(same(by_items.next()), expected);
        prop_assert!(by_items.next().is_none());
        if let Some(bytes) = NonZeroUsize::new(whole.len()) {
            let mut by_bytes = whole.split_bytes(bytes);
            prop_assert_eq!(same(by_bytes.next().map(SplitPart::into_payload)), expected);
            prop_assert!(by_bytes.next().is_none());
        }
    }
}

#[test]
fn unknown_fields_are_repeated_with_the_headers() {
    // ResourceSpans { unknown 100: "r", ScopeSpans { unknown 101: "s", Span {}, Span {} } }, request-level unknown 102
    let scope = [&[0xaa, 0x06, 1, b's'][..], &[0x12, 0, 0x12, 0]].concat();
    let resource = [&[0xa2, 0x06, 1, b'r', 0x12, 8][..], &scope].concat();
    let request = [&[0x0a, 14][..], &resource, &[0xb2, 0x06, 1, b'q']].concat();
    let parts: Vec<_> =
        accept(Signal::Traces, request).split_items(NonZeroUsize::MIN, NonZeroUsize::MIN).collect();
    let cut = [0x0a, 12, 0xa2, 0x06, 1, b'r', 0x12, 6, 0xaa, 0x06, 1, b's', 0x12, 0];
    assert_eq!(parts[0].segments().concat(), cut);
    assert_eq!(parts[1].segments().concat(), [&cut[..], &[0xb2, 0x06, 1, b'q']].concat());
    assert_eq!(parts.len(), 2);
}
