//! Payloads as trees of the generated types, for the few that need the tree.

use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use prost::{DecodeError, Message};

use crate::memory::Account;
use crate::{InvalidUtf8, Malformed, Payload, Signal};

/// A whole request as a tree.
#[derive(Debug, Clone, PartialEq)]
pub enum Decoded {
    /// Spans.
    Traces(ExportTraceServiceRequest),
    /// Metrics.
    Metrics(ExportMetricsServiceRequest),
    /// Log records.
    Logs(ExportLogsServiceRequest),
}

impl Decoded {
    /// The signal of the request.
    pub fn signal(&self) -> Signal {
        match self {
            Decoded::Traces(_) => Signal::Traces,
            Decoded::Metrics(_) => Signal::Metrics,
            Decoded::Logs(_) => Signal::Logs,
        }
    }

    fn empty(signal: Signal) -> Self {
        match signal {
            Signal::Traces => Decoded::Traces(ExportTraceServiceRequest::default()),
            Signal::Metrics => Decoded::Metrics(ExportMetricsServiceRequest::default()),
            Signal::Logs => Decoded::Logs(ExportLogsServiceRequest::default()),
        }
    }

    fn merge(&mut self, segment: &[u8]) -> Result<(), DecodeError> {
        match self {
            Decoded::Traces(request) => request.merge(segment),
            Decoded::Metrics(request) => request.merge(segment),
            Decoded::Logs(request) => request.merge(segment),
        }
    }

    fn encode(&self) -> Vec<u8> {
        match self {
            Decoded::Traces(request) => request.encode_to_vec(),
            Decoded::Metrics(request) => request.encode_to_vec(),
            Decoded::Logs(request) => request.encode_to_vec(),
        }
    }
}

impl Payload {
    /// Decodes the whole payload into one tree. This costs ten times what anything else in this crate does, and unknown
    /// fields are lost.
    ///
    /// # Errors
    /// None for a payload that came through the door; the error is prost's.
    pub fn decode(&self) -> Result<Decoded, DecodeError> {
        let mut decoded = Decoded::empty(self.signal());
        for segment in self.segments() {
            decoded.merge(segment)?;
        }
        Ok(decoded)
    }

    /// Encodes a tree, and validates it like bytes from outside.
    ///
    /// # Errors
    /// A tree that could not have come from outside either: an id of a wrong length, or values nested too deeply.
    pub fn encode(decoded: &Decoded) -> Result<Payload, Malformed> {
        let received = Payload::from_wire(
            decoded.signal(),
            Account::process().segment(decoded.encode()),
            InvalidUtf8::Refuse,
        )?;
        Ok(received.payload)
    }
}
