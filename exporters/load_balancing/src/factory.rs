//! How a configuration becomes a `load_balancing` exporter.

use std::sync::Arc;

use spanbridge_component::{
    BuildError, Descriptor, Exporter, ExporterFactory, Permissions, Settings, Signal, Stability,
};
use spanbridge_exporterhelper::ExporterHelper;
use spanbridge_kubernetes::{Resource, WATCH_VERBS};

use crate::Config;
use crate::config::UNSUPPORTED;
use crate::exporter::BalancingSender;

/// Makes `load_balancing` exporters, also under their former name `loadbalancing`.
#[derive(Debug, Clone, Copy, Default)]
pub struct Factory;

impl ExporterFactory for Factory {
    type Config = Config;

    fn descriptor(&self) -> Descriptor {
        Descriptor {
            type_name: "load_balancing",
            aliases: &["loadbalancing"],
            signals: &[
                (Signal::Traces, Stability::Beta),
                (Signal::Metrics, Stability::Development),
                (Signal::Logs, Stability::Beta),
            ],
            unsupported: &UNSUPPORTED,
        }
    }

    fn permissions(&self, config: &Config) -> Result<Permissions, BuildError> {
        let mut needed = Permissions::new();
        if let Some(k8s) = config.resolver.k8s.as_ref() {
            let (_, Some(namespace)) = k8s.name_and_namespace() else {
                return Err(BuildError(format!(
                    "resolver::k8s::service {:?} has no namespace, so it is not known where the role belongs; write \
                     name.namespace",
                    k8s.service
                )));
            };
            let slices = Resource::ENDPOINT_SLICES;
            needed.need(Some(namespace), slices.group, slices.plural, &WATCH_VERBS);
        }
        Ok(needed)
    }

    fn create(&self, settings: Settings, config: Config) -> Result<Arc<dyn Exporter>, BuildError> {
        let helper = config.helper.clone();
        let sender = BalancingSender::new(&settings, config)?;
        ExporterHelper::new(settings, helper, sender)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn needed(resolver: &str) -> Result<Permissions, BuildError> {
        let yaml = format!("{{protocol: {{otlp: {{}}}}, resolver: {resolver}}}");
        Factory.permissions(&spanbridge_config::from_yaml(&yaml).unwrap())
    }

    #[test]
    fn only_the_kubernetes_resolver_needs_a_role_and_only_in_the_namespace_of_its_service() {
        assert!(needed("{static: {hostnames: [a]}}").unwrap().is_empty());
        let permissions = needed("{k8s: {service: backend.traces}}").unwrap();
        assert!(permissions.cluster().is_empty());
        let roles: Vec<_> =
            permissions.namespaces().map(|(name, rules)| (name, rules[0].to_string())).collect();
        let rule =
            r#"{apiGroups: ["discovery.k8s.io"], resources: ["endpointslices"], verbs: ["list", "watch"]}"#;
        assert_eq!(roles, [("traces", rule.to_owned())]);
        assert!(needed("{k8s: {service: backend}}").unwrap_err().to_string().contains("name.namespace"));
    }
}
