//! Why bytes from outside were refused.

use std::fmt;

/// Bytes that are not the OTLP they should be: what is wrong, and where.
///
/// The message suits the status of a gRPC `INVALID_ARGUMENT` or an HTTP 400: it names the field and the position, and
/// never repeats telemetry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Malformed {
    fault: Fault,
    offset: usize,
    path: Box<str>,
}

impl Malformed {
    pub(crate) fn new(fault: Fault, offset: usize, path: &str) -> Self {
        Self { fault, offset, path: path.into() }
    }

    /// What is wrong.
    pub fn fault(&self) -> Fault {
        self.fault
    }

    /// Position in the request, in bytes from its start, at which it was noticed.
    pub fn offset(&self) -> usize {
        self.offset
    }

    /// The field, as a path of protobuf field names such as `resource_spans.scope_spans.spans.name`; empty at the top.
    pub fn path(&self) -> &str {
        &self.path
    }
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "malformed OTLP request: {} at byte {}", self.fault, self.offset)?;
        if self.path.is_empty() { Ok(()) } else { write!(f, " ({})", self.path) }
    }
}

impl std::error::Error for Malformed {}

/// The ways in which a request can be malformed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Fault {
    /// A field reaches beyond the end of the message that contains it.
    #[error("field is cut short")]
    Truncated,
    /// A varint of more than ten bytes, or of more than 64 bits.
    #[error("invalid varint")]
    Varint,
    /// Field number 0 or above 2^29 - 1, or a reserved wire type.
    #[error("invalid field key")]
    Key,
    /// A group, which OTLP never had.
    #[error("group fields are not allowed")]
    Group,
    /// A known field with another wire type than its type has.
    #[error("wrong wire type for the field")]
    WireType,
    /// A string that is not UTF-8.
    #[error("string is not valid UTF-8")]
    Utf8,
    /// A trace id that is neither empty nor 16 bytes long.
    #[error("trace id has {0} bytes, want 16")]
    TraceIdLength(usize),
    /// A span id that is neither empty nor 8 bytes long.
    #[error("span id has {0} bytes, want 8")]
    SpanIdLength(usize),
    /// Messages nested more than 100 deep, the limit of most protobuf decoders.
    #[error("messages are nested too deeply")]
    TooDeep,
}
