//! Log records.

use bytes::Bytes;
use opentelemetry_proto::tonic::collector::logs::v1::{ExportLogsServiceRequest, ExportLogsServiceResponse};
use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs};
use opentelemetry_proto::tonic::resource::v1::Resource;
use prost::Message as _;

use super::{Generator, any, load_attributes, scope, text_attribute};
use crate::value::Value;

/// What the log records are like.
#[derive(Debug, Clone)]
pub(crate) struct LogPlan {
    pub(crate) body: String,
    pub(crate) severity_text: String,
    pub(crate) severity_number: i32,
    /// 16 bytes or none.
    pub(crate) trace_id: Vec<u8>,
    /// 8 bytes or none.
    pub(crate) span_id: Vec<u8>,
    pub(crate) attributes: Vec<KeyValue>,
    pub(crate) size_mib: usize,
}

/// Makes log records that differ in their time alone.
#[derive(Debug)]
pub(crate) struct LogGenerator {
    record: LogRecord,
    completed: u64,
}

impl LogGenerator {
    pub(crate) fn new(plan: LogPlan) -> Self {
        let mut attributes = vec![text_attribute("app", "server")];
        attributes.extend(plan.attributes);
        attributes.extend(load_attributes(plan.size_mib));
        let record = LogRecord {
            body: Some(any(&Value::Text(plan.body))),
            severity_text: plan.severity_text,
            severity_number: plan.severity_number,
            trace_id: plan.trace_id,
            span_id: plan.span_id,
            attributes,
            ..LogRecord::default()
        };
        Self { record, completed: 0 }
    }
}

impl Generator for LogGenerator {
    type Record = LogRecord;

    const PATH: &'static str = "/opentelemetry.proto.collector.logs.v1.LogsService/Export";

    fn next(&mut self, now: u64) -> LogRecord {
        self.completed += 1;
        LogRecord { time_unix_nano: now, observed_time_unix_nano: now, ..self.record.clone() }
    }

    fn completed(&self) -> u64 {
        self.completed
    }

    fn request(resource: &Resource, log_records: Vec<LogRecord>) -> Bytes {
        let scope_logs = vec![ScopeLogs { scope: Some(scope()), log_records, schema_url: String::new() }];
        let resource = Some(resource.clone());
        let resource_logs = vec![ResourceLogs { resource, scope_logs, schema_url: String::new() }];
        ExportLogsServiceRequest { resource_logs }.encode_to_vec().into()
    }

    fn rejected(response: Bytes) -> Result<(i64, String), prost::DecodeError> {
        let partial = ExportLogsServiceResponse::decode(response)?.partial_success.unwrap_or_default();
        Ok((partial.rejected_log_records, partial.error_message))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_carry_what_was_asked_for() {
        let mut generator = LogGenerator::new(LogPlan {
            body: "the message".into(),
            severity_text: "Info".into(),
            severity_number: 9,
            trace_id: vec![1; 16],
            span_id: vec![2; 8],
            attributes: vec![text_attribute("k", "v")],
            size_mib: 1,
        });
        let record = generator.next(42);
        assert_eq!((record.time_unix_nano, record.severity_number), (42, 9));
        assert_eq!(record.body, Some(any(&Value::Text("the message".into()))));
        assert_eq!((record.trace_id, record.span_id), (vec![1; 16], vec![2; 8]));
        let keys: Vec<_> = record.attributes.iter().map(|a| a.key.as_str()).collect();
        assert_eq!(keys, ["app", "k", "load-0"]);
        assert_eq!(generator.completed(), 1);
    }
}
