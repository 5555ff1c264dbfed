//! OTLP/gRPC clients of the tests: tonic's generated ones, and one that sends any bytes to any method.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use bytes::{Buf, BufMut, Bytes};
use opentelemetry_proto::tonic::collector::logs::v1::logs_service_client::LogsServiceClient;
use opentelemetry_proto::tonic::collector::metrics::v1::metrics_service_client::MetricsServiceClient;
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_client::TraceServiceClient;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::codegen::http::uri::PathAndQuery;
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Response, Status};

use crate::harness::PATIENCE;

/// The method that takes traces.
pub(crate) const TRACES: &str = "/opentelemetry.proto.collector.trace.v1.TraceService/Export";

/// A connection to `target`, which is a socket address or a `unix:` URI. Each call is bounded.
pub(crate) async fn connect_uri(target: String) -> Channel {
    let endpoint = Endpoint::from_shared(target).expect("a URI").timeout(PATIENCE);
    endpoint.connect_timeout(Duration::from_secs(10)).connect().await.expect("connect to the collector")
}

/// A connection to `address` that comes from `from`: on Linux all of 127.0.0.0/8 are addresses of this machine.
pub(crate) async fn connect_from(from: IpAddr, address: SocketAddr) -> Channel {
    let endpoint = Endpoint::from_shared(format!("http://{address}")).expect("a URI").timeout(PATIENCE);
    endpoint.local_address(Some(from)).connect().await.expect("connect")
}

/// A connection to `address`.
pub(crate) async fn connect(address: SocketAddr) -> Channel {
    connect_uri(format!("http://{address}")).await
}

/// A client for traces.
pub(crate) async fn traces(address: SocketAddr) -> TraceServiceClient<Channel> {
    TraceServiceClient::new(connect(address).await)
}

/// A client for metrics.
pub(crate) async fn metrics(address: SocketAddr) -> MetricsServiceClient<Channel> {
    MetricsServiceClient::new(connect(address).await)
}

/// A client for logs.
pub(crate) async fn logs(address: SocketAddr) -> LogsServiceClient<Channel> {
    LogsServiceClient::new(connect(address).await)
}

/// Calls `method` with `body` as the message, whatever it is, and returns the answer's bytes.
pub(crate) async fn call_raw(
    channel: Channel,
    method: &'static str,
    body: Bytes,
) -> Result<Response<Bytes>, Status> {
    let mut client = tonic::client::Grpc::new(channel);
    client.ready().await.expect("the channel is ready");
    client.unary(Request::new(body), PathAndQuery::from_static(method), Raw).await
}

/// Messages as they are.
#[derive(Clone, Copy, Default)]
struct Raw;

impl Codec for Raw {
    type Encode = Bytes;
    type Decode = Bytes;
    type Encoder = Raw;
    type Decoder = Raw;

    fn encoder(&mut self) -> Raw {
        Raw
    }

    fn decoder(&mut self) -> Raw {
        Raw
    }
}

impl Encoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, item: Bytes, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        buffer.put(item);
        Ok(())
    }
}

impl Decoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        let length = buffer.remaining();
        Ok(Some(buffer.copy_to_bytes(length)))
    }
}
