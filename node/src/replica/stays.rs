//! Where a site lives, and where what happened to it is recorded.
//!
//! A site that moved has a *stay* in each shard that it lived in, and each stay has a stream of its
//! own in that shard's journal, from 1. Everything else counts a site's events densely over its
//! whole life, so whoever reads the journal by those numbers asks here.

use std::sync::Arc;

use rotary_distributor::Shard;
use rotary_proto::{EventRecord, ShardId, SiteId};
use rotary_storage::{JournalError, JournalRecord};

use super::{PAGE_BYTES_MAX, ReadError, Replica, ShardReplica, decode};

/// How far a site is followed from shard to shard: nodes learn of moves in any order.
const HOPS_MAX: usize = 8;

/// The time that a site lived in one shard, and where that is recorded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stay {
    pub(crate) shard: ShardId,
    /// Its stream in the shard's journal.
    pub(crate) stream: u64,
    /// The sequence of the first event, as the site counts them.
    pub(crate) first: u64,
    /// The sequence of the last event, of a stay that is over.
    pub(crate) last: Option<u64>,
}

impl Stay {
    /// The only one of a site that has never moved.
    const fn only(shard: ShardId, site: SiteId) -> Self {
        Self { shard, stream: site.key(), first: 1, last: None }
    }

    /// What the journal counts an event as.
    pub(crate) const fn in_stream(&self, sequence: u64) -> u64 {
        sequence.saturating_sub(self.first - 1)
    }

    /// What the site counts a record as; 0 if there is none.
    pub(crate) const fn in_site(&self, in_stream: u64) -> u64 {
        if in_stream == 0 { 0 } else { in_stream + self.first - 1 }
    }
}

/// The stays of a site that is in that shard.
pub(crate) fn stays_in(shard: &Shard, site: SiteId) -> Vec<Stay> {
    let known = shard.stays(site);
    if !shard.knows(site) && shard.gone_to(site).is_some() {
        // It was here, and only the shard where it is knows since when.
        return Vec::new();
    }
    if known.is_empty() {
        return vec![Stay::only(shard.id(), site)];
    }
    let stay = |(at, (shard, first)): (usize, &(ShardId, u64))| {
        let before = known[..at].iter().filter(|(earlier, _)| earlier == shard).count() as u64;
        let last = known.get(at + 1).map(|(_, next)| next - 1);
        Stay { shard: *shard, stream: stream_of(site, before), first: *first, last }
    };
    known.iter().enumerate().map(stay).collect()
}

/// The stay of a site in the shard that it lives in.
pub(crate) fn last_stay_in(shard: &Shard, site: SiteId) -> Stay {
    if shard.has_moved(site) {
        stays_in(shard, site).pop().expect("a site that moved has stayed somewhere")
    } else {
        Stay::only(shard.id(), site)
    }
}

/// The stream of a site that lived in the shard so many times before. Tenants are counted, and
/// there are fewer than would reach the highest byte of a site's key.
const fn stream_of(site: SiteId, before: u64) -> u64 {
    site.key() | before << 56
}

/// The site of a stream, whichever of its stays that is.
pub(crate) const fn site_of(stream: u64) -> SiteId {
    SiteId::from_key(stream & ((1 << 56) - 1))
}

impl Replica {
    /// The shard that a site lives in as far as this node knows; while it is on its way, where it
    /// was.
    pub(crate) fn shard_of(&self, site: SiteId) -> Option<Arc<ShardReplica>> {
        let (placed, wanted) = {
            let directory = self.directory();
            (directory.shard_of(site)?, directory.moving_of(site).map(|moving| moving.to))
        };
        let mut found = self.shard(placed)?;
        for _ in 0..HOPS_MAX {
            let next = {
                let shard = found.read();
                if shard.has(site) {
                    break;
                }
                shard.gone_to(site)
            };
            let Some(next) = next.and_then(|next| self.shard(next)) else { break };
            let goes_on = {
                let next = next.read();
                next.knows(site) || next.gone_to(site).is_some()
            };
            if !goes_on {
                break;
            }
            found = next;
        }
        // This node may learn that it came before it learns that it left.
        let arrived = wanted.and_then(|wanted| self.shard(wanted));
        let longer = |arrived: &Arc<ShardReplica>| {
            arrived.id != found.id && {
                let there = arrived.read().stays(site).len();
                there > found.read().stays(site).len()
            }
        };
        arrived.filter(longer).or(Some(found))
    }

    /// Everywhere that a site lived, in order, as the shard it lives in tells it.
    pub(crate) fn stays(&self, site: SiteId) -> Vec<Stay> {
        match self.shard_of(site) {
            Some(shard) => stays_in(&shard.read(), site),
            // This node knows what is recorded before it knows where sites live.
            None => {
                self.shard_that_recorded(site).map(|id| Stay::only(id, site)).into_iter().collect()
            }
        }
    }

    fn shard_that_recorded(&self, site: SiteId) -> Option<ShardId> {
        let recorded = |id: &ShardId| self.journal().last_sequence(id.0, site.key()) > 0;
        self.shard_ids().into_iter().find(recorded)
    }

    /// The stay in which an event happened, or is to happen.
    pub(crate) fn stay_at(&self, site: SiteId, sequence: u64) -> Option<Stay> {
        let stays = self.stays(site);
        stays.iter().rev().find(|stay| stay.first <= sequence.max(1)).copied()
    }

    /// The sequence of the last event of a site in this node's journal of that shard; 0 if there is
    /// none.
    pub(crate) fn last_sequence_in(&self, shard: ShardId, site: SiteId) -> u64 {
        let stays = self.stays(site);
        let stay = stays.iter().rev().find(|stay| stay.shard == shard).copied();
        let stay = stay.unwrap_or(Stay::only(shard, site));
        stay.in_site(self.journal().last_sequence(stay.shard.0, stay.stream))
    }

    /// The sequences from the first to the last event of a site that this node's journals have
    /// without a hole before the last.
    pub(crate) fn recorded(&self, site: SiteId) -> (u64, u64) {
        let (mut first, mut last) = (1, 0);
        for stay in self.stays(site) {
            let begins = self.journal().first_sequence(stay.shard.0, stay.stream);
            if begins > 1 {
                first = stay.in_site(begins);
            }
            last = stay.in_site(self.journal().last_sequence(stay.shard.0, stay.stream)).max(last);
            if stay.last.is_some_and(|end| last < end) {
                break;
            }
        }
        (first, last)
    }

    /// The events of a site after a sequence, at most `limit` of them and of one stay, from this
    /// node's journal. May read the disk, and so blocks.
    ///
    /// # Errors
    /// [`ReadError`]; `Behind` where events of a stay that is over are not here yet.
    pub(crate) fn events(
        &self,
        site: SiteId,
        after: u64,
        limit: usize,
    ) -> Result<Vec<EventRecord>, ReadError> {
        let Some(stay) = self.stay_at(site, after.saturating_add(1)) else {
            return self.unknown(site).map(|()| Vec::new());
        };
        let records = self.records_of(&stay, after.saturating_add(1), limit)?;
        if records.is_empty() && stay.last.is_some_and(|last| last > after) {
            return Err(ReadError::Behind { site, shard: stay.shard });
        }
        records.iter().map(|record| decode(site, record)).collect()
    }

    /// That nothing is recorded of a site, unless what was is in shards that are not known yet.
    pub(crate) fn unknown(&self, site: SiteId) -> Result<(), ReadError> {
        match self.shard_of(site).filter(|shard| shard.read().gone_to(site).is_some()) {
            Some(shard) => Err(ReadError::Behind { site, shard: shard.id }),
            None => Ok(()),
        }
    }

    /// The records of a stay from a sequence on.
    pub(crate) fn records_of(
        &self,
        stay: &Stay,
        from: u64,
        limit: usize,
    ) -> Result<Vec<JournalRecord>, JournalError> {
        let from = stay.in_stream(from);
        self.journal().read(stay.shard.0, stay.stream, from, limit, PAGE_BYTES_MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SITE: SiteId = SiteId::new(65_536, 7);

    #[test]
    fn each_stay_counts_from_one_in_a_stream_of_its_own() {
        let stay =
            Stay { shard: ShardId(2), stream: stream_of(SITE, 1), first: 41, last: Some(60) };
        assert_eq!((stay.in_stream(41), stay.in_stream(60)), (1, 20));
        assert_eq!((stay.in_site(1), stay.in_site(20), stay.in_site(0)), (41, 60, 0));
        let only = Stay::only(ShardId(1), SITE);
        assert_eq!((only.in_stream(5), only.in_site(5), only.stream), (5, 5, SITE.key()));
    }

    #[test]
    fn no_two_streams_are_the_same() {
        let most = (rotary_proto::limits::SITE_STAYS_MAX - 1) as u64;
        let last = SiteId::new(65_536, u32::MAX);
        assert_eq!(stream_of(last, most) & ((1 << 56) - 1), last.key(), "the key is kept");
        assert_ne!(stream_of(SITE, 1), stream_of(SITE, most));
        assert_eq!((site_of(stream_of(last, most)), site_of(SITE.key())), (last, SITE));
    }
}
