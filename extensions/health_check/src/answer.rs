//! What a probe is told.

use std::time::SystemTime;

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderValue, Response, StatusCode};
use spanbridge_component::{Readiness, ReadySince};
use spanbridge_config::Duration;
use spanbridge_transport::http::server::{Handler, text};
use tokio::time::Instant;

use crate::Config;

/// What the Go collector shows for no time at all.
const NEVER: &str = "0001-01-01T00:00:00Z";

/// Answers probes by what the service says.
pub(crate) struct Prober {
    config: Config,
    readiness: Readiness,
}

impl Prober {
    pub(crate) fn new(config: Config, readiness: Readiness) -> Self {
        Self { config, readiness }
    }

    /// As Go's `http.ServeMux` has it.
    fn is_asked(&self, path: &str) -> bool {
        let own = self.config.path.as_str();
        if own.ends_with('/') { path.starts_with(own) } else { path == own }
    }
}

impl Handler for Prober {
    fn answer(&self, head: &http::request::Parts) -> Response<Bytes> {
        if !self.is_asked(head.uri.path()) {
            return text(StatusCode::NOT_FOUND, "404 page not found\n");
        }
        let since = *self.readiness.borrow();
        let status = if since.is_some() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
        if let Some(body) = self.config.response_body.as_ref() {
            let body = if since.is_some() { &body.healthy } else { &body.unhealthy };
            return text(status, body.clone());
        }
        let mut answer = Response::new(body(since, Instant::now()).into());
        *answer.status_mut() = status;
        answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        answer
    }
}

/// The JSON that the Go collector answers, its order of keys included.
fn body(since: Option<ReadySince>, now: Instant) -> String {
    let (status, date, uptime) = match since {
        Some(since) => {
            let uptime = now.saturating_duration_since(since.instant);
            ("Server available", rfc3339(since.date), Duration::from(uptime).to_string())
        }
        None => ("Server not available", NEVER.to_owned(), String::new()),
    };
    format!(r#"{{"status":"{status}","upSince":"{date}","uptime":"{uptime}"}}"#)
}

/// In UTC; a date that no calendar has is shown as none.
fn rfc3339(date: SystemTime) -> String {
    jiff::Timestamp::try_from(date).map_or_else(|_| NEVER.to_owned(), |date| date.to_string())
}

#[cfg(test)]
mod tests {
    use std::time;

    use http::Request;
    use spanbridge_config::Optional;
    use tokio::sync::watch;

    use super::*;
    use crate::ResponseBody;

    fn ready(now: Instant) -> ReadySince {
        let date = SystemTime::UNIX_EPOCH + time::Duration::from_millis(1_767_323_045_250);
        ReadySince { date, instant: now }
    }

    fn asked(config: Config, since: Option<ReadySince>, path: &str) -> (u16, String, String) {
        let (_sender, readiness) = watch::channel(since);
        let (head, ()) = Request::get(path).body(()).unwrap().into_parts();
        let answer = Prober::new(config, readiness).answer(&head);
        let kind = answer.headers()[CONTENT_TYPE].to_str().unwrap().to_owned();
        (answer.status().as_u16(), kind, String::from_utf8(answer.into_body().to_vec()).unwrap())
    }

    #[test]
    fn the_body_is_the_go_collectors() {
        let now = Instant::now();
        let later = now + time::Duration::from_nanos(90_000_000_500);
        assert_eq!(
            body(Some(ready(now)), later),
            r#"{"status":"Server available","upSince":"2026-01-02T03:04:05.25Z","uptime":"1m30.0000005s"}"#
        );
        assert_eq!(
            body(None, now),
            r#"{"status":"Server not available","upSince":"0001-01-01T00:00:00Z","uptime":""}"#
        );
        for since in [None, Some(ready(now))] {
            serde_json::from_str::<serde_json::Value>(&body(since, later)).expect("it is JSON");
        }
    }

    #[test]
    fn the_code_says_whether_the_pipelines_work() {
        let (code, kind, _) = asked(Config::default(), None, "/");
        assert_eq!((code, kind.as_str()), (503, "application/json"));
        assert_eq!(asked(Config::default(), Some(ReadySince::now()), "/").0, 200);
    }

    #[test]
    fn own_texts_replace_the_body_and_not_the_code() {
        let body = ResponseBody { healthy: "good".into(), unhealthy: "bad".into() };
        let config = Config { response_body: Optional::on(body), ..Config::default() };
        let (code, _, text) = asked(config.clone(), None, "/");
        assert_eq!((code, text.as_str()), (503, "bad"));
        let (code, _, text) = asked(config, Some(ReadySince::now()), "/");
        assert_eq!((code, text.as_str()), (200, "good"));
    }

    #[test]
    fn a_path_is_exact_unless_it_ends_in_a_slash() {
        for (own, path, code) in [
            ("/", "/", 200),
            ("/", "/anything", 200),
            ("/health", "/health", 200),
            ("/health", "/health?verbose", 200),
            ("/health", "/health/", 404),
            ("/health", "/", 404),
            ("/health/", "/health/live", 200),
            ("/health/", "/healthy", 404),
        ] {
            let config = Config { path: own.to_owned(), ..Config::default() };
            assert_eq!(asked(config, Some(ReadySince::now()), path).0, code, "{own} asked for {path}");
        }
    }
}
