//! Which blobs the journal names, as far as it is indexed.
//!
//! The lookup has a key for each (site, blob, conversation) that an item puts together, so what is
//! named, and by which conversation, follows from the journal and goes with what retention drops.
//! This file reads those keys; and as records are indexed it notes what they name, so that a node
//! that lacks the bytes need not look through everything to notice.

use std::collections::BTreeSet;
use std::sync::{Mutex, MutexGuard};

use rotary_proto::{BlobId, ConversationId, EventRecord, ShardId, SiteId};
use rotary_storage::{Earlier, Found, JournalRecord, KeyList, Keys, LookupError};
use tokio::sync::Notify;

use crate::archive::{EventKeys, keys};
use crate::replica::stays::Stay;
use crate::replica::{ReadError, Replica};

/// Names that are noted and not yet looked at. When there are more the keys themselves are read.
const NOTED_MAX: usize = 65_536;

/// Blobs of sites.
type Blobs = BTreeSet<(SiteId, BlobId)>;

/// Blobs that records name which have just been indexed.
#[derive(Debug, Default)]
pub(crate) struct Named {
    noted: Mutex<Noted>,
    /// Something was noted.
    pub(crate) more: Notify,
}

/// What was noted since it was last taken.
#[derive(Debug, Default)]
pub(crate) struct Noted {
    pub(crate) blobs: Blobs,
    /// Whether there was more than is in `blobs`.
    pub(crate) overflowed: bool,
}

impl Named {
    fn note(&self, found: impl Iterator<Item = (SiteId, BlobId)>) {
        let mut found = found.peekable();
        if found.peek().is_none() {
            return;
        }
        let mut noted = self.lock();
        for blob in found {
            if noted.blobs.len() < NOTED_MAX {
                noted.blobs.insert(blob);
            } else {
                noted.overflowed = true;
            }
        }
        drop(noted);
        self.more.notify_one();
    }

    /// Takes what was noted.
    pub(crate) fn take(&self) -> Noted {
        std::mem::take(&mut *self.lock())
    }

    fn lock(&self) -> MutexGuard<'_, Noted> {
        self.noted.lock().expect("no code panics while it holds this lock")
    }
}

/// The keys of events; what they name is noted.
pub(crate) struct NotingKeys<'a>(pub(crate) &'a Replica);

impl Keys for NotingKeys<'_> {
    fn keys(&self, record: &JournalRecord, earlier: &Earlier<'_>) -> Result<KeyList, LookupError> {
        let before = |conversation, sequence| self.0.parts_before(conversation, sequence);
        let list = EventKeys { before: &before }.keys(record, earlier)?;
        self.0.named().note(list.iter().filter_map(|key| keys::read_named(key)));
        Ok(list)
    }
}

impl Replica {
    /// Whether any item of a site names a blob, as far as is indexed, wherever the site lived. May
    /// read the disk.
    ///
    /// # Errors
    /// [`ReadError`].
    pub(crate) fn is_named(&self, site: SiteId, blob: BlobId) -> Result<bool, ReadError> {
        let (from, to) = (keys::named(site, blob, 0), keys::named(site, blob, u128::MAX));
        for stay in self.stays(site) {
            if !self.lookup().find(stay.shard.0, &from, &to, None, 1)?.is_empty() {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// The events of a conversation that name a blob, in order. May read the disk.
    ///
    /// # Errors
    /// [`ReadError`].
    pub(crate) fn naming(
        &self,
        conversation: ConversationId,
        blob: BlobId,
        limit: usize,
    ) -> Result<Vec<EventRecord>, ReadError> {
        let key = keys::named(conversation.site, blob, conversation.unique);
        self.records_under(conversation.site, &key, limit)
    }

    /// Some of the blobs that a shard's items name, each as often as it is named, and where the
    /// next ones follow; none there if these are the last. May read the disk.
    ///
    /// # Errors
    /// [`ReadError`].
    pub(crate) fn named_after(
        &self,
        shard: ShardId,
        after: Option<&Found>,
        limit: usize,
    ) -> Result<(Blobs, Option<Found>), ReadError> {
        let (first, last) = keys::all_named();
        let found = self.lookup().find(shard.0, &first, &last, after, limit)?;
        let blobs = found.iter().filter_map(|found| keys::read_named(&found.key)).collect();
        let next = found.into_iter().nth(limit.saturating_sub(1));
        Ok((blobs, next))
    }

    /// Whether everything that is recorded of a site is indexed, wherever it lived.
    pub(crate) fn knows_all_names_of(&self, site: SiteId) -> bool {
        let stays = self.stays(site);
        let here = |stay: &Stay| {
            let last = stay.in_site(self.journal().last_sequence(stay.shard.0, stay.stream));
            stay.last.is_none_or(|end| last >= end) && self.knows_all_names(stay.shard)
        };
        !stays.is_empty() && stays.iter().all(here)
    }

    /// Whether everything in the journal of a shard is indexed, and nothing of it is missing.
    pub(crate) fn knows_all_names(&self, shard: ShardId) -> bool {
        self.is_whole(shard) && self.lookup().through(shard.0) >= self.journal().last_index(shard.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_noted_is_bounded_and_taken_once() {
        let named = Named::default();
        let site = SiteId::new(1, 2);
        let blob = |n: usize| {
            let mut digest = [0; 32];
            digest[..8].copy_from_slice(&n.to_be_bytes());
            (site, BlobId(digest))
        };
        named.note((0..NOTED_MAX).map(blob));
        let noted = named.take();
        assert_eq!((noted.blobs.len(), noted.overflowed), (NOTED_MAX, false));
        named.note((0..=NOTED_MAX).map(blob));
        let noted = named.take();
        assert_eq!((noted.blobs.len(), noted.overflowed), (NOTED_MAX, true));
        assert!(named.take().blobs.is_empty());
    }
}
