use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::extract::Request;
use axum::http::StatusCode;
use serde_json::json;
use spanbridge_pdata::Value;

use super::*;
use crate::world::tests::serve;

/// What an instance's service is like.
#[derive(Clone, Default)]
struct Service {
    /// Whether it gives tokens, and wants them.
    has_tokens: bool,
    /// How many requests fail first.
    failures: Arc<AtomicUsize>,
}

impl Service {
    fn answer(&self, request: &Request) -> (StatusCode, String) {
        let failing =
            self.failures.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1));
        if failing.is_ok() {
            return (StatusCode::SERVICE_UNAVAILABLE, String::new());
        }
        let header = |name: &str| {
            request.headers().get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
        };
        let path = request.uri().path();
        if path == "/latest/api/token" {
            if !self.has_tokens {
                return (StatusCode::NOT_FOUND, String::new());
            }
            assert_eq!(request.method(), "PUT");
            assert!(!header("x-aws-ec2-metadata-token-ttl-seconds").is_empty());
            return (StatusCode::OK, "the-token".to_owned());
        }
        if self.has_tokens && header("x-aws-ec2-metadata-token") != "the-token" {
            return (StatusCode::UNAUTHORIZED, String::new());
        }
        let body = match path {
            "/latest/meta-data/instance-id" => "i-1".to_owned(),
            "/latest/meta-data/hostname" => "ip-10-0-0-1.ec2.internal".to_owned(),
            "/latest/meta-data/tags/instance" => "Name\nteam\nsecret".to_owned(),
            "/latest/meta-data/tags/instance/Name" => "edge".to_owned(),
            "/latest/meta-data/tags/instance/team" => "shop".to_owned(),
            "/latest/dynamic/instance-identity/document" => json!({
                "accountId": "123", "availabilityZone": "eu-west-1a", "region": "eu-west-1", "instanceId": "i-1",
                "imageId": "ami-1", "instanceType": "m5.large", "version": "2017-09-30", "billingProducts": null,
            })
            .to_string(),
            // The API of the cluster.
            "/version" => json!({"major": "1", "gitVersion": "v1.33.1-eks-595af52"}).to_string(),
            "/api/v1/nodes/node-1" => json!({
                "metadata": {"name": "node-1", "labels": {"topology.kubernetes.io/region": "eu-west-1",
                    "topology.kubernetes.io/zone": "eu-west-1b", "node.kubernetes.io/instance-type": "m6.large"}},
                "spec": {"providerID": "aws:///eu-west-1b/i-2"},
            })
            .to_string(),
            _ => return (StatusCode::NOT_FOUND, String::new()),
        };
        (StatusCode::OK, body)
    }

    async fn start(self) -> String {
        let answer = move |request: Request| {
            let service = self.clone();
            async move { service.answer(&request) }
        };
        serve(axum::Router::new().fallback(answer)).await
    }
}

fn world(base: &str, more: &[(&str, &str)]) -> World {
    let variables = [&[("AWS_EC2_METADATA_SERVICE_ENDPOINT", base)], more].concat();
    World::made_up(std::path::Path::new("/nowhere"), &variables)
}

fn config(yaml: &str) -> Config {
    spanbridge_config::from_yaml(yaml).unwrap_or_else(|e| panic!("{e}"))
}

fn texts(pairs: &[(&str, &str)]) -> Vec<(String, Value)> {
    pairs.iter().map(|(name, text)| ((*name).to_owned(), Value::from(*text))).collect()
}

const INSTANCE: [(&str, &str); 9] = [
    ("cloud.provider", "aws"),
    ("cloud.platform", "aws_ec2"),
    ("cloud.region", "eu-west-1"),
    ("cloud.account.id", "123"),
    ("cloud.availability_zone", "eu-west-1a"),
    ("host.id", "i-1"),
    ("host.image.id", "ami-1"),
    ("host.type", "m5.large"),
    ("host.name", "ip-10-0-0-1.ec2.internal"),
];

#[tokio::test]
async fn an_instance_is_found_with_a_token_or_where_there_are_none_without() {
    for has_tokens in [true, false] {
        let base = Service { has_tokens, ..Service::default() }.start().await;
        let found = detect_ec2(&Config::default(), &world(&base, &[])).await.unwrap();
        assert_eq!(found.0, texts(&INSTANCE), "tokens: {has_tokens}");
    }
}

#[tokio::test]
async fn tags_that_match_are_found_at_the_service() {
    let base = Service { has_tokens: true, ..Service::default() }.start().await;
    let config = config(
        "ec2: {tags_from_imds: true, tags: ['^Name$', te], resource_attributes: {host.id: {enabled: false}}}",
    );
    let found = detect_ec2(&config, &world(&base, &[])).await.unwrap().0;
    assert!(found.ends_with(&texts(&[("ec2.tag.Name", "edge"), ("ec2.tag.team", "shop")])), "{found:?}");
    assert!(found.iter().all(|(name, _)| name != "host.id"));
}

#[tokio::test]
async fn a_request_that_fails_is_sent_again_and_then_nothing_is_there() {
    let service = |failures| Service { has_tokens: true, failures: Arc::new(AtomicUsize::new(failures)) };
    let base = service(2).start().await;
    assert_eq!(detect_ec2(&Config::default(), &world(&base, &[])).await.unwrap().0.len(), 9);
    let base = service(3).start().await;
    assert_eq!(detect_ec2(&Config::default(), &world(&base, &[])).await.unwrap().0, []);
    let base = service(1000).start().await;
    let failing = config("{fail_on_missing_metadata: true, ec2: {max_attempts: 2}}");
    let error = detect_ec2(&failing, &world(&base, &[])).await.unwrap_err();
    assert!(error.starts_with("EC2 metadata unavailable: ") && error.contains("503"), "{error}");
    let disabled = world(&base, &[("AWS_EC2_METADATA_DISABLED", "true")]);
    assert!(detect_ec2(&failing, &disabled).await.unwrap_err().contains("AWS_EC2_METADATA_DISABLED"));
}

/// A client of the cluster whose API is at `base`.
async fn cluster(base: &str) -> Client {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("kubeconfig");
    let text = format!(
        "{{apiVersion: v1, kind: Config, current-context: t, contexts: [{{name: t, context: {{cluster: c, user: u}}}}], \
         clusters: [{{name: c, cluster: {{server: '{base}'}}}}], users: [{{name: u, user: {{token: t}}}}]}}"
    );
    std::fs::write(&path, text).unwrap();
    let kube_config_path = path.display().to_string();
    let api = Api { auth_type: "kubeConfig".into(), kube_config_path, ..Api::default() };
    Access::new(&api, "test").client().await.unwrap()
}

#[tokio::test]
async fn a_node_of_eks_is_found_by_its_instance_or_else_by_its_labels() {
    let base = Service::default().start().await;
    let client = cluster(&base).await;
    let found = in_cluster(&Config::default(), &world(&base, &[]), &client).await.unwrap().0;
    assert_eq!((found.len(), found[1].clone()), (9, ("cloud.platform".to_owned(), "aws_eks".into())));
    let without = world("http://127.0.0.1:1", &[("MY_NODE", "node-1")]);
    let by_node = config("{ec2: {max_attempts: 1}, eks: {node_from_env_var: MY_NODE}}");
    let found = in_cluster(&by_node, &without, &client).await.unwrap().0;
    let expected = [
        ("cloud.provider", "aws"),
        ("cloud.platform", "aws_eks"),
        ("cloud.region", "eu-west-1"),
        ("cloud.availability_zone", "eu-west-1b"),
        ("host.type", "m6.large"),
        ("host.id", "i-2"),
        ("host.name", "node-1"),
    ];
    assert_eq!(found, texts(&expected));
    let failing = config("{ec2: {max_attempts: 1}, fail_on_missing_metadata: true}");
    assert!(in_cluster(&failing, &without, &client).await.unwrap_err().contains("node_from_env_var"));
}

#[tokio::test]
async fn outside_kubernetes_there_is_no_eks() {
    let world = world("http://127.0.0.1:1", &[]);
    assert_eq!(detect_eks(&Config::default(), &world).await.unwrap().0, []);
    let failing = config("fail_on_missing_metadata: true");
    assert_eq!(detect_eks(&failing, &world).await.unwrap_err(), "this does not run in Kubernetes");
}
