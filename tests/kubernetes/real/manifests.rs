//! The manifests of `configs/kubernetes`, as a real API server judges them.

use serde_json::{Value as Json, json};

use super::{Instant, Kubernetes as _, POLL, Real, START_LIMIT};
use crate::harness::{say, workspace};

const ACCOUNT: &str = "system:serviceaccount:spanbridge:spanbridge-edge";
/// Objects of others, of which the server knows nothing.
const FOREIGN: &str = "cert-manager.io/";

/// Every object of a half but those of cert-manager.
fn objects(half: &str) -> Vec<Json> {
    let folder = workspace().join("configs/kubernetes").join(half);
    let text = std::fs::read_to_string(folder.join("kustomization.yaml")).expect("a kustomization");
    let kustomization: Json = serde_saphyr::from_str(&text).expect("YAML");
    let files = kustomization["resources"].as_array().expect("a list of files");
    let read = |file: &Json| {
        let path = folder.join(file.as_str().expect("a name"));
        let text = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        let objects: Vec<Json> = serde_saphyr::from_multiple(&text).expect("YAML");
        objects
    };
    let objects = files.iter().flat_map(read);
    objects.filter(|object| !object["apiVersion"].as_str().is_some_and(|v| v.starts_with(FOREIGN))).collect()
}

/// Where such an object is created.
fn place(object: &Json) -> String {
    let text = |value: &Json| value.as_str().unwrap_or_default().to_owned();
    let (version, kind) = (text(&object["apiVersion"]), text(&object["kind"]).to_lowercase());
    let base = if version == "v1" { "/api/v1".to_owned() } else { format!("/apis/{version}") };
    let plural = match kind.strip_suffix('y') {
        Some(stem) => format!("{stem}ies"),
        None if kind.ends_with('s') => format!("{kind}es"),
        None => format!("{kind}s"),
    };
    match text(&object["metadata"]["namespace"]).as_str() {
        "" => format!("{base}/{plural}"),
        namespace => format!("{base}/namespaces/{namespace}/{plural}"),
    }
}

impl Real {
    /// Whether the account of the edge may do this to pods.
    async fn edge_may(&self, verb: &str, resource: &str) -> bool {
        let review = json!({"apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview",
            "spec": {"user": ACCOUNT, "resourceAttributes": {"resource": resource, "verb": verb}}});
        let path = "/apis/authorization.k8s.io/v1/subjectaccessreviews";
        self.must("POST", path, &review).await["status"]["allowed"] == true
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_takes_every_manifest_and_grants_the_edge_what_it_needs_and_no_more() {
    let Some(api) = Real::start("manifests").await else { return };
    api.namespace("spanbridge", json!({})).await;
    for half in ["edge", "remote"] {
        let objects = objects(half);
        assert!(objects.len() > 5, "{half}: {} objects", objects.len());
        for object in &objects {
            if object["kind"] != "Namespace" {
                // Unknown fields, and values that do not fit, are errors.
                api.must("POST", &format!("{}?dryRun=All&fieldValidation=Strict", place(object)), object)
                    .await;
            }
        }
        say(&format!("manifests: a real API server takes the {} objects of {half}", objects.len()));
    }
    let roles = ["ServiceAccount", "ClusterRole", "ClusterRoleBinding"];
    let made: Vec<Json> =
        objects("edge").into_iter().filter(|o| roles.iter().any(|r| o["kind"] == *r)).collect();
    assert_eq!(made.len(), roles.len());
    for object in &made {
        api.must("POST", &place(object), object).await;
    }
    let deadline = Instant::now() + START_LIMIT;
    while !(api.edge_may("list", "pods").await && api.edge_may("watch", "pods").await) {
        assert!(Instant::now() < deadline, "the role has no effect");
        tokio::time::sleep(POLL).await;
    }
    for (verb, resource) in [("get", "pods"), ("delete", "pods"), ("list", "secrets"), ("list", "nodes")] {
        assert!(!api.edge_may(verb, resource).await, "the edge may {verb} {resource}");
    }
    for object in &made {
        let name = object["metadata"]["name"].as_str().expect("a name");
        api.must("DELETE", &format!("{}/{name}", place(object)), &json!({})).await;
    }
}
