//! Handshakes of our two sides with each other, with certificates made on the spot.

pub(crate) mod authority;
mod files;
mod handshake;
mod openssl;
mod reload;

use std::path::PathBuf;
use std::time::Duration;

use spanbridge_component::{Problems, Severity, Validate};
use spanbridge_config::Opaque;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, duplex};
use tokio::time::timeout;

use super::*;
use authority::{Authority, Issued};

const BOUND: Duration = Duration::from_secs(30);
const H2: &[u8] = b"h2";

/// A server with this certificate.
fn server(issued: &Issued) -> ServerTls {
    ServerTls { settings: with_identity(issued), ..ServerTls::default() }
}

/// A client that trusts `authority`.
fn client(authority: &Authority) -> ClientTls {
    let settings = TlsSettings { ca_pem: Opaque::new(authority.pem()), ..TlsSettings::default() };
    ClientTls { settings, ..ClientTls::default() }
}

/// The same with a certificate of its own.
fn client_with(authority: &Authority, issued: &Issued) -> ClientTls {
    let settings = TlsSettings { ca_pem: Opaque::new(authority.pem()), ..with_identity(issued) };
    ClientTls { settings, ..ClientTls::default() }
}

fn with_identity(issued: &Issued) -> TlsSettings {
    TlsSettings {
        cert_pem: Opaque::new(&issued.cert),
        key_pem: Opaque::new(&issued.key),
        ..TlsSettings::default()
    }
}

/// What the two sides of a handshake say of it.
struct Outcome {
    client: Result<(), String>,
    server: Result<Session, String>,
}

/// Lets both sides shake hands and send something each way. The client asks for `name`.
async fn meet(client: &ClientTls, name: &str, server: &ServerTls) -> Outcome {
    let acceptor = Acceptor::new(server, H2).unwrap();
    let connector = Connector::new(client, name, H2).unwrap();
    let (near, far) = duplex(1 << 16);
    let server = async {
        let (mut stream, session) = acceptor.accept(far).await.map_err(|error| error.to_string())?;
        let _ = echo(&mut stream).await;
        Ok(session)
    };
    let client = async {
        let mut stream = connector.connect(near).await.map_err(|error| error.to_string())?;
        talk(&mut stream).await.map_err(|error| explained(&error).unwrap_or_else(|| error.to_string()))
    };
    let (client, server) = timeout(BOUND, async { tokio::join!(client, server) }).await.unwrap();
    Outcome { client, server }
}

async fn echo(stream: &mut (impl AsyncRead + AsyncWrite + Unpin)) -> std::io::Result<()> {
    let mut ping = [0; 4];
    stream.read_exact(&mut ping).await?;
    stream.write_all(&ping).await?;
    stream.shutdown().await
}

async fn talk(stream: &mut (impl AsyncRead + AsyncWrite + Unpin)) -> std::io::Result<()> {
    stream.write_all(b"ping").await?;
    stream.flush().await?;
    let mut pong = [0; 4];
    stream.read_exact(&mut pong).await?;
    assert_eq!(&pong, b"ping");
    Ok(())
}

/// Everything that validation finds: `error key: message`.
fn found(config: &impl Validate) -> Vec<String> {
    let mut problems = Problems::new();
    config.validate(&mut problems);
    let text = |problem: spanbridge_component::Problem| {
        let severity = if problem.severity == Severity::Error { "error" } else { "warning" };
        format!("{severity} {}: {}", problem.path.join("."), problem.message)
    };
    problems.into_found().into_iter().map(text).collect()
}

/// A folder with files, for what has to be read from disk.
struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.0.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    }
}
