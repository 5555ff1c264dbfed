//! What the two sides say of every sort of handshake.

#![expect(clippy::large_futures, reason = "each is awaited once, in a test")]

use super::authority::{Odd, self_signed, self_signing};
use super::*;

const USE_TLS: &str = "; make the client use TLS (an exporter: without tls: {insecure: true})";

#[tokio::test]
async fn a_server_of_the_right_authority_and_name_is_trusted() {
    let ca = Authority::new("our CA");
    for (name, asked) in [("remote.example", "remote.example"), ("127.0.0.1", "127.0.0.1"), ("::1", "::1")] {
        let outcome = meet(&client(&ca), asked, &server(&ca.issue(name))).await;
        assert_eq!(outcome.client, Ok(()), "{name}");
        let session = outcome.server.unwrap();
        assert!(session.peer_certificates.is_empty());
        let is_host = asked.contains("example");
        assert_eq!(session.server_name.as_deref(), is_host.then_some(asked), "addresses are no SNI");
    }
}

#[tokio::test]
async fn the_name_can_be_overridden() {
    let ca = Authority::new("our CA");
    let config = ClientTls { server_name_override: "real.example".into(), ..client(&ca) };
    let outcome = meet(&config, "10.0.0.1", &server(&ca.issue("real.example"))).await;
    assert_eq!(outcome.client, Ok(()));
    assert_eq!(outcome.server.unwrap().server_name.as_deref(), Some("real.example"));
}

#[tokio::test]
async fn each_bad_certificate_has_its_own_text_on_both_sides() {
    let (ca, other) = (Authority::new("our CA"), Authority::new("another CA"));
    let cases = [
        (
            meet(&client(&other), "a.example", &server(&ca.issue("a.example"))).await,
            "the server's certificate is signed by an unknown authority; if it is the right server, add its authority to \
             ca_file",
            "does not trust the authority of this server's certificate",
        ),
        (
            meet(&client(&ca), "b.example", &server(&ca.issue("a.example"))).await,
            "the server's certificate is for \"a.example\", not for \"b.example\"; if it is the right server, set \
             server_name_override",
            "does not accept this server's certificate: its name",
        ),
        (
            meet(&client(&ca), "a.example", &server(&ca.issue_odd("a.example", Odd::NoName))).await,
            "the server's certificate is for no name at all (it has no subject alternative name), not for \"a.example\"",
            "does not accept this server's certificate: its name",
        ),
        (
            meet(&client(&ca), "a.example", &server(&ca.issue_odd("a.example", Odd::NotYetValid))).await,
            "the server's certificate is not valid before 2999-01-01T00:00:00Z; are the clocks right?",
            "this server's certificate",
        ),
        (
            meet(&client(&ca), "a.example", &server(&ca.issue_odd("a.example", Odd::ClientsOnly))).await,
            "the server's certificate is not meant for a server (extended key usage)",
            "does not accept this server's certificate: its name, its purpose",
        ),
    ];
    for (outcome, client, server) in cases {
        let (at_client, at_server) = (outcome.client.unwrap_err(), outcome.server.unwrap_err());
        assert!(at_client.starts_with(client), "{at_client}");
        assert!(at_server.contains(server), "{at_server}");
    }
}

#[tokio::test]
async fn client_certificates_are_required_and_verified_where_there_is_a_client_ca() {
    let (ca, other) = (Authority::new("our CA"), Authority::new("another CA"));
    let folder = Folder::new();
    let client_ca_file = folder.write("clients.pem", ca.pem());
    let issued = ca.issue("a.example");
    let mut server = ServerTls { client_ca_file, ..server(&issued) };
    for version in ["1.3", "1.2"] {
        server.settings.max_version = version.into();
        let known = meet(&client_with(&ca, &ca.issue("edge-1")), "a.example", &server).await;
        assert_eq!(known.client, Ok(()), "{version}");
        assert_eq!(known.server.unwrap().peer_certificates.len(), 1);

        let none = meet(&client(&ca), "a.example", &server).await;
        assert_eq!(
            none.server.unwrap_err(),
            "the client gave no certificate, and this endpoint requires one (client_ca_file)"
        );
        let text = none.client.unwrap_err();
        assert!(
            text.contains("requires a client certificate; set cert_file and key_file"),
            "{version}: {text}"
        );

        let foreign = meet(&client_with(&ca, &other.issue("edge-1")), "a.example", &server).await;
        assert!(
            foreign
                .server
                .unwrap_err()
                .starts_with("the client's certificate is signed by an unknown authority"),
        );
        let text = foreign.client.unwrap_err();
        assert!(text.contains("does not know the authority of our client certificate"), "{version}: {text}");
    }
}

#[tokio::test]
async fn clients_without_a_certificate_may_come_where_it_is_optional_and_a_foreign_one_may_not() {
    let (ca, other) = (Authority::new("our CA"), Authority::new("another CA"));
    let folder = Folder::new();
    let client_ca_file = folder.write("clients.pem", ca.pem());
    let issued = ca.issue("a.example");
    let mut server = ServerTls { client_ca_file, client_certificate_optional: true, ..server(&issued) };
    for version in ["1.3", "1.2"] {
        server.settings.max_version = version.into();
        let known = meet(&client_with(&ca, &ca.issue("edge-1")), "a.example", &server).await;
        assert_eq!(known.server.unwrap().peer_certificates.len(), 1, "{version}");
        let none = meet(&client(&ca), "a.example", &server).await;
        assert_eq!(none.client, Ok(()), "{version}");
        assert_eq!(none.server.unwrap().peer_certificates.len(), 0, "{version}");
        let foreign = meet(&client_with(&ca, &other.issue("edge-1")), "a.example", &server).await;
        assert!(foreign.client.is_err() && foreign.server.is_err(), "{version}");
    }
}

#[test]
fn an_optional_client_certificate_needs_an_authority_and_an_authenticator() {
    let ca = Authority::new("our CA");
    let folder = Folder::new();
    let mut server = ServerTls { client_certificate_optional: true, ..server(&ca.issue("a.example")) };
    let problems = found(&server);
    assert!(problems[0].contains("has no meaning without client_ca_file"), "{problems:?}");
    server.client_ca_file = folder.write("clients.pem", ca.pem());
    assert_eq!(found(&server), Vec::<String>::new());
    for (has_auth, count) in [(true, 0), (false, 1)] {
        let mut problems = Problems::new();
        server.check_auth(has_auth, &mut problems);
        assert_eq!(problems.into_found().len(), count);
    }
}

/// rustls as a client, for what our own side does not show.
async fn resumes(server: &ServerTls, roots: &Authority, identity: &Issued) -> bool {
    use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject as _};
    let der = |pem: &str| CertificateDer::from_pem_slice(pem.as_bytes()).unwrap();
    let mut trusted = rustls::RootCertStore::empty();
    trusted.add(der(roots.pem())).unwrap();
    let key = PrivateKeyDer::from_pem_slice(identity.key.as_bytes()).unwrap();
    let mut config =
        rustls::ClientConfig::builder_with_provider(rustls::crypto::ring::default_provider().into())
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(trusted)
            .with_client_auth_cert(vec![der(&identity.cert)], key)
            .unwrap();
    config.alpn_protocols = vec![H2.to_vec()];
    let connector = tokio_rustls::TlsConnector::from(std::sync::Arc::new(config));
    let acceptor = Acceptor::new(server, H2).unwrap();
    let mut resumed = false;
    for _ in 0..2 {
        let (near, far) = duplex(1 << 16);
        let name = ServerName::try_from("a.example").unwrap();
        let ours = async { echo(&mut acceptor.accept(far).await.unwrap().0).await.unwrap() };
        let theirs = async {
            let mut stream = connector.connect(name, near).await.unwrap();
            talk(&mut stream).await.unwrap();
            resumed = stream.get_ref().1.handshake_kind() == Some(rustls::HandshakeKind::Resumed);
        };
        timeout(BOUND, async { tokio::join!(ours, theirs) }).await.unwrap();
    }
    resumed
}

#[tokio::test]
async fn who_shows_a_certificate_shows_it_every_time() {
    let ca = Authority::new("our CA");
    let folder = Folder::new();
    let (issued, edge) = (ca.issue("a.example"), ca.issue("edge-1"));
    for version in ["1.3", "1.2"] {
        let mut server = server(&issued);
        server.settings.max_version = version.into();
        assert!(resumes(&server, &ca, &edge).await, "{version}: without client certificates it is quicker");
        server.client_ca_file = folder.write("clients.pem", ca.pem());
        assert!(!resumes(&server, &ca, &edge).await, "{version}");
    }
}

#[tokio::test]
async fn versions_suites_and_curves_are_what_the_configuration_says() {
    let ca = Authority::new("our CA");
    let issued = ca.issue("a.example");
    let config = |min: &str, max: &str, suite: Option<&str>, curve: Option<&str>| {
        let mut settings = client(&ca).settings;
        settings.min_version = min.into();
        settings.max_version = max.into();
        settings.cipher_suites = suite.map(str::to_owned).into_iter().collect();
        settings.curve_preferences = curve.map(str::to_owned).into_iter().collect();
        settings
    };
    let run = async |ours: TlsSettings, theirs: TlsSettings| {
        let client = ClientTls { settings: ours, ..ClientTls::default() };
        let merged = TlsSettings {
            min_version: theirs.min_version,
            max_version: theirs.max_version,
            cipher_suites: theirs.cipher_suites,
            curve_preferences: theirs.curve_preferences,
            ..with_identity(&issued)
        };
        let server = ServerTls { settings: merged, ..ServerTls::default() };
        meet(&client, "a.example", &server).await
    };
    let any = || config("", "", None, None);
    for sound in [
        config("1.3", "", None, None),
        config("", "1.2", None, None),
        config("", "1.2", Some("TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256"), None),
        config("", "", None, Some("P384")),
        config("", "", Some("TLS_AES_128_GCM_SHA256"), None),
    ] {
        assert_eq!(run(sound.clone(), any()).await.client, Ok(()), "{sound:?}");
        assert_eq!(run(any(), sound.clone()).await.client, Ok(()), "{sound:?}");
    }
    let versions = run(config("1.3", "", None, None), config("", "1.2", None, None)).await;
    assert!(versions.client.unwrap_err().contains("TLS versions"));
    assert!(versions.server.unwrap_err().contains("no TLS version in common"));
    let suites = run(
        config("", "1.2", Some("TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256"), None),
        config("", "", Some("TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256"), None),
    )
    .await;
    assert!(suites.server.unwrap_err().contains("no cipher suite in common"));
    let curves = run(config("", "", None, Some("P256")), config("", "", None, Some("X25519"))).await;
    assert!(curves.server.unwrap_err().contains("no key exchange group in common"));
}

#[tokio::test]
async fn chains_with_intermediates_are_followed() {
    let root = Authority::new("root CA");
    let intermediate = root.intermediate("intermediate CA");
    let mut issued = intermediate.issue("a.example");
    let without = meet(&client(&root), "a.example", &server(&issued)).await;
    assert!(without.client.unwrap_err().contains("unknown authority"));
    issued.cert.push_str(intermediate.pem());
    let with = meet(&client(&root), "a.example", &server(&issued)).await;
    assert_eq!(with.client, Ok(()));
}

#[tokio::test]
async fn a_certificate_that_signed_itself_is_trusted_if_it_is_the_ca_file() {
    for as_authority in [true, false] {
        let issued = self_signed("a.example", as_authority);
        let settings = TlsSettings { ca_pem: Opaque::new(&issued.cert), ..TlsSettings::default() };
        let config = ClientTls { settings, ..ClientTls::default() };
        assert_eq!(meet(&config, "a.example", &server(&issued)).await.client, Ok(()), "{as_authority}");
        let text = meet(&config, "b.example", &server(&issued)).await.client.unwrap_err();
        assert!(text.contains("for \"a.example\", not for \"b.example\""), "{text}");
        let twin = self_signed("a.example", as_authority);
        assert!(meet(&config, "a.example", &server(&twin)).await.client.is_err(), "another key");
    }
}

#[tokio::test]
async fn a_certificate_that_may_not_sign_others_vouches_for_none_though_it_is_trusted() {
    let (pinned, key) = self_signing("edge-1", false);
    let (ca, forged) = (Authority::new("our CA"), pinned.issue("a.example"));
    let pem = format!("{}{}", pinned.pem(), ca.pem());
    for trusted in [pinned.pem(), &pem] {
        let settings = TlsSettings { ca_pem: Opaque::new(trusted), ..TlsSettings::default() };
        let config = ClientTls { settings, ..ClientTls::default() };
        let text = meet(&config, "a.example", &server(&forged)).await.client.unwrap_err();
        assert!(text.contains("signed by an unknown authority"), "{text}");

        let folder = Folder::new();
        let client_ca_file = folder.write("clients.pem", trusted);
        let server = ServerTls { client_ca_file, ..server(&ca.issue("a.example")) };
        let outcome = meet(&client_with(&ca, &forged), "a.example", &server).await;
        assert!(outcome.server.unwrap_err().contains("signed by an unknown authority"));
        let itself = Issued { cert: pinned.pem().to_owned(), key: key.clone() };
        let outcome = meet(&client_with(&ca, &itself), "a.example", &server).await;
        assert_eq!(outcome.server.unwrap().peer_certificates.len(), 1);
    }
}

#[tokio::test]
async fn insecure_skip_verify_takes_any_certificate() {
    let ca = Authority::new("our CA");
    let config = ClientTls { insecure_skip_verify: true, ..ClientTls::default() };
    let outcome =
        meet(&config, "whatever.example", &server(&ca.issue_odd("a.example", Odd::NotYetValid))).await;
    assert_eq!(outcome.client, Ok(()));
}

#[tokio::test]
async fn a_peer_that_does_not_agree_to_http2_is_turned_away() {
    let ca = Authority::new("our CA");
    let (client, server) = (client(&ca), server(&ca.issue("a.example")));
    // Asks for something else, and for nothing.
    for (ours, theirs) in [(b"http/1.1".as_slice(), H2), (H2, b"http/1.1".as_slice())] {
        let acceptor = Acceptor::new(&server, theirs).unwrap();
        let connector = Connector::new(&client, "a.example", ours).unwrap();
        let (near, far) = duplex(1 << 16);
        let (client, server) =
            timeout(BOUND, async { tokio::join!(connector.connect(near), acceptor.accept(far)) })
                .await
                .unwrap();
        assert!(client.unwrap_err().to_string().contains("HTTP/2 (ALPN \"h2\"), which gRPC needs"));
        assert!(server.unwrap_err().to_string().contains("HTTP/2 (ALPN \"h2\"), which gRPC needs"));
    }
}

/// The other side says `words` and closes.
async fn against_client(words: &[u8]) -> String {
    let ca = Authority::new("our CA");
    let connector = Connector::new(&client(&ca), "a.example", H2).unwrap();
    let (near, mut far) = duplex(1 << 16);
    far.write_all(words).await.unwrap();
    far.shutdown().await.unwrap();
    timeout(BOUND, connector.connect(near)).await.unwrap().unwrap_err().to_string()
}

async fn against_server(words: &[u8]) -> HandshakeError {
    let ca = Authority::new("our CA");
    let acceptor = Acceptor::new(&server(&ca.issue("a.example")), H2).unwrap();
    let (near, mut far) = duplex(1 << 16);
    far.write_all(words).await.unwrap();
    far.shutdown().await.unwrap();
    timeout(BOUND, acceptor.accept(near)).await.unwrap().unwrap_err()
}

#[tokio::test]
async fn a_plaintext_peer_is_recognised_by_its_first_bytes() {
    const SETTINGS: &[u8] = b"\0\0\x06\x04\0\0\0\0\0\0\x03\0\0\0\x64";
    const ADVICE: &str = "; if the server is plaintext on purpose, set tls: {insecure: true}";
    assert_eq!(
        against_client(SETTINGS).await,
        format!("the server speaks plaintext HTTP/2, and this client TLS{ADVICE}")
    );
    assert_eq!(
        against_client(b"HTTP/1.1 400 Bad Request\r\n\r\n").await,
        format!("the server speaks plaintext HTTP/1, and this client TLS{ADVICE}")
    );
    assert_eq!(
        against_client(b"").await,
        format!("the server closed the connection during the TLS handshake{ADVICE}")
    );
    assert_eq!(
        against_server(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await.to_string(),
        format!("the client speaks plaintext HTTP/2, and this endpoint TLS{USE_TLS}")
    );
    assert_eq!(
        against_server(b"POST /v1/traces HTTP/1.1\r\n").await.to_string(),
        format!("the client speaks plaintext HTTP/1, and this endpoint TLS{USE_TLS}")
    );
    assert_eq!(against_server(b"").await.kind(), explain::Kind::Silence);
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_says_nothing_is_given_up() {
    let ca = Authority::new("our CA");
    let (near, _far) = duplex(1 << 16);
    let connector = Connector::new(&client(&ca), "a.example", H2).unwrap();
    let text = connector.connect(near).await.unwrap_err().to_string();
    assert!(
        text.contains("does not answer the TLS handshake (i/o timeout); if the server is plaintext"),
        "{text}"
    );
    let (near, _far) = duplex(1 << 16);
    let acceptor = Acceptor::new(&server(&ca.issue("a.example")), H2).unwrap();
    assert_eq!(acceptor.accept(near).await.unwrap_err().kind(), explain::Kind::Silence);
    let (near, mut far) = duplex(1 << 16);
    far.write_all(b"\x16\x03\x01").await.unwrap();
    assert!(acceptor.accept(near).await.unwrap_err().to_string().contains("in time (i/o timeout)"));
}

#[tokio::test]
async fn a_client_of_http1_may_leave_the_protocol_out_and_one_of_http2_may_not() {
    let authority = Authority::new("our CA");
    let issued = authority.issue("localhost");
    for (protocol, is_accepted) in [(b"http/1.1".as_slice(), true), (H2, false)] {
        let acceptor = Acceptor::new(&server(&issued), protocol).unwrap();
        let (near, far) = duplex(1 << 16);
        let config =
            rustls::ClientConfig::builder_with_provider(rustls::crypto::ring::default_provider().into());
        let config = config.with_safe_default_protocol_versions().unwrap();
        let config = config.with_root_certificates(roots(&authority)).with_no_client_auth();
        let connector = tokio_rustls::TlsConnector::from(std::sync::Arc::new(config));
        let (accepted, _) = timeout(BOUND, async {
            tokio::join!(acceptor.accept(far), connector.connect("localhost".try_into().unwrap(), near))
        })
        .await
        .unwrap();
        assert_eq!(accepted.is_ok(), is_accepted);
    }
}

fn roots(authority: &Authority) -> rustls::RootCertStore {
    use rustls::pki_types::CertificateDer;
    use rustls::pki_types::pem::PemObject as _;
    let mut roots = rustls::RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(authority.pem().as_bytes()) {
        roots.add(certificate.unwrap()).unwrap();
    }
    roots
}
