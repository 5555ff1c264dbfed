//! What the fuzz targets share: the model and the generator of the property tests, and the reading of inputs.

#[path = "../../tests/properties/descriptors.rs"]
pub mod descriptors;
#[path = "../../tests/properties/generate.rs"]
pub mod generate;
#[path = "../../tests/properties/model.rs"]
pub mod model;
#[path = "../../tests/properties/repair_model.rs"]
pub mod repair_model;

use generate::{KEYS, Oddities};
use model::AttributeEdit;
use spanbridge_pdata::{InvalidUtf8, Payload, Signal, Value};

/// Set in the option byte if the rest is a tape for the generator instead of a request.
pub const TAPE: u8 = 0x80;

/// A fuzz input taken apart.
pub struct Input<'a> {
    pub signal: Signal,
    /// Choices for the operation.
    pub choices: [u8; 4],
    is_tape: bool,
    oddities: Oddities,
    rest: &'a [u8],
}

impl<'a> Input<'a> {
    /// `None` if the input is too short.
    pub fn new(data: &'a [u8]) -> Option<Self> {
        let (&[option, a, b, c, d], rest) = data.split_first_chunk::<5>()?;
        Some(Self {
            signal: Signal::ALL[usize::from(option & 3) % 3],
            choices: [a, b, c, d],
            is_tape: option & TAPE != 0,
            oddities: Oddities {
                invalid_utf8: option & 4 != 0,
                bad_ids: option & 8 != 0,
                groups: option & 16 != 0,
            },
            rest,
        })
    }

    /// The request, legal or not.
    pub fn request(&self) -> Vec<u8> {
        if self.is_tape { generate::request(self.signal, self.rest, self.oddities) } else { self.rest.to_vec() }
    }

    /// Two requests.
    pub fn requests(&self) -> [Vec<u8>; 2] {
        let (a, b) = self.rest.split_at(self.rest.len() * usize::from(self.choices[0]) / 256);
        [a, b].map(|rest| Input { rest, ..*self }.request())
    }

    /// The payload of the request, with its strings repaired; `None` if it is malformed.
    pub fn payload(&self) -> Option<Payload> {
        accept(self.signal, self.request())
    }
}

/// The payload of a request, with its strings repaired; `None` if it is malformed.
pub fn accept(signal: Signal, request: Vec<u8>) -> Option<Payload> {
    Some(Payload::from_wire(signal, request.into(), InvalidUtf8::Repair).ok()?.payload)
}

/// Each segment is a valid request by itself, and the count is right.
pub fn check_invariant(payload: &Payload) {
    let items = payload.segments().iter().map(|segment| {
        assert!(!segment.is_empty());
        let received = Payload::from_wire(payload.signal(), segment.clone(), InvalidUtf8::Refuse);
        received.expect("a segment is a valid request").payload.items()
    });
    assert_eq!(items.sum::<usize>(), payload.items());
}

/// The tree of a payload.
pub fn nodes(payload: &Payload) -> Vec<model::ResourceNode> {
    model::nodes(payload.decode().expect("a payload can be decoded"))
}

/// An edit of attributes chosen by a byte.
pub fn attribute_edit(choice: u8) -> AttributeEdit {
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
