//! The outcome of a call: code, message and details, and how they look in HTTP/2 trailers.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::time::Duration;

use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue};
use prost::Message as _;
use spanbridge_component::Code;

/// Trailer with the code, in decimal.
pub const GRPC_STATUS: &str = "grpc-status";
/// Trailer with the percent-encoded message.
pub const GRPC_MESSAGE: &str = "grpc-message";
/// Trailer with the serialized `google.rpc.Status`, in base64.
pub const GRPC_STATUS_DETAILS: &str = "grpc-status-details-bin";

/// Longest message that is put into a trailer, in bytes before encoding. Peers limit header lists to 8 KiB and more.
const MESSAGE_MAX_BYTES: usize = 2048;
/// Longest details that are put into a trailer, in bytes before encoding; longer ones are left out.
const DETAILS_MAX_BYTES: usize = 4096;
/// What clients are told to wait after a refusal for want of memory.
const OUT_OF_MEMORY_RETRY_DELAY: Duration = Duration::from_secs(1);
/// The `Any` type of `google.rpc.RetryInfo`.
const RETRY_INFO_TYPE: &str = "type.googleapis.com/google.rpc.RetryInfo";

/// "Implementations MUST accept padded and un-padded values and should emit un-padded values."
pub(super) const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new()
        .with_encode_padding(false)
        .with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// The outcome of a gRPC call.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{code}: {message}")]
pub struct Status {
    code: Code,
    message: Cow<'static, str>,
    details: Bytes,
}

impl Status {
    /// A status without details.
    pub fn new(code: Code, message: impl Into<Cow<'static, str>>) -> Self {
        Self { code, message: message.into(), details: Bytes::new() }
    }

    /// Telemetry is refused for want of memory: the answer of the Go collector's memory limiter, and when to try again.
    pub fn out_of_memory() -> Self {
        Self::new(Code::Unavailable, "data refused due to high memory usage")
            .with_retry_delay(OUT_OF_MEMORY_RETRY_DELAY)
    }

    /// Gives it a serialized `google.rpc.Status`, which goes into the trailers unchanged.
    #[must_use]
    pub fn with_details(mut self, details: Bytes) -> Self {
        self.details = details;
        self
    }

    /// Gives it `RetryInfo` details that ask the client to wait for `delay`.
    #[must_use]
    pub fn with_retry_delay(mut self, delay: Duration) -> Self {
        let retry = RetryInfo { retry_delay: Some(ProtoDuration::from(delay)) };
        let status = RpcStatus {
            code: self.code.number(),
            message: self.message.clone().into_owned(),
            details: vec![Any { type_url: RETRY_INFO_TYPE.to_owned(), value: retry.encode_to_vec() }],
        };
        self.details = status.encode_to_vec().into();
        self
    }

    /// The code.
    pub fn code(&self) -> Code {
        self.code
    }

    /// The message.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// The serialized `google.rpc.Status`; empty when there is none.
    pub fn details(&self) -> &Bytes {
        &self.details
    }

    /// The delay that the peer asked for in `RetryInfo` details, if any.
    pub fn retry_delay(&self) -> Option<Duration> {
        let status = RpcStatus::decode(self.details.clone()).ok()?;
        let any = status.details.iter().find(|any| any.type_url == RETRY_INFO_TYPE)?;
        let retry = RetryInfo::decode(any.value.as_slice()).ok()?;
        // Protobuf leaves out what is zero.
        retry.retry_delay.map_or(Some(Duration::ZERO), |delay| delay.to_std())
    }

    /// Adds the status to trailers (or to the headers of an answer that is only trailers).
    pub fn write_to(&self, trailers: &mut HeaderMap) {
        trailers.insert(GRPC_STATUS, code_value(self.code));
        if !self.message.is_empty()
            && let Ok(value) = HeaderValue::from_str(&percent_encoded(&self.message))
        {
            trailers.insert(GRPC_MESSAGE, value);
        }
        if !self.details.is_empty()
            && self.details.len() <= DETAILS_MAX_BYTES
            && let Ok(value) = HeaderValue::from_str(&BASE64.encode(&self.details))
        {
            trailers.insert(GRPC_STATUS_DETAILS, value);
        }
    }

    /// The status in these trailers; `None` when they have no `grpc-status`.
    pub fn read_from(trailers: &HeaderMap) -> Option<Self> {
        let code = trailers.get(GRPC_STATUS)?.to_str().ok().and_then(|text| text.parse().ok());
        let message = trailers.get(GRPC_MESSAGE).map(|v| percent_decoded(v.as_bytes())).unwrap_or_default();
        let details = trailers
            .get(GRPC_STATUS_DETAILS)
            .and_then(|v| BASE64.decode(v.as_bytes()).ok())
            .unwrap_or_default();
        let code = code.map_or(Code::Unknown, Code::from_number);
        Some(Self { code, message: message.into(), details: details.into() })
    }
}

/// The code as a header value, without allocation.
pub(crate) fn code_value(code: Code) -> HeaderValue {
    const VALUES: [&str; 17] =
        ["0", "1", "2", "3", "4", "5", "6", "7", "8", "9", "10", "11", "12", "13", "14", "15", "16"];
    let index = usize::try_from(code.number()).unwrap_or_default();
    HeaderValue::from_static(VALUES.get(index).copied().unwrap_or("2"))
}

/// "Percent-Encoded → 1*(Percent-Byte-Unencoded / Percent-Byte-Encoded)", where only space to `~` without `%` stay.
fn percent_encoded(text: &str) -> String {
    let mut end = text.len().min(MESSAGE_MAX_BYTES);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    let mut encoded = String::with_capacity(end);
    for &byte in &text.as_bytes()[..end] {
        match byte {
            b' '..=b'~' if byte != b'%' => encoded.push(char::from(byte)),
            _ => {
                let _ = write!(encoded, "%{byte:02X}");
            }
        }
    }
    encoded
}

/// "When decoding invalid values, implementations MUST NOT error or throw away the message."
fn percent_decoded(bytes: &[u8]) -> String {
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut rest = bytes;
    while let Some((&byte, after)) = rest.split_first() {
        let escaped = (byte == b'%')
            .then(|| after.get(..2).and_then(|hex| std::str::from_utf8(hex).ok()))
            .flatten()
            .and_then(|hex| u8::from_str_radix(hex, 16).ok());
        decoded.push(escaped.unwrap_or(byte));
        rest = if escaped.is_some() { &after[2..] } else { after };
    }
    String::from_utf8_lossy(&decoded).into_owned()
}

// === google.rpc messages ===

#[derive(Clone, PartialEq, prost::Message)]
struct RpcStatus {
    #[prost(int32, tag = "1")]
    code: i32,
    #[prost(string, tag = "2")]
    message: String,
    #[prost(message, repeated, tag = "3")]
    details: Vec<Any>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Any {
    #[prost(string, tag = "1")]
    type_url: String,
    #[prost(bytes = "vec", tag = "2")]
    value: Vec<u8>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct RetryInfo {
    #[prost(message, optional, tag = "1")]
    retry_delay: Option<ProtoDuration>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct ProtoDuration {
    #[prost(int64, tag = "1")]
    seconds: i64,
    #[prost(int32, tag = "2")]
    nanos: i32,
}

impl ProtoDuration {
    /// `None` for a negative or impossible duration.
    fn to_std(&self) -> Option<Duration> {
        let nanos = u32::try_from(self.nanos).ok().filter(|n| *n < 1_000_000_000)?;
        Some(Duration::new(u64::try_from(self.seconds).ok()?, nanos))
    }
}

impl From<Duration> for ProtoDuration {
    fn from(delay: Duration) -> Self {
        Self {
            seconds: i64::try_from(delay.as_secs()).unwrap_or(i64::MAX),
            nanos: i32::try_from(delay.subsec_nanos()).unwrap_or_default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn through_trailers(status: &Status) -> Status {
        let mut trailers = HeaderMap::new();
        status.write_to(&mut trailers);
        Status::read_from(&trailers).unwrap()
    }

    #[test]
    fn a_status_survives_its_trailers() {
        let status =
            Status::new(Code::Unavailable, "100 % größer\nthan \u{7f}").with_details(vec![1, 0, 255].into());
        assert_eq!(through_trailers(&status), status);
    }

    #[test]
    fn retry_info_survives_its_trailers() {
        let status =
            Status::new(Code::ResourceExhausted, "slow down").with_retry_delay(Duration::from_millis(1500));
        assert_eq!(through_trailers(&status).retry_delay(), Some(Duration::from_millis(1500)));
        assert_eq!(Status::new(Code::Ok, "").retry_delay(), None);
    }

    #[test]
    fn a_long_message_is_cut_at_a_character() {
        let status = through_trailers(&Status::new(Code::Internal, "ö".repeat(MESSAGE_MAX_BYTES)));
        assert_eq!(status.message(), "ö".repeat(MESSAGE_MAX_BYTES / 2));
    }

    #[test]
    fn broken_trailers_still_give_a_status() {
        let mut trailers = HeaderMap::new();
        assert_eq!(Status::read_from(&trailers), None);
        trailers.insert(GRPC_STATUS, HeaderValue::from_static("many"));
        trailers.insert(GRPC_MESSAGE, HeaderValue::from_static("50%-off%4"));
        trailers.insert(GRPC_STATUS_DETAILS, HeaderValue::from_static("!!!"));
        let status = Status::read_from(&trailers).unwrap();
        assert_eq!((status.code(), status.message()), (Code::Unknown, "50%-off%4"));
        assert!(status.details().is_empty());
    }

    #[test]
    fn padded_and_bare_base64_are_both_read() {
        for text in ["AQ==", "AQ"] {
            let mut trailers = HeaderMap::new();
            trailers.insert(GRPC_STATUS, HeaderValue::from_static("14"));
            trailers.insert(GRPC_STATUS_DETAILS, HeaderValue::from_static(text));
            assert_eq!(Status::read_from(&trailers).unwrap().details().as_ref(), [1]);
        }
    }
}
