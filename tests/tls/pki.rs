//! A private certificate authority, made by the real `openssl`, and a real nginx.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::harness::{PATIENCE, say};

/// Whether this program can be run here; says so if not. Where `SPANBRIDGE_REQUIRE_PEERS` is `1`, that is a failure.
pub(crate) fn have(program: &str, version: &str) -> bool {
    let found = Command::new(program)
        .args(version.split(' '))
        .stdin(Stdio::null())
        .output()
        .is_ok_and(|output| output.status.success());
    if !found {
        let required = std::env::var("SPANBRIDGE_REQUIRE_PEERS").is_ok_and(|required| required == "1");
        assert!(!required, "{program} is needed here");
        say(&format!("skipped: there is no {program}"));
    }
    found
}

/// A table of these users with their passwords, made by the real htpasswd with bcrypt.
pub(crate) fn htpasswd(users: &[(&str, &str)]) -> String {
    let line = |(user, password): &(&str, &str)| {
        let output = Command::new("htpasswd").args(["-nbB", user, password]).output().expect("htpasswd runs");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        format!("{}\n", String::from_utf8_lossy(&output.stdout).trim())
    };
    users.iter().map(line).collect()
}

/// An authority with the files it issued.
pub(crate) struct Pki(TempDir);

const CONFIG: &str = "
[ca]
default_ca = default
[default]
database = index.txt
new_certs_dir = .
rand_serial = yes
default_md = sha256
default_days = 2
unique_subject = no
copy_extensions = copy
policy = policy
[policy]
commonName = supplied
[req]
distinguished_name = name
x509_extensions = ca_extensions
[name]
[ca_extensions]
basicConstraints = critical,CA:TRUE
keyUsage = keyCertSign,cRLSign
";

impl Pki {
    /// One with `server` (remote.example) and `client` (edge-1), and another with a `client` (edge-2).
    pub(crate) fn of_both_ends() -> (Self, Self) {
        let (ca, other) = (Self::new(), Self::new());
        ca.issue("server", "remote.example");
        ca.issue("client", "edge-1");
        other.issue("client", "edge-2");
        (ca, other)
    }

    /// A new authority: `ca.pem`, `ca.key`.
    pub(crate) fn new() -> Self {
        let pki = Self(TempDir::new().expect("a folder"));
        fs::write(pki.path("ca.cnf"), CONFIG).expect("write");
        fs::write(pki.path("index.txt"), "").expect("write");
        pki.openssl(
            "req -x509 -config ca.cnf -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout ca.key -out ca.pem \
             -subj /CN=test-authority -days 2",
        );
        pki
    }

    /// A certificate for `name` (also the only DNS name, beside 127.0.0.1): `<file>.pem`, `<file>.key`.
    pub(crate) fn issue(&self, file: &str, name: &str) {
        self.issue_valid(file, name, "");
    }

    /// One whose time is over.
    pub(crate) fn issue_expired(&self, file: &str, name: &str) {
        self.issue_valid(file, name, "-startdate 20200101000000Z -enddate 20210101000000Z");
    }

    fn issue_valid(&self, file: &str, name: &str, validity: &str) {
        self.openssl(&format!(
            "req -config ca.cnf -newkey rsa:2048 -nodes -keyout {file}.key -out {file}.csr -subj /CN={name} \
             -addext subjectAltName=DNS:{name},IP:127.0.0.1"
        ));
        self.openssl(&format!(
            "ca -batch -config ca.cnf -cert ca.pem -keyfile ca.key -notext -in {file}.csr -out {file}.pem {validity}"
        ));
    }

    pub(crate) fn path(&self, file: &str) -> PathBuf {
        self.0.path().join(file)
    }

    /// The path as text, for configurations.
    pub(crate) fn at(&self, file: &str) -> String {
        self.path(file).display().to_string()
    }

    fn openssl(&self, arguments: &str) {
        let output = Command::new("openssl")
            .args(arguments.split_whitespace())
            .current_dir(self.0.path())
            .stdin(Stdio::null())
            .output()
            .expect("openssl runs");
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "openssl {arguments}: {errors}");
    }
}

/// A real nginx that ends TLS and passes gRPC on.
pub(crate) struct Nginx {
    child: Child,
    address: SocketAddr,
    folder: TempDir,
}

impl Nginx {
    /// Ends TLS with `cert` and `key`, and passes plaintext gRPC to `backend`. `more` goes into the server block.
    pub(crate) fn start(cert: &Path, key: &Path, more: &str, backend: SocketAddr) -> Self {
        let folder = TempDir::new().expect("a folder");
        // Free a moment ago; nothing else on this machine binds ports of its own choice in between.
        let address =
            TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).and_then(|l| l.local_addr()).expect("a free port");
        let (cert, key, dir) = (cert.display(), key.display(), folder.path().display());
        let config = format!(
            "daemon off; pid {dir}/nginx.pid; error_log {dir}/error.log info; events {{}}
             http {{
               access_log off;
               client_body_temp_path {dir}/body; proxy_temp_path {dir}/proxy; fastcgi_temp_path {dir}/fastcgi;
               uwsgi_temp_path {dir}/uwsgi; scgi_temp_path {dir}/scgi;
               server {{
                 listen {address} ssl http2;
                 ssl_certificate {cert}; ssl_certificate_key {key};
                 {more}
                 location / {{ grpc_pass grpc://{backend}; }}
               }}
             }}"
        );
        let file = folder.path().join("nginx.conf");
        fs::write(&file, config).expect("write");
        let child = Command::new("nginx")
            .args(["-e", "stderr", "-p"])
            .arg(folder.path())
            .arg("-c")
            .arg(&file)
            .stdin(Stdio::null())
            .spawn()
            .expect("nginx starts");
        let nginx = Self { child, address, folder };
        nginx.wait();
        nginx
    }

    pub(crate) fn port(&self) -> u16 {
        self.address.port()
    }

    /// What it has logged so far.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("error.log")).expect("the log of nginx")
    }

    fn wait(&self) {
        let deadline = Instant::now() + PATIENCE;
        while TcpStream::connect(self.address).is_err() {
            assert!(Instant::now() < deadline, "nginx does not listen");
            thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        // Its worker ends with it.
        if let Some(pid) = i32::try_from(self.child.id()).ok().and_then(rustix::process::Pid::from_raw) {
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        }
        let _ = self.child.wait();
    }
}
