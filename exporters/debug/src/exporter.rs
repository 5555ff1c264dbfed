//! The exporter itself.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use spanbridge_component::{Batch, ConsumeError, Host, Payload, Settings, ShutdownError, StartError};
use spanbridge_exporterhelper::{SendError, Sender};
use tokio::time::Instant;

use crate::config::{Destination, Effective};
use crate::print::{Printer, Target};
use crate::sampler::Sampler;
use crate::writer::{self, Writer};

/// Prints every batch before it answers: without a queue slow output is back-pressure.
///
/// Counts go to the process's own log at once, on the caller's task. Everything else is printed by a thread of its
/// own, a batch at a time, so that the records of a batch stay together.
#[derive(Debug)]
pub(crate) struct DebugExporter {
    printer: Arc<Printer>,
    destination: Destination,
    writer: Mutex<Option<Writer>>,
    /// Items whose printing has begun or waits; what is lost if the output hangs at shutdown.
    held_items: AtomicUsize,
}

impl DebugExporter {
    pub(crate) fn new(settings: &Settings, effective: Effective) -> Self {
        let sampler = Sampler::new(effective.sampling);
        Self {
            printer: Arc::new(Printer::new(effective.verbosity, sampler, settings.span())),
            destination: effective.destination,
            writer: Mutex::new(None),
            held_items: AtomicUsize::new(0),
        }
    }

    /// Whether a batch is so little work that the caller's task can do it: one line into the process's own log.
    fn prints_at_once(&self) -> bool {
        self.printer.is_basic() && self.destination == Destination::InternalLog
    }

    async fn print(&self, payload: Payload) -> Result<(), ConsumeError> {
        if self.prints_at_once() {
            return self.printer.print(&payload, &mut Target::Log);
        }
        let jobs = self.lock().as_ref().map(Writer::jobs);
        let jobs = jobs.ok_or_else(|| ConsumeError::retryable("the exporter is not running"))?;
        let _held = Held::new(&self.held_items, payload.items());
        writer::print(jobs, payload).await
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<Writer>> {
        self.writer.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Counts items as held for as long as it lives, also when the caller gives up waiting.
struct Held<'a> {
    counter: &'a AtomicUsize,
    items: usize,
}

impl<'a> Held<'a> {
    fn new(counter: &'a AtomicUsize, items: usize) -> Self {
        counter.fetch_add(items, Ordering::Relaxed);
        Self { counter, items }
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        self.counter.fetch_sub(self.items, Ordering::Relaxed);
    }
}

#[async_trait]
impl Sender for DebugExporter {
    async fn start(&self, _: &Host) -> Result<(), StartError> {
        if self.prints_at_once() {
            return Ok(());
        }
        let writer = Writer::start(self.printer.clone(), self.destination.clone()).await?;
        *self.lock() = Some(writer);
        Ok(())
    }

    async fn send(&self, batch: &Batch) -> Result<(), SendError> {
        Ok(self.print(batch.payload.clone()).await?)
    }

    async fn shutdown(&self, deadline: Instant) -> Result<(), ShutdownError> {
        let Some(writer) = self.lock().take() else { return Ok(()) };
        if writer.finish(deadline).await {
            return Ok(());
        }
        // The thread cannot be stopped within a write; it ends with the process at the latest.
        Err(ShutdownError {
            message: "the output does not take what is written to it".to_owned(),
            undelivered_items: self.held_items.load(Ordering::Relaxed),
        })
    }
}
