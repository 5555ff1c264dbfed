//! Keys and certificates as the `openssl` tool makes them. Without the tool these tests are skipped, and say so.

use std::path::Path;
use std::process::{Command, Stdio};

use super::*;

/// Runs `openssl` in `folder`; `None` if there is none.
fn openssl(folder: &Path, arguments: &str) -> Option<()> {
    let output = Command::new("openssl")
        .args(arguments.split_whitespace())
        .current_dir(folder)
        .stdin(Stdio::null())
        .output()
        .ok()?;
    assert!(output.status.success(), "openssl {arguments}: {}", String::from_utf8_lossy(&output.stderr));
    Some(())
}

fn is_there() -> bool {
    let folder = Folder::new();
    let found = openssl(folder.0.path(), "version").is_some();
    if !found {
        let _ = std::io::Write::write_all(&mut std::io::stderr(), b"skipped: there is no openssl here\n");
    }
    found
}

/// An authority, an intermediate one and a server's certificate for `a.example`, with this key.
fn chain(folder: &Path, make_key: &str) {
    let run = |arguments: &str| openssl(folder, arguments).unwrap();
    std::fs::write(folder.join("ca.ext"), "basicConstraints=critical,CA:TRUE\nkeyUsage=keyCertSign\n")
        .unwrap();
    std::fs::write(folder.join("leaf.ext"), "basicConstraints=CA:FALSE\nsubjectAltName=DNS:a.example\n")
        .unwrap();
    run("req -x509 -newkey rsa:2048 -nodes -keyout root.key -out root.pem -subj /CN=root -days 30");
    run("req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout mid.key -out mid.csr -subj /CN=mid");
    run("x509 -req -in mid.csr -CA root.pem -CAkey root.key -extfile ca.ext -out mid.pem -days 30");
    run(make_key);
    run("req -new -key leaf.key -out leaf.csr -subj /CN=leaf");
    run("x509 -req -in leaf.csr -CA mid.pem -CAkey mid.key -extfile leaf.ext -out leaf.pem -days 30");
    let mut chain = std::fs::read_to_string(folder.join("leaf.pem")).unwrap();
    chain.push_str(&std::fs::read_to_string(folder.join("mid.pem")).unwrap());
    std::fs::write(folder.join("chain.pem"), chain).unwrap();
}

fn pair(folder: &Path, cert: &str, key: &str) -> ServerTls {
    let settings =
        TlsSettings { cert_file: folder.join(cert), key_file: folder.join(key), ..TlsSettings::default() };
    ServerTls { settings, ..ServerTls::default() }
}

#[tokio::test]
async fn every_sort_of_key_and_its_encodings_work() {
    if !is_there() {
        return;
    }
    for (make_key, convert) in [
        ("genrsa -traditional -out leaf.key 2048", Some("pkcs8 -topk8 -nocrypt -in leaf.key -out other.key")),
        ("genrsa -out leaf.key 4096", None),
        (
            "ecparam -name prime256v1 -genkey -out leaf.key",
            Some("pkcs8 -topk8 -nocrypt -in leaf.key -out other.key"),
        ),
        ("ecparam -name secp384r1 -genkey -noout -out leaf.key", None),
        ("genpkey -algorithm ed25519 -out leaf.key", None),
    ] {
        let folder = Folder::new();
        let path = folder.0.path();
        chain(path, make_key);
        let settings = TlsSettings { ca_file: path.join("root.pem"), ..TlsSettings::default() };
        let client = ClientTls { settings, ..ClientTls::default() };
        let keys = match convert {
            Some(convert) => {
                openssl(path, convert).unwrap();
                vec!["leaf.key", "other.key"]
            }
            None => vec!["leaf.key"],
        };
        for key in keys {
            let server = pair(path, "chain.pem", key);
            assert_eq!(found(&server), Vec::<String>::new(), "{make_key}, {key}");
            let outcome = meet(&client, "a.example", &server).await;
            assert_eq!(outcome.client, Ok(()), "{make_key}, {key}");
        }
    }
}

#[test]
fn keys_that_openssl_encrypts_are_refused_as_encrypted() {
    if !is_there() {
        return;
    }
    let folder = Folder::new();
    let path = folder.0.path();
    chain(path, "genrsa -out leaf.key 2048");
    for encrypt in [
        "pkcs8 -topk8 -in leaf.key -out secret.key -passout pass:hunter2",
        "rsa -traditional -aes256 -in leaf.key -out secret.key -passout pass:hunter2",
    ] {
        openssl(path, encrypt).unwrap();
        let found = found(&pair(path, "chain.pem", "secret.key"));
        assert_eq!(found.len(), 1);
        assert!(found[0].ends_with("secret.key is encrypted"), "{found:?}");
    }
}

#[test]
fn curves_that_are_not_here_are_refused() {
    if !is_there() {
        return;
    }
    let folder = Folder::new();
    let path = folder.0.path();
    chain(path, "ecparam -name secp521r1 -genkey -noout -out leaf.key");
    let found = found(&pair(path, "chain.pem", "leaf.key"));
    assert!(found[0].ends_with("is of a kind that is not supported, or broken"), "{found:?}");
}

#[tokio::test]
async fn the_self_signed_certificate_of_a_one_liner_works_as_its_own_authority() {
    if !is_there() {
        return;
    }
    let folder = Folder::new();
    let path = folder.0.path();
    let make = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout tls.key -out tls.crt -days 30 \
                -subj /CN=a.example -addext subjectAltName=DNS:a.example";
    openssl(path, make).unwrap();
    let settings = TlsSettings { ca_file: path.join("tls.crt"), ..TlsSettings::default() };
    let client = ClientTls { settings, ..ClientTls::default() };
    assert_eq!(meet(&client, "a.example", &pair(path, "tls.crt", "tls.key")).await.client, Ok(()));
}
