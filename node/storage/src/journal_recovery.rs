//! Opening a journal: its segments follow one another, a torn tail is cut, damage has a name.
//!
//! Closed segments are known by their beginnings and ends, which must join: what is between is
//! checked when it is read, or all of it by [`crate::Journal::scrub`]. The last segment is read
//! whole. It alone may end in bytes that are no frame, because the one before it was synced before
//! it was begun; and only if no frame behind those bytes says that they had been synced. What is
//! cut was never reported durable, and the log brings it back. What is kept but was not sure to be
//! durable is written again and synced: whoever wrote it may have died before its sync, or because
//! of it, and then the pages count as clean although the disk never saw them.

use std::path::Path;

use crate::disk::{Disk, read_up_to};
use crate::journal_chain::JournalHead;
use crate::journal_error::JournalError;
use crate::journal_frame::{self, Frame, Kind};
use crate::journal_group::{GroupJournal, Open, Resumed};
use crate::journal_segment::{self, Begin, Closed, Origin, SegmentFile, Streams};
use crate::journal_transfer::{ImportRun, Lower, NUMBERS_FREE};

/// Opens the journal of a group in that directory, which may not exist.
pub(crate) fn open_group(
    disk: &dyn Disk,
    group: u32,
    directory: &Path,
    segment_bytes_max: u64,
) -> Result<GroupJournal, JournalError> {
    let io = |source| JournalError::io(directory, source);
    disk.make_directory(directory).map_err(io)?;
    let names = disk.list(directory).map_err(io)?;
    let numbers = names.iter().filter_map(|name| name.strip_suffix(".journal")?.parse().ok());
    let numbers: Vec<u32> = numbers.collect();
    let mut runs = Runs { disk, group, directory, segment_bytes_max, runs: vec![Run::default()] };
    for (at, number) in numbers.iter().enumerate() {
        runs.add(*number, at + 1 == numbers.len(), numbers.get(at + 1).copied())?;
    }
    runs.resume()
}

/// Segments that follow one another without a gap.
#[derive(Default)]
struct Run {
    /// Of its first segment, if a snapshot began it.
    number: u32,
    base: Option<Begin>,
    closed: Vec<Closed>,
    open: Option<Scanned>,
}

impl Run {
    fn end(&self) -> Option<JournalHead> {
        let closed = self.closed.last().map(|closed| closed.end);
        self.open.as_ref().map(|scanned| scanned.head).or(closed)
    }
}

/// A segment that was not closed, read whole.
pub(crate) struct Scanned {
    begin: Begin,
    open: Open,
    streams: Streams,
    head: JournalHead,
    /// Its length that was synced before its last frame was written.
    durable: u64,
    /// Whether it stops at an end.
    ended: bool,
}

struct Runs<'a> {
    disk: &'a dyn Disk,
    group: u32,
    directory: &'a Path,
    segment_bytes_max: u64,
    runs: Vec<Run>,
}

impl Runs<'_> {
    fn add(&mut self, number: u32, last: bool, next: Option<u32>) -> Result<(), JournalError> {
        let file = SegmentFile::open(self.disk, self.group, self.directory, number)?;
        // The last of a run need not be whole: the last of all, or the last before a rebase.
        if !last && next.is_none_or(|next| next == number + 1) {
            let closed = file.closed(number)?;
            let begin = file.begin()?.0;
            return self.close(&file, begin, closed);
        }
        let bytes = read_up_to(file.file(), 0, usize::MAX).map_err(|error| file.io(error))?;
        let scan = Scan { group: self.group, number, stride: self.segment_bytes_max };
        let Some(scanned) = scan.run(&file, &bytes)? else {
            return self.remove(number, bytes.len());
        };
        if scanned.open.bytes < bytes.len() as u64 && !scanned.ended {
            cut(&file, number, &scanned, bytes.len())?;
        }
        rewrite(&file, &bytes, &scanned)?;
        let io = |source| JournalError::io(self.directory, source);
        self.disk.sync_directory(self.directory).map_err(io)?;
        if scanned.ended
            && let Ok(closed) = file.closed(number)
            && closed.end.hash == scanned.head.hash
            && closed.end.index >= scanned.head.index
        {
            return self.close(&file, scanned.begin, closed);
        }
        if scanned.ended {
            cut(&file, number, &scanned, bytes.len())?;
        }
        self.join(&file, number, &scanned.begin)?;
        let run = self.runs.last_mut().expect("there is always a run");
        run.base.get_or_insert(scanned.begin.clone());
        run.open = Some(scanned);
        Ok(())
    }

    fn close(
        &mut self,
        file: &SegmentFile,
        begin: Begin,
        closed: Closed,
    ) -> Result<(), JournalError> {
        self.join(file, closed.number, &begin)?;
        let run = self.runs.last_mut().expect("there is always a run");
        run.base.get_or_insert(begin);
        run.closed.push(closed);
        Ok(())
    }

    /// Makes sure that a segment follows what is before it, or begins another run.
    fn join(&mut self, file: &SegmentFile, number: u32, begin: &Begin) -> Result<(), JournalError> {
        let run = self.runs.last().expect("there is always a run");
        let Some(end) = run.end() else {
            if begin.origin == Origin::Rebased {
                self.runs.push(Run { number, ..Run::default() });
            }
            return Ok(());
        };
        if run.open.is_none() && end.hash == begin.head.hash && end.index <= begin.head.index {
            return Ok(());
        }
        if begin.origin == Origin::Rebased {
            self.runs.push(Run { number, ..Run::default() });
            return Ok(());
        }
        let before = run.open.as_ref().map_or("closed", |_| "not closed");
        let what = format!(
            "segment {number} begins at {:?}, the one before it ({before}) ends at {end:?}",
            begin.head
        );
        Err(file.damaged(0, what))
    }

    /// Removes a segment whose beginning is torn: nothing in it was durable.
    fn remove(&self, number: u32, bytes: usize) -> Result<(), JournalError> {
        let path = journal_segment::path(self.directory, number);
        let io = |source| JournalError::io(&path, source);
        tracing::warn!(path = %path.display(), bytes, "a journal segment without a beginning goes");
        self.disk.remove(&path).map_err(io)?;
        self.disk.sync_directory(self.directory).map_err(io)
    }

    fn resume(mut self) -> Result<GroupJournal, JournalError> {
        let live = self.runs.pop().expect("there is always a run");
        if self.runs.len() > 1 {
            let what = format!("{} gaps are in it, one can be filled", self.runs.len());
            let path = self.directory.to_owned();
            return Err(JournalError::Damaged { path, offset: 0, what });
        }
        let lower = match self.runs.pop() {
            Some(run) => Some(self.lower(run, &live)?),
            None => None,
        };
        let streams = self.streams(&live)?;
        let empty =
            Begin { origin: Origin::Grown, head: JournalHead::default(), streams: Streams::new() };
        let last = live.closed.last().map(|closed| (closed.number, closed.end));
        let base = live.base.unwrap_or(empty);
        let (open, head) = match live.open {
            Some(scanned) => (scanned.open, scanned.head),
            None => {
                let (number, head) = last.unwrap_or((0, base.head));
                (Open::new(number + 1, Origin::Grown, head), head)
            }
        };
        let closed = live.closed;
        let resumed = Resumed { base, lower, closed, open, streams, head };
        Ok(GroupJournal::resume(self.group, self.directory.to_owned(), resumed))
    }

    /// Every stream's last sequence at the end of a run.
    fn streams(&self, run: &Run) -> Result<Streams, JournalError> {
        if let Some(scanned) = &run.open {
            return Ok(scanned.streams.clone());
        }
        let Some(closed) = run.closed.last() else { return Ok(Streams::new()) };
        let file = SegmentFile::open(self.disk, self.group, self.directory, closed.number)?;
        let mut streams = file.begin()?.0.streams;
        let (_, table) = file.end()?;
        streams.extend(table.streams.iter().map(|(stream, places)| (*stream, places.last())));
        Ok(streams)
    }

    fn lower(&self, run: Run, live: &Run) -> Result<Lower, JournalError> {
        let streams = self.streams(&run)?;
        let through = live.base.as_ref().map(|begin| begin.head).unwrap_or_default();
        let free = live.number.saturating_sub(NUMBERS_FREE).max(1);
        let number = run.closed.last().map_or(free, |closed| closed.number + 1);
        let import = match (run.open, run.closed.last()) {
            (Some(scanned), _) => Some(ImportRun::new(scanned.open, streams, scanned.head)),
            (None, Some(closed)) => {
                let open = Open::new(number, Origin::Grown, closed.end);
                Some(ImportRun::new(open, streams, closed.end))
            }
            (None, None) => None,
        };
        Ok(Lower { base: run.base, closed: run.closed, import, through, next_number: number })
    }
}

/// Cuts what is torn off a segment.
fn cut(
    file: &SegmentFile,
    number: u32,
    scanned: &Scanned,
    bytes: usize,
) -> Result<(), JournalError> {
    let offset = scanned.open.bytes;
    let cut = bytes as u64 - offset;
    tracing::warn!(number, offset, cut, "the torn tail of a journal was cut");
    file.file().set_len(offset).map_err(|error| file.io(error))?;
    file.file().sync().map_err(|error| file.io(error))
}

/// Writes what may be in the page cache only once more, and syncs it.
fn rewrite(file: &SegmentFile, bytes: &[u8], scanned: &Scanned) -> Result<(), JournalError> {
    let end = if scanned.ended { bytes.len() } else { scanned.open.bytes as usize };
    let durable = scanned.durable.min(end as u64);
    let kept = &bytes[durable as usize..end];
    file.file().write_at(durable, kept).map_err(|error| file.io(error))?;
    file.file().sync().map_err(|error| file.io(error))
}

/// A segment being read whole.
pub(crate) struct Scan {
    pub(crate) group: u32,
    pub(crate) number: u32,
    pub(crate) stride: u64,
}

impl Scan {
    /// Reads a segment up to its end or to its torn tail; `None` if even its beginning is torn.
    fn run(&self, file: &SegmentFile, bytes: &[u8]) -> Result<Option<Scanned>, JournalError> {
        let begun = journal_frame::frame_at(self.group, bytes, 0);
        let begun = begun.and_then(|(frame, length)| Ok((Begin::decode(&frame)?, length)));
        let (begin, length) = match begun {
            Ok(begun) => begun,
            Err(what) => return self.torn(file, bytes, 0, what).map(|()| None),
        };
        let open = Open::new(self.number, begin.origin, begin.head);
        let mut scanned = Scanned {
            open: Open { bytes: length as u64, ..open },
            streams: begin.streams.clone(),
            head: begin.head,
            durable: 0,
            ended: false,
            begin,
        };
        while (scanned.open.bytes as usize) < bytes.len() {
            let offset = scanned.open.bytes as usize;
            let frame = journal_frame::frame_at(self.group, bytes, offset);
            let taken = frame.and_then(|(frame, length)| {
                let more = self.take(&mut scanned, &frame)?;
                scanned.durable = u64::from(frame.since);
                Ok((more, length))
            });
            match taken {
                Ok((true, length)) => scanned.open.bytes += length as u64,
                Ok((false, _)) => {
                    scanned.ended = true;
                    break;
                }
                Err(what) => {
                    self.torn(file, bytes, offset, what)?;
                    break;
                }
            }
        }
        Ok(Some(scanned))
    }

    /// Takes a frame in, and says whether more may follow it.
    fn take(&self, scanned: &mut Scanned, frame: &Frame<'_>) -> Result<bool, String> {
        match frame.kind {
            Kind::Begin => return Err("it is a beginning in the middle".to_owned()),
            Kind::End => return Ok(false),
            Kind::Mark | Kind::Records if frame.index <= scanned.head.index => {
                return Err(format!("its index {} does not rise", frame.index));
            }
            Kind::Mark => scanned.head.index = frame.index,
            Kind::Records => {
                let records = frame.records()?;
                advance(&mut scanned.streams, &records)?;
                let (offset, stride) = (scanned.open.bytes as u32, (self.stride / 256).max(1));
                scanned.open.table.add(&records, offset, scanned.head, stride);
                scanned.head = scanned.head.after(frame.index, frame.chained);
            }
        }
        Ok(true)
    }

    /// Whether bytes that are no frame may be a torn tail: not if a frame behind them was written
    /// after they had been synced.
    fn torn(
        &self,
        file: &SegmentFile,
        bytes: &[u8],
        offset: usize,
        what: String,
    ) -> Result<(), JournalError> {
        for at in offset + 1..bytes.len() {
            let Ok((frame, _)) = journal_frame::frame_at(self.group, bytes, at) else { continue };
            if u64::from(frame.since) > offset as u64 {
                let what = format!("{what}, and the frame at {at} says that it was durable");
                return Err(file.damaged(offset as u64, what));
            }
        }
        Ok(())
    }
}

/// Moves streams on by records that must continue them.
pub(crate) fn advance(
    streams: &mut Streams,
    records: &[journal_frame::JournalRecord],
) -> Result<(), String> {
    for record in records {
        let last = streams.entry(record.stream).or_insert(0);
        if record.sequence != *last + 1 {
            let (stream, sequence) = (record.stream, record.sequence);
            return Err(format!("stream {stream} goes from {last} to {sequence}"));
        }
        *last = record.sequence;
    }
    Ok(())
}

/// Reads a closed segment whole, and says where it ends.
pub(crate) fn scrub(
    disk: &dyn Disk,
    group: u32,
    directory: &Path,
    closed: Closed,
) -> Result<(), JournalError> {
    let file = SegmentFile::open(disk, group, directory, closed.number)?;
    let bytes = read_up_to(file.file(), 0, usize::MAX).map_err(|error| file.io(error))?;
    let (head, table) = file.end()?;
    let (begin, mut offset) = file.begin()?;
    let (mut streams, mut at) = (begin.streams, begin.head);
    loop {
        let damaged = |what: String| file.damaged(offset, what);
        let frame = journal_frame::frame_at(group, &bytes, offset as usize);
        let (frame, length) = frame.map_err(damaged)?;
        match frame.kind {
            Kind::Records => {
                let records = frame.records().map_err(damaged)?;
                advance(&mut streams, &records).map_err(damaged)?;
                at = at.after(frame.index, frame.chained);
            }
            Kind::Mark => at.index = frame.index,
            Kind::Begin => return Err(damaged("it is a beginning in the middle".to_owned())),
            Kind::End => break,
        }
        offset += length as u64;
    }
    let ends = table.streams.iter().all(|(id, places)| streams.get(id) == Some(&places.last()));
    let led = at.hash == head.hash && at.index <= head.index;
    if !ends || !led || begin.head != closed.begin || head != closed.end {
        return Err(file.damaged(offset, format!("its frames end at {at:?}, its end at {head:?}")));
    }
    Ok(())
}
