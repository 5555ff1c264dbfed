//! The resources of the Kubernetes API that this processor can watch.

/// A resource of the Kubernetes API.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Resource {
    Pod,
    Namespace,
    Node,
    Deployment,
    ReplicaSet,
    StatefulSet,
    DaemonSet,
    Job,
    CronJob,
}

impl Resource {
    /// Every one.
    pub(crate) const ALL: [Resource; 9] = [
        Resource::Pod,
        Resource::Namespace,
        Resource::Node,
        Resource::Deployment,
        Resource::ReplicaSet,
        Resource::StatefulSet,
        Resource::DaemonSet,
        Resource::Job,
        Resource::CronJob,
    ];

    /// The API group; empty for the core one.
    pub(crate) const fn group(self) -> &'static str {
        match self {
            Self::Pod | Self::Namespace | Self::Node => "",
            Self::Deployment | Self::ReplicaSet | Self::StatefulSet | Self::DaemonSet => "apps",
            Self::Job | Self::CronJob => "batch",
        }
    }

    /// As paths and RBAC rules have it: `replicasets`.
    pub(crate) const fn plural(self) -> &'static str {
        match self {
            Self::Pod => "pods",
            Self::Namespace => "namespaces",
            Self::Node => "nodes",
            Self::Deployment => "deployments",
            Self::ReplicaSet => "replicasets",
            Self::StatefulSet => "statefulsets",
            Self::DaemonSet => "daemonsets",
            Self::Job => "jobs",
            Self::CronJob => "cronjobs",
        }
    }

    /// As attributes, metrics and `from` have it: `replicaset`.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Pod => "pod",
            Self::Namespace => "namespace",
            Self::Node => "node",
            Self::Deployment => "deployment",
            Self::ReplicaSet => "replicaset",
            Self::StatefulSet => "statefulset",
            Self::DaemonSet => "daemonset",
            Self::Job => "job",
            Self::CronJob => "cronjob",
        }
    }

    /// The same as the API has it.
    pub(crate) const fn api(self) -> spanbridge_kubernetes::Resource {
        spanbridge_kubernetes::Resource {
            group: self.group(),
            plural: self.plural(),
            is_namespaced: !matches!(self, Self::Namespace | Self::Node),
        }
    }

    /// Its place in a table of all.
    pub(crate) const fn index(self) -> usize {
        self as usize
    }
}

/// Whose labels and annotations a rule is about: any of the resources.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct From(pub(crate) Resource);

impl From {
    /// Every one.
    pub(crate) const ALL: [From; 9] = [
        From(Resource::Pod),
        From(Resource::Namespace),
        From(Resource::Node),
        From(Resource::Deployment),
        From(Resource::StatefulSet),
        From(Resource::DaemonSet),
        From(Resource::Job),
        From(Resource::ReplicaSet),
        From(Resource::CronJob),
    ];

    /// As users write it; nothing means `pod`.
    pub(crate) fn parse(name: &str) -> Option<Self> {
        if name.is_empty() {
            return Some(From(Resource::Pod));
        }
        Self::ALL.into_iter().find(|from| from.name() == name)
    }

    /// As users write it.
    pub(crate) const fn name(self) -> &'static str {
        self.0.name()
    }
}
