//! What a destination says about a request that it took in part.

use bytes::Bytes;
use prost::Message as _;
use spanbridge_component::{Code, Signal};
use spanbridge_transport::grpc::Status;

/// What the destination says about a request that it took in part. It is not sent again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PartialSuccess {
    pub(crate) rejected_items: i64,
    pub(crate) message: String,
}

/// `Export{Trace,Metrics,Logs}ServiceResponse`, which have the same fields.
#[derive(Clone, PartialEq, prost::Message)]
struct ExportResponse {
    #[prost(message, optional, tag = "1")]
    partial_success: Option<ExportPartialSuccess>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct ExportPartialSuccess {
    #[prost(int64, tag = "1")]
    rejected: i64,
    #[prost(string, tag = "2")]
    error_message: String,
}

/// Whether a response tells of items that the destination rejected.
///
/// # Errors
/// `INTERNAL` if it is no such response: nobody knows then what became of the request.
pub(crate) fn partial_success(response: Bytes) -> Result<Option<PartialSuccess>, Status> {
    let response = ExportResponse::decode(response).map_err(|e| {
        Status::new(Code::Internal, format!("grpc: failed to unmarshal the received message: {e}"))
    })?;
    Ok(response
        .partial_success
        .map(|partial| PartialSuccess { rejected_items: partial.rejected, message: partial.error_message })
        .filter(|partial| partial.rejected_items > 0 || !partial.message.is_empty()))
}

impl PartialSuccess {
    /// Logs it. `held_back` says how many were not logged since the last one.
    pub(crate) fn log(&self, signal: Signal, held_back: u64) {
        const TEXT: &str = "Partial success response";
        let Self { rejected_items: dropped, message } = self;
        match signal {
            Signal::Traces => tracing::warn!(message, dropped_spans = dropped, held_back, "{TEXT}"),
            Signal::Metrics => tracing::warn!(message, dropped_data_points = dropped, held_back, "{TEXT}"),
            Signal::Logs => tracing::warn!(message, dropped_log_records = dropped, held_back, "{TEXT}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_response_without_rejections_is_success() {
        assert_eq!(partial_success(Bytes::new()), Ok(None));
        assert_eq!(partial_success(Bytes::from_static(&[0x0a, 0])), Ok(None));
        let partial = Bytes::from_static(b"\x0a\x06\x08\x05\x12\x02no");
        let expected = PartialSuccess { rejected_items: 5, message: "no".into() };
        assert_eq!(partial_success(partial), Ok(Some(expected)));
        assert_eq!(partial_success(Bytes::from_static(b"\x0a")).unwrap_err().code(), Code::Internal);
    }
}
