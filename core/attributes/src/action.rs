//! Actions, compiled, and what they do to the attributes of one resource or item (reference: contrib-components, C.2).

use regex::Regex;
use smallvec::SmallVec;
use spanbridge_component::Context;
use spanbridge_pdata::{Attribute, Attributes, Value, ValueRef};

use crate::context::ContextKey;
use crate::convert::{Target, convert};
use crate::hash::hash;

/// One action.
#[derive(Debug)]
pub(crate) enum Action {
    /// Puts a value in.
    Put { mode: Mode, key: Box<str>, source: Source },
    /// Removes attributes.
    Delete(Keys),
    /// Replaces values by their hash.
    Hash(Keys),
    /// Makes an attribute of each named group of a match.
    Extract { key: Box<str>, pattern: Regex, names: Vec<Box<str>> },
    /// Changes the type of a value.
    Convert { key: Box<str>, to: Target },
}

/// When a value is put in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    /// Where the key is absent.
    Insert,
    /// Where it is there.
    Update,
    /// In any case.
    Upsert,
}

/// Where a value comes from. Every attribute in here is for the target key.
#[derive(Debug)]
pub(crate) enum Source {
    /// It is always the same.
    Constant(Attribute),
    /// Another attribute of the same resource or item.
    Attribute { key: Box<str>, default: Option<Attribute> },
    /// The request; looked up once for a batch and kept at `place`.
    Context { key: ContextKey, place: usize, default: Option<Attribute> },
}

/// The keys that an action is about: one, and those that match.
#[derive(Debug)]
pub(crate) struct Keys {
    pub(crate) key: Option<Box<str>>,
    pub(crate) pattern: Option<Regex>,
}

/// What the actions take from the context of one batch, by place.
#[derive(Debug)]
pub struct FromContext(SmallVec<[Option<Attribute>; 2]>);

impl FromContext {
    pub(crate) fn look_up(actions: &[Action], context: &Context) -> Self {
        let from_context = actions.iter().filter_map(|action| match action {
            Action::Put { key: target, source: Source::Context { key, default, .. }, .. } => {
                let found = key.value(context).map(|text| Attribute::new(&**target, text));
                Some(found.or_else(|| default.clone()))
            }
            _ => None,
        });
        Self(from_context.collect())
    }
}

impl Action {
    /// Acts on the attributes of one resource or item.
    pub(crate) fn apply(&self, attributes: &mut Attributes<'_>, from_context: &FromContext) {
        match self {
            Self::Put { mode, key, source } => put(*mode, key, source, attributes, from_context),
            Self::Delete(keys) => delete(keys, attributes),
            Self::Hash(keys) => hash_all(keys, attributes),
            Self::Extract { key, pattern, names } => extract(key, pattern, names, attributes),
            Self::Convert { key, to } => convert_one(key, *to, attributes),
        }
    }
}

fn put(mode: Mode, key: &str, source: &Source, attributes: &mut Attributes<'_>, from_context: &FromContext) {
    match source {
        Source::Constant(attribute) => mode.put(attribute, attributes),
        Source::Context { place, .. } => {
            if let Some(Some(attribute)) = from_context.0.get(*place) {
                mode.put(attribute, attributes);
            }
        }
        Source::Attribute { key: source, default } => {
            // What would not be put in is not copied.
            if !mode.puts(attributes.get(key).is_some()) {
                return;
            }
            let found = attributes.get(source).map(|value| value.to_value());
            match (found, default) {
                (Some(value), _) => mode.put(&Attribute::new(key, value), attributes),
                (None, Some(default)) => mode.put(default, attributes),
                (None, None) => {}
            }
        }
    }
}

impl Mode {
    /// Whether it puts a value in, the key being there or not.
    fn puts(self, is_there: bool) -> bool {
        match self {
            Self::Insert => !is_there,
            Self::Update => is_there,
            Self::Upsert => true,
        }
    }

    fn put(self, attribute: &Attribute, attributes: &mut Attributes<'_>) {
        match self {
            Self::Insert => {
                attributes.insert(attribute);
            }
            Self::Update => {
                attributes.update(attribute);
            }
            Self::Upsert => attributes.upsert(attribute),
        }
    }
}

fn delete(keys: &Keys, attributes: &mut Attributes<'_>) {
    if let Some(key) = &keys.key {
        attributes.delete(key);
    }
    if let Some(pattern) = &keys.pattern {
        attributes.retain_keys(|key| !pattern.is_match(key));
    }
}

/// A key that is given and matches as well is hashed twice, as in the reference.
fn hash_all(keys: &Keys, attributes: &mut Attributes<'_>) {
    if let Some(key) = &keys.key {
        replace(key, attributes, |value| Some(Value::Str(hash(&value))));
    }
    if let Some(pattern) = &keys.pattern {
        let matching = attributes.iter().filter(|(key, _)| pattern.is_match(key));
        let hashed: Vec<_> = matching.map(|(key, value)| Attribute::new(key, hash(&value))).collect();
        for attribute in &hashed {
            attributes.update(attribute);
        }
    }
}

fn extract(key: &str, pattern: &Regex, names: &[Box<str>], attributes: &mut Attributes<'_>) {
    let extracted: Option<SmallVec<[Attribute; 4]>> =
        attributes.get(key).as_ref().and_then(ValueRef::as_str).and_then(|text| {
            // The search for groups allocates also when there is no match.
            let groups = pattern.is_match(text).then(|| pattern.captures(text))??;
            let text_of = |index| groups.get(index).map_or("", |group| group.as_str());
            let named = names.iter().enumerate();
            Some(named.map(|(index, name)| Attribute::new(&**name, text_of(index + 1))).collect())
        });
    for attribute in extracted.iter().flatten() {
        attributes.upsert(attribute);
    }
}

fn convert_one(key: &str, to: Target, attributes: &mut Attributes<'_>) {
    replace(key, attributes, |value| match convert(&value, to) {
        Ok(converted) => converted,
        Err(reason) => {
            // Never the value: it may be a secret.
            tracing::debug!(key, to = to.name(), reason, "Unable to convert type");
            None
        }
    });
}

/// Replaces the value of `key`, if it is there, by what `change` makes of it.
fn replace(key: &str, attributes: &mut Attributes<'_>, change: impl FnOnce(ValueRef<'_>) -> Option<Value>) {
    if let Some(value) = attributes.get(key).and_then(change) {
        attributes.update(&Attribute::new(key, value));
    }
}
