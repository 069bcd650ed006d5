//! The entries of a shard's log on their way into a backup, and out of it again.
//!
//! A run takes those that came since the run before, so that a shard can be brought to any index
//! between two snapshots. They are read before the run's snapshot is asked for, since taking one
//! lets the log forget. Whoever asks says which entry it knew last: where that one is another here,
//! or was forgotten, the entries begin anew.

use std::io::{self, Read};
use std::sync::Arc;

use bytes::Bytes;
use futures::Stream;
use rotary_log::{OfflineEntry, OfflineLog, OfflinePayload};
use rotary_proto::limits::APPEND_BYTES_MAX;
use rotary_proto::{NodeId, ShardId, Wall};
use rotary_storage::{BackupFileError, BackupFrames, backup_preamble};

use crate::backup::check::BackupError;
use crate::backup::format::{self, End, Frame, LogHead};
use crate::backup::manifest::{EntryMark, Taken};
use crate::gateway::token::unix_ms;

/// Bytes of entries that are read at a time, about.
const PIECE_BYTES: usize = APPEND_BYTES_MAX;

/// The last entry that somebody has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Known {
    /// Its index.
    pub(crate) after: u64,
    /// Its term.
    pub(crate) term: u64,
    /// The sum of its bytes; 0 where only its term is known.
    pub(crate) sum: u64,
}

impl From<&Taken> for Known {
    fn from(taken: &Taken) -> Self {
        let EntryMark { term, sum } = taken.last;
        Self { after: taken.through, term, sum }
    }
}

/// Tells an entry from another one.
fn mark(entry: &OfflineEntry) -> EntryMark {
    let digest = ring::digest::digest(&ring::digest::SHA256, &entry.bytes);
    let first = digest.as_ref().first_chunk().expect("SHA-256 has 32 bytes");
    EntryMark { term: entry.term, sum: u64::from_be_bytes(*first) }
}

/// Whose log it is.
pub(crate) struct LogOrigin {
    pub(crate) node: NodeId,
    /// The id of the cluster.
    pub(crate) cluster: String,
    pub(crate) log: OfflineLog,
    /// The last entry that was applied here.
    pub(crate) applied: u64,
}

/// A shard's entries on their way out.
pub(crate) struct Entries {
    log: OfflineLog,
    head: LogHead,
    /// The last one that was read.
    at: u64,
    count: End,
    is_over: bool,
}

impl Entries {
    /// Those that follow what somebody knows; none, where that is nothing or was forgotten. Reads
    /// the disk.
    ///
    /// # Errors
    /// What the disk says.
    pub(crate) fn of(origin: LogOrigin, shard: ShardId, known: Option<Known>) -> io::Result<Self> {
        let LogOrigin { node, cluster, log, applied } = origin;
        let goes_on = known.map_or(Ok(false), |known| goes_on(&log, shard, applied, known))?;
        let forgotten = log.forgotten(shard)?;
        let after = known.map(|known| known.after).filter(|after| goes_on && *after >= forgotten);
        let after = after.unwrap_or(applied);
        let EntryMark { term, sum } = mark_at(&log, shard, applied)?;
        let build = crate::build::name().to_owned();
        let (through, wall) = (applied, Wall(unix_ms()));
        let head =
            LogHead { cluster, shard, goes_on, after, through, term, sum, build, node, wall };
        Ok(Self { log, head, at: after, count: End::default(), is_over: false })
    }

    /// What a file of them is called.
    pub(crate) fn file_name(&self) -> String {
        format!("{}.entries", self.head.shard)
    }

    /// All of them. An error breaks the stream off, so that what was read does not look whole.
    pub(crate) fn stream(self) -> impl Stream<Item = io::Result<Bytes>> {
        let first = [backup_preamble(), Frame::Log(self.head.clone()).encode()].concat();
        futures::stream::try_unfold((self, Some(first)), |(mut entries, first)| async move {
            if let Some(first) = first {
                return Ok(Some((Bytes::from(first), (entries, None))));
            }
            let read = move || entries.next().map(|frame| (entries, frame));
            let read = crate::blocking::run(read).await.map_err(io::Error::other)?;
            let (entries, frame) = read?;
            Ok(frame.map(|frame| (Bytes::from(frame.encode()), (entries, None))))
        })
    }

    fn next(&mut self) -> io::Result<Option<Frame>> {
        if self.is_over {
            return Ok(None);
        }
        if self.at >= self.head.through {
            self.is_over = true;
            return Ok(Some(Frame::End(self.count)));
        }
        let mut read = self.log.read(self.head.shard, self.at + 1, PIECE_BYTES)?;
        read.retain(|entry| entry.index <= self.head.through);
        if read.first().is_none_or(|entry| entry.index != self.at + 1) {
            let (shard, at) = (self.head.shard, self.at);
            let what = format!("{shard} forgot what follows {at} meanwhile: try again");
            return Err(io::Error::other(what));
        }
        self.at += read.len() as u64;
        self.count.entries += read.len() as u64;
        let bytes = read.into_iter().map(|entry| entry.bytes.to_vec()).collect();
        Ok(Some(Frame::Entries(bytes)))
    }
}

/// Whether a log can be the one that somebody knew an entry of: it is the same there, or was
/// forgotten, and nothing speaks against it.
fn goes_on(log: &OfflineLog, shard: ShardId, applied: u64, known: Known) -> io::Result<bool> {
    let Known { after, term, sum } = known;
    if after > applied {
        return Ok(false);
    }
    if after < log.forgotten(shard)? {
        return Ok(term <= mark_at(log, shard, applied)?.term);
    }
    Ok(mark_at(log, shard, after)?.fits(EntryMark { term, sum }))
}

/// The mark of an entry, or of what stands for it.
fn mark_at(log: &OfflineLog, shard: ShardId, index: u64) -> io::Result<EntryMark> {
    let read = log.read(shard, index, 1)?;
    match read.first().filter(|entry| entry.index == index) {
        Some(entry) => Ok(mark(entry)),
        None => Ok(EntryMark { term: log.forgotten_term(shard)?, sum: 0 }),
    }
}

/// What a file of entries was found to hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) head: LogHead,
    pub(crate) latest: Wall,
}

/// Reads a file of entries from its first byte, and gives each to `taker` until it has enough. A
/// file that is read to its end is whole.
///
/// # Errors
/// What is wrong with it, and where; what `taker` says.
pub(crate) fn walk(
    from: impl Read,
    mut taker: impl FnMut(OfflineEntry) -> Result<Enough, String>,
) -> Result<Found, BackupError> {
    let mut frames = BackupFrames::of(from);
    let Some(Frame::Log(head)) = format::next(&mut frames)? else {
        return Err(BackupError::Wrong("it does not say whose entries it has".to_owned()));
    };
    let mut order = Order { at: head.after, term: 0, last: None };
    let (mut count, mut latest) = (End::default(), Wall(0));
    loop {
        let at = frames.at();
        let wrong = |what: &str| BackupFileError::Damaged { at, what: what.to_owned() };
        match format::next(&mut frames)? {
            Some(Frame::Entries(entries)) => {
                for bytes in entries {
                    let entry = order.take(bytes, &head).map_err(BackupError::Wrong)?;
                    count.entries += 1;
                    latest = latest.max(wall_of(&entry).unwrap_or_default());
                    if taker(entry).map_err(BackupError::Wrong)? == Enough::Yes {
                        return Ok(Found { head, latest });
                    }
                }
            }
            Some(Frame::End(end)) if end != count => {
                return Err(wrong("it does not have as many entries as it says").into());
            }
            Some(Frame::End(_)) => {}
            Some(_) => return Err(wrong("something else than entries").into()),
            None => break,
        }
    }
    order.end(&head).map_err(BackupError::Wrong)?;
    Ok(Found { head, latest })
}

/// Whether whoever reads entries has enough of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Enough {
    Yes,
    No,
}

/// The time of day that an entry was proposed at, by its leader's clock.
pub(crate) fn wall_of(entry: &OfflineEntry) -> Option<Wall> {
    let OfflinePayload::Command { wall, .. } = &entry.payload else { return None };
    Some(*wall)
}

/// Entries one after the other, in terms that do not fall.
struct Order {
    at: u64,
    term: u64,
    last: Option<EntryMark>,
}

impl Order {
    fn take(&mut self, bytes: Vec<u8>, head: &LogHead) -> Result<OfflineEntry, String> {
        let (at, through) = (self.at, head.through);
        let entry = OfflineEntry::decode(Arc::from(bytes));
        let entry = entry.map_err(|error| format!("what follows index {at}: {error}"))?;
        let is_next = at.checked_add(1) == Some(entry.index) && entry.index <= through;
        if !is_next || entry.term < self.term {
            let (index, term) = (entry.index, entry.term);
            return Err(format!("index {index} of term {term} follows {at} of {}", self.term));
        }
        (self.at, self.term, self.last) = (entry.index, entry.term, Some(mark(&entry)));
        Ok(entry)
    }

    fn end(&self, head: &LogHead) -> Result<(), String> {
        let LogHead { through, term, sum, .. } = *head;
        let last = self.last.unwrap_or(EntryMark { term, sum });
        if self.at != through || last != (EntryMark { term, sum }) {
            return Err(format!("it ends at {}, and says that it ends at {through}", self.at));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use rotary_storage::backup_frame;

    use super::*;

    fn head(after: u64, through: u64) -> Frame {
        let (cluster, shard, build) = ("main".to_owned(), ShardId(1), "1.2".to_owned());
        let (goes_on, term, sum, node, wall) = (true, 3, 9, NodeId(1), Wall(7));
        let head =
            LogHead { cluster, shard, goes_on, after, through, term, sum, build, node, wall };
        Frame::Log(head)
    }

    fn end(entries: u64) -> Frame {
        Frame::End(End { entries, ..End::default() })
    }

    fn read(frames: &[Frame]) -> Result<Found, String> {
        let bytes = frames.iter().flat_map(Frame::encode);
        let file: Vec<u8> = backup_preamble().into_iter().chain(bytes).collect();
        walk(file.as_slice(), |_| Ok(Enough::No)).map_err(|error| error.to_string())
    }

    #[test]
    fn no_entries_are_a_whole_file() {
        let found = read(&[head(5, 5), end(0)]).expect("it is whole");
        assert_eq!((found.head.through, found.latest), (5, Wall(0)));
    }

    #[test]
    fn what_is_no_whole_file_of_entries_is_refused_with_why() {
        let refused = |frames: &[Frame]| read(frames).expect_err("it is not whole");
        assert!(refused(&[end(0)]).contains("whose entries"));
        assert!(refused(&[head(5, 5)]).contains("cut off"));
        assert!(refused(&[head(5, 6), end(0)]).contains("ends at 5, and says that it ends at 6"));
        assert!(refused(&[head(5, 6), end(1)]).contains("as many entries as it says"));
        assert!(refused(&[head(5, 6), head(5, 6)]).contains("something else than entries"));
        let none = Frame::Entries(vec![b"no entry".to_vec()]);
        assert!(refused(&[head(5, 6), none, end(1)]).contains("what follows index 5"));
        assert!(refused(&[head(u64::MAX, 6), end(0)]).contains("says that it ends at 6"));
        let odd = [backup_preamble(), head(5, 5).encode(), backup_frame(8, b"no list")].concat();
        let odd = walk(odd.as_slice(), |_| Ok(Enough::No)).expect_err("no list of entries");
        assert!(odd.to_string().contains("it is damaged at byte"), "{odd}");
    }

    #[test]
    fn marks_of_which_one_has_no_sum_fit_by_their_terms() {
        let mark = |term, sum| EntryMark { term, sum };
        assert!(mark(3, 9).fits(mark(3, 9)) && mark(3, 9).fits(mark(3, 0)));
        assert!(!mark(3, 9).fits(mark(3, 8)) && !mark(3, 0).fits(mark(4, 0)));
    }
}
