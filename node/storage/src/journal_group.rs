//! The journal of one group in memory: where each record is, and the newest records themselves.
//!
//! An append becomes a frame whose place in the files is decided at once; the bytes wait in
//! `pending` until the writer puts them there. Until then, and while they are among the newest, the
//! records are also in `recent`, so a reader that keeps up never touches the disk.

use std::collections::{BTreeMap, VecDeque};
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::Arc;

use crate::journal_frame::{self, FRAME_HEADER_BYTES, JournalRecord};

/// Why a journal refuses an append or cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// The disk failed.
    #[error("journal {path}: {source}")]
    Io {
        /// The file or directory concerned.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// Bytes that were durable are damaged. The replica must be rebuilt from its peers: stop the
    /// node, move the group's directory away and start it again.
    #[error(
        "journal {path} is damaged at byte {offset}: {what}; move the group's directory away \
         and restart, the log rebuilds it"
    )]
    Damaged {
        /// The segment.
        path: PathBuf,
        /// Where the damaged frame starts.
        offset: u64,
        /// What is wrong with it.
        what: String,
    },
    /// An append does not continue its stream: the caller computed other records than before.
    #[error(
        "stream {stream} of group {group} has {found} next, {expected} was expected (log index \
         {index}); the replica's state differs from what wrote the journal"
    )]
    OutOfSequence {
        /// The group.
        group: u32,
        /// The stream.
        stream: u64,
        /// The sequence that would continue it.
        expected: u64,
        /// The sequence given.
        found: u64,
        /// The log index of the refused record.
        index: u64,
    },
    /// The writer has failed before; nothing is accepted any more.
    #[error("the journal has failed: {0}")]
    Failed(String),
}

/// Where a frame is: a segment's number and an offset within it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) segment: u32,
    pub(crate) offset: u32,
}

/// Frames on their way to one segment.
#[derive(Debug)]
pub(crate) struct Pending {
    pub(crate) segment: u32,
    pub(crate) bytes: Vec<u8>,
    /// The index of the last frame.
    pub(crate) index: u64,
    /// Records of `recent` that these frames hold.
    pub(crate) records: usize,
}

#[derive(Debug, Default)]
struct Stream {
    /// Where record `n + 1` is.
    places: Vec<Place>,
    /// The newest records, the last one being the stream's last.
    recent: VecDeque<Arc<JournalRecord>>,
}

/// One group's journal.
#[derive(Debug)]
pub(crate) struct GroupJournal {
    pub(crate) group: u32,
    pub(crate) directory: PathBuf,
    /// Segments that exist as files, for reading.
    pub(crate) files: BTreeMap<u32, Arc<File>>,
    /// The segment that the next frame goes to, and how long it is with all that is pending.
    pub(crate) segment: u32,
    pub(crate) segment_bytes: u64,
    pub(crate) pending: Vec<Pending>,
    streams: BTreeMap<u64, Stream>,
    /// Which streams `recent` records belong to, oldest first.
    recent_order: VecDeque<u64>,
    recent_bytes: usize,
    /// How many of the oldest of `recent_order` are in the files.
    recent_written: usize,
    /// The highest index whose records were on disk when the journal was opened.
    pub(crate) recovered: u64,
    /// The highest index appended or passed over.
    pub(crate) last_index: u64,
    /// The highest index up to which everything is durable, as far as frames tell.
    pub(crate) synced: u64,
    /// Bytes written to a file and not synced.
    pub(crate) dirty: bool,
}

impl GroupJournal {
    pub(crate) fn new(group: u32, directory: PathBuf) -> Self {
        Self {
            group,
            directory,
            files: BTreeMap::new(),
            segment: 1,
            segment_bytes: 0,
            pending: Vec::new(),
            streams: BTreeMap::new(),
            recent_order: VecDeque::new(),
            recent_bytes: 0,
            recent_written: 0,
            recovered: 0,
            last_index: 0,
            synced: 0,
            dirty: false,
        }
    }

    pub(crate) fn segment_path(&self, segment: u32) -> PathBuf {
        self.directory.join(format!("{segment:08}.journal"))
    }

    pub(crate) fn last_sequence(&self, stream: u64) -> u64 {
        self.streams.get(&stream).map_or(0, |stream| stream.places.len() as u64)
    }

    /// Notes a frame that recovery found at `place`.
    pub(crate) fn recover(
        &mut self,
        records: &[JournalRecord],
        place: Place,
    ) -> Result<(), JournalError> {
        for record in records {
            self.expect_sequence(record, self.last_sequence(record.stream) + 1)?;
            self.streams.entry(record.stream).or_default().places.push(place);
            self.last_index = self.last_index.max(record.index);
        }
        Ok(())
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
    fn check_known(&self, records: &[JournalRecord]) -> Result<(), JournalError> {
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
        records: &[JournalRecord],
        segment_bytes_max: u64,
    ) -> Result<(), JournalError> {
        let mut next: BTreeMap<u64, u64> = BTreeMap::new();
        for record in records {
            let last = next.entry(record.stream).or_insert(self.last_sequence(record.stream));
            *last += 1;
            let expected = *last;
            self.expect_sequence(record, expected)?;
        }
        let bytes = journal_frame::frame_bytes(records) as u64;
        if self.segment_bytes > 0 && self.segment_bytes + bytes > segment_bytes_max {
            self.segment += 1;
            self.segment_bytes = 0;
        }
        let place = Place { segment: self.segment, offset: self.segment_bytes as u32 };
        self.segment_bytes += bytes;
        self.queue(records);
        for record in records {
            let stream = self.streams.entry(record.stream).or_default();
            stream.places.push(place);
            stream.recent.push_back(Arc::new(record.clone()));
            self.recent_order.push_back(record.stream);
            self.recent_bytes += record.bytes.len();
            self.last_index = self.last_index.max(record.index);
        }
        Ok(())
    }

    fn queue(&mut self, records: &[JournalRecord]) {
        if self.pending.last().is_none_or(|pending| pending.segment != self.segment) {
            let segment = self.segment;
            self.pending.push(Pending { segment, bytes: Vec::new(), index: 0, records: 0 });
        }
        let pending = self.pending.last_mut().expect("one was just pushed if there was none");
        journal_frame::append(records, &mut pending.bytes);
        pending.index = records.first().map_or(pending.index, |record| record.index);
        pending.records += records.len();
    }

    /// Notes that records are in the files, and lets the oldest leave memory.
    pub(crate) fn written(&mut self, records: usize, recent_bytes_max: usize) {
        self.recent_written += records;
        while self.recent_bytes > recent_bytes_max && self.recent_written > 0 {
            let oldest = self.recent_order.pop_front().and_then(|key| self.streams.get_mut(&key));
            let Some(record) = oldest.and_then(|stream| stream.recent.pop_front()) else { return };
            self.recent_bytes -= record.bytes.len();
            self.recent_written -= 1;
        }
    }

    /// The highest index up to which everything is durable.
    pub(crate) fn durable_index(&self) -> u64 {
        let clean = self.pending.is_empty() && !self.dirty;
        if clean { self.last_index } else { self.synced }
    }

    /// What a read must do: the places of records that are only on disk, then records in memory.
    pub(crate) fn plan(&self, stream: u64, from: u64, records_max: usize) -> ReadPlan {
        let mut plan = ReadPlan::default();
        let Some(stream) = self.streams.get(&stream) else { return plan };
        let last = stream.places.len() as u64;
        let (from, end) = (from.max(1), last + 1);
        let end = end.min(from.saturating_add(records_max as u64));
        let recent_first = last + 1 - stream.recent.len() as u64;
        for sequence in from..end {
            if sequence >= recent_first {
                let record = &stream.recent[(sequence - recent_first) as usize];
                plan.recent.push(record.clone());
            } else {
                let place = stream.places[(sequence - 1) as usize];
                if plan.places.last() != Some(&place) {
                    plan.places.push(place);
                }
            }
        }
        plan.recent_first = recent_first;
        plan.files = self.files.clone();
        plan.directory = self.directory.clone();
        plan
    }
}

/// See [`GroupJournal::plan`]. It is carried out without the journal's lock.
#[derive(Debug, Default)]
pub(crate) struct ReadPlan {
    directory: PathBuf,
    files: BTreeMap<u32, Arc<File>>,
    places: Vec<Place>,
    /// Records from here on come from memory, even if a frame on disk holds them too.
    recent_first: u64,
    recent: Vec<Arc<JournalRecord>>,
}

impl ReadPlan {
    /// Reads the records of `stream` from `from` on, at least one if there is one.
    pub(crate) fn run(
        self,
        stream: u64,
        from: u64,
        records_max: usize,
        bytes_max: usize,
    ) -> Result<Vec<JournalRecord>, JournalError> {
        let mut records: Vec<JournalRecord> = Vec::new();
        let mut bytes = 0;
        let mut take = |record: JournalRecord| {
            bytes += record.bytes.len();
            let room = records.is_empty() || (bytes <= bytes_max && records.len() < records_max);
            if room {
                records.push(record);
            }
            room
        };
        for place in &self.places {
            for record in self.read_frame(*place)? {
                let wanted = from..self.recent_first;
                let wanted = record.stream == stream && wanted.contains(&record.sequence);
                if wanted && !take(record) {
                    return Ok(records);
                }
            }
        }
        for record in self.recent {
            if !take(JournalRecord::clone(&record)) {
                break;
            }
        }
        Ok(records)
    }

    fn read_frame(&self, place: Place) -> Result<Vec<JournalRecord>, JournalError> {
        let path = self.directory.join(format!("{:08}.journal", place.segment));
        let offset = u64::from(place.offset);
        let damaged = |what: String| JournalError::Damaged { path: path.clone(), offset, what };
        let io = |source| JournalError::Io { path: path.clone(), source };
        let missing = || damaged("the segment is missing".to_owned());
        let file = self.files.get(&place.segment).ok_or_else(missing)?;
        let mut head = [0; FRAME_HEADER_BYTES];
        file.read_exact_at(&mut head, offset).map_err(io)?;
        let (length, sum) = journal_frame::header(head)
            .ok_or_else(|| damaged("its length is impossible".to_owned()))?;
        let mut body = vec![0; length];
        file.read_exact_at(&mut body, offset + FRAME_HEADER_BYTES as u64).map_err(io)?;
        journal_frame::parse(&body, sum).map_err(damaged)
    }
}
