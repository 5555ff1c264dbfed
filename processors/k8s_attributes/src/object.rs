//! Pods, as far as they are needed: everything else is skipped while it is read.

use serde::Deserialize;
use spanbridge_kubernetes::{HasMetadata, Metadata, or_default};

/// A pod. Without `spec` and `status` when only metadata is watched.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Pod {
    #[serde(deserialize_with = "or_default")]
    pub(crate) metadata: Metadata,
    #[serde(deserialize_with = "or_default")]
    pub(crate) spec: PodSpec,
    #[serde(deserialize_with = "or_default")]
    pub(crate) status: PodStatus,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct PodSpec {
    pub(crate) node_name: String,
    pub(crate) hostname: String,
    pub(crate) host_network: bool,
    #[serde(deserialize_with = "or_default")]
    pub(crate) containers: Vec<Container>,
    #[serde(deserialize_with = "or_default")]
    pub(crate) init_containers: Vec<Container>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Container {
    pub(crate) name: String,
    pub(crate) image: String,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct PodStatus {
    #[serde(rename = "podIP")]
    pub(crate) pod_ip: String,
    #[serde(rename = "podIPs", deserialize_with = "or_default")]
    pub(crate) pod_ips: Vec<PodIp>,
    /// RFC 3339; empty if it has not started.
    #[serde(deserialize_with = "or_default")]
    pub(crate) start_time: String,
    #[serde(deserialize_with = "or_default")]
    pub(crate) container_statuses: Vec<ContainerStatus>,
    #[serde(deserialize_with = "or_default")]
    pub(crate) init_container_statuses: Vec<ContainerStatus>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(crate) struct PodIp {
    pub(crate) ip: String,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct ContainerStatus {
    pub(crate) name: String,
    #[serde(rename = "containerID")]
    pub(crate) container_id: String,
    #[serde(rename = "imageID")]
    pub(crate) image_id: String,
    pub(crate) restart_count: i64,
    #[serde(deserialize_with = "or_default")]
    pub(crate) last_state: ContainerState,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(crate) struct ContainerState {
    #[serde(deserialize_with = "or_default")]
    pub(crate) terminated: Terminated,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Terminated {
    #[serde(rename = "containerID")]
    pub(crate) container_id: String,
}

impl HasMetadata for Pod {
    fn metadata(&self) -> &Metadata {
        &self.metadata
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1 as api;
    use serde_json::json;
    use spanbridge_kubernetes::seconds;

    use super::*;

    #[test]
    fn what_the_api_writes_is_read() {
        let json = json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {"name": "a", "namespace": "n", "uid": "u", "creationTimestamp": "2026-01-02T03:04:05Z",
                "labels": {"app": "x"}, "managedFields": [{"manager": "kubelet"}],
                "ownerReferences": [{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "r", "uid": "ru",
                    "controller": true}]},
            "spec": {"nodeName": "node-1", "hostNetwork": true,
                "containers": [{"name": "c", "image": "nginx:1", "resources": {}}]},
            "status": {"podIP": "10.0.0.1", "podIPs": [{"ip": "10.0.0.1"}, {"ip": "fd00::1"}],
                "startTime": "2026-01-02T03:04:06Z",
                "containerStatuses": [{"name": "c", "ready": true, "image": "nginx:1", "imageID": "i",
                    "containerID": "containerd://abc", "restartCount": 2,
                    "lastState": {"terminated": {"exitCode": 1, "containerID": "containerd://old"}}}]},
        });
        // The types of the API itself read the same, so this is no invention of the test.
        let typed: api::Pod = serde_json::from_value(json).unwrap();
        let pod: Pod = serde_json::from_str(&serde_json::to_string(&typed).unwrap()).unwrap();
        assert_eq!(pod.metadata.controller("ReplicaSet").map(|o| o.uid.as_str()), Some("ru"));
        assert_eq!((pod.spec.node_name.as_str(), pod.spec.host_network), ("node-1", true));
        assert_eq!(pod.status.pod_ips[1].ip, "fd00::1");
        let status = &pod.status.container_statuses[0];
        assert_eq!((status.container_id.as_str(), status.restart_count), ("containerd://abc", 2));
        assert_eq!(status.last_state.terminated.container_id, "containerd://old");
        assert_eq!(seconds(&pod.status.start_time), Some(1_767_323_046));
    }
}
