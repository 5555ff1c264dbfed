//! The permissions that requests need.

use crate::query::Resource;

/// What is done to everything that is watched. Roles usually grant `get` with it, which nobody asks for here.
pub const WATCH_VERBS: [&str; 2] = ["list", "watch"];

/// The permission for resources of one API group, as a rule of a `Role` or `ClusterRole` has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// The API group; empty for the core one.
    pub api_group: &'static str,
    /// Such as `pods`; sorted.
    pub resources: Vec<&'static str>,
    /// What may be done: `list` and `watch` for what is watched, `get` for what is only read.
    pub verbs: Vec<&'static str>,
}

impl Rule {
    /// What a list and watch of `resource` needs.
    pub fn to_watch(resource: Resource) -> Self {
        Self { api_group: resource.group, resources: vec![resource.plural], verbs: WATCH_VERBS.to_vec() }
    }

    /// What reading single objects of `resource` needs.
    pub fn to_get(resource: Resource) -> Self {
        Self { verbs: vec!["get"], ..Self::to_watch(resource) }
    }

    /// The rule on one line, as it can be put into a manifest.
    pub fn flow(&self) -> String {
        let list =
            |texts: &[&str]| texts.iter().map(|text| format!("\"{text}\"")).collect::<Vec<_>>().join(", ");
        format!(
            "{{apiGroups: [\"{}\"], resources: [{}], verbs: [{}]}}",
            self.api_group,
            list(&self.resources),
            list(&self.verbs)
        )
    }
}
