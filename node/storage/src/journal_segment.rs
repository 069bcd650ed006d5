//! One file of a journal: how it begins, what is where in it, and how it ends.
//!
//! A segment begins with everything that is needed to go on from there without its predecessors:
//! the chain's head and every stream's last sequence. It ends with a table of what it holds, so
//! that a closed segment costs a few words of memory and any record of it two reads.

use std::borrow::Borrow;
use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use crate::disk::{Disk, DiskFile, read_up_to};
use crate::journal_chain::{ChainHash, JournalHead};
use crate::journal_error::JournalError;
use crate::journal_frame::{self, FRAME_HEADER_BYTES, Frame, JournalRecord, Kind, Reader};

/// Every stream's last sequence at some place.
pub(crate) type Streams = BTreeMap<u64, u64>;

/// How a segment came to follow what is before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Origin {
    /// It goes on where the one before it ended.
    Grown,
    /// It begins where a snapshot ended; what is before it may be missing.
    Rebased,
}

/// How a segment begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Begin {
    pub(crate) origin: Origin,
    pub(crate) head: JournalHead,
    pub(crate) streams: Streams,
}

impl Begin {
    /// As the chained part of a frame.
    pub(crate) fn encode(&self, group: u32) -> Vec<u8> {
        let mut out = Vec::new();
        journal_frame::fixed(group, self.head.index, self.streams.len() as u32, &mut out);
        out.push(u8::from(self.origin == Origin::Rebased));
        out.extend_from_slice(&self.head.hash.0);
        for (stream, last) in &self.streams {
            out.extend_from_slice(&stream.to_le_bytes());
            out.extend_from_slice(&last.to_le_bytes());
        }
        out
    }

    pub(crate) fn decode(frame: &Frame<'_>) -> Result<Self, String> {
        if frame.kind != Kind::Begin {
            return Err(format!("it is {:?} where a segment begins", frame.kind));
        }
        let mut rest = frame.rest();
        let origin = match rest.u8()? {
            0 => Origin::Grown,
            1 => Origin::Rebased,
            other => return Err(format!("its origin is {other}")),
        };
        let head = JournalHead { index: frame.index, hash: ChainHash(rest.hash()?) };
        let mut streams = Streams::new();
        for _ in 0..frame.count {
            streams.insert(rest.u64()?, rest.u64()?);
        }
        rest.end()?;
        Ok(Self { origin, head, streams })
    }
}

/// Where the records of one stream are in a segment.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Places {
    /// The sequence of the first of them.
    pub(crate) first: u64,
    /// The offset of the frame that each is in.
    pub(crate) offsets: Vec<u32>,
}

impl Places {
    pub(crate) fn last(&self) -> u64 {
        self.first + self.offsets.len() as u64 - 1
    }
}

/// A place to begin reading frames: the offset, and the head before the frame there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Checkpoint {
    pub(crate) offset: u32,
    pub(crate) head: JournalHead,
}

/// What a segment holds.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Table {
    pub(crate) streams: BTreeMap<u64, Places>,
    pub(crate) checkpoints: Vec<Checkpoint>,
}

impl Table {
    /// Notes a frame of records and the head before it.
    pub(crate) fn add(
        &mut self,
        records: &[impl Borrow<JournalRecord>],
        offset: u32,
        head: JournalHead,
        stride: u64,
    ) {
        let last = self.checkpoints.last().map_or(0, |last| u64::from(last.offset));
        if self.checkpoints.is_empty() || u64::from(offset) >= last + stride {
            self.checkpoints.push(Checkpoint { offset, head });
        }
        for record in records.iter().map(Borrow::borrow) {
            let places = self.streams.entry(record.stream).or_default();
            if places.offsets.is_empty() {
                places.first = record.sequence;
            }
            places.offsets.push(offset);
        }
    }

    /// The last checkpoint whose head is at or below `index`.
    pub(crate) fn checkpoint(&self, index: u64) -> Option<Checkpoint> {
        let after = self.checkpoints.partition_point(|point| point.head.index <= index);
        Some(self.checkpoints[after.checked_sub(1)?])
    }

    /// As the chained part of the frame at `start` that ends a segment with that head.
    pub(crate) fn encode(&self, group: u32, head: JournalHead, start: u32) -> Vec<u8> {
        let mut out = Vec::new();
        journal_frame::fixed(group, head.index, self.streams.len() as u32, &mut out);
        out.extend_from_slice(&head.hash.0);
        for (stream, places) in &self.streams {
            out.extend_from_slice(&stream.to_le_bytes());
            out.extend_from_slice(&places.first.to_le_bytes());
            out.extend_from_slice(&(places.offsets.len() as u32).to_le_bytes());
            places.offsets.iter().for_each(|at| out.extend_from_slice(&at.to_le_bytes()));
        }
        out.extend_from_slice(&(self.checkpoints.len() as u32).to_le_bytes());
        for Checkpoint { offset, head } in &self.checkpoints {
            out.extend_from_slice(&offset.to_le_bytes());
            out.extend_from_slice(&head.index.to_le_bytes());
            out.extend_from_slice(&head.hash.0);
        }
        out.extend_from_slice(&start.to_le_bytes());
        out
    }

    fn decode(frame: &Frame<'_>) -> Result<(JournalHead, Self), String> {
        if frame.kind != Kind::End {
            return Err(format!("it is {:?} where the segment ends", frame.kind));
        }
        let mut rest = frame.rest();
        let head = JournalHead { index: frame.index, hash: ChainHash(rest.hash()?) };
        let mut table = Self::default();
        for _ in 0..frame.count {
            let (stream, first) = (rest.u64()?, rest.u64()?);
            let places = rest.count(4)?;
            let offsets: Result<_, _> = (0..places).map(|_| rest.u32()).collect();
            table.streams.insert(stream, Places { first, offsets: offsets? });
        }
        let read = |rest: &mut Reader<'_>| {
            let (offset, index) = (rest.u32()?, rest.u64()?);
            let head = JournalHead { index, hash: ChainHash(rest.hash()?) };
            Ok::<_, String>(Checkpoint { offset, head })
        };
        for _ in 0..rest.count(4 + 8 + 32)? {
            table.checkpoints.push(read(&mut rest)?);
        }
        rest.u32()?;
        rest.end()?;
        Ok((head, table))
    }
}

/// A segment that nothing is added to, as far as it is kept in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Closed {
    pub(crate) number: u32,
    pub(crate) origin: Origin,
    /// The head before its first frame and after its last.
    pub(crate) begin: JournalHead,
    pub(crate) end: JournalHead,
    pub(crate) bytes: u64,
}

/// The path of a segment.
pub(crate) fn path(directory: &Path, number: u32) -> PathBuf {
    directory.join(format!("{number:08}.journal"))
}

/// Reads of one segment's file.
pub(crate) struct SegmentFile {
    group: u32,
    path: PathBuf,
    file: std::sync::Arc<dyn DiskFile>,
}

impl SegmentFile {
    pub(crate) fn open(
        disk: &dyn Disk,
        group: u32,
        directory: &Path,
        number: u32,
    ) -> Result<Self, JournalError> {
        let path = path(directory, number);
        let file = disk.open(&path).map_err(|source| JournalError::io(&path, source))?;
        Ok(Self { group, path, file })
    }

    pub(crate) fn damaged(&self, offset: u64, what: impl Into<String>) -> JournalError {
        JournalError::Damaged { path: self.path.clone(), offset, what: what.into() }
    }

    pub(crate) fn io(&self, source: io::Error) -> JournalError {
        JournalError::io(&self.path, source)
    }

    pub(crate) fn len(&self) -> Result<u64, JournalError> {
        self.file.len().map_err(|error| self.io(error))
    }

    pub(crate) fn file(&self) -> &dyn DiskFile {
        &*self.file
    }

    /// Reads one frame and hands it, with its length, to `take`.
    pub(crate) fn frame<T>(
        &self,
        offset: u64,
        take: impl FnOnce(&Frame<'_>) -> Result<T, String>,
    ) -> Result<(T, u64), JournalError> {
        let read =
            |offset, count| read_up_to(&*self.file, offset, count).map_err(|error| self.io(error));
        let damaged = |what: String| self.damaged(offset, what);
        let head = read(offset, FRAME_HEADER_BYTES)?;
        let head = head.first_chunk().ok_or_else(|| damaged("it is incomplete".to_owned()))?;
        let (length, sum) = journal_frame::header(*head)
            .ok_or_else(|| damaged("its length is impossible".to_owned()))?;
        let body = read(offset + FRAME_HEADER_BYTES as u64, length)?;
        if body.len() < length {
            return Err(damaged("it is incomplete".to_owned()));
        }
        let frame = journal_frame::parse(self.group, &body, sum).map_err(damaged)?;
        let taken = take(&frame).map_err(|what| self.damaged(offset, what))?;
        Ok((taken, (FRAME_HEADER_BYTES + length) as u64))
    }

    pub(crate) fn begin(&self) -> Result<(Begin, u64), JournalError> {
        self.frame(0, Begin::decode)
    }

    /// The table at the end and the head there.
    pub(crate) fn end(&self) -> Result<(JournalHead, Table), JournalError> {
        let bytes = self.len()?;
        let tail = bytes.saturating_sub(4);
        let start = read_up_to(self.file(), tail, 4).map_err(|error| self.io(error))?;
        let start = start.first_chunk().map_or(0, |start| u64::from(u32::from_le_bytes(*start)));
        let (end, length) = self.frame(start, Table::decode)?;
        if start + length != bytes {
            return Err(self.damaged(start, "it is not the end of the segment"));
        }
        Ok(end)
    }

    /// What is kept of a closed segment.
    pub(crate) fn closed(&self, number: u32) -> Result<Closed, JournalError> {
        let (begin, _) = self.begin()?;
        let (end, _) = self.end()?;
        let bytes = self.len()?;
        Ok(Closed { number, origin: begin.origin, begin: begin.head, end, bytes })
    }
}
