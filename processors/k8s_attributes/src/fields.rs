//! The attributes that can be asked for by name (reference: contrib-components, B.3).

use crate::config::{Config, Conventions};

macro_rules! fields {
    ($($(#[doc = $doc:literal])* $variant:ident = $name:literal,)*) => {
        /// An attribute that can be asked for by name.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub(crate) enum Field {
            $($(#[doc = $doc])* $variant,)*
        }

        impl Field {
            /// Every one, in the order in which they are documented.
            pub(crate) const ALL: [Field; [$($name),*].len()] = [$(Field::$variant),*];

            /// The name of the attribute.
            pub(crate) const fn name(self) -> &'static str {
                match self { $(Field::$variant => $name,)* }
            }
        }
    };
}

fields! {
    /// The namespace of the pod.
    NamespaceName = "k8s.namespace.name",
    PodName = "k8s.pod.name",
    PodUid = "k8s.pod.uid",
    /// When the pod was created.
    PodStartTime = "k8s.pod.start_time",
    PodHostname = "k8s.pod.hostname",
    PodIp = "k8s.pod.ip",
    DeploymentName = "k8s.deployment.name",
    DeploymentUid = "k8s.deployment.uid",
    ReplicaSetName = "k8s.replicaset.name",
    ReplicaSetUid = "k8s.replicaset.uid",
    DaemonSetName = "k8s.daemonset.name",
    DaemonSetUid = "k8s.daemonset.uid",
    StatefulSetName = "k8s.statefulset.name",
    StatefulSetUid = "k8s.statefulset.uid",
    JobName = "k8s.job.name",
    JobUid = "k8s.job.uid",
    CronJobName = "k8s.cronjob.name",
    CronJobUid = "k8s.cronjob.uid",
    NodeName = "k8s.node.name",
    NodeUid = "k8s.node.uid",
    /// The UID of the namespace `kube-system`.
    ClusterUid = "k8s.cluster.uid",
    ContainerName = "k8s.container.name",
    ContainerId = "container.id",
    ContainerImageName = "container.image.name",
    /// A text, by the old conventions.
    ContainerImageTag = "container.image.tag",
    /// A list, by the stable conventions.
    ContainerImageTags = "container.image.tags",
    ContainerImageRepoDigests = "container.image.repo_digests",
    ServiceName = "service.name",
    ServiceNamespace = "service.namespace",
    ServiceVersion = "service.version",
    ServiceInstanceId = "service.instance.id",
}

/// What is added without `extract::metadata`; the tags of images come on top.
const DEFAULT: [Field; 7] = [
    Field::NamespaceName,
    Field::PodName,
    Field::PodUid,
    Field::PodStartTime,
    Field::DeploymentName,
    Field::NodeName,
    Field::ContainerImageName,
];

impl Field {
    /// The field with this name.
    pub(crate) fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|field| field.name() == name)
    }
}

/// Some of the fields.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct FieldSet(u64);

impl FieldSet {
    /// What this configuration asks for, as far as its conventions write it. Unknown names are left to validation.
    pub(crate) fn of(config: &Config) -> Self {
        let conventions = config.conventions();
        let mut set = match &config.extract.metadata {
            None => Self::by_default(conventions),
            Some(names) => names.iter().filter_map(|name| Field::parse(name)).collect(),
        };
        if !conventions.old() {
            set.remove(Field::ContainerImageTag);
        }
        if !conventions.stable() {
            set.remove(Field::ContainerImageTags);
        }
        set
    }

    fn by_default(conventions: Conventions) -> Self {
        let old = conventions.old().then_some(Field::ContainerImageTag);
        let stable = conventions.stable().then_some(Field::ContainerImageTags);
        DEFAULT.into_iter().chain(old).chain(stable).collect()
    }

    /// Whether `field` is among them.
    pub(crate) const fn has(self, field: Field) -> bool {
        self.0 & Self::bit(field) != 0
    }

    /// Whether one of `fields` is among them.
    pub(crate) fn has_any(self, fields: &[Field]) -> bool {
        fields.iter().any(|field| self.has(*field))
    }

    fn remove(&mut self, field: Field) {
        self.0 &= !Self::bit(field);
    }

    const fn bit(field: Field) -> u64 {
        1 << field as u64
    }
}

impl FromIterator<Field> for FieldSet {
    fn from_iter<I: IntoIterator<Item = Field>>(fields: I) -> Self {
        Self(fields.into_iter().fold(0, |bits, field| bits | Self::bit(field)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_fields_are_one_to_one() {
        for field in Field::ALL {
            assert_eq!(Field::parse(field.name()), Some(field));
        }
        assert!(Field::ALL.len() <= 64, "they are bits of a number");
    }

    #[test]
    fn an_explicit_list_replaces_the_defaults_and_an_empty_one_means_none() {
        let mut config = Config::default();
        assert!(FieldSet::of(&config).has(Field::ContainerImageTags));
        assert!(!FieldSet::of(&config).has(Field::ContainerImageTag));
        config.semantic_conventions = Some(Conventions::V0);
        assert!(FieldSet::of(&config).has(Field::ContainerImageTag));
        assert!(!FieldSet::of(&config).has(Field::ContainerImageTags));
        config.extract.metadata = Some(vec!["k8s.pod.ip".into()]);
        assert_eq!(FieldSet::of(&config), [Field::PodIp].into_iter().collect());
        config.extract.metadata = Some(vec![]);
        assert_eq!(FieldSet::of(&config), FieldSet::default());
    }
}
