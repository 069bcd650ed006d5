//! The end of a segment log, where batches are written.
//!
//! The head segment's file is filled with zeros some way ahead, durably, before batches go there.
//! So a sync of a batch has no change of length or of blocks to write, a file that somebody cut is
//! recognised (each batch says how long the file was), and a full disk is met while space is
//! prepared, not in the middle of a batch.
//!
//! A segment gets its name when its header and first zeros are durable, so under its name there is
//! never half a header. Then the one before is sealed: a log whose last segment is sealed has lost
//! one. Only then is the new one written to.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::disk::{Disk, DiskFile};
use crate::reserve::{Reserve, is_full, remove_if_there, write_zeros};
use crate::segment_format::{
    BATCH_HEADER_BYTES, Batch, Place, SEGMENT_HEADER_BYTES, SegmentHeader, seal, seed,
};

/// The directory that a log is in, and whose log it is.
#[derive(Clone)]
pub(crate) struct Home {
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) directory: PathBuf,
    pub(crate) log_id: u128,
    /// A segment is closed when the next batch would make it longer.
    pub(crate) segment_bytes: u64,
    /// How far ahead zeros are written.
    pub(crate) step_bytes: u64,
}

impl Home {
    pub(crate) fn path(&self, segment: u32) -> PathBuf {
        self.directory.join(format!("{segment:010}.segment"))
    }

    /// Makes a segment, durable with its name.
    pub(crate) fn create(&self, header: &SegmentHeader) -> io::Result<Arc<dyn DiskFile>> {
        let path = self.path(header.number);
        let new = path.with_extension("new");
        remove_if_there(&*self.disk, &new)?;
        let file = self.disk.create(&new)?;
        file.write_at(0, &header.encode())?;
        write_zeros(&*file, SEGMENT_HEADER_BYTES as u64, u64::from(header.allocated))?;
        file.sync()?;
        self.disk.rename(&new, &path)?;
        self.disk.sync_directory(&self.directory)?;
        Ok(file)
    }

    /// The length of zeros that takes `needed` bytes.
    fn allocation(&self, needed: u64) -> u64 {
        needed.next_multiple_of(self.step_bytes)
    }

    /// The header of the first segment of an empty log.
    pub(crate) fn first_header(&self) -> SegmentHeader {
        let allocated = self.allocation(SEGMENT_HEADER_BYTES as u64 + 1);
        SegmentHeader {
            number: 1,
            log_id: self.log_id,
            first_batch: 1,
            oldest: 1,
            allocated: u32::try_from(allocated).expect("steps are short"),
            previous: 0,
        }
    }
}

/// Where the next batch goes.
pub(crate) struct Head {
    pub(crate) home: Home,
    pub(crate) reserve: Reserve,
    pub(crate) file: Arc<dyn DiskFile>,
    pub(crate) segment: u32,
    /// The end of the last batch in it.
    pub(crate) end: u64,
    /// How far the file has zeros, durable or not.
    pub(crate) allocated: u64,
    /// How far it has them durably.
    pub(crate) durable: u64,
    /// Batches in this segment.
    pub(crate) batches: u64,
    /// The sequence of the next batch.
    pub(crate) sequence: u64,
    /// The checksum of the last batch.
    pub(crate) previous: u32,
    /// The first segment that the log needs.
    pub(crate) oldest: u32,
    /// Syncs of files so far.
    pub(crate) syncs: u64,
}

impl Head {
    /// Whether a batch of that many bytes belongs in another segment.
    pub(crate) fn is_full_for(&self, bytes: usize) -> bool {
        let end = self.end + (bytes + BATCH_HEADER_BYTES) as u64;
        self.batches > 0 && end > self.home.segment_bytes
    }

    /// Writes a batch durably and returns where it begins.
    pub(crate) fn append(&mut self, batch: &mut Batch) -> io::Result<u64> {
        self.make_room(batch.len())?;
        let crc = batch.finish(self.place());
        let (file, start) = (self.file.clone(), self.end);
        self.with_reserve(|_| file.write_at(start, batch.as_bytes()))?;
        self.sync()?;
        self.durable = self.allocated;
        self.end += batch.len() as u64;
        self.batches += 1;
        self.sequence += 1;
        self.previous = crc;
        Ok(start)
    }

    fn place(&self) -> Place {
        Place {
            seed: seed(self.home.log_id, self.segment),
            sequence: self.sequence,
            allocated: u32::try_from(self.durable).unwrap_or(u32::MAX),
            oldest: self.oldest,
            previous: self.previous,
        }
    }

    fn sync(&mut self) -> io::Result<()> {
        self.syncs += 1;
        self.file.sync()
    }

    /// Sees to it that the file is durably longer than the batch and a seal after it will need;
    /// when less than half a step is left, the next step of zeros goes with the batch's own sync.
    fn make_room(&mut self, bytes: usize) -> io::Result<()> {
        let needed = self.needed(bytes);
        if needed > self.durable {
            let target = self.home.allocation(needed).max(self.allocated);
            let (file, from) = (self.file.clone(), self.durable);
            self.with_reserve(|_| write_zeros(&*file, from, target))?;
            self.sync()?;
            (self.allocated, self.durable) = (target, target);
        } else if self.allocated - needed < self.home.step_bytes / 2 {
            let target = self.home.allocation(self.allocated + 1);
            if target <= self.home.allocation(self.home.segment_bytes) {
                match write_zeros(&*self.file, self.allocated, target) {
                    Ok(()) => self.allocated = target,
                    // The batch fits without it.
                    Err(error) if is_full(&error) => {}
                    Err(error) => return Err(error),
                }
            }
        }
        Ok(())
    }

    /// One byte beyond batch and seal: a file of just that length was cut.
    fn needed(&self, bytes: usize) -> u64 {
        self.end + (bytes + BATCH_HEADER_BYTES) as u64 + 1
    }

    /// Goes on in a new segment, with room for a batch of that many bytes.
    pub(crate) fn rotate(&mut self, bytes: usize) -> io::Result<()> {
        let needed = (SEGMENT_HEADER_BYTES + bytes + BATCH_HEADER_BYTES) as u64 + 1;
        let allocated = self.home.allocation(needed);
        let number = self.segment.checked_add(1).ok_or_else(|| {
            io::Error::other("the log has used up its segment numbers: rebuild this node")
        })?;
        let header = SegmentHeader {
            number,
            log_id: self.home.log_id,
            first_batch: self.sequence,
            oldest: self.oldest,
            allocated: u32::try_from(allocated).map_err(io::Error::other)?,
            previous: self.previous,
        };
        let file = self.with_reserve(|home| home.create(&header))?;
        self.syncs += 1;
        self.seal()?;
        self.file = file;
        self.segment = number;
        self.end = SEGMENT_HEADER_BYTES as u64;
        (self.allocated, self.durable) = (allocated, allocated);
        self.batches = 0;
        Ok(())
    }

    fn seal(&mut self) -> io::Result<()> {
        self.file.write_at(self.end, &seal(self.place()))?;
        self.sync()
    }

    /// Writes; on a full disk gives the reserve up and writes once more.
    pub(crate) fn with_reserve<T>(
        &mut self,
        write: impl Fn(&Home) -> io::Result<T>,
    ) -> io::Result<T> {
        let error = match write(&self.home) {
            Err(error) if is_full(&error) => error,
            result => return result,
        };
        if !self.reserve.release(&*self.home.disk)? {
            return Err(full(error, &self.home.directory));
        }
        tracing::warn!(
            code = "disk-full",
            directory = %self.home.directory.display(),
            "the disk is full"
        );
        write(&self.home).map_err(|error| full(error, &self.home.directory))
    }
}

fn full(error: io::Error, directory: &Path) -> io::Error {
    if !is_full(&error) {
        return error;
    }
    let place = directory.display();
    let kind = error.kind();
    io::Error::new(
        kind,
        format!("no space is left in {place}, the reserve included ({error}): free some"),
    )
}
