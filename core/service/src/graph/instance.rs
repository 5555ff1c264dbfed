//! One created component with what the service keeps about it.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{self, Poll};
use std::time::Duration;

use async_trait::async_trait;
use spanbridge_component::{
    Batch, Capabilities, Component, ComponentId, ConsumeError, Consumer, Extensions, Host, Kind, PipelineId,
    Settings, ShutdownError, StartError, Status, StatusSink,
};
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;
use tracing::{Instrument, Span};

use crate::status::{StatusBoard, StatusCell};

/// How long past its deadline the service waits for a component before it gives the component up.
const SHUTDOWN_GRACE: Duration = Duration::from_millis(500);

/// One created component.
pub(crate) struct Instance {
    /// Its kind.
    pub(crate) kind: Kind,
    /// Its id as written.
    pub(crate) id: ComponentId,
    /// The pipeline of a processor.
    pub(crate) pipeline: Option<PipelineId>,
    /// Steps from the receivers along the longest way: what lies downstream has the greater number.
    pub(crate) depth: usize,
    component: Arc<dyn Component>,
    span: Span,
    status: Arc<StatusCell>,
}

impl Instance {
    /// Wraps a component that was just created with `settings`, in `span`.
    pub(crate) fn new(
        settings: &Settings,
        span: Span,
        depth: usize,
        component: Arc<dyn Component>,
        board: &StatusBoard,
    ) -> Self {
        Self {
            kind: settings.kind,
            id: settings.id.clone(),
            pipeline: settings.pipeline.clone(),
            depth,
            component,
            span,
            status: board.cell(),
        }
    }

    /// Starts the component. A panic in it counts as an error.
    pub(crate) async fn start(
        &self,
        draining: CancellationToken,
        extensions: Extensions,
    ) -> Result<(), StartError> {
        self.report(Status::Starting);
        let host = Host::new(self.kind, self.id.clone(), self.status.clone())
            .with_draining(draining)
            .with_extensions(extensions);
        let component = self.component.clone();
        let result = contained(async move { component.start(host).await }, &self.span)
            .await
            .unwrap_or_else(|panic| Err(StartError(panic)));
        match &result {
            Ok(()) => self.status.started(self.kind, &self.id),
            Err(error) => self.report(Status::PermanentError(error.to_string())),
        }
        result
    }

    /// Shuts the component down. Returns by `deadline` plus [`SHUTDOWN_GRACE`] whatever the component does; one that
    /// has not returned by then is aborted.
    pub(crate) async fn shutdown(&self, deadline: Instant) -> Result<(), ShutdownError> {
        self.report(Status::Stopping);
        let component = self.component.clone();
        let call = contained(async move { component.shutdown(deadline).await }, &self.span);
        let result = match timeout_at(deadline + SHUTDOWN_GRACE, call).await {
            Ok(Ok(result)) => result,
            Ok(Err(panic)) => Err(ShutdownError { message: panic, undelivered_items: 0 }),
            Err(_) => Err(ShutdownError {
                message: "did not stop by its deadline and was abandoned".into(),
                undelivered_items: 0,
            }),
        };
        if let Err(error) = &result {
            self.report(Status::PermanentError(error.to_string()));
        }
        self.report(Status::Stopped);
        result
    }

    /// What the component is called in errors: `"otlp" receiver`, or `"batch" processor in pipeline "traces"`.
    pub(crate) fn name(&self) -> String {
        let pipeline = self.pipeline.as_ref().map(|p| format!(" in pipeline \"{p}\"")).unwrap_or_default();
        format!("\"{}\" {}{pipeline}", self.id, self.kind)
    }

    /// The span that every call of the component runs in.
    pub(crate) fn span(&self) -> &Span {
        &self.span
    }

    /// Says that an extension is about to start, as the Go collector does; other kinds speak for themselves.
    pub(crate) fn announce_start(&self) {
        if self.kind == Kind::Extension {
            self.span.in_scope(|| tracing::info!("Extension is starting..."));
        }
    }

    /// Says that an extension has started.
    pub(crate) fn announce_started(&self) {
        if self.kind == Kind::Extension {
            self.span.in_scope(|| tracing::info!("Extension started."));
        }
    }

    fn report(&self, status: Status) {
        self.status.report(self.kind, &self.id, status);
    }
}

/// Polls a call within a borrowed span: on the data path, where [`Instrument`] would clone the span each time.
struct Entered<'a, F> {
    span: &'a Span,
    call: F,
}

impl<F: Future + Unpin> Future for Entered<'_, F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, context: &mut task::Context<'_>) -> Poll<F::Output> {
        let _entered = self.span.enter();
        Pin::new(&mut self.call).poll(context)
    }
}

/// Runs `call` on a task of its own, so that a panic in it ends that task only; dropping the future aborts it.
async fn contained<T: Send + 'static>(
    call: impl Future<Output = T> + Send + 'static,
    span: &Span,
) -> Result<T, String> {
    let mut task = JoinSet::new();
    task.spawn(call.instrument(span.clone()));
    match task.join_next().await {
        Some(Ok(value)) => Ok(value),
        Some(Err(error)) => Err(match error.try_into_panic() {
            Ok(panic) => format!("panicked: {}", panic_text(panic.as_ref())),
            Err(error) => format!("was cancelled: {error}"),
        }),
        None => Err("was never run".into()),
    }
}

fn panic_text(panic: &(dyn std::any::Any + Send)) -> &str {
    panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("no message")
}

/// A consumer whose calls run in the span of the component they belong to, so that log lines name it and not the
/// receiver whose task makes the call.
pub(crate) struct InSpan<C: ?Sized> {
    span: Span,
    inner: Arc<C>,
}

impl<C: Consumer + ?Sized + 'static> InSpan<C> {
    /// Wraps `inner`.
    pub(crate) fn wrap(span: Span, inner: Arc<C>) -> Arc<dyn Consumer> {
        Arc::new(Self { span, inner })
    }
}

#[async_trait]
impl<C: Consumer + ?Sized> Consumer for InSpan<C> {
    async fn consume(&self, batch: Batch) -> Result<(), ConsumeError> {
        Entered { span: &self.span, call: self.inner.consume(batch) }.await
    }

    fn capabilities(&self) -> Capabilities {
        self.inner.capabilities()
    }
}
