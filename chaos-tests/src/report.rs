//! A run as one page: what was promised, what came of it, and the lines that prove it.
//!
//! [`page`] makes an HTML file that needs nothing else: no network, no fonts, no other files. It
//! has the verdict, a table of every question with how much was looked at, a picture of the run
//! (operations and latencies, faults as bars, who led, first offers after faults), the faults and
//! whether they bit, every finding with the lines of the history that prove it, and the command
//! that repeats the run.
//!
//! It is in English and Chinese, light and dark, can be used with the keyboard and read by a screen
//! reader, and says nothing by colour alone. Its size is bounded however long the history is:
//! pictures have at most [`BUCKETS_MAX`] columns, lists at most [`ROWS_MAX`] rows, and lines of a
//! history are cut at [`LINE_CHARS_MAX`] characters.

mod charts;
mod html;
mod sections;
mod timeline;

use std::io;
use std::path::{Path, PathBuf};

use crate::checkers::Judgement;
use crate::history::History;
use timeline::Timeline;

/// Columns of a picture.
pub const BUCKETS_MAX: usize = 160;
/// Rows of a list: findings of a checker, lanes and bars of a picture.
pub const ROWS_MAX: usize = 20;
/// Characters of a history's line that are shown.
pub const LINE_CHARS_MAX: usize = 600;

/// The page of a judged history.
pub fn page(history: &History, judgement: &Judgement) -> String {
    let timeline = Timeline::of(history);
    let body = [
        sections::verdict(history, judgement),
        sections::counts(judgement),
        charts::over_time(&timeline),
        sections::faults(&timeline),
        sections::findings(history, judgement),
        sections::figures(judgement),
    ];
    html::document(&history.head.name, &body.concat())
}

/// Writes the page as `index.html` into a folder, which is made if need be; says where.
///
/// # Errors
/// What the file system said.
pub fn write(history: &History, judgement: &Judgement, folder: &Path) -> io::Result<PathBuf> {
    std::fs::create_dir_all(folder)?;
    let path = folder.join("index.html");
    std::fs::write(&path, page(history, judgement))?;
    Ok(path)
}

#[cfg(test)]
mod tests;
