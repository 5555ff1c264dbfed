//! UTF-8 checks for a walk that moves forward through one buffer.

/// Bytes looked at in one step of the scan; the compiler turns a step into a few vector instructions.
const STEP: usize = 32;

/// Knows up to where the bytes from the current position on are all ASCII.
///
/// Strings of OTLP are mostly ASCII and lie close together, with ASCII tags and lengths between them. So one scan answers
/// for many strings. No byte is scanned twice as long as the caller moves forward.
#[derive(Debug, Default)]
pub(crate) struct AsciiRun {
    end: usize,
}

impl AsciiRun {
    /// Whether `bytes[start..stop]` is ASCII. `start` must not go back between calls.
    #[inline]
    pub(crate) fn covers(&mut self, bytes: &[u8], start: usize, stop: usize) -> bool {
        if stop <= self.end {
            return true;
        }
        self.extend(bytes, start);
        stop <= self.end
    }

    #[inline(never)]
    fn extend(&mut self, bytes: &[u8], start: usize) {
        // Before the known end there is nothing to look for: the byte there is not ASCII.
        if start >= self.end {
            self.end = ascii_end(bytes, start);
        }
    }

    /// Whether `bytes[start..stop]` is UTF-8. `start` must not go back between calls.
    #[inline]
    pub(crate) fn is_utf8(&mut self, bytes: &[u8], start: usize, stop: usize) -> bool {
        self.covers(bytes, start, stop) || is_utf8(bytes.get(start..stop).unwrap_or_default())
    }
}

/// Whether the text is UTF-8.
pub(crate) fn is_utf8(text: &[u8]) -> bool {
    simdutf8::basic::from_utf8(text).is_ok()
}

/// The position of the first byte at or after `start` that is not ASCII.
#[inline]
fn ascii_end(bytes: &[u8], start: usize) -> usize {
    let rest = bytes.get(start..).unwrap_or_default();
    let (steps, tail) = rest.as_chunks::<STEP>();
    let mut pos = start;
    for step in steps {
        if step.iter().fold(0, |high, byte| high | (byte & 0x80)) != 0 {
            return pos + leading_ascii(step);
        }
        pos += STEP;
    }
    pos + leading_ascii(tail)
}

/// How many ASCII bytes there are before the first other one.
#[inline]
fn leading_ascii(bytes: &[u8]) -> usize {
    let (words, tail) = bytes.as_chunks::<8>();
    for (index, word) in words.iter().enumerate() {
        let high = u64::from_le_bytes(*word) & 0x8080_8080_8080_8080;
        if high != 0 {
            return index * 8 + high.trailing_zeros() as usize / 8;
        }
    }
    let ascii = tail.iter().position(|byte| *byte >= 0x80).unwrap_or(tail.len());
    words.len() * 8 + ascii
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_ends_at_the_first_byte_that_is_not_ascii() {
        for len in 0..100 {
            let mut bytes = vec![b'a'; len];
            assert_eq!(ascii_end(&bytes, 0), len);
            for at in 0..len {
                bytes[at] = 0x80;
                for start in 0..=at {
                    assert_eq!(ascii_end(&bytes, start), at);
                }
                bytes[at] = b'a';
            }
        }
    }

    #[test]
    fn strings_are_judged_one_by_one_inside_and_outside_the_run() {
        let text = "plain, then \u{e4} and \u{1f600}, then plain".as_bytes();
        let umlaut = text.iter().position(|byte| *byte >= 0x80).unwrap();
        let mut run = AsciiRun::default();
        assert!(run.covers(text, 0, umlaut));
        assert!(run.is_utf8(text, 0, umlaut + 2));
        assert!(!run.is_utf8(text, 3, umlaut + 1));
        assert!(!run.is_utf8(text, umlaut + 1, umlaut + 4));
        assert!(run.is_utf8(text, umlaut + 2, text.len()));
        assert!(run.is_utf8(text, text.len(), text.len()));
    }
}
