//! The nearest valid name for a misspelt one.

/// The candidate that `name` is most likely a misspelling of, if any is near.
///
/// Near means: at most a third of the characters differ (a swap of neighbours counts once).
pub fn nearest<'a>(name: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    // Longer names are no misspelling, and the distance costs length times length.
    const NAME_MAX_CHARS: usize = 100;
    let length = name.chars().count();
    if length > NAME_MAX_CHARS {
        return None;
    }
    candidates
        .into_iter()
        .filter(|candidate| candidate.len() <= NAME_MAX_CHARS * 4)
        .map(|candidate| (distance(name, candidate), candidate))
        .filter(|(distance, candidate)| *distance <= length.max(candidate.chars().count()).max(3) / 3)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// Edits apart; case and the kind of separator count nothing.
fn distance(left: &str, right: &str) -> usize {
    let plain = |text: &str| text.to_lowercase().replace(['-', '.', ' '], "_");
    strsim::damerau_levenshtein(&plain(left), &plain(right))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_misspellings_and_leaves_other_names_alone() {
        let keys = ["endpoint", "transport", "tls"];
        assert_eq!(nearest("endpont", keys), Some("endpoint"));
        assert_eq!(nearest("EndPoint", keys), Some("endpoint"));
        assert_eq!(nearest("tsl", keys), Some("tls"));
        assert_eq!(nearest("compression", keys), None);
        assert_eq!(nearest("", keys), None);
        assert_eq!(nearest(&"x".repeat(1_000_000), keys), None);
    }
}
