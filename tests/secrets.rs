//! No secret of a run is in anything that a collector prints: logs, errors, printed configurations, metrics, the debug
//! exporter's output, the last words of a process that is aborted.

mod needle;

use std::fs;
use std::net::SocketAddr;
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_client::TraceServiceClient;
use rustix::process::Signal;
use tempfile::TempDir;
use tonic::{Request, Status};

use crate::client;
use crate::data;
use crate::harness::{Collector, Launch, run};
use crate::health_check::probe;
use crate::sink::{Behaviour, Sink};
use crate::tls::pki::{Pki, have};
use needle::{Needles, secret};

/// Every secret of a run, each for one purpose, so that a leak says where it comes from.
struct Secrets {
    /// In the table of the server, as a file, in plain text.
    filed: String,
    /// In the table of the server, inline.
    inline: String,
    /// What the client's side of `basicauth` says: from the environment.
    password: String,
    token: String,
    /// What `oauth2client` says of itself to its issuer.
    client: String,
    /// Another parameter for the issuer.
    parameter: String,
    /// A value of `headers_setter`.
    header: String,
    /// A value of `otlp_grpc.headers`.
    fixed: String,
    /// What those say who are not let in.
    guess: String,
    /// The key of a certificate, as text in the configuration.
    key: String,
    cert: String,
    needles: Needles,
}

impl Secrets {
    fn new(pki: &Pki) -> Self {
        pki.issue("server", "remote.example");
        let read = |file: &str| fs::read_to_string(pki.path(file)).expect("read");
        let mut secrets = Self {
            filed: secret(),
            inline: secret(),
            password: secret(),
            token: secret(),
            client: secret(),
            parameter: secret(),
            header: secret(),
            fixed: secret(),
            guess: secret(),
            key: read("server.key"),
            cert: read("server.pem"),
            needles: Needles::default(),
        };
        for (name, value) in [
            ("htpasswd.file", &secrets.filed),
            ("htpasswd.inline", &secrets.inline),
            ("client_auth.password", &secrets.password),
            ("bearertokenauth.token", &secrets.token),
            ("oauth2client.client_secret", &secrets.client),
            ("oauth2client.endpoint_params", &secrets.parameter),
            ("headers_setter.value", &secrets.header),
            ("otlp_grpc.headers", &secrets.fixed),
            ("what a client was refused with", &secrets.guess),
        ] {
            secrets.needles.add(name, value);
        }
        secrets.needles.add_pem("tls.key_pem", &secrets.key);
        secrets
    }

    /// The environment of every process.
    fn environment(&self) -> Vec<(String, String)> {
        [
            ("SB_PASSWORD", &self.password),
            ("SB_INLINE", &self.inline),
            ("SB_TOKEN", &self.token),
            ("SB_CLIENT", &self.client),
            ("SB_PARAMETER", &self.parameter),
            ("SB_KEY", &self.key),
            ("SB_CERT", &self.cert),
        ]
        .map(|(name, value)| (name.to_owned(), value.clone()))
        .into()
    }

    fn launch(&self) -> Launch {
        Launch { environment: self.environment(), ..Launch::default() }
    }
}

/// What the process says of itself: everything it can.
const TELEMETRY: &str = "telemetry:
    metrics: {level: detailed, readers: [{pull: {exporter: {prometheus: {host: 127.0.0.1, port: 0}}}}]}
    logs: {level: debug, sampling: null}";

/// Receives on two endpoints, one of them with TLS, and lets in who knows a password or a token.
fn remote(secrets: &Secrets, table: &Path, sink: SocketAddr) -> String {
    let (table, header, fixed) = (table.display(), &secrets.header, &secrets.fixed);
    format!(
        "
extensions:
  basicauth/server: {{htpasswd: {{file: {table}, inline: 'user-2:{{PLAIN}}${{env:SB_INLINE}}'}}}}
  bearertokenauth: {{token: '${{env:SB_TOKEN}}'}}
  any_auth: {{authenticators: [bearertokenauth, basicauth/server]}}
  headers_setter: {{headers: [{{key: x-key, action: upsert, value: {header}}}]}}
receivers:
  otlp:
    protocols:
      grpc: {{endpoint: 127.0.0.1:0, include_metadata: true, auth: {{authenticator: any_auth}}}}
  otlp/tls:
    protocols:
      grpc:
        endpoint: 127.0.0.1:0
        tls: {{cert_pem: \"${{env:SB_CERT}}\", key_pem: \"${{env:SB_KEY}}\"}}
exporters:
  debug: {{verbosity: detailed}}
  otlp_grpc:
    endpoint: {sink}
    tls: {{insecure: true}}
    headers: {{x-fixed: {fixed}}}
    auth: {{authenticator: headers_setter}}
    sending_queue: {{enabled: false}}
    retry_on_failure: {{enabled: false}}
service:
  extensions: [any_auth, basicauth/server, bearertokenauth, headers_setter]
  {TELEMETRY}
  pipelines:
    traces: {{receivers: [otlp, otlp/tls], exporters: [otlp_grpc, debug]}}
"
    )
}

/// Lets anybody in, and says to `target` who it is in three ways: one is right, one is wrong, and one has no issuer to ask.
fn edge(target: SocketAddr) -> String {
    format!(
        "
extensions:
  basicauth: {{client_auth: {{username: user-1, password: '${{env:SB_PASSWORD}}'}}}}
  bearertokenauth: {{token: '${{env:SB_TOKEN}}'}}
  oauth2client:
    client_id: edge
    client_secret: '${{env:SB_CLIENT}}'
    token_url: http://127.0.0.1:1/token
    endpoint_params: {{assertion: ['${{env:SB_PARAMETER}}']}}
receivers: {{otlp: {{protocols: {{grpc: {{endpoint: '127.0.0.1:0', include_metadata: true}}}}}}}}
exporters:
  otlp_grpc/wrong:
    endpoint: {target}
    tls: {{insecure: true}}
    auth: {{authenticator: basicauth, allow_plaintext: true}}
    retry_on_failure: {{initial_interval: 50ms, max_interval: 100ms}}
  otlp_grpc/right:
    endpoint: {target}
    tls: {{insecure: true}}
    auth: {{authenticator: bearertokenauth, allow_plaintext: true}}
    retry_on_failure: {{initial_interval: 50ms, max_interval: 100ms}}
  otlp_grpc/token:
    endpoint: {target}
    tls: {{insecure: true}}
    auth: {{authenticator: oauth2client, allow_plaintext: true}}
    retry_on_failure: {{initial_interval: 50ms, max_interval: 100ms}}
service:
  extensions: [basicauth, bearertokenauth, oauth2client]
  {TELEMETRY}
  pipelines:
    traces: {{receivers: [otlp], exporters: [otlp_grpc/wrong, otlp_grpc/right, otlp_grpc/token]}}
"
    )
}

async fn send(target: SocketAddr, authorization: &str) -> Result<(), Status> {
    let mut request = Request::new(data::spans(1, 3));
    let value = authorization.parse().expect("a header value");
    request.metadata_mut().insert("authorization", value);
    client::traces(target).await.export(request).await.map(drop)
}

fn basic(credentials: &str) -> String {
    format!("Basic {}", STANDARD.encode(credentials))
}

/// The page of metrics, which says everything the process counts.
fn metrics(collector: &Collector) -> String {
    let line = collector.wait_for_line("Serving internal metrics");
    let (_, rest) = line.split_once("127.0.0.1:").expect("an address");
    let port: String = rest.chars().take_while(char::is_ascii_digit).collect();
    let page = probe(([127, 0, 0, 1], port.parse().expect("a port")).into(), "/metrics").body;
    assert!(page.contains("otelcol_"), "{page}");
    page
}

/// Requests that are let in, and others for each reason there is; what the clients are told.
async fn requests(secrets: &Secrets, target: SocketAddr) -> Vec<(String, String)> {
    let Secrets { filed, inline, token, guess, .. } = secrets;
    for right in
        [basic(&format!("user-1:{filed}")), basic(&format!("user-2:{inline}")), format!("Bearer {token}")]
    {
        send(target, &right).await.expect("let in");
    }
    let mut told = Vec::new();
    for wrong in [
        basic(&format!("user-1:{guess}")),
        basic(&format!("{guess}:{guess}")),
        basic(&format!("user-1:{filed}\n")),
        basic(&format!("user-1{filed}")),
        format!("Basic {guess}-"),
        format!("Basic user-1:{filed}"),
        format!("Bearer {guess}"),
        format!("Bearer {token} "),
        format!("Token {token}"),
        token.clone(),
    ] {
        let status = send(target, &wrong).await.expect_err("not let in");
        told.push(("a status".to_owned(), format!("{status:?} {status}")));
    }
    told
}

#[tokio::test(flavor = "multi_thread")]
async fn no_secret_of_running_collectors_is_in_what_they_print_or_answer() {
    if !have("openssl", "version") {
        return;
    }
    let (pki, dir, sink) = (Pki::new(), TempDir::new().expect("a folder"), Sink::start());
    let secrets = Secrets::new(&pki);
    let table = dir.path().join("htpasswd");
    fs::write(&table, format!("user-1:{{PLAIN}}{}\n", secrets.filed)).expect("write");
    let (far, near) = (TempDir::new().expect("a folder"), TempDir::new().expect("a folder"));
    let config = remote(&secrets, &table, sink.address());
    let remote = Collector::start_in(far.path(), "remote", &config, &secrets.launch());
    // The endpoint without TLS is the one that starts without being told of certificates.
    let target = grpc(&remote, "otlp\"");
    let edge = Collector::start_in(near.path(), "edge", &edge(target), &secrets.launch());

    let mut texts = requests(&secrets, target).await;
    client::traces(edge.grpc()).await.export(data::spans(1, 3)).await.expect("queued");
    edge.wait_for_line("Exporting failed");
    edge.wait_for_line("127.0.0.1:1");
    // A backend that refuses, in each way, and one that is gone.
    for code in [tonic::Code::Unauthenticated, tonic::Code::Unavailable, tonic::Code::Internal] {
        sink.behave(Behaviour {
            refuse: Some(Status::new(code, "as the backend says")),
            ..Behaviour::default()
        });
        let status = send(target, &basic(&format!("user-1:{}", secrets.filed))).await.expect_err("refused");
        texts.push(("a status".to_owned(), format!("{status:?} {status}")));
    }
    drop(sink);
    let status = send(target, &format!("Bearer {}", secrets.token)).await.expect_err("nobody is there");
    texts.push(("a status".to_owned(), format!("{status:?} {status}")));
    // A client without TLS where TLS is spoken.
    let plain = tonic::transport::Endpoint::from_shared(format!("http://{}", grpc(&remote, "otlp/tls")));
    let mut plain = TraceServiceClient::new(plain.expect("a URI").connect_lazy());
    plain.export(data::spans(1, 3)).await.expect_err("TLS is spoken there");
    // A table that cannot be used, and configurations that cannot.
    fs::write(&table, format!("user-1:$2y$10${}\nuser-3:$y${}\n", secrets.filed, secrets.filed))
        .expect("write");
    remote.wait_for_line("the last good table stays in use");
    remote.reload(&config.replace("action: upsert", &format!("action: {}", "upsrt")));
    remote.wait_for_lines("The new configuration is refused", 1);
    remote.reload(&config.replace("inline: 'user-2", "inline: 'user-1:$2y$x\n\n      user-2"));
    remote.wait_for_lines("The new configuration is refused", 2);

    texts.push(("the metrics of remote".to_owned(), metrics(&remote)));
    texts.push(("the metrics of edge".to_owned(), metrics(&edge)));
    for (name, mut collector) in [("remote", remote), ("edge", edge)] {
        // The log is what it printed, to both streams, to its end.
        collector.abort();
        let status = collector.wait();
        assert_eq!(status.signal(), Some(Signal::ABORT.as_raw()), "{status}");
        texts.push((format!("the log of {name}"), collector.whole_log()));
    }
    let log = &texts.iter().find(|(place, _)| place == "the log of remote").expect("a log").1;
    for line in ["Refused a request at the door", "ResourceSpans", "debug"] {
        assert!(log.contains(line), "the log does not have what this test looks through: {line}");
    }
    secrets.needles.assert_absent(&texts);
}

/// The gRPC endpoint of the receiver that logs as `id`.
fn grpc(collector: &Collector, id: &str) -> SocketAddr {
    collector.wait_for_line("Everything is ready");
    let log = collector.log();
    let line = log.lines().find(|line| line.contains("Starting GRPC server") && line.contains(id));
    let line = line.unwrap_or_else(|| panic!("no endpoint of {id} in:\n{log}"));
    let (_, rest) = line.split_once("127.0.0.1:").expect("an address");
    let port: String = rest.chars().take_while(char::is_ascii_digit).collect();
    SocketAddr::from(([127, 0, 0, 1], port.parse().expect("a port")))
}

/// Configurations with every secret in them that are wrong, each in one way: a name, and what makes it so.
fn wrong(secrets: &Secrets) -> Vec<(&'static str, String)> {
    let good = remote(secrets, Path::new("htpasswd"), ([127, 0, 0, 1], 1).into());
    let Secrets { token, password, inline, header, fixed, .. } = secrets;
    let with = |from: &str, to: &str| {
        assert!(good.contains(from), "{from}");
        good.replacen(from, to, 1)
    };
    let bearer = "bearertokenauth: {token: '${env:SB_TOKEN}'}";
    let setter = format!("headers_setter: {{headers: [{{key: x-key, action: upsert, value: {header}}}]}}");
    let headers = format!("headers: {{x-fixed: {fixed}}}");
    vec![
        (
            "an unknown key beside it",
            with(bearer, &format!("bearertokenauth: {{token: {token}, nonsense: 1}}")),
        ),
        ("a list in its place", with(bearer, &format!("bearertokenauth: {{token: [{token}]}}"))),
        ("a map in its place", with(bearer, &format!("bearertokenauth: {{token: {{value: {token}}}}}"))),
        ("a list within a list", with(bearer, &format!("bearertokenauth: {{tokens: [{token}, [{token}]]}}"))),
        ("a misspelt key", with(bearer, &format!("bearertokenauth: {{tokn: {token}}}"))),
        ("the secret in the place of the block", with(bearer, &format!("bearertokenauth: {token}"))),
        ("a quote that is not closed", with(bearer, &format!("bearertokenauth: {{token: '{token}}}"))),
        ("a bracket that is not closed", with(bearer, &format!("bearertokenauth: {{token: {token}"))),
        ("a tab", with(bearer, &format!("bearertokenauth:\n\ttoken: {token}"))),
        ("a colon inside", with(bearer, &format!("bearertokenauth:\n    token: a: {token}"))),
        ("a key twice", with(bearer, &format!("bearertokenauth: {{token: {token}, token: {token}}}"))),
        ("a wrong action", with(&setter, &setter.replace("upsert", "upsrt"))),
        ("a header that cannot be", with(&setter, &setter.replace(header, &format!("\"{header}\\n\"")))),
        ("two sources", with(&setter, &setter.replace("value:", "from_context: x, value:"))),
        ("a list as a header", with(&headers, &format!("headers: {{x-fixed: [{fixed}]}}"))),
        ("a name that no header has", with(&headers, &format!("headers: {{'x fixed': {fixed}}}"))),
        (
            "a header that cannot be, of the exporter",
            with(&headers, &format!("headers: {{x: \"{fixed}\\n\"}}")),
        ),
        (
            "a broken line of the table",
            with("user-2:{PLAIN}${env:SB_INLINE}", &format!("user-2:$2y$x{inline}")),
        ),
        ("an unknown hash", with("user-2:{PLAIN}${env:SB_INLINE}", &format!("user-2:$y${inline}"))),
        ("a client and a server at once", {
            let client = format!("basicauth/server: {{client_auth: {{username: u, password: {password}}}, ");
            with("basicauth/server: {", &client)
        }),
        ("a user with a colon", {
            let client = format!("basicauth: {{client_auth: {{username: 'u:v', password: {password}}}}}\n  ");
            with("bearertokenauth:", &format!("{client}bearertokenauth:"))
        }),
        ("half a key", with("\"${env:SB_KEY}\"", &format!("{:?}", &secrets.key[..secrets.key.len() / 2]))),
        ("the key in the place of the certificate", with("${env:SB_CERT}", "${env:SB_KEY}")),
        ("the key in the place of the file's name", with("key_pem:", "key_file:")),
        (
            "an environment variable with a list",
            with("endpoint: 127.0.0.1:0,", "endpoint: '${env:SB_TOKEN}',"),
        ),
    ]
}

/// Where the configurations with a mistake begin.
const FIRST_BAD: usize = 2;
/// A secret in a key that holds none.
const MISPLACED: [&str; 2] =
    ["the key in the place of the file's name", "an environment variable with a list"];

#[test]
fn no_secret_is_in_what_the_commands_print_about_good_and_bad_configurations() {
    if !have("openssl", "version") {
        return;
    }
    let (pki, dir) = (Pki::new(), TempDir::new().expect("a folder"));
    let secrets = Secrets::new(&pki);
    fs::write(dir.path().join("htpasswd"), format!("user-1:{{PLAIN}}{}\n", secrets.filed)).expect("write");
    let good = remote(&secrets, Path::new("htpasswd"), ([127, 0, 0, 1], 1).into());
    let mut cases = vec![("nothing wrong", good.clone()), ("the edge", edge(([127, 0, 0, 1], 1).into()))];
    assert_eq!(cases.len(), FIRST_BAD);
    cases.extend(wrong(&secrets));
    let mut texts = Vec::new();
    for (number, (name, config)) in cases.iter().enumerate() {
        fs::write(dir.path().join("config.yaml"), config).expect("write");
        let commands: &[&str] = match number {
            0..FIRST_BAD => &["validate", "print-config", "print-config --format json"],
            // What is of the right type is printed: nobody can tell a secret from an endpoint.
            _ if MISPLACED.contains(name) => &["validate"],
            _ => &["validate", "print-config --validate=false"],
        };
        for command in commands {
            let words: Vec<&str> = command.split(' ').chain(["--config", "config.yaml"]).collect();
            let output = run(dir.path(), &words, &secrets.environment());
            if number < FIRST_BAD {
                assert!(output.status.success(), "{command}: {name}");
            } else if *command == "validate" {
                assert!(!output.status.success(), "{command} finds nothing wrong: {name}");
            }
            let printed = [output.stdout, output.stderr].concat();
            texts.push((format!("{command}, {name}"), String::from_utf8_lossy(&printed).into_owned()));
        }
    }
    fs::write(dir.path().join("config.yaml"), &good).expect("write");
    for set in
        ["bearertokenauth.tokn", "bearertokenauth", "bearertokenauth.token.value", "headers_setter.headers"]
    {
        let set = format!("extensions.{set}={}", secrets.token);
        let output =
            run(dir.path(), &["validate", "--config", "config.yaml", "--set", &set], &secrets.environment());
        assert!(!output.status.success(), "{set}");
        let printed = [output.stdout, output.stderr].concat();
        texts.push((format!("validate --set {set}"), String::from_utf8_lossy(&printed).into_owned()));
    }
    secrets.needles.assert_absent(&texts);
}
