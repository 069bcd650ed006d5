//! Reading a segment from its beginning, and judging what comes after its last whole batch.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use crc32c::crc32c;

use crate::disk::DiskFile;
use crate::segment_error::SegmentLogError;
use crate::segment_format::{
    ALIGNMENT, BATCH_HEADER_BYTES, BatchHeader, FORMAT, HeaderFault, SEGMENT_HEADER_BYTES,
    SegmentHeader, seed,
};
use crate::segment_head::Home;

/// What is read at once.
const WINDOW_BYTES: usize = 1024 * 1024;

/// A segment that is there and has a good header.
#[derive(Clone)]
pub(crate) struct Segment {
    pub(crate) path: PathBuf,
    pub(crate) file: Arc<dyn DiskFile>,
    pub(crate) header: SegmentHeader,
    pub(crate) length: u64,
}

/// Where the whole batches of a segment end.
#[derive(Debug, Clone, Copy)]
pub(crate) struct End {
    pub(crate) offset: u64,
    /// The sequence that the next batch has.
    pub(crate) sequence: u64,
    /// The checksum of the last batch.
    pub(crate) previous: u32,
    pub(crate) sealed: bool,
    pub(crate) batches: u64,
    /// The last batch and its place.
    pub(crate) last: Option<(u64, BatchHeader)>,
}

/// What comes after the last whole batch of the last segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rest {
    /// Nothing but zeros.
    Clean,
    /// A batch that was not written to its end.
    Torn,
}

impl Segment {
    pub(crate) fn open(home: &Home, number: u32) -> Result<Self, SegmentLogError> {
        let path = home.path(number);
        let read = || {
            let file = home.disk.open(&path)?;
            let mut block = vec![0; SEGMENT_HEADER_BYTES];
            let count = file.read_at(0, &mut block)?;
            block.truncate(count);
            Ok((file.len()?, block, file))
        };
        let (length, block, file) = read().map_err(SegmentLogError::disk(&path))?;
        let header = match SegmentHeader::parse(&block) {
            Ok(header) => header,
            Err(HeaderFault::Damaged) => {
                let what = "the segment's header has a wrong checksum";
                return Err(SegmentLogError::damaged(&path, 0, what));
            }
            Err(HeaderFault::Format(found)) => {
                return Err(SegmentLogError::UnknownFormat { path, found });
            }
        };
        if header.log_id != home.log_id {
            let (found, expected) = (header.log_id, home.log_id);
            return Err(SegmentLogError::OtherLog { path, found, expected });
        }
        if header.number != number {
            let what = format!("it is segment {} under another's name", header.number);
            return Err(SegmentLogError::damaged(&path, 0, what));
        }
        if u32::try_from(length).is_err() {
            return Err(SegmentLogError::damaged(&path, 0, "it is longer than 4 GiB"));
        }
        Ok(Self { path, file, header, length })
    }

    /// Hands every whole batch to `visit` (header, offset of the body, body), up to the seal or to
    /// what is no batch.
    pub(crate) fn scan(
        &self,
        mut visit: impl FnMut(&BatchHeader, u64, &[u8]) -> Result<(), String>,
    ) -> Result<End, SegmentLogError> {
        let seed = seed(self.header.log_id, self.header.number);
        let mut window = Window::of(self);
        let mut end = End {
            offset: SEGMENT_HEADER_BYTES as u64,
            sequence: self.header.first_batch,
            previous: self.header.previous,
            sealed: false,
            batches: 0,
            last: None,
        };
        loop {
            let header = window.header(end.offset, seed).map_err(self.disk_error())?;
            let Some(header) = header.filter(|header| {
                (header.sequence, header.previous) == (end.sequence, end.previous)
            }) else {
                return Ok(end);
            };
            if header.format != FORMAT {
                let found = u32::from(header.format);
                return Err(SegmentLogError::UnknownFormat { path: self.path.clone(), found });
            }
            if header.seal {
                end.sealed = true;
                return Ok(end);
            }
            let body_at = end.offset + BATCH_HEADER_BYTES as u64;
            let body = window.bytes(body_at, header.body_bytes as usize);
            let Some(body) = body.map_err(self.disk_error())? else { return Ok(end) };
            if crc32c(body) != header.body_crc || body.len() % ALIGNMENT != 0 {
                return Ok(end);
            }
            let damaged = |what| SegmentLogError::damaged(&self.path, end.offset, what);
            visit(&header, body_at, body).map_err(damaged)?;
            end.last = Some((end.offset, header));
            end.offset = body_at + u64::from(header.body_bytes);
            end.sequence += 1;
            end.previous = header.crc;
            end.batches += 1;
        }
    }

    /// Judges what follows the whole batches of the last segment: an interrupted write leaves one
    /// bad batch and zeros after it; anything else is damage.
    pub(crate) fn rest(&self, end: &End) -> Result<Rest, SegmentLogError> {
        let allocated = end.last.map_or(self.header.allocated, |(_, header)| header.allocated);
        self.check_length(allocated)?;
        let mut window = Window::of(self);
        if window.is_zero_from(end.offset).map_err(self.disk_error())? {
            return Ok(Rest::Clean);
        }
        let seed = seed(self.header.log_id, self.header.number);
        let torn = window.header(end.offset, seed).map_err(self.disk_error())?;
        let found = match torn {
            Some(torn) if (torn.sequence, torn.previous) == (end.sequence, end.previous) => {
                self.check_length(torn.allocated)?;
                let bytes = BATCH_HEADER_BYTES as u64 + u64::from(torn.body_bytes);
                let zeros = window.is_zero_from(end.offset + bytes);
                (!zeros.map_err(self.disk_error())?).then_some(end.offset + bytes)
            }
            Some(_) => Some(end.offset),
            None => window.find_header(end.offset, seed).map_err(self.disk_error())?,
        };
        match found {
            None => Ok(Rest::Torn),
            Some(later) => {
                let what = format!(
                    "batch {} is bad, and more was written after it, at byte {later}",
                    end.sequence
                );
                Err(SegmentLogError::damaged(&self.path, end.offset, what))
            }
        }
    }

    fn check_length(&self, allocated: u32) -> Result<(), SegmentLogError> {
        if self.length >= u64::from(allocated) {
            return Ok(());
        }
        let what = format!("the file was {allocated} bytes long and has been cut short");
        Err(SegmentLogError::damaged(&self.path, self.length, what))
    }

    fn disk_error(&self) -> impl FnOnce(io::Error) -> SegmentLogError + use<> {
        SegmentLogError::disk(&self.path)
    }
}

/// A piece of a file in memory.
struct Window<'a> {
    segment: &'a Segment,
    start: u64,
    bytes: Vec<u8>,
}

impl<'a> Window<'a> {
    fn of(segment: &'a Segment) -> Self {
        Self { segment, start: 0, bytes: Vec::new() }
    }

    /// The bytes of a range, or `None` where the file is shorter.
    fn bytes(&mut self, offset: u64, count: usize) -> io::Result<Option<&[u8]>> {
        let left = self.segment.length.saturating_sub(offset);
        if left < count as u64 {
            return Ok(None);
        }
        let held = self.start + self.bytes.len() as u64;
        if offset < self.start || offset + count as u64 > held {
            let left = usize::try_from(left).unwrap_or(usize::MAX);
            self.bytes.resize(count.max(WINDOW_BYTES).min(left), 0);
            self.start = offset;
            let read = self.segment.file.read_at(offset, &mut self.bytes)?;
            self.bytes.truncate(read);
        }
        let from = usize::try_from(offset - self.start).unwrap_or(usize::MAX);
        Ok(self.bytes.get(from..from.saturating_add(count)))
    }

    fn header(&mut self, offset: u64, seed: u32) -> io::Result<Option<BatchHeader>> {
        let bytes = self.bytes(offset, BATCH_HEADER_BYTES)?;
        Ok(bytes.and_then(|bytes| BatchHeader::parse(bytes, seed)))
    }

    fn is_zero_from(&mut self, mut offset: u64) -> io::Result<bool> {
        while offset < self.segment.length {
            let left = usize::try_from(self.segment.length - offset).unwrap_or(usize::MAX);
            let count = left.min(WINDOW_BYTES);
            let bytes = self.bytes(offset, count)?;
            if bytes.is_none_or(|bytes| bytes.iter().any(|byte| *byte != 0)) {
                return Ok(false);
            }
            offset += count as u64;
        }
        Ok(true)
    }

    /// The first place after `offset` where a good batch header stands.
    fn find_header(&mut self, mut offset: u64, seed: u32) -> io::Result<Option<u64>> {
        while offset < self.segment.length {
            offset += ALIGNMENT as u64;
            if self.header(offset, seed)?.is_some() {
                return Ok(Some(offset));
            }
        }
        Ok(None)
    }
}
