//! What each shard's log says, from whichever replica applied an entry first.

use std::collections::BTreeMap;

use rotary_proto::codec::{self, Limit};
use rotary_proto::{EventRecord, SiteId};
use xxhash_rust::xxh3::xxh3_64;

/// One applied entry.
#[derive(Debug, Clone)]
pub(crate) struct Told {
    pub(crate) payload: Vec<u8>,
    /// Covers stamp, payload, answer and events.
    pub(crate) hash: u64,
    /// The state after it.
    pub(crate) digest: u128,
}

/// One shard's log as it was applied.
#[derive(Debug, Default)]
pub(crate) struct Story {
    entries: BTreeMap<u64, Told>,
    events: Vec<EventRecord>,
    /// The hash of each event's bytes.
    hashes: Vec<u64>,
}

impl Story {
    pub(crate) fn entry(&self, index: u64) -> Option<&Told> {
        self.entries.get(&index)
    }

    /// The first entry after `after`.
    pub(crate) fn next(&self, after: u64) -> Option<u64> {
        self.entries.range(after + 1..).next().map(|(index, _)| *index)
    }

    /// The last entry up to an index.
    pub(crate) fn up_to(&self, index: u64) -> Option<(u64, &Told)> {
        self.entries.range(..=index).next_back().map(|(index, told)| (*index, told))
    }

    /// The last entry.
    pub(crate) fn last(&self) -> Option<(u64, &Told)> {
        self.entries.last_key_value().map(|(index, told)| (*index, told))
    }

    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    /// The site that it tells of: a shard has one.
    pub(crate) fn site(&self) -> Option<SiteId> {
        self.events.first().map(|event| event.site)
    }

    /// All events, in order.
    pub(crate) fn events(&self) -> &[EventRecord] {
        &self.events
    }

    /// The hash of the bytes of the event with that sequence, from 1. A shard has one site.
    pub(crate) fn event_hash(&self, sequence: u64) -> Option<u64> {
        let at = usize::try_from(sequence.checked_sub(1)?).ok()?;
        self.hashes.get(at).copied()
    }

    /// Whether the event with that sequence, 0 for none, lies up to an index after which a journal
    /// begins.
    pub(crate) fn is_dropped(&self, sequence: u64, first_index: u64) -> bool {
        let Some(at) = sequence.checked_sub(1) else { return true };
        let event = usize::try_from(at).ok().and_then(|at| self.events.get(at));
        event.is_some_and(|event| event.index <= first_index)
    }

    /// Adds an entry that no replica applied before.
    pub(crate) fn add(&mut self, index: u64, told: Told, events: &[EventRecord]) {
        self.entries.insert(index, told);
        self.events.extend_from_slice(events);
        let hash = |event| xxh3_64(&codec::encode(event, Limit::Entry).expect("an event fits"));
        self.hashes.extend(events.iter().map(hash));
    }
}
