//! Attribute edits do to bytes what they do to trees, and views show what prost decodes.
#![no_main]

use libfuzzer_sys::fuzz_target;
use spanbridge_pdata::Value;
use spanbridge_pdata_fuzz::generate::KEYS;
use spanbridge_pdata_fuzz::model::AttributeEdit;
use spanbridge_pdata_fuzz::{Input, check_invariant, model, nodes};

/// An edit chosen by a byte.
fn edit(choice: u8) -> AttributeEdit {
    let key = KEYS[usize::from(choice >> 4) % KEYS.len()];
    let value = match choice & 3 {
        0 => Value::Str("text".to_owned()),
        1 => Value::Int(-1),
        2 => Value::List(vec![Value::Bool(true), Value::Empty]),
        _ => Value::Map(vec![("k".to_owned(), Value::Double(0.5))]),
    };
    match choice >> 2 & 3 {
        0 => AttributeEdit::Insert(key, value),
        1 => AttributeEdit::Upsert(key, value),
        2 => AttributeEdit::Update(key, value),
        _ if choice & 1 == 0 => AttributeEdit::Delete(key),
        _ => AttributeEdit::RetainStrings,
    }
}

fuzz_target!(|data: &[u8]| {
    let Some(input) = Input::new(data) else { return };
    let Some(payload) = input.payload() else { return };
    let mut expected = nodes(&payload);

    assert_eq!(payload.resources().count(), expected.len());
    for (view, node) in payload.resources().zip(&expected) {
        let pairs = node.resource.iter().flat_map(|resource| &resource.attributes);
        let mut seen = view.attributes();
        for pair in pairs {
            let (key, value) = seen.next().expect("as many attributes as prost decodes");
            assert_eq!(key, pair.key);
            assert!(model::same(&value.to_value(), &model::value(pair.value.as_ref())));
        }
        assert!(seen.next().is_none());
        assert_eq!(view.items(), model::count(std::slice::from_ref(node)));
        assert_eq!(view.schema_url(), node.schema_url);
    }

    let edits = input.choices.map(edit);
    let edited = payload.edit_resources(|attributes| {
        for edit in &edits {
            edit.apply(attributes);
        }
    });
    for node in &mut expected {
        for edit in &edits {
            edit.apply_to_model(&mut node.resource);
        }
    }
    check_invariant(&edited);
    assert_eq!(edited.items(), payload.items());
    assert_eq!(model::canonical(&edited), model::encode(&model::request(input.signal, expected)));
});
