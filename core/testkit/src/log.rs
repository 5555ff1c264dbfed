//! What a component says to the process's log.

use std::fmt::{Debug, Write as _};
use std::sync::{Arc, Mutex, Once, PoisonError};

use tracing::field::{Field, Visit};
use tracing::subscriber::{DefaultGuard, Interest};
use tracing::{Event, Metadata, Subscriber, span};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt as _};

/// Remembers the events of the thread that made it, and of those that take its dispatcher over, until it is dropped, as
/// `LEVEL message field=value ...`.
pub struct Log {
    lines: Lines,
    _guard: DefaultGuard,
}

impl Log {
    /// Listens from now on.
    #[must_use = "what is logged after it is dropped is not heard"]
    pub fn record() -> Self {
        open_callsites();
        let lines = Lines::default();
        let guard = tracing::subscriber::set_default(tracing_subscriber::registry().with(lines.clone()));
        Self { lines, _guard: guard }
    }

    /// What has been logged so far, in order.
    pub fn lines(&self) -> Vec<String> {
        self.lines.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Lets subscribers of single threads hear everything, for the rest of the process. [`Log::record`] calls it; a test
/// that sets a subscriber of its own for its thread has to.
///
/// While a process has one subscriber, `tracing` asks the thread that comes first by a place that logs whether anybody
/// listens there, and keeps the answer for all threads. If that is the thread of another test, with no subscriber, the
/// test that listens hears nothing from that place. A subscriber of the whole process that never gives a final answer
/// keeps the question open.
pub fn open_callsites() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        tracing::subscriber::set_global_default(Undecided)
            .expect("a test process has no subscriber for all threads but this one");
    });
}

/// Hears nothing, but may want to.
struct Undecided;

impl Subscriber for Undecided {
    fn register_callsite(&self, _: &'static Metadata<'static>) -> Interest {
        Interest::sometimes()
    }

    fn enabled(&self, _: &Metadata<'_>) -> bool {
        false
    }

    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }

    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}

    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}

    fn event(&self, _: &Event<'_>) {}

    fn enter(&self, _: &span::Id) {}

    fn exit(&self, _: &span::Id) {}
}

#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<String>>>);

impl<S: Subscriber> Layer<S> for Lines {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let mut line = Line::default();
        event.record(&mut line);
        let level = event.metadata().level();
        let mut lines = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        lines.push(format!("{level} {}{}", line.message, line.fields));
    }
}

#[derive(Default)]
struct Line {
    message: String,
    fields: String,
}

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        match field.name() {
            "message" => self.message = format!("{value:?}"),
            name => write!(self.fields, " {name}={value:?}").expect("writing to a string cannot fail"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place() {
        tracing::info!(size = 3, "heard");
    }

    #[test]
    fn places_that_another_thread_passed_first_are_heard() {
        let log = Log::record();
        std::thread::spawn(place).join().unwrap();
        place();
        assert_eq!(log.lines(), ["INFO heard size=3"]);
    }
}
