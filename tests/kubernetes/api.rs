//! The stand-in as tests use it.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Instant;

use serde_json::Value as Json;
use tempfile::TempDir;
use tokio::net::{TcpListener, TcpSocket};
use tokio::task::JoinHandle;

use super::POLL;
use super::server::serve;
use super::store::Store;
use crate::harness::PATIENCE;

const TOKEN: &str = "token-1";

/// One request that came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Asked {
    pub(super) verb: &'static str,
    pub(super) plural: String,
    pub(super) namespace: Option<String>,
    pub(super) query: String,
    pub(super) metadata_only: bool,
}

/// What the account may do: API group, resource, and the namespace of a role or `None` for a cluster role.
pub(super) type Grant = (&'static str, &'static str, Option<&'static str>);

/// What the server and the test share.
pub(super) struct Shared {
    store: Mutex<Store>,
    asked: Mutex<Vec<Asked>>,
    /// `None`: everything is allowed.
    grants: Mutex<Option<Vec<Grant>>>,
    token: Mutex<String>,
    /// How many requests to turn away, and for how many seconds each.
    throttle: Mutex<(usize, u64)>,
}

impl Shared {
    pub(super) fn store(&self) -> MutexGuard<'_, Store> {
        self.store.lock().expect("store")
    }

    pub(super) fn asked(&self, asked: Asked) {
        self.asked.lock().expect("requests").push(asked);
    }

    pub(super) fn knows(&self, token: &str) -> bool {
        *self.token.lock().expect("token") == token
    }

    pub(super) fn throttled(&self) -> Option<u64> {
        let mut throttle = self.throttle.lock().expect("throttle");
        throttle.0 = throttle.0.checked_sub(1)?;
        Some(throttle.1)
    }

    /// Why the account may not do this, in the server's words.
    pub(super) fn forbids(
        &self,
        verb: &str,
        group: &str,
        plural: &str,
        namespace: Option<&str>,
    ) -> Option<String> {
        let grants = self.grants.lock().expect("grants");
        let covers = |(granted, resource, within): &Grant| {
            *granted == group && *resource == plural && (within.is_none() || *within == namespace)
        };
        if grants.as_ref().is_none_or(|grants| grants.iter().any(covers)) {
            return None;
        }
        let place = namespace
            .map_or("at the cluster scope".to_owned(), |name| format!("in the namespace \"{name}\""));
        Some(format!(
            "{plural} is forbidden: User \"system:serviceaccount:observability:spanbridge\" cannot {verb} resource \
             \"{plural}\" in API group \"{group}\" {place}"
        ))
    }
}

/// A running stand-in.
pub(super) struct Api {
    shared: Arc<Shared>,
    address: SocketAddr,
    server: Option<JoinHandle<()>>,
    dir: TempDir,
}

impl Api {
    /// A server that allows everything and has nothing.
    pub(super) async fn start() -> Self {
        let shared = Arc::new(Shared {
            store: Mutex::default(),
            asked: Mutex::default(),
            grants: Mutex::default(),
            token: Mutex::new(TOKEN.to_owned()),
            throttle: Mutex::default(),
        });
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("bind the stand-in");
        let address = listener.local_addr().expect("its address");
        let server = Some(tokio::spawn(serve(listener, shared.clone())));
        let api = Self { shared, address, server, dir: TempDir::new().expect("a folder") };
        api.write_token(TOKEN);
        api
    }

    /// A kubeconfig file that leads here, with the token in a file of its own.
    pub(super) fn kube_config(&self) -> PathBuf {
        let path = self.dir.path().join("kubeconfig");
        let token = self.token_path();
        let text = format!(
            "{{apiVersion: v1, kind: Config, current-context: test, contexts: [{{name: test, context: {{cluster: c, user: u}}}}], \
             clusters: [{{name: c, cluster: {{server: 'http://{}'}}}}], users: [{{name: u, user: {{tokenFile: {}}}}}]}}",
            self.address,
            token.display()
        );
        fs::write(&path, text).expect("write the kubeconfig");
        path
    }

    fn token_path(&self) -> PathBuf {
        self.dir.path().join("token")
    }

    fn write_token(&self, token: &str) {
        let path = self.token_path();
        let next = Path::new(&path).with_extension("next");
        fs::write(&next, token).expect("write the token");
        fs::rename(next, path).expect("put it in place");
    }

    /// Replaces the token: the old one is not accepted any more, the new one is in the file.
    pub(super) fn rotate_token(&self, token: &str) {
        self.write_token(token);
        token.clone_into(&mut self.shared.token.lock().expect("token"));
    }

    /// The objects.
    pub(super) fn store(&self) -> MutexGuard<'_, Store> {
        self.shared.store()
    }

    /// Creates or replaces an object.
    pub(super) fn put(&self, plural: &str, object: Json) {
        self.store().put(plural, object);
    }

    /// Grants this and nothing else.
    pub(super) fn grant(&self, grants: &[Grant]) {
        *self.shared.grants.lock().expect("grants") = Some(grants.to_vec());
    }

    /// Turns so many requests away, each for so many seconds.
    pub(super) fn throttle(&self, requests: usize, seconds: u64) {
        *self.shared.throttle.lock().expect("throttle") = (requests, seconds);
    }

    /// The requests so far.
    pub(super) fn requests(&self) -> Vec<Asked> {
        self.shared.asked.lock().expect("requests").clone()
    }

    /// How many requests with this verb came for this resource.
    pub(super) fn count(&self, verb: &str, plural: &str) -> usize {
        self.requests().iter().filter(|asked| asked.verb == verb && asked.plural == plural).count()
    }

    /// Stops: connections break, and new ones are refused.
    pub(super) async fn stop(&mut self) {
        if let Some(server) = self.server.take() {
            server.abort();
            let _ = server.await;
        }
        self.store().disconnect();
    }

    /// Listens at the same address again.
    pub(super) fn restart(&mut self) {
        let socket = TcpSocket::new_v4().expect("a socket");
        socket.set_reuseaddr(true).expect("reuse the address");
        socket.bind(self.address).expect("bind the stand-in again");
        let listener = socket.listen(64).expect("listen");
        self.server = Some(tokio::spawn(serve(listener, self.shared.clone())));
    }

    /// Waits until `test` holds.
    pub(super) async fn until(&self, what: &str, test: impl Fn(&Self) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !test(self) {
            assert!(Instant::now() < deadline, "never: {what}; requests: {:#?}", self.requests());
            tokio::time::sleep(POLL).await;
        }
    }
}

impl Drop for Api {
    fn drop(&mut self) {
        if let Some(server) = &self.server {
            server.abort();
        }
    }
}
