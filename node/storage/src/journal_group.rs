//! The journal of one group in memory: its newest records, and where the next ones go.
//!
//! An append becomes a frame whose place in the files is decided at once; the bytes wait in
//! `pending` until the writer puts them there. Until then, and while they are among the newest, the
//! records are also in `recent`, so a reader that keeps up never touches the disk. What is older is
//! found through the tables of the segments: that of the open one is here, those of closed ones are
//! on disk.

use std::borrow::Borrow;
use std::collections::{BTreeMap, VecDeque};
use std::path::PathBuf;
use std::sync::Arc;

use crate::disk::DiskFile;
use crate::journal_chain::JournalHead;
use crate::journal_error::JournalError;
use crate::journal_frame::{self, JournalRecord, Kind};
use crate::journal_heads::Heads;
use crate::journal_segment::{Begin, Closed, Origin, Streams, Table};
use crate::journal_transfer::Lower;

/// What the buffer for a frame keeps of its size.
const SCRATCH_BYTES_MAX: usize = 64 * 1024;

/// Most bytes that are reserved for a write before there is anything to write.
const PENDING_HINT_MAX: usize = 1024 * 1024;

/// Frames on their way to one segment: written and synced in one go.
#[derive(Debug)]
pub(crate) struct Pending {
    pub(crate) segment: u32,
    pub(crate) offset: u64,
    pub(crate) bytes: Vec<u8>,
    /// The chain's head after them, at the highest index that they name.
    pub(crate) head: JournalHead,
    /// Records of `recent` that these frames hold.
    pub(crate) records: usize,
    /// Whether the segment ends with them.
    pub(crate) closes: bool,
}

/// A segment that grows.
#[derive(Debug, Clone)]
pub(crate) struct Open {
    pub(crate) number: u32,
    pub(crate) origin: Origin,
    pub(crate) begin: JournalHead,
    /// How long it is with all that is pending; 0 before its beginning is written.
    pub(crate) bytes: u64,
    pub(crate) table: Table,
}

impl Open {
    pub(crate) fn new(number: u32, origin: Origin, begin: JournalHead) -> Self {
        Self { number, origin, begin, bytes: 0, table: Table::default() }
    }

    /// Whether a frame of that size belongs into the next segment.
    pub(crate) fn is_full(&self, frame: usize, segment_bytes_max: u64) -> bool {
        !self.table.checkpoints.is_empty() && self.bytes + frame as u64 > segment_bytes_max
    }

    /// Adds a frame to the table and to bytes that begin at `since` in the segment.
    pub(crate) fn add(
        &mut self,
        records: &[impl Borrow<JournalRecord>],
        chained: &[u8],
        head: JournalHead,
        segment_bytes_max: u64,
        (since, out): (u64, &mut Vec<u8>),
    ) {
        let stride = (segment_bytes_max / 256).max(1);
        self.table.add(records, self.bytes as u32, head, stride);
        self.push(Kind::Records, chained, (since, out));
    }

    /// Adds any frame to the bytes.
    pub(crate) fn push(&mut self, kind: Kind, chained: &[u8], (since, out): (u64, &mut Vec<u8>)) {
        assert_eq!(since + out.len() as u64, self.bytes, "frames are put one after another");
        journal_frame::append(kind, since as u32, chained, out);
        self.bytes = since + out.len() as u64;
    }

    /// What is kept of it once it is closed with that head.
    pub(crate) fn closed(&self, end: JournalHead) -> Closed {
        let Self { number, origin, begin, bytes, .. } = *self;
        Closed { number, origin, begin, end, bytes }
    }
}

#[derive(Debug, Default)]
struct Stream {
    last: u64,
    /// The newest records, the last one being the stream's last.
    recent: VecDeque<Arc<JournalRecord>>,
}

/// One group's journal.
pub(crate) struct GroupJournal {
    pub(crate) group: u32,
    pub(crate) directory: PathBuf,
    /// How the oldest segment that can be read begins.
    pub(crate) base: Begin,
    /// History below a gap that is still being filled.
    pub(crate) lower: Option<Lower>,
    pub(crate) closed: Arc<Vec<Closed>>,
    /// The segment that was last written to durably, of those that follow one another.
    durable: Option<u32>,
    /// Segments whose last frames are pending.
    pub(crate) closing: Vec<(Open, JournalHead)>,
    /// The segment that the next frame goes to.
    pub(crate) open: Open,
    /// The file that the writer wrote to last.
    pub(crate) file: Option<(u32, Arc<dyn DiskFile>)>,
    pub(crate) pending: Vec<Pending>,
    pub(crate) pending_bytes: usize,
    /// Bytes to begin the next write with: those of the one before it.
    pending_hint: usize,
    /// For the frame being made.
    scratch: Vec<u8>,
    streams: BTreeMap<u64, Stream>,
    /// The newest records, oldest first.
    pub(crate) recent: VecDeque<Arc<JournalRecord>>,
    recent_bytes: usize,
    /// How many of the oldest of `recent` are in the files.
    recent_written: usize,
    /// Every record of a higher index is in `recent`.
    pub(crate) recent_from: u64,
    /// The highest index on disk when the journal was opened.
    pub(crate) recovered: u64,
    /// The highest index appended or passed over.
    pub(crate) last_index: u64,
    /// After the last record, at the highest index that a frame names.
    pub(crate) head: JournalHead,
    /// The same of what is synced: what a reopening is sure to find.
    pub(crate) synced: JournalHead,
    /// Heads that will be asked for.
    pub(crate) heads: Heads,
}

impl std::fmt::Debug for GroupJournal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("GroupJournal")
            .field("group", &self.group)
            .field("last_index", &self.last_index)
            .field("segments", &self.closed.len())
            .finish_non_exhaustive()
    }
}

/// Where a journal goes on: what recovery found, or what a snapshot says.
pub(crate) struct Resumed {
    pub(crate) base: Begin,
    pub(crate) lower: Option<Lower>,
    pub(crate) closed: Vec<Closed>,
    pub(crate) open: Open,
    pub(crate) streams: Streams,
    pub(crate) head: JournalHead,
}

impl GroupJournal {
    pub(crate) fn resume(group: u32, directory: PathBuf, resumed: Resumed) -> Self {
        let Resumed { base, lower, closed, open, streams, head } = resumed;
        let streams = streams.into_iter();
        let recent = VecDeque::new;
        let durable = (open.bytes > 0).then_some(open.number);
        let streams = streams.map(|(id, last)| (id, Stream { last, recent: recent() })).collect();
        Self {
            group,
            directory,
            base,
            lower,
            closed: Arc::new(closed),
            durable,
            closing: Vec::new(),
            open,
            file: None,
            pending: Vec::new(),
            pending_bytes: 0,
            pending_hint: 0,
            scratch: Vec::new(),
            streams,
            recent: VecDeque::new(),
            recent_bytes: 0,
            recent_written: 0,
            recent_from: head.index,
            recovered: head.index,
            last_index: head.index,
            head,
            synced: head,
            heads: Heads::default(),
        }
    }

    pub(crate) fn last_sequence(&self, stream: u64) -> u64 {
        self.streams.get(&stream).map_or(0, |stream| stream.last)
    }

    /// The first sequence that can be read.
    pub(crate) fn first_sequence(&self, stream: u64) -> u64 {
        self.base.streams.get(&stream).map_or(1, |before| before + 1)
    }

    /// Every stream's last sequence.
    pub(crate) fn last_sequences(&self) -> Streams {
        self.streams.iter().map(|(id, stream)| (*id, stream.last)).collect()
    }

    fn expect_sequence(&self, record: &JournalRecord, expected: u64) -> Result<(), JournalError> {
        if record.sequence == expected {
            return Ok(());
        }
        Err(JournalError::OutOfSequence {
            group: self.group,
            stream: record.stream,
            expected,
            found: record.sequence,
            index: record.index,
        })
    }

    /// Takes records in, or skips those that were on disk when the journal was opened.
    pub(crate) fn append(
        &mut self,
        records: Vec<JournalRecord>,
        segment_bytes_max: u64,
    ) -> Result<(), JournalError> {
        let records: Vec<_> = records.into_iter().map(Arc::new).collect();
        let mut rest = records.as_slice();
        while let Some(first) = rest.first() {
            let count = rest.iter().take_while(|record| record.index == first.index).count();
            let (frame, others) = rest.split_at(count);
            if first.index <= self.recovered {
                self.check_known(frame)?;
            } else {
                self.append_frame(frame, segment_bytes_max)?;
            }
            rest = others;
        }
        Ok(())
    }

    /// Records below the recovered index must be ones that the journal holds.
    fn check_known(&self, records: &[Arc<JournalRecord>]) -> Result<(), JournalError> {
        for record in records {
            let last = self.last_sequence(record.stream);
            if record.sequence == 0 || record.sequence > last {
                self.expect_sequence(record, last)?;
            }
        }
        Ok(())
    }

    fn append_frame(
        &mut self,
        records: &[Arc<JournalRecord>],
        segment_bytes_max: u64,
    ) -> Result<(), JournalError> {
        let index = records.first().map_or(0, |record| record.index);
        if index <= self.last_index {
            return Err(JournalError::NotRising {
                group: self.group,
                last: self.last_index,
                index,
            });
        }
        self.expect_sequences(records)?;
        let mut chained = std::mem::take(&mut self.scratch);
        chained.clear();
        journal_frame::chain_into(self.group, records, &mut chained);
        if self.open.is_full(journal_frame::frame_bytes(chained.len()), segment_bytes_max) {
            self.close_segment();
        }
        let (head, after) = (self.head, self.head.after(index, &chained));
        self.put(|open, out| open.add(records, &chained, head, segment_bytes_max, out));
        self.scratch = chained;
        self.scratch.shrink_to(SCRATCH_BYTES_MAX);
        self.note(after, records.len());
        for kept in records {
            let record = &**kept;
            let stream = self.streams.entry(record.stream).or_default();
            stream.last = record.sequence;
            stream.recent.push_back(kept.clone());
            self.recent_bytes += record.bytes.len();
            self.recent.push_back(kept.clone());
        }
        self.last_index = index;
        Ok(())
    }

    /// Each record must follow the one before it in its stream. Most frames are of one stream.
    fn expect_sequences(&self, records: &[Arc<JournalRecord>]) -> Result<(), JournalError> {
        let mut others: BTreeMap<u64, u64> = BTreeMap::new();
        let mut current: Option<(u64, u64)> = None;
        for record in records {
            let last = match current {
                Some((stream, last)) if stream == record.stream => last,
                _ => {
                    others.extend(current);
                    let before = others.get(&record.stream).copied();
                    before.unwrap_or_else(|| self.last_sequence(record.stream))
                }
            };
            self.expect_sequence(record, last + 1)?;
            current = Some((record.stream, last + 1));
        }
        Ok(())
    }

    /// Has the index of everything passed over written down with what is pending.
    pub(crate) fn mark(&mut self) {
        if self.unmarked() == 0 {
            return;
        }
        let mut chained = Vec::new();
        journal_frame::fixed(self.group, self.last_index, 0, &mut chained);
        self.put(|open, out| open.push(Kind::Mark, &chained, out));
        self.note(JournalHead { index: self.last_index, ..self.head }, 0);
    }

    /// How far the last frame is behind what was passed over.
    pub(crate) fn unmarked(&self) -> u64 {
        self.last_index - self.head.index
    }

    fn note(&mut self, head: JournalHead, records: usize) {
        self.head = head;
        let pending = self.pending.last_mut().expect("a frame was just put there");
        pending.head = head;
        pending.records += records;
    }

    /// Goes on from another place, in a segment of that number. Nothing may be pending.
    pub(crate) fn rebase(&mut self, number: u32, base: Begin) {
        assert!(self.pending.is_empty(), "the caller has flushed");
        let (head, origin) = (base.head, base.origin);
        let streams = base.streams.iter();
        self.streams =
            streams.map(|(id, last)| (*id, Stream { last: *last, ..Stream::default() })).collect();
        (self.recent, self.recent_bytes, self.recent_written) = (VecDeque::new(), 0, 0);
        (self.recent_from, self.recovered, self.last_index) = (head.index, head.index, head.index);
        (self.head, self.base) = (head, base);
        self.heads.clear();
        self.closed = Arc::default();
        self.open = Open::new(number, origin, head);
        self.put(|_, _| ());
    }

    /// Remembers the head at an index up to which everything was appended, and nothing beyond. What
    /// was on disk at opening may go beyond it; then the disk is asked when the head is wanted.
    pub(crate) fn note_head(&mut self, index: u64) {
        if index > self.recovered {
            self.heads.note(JournalHead { index, ..self.head });
        }
    }

    /// Ends the open segment and begins another.
    pub(crate) fn close_segment(&mut self) {
        let (group, head) = (self.group, self.head);
        let end = self.open.table.encode(group, head, self.open.bytes as u32);
        self.put(|open, out| open.push(Kind::End, &end, out));
        self.pending.last_mut().expect("the end was just put there").closes = true;
        let next = Open::new(self.open.number + 1, Origin::Grown, self.head);
        let closing = std::mem::replace(&mut self.open, next);
        self.closing.push((closing, head));
    }

    /// Begins the segment that grows, if nothing was put into it yet.
    pub(crate) fn begin_segment(&mut self) {
        if self.open.bytes == 0 {
            self.put(|_, _| ());
        }
    }

    /// Puts a frame into what is pending for the open segment, which may have to begin first.
    fn put(&mut self, put: impl FnOnce(&mut Open, (u64, &mut Vec<u8>))) {
        let begin = (self.open.bytes == 0).then(|| Begin {
            origin: self.open.origin,
            head: self.open.begin,
            streams: self.last_sequences(),
        });
        let here = |last: &Pending| last.segment == self.open.number && !last.closes;
        if !self.pending.last().is_some_and(here) {
            self.pending.push(Pending {
                segment: self.open.number,
                offset: self.open.bytes,
                bytes: Vec::with_capacity(self.pending_hint),
                head: self.head,
                records: 0,
                closes: false,
            });
        }
        let pending = self.pending.last_mut().expect("one was just pushed if there was none");
        let before = pending.bytes.len();
        if let Some(begin) = begin {
            let begin = begin.encode(self.group);
            self.open.push(Kind::Begin, &begin, (pending.offset, &mut pending.bytes));
        }
        put(&mut self.open, (pending.offset, &mut pending.bytes));
        self.pending_bytes += pending.bytes.len() - before;
    }

    /// Notes that frames are durable, and lets the oldest records leave memory.
    pub(crate) fn written(&mut self, pending: &Pending, recent_bytes_max: usize) {
        self.synced = pending.head;
        self.durable = Some(pending.segment);
        self.pending_bytes -= pending.bytes.len();
        self.pending_hint = pending.bytes.len().min(PENDING_HINT_MAX);
        if pending.closes {
            let (closing, head) = self.closing.remove(0);
            assert_eq!(closing.number, pending.segment, "segments close in order");
            Arc::make_mut(&mut self.closed).push(closing.closed(head));
        }
        self.recent_written += pending.records;
        while self.recent_bytes > recent_bytes_max && self.recent_written > 0 {
            let Some(oldest) = self.recent.pop_front() else { return };
            let stream = self.streams.get_mut(&oldest.stream);
            stream.expect("it has records").recent.pop_front();
            self.recent_bytes -= oldest.bytes.len();
            self.recent_written -= 1;
            self.recent_from = oldest.index;
        }
    }

    /// The newest records of a stream, and the sequence of the first of them.
    pub(crate) fn recent_of(&self, stream: u64) -> (u64, Option<&VecDeque<Arc<JournalRecord>>>) {
        match self.streams.get(&stream) {
            Some(stream) => (stream.last + 1 - stream.recent.len() as u64, Some(&stream.recent)),
            None => (1, None),
        }
    }

    /// The segments whose tables are in memory, oldest first.
    pub(crate) fn growing(&self) -> impl DoubleEndedIterator<Item = &Open> {
        self.closing.iter().map(|(open, _)| open).chain([&self.open])
    }

    /// How many of the oldest segments hold nothing at or above an index. What is left is on disk,
    /// or nobody would know after a crash how far the journal had come; and it does not begin where
    /// a snapshot was installed: that would look like a gap below it.
    pub(crate) fn droppable(&self, before_index: u64) -> usize {
        if self.lower.is_some() {
            return 0;
        }
        let mut count = self.closed.partition_point(|closed| closed.end.index < before_index);
        if count == self.closed.len() && self.durable != Some(self.open.number) {
            count = count.saturating_sub(1);
        }
        let origin = |at: usize| self.closed.get(at).map_or(self.open.origin, |c| c.origin);
        while count > 0 && origin(count) == Origin::Rebased {
            count -= 1;
        }
        count
    }

    /// Forgets the oldest segments; `base` is how the next closed one begins, if there is one.
    pub(crate) fn drop_front(&mut self, count: usize, base: Option<Begin>) -> Vec<Closed> {
        let next = |open: &Open| open.begin;
        let first = self.growing().map(next).next().expect("one segment always grows");
        self.base = base.unwrap_or_else(|| {
            let streams = self.streams.keys().map(|id| (*id, self.last_before_growing(*id)));
            Begin { origin: Origin::Grown, head: first, streams: streams.collect() }
        });
        Arc::make_mut(&mut self.closed).drain(..count).collect()
    }

    /// The last sequence of a stream before the segments whose tables are in memory.
    fn last_before_growing(&self, stream: u64) -> u64 {
        let places = self.growing().find_map(|open| open.table.streams.get(&stream));
        places.map_or(self.last_sequence(stream), |places| places.first - 1)
    }
}
