//! What validation says of configurations and of the files they name.

use super::authority::Odd;
use super::*;

fn server_of(cert: &str, key: &str) -> ServerTls {
    let folder = Folder::new();
    let (cert_file, key_file) = (folder.write("tls.crt", cert), folder.write("tls.key", key));
    let settings = TlsSettings { cert_file, key_file, ..TlsSettings::default() };
    let config = ServerTls { settings, ..ServerTls::default() };
    // Kept for the time of the test process; the system cleans up after it.
    std::mem::forget(folder);
    config
}

/// The findings, without the path of the folder.
fn found_of(config: &impl Validate, file: &std::path::Path) -> Vec<String> {
    let folder = format!("{}/", file.parent().unwrap().display());
    found(config).into_iter().map(|text| text.replace(&folder, "")).collect()
}

fn findings(cert: &str, key: &str) -> Vec<String> {
    let config = server_of(cert, key);
    found_of(&config, &config.settings.cert_file)
}

fn ca_findings(ca: &str) -> Vec<String> {
    let folder = Folder::new();
    let ca_file = folder.write("ca.crt", ca);
    let settings = TlsSettings { ca_file: ca_file.clone(), ..TlsSettings::default() };
    found_of(&ClientTls { settings, ..ClientTls::default() }, &ca_file)
}

const PAIR: &str =
    "error : TLS configuration must include both certificate and key (CertFile/CertPem and KeyFile/KeyPem)";

#[test]
fn a_sound_pair_is_accepted() {
    let issued = Authority::new("our CA").issue("a.example");
    assert_eq!(findings(&issued.cert, &issued.key), Vec::<String>::new());
    // Both in one file, as some tools write them.
    let both = format!("{}{}", issued.key, issued.cert);
    assert_eq!(findings(&both, &both), Vec::<String>::new());
}

#[test]
fn a_key_of_another_certificate_is_refused() {
    let ca = Authority::new("our CA");
    let (one, other) = (ca.issue("a.example"), ca.issue("b.example"));
    assert_eq!(
        findings(&one.cert, &other.key),
        ["error key_file: the key of tls.key does not belong to the certificate of tls.crt"]
    );
    let mut problems = Problems::new();
    server_of(&format!("{}{}", ca.pem(), one.cert), &one.key).validate(&mut problems);
    let help = problems.into_found().remove(0).help.unwrap();
    assert!(help.contains("at place 2 of") && help.ends_with("that one has to come first"), "{help}");
}

#[test]
fn the_own_certificate_must_not_have_expired_and_should_have_a_name() {
    let ca = Authority::new("our CA");
    let expired = ca.issue_odd("a.example", Odd::Expired);
    assert_eq!(
        findings(&expired.cert, &expired.key),
        ["error cert_file: tls.crt: the certificate has expired: subject \"CN=a.example\", valid from \
          2001-01-01T00:00:00Z to 2002-01-01T00:00:00Z"]
    );
    let early = ca.issue_odd("a.example", Odd::NotYetValid);
    let found = findings(&early.cert, &early.key);
    assert!(found[0].starts_with("warning cert_file: the certificate is not valid yet"), "{found:?}");
    let nameless = ca.issue_odd("a.example", Odd::NoName);
    let found = findings(&nameless.cert, &nameless.key);
    assert!(
        found[0].starts_with("warning cert_file: the certificate has no subject alternative name"),
        "{found:?}"
    );
}

#[test]
fn what_is_no_certificate_or_no_key_is_named() {
    let issued = Authority::new("our CA").issue("a.example");
    assert_eq!(findings("nonsense", &issued.key), ["error cert_file: tls.crt holds no certificate"]);
    assert_eq!(findings(&issued.cert, "nonsense"), ["error key_file: tls.key holds no private key"]);
    assert_eq!(findings(&issued.cert, &issued.cert), ["error key_file: tls.key holds no private key"]);
    let truncated = &issued.key[..issued.key.len() / 2];
    assert_eq!(findings(&issued.cert, truncated), ["error key_file: tls.key: malformed PEM"]);
    let garbled = "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n";
    assert_eq!(
        findings(&issued.cert, garbled),
        ["error key_file: the key of tls.key is of a kind that is not supported, or broken"]
    );
    let garbled = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    assert_eq!(
        findings(garbled, &issued.key),
        ["error cert_file: tls.crt: the first certificate is malformed"]
    );
}

#[test]
fn encrypted_keys_and_keys_of_a_tpm_are_refused_as_such() {
    let issued = Authority::new("our CA").issue("a.example");
    for key in [
        "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n",
        "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES\n\nAAAA\n-----END RSA PRIVATE KEY-----\n",
    ] {
        assert_eq!(findings(&issued.cert, key), ["error key_file: the key of tls.key is encrypted"]);
    }
    let tpm = "-----BEGIN TSS2 PRIVATE KEY-----\nAAAA\n-----END TSS2 PRIVATE KEY-----\n";
    assert_eq!(
        findings(&issued.cert, tpm),
        ["error key_file: tls.key holds a key for a TPM, which is not supported"]
    );
}

#[test]
fn an_authority_must_be_one_and_of_today() {
    let ca = Authority::new("our CA");
    assert_eq!(ca_findings(ca.pem()), Vec::<String>::new());
    assert_eq!(
        ca_findings(&ca.issue("a.example").cert),
        [
            "error ca_file: no certificate authority in ca.crt: ca.crt, certificate 1: \"CN=a.example\" is no certificate \
          authority (basicConstraints)"
        ]
    );
    let expired = Authority::expired("old CA");
    let found = ca_findings(expired.pem());
    assert!(found[0].starts_with(
        "error ca_file: no certificate authority in ca.crt: ca.crt, certificate 1: has expired"
    ));
    let found = ca_findings(&format!("{}{}", expired.pem(), ca.pem()));
    assert_eq!(found.len(), 1);
    assert!(
        found[0].starts_with("warning ca_file: ca.crt, certificate 1: has expired: subject \"CN=old CA\"")
    );
    assert_eq!(ca_findings(""), ["error ca_file: ca.crt holds no certificate"]);
}

#[test]
fn unreadable_files_are_named_with_the_reason() {
    let folder = Folder::new();
    let missing = folder.0.path().join("missing.pem");
    for (path, reason) in
        [(missing, "no such file or directory"), (folder.0.path().to_owned(), "it is a folder")]
    {
        let settings = TlsSettings { ca_file: path.clone(), ..TlsSettings::default() };
        let config = ClientTls { settings, ..ClientTls::default() };
        assert_eq!(found(&config), [format!("error ca_file: cannot read {}: {reason}", path.display())]);
    }
    let huge = folder.write("huge.pem", &" ".repeat(4 * 1024 * 1024 + 1));
    let settings = TlsSettings { ca_file: huge, ..TlsSettings::default() };
    assert!(found(&ClientTls { settings, ..ClientTls::default() })[0].contains("larger than 4 MiB"));
}

#[test]
fn keys_that_contradict_each_other_are_refused_with_the_texts_of_the_reference() {
    let issued = Authority::new("our CA").issue("a.example");
    let server = |change: &dyn Fn(&mut ServerTls)| {
        let mut config = server(&issued);
        change(&mut config);
        found(&config)
    };
    assert_eq!(server(&|c| c.settings.key_pem = Opaque::default()), [PAIR]);
    assert_eq!(server(&|c| c.settings.cert_pem = Opaque::default()), [PAIR]);
    assert_eq!(
        found(&ServerTls::default()),
        ["error : TLS configuration must include both certificate and key for server connections"]
    );
    assert_eq!(
        server(&|c| {
            c.settings.ca_file = "a".into();
            c.settings.cert_file = "b".into();
            c.settings.key_file = "c".into();
            c.settings.ca_pem = Opaque::new("x");
        })[..3],
        [
            "error ca_pem: provide either a CA file or the PEM-encoded string, but not both",
            "error cert_pem: provide either certificate file or PEM, but not both",
            "error key_pem: provide either key file or PEM, but not both",
        ]
    );
    assert_eq!(
        server(&|c| c.client_ca_file_reload = true),
        ["warning client_ca_file_reload: has no effect without client_ca_file"]
    );
    assert_eq!(
        server(&|c| c.settings.include_system_ca_certs_pool = true),
        ["warning include_system_ca_certs_pool: has no effect on a server"]
    );
}

#[test]
fn insecure_means_plaintext_only_without_an_authority() {
    let ca = Authority::new("our CA");
    assert!(ClientTls::plaintext().is_plaintext());
    assert!(!ClientTls { insecure: true, ..client(&ca) }.is_plaintext());
    let both =
        ClientTls { insecure: true, settings: with_identity(&ca.issue("edge")), ..ClientTls::default() };
    assert_eq!(
        found(&both),
        [
            "warning cert_pem: has no effect: insecure: true means plaintext",
            "warning key_pem: has no effect: insecure: true means plaintext",
        ]
    );
}

#[test]
fn nothing_secret_is_printed() {
    let issued = Authority::new("our CA").issue("a.example");
    let secret = issued.key.lines().nth(1).unwrap();
    let config = server(&issued);
    assert!(!format!("{config:?}").contains(secret));
    assert!(!serde_json::to_string(&config).unwrap().contains(secret));
    for cut in (0..issued.key.len()).step_by(7) {
        let found = findings(&issued.cert, &issued.key[..cut]).join("\n");
        assert!(
            !issued.key.lines().any(|line| line.len() > 8 && !line.starts_with('-') && found.contains(line))
        );
    }
}
