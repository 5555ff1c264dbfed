//! The component types of this program.

use spanbridge_service::Registry;

/// Every component type of this program, one line each, by kind.
pub fn registry() -> Registry {
    Registry::new()
        // Receivers
        .receiver(nop_receiver::Factory)
        .receiver(otlp_receiver::Factory)
        // Processors
        .processor(batch_processor::Factory)
        .processor(resource_processor::Factory)
        // Exporters
        .exporter(nop_exporter::Factory)
        // Connectors
        .connector(forward_connector::Factory)
}
