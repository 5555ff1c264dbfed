//! What is asked of the API.

/// A resource of the API, such as pods.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Resource {
    /// The API group; empty for the core one.
    pub group: &'static str,
    /// As paths and RBAC rules have it: `replicasets`.
    pub plural: &'static str,
    /// Whether its objects are in namespaces.
    pub is_namespaced: bool,
}

/// One list and watch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Query {
    /// Of what.
    pub resource: Resource,
    /// `None` for all, and for what is in no namespace.
    pub namespace: Option<String>,
    /// Whether nothing but the metadata of the objects is needed.
    pub metadata_only: bool,
    /// Only objects with these labels.
    pub label_selector: Option<String>,
    /// Only objects with these fields.
    pub field_selector: Option<String>,
    /// How many seconds a watch lasts before the next one follows. `None`: a few minutes.
    pub seconds: Option<u32>,
}

impl Resource {
    /// The nodes of the cluster.
    pub const NODES: Self = Self { group: "", plural: "nodes", is_namespaced: false };
    /// The namespaces of the cluster.
    pub const NAMESPACES: Self = Self { group: "", plural: "namespaces", is_namespaced: false };
    /// The endpoints of services, in pieces.
    pub const ENDPOINT_SLICES: Self =
        Self { group: "discovery.k8s.io", plural: "endpointslices", is_namespaced: true };

    /// The path of its objects in the API.
    pub fn path(self, namespace: Option<&str>) -> String {
        let base = match self.group {
            "" => "/api/v1".to_owned(),
            group => format!("/apis/{group}/v1"),
        };
        let plural = self.plural;
        match namespace.filter(|_| self.is_namespaced) {
            Some(namespace) => format!("{base}/namespaces/{namespace}/{plural}"),
            None => format!("{base}/{plural}"),
        }
    }
}

impl Query {
    /// All objects of `resource`, whole.
    pub fn all(resource: Resource) -> Self {
        Self {
            resource,
            namespace: None,
            metadata_only: false,
            label_selector: None,
            field_selector: None,
            seconds: None,
        }
    }
}
