//! Taking requests apart that the destination did not take as a whole.

use std::num::NonZeroUsize;

use smallvec::SmallVec;
use spanbridge_pdata::count_items;

use crate::ticket::{Parcel, Part};

/// How often a message, or what it was taken apart into, may be refused and cut again. What is refused after that is given
/// up as it is. Finding one bad item among 8192 takes 13 cuts, five of them about 60.
pub(crate) const REFUSALS_MAX: u32 = 64;

type Parts = SmallVec<[Part; 1]>;

/// Cuts a parcel into parcels of at most `bytes`, in order. An item that is larger by itself makes a parcel of its own.
pub(crate) fn within(parcel: Parcel, bytes: usize) -> Vec<Parcel> {
    let shared = parcel.shared;
    let max = NonZeroUsize::new(bytes).unwrap_or(NonZeroUsize::MIN);
    let mut parcels = Vec::new();
    let mut open = Parts::new();
    let mut size = 0;
    for part in parcel.parts.into_iter().flat_map(|part| cut(part, max)) {
        let len = part.payload.len();
        if !open.is_empty() && size + len > max.get() {
            parcels.push(Parcel { parts: std::mem::take(&mut open), shared: shared.clone() });
            size = 0;
        }
        size += len;
        open.push(part);
    }
    if !open.is_empty() {
        parcels.push(Parcel { parts: open, shared });
    }
    parcels
}

fn cut(mut part: Part, max: NonZeroUsize) -> Parts {
    if part.payload.len() <= max.get() {
        return SmallVec::from_iter([part]);
    }
    let whole = part.payload.clone();
    whole.split_bytes(max).map(|piece| part.cut(piece.into_payload())).collect()
}

/// Cuts a refused parcel into two, where its requests met; a single request where segments met that somebody upstream put
/// together; and below that, with `by_items`, between its items. It comes back if there is nothing to cut.
pub(crate) fn halves(mut parcel: Parcel, by_items: bool) -> Result<[Parcel; 2], Box<Parcel>> {
    if parcel.parts.len() > 1 {
        let second = parcel.parts.drain(parcel.parts.len() / 2..).collect();
        let second = Parcel { parts: second, shared: parcel.shared.clone() };
        return Ok([parcel, second]);
    }
    let Some(part) = parcel.parts.first_mut() else { return Err(Box::new(parcel)) };
    let Some(first) = items_of_first_half(part, by_items) else { return Err(Box::new(parcel)) };
    let rest = NonZeroUsize::MAX;
    let whole = part.payload.clone();
    let halves: Parts = whole.split_items(first, rest).map(|half| part.cut(half)).collect();
    let mut halves = halves.into_iter();
    match (halves.next(), halves.next()) {
        (Some(first), Some(second)) => Ok([first, second].map(Parcel::single)),
        (Some(only), None) => Err(Box::new(Parcel::single(only))),
        (None, _) => Err(Box::new(parcel)),
    }
}

/// How many items the first half has: a number between 0 and all of them.
fn items_of_first_half(part: &Part, by_items: bool) -> Option<NonZeroUsize> {
    let items = part.items();
    let is_cut = |first: &NonZeroUsize| first.get() < items;
    let segments = part.payload.segments();
    let signal = part.payload.signal();
    let counted =
        |segments: &[bytes::Bytes]| segments.iter().map(|segment| count_items(signal, segment)).sum();
    if segments.len() > 1 {
        let at_the_middle = NonZeroUsize::new(counted(&segments[..segments.len() / 2])).filter(is_cut);
        // Segments without items do not count; the first boundary that parts items will do.
        let boundary =
            || (1..segments.len()).find_map(|n| NonZeroUsize::new(counted(&segments[..n])).filter(is_cut));
        if let Some(first) = at_the_middle.or_else(boundary) {
            return Some(first);
        }
    }
    if by_items { NonZeroUsize::new(items / 2) } else { None }
}
