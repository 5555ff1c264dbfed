//! Telemetry as text, in the layouts of the Go collector's debug exporter (reference: collector-core, 11.1 and 11.2).

mod detailed;
mod go;
mod normal;
mod value;

use std::fmt::{self, Write as _};
use std::io;

use spanbridge_pdata::Decoded;

/// Size at which a text is handed on and a new one begun, in bytes. Nothing is lost: a batch with more text takes
/// several records.
const RECORD_BYTES_MAX: usize = 1024 * 1024;
/// Longest line in bytes; what follows is cut and counted at the end of the line.
const LINE_BYTES_MAX: usize = 1024 * 1024;

/// How much is written of each item.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Layout {
    /// One line an item.
    Normal,
    /// One line a field.
    Detailed,
}

/// Writes `telemetry` as one or more texts, each handed to `emit` and at most about 2 MiB long.
///
/// # Errors
/// The first error of `emit`, after which nothing more is written.
pub(crate) fn write(
    telemetry: &Decoded,
    layout: Layout,
    emit: &mut dyn FnMut(&str) -> io::Result<()>,
) -> io::Result<()> {
    let mut text = Text::new(emit);
    match (layout, telemetry) {
        (Layout::Normal, Decoded::Traces(request)) => normal::traces(&mut text, request),
        (Layout::Normal, Decoded::Metrics(request)) => normal::metrics(&mut text, request),
        (Layout::Normal, Decoded::Logs(request)) => normal::logs(&mut text, request),
        (Layout::Detailed, Decoded::Traces(request)) => detailed::traces(&mut text, request),
        (Layout::Detailed, Decoded::Metrics(request)) => detailed::metrics(&mut text, request),
        (Layout::Detailed, Decoded::Logs(request)) => detailed::logs(&mut text, request),
    }
    text.finish()
}

/// Collects lines and hands them on in records of bounded size.
struct Text<'a> {
    buffer: String,
    emit: &'a mut dyn FnMut(&str) -> io::Result<()>,
    emitted: bool,
    result: io::Result<()>,
}

impl<'a> Text<'a> {
    fn new(emit: &'a mut dyn FnMut(&str) -> io::Result<()>) -> Self {
        Self { buffer: String::new(), emit, emitted: false, result: Ok(()) }
    }

    fn line(&mut self, line: fmt::Arguments<'_>) {
        if self.result.is_err() {
            return;
        }
        let mut bounded = Bounded { out: &mut self.buffer, room: LINE_BYTES_MAX, cut: 0 };
        // Neither a String nor the bound ever reports an error.
        let _ = bounded.write_fmt(line);
        let cut = bounded.cut;
        if cut > 0 {
            let _ = write!(self.buffer, " [line cut: {cut} more bytes]");
        }
        self.buffer.push('\n');
        if self.buffer.len() >= RECORD_BYTES_MAX {
            self.hand_on();
        }
    }

    fn hand_on(&mut self) {
        self.result = (self.emit)(&self.buffer);
        self.emitted = true;
        self.buffer.clear();
    }

    /// Hands on what is left. A batch without any text still makes one empty record, as in Go.
    fn finish(mut self) -> io::Result<()> {
        if self.result.is_ok() && (!self.emitted || !self.buffer.is_empty()) {
            self.hand_on();
        }
        self.result
    }
}

/// Takes the first `room` bytes and counts the others.
struct Bounded<'a> {
    out: &'a mut String,
    room: usize,
    cut: usize,
}

impl fmt::Write for Bounded<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let mut take = text.len().min(self.room);
        while !text.is_char_boundary(take) {
            take -= 1;
        }
        self.out.push_str(&text[..take]);
        self.cut += text.len() - take;
        // Once something is cut the line is over, even if a shorter part would still fit.
        self.room = if take < text.len() { 0 } else { self.room - take };
        Ok(())
    }
}

/// One line, from a format string.
macro_rules! line {
    ($text:expr, $($format:tt)*) => { $text.line(format_args!($($format)*)) };
}
use line;

#[cfg(test)]
pub(crate) mod samples;
#[cfg(test)]
mod tests;
