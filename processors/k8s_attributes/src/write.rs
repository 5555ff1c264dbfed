//! How attributes are written.

use spanbridge_pdata::{Attribute, Attributes, ValueRef};

/// Puts the attribute in unless there is one with its key that is not blank: an empty text is overwritten, anything else
/// never (reference: contrib-components, B.2).
pub(crate) fn put_if_blank(attributes: &mut Attributes<'_>, attribute: &Attribute) {
    let is_blank = match attributes.get(attribute.key()) {
        None => {
            attributes.insert(attribute);
            return;
        }
        Some(ValueRef::Empty) => true,
        Some(ValueRef::Str(text)) => text.is_empty(),
        Some(ValueRef::Bytes(bytes)) => bytes.is_empty(),
        Some(_) => false,
    };
    if is_blank {
        attributes.update(attribute);
    }
}
