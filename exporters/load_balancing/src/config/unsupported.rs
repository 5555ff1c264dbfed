//! Keys of the Go exporter that this version refuses by name.

use spanbridge_component::Unsupported;

const SECURE_HOP: &str = "it comes with the secure-hop release";

const fn secure_hop(path: &'static str) -> Unsupported {
    Unsupported { path, reason: SECURE_HOP }
}

/// The resolvers that are not here, and what a client does not have yet.
pub(crate) static UNSUPPORTED: [Unsupported; 18] = [
    Unsupported {
        path: "resolver.k8s",
        reason: "it comes with the Kubernetes release; until then write resolver::dns with the name of a headless \
                 service",
    },
    Unsupported { path: "resolver.aws_cloud_map", reason: "write resolver::dns, which Cloud Map serves too" },
    secure_hop("protocol.otlp.middlewares"),
    secure_hop("protocol.otlp.tls.ca_file"),
    secure_hop("protocol.otlp.tls.ca_pem"),
    secure_hop("protocol.otlp.tls.include_system_ca_certs_pool"),
    secure_hop("protocol.otlp.tls.cert_file"),
    secure_hop("protocol.otlp.tls.cert_pem"),
    secure_hop("protocol.otlp.tls.key_file"),
    secure_hop("protocol.otlp.tls.key_pem"),
    secure_hop("protocol.otlp.tls.min_version"),
    secure_hop("protocol.otlp.tls.max_version"),
    secure_hop("protocol.otlp.tls.cipher_suites"),
    secure_hop("protocol.otlp.tls.include_insecure_cipher_suites"),
    secure_hop("protocol.otlp.tls.curve_preferences"),
    secure_hop("protocol.otlp.tls.reload_interval"),
    secure_hop("protocol.otlp.tls.server_name_override"),
    secure_hop("protocol.otlp.tls.tpm"),
];

#[cfg(test)]
mod tests {
    use spanbridge_transport::grpc::CLIENT_UNSUPPORTED;

    use super::*;

    #[test]
    fn what_a_client_refuses_is_refused_here_too() {
        for refused in CLIENT_UNSUPPORTED {
            let path = format!("protocol.otlp.{}", refused.path);
            assert!(UNSUPPORTED.iter().any(|here| here.path == path), "{path}");
        }
    }
}
