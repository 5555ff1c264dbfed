//! Pods as a cluster has them: about seven kilobytes each, most of which nobody asks for.

use std::net::Ipv4Addr;

use serde_json::{Value, json};

/// One pod.
#[derive(Debug, Clone)]
pub(super) struct Pod {
    pub(super) name: String,
    pub(super) ip: Ipv4Addr,
    deployment: usize,
}

/// What every pod's resource has in the end.
pub(super) const ENRICHED: [(&str, &str); 2] = [("k8s.namespace.name", "shop"), ("k8s.node.name", "node-1")];

const VARIABLES: [&str; 5] =
    ["OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_SERVICE_NAME", "DATABASE_URL", "LOG_LEVEL", "FEATURES"];
const CONDITIONS: [&str; 5] =
    ["PodReadyToStartContainers", "Initialized", "Ready", "ContainersReady", "PodScheduled"];

/// The pod of this number, in one of so many deployments. Number 0 has the address that the load comes from.
pub(super) fn pod(number: u32, deployments: usize) -> Pod {
    let ip = if number == 0 { Ipv4Addr::LOCALHOST } else { Ipv4Addr::from(0x0a00_0000 + number) };
    at(number, ip, deployments)
}

/// The pod of this number with this address.
pub(super) fn at(number: u32, ip: Ipv4Addr, deployments: usize) -> Pod {
    let deployment = usize::try_from(number).unwrap_or_default() % deployments.max(1);
    Pod { name: format!("app-{deployment}-5d4f8c7b9-{number:06}"), ip, deployment }
}

/// The object as the API server sends it.
pub(super) fn encoded(pod: &Pod, version: u64) -> String {
    let Pod { name, ip, deployment } = pod;
    let app = format!("app-{deployment}");
    let uid = format!("8a3d1c52-6f4b-4c0e-9d27-{:012x}", fingerprint(name));
    json!({
        "metadata": {
            "name": name, "namespace": "shop", "uid": uid, "resourceVersion": version.to_string(),
            "generateName": format!("{app}-5d4f8c7b9-"), "creationTimestamp": "2026-01-02T03:04:05Z",
            "labels": {"app.kubernetes.io/name": app, "app.kubernetes.io/version": "1.2.3", "pod-template-hash": "5d4f8c7b9"},
            "annotations": {"kubectl.kubernetes.io/restartedAt": "2026-01-02T03:04:05Z", "checksum/config": "d".repeat(64)},
            "ownerReferences": [{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": format!("{app}-5d4f8c7b9"),
                "uid": format!("3f0a9b1e-0000-4000-8000-{deployment:012x}"), "controller": true, "blockOwnerDeletion": true}],
            "managedFields": managed_fields(),
        },
        "spec": {
            "nodeName": "node-1", "restartPolicy": "Always", "dnsPolicy": "ClusterFirst", "serviceAccountName": app,
            "terminationGracePeriodSeconds": 30, "schedulerName": "default-scheduler", "priority": 0,
            "volumes": [{"name": "kube-api-access", "projected": {"sources": [{"serviceAccountToken":
                {"expirationSeconds": 3607, "path": "token"}}, {"configMap": {"name": "kube-root-ca.crt", "items":
                [{"key": "ca.crt", "path": "ca.crt"}]}}], "defaultMode": 420}}],
            "containers": [container(&app)],
            "tolerations": [
                {"key": "node.kubernetes.io/not-ready", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300},
                {"key": "node.kubernetes.io/unreachable", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300},
            ],
        },
        "status": status(&app, *ip),
    })
    .to_string()
}

fn container(app: &str) -> Value {
    let variable = |name: &str| json!({"name": name, "value": format!("value of {name} of {app}")});
    let probe = |path: &str| {
        json!({"httpGet": {"path": path, "port": 8080, "scheme": "HTTP"}, "periodSeconds": 10, "timeoutSeconds": 1,
            "successThreshold": 1, "failureThreshold": 3})
    };
    json!({
        "name": "main", "image": format!("registry.example.com/shop/{app}:1.2.3"), "imagePullPolicy": "IfNotPresent",
        "env": VARIABLES.map(variable),
        "ports": [{"name": "http", "containerPort": 8080, "protocol": "TCP"}],
        "resources": {"limits": {"cpu": "1", "memory": "512Mi"}, "requests": {"cpu": "100m", "memory": "256Mi"}},
        "livenessProbe": probe("/live"), "readinessProbe": probe("/ready"),
        "volumeMounts": [{"name": "kube-api-access", "readOnly": true,
            "mountPath": "/var/run/secrets/kubernetes.io/serviceaccount"}],
    })
}

fn status(app: &str, ip: Ipv4Addr) -> Value {
    let condition = |kind: &str| json!({"type": kind, "status": "True", "lastProbeTime": null, "lastTransitionTime": "2026-01-02T03:04:09Z"});
    json!({
        "phase": "Running", "qosClass": "Burstable", "hostIP": "192.0.2.1", "hostIPs": [{"ip": "192.0.2.1"}],
        "podIP": ip, "podIPs": [{"ip": ip}], "startTime": "2026-01-02T03:04:06Z",
        "conditions": CONDITIONS.map(condition),
        "containerStatuses": [{"name": "main", "ready": true, "started": true, "restartCount": 0,
            "image": format!("registry.example.com/shop/{app}:1.2.3"),
            "imageID": format!("registry.example.com/shop/{app}@sha256:{}", "a".repeat(64)),
            "containerID": format!("containerd://{}", "c".repeat(64)), "lastState": {},
            "state": {"running": {"startedAt": "2026-01-02T03:04:08Z"}}}],
    })
}

/// Who has set what: the longest part of every object.
fn managed_fields() -> Value {
    let names = |prefix: &str, count: usize| -> Value {
        (0..count).map(|number| (format!("f:{prefix}{number:02}"), json!({".": {}, "f:value": {}}))).collect()
    };
    let entry = |manager: &str, fields: Value| {
        json!({"manager": manager, "operation": "Update", "apiVersion": "v1", "time": "2026-01-02T03:04:05Z",
            "fieldsType": "FieldsV1", "fieldsV1": fields})
    };
    json!([
        entry(
            "kube-controller-manager",
            json!({"f:metadata": names("label", 12), "f:spec": names("specification", 40)})
        ),
        entry("kubelet", json!({"f:status": names("condition", 30)})),
    ])
}

/// FNV-1a: a number for a name.
fn fingerprint(name: &str) -> u64 {
    let hash = name.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    hash >> 16
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pods_are_as_large_as_those_of_clusters() {
        let text = encoded(&pod(7, 500), 12);
        assert!((5_000..9_000).contains(&text.len()), "{} bytes", text.len());
    }

    #[test]
    fn pods_differ_in_name_address_and_uid() {
        let uid = |number| {
            let text = encoded(&pod(number, 500), 1);
            let value: Value = serde_json::from_str(&text).expect("JSON");
            (
                value["metadata"]["uid"].to_string(),
                value["status"]["podIP"].to_string(),
                value["metadata"]["name"].to_string(),
            )
        };
        let (one, other) = (uid(1), uid(501));
        assert!(one.0 != other.0 && one.1 != other.1 && one.2 != other.2);
        assert_eq!(uid(0).1, "\"127.0.0.1\"");
    }
}
