//! The forwarders that are measured, each with its generated configuration.

use std::fs::{self, File};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use clap::ValueEnum;
use tempfile::TempDir;

use crate::Outcome;
use crate::door::Door;
use crate::ledger::INSERTED;
use crate::process;
use crate::target::Target;

const START_TIMEOUT: Duration = Duration::from_secs(10);
const STOP_TIMEOUT: Duration = Duration::from_secs(10);
const POLL: Duration = Duration::from_millis(5);

/// Who forwards, and how.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Kind {
    /// nginx, `grpc_pass`: the yardstick. It proxies bytes and knows nothing of telemetry.
    Nginx,
    /// Spanbridge without a processor: receive, validate, export.
    Pass,
    /// Spanbridge with `resource` (two inserts) and `batch` (8192), which acknowledges what it has accepted.
    Batch,
    /// As `batch`, but acknowledged when the sink has it.
    BatchDelivered,
    /// As `pass`, for clients with a password of which it has the bcrypt hash, cost 12.
    BasicAuth,
    /// As `pass`, with TLS between the load and it.
    Tls,
    /// As `pass`, with a sending queue in memory.
    Memory,
    /// As `pass`, with a sending queue on disk that is not synced.
    Disk,
    /// As `pass`, with a sending queue on disk that is synced before a request is acknowledged.
    DiskFsync,
    /// As `memory`, bounded by its bytes and by a memory limiter, as one would run it.
    MemoryLimited,
    /// As `disk`, with a memory limiter.
    DiskLimited,
}

impl Kind {
    /// For the table.
    pub(crate) fn title(self) -> &'static str {
        match self {
            Kind::Nginx => "nginx `grpc_pass`, raw bytes",
            Kind::Pass => "spanbridge: otlp, otlp_grpc",
            Kind::Batch => "spanbridge: otlp, resource (2 inserts), batch 8192, otlp_grpc",
            Kind::BatchDelivered => "the same, `acknowledge: delivered`",
            Kind::BasicAuth => "spanbridge: otlp with basicauth (bcrypt 12), otlp_grpc",
            Kind::Tls => "spanbridge: otlp with TLS, otlp_grpc",
            Kind::Memory => "spanbridge: otlp, otlp_grpc with a memory queue",
            Kind::Disk => "the same with a disk queue, no fsync",
            Kind::DiskFsync => "the same with a disk queue, fsync",
            Kind::MemoryLimited => "memory queue of 256 MB, memory_limiter 128 MiB",
            Kind::DiskLimited => "disk queue of 10 GB, no fsync, memory_limiter 128 MiB",
        }
    }

    /// Whether it inserts the two attributes.
    pub(crate) fn enriches(self) -> bool {
        matches!(self, Kind::Batch | Kind::BatchDelivered)
    }

    /// The keys of its sending queue.
    fn queue(self) -> &'static str {
        match self {
            Kind::Memory => "block_on_overflow: true",
            Kind::Disk | Kind::DiskFsync => "storage: file_storage, block_on_overflow: true",
            Kind::MemoryLimited => "sizer: bytes, queue_size: 256000000",
            Kind::DiskLimited => "storage: file_storage, sizer: bytes, queue_size: 10000000000",
            Kind::Nginx | Kind::Pass | Kind::BasicAuth | Kind::Tls | Kind::Batch | Kind::BatchDelivered => {
                "enabled: false"
            }
        }
    }

    /// Whether its queue is on disk, and synced.
    fn fsync(self) -> Option<bool> {
        match self {
            Kind::Disk | Kind::DiskLimited => Some(false),
            Kind::DiskFsync => Some(true),
            _ => None,
        }
    }

    /// What its receiver asks of clients.
    fn door(self, dir: &Path) -> Outcome<Door> {
        match self {
            Kind::BasicAuth => Door::with_passwords(dir),
            Kind::Tls => Door::with_tls(dir),
            _ => Ok(Door::default()),
        }
    }

    /// Whether a limiter guards its memory.
    fn is_limited(self) -> bool {
        matches!(self, Kind::MemoryLimited | Kind::DiskLimited)
    }

    /// Requests in flight a connection, if it needs others than the load has: answers that wait for a batch need a
    /// batch's worth of requests under way, or the batch's timeout is what is measured.
    pub(crate) fn in_flight(self) -> Option<usize> {
        (self == Kind::BatchDelivered).then_some(48)
    }
}

/// Where the programs are.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Programs {
    /// The nginx binary.
    #[arg(long, default_value = "nginx")]
    nginx: PathBuf,
    /// The Spanbridge binary; by default the one beside this program.
    #[arg(long)]
    spanbridge: Option<PathBuf>,
}

impl Programs {
    fn spanbridge(&self) -> Outcome<PathBuf> {
        let path = match &self.spanbridge {
            Some(path) => path.clone(),
            None => std::env::current_exe()?.with_file_name("spanbridge"),
        };
        if path.is_file() {
            Ok(path)
        } else {
            Err(format!("{} is missing: build it first", path.display()).into())
        }
    }
}

/// A running forwarder. It is killed when it is dropped.
pub(crate) struct Forwarder {
    child: Child,
    address: SocketAddr,
    target: Target,
    dir: TempDir,
}

impl Forwarder {
    /// Starts one on the core that this thread is pinned to, and waits until it listens.
    ///
    /// # Errors
    /// When the program is missing or does not listen in time; its output is part of the error.
    pub(crate) fn start(kind: Kind, programs: &Programs, sink: SocketAddr) -> Outcome<Self> {
        Self::spawn(kind, |dir, address, door| match kind {
            Kind::Nginx => nginx(&programs.nginx, dir, address, sink),
            _ => spanbridge(&programs.spanbridge()?, dir, &pipeline(kind, door, dir, address, sink)),
        })
    }

    /// As [`Forwarder::start`], of a Spanbridge that adds what the API server at `api` knows of the senders.
    ///
    /// # Errors
    /// As there.
    pub(crate) fn start_k8s(programs: &Programs, sink: SocketAddr, api: SocketAddr) -> Outcome<Self> {
        Self::spawn(Kind::Pass, |dir, address, door| {
            let file = dir.join("kubeconfig");
            fs::write(
                &file,
                format!(
                    "{{apiVersion: v1, kind: Config, current-context: c, contexts: [{{name: c, context: {{cluster: c, user: u}}}}], \
                     clusters: [{{name: c, cluster: {{server: 'http://{api}'}}}}], users: [{{name: u, user: {{}}}}]}}"
                ),
            )?;
            let keys = format!("auth_type: kubeConfig, kube_config_path: '{}'", file.display());
            let processors = format!("processors:\n  k8s_attributes: {{{keys}}}\n");
            let queue = Kind::Pass.queue();
            let config =
                config(["", ""], [&processors, "k8s_attributes"], queue, &door.keys, [address, sink]);
            spanbridge(&programs.spanbridge()?, dir, &config)
        })
    }

    /// Starts what `command` makes for a folder of its own and the address to listen on.
    fn spawn(
        kind: Kind,
        command: impl FnOnce(&Path, SocketAddr, &Door) -> Outcome<Command>,
    ) -> Outcome<Self> {
        let dir = TempDir::new()?;
        let address = free_address()?;
        let door = kind.door(dir.path())?;
        let mut command = command(dir.path(), address, &door)?;
        let log = File::create(dir.path().join("log"))?;
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        let child = command.spawn().map_err(|error| format!("{command:?}: {error}"))?;
        let target = Target::from(address).with_authorization(door.authorization).with_tls(door.tls);
        let mut forwarder = Self { child, address, target, dir };
        forwarder.wait_until_listening()?;
        Ok(forwarder)
    }

    fn wait_until_listening(&mut self) -> Outcome<()> {
        let started = Instant::now();
        while TcpStream::connect(self.address).is_err() {
            if self.child.try_wait()?.is_some() || started.elapsed() > START_TIMEOUT {
                let log = fs::read_to_string(self.dir.path().join("log")).unwrap_or_default();
                return Err(format!("the forwarder does not listen on {}:\n{log}", self.address).into());
            }
            thread::sleep(POLL);
        }
        Ok(())
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where the load goes, with what it needs to be let in.
    pub(crate) fn target(&self) -> &Target {
        &self.target
    }

    /// CPU time so far.
    ///
    /// # Errors
    /// When it is gone.
    pub(crate) fn cpu_time(&self) -> Outcome<Duration> {
        process::cpu_time(self.child.id())
    }

    /// CPU time so far, that of ended threads included, to a hundredth of a second.
    ///
    /// # Errors
    /// When it is gone.
    pub(crate) fn cpu_time_with_ended_threads(&self) -> Outcome<Duration> {
        process::cpu_time_with_ended_threads(self.child.id())
    }

    /// Its resident memory now.
    ///
    /// # Errors
    /// When it is gone.
    pub(crate) fn resident_bytes(&self) -> Outcome<u64> {
        process::resident_bytes(self.child.id())
    }

    /// Its most resident memory so far.
    ///
    /// # Errors
    /// When it is gone.
    pub(crate) fn peak_resident_bytes(&self) -> Outcome<u64> {
        process::peak_resident_bytes(self.child.id())
    }

    /// Ends it in order, so that what it still holds is delivered.
    ///
    /// # Errors
    /// When it does not end in time.
    pub(crate) fn stop(mut self) -> Outcome<()> {
        let pid = i32::try_from(self.child.id()).ok().and_then(rustix::process::Pid::from_raw);
        rustix::process::kill_process(pid.ok_or("no process id")?, rustix::process::Signal::TERM)?;
        let started = Instant::now();
        while self.child.try_wait()?.is_none() {
            if started.elapsed() > STOP_TIMEOUT {
                return Err(format!("the forwarder still runs {STOP_TIMEOUT:?} after SIGTERM").into());
            }
            thread::sleep(POLL);
        }
        Ok(())
    }
}

impl Drop for Forwarder {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// An address that was free a moment ago: nginx cannot say which port it got.
fn free_address() -> Outcome<SocketAddr> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?)
}

fn nginx(program: &Path, dir: &Path, listen: SocketAddr, sink: SocketAddr) -> Outcome<Command> {
    let here = dir.display();
    let config = format!(
        "daemon off;
master_process off;
worker_processes 1;
pid {here}/nginx.pid;
error_log {here}/error.log warn;
events {{ worker_connections 1024; }}
http {{
    access_log off;
    client_body_temp_path {here}/body;
    proxy_temp_path {here}/proxy;
    fastcgi_temp_path {here}/fastcgi;
    uwsgi_temp_path {here}/uwsgi;
    scgi_temp_path {here}/scgi;
    upstream sink {{
        server {sink};
        keepalive 256;
        keepalive_requests 100000000;
    }}
    server {{
        listen {listen} http2;
        keepalive_requests 100000000;
        http2_max_concurrent_streams 1024;
        client_max_body_size 64m;
        client_body_buffer_size 256k;
        location / {{ grpc_pass grpc://sink; }}
    }}
}}
"
    );
    let file = dir.join("nginx.conf");
    fs::write(&file, config)?;
    let mut command = Command::new(program);
    command.arg("-p").arg(dir).arg("-c").arg(file).arg("-e").arg(dir.join("error.log"));
    Ok(command)
}

fn spanbridge(program: &Path, dir: &Path, config: &str) -> Outcome<Command> {
    let file = dir.join("config.yaml");
    fs::write(&file, config)?;
    let mut command = Command::new(program);
    command.arg("--config").arg(file);
    Ok(command)
}

fn pipeline(kind: Kind, door: &Door, dir: &Path, listen: SocketAddr, sink: SocketAddr) -> String {
    let (processors, used) = processors(kind);
    let (extensions, running) = match kind.fsync() {
        Some(fsync) => {
            let keys = format!(
                "directory: '{}', create_directory: true, fsync: {fsync}",
                dir.join("queue").display()
            );
            (format!("extensions:\n  file_storage: {{{keys}}}\n"), "file_storage")
        }
        None => (door.extensions.clone(), door.running),
    };
    config([&extensions, running], [&processors, used], kind.queue(), &door.keys, [listen, sink])
}

/// A configuration with these extensions and processors, each as the definitions and the list of those that are used; `keys` are
/// further ones of the gRPC server.
fn config(
    [extensions, running]: [&str; 2],
    [processors, used]: [&str; 2],
    queue: &str,
    keys: &str,
    [listen, sink]: [SocketAddr; 2],
) -> String {
    format!(
        "{extensions}receivers:
  otlp:
    protocols:
      grpc: {{endpoint: '{listen}', max_recv_msg_size_mib: 64{keys}}}
{processors}exporters:
  otlp_grpc:
    endpoint: {sink}
    compression: none
    timeout: 60s
    tls: {{insecure: true}}
    retry_on_failure: {{max_elapsed_time: 0}}
    sending_queue: {{{queue}}}
service:
  extensions: [{running}]
  telemetry:
    metrics: {{level: none}}
    logs: {{level: warn}}
  pipelines:
    traces: {{receivers: [otlp], processors: [{used}], exporters: [otlp_grpc]}}
"
    )
}

/// The definitions of the processors, and the list of those that are used.
fn processors(kind: Kind) -> (String, &'static str) {
    let [zone, cluster] =
        INSERTED.map(|(key, value)| format!("      - {{key: {key}, value: {value}, action: insert}}\n"));
    if kind.enriches() {
        let acknowledge = if kind == Kind::BatchDelivered { "delivered" } else { "accepted" };
        let batch = format!("  batch: {{send_batch_size: 8192, acknowledge: {acknowledge}}}\n");
        (format!("processors:\n  resource:\n    attributes:\n{zone}{cluster}{batch}"), "resource, batch")
    } else if kind.is_limited() {
        let limiter = "processors:\n  memory_limiter: {check_interval: 100ms, limit_mib: 128}\n";
        (limiter.to_owned(), "memory_limiter")
    } else {
        (String::new(), "")
    }
}
