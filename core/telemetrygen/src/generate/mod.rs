//! What is sent (reference: contrib-components, G.3): generators of spans, metrics and log records.
//!
//! A generator makes one record at a time, for the time it is told, and packs records into requests. It does no I/O.

mod logs;
mod metrics;
mod traces;

pub(crate) use logs::{LogGenerator, LogPlan};
pub(crate) use metrics::{MetricGenerator, MetricPlan, Timebox};
pub(crate) use traces::{TraceGenerator, TracePlan};

use bytes::Bytes;
use opentelemetry_proto::tonic::common::v1::any_value::Value as ProtoValue;
use opentelemetry_proto::tonic::common::v1::{AnyValue, ArrayValue, InstrumentationScope, KeyValue};
use opentelemetry_proto::tonic::resource::v1::Resource;

use crate::value::Value;

/// Bytes in each `load-<n>` attribute of `--size`.
const LOAD_BYTES: usize = 1024 * 1024;

/// Makes records of one signal for one worker.
pub(crate) trait Generator: Send + 'static {
    /// A span, a metric with one data point, or a log record.
    type Record: prost::Message;

    /// Method of the OTLP service.
    const PATH: &'static str;

    /// The next record; `now` in nanoseconds since 1970.
    fn next(&mut self, now: u64) -> Self::Record;

    /// Traces, metrics or log records that are complete.
    fn completed(&self) -> u64;

    /// What completes a trace that has begun, when nothing more is to come.
    fn close(&mut self) -> Option<Self::Record> {
        None
    }

    /// The serialized request with these records.
    fn request(resource: &Resource, records: Vec<Self::Record>) -> Bytes;

    /// How many records the destination says it rejected, with its reason.
    ///
    /// # Errors
    /// When the answer is no answer of this service.
    fn rejected(response: Bytes) -> Result<(i64, String), prost::DecodeError>;
}

/// An attribute of the command line as OTLP has it.
pub(crate) fn attribute(key: &str, value: &Value) -> KeyValue {
    KeyValue { key: key.to_owned(), value: Some(any(value)), ..KeyValue::default() }
}

fn any(value: &Value) -> AnyValue {
    let value = match value {
        Value::Text(text) => ProtoValue::StringValue(text.clone()),
        Value::Bool(flag) => ProtoValue::BoolValue(*flag),
        Value::Int(number) => ProtoValue::IntValue(*number),
        Value::List(items) => ProtoValue::ArrayValue(ArrayValue { values: items.iter().map(any).collect() }),
    };
    AnyValue { value: Some(value) }
}

fn text_attribute(key: &str, text: &str) -> KeyValue {
    attribute(key, &Value::Text(text.to_owned()))
}

/// The attributes that make a record larger: `load-0`, `load-1`, ... of a MiB each.
fn load_attributes(size_mib: usize) -> Vec<KeyValue> {
    let load = "x".repeat(if size_mib == 0 { 0 } else { LOAD_BYTES });
    (0..size_mib).map(|index| text_attribute(&format!("load-{index}"), &load)).collect()
}

fn scope() -> InstrumentationScope {
    InstrumentationScope { name: "telemetrygen".to_owned(), ..InstrumentationScope::default() }
}
