//! Error classes of the data path and of the lifecycle.

use std::time::Duration;

use bytes::Bytes;

use crate::Code;

/// Whether trying the same batch again can help.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorClass {
    /// It cannot: the data or the request itself is at fault.
    Permanent,
    /// It may: something downstream is slow, down or full.
    Retryable,
}

/// Why a consumer did not take responsibility for a batch.
///
/// It maps onto the codes at the edge as the Go collector does (reference: collector-core, 6.4): a gRPC status from
/// downstream passes through unchanged; without one a permanent error is `INTERNAL`, a retryable one `UNAVAILABLE`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct ConsumeError {
    class: ErrorClass,
    message: String,
    code: Option<Code>,
    retry_after: Option<Duration>,
    details: Bytes,
}

impl ConsumeError {
    /// An error that a retry cannot mend.
    pub fn permanent(message: impl Into<String>) -> Self {
        Self::new(ErrorClass::Permanent, message)
    }

    /// An error that a retry may mend.
    pub fn retryable(message: impl Into<String>) -> Self {
        Self::new(ErrorClass::Retryable, message)
    }

    /// An error of the given class without a gRPC status.
    pub fn new(class: ErrorClass, message: impl Into<String>) -> Self {
        Self { class, message: message.into(), code: None, retry_after: None, details: Bytes::new() }
    }

    /// Gives it the gRPC status code that the client shall see.
    #[must_use]
    pub fn with_code(mut self, code: Code) -> Self {
        self.code = Some(code);
        self
    }

    /// Gives it the serialized `google.rpc.Status` of downstream (`grpc-status-details-bin`), passed on unchanged.
    #[must_use]
    pub fn with_details(mut self, details: Bytes) -> Self {
        self.details = details;
        self
    }

    /// Gives it the delay that downstream asked for (`RetryInfo`, `Retry-After`).
    #[must_use]
    pub fn with_retry_after(mut self, delay: Duration) -> Self {
        self.retry_after = Some(delay);
        self
    }

    /// Puts `what` before the message, keeping everything else.
    #[must_use]
    pub fn context(mut self, what: &str) -> Self {
        self.message = format!("{what}: {}", self.message);
        self
    }

    /// Whether a retry can help.
    pub fn class(&self) -> ErrorClass {
        self.class
    }

    /// Whether a retry cannot help.
    pub fn is_permanent(&self) -> bool {
        self.class == ErrorClass::Permanent
    }

    /// The text, without class or code.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// The gRPC code that downstream gave, if any.
    pub fn status_code(&self) -> Option<Code> {
        self.code
    }

    /// The gRPC code that the client sees: downstream's own, else by class.
    pub fn code(&self) -> Code {
        self.code.unwrap_or(match self.class {
            ErrorClass::Permanent => Code::Internal,
            ErrorClass::Retryable => Code::Unavailable,
        })
    }

    /// The delay that downstream asked for.
    pub fn retry_after(&self) -> Option<Duration> {
        self.retry_after
    }

    /// The serialized `google.rpc.Status` of downstream; empty when there is none.
    pub fn details(&self) -> &Bytes {
        &self.details
    }

    /// Joins the errors of several consumers that were all handed the same batch.
    ///
    /// As in the Go collector the whole is permanent when any part is, and the status is the first part's that has
    /// one. Returns `None` for no errors.
    pub fn join(errors: impl IntoIterator<Item = ConsumeError>) -> Option<Self> {
        let mut errors = errors.into_iter();
        let mut joined = errors.next()?;
        for error in errors {
            if error.is_permanent() {
                joined.class = ErrorClass::Permanent;
            }
            if joined.code.is_none() {
                joined.code = error.code;
                joined.details = error.details;
            }
            joined.retry_after = joined.retry_after.max(error.retry_after);
            joined.message = format!("{}; {}", joined.message, error.message);
        }
        Some(joined)
    }

    /// Joins the errors of several parts of the same batch, each of which had an answer of its own.
    ///
    /// The whole is retryable when any part is: a client that hears that a retry cannot help gives up all that it sent,
    /// and with it what was only late. The status is then one of a part that a retry may help. Returns `None` for no
    /// errors.
    pub fn join_parts(errors: impl IntoIterator<Item = ConsumeError>) -> Option<Self> {
        let (mut permanent, retryable): (Vec<_>, Vec<_>) =
            errors.into_iter().partition(ConsumeError::is_permanent);
        let Some(class) = retryable.first().map(ConsumeError::class) else { return Self::join(permanent) };
        for error in &mut permanent {
            (error.code, error.details) = (None, Bytes::new());
        }
        let joined = Self::join(retryable.into_iter().chain(permanent))?;
        Some(Self { class, ..joined })
    }
}

/// Why a component could not be made from a valid configuration.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct BuildError(pub String);

impl From<prometheus::Error> for BuildError {
    fn from(error: prometheus::Error) -> Self {
        Self(format!("cannot register metrics: {error}"))
    }
}

/// Why a component could not start: what was attempted, on which object.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct StartError(pub String);

/// What went wrong while a component stopped.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct ShutdownError {
    /// What failed.
    pub message: String,
    /// Items the component held and could not hand on within its bound.
    pub undelivered_items: usize,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn class_decides_the_code_when_downstream_gave_none() {
        assert_eq!(ConsumeError::permanent("x").code(), Code::Internal);
        assert_eq!(ConsumeError::retryable("x").code(), Code::Unavailable);
        assert_eq!(
            ConsumeError::permanent("x").with_code(Code::InvalidArgument).code(),
            Code::InvalidArgument
        );
    }

    #[test]
    fn joined_errors_are_permanent_if_any_part_is_and_take_the_first_status() {
        let joined = ConsumeError::join([
            ConsumeError::retryable("a"),
            ConsumeError::retryable("b").with_code(Code::ResourceExhausted),
            ConsumeError::permanent("c").with_code(Code::InvalidArgument),
        ])
        .unwrap();
        assert!(joined.is_permanent());
        assert_eq!(joined.code(), Code::ResourceExhausted);
        assert_eq!(joined.message(), "a; b; c");
        assert_eq!(ConsumeError::join([]), None);
    }

    #[test]
    fn joined_parts_of_a_batch_are_retryable_if_any_is_and_show_no_status_that_says_otherwise() {
        let bad = || ConsumeError::permanent("bad").with_code(Code::InvalidArgument).with_details("x".into());
        let down = || ConsumeError::retryable("down");
        for parts in [[bad(), down()], [down(), bad()]] {
            let joined = ConsumeError::join_parts(parts).unwrap();
            assert!(!joined.is_permanent());
            assert_eq!((joined.code(), joined.message()), (Code::Unavailable, "down; bad"));
            assert!(joined.details().is_empty());
        }
        let exhausted = down().with_code(Code::ResourceExhausted);
        let joined = ConsumeError::join_parts([bad(), down(), exhausted]).unwrap();
        assert_eq!(joined.code(), Code::ResourceExhausted);
        assert_eq!(ConsumeError::join_parts([bad()]), Some(bad()));
        assert_eq!(ConsumeError::join_parts([]), None);
    }
}
