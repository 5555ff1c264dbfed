//! The command line once it is checked: what to generate, how much, how fast, and where to send it.

use std::time::Duration;

use opentelemetry_proto::tonic::common::v1::KeyValue as Attribute;
use opentelemetry_proto::tonic::resource::v1::Resource;
use spanbridge_component::{Problems, Validate};
use spanbridge_config::{Headers, Opaque};
use spanbridge_transport::grpc::{ClientConfig, ClientTls};

use crate::generate::{LogPlan, MetricPlan, TracePlan, attribute};
use crate::value::{DurationOrInf, KeyValue, Value};
use crate::{Args, Command, CommonArgs, Error};

/// Most workers: each has a connection and up to [`EXPORTS_IN_FLIGHT_MAX`](crate::export::EXPORTS_IN_FLIGHT_MAX)
/// requests in memory.
const WORKERS_MAX: usize = 1024;
/// Largest `--size` in MiB; receivers rarely take more than 4 in a request, and none of ours more than 64.
const SIZE_MAX_MIB: usize = 64;
/// Most child spans in a trace.
const CHILD_SPANS_MAX: i64 = 1_000_000;
/// Most links of a span.
const SPAN_LINKS_MAX: usize = 1000;

/// A checked command line.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    pub(crate) client: ClientConfig,
    pub(crate) signal: SignalPlan,
    pub(crate) amount: Amount,
    pub(crate) workers: usize,
    /// Records a second and worker; zero is no limit.
    pub(crate) rate: f64,
    /// Records in a request.
    pub(crate) batch_size: usize,
    pub(crate) resource: Resource,
    pub(crate) timeout: Duration,
    pub(crate) allow_export_failures: bool,
    /// How often progress is renewed; zero is never.
    pub(crate) interval: Duration,
}

/// What to generate.
#[derive(Debug, Clone)]
pub(crate) enum SignalPlan {
    Traces(TracePlan),
    Metrics(MetricPlan),
    Logs(LogPlan),
}

/// When a worker is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Amount {
    /// After so many traces, metrics or log records.
    Count(u64),
    /// After this time.
    For(Duration),
    /// Never, until the process is told to stop.
    Endless,
}

impl Plan {
    /// Checks `args`.
    ///
    /// # Errors
    /// For what is not in this version, what contradicts itself and what is out of range.
    pub(crate) fn new(args: &Args) -> Result<Self, Error> {
        let common = args.command.common();
        refuse_unsupported(common)?;
        let amount = amount(&args.command)?;
        check_limits(common)?;
        Ok(Self {
            client: client(common)?,
            signal: signal(&args.command)?,
            amount,
            workers: common.workers,
            rate: common.rate,
            batch_size: if common.batch { common.batch_size } else { 1 },
            resource: resource(common),
            timeout: common.timeout.get(),
            allow_export_failures: common.allow_export_failures,
            interval: common.interval.get(),
        })
    }
}

fn usage(message: impl Into<String>) -> Error {
    Error::Usage(message.into())
}

/// Refuses by name what Go's `telemetrygen` knows and this version does not.
fn refuse_unsupported(common: &CommonArgs) -> Result<(), Error> {
    let given = [
        ("--otlp-http", common.otlp_http),
        ("--otlp-http-url-path", common.otlp_http_url_path.is_some()),
        ("--otlp-insecure-skip-verify", common.otlp_insecure_skip_verify),
        ("--ca-cert", common.ca_cert.is_some()),
        ("--mtls", common.mtls),
        ("--client-cert", common.client_cert.is_some()),
        ("--client-key", common.client_key.is_some()),
    ];
    if let Some((flag, _)) = given.into_iter().find(|(_, given)| *given) {
        return Err(usage(format!("{flag} is not in this version: it sends OTLP/gRPC in plain text only")));
    }
    if !common.otlp_insecure {
        return Err(usage(
            "without --otlp-insecure the connection would need TLS, which is not in this version: give \
             --otlp-insecure, and send to a destination that takes plain text",
        ));
    }
    Ok(())
}

fn amount(command: &Command) -> Result<Amount, Error> {
    let (name, count) = match command {
        Command::Traces(args) => ("traces", args.traces),
        Command::Metrics(args) => ("metrics", args.metrics),
        Command::Logs(args) => ("logs", args.logs),
    };
    match command.common().duration {
        DurationOrInf::Infinite => Ok(Amount::Endless),
        DurationOrInf::Finite(duration) if !duration.is_zero() => Ok(Amount::For(duration.get())),
        DurationOrInf::Finite(_) if count > 0 => Ok(Amount::Count(count)),
        DurationOrInf::Finite(_) => {
            Err(usage(format!("either `{name}` or `duration` must be greater than 0")))
        }
    }
}

fn check_limits(common: &CommonArgs) -> Result<(), Error> {
    if !(1..=WORKERS_MAX).contains(&common.workers) {
        return Err(usage(format!("--workers must be from 1 to {WORKERS_MAX}, not {}", common.workers)));
    }
    if !common.rate.is_finite() || common.rate < 0.0 {
        return Err(usage(format!("--rate must be zero or a positive number, not {}", common.rate)));
    }
    if common.batch && common.batch_size == 0 {
        return Err(usage("--batch-size must be at least 1; --batch=false sends each record by itself"));
    }
    if common.size > SIZE_MAX_MIB {
        return Err(usage(format!("--size must be at most {SIZE_MAX_MIB} MiB, not {}", common.size)));
    }
    if common.timeout.is_zero() {
        return Err(usage("--timeout must be greater than 0"));
    }
    Ok(())
}

fn client(common: &CommonArgs) -> Result<ClientConfig, Error> {
    let headers = common.otlp_header.iter().map(header).collect::<Result<Headers, Error>>()?;
    let config = ClientConfig {
        endpoint: common.otlp_endpoint.clone(),
        tls: ClientTls::plaintext(),
        headers,
        ..ClientConfig::default()
    };
    let mut problems = Problems::new();
    config.validate(&mut problems);
    match problems.into_found().into_iter().next() {
        None => Ok(config),
        Some(problem) => {
            let flag = if problem.path.first().is_some_and(|key| key == "headers") {
                "--otlp-header"
            } else {
                "--otlp-endpoint"
            };
            Err(usage(format!("{flag}: {}", problem.message)))
        }
    }
}

fn header(header: &KeyValue) -> Result<(String, Opaque), Error> {
    let value = match &header.value {
        Value::Text(text) => text.clone(),
        Value::Bool(flag) => flag.to_string(),
        Value::Int(_) | Value::List(_) => {
            let key = &header.key;
            return Err(usage(format!(
                "--otlp-header {key}: a header is a text, {key}=\"...\", or true or false"
            )));
        }
    };
    Ok((header.key.clone(), Opaque::new(value)))
}

/// `service.name` and what `--otlp-attributes` adds or overrides.
fn resource(common: &CommonArgs) -> Resource {
    let service = KeyValue { key: "service.name".to_owned(), value: Value::Text(common.service.clone()) };
    let given = std::iter::once(&service).chain(&common.otlp_attributes);
    Resource { attributes: attributes(given), ..Resource::default() }
}

/// Of attributes with the same key the last counts, at the place of the first.
fn attributes<'a>(given: impl IntoIterator<Item = &'a KeyValue>) -> Vec<Attribute> {
    let mut attributes: Vec<Attribute> = Vec::new();
    for KeyValue { key, value } in given {
        let attribute = attribute(key, value);
        match attributes.iter_mut().find(|known| known.key == attribute.key) {
            Some(known) => *known = attribute,
            None => attributes.push(attribute),
        }
    }
    attributes
}

fn signal(command: &Command) -> Result<SignalPlan, Error> {
    let common = command.common();
    let attributes = attributes(&common.telemetry_attributes);
    Ok(match command {
        Command::Traces(args) => {
            let child_spans = args.child_spans.max(1);
            if child_spans > CHILD_SPANS_MAX {
                return Err(usage(format!("--child-spans must be at most {CHILD_SPANS_MAX}")));
            }
            if args.span_links > SPAN_LINKS_MAX {
                return Err(usage(format!("--span-links must be at most {SPAN_LINKS_MAX}")));
            }
            SignalPlan::Traces(TracePlan {
                child_spans: child_spans.unsigned_abs(),
                span_duration: args.span_duration.get(),
                status: args.status_code,
                links: args.span_links,
                remote_parent: args.marshal,
                attributes,
                size_mib: common.size,
            })
        }
        Command::Metrics(args) => SignalPlan::Metrics(MetricPlan {
            name: args.otlp_metric_name.clone(),
            metric_type: args.metric_type,
            temporality: args.aggregation_temporality,
            trace_id: trace_id(&args.trace_id)?,
            span_id: span_id(&args.span_id)?,
            unique_for: args.unique_timeseries.then(|| args.unique_timeseries_duration.get()),
            attributes,
            size_mib: common.size,
        }),
        Command::Logs(args) => {
            if !(1..=24).contains(&args.severity_number) {
                return Err(usage("severity-number is out of range, the valid range is [1,24]"));
            }
            SignalPlan::Logs(LogPlan {
                body: args.body.clone(),
                severity_text: args.severity_text.clone(),
                severity_number: args.severity_number,
                trace_id: trace_id(&args.trace_id)?,
                span_id: span_id(&args.span_id)?,
                attributes,
                size_mib: common.size,
            })
        }
    })
}

fn trace_id(text: &str) -> Result<Vec<u8>, Error> {
    id(text, 16).ok_or_else(|| {
        usage("--trace-id must be 32 hexadecimal digits, such as ae87dadd90e9935a4bc9660628efd569")
    })
}

fn span_id(text: &str) -> Result<Vec<u8>, Error> {
    id(text, 8).ok_or_else(|| usage("--span-id must be 16 hexadecimal digits, such as 5828fa4960140870"))
}

/// The bytes of a hexadecimal id; no bytes for no text.
fn id(text: &str, bytes: usize) -> Option<Vec<u8>> {
    if text.is_empty() {
        return Some(Vec::new());
    }
    if text.len() != 2 * bytes || !text.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        return None;
    }
    (0..bytes).map(|i| u8::from_str_radix(&text[2 * i..2 * i + 2], 16).ok()).collect()
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use opentelemetry_proto::tonic::common::v1::any_value::Value as ProtoValue;

    use super::*;

    #[derive(Parser)]
    struct Cli {
        #[command(flatten)]
        args: Args,
    }

    fn plan(flags: &[&str]) -> Result<Plan, Error> {
        Plan::new(&Cli::try_parse_from(["telemetrygen"].iter().chain(flags)).unwrap().args)
    }

    fn refusal(flags: &[&str]) -> String {
        plan(flags).unwrap_err().to_string()
    }

    fn insecure(signal: &str, flags: &[&str]) -> Result<Plan, Error> {
        let all: Vec<_> = [signal, "--otlp-insecure"].iter().chain(flags).copied().collect();
        plan(&all)
    }

    #[test]
    fn defaults_are_one_trace_to_the_local_collector() {
        let plan = insecure("traces", &[]).unwrap();
        assert_eq!(plan.client.endpoint, "localhost:4317");
        assert_eq!((plan.amount, plan.workers, plan.batch_size), (Amount::Count(1), 1, 100));
        assert_eq!((plan.rate, plan.timeout), (0.0, Duration::from_secs(10)));
        let SignalPlan::Traces(traces) = plan.signal else { panic!("no traces") };
        assert_eq!((traces.child_spans, traces.span_duration), (1, Duration::from_micros(123)));
    }

    #[test]
    fn what_is_not_in_this_version_is_refused_by_name() {
        for flag in [
            "--otlp-http",
            "--otlp-http-url-path=/x",
            "--otlp-insecure-skip-verify",
            "--ca-cert=a.pem",
            "--mtls",
            "--client-cert=a.pem",
            "--client-key=a.pem",
        ] {
            let name = flag.split('=').next().unwrap();
            let text = refusal(&["traces", "--otlp-insecure", flag]);
            assert!(text.starts_with(&format!("{name} is not in this version")), "{text}");
        }
        assert!(refusal(&["logs"]).starts_with("without --otlp-insecure the connection would need TLS"));
        assert!(insecure("traces", &["--otlp-http=false", "--mtls=false"]).is_ok());
    }

    #[test]
    fn a_count_or_a_duration_is_needed_and_the_duration_wins() {
        for (signal, flag) in [("traces", "--traces=0"), ("metrics", "--metrics=0"), ("logs", "--logs=0")] {
            let error = insecure(signal, &[flag]).unwrap_err().to_string();
            assert_eq!(error, format!("either `{signal}` or `duration` must be greater than 0"));
        }
        let amount = |flags: &[&str]| insecure("logs", flags).unwrap().amount;
        assert_eq!(amount(&["--logs=5", "--duration=2s"]), Amount::For(Duration::from_secs(2)));
        assert_eq!(amount(&["--duration=inf"]), Amount::Endless);
        assert_eq!(amount(&["--logs=5"]), Amount::Count(5));
    }

    #[test]
    fn values_out_of_range_are_refused() {
        for flag in
            ["--workers=0", "--workers=2000", "--rate=NaN", "--batch-size=0", "--size=65", "--timeout=0"]
        {
            let name = flag.split('=').next().unwrap();
            let error = insecure("traces", &[flag]).unwrap_err().to_string();
            assert!(error.starts_with(name), "{error}");
        }
        assert!(insecure("traces", &["--child-spans=1000001"]).is_err());
        assert!(insecure("traces", &["--span-links=1001"]).is_err());
        assert!(insecure("logs", &["--severity-number=25"]).is_err());
        assert!(insecure("logs", &["--trace-id=abc"]).is_err());
        assert!(insecure("metrics", &["--span-id=58z8fa4960140870"]).is_err());
        assert!(
            insecure("traces", &["--otlp-endpoint", ""]).unwrap_err().to_string().starts_with("--otlp-end")
        );
    }

    #[test]
    fn attributes_of_the_same_key_override_one_another() {
        let plan = insecure(
            "traces",
            &[
                "--otlp-attributes",
                r#"service.name="mine""#,
                "--otlp-attributes",
                "n=1",
                "--otlp-attributes",
                "n=2",
            ],
        )
        .unwrap();
        let values: Vec<_> = plan
            .resource
            .attributes
            .into_iter()
            .map(|attribute| (attribute.key, attribute.value.unwrap().value.unwrap()))
            .collect();
        assert_eq!(
            values,
            [
                ("service.name".to_owned(), ProtoValue::StringValue("mine".to_owned())),
                ("n".to_owned(), ProtoValue::IntValue(2)),
            ]
        );
    }

    #[test]
    fn headers_are_texts_or_booleans_and_their_values_stay_out_of_errors() {
        let header =
            |value: &str| insecure("traces", &["--otlp-header", value]).map(|plan| plan.client.headers);
        let headers = header(r#"Authorization="Basic x""#).unwrap();
        assert_eq!(headers.get("authorization").unwrap().expose(), "Basic x");
        assert_eq!(header("on=true").unwrap().get("on").unwrap().expose(), "true");
        assert!(header("n=1").unwrap_err().to_string().starts_with("--otlp-header n: a header is a text"));
        let error = header("secret=\"hush\u{7}\"").unwrap_err().to_string();
        assert!(error.starts_with("--otlp-header") && !error.contains("hush"), "{error}");
    }

    #[test]
    fn child_spans_below_one_are_one() {
        let SignalPlan::Traces(traces) = insecure("traces", &["--child-spans=-3"]).unwrap().signal else {
            panic!("no traces")
        };
        assert_eq!(traces.child_spans, 1);
    }
}
