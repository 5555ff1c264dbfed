//! The real `kube-apiserver` as scenarios use it.

mod manifests;
mod process;

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use kube::Client;
use kube::client::Body;
use kube::config::{KubeConfigOptions, Kubeconfig};
use serde_json::{Value as Json, json};
use tempfile::TempDir;
use tokio::sync::MutexGuard;
use tokio::time::timeout;

use super::{Asked, Grant, Instant, Kubernetes, POLL};
use crate::peers::{kube_apiserver, or_skip};
use crate::tls::pki::have;
use process::{Process, SERVER, START_LIMIT};

const NAMESPACE: &str = "observability";
const NAME: &str = "spanbridge";
const USER: &str = "system:serviceaccount:observability:spanbridge";
const RBAC: &str = "/apis/rbac.authorization.k8s.io/v1";
/// How long one look at whether it is ready may take.
const ANSWER_LIMIT: Duration = Duration::from_secs(10);
/// What the account may be granted, by API group and resource.
const ALL: [(&str, &str); 9] = [
    ("", "pods"),
    ("", "namespaces"),
    ("", "nodes"),
    ("apps", "replicasets"),
    ("apps", "deployments"),
    ("apps", "statefulsets"),
    ("apps", "daemonsets"),
    ("batch", "jobs"),
    ("batch", "cronjobs"),
];

/// The one server of all tests, while this test has it for itself.
pub(super) struct Real {
    server: MutexGuard<'static, Process>,
    admin: Client,
    dir: TempDir,
    /// How much of the audit log is older than this test.
    older: usize,
}

impl Real {
    /// The server, with nothing in it and everything granted; `None` with a printed reason where it cannot be had.
    pub(super) async fn start(test: &str) -> Option<Self> {
        let binary = or_skip(test, "kube", kube_apiserver())?;
        if !have("openssl", "version") {
            return None;
        }
        let mut server = SERVER.lock().await;
        server.ensure(&binary);
        let dir = TempDir::new().expect("a folder");
        let config = dir.path().join("admin");
        fs::write(&config, server.kube_config(&format!("token: {}", process::ADMIN_TOKEN))).expect("write");
        let admin = client(&config).await;
        let mut real = Self { server, admin, dir, older: 0 };
        real.wait_until_ready().await;
        real.clean().await;
        real.issue_token().await;
        let everything: Vec<Grant> = ALL.iter().map(|(group, resource)| (*group, *resource, None)).collect();
        real.grant(&everything).await;
        real.older = real.server.audit_log().len();
        Some(real)
    }

    async fn wait_until_ready(&self) {
        let deadline = Instant::now() + START_LIMIT;
        loop {
            let request = http::Request::get("/readyz").body(Body::from(Vec::new())).expect("a request");
            let answer = timeout(ANSWER_LIMIT, self.admin.send(request)).await;
            if matches!(&answer, Ok(Ok(answer)) if answer.status().is_success()) {
                return;
            }
            let log = || format!("{answer:?}\n{}", self.server.log());
            assert!(Instant::now() < deadline, "the API server is not ready: {}", log());
            tokio::time::sleep(POLL).await;
        }
    }

    /// Deletes what an earlier test has left.
    async fn clean(&self) {
        for namespace in ["shop", NAMESPACE] {
            self.namespace(namespace, json!({})).await;
        }
        let at_once = json!({"gracePeriodSeconds": 0});
        for plural in ["pods", "replicasets", "deployments"] {
            self.must("DELETE", &path(plural, "shop"), &at_once).await;
        }
        self.must("DELETE", &path("nodes", ""), &at_once).await;
    }

    /// A service account without a past, and its token in the file.
    async fn issue_token(&self) {
        let accounts = path("serviceaccounts", NAMESPACE);
        let _ = self.call("DELETE", &format!("{accounts}/{NAME}"), &json!({})).await;
        self.must("POST", &accounts, &json!({"metadata": {"name": NAME}})).await;
        let request = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest",
            "spec": {"expirationSeconds": 3600}});
        let answer = self.must("POST", &format!("{accounts}/{NAME}/token"), &request).await;
        let token = answer["status"]["token"].as_str().expect("a token");
        let next = self.token_path().with_extension("next");
        fs::write(&next, token).expect("write the token");
        fs::rename(next, self.token_path()).expect("put it in place");
    }

    fn token_path(&self) -> PathBuf {
        self.dir.path().join("token")
    }

    /// A request as the administrator, which succeeds.
    async fn must(&self, method: &str, path: &str, body: &Json) -> Json {
        let (code, answer) = self.call(method, path, body).await;
        assert!((200..300).contains(&code), "{method} {path}: {code} {answer}\n{body}");
        answer
    }

    /// A request as the administrator: the code and the body of the answer.
    async fn call(&self, method: &str, path: &str, body: &Json) -> (u16, Json) {
        let kind = if method == "PATCH" { "application/merge-patch+json" } else { "application/json" };
        let request = http::Request::builder().method(method).uri(path).header("content-type", kind);
        let request = request.body(Body::from(body.to_string().into_bytes())).expect("a request");
        let answer =
            self.admin.send(request).await.unwrap_or_else(|error| panic!("{method} {path}: {error:?}"));
        let code = answer.status().as_u16();
        let body = answer.into_body().collect_bytes().await.expect("a body");
        (code, serde_json::from_slice(&body).unwrap_or_default())
    }

    /// Whether the account may now do just this.
    async fn may_do_just(&self, grants: &[Grant]) -> bool {
        for (group, resource) in ALL {
            for namespace in [None, Some("shop")] {
                let granted = grants.iter().any(|(granted, of, within)| {
                    *granted == group && *of == resource && (within.is_none() || *within == namespace)
                });
                let review = json!({"apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview",
                    "spec": {"user": USER, "resourceAttributes": {"group": group, "resource": resource,
                        "verb": "watch", "namespace": namespace.unwrap_or_default()}}});
                let path = "/apis/authorization.k8s.io/v1/subjectaccessreviews";
                let answer = self.must("POST", path, &review).await;
                if answer["status"]["allowed"].as_bool() != Some(granted) {
                    return false;
                }
            }
        }
        true
    }
}

impl Kubernetes for Real {
    async fn create(&self, plural: &str, mut object: Json) -> Json {
        let namespace = object["metadata"]["namespace"].as_str().unwrap_or_default().to_owned();
        let status = object.as_object_mut().and_then(|fields| fields.remove("status"));
        let created = self.must("POST", &path(plural, &namespace), &object).await;
        let Some(status) = status else { return created };
        let name = created["metadata"]["name"].as_str().expect("a name");
        let path = format!("{}/{name}/status", path(plural, &namespace));
        self.must("PATCH", &path, &json!({"status": status})).await
    }

    async fn patch(&self, plural: &str, namespace: &str, name: &str, mut patch: Json) {
        let path = format!("{}/{name}", path(plural, namespace));
        if let Some(status) = patch.as_object_mut().and_then(|fields| fields.remove("status")) {
            self.must("PATCH", &format!("{path}/status"), &json!({"status": status})).await;
        }
        self.must("PATCH", &path, &patch).await;
    }

    async fn delete(&self, plural: &str, namespace: &str, name: &str) {
        let path = format!("{}/{name}", path(plural, namespace));
        self.must("DELETE", &path, &json!({"gracePeriodSeconds": 0})).await;
    }

    async fn namespace(&self, name: &str, labels: Json) -> Json {
        let metadata = json!({"metadata": {"name": name, "labels": labels}});
        if self.call("POST", "/api/v1/namespaces", &metadata).await.0 == 201 {
            return self.must("GET", &format!("/api/v1/namespaces/{name}"), &json!({})).await;
        }
        self.must("PATCH", &format!("/api/v1/namespaces/{name}"), &metadata).await
    }

    async fn grant(&self, grants: &[Grant]) {
        let subjects = json!([{"kind": "ServiceAccount", "name": NAME, "namespace": NAMESPACE}]);
        for namespace in [None, Some("shop")] {
            let rules: Vec<Json> = grants
                .iter()
                .filter(|grant| grant.2 == namespace)
                .map(|(group, resource, _)| {
                    json!({"apiGroups": [group], "resources": [resource], "verbs": ["list", "watch"]})
                })
                .collect();
            let (place, kind) = match namespace {
                Some(namespace) => (format!("{RBAC}/namespaces/{namespace}/role"), "Role"),
                None => (format!("{RBAC}/clusterrole"), "ClusterRole"),
            };
            for (path, object) in [
                (format!("{place}s"), json!({"metadata": {"name": NAME}, "rules": rules})),
                (
                    format!("{place}bindings"),
                    json!({"metadata": {"name": NAME}, "subjects": subjects,
                        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": kind, "name": NAME}}),
                ),
            ] {
                let _ = self.call("DELETE", &format!("{path}/{NAME}"), &json!({})).await;
                self.must("POST", &path, &object).await;
            }
        }
        let deadline = Instant::now() + START_LIMIT;
        while !self.may_do_just(grants).await {
            assert!(Instant::now() < deadline, "the grants have no effect: {grants:?}");
            tokio::time::sleep(POLL).await;
        }
    }

    async fn replace_token(&mut self) {
        self.issue_token().await;
        self.restart().await;
    }

    async fn restart(&mut self) {
        self.server.restart();
        self.wait_until_ready().await;
    }

    fn kube_config(&self) -> PathBuf {
        let path = self.dir.path().join("kubeconfig");
        let user = format!("tokenFile: {}", self.token_path().display());
        fs::write(&path, self.server.kube_config(&user)).expect("write the kubeconfig");
        path
    }

    async fn service_account(&mut self, dir: &Path) -> SocketAddr {
        fs::copy(self.token_path(), dir.join("token")).expect("copy the token");
        fs::copy(self.server.ca(), dir.join("ca.crt")).expect("copy the authority");
        fs::write(dir.join("namespace"), NAMESPACE).expect("write the namespace");
        self.server.address()
    }

    fn requests(&self) -> Vec<Asked> {
        let log = self.server.audit_log();
        // The last line may not be there to its end.
        let whole = log.rfind('\n').map_or("", |end| &log[self.older.min(end)..end]);
        whole.lines().filter(|line| !line.is_empty()).map(asked).collect()
    }
}

/// One line of the audit log.
fn asked(line: &str) -> Asked {
    let event: Json = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error} in {line}"));
    let text = |value: &Json| value.as_str().map(str::to_owned);
    let uri = text(&event["requestURI"]).unwrap_or_default();
    Asked {
        verb: text(&event["verb"]).unwrap_or_default(),
        plural: text(&event["objectRef"]["resource"]).unwrap_or_default(),
        namespace: text(&event["objectRef"]["namespace"]),
        query: uri.split_once('?').map_or_else(String::new, |(_, query)| query.to_owned()),
        metadata_only: None,
    }
}

/// Where objects of this kind are.
fn path(plural: &str, namespace: &str) -> String {
    let group = match plural {
        "deployments" | "replicasets" | "statefulsets" | "daemonsets" => "/apis/apps/v1",
        "jobs" | "cronjobs" => "/apis/batch/v1",
        _ => "/api/v1",
    };
    if namespace.is_empty() {
        format!("{group}/{plural}")
    } else {
        format!("{group}/namespaces/{namespace}/{plural}")
    }
}

/// A client of the API that a kubeconfig file leads to. It belongs to the runtime of the test.
pub(super) async fn client(kube_config: &Path) -> Client {
    client_of(Kubeconfig::read_from(kube_config).expect("a kubeconfig")).await
}

/// The same, of a file that has been read.
pub(super) async fn client_of(file: Kubeconfig) -> Client {
    let config = kube::Config::from_custom_kubeconfig(file, &KubeConfigOptions::default()).await;
    let mut config = config.expect("a configuration");
    // Refusals are what is looked at.
    config.default_retry = false;
    Client::try_from(config).expect("a client")
}
