//! Why a request to the API failed, and what to do about it.

use std::time::Duration;

use http::header::RETRY_AFTER;
use http::{HeaderMap, StatusCode};
use serde::Deserialize;

use crate::access::chain;
use crate::query::Query;
use crate::rule::Rule;

/// Why a request failed.
#[derive(Debug)]
#[non_exhaustive]
pub enum Failure {
    /// The version is too old, or the list has expired: everything has to be listed again.
    Gone,
    /// There is no such object, or no such resource.
    NotFound(String),
    /// The account may not do this.
    Forbidden(String),
    /// The credentials are not, or not any more, valid.
    Unauthorized(String),
    /// The server asks for a pause.
    Throttled {
        /// What it says.
        message: String,
        /// How long the pause should be, if it says that.
        after: Option<Duration>,
    },
    /// The answer is larger than what is read of one.
    TooLarge,
    /// The server answered with another error, or with what cannot be read.
    Server(String),
    /// The server could not be reached, or the connection broke.
    Connection(String),
}

/// A pause that a server asks for is not longer than this.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(300);

/// The `metav1.Status` that an error comes with.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Status {
    pub(crate) message: String,
    pub(crate) reason: String,
    pub(crate) code: u16,
    pub(crate) details: Option<Details>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct Details {
    pub(crate) retry_after_seconds: u64,
}

impl Failure {
    /// From an answer that is no success.
    pub(crate) fn of_answer(code: StatusCode, headers: &HeaderMap, body: &[u8]) -> Self {
        let mut status: Status = serde_json::from_slice(body).unwrap_or_default();
        if status.message.is_empty() {
            status.message = format!("the server answered with {code}");
        }
        status.code = code.as_u16();
        let after = headers.get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
        Self::of_status(status, after.map(Duration::from_secs))
    }

    /// From a status, which a watch may send as its last event.
    pub(crate) fn of_status(status: Status, after: Option<Duration>) -> Self {
        let Status { message, reason, code, details } = status;
        let asked = details.map(|details| details.retry_after_seconds).filter(|seconds| *seconds > 0);
        let after = after.or(asked.map(Duration::from_secs)).map(|after| after.min(RETRY_AFTER_MAX));
        match code {
            401 => Self::Unauthorized(message),
            403 => Self::Forbidden(message),
            404 => Self::NotFound(message),
            410 => Self::Gone,
            _ if reason == "Expired" || reason == "Gone" => Self::Gone,
            429 => Self::Throttled { message, after },
            503 | 504 if after.is_some() => Self::Throttled { message, after },
            _ => Self::Server(message),
        }
    }

    /// From an error of the client.
    pub(crate) fn of_error(error: &dyn std::error::Error) -> Self {
        Self::Connection(chain(error))
    }

    /// How long the server wants us to wait.
    pub(crate) fn after(&self) -> Option<Duration> {
        if let Self::Throttled { after, .. } = self { *after } else { None }
    }

    /// The reason as metrics have it.
    pub(crate) fn reason(&self) -> &'static str {
        match self {
            Self::Gone => "gone",
            Self::Forbidden(_) => "forbidden",
            Self::Unauthorized(_) => "unauthorized",
            Self::Throttled { .. } => "throttled",
            Self::TooLarge => "too_large",
            // Lists know of no missing objects, but for a server that lacks the resource.
            Self::Server(_) | Self::NotFound(_) => "server",
            Self::Connection(_) => "connection",
        }
    }

    /// What failed, why, and what to do about it. `verb` is that of RBAC.
    pub fn describe(&self, verb: &str, query: &Query) -> String {
        let (plural, group) = (query.resource.plural, query.resource.group);
        let place = match &query.namespace {
            Some(namespace) => format!("in the namespace \"{namespace}\""),
            None => "at the cluster scope".to_owned(),
        };
        let what = format!("cannot {verb} resource \"{plural}\" in API group \"{group}\" {place}");
        match self {
            Self::Forbidden(message) => {
                let role = if query.namespace.is_some() { "Role" } else { "ClusterRole" };
                let rule = match verb {
                    "get" => Rule::to_get(query.resource),
                    _ => Rule::to_watch(query.resource),
                };
                let rule = rule.flow();
                format!("{what}: forbidden: {message}; add to the {role} of the service account: {rule}")
            }
            Self::Unauthorized(message) => {
                format!("{what}: the API server does not accept the credentials: {message}")
            }
            Self::Throttled { message, .. } => format!("{what}: the API server asks for a pause: {message}"),
            Self::Gone => format!("{what}: the version is too old"),
            Self::TooLarge => format!("{what}: one object is larger than what is read at once"),
            Self::Server(message) | Self::NotFound(message) => format!("{what}: {message}"),
            Self::Connection(message) => format!("{what}: the API server cannot be reached: {message}"),
        }
    }
}

/// What failed, without what was asked.
impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Gone => f.write_str("the version is too old"),
            Self::TooLarge => f.write_str("the answer is too large"),
            Self::Connection(message) => write!(f, "the API server cannot be reached: {message}"),
            Self::NotFound(message)
            | Self::Forbidden(message)
            | Self::Unauthorized(message)
            | Self::Throttled { message, .. }
            | Self::Server(message) => f.write_str(message),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::query::Resource;

    fn failure(code: u16, body: &str, retry_after: Option<&'static str>) -> Failure {
        let mut headers = HeaderMap::new();
        headers.extend(retry_after.map(|value| (RETRY_AFTER, http::HeaderValue::from_static(value))));
        Failure::of_answer(StatusCode::from_u16(code).unwrap(), &headers, body.as_bytes())
    }

    #[test]
    fn a_refusal_names_the_rule_that_is_missing() {
        let resource = Resource { group: "apps", plural: "replicasets", is_namespaced: true };
        let query = Query { metadata_only: true, ..Query::all(resource) };
        let forbidden = failure(403, r#"{"kind": "Status", "message": "no way", "code": 403}"#, None);
        assert_eq!(
            forbidden.describe("list", &query),
            "cannot list resource \"replicasets\" in API group \"apps\" at the cluster scope: forbidden: no way; add to the \
             ClusterRole of the service account: {apiGroups: [\"apps\"], resources: [\"replicasets\"], verbs: [\"list\", \
             \"watch\"]}"
        );
        let query = Query { namespace: Some("prod".into()), ..query };
        let text = forbidden.describe("watch", &query);
        assert!(text.contains("in the namespace \"prod\"") && text.contains("add to the Role of"), "{text}");
        let text = forbidden.describe("get", &Query::all(Resource::NODES));
        assert!(text.ends_with(r#"{apiGroups: [""], resources: ["nodes"], verbs: ["get"]}"#), "{text}");
    }

    #[test]
    fn pauses_come_from_the_header_or_the_body_and_are_bounded() {
        let after = |failure: Failure| failure.after().map(|after| after.as_secs());
        assert_eq!(after(failure(429, "{}", Some("7"))), Some(7));
        assert_eq!(after(failure(429, r#"{"details": {"retryAfterSeconds": 3}}"#, None)), Some(3));
        assert_eq!(after(failure(503, "{}", Some("100000"))), Some(300));
        assert_eq!(after(failure(503, "no json", None)), None);
        assert!(matches!(failure(410, "{}", None), Failure::Gone));
        assert!(matches!(failure(500, r#"{"reason": "Expired"}"#, None), Failure::Gone));
    }
}
