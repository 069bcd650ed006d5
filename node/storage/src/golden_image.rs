//! A directory as one line of text, and back.
//!
//! `path=content | path=content`: paths from the directory, sorted; content in hex, where
//! `(00*480)` stands for so many equal bytes.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use super::kept::{from_hex, hex};

/// Equal bytes in a row that are counted instead of repeated.
const RUN_MIN: usize = 16;
/// The most bytes that a run may claim: longer than any sample's.
const RUN_MAX: usize = 1024 * 1024;

/// The files of a directory and of those below it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Image(pub(super) BTreeMap<String, Vec<u8>>);

impl Image {
    /// What is there.
    pub(super) fn of(directory: &Path) -> Self {
        let mut image = Self::default();
        image.gather(directory, "");
        image
    }

    fn gather(&mut self, directory: &Path, prefix: &str) {
        for entry in fs::read_dir(directory).expect("readable") {
            let entry = entry.expect("readable");
            let path = format!("{prefix}{}", entry.file_name().to_string_lossy());
            if entry.path().is_dir() {
                self.gather(&entry.path(), &format!("{path}/"));
            } else {
                self.0.insert(path, fs::read(entry.path()).expect("readable"));
            }
        }
    }

    /// Makes the files in an empty directory.
    pub(super) fn lay(&self, directory: &Path) {
        for (path, bytes) in &self.0 {
            let path = directory.join(path);
            fs::create_dir_all(path.parent().expect("a file has one")).expect("writable");
            fs::write(path, bytes).expect("writable");
        }
    }

    pub(super) fn text(&self) -> String {
        let files = self.0.iter().map(|(path, bytes)| format!("{path}={}", short(bytes)));
        files.collect::<Vec<_>>().join(" | ")
    }

    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let files = text.split(" | ").map(|file| {
            let (path, content) = file.split_once('=').ok_or("has a file without a path")?;
            Ok((path.to_owned(), long(content)?))
        });
        files.collect::<Result<_, String>>().map(Self)
    }
}

/// Bytes in hex, runs of equal ones counted.
pub(super) fn short(bytes: &[u8]) -> String {
    let mut text = String::new();
    for run in bytes.chunk_by(|one, two| one == two) {
        if run.len() < RUN_MIN {
            text.push_str(&hex(run));
        } else {
            write!(text, "({:02x}*{})", run[0], run.len()).expect("a string grows");
        }
    }
    text
}

fn long(text: &str) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    for (number, part) in text.split(['(', ')']).enumerate() {
        if number % 2 == 0 {
            bytes.extend(from_hex(part)?);
            continue;
        }
        let run = part.split_once('*').and_then(|(byte, count)| {
            let count = count.parse::<usize>().ok().filter(|count| *count <= RUN_MAX)?;
            Some((*from_hex(byte).ok()?.first()?, count))
        });
        let (byte, count) = run.ok_or_else(|| format!("has no run in ({part})"))?;
        bytes.resize(bytes.len() + count, byte);
    }
    Ok(bytes)
}

#[test]
fn an_image_is_read_back_as_it_was() {
    let mut image = Image::default();
    image.0.insert("a".to_owned(), [vec![1, 2], vec![0; 500], vec![3]].concat());
    image.0.insert("b/c".to_owned(), vec![255; RUN_MIN - 1]);
    image.0.insert("b/d".to_owned(), vec![]);
    let text = image.text();
    assert!(text.starts_with("a=0102(00*500)03 | b/c=ffff"), "{text}");
    assert_eq!(Image::parse(&text).as_ref(), Ok(&image));
    let dir = tempfile::tempdir().expect("a directory");
    image.lay(dir.path());
    assert_eq!(Image::of(dir.path()), image);
    for wrong in ["a", "a=0", "a=zz", "a=(00)", "a=(00*9999999999)", "a=(00*x)"] {
        assert!(Image::parse(wrong).is_err(), "{wrong}");
    }
}
