//! Resource views, and edits of the attributes of resources and items.

use proptest::prelude::*;
use spanbridge_pdata::{Attribute, Attributes, EditAttributes, Item, Payload, Signal, Value};

use crate::generate::KEYS;
use crate::model::{AttributeEdit, ItemAttributeEdit};
use crate::{accept, check_invariant, model, payload, signals, tapes};

fn values() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Empty),
        "[a-z\u{e9}]{0,12}".prop_map(Value::Str),
        any::<bool>().prop_map(Value::Bool),
        any::<i64>().prop_map(Value::Int),
        (-1e9..1e9).prop_map(Value::Double),
        prop::collection::vec(any::<u8>(), 0..4).prop_map(Value::Bytes),
    ];
    leaf.prop_recursive(4, 24, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::List),
            prop::collection::vec(("[ab]", inner), 0..4).prop_map(Value::Map),
        ]
    })
}

fn edits() -> impl Strategy<Value = AttributeEdit> {
    let key = prop::sample::select(&KEYS[..]);
    prop_oneof![
        (key.clone(), values()).prop_map(|(key, value)| AttributeEdit::Insert(key, value)),
        (key.clone(), values()).prop_map(|(key, value)| AttributeEdit::Update(key, value)),
        (key.clone(), values()).prop_map(|(key, value)| AttributeEdit::Upsert(key, value)),
        key.prop_map(AttributeEdit::Delete),
        Just(AttributeEdit::RetainStrings),
    ]
}

proptest! {
    #[test]
    fn attribute_edits_do_to_bytes_what_they_do_to_trees(
        signal in signals(),
        tape in tapes(),
        edits in prop::collection::vec(edits(), 0..5),
    ) {
        let payload = payload(signal, &tape);
        let edited = payload.edit_resources(|attributes| edits.iter().for_each(|edit| edit.apply(attributes)));
        let mut nodes = model::nodes(payload.decode().unwrap());
        for node in &mut nodes {
            for edit in &edits {
                edit.apply_to_model(&mut node.resource);
            }
        }
        check_invariant(&edited)?;
        prop_assert_eq!(edited.items(), payload.items());
        prop_assert_eq!(model::canonical(&edited), model::encode(&model::request(signal, nodes)));
    }

    #[test]
    fn attribute_edits_of_items_do_to_bytes_what_they_do_to_trees(
        signal in signals(),
        tape in tapes(),
        edits in prop::collection::vec(edits(), 0..5),
        turns in prop::collection::vec(prop::bool::weighted(0.8), 1..6),
    ) {
        let payload = payload(signal, &tape);
        let mut edit = ItemAttributeEdit::new(edits, turns);
        let mut nodes = model::nodes(payload.decode().unwrap());
        edit.clone().apply_to_model(&mut nodes);
        let edited = payload.edit_item_attributes(&mut edit);
        check_invariant(&edited)?;
        prop_assert_eq!(edited.items(), payload.items());
        prop_assert_eq!(model::canonical(&edited), model::encode(&model::request(signal, nodes)));
    }

    #[test]
    fn the_editor_of_items_shows_what_the_items_have(signal in signals(), tape in tapes()) {
        let payload = payload(signal, &tape);
        let mut look = Look::default();
        let unchanged = payload.edit_item_attributes(&mut look);
        prop_assert_eq!(look.items, payload.items());
        for (after, before) in unchanged.segments().iter().zip(payload.segments()) {
            prop_assert_eq!(after.as_ptr(), before.as_ptr());
        }
    }

    #[test]
    fn resource_views_show_what_prost_decodes(signal in signals(), tape in tapes()) {
        let payload = payload(signal, &tape);
        let nodes = model::nodes(payload.decode().unwrap());
        prop_assert_eq!(payload.resources().count(), nodes.len());
        for (view, node) in payload.resources().zip(&nodes) {
            let pairs = node.resource.iter().flat_map(|resource| &resource.attributes);
            let expected: Vec<_> = pairs.map(|pair| (pair.key.clone(), model::value(pair.value.as_ref()))).collect();
            let seen: Vec<_> = view.attributes().map(|(key, value)| (key.to_owned(), value.to_value())).collect();
            prop_assert_eq!(seen.len(), expected.len());
            for (seen, expected) in seen.iter().zip(&expected) {
                prop_assert!(seen.0 == expected.0 && model::same(&seen.1, &expected.1), "{:?} {:?}", seen, expected);
            }
            for key in KEYS {
                let first = expected.iter().find(|(candidate, _)| candidate == key);
                let seen = view.get(key).map(|value| value.to_value());
                prop_assert_eq!(seen.is_some(), first.is_some());
                prop_assert!(first.zip(seen).is_none_or(|(first, seen)| model::same(&first.1, &seen)));
            }
            prop_assert_eq!(view.schema_url(), &node.schema_url);
            prop_assert_eq!(view.items(), model::count(std::slice::from_ref(node)));
        }
    }

    #[test]
    fn the_editor_shows_what_the_view_shows(signal in signals(), tape in tapes()) {
        let payload = payload(signal, &tape);
        let mut views = payload.resources();
        let unchanged = payload.edit_resources(|attributes| {
            let view = views.next().unwrap();
            let seen: Vec<_> = attributes.iter().map(|(key, value)| (key.to_owned(), value.to_value())).collect();
            let expected: Vec<_> = view.attributes().map(|(key, value)| (key.to_owned(), value.to_value())).collect();
            assert_eq!(seen, expected);
            for key in KEYS {
                let seen = attributes.get(key).map(|value| value.to_value());
                assert_eq!(seen, view.get(key).map(|value| value.to_value()));
            }
        });
        for (after, before) in unchanged.segments().iter().zip(payload.segments()) {
            prop_assert_eq!(after.as_ptr(), before.as_ptr());
        }
    }

    #[test]
    fn a_value_survives_being_an_attribute(value in values()) {
        let attribute = Attribute::new("key", value.clone());
        prop_assert_eq!(attribute.value().to_value(), value);
    }
}

/// Compares what the editor shows with what the item shows, and counts.
#[derive(Default)]
struct Look {
    items: usize,
}

impl EditAttributes for Look {
    fn item(&mut self, item: Item<'_>, attributes: &mut Attributes<'_>) {
        self.items += 1;
        let seen: Vec<_> = attributes.iter().map(|(key, value)| (key.to_owned(), value.to_value())).collect();
        let expected: Vec<_> =
            item.attributes().map(|(key, value)| (key.to_owned(), value.to_value())).collect();
        assert_eq!(format!("{seen:?}"), format!("{expected:?}"));
        for key in KEYS {
            let seen = attributes.get(key).map(|value| value.to_value());
            assert_eq!(
                format!("{seen:?}"),
                format!("{:?}", item.attribute(key).map(|value| value.to_value()))
            );
        }
    }
}

/// Puts an attribute into every item whose name it is given, and looks no further elsewhere.
struct Upsert<'a>(&'a Attribute, &'a str);

impl EditAttributes for Upsert<'_> {
    fn item(&mut self, item: Item<'_>, attributes: &mut Attributes<'_>) {
        if item.name() == self.1 {
            attributes.upsert(self.0);
        }
    }
}

#[test]
fn untouched_items_stay_byte_for_byte_and_lengths_grow_by_a_byte_where_they_must() {
    let attribute = Attribute::new("b", true);
    let added = [0x4a, 7, 0x0a, 1, b'b', 0x12, 2, 0x10, 1];
    // Span { name: "x", unknown 100 } and, with over-long lengths, Span { name: "y" }, in a scope of 120 bytes.
    let touched = [0x12, 7, 0x2a, 1, b'x', 0xa0, 0x06, 0x81, 0];
    let untouched = [0x12, 0x84, 0, 0x2a, 0x81, 0, b'y'];
    let url = [&[0x1a, 102][..], &[b'u'; 102]].concat();
    let scope = [&[0x12, 120][..], &touched, &untouched, &url].concat();
    let payload = accept(Signal::Traces, [&[0x0a, 122][..], &scope].concat());
    let edited = payload.edit_item_attributes(&mut Upsert(&attribute, "x"));
    let touched = [&[0x12, 16][..], &touched[2..], &added].concat();
    let scope = [&[0x12, 0x81, 1][..], &touched, &untouched, &url].concat();
    assert_eq!(edited.segments().concat(), [&[0x0a, 0x84, 1][..], &scope].concat());
}

#[test]
fn data_that_another_alternative_replaced_is_not_edited() {
    // Metric { gauge { point }, sum { point {}, point {} } }: the gauge is gone for whoever decodes it.
    let metric = [0x2a, 2, 0x0a, 0, 0x3a, 4, 0x0a, 0, 0x0a, 0];
    let metric = [&[0x12, 10][..], &metric].concat();
    let payload = accept(Signal::Metrics, [&[0x0a, 14, 0x12, 12][..], &metric].concat());
    let mut look = Look::default();
    let _ = payload.edit_item_attributes(&mut look);
    assert_eq!((look.items, payload.items()), (2, 2));
    let edited = payload.edit_item_attributes(&mut Upsert(&Attribute::new("b", true), ""));
    let bytes = edited.segments().concat();
    assert_eq!(bytes.windows(4).filter(|bytes| bytes == &[0x2a, 2, 0x0a, 0]).count(), 1, "{bytes:?}");
    assert_eq!(bytes.windows(3).filter(|bytes| bytes == &[0x0a, 1, b'b']).count(), 2);
}

#[test]
fn unknown_fields_and_untouched_resources_stay_byte_for_byte() {
    // ResourceSpans { Resource { KeyValue {}, unknown 100: [7, 7] } }
    let touched = [0x0a, 9, 0x0a, 7, 0x0a, 0, 0xa2, 0x06, 2, 7, 7];
    // ResourceSpans { Resource { KeyValue { key: "a" } } } with over-long lengths
    let untouched = [0x0a, 0x8a, 0, 0x0a, 0x87, 0, 0x0a, 0x84, 0, 0x0a, 0x81, 0, b'a'];
    let payload = accept(Signal::Traces, [&touched[..], &untouched].concat());
    let attribute = Attribute::new("b", true);
    let edited = payload.edit_resources(|attributes| {
        if attributes.get("a").is_none() {
            attributes.insert(&attribute);
        }
    });
    let added = [0x0a, 7, 0x0a, 1, b'b', 0x12, 2, 0x10, 1];
    let touched = [&[0x0a, 18, 0x0a, 16, 0x0a, 0, 0xa2, 0x06, 2, 7, 7][..], &added].concat();
    assert_eq!(edited.segments().concat(), [&touched[..], &untouched].concat());
    assert_eq!(edited.resources().next().unwrap().get("b").unwrap().as_bool(), Some(true));
}

#[test]
fn values_nested_too_deeply_are_cut_off_wherever_they_are_put() {
    let mut value = Value::Int(1);
    for _ in 0..200 {
        value = Value::Map(vec![("k".to_owned(), value)]);
    }
    let attribute = Attribute::new("deep", value);
    // An empty item in every place: a span, a log record, a point of each kind of metric.
    let points = [5, 7, 9, 10, 11].map(|number: u8| [0x12, 4, number << 3 | 2, 2, 0x0a, 0]).concat();
    let points = [&[0x0a, 32, 0x12, 30][..], &points].concat();
    let item = vec![0x0a, 4, 0x12, 2, 0x12, 0];
    for (signal, request) in [(Signal::Traces, item.clone()), (Signal::Logs, item), (Signal::Metrics, points)]
    {
        let payload = accept(signal, request);
        let edited = payload.edit_resources(|attributes| attributes.upsert(&attribute));
        let edited = edited.edit_item_attributes(&mut Upsert(&attribute, ""));
        let again = accept(signal, edited.segments().concat());
        assert!(Payload::decode(&again).is_ok());
        assert!(again.len() > (payload.items() + 1) * 31 * 6);
    }
}

#[test]
fn pieces_of_a_value_merge_and_another_alternative_replaces() {
    let key = [0x0a, 1, b'a'];
    let value = |any: &[u8]| [&[0x12, u8::try_from(any.len()).unwrap()], any].concat();
    let seen = |values: &[&[u8]]| {
        let pair = [&key[..], &values.concat()].concat();
        let resource = [&[0x0a, u8::try_from(pair.len()).unwrap()], &*pair].concat();
        let node = [&[0x0a, u8::try_from(resource.len()).unwrap()], &*resource].concat();
        let payload = accept(Signal::Traces, [&[0x0a, u8::try_from(node.len()).unwrap()], &*node].concat());
        let decoded = model::nodes(payload.decode().unwrap());
        let attribute = decoded[0].resource.as_ref().unwrap().attributes[0].clone();
        let value = payload.resources().next().unwrap().get("a").unwrap().to_value();
        assert_eq!(value, model::value(attribute.value.as_ref()));
        value
    };
    let (list_1, list_2) = (value(&[0x2a, 4, 0x0a, 2, 0x18, 1]), value(&[0x2a, 4, 0x0a, 2, 0x18, 2]));
    let (map_1, map_2) =
        (value(&[0x32, 5, 0x0a, 3, 0x0a, 1, b'k']), value(&[0x32, 5, 0x0a, 3, 0x0a, 1, b'l']));
    let text = value(&[0x0a, 1, b't']);
    let ints = |numbers: &[i64]| Value::List(numbers.iter().map(|number| Value::Int(*number)).collect());
    let keys = |keys: &[&str]| Value::Map(keys.iter().map(|key| ((*key).to_owned(), Value::Empty)).collect());
    assert_eq!(seen(&[&list_1, &list_2]), ints(&[1, 2]));
    assert_eq!(seen(&[&map_1, &map_2]), keys(&["k", "l"]));
    assert_eq!(seen(&[&list_1, &map_1, &list_2]), ints(&[2]));
    assert_eq!(seen(&[&list_1, &text, &list_2]), ints(&[2]));
    assert_eq!(seen(&[&map_1, &list_1, &text]), Value::Str("t".to_owned()));
}
