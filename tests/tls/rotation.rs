//! Everything that proves who is who is replaced three times while requests pass, as a mounted Kubernetes secret is: by
//! a swap of the symbolic link `..data`. No request fails.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::pki::{Pki, have, htpasswd};
use crate::client;
use crate::data;
use crate::harness::{Collector, END_TO_END, PATIENCE, passthrough, say};
use crate::sink::Sink;

const ROUNDS: usize = 3;
const TRUST: &str = "TLS files changed; new connections use them";
const USERS: &str = "Users were read";
const PASSWORD: &str = "The credentials have changed; new requests use them";

/// A secret as the kubelet mounts it: `name -> ..data/name`, `..data -> ..version`.
struct Mount {
    folder: TempDir,
    version: usize,
}

impl Mount {
    fn new(files: &[(&str, String)]) -> Self {
        let mut mount = Self { folder: TempDir::new().expect("a folder"), version: 0 };
        mount.put(files);
        for (name, _) in files {
            let link = mount.folder.path().join(name);
            std::os::unix::fs::symlink(Path::new("..data").join(name), link).expect("a link");
        }
        mount
    }

    /// Replaces all files at once.
    fn put(&mut self, files: &[(&str, String)]) {
        let version = format!("..{}", self.version);
        let folder = self.folder.path().join(&version);
        fs::create_dir(&folder).expect("a folder");
        for (name, text) in files {
            fs::write(folder.join(name), text).expect("write");
        }
        let link = self.folder.path().join("..data_tmp");
        std::os::unix::fs::symlink(&version, &link).expect("a link");
        fs::rename(&link, self.folder.path().join("..data")).expect("swap");
        if let Some(last) = self.version.checked_sub(1) {
            fs::remove_dir_all(self.folder.path().join(format!("..{last}")))
                .expect("remove the last version");
        }
        self.version += 1;
    }

    fn at(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }
}

/// One mount for each secret, as in a cluster.
struct Mounts {
    pair: Mount,
    bundle: Mount,
    table: Mount,
    client: Mount,
}

fn pair(pki: &Pki) -> [(&'static str, String); 4] {
    let read = |file: &str| fs::read_to_string(pki.path(file)).expect("read");
    [
        ("server.crt", read("server.pem")),
        ("server.key", read("server.key")),
        ("client.crt", read("client.pem")),
        ("client.key", read("client.key")),
    ]
}

fn bundle(authorities: &[&Pki]) -> [(&'static str, String); 1] {
    let read = |pki: &&Pki| fs::read_to_string(pki.path("ca.pem")).expect("read");
    [("ca.pem", authorities.iter().map(read).collect())]
}

/// Every round has a user of its own, with a password of its own.
fn user(round: usize) -> (String, String) {
    (format!("user-{round}"), format!("rotated-s3cret-{round}"))
}

fn table(rounds: &[usize]) -> [(&'static str, String); 1] {
    let users: Vec<_> = rounds.iter().map(|round| user(*round)).collect();
    let users: Vec<_> = users.iter().map(|(user, password)| (user.as_str(), password.as_str())).collect();
    [("htpasswd", htpasswd(&users))]
}

fn credentials(round: usize) -> [(&'static str, String); 2] {
    let (user, password) = user(round);
    [("user", format!("{user}\n")), ("password", format!("{password}\n"))]
}

fn authority() -> Pki {
    let pki = Pki::new();
    pki.issue("server", "remote.example");
    pki.issue("client", "edge-1");
    pki
}

impl Mounts {
    fn new(pki: &Pki) -> Self {
        Self {
            pair: Mount::new(&pair(pki)),
            bundle: Mount::new(&bundle(&[pki])),
            table: Mount::new(&table(&[0])),
            client: Mount::new(&credentials(0)),
        }
    }

    /// Connections do not get old, so that changes meet new handshakes.
    fn remote(&self, sink: &Sink) -> Collector {
        let (cert, key) = (self.pair.at("server.crt"), self.pair.at("server.key"));
        let (ca, table) = (self.bundle.at("ca.pem"), self.table.at("htpasswd"));
        let grpc = format!(
            "endpoint: '127.0.0.1:0'
        auth: {{authenticator: basicauth}}
        tls: {{cert_file: {}, key_file: {}, client_ca_file: {}, client_ca_file_reload: true, reload_interval: 1s}}
        keepalive: {{server_parameters: {{max_connection_age: 2s, max_connection_age_grace: 30s}}}}",
            cert.display(),
            key.display(),
            ca.display()
        );
        let config = passthrough(&grpc, sink.address(), "");
        let config = config.replace("service:\n", "service:\n  extensions: [basicauth]\n");
        let extension = format!("extensions: {{basicauth: {{htpasswd: {{file: {}}}}}}}\n", table.display());
        Collector::start("remote", &(extension + &config))
    }

    fn edge(&self, remote: &Collector) -> Collector {
        let (cert, key) = (self.pair.at("client.crt"), self.pair.at("client.key"));
        let (user, password) = (self.client.at("user"), self.client.at("password"));
        let (cert, key, ca) = (cert.display(), key.display(), self.bundle.at("ca.pem"));
        let (user, password, ca, target) = (user.display(), password.display(), ca.display(), remote.grpc());
        Collector::start(
            "edge",
            &format!(
                "
extensions:
  basicauth: {{client_auth: {{username_file: {user}, password_file: {password}}}}}
receivers:
  otlp: {{protocols: {{grpc: {{endpoint: '127.0.0.1:0'}}}}}}
exporters:
  otlp_grpc:
    endpoint: {target}
    tls: {{ca_file: {ca}, cert_file: {cert}, key_file: {key}, reload_interval: 1s}}
    auth: {{authenticator: basicauth}}
    {END_TO_END}
service:
  extensions: [basicauth]
  telemetry: {{metrics: {{level: none}}}}
  pipelines:
    traces: {{receivers: [otlp], exporters: [otlp_grpc]}}
"
            ),
        )
    }
}

/// Requests one after the other, until it is told to stop.
struct Load {
    sent: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
    task: tokio::task::JoinHandle<()>,
}

impl Load {
    async fn on(edge: &Collector) -> Self {
        let mut client = client::traces(edge.grpc()).await;
        let (sent, stop) = (Arc::<AtomicU64>::default(), Arc::<AtomicBool>::default());
        let (counter, stopped) = (sent.clone(), stop.clone());
        let task = tokio::spawn(async move {
            while !stopped.load(Ordering::Relaxed) {
                let number = counter.load(Ordering::Relaxed);
                client.export(data::spans(number * 2, 2)).await.expect("every request is accepted");
                counter.fetch_add(1, Ordering::Relaxed);
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        });
        Self { sent, stop, task }
    }

    /// Until two more requests are done: the second of them has begun after this call.
    async fn passes(&self) {
        let (before, deadline) = (self.sent.load(Ordering::Relaxed), Instant::now() + PATIENCE);
        while self.sent.load(Ordering::Relaxed) < before + 2 {
            assert!(!self.task.is_finished(), "a request has failed");
            assert!(Instant::now() < deadline, "no request is done within {PATIENCE:?}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    async fn end(self) -> u64 {
        self.stop.store(true, Ordering::Relaxed);
        self.task.await.expect("zero failed requests");
        self.sent.load(Ordering::Relaxed)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn rotating_certificates_authorities_and_passwords_under_load_fails_no_request() {
    if !have("openssl", "version") || !have("htpasswd", "-nbs u p") {
        return;
    }
    let mut pki = authority();
    let mut mounts = Mounts::new(&pki);
    let sink = Sink::start();
    let remote = mounts.remote(&sink);
    let edge = mounts.edge(&remote);
    let load = Load::on(&edge).await;
    for round in 1..=ROUNDS {
        let next = authority();
        // Both are known, then the new one is used, then it alone is known: what a careful operator does.
        mounts.bundle.put(&bundle(&[&pki, &next]));
        mounts.table.put(&table(&[round - 1, round]));
        for collector in [&remote, &edge] {
            collector.wait_for_lines(TRUST, round * 3 - 2);
        }
        remote.wait_for_lines(USERS, round * 2);
        mounts.pair.put(&pair(&next));
        mounts.client.put(&credentials(round));
        for collector in [&remote, &edge] {
            collector.wait_for_lines(TRUST, round * 3 - 1);
        }
        edge.wait_for_lines(PASSWORD, round);
        load.passes().await;
        mounts.bundle.put(&bundle(&[&next]));
        mounts.table.put(&table(&[round]));
        for collector in [&remote, &edge] {
            collector.wait_for_lines(TRUST, round * 3);
        }
        remote.wait_for_lines(USERS, round * 2 + 1);
        load.passes().await;
        pki = next;
    }
    let sent = load.end().await;
    say(&format!("rotation: {ROUNDS} rounds, {sent} requests, none failed"));
    assert!(sent > 20, "{sent}");
    assert_eq!(sink.span_counts().len() as u64, sent * 2, "every span arrived");
    assert!(!edge.log().contains("cannot connect"), "no handshake failed");
    assert!(!remote.log().contains("Refused a request at the door"), "no password was refused");
    // The first password is no longer worth anything, so the rotation was one.
    mounts.client.put(&credentials(0));
    edge.wait_for_lines(PASSWORD, ROUNDS + 1);
    let status = super::send(&edge).await.expect_err("an old password");
    assert_eq!(status.code(), tonic::Code::Unauthenticated, "{status}");
    edge.stop();
    remote.stop();
}
