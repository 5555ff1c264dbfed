//! Item edits do to bytes what they do to trees.
#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use spanbridge_pdata::ItemEdit;
use spanbridge_pdata_fuzz::model::ModelEdit;
use spanbridge_pdata_fuzz::{Input, check_invariant, model, nodes};

/// Two bits an item, from the choices, over and over.
fn turns(choices: [u8; 4]) -> impl Iterator<Item = ModelEdit> {
    let bits = u32::from_le_bytes(choices);
    (0..16).cycle().map(move |turn| match bits >> (2 * turn) & 3 {
        0 => ModelEdit::Drop,
        1 => ModelEdit::Clear,
        _ => ModelEdit::Keep,
    })
}

fuzz_target!(|data: &[u8]| {
    let Some(input) = Input::new(data) else { return };
    let Some(payload) = input.payload() else { return };
    let mut expected = nodes(&payload);
    let mut turn = turns(input.choices);
    model::edit_items(&mut expected, || turn.next().unwrap_or(ModelEdit::Keep));
    let mut turn = turns(input.choices);
    let edited = payload.edit_items(|item| {
        assert!(item.scope_bytes().len() >= item.bytes().len());
        match turn.next() {
            Some(ModelEdit::Drop) => ItemEdit::Drop,
            Some(ModelEdit::Clear) => ItemEdit::Replace(Bytes::new()),
            _ => ItemEdit::Keep,
        }
    });
    let edited = edited.expect("an empty item is valid");
    check_invariant(&edited);
    assert_eq!(edited.items(), model::count(&expected));
    assert_eq!(model::canonical(&edited), model::encode(&model::request(input.signal, expected)));
});
