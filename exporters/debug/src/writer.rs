//! The thread that prints: output may block for as long as a reader is slow, and that must not stall the runtime.
//!
//! It is a thread of its own rather than one of the runtime's blocking ones, because the runtime waits for those when
//! it ends, and a reader that never reads again would keep the process alive.

use std::sync::Arc;
use std::thread;
use std::time::Duration;

use spanbridge_component::{ConsumeError, Payload, StartError};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, timeout, timeout_at};
use tracing::dispatcher::{self, Dispatch};

use crate::config::Destination;
use crate::print::{Printer, Target};
use crate::streams::Streams;

/// Batches that wait for the thread beside the one it prints; every further caller waits for a place.
const WAITING_BATCHES_MAX: usize = 1;
/// How long opening the output paths may take: opening a named pipe blocks until someone reads.
const OPEN_TIMEOUT: Duration = Duration::from_secs(5);

/// The running thread.
#[derive(Debug)]
pub(crate) struct Writer {
    jobs: mpsc::Sender<Job>,
    /// Closes when the thread has ended.
    ended: oneshot::Receiver<()>,
}

/// Where batches are handed in.
pub(crate) type Jobs = mpsc::Sender<Job>;

/// One batch to print.
#[derive(Debug)]
pub(crate) struct Job {
    payload: Payload,
    done: oneshot::Sender<Result<(), ConsumeError>>,
}

impl Writer {
    /// Starts the thread and waits until its output is open.
    ///
    /// # Errors
    /// When the thread or an output path cannot be had.
    pub(crate) async fn start(printer: Arc<Printer>, destination: Destination) -> Result<Self, StartError> {
        let (jobs, waiting) = mpsc::channel(WAITING_BATCHES_MAX);
        let (opened, ready) = oneshot::channel();
        let (alive, ended) = oneshot::channel::<()>();
        // A test may have a subscriber of its own, which a new thread would not see.
        let dispatch = dispatcher::get_default(Dispatch::clone);
        thread::Builder::new()
            .name("debug-exporter".to_owned())
            .spawn(move || {
                dispatcher::with_default(&dispatch, || work(&printer, &destination, opened, waiting));
                drop(alive);
            })
            .map_err(|error| StartError(format!("cannot start the writing thread: {error}")))?;
        match timeout(OPEN_TIMEOUT, ready).await {
            Ok(Ok(opened)) => opened.map_err(StartError)?,
            Ok(Err(_)) => return Err(StartError("the writing thread ended at once".to_owned())),
            Err(_) => return Err(StartError("opening the output paths takes longer than 5s".to_owned())),
        }
        Ok(Self { jobs, ended })
    }

    /// Where batches are handed in.
    pub(crate) fn jobs(&self) -> Jobs {
        self.jobs.clone()
    }

    /// Ends the thread once it has printed what it holds. Returns whether it ended by `deadline`.
    pub(crate) async fn finish(self, deadline: Instant) -> bool {
        drop(self.jobs);
        timeout_at(deadline, self.ended).await.is_ok()
    }
}

/// Hands in `payload` and waits for the outcome.
///
/// # Errors
/// Those of printing; or the thread has ended.
pub(crate) async fn print(jobs: Jobs, payload: Payload) -> Result<(), ConsumeError> {
    let gone = || ConsumeError::retryable("the exporter has stopped");
    let (done, outcome) = oneshot::channel();
    jobs.send(Job { payload, done }).await.map_err(|_| gone())?;
    // The thread ends when the last sender does: do not hold it up.
    drop(jobs);
    outcome.await.map_err(|_| gone())?
}

fn work(
    printer: &Printer,
    destination: &Destination,
    opened: oneshot::Sender<Result<(), String>>,
    mut waiting: mpsc::Receiver<Job>,
) {
    let mut target = match destination {
        Destination::InternalLog => Target::Log,
        Destination::Paths(paths) => match Streams::open(paths) {
            Ok(streams) => Target::Streams(streams),
            Err(error) => {
                let _ = opened.send(Err(error.to_string()));
                return;
            }
        },
    };
    // Whoever started the thread may have given up; the closed channel then ends it.
    let _ = opened.send(Ok(()));
    while let Some(job) = waiting.blocking_recv() {
        let outcome = printer.print(&job.payload, &mut target);
        // The caller may have gone away: the batch is printed all the same.
        let _ = job.done.send(outcome);
    }
}
