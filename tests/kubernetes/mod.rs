//! What asks the Kubernetes API in the real binary, against the Kubernetes API: a stand-in for the server, and the real one.
//!
//! The stand-in speaks what a watcher needs of the API, as the server does it: lists in chunks, watches with bookmarks and
//! selectors, resource versions that can be compacted away (410), metadata-only answers, RBAC refusals, throttling,
//! tokens. The real server is `kube-apiserver` over etcd, without controllers, with RBAC enforced; where it cannot be had
//! its tests are skipped. What is a scenario (`scenarios`, `access`) or a rule of the protocol (`protocol`) is tested
//! against both; `trouble` and `churn` need what only the stand-in can be told to do. Tests write objects into the server and
//! read telemetry out of the collector.

mod access;
mod balancing;
mod churn;
mod fixtures;
mod protocol;
mod real;
mod roles;
mod scenarios;
mod stand_in;
mod trouble;
mod tutorial;

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use opentelemetry_proto::tonic::common::v1::KeyValue;
use serde_json::{Value as Json, json};

use crate::client;
use crate::data::{self, text};
use crate::harness::{Collector, PATIENCE};
use crate::sink::Sink;
use fixtures::{pod, pod_on_host, replica_set};
use real::Real;
use stand_in::Api;

/// What stands between two looks at something that is going to change.
const POLL: Duration = Duration::from_millis(20);
/// The address that tests send from.
const HERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

/// What an account may list and watch: API group, resource, and the namespace of a role or `None` for a cluster role.
type Grant = (&'static str, &'static str, Option<&'static str>);

/// One request that came from the account of the collector.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Asked {
    verb: String,
    plural: String,
    namespace: Option<String>,
    query: String,
    /// Only the stand-in sees it: the real server's audit log has no headers.
    metadata_only: Option<bool>,
}

/// A Kubernetes API as tests use it, the stand-in or the real one. Namespace `""` is for what is in no namespace.
trait Kubernetes {
    /// Creates an object, and returns it as the server has it now: uid and times are the server's.
    async fn create(&self, plural: &str, object: Json) -> Json;

    /// Changes an object by a merge patch; of a pod, also its status.
    async fn patch(&self, plural: &str, namespace: &str, name: &str, patch: Json);

    /// Deletes an object at once.
    async fn delete(&self, plural: &str, namespace: &str, name: &str);

    /// A namespace with these labels, which may be there already. Returns it.
    async fn namespace(&self, name: &str, labels: Json) -> Json;

    /// Grants the collector's account this and nothing else. At first, everything is granted.
    async fn grant(&self, grants: &[Grant]);

    /// Takes the account's token out of use, puts another in its file, and breaks all watches.
    async fn replace_token(&mut self);

    /// Goes away, forgets the past, and comes back at the same address.
    async fn restart(&mut self);

    /// A kubeconfig file that leads here, with the account's token in a file of its own.
    fn kube_config(&self) -> PathBuf;

    /// Puts what a pod has of its service account into `dir`: `token`, `ca.crt`, `namespace`. Returns where the API is, with TLS.
    async fn service_account(&mut self, dir: &Path) -> SocketAddr;

    /// The requests of the collector's account so far.
    fn requests(&self) -> Vec<Asked>;

    /// How many requests with this verb came for this resource.
    fn count(&self, verb: &str, plural: &str) -> usize {
        self.requests().iter().filter(|asked| asked.verb == verb && asked.plural == plural).count()
    }

    /// Waits until `test` holds.
    async fn until(&self, what: &str, test: impl Fn(&Self) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !test(self) {
            assert!(Instant::now() < deadline, "never: {what}; requests: {:#?}", self.requests());
            tokio::time::sleep(POLL).await;
        }
    }
}

/// Makes tests of functions that take a `Kubernetes`: each against the stand-in and against the real server.
macro_rules! against_both {
    ($($scenario:ident)*) => {
        mod stand_in {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $scenario() {
                super::$scenario(super::Api::start().await).await;
            })*
        }

        mod real {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $scenario() {
                if let Some(api) = super::Real::start(stringify!($scenario)).await {
                    super::$scenario(api).await;
                }
            })*
        }
    };
}
use against_both;

/// An API, a collector that watches it, and a sink behind that.
struct Cluster<K> {
    api: K,
    collector: Collector,
    sink: Sink,
    next: u64,
}

impl<K: Kubernetes> Cluster<K> {
    /// A collector with these keys of `k8s_attributes`, in flow form without the braces.
    fn with(api: K, keys: &str) -> Self {
        let sink = Sink::start();
        let collector = Collector::start("edge", &config(&api, keys, sink.address()));
        Self { api, collector, sink, next: 1 }
    }

    /// The resource that arrives when one with these attributes is sent.
    async fn enriched(&mut self, attributes: &[(&str, &str)]) -> Vec<KeyValue> {
        let mut request = data::spans(self.next, 1);
        self.next += 1;
        let resource = request.resource_spans[0].resource.as_mut().expect("a resource");
        resource.attributes = attributes.iter().map(|(key, value)| text(key, value)).collect();
        let mut client = client::traces(self.collector.grpc()).await;
        client.export(request).await.expect("accepted");
        let mut received = self.sink.traces();
        let last = received.pop().expect("what was accepted has arrived");
        last.resource_spans[0].resource.clone().expect("a resource").attributes
    }

    /// The value that `key` has when a resource with these attributes arrives.
    async fn value(&mut self, attributes: &[(&str, &str)], key: &str) -> Option<String> {
        data::text_of(&self.enriched(attributes).await, key).map(str::to_owned)
    }

    /// Sends resources with these attributes until what arrives has `key` with `value` (or, for `None`, lacks it).
    async fn until(&mut self, attributes: &[(&str, &str)], key: &str, value: Option<&str>) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let enriched = self.enriched(attributes).await;
            if data::text_of(&enriched, key) == value {
                return;
            }
            assert!(Instant::now() < deadline, "{key} is never {value:?}: {enriched:?}");
            tokio::time::sleep(POLL).await;
        }
    }
}

fn config(api: &impl Kubernetes, keys: &str, target: SocketAddr) -> String {
    format!(
        "
receivers:
  otlp:
    protocols:
      grpc:
        endpoint: 127.0.0.1:0
processors:
  k8s_attributes: {{auth_type: kubeConfig, kube_config_path: {}{keys}}}
exporters:
  otlp_grpc:
    endpoint: {target}
    tls: {{insecure: true}}
    sending_queue: {{enabled: false}}
service:
  telemetry:
    metrics: {{level: none}}
  pipelines:
    traces: {{receivers: [otlp], processors: [k8s_attributes], exporters: [otlp_grpc]}}
    logs: {{receivers: [otlp], processors: [k8s_attributes], exporters: [otlp_grpc]}}
",
        api.kube_config().display()
    )
}

/// The UID of an object.
fn uid(object: &Json) -> String {
    object["metadata"]["uid"].as_str().expect("a uid").to_owned()
}
