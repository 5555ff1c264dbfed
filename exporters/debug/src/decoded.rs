//! Interim.
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use prost::Message;
use spanbridge_pdata::{Payload, Signal};

pub(crate) enum Decoded {
    Traces(ExportTraceServiceRequest),
    Metrics(ExportMetricsServiceRequest),
    Logs(ExportLogsServiceRequest),
}
pub(crate) fn decode(payload: &Payload) -> Result<Decoded, prost::DecodeError> {
    let all = payload.segments().concat();
    Ok(match payload.signal() {
        Signal::Traces => Decoded::Traces(Message::decode(&*all)?),
        Signal::Metrics => Decoded::Metrics(Message::decode(&*all)?),
        Signal::Logs => Decoded::Logs(Message::decode(&*all)?),
    })
}
