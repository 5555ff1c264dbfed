//! What a token endpoint answers (RFC 6749, 5.1 and 5.2).

use std::time::Duration;

use serde_json::{Map, Value};
use spanbridge_config::Opaque;
use spanbridge_transport::http::Response;

/// Longest piece of an endpoint's own words in an error.
const WORDS_MAX: usize = 200;

/// A token as it was given out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Grant {
    /// What is sent: type and token.
    pub(crate) credentials: Opaque,
    /// How long it is good; `None` if the endpoint does not say.
    pub(crate) lifetime: Option<Duration>,
}

/// Why there is no token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refusal {
    /// For the user.
    pub(crate) text: String,
    /// Whether the endpoint does not take the credentials where it found them.
    pub(crate) is_of_client: bool,
}

/// Reads an answer. What is secret in the request is `secret`, and is not repeated.
pub(crate) fn read(response: &Response, secret: &Opaque) -> Result<Grant, Refusal> {
    let refused = |text: String, is_of_client| Err(Refusal { text, is_of_client });
    let object = match serde_json::from_slice::<Value>(&response.body) {
        Ok(Value::Object(object)) => Some(object),
        _ => None,
    };
    if !response.status.is_success() || object.as_ref().is_some_and(|object| object.contains_key("error")) {
        let said = object.as_ref().map(|object| said(object, secret)).unwrap_or_default();
        let is_of_client = matches!(response.status.as_u16(), 400 | 401 | 403);
        return refused(format!("it answers {}{said}", response.status), is_of_client);
    }
    let Some(object) = object else {
        return refused("its answer is not a JSON object".to_owned(), false);
    };
    let token = object.get("access_token").and_then(Value::as_str).unwrap_or_default();
    if token.is_empty() {
        return refused("its answer has no access_token".to_owned(), false);
    }
    let credentials = Opaque::new(format!("{} {token}", scheme(&object)));
    Ok(Grant { credentials, lifetime: lifetime(&object) })
}

/// The word before the token, with the case that servers expect.
fn scheme(object: &Map<String, Value>) -> String {
    let given = object.get("token_type").and_then(Value::as_str).unwrap_or_default();
    match given.to_ascii_lowercase().as_str() {
        "" | "bearer" => "Bearer".to_owned(),
        "basic" => "Basic".to_owned(),
        "mac" => "MAC".to_owned(),
        _ => given.to_owned(),
    }
}

/// Some endpoints send the number as a text.
fn lifetime(object: &Map<String, Value>) -> Option<Duration> {
    let seconds = match object.get("expires_in")? {
        Value::Number(number) => number.as_f64()?,
        Value::String(text) => text.parse().ok()?,
        _ => return None,
    };
    if seconds <= 0.0 {
        return None;
    }
    Duration::try_from_secs_f64(seconds).ok()
}

/// `: invalid_client (no such client)`
fn said(object: &Map<String, Value>, secret: &Opaque) -> String {
    let words = |key: &str| {
        let text = object.get(key).and_then(Value::as_str).unwrap_or_default();
        if !secret.is_empty() && text.contains(secret.expose()) {
            return String::new();
        }
        text.chars().filter(|c| !c.is_control()).take(WORDS_MAX).collect::<String>()
    };
    match (words("error"), words("error_description")) {
        (error, description) if description.is_empty() => {
            if error.is_empty() {
                String::new()
            } else {
                format!(": {error}")
            }
        }
        (error, description) => format!(": {error} ({description})"),
    }
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, StatusCode};
    use proptest::prelude::*;

    use super::*;

    fn answer(status: u16, body: &str) -> Result<Grant, Refusal> {
        let status = StatusCode::from_u16(status).unwrap();
        let response = Response { status, headers: HeaderMap::new(), body: body.to_owned().into() };
        read(&response, &Opaque::new("hunter2"))
    }

    #[test]
    fn tokens_are_read_with_their_type_and_life() {
        for (body, credentials, seconds) in [
            (r#"{"access_token":"a","token_type":"bearer","expires_in":60}"#, "Bearer a", Some(60)),
            (r#"{"access_token":"a","token_type":"BEARER","expires_in":"60"}"#, "Bearer a", Some(60)),
            (r#"{"access_token":"a"}"#, "Bearer a", None),
            (r#"{"access_token":"a","token_type":"DPoP","expires_in":0}"#, "DPoP a", None),
            (r#"{"access_token":"a","expires_in":1e300}"#, "Bearer a", None),
        ] {
            let grant = answer(200, body).unwrap();
            assert_eq!(grant.credentials.expose(), credentials);
            assert_eq!(grant.lifetime, seconds.map(Duration::from_secs), "{body}");
        }
    }

    #[test]
    fn refusals_hold_what_the_endpoint_says_and_no_secret() {
        for (status, body, text, is_of_client) in [
            (401, r#"{"error":"invalid_client"}"#, "it answers 401 Unauthorized: invalid_client", true),
            (
                400,
                r#"{"error":"invalid_scope","error_description":"no\nsuch"}"#,
                "it answers 400 Bad Request: invalid_scope (nosuch)",
                true,
            ),
            (
                400,
                r#"{"error":"x","error_description":"wrong: hunter2"}"#,
                "it answers 400 Bad Request: x",
                true,
            ),
            (503, "<html>", "it answers 503 Service Unavailable", false),
            (200, r#"{"error":"odd"}"#, "it answers 200 OK: odd", false),
            (200, "access_token=a", "its answer is not a JSON object", false),
            (200, r#"{"access_token":""}"#, "its answer has no access_token", false),
            (200, r#"{"access_token":7}"#, "its answer has no access_token", false),
        ] {
            let refusal = answer(status, body).unwrap_err();
            assert_eq!((refusal.text.as_str(), refusal.is_of_client), (text, is_of_client), "{body}");
        }
    }

    proptest! {
        #[test]
        fn no_answer_makes_it_panic_or_repeat_the_secret(status in 200u16..600, body in ".{0,200}") {
            for body in [body.clone(), format!("{{\"error\":{body:?},\"error_description\":\"hunter2\"}}")] {
                if let Err(refusal) = answer(status, &body) {
                    prop_assert!(!refusal.text.contains("hunter2"));
                }
            }
        }
    }
}
