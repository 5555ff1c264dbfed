//! The far end of a fault row: takes traces, refuses or hangs as it is told, and counts each span.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{
    TraceService, TraceServiceServer,
};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use tokio::sync::watch;
use tokio::task::AbortHandle;
use tonic::codec::CompressionEncoding;
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;
use tonic::{Request, Response, Status};

use crate::data::span_ids;

/// What the backend does with a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mood {
    /// Takes it.
    Take,
    /// Refuses this many of a hundred, at random, with UNAVAILABLE.
    Refuse { percent: u8 },
    /// Never answers.
    Hang,
}

struct Shared {
    counts: Mutex<HashMap<u64, u32>>,
    mood: watch::Receiver<Mood>,
    arrived: watch::Sender<u64>,
}

#[derive(Clone)]
struct Service(Arc<Shared>);

#[tonic::async_trait]
impl TraceService for Service {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        let mood = *self.0.mood.borrow();
        match mood {
            Mood::Hang => std::future::pending().await,
            Mood::Refuse { percent } if fastrand::u8(..100) < percent => {
                return Err(Status::unavailable("refused by the test"));
            }
            Mood::Take | Mood::Refuse { .. } => {}
        }
        let mut counts = self.0.counts.lock().expect("counts");
        for id in span_ids(request.get_ref()) {
            *counts.entry(id).or_default() += 1;
        }
        drop(counts);
        self.0.arrived.send_modify(|requests| *requests += 1);
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

/// A running backend; it stops when it is dropped.
pub(crate) struct Backend {
    address: SocketAddr,
    shared: Arc<Shared>,
    mood: watch::Sender<Mood>,
    server: AbortHandle,
}

impl Backend {
    /// A backend that takes everything.
    pub(crate) fn start() -> Self {
        let incoming = TcpIncoming::bind(([127, 0, 0, 1], 0).into()).expect("bind the backend");
        let address = incoming.local_addr().expect("address of the backend");
        let (mood, moods) = watch::channel(Mood::Take);
        let shared = Arc::new(Shared { counts: Mutex::default(), mood: moods, arrived: watch::channel(0).0 });
        let service = TraceServiceServer::new(Service(shared.clone()))
            .accept_compressed(CompressionEncoding::Gzip)
            .max_decoding_message_size(64 << 20);
        let server = tokio::spawn(Server::builder().add_service(service).serve_with_incoming(incoming));
        Self { address, shared, mood, server: server.abort_handle() }
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// What it does with requests from now on.
    pub(crate) fn set(&self, mood: Mood) {
        self.mood.send_replace(mood);
    }

    /// Requests taken so far; changes wake whoever waits.
    pub(crate) fn arrivals(&self) -> watch::Receiver<u64> {
        self.shared.arrived.subscribe()
    }

    /// How often each span arrived.
    pub(crate) fn counts(&self) -> HashMap<u64, u32> {
        self.shared.counts.lock().expect("counts").clone()
    }

    /// How many of these spans have not arrived.
    pub(crate) fn missing(&self, spans: impl Iterator<Item = u64>) -> usize {
        let counts = self.shared.counts.lock().expect("counts");
        spans.filter(|id| !counts.contains_key(id)).count()
    }
}

impl Drop for Backend {
    fn drop(&mut self) {
        self.server.abort();
    }
}
