//! The API server that `k8s` measures against: lists of pods in pages, and watches. It selects nothing: it has only the pods that
//! the forwarder asks for.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::Bytes;
use hyper::body::{Body, Frame, Incoming};
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::{AbortHandle, spawn_local};

use super::pods::{Pod, encoded};
use crate::Outcome;

/// A body: all at once, or the events of a watch.
enum Answer {
    Whole(Option<Bytes>),
    Events(UnboundedReceiver<Bytes>),
}

impl Body for Answer {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let next = match &mut *self {
            Self::Whole(bytes) => Poll::Ready(bytes.take()),
            Self::Events(events) => events.poll_recv(context),
        };
        next.map(|bytes| bytes.map(|bytes| Ok(Frame::data(bytes))))
    }
}

/// The pods and who watches them.
#[derive(Default)]
struct Store {
    version: Cell<u64>,
    /// By name, as the server would send them.
    pods: RefCell<BTreeMap<String, Rc<str>>>,
    watchers: RefCell<Vec<UnboundedSender<Bytes>>>,
}

/// A running API server. It stops when it is dropped.
pub(super) struct Api {
    store: Rc<Store>,
    address: SocketAddr,
    accepting: AbortHandle,
}

impl Api {
    /// A server without pods.
    ///
    /// # Errors
    /// When it cannot listen.
    pub(super) async fn start() -> Outcome<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let store = Rc::new(Store::default());
        let accepting = spawn_local(accept(listener, store.clone())).abort_handle();
        Ok(Self { store, address, accepting })
    }

    /// Where it listens.
    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// How many watches there are.
    pub(super) fn watches(&self) -> usize {
        self.store.watchers.borrow().iter().filter(|watcher| !watcher.is_closed()).count()
    }

    /// Creates a pod and tells the watches.
    pub(super) fn put(&self, pod: &Pod) {
        let text: Rc<str> = encoded(pod, self.store.next()).into();
        self.store.tell("ADDED", &text);
        self.store.pods.borrow_mut().insert(pod.name.clone(), text);
    }

    /// Deletes a pod and tells the watches.
    pub(super) fn delete(&self, pod: &Pod) {
        if self.store.pods.borrow_mut().remove(&pod.name).is_some() {
            let text = encoded(pod, self.store.next());
            self.store.tell("DELETED", &text);
        }
    }
}

impl Drop for Api {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

impl Store {
    fn next(&self) -> u64 {
        self.version.set(self.version.get() + 1);
        self.version.get()
    }

    fn tell(&self, kind: &str, pod: &str) {
        let mut watchers = self.watchers.borrow_mut();
        if watchers.is_empty() {
            return;
        }
        let event = Bytes::from(format!("{{\"type\":\"{kind}\",\"object\":{pod}}}\n"));
        watchers.retain(|watcher| watcher.send(event.clone()).is_ok());
    }

    /// A page: so many pods whose names come after `after`, and how to ask for the next.
    fn page(&self, limit: usize, after: &str) -> String {
        let pods = self.pods.borrow();
        let mut following =
            pods.range::<str, _>((std::ops::Bound::Excluded(after), std::ops::Bound::Unbounded));
        let page: Vec<_> = following.by_ref().take(limit).collect();
        let more = following.next().and(page.last()).map_or("", |(name, _)| name);
        let items: Vec<&str> = page.iter().map(|(_, text)| &***text).collect();
        let version = self.version.get();
        format!(
            "{{\"kind\":\"PodList\",\"apiVersion\":\"v1\",\"metadata\":{{\"resourceVersion\":\"{version}\",\
             \"continue\":\"{more}\"}},\"items\":[{}]}}",
            items.join(",")
        )
    }
}

async fn accept(listener: TcpListener, store: Rc<Store>) {
    while let Ok((socket, _)) = listener.accept().await {
        spawn_local(serve(socket, store.clone()));
    }
}

async fn serve(socket: TcpStream, store: Rc<Store>) {
    let _ = socket.set_nodelay(true);
    let service = service_fn(move |request: Request<Incoming>| {
        let answer = answer(&store, request.uri().query().unwrap_or_default());
        async { Ok::<_, Infallible>(Response::new(answer)) }
    });
    // A connection ends when the forwarder does.
    let _ = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(socket), service).await;
}

fn answer(store: &Store, query: &str) -> Answer {
    let parameter = |name: &str| {
        let mut pairs = query.split('&').filter_map(|pair| pair.split_once('='));
        pairs.find(|(key, _)| *key == name).map_or("", |(_, value)| value)
    };
    if parameter("watch") == "true" {
        // Nothing happens between the list and the watch: pods come and go when the watch is there.
        let (sender, events) = unbounded_channel();
        store.watchers.borrow_mut().push(sender);
        return Answer::Events(events);
    }
    let limit = parameter("limit").parse().unwrap_or(usize::MAX);
    Answer::Whole(Some(store.page(limit, parameter("continue")).into()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::k8s::pods::pod;

    #[test]
    fn pages_hold_every_pod_once() {
        let store = Store::default();
        for number in 0..7 {
            let pod = pod(number, 1);
            store.pods.borrow_mut().insert(pod.name.clone(), encoded(&pod, 1).into());
        }
        let (mut names, mut after) = (Vec::new(), String::new());
        loop {
            let page: serde_json::Value = serde_json::from_str(&store.page(3, &after)).expect("JSON");
            let items = page["items"].as_array().expect("items");
            names.extend(
                items.iter().map(|item| item["metadata"]["name"].as_str().expect("a name").to_owned()),
            );
            after = page["metadata"]["continue"].as_str().expect("a text").to_owned();
            if after.is_empty() {
                break;
            }
        }
        assert_eq!(names, store.pods.borrow().keys().cloned().collect::<Vec<_>>());
    }
}
