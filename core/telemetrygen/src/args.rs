//! The command line: every flag of Go's `telemetrygen` (reference: contrib-components, G.1 and G.2).

use clap::builder::{BoolishValueParser, TypedValueParser};
use spanbridge_config::Duration;

use crate::value::{DurationOrInf, KeyValue};

/// Generates OTLP load over the network.
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    /// What to generate.
    #[command(subcommand)]
    pub command: Command,
}

/// What to generate.
#[derive(Debug, Clone, clap::Subcommand)]
pub enum Command {
    /// Generate traces: a client span and its server spans.
    Traces(TracesArgs),
    /// Generate metrics: one data point each.
    Metrics(MetricsArgs),
    /// Generate log records.
    Logs(LogsArgs),
}

impl Command {
    /// The flags that every signal has.
    pub fn common(&self) -> &CommonArgs {
        match self {
            Command::Traces(args) => &args.common,
            Command::Metrics(args) => &args.common,
            Command::Logs(args) => &args.common,
        }
    }
}

/// A flag of Go's kind: `--flag`, `--flag=true`, `--flag=false`.
fn go_bool() -> impl TypedValueParser<Value = bool> {
    BoolishValueParser::new()
}

/// The flags that every signal has.
#[derive(Debug, Clone, clap::Args)]
#[expect(clippy::struct_excessive_bools, reason = "they are flags")]
pub struct CommonArgs {
    /// Destination of the OTLP requests, `host:port`.
    #[arg(long, value_name = "HOST:PORT", default_value = "localhost:4317")]
    pub otlp_endpoint: String,

    /// Not in this version: send over HTTP rather than gRPC.
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_value = "false", default_missing_value = "true", value_parser = go_bool())]
    pub otlp_http: bool,

    /// Not in this version: URL path of OTLP/HTTP.
    #[arg(long, value_name = "PATH")]
    pub otlp_http_url_path: Option<String>,

    /// Send in plain text. Without it TLS would be needed, which is not in this version.
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_value = "false", default_missing_value = "true", value_parser = go_bool())]
    pub otlp_insecure: bool,

    /// Not in this version: TLS without verification of the server.
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_value = "false", default_missing_value = "true", value_parser = go_bool())]
    pub otlp_insecure_skip_verify: bool,

    /// Header of every request, `key="value"`; the double quotes must reach the program. Repeatable.
    #[arg(long, value_name = "KEY=\"VALUE\"")]
    pub otlp_header: Vec<KeyValue>,

    /// Resource attribute: `key="value"`, `key=true`, `key=123` or `key=["a", "b"]`. Repeatable.
    #[arg(long, value_name = "KEY=VALUE")]
    pub otlp_attributes: Vec<KeyValue>,

    /// Attribute of every span, data point or log record, in the form of --otlp-attributes. Repeatable.
    #[arg(long, value_name = "KEY=VALUE")]
    pub telemetry_attributes: Vec<KeyValue>,

    /// Not in this version: certificate authority of the server.
    #[arg(long, value_name = "FILE")]
    pub ca_cert: Option<String>,

    /// Not in this version: authenticate with a client certificate.
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_value = "false", default_missing_value = "true", value_parser = go_bool())]
    pub mtls: bool,

    /// Not in this version: client certificate.
    #[arg(long, value_name = "FILE")]
    pub client_cert: Option<String>,

    /// Not in this version: private key of the client certificate.
    #[arg(long, value_name = "FILE")]
    pub client_key: Option<String>,

    /// Number of workers. Each has its own connection, rate and count.
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub workers: usize,

    /// Spans, data points or log records a second that each worker generates; 0 is as fast as the destination takes them.
    #[arg(long, value_name = "N", default_value_t = 0.0)]
    pub rate: f64,

    /// How long to generate, such as `30s` or `inf`; when set, the count is ignored.
    #[arg(long, value_name = "DURATION|inf", default_value = "0s")]
    pub duration: DurationOrInf,

    /// How often the progress that a terminal shows is renewed; 0 is never.
    #[arg(long, value_name = "DURATION", default_value = "1s")]
    pub interval: Duration,

    /// Resource attribute `service.name`.
    #[arg(long, value_name = "NAME", default_value = "telemetrygen")]
    pub service: String,

    /// Send several records in a request.
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_value = "true", default_missing_value = "true", value_parser = go_bool())]
    pub batch: bool,

    /// Records in a request, with --batch.
    #[arg(long, value_name = "N", default_value_t = 100)]
    pub batch_size: usize,

    /// Extra text of each trace, data point or log record, in MiB.
    #[arg(long, value_name = "MIB", default_value_t = 0)]
    pub size: usize,

    /// How long an export may take.
    #[arg(long, value_name = "DURATION", default_value = "10s")]
    pub timeout: Duration,

    /// Go on when an export fails, and end with success.
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_value = "false", default_missing_value = "true", value_parser = go_bool())]
    pub allow_export_failures: bool,
}

/// Flags of `traces`.
#[derive(Debug, Clone, clap::Args)]
pub struct TracesArgs {
    /// The flags that every signal has.
    #[command(flatten)]
    pub common: CommonArgs,

    /// Traces that each worker generates; ignored with --duration.
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub traces: u64,

    /// Child spans in each trace; below 1 is 1.
    #[arg(long, value_name = "N", default_value_t = 1, allow_negative_numbers = true)]
    pub child_spans: i64,

    /// Duration of each child span.
    #[arg(long, value_name = "DURATION", default_value = "123us")]
    pub span_duration: Duration,

    /// Status of every span: Unset, Error, Ok, or 0, 1, 2.
    #[arg(long, value_name = "STATUS", default_value = "0")]
    pub status_code: StatusCode,

    /// Links of each span to earlier ones.
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub span_links: usize,

    /// Pass the trace context from parent to child through W3C headers.
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_value = "false", default_missing_value = "true", value_parser = go_bool())]
    pub marshal: bool,
}

/// Flags of `metrics`.
#[derive(Debug, Clone, clap::Args)]
pub struct MetricsArgs {
    /// The flags that every signal has.
    #[command(flatten)]
    pub common: CommonArgs,

    /// Metrics that each worker generates; ignored with --duration.
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub metrics: u64,

    /// Type of the metric.
    #[arg(long, value_name = "TYPE", default_value = "Gauge")]
    pub metric_type: MetricType,

    /// Name of the metric.
    #[arg(long, value_name = "NAME", default_value = "gen")]
    pub otlp_metric_name: String,

    /// Temporality of sums and histograms: delta or cumulative.
    #[arg(long, value_name = "TEMPORALITY", default_value = "cumulative")]
    pub aggregation_temporality: Temporality,

    /// Trace id of an exemplar, 32 hexadecimal digits.
    #[arg(long, value_name = "HEX", default_value = "")]
    pub trace_id: String,

    /// Span id of an exemplar, 16 hexadecimal digits.
    #[arg(long, value_name = "HEX", default_value = "")]
    pub span_id: String,

    /// Give every data point within --unique-timeseries-duration a time series of its own.
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_value = "false", default_missing_value = "true", value_parser = go_bool())]
    pub unique_timeseries: bool,

    /// How long a time series stays unique.
    #[arg(long, value_name = "DURATION", default_value = "1s")]
    pub unique_timeseries_duration: Duration,
}

/// Flags of `logs`.
#[derive(Debug, Clone, clap::Args)]
pub struct LogsArgs {
    /// The flags that every signal has.
    #[command(flatten)]
    pub common: CommonArgs,

    /// Log records that each worker generates; ignored with --duration.
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub logs: u64,

    /// Body of the record.
    #[arg(long, value_name = "TEXT", default_value = "the message")]
    pub body: String,

    /// Severity text of the record.
    #[arg(long, value_name = "TEXT", default_value = "Info")]
    pub severity_text: String,

    /// Severity number of the record, 1 to 24.
    #[arg(long, value_name = "N", default_value_t = 9)]
    pub severity_number: i32,

    /// Trace id of the record, 32 hexadecimal digits.
    #[arg(long, value_name = "HEX", default_value = "")]
    pub trace_id: String,

    /// Span id of the record, 16 hexadecimal digits.
    #[arg(long, value_name = "HEX", default_value = "")]
    pub span_id: String,
}

/// Status of the generated spans.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StatusCode {
    /// No status.
    Unset,
    /// An error.
    Error,
    /// Success.
    Ok,
}

impl std::str::FromStr for StatusCode {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.to_ascii_lowercase().as_str() {
            "" | "0" | "unset" => Ok(Self::Unset),
            "1" | "error" => Ok(Self::Error),
            "2" | "ok" => Ok(Self::Ok),
            _ => Err(format!(
                "expected `status-code` to be one of (Unset, Error, Ok) or (0, 1, 2), got \"{text}\" instead"
            )),
        }
    }
}

/// Type of the generated metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MetricType {
    /// A gauge of integers.
    Gauge,
    /// A monotonic sum of integers.
    Sum,
    /// A histogram with explicit bounds.
    Histogram,
    /// A histogram with exponential buckets.
    ExponentialHistogram,
}

impl std::str::FromStr for MetricType {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "Gauge" => Ok(Self::Gauge),
            "Sum" => Ok(Self::Sum),
            "Histogram" => Ok(Self::Histogram),
            "ExponentialHistogram" => Ok(Self::ExponentialHistogram),
            _ => Err(r#"must be one of "Gauge", "Sum", "Histogram", "ExponentialHistogram""#.to_owned()),
        }
    }
}

/// Temporality of the generated sums and histograms.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Temporality {
    /// Since the last report.
    Delta,
    /// Since the start.
    Cumulative,
}

impl std::str::FromStr for Temporality {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "delta" => Ok(Self::Delta),
            "cumulative" => Ok(Self::Cumulative),
            _ => Err(r#"must be one of "delta" or "cumulative""#.to_owned()),
        }
    }
}
