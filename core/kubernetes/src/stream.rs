//! Bodies of answers: pages of lists, and the events of a watch, one a line.

use std::time::Duration;

use futures_util::{Stream, StreamExt};
use kube::client::Body;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use tokio::time::timeout;

use crate::failure::{Failure, Status};

/// The most that is read of one page of a list.
pub(crate) const PAGE_BYTES_MAX: usize = 64 << 20;
/// The most that is read of one event: several times the 1.5 MiB that an object may have.
const EVENT_BYTES_MAX: usize = 8 << 20;
/// A list answers, and goes on, within this time.
const LIST_IDLE_MAX: Duration = Duration::from_secs(60);

/// The type of the event by which a watch fails.
const ERROR: &str = "ERROR";

/// One page of a list.
#[derive(Debug, Deserialize)]
#[serde(bound = "T: DeserializeOwned")]
pub(crate) struct Page<T> {
    #[serde(default)]
    pub(crate) metadata: PageMetadata,
    #[serde(default = "Vec::new")]
    pub(crate) items: Vec<T>,
}

/// Where a page stands.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct PageMetadata {
    pub(crate) resource_version: String,
    /// Asks for the next page; empty on the last one.
    pub(crate) r#continue: String,
}

/// What a watch tells.
#[derive(Debug, Deserialize)]
#[serde(bound = "T: DeserializeOwned")]
pub(crate) struct Event<T> {
    pub(crate) r#type: String,
    pub(crate) object: T,
}

/// Reads a body to its end.
pub(crate) async fn whole(body: Body) -> Result<Vec<u8>, Failure> {
    let mut chunks = Box::pin(chunks(body));
    let mut whole = Vec::new();
    loop {
        let next = timeout(LIST_IDLE_MAX, chunks.next());
        let Ok(next) = next.await else {
            return Err(Failure::Connection("the answer does not go on".into()));
        };
        let Some(chunk) = next.transpose()? else { return Ok(whole) };
        if whole.len() + chunk.len() > PAGE_BYTES_MAX {
            return Err(Failure::TooLarge);
        }
        whole.extend_from_slice(&chunk);
    }
}

fn chunks(body: Body) -> impl Stream<Item = Result<bytes::Bytes, Failure>> + Send {
    use http_body_util::BodyExt;
    body.into_data_stream().map(|chunk| chunk.map_err(|error| Failure::of_error(&error)))
}

/// The events of a watch.
pub(crate) struct Events {
    chunks: std::pin::Pin<Box<dyn Stream<Item = Result<bytes::Bytes, Failure>> + Send>>,
    buffer: Vec<u8>,
    /// How much of the buffer has been looked at, and has no end of a line.
    searched: usize,
}

impl Events {
    pub(crate) fn new(body: Body) -> Self {
        Self { chunks: Box::pin(chunks(body)), buffer: Vec::new(), searched: 0 }
    }

    /// The next event; `None` when the server has ended the watch. Safe to cancel.
    pub(crate) async fn next<T: DeserializeOwned>(&mut self) -> Result<Option<Event<T>>, Failure> {
        loop {
            if let Some(end) = self.buffer.iter().skip(self.searched).position(|byte| *byte == b'\n') {
                let end = self.searched + end;
                let event = self.buffer.get(..end).filter(|line| !line.trim_ascii().is_empty()).map(parse);
                self.buffer.drain(..=end);
                self.searched = 0;
                if let Some(event) = event {
                    return event.map(Some);
                }
                continue;
            }
            self.searched = self.buffer.len();
            // What is left without an end of the line was cut off.
            let Some(chunk) = self.chunks.next().await.transpose()? else { return Ok(None) };
            if self.buffer.len() + chunk.len() > EVENT_BYTES_MAX + chunk.len().min(EVENT_BYTES_MAX) {
                return Err(Failure::TooLarge);
            }
            self.buffer.extend_from_slice(&chunk);
        }
    }
}

fn parse<T: DeserializeOwned>(line: &[u8]) -> Result<Event<T>, Failure> {
    let event: Result<Event<T>, _> = serde_json::from_slice(line);
    match event {
        Ok(event) if event.r#type != ERROR => Ok(event),
        // A status is no object of the kind that is watched: reading it as one may fail.
        event => match serde_json::from_slice::<Event<Status>>(line) {
            Ok(status) if status.r#type == ERROR => Err(Failure::of_status(status.object, None)),
            _ => {
                let error = event.err().map(|error| error.to_string()).unwrap_or_default();
                Err(Failure::Server(format!("the watch sent what cannot be read: {error}")))
            }
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::object::Object;

    fn parsed(line: &str) -> Result<String, Failure> {
        parse::<Object>(line.as_bytes()).map(|event| event.r#type)
    }

    #[test]
    fn errors_of_a_watch_are_told_from_objects() {
        let gone = r#"{"type": "ERROR", "object": {"kind": "Status", "status": "Failure", "code": 410}}"#;
        assert!(matches!(parsed(gone), Err(Failure::Gone)));
        assert!(matches!(parsed(r#"{"type": "ERROR", "object": {"code": 500}}"#), Err(Failure::Server(_))));
        assert!(matches!(parsed(r#"{"type": "ADDED", "object": {"metadata": 5}}"#), Err(Failure::Server(_))));
        assert!(matches!(parsed("{"), Err(Failure::Server(_))));
        let bookmark = r#"{"type": "BOOKMARK", "object": {"metadata": {"resourceVersion": "7"}}}"#;
        assert_eq!(parsed(bookmark).ok().as_deref(), Some("BOOKMARK"));
    }

    #[tokio::test]
    async fn events_may_come_in_any_pieces() {
        let text = "{\"type\": \"ADDED\", \"object\": {}}\n\n{\"type\": \"DELETED\", \"object\": {}}\n{\"type\": \"CUT";
        for size in 1..text.len() {
            let pieces: Vec<_> = text.as_bytes().chunks(size).map(bytes::Bytes::copy_from_slice).collect();
            let chunks = futures_util::stream::iter(pieces.into_iter().map(Ok));
            let mut events = Events { chunks: Box::pin(chunks), buffer: Vec::new(), searched: 0 };
            let mut types = Vec::new();
            while let Some(event) = events.next::<Object>().await.unwrap() {
                types.push(event.r#type);
            }
            assert_eq!(types, ["ADDED", "DELETED"], "in pieces of {size}");
        }
    }
}
