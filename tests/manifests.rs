//! The manifests of `configs/kubernetes`: the types of Kubernetes know every key, what names something else finds it, and
//! the configurations inside them are those of `configs/`, valid in the environment that the pods have.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use k8s_openapi::api::apps::v1::{DaemonSet, Deployment};
use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use k8s_openapi::api::core::v1::{Namespace, Service, ServiceAccount};
use k8s_openapi::api::networking::v1::{Ingress, NetworkPolicy};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::api::rbac::v1::{ClusterRole, ClusterRoleBinding};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Value as Json, json};
use tempfile::TempDir;

use crate::harness::{run, workspace};
use crate::tls::pki::{Pki, have};

const HALVES: [&str; 2] = ["edge", "remote"];
const NAMESPACE: &str = "spanbridge";

/// What is known of cert-manager's objects.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct CertManager<Spec> {
    api_version: String,
    kind: String,
    metadata: Metadata,
    spec: Spec,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Metadata {
    name: String,
    namespace: String,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct IssuerSpec {
    #[serde(skip_serializing_if = "Option::is_none")]
    self_signed: Option<BTreeMap<String, String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ca: Option<CaSpec>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct CaSpec {
    secret_name: String,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct CertificateSpec {
    secret_name: String,
    issuer_ref: IssuerRef,
    duration: String,
    renew_before: String,
    private_key: PrivateKey,
    #[serde(skip_serializing_if = "Option::is_none", rename = "isCA")]
    is_ca: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    common_name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    dns_names: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    usages: Option<Vec<String>>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct IssuerRef {
    name: String,
    kind: String,
    group: String,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct PrivateKey {
    algorithm: String,
    size: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    rotation_policy: Option<String>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Kustomization {
    api_version: String,
    kind: String,
    namespace: String,
    resources: Vec<String>,
    config_map_generator: Vec<Generator>,
    images: Vec<Image>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Generator {
    name: String,
    files: Vec<String>,
    options: Json,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Image {
    name: String,
    new_name: String,
    new_tag: String,
}

/// One half's folder.
struct Half {
    name: &'static str,
    objects: Vec<Json>,
    kustomization: Kustomization,
}

fn folder(half: &str) -> PathBuf {
    workspace().join("configs/kubernetes").join(half)
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

fn documents(path: &Path) -> Vec<Json> {
    serde_saphyr::from_multiple(&read(path)).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

impl Half {
    fn load(name: &'static str) -> Self {
        let folder = folder(name);
        let [kustomization] = documents(&folder.join("kustomization.yaml")).try_into().expect("one document");
        let kustomization: Kustomization = known(&kustomization);
        let objects = kustomization.resources.iter().flat_map(|file| documents(&folder.join(file)));
        Self { name, objects: objects.collect(), kustomization }
    }

    fn of_kind(&self, kind: &str) -> Vec<&Json> {
        self.objects.iter().filter(|object| object["kind"] == kind).collect()
    }

    fn names(&self, kind: &str) -> BTreeSet<&str> {
        self.of_kind(kind).into_iter().map(|object| text(&object["metadata"]["name"])).collect()
    }

    /// The template of the pods.
    fn pod(&self) -> &Json {
        let workloads = [self.of_kind("DaemonSet"), self.of_kind("Deployment")].concat();
        assert_eq!(workloads.len(), 1, "one workload in {}", self.name);
        &workloads[0]["spec"]["template"]
    }

    /// The container of the collector.
    fn container(&self) -> &Json {
        let containers = list(&self.pod()["spec"]["containers"]);
        assert_eq!(containers.len(), 1);
        &containers[0]
    }

    fn configuration(&self) -> String {
        read(&folder(self.name).join("config.yaml"))
    }

    fn labels(&self) -> &Json {
        &self.pod()["metadata"]["labels"]
    }
}

fn text(value: &Json) -> &str {
    value.as_str().unwrap_or_else(|| panic!("a text, not {value}"))
}

fn list(value: &Json) -> &[Json] {
    value.as_array().map_or(&[], Vec::as_slice)
}

/// Reads it as what it is to be. Kubernetes' types skip what they do not know: so it is compared with what came through.
fn known<T: DeserializeOwned + Serialize>(object: &Json) -> T {
    let typed: T = serde_json::from_value(object.clone()).unwrap_or_else(|e| panic!("{e}: {object:#}"));
    let back = serde_json::to_value(&typed).expect("JSON");
    assert_eq!(&back, object, "a key is not known");
    typed
}

fn check(object: &Json) {
    match (text(&object["apiVersion"]), text(&object["kind"])) {
        ("v1", "Namespace") => drop(known::<Namespace>(object)),
        ("v1", "Service") => drop(known::<Service>(object)),
        ("v1", "ServiceAccount") => drop(known::<ServiceAccount>(object)),
        ("apps/v1", "DaemonSet") => drop(known::<DaemonSet>(object)),
        ("apps/v1", "Deployment") => drop(known::<Deployment>(object)),
        ("autoscaling/v2", "HorizontalPodAutoscaler") => drop(known::<HorizontalPodAutoscaler>(object)),
        ("policy/v1", "PodDisruptionBudget") => drop(known::<PodDisruptionBudget>(object)),
        ("networking.k8s.io/v1", "Ingress") => drop(known::<Ingress>(object)),
        ("networking.k8s.io/v1", "NetworkPolicy") => drop(known::<NetworkPolicy>(object)),
        ("rbac.authorization.k8s.io/v1", "ClusterRole") => drop(known::<ClusterRole>(object)),
        ("rbac.authorization.k8s.io/v1", "ClusterRoleBinding") => drop(known::<ClusterRoleBinding>(object)),
        ("cert-manager.io/v1", "Issuer") => drop(known::<CertManager<IssuerSpec>>(object)),
        ("cert-manager.io/v1", "Certificate") => drop(known::<CertManager<CertificateSpec>>(object)),
        other => panic!("{other:?} is nothing that this test knows"),
    }
}

#[test]
fn every_key_of_every_manifest_is_known() {
    for half in HALVES.map(Half::load) {
        assert!(half.objects.len() > 5);
        half.objects.iter().for_each(check);
        for object in &half.objects {
            let is_in_no_namespace =
                matches!(text(&object["kind"]), "Namespace" | "ClusterRole" | "ClusterRoleBinding");
            let namespace = if is_in_no_namespace { Json::Null } else { NAMESPACE.into() };
            assert_eq!(object["metadata"]["namespace"], namespace, "{object:#}");
        }
        let files: BTreeSet<String> = fs::read_dir(folder(half.name))
            .expect("the folder")
            .map(|entry| entry.expect("an entry").file_name().into_string().expect("a name"))
            .filter(|name| name != "kustomization.yaml" && name != "config.yaml")
            .collect();
        assert_eq!(files, half.kustomization.resources.iter().cloned().collect(), "{}", half.name);
    }
}

#[test]
fn a_key_that_is_not_known_is_found() {
    let half = Half::load("edge");
    let mut workload = half.of_kind("DaemonSet")[0].clone();
    workload["spec"]["template"]["spec"]["tolerance"] = json!([]);
    assert!(std::panic::catch_unwind(|| check(&workload)).is_err());
}

#[test]
fn the_configurations_are_those_that_stand_alone() {
    for half in HALVES.map(Half::load) {
        let alone = read(&workspace().join("configs").join(format!("{}.yaml", half.name)));
        assert_eq!(half.configuration(), alone, "configs/kubernetes/{}/config.yaml", half.name);
        let generated = &half.kustomization.config_map_generator;
        assert_eq!((generated.len(), generated[0].files.as_slice()), (1, &["config.yaml".to_owned()][..]));
        let volumes = list(&half.pod()["spec"]["volumes"]);
        let maps: Vec<_> = volumes.iter().filter_map(|volume| volume["configMap"]["name"].as_str()).collect();
        assert_eq!(maps, [generated[0].name.as_str()]);
    }
}

#[test]
fn the_roles_are_what_the_program_prints() {
    let config = folder("edge").join("config.yaml");
    let config = config.display().to_string();
    let (name, account) = ("spanbridge-edge", "spanbridge/spanbridge-edge");
    let arguments = ["k8s", "rbac", "--config", &config, "--name", name, "--service-account", account];
    let output = run(workspace(), &arguments, &[]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(String::from_utf8_lossy(&output.stdout), read(&folder("edge").join("rbac.yaml")));

    let config = folder("remote").join("config.yaml").display().to_string();
    let output = run(workspace(), &["k8s", "rbac", "--config", &config], &[]);
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success() && said.contains("needs no role"), "{said}");
    assert!(Half::load("remote").of_kind("ClusterRole").is_empty());
}

#[test]
fn whatever_is_named_is_there() {
    for half in HALVES.map(Half::load) {
        let spec = &half.pod()["spec"];
        assert!(half.names("ServiceAccount").contains(text(&spec["serviceAccountName"])));
        assert_eq!(half.names("Namespace"), BTreeSet::from([NAMESPACE]));
        let images: Vec<_> = half.kustomization.images.iter().map(|image| image.name.as_str()).collect();
        assert_eq!(images, [text(&half.container()["image"])]);
        let volumes: BTreeSet<_> = list(&spec["volumes"]).iter().map(|v| text(&v["name"])).collect();
        let containers = [list(&spec["initContainers"]), list(&spec["containers"])].concat();
        let mounts = containers.iter().flat_map(|container| list(&container["volumeMounts"]));
        let mounted: BTreeSet<_> = mounts.map(|mount| text(&mount["name"])).collect();
        assert_eq!(volumes, mounted, "{}", half.name);
        for kind in ["Service", "NetworkPolicy", "PodDisruptionBudget"] {
            for object in half.of_kind(kind) {
                let spec = &object["spec"];
                let selector = [
                    &spec["selector"]["matchLabels"],
                    &spec["podSelector"]["matchLabels"],
                    &spec["selector"],
                ];
                let selector = selector.into_iter().find_map(Json::as_object).expect("a selector");
                let selects = selector.iter().all(|(key, value)| half.labels().get(key) == Some(value));
                assert!(selects, "{kind} {} selects nothing", object["metadata"]["name"]);
            }
        }
        for binding in half.of_kind("ClusterRoleBinding") {
            assert!(half.names("ClusterRole").contains(text(&binding["roleRef"]["name"])));
            assert!(half.names("ServiceAccount").contains(text(&binding["subjects"][0]["name"])));
            assert_eq!(binding["subjects"][0]["namespace"], NAMESPACE);
        }
    }
}

#[test]
fn the_ingress_leads_to_the_receiver_with_the_certificate_that_is_issued() {
    let half = Half::load("remote");
    let issuers = half.names("Issuer");
    let mut secrets = BTreeSet::new();
    for certificate in half.of_kind("Certificate") {
        assert!(issuers.contains(text(&certificate["spec"]["issuerRef"]["name"])), "{certificate:#}");
        secrets.insert(text(&certificate["spec"]["secretName"]));
    }
    for issuer in half.of_kind("Issuer") {
        let secret = issuer["spec"]["ca"]["secretName"].as_str();
        assert!(secret.is_none_or(|secret| secrets.contains(secret)), "{issuer:#}");
    }
    let ingress = half.of_kind("Ingress")[0];
    assert_eq!(ingress["metadata"]["annotations"]["nginx.ingress.kubernetes.io/backend-protocol"], "GRPC");
    let (tls, rule) = (&ingress["spec"]["tls"][0], &ingress["spec"]["rules"][0]);
    let certificate = half
        .of_kind("Certificate")
        .into_iter()
        .find(|certificate| certificate["spec"]["secretName"] == tls["secretName"])
        .expect("the certificate of the ingress");
    assert_eq!((&tls["hosts"], &tls["hosts"][0]), (&certificate["spec"]["dnsNames"], &rule["host"]));
    let backend = &rule["http"]["paths"][0]["backend"]["service"];
    let services = half.of_kind("Service");
    let service = services.iter().find(|service| service["metadata"]["name"] == backend["name"]);
    let ports = list(&service.expect("the service of the ingress")["spec"]["ports"]);
    assert!(ports.iter().any(|port| port["name"] == backend["port"]["name"]));
    let target = half.of_kind("HorizontalPodAutoscaler")[0];
    assert!(half.names("Deployment").contains(text(&target["spec"]["scaleTargetRef"]["name"])));
    let replicas = &half.of_kind("Deployment")[0]["spec"]["replicas"];
    assert!(
        replicas.is_null(),
        "the autoscaler says how many, and would be overruled each time this is applied"
    );
    // What edge clusters connect to.
    let edge = Half::load("edge");
    let endpoint = environment(&edge).remove("REMOTE_ENDPOINT").expect("where the edge sends to");
    assert_eq!(endpoint, format!("{}:443", text(&rule["host"])));
}

#[test]
fn ports_are_those_that_the_configuration_opens() {
    for half in HALVES.map(Half::load) {
        let container = half.container();
        let ports: BTreeMap<_, _> = list(&container["ports"])
            .iter()
            .map(|port| (text(&port["name"]), port["containerPort"].as_u64().expect("a number")))
            .collect();
        let [config] = documents(&folder(half.name).join("config.yaml")).try_into().expect("one document");
        let port_of =
            |endpoint: &Json| text(endpoint).strip_prefix("0.0.0.0:").map(|port| port.parse().unwrap());
        let reader =
            &config["service"]["telemetry"]["metrics"]["readers"][0]["pull"]["exporter"]["prometheus"];
        assert_eq!(reader["host"], "0.0.0.0");
        assert_eq!(
            Some(ports["otlp-grpc"]),
            port_of(&config["receivers"]["otlp"]["protocols"]["grpc"]["endpoint"])
        );
        assert_eq!(Some(ports["health"]), port_of(&config["extensions"]["health_check"]["endpoint"]));
        assert_eq!(Some(ports["metrics"]), reader["port"].as_u64());
        for probe in ["startupProbe", "readinessProbe", "livenessProbe"] {
            let asked = &container[probe]["httpGet"];
            assert_eq!((&asked["port"], &asked["path"]), (&json!("health"), &json!("/")), "{probe}");
        }
        let scraped = text(&half.pod()["metadata"]["annotations"]["prometheus.io/port"]);
        assert_eq!(scraped.parse(), Ok(ports["metrics"]));
        let policies = half.of_kind("NetworkPolicy");
        let rules = policies.iter().flat_map(|policy| list(&policy["spec"]["ingress"]));
        let services = half.of_kind("Service");
        let targets = services.iter().flat_map(|service| list(&service["spec"]["ports"]));
        let named = rules.flat_map(|rule| list(&rule["ports"])).map(|port| &port["port"]);
        for name in named.chain(targets.map(|port| &port["targetPort"])) {
            assert!(ports.contains_key(text(name)), "{}: no port is called {name}", half.name);
        }
        assert_eq!(container["securityContext"]["readOnlyRootFilesystem"], true);
        assert_eq!(half.pod()["spec"]["securityContext"]["runAsNonRoot"], true);
    }
}

/// The environment of the collector, with stand-ins for what only a cluster knows.
fn environment(half: &Half) -> BTreeMap<String, String> {
    let variables = list(&half.container()["env"]);
    let value = |variable: &Json| match (&variable["value"], &variable["valueFrom"]) {
        (Json::String(value), Json::Null) => value.clone(),
        (Json::Null, from) if from["fieldRef"].is_object() => "node-1".to_owned(),
        (Json::Null, from) if from["secretKeyRef"].is_object() => "from-a-secret".to_owned(),
        _ => panic!("{variable:#}"),
    };
    variables.iter().map(|variable| (text(&variable["name"]).to_owned(), value(variable))).collect()
}

/// The variables that a configuration takes values from.
fn variables(config: &str) -> BTreeSet<String> {
    let reference = |part: &str| {
        let end = part.find([':', '}']).expect("the end of a reference");
        part[..end].to_owned()
    };
    let node = config.lines().filter_map(|line| line.trim().strip_prefix("node_from_env_var: "));
    config.split("${env:").skip(1).map(reference).chain(node.map(str::to_owned)).collect()
}

#[test]
fn the_pods_give_the_configuration_what_it_takes_from_the_environment() {
    for half in HALVES.map(Half::load) {
        let given: BTreeSet<String> = environment(&half).into_keys().collect();
        assert_eq!(given, variables(&half.configuration()), "{}", half.name);
        let said = read(&workspace().join("docs/kubernetes.md"));
        let from_secrets = list(&half.container()["env"]).iter().map(|v| &v["valueFrom"]["secretKeyRef"]);
        let mut secrets: Vec<(String, Option<String>)> = from_secrets
            .filter(|secret| secret.is_object())
            .map(|secret| (text(&secret["name"]).to_owned(), Some(text(&secret["key"]).to_owned())))
            .collect();
        let volumes = list(&half.pod()["spec"]["volumes"]).iter();
        secrets.extend(volumes.filter_map(|v| Some((v["secret"]["secretName"].as_str()?.to_owned(), None))));
        assert!(!secrets.is_empty());
        for (name, key) in secrets {
            let made =
                said.split("create secret generic ").find(|part| part.starts_with(&format!("{name} ")));
            let made = made.unwrap_or_else(|| panic!("docs/kubernetes.md does not say how to make {name}"));
            let key = key.map_or("--from-file=".to_owned(), |key| format!("--from-literal={key}="));
            assert!(made.contains(&key), "docs/kubernetes.md: {name} has no {key}");
        }
    }
}

#[test]
fn the_configurations_are_valid_where_the_pods_run() {
    if !have("openssl", "version") {
        return;
    }
    let (dir, pki) = (TempDir::new().expect("a folder"), Pki::new());
    let hash = "edge-cluster-1:$2y$10$6Y9.UzRm/RWl2W5dgVg/YOleg4WskrkQkuLOfnF9HnkdLvwCiXJgW\n";
    fs::write(dir.path().join("htpasswd"), hash).expect("write");
    for half in HALVES.map(Half::load) {
        let mut environment = environment(&half);
        for (name, file) in
            [("HTPASSWD_FILE", dir.path().join("htpasswd")), ("REMOTE_CA_FILE", pki.path("ca.pem"))]
        {
            if let Some(given) = environment.get_mut(name) {
                let mounts = list(&half.container()["volumeMounts"]);
                let folder = Path::new(&*given).parent().expect("a folder").display().to_string();
                assert!(
                    mounts.iter().any(|mount| mount["mountPath"] == folder.as_str()),
                    "{given} is not mounted"
                );
                *given = file.display().to_string();
            }
        }
        let config = folder(half.name).join("config.yaml").display().to_string();
        let environment: Vec<_> = environment.into_iter().collect();
        let output = run(workspace(), &["validate", "--config", &config], &environment);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() && said.is_empty(), "{}: {said}", half.name);
    }
}
