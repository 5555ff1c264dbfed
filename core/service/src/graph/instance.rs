//! One created component with what the service keeps about it.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{self, Poll};
use std::time::Duration;

use async_trait::async_trait;
use spanbridge_component::{
    Batch, Capabilities, Component, ConsumeError, Consumer, Extensions, Host, Kind, ShutdownError,
    StartError, Status, StatusSink,
};
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout, timeout_at};
use tokio_util::sync::CancellationToken;
use tracing::{Instrument, Span};

use super::{Key, StartFailure};
use crate::status::{StatusBoard, StatusCell};

/// How long past its deadline the service waits for a component before it gives the component up.
const SHUTDOWN_GRACE: Duration = Duration::from_millis(500);

/// How long a component may take to start during a reload, before that counts as a failure.
const START_MAX: Duration = Duration::from_secs(30);

/// One created component.
pub(crate) struct Instance {
    /// Which one.
    pub(crate) key: Key,
    component: Arc<dyn Component>,
    span: Span,
    status: Arc<StatusCell>,
    /// Cancelled when this component, or the whole process, begins to stop.
    draining: CancellationToken,
    /// Whether it has been told to start, and to stop.
    is_touched: AtomicBool,
    is_stopped: AtomicBool,
}

impl Instance {
    /// Wraps a component that was just created, in `span`.
    pub(crate) fn new(
        key: Key,
        span: Span,
        component: Arc<dyn Component>,
        board: &StatusBoard,
        draining: CancellationToken,
    ) -> Self {
        let (is_touched, is_stopped) = (AtomicBool::new(false), AtomicBool::new(false));
        Self { key, component, span, status: board.cell(), draining, is_touched, is_stopped }
    }

    /// Starts the component, among these extensions. A panic in it counts as an error.
    pub(crate) async fn start(&self, extensions: Extensions) -> Result<(), StartFailure> {
        self.is_touched.store(true, Ordering::Relaxed);
        self.report(Status::Starting);
        let is_extension = self.key.kind == Kind::Extension;
        if is_extension {
            // As in the Go collector; other kinds speak for themselves.
            self.span.in_scope(|| tracing::info!("Extension is starting..."));
        }
        let host = Host::new(self.key.kind, self.key.id.clone(), self.status.clone())
            .with_draining(self.draining.clone())
            .with_readiness(self.status.readiness())
            .with_extensions(extensions);
        let component = self.component.clone();
        let result = contained(async move { component.start(host).await }, &self.span)
            .await
            .unwrap_or_else(|panic| Err(StartError(panic)));
        match result {
            Ok(()) => {
                self.status.started(self.key.kind, &self.key.id);
                if is_extension {
                    self.span.in_scope(|| tracing::info!("Extension started."));
                }
                Ok(())
            }
            Err(error) => {
                self.report(Status::PermanentError(error.to_string()));
                Err(StartFailure { component: self.key.to_string(), reason: error.to_string() })
            }
        }
    }

    /// As [`Instance::start`], within [`START_MAX`].
    pub(crate) async fn start_soon(&self, extensions: Extensions) -> Result<(), StartFailure> {
        timeout(START_MAX, self.start(extensions)).await.unwrap_or_else(|_| {
            let reason = format!("did not start within {} s", START_MAX.as_secs());
            Err(StartFailure { component: self.key.to_string(), reason })
        })
    }

    /// Whether it has been told to start and not yet to stop.
    pub(crate) fn is_running(&self) -> bool {
        self.is_touched.load(Ordering::Relaxed) && !self.is_stopped.load(Ordering::Relaxed)
    }

    /// Tells the component that nothing more is coming.
    pub(crate) fn begin_to_drain(&self) {
        self.draining.cancel();
    }

    /// Shuts the component down. Returns by `deadline` plus [`SHUTDOWN_GRACE`] whatever the component does; one that
    /// has not returned by then is aborted. Only the first end of a component that was started does anything.
    pub(crate) async fn shutdown(&self, deadline: Instant) -> Result<(), ShutdownError> {
        let component = self.component.clone();
        let call = async move { component.shutdown(deadline).await };
        self.end(deadline, call).await.map(|_: Option<()>| ())
    }

    /// As [`Instance::shutdown`], for a successor: returns what the component held.
    pub(crate) async fn retire(&self, deadline: Instant) -> Result<Vec<Batch>, ShutdownError> {
        let component = self.component.clone();
        let call = async move { component.retire(deadline).await };
        self.end(deadline, call).await.map(Option::unwrap_or_default)
    }

    async fn end<T: Send + 'static>(
        &self,
        deadline: Instant,
        call: impl Future<Output = Result<T, ShutdownError>> + Send + 'static,
    ) -> Result<Option<T>, ShutdownError> {
        if !self.is_running() || self.is_stopped.swap(true, Ordering::Relaxed) {
            return Ok(None);
        }
        self.report(Status::Stopping);
        let result = match timeout_at(deadline + SHUTDOWN_GRACE, contained(call, &self.span)).await {
            Ok(Ok(result)) => result.map(Some),
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

    /// The span that every call of the component runs in.
    pub(crate) fn span(&self) -> &Span {
        &self.span
    }

    fn report(&self, status: Status) {
        self.status.report(self.key.kind, &self.key.id, status);
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

/// The way into a component: its calls run in the span of the component they belong to, so that log lines name it and not
/// the receiver whose task makes the call.
///
/// Links and fan-outs hold it, and each call under way holds what it went through. So it is dropped when nothing leads to
/// the component any more and the last call has ended; then `drained` is cancelled.
pub(crate) struct Door<C: ?Sized> {
    span: Span,
    drained: CancellationToken,
    inner: Arc<C>,
}

impl<C: Consumer + ?Sized + 'static> Door<C> {
    /// The way into `inner`.
    pub(crate) fn into(inner: Arc<C>, span: Span, drained: CancellationToken) -> Arc<dyn Consumer> {
        Arc::new(Self { span, drained, inner })
    }
}

#[async_trait]
impl<C: Consumer + ?Sized> Consumer for Door<C> {
    async fn consume(&self, batch: Batch) -> Result<(), ConsumeError> {
        Entered { span: &self.span, call: self.inner.consume(batch) }.await
    }

    async fn inherit(&self, batch: Batch) -> Result<(), ConsumeError> {
        Entered { span: &self.span, call: self.inner.inherit(batch) }.await
    }

    fn capabilities(&self) -> Capabilities {
        self.inner.capabilities()
    }
}

impl<C: ?Sized> Drop for Door<C> {
    fn drop(&mut self) {
        self.drained.cancel();
    }
}
