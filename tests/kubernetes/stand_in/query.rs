//! What a list or a watch asks for.

use std::collections::HashMap;
use std::time::Duration;

use serde_json::{Value as Json, json};

use super::selector::Selector;
use super::server::status;

/// How long a watch lasts that does not say it.
const WATCH_SECONDS: u64 = 1800;

/// What a list or a watch asks for.
#[derive(Debug, Clone)]
pub(super) struct Query {
    pub(super) plural: String,
    pub(super) namespace: Option<String>,
    pub(super) selector: Selector,
    pub(super) metadata_only: bool,
    pub(super) bookmarks: bool,
    /// `None`: the newest. `Some(0)`: any.
    pub(super) version: Option<u64>,
    /// Whether a watch begins with what there is, and says when it has told it.
    pub(super) initial_events: bool,
    /// 0: all.
    pub(super) limit: usize,
    pub(super) token: String,
    pub(super) timeout: Duration,
}

impl Query {
    /// Reads the parameters; the error is what the server answers.
    pub(super) fn parse(
        plural: String,
        namespace: Option<String>,
        metadata_only: bool,
        parameters: &HashMap<String, String>,
    ) -> Result<Self, Json> {
        let text = |name: &str| parameters.get(name).map_or("", String::as_str);
        let number = |name: &str| text(name).parse::<u64>().ok();
        let initial_events = text("sendInitialEvents") == "true";
        if initial_events && text("resourceVersionMatch") != "NotOlderThan" {
            return Err(invalid("sendInitialEvents requires setting resourceVersionMatch to NotOlderThan"));
        }
        let selector = Selector::parse(&plural, text("labelSelector"), text("fieldSelector"))
            .map_err(|message| status(400, "BadRequest", &message))?;
        Ok(Self {
            plural,
            namespace,
            selector,
            metadata_only,
            bookmarks: text("allowWatchBookmarks") == "true",
            version: number("resourceVersion"),
            initial_events,
            limit: number("limit").and_then(|limit| usize::try_from(limit).ok()).unwrap_or(0),
            token: text("continue").to_owned(),
            timeout: Duration::from_secs(number("timeoutSeconds").unwrap_or(WATCH_SECONDS)),
        })
    }
}

fn invalid(message: &str) -> Json {
    let message = format!("Forbidden: {message}");
    let whole = format!("ListOptions.meta.k8s.io \"\" is invalid: resourceVersionMatch: {message}");
    let mut status = status(422, "Invalid", &whole);
    let cause = json!({"reason": "FieldValueForbidden", "message": message, "field": "resourceVersionMatch"});
    status["details"] = json!({"group": "meta.k8s.io", "kind": "ListOptions", "causes": [cause]});
    status
}
