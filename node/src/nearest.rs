//! Which known word somebody may have meant.

/// The known word with the fewest differing letters, if it is near enough to be meant.
pub(crate) fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let scored = known.into_iter().map(|other| (distance(word, other), other));
    let (differing, nearest) = scored.min()?;
    (differing <= word.chars().count().div_ceil(3)).then_some(nearest)
}

/// Levenshtein's distance: letters to insert, remove or replace.
pub(crate) fn distance(one: &str, other: &str) -> usize {
    let other: Vec<char> = other.chars().collect();
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (i, a) in one.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, b) in other.iter().enumerate() {
            let replaced = diagonal + usize::from(a != *b);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(row[j + 1] + 1);
        }
    }
    row[other.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_is_near_and_another_word_is_not() {
        assert_eq!(distance("kitten", "sitting"), 3);
        let known = ["offer-gone", "no-leader"];
        assert_eq!(nearest("ofer-gone", known), Some("offer-gone"));
        assert_eq!(nearest("noleader", known), Some("no-leader"));
        assert_eq!(nearest("breakfast", known), None);
    }
}
