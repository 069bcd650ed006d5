//! Opening a segment log: what is on the disk is read, judged, and only then mended.
//!
//! A process that dies, or a power cut, can leave one batch half written, as the last thing in the
//! log. That batch was never acknowledged unless the disk lied, so it is cut off; because disks do
//! lie, the cut is remembered until the log's owner has made sure that nothing is missing. A file
//! named `cut` stands for it until a record in the log does. Everything else that is not as it was
//! written is damage, and the log does not open.
//!
//! What is not distinguishable from a sound log is the whole directory, or its last segment, put
//! back from an older copy.
//!
//! The last batch may be in the page cache only: the process before may have died before its sync,
//! or because of it. It is written again and synced before anybody can act on it.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use crate::disk::{DiskFile, read_up_to};
use crate::reserve::{RESERVE, Reserve, remove_if_there, write_zeros};
use crate::segment_error::SegmentLogError;
use crate::segment_format::{BATCH_HEADER_BYTES, Batch, Place, Record, records, seal, seed};
use crate::segment_head::{Head, Home};
use crate::segment_index::{Index, Misfit};
use crate::segment_scan::{End, Rest, Segment};

/// Stands for a cut that no record in the log stands for yet.
const CUT: &str = "cut";

/// A log that was opened.
pub(crate) struct Recovered {
    pub(crate) head: Head,
    pub(crate) index: Index,
    pub(crate) files: BTreeMap<u32, Arc<dyn DiskFile>>,
}

/// What is in the directory.
#[derive(Default)]
struct Listing {
    segments: BTreeSet<u32>,
    /// Files that were being made.
    unfinished: Vec<PathBuf>,
    has_reserve: bool,
    has_cut: bool,
    other: Option<String>,
}

impl Listing {
    fn of(home: &Home) -> Result<Self, SegmentLogError> {
        let mut listing = Self::default();
        let names = home.disk.list(&home.directory);
        for name in names.map_err(SegmentLogError::disk(&home.directory))? {
            if name == RESERVE {
                listing.has_reserve = true;
            } else if name == CUT {
                listing.has_cut = true;
            } else if name.ends_with(".new") {
                listing.unfinished.push(home.directory.join(name));
            } else if let Some(number) = number_of(&name) {
                listing.segments.insert(number);
            } else {
                listing.other = Some(name);
            }
        }
        Ok(listing)
    }
}

fn number_of(name: &str) -> Option<u32> {
    let digits = name.strip_suffix(".segment")?;
    let number = digits.parse().ok()?;
    (number > 0 && digits == format!("{number:010}")).then_some(number)
}

/// Opens the log in its directory, or makes an empty one there.
pub(crate) fn recover(home: Home, reserve_bytes: u64) -> Result<Recovered, SegmentLogError> {
    let directory_error = || SegmentLogError::disk(&home.directory);
    home.disk.make_directory(&home.directory).map_err(directory_error())?;
    let listing = Listing::of(&home)?;
    let Some(last) = listing.segments.last().copied() else {
        return make(home, &listing, reserve_bytes);
    };
    if let Some(name) = &listing.other {
        tracing::warn!(directory = %home.directory.display(), name, "not a file of the log");
    }
    let read = Read::all(&home, last, &listing)?;
    let directory = home.directory.clone();
    read.mend(home, &listing, reserve_bytes).map_err(SegmentLogError::disk(&directory))
}

fn make(home: Home, listing: &Listing, reserve_bytes: u64) -> Result<Recovered, SegmentLogError> {
    if listing.has_reserve || listing.has_cut {
        return Err(SegmentLogError::Missing { path: home.path(1) });
    }
    if let Some(found) = &listing.other {
        let (path, found) = (home.directory.clone(), found.clone());
        return Err(SegmentLogError::NotALog { path, found });
    }
    let header = home.first_header();
    let path = home.path(header.number);
    let make = || {
        let file = home.create(&header)?;
        Ok((file, Reserve::of(&*home.disk, &home.directory, reserve_bytes)?))
    };
    let (file, reserve) = make().map_err(SegmentLogError::disk(&path))?;
    let mut index = Index::default();
    index.segments.entry(header.number).or_default();
    let files = BTreeMap::from([(header.number, file.clone())]);
    let segment = Segment { path, file, header, length: u64::from(header.allocated) };
    let end = segment.scan(|_, _, _| Ok(()))?;
    Ok(Recovered { head: head(home, reserve, &segment, &end), index, files })
}

fn head(home: Home, reserve: Reserve, segment: &Segment, end: &End) -> Head {
    Head {
        home,
        reserve,
        file: segment.file.clone(),
        segment: segment.header.number,
        end: end.offset,
        allocated: segment.length,
        durable: segment.length,
        batches: end.batches,
        sequence: end.sequence,
        previous: end.previous,
        oldest: oldest(segment, end),
        syncs: 0,
    }
}

/// The first segment that the log needs, as its last segment says.
fn oldest(last: &Segment, end: &End) -> u32 {
    end.last.map_or(last.header.oldest, |(_, header)| header.oldest)
}

/// A log that was read and found sound, but for its last batch.
struct Read {
    index: Index,
    files: BTreeMap<u32, Arc<dyn DiskFile>>,
    last: Segment,
    end: End,
    rest: Rest,
    /// The segment before the last, where the last has no batch: its seal may be unfinished.
    before_empty: Option<(Segment, End)>,
}

impl Read {
    fn all(home: &Home, last: u32, listing: &Listing) -> Result<Self, SegmentLogError> {
        let last = Segment::open(home, last)?;
        // Which segments are needed is known at the end.
        let end = last.scan(|_, _, _| Ok(()))?;
        if end.sealed {
            let path = home.path(last.header.number.saturating_add(1));
            return Err(SegmentLogError::Missing { path });
        }
        let oldest = oldest(&last, &end);
        let missing = (oldest..last.header.number).find(|n| !listing.segments.contains(n));
        if let Some(number) = missing {
            return Err(SegmentLogError::Missing { path: home.path(number) });
        }
        let rest = last.rest(&end)?;
        let (index, files) = (Index::default(), BTreeMap::new());
        let mut read = Self { index, files, last, end, rest, before_empty: None };
        let mut before: Option<(Segment, End)> = None;
        for number in oldest..read.last.header.number {
            let segment = Segment::open(home, number)?;
            follows(&segment, before.as_ref())?;
            let end = read.replay(&segment)?;
            read.check_sealed(&segment, &end)?;
            before = Some((segment, end));
        }
        follows(&read.last, before.as_ref())?;
        read.replay(&read.last.clone())?;
        let misfit = |misfit: Misfit| {
            SegmentLogError::damaged(&read.last.path, read.end.offset, misfit.to_string())
        };
        read.index.check().map_err(misfit)?;
        read.before_empty = before.filter(|_| read.end.batches == 0);
        Ok(read)
    }

    fn replay(&mut self, segment: &Segment) -> Result<End, SegmentLogError> {
        let number = segment.header.number;
        self.files.insert(number, segment.file.clone());
        self.index.segments.entry(number).or_default();
        let index = &mut self.index;
        let end = segment.scan(|_, at, body| {
            for found in records(body) {
                let found = found.ok_or_else(|| "a record makes no sense".to_owned())?;
                index.apply(&found, number, at).map_err(|misfit| misfit.to_string())?;
            }
            Ok(())
        })?;
        self.index.segments.entry(number).or_default().bytes = end.offset;
        Ok(end)
    }

    /// A segment that others follow is sealed, unless its successor has only just been made.
    fn check_sealed(&self, segment: &Segment, end: &End) -> Result<(), SegmentLogError> {
        let next = &self.last.header;
        let is_last_but_one = segment.header.number + 1 == next.number && self.end.batches == 0;
        let is_whole = (end.sequence, end.previous) == (next.first_batch, next.previous);
        if end.sealed || (is_last_but_one && is_whole) {
            return Ok(());
        }
        let what = format!("batch {} is bad, and later segments exist", end.sequence);
        Err(SegmentLogError::damaged(&segment.path, end.offset, what))
    }

    /// Makes the disk say what the log is, so that it can be written to.
    fn mend(self, home: Home, listing: &Listing, reserve_bytes: u64) -> io::Result<Recovered> {
        let Self { mut index, files, last, end, rest, before_empty } = self;
        let oldest = oldest(&last, &end);
        for path in &listing.unfinished {
            remove_if_there(&*home.disk, path)?;
        }
        for number in listing.segments.range(..oldest) {
            remove_if_there(&*home.disk, &home.path(*number))?;
        }
        // The last segment may have got its name from a process that died before this sync.
        home.disk.sync_directory(&home.directory)?;
        if let Some((before, end)) = &before_empty {
            before.file.write_at(end.offset, &seal(place(before, end, oldest)))?;
            before.file.sync()?;
        }
        let reserve = Reserve::of(&*home.disk, &home.directory, reserve_bytes)?;
        let marker = home.directory.join(CUT);
        let mut head = head(home, reserve, &last, &end);
        if rest == Rest::Torn && !listing.has_cut {
            head.with_reserve(|home| {
                home.disk.create(&marker)?;
                home.disk.sync_directory(&home.directory)
            })?;
        }
        rewrite(&last, &end)?;
        if rest == Rest::Torn || listing.has_cut {
            tracing::warn!(path = %last.path.display(), at = end.offset, "a torn end was cut off");
            note_cut(&mut head, &mut index)?;
            head.home.disk.remove(&marker)?;
            head.home.disk.sync_directory(&head.home.directory)?;
        }
        Ok(Recovered { head, index, files })
    }
}

/// Writes the last batch and the zeros after it once more, and syncs them.
fn rewrite(last: &Segment, end: &End) -> io::Result<()> {
    if let Some((at, header)) = end.last {
        let bytes = BATCH_HEADER_BYTES + header.body_bytes as usize;
        last.file.write_at(at, &read_up_to(&*last.file, at, bytes)?)?;
    }
    write_zeros(&*last.file, end.offset, last.length)?;
    last.file.sync()
}

/// Puts into the log that its end was cut off.
fn note_cut(head: &mut Head, index: &mut Index) -> io::Result<()> {
    let mut batch = Batch::new();
    if head.batches == 0 {
        index.checkpoint(|group, record| batch.push(group, record));
    }
    batch.push(0, Record::Cut);
    let at = head.append(&mut batch)?;
    index.apply_batch(&batch, head.segment, at).map_err(io::Error::other)
}

fn place(segment: &Segment, end: &End, oldest: u32) -> Place {
    Place {
        seed: seed(segment.header.log_id, segment.header.number),
        sequence: end.sequence,
        allocated: u32::try_from(segment.length).unwrap_or(u32::MAX),
        oldest,
        previous: end.previous,
    }
}

fn follows(segment: &Segment, before: Option<&(Segment, End)>) -> Result<(), SegmentLogError> {
    let Some((_, end)) = before else { return Ok(()) };
    let header = &segment.header;
    if (header.first_batch, header.previous) == (end.sequence, end.previous) {
        return Ok(());
    }
    let what = "it does not follow the segment before it: one of the two is another copy";
    Err(SegmentLogError::damaged(&segment.path, 0, what))
}
