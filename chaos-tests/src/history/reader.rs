//! Reading a history back.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read as _};
use std::path::{Path, PathBuf};

use super::record::{FORMAT, Head, Record};

/// The longest line, in bytes. Transcripts are the longest.
pub const LINE_BYTES_MAX: usize = 4 * 1024 * 1024;
/// The most lines of one history.
pub const LINES_MAX: usize = 50_000_000;

/// Why a file is not a history.
#[derive(Debug, thiserror::Error)]
pub enum HistoryError {
    /// The file cannot be read.
    #[error("{}: {error}", .path.display())]
    Unreadable {
        /// Which file.
        path: PathBuf,
        /// What the operating system said.
        error: io::Error,
    },
    /// A line is not a record.
    #[error("{}:{line}: {what}; {cure}", .path.display())]
    Line {
        /// Which file.
        path: PathBuf,
        /// Which line, from 1.
        line: usize,
        /// What is wrong with it.
        what: String,
        /// What to do.
        cure: &'static str,
    },
}

/// A record with the number of its line, from 1.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// From 1.
    pub number: usize,
    /// What it says.
    pub record: Record,
}

/// A whole history.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct History {
    /// What it is of.
    pub head: Head,
    /// Every line after the head, in order.
    pub lines: Vec<Line>,
}

impl History {
    /// A history of these records, numbered as a file would.
    pub fn of(head: Head, records: impl IntoIterator<Item = Record>) -> Self {
        let number = |(at, record)| Line { number: at + 2, record };
        Self { head, lines: records.into_iter().enumerate().map(number).collect() }
    }

    /// Reads a history's file. A last line that was cut off is left out: then there is no end, and
    /// the history is judged accordingly.
    ///
    /// # Errors
    /// [`HistoryError`] with the line and the cure.
    pub fn read(path: &Path) -> Result<Self, HistoryError> {
        let unreadable = |error| HistoryError::Unreadable { path: path.to_owned(), error };
        let mut file = BufReader::new(File::open(path).map_err(unreadable)?);
        let (mut head, mut lines, mut bytes) = (None, Vec::new(), Vec::new());
        for number in 1..=LINES_MAX {
            let wrong = |what: String, cure| {
                let (path, line) = (path.to_owned(), number);
                HistoryError::Line { path, line, what, cure }
            };
            match next_line(&mut file, &mut bytes).map_err(unreadable)? {
                Next::Over => {
                    let none = || wrong("there is no head".into(), "was the run begun?");
                    return Ok(Self { head: head.ok_or_else(none)?, lines });
                }
                Next::TooLong => {
                    let what = format!("a line of more than {LINE_BYTES_MAX} bytes");
                    return Err(wrong(what, "this is no history, or it is damaged; run again"));
                }
                Next::Line => {}
            }
            let record = serde_json::from_slice(&bytes).map_err(|error| {
                wrong(error.to_string(), "it is damaged or of another build; run again")
            })?;
            match (record, &head) {
                (Record::Head(found), None) if found.format == FORMAT => head = Some(found),
                (Record::Head(found), None) => {
                    let what = format!("format {} instead of {FORMAT}", found.format);
                    return Err(wrong(what, "judge it with the build that wrote it"));
                }
                (_, None) => return Err(wrong("no head".into(), "the first line must be one")),
                (record, Some(_)) => lines.push(Line { number, record }),
            }
        }
        let what = format!("more than {LINES_MAX} lines");
        let (path, line) = (path.to_owned(), LINES_MAX);
        Err(HistoryError::Line { path, line, what, cure: "judge shorter runs" })
    }

    /// The line with that number, as it is written in a file.
    pub fn line_text(&self, number: usize) -> Option<String> {
        let at = self.lines.binary_search_by_key(&number, |line| line.number).ok()?;
        serde_json::to_string(&self.lines[at].record).ok()
    }
}

enum Next {
    Line,
    TooLong,
    Over,
}

/// Reads one line without its end. One without an end is none.
fn next_line(file: &mut impl BufRead, bytes: &mut Vec<u8>) -> io::Result<Next> {
    bytes.clear();
    let most = LINE_BYTES_MAX as u64 + 1;
    file.by_ref().take(most).read_until(b'\n', bytes)?;
    Ok(match bytes.pop() {
        Some(b'\n') => Next::Line,
        Some(_) if bytes.len() as u64 + 1 == most => Next::TooLong,
        _ => Next::Over,
    })
}
