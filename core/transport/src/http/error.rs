//! Why a request got no answer.

use std::fmt;

/// Why there is no response. Its text names method and URL, without userinfo and query.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Error {
    kind: Kind,
    /// `GET https://issuer.example/keys`
    asked: String,
    cause: String,
}

/// Sorts of failures, for who has to decide whether to ask again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The URL or a header cannot be used; asking again cannot help.
    Request,
    /// The name cannot be resolved, or nobody is listening there.
    Unreachable,
    /// There is no secure connection.
    Tls,
    /// It took too long.
    Timeout,
    /// The answer is larger than the limit.
    TooLarge,
    /// The connection broke, or the answer is no HTTP.
    Broken,
    /// A redirect that is not followed.
    Redirect,
}

impl Error {
    pub(super) fn new(kind: Kind, asked: impl Into<String>, cause: impl Into<String>) -> Self {
        Self { kind, asked: asked.into(), cause: cause.into() }
    }

    /// What sort of failure it is.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// What failed, without the URL.
    pub fn cause(&self) -> &str {
        &self.cause
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.asked, self.cause)
    }
}

impl std::error::Error for Error {}
