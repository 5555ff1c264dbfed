//! The line of a text that a diagnostic points at.

use crate::document::{Location, Span};

/// Lines are cut to about this length around the place.
const LINE_MAX_CHARS: usize = 120;
/// What stays in front of the place when a line is cut.
const LEAD_CHARS: usize = 60;
const MASK: &str = "[REDACTED]";
const CUT: &str = "...";

/// A line and the part of it to mark.
pub(super) struct Snippet {
    pub(super) line: String,
    /// Characters before the mark.
    pub(super) before: usize,
    /// Characters that are marked, at least one.
    pub(super) marked: usize,
}

/// The first line of a place, without secrets, cut to a readable length.
pub(super) fn of(location: &Location) -> Snippet {
    let span = location.span;
    let number = span.start.line;
    let line: Vec<char> = location.source.line(number).chars().map(visible).collect();
    let (start, end) = columns(span, number, line.len());
    let mut line = Line { chars: line, start, end: end.max(start) };
    let mut hidden: Vec<(usize, usize)> = location
        .source
        .hidden_on(number)
        .into_iter()
        .map(|secret| columns(secret, number, line.chars.len()))
        .filter(|(start, end)| start < end)
        .collect();
    // From the right, so that the places further left stay true. Where secrets overlap, the outer one counts.
    hidden.sort_by_key(|&(start, end)| (std::cmp::Reverse(end), start));
    let mut masked_from = usize::MAX;
    for (start, end) in hidden {
        if start >= masked_from {
            continue;
        }
        line.mask(start, end.min(masked_from));
        masked_from = start;
    }
    line.cut()
}

/// A character that does not change what a terminal shows.
pub(super) fn visible(c: char) -> char {
    match c {
        '\t' => ' ',
        c if c.is_control() => char::REPLACEMENT_CHARACTER,
        // Marks that turn the direction of writing can make a line look like another one.
        '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => char::REPLACEMENT_CHARACTER,
        c => c,
    }
}

/// The part of a span that lies on a line, as indices of characters.
fn columns(span: Span, line: u32, length: usize) -> (usize, usize) {
    let start = if span.start.line < line { 0 } else { (span.start.column as usize).saturating_sub(1) };
    let end = if span.end.line > line { length } else { (span.end.column as usize).saturating_sub(1) };
    (start.min(length), end.min(length))
}

struct Line {
    chars: Vec<char>,
    start: usize,
    end: usize,
}

impl Line {
    fn mask(&mut self, from: usize, to: usize) {
        let mask: Vec<char> = MASK.chars().collect();
        let length = mask.len();
        self.chars.splice(from..to, mask);
        let moved = |place: usize, inside: usize| match place {
            place if place <= from => place,
            place if place < to => inside,
            place => place - to + from + length,
        };
        (self.start, self.end) = (moved(self.start, from), moved(self.end, from + length));
    }

    fn cut(self) -> Snippet {
        let Self { chars, start, end } = self;
        let first = if chars.len() <= LINE_MAX_CHARS { 0 } else { start.saturating_sub(LEAD_CHARS) };
        let last = chars.len().min(first + LINE_MAX_CHARS);
        let lead = if first > 0 { CUT } else { "" };
        let tail = if last < chars.len() { CUT } else { "" };
        let shown: String = chars[first..last].iter().collect();
        Snippet {
            line: format!("{lead}{}{tail}", shown.trim_end()),
            before: start - first + lead.len(),
            marked: end.min(last).saturating_sub(start).max(1),
        }
    }
}
