//! What the person at the terminal sees: a line that is renewed while it runs, and the result.

use std::io::{self, IsTerminal as _, Write as _};
use std::sync::Arc;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use tokio::time::{Instant, MissedTickBehavior, interval};

use crate::Summary;
use crate::export::Tally;
use crate::plan::SignalPlan;

/// What the records are called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Noun {
    Spans,
    DataPoints,
    LogRecords,
}

impl Noun {
    pub(crate) fn of(signal: &SignalPlan) -> Self {
        match signal {
            SignalPlan::Traces(_) => Self::Spans,
            SignalPlan::Metrics(_) => Self::DataPoints,
            SignalPlan::Logs(_) => Self::LogRecords,
        }
    }

    fn text(self) -> &'static str {
        match self {
            Self::Spans => "spans",
            Self::DataPoints => "data points",
            Self::LogRecords => "log records",
        }
    }
}

/// Shows progress on standard error, every `period`, for as long as it is polled; only on a terminal.
///
/// Never returns. What it drew is gone when it is dropped.
pub(crate) async fn show(tally: Arc<Tally>, noun: Noun, period: Duration) {
    if period.is_zero() || !io::stderr().is_terminal() {
        return std::future::pending().await;
    }
    let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
    if let Ok(style) = ProgressStyle::with_template("{spinner} {msg}") {
        bar.set_style(style);
    }
    let bar = ClearOnDrop(bar);
    let mut ticks = interval(period);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let begun = Instant::now();
    loop {
        ticks.tick().await;
        bar.0.set_message(line(&tally, noun, begun.elapsed()));
        bar.0.tick();
    }
}

struct ClearOnDrop(ProgressBar);

impl Drop for ClearOnDrop {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}

fn line(tally: &Tally, noun: Noun, elapsed: Duration) -> String {
    let (sent, failed) = (tally.sent_items(), tally.failed_items());
    #[expect(clippy::cast_precision_loss, reason = "a rate for the eye")]
    let rate = sent as f64 / elapsed.as_secs_f64().max(0.001);
    let (noun, seconds) = (noun.text(), elapsed.as_secs_f64());
    format!("{sent} {noun} sent, {failed} failed, {rate:.0}/s, {seconds:.1}s")
}

/// Writes the result to standard error: `sent 10 spans in 5 traces, 0 failed, in 0.1s`.
pub(crate) fn write_summary(summary: &Summary, noun: Noun) {
    // Nobody is left to tell when standard error is closed.
    let _ = writeln!(io::stderr(), "{}", summary_line(summary, noun));
}

fn summary_line(summary: &Summary, noun: Noun) -> String {
    let Summary { traces, sent_items, failed_items, elapsed } = summary;
    let traces = if noun == Noun::Spans { format!(" in {traces} traces") } else { String::new() };
    let (noun, seconds) = (noun.text(), elapsed.as_secs_f64());
    format!("sent {sent_items} {noun}{traces}, {failed_items} failed, in {seconds:.1}s")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn summary_names_what_was_sent() {
        let elapsed = Duration::from_millis(140);
        let summary = Summary { traces: 5, sent_items: 10, failed_items: 0, elapsed };
        assert_eq!(summary_line(&summary, Noun::Spans), "sent 10 spans in 5 traces, 0 failed, in 0.1s");
        let summary = Summary { traces: 0, sent_items: 3, failed_items: 2, elapsed };
        assert_eq!(summary_line(&summary, Noun::DataPoints), "sent 3 data points, 2 failed, in 0.1s");
    }
}
