//! Input made to be expensive: the work stays linear in what is read and written, and the recursion bounded.

use std::num::NonZeroUsize;

use crate::wire::{put_len_field, steps};
use crate::{
    Attribute, Attributes, EditAttributes, Fault, InvalidUtf8, Item, ItemEdit, MetricView, Payload,
    ScopeView, Signal, SplitPart,
};

const ONE: NonZeroUsize = NonZeroUsize::MIN;

fn embed(number: u32, content: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    put_len_field(&mut out, number, content);
    out
}

fn accept(signal: Signal, request: Vec<u8>) -> Payload {
    Payload::from_wire(signal, request.into(), InvalidUtf8::Refuse).unwrap().payload
}

/// A request of one scope (and metric) with `items` empty items under headers of `header` bytes each.
fn tall(signal: Signal, items: usize, header: usize) -> Payload {
    let url = embed(3, &vec![b'u'; header]);
    let items = if signal == Signal::Metrics {
        embed(2, &[embed(3, &vec![b'u'; header]), embed(7, &[0x0a, 0].repeat(items))].concat())
    } else {
        [0x12, 0].repeat(items)
    };
    let scope = embed(2, &[items, url.clone()].concat());
    accept(signal, embed(1, &[scope, url].concat()))
}

/// A request of many resources with a scope each, of which every second has an item.
fn wide(signal: Signal, resources: usize) -> Payload {
    let with_item = if signal == Signal::Metrics {
        embed(1, &embed(2, &embed(2, &embed(7, &[0x0a, 0]))))
    } else {
        embed(1, &embed(2, &[0x12, 0]))
    };
    let pair = [with_item, vec![0x0a, 2, 0x12, 0]].concat();
    accept(signal, pair.repeat(resources / 2))
}

/// Puts an attribute into every second item, and looks at names on the way.
struct EverySecond {
    attribute: Attribute,
    odd: bool,
}

impl EditAttributes for EverySecond {
    fn scope(&mut self, scope: ScopeView<'_>) -> bool {
        scope.name().is_empty() && scope.version().is_empty()
    }

    fn metric(&mut self, metric: MetricView<'_>) -> bool {
        metric.name().is_empty()
    }

    fn item(&mut self, _: Item<'_>, attributes: &mut Attributes<'_>) {
        self.odd = !self.odd;
        if self.odd {
            attributes.upsert(&self.attribute);
        }
    }
}

type Operation = fn(Payload) -> usize;
type Input = fn(Signal, usize) -> Payload;

/// Every operation, with the size of what it wrote.
fn operations() -> Vec<(&'static str, Operation)> {
    fn total(parts: impl Iterator<Item = Payload>) -> usize {
        parts.map(|part| part.len()).sum()
    }
    vec![
        ("validate", |payload| {
            let bytes = payload.segments()[0].clone();
            Payload::from_wire(payload.signal(), bytes, InvalidUtf8::Repair).unwrap().payload.len()
        }),
        ("split by items", |payload| total(payload.split_items(ONE, ONE))),
        ("split by seven items", |payload| total(payload.split_items(ONE, NonZeroUsize::new(7).unwrap()))),
        ("split by bytes", |payload| total(payload.split_bytes(ONE).map(SplitPart::into_payload))),
        ("split by 1000 bytes", |payload| {
            total(payload.split_bytes(NonZeroUsize::new(1000).unwrap()).map(SplitPart::into_payload))
        }),
        ("edit resources", |payload| {
            let attribute = Attribute::new("a", true);
            payload.edit_resources(|resource| resource.upsert(&attribute)).len()
        }),
        ("edit the attributes of every second item", |payload| {
            payload
                .edit_item_attributes(&mut EverySecond { attribute: Attribute::new("a", true), odd: false })
                .len()
        }),
        ("deal items out to seven parts", |payload| {
            let mut turn = 0;
            let parts = payload.partition_items(7, |_| {
                turn = (turn + 1) % 7;
                turn
            });
            total(parts.into_iter())
        }),
        ("deal resources out to seven parts", |payload| {
            let mut turn = 0;
            let parts = payload.partition_resources(7, |_| {
                turn = (turn + 1) % 7;
                turn
            });
            total(parts.into_iter())
        }),
        ("drop every second item", |payload| {
            let mut odd = false;
            let edited = payload.edit_items(|_| {
                odd = !odd;
                if odd { ItemEdit::Drop } else { ItemEdit::Keep }
            });
            edited.unwrap().len()
        }),
    ]
}

#[test]
fn twice_the_input_is_twice_the_work() {
    let inputs: [(&str, Input); 2] = [("tall", |signal, n| tall(signal, n, 10)), ("wide", wide)];
    for signal in Signal::ALL {
        for (shape, input) in inputs {
            for (name, operation) in operations() {
                let work = |n| {
                    let payload = input(signal, n);
                    let mut written = 0;
                    (steps::of(|| written = operation(payload)), written)
                };
                let (small, large) = (work(2_000), work(4_000));
                let what = format!("{name} of {shape} {signal}: {small:?}, {large:?}");
                assert!(large.0 <= small.0 * 21 / 10 && large.1 <= small.1 * 21 / 10, "{what}");
                assert!(large.0 < 4_000 * 60, "{what}");
            }
        }
    }
}

#[test]
fn a_part_costs_its_own_size_and_not_that_of_the_rest() {
    for signal in Signal::ALL {
        let payload = tall(signal, 10_000, 50_000);
        let mut parts = payload.split_items(ONE, ONE);
        assert!(parts.next().unwrap().len() < 3 * 50_010 + 50);
        for _ in 0..50 {
            let mut size = 0;
            assert!(steps::of(|| size = parts.next().unwrap().len()) < 50);
            assert!(size < 3 * 50_010 + 50);
        }
    }
}

#[test]
fn a_million_empty_resources_are_one_part_and_no_copy() {
    let payload = accept(Signal::Traces, [0x0a, 0].repeat(1_000_000));
    assert_eq!((payload.items(), payload.resources().count()), (0, 1_000_000));
    let parts: Vec<_> = payload.clone().split_items(ONE, ONE).collect();
    assert_eq!(parts.len(), 1);
    assert_eq!(parts[0].segments()[0].as_ptr(), payload.segments()[0].as_ptr());
    let parts = payload.clone().split_bytes(NonZeroUsize::new(1001).unwrap());
    assert!(parts.map(SplitPart::into_payload).all(|part| part.len() == 1000));
    assert_eq!(payload.edit_resources(|_| {}).segments()[0].as_ptr(), payload.segments()[0].as_ptr());
    assert_eq!(payload.edit_items(|_| ItemEdit::Drop).unwrap().len(), payload.len());
}

#[test]
fn deep_nesting_is_refused_and_does_not_recurse() {
    // Built from the inside, where lengths are known: a list in a list, 100,000 times.
    let mut reversed = Vec::new();
    for _ in 0..100_000 {
        for number in [1, 5] {
            let mut prefix = Vec::new();
            crate::wire::put_varint(&mut prefix, u64::from(crate::wire::len_key(number)));
            crate::wire::put_varint(&mut prefix, reversed.len() as u64);
            reversed.extend(prefix.iter().rev());
        }
    }
    reversed.reverse();
    let request = embed(1, &embed(2, &embed(2, &embed(5, &reversed))));
    for invalid in [InvalidUtf8::Refuse, InvalidUtf8::Repair] {
        let error = Payload::from_wire(Signal::Logs, request.clone().into(), invalid).unwrap_err();
        assert_eq!(error.fault(), Fault::TooDeep);
        assert!(error.to_string().len() < 400);
    }
}

#[test]
fn a_repair_writes_at_most_a_few_times_what_it_read() {
    // The worst case: one bad byte a string, three bytes in its place.
    let request = embed(1, &[0x1a, 1, 0xff].repeat(300_000));
    let received = Payload::from_wire(Signal::Logs, request.clone().into(), InvalidUtf8::Repair).unwrap();
    assert_eq!(received.repaired_strings, 300_000);
    assert!(received.payload.len() < 2 * request.len());
    let request = embed(1, &embed(3, &vec![0xff; 300_000]));
    let received = Payload::from_wire(Signal::Logs, request.clone().into(), InvalidUtf8::Repair).unwrap();
    assert!(received.payload.len() < 3 * request.len());
}

#[test]
fn no_operation_panics_on_bytes_that_are_no_request() {
    let mut seed = 1_u64;
    for len in 0..400 {
        let bytes: Vec<u8> = (0..len % 60)
            .map(|_| {
                seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                (seed >> 58).to_le_bytes()[0]
            })
            .collect();
        for signal in Signal::ALL {
            let payload = Payload::from_valid(signal, bytes.clone().into(), 3);
            for (_, operation) in operations().into_iter().skip(1) {
                operation(payload.clone());
            }
            for resource in payload.resources() {
                let values = resource.attributes().map(|(_, value)| value.to_value());
                assert!(values.count() <= bytes.len());
            }
        }
    }
}
