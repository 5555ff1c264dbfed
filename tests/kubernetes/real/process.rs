//! The process of the real server, started once for all tests.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write as _};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use tokio::sync::Mutex;

use crate::tls::pki::Pki;

/// The server of all tests, one after the other. It ends with this process, whose end of its standard input it waits for, and
/// removes its folder: what is static is not dropped.
pub(super) static SERVER: Mutex<Process> = Mutex::const_new(Process { running: None });

/// How long it may take to start: seconds on a machine of its own.
pub(super) const START_LIMIT: Duration = Duration::from_secs(180);
/// The token of the administrator.
pub(super) const ADMIN_TOKEN: &str = "token-of-the-administrator";

/// Only what the collector's account asks for, once a request, as it arrives.
const AUDIT_POLICY: &str = "
apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [ResponseStarted, ResponseComplete, Panic]
rules:
  - {level: Metadata, users: ['system:serviceaccount:observability:spanbridge']}
  - {level: None}
";

/// The server, if it has been started.
pub(super) struct Process {
    running: Option<Running>,
}

struct Running {
    child: Child,
    /// What it prints.
    lines: Receiver<String>,
    address: SocketAddr,
    binary: PathBuf,
    /// Certificates, keys, etcd's files, and logs.
    pki: Pki,
}

impl Process {
    /// Starts it unless it runs.
    pub(super) fn ensure(&mut self, binary: &Path) {
        let runs = |running: &mut Running| running.child.try_wait().expect("state of the server").is_none();
        if self.running.as_mut().is_some_and(runs) {
            return;
        }
        let pki = Pki::new();
        pki.issue("server", "kubernetes");
        pki.issue("accounts", "accounts");
        fs::write(pki.path("audit.yaml"), AUDIT_POLICY).expect("write the policy");
        fs::write(pki.path("audit.log"), "").expect("create the log");
        let admin = format!("{ADMIN_TOKEN},admin,admin,\"system:masters\"\n");
        fs::write(pki.path("tokens.csv"), admin).expect("write the tokens");
        let (child, lines, address) = spawn(binary, &pki, 0);
        self.running = Some(Running { child, lines, address, binary: binary.to_owned(), pki });
    }

    /// Lets it forget the past, kills it, and starts it again on the same files, at the same address.
    pub(super) fn restart(&mut self) {
        let running = self.running.as_mut().expect("it runs");
        let input = running.child.stdin.as_mut().expect("stdin is piped");
        input.write_all(b"compact\n").expect("ask the server");
        let line = running.lines.recv_timeout(START_LIMIT);
        assert_eq!(line.as_deref(), Ok("COMPACTED"), "{}", tail(&running.pki));
        running.child.kill().expect("kill the server");
        running.child.wait().expect("the server has ended");
        let (child, lines, _) = spawn(&running.binary, &running.pki, running.address.port());
        (running.child, running.lines) = (child, lines);
    }

    fn get(&self) -> &Running {
        self.running.as_ref().expect("it runs")
    }

    /// A kubeconfig file that leads here; `user` is its user.
    pub(super) fn kube_config(&self, user: &str) -> String {
        let Running { address, pki, .. } = self.get();
        let ca = pki.at("ca.pem");
        format!(
            "{{apiVersion: v1, kind: Config, current-context: test, contexts: [{{name: test, context: {{cluster: c, user: u}}}}], \
             clusters: [{{name: c, cluster: {{server: 'https://{address}', certificate-authority: {ca}}}}}], \
             users: [{{name: u, user: {{{user}}}}}]}}"
        )
    }

    /// The authority behind its certificate.
    pub(super) fn ca(&self) -> PathBuf {
        self.get().pki.path("ca.pem")
    }

    /// Where it listens.
    pub(super) fn address(&self) -> SocketAddr {
        self.get().address
    }

    /// The requests of the collector's account, one a line.
    pub(super) fn audit_log(&self) -> String {
        fs::read_to_string(self.get().pki.path("audit.log")).expect("read the audit log")
    }

    /// The end of what it printed.
    pub(super) fn log(&self) -> String {
        tail(&self.get().pki)
    }
}

/// Starts the server at this port, or at any for 0, and waits until it listens.
fn spawn(binary: &Path, pki: &Pki, port: u16) -> (Child, Receiver<String>, SocketAddr) {
    let flags = flags(pki, port);
    let log = File::options().create(true).append(true).open(pki.path("log")).expect("a log");
    let mut child = Command::new(binary)
        .args(flags.lines())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(log)
        .spawn()
        .expect("start the server");
    let (sender, lines) = channel();
    let stdout = BufReader::new(child.stdout.take().expect("stdout is piped"));
    std::thread::spawn(move || {
        for line in stdout.lines().map_while(Result::ok) {
            let _ = sender.send(line);
        }
    });
    let line = lines.recv_timeout(START_LIMIT).unwrap_or_default();
    let address = line.strip_prefix("LISTENING ").and_then(|address| address.parse().ok());
    let Some(address) = address else {
        let _ = child.kill();
        panic!("the API server does not start:\n{}", tail(pki))
    };
    (child, lines, address)
}

/// One a line.
fn flags(pki: &Pki, port: u16) -> String {
    let mut flags = "--bind-address=127.0.0.1
--advertise-address=127.0.0.1
--endpoint-reconciler-type=none
--authorization-mode=RBAC
--disable-admission-plugins=ServiceAccount
--service-account-issuer=https://kubernetes.default.svc
"
    .to_owned();
    for (flag, file) in [
        ("home", ""),
        ("cert-dir", "certs"),
        ("tls-cert-file", "server.pem"),
        ("tls-private-key-file", "server.key"),
        ("service-account-key-file", "accounts.key"),
        ("service-account-signing-key-file", "accounts.key"),
        ("token-auth-file", "tokens.csv"),
        ("audit-policy-file", "audit.yaml"),
        ("audit-log-path", "audit.log"),
    ] {
        let _ = writeln!(flags, "--{flag}={}", pki.at(file));
    }
    let _ = write!(flags, "--secure-port={port}");
    flags
}

fn tail(pki: &Pki) -> String {
    let log = fs::read_to_string(pki.path("log")).unwrap_or_default();
    let lines: Vec<&str> = log.lines().collect();
    lines[lines.len().saturating_sub(30)..].join("\n")
}
