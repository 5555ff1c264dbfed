//! What the answer of a destination means for the batch (reference: collector-core, 8.1).

use bytes::Bytes;
use prost::Message as _;
use spanbridge_component::{Code, ConsumeError, ErrorClass};
use spanbridge_transport::grpc::Status;

/// The error for a status other than OK. Code, message and details go on to the client unchanged.
pub(crate) fn error_of(status: &Status) -> ConsumeError {
    let delay = status.retry_delay();
    let class = match status.code() {
        Code::Canceled
        | Code::DeadlineExceeded
        | Code::Aborted
        | Code::OutOfRange
        | Code::Unavailable
        | Code::DataLoss => ErrorClass::Retryable,
        // Without RetryInfo the server does not say that it will ever get better.
        Code::ResourceExhausted if delay.is_some() => ErrorClass::Retryable,
        _ => ErrorClass::Permanent,
    };
    let error = ConsumeError::new(class, status.message())
        .with_code(status.code())
        .with_details(status.details().clone());
    match delay {
        Some(delay) if class == ErrorClass::Retryable && !delay.is_zero() => error.with_retry_after(delay),
        _ => error,
    }
}

/// What the destination says about a batch that it took in part. It is not sent again.
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
/// `INTERNAL` if it is no such response: nobody knows then what became of the batch.
pub(crate) fn partial_success(response: Bytes) -> Result<Option<PartialSuccess>, Status> {
    let response = ExportResponse::decode(response).map_err(|e| {
        Status::new(Code::Internal, format!("grpc: failed to unmarshal the received message: {e}"))
    })?;
    Ok(response
        .partial_success
        .map(|partial| PartialSuccess { rejected_items: partial.rejected, message: partial.error_message })
        .filter(|partial| partial.rejected_items > 0 || !partial.message.is_empty()))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn codes_are_retryable_or_permanent_as_in_the_go_exporter() {
        let retryable: Vec<_> = Code::ALL
            .into_iter()
            .skip(1)
            .filter(|code| !error_of(&Status::new(*code, "why")).is_permanent())
            .map(Code::name)
            .collect();
        assert_eq!(
            retryable,
            ["Canceled", "DeadlineExceeded", "Aborted", "OutOfRange", "Unavailable", "DataLoss"]
        );
    }

    #[test]
    fn retry_info_makes_an_exhausted_destination_retryable_and_gives_the_delay() {
        for (delay, after) in [(Duration::from_secs(3), Some(Duration::from_secs(3))), (Duration::ZERO, None)]
        {
            let status = Status::new(Code::ResourceExhausted, "slow down").with_retry_delay(delay);
            let error = error_of(&status);
            assert!(!error.is_permanent());
            assert_eq!(error.retry_after(), after);
            assert_eq!(error.details(), status.details());
        }
    }

    #[test]
    fn the_status_goes_on_unchanged() {
        let details = Bytes::from_static(b"\x08\x03");
        let error = error_of(&Status::new(Code::InvalidArgument, "bad span").with_details(details.clone()));
        assert_eq!((error.code(), error.message()), (Code::InvalidArgument, "bad span"));
        assert_eq!((error.details(), error.retry_after()), (&details, None));
    }

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
