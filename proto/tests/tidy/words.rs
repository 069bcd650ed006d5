//! One word one meaning, and nothing that ties a text to a place, a day or a to-do list.
//!
//! The glossary is the registry: words in backticks in the "Not used" column of
//! `docs/GLOSSARY.md` are refused in Rust and Markdown, alone or as a part of an identifier.

use std::collections::BTreeMap;
use std::fs;

use crate::settle;
use crate::source::{Class, Source, root, sources};

/// Texts that may name what others may not: the glossary itself.
const GLOSSARY: &str = "docs/GLOSSARY.md";

#[test]
fn words_that_the_glossary_replaces_are_not_used() {
    let banned = banned();
    let mut breaches = Vec::new();
    let judged = |file: &Source| (file.is_rust() || file.is_markdown()) && file.path != GLOSSARY;
    for file in sources().iter().filter(|file| judged(file)) {
        for (number, line) in file.lines() {
            for (word, instead) in uses(line, &banned) {
                let path = &file.path;
                breaches.push(format!("{path}:{number}: `{word}`; say {instead} ({GLOSSARY})"));
            }
        }
    }
    settle(breaches);
}

/// Each replaced word, in lower case, with the word of this house.
fn banned() -> BTreeMap<String, String> {
    let text = fs::read_to_string(root().join(GLOSSARY)).unwrap_or_default();
    let rows = text.lines().filter_map(|line| line.strip_prefix('|')?.trim_end().strip_suffix('|'));
    let mut banned = BTreeMap::new();
    for row in rows {
        let cells: Vec<&str> = row.split('|').map(str::trim).collect();
        let (Some(instead), Some(not_used)) = (cells.first(), cells.last()) else { continue };
        for word in not_used.split('`').skip(1).step_by(2) {
            banned.insert(word.to_lowercase(), (*instead).to_owned());
        }
    }
    banned
}

/// The replaced words in a line: whole identifiers, parts of them, and plurals.
fn uses<'a>(line: &str, banned: &'a BTreeMap<String, String>) -> Vec<(String, &'a str)> {
    let identifiers = line.split(|c: char| !c.is_alphanumeric() && c != '_');
    let mut found = Vec::new();
    for identifier in identifiers.filter(|identifier| !identifier.is_empty()) {
        let whole = identifier.replace('_', "").to_lowercase();
        let candidates = parts(identifier).into_iter().chain([whole]);
        let hit = |word: String| {
            let singular = word.strip_suffix('s').unwrap_or(&word);
            banned.get(&word).or_else(|| banned.get(singular)).map(String::as_str)
        };
        if let Some(instead) = candidates.into_iter().find_map(hit) {
            found.push((identifier.to_owned(), instead));
        }
    }
    found
}

/// The words of an identifier, in lower case: `OfferGone` and `offer_gone` have two.
fn parts(identifier: &str) -> Vec<String> {
    let mut parts = vec![String::new()];
    let mut was_lower = false;
    for c in identifier.chars() {
        if (c == '_' || (c.is_uppercase() && was_lower))
            && parts.last().is_some_and(|p| !p.is_empty())
        {
            parts.push(String::new());
        }
        was_lower = c.is_lowercase();
        if let Some(part) = parts.last_mut().filter(|_| c != '_') {
            part.extend(c.to_lowercase());
        }
    }
    parts
}

#[test]
fn replaced_words_are_found_in_every_shape() {
    let banned = BTreeMap::from([("bluebird".to_owned(), "bird".to_owned())]);
    for line in ["a bluebird.", "BlueBirds", "blue_bird", "let BLUEBIRD_MAX = 1;"] {
        assert_eq!(uses(line, &banned).len(), 1, "{line}");
    }
    assert!(uses("a bird that is blue, trueblueish", &banned).is_empty());
    let ours = self::banned();
    assert!(ours.len() > 5, "{GLOSSARY} has no readable \"Not used\" column: {ours:?}");
}

#[test]
fn nothing_is_left_for_later_in_a_comment() {
    const MARKS: [&str; 4] =
        [concat!("FIX", "ME"), concat!("TO", "DO"), concat!("XX", "X"), concat!("HA", "CK")];
    let mut breaches = Vec::new();
    for file in sources() {
        for (number, line) in file.lines() {
            let mut words = line.split(|c: char| !c.is_alphanumeric());
            if let Some(mark) = words.find(|word| MARKS.contains(word)) {
                let path = &file.path;
                breaches.push(format!("{path}:{number}: {mark}; do it, or leave the thought out"));
            }
        }
    }
    settle(breaches);
}

#[test]
fn no_text_refers_to_an_issue_by_number() {
    let mut breaches = Vec::new();
    for file in sources() {
        let text = if file.is_rust() { file.only(Class::Comment) } else { file.text.clone() };
        let told = file.is_rust() || file.is_markdown() || file.path.starts_with("scripts/");
        for (at, line) in text.lines().enumerate().filter(|_| told) {
            if names_issue(line) {
                let (path, number) = (&file.path, at + 1);
                breaches.push(format!("{path}:{number}: an issue number; say the reason itself"));
            }
        }
    }
    settle(breaches);
}

/// A hash sign and a decimal number, neither of them part of something longer.
fn names_issue(line: &str) -> bool {
    let opens = |before: &str| before.is_empty() || before.ends_with([' ', '(', '[']);
    line.match_indices('#').any(|(at, _)| {
        let rest = &line[at + 1..];
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let closes = !rest[digits..].starts_with(|c: char| c.is_alphanumeric() || c == '_');
        opens(&line[..at]) && (1..=5).contains(&digits) && closes
    })
}

#[test]
fn no_text_refers_to_a_place_on_one_machine() {
    let mut breaches = Vec::new();
    for file in sources() {
        for (number, line) in file.lines() {
            if let Some(place) = place(line, file.path.starts_with("ui/")) {
                let path = &file.path;
                breaches.push(format!(
                    "{path}:{number}: the path {place}; use one relative to the repository, or a \
                     temporary directory"
                ));
            }
        }
    }
    settle(breaches);
}

fn place(line: &str, is_ui: bool) -> Option<&'static str> {
    const PLACES: [&str; 3] = [concat!("/wo", "rk/"), concat!("/ro", "ot/"), concat!("/ho", "me/")];
    const SIBLING: &str = concat!("../sh", "ared");
    let begins = |at: usize| {
        let before = line[..at].chars().next_back();
        before.is_none_or(|c| !c.is_alphanumeric() && !matches!(c, '.' | '-' | '_' | '}' | ')'))
    };
    let absolute = |place: &&str| line.match_indices(*place).any(|(at, _)| begins(at));
    let sibling = || (!is_ui && line.contains(SIBLING)).then_some(SIBLING);
    PLACES.into_iter().find(absolute).or_else(sibling)
}

#[test]
fn numbers_and_places_are_told_from_what_looks_like_them() {
    assert!(names_issue("see #12.") && names_issue("(#7)") && names_issue("#3"));
    assert!(!names_issue("colour #12ab") && !names_issue("a#12") && !names_issue("#[test]"));
    assert!(place(concat!("in /ho", "me/me"), false).is_some());
    assert!(place(concat!("docs/wo", "rk/x"), false).is_none());
}
