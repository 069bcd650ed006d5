//! One command line, taken apart: `post ana c1 "hello there" seen_to=2`.

use std::collections::BTreeMap;

/// A command's words.
#[derive(Debug, Clone)]
pub(crate) struct Words {
    /// The line, for complaints.
    pub(crate) line: String,
    /// What to do.
    pub(crate) verb: String,
    /// What stands without a key, in order.
    plain: Vec<String>,
    /// What stands as `key=value`.
    options: BTreeMap<String, String>,
}

impl Words {
    /// Takes a line apart.
    pub(crate) fn read(line: &str) -> Self {
        let (mut plain, mut options) = (Vec::new(), BTreeMap::new());
        for (word, quoted) in split(line) {
            match word.split_once('=').filter(|(key, _)| !quoted && !key.ends_with(['>', '<'])) {
                Some((key, value)) => {
                    options.insert(key.to_owned(), value.to_owned());
                }
                None => plain.push(word),
            }
        }
        assert!(!plain.is_empty(), "a command is missing in {line:?}");
        let verb = plain.remove(0);
        Self { line: line.to_owned(), verb, plain, options }
    }

    /// The plain word at a place.
    pub(crate) fn at(&self, place: usize) -> &str {
        let word = self.plain.get(place).map(String::as_str);
        word.unwrap_or_else(|| panic!("{:?} lacks word {}", self.line, place + 1))
    }

    /// The plain word at a place, if there is one.
    pub(crate) fn find(&self, place: usize) -> Option<&str> {
        self.plain.get(place).map(String::as_str)
    }

    /// An option's text.
    pub(crate) fn option(&self, key: &str) -> Option<&str> {
        self.options.get(key).map(String::as_str)
    }

    /// Every option.
    pub(crate) fn options(&self) -> impl Iterator<Item = (&str, &str)> {
        self.options.iter().map(|(key, value)| (key.as_str(), value.as_str()))
    }

    /// An option that is a number.
    pub(crate) fn number(&self, key: &str) -> Option<u64> {
        let value = self.option(key)?;
        Some(value.parse().unwrap_or_else(|_| panic!("{key}={value} is no number")))
    }

    /// An option that is a duration, in milliseconds.
    pub(crate) fn duration(&self, key: &str) -> Option<u64> {
        self.option(key).map(milliseconds)
    }
}

/// `250ms`, `20s`, `5m`, `1h`, `2d` in milliseconds.
pub(crate) fn milliseconds(text: &str) -> u64 {
    let digits = text.trim_end_matches(char::is_alphabetic);
    let number: u64 = digits.parse().unwrap_or_else(|_| panic!("{text} is no duration"));
    let unit = match &text[digits.len()..] {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        unit => panic!("{unit:?} is no unit of time"),
    };
    number * unit
}

/// Words at spaces; what is quoted stays together.
fn split(line: &str) -> Vec<(String, bool)> {
    let (mut words, mut word, mut within, mut quoted) = (Vec::new(), String::new(), false, false);
    for c in line.chars() {
        match c {
            '"' => {
                quoted |= word.is_empty();
                within = !within;
            }
            ' ' if !within => {
                if !word.is_empty() || quoted {
                    words.push((std::mem::take(&mut word), quoted));
                }
                quoted = false;
            }
            _ => word.push(c),
        }
    }
    if !word.is_empty() || quoted {
        words.push((word, quoted));
    }
    words
}
