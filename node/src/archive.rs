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
use rotary_storage::{Found, LookupError, LookupPosition, read_records};

use crate::blobs::NotingKeys;
use crate::replica::stays::Stay;
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
        let (journal, keys) = (self.journal(), NotingKeys(self));
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
        conversation: ConversationId,
        limit: usize,
    ) -> Result<Vec<EventRecord>, ReadError> {
        self.records_under(conversation.site, &keys::story(conversation), limit)
    }

    /// The events of a site under a key, in order, at most `limit` of them. May read the disk.
    ///
    /// # Errors
    /// [`ReadError`].
    pub(crate) fn records_under(
        &self,
        site: SiteId,
        key: &[u8],
        limit: usize,
    ) -> Result<Vec<EventRecord>, ReadError> {
        let mut events = Vec::new();
        for stay in self.stays(site) {
            self.has_all_of(site, &stay)?;
            self.indexed(stay.shard)?;
            let left = limit.saturating_sub(events.len());
            let found = self.found_in(site, &stay, (key, key), None, left)?;
            events.extend(self.found(stay.shard, site, &found)?);
        }
        Ok(events)
    }

    /// What the shards that a site lived in before a sequence, other than the one that has that,
    /// tell of who and what took part in a conversation. May read the disk.
    ///
    /// # Errors
    /// `Later` where not all of it is here and indexed.
    pub(crate) fn parts_before(
        &self,
        conversation: ConversationId,
        sequence: u64,
    ) -> Result<Vec<EventRecord>, LookupError> {
        let (site, mut events) = (conversation.site, Vec::new());
        let later = |why: String| LookupError::Later(why);
        let stays = self.stays(site);
        if stays.iter().all(|stay| stay.first <= 1) {
            return Err(later(format!("it is not known where {site} lived")));
        }
        let key = keys::parts(conversation);
        let own = stays.iter().rev().find(|stay| stay.first <= sequence).map(|stay| stay.shard);
        let over = |stay: &&Stay| stay.last.is_some_and(|last| last < sequence);
        for stay in stays.iter().filter(over).filter(|stay| Some(stay.shard) != own) {
            self.has_all_of(site, stay).map_err(|error| later(error.to_string()))?;
            if !self.is_indexed(stay) {
                return Err(later(format!("{} is being indexed", stay.shard)));
            }
            let found = self.found_in(site, stay, (&key, &key), None, usize::MAX);
            let found = found.map_err(|error| later(error.to_string()))?;
            let read = self.found(stay.shard, site, &found);
            events.extend(read.map_err(|error| later(error.to_string()))?);
        }
        Ok(events)
    }

    /// Whether everything of a stay that is over is in the lookup.
    fn is_indexed(&self, stay: &Stay) -> bool {
        let last = stay.last.map_or(u64::MAX, |last| stay.in_stream(last));
        let group = stay.shard.0;
        // Whoever asks is indexing another group, and must not wait for this one.
        let Some(through) = self.lookup().through_if_idle(group) else { return false };
        if self.is_whole(stay.shard) && self.journal().first_sequence(group, stay.stream) > last {
            // Retention has dropped it, and with it what would be found.
            return true;
        }
        let end = self.journal().read(group, stay.stream, last, 1, 0);
        end.is_ok_and(|end| end.first().is_some_and(|record| record.index <= through))
    }

    /// Makes sure that a stay that is over is here to its end.
    fn has_all_of(&self, site: SiteId, stay: &Stay) -> Result<(), ReadError> {
        let here = stay.in_site(self.journal().last_sequence(stay.shard.0, stay.stream));
        match stay.last {
            Some(last) if here < last => Err(ReadError::Behind { site, shard: stay.shard }),
            _ => Ok(()),
        }
    }

    /// What the lookup has under keys of the records of one stay: a site may have been in a shard
    /// more than once.
    fn found_in(
        &self,
        site: SiteId,
        stay: &Stay,
        (from, to): (&[u8], &[u8]),
        after: Option<&Found>,
        limit: usize,
    ) -> Result<Vec<Found>, ReadError> {
        debug_assert_eq!(stay.stream << 8, site.key() << 8, "a stream of that site");
        let mut after = after.cloned();
        let mut all = Vec::new();
        loop {
            let found = self.lookup().find(stay.shard.0, from, to, after.as_ref(), limit)?;
            let full = found.len() == limit;
            after = found.last().cloned();
            all.extend(found.into_iter().filter(|found| found.at.stream == stay.stream));
            if !full || all.len() >= limit {
                all.truncate(limit);
                return Ok(all);
            }
        }
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
        site: SiteId,
        after: u64,
        limit: usize,
    ) -> Result<EventPage, ReadError> {
        let Some(stay) = self.stay_at(site, after.saturating_add(1)) else {
            self.unknown(site)?;
            return Ok(EventPage { events: Vec::new(), through: after });
        };
        let last = stay.in_site(self.journal().last_sequence(stay.shard.0, stay.stream));
        let far = last > after.saturating_add(NEAR);
        if let Some(key) = keys::viewer(site, viewer).filter(|_| far)
            && self.indexed(stay.shard).is_ok()
        {
            return self.page_of(&key, &stay, site, (after, last), limit);
        }
        let events = self.events(site, after, limit)?;
        let through = events.last().map_or(after, |event| event.sequence);
        Ok(EventPage { events, through })
    }

    /// The events under a key between two sequences.
    fn page_of(
        &self,
        key: &[u8],
        stay: &Stay,
        site: SiteId,
        (after, last): (u64, u64),
        limit: usize,
    ) -> Result<EventPage, ReadError> {
        // Is the next one there at all?
        let next = self.records_of(stay, after + 1, 1)?;
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
        let found = self.found_in(site, stay, (key, key), from.as_ref(), limit)?;
        let full = found.len() == limit;
        let mut events = self.found(stay.shard, site, &found)?;
        events.retain(|event| event.sequence > after && event.sequence <= last.max(after));
        let end = events.last().map_or(after, |event| event.sequence);
        let through = if full { end } else { end.max(last) };
        Ok(EventPage { events, through })
    }
}

#[cfg(test)]
#[path = "archive_tests.rs"]
mod tests;
