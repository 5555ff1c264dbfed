//! An issuer of tokens over TLS: discovery, keys and a token endpoint, with keys made on the spot.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer as Ca, KeyPair, KeyUsagePurpose};
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

pub(crate) const AUDIENCE: &str = "spanbridge";
pub(crate) const CLIENT: &str = "edge-1";
pub(crate) const SECRET: &str = "s3cret-of-the-edge";

/// A key that signs.
pub(crate) struct Signer {
    id: String,
    key: EcdsaKeyPair,
    random: SystemRandom,
}

impl Signer {
    pub(crate) fn new(id: &str) -> Self {
        let (scheme, random) = (&ECDSA_P256_SHA256_FIXED_SIGNING, SystemRandom::new());
        let document = EcdsaKeyPair::generate_pkcs8(scheme, &random).expect("a key");
        let key = EcdsaKeyPair::from_pkcs8(scheme, document.as_ref(), &random).expect("a key");
        Self { id: id.to_owned(), key, random }
    }

    pub(crate) fn public(&self) -> &[u8] {
        self.key.public_key().as_ref()
    }

    fn jwk(&self) -> Value {
        let encode = |bytes| URL_SAFE_NO_PAD.encode(bytes);
        let point = self.public();
        json!({"kty": "EC", "crv": "P-256", "kid": self.id, "x": encode(&point[1..33]), "y": encode(&point[33..])})
    }

    pub(crate) fn token(&self, claims: &Value) -> String {
        let message = signing_input("ES256", &self.id, claims);
        let signature = self.key.sign(&self.random, message.as_bytes()).expect("a signature");
        format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature))
    }
}

/// What a signature is of.
pub(crate) fn signing_input(algorithm: &str, key: &str, claims: &Value) -> String {
    let header = json!({"alg": algorithm, "kid": key}).to_string();
    format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims.to_string()))
}

pub(crate) fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs()
}

/// What it answers with; a test changes it.
pub(crate) struct State {
    pub(crate) signer: Signer,
    pub(crate) secret: String,
    pub(crate) tokens_asked: usize,
    /// Every token that was given out.
    pub(crate) given: Vec<String>,
}

/// An issuer, and the files of its authority.
pub(crate) struct Issuer {
    pub(crate) url: String,
    pub(crate) state: Arc<Mutex<State>>,
    address: SocketAddr,
    folder: TempDir,
}

impl Issuer {
    /// One with a place, where nobody listens yet.
    pub(crate) fn absent() -> Self {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        let folder = TempDir::new().expect("a folder");
        issue(folder.path());
        let state = State {
            signer: Signer::new("first"),
            secret: SECRET.to_owned(),
            tokens_asked: 0,
            given: Vec::new(),
        };
        Self { url: format!("https://{address}"), state: Arc::new(Mutex::new(state)), address, folder }
    }

    /// One that answers.
    pub(crate) async fn start() -> Self {
        let issuer = Self::absent();
        issuer.appear().await;
        issuer
    }

    /// Begins to answer, until the runtime of the test ends.
    pub(crate) async fn appear(&self) {
        let listener = TcpListener::bind(self.address).await.expect("the port is free");
        let (acceptor, url, state) = (acceptor(self.folder.path()), self.url.clone(), self.state.clone());
        tokio::spawn(async move {
            loop {
                let Ok((socket, _)) = listener.accept().await else { continue };
                let Ok(mut stream) = acceptor.accept(socket).await else { continue };
                let mut got = Vec::new();
                while !is_whole(&got) && stream.read_buf(&mut got).await.unwrap_or(0) > 0 {}
                let (status, body) = answer(&url, &state, &String::from_utf8_lossy(&got));
                let _ = stream.write_all(format!("HTTP/1.1 {status}\r\n\r\n{body}").as_bytes()).await;
                let _ = stream.shutdown().await;
            }
        });
    }

    /// The path of `ca.pem`, `server.pem` or `server.key`, which are good for any server on this machine.
    pub(crate) fn file(&self, name: &str) -> String {
        self.folder.path().join(name).display().to_string()
    }

    /// Claims of a good token.
    pub(crate) fn claims(&self) -> Value {
        json!({"iss": self.url, "aud": AUDIENCE, "sub": CLIENT, "iat": now(), "exp": now() + 3600})
    }

    pub(crate) fn token(&self, claims: &Value) -> String {
        self.state.lock().expect("the state").signer.token(claims)
    }

    /// From now on another key signs, and the old one is gone.
    pub(crate) fn rotate(&self, id: &str) {
        self.state.lock().expect("the state").signer = Signer::new(id);
    }
}

fn is_whole(request: &[u8]) -> bool {
    let text = String::from_utf8_lossy(request).to_ascii_lowercase();
    let Some((head, body)) = text.split_once("\r\n\r\n") else { return false };
    let length = head.split_once("content-length: ").and_then(|(_, rest)| rest.split("\r\n").next());
    body.len() >= length.map_or(0, |length| length.parse().expect("a length"))
}

fn answer(url: &str, state: &Mutex<State>, request: &str) -> (&'static str, String) {
    let mut state = state.lock().expect("the state");
    if request.starts_with("GET /.well-known/openid-configuration ") {
        return ("200 OK", json!({"issuer": url, "jwks_uri": format!("{url}/keys")}).to_string());
    }
    if request.starts_with("GET /keys ") {
        return ("200 OK", json!({"keys": [state.signer.jwk()]}).to_string());
    }
    state.tokens_asked += 1;
    let credentials = format!("basic {}", STANDARD.encode(format!("{CLIENT}:{}", state.secret)));
    let is_known = request.contains(&format!("authorization: Basic {}", &credentials[6..]));
    if !(is_known && request.contains("grant_type=client_credentials") && request.starts_with("POST /token "))
    {
        return ("401 Unauthorized", json!({"error": "invalid_client"}).to_string());
    }
    let claims = json!({"iss": url, "aud": AUDIENCE, "sub": CLIENT, "exp": now() + 3600});
    let token = state.signer.token(&claims);
    state.given.push(token.clone());
    ("200 OK", json!({"access_token": token, "token_type": "bearer", "expires_in": 3600}).to_string())
}

fn issue(folder: &Path) {
    let mut params = CertificateParams::new(Vec::<String>::new()).expect("parameters");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    let key = KeyPair::generate().expect("a key");
    let authority = params.self_signed(&key).expect("a certificate").pem();
    let ca = Ca::new(params, key);
    let key = KeyPair::generate().expect("a key");
    let params = CertificateParams::new(vec!["127.0.0.1".to_owned()]).expect("parameters");
    let certificate = params.signed_by(&key, &ca).expect("a certificate").pem();
    for (name, text) in
        [("ca.pem", authority), ("server.pem", certificate), ("server.key", key.serialize_pem())]
    {
        fs::write(folder.join(name), text).expect("write a file");
    }
}

fn acceptor(folder: &Path) -> TlsAcceptor {
    let chain = vec![CertificateDer::from_pem_file(folder.join("server.pem")).expect("a certificate")];
    let key = PrivateKeyDer::from_pem_file(folder.join("server.key")).expect("a key");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .expect("a certificate with its key");
    Arc::new(config).into()
}
