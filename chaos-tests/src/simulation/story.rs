//! What each shard's log says, from whichever replica applied an entry first.

use std::collections::BTreeMap;

use rotary_proto::codec::{self, Limit};
use rotary_proto::{Event, EventRecord, SiteId};
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
    /// What journals have, by stream.
    streams: BTreeMap<u64, Stream>,
    /// How often each site came back.
    returns: BTreeMap<SiteId, u64>,
}

/// What a site told in one of its stays: the index and the hash of each event, in order.
#[derive(Debug, Default)]
pub(crate) struct Stream(Vec<(u64, u64)>);

impl Stream {
    /// How many events there are.
    pub(crate) fn len(&self) -> u64 {
        self.0.len() as u64
    }

    /// The hash of the bytes of the event with that number, from 1.
    pub(crate) fn hash(&self, number: u64) -> Option<u64> {
        let at = usize::try_from(number.checked_sub(1)?).ok()?;
        self.0.get(at).map(|(_, hash)| *hash)
    }

    /// Whether the event with that number, 0 for none, lies up to an index after which a journal
    /// begins.
    pub(crate) fn is_dropped(&self, number: u64, first_index: u64) -> bool {
        let Some(at) = number.checked_sub(1) else { return true };
        let event = usize::try_from(at).ok().and_then(|at| self.0.get(at));
        event.is_some_and(|(index, _)| *index <= first_index)
    }
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

    /// What journals have of it.
    pub(crate) fn streams(&self) -> impl Iterator<Item = (u64, &Stream)> {
        self.streams.iter().map(|(stream, told)| (*stream, told))
    }

    /// What they have of a site's first stay.
    pub(crate) fn stream_of(&self, site: SiteId) -> Option<&Stream> {
        self.streams.get(&site.key())
    }

    /// All events, in order.
    pub(crate) fn events(&self) -> &[EventRecord] {
        &self.events
    }

    /// Adds an entry that no replica applied before.
    pub(crate) fn add(&mut self, index: u64, told: Told, events: &[EventRecord]) {
        self.entries.insert(index, told);
        self.events.extend_from_slice(events);
        for event in events {
            let hash = xxh3_64(&codec::encode(event, Limit::Entry).expect("an event fits"));
            let stream = self.stream(event);
            self.streams.entry(stream).or_default().0.push((index, hash));
        }
    }

    /// The stream of an event. A site begins another one with each return.
    fn stream(&mut self, event: &EventRecord) -> u64 {
        let comes = matches!(event.event, Event::SiteMoved { .. });
        let before = self.returns.entry(event.site);
        let before = before.and_modify(|times| *times += u64::from(comes)).or_default();
        event.site.key() | *before << 56
    }
}
