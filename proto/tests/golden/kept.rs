//! Golden files, and those that releases left behind: one line a sample, `name: text`.
//!
//! This file knows no format. It is shared, by its path, with the tests of the crates that have
//! formats of their own on disk or between nodes.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// Compares a text of a release with the text of today; an error says what is different.
type Compares = dyn Fn(&str, &str) -> Result<(), String>;

/// A released version: its three numbers.
pub(crate) type Version = [u64; 3];

/// One line of a golden file: how it is written today, and how a release's line is compared.
pub(crate) struct Sample {
    pub(crate) name: String,
    pub(crate) today: String,
    /// Whether both read as the same value.
    pub(crate) reads: Box<Compares>,
    /// Whether nodes of that release can read what is written today.
    pub(crate) writes: Box<Compares>,
}

impl Sample {
    /// A value whose text has to stay as it is; `reads` says of two texts whether they are the
    /// same value.
    pub(crate) fn new(
        name: &str,
        today: String,
        reads: impl Fn(&str, &str) -> Result<(), String> + 'static,
    ) -> Self {
        let writes = |released: &str, today: &str| match today == released {
            true => Ok(()),
            false => Err(format!("is written {today} today; nodes of that release cannot")),
        };
        let (reads, writes) = (Box::new(reads), Box::new(writes));
        Self { name: name.to_owned(), today, reads, writes }
    }

    /// What is wrong with a release's line of this name; `newest` if no later release is known.
    fn check(&self, released: &str, newest: bool) -> Result<(), String> {
        (self.reads)(released, &self.today)?;
        if newest { (self.writes)(released, &self.today) } else { Ok(()) }
    }
}

/// An error that shows both values, if they differ.
pub(crate) fn same<T: PartialEq + std::fmt::Debug>(then: &T, today: &T) -> Result<(), String> {
    if then == today { Ok(()) } else { Err(format!("reads as {then:?}, and is {today:?} today")) }
}

/// Bytes as they stand in golden files.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// What [`hex`] wrote.
pub(crate) fn from_hex(text: &str) -> Result<Vec<u8>, String> {
    let pair = |at: usize| u8::from_str_radix(text.get(at..at + 2).unwrap_or_default(), 16);
    let bytes: Result<Vec<u8>, _> = (0..text.len()).step_by(2).map(pair).collect();
    bytes.map_err(|error| format!("is no hex: {error}"))
}

/// The lines of a released file that are not what they were.
fn breaches(lines: &str, samples: &[Sample], newest: bool) -> Vec<String> {
    let found = lines.lines().zip(1..).filter_map(|(line, number)| {
        let (name, released) = line.split_once(": ").unwrap_or((line, ""));
        let sample = samples.iter().find(|sample| sample.name == name);
        let checked = match sample {
            Some(sample) => sample.check(released, newest),
            None => Err("has no sample; put the variant or type back".to_owned()),
        };
        checked.err().map(|what| format!("{number}: {name}: {released} {what}"))
    });
    found.collect()
}

/// The versions below a folder, oldest first, each with its own folder.
pub(crate) fn versions(root: &Path) -> BTreeMap<Version, PathBuf> {
    let entries = fs::read_dir(root).into_iter().flatten().map(|entry| entry.expect("readable"));
    let folders = entries.filter(|entry| entry.path().is_dir()).map(|entry| {
        let name = entry.file_name().to_string_lossy().into_owned();
        let version = version(&name).unwrap_or_else(|| panic!("{name} is no version like 1.2.3"));
        (version, entry.path())
    });
    folders.collect()
}

fn version(text: &str) -> Option<Version> {
    let numbers: Option<Vec<u64>> = text.split('.').map(|part| part.parse().ok()).collect();
    numbers?.try_into().ok()
}

/// Everything in a file of that name, in every version below a folder, that is not what it was.
pub(crate) fn check(root: &Path, file: &str, samples: &[Sample]) -> Vec<String> {
    let versions = versions(root);
    let newest = versions.keys().last().copied();
    let mut found = Vec::new();
    for (version, folder) in &versions {
        let path = folder.join(file);
        let Ok(lines) = fs::read_to_string(&path) else { continue };
        let wrong = breaches(&lines, samples, newest == Some(*version));
        found.extend(wrong.into_iter().map(|what| format!("{}:{what}", path.display())));
    }
    found
}

/// Compares samples with every release's file `released`, then with the golden file at `path`; or
/// writes that one where `ROTARY_BLESS` is 1.
pub(crate) fn settle(path: &Path, (root, released): (&Path, &str), samples: &[Sample]) {
    let wrong = check(root, released, samples);
    assert!(wrong.is_empty(), "what was released is not what it was:\n{}", wrong.join("\n"));
    let lines = samples.iter().map(|sample| format!("{}: {}\n", sample.name, sample.today));
    let lines: String = lines.collect();
    if lines.is_empty() {
        assert!(!path.exists(), "{} belongs to no sample: delete it", path.display());
        return;
    }
    if std::env::var_os("ROTARY_BLESS").is_some_and(|value| value == "1") {
        fs::write(path, lines).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        return;
    }
    let golden = fs::read_to_string(path).unwrap_or_default();
    if golden != lines {
        panic!("{}", difference(path, &golden, &lines));
    }
}

/// The first line that differs, and what to do.
fn difference(path: &Path, golden: &str, lines: &str) -> String {
    let pairs = golden.lines().zip(lines.lines()).position(|(left, right)| left != right);
    let at = pairs.unwrap_or_else(|| golden.lines().count().min(lines.lines().count()));
    let show = |text: &str| text.lines().nth(at).unwrap_or("(no line)").to_owned();
    format!(
        "{}:{}: a format changed\n  golden: {}\n  build:  {}\nUntil the first tagged release: run \
         with ROTARY_BLESS=1 and commit the file with the change. From then on: leave the old \
         variant as it is and append a new one.",
        path.display(),
        at + 1,
        show(golden),
        show(lines)
    )
}
