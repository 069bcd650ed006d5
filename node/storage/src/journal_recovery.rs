//! Opening a journal: every frame is checked, a torn tail is cut, earlier damage is an error.
//!
//! Only the last segment may end in bytes that are not a frame, because the one before it was
//! synced before the last was begun. What is cut was never reported durable, and the log brings it
//! back.

use std::fs::{File, OpenOptions};
use std::io;
use std::path::Path;
use std::sync::Arc;

use crate::journal_frame::{self, FRAME_HEADER_BYTES, JournalRecord};
use crate::journal_group::{GroupJournal, JournalError, Place};

/// Opens the journal of a group in that directory, which may not exist.
pub(crate) fn open_group(group: u32, directory: &Path) -> Result<GroupJournal, JournalError> {
    let io = |source| JournalError::Io { path: directory.to_owned(), source };
    std::fs::create_dir_all(directory).map_err(io)?;
    let mut journal = GroupJournal::new(group, directory.to_owned());
    let mut segments = Vec::new();
    for found in std::fs::read_dir(directory).map_err(io)? {
        let name = found.map_err(io)?.file_name();
        let number = name.to_str().and_then(|name| name.strip_suffix(".journal"));
        segments.extend(number.and_then(|number| number.parse::<u32>().ok()));
    }
    segments.sort_unstable();
    for (position, segment) in segments.iter().enumerate() {
        let last = position + 1 == segments.len();
        scan(&mut journal, *segment, last)?;
    }
    journal.recovered = journal.last_index;
    journal.synced = journal.last_index;
    Ok(journal)
}

fn scan(journal: &mut GroupJournal, segment: u32, last: bool) -> Result<(), JournalError> {
    let path = journal.segment_path(segment);
    let io = |source| JournalError::Io { path: path.clone(), source };
    let file = OpenOptions::new().read(true).write(true).open(&path).map_err(io)?;
    let bytes = std::fs::read(&path).map_err(io)?;
    let mut offset = 0;
    while offset < bytes.len() {
        match frame_at(&bytes, offset) {
            Ok((records, length)) => {
                journal.recover(&records, Place { segment, offset: offset as u32 })?;
                offset += length;
            }
            Err(what) if last => {
                let (path, cut) = (path.display(), bytes.len() - offset);
                tracing::warn!(%path, offset, cut, what, "the torn tail of a journal was cut");
                cut_at(&file, offset as u64).map_err(io)?;
                break;
            }
            Err(what) => {
                return Err(JournalError::Damaged { path, offset: offset as u64, what });
            }
        }
    }
    journal.files.insert(segment, Arc::new(file));
    journal.segment = segment;
    journal.segment_bytes = offset as u64;
    Ok(())
}

fn cut_at(file: &File, length: u64) -> io::Result<()> {
    file.set_len(length)?;
    file.sync_all()
}

/// The records of the frame at `offset` and its length.
fn frame_at(bytes: &[u8], offset: usize) -> Result<(Vec<JournalRecord>, usize), String> {
    let rest = &bytes[offset..];
    let head = rest.first_chunk::<FRAME_HEADER_BYTES>().ok_or("its header is incomplete")?;
    let (length, sum) = journal_frame::header(*head).ok_or("its length is impossible")?;
    let end = FRAME_HEADER_BYTES + length;
    let body = rest.get(FRAME_HEADER_BYTES..end).ok_or("it is incomplete")?;
    Ok((journal_frame::parse(body, sum)?, end))
}
