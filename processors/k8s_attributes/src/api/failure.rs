//! Why a request to the API failed, and what to do about it.

use std::time::Duration;

use http::header::RETRY_AFTER;
use http::{HeaderMap, StatusCode};
use serde::Deserialize;

use super::access::chain;
use crate::plan::Watch;
use crate::rbac;

/// Why a list or a watch failed.
#[derive(Debug)]
pub(super) enum Failure {
    /// The version is too old, or the list has expired: everything has to be listed again.
    Gone,
    /// The account may not do this.
    Forbidden(String),
    /// The credentials are not, or not any more, valid.
    Unauthorized(String),
    /// The server asks for a pause.
    Throttled { message: String, after: Option<Duration> },
    /// The page is larger than [`super::stream::PAGE_BYTES_MAX`].
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
pub(super) struct Status {
    pub(super) message: String,
    pub(super) reason: String,
    pub(super) code: u16,
    pub(super) details: Option<Details>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct Details {
    pub(super) retry_after_seconds: u64,
}

impl Failure {
    /// From an answer that is no success.
    pub(super) fn of_answer(code: StatusCode, headers: &HeaderMap, body: &[u8]) -> Self {
        let mut status: Status = serde_json::from_slice(body).unwrap_or_default();
        if status.message.is_empty() {
            status.message = format!("the server answered with {code}");
        }
        status.code = code.as_u16();
        let after = headers.get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
        Self::of_status(status, after.map(Duration::from_secs))
    }

    /// From a status, which a watch may send as its last event.
    pub(super) fn of_status(status: Status, after: Option<Duration>) -> Self {
        let Status { message, reason, code, details } = status;
        let asked = details.map(|details| details.retry_after_seconds).filter(|seconds| *seconds > 0);
        let after = after.or(asked.map(Duration::from_secs)).map(|after| after.min(RETRY_AFTER_MAX));
        match code {
            401 => Self::Unauthorized(message),
            403 => Self::Forbidden(message),
            410 => Self::Gone,
            _ if reason == "Expired" || reason == "Gone" => Self::Gone,
            429 => Self::Throttled { message, after },
            503 | 504 if after.is_some() => Self::Throttled { message, after },
            _ => Self::Server(message),
        }
    }

    /// From an error of the client.
    pub(super) fn of_error(error: &dyn std::error::Error) -> Self {
        Self::Connection(chain(error))
    }

    /// How long the server wants us to wait.
    pub(super) fn after(&self) -> Option<Duration> {
        if let Self::Throttled { after, .. } = self { *after } else { None }
    }

    /// The reason as metrics have it.
    pub(super) fn reason(&self) -> &'static str {
        match self {
            Self::Gone => "gone",
            Self::Forbidden(_) => "forbidden",
            Self::Unauthorized(_) => "unauthorized",
            Self::Throttled { .. } => "throttled",
            Self::TooLarge => "too_large",
            Self::Server(_) => "server",
            Self::Connection(_) => "connection",
        }
    }

    /// What failed, why, and what to do about it.
    pub(super) fn describe(&self, verb: &str, watch: &Watch) -> String {
        let plural = watch.resource.plural();
        let group = watch.resource.group();
        let place = match &watch.namespace {
            Some(namespace) => format!("in the namespace \"{namespace}\""),
            None => "at the cluster scope".to_owned(),
        };
        let what = format!("cannot {verb} resource \"{plural}\" in API group \"{group}\" {place}");
        match self {
            Self::Forbidden(message) => {
                let role = if watch.namespace.is_some() { "Role" } else { "ClusterRole" };
                let rule = rbac::Rule::of(watch).flow();
                format!("{what}: forbidden: {message}; add to the {role} of the service account: {rule}")
            }
            Self::Unauthorized(message) => {
                format!("{what}: the API server does not accept the credentials: {message}")
            }
            Self::Throttled { message, .. } => format!("{what}: the API server asks for a pause: {message}"),
            Self::Gone => format!("{what}: the version is too old"),
            Self::TooLarge => format!("{what}: one object is larger than what is read at once"),
            Self::Server(message) => format!("{what}: {message}"),
            Self::Connection(message) => format!("{what}: the API server cannot be reached: {message}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resource::Resource;

    fn failure(code: u16, body: &str, retry_after: Option<&'static str>) -> Failure {
        let mut headers = HeaderMap::new();
        headers.extend(retry_after.map(|value| (RETRY_AFTER, http::HeaderValue::from_static(value))));
        Failure::of_answer(StatusCode::from_u16(code).unwrap(), &headers, body.as_bytes())
    }

    #[test]
    fn a_refusal_names_the_rule_that_is_missing() {
        let watch = Watch {
            resource: Resource::ReplicaSet,
            namespace: None,
            metadata_only: true,
            label_selector: None,
            field_selector: None,
        };
        let forbidden = failure(403, r#"{"kind": "Status", "message": "no way", "code": 403}"#, None);
        assert_eq!(
            forbidden.describe("list", &watch),
            "cannot list resource \"replicasets\" in API group \"apps\" at the cluster scope: forbidden: no way; add to the \
             ClusterRole of the service account: {apiGroups: [\"apps\"], resources: [\"replicasets\"], verbs: [\"get\", \
             \"list\", \"watch\"]}"
        );
        let watch = Watch { namespace: Some("prod".into()), ..watch };
        let text = forbidden.describe("watch", &watch);
        assert!(text.contains("in the namespace \"prod\"") && text.contains("add to the Role of"), "{text}");
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
