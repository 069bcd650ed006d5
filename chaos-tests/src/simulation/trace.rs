//! What happened, line by line: hashed as it goes, its tail kept, and written out on demand.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;

use xxhash_rust::xxh3::Xxh3;

/// Lines that a case file ends with.
const TAIL_LINES: usize = 200;

/// The trace of one run. Equal seeds give equal bytes.
pub(crate) struct Trace {
    hash: Xxh3,
    lines: u64,
    tail: VecDeque<String>,
    file: Option<BufWriter<File>>,
}

impl Trace {
    /// An empty trace, also written to a file if there is one.
    pub(crate) fn new(path: Option<&Path>) -> io::Result<Self> {
        let file = path.map(File::create).transpose()?.map(BufWriter::new);
        Ok(Self { hash: Xxh3::new(), lines: 0, tail: VecDeque::new(), file })
    }

    /// Adds a line.
    pub(crate) fn say(&mut self, now_ms: u64, what: &str) {
        let line = format!("{now_ms} {what}\n");
        self.hash.update(line.as_bytes());
        self.lines += 1;
        if let Some(file) = &mut self.file {
            // A trace that cannot be written shows in the comparison that it was wanted for.
            drop(file.write_all(line.as_bytes()));
        }
        if self.tail.len() == TAIL_LINES {
            self.tail.pop_front();
        }
        self.tail.push_back(line);
    }

    /// The hash of every line so far, and how many there are.
    pub(crate) fn digest(&self) -> (u64, u64) {
        (self.hash.digest(), self.lines)
    }

    /// The last lines.
    pub(crate) fn tail(&self) -> Vec<String> {
        self.tail.iter().map(|line| line.trim_end().to_owned()).collect()
    }
}
