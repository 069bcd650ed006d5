//! Entries from segments: neighbours in one read, each verified.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use crate::disk::DiskFile;
use crate::log_store::Group;
use crate::segment_format::entry_bytes;
use crate::segment_head::Home;
use crate::segment_index::Location;

/// Bytes read at once, unless one entry is longer.
const READ_BYTES_MAX: usize = 1024 * 1024;
/// Bytes of others that are read along rather than read around.
const GAP_BYTES_MAX: u64 = 4096;

/// An entry on disk.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Piece {
    pub(crate) index: u64,
    pub(crate) location: Location,
}

impl Piece {
    fn start(&self) -> u64 {
        u64::from(self.location.offset)
    }

    fn end(&self) -> u64 {
        self.start() + self.location.record_bytes() as u64
    }

    /// Whether reading on from this one to `next`, from `start`, is one read.
    fn leads_to(&self, next: &Self, start: u64) -> bool {
        self.location.segment == next.location.segment
            && next.start() >= self.end()
            && next.start() - self.end() <= GAP_BYTES_MAX
            && next.end() - start <= READ_BYTES_MAX as u64
    }
}

/// Reads the pieces in order and hands each entry's bytes to `take`.
///
/// # Errors
/// What the disk says, and `InvalidData` naming the place where bytes are not what was written.
pub(crate) fn read_pieces(
    home: &Home,
    files: &BTreeMap<u32, Arc<dyn DiskFile>>,
    group: Group,
    pieces: &[Piece],
    mut take: impl FnMut(u64, &[u8]),
) -> io::Result<()> {
    let mut rest = pieces;
    let mut bytes = Vec::new();
    while let Some(first) = rest.first() {
        let leads = rest.windows(2).take_while(|pair| pair[0].leads_to(&pair[1], first.start()));
        let (together, after) = rest.split_at(1 + leads.count());
        rest = after;
        let end = together.last().map_or(0, Piece::end);
        let segment = first.location.segment;
        let file = files.get(&segment).ok_or_else(|| damage(home, segment, first.start()))?;
        bytes.resize(usize::try_from(end - first.start()).map_err(io::Error::other)?, 0);
        let read = file.read_at(first.start(), &mut bytes)?;
        for piece in together {
            let at = usize::try_from(piece.start() - first.start()).map_err(io::Error::other)?;
            let record = bytes[..read].get(at..at + piece.location.record_bytes());
            let entry = record.and_then(|record| entry_bytes(record, group, piece.index));
            take(piece.index, entry.ok_or_else(|| damage(home, segment, piece.start()))?);
        }
    }
    Ok(())
}

fn damage(home: &Home, segment: u32, offset: u64) -> io::Error {
    let reason = format!(
        "{} is damaged at byte {offset}: an entry that was written there does not read back. Set \
         the data directory aside and let this node be rebuilt from its peers",
        home.path(segment).display()
    );
    io::Error::new(io::ErrorKind::InvalidData, reason)
}
