//! P8: a reader that goes on elsewhere misses nothing and reads nothing twice.
//!
//! From its position, any replica that has all of its history gives the events that come next, or
//! none yet; never others. That they are gone it is told only where they are: a journal that has a
//! retention dropped them. It is then told where to go on.

use rotary_proto::SiteId;
use rotary_storage::{Journal, JournalError};
use xxhash_rust::xxh3::xxh3_64;

use crate::simulation::story::{Story, Stream};

/// Records of one read.
const PAGE_RECORDS: usize = 64;
const PAGE_BYTES: usize = 64 * 1024;

/// What a reader's turn came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Turn {
    /// It has read up to there.
    Came(u64),
    /// What comes next is gone; the stream goes on after there.
    Late(u64),
    /// The node could not be read, or has a gap by now: the reader goes elsewhere.
    Lost,
    /// A broken promise.
    Wrong(String),
}

/// What readers are owed.
pub(crate) struct Readers;

impl Readers {
    /// Reads a page of a stream after a position, from a journal that may drop what is old or not.
    pub(crate) fn read(
        (node, shard, site): (usize, u32, SiteId),
        journal: &Journal,
        (position, drops): (u64, bool),
        story: &Story,
    ) -> Turn {
        let place = format!("node {} shard {shard}: a reader at {position}", node + 1);
        let read = journal.read(shard, site.key(), position + 1, PAGE_RECORDS, PAGE_BYTES);
        let records = match read {
            Ok(records) => records,
            Err(JournalError::Forgotten { first, .. }) if journal.missing(shard).is_none() => {
                let first_index = journal.first_index(shard);
                let gone = |told: &Stream| told.is_dropped(first - 1, first_index);
                if drops && first > position + 1 && story.stream_of(site).is_some_and(gone) {
                    return Turn::Late(first - 1);
                }
                return Turn::Wrong(format!("{place} is told that it is too late"));
            }
            Err(JournalError::Damaged { path, offset, what }) => {
                let damage = format!("{}: {what} at {offset}", path.display());
                return Turn::Wrong(format!("{place} is given a damaged journal: {damage}"));
            }
            Err(_) => return Turn::Lost,
        };
        let mut position = position;
        for record in records {
            position += 1;
            let told = story.stream_of(site).and_then(|told| told.hash(position));
            let right = told == Some(xxh3_64(&record.bytes));
            if record.sequence != position || !right {
                return Turn::Wrong(format!("{place} is given {} for {position}", record.sequence));
            }
        }
        Turn::Came(position)
    }
}
