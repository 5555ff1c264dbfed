//! Each action, on one resource (reference: contrib-components, C.2 and C.4).

use opentelemetry_proto::tonic::common::v1::any_value::Value as Any;
use spanbridge_component::{Batch, Signal};
use spanbridge_testkit::Payloads;

use crate::harness::{Pairs, acted, list, pairs, processor, request, resources, text};

fn ab() -> Pairs {
    vec![("a", text("1")), ("b", text("2"))]
}

#[tokio::test]
async fn insert_appends_an_absent_key_and_leaves_a_present_one() {
    let out = acted("- {key: c, action: insert, value: 3}", ab()).await;
    assert_eq!(out, pairs(vec![("a", text("1")), ("b", text("2")), ("c", Any::IntValue(3))]));
    assert_eq!(acted("- {key: a, action: insert, value: 3}", ab()).await, pairs(ab()));
}

#[tokio::test]
async fn insert_leaves_a_key_with_an_empty_value() {
    let empty = vec![("a", text(""))];
    assert_eq!(acted("- {key: a, action: insert, value: x}", empty.clone()).await, pairs(empty));
}

#[tokio::test]
async fn update_replaces_a_present_key_in_its_place_and_ignores_an_absent_one() {
    let out = acted("- {key: a, action: update, value: true}", ab()).await;
    assert_eq!(out, pairs(vec![("a", Any::BoolValue(true)), ("b", text("2"))]));
    assert_eq!(acted("- {key: c, action: update, value: 3}", ab()).await, pairs(ab()));
}

#[tokio::test]
async fn upsert_replaces_in_place_or_appends() {
    let out =
        acted("- {key: a, action: upsert, value: 1.5}\n- {key: c, action: UPSERT, value: x}", ab()).await;
    assert_eq!(out, pairs(vec![("a", Any::DoubleValue(1.5)), ("b", text("2")), ("c", text("x"))]));
}

#[tokio::test]
async fn values_keep_the_type_they_have_in_yaml() {
    let actions = "\
- {key: text, action: insert, value: '42'}
- {key: int, action: insert, value: 42}
- {key: double, action: insert, value: 4.0}
- {key: bool, action: insert, value: false}
- {key: list, action: insert, value: [a, 1]}
- {key: map, action: insert, value: {k: v}}
";
    let out = acted(actions, vec![]).await;
    assert_eq!(
        out[..4],
        pairs(vec![
            ("text", text("42")),
            ("int", Any::IntValue(42)),
            ("double", Any::DoubleValue(4.0)),
            ("bool", Any::BoolValue(false)),
        ])
    );
    assert_eq!(out[4], ("list".to_owned(), list(vec![text("a"), Any::IntValue(1)])));
    let Any::KvlistValue(map) = &out[5].1 else { panic!("{:?} is no map", out[5]) };
    assert_eq!(map.values[0].key, "k");
}

#[tokio::test]
async fn from_attribute_copies_with_its_type_and_does_nothing_without_a_source() {
    let out = acted("- {key: c, action: insert, from_attribute: n}", vec![("n", Any::IntValue(7))]).await;
    assert_eq!(out, pairs(vec![("n", Any::IntValue(7)), ("c", Any::IntValue(7))]));
    for action in ["insert", "update", "upsert"] {
        let actions = format!("- {{key: a, action: {action}, from_attribute: absent}}");
        assert_eq!(acted(&actions, ab()).await, pairs(ab()), "{action}");
    }
}

#[tokio::test]
async fn the_default_value_stands_in_for_a_source_that_has_nothing() {
    let actions = "- {key: a, action: upsert, from_attribute: absent, default_value: 9}";
    assert_eq!(acted(actions, ab()).await[0], ("a".to_owned(), Any::IntValue(9)));
    let actions = "- {key: a, action: upsert, from_attribute: b, default_value: 9}";
    assert_eq!(acted(actions, ab()).await[0], ("a".to_owned(), text("2")));
    let alone = "- {key: c, action: insert, default_value: alone}";
    assert_eq!(acted(alone, ab()).await[2], ("c".to_owned(), text("alone")));
    let null = "- {key: c, action: insert, value: null, default_value: instead}";
    assert_eq!(acted(null, ab()).await[2], ("c".to_owned(), text("instead")));
    let value = "- {key: c, action: insert, value: given, default_value: instead}";
    assert_eq!(acted(value, ab()).await[2], ("c".to_owned(), text("given")));
}

#[tokio::test]
async fn delete_removes_a_key_and_then_every_key_that_matches_anywhere() {
    let many = vec![("keep", text("")), ("x.secret.y", text("")), ("b", text("")), ("secret", text(""))];
    let out = acted("- {key: b, action: delete, pattern: secret}", many.clone()).await;
    assert_eq!(out, pairs(vec![("keep", text(""))]));
    let out = acted("- {action: delete, pattern: ^secret$}", many.clone()).await;
    assert_eq!(out.len(), 3);
    assert_eq!(acted("- {key: absent, action: delete}", many.clone()).await, pairs(many));
}

#[tokio::test]
async fn hash_replaces_values_in_their_place() {
    let abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
    let values = vec![("id", text("abc")), ("n", Any::IntValue(1)), ("none", text("")), ("l", list(vec![]))];
    let out = acted("- {key: id, action: hash}\n- {action: hash, pattern: ^(none|l)$}", values).await;
    assert_eq!(
        out,
        pairs(vec![("id", text(abc)), ("n", Any::IntValue(1)), ("none", text("")), ("l", text("")),])
    );
}

#[tokio::test]
async fn a_key_that_also_matches_is_hashed_twice() {
    let once = acted("- {key: id, action: hash}", vec![("id", text("abc"))]).await;
    let twice = acted("- {key: id, action: hash, pattern: id}", vec![("id", text("abc"))]).await;
    let again =
        acted("- {key: id, action: hash}\n- {key: id, action: hash}", vec![("id", text("abc"))]).await;
    assert_ne!(once, twice);
    assert_eq!(twice, again);
}

#[tokio::test]
async fn extract_makes_an_attribute_of_each_group_and_leaves_the_source() {
    let actions =
        r"- {key: url, action: extract, pattern: '^(?P<scheme>\w+)://(?P<host>[^:/]+)(?::(?P<port>\d+))?'}";
    let out = acted(actions, vec![("host", text("old")), ("url", text("https://example.com/x"))]).await;
    assert_eq!(
        out,
        pairs(vec![
            ("host", text("example.com")),
            ("url", text("https://example.com/x")),
            ("scheme", text("https")),
            ("port", text("")),
        ])
    );
}

#[tokio::test]
async fn extract_needs_a_text_that_matches() {
    let action = "- {key: a, action: extract, pattern: '(?P<digits>[0-9]+)'}";
    for value in [text("none"), Any::IntValue(12), list(vec![text("12")])] {
        assert_eq!(acted(action, vec![("a", value.clone())]).await, pairs(vec![("a", value)]));
    }
}

#[tokio::test]
async fn convert_changes_the_type_and_keeps_what_it_cannot_convert() {
    let values = vec![
        ("n", text("42")),
        ("d", Any::DoubleValue(2.9)),
        ("x", text("many")),
        ("l", list(vec![Any::IntValue(1)])),
    ];
    let actions = "\
- {key: n, action: convert, converted_type: int}
- {key: d, action: convert, converted_type: int}
- {key: x, action: convert, converted_type: double}
- {key: l, action: convert, converted_type: string}
- {key: absent, action: convert, converted_type: string}
";
    assert_eq!(
        acted(actions, values).await,
        pairs(vec![
            ("n", Any::IntValue(42)),
            ("d", Any::IntValue(2)),
            ("x", text("many")),
            ("l", text("[1]")),
        ])
    );
}

#[tokio::test]
async fn actions_see_what_those_before_them_did() {
    let actions = "\
- {key: c, action: insert, value: 5}
- {key: d, action: insert, from_attribute: c}
- {key: c, action: delete}
- {key: d, action: convert, converted_type: string}
";
    assert_eq!(acted(actions, vec![]).await, pairs(vec![("d", text("5"))]));
}

#[tokio::test]
async fn every_resource_of_every_segment_is_edited() {
    let (processor, sink) = processor("attributes: [{key: z, action: insert, value: 1}]");
    let mut payload = request(&[ab(), vec![]]);
    payload.append(request(&[vec![("z", text("mine"))]])).unwrap();
    processor.consume(Batch::new(payload)).await.unwrap();
    let z: Vec<_> = resources(&sink).iter().map(|r| r.last().unwrap().1.clone()).collect();
    assert_eq!(z, [Any::IntValue(1), Any::IntValue(1), text("mine")]);
}

#[tokio::test]
async fn actions_that_change_nothing_hand_on_the_very_same_bytes() {
    let (processor, sink) = processor("attributes: [{key: service.name, action: insert, value: x}]");
    let payload = Payloads::rich().request(Signal::Logs, 10);
    processor.consume(Batch::new(payload.clone())).await.unwrap();
    let out = &sink.batches()[0].payload;
    assert_eq!(out.segments()[0].as_ptr(), payload.segments()[0].as_ptr());
}
