//! Component and pipeline ids: `type[/name]` and `signal[/name]`.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use spanbridge_pdata::Signal;

/// Longest name of a component in characters (reference: collector-core, 3.2).
const NAME_MAX_CHARS: usize = 1024;
/// Longest component type in characters: a letter and up to 62 more.
const TYPE_MAX_CHARS: usize = 63;

/// The type of a component as written in configurations: `otlp`, `memory_limiter`.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ComponentType(Arc<str>);

/// The id of a component, unique within its kind: `type[/name]`.
///
/// An alias (`otlp` for `otlp_grpc`) stays as written: it only selects the factory.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ComponentId {
    text: Arc<str>,
    type_len: usize,
}

/// The id of a pipeline: `signal[/name]`.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PipelineId {
    signal: Signal,
    name: Arc<str>,
}

/// Why a text is no id; names the part that is wrong.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs)] // the messages say it
pub enum IdError {
    #[error("id must not be empty")]
    Empty,
    #[error("in \"{0}\" id: the part after / should not be empty")]
    EmptyName(String),
    #[error("in \"{0}\" id: the part before / should not be empty")]
    EmptyType(String),
    #[error("in \"{0}\" id: invalid character(s) in type \"{0}\"")]
    BadType(String),
    #[error("in \"{0}\" id: invalid character(s) in name \"{0}\"")]
    BadName(String),
    #[error("name \"{0}\" is longer than 1024 characters ({1} characters)")]
    LongName(String, usize),
    #[error("in \"{0}\" id: unknown pipeline signal: \"{1}\"")]
    UnknownSignal(String, String),
}

// === impl ComponentType ===

impl ComponentType {
    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for ComponentType {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        let mut chars = text.chars();
        let starts_well = chars.next().is_some_and(|c| c.is_ascii_alphabetic());
        let goes_on_well = chars.all(|c| c.is_ascii_alphanumeric() || c == '_');
        if starts_well && goes_on_well && text.len() <= TYPE_MAX_CHARS {
            Ok(Self(text.into()))
        } else {
            Err(IdError::BadType(text.to_owned()))
        }
    }
}

impl fmt::Display for ComponentType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for ComponentType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

// === impl ComponentId ===

impl ComponentId {
    /// The type part.
    pub fn type_name(&self) -> &str {
        &self.text[..self.type_len]
    }

    /// The name part; empty when the id is only a type.
    pub fn name(&self) -> &str {
        self.text.get(self.type_len + 1..).unwrap_or("")
    }

    /// The whole id as users write it.
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

impl FromStr for ComponentId {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        let (type_part, name) = split_id(text)?;
        type_part.parse::<ComponentType>()?;
        Ok(match name {
            None => Self { type_len: type_part.len(), text: type_part.into() },
            Some(name) => Self { type_len: type_part.len(), text: format!("{type_part}/{name}").into() },
        })
    }
}

impl fmt::Display for ComponentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for ComponentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

// === impl PipelineId ===

impl PipelineId {
    /// The signal this pipeline carries.
    pub fn signal(&self) -> Signal {
        self.signal
    }

    /// The name part; empty when the id is only a signal.
    pub fn name(&self) -> &str {
        &self.name
    }
}

impl FromStr for PipelineId {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        let (signal, name) = split_id(text)?;
        let signal = signal
            .parse::<Signal>()
            .map_err(|_| IdError::UnknownSignal(text.trim().to_owned(), signal.to_owned()))?;
        Ok(Self { signal, name: name.unwrap_or("").into() })
    }
}

impl fmt::Display for PipelineId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.signal, f)?;
        if self.name.is_empty() { Ok(()) } else { write!(f, "/{}", self.name) }
    }
}

impl fmt::Debug for PipelineId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

// === serde and schema: ids are strings ===

macro_rules! string_serde {
    ($type:ident, $schema_name:literal, $description:literal) => {
        impl Serialize for $type {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                struct Visitor;
                impl de::Visitor<'_> for Visitor {
                    type Value = $type;

                    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                        f.write_str("a string")
                    }

                    fn visit_str<E: de::Error>(self, text: &str) -> Result<$type, E> {
                        text.parse().map_err(E::custom)
                    }
                }
                // Not `deserialize_string`, which asks for plain strings: a list of those may be written as one string
                // with commas, a list of ids may not.
                deserializer.deserialize_str(Visitor)
            }
        }

        impl JsonSchema for $type {
            fn schema_name() -> std::borrow::Cow<'static, str> {
                $schema_name.into()
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!({ "type": "string", "description": $description })
            }
        }
    };
}

string_serde!(ComponentId, "ComponentId", "`type` or `type/name`");
string_serde!(PipelineId, "PipelineId", "`signal` or `signal/name`");

/// Splits at the first `/`, trimming both sides, and checks the name.
fn split_id(text: &str) -> Result<(&str, Option<&str>), IdError> {
    let trimmed = text.trim();
    if trimmed.is_empty() {
        return Err(IdError::Empty);
    }
    let Some((first, name)) = trimmed.split_once('/') else {
        return Ok((trimmed, None));
    };
    let (first, name) = (first.trim(), name.trim());
    if first.is_empty() {
        return Err(IdError::EmptyType(trimmed.to_owned()));
    }
    if name.is_empty() {
        return Err(IdError::EmptyName(trimmed.to_owned()));
    }
    let chars = name.chars().count();
    if chars > NAME_MAX_CHARS {
        return Err(IdError::LongName(name.to_owned(), chars));
    }
    if name.chars().any(|c| !is_name_char(c)) {
        return Err(IdError::BadName(name.to_owned()));
    }
    Ok((first, Some(name)))
}

/// Anything but white space, control characters and symbols (Unicode classes Z, C, S; of S the ASCII ones, as the
/// others have no table in the standard library and are harmless).
fn is_name_char(c: char) -> bool {
    !c.is_whitespace() && !c.is_control() && !matches!(c, '$' | '+' | '<' | '=' | '>' | '^' | '`' | '|' | '~')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_trimmed_and_split_at_the_first_slash() {
        let id: ComponentId = " otlp / a/b ".parse().unwrap();
        assert_eq!((id.type_name(), id.name(), id.as_str()), ("otlp", "a/b", "otlp/a/b"));
        let id: ComponentId = "otlp".parse().unwrap();
        assert_eq!((id.type_name(), id.name()), ("otlp", ""));
    }

    #[test]
    fn bad_ids_name_the_part_that_is_wrong() {
        let error = |text: &str| text.parse::<ComponentId>().unwrap_err().to_string();
        assert_eq!(error(""), "id must not be empty");
        assert_eq!(error("x/"), "in \"x/\" id: the part after / should not be empty");
        assert_eq!(error("/x"), "in \"/x\" id: the part before / should not be empty");
        assert_eq!(error("x y"), "in \"x y\" id: invalid character(s) in type \"x y\"");
        assert_eq!(error("x/a b"), "in \"a b\" id: invalid character(s) in name \"a b\"");
        assert!(
            error(&format!("x/{}", "n".repeat(1025)))
                .ends_with("is longer than 1024 characters (1025 characters)")
        );
    }

    #[test]
    fn pipeline_ids_need_a_known_signal() {
        let id: PipelineId = "traces/in".parse().unwrap();
        assert_eq!((id.signal(), id.name(), id.to_string().as_str()), (Signal::Traces, "in", "traces/in"));
        let error = "spans/in".parse::<PipelineId>().unwrap_err().to_string();
        assert_eq!(error, "in \"spans/in\" id: unknown pipeline signal: \"spans\"");
    }
}
