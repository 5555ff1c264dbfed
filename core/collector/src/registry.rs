//! The component types of this program.

use spanbridge_service::Registry;

use crate::gates::Gates;

/// Every component type of this program, one line each, by kind.
pub fn registry() -> Registry {
    registry_with(Gates::default())
}

/// The same, under these feature gates.
pub(crate) fn registry_with(gates: Gates) -> Registry {
    Registry::new()
        // Receivers
        .receiver(nop_receiver::Factory)
        .receiver(otlp_receiver::Factory)
        // Processors
        .processor(attributes_processor::Factory)
        .processor(batch_processor::Factory)
        .processor(k8s_attributes_processor::Factory { conventions: gates.conventions })
        .processor(memory_limiter_processor::Factory::default())
        .processor(resource_processor::Factory)
        .processor(resource_detection_processor::Factory)
        // Exporters
        .exporter(debug_exporter::Factory)
        .exporter(load_balancing_exporter::Factory)
        .exporter(nop_exporter::Factory)
        .exporter(otlp_grpc_exporter::Factory)
        // Connectors
        .connector(forward_connector::Factory)
        // Extensions
        .extension(any_auth_extension::Factory)
        .extension(basicauth_extension::Factory)
        .extension(bearertokenauth_extension::Factory)
        .extension(file_storage_extension::Factory)
        .extension(headers_setter_extension::Factory)
        .extension(health_check_extension::Factory)
        .extension(oauth2client_extension::Factory)
        .extension(oidc_extension::Factory)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use spanbridge_component::Kind;

    use super::*;

    #[test]
    fn no_two_types_of_a_kind_share_a_name_or_an_alias() {
        for kind in [Kind::Receiver, Kind::Processor, Kind::Exporter, Kind::Connector, Kind::Extension] {
            let mut seen = BTreeSet::new();
            for registered in registry().registered(kind) {
                let descriptor = registered.descriptor;
                for name in std::iter::once(&descriptor.type_name).chain(descriptor.aliases) {
                    assert!(seen.insert(*name), "two {} called {name}", kind.section());
                }
            }
        }
    }
}
