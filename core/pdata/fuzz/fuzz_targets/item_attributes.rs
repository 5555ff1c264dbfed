//! Attribute edits of items do to bytes what they do to trees.
#![no_main]

use libfuzzer_sys::fuzz_target;
use spanbridge_pdata_fuzz::model::ItemAttributeEdit;
use spanbridge_pdata_fuzz::{Input, attribute_edit, check_invariant, model, nodes};

fuzz_target!(|data: &[u8]| {
    let Some(input) = Input::new(data) else { return };
    let Some(payload) = input.payload() else { return };
    let [turns, choices @ ..] = input.choices;
    let turns = (0..8).map(|bit| turns >> bit & 1 == 0).collect();
    let mut edit = ItemAttributeEdit::new(choices.map(attribute_edit).to_vec(), turns);
    let mut expected = nodes(&payload);
    edit.clone().apply_to_model(&mut expected);
    let edited = payload.edit_item_attributes(&mut edit);
    check_invariant(&edited);
    assert_eq!(edited.items(), payload.items());
    assert_eq!(model::canonical(&edited), model::encode(&model::request(input.signal, expected)));
});
