//! Attribute edits do to bytes what they do to trees, and views show what prost decodes.
#![no_main]

use libfuzzer_sys::fuzz_target;
use spanbridge_pdata_fuzz::{Input, attribute_edit, check_invariant, model, nodes};

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

    let edits = input.choices.map(attribute_edit);
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
