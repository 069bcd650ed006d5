//! A journal's history on its way from one node to another.
//!
//! A replica that installed a snapshot goes on from there ([`Journal::rebase`]) with a gap below.
//! [`Journal::missing`] says what is in the gap; a peer's [`Journal::export`] gives it in chunks of
//! a bounded size, and [`Journal::import`] puts them in. Each chunk says from which head to which
//! it leads and is refused as a whole if its bytes say otherwise; the last one must lead to the
//! head that the snapshot promised, or everything below the gap is dropped. Chunks that come twice
//! are passed over, and a process that dies in between asks for what it has not got.
//!
//! Until the gap is closed nothing below it can be read.

use std::mem;
use std::path::PathBuf;
use std::sync::Arc;

use crate::journal::{Journal, Shared};
use crate::journal_chain::JournalHead;
use crate::journal_error::JournalError;
use crate::journal_frame::{self, FRAME_BYTES_MAX, JournalRecord};
use crate::journal_group::{GroupJournal, Open, Pending};
use crate::journal_read::{Budget, Files};
use crate::journal_recovery::advance;
use crate::journal_segment::{self, Begin, Closed, Origin, Streams};

/// Bytes that one chunk holds at most.
pub const CHUNK_BYTES_MAX: usize = 1024 * 1024;
/// Segment numbers left free below a rebase, for what is imported.
pub(crate) const NUMBERS_FREE: u32 = 1 << 16;

/// Where a journal begins: what is needed to go on from there.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct JournalBase {
    /// The head there.
    pub head: JournalHead,
    /// Every stream's last sequence there, by stream.
    pub streams: Streams,
}

/// What a journal lacks below a snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Missing {
    /// Where the part that is there ends; `None` if nothing is there, and a peer's
    /// [`Journal::base`] comes first.
    pub after: Option<JournalHead>,
    /// Bytes of the frame after that which are there already.
    pub skip: usize,
    /// Where the gap ends.
    pub through: JournalHead,
}

/// A piece of a group's journal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JournalChunk {
    /// The head before its first frame.
    pub after: JournalHead,
    /// Bytes of that frame that are in chunks before it.
    pub skip: usize,
    /// Frames, or a part of one that is larger than a chunk.
    pub bytes: Vec<u8>,
    /// The head after its last whole frame, at the index up to which nothing else is left.
    pub end: JournalHead,
}

/// History below a gap.
#[derive(Debug)]
pub(crate) struct Lower {
    pub(crate) base: Option<Begin>,
    pub(crate) closed: Vec<Closed>,
    /// Where the next chunk goes; `None` before there is a base, and while one is being written.
    pub(crate) import: Option<ImportRun>,
    /// Where the gap ends.
    pub(crate) through: JournalHead,
    pub(crate) next_number: u32,
}

/// The end of what was imported.
#[derive(Debug)]
pub(crate) struct ImportRun {
    open: Open,
    streams: Streams,
    head: JournalHead,
    /// The beginning of a frame whose rest is to come.
    partial: Vec<u8>,
}

impl ImportRun {
    pub(crate) fn new(open: Open, streams: Streams, head: JournalHead) -> Self {
        Self { open, streams, head, partial: Vec::new() }
    }
}

/// A chunk that was found right.
struct Checked {
    frames: Vec<(Vec<JournalRecord>, Vec<u8>)>,
    streams: Streams,
    rest: Vec<u8>,
}

impl Journal {
    /// Where what can be read of a group begins.
    pub fn base(&self, group: u32) -> JournalBase {
        let base = self.shared.read_group(group, |journal| journal.base.clone());
        base.map(|base| JournalBase { head: base.head, streams: base.streams }).unwrap_or_default()
    }

    /// Every stream's last sequence and the head, for a snapshot at what was last appended or
    /// passed over.
    pub fn tip(&self, group: u32) -> JournalBase {
        let tip = self.shared.read_group(group, |journal| {
            let head = JournalHead { index: journal.last_index, ..journal.head };
            JournalBase { head, streams: journal.last_sequences() }
        });
        tip.unwrap_or_default()
    }

    /// Goes on from a snapshot's place; what is below it is kept, and what lies between is
    /// [`Journal::missing`]. Does nothing if the journal reaches that far. Nothing may be appended
    /// to the group meanwhile.
    ///
    /// # Errors
    /// `Io`, `Damaged`; `Failed` if the writer has failed.
    pub fn rebase(&self, group: u32, base: JournalBase) -> Result<(), JournalError> {
        if self.last_index(group) >= base.head.index {
            return Ok(());
        }
        self.shared.change(group, |journal| {
            // What was passed over goes before the end: the flush must begin no other segment.
            journal.mark();
            if journal.open.bytes > 0 {
                journal.close_segment();
            }
            Ok(())
        })?;
        self.flush()?;
        let (dropped, directory) = self.shared.change(group, |journal| {
            let number = journal.open.number + NUMBERS_FREE;
            let dropped = journal.gap(base.head);
            let JournalBase { head, streams } = base;
            journal.rebase(number, Begin { origin: Origin::Rebased, head, streams });
            Ok((dropped, journal.directory.clone()))
        })?;
        self.shared.tables.forget(group);
        self.shared.remove(&directory, dropped.iter().map(|closed| closed.number))?;
        self.flush()
    }

    /// Begins a group of which nothing is here, at a place before which nothing is kept. Nothing is
    /// missing then.
    ///
    /// # Errors
    /// `Import` if something is here; `Io`; `Failed` if the writer has failed.
    pub fn plant(&self, group: u32, base: JournalBase) -> Result<(), JournalError> {
        self.shared.change(group, |journal| {
            if journal.last_index > 0 || journal.lower.is_some() {
                let what = "something is here already".to_owned();
                return Err(JournalError::Import { group, what });
            }
            let JournalBase { head, streams } = base;
            let begin = Begin { origin: Origin::Grown, head, streams };
            journal.rebase(journal.open.number, begin);
            Ok(())
        })?;
        self.flush()
    }

    /// What a group lacks; `None` if nothing.
    pub fn missing(&self, group: u32) -> Option<Missing> {
        self.shared.read_group(group, GroupJournal::missing).flatten()
    }

    /// Begins the import of a history of which nothing is here.
    ///
    /// # Errors
    /// `Import` if something is here, or if nothing is missing.
    pub fn import_base(&self, group: u32, base: JournalBase) -> Result<(), JournalError> {
        self.shared.change(group, |journal| {
            let refuse = |what: &str| Err(JournalError::Import { group, what: what.to_owned() });
            let Some(lower) = &mut journal.lower else { return refuse("nothing is missing") };
            if lower.base.is_some() {
                return refuse("a part is here already; go on from its end");
            }
            let JournalBase { head, streams } = base;
            if head.index > lower.through.index {
                return refuse("it begins above the gap");
            }
            let open = Open::new(lower.next_number, Origin::Grown, head);
            lower.import = Some(ImportRun::new(open, streams.clone(), head));
            lower.base = Some(Begin { origin: Origin::Grown, head, streams });
            Ok(())
        })
    }

    /// A piece of a group's history, at most `bytes_max` and [`CHUNK_BYTES_MAX`] long: what comes
    /// after an index, up to another. May read the disk, and so blocks.
    ///
    /// # Errors
    /// `IndexForgotten` if it is not here; `Io`, `Damaged`.
    pub fn export(
        &self,
        group: u32,
        after: u64,
        skip: usize,
        through: u64,
        bytes_max: usize,
    ) -> Result<JournalChunk, JournalError> {
        let bytes_max = bytes_max.clamp(1, CHUNK_BYTES_MAX);
        let start = self.head_at(group, after)?;
        let budget = Budget { records_max: usize::MAX, bytes_max };
        let page = self.shared.read_index(group, after, through, budget)?;
        let (mut bytes, mut end) = (Vec::new(), start);
        let mut frames = page.records.chunk_by(|a, b| a.index == b.index);
        let mut whole = true;
        for records in frames.by_ref() {
            let chained = journal_frame::chained(group, records);
            let before = bytes.len();
            journal_frame::export(&chained, &mut bytes);
            if bytes.len().saturating_sub(skip) > bytes_max {
                if before == 0 {
                    bytes.truncate(skip.saturating_add(bytes_max));
                } else {
                    bytes.truncate(before);
                }
                whole = false;
                break;
            }
            end = end.after(records[0].index, &chained);
        }
        if whole {
            end.index = end.index.max(page.through);
        }
        let skip = skip.min(bytes.len());
        bytes.drain(..skip);
        Ok(JournalChunk { after: start, skip, bytes, end })
    }

    /// Takes in a piece of what is missing, durably, and says what is missing then. A piece that
    /// does not begin where the gap begins changes nothing. Blocks on the disk.
    ///
    /// # Errors
    /// `Import` for a piece that is not what it says, which changes nothing; `OtherHistory` if the
    /// gap is filled and leads elsewhere, and then all below it was dropped; `Io` if the disk
    /// failed, after which the process ends.
    pub fn import(
        &self,
        group: u32,
        chunk: &JournalChunk,
    ) -> Result<Option<Missing>, JournalError> {
        let Some(missing) = self.missing(group) else { return Ok(None) };
        let begins = missing.after.is_some_and(|after| after.index == chunk.after.index);
        if !begins || missing.skip != chunk.skip {
            return Ok(Some(missing));
        }
        let (mut run, directory) = self.shared.change(group, |journal| {
            let run = journal.lower.as_mut().and_then(|lower| lower.import.take());
            let other = || "another piece is being taken in".to_owned();
            let run = run.ok_or_else(|| JournalError::Import { group, what: other() })?;
            Ok((run, journal.directory.clone()))
        })?;
        let done = self.take_in(group, directory, chunk, missing.through, &mut run);
        self.shared.change(group, |journal| {
            if let Some(lower) = &mut journal.lower {
                let closed = done.as_deref().unwrap_or_default();
                lower.closed.extend(closed);
                lower.next_number = run.open.number;
                lower.import = Some(run);
            }
            Ok(())
        })?;
        done?;
        match self.missing(group) {
            Some(now) if now.after.is_some_and(|after| after.index >= now.through.index) => {
                self.join_up(group, now).map(|()| None)
            }
            missing => Ok(missing),
        }
    }

    /// Checks a chunk and writes it; returns the segments that it filled.
    fn take_in(
        &self,
        group: u32,
        directory: PathBuf,
        chunk: &JournalChunk,
        through: JournalHead,
        run: &mut ImportRun,
    ) -> Result<Vec<Closed>, JournalError> {
        let refuse = |what: String| JournalError::Import { group, what };
        let checked = run.check(group, chunk, through).map_err(refuse)?;
        let segment_bytes_max = self.shared.options.segment_bytes_max;
        let mut writing = Writing { group, pending: Vec::new(), closed: Vec::new() };
        for (records, chained) in &checked.frames {
            writing.frame(run, records, chained, segment_bytes_max);
        }
        (run.streams, run.partial, run.head) = (checked.streams, checked.rest, chunk.end);
        for pending in &writing.pending {
            self.shared.write_now(&directory, pending)?;
        }
        Ok(writing.closed)
    }

    /// Closes the gap, or drops what does not lead to its end.
    fn join_up(&self, group: u32, filled: Missing) -> Result<(), JournalError> {
        let (expected, found) = (filled.through, filled.after.unwrap_or_default());
        if found.hash != expected.hash {
            let (dropped, directory) = self.shared.change(group, |journal| {
                let dropped = journal.drop_lower();
                Ok((dropped, journal.directory.clone()))
            })?;
            self.shared.tables.forget(group);
            self.shared.remove(&directory, dropped)?;
            return Err(JournalError::OtherHistory { group, expected, found });
        }
        let (last, directory) = self.shared.change(group, |journal| {
            let run = journal.lower.as_mut().and_then(|lower| lower.import.as_mut());
            let run = run.filter(|run| run.open.bytes > 0);
            Ok((run.map(|run| run.end(group)), journal.directory.clone()))
        })?;
        if let Some((pending, _)) = &last {
            self.shared.write_now(&directory, pending)?;
        }
        self.shared.change(group, |journal| {
            let Some(lower) = journal.lower.take() else { return Ok(()) };
            let mut closed = lower.closed;
            closed.extend(last.map(|(_, closed)| closed));
            closed.extend(journal.closed.iter());
            journal.closed = Arc::new(closed);
            journal.base = lower.base.expect("a history that was imported has a beginning");
            Ok(())
        })
    }
}

impl GroupJournal {
    fn missing(&self) -> Option<Missing> {
        let lower = self.lower.as_ref()?;
        let after = lower.import.as_ref().map(|run| run.head);
        let skip = lower.import.as_ref().map_or(0, |run| run.partial.len());
        Some(Missing { after, skip, through: lower.through })
    }

    /// Puts what is there below a gap that ends at `through`; returns what has no place there.
    fn gap(&mut self, through: JournalHead) -> Vec<Closed> {
        let closed = mem::take(Arc::make_mut(&mut self.closed));
        if let Some(lower) = &mut self.lower {
            // There is a gap below already: what was between is fetched with the rest.
            lower.through = through;
            return closed;
        }
        let next_number = self.open.number;
        let streams = self.last_sequences();
        let open = Open::new(next_number, Origin::Grown, self.head);
        let some = !closed.is_empty();
        let import = some.then(|| ImportRun::new(open, streams, self.head));
        let base = some.then(|| self.base.clone());
        self.lower = Some(Lower { base, closed, import, through, next_number });
        Vec::new()
    }

    /// Forgets what is below the gap, and returns the numbers of its segments.
    pub(crate) fn drop_lower(&mut self) -> Vec<u32> {
        let Some(lower) = &mut self.lower else { return Vec::new() };
        let mut numbers: Vec<u32> = lower.closed.drain(..).map(|closed| closed.number).collect();
        let open = lower.import.take().filter(|run| run.open.bytes > 0);
        numbers.extend(open.map(|run| run.open.number));
        lower.next_number = numbers.last().map_or(lower.next_number, |last| last + 1);
        lower.base = None;
        numbers
    }
}

impl ImportRun {
    /// Makes sure that a chunk is what it says and goes on from here.
    fn check(
        &self,
        group: u32,
        chunk: &JournalChunk,
        through: JournalHead,
    ) -> Result<Checked, String> {
        if chunk.after != self.head {
            return Err(format!("it goes on from {:?}, here is {:?}", chunk.after, self.head));
        }
        if self.partial.len() + chunk.bytes.len() > FRAME_BYTES_MAX + CHUNK_BYTES_MAX {
            return Err("a frame of it has no end".to_owned());
        }
        let bytes = [self.partial.as_slice(), &chunk.bytes].concat();
        let (mut streams, mut head) = (self.streams.clone(), self.head);
        let (mut frames, mut at) = (Vec::new(), 0);
        while let Some((records, chained, length)) = journal_frame::imported(group, &bytes[at..])? {
            let index = records[0].index;
            if index <= head.index || index > through.index {
                return Err(format!("index {index} is not within {head:?} and {through:?}"));
            }
            advance(&mut streams, &records)?;
            head = head.after(index, chained);
            frames.push((records, chained.to_vec()));
            at += length;
        }
        let rest = bytes[at..].to_vec();
        let passes = chunk.end.index >= head.index && (rest.is_empty() || chunk.end == head);
        if chunk.end.hash != head.hash || !passes {
            return Err(format!("it should lead to {:?}, its bytes lead to {head:?}", chunk.end));
        }
        Ok(Checked { frames, streams, rest })
    }

    /// Goes on behind a chunk without writing it; how many records were in it.
    pub(crate) fn follow(
        &mut self,
        group: u32,
        chunk: &JournalChunk,
        through: JournalHead,
    ) -> Result<u64, String> {
        let skipped = self.partial.len();
        if chunk.skip != skipped {
            return Err(format!("it leaves out {} bytes, and {skipped} were there", chunk.skip));
        }
        let Checked { frames, streams, rest } = self.check(group, chunk, through)?;
        (self.streams, self.partial, self.head) = (streams, rest, chunk.end);
        Ok(frames.iter().map(|(records, _)| records.len() as u64).sum())
    }

    /// Where it stands.
    pub(crate) fn head(&self) -> JournalHead {
        self.head
    }

    /// Whether no frame is half there.
    pub(crate) fn is_whole(&self) -> bool {
        self.partial.is_empty()
    }

    /// The end of the segment that is being filled.
    fn end(&self, group: u32) -> (Pending, Closed) {
        let mut open = self.open.clone();
        let offset = open.bytes;
        let end = open.table.encode(group, self.head, offset as u32);
        let mut pending = empty(&open, self.head);
        open.push(journal_frame::Kind::End, &end, (offset, &mut pending.bytes));
        (pending, open.closed(self.head))
    }
}

fn empty(open: &Open, head: JournalHead) -> Pending {
    let (segment, offset) = (open.number, open.bytes);
    Pending { segment, offset, bytes: Vec::new(), head, records: 0, closes: false }
}

/// What a chunk writes.
struct Writing {
    group: u32,
    pending: Vec<Pending>,
    closed: Vec<Closed>,
}

impl Writing {
    fn frame(
        &mut self,
        run: &mut ImportRun,
        records: &[JournalRecord],
        chained: &[u8],
        segment_bytes_max: u64,
    ) {
        let (group, head) = (self.group, run.head);
        if run.open.is_full(journal_frame::frame_bytes(chained.len()), segment_bytes_max) {
            let (open, pending) = self.open(run);
            let end = open.table.encode(group, head, open.bytes as u32);
            let out = (pending.offset, &mut pending.bytes);
            open.push(journal_frame::Kind::End, &end, out);
            let closed = open.closed(head);
            self.closed.push(closed);
            run.open = Open::new(run.open.number + 1, Origin::Grown, head);
        }
        let begin = (run.open.bytes == 0).then(|| Begin {
            origin: run.open.origin,
            head: run.open.begin,
            streams: run.streams.clone(),
        });
        let (open, pending) = self.open(run);
        if let Some(begin) = begin {
            let out = (pending.offset, &mut pending.bytes);
            open.push(journal_frame::Kind::Begin, &begin.encode(group), out);
        }
        let out = (pending.offset, &mut pending.bytes);
        open.add(records, chained, head, segment_bytes_max, out);
        run.head = head.after(records[0].index, chained);
        advance(&mut run.streams, records).expect("the chunk was checked");
    }

    /// The segment that is being filled, and the bytes that go to it.
    fn open<'a>(&'a mut self, run: &'a mut ImportRun) -> (&'a mut Open, &'a mut Pending) {
        if self.pending.last().is_none_or(|last| last.segment != run.open.number) {
            self.pending.push(empty(&run.open, run.head));
        }
        let pending = self.pending.last_mut().expect("one was just pushed if there was none");
        (&mut run.open, pending)
    }
}

impl Shared {
    /// Removes segments, oldest first, so that what is left has no hole.
    pub(crate) fn remove(
        &self,
        directory: &std::path::Path,
        numbers: impl IntoIterator<Item = u32>,
    ) -> Result<(), JournalError> {
        let mut some = false;
        for number in numbers {
            let path = journal_segment::path(directory, number);
            self.disk.remove(&path).map_err(|source| JournalError::io(&path, source))?;
            some = true;
        }
        if some {
            let synced = self.disk.sync_directory(directory);
            synced.map_err(|source| JournalError::io(directory, source))?;
        }
        Ok(())
    }

    /// How a group's files are reached.
    pub(crate) fn files(&self, group: u32, directory: PathBuf) -> Files<'_> {
        Files { disk: &*self.disk, tables: &self.tables, group, directory }
    }
}

#[cfg(test)]
#[path = "journal_transfer_tests.rs"]
mod tests;
