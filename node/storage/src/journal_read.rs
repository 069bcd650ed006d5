//! Reading a journal: what a read must do is planned under the journal's lock and done without it.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use crate::disk::Disk;
use crate::journal_chain::JournalHead;
use crate::journal_error::JournalError;
use crate::journal_frame::{JournalRecord, Kind};
use crate::journal_group::GroupJournal;
use crate::journal_segment::{Closed, SegmentFile, Table};

/// Tables of closed segments that stay in memory, of all groups together.
const TABLES_MAX: usize = 8;

/// What a read may return: records, and bytes; but always one if there is one.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Budget {
    pub(crate) records_max: usize,
    pub(crate) bytes_max: usize,
}

impl Budget {
    fn holds(self, records: &[JournalRecord], bytes: usize) -> bool {
        records.is_empty() || (records.len() < self.records_max && bytes <= self.bytes_max)
    }
}

type Cached = ((u32, u32), Arc<Table>);

/// The tables that were needed last.
#[derive(Debug, Default)]
pub(crate) struct Tables(Mutex<VecDeque<Cached>>);

impl Tables {
    fn find(&self, key: (u32, u32)) -> Option<Arc<Table>> {
        let mut tables = self.0.lock().expect("nothing panics under this lock");
        let at = tables.iter().position(|(found, _)| *found == key)?;
        let found = tables.remove(at)?;
        let table = found.1.clone();
        tables.push_back(found);
        Some(table)
    }

    fn keep(&self, key: (u32, u32), table: Arc<Table>) {
        let mut tables = self.0.lock().expect("nothing panics under this lock");
        tables.push_back((key, table));
        if tables.len() > TABLES_MAX {
            tables.pop_front();
        }
    }

    /// Forgets what a group's segments held.
    pub(crate) fn forget(&self, group: u32) {
        let mut tables = self.0.lock().expect("nothing panics under this lock");
        tables.retain(|((of, _), _)| *of != group);
    }
}

/// Where the files of a group are, and what was read of them before.
pub(crate) struct Files<'a> {
    pub(crate) disk: &'a dyn Disk,
    pub(crate) tables: &'a Tables,
    pub(crate) group: u32,
    pub(crate) directory: PathBuf,
}

impl Files<'_> {
    pub(crate) fn segment(&self, number: u32) -> Result<SegmentFile, JournalError> {
        SegmentFile::open(self.disk, self.group, &self.directory, number)
    }

    pub(crate) fn table(&self, number: u32) -> Result<Arc<Table>, JournalError> {
        let key = (self.group, number);
        if let Some(table) = self.tables.find(key) {
            return Ok(table);
        }
        let (_, table) = self.segment(number)?.end()?;
        let table = Arc::new(table);
        self.tables.keep(key, table.clone());
        Ok(table)
    }

    /// The last closed segment that begins before a sequence of a stream.
    fn segment_of(
        &self,
        closed: &[Closed],
        stream: u64,
        sequence: u64,
    ) -> Result<Option<usize>, JournalError> {
        let (mut low, mut high) = (0, closed.len());
        while low < high {
            let middle = low.midpoint(high);
            let (begin, _) = self.segment(closed[middle].number)?.begin()?;
            let before = begin.streams.get(&stream).copied().unwrap_or(0);
            if before < sequence { low = middle + 1 } else { high = middle }
        }
        Ok(low.checked_sub(1))
    }
}

/// A read of one stream.
#[derive(Debug)]
pub(crate) struct StreamPlan {
    stream: u64,
    from: u64,
    budget: Budget,
    closed: Arc<Vec<Closed>>,
    /// Frames of growing segments, by number and offset, from the sequence `growing_from` on.
    growing: Vec<(u32, u32)>,
    growing_from: u64,
    /// Records from here on come from memory, even if a frame on disk holds them too.
    recent_from: u64,
    recent: Vec<Arc<JournalRecord>>,
}

impl GroupJournal {
    /// What a read of a stream must do; `None` if there is nothing.
    pub(crate) fn plan_stream(
        &self,
        stream: u64,
        from: u64,
        budget: Budget,
    ) -> Result<Option<StreamPlan>, JournalError> {
        let (from, last) = (from.max(1), self.last_sequence(stream));
        let first = self.first_sequence(stream);
        if from < first {
            return Err(JournalError::Forgotten { group: self.group, stream, first });
        }
        let (recent_from, recent) = self.recent_of(stream);
        let Some(recent) = recent.filter(|_| from <= last) else { return Ok(None) };
        let end = last.min(from.saturating_add(budget.records_max.max(1) as u64 - 1));
        let in_memory = from.max(recent_from)..=end;
        let recent = in_memory.map(|at| recent[(at - recent_from) as usize].clone()).collect();
        let (mut growing, mut growing_from) = (Vec::new(), recent_from);
        for open in self.growing() {
            let Some(places) = open.table.streams.get(&stream) else { continue };
            growing_from = growing_from.min(places.first);
            let wanted = from.max(places.first)..=end.min(places.last()).min(recent_from - 1);
            let offsets = wanted.map(|at| places.offsets[(at - places.first) as usize]);
            growing.extend(offsets.map(|offset| (open.number, offset)));
        }
        growing.dedup();
        let closed = self.closed.clone();
        let (stream, recent_from) = (stream, recent_from);
        let plan =
            StreamPlan { stream, from, budget, closed, growing, growing_from, recent_from, recent };
        Ok(Some(plan))
    }
}

impl StreamPlan {
    /// Reads the records, at least one if there is one.
    pub(crate) fn run(self, files: &Files<'_>) -> Result<Vec<JournalRecord>, JournalError> {
        let mut taken = Taken { records: Vec::new(), bytes: 0, budget: self.budget };
        let mut next = self.from;
        let mut at = if next < self.growing_from {
            files.segment_of(&self.closed, self.stream, next)?
        } else {
            None
        };
        while let Some(segment) = at.and_then(|at| self.closed.get(at)) {
            let table = files.table(segment.number)?;
            if let Some(places) = table.streams.get(&self.stream) {
                let skip = next.saturating_sub(places.first) as usize;
                let offsets = places.offsets.iter().skip(skip).copied();
                let frames = offsets.map(|offset| (segment.number, offset));
                if !self.take(files, frames, &mut next, &mut taken)? {
                    return Ok(taken.records);
                }
            }
            at = at.map(|at| at + 1).filter(|_| next < self.growing_from);
        }
        if !self.take(files, self.growing.iter().copied(), &mut next, &mut taken)? {
            return Ok(taken.records);
        }
        for record in &self.recent {
            if !taken.take(JournalRecord::clone(record)) {
                break;
            }
        }
        Ok(taken.records)
    }

    /// Takes records out of frames, and says whether there is room for more.
    fn take(
        &self,
        files: &Files<'_>,
        frames: impl Iterator<Item = (u32, u32)>,
        next: &mut u64,
        taken: &mut Taken,
    ) -> Result<bool, JournalError> {
        let mut done = None;
        let mut open: Option<(u32, SegmentFile)> = None;
        for (number, offset) in frames {
            if *next >= self.recent_from || done == Some((number, offset)) {
                continue;
            }
            done = Some((number, offset));
            if open.as_ref().is_none_or(|(of, _)| *of != number) {
                open = Some((number, files.segment(number)?));
            }
            let (_, file) = open.as_ref().expect("it was just opened");
            let (records, _) = file.frame(u64::from(offset), |frame| frame.records())?;
            let wanted = records.into_iter().filter(|record| record.stream == self.stream);
            let mut found = false;
            for record in wanted {
                if record.sequence != *next || *next >= self.recent_from {
                    continue;
                }
                found = true;
                if !taken.take(record) {
                    return Ok(false);
                }
                *next += 1;
            }
            if !found {
                let what = format!("record {next} of stream {} is not in it", self.stream);
                return Err(file.damaged(u64::from(offset), what));
            }
        }
        Ok(true)
    }
}

struct Taken {
    records: Vec<JournalRecord>,
    bytes: usize,
    budget: Budget,
}

impl Taken {
    fn take(&mut self, record: JournalRecord) -> bool {
        let bytes = self.bytes + record.bytes.len();
        let room = self.budget.holds(&self.records, bytes);
        if room {
            self.bytes = bytes;
            self.records.push(record);
        }
        room
    }
}

/// Everything that a group recorded, in the order of the log, from some index on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JournalPage {
    /// The records of whole indexes.
    pub records: Vec<JournalRecord>,
    /// Everything up to this index is in `records` or was before them.
    pub through: u64,
}

/// A read of all streams by index.
#[derive(Debug)]
pub(crate) struct IndexPlan {
    after: u64,
    /// Where reading ends, whether records are there or not.
    through: u64,
    budget: Budget,
    closed: Arc<Vec<Closed>>,
    /// Growing segments: number, where to begin, and the head there.
    growing: Vec<(u32, u32)>,
    recent_from: u64,
    recent: Vec<Arc<JournalRecord>>,
}

impl GroupJournal {
    /// What a read by index must do.
    pub(crate) fn plan_index(
        &self,
        after: u64,
        through: u64,
        budget: Budget,
    ) -> Result<IndexPlan, JournalError> {
        let first = self.base.head.index;
        if after < first {
            return Err(JournalError::IndexForgotten { group: self.group, first });
        }
        let mut through = through.min(self.last_index);
        let recent_from = self.recent_from;
        let start = self.recent.partition_point(|record| record.index <= after.max(recent_from));
        let recent = self.recent.iter().skip(start).take_while(|record| record.index <= through);
        let (mut taken, mut ended): (Vec<Arc<JournalRecord>>, _) = (Vec::new(), None);
        for record in recent {
            let whole = taken.last().is_some_and(|last| last.index != record.index);
            if whole && taken.len() > budget.records_max {
                ended = taken.last().map(|last| last.index);
                break;
            }
            taken.push(record.clone());
        }
        through = ended.unwrap_or(through);
        let mut growing = Vec::new();
        if after < recent_from {
            // Something of it has left memory, so it is on disk that far.
            let written = self.growing().filter(|open| open.begin.index < recent_from);
            growing.extend(written.filter(|open| open.bytes > 0).map(|open| {
                let point = open.table.checkpoint(after);
                (open.number, point.map_or(0, |point| point.offset))
            }));
        }
        let closed = self.closed.clone();
        Ok(IndexPlan { after, through, budget, closed, growing, recent_from, recent: taken })
    }

    /// The highest head at or below an index that a table in memory knows, or else the segment that
    /// knows one.
    pub(crate) fn checkpoint(&self, index: u64) -> Result<JournalHead, Option<Closed>> {
        if index >= self.head.index {
            return Ok(self.head);
        }
        let in_memory = self.growing().rev().find_map(|open| open.table.checkpoint(index));
        let closed = self.closed.partition_point(|closed| closed.begin.index <= index);
        match (in_memory, closed.checked_sub(1)) {
            (Some(point), _) => Ok(point.head),
            (None, Some(at)) => Err(Some(self.closed[at])),
            (None, None) if index >= self.base.head.index => Ok(self.base.head),
            (None, None) => Err(None),
        }
    }
}

impl IndexPlan {
    /// Reads whole indexes, at least one if there is one.
    pub(crate) fn run(self, files: &Files<'_>) -> Result<JournalPage, JournalError> {
        let mut taken = Page { records: Vec::new(), bytes: 0, budget: self.budget };
        if self.after < self.recent_from {
            let end = self.recent_from.min(self.through);
            let first = self.closed.partition_point(|closed| closed.end.index <= self.after);
            for (at, closed) in self.closed.iter().enumerate().skip(first) {
                let start = if at == first {
                    files.table(closed.number)?.checkpoint(self.after).map_or(0, |p| p.offset)
                } else {
                    0
                };
                if !self.take(files, (closed.number, start), end, &mut taken)? {
                    return Ok(taken.page(None));
                }
            }
            for growing in &self.growing {
                if !self.take(files, *growing, end, &mut taken)? {
                    return Ok(taken.page(None));
                }
            }
        }
        let mut rest = self.recent.as_slice();
        while let Some(first) = rest.first() {
            let count = rest.iter().take_while(|record| record.index == first.index).count();
            let (frame, others) = rest.split_at(count);
            let frame = frame.iter().map(|record| JournalRecord::clone(record)).collect();
            if !taken.take(frame) {
                return Ok(taken.page(None));
            }
            rest = others;
        }
        Ok(taken.page(Some(self.through.max(self.after))))
    }

    /// Takes the frames of a segment from an offset on, up to an index, and says whether there is
    /// room for more.
    fn take(
        &self,
        files: &Files<'_>,
        (number, start): (u32, u32),
        end: u64,
        taken: &mut Page,
    ) -> Result<bool, JournalError> {
        let file = files.segment(number)?;
        let bytes = file.len()?;
        let mut offset = u64::from(start);
        while offset < bytes {
            let ((kind, index, records), length) = file.frame(offset, |frame| {
                let wanted = frame.kind == Kind::Records && frame.index > self.after;
                let records = if wanted { frame.records()? } else { Vec::new() };
                Ok((frame.kind, frame.index, records))
            })?;
            if kind == Kind::End || (kind != Kind::Begin && index > end) {
                break;
            }
            if !records.is_empty() && !taken.take(records) {
                return Ok(false);
            }
            if kind != Kind::Begin && index == end {
                break;
            }
            offset += length;
        }
        Ok(true)
    }
}

struct Page {
    records: Vec<JournalRecord>,
    bytes: usize,
    budget: Budget,
}

impl Page {
    /// Takes all records of an index, or none.
    fn take(&mut self, frame: Vec<JournalRecord>) -> bool {
        let bytes = self.bytes + frame.iter().map(|record| record.bytes.len()).sum::<usize>();
        let room = self.budget.holds(&self.records, bytes);
        if room {
            self.bytes = bytes;
            self.records.extend(frame);
        }
        room
    }

    fn page(self, through: Option<u64>) -> JournalPage {
        let last = self.records.last().map_or(0, |record| record.index);
        JournalPage { through: through.unwrap_or(last), records: self.records }
    }
}
