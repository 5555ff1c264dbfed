//! The stand-in for the API server, as tests use it.

mod query;
mod selector;
mod server;
mod store;

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use serde_json::{Value as Json, json};
use tempfile::TempDir;
use tokio::net::{TcpListener, TcpSocket};
use tokio::task::JoinHandle;

use super::{Asked, Grant, Kubernetes};
use crate::tls::pki::Pki;
use server::{serve, serve_tls, status, tls};
use store::{Store, key};

const TOKEN: &str = "token-1";

/// One thing that the account may do, as RBAC has it: verb, API group, resource, and the namespace of a role or `None` for
/// a cluster role.
pub(super) type Permission = (String, String, String, Option<String>);

/// What the server and the test share.
pub(super) struct Shared {
    store: Mutex<Store>,
    asked: Mutex<Vec<Asked>>,
    /// `None`: everything is allowed.
    grants: Mutex<Option<Vec<Grant>>>,
    /// The same to the last verb. `None`: everything is allowed.
    permissions: Mutex<Option<Vec<Permission>>>,
    refusals: AtomicUsize,
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
    ) -> Option<Json> {
        let grants = self.grants.lock().expect("grants");
        let covers = |(granted, resource, within): &Grant| {
            *granted == group && *resource == plural && (within.is_none() || *within == namespace)
        };
        let permissions = self.permissions.lock().expect("permissions");
        let permits = |(may, within, on, place): &Permission| {
            may == verb
                && within == group
                && on == plural
                && (place.is_none() || place.as_deref() == namespace)
        };
        if grants.as_ref().is_none_or(|grants| grants.iter().any(covers))
            && permissions.as_ref().is_none_or(|permissions| permissions.iter().any(permits))
        {
            return None;
        }
        self.refusals.fetch_add(1, Ordering::Relaxed);
        let place = namespace
            .map_or("at the cluster scope".to_owned(), |name| format!("in the namespace \"{name}\""));
        let resource = if group.is_empty() { plural.to_owned() } else { format!("{plural}.{group}") };
        let message = format!(
            "{resource} is forbidden: User \"system:serviceaccount:observability:spanbridge\" cannot {verb} resource \
             \"{plural}\" in API group \"{group}\" {place}"
        );
        let mut status = status(403, "Forbidden", &message);
        status["details"] = json!({"kind": plural});
        if !group.is_empty() {
            status["details"]["group"] = group.into();
        }
        Some(status)
    }
}

/// A running stand-in.
pub(super) struct Api {
    shared: Arc<Shared>,
    address: SocketAddr,
    server: Option<JoinHandle<()>>,
    /// The one with TLS, once there is a service account to use it.
    tls: Option<JoinHandle<()>>,
    dir: TempDir,
}

impl Api {
    /// A server that allows everything and has nothing.
    pub(super) async fn start() -> Self {
        let shared = Arc::new(Shared {
            store: Mutex::default(),
            asked: Mutex::default(),
            grants: Mutex::default(),
            permissions: Mutex::default(),
            refusals: AtomicUsize::new(0),
            token: Mutex::new(TOKEN.to_owned()),
            throttle: Mutex::default(),
        });
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("bind the stand-in");
        let address = listener.local_addr().expect("its address");
        let server = Some(tokio::spawn(serve(listener, shared.clone())));
        let api = Self { shared, address, server, tls: None, dir: TempDir::new().expect("a folder") };
        api.write_token(TOKEN);
        api
    }

    /// Permits this and nothing else.
    pub(super) fn permit(&self, permissions: Vec<Permission>) {
        *self.shared.permissions.lock().expect("permissions") = Some(permissions);
    }

    /// How many requests were refused for lack of permission.
    pub(super) fn refusals(&self) -> usize {
        self.shared.refusals.load(Ordering::Relaxed)
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
    pub(super) fn put(&self, plural: &str, object: Json) -> Json {
        self.store().put(plural, object)
    }

    /// Turns so many requests away, each for so many seconds.
    pub(super) fn throttle(&self, requests: usize, seconds: u64) {
        *self.shared.throttle.lock().expect("throttle") = (requests, seconds);
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
    pub(super) fn come_back(&mut self) {
        let socket = TcpSocket::new_v4().expect("a socket");
        socket.set_reuseaddr(true).expect("reuse the address");
        socket.bind(self.address).expect("bind the stand-in again");
        let listener = socket.listen(64).expect("listen");
        self.server = Some(tokio::spawn(serve(listener, self.shared.clone())));
    }
}

impl Kubernetes for Api {
    async fn create(&self, plural: &str, mut object: Json) -> Json {
        let status = object.as_object_mut().and_then(|fields| fields.remove("status"));
        let created = self.put(plural, object);
        let Some(status) = status else { return created };
        // As it happens in a cluster: a pod runs, and has an address, some time after it was created.
        self.store().patch(plural, &key(&created), &json!({"status": status}))
    }

    async fn patch(&self, plural: &str, namespace: &str, name: &str, patch: Json) {
        self.store().patch(plural, &(namespace.to_owned(), name.to_owned()), &patch);
    }

    async fn delete(&self, plural: &str, namespace: &str, name: &str) {
        self.store().delete(plural, namespace, name);
    }

    async fn namespace(&self, name: &str, labels: Json) -> Json {
        self.put("namespaces", json!({"metadata": {"name": name, "labels": labels}}))
    }

    async fn grant(&self, grants: &[Grant]) {
        *self.shared.grants.lock().expect("grants") = Some(grants.to_vec());
    }

    async fn replace_token(&mut self) {
        self.rotate_token("token-2");
        self.store().disconnect();
    }

    async fn restart(&mut self) {
        self.stop().await;
        self.store().compact();
        self.come_back();
    }

    fn kube_config(&self) -> PathBuf {
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

    async fn service_account(&mut self, dir: &Path) -> SocketAddr {
        fs::write(dir.join("token"), TOKEN).expect("write the token");
        fs::write(dir.join("namespace"), "observability").expect("write the namespace");
        let pki = Pki::new();
        pki.issue("server", "kubernetes");
        fs::copy(pki.path("ca.pem"), dir.join("ca.crt")).expect("copy the authority");
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("bind the stand-in");
        let address = listener.local_addr().expect("its address");
        self.tls = Some(tokio::spawn(serve_tls(listener, tls(&pki), self.shared.clone())));
        address
    }

    fn requests(&self) -> Vec<Asked> {
        self.shared.asked.lock().expect("requests").clone()
    }
}

impl Drop for Api {
    fn drop(&mut self) {
        for server in self.server.iter().chain(&self.tls) {
            server.abort();
        }
    }
}
