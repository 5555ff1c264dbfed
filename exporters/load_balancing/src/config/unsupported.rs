//! Keys of the Go exporter that this version refuses by name.

use spanbridge_component::Unsupported;

/// The resolver that is not here, and what a client does not have.
pub(crate) static UNSUPPORTED: [Unsupported; 3] = [
    Unsupported { path: "resolver.aws_cloud_map", reason: "write resolver::dns, which Cloud Map serves too" },
    Unsupported { path: "protocol.otlp.middlewares", reason: "there are no middleware extensions yet" },
    Unsupported { path: "protocol.otlp.tls.tpm", reason: "keys in a TPM are not supported; write key_file" },
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
