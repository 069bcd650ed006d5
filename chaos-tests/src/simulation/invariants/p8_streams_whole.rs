//! P8: streams have no gaps, and P1 for the journal: what became true stays readable.
//!
//! Read from its first position, a stream in any replica's journal is every event of a site's stay
//! in the shard in order, byte for byte what the machines said: so far as the replica has come
//! while it works, all of it at the end. Where journals have a retention the stream begins later,
//! behind what was dropped whole, and has no gap from there on.

use rotary_storage::{Journal, JournalError};
use xxhash_rust::xxh3::xxh3_64;

use super::Findings;
use crate::simulation::story::Stream;

/// Records of one read.
const PAGE_RECORDS: usize = 256;
const PAGE_BYTES: usize = 256 * 1024;

/// How much of a stream must be there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Extent {
    /// As much as the journal has; nothing, while history is being fetched.
    Some,
    /// Everything.
    All,
}

/// Reads a stream in a node's journal, which may drop what is old or not.
pub(crate) fn check(
    (node, shard, stream): (usize, u32, u64),
    journal: &Journal,
    (extent, drops): (Extent, bool),
    told: &Stream,
    found: &mut Findings,
) {
    let place = format!("node {} shard {shard} stream {stream:x}", node + 1);
    let mut next = if drops { journal.first_sequence(shard, stream) } else { 1 };
    if !told.is_dropped(next - 1, journal.first_index(shard)) {
        let what = format!("{place}: the stream begins with {next}, and should before");
        return found.breach("P8", what);
    }
    loop {
        let read = journal.read(shard, stream, next, PAGE_RECORDS, PAGE_BYTES);
        let records = match read {
            Ok(records) if records.is_empty() => break,
            Ok(records) => records,
            Err(JournalError::Forgotten { .. }) if extent == Extent::Some => return,
            Err(error) => return found.breach("P8", format!("{place}: {error}")),
        };
        for record in records {
            let right = record.sequence == next && told.hash(next).is_some();
            if !right || told.hash(next) != Some(xxh3_64(&record.bytes)) {
                let sequence = record.sequence;
                let what = format!("{place}: event {next} is another one, as {sequence}");
                return found.breach("P8", what);
            }
            next += 1;
        }
    }
    let events = told.len();
    if extent == Extent::All && next <= events {
        found.breach("P8", format!("{place}: the stream ends before {next} of {events}"));
    }
}
