//! Finding in the journal what is about whom: stories, viewers' events, conversations that are
//! over.
//!
//! The lookup of the storage knows keys and positions; what a key is, is said here ([`keys`]). It
//! is derived from the journal alone, so it may lag behind and may be made again: a reader lets it
//! catch up first, and is told how far it is if that would take long ([`ReadError::Indexing`]).

mod closed;
mod indexer;
pub(crate) mod keys;

pub(crate) use closed::{ClosedCursor, ClosedFilter, ClosedRow, over};
pub(crate) use indexer::Indexer;
pub(crate) use keys::EventKeys;

use rotary_proto::event::Viewer;
use rotary_proto::{ConversationId, EventRecord, ShardId, SiteId};
use rotary_storage::{Found, LookupPosition, read_records};

use crate::blobs::NotingKeys;
use crate::replica::{ReadError, Replica, decode};

/// Records that a reader indexes itself before it gives up.
const PATIENCE_RECORDS: usize = 20_000;
/// A reader that is no farther behind reads the site's events as they are.
const NEAR: u64 = 512;

/// Events for a viewer.
#[derive(Debug)]
pub(crate) struct EventPage {
    /// Events, among which may be some that are not for the viewer.
    pub(crate) events: Vec<EventRecord>,
    /// Nothing else for the viewer is at or below this sequence.
    pub(crate) through: u64,
}

impl Replica {
    /// Indexes what is new in a shard, and says whether that was everything.
    fn indexed(&self, shard: ShardId) -> Result<(), ReadError> {
        let (journal, keys) = (self.journal(), NotingKeys(self.named()));
        let progress = self.lookup().catch_up(journal, shard.0, &keys, PATIENCE_RECORDS)?;
        if progress.is_done() {
            return Ok(());
        }
        Err(ReadError::Indexing { through: progress.through, last: progress.last })
    }

    /// The events of a conversation, in order, at most `limit` of them. May read the disk, and so
    /// blocks.
    ///
    /// # Errors
    /// [`ReadError`].
    pub(crate) fn story(
        &self,
        shard: ShardId,
        conversation: ConversationId,
        limit: usize,
    ) -> Result<Vec<EventRecord>, ReadError> {
        self.records_under(shard, conversation.site, &keys::story(conversation), limit)
    }

    /// The events of a site under a key, in order, at most `limit` of them. May read the disk.
    ///
    /// # Errors
    /// [`ReadError`].
    pub(crate) fn records_under(
        &self,
        shard: ShardId,
        site: SiteId,
        key: &[u8],
        limit: usize,
    ) -> Result<Vec<EventRecord>, ReadError> {
        self.indexed(shard)?;
        let found = self.lookup().find(shard.0, key, key, None, limit)?;
        self.found(shard, site, &found)
    }

    fn found(
        &self,
        shard: ShardId,
        site: SiteId,
        found: &[Found],
    ) -> Result<Vec<EventRecord>, ReadError> {
        let records = read_records(self.journal(), shard.0, found.iter().map(|found| found.at))?;
        records.iter().map(|record| decode(site, record)).collect()
    }

    /// The events of a site for a viewer after a sequence, at most `limit` of them. What it costs
    /// is what the viewer may see, not what happened. May read the disk, and so blocks.
    ///
    /// # Errors
    /// [`ReadError`].
    pub(crate) fn page(
        &self,
        viewer: Viewer,
        shard: ShardId,
        site: SiteId,
        after: u64,
        limit: usize,
    ) -> Result<EventPage, ReadError> {
        let last = self.journal().last_sequence(shard.0, site.key());
        let far = last > after.saturating_add(NEAR);
        if let Some(key) = keys::viewer(site, viewer).filter(|_| far)
            && self.indexed(shard).is_ok()
        {
            return self.page_of(&key, shard, site, (after, last), limit);
        }
        let events = self.events(shard, site, after, limit)?;
        let through = events.last().map_or(after, |event| event.sequence);
        Ok(EventPage { events, through })
    }

    /// The events under a key between two sequences.
    fn page_of(
        &self,
        key: &[u8],
        shard: ShardId,
        site: SiteId,
        (after, last): (u64, u64),
        limit: usize,
    ) -> Result<EventPage, ReadError> {
        // Is the next one there at all?
        let next = self.journal().read(shard.0, site.key(), after + 1, 1, 0)?;
        let from = next.first().map(|record| Found {
            key: key.to_vec(),
            at: LookupPosition {
                index: record.index,
                ordinal: record.ordinal,
                stream: record.stream,
                sequence: record.sequence,
            },
        });
        // `find` begins after a position; the next event itself may be under the key.
        let from = from.map(|mut from| {
            match from.at.ordinal.checked_sub(1) {
                Some(before) => from.at.ordinal = before,
                None => {
                    from.at.index = from.at.index.saturating_sub(1);
                    from.at.ordinal = u32::MAX;
                }
            }
            from
        });
        let found = self.lookup().find(shard.0, key, key, from.as_ref(), limit)?;
        let full = found.len() == limit;
        let mut events = self.found(shard, site, &found)?;
        events.retain(|event| event.sequence > after && event.sequence <= last.max(after));
        let end = events.last().map_or(after, |event| event.sequence);
        let through = if full { end } else { end.max(last) };
        Ok(EventPage { events, through })
    }
}

#[cfg(test)]
#[path = "archive_tests.rs"]
mod tests;
