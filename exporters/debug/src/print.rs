//! What is printed of a batch, whatever takes it.

use std::io;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use spanbridge_component::ConsumeError;
use spanbridge_pdata::{Decoded, Payload};
use tracing::{Level, Span, enabled, info};

use crate::config::Verbosity;
use crate::counts::Counts;
use crate::sampler::Sampler;
use crate::streams::Streams;
use crate::text::{self, Layout};

/// Prints batches.
#[derive(Debug)]
pub(crate) struct Printer {
    layout: Option<Layout>,
    sampler: Mutex<Sampler>,
    span: Span,
}

/// Where batches are printed.
#[derive(Debug)]
pub(crate) enum Target {
    /// The process's own log.
    Log,
    /// Standard output, standard error, files.
    Streams(Streams),
}

impl Printer {
    /// `span` says in the log whose records they are.
    pub(crate) fn new(verbosity: Verbosity, sampler: Sampler, span: Span) -> Self {
        let layout = match verbosity {
            Verbosity::None | Verbosity::Basic => None,
            Verbosity::Normal => Some(Layout::Normal),
            Verbosity::Detailed => Some(Layout::Detailed),
        };
        Self { layout, sampler: Mutex::new(sampler), span }
    }

    /// Whether only the counts are printed.
    pub(crate) fn is_basic(&self) -> bool {
        self.layout.is_none()
    }

    /// Prints the summary of `payload` and, unless the verbosity is basic, what is in it.
    ///
    /// # Errors
    /// When the telemetry cannot be decoded, or a stream cannot be written.
    pub(crate) fn print(&self, payload: &Payload, target: &mut Target) -> Result<(), ConsumeError> {
        self.span.in_scope(|| {
            // Nobody would see it: leave the work.
            if matches!(target, Target::Log) && !enabled!(Level::INFO) {
                return Ok(());
            }
            let undecodable =
                |error| ConsumeError::permanent(format!("cannot decode {}: {error}", payload.signal()));
            let printed = match self.layout {
                None => self.summary(Counts::of_payload(payload), target),
                Some(layout) => self.all(&payload.decode().map_err(undecodable)?, layout, target),
            };
            printed.map_err(|error| ConsumeError::retryable(error.to_string()))
        })
    }

    fn summary(&self, counts: Counts, target: &mut Target) -> io::Result<()> {
        if !self.passes(counts.title()) {
            return Ok(());
        }
        match target {
            Target::Log => {
                counts.log();
                Ok(())
            }
            Target::Streams(streams) => streams.write_line(&counts.to_string()),
        }
    }

    fn all(&self, decoded: &Decoded, layout: Layout, target: &mut Target) -> io::Result<()> {
        self.summary(Counts::of(decoded), target)?;
        text::write(decoded, layout, &mut |record| match target {
            _ if !self.passes(record) => Ok(()),
            Target::Log => {
                info!(otelcol.signal = decoded.signal().name(), "{record}");
                Ok(())
            }
            Target::Streams(streams) => streams.write_line(record),
        })
    }

    fn passes(&self, message: &str) -> bool {
        self.sampler.lock().unwrap_or_else(PoisonError::into_inner).passes(message, Instant::now())
    }
}
