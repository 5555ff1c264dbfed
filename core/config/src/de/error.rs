//! What serde reports, in words for users.

use std::fmt;

use serde::de::{Expected, Unexpected};

use crate::diagnostic::Diagnostic;

/// An error on its way from a value to the decoder.
#[derive(Debug)]
pub(super) struct Error {
    pub(super) kind: Box<Kind>,
    pub(super) at: Option<Box<At>>,
}

/// What went wrong.
#[derive(Debug)]
pub(super) enum Kind {
    /// Nothing: the value asks to be left out (a null that keeps the default, a default that does not decode).
    Silent,
    /// A finished text.
    Custom(String),
    /// The value has a wrong type or content.
    Unfit { expected: String, found: Found },
    /// The text is none of the names that an enum has.
    UnknownVariant { variant: String, expected: &'static [&'static str] },
    /// A key is missing that has no default.
    MissingField(&'static str),
    /// A key is given under two of its names.
    DuplicateField(&'static str),
}

/// A value of a wrong type, in words.
#[derive(Debug)]
pub(super) struct Found {
    /// `the string "x"`.
    pub(super) shown: String,
    /// `a string`, for secrets.
    pub(super) hidden: &'static str,
}

/// Where an error happened.
#[derive(Debug)]
pub(super) struct At {
    /// The identities of the values from the failing one to the root.
    pub(super) nodes: Vec<usize>,
    /// The keys from the root.
    pub(super) steps: Vec<String>,
    /// What to report; nothing for silent errors.
    pub(super) diagnostic: Option<Diagnostic>,
}

impl Error {
    pub(super) fn new(kind: Kind) -> Self {
        Self { kind: Box::new(kind), at: None }
    }

    pub(super) fn silent() -> Self {
        Self::new(Kind::Silent)
    }
}

impl serde::de::Error for Error {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self::new(Kind::Custom(message.to_string()))
    }

    fn invalid_type(unexpected: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self::new(Kind::Unfit { expected: plain(&expected.to_string()), found: Found::of(unexpected) })
    }

    fn invalid_value(unexpected: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self::invalid_type(unexpected, expected)
    }

    fn unknown_variant(variant: &str, expected: &'static [&'static str]) -> Self {
        Self::new(Kind::UnknownVariant { variant: variant.to_owned(), expected })
    }

    fn missing_field(field: &'static str) -> Self {
        Self::new(Kind::MissingField(field))
    }

    fn duplicate_field(field: &'static str) -> Self {
        Self::new(Kind::DuplicateField(field))
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the value cannot be decoded")
    }
}

impl std::error::Error for Error {}

impl Found {
    fn of(unexpected: Unexpected<'_>) -> Self {
        let (shown, hidden) = match unexpected {
            Unexpected::Bool(value) => (format!("the boolean {value}"), "a boolean"),
            Unexpected::Unsigned(value) => (format!("the integer {value}"), "an integer"),
            Unexpected::Signed(value) => (format!("the integer {value}"), "an integer"),
            Unexpected::Float(value) => (format!("the number {value}"), "a number"),
            Unexpected::Str(text) => (format!("the string {}", quoted(text)), "a string"),
            Unexpected::Unit | Unexpected::Option => ("null".to_owned(), "null"),
            Unexpected::Seq => ("a list".to_owned(), "a list"),
            Unexpected::Map => ("a map".to_owned(), "a map"),
            _ => (unexpected.to_string(), "another value"),
        };
        Self { shown, hidden }
    }
}

/// A text in quotes, cut to a readable length, control characters escaped.
pub(super) fn quoted(text: &str) -> String {
    const SHOWN_MAX_CHARS: usize = 60;
    let cut: String = text.chars().take(SHOWN_MAX_CHARS).collect();
    let more = if cut.len() < text.len() { "..." } else { "" };
    format!("{cut:?}{more}")
}

/// serde's names of types in words.
fn plain(expected: &str) -> String {
    match expected {
        "u8" | "u16" | "u32" | "u64" | "u128" | "usize" => "a non-negative integer".to_owned(),
        "i8" | "i16" | "i32" | "i64" | "i128" | "isize" => "an integer".to_owned(),
        "f32" | "f64" => "a number".to_owned(),
        "a boolean" => "true or false".to_owned(),
        "a sequence" => "a list".to_owned(),
        "unit" => "null".to_owned(),
        "string or map" => "a string".to_owned(),
        _ if expected.starts_with("a nonzero ") => "an integer above zero".to_owned(),
        _ if expected.starts_with("struct ") => "a map".to_owned(),
        _ if expected.starts_with("enum ") => "one of its names".to_owned(),
        _ if expected.starts_with("a tuple of size ") => {
            expected.replace("a tuple of size", "a list of length")
        }
        _ => expected.to_owned(),
    }
}
