//! The objects of the API, as far as they are needed: everything else is skipped while it is read.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer};

/// An object of which only the metadata is needed; also what a metadata-only watch sends.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Object {
    /// Its metadata.
    #[serde(deserialize_with = "or_default")]
    pub metadata: Metadata,
}

/// What every object has.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Metadata {
    /// Unique in its namespace.
    pub name: String,
    /// Empty for what is in none.
    pub namespace: String,
    /// Unique for ever.
    pub uid: String,
    /// Which state of the object this is.
    pub resource_version: String,
    /// RFC 3339; empty if there is none.
    #[serde(deserialize_with = "or_default")]
    pub creation_timestamp: String,
    /// Its labels.
    #[serde(deserialize_with = "or_default")]
    pub labels: BTreeMap<String, String>,
    /// Its annotations.
    #[serde(deserialize_with = "or_default")]
    pub annotations: BTreeMap<String, String>,
    /// What it belongs to.
    #[serde(deserialize_with = "or_default")]
    pub owner_references: Vec<Owner>,
}

/// A reference to an owner.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Owner {
    /// Such as `ReplicaSet`.
    pub kind: String,
    /// Its name.
    pub name: String,
    /// Its UID.
    pub uid: String,
    /// Whether it is the one that controls the object.
    #[serde(deserialize_with = "or_default")]
    pub controller: bool,
}

/// What has a name, a version and an owner: anything that is watched.
pub trait HasMetadata {
    /// Its metadata.
    fn metadata(&self) -> &Metadata;
}

impl HasMetadata for Object {
    fn metadata(&self) -> &Metadata {
        &self.metadata
    }
}

impl Metadata {
    /// The first owner of this kind.
    pub fn owner(&self, kind: &str) -> Option<&Owner> {
        self.owner_references.iter().find(|owner| owner.kind == kind)
    }

    /// The owner of this kind that controls the object.
    pub fn controller(&self, kind: &str) -> Option<&Owner> {
        self.owner_references.iter().find(|owner| owner.kind == kind && owner.controller)
    }
}

/// Seconds since 1970 of an RFC 3339 time; `None` for anything else.
pub fn seconds(time: &str) -> Option<i64> {
    time.parse::<jiff::Timestamp>().ok().map(jiff::Timestamp::as_second)
}

/// Reads null, as the API writes for what is not set, as the default.
///
/// # Errors
/// As reading `T`.
pub fn or_default<'de, D: Deserializer<'de>, T: Default + Deserialize<'de>>(
    deserializer: D,
) -> Result<T, D::Error> {
    Option::<T>::deserialize(deserializer).map(Option::unwrap_or_default)
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::apps::v1 as api;
    use serde_json::json;

    use super::*;

    #[test]
    fn what_the_api_writes_is_read() {
        let json = json!({
            "apiVersion": "apps/v1", "kind": "ReplicaSet",
            "metadata": {"name": "a", "namespace": "n", "uid": "u", "creationTimestamp": "2026-01-02T03:04:06Z",
                "labels": {"app": "x"}, "managedFields": [{"manager": "kubelet"}],
                "ownerReferences": [{"apiVersion": "apps/v1", "kind": "Deployment", "name": "d", "uid": "du",
                    "controller": true}]},
        });
        // The types of the API itself read the same, so this is no invention of the test.
        let typed: api::ReplicaSet = serde_json::from_value(json).unwrap();
        let object: Object = serde_json::from_str(&serde_json::to_string(&typed).unwrap()).unwrap();
        let metadata = object.metadata;
        assert_eq!(metadata.controller("Deployment").map(|owner| owner.uid.as_str()), Some("du"));
        assert_eq!(metadata.labels["app"], "x");
        assert_eq!(seconds(&metadata.creation_timestamp), Some(1_767_323_046));
    }

    #[test]
    fn nulls_are_nothing() {
        let json = r#"{"metadata": {"name": "a", "creationTimestamp": null, "labels": null}, "spec": null}"#;
        let object: Object = serde_json::from_str(json).unwrap();
        assert_eq!((object.metadata.name.as_str(), object.metadata.creation_timestamp.as_str()), ("a", ""));
    }
}
