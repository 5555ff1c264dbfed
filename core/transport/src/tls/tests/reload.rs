//! Changes of files: what is good is taken, what is bad leaves the last good one.

use std::os::unix::fs::symlink;
use std::path::Path;

use super::*;

/// A Kubernetes secret as it is mounted: files are links into `..data`, which is a link to a folder that is replaced.
struct Secret {
    folder: tempfile::TempDir,
    versions: std::cell::Cell<u32>,
}

impl Secret {
    fn new(files: &[(&str, &str)]) -> Self {
        let secret = Self { folder: tempfile::tempdir().unwrap(), versions: 0.into() };
        secret.swap(files);
        for (name, _) in files {
            symlink(Path::new("..data").join(name), secret.path(name)).unwrap();
        }
        secret
    }

    /// Puts other contents in the place of all files at once.
    fn swap(&self, files: &[(&str, &str)]) {
        self.versions.set(self.versions.get() + 1);
        let version = format!("..version_{}", self.versions.get());
        std::fs::create_dir(self.path(&version)).unwrap();
        for (name, text) in files {
            std::fs::write(self.path(&version).join(name), text).unwrap();
        }
        symlink(&version, self.path("..data_tmp")).unwrap();
        std::fs::rename(self.path("..data_tmp"), self.path("..data")).unwrap();
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn pair(&self) -> TlsSettings {
        TlsSettings {
            cert_file: self.path("tls.crt"),
            key_file: self.path("tls.key"),
            ..TlsSettings::default()
        }
    }
}

/// A server in a process that lives on while its files change.
struct Rig {
    acceptor: Acceptor,
}

impl Rig {
    /// Shakes hands once with a client of this configuration.
    async fn meet(&self, connector: &Connector) -> Result<Session, String> {
        let (near, far) = duplex(1 << 16);
        let server = async {
            let (mut stream, session) = self.acceptor.accept(far).await.map_err(|error| error.to_string())?;
            let _ = echo(&mut stream).await;
            Ok(session)
        };
        let client = async {
            let mut stream = connector.connect(near).await.map_err(|error| error.to_string())?;
            talk(&mut stream).await.map_err(|error| explained(&error).unwrap_or_else(|| error.to_string()))
        };
        let (client, server) = timeout(BOUND, async { tokio::join!(client, server) }).await.unwrap();
        client.and(server)
    }

    /// Shakes hands until it ends as wanted; the clock is paused, so waiting takes no time.
    async fn meet_until(&self, connector: &Connector, succeeds: bool) {
        for _ in 0..100 {
            if self.meet(connector).await.is_ok() == succeeds {
                return;
            }
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        panic!("the change was not taken");
    }
}

#[tokio::test(start_paused = true)]
async fn a_swapped_secret_is_taken_as_a_whole_and_a_broken_one_is_not() {
    let (old, new) = (Authority::new("old CA"), Authority::new("new CA"));
    let (first, second) = (old.issue("a.example"), new.issue("a.example"));
    let secret = Secret::new(&[("tls.crt", &first.cert), ("tls.key", &first.key)]);
    let config = ServerTls { settings: secret.pair(), ..ServerTls::default() };
    let rig = Rig { acceptor: Acceptor::new(&config, H2).unwrap() };
    let trusts = |authority: &Authority| Connector::new(&client(authority), "a.example", H2).unwrap();
    let (trusts_old, trusts_new) = (trusts(&old), trusts(&new));
    assert!(rig.meet(&trusts_old).await.is_ok() && rig.meet(&trusts_new).await.is_err());

    // A certificate with a key that is not its own, then none at all: the old one stays.
    for broken in
        [[("tls.crt", second.cert.as_str()), ("tls.key", &first.key)], [("tls.crt", ""), ("tls.key", "")]]
    {
        secret.swap(&broken);
        tokio::time::sleep(Duration::from_secs(60)).await;
        assert!(rig.meet(&trusts_old).await.is_ok());
    }
    secret.swap(&[("tls.crt", &second.cert), ("tls.key", &second.key)]);
    rig.meet_until(&trusts_new, true).await;
    assert!(rig.meet(&trusts_old).await.is_err());
}

#[tokio::test(start_paused = true)]
async fn a_client_takes_a_new_authority_and_a_new_certificate() {
    let (old, new) = (Authority::new("old CA"), Authority::new("new CA"));
    let edge = old.issue("edge-1");
    let secret = Secret::new(&[("ca.crt", old.pem()), ("tls.crt", &edge.cert), ("tls.key", &edge.key)]);
    let settings = TlsSettings { ca_file: secret.path("ca.crt"), ..secret.pair() };
    let config = ClientTls { settings, ..ClientTls::default() };
    let connector = Connector::new(&config, "a.example", H2).unwrap();

    let folder = Folder::new();
    let server_of = |authority: &Authority| {
        let client_ca_file = folder.write("clients.pem", authority.pem());
        let config = ServerTls { client_ca_file, ..server(&authority.issue("a.example")) };
        Rig { acceptor: Acceptor::new(&config, H2).unwrap() }
    };
    let (old_server, new_server) = (server_of(&old), server_of(&new));
    assert!(old_server.meet(&connector).await.is_ok() && new_server.meet(&connector).await.is_err());
    let edge = new.issue("edge-1");
    secret.swap(&[("ca.crt", new.pem()), ("tls.crt", &edge.cert), ("tls.key", &edge.key)]);
    new_server.meet_until(&connector, true).await;
    assert!(old_server.meet(&connector).await.is_err());
}

#[tokio::test(start_paused = true)]
async fn the_authorities_of_clients_change_only_where_that_is_asked_for() {
    let (old, new) = (Authority::new("old CA"), Authority::new("new CA"));
    let issued = old.issue("a.example");
    for reload in [true, false] {
        let secret = Secret::new(&[("clients.pem", old.pem())]);
        let config = ServerTls {
            client_ca_file: secret.path("clients.pem"),
            client_ca_file_reload: reload,
            ..server(&issued)
        };
        let rig = Rig { acceptor: Acceptor::new(&config, H2).unwrap() };
        let of = |authority: &Authority| {
            Connector::new(&client_with(&old, &authority.issue("edge-1")), "a.example", H2).unwrap()
        };
        let (old_client, new_client) = (of(&old), of(&new));
        assert!(rig.meet(&old_client).await.is_ok() && rig.meet(&new_client).await.is_err());
        secret.swap(&[("clients.pem", new.pem())]);
        if reload {
            rig.meet_until(&new_client, true).await;
            assert!(rig.meet(&old_client).await.is_err(), "a session of the old authority is not resumed");
        } else {
            tokio::time::sleep(Duration::from_secs(60)).await;
            assert!(rig.meet(&old_client).await.is_ok() && rig.meet(&new_client).await.is_err());
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_connection_lives_on_through_a_change() {
    let ca = Authority::new("our CA");
    let (first, second) = (ca.issue("a.example"), ca.issue("a.example"));
    let secret = Secret::new(&[("tls.crt", &first.cert), ("tls.key", &first.key)]);
    let config = ServerTls { settings: secret.pair(), ..ServerTls::default() };
    let acceptor = Acceptor::new(&config, H2).unwrap();
    let connector = Connector::new(&client(&ca), "a.example", H2).unwrap();
    let (near, far) = duplex(1 << 16);
    let (near, far) = tokio::join!(connector.connect(near), acceptor.accept(far));
    let (mut near, (mut far, _)) = (near.unwrap(), far.unwrap());
    secret.swap(&[("tls.crt", &second.cert), ("tls.key", &second.key)]);
    tokio::time::sleep(Duration::from_secs(60)).await;
    let (answered, talked) = tokio::join!(echo(&mut far), talk(&mut near));
    answered.unwrap();
    talked.unwrap();
}
