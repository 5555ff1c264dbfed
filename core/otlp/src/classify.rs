//! What the answer of a destination means for the request (reference: collector-core, 8.1; departures in ADR 006).

use spanbridge_component::{Code, ConsumeError, ErrorClass};
use spanbridge_exporterhelper::{Refusal, SendError};
use spanbridge_transport::grpc::Status;

use crate::size::too_large;

/// What a status other than OK means: whether the request may be sent again, and whether a part of it may be taken.
///
/// | status | class | refusal |
/// |---|---|---|
/// | about the message's size, in whatever code servers say it | permanent | [`Refusal::TooLarge`] |
/// | `INVALID_ARGUMENT` | permanent | [`Refusal::Contents`] |
/// | `CANCELLED`, `DEADLINE_EXCEEDED`, `ABORTED`, `OUT_OF_RANGE`, `UNAVAILABLE`, `DATA_LOSS` | retryable | |
/// | `RESOURCE_EXHAUSTED`, with `RetryInfo` or without | retryable: back-pressure | |
/// | all others | permanent | |
///
/// Of UNAUTHENTICATED the sender may know more: [`Refusal::Credentials`].
///
/// Code, message and details go on to the client unchanged, with one exception: to OTLP clients `RESOURCE_EXHAUSTED`
/// without `RetryInfo` means that the data is lost, so back-pressure without it is handed on as `UNAVAILABLE`.
pub fn send_error(status: &Status) -> SendError {
    let delay = status.retry_delay();
    let (class, refusal) = if let Some(found) = too_large(status) {
        (ErrorClass::Permanent, Refusal::TooLarge { limit: found.limit })
    } else {
        by_code(status.code())
    };
    let is_bare_back_pressure =
        class == ErrorClass::Retryable && status.code() == Code::ResourceExhausted && delay.is_none();
    let code = if is_bare_back_pressure { Code::Unavailable } else { status.code() };
    let mut error = ConsumeError::new(class, status.message()).with_code(code);
    if !is_bare_back_pressure {
        // The details repeat the code.
        error = error.with_details(status.details().clone());
    }
    if let Some(delay) = delay.filter(|delay| class == ErrorClass::Retryable && !delay.is_zero()) {
        error = error.with_retry_after(delay);
    }
    SendError { error, refusal, failed: None }
}

fn by_code(code: Code) -> (ErrorClass, Refusal) {
    match code {
        Code::Canceled
        | Code::DeadlineExceeded
        | Code::Aborted
        | Code::OutOfRange
        | Code::Unavailable
        | Code::DataLoss
        | Code::ResourceExhausted => (ErrorClass::Retryable, Refusal::Whole),
        Code::InvalidArgument => (ErrorClass::Permanent, Refusal::Contents),
        _ => (ErrorClass::Permanent, Refusal::Whole),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use bytes::Bytes;

    use super::*;

    #[test]
    fn codes_are_retryable_or_permanent_as_in_the_go_exporter_but_for_back_pressure() {
        let retryable: Vec<_> = Code::ALL
            .into_iter()
            .skip(1)
            .filter(|code| !send_error(&Status::new(*code, "why")).error.is_permanent())
            .map(Code::name)
            .collect();
        assert_eq!(
            retryable,
            [
                "Canceled",
                "DeadlineExceeded",
                "ResourceExhausted",
                "Aborted",
                "OutOfRange",
                "Unavailable",
                "DataLoss"
            ]
        );
    }

    /// core#15126: another collector that is full says `RESOURCE_EXHAUSTED` without `RetryInfo`, which is not the end of it.
    #[test]
    fn back_pressure_is_retryable_with_retry_info_and_without() {
        for (delay, after) in [(Duration::from_secs(3), Some(Duration::from_secs(3))), (Duration::ZERO, None)]
        {
            let status = Status::new(Code::ResourceExhausted, "slow down").with_retry_delay(delay);
            let SendError { error, refusal, .. } = send_error(&status);
            assert_eq!((error.is_permanent(), refusal), (false, Refusal::Whole));
            assert_eq!((error.code(), error.retry_after()), (Code::ResourceExhausted, after));
            assert_eq!(error.details(), status.details());
        }
        let error = send_error(&Status::new(Code::ResourceExhausted, "Too Many Requests")).error;
        assert_eq!((error.is_permanent(), error.retry_after()), (false, None));
        // A client would throw the data away on RESOURCE_EXHAUSTED.
        assert_eq!((error.code(), error.message()), (Code::Unavailable, "Too Many Requests"));
    }

    #[test]
    fn a_refusal_for_the_size_asks_for_parts() {
        let status =
            Status::new(Code::ResourceExhausted, "grpc: received message larger than max (2000 vs. 1000)");
        let refused = send_error(&status);
        assert_eq!(refused.refusal, Refusal::TooLarge { limit: Some(1000) });
        assert_eq!((refused.error.is_permanent(), refused.error.code()), (true, Code::ResourceExhausted));
        // tonic's code would be retried for ever otherwise.
        let text = "Error, decoded message length too large: found 2000 bytes, the limit is: 1000 bytes";
        let refused = send_error(&Status::new(Code::OutOfRange, text));
        assert_eq!(refused.refusal, Refusal::TooLarge { limit: Some(1000) });
        assert!(refused.error.is_permanent());
    }

    #[test]
    fn a_refusal_for_the_contents_goes_on_unchanged_and_asks_for_parts() {
        let details = Bytes::from_static(b"\x08\x03");
        let status = Status::new(Code::InvalidArgument, "bad span").with_details(details.clone());
        let SendError { error, refusal, failed } = send_error(&status);
        assert_eq!((error.code(), error.message()), (Code::InvalidArgument, "bad span"));
        assert_eq!((error.details(), error.retry_after()), (&details, None));
        assert_eq!((refusal, failed.is_none()), (Refusal::Contents, true));
    }
}
