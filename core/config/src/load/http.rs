//! Configurations from the network.

use std::sync::Arc;
use std::time::Duration;

use ureq::tls::{PemItem, RootCerts, TlsConfig, parse_pem};

use super::uri::Uri;
use crate::yaml::DOCUMENT_MAX_BYTES;

/// How long a fetch may take in all.
const FETCH_TIMEOUT: Duration = Duration::from_secs(30);

/// Where systems keep the certificate authorities that they trust, in the order that Go looks.
const SYSTEM_CA_FILES: [&str; 6] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/pki/tls/cacert.pem",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

/// Fetches a text with one GET.
pub(super) fn fetch(uri: &Uri) -> Result<String, String> {
    let address = format!("{}:{}", uri.scheme, uri.opaque);
    url::Url::parse(&address).map_err(|error| format!("invalid uri \"{uri}\": {error}"))?;
    let failed = |error: ureq::Error| format!("unable to fetch \"{uri}\": {error}");
    let mut config = ureq::Agent::config_builder()
        .timeout_global(Some(FETCH_TIMEOUT))
        .http_status_as_error(false)
        .user_agent("spanbridge");
    if uri.scheme == "https" {
        config = config.tls_config(TlsConfig::builder().root_certs(system_roots()).build());
    }
    let mut response = ureq::Agent::new_with_config(config.build()).get(&address).call().map_err(failed)?;
    let status = response.status().as_u16();
    if status != 200 {
        return Err(format!("failed to load resource from uri \"{uri}\". status code: {status}"));
    }
    let limit = u64::try_from(DOCUMENT_MAX_BYTES).unwrap_or(u64::MAX);
    let bytes = response.body_mut().with_config().limit(limit).read_to_vec().map_err(failed)?;
    String::from_utf8(bytes).map_err(|error| format!("unable to fetch \"{uri}\": {}", error.utf8_error()))
}

/// The system's authorities, and Mozilla's on a system that has none (an empty container image).
fn system_roots() -> RootCerts {
    let named = std::env::var("SSL_CERT_FILE").ok();
    let files = named.iter().map(String::as_str).chain(SYSTEM_CA_FILES);
    let certificates: Vec<_> = files
        .filter_map(|file| std::fs::read(file).ok())
        .map(|pem| {
            parse_pem(&pem)
                .filter_map(
                    |item| if let Ok(PemItem::Certificate(found)) = item { Some(found) } else { None },
                )
                .collect::<Vec<_>>()
        })
        .find(|found| !found.is_empty())
        .unwrap_or_default();
    if certificates.is_empty() { RootCerts::WebPki } else { RootCerts::Specific(Arc::new(certificates)) }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::TcpListener;
    use std::thread;

    use super::*;

    /// Answers one request on loopback and returns its address.
    fn server(answer: String) -> (String, thread::JoinHandle<()>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("//{}/config.yaml", listener.local_addr().unwrap());
        let thread = thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
            let _ = stream.read(&mut [0; 4096]);
            let _ = stream.write_all(answer.as_bytes());
        });
        (address, thread)
    }

    fn fetched(answer: String) -> Result<String, String> {
        let (opaque, thread) = server(answer);
        let result = fetch(&Uri { scheme: "http".into(), opaque: opaque.clone() });
        thread.join().unwrap();
        result.map_err(|error| error.replace(&opaque, "//host"))
    }

    #[test]
    fn fetches_a_text() {
        let answer = "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\na: 1";
        assert_eq!(fetched(answer.into()), Ok("a: 1".to_owned()));
    }

    #[test]
    fn refuses_every_status_but_200() {
        let answer = "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n";
        let error = "failed to load resource from uri \"http://host\". status code: 404";
        assert_eq!(fetched(answer.into()), Err(error.to_owned()));
    }

    #[test]
    fn refuses_more_than_the_bound() {
        let body = "#".repeat(DOCUMENT_MAX_BYTES + 1);
        let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len());
        assert!(fetched(answer).is_err());
    }
}
