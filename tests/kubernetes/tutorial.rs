//! The two clusters of the tutorial, from the application to the backend: `acceptance/edge.yaml` and `acceptance/remote.yaml`
//! as they are, but for addresses, with nginx as the ingress that ends TLS between them, and the API server where a pod finds
//! it: in the environment, with the service account's files below `/var/run/secrets`.

use std::fs;
use std::path::Path;

use tempfile::TempDir;

use super::*;
use crate::harness::{Launch, say, workspace};
use crate::peers::is_required;
use crate::tls::pki::{Nginx, Pki, have};

against_both! {
    the_tutorial_runs_from_the_application_to_the_backend
}

async fn the_tutorial_runs_from_the_application_to_the_backend(mut api: impl Kubernetes) {
    if !have("openssl", "version") || !have("nginx", "-v") {
        return;
    }
    let home = TempDir::new().expect("a folder");
    let Some(mut launch) = as_in_a_pod(home.path()) else {
        return assert!(!is_required("unshare"), "user name spaces are required here");
    };
    // The address that spans come from here is a pod's on this node; the same one elsewhere is none of its business.
    api.create("pods", pod("web-1", &HERE.to_string())).await;
    let mut elsewhere = pod("other", &HERE.to_string());
    elsewhere["spec"]["nodeName"] = "node-2".into();
    elsewhere["status"]["startTime"] = "2026-02-02T03:04:06Z".into();
    api.create("pods", elsewhere).await;
    api.grant(&[("", "pods", None)]).await;
    let address = api.service_account(home.path()).await;

    let ca = Pki::new();
    ca.issue("ingress", "traces.example.com");
    let sink = Sink::start();
    let remote = remote(home.path(), sink.address());
    let ingress = Nginx::start(&ca.path("ingress.pem"), &ca.path("ingress.key"), "", remote.grpc());
    let overrides = write(
        &home.path().join("edge-here.yaml"),
        &format!(
            "receivers: {{otlp: {{protocols: {{grpc: {{endpoint: '127.0.0.1:0'}}}}}}}}\n\
             exporters: {{otlp: {{endpoint: '127.0.0.1:{}', tls: {{ca_file: {}, server_name_override: traces.example.com}}}}}}\n\
             service: {{telemetry: {{metrics: {{level: none}}}}}}\n",
            ingress.port(),
            ca.at("ca.pem")
        ),
    );
    launch.arguments = vec!["--config".to_owned(), overrides];
    launch.environment = [
        ("KUBE_NODE_NAME", "node-1".to_owned()),
        ("KUBERNETES_SERVICE_HOST", address.ip().to_string()),
        ("KUBERNETES_SERVICE_PORT", address.port().to_string()),
    ]
    .map(|(name, value)| (name.to_owned(), value))
    .to_vec();
    let edge = Collector::start_in(home.path(), "edge", &acceptance("edge.yaml"), &launch);
    edge.wait_for_line("watching the Kubernetes API");

    client::traces(edge.grpc()).await.export(data::spans(1, 5)).await.expect("accepted");
    arrived(&sink, 5).await;
    let request = sink.traces().pop().expect("a request");
    let attributes = request.resource_spans[0].resource.clone().expect("a resource").attributes;
    for (key, value) in [
        ("service.name", "e2e"),
        ("k8s.pod.name", "web-1"),
        ("k8s.namespace.name", "shop"),
        ("k8s.deployment.name", "web"),
        ("k8s.node.name", "node-1"),
    ] {
        assert_eq!(data::text_of(&attributes, key), Some(value), "{key} of {attributes:?}");
    }
    assert_eq!(data::text_of(&attributes, "cloud.availability_zone"), None, "the tutorial's slip");
    assert_warnings(&edge.stopped_log());
    remote.stop();
}

/// A warning for what is in no pipeline, one for each name that is deprecated, and no other.
fn assert_warnings(log: &str) {
    let warnings: Vec<&str> = log.lines().filter(|line| line.contains("\twarn\t")).collect();
    let expected = [
        "processor \"resource\" is defined but not used in any pipeline",
        "\"k8sattributes\" alias is deprecated; use \"k8s_attributes\" instead",
        "\"otlp\" alias is deprecated; use \"otlp_grpc\" instead",
        "\"logging\" alias is deprecated; use \"debug\" instead",
    ];
    for text in expected {
        let count = warnings.iter().filter(|line| line.replace('\\', "").contains(text)).count();
        assert_eq!(count, 1, "{text}: {warnings:#?}\n{log}");
    }
    assert_eq!(warnings.len(), expected.len(), "{warnings:#?}");
    assert!(!log.contains("\terror\t") && !log.contains("1234"), "{log}");
}

/// The collector of the remote cluster, which the ingress leads to.
fn remote(dir: &Path, backend: SocketAddr) -> Collector {
    let overrides = write(
        &dir.join("remote-here.yaml"),
        &format!(
            "receivers: {{otlp/basicauth: {{protocols: {{grpc: {{endpoint: '127.0.0.1:0'}}}}}}}}\n\
             exporters: {{otlp/jaeger: {{endpoint: '{backend}'}}}}\n\
             service: {{telemetry: {{metrics: {{level: none}}}}}}\n"
        ),
    );
    Collector::start_with("remote", &acceptance("remote.yaml"), &["--config", &overrides])
}

fn acceptance(file: &str) -> String {
    fs::read_to_string(workspace().join("tests/acceptance").join(file)).expect("the tutorial's file")
}

fn write(path: &Path, text: &str) -> String {
    fs::write(path, text).expect("write the configuration");
    path.display().to_string()
}

/// A program that gives the collector a `/var/run/secrets` of its own, in which `dir` holds its service account's files. `None`,
/// with the reason printed, where the system does not allow that.
fn as_in_a_pod(dir: &Path) -> Option<Launch> {
    let script = format!(
        "mount -t tmpfs none /run && mkdir -p /var/run/secrets/kubernetes.io && \
         ln -s '{}' /var/run/secrets/kubernetes.io/serviceaccount && exec \"$@\"",
        dir.display()
    );
    let wrapper = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", &script, "sh"];
    let wrapper: Vec<String> = wrapper.map(str::to_owned).to_vec();
    let attempt = std::process::Command::new(&wrapper[0]).args(&wrapper[1..]).arg("true").output();
    let reason = match attempt {
        Ok(output) if output.status.success() => return Some(Launch { wrapper, ..Launch::default() }),
        Ok(output) => String::from_utf8_lossy(&output.stderr).trim().to_owned(),
        Err(error) => format!("unshare: {error}"),
    };
    say(&format!("skipped the tutorial: {reason}"));
    None
}

async fn arrived(sink: &Sink, spans: usize) {
    let deadline = Instant::now() + PATIENCE;
    while sink.span_counts().len() < spans {
        assert!(Instant::now() < deadline, "the spans do not arrive");
        tokio::time::sleep(POLL).await;
    }
}
