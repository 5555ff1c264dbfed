//! Splitting keeps every leaf under its headers, keeps the limit, and fills the parts.
#![no_main]

use std::num::NonZeroUsize;

use libfuzzer_sys::fuzz_target;
use spanbridge_pdata::{Payload, SplitPart};
use spanbridge_pdata_fuzz::{Input, accept, check_invariant, model, nodes};

fuzz_target!(|data: &[u8]| {
    let Some(input) = Input::new(data) else { return };
    let mut whole = Payload::empty(input.signal);
    for request in input.requests() {
        let Some(part) = accept(input.signal, request) else { return };
        whole.append(part).expect("one signal");
    }
    let expected = model::leaves(&nodes(&whole));
    let [_, first, rest, bytes] = input.choices.map(usize::from);
    let limit = |n: usize| NonZeroUsize::new(n % 16 + 1).unwrap_or(NonZeroUsize::MIN);

    let mut left = whole.items();
    let mut leaves = Vec::new();
    for (index, part) in whole.clone().split_items(limit(first), limit(rest)).enumerate() {
        check_invariant(&part);
        let limit = if index == 0 { limit(first) } else { limit(rest) };
        assert_eq!(part.items(), left.min(limit.get()));
        left -= part.items();
        leaves.extend(model::leaves(&nodes(&part)));
    }
    assert_eq!(left, 0);
    assert!(leaves == expected);

    let max = NonZeroUsize::new(1 + bytes * bytes / 8).unwrap_or(NonZeroUsize::MIN);
    leaves.clear();
    for part in whole.split_bytes(max) {
        let fits = matches!(part, SplitPart::Fits(_));
        let part = part.into_payload();
        check_invariant(&part);
        assert_eq!(part.len() <= max.get(), fits);
        let part = model::leaves(&nodes(&part));
        assert!(fits || part.len() <= 1);
        leaves.extend(part);
    }
    assert!(leaves == expected);
});
