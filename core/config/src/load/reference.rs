//! Finding `${...}` in texts.

use std::ops::Range;

/// The reference that is expanded next: the innermost, leftmost one. `None` if there is none, or if it is escaped: then
/// the expansion of the whole text ends. Reference: collector-core, 2.5.
pub(super) fn next(text: &str) -> Option<Range<usize>> {
    let mut from = 0;
    loop {
        let close = from + text[from..].find('}')?;
        let Some(open) = text[from..close].rfind("${").map(|open| from + open) else {
            from = close + 1;
            continue;
        };
        let dollars = text[from..open].bytes().rev().take_while(|byte| *byte == b'$').count();
        return (dollars % 2 == 0).then_some(open..close + 1);
    }
}

/// `$$` as `$`.
pub(super) fn unescape(text: &mut String) {
    if text.contains("$$") {
        *text = text.replace("$$", "$");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_innermost_leftmost_reference() {
        for (text, found) in [
            ("${A}", Some("${A}")),
            ("x${file:${env:D}/y}", Some("${env:D}")),
            ("} ${A} ${B}", Some("${A}")),
            ("$$${A}", Some("${A}")),
            ("$${A} ${B}", None),
            ("$${env:${A}}", Some("${A}")),
            ("${A", None),
            ("$A {}", None),
            ("", None),
        ] {
            assert_eq!(next(text).map(|range| &text[range]), found, "{text}");
        }
    }
}
