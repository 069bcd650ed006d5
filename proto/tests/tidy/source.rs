//! The files of the repository, and for Rust which of their bytes are code, text or comment.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// The repository's root.
pub(crate) fn root() -> PathBuf {
    let crate_root = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    crate_root.parent().expect("proto has a parent directory").to_owned()
}

/// What a byte of a Rust file belongs to.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Class {
    Code,
    Text,
    Comment,
}

/// One file, by its path from the root with `/` between its parts.
pub(crate) struct Source {
    pub(crate) path: String,
    pub(crate) text: String,
}

impl Source {
    pub(crate) fn is_rust(&self) -> bool {
        self.path.ends_with(".rs")
    }

    pub(crate) fn is_markdown(&self) -> bool {
        self.path.ends_with(".md")
    }

    /// Lines with their numbers, from 1.
    pub(crate) fn lines(&self) -> impl Iterator<Item = (usize, &str)> {
        self.text.lines().enumerate().map(|(at, line)| (at + 1, line))
    }

    /// The text with everything blanked out, line ends aside, that is not of that class.
    pub(crate) fn only(&self, class: Class) -> String {
        let classes = Lexer::classes(&self.text);
        let keep = |(at, c): (usize, char)| if c == '\n' || classes[at] == class { c } else { ' ' };
        self.text.char_indices().map(keep).collect()
    }

    /// How many lines come before the inline tests.
    pub(crate) fn production_lines(&self) -> usize {
        let lines: Vec<&str> = self.text.lines().collect();
        let opens_tests = |pair: &[&str]| {
            pair[0].trim() == "#[cfg(test)]" && pair[1].contains("mod ") && pair[1].contains('{')
        };
        lines.windows(2).position(opens_tests).unwrap_or(lines.len())
    }

    /// Files that this one declares with `#[cfg(test)] mod name;`, by path without extension.
    fn test_modules(&self) -> Vec<String> {
        let lines: Vec<&str> = self.text.lines().map(str::trim).collect();
        let declared = |pair: &[&str]| {
            let module = pair[1].strip_suffix(';')?.rsplit_once("mod ")?.1;
            (pair[0] == "#[cfg(test)]").then(|| format!("{}/{module}", self.module_dir()))
        };
        lines.windows(2).filter_map(declared).collect()
    }

    /// Where the files of this one's child modules are.
    fn module_dir(&self) -> &str {
        let stem = self.path.trim_end_matches(".rs");
        match stem.rsplit_once('/') {
            Some((parent, "lib" | "main")) => parent,
            _ => stem,
        }
    }
}

/// Every text file that people write, in order of their paths.
pub(crate) fn sources() -> Vec<Source> {
    let (root, mut found) = (root(), Vec::new());
    walk(&root, &root, &mut found);
    found.sort_by(|left, right| left.path.cmp(&right.path));
    found
}

/// Every Rust file.
pub(crate) fn rust() -> Vec<Source> {
    sources().into_iter().filter(Source::is_rust).collect()
}

/// Rust files that are not tests as a whole; their inline tests are still in them.
pub(crate) fn production() -> Vec<Source> {
    let mut files = rust();
    let modules: BTreeSet<String> = files.iter().flat_map(Source::test_modules).collect();
    files.retain(|file| {
        let stem = file.path.trim_end_matches(".rs");
        let declared = modules.iter().any(|module| {
            stem.strip_prefix(module.as_str())
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        });
        let placed = file.path.split('/').any(|part| matches!(part, "tests" | "benches" | "fuzz"));
        !declared && !placed && !file.text.contains("\n#![cfg(test)]")
    });
    files
}

/// A file or directory that vanishes while this runs is no concern of these rules.
fn walk(root: &Path, dir: &Path, found: &mut Vec<Source>) {
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        let path = entry.path();
        let name = entry.file_name().to_string_lossy().into_owned();
        let Ok(kind) = entry.file_type() else { continue };
        if kind.is_dir() && is_ours(&name) {
            walk(root, &path, found);
        } else if kind.is_file() && is_written(&path, &name) {
            let Ok(text) = fs::read_to_string(&path) else { continue };
            let relative = path.strip_prefix(root).unwrap_or(&path);
            let path = relative.to_string_lossy().replace('\\', "/");
            found.push(Source { path, text });
        }
    }
}

fn is_ours(dir: &str) -> bool {
    let made = ["target", "node_modules", "dist", "corpus", "artifacts", "golden"].contains(&dir);
    let hidden = dir.starts_with('.') && dir != ".ci" && dir != ".github";
    !made && !hidden
}

fn is_written(path: &Path, name: &str) -> bool {
    const KINDS: [&str; 13] = [
        "rs", "md", "toml", "sh", "yml", "yaml", "ts", "js", "mjs", "svelte", "css", "html", "txt",
    ];
    let folder = path.parent().and_then(Path::file_name).unwrap_or_default();
    let scripted = folder == "scripts" || folder == ".ci";
    match name.rsplit_once('.') {
        Some((_, kind)) => KINDS.contains(&kind),
        None => scripted,
    }
}

/// Tells code, text and comments apart. It knows strings, raw strings, characters, lifetimes and
/// nested comments, which is all that it takes to find braces and words that count.
struct Lexer<'a> {
    bytes: &'a [u8],
    classes: Vec<Class>,
}

impl Lexer<'_> {
    /// The class of each byte.
    fn classes(text: &str) -> Vec<Class> {
        let mut lexer = Lexer { bytes: text.as_bytes(), classes: Vec::with_capacity(text.len()) };
        while lexer.classes.len() < lexer.bytes.len() {
            let (class, length) = lexer.token();
            let left = lexer.bytes.len() - lexer.classes.len();
            lexer.classes.extend(std::iter::repeat_n(class, length.clamp(1, left)));
        }
        lexer.classes
    }

    /// What comes next, and how many bytes it takes.
    fn token(&self) -> (Class, usize) {
        let rest = &self.bytes[self.classes.len()..];
        match rest {
            [b'/', b'/', ..] => (Class::Comment, until(rest, b"\n")),
            [b'/', b'*', ..] => (Class::Comment, block_comment(rest)),
            [b'"', ..] => (Class::Text, quoted(rest, b'"')),
            [b'\'', ..] => character(rest).map_or((Class::Code, 1), |n| (Class::Text, n)),
            [b'r', ..] => raw_string(rest).map_or_else(|| self.word(), |n| (Class::Text, n)),
            _ => self.word(),
        }
    }

    /// A word is taken whole, so that an `r` at its end does not begin a raw string; the prefixes
    /// of byte and C strings are left outside of it.
    fn word(&self) -> (Class, usize) {
        let rest = &self.bytes[self.classes.len()..];
        let length = rest.iter().take_while(|b| b.is_ascii_alphanumeric() || **b == b'_').count();
        let prefix = length == 2 && (rest.starts_with(b"br") || rest.starts_with(b"cr"));
        (Class::Code, if prefix { 1 } else { length.max(1) })
    }
}

fn until(bytes: &[u8], end: &[u8]) -> usize {
    bytes.windows(end.len()).position(|window| window == end).unwrap_or(bytes.len())
}

fn block_comment(bytes: &[u8]) -> usize {
    let (mut depth, mut at) = (0, 0);
    while at < bytes.len() {
        match &bytes[at..] {
            [b'/', b'*', ..] => (depth, at) = (depth + 1, at + 2),
            [b'*', b'/', ..] => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
        if depth == 0 {
            break;
        }
    }
    at
}

/// Bytes up to and with the closing quote, escapes skipped.
fn quoted(bytes: &[u8], quote: u8) -> usize {
    let mut at = 1;
    while at < bytes.len() && bytes[at] != quote {
        at += if bytes[at] == b'\\' { 2 } else { 1 };
    }
    at + 1
}

/// The length of a character literal; none for a lifetime.
fn character(bytes: &[u8]) -> Option<usize> {
    let (first, second) = (*bytes.get(1)?, *bytes.get(2)?);
    if first == b'\\' {
        return Some(2 + quoted(&bytes[2..], b'\''));
    }
    if first.is_ascii() {
        return (second == b'\'').then_some(3);
    }
    Some(quoted(bytes, b'\''))
}

/// The length of a raw string; none for a raw identifier or a word that begins with `r`.
fn raw_string(bytes: &[u8]) -> Option<usize> {
    let hashes = bytes[1..].iter().take_while(|byte| **byte == b'#').count();
    (bytes.get(1 + hashes) == Some(&b'"')).then(|| {
        let (open, close) = (hashes + 2, ["\"", &"#".repeat(hashes)].concat());
        open + until(&bytes[open..], close.as_bytes()) + close.len()
    })
}

#[test]
fn the_lexer_tells_code_from_text_and_comments() {
    let text = r##"let a = "{ // \" }"; let b = r#"{"#; // fn {
let c: &'a u8 = f('{', '\'', '你'); /* { /* { */ { */ let for_r = br"{";"##;
    let source = Source { path: String::new(), text: text.to_owned() };
    assert_eq!(source.only(Class::Code).matches('{').count(), 0, "{}", source.only(Class::Code));
    assert_eq!(source.only(Class::Code).matches("let").count(), 4);
    assert_eq!(source.only(Class::Comment).matches('{').count(), 4);
    assert_eq!(source.only(Class::Text).matches('{').count(), 4);
}
