//! Sites on their way from one shard to another, as each of the two shards knows it.
//!
//! Where it lived, a site *departs*: it stays in the state as it is, refuses commands, and its
//! clock stands still. Where it is to live, the shard *expects* it and is given parts: pieces of a
//! snapshot of a shard with this one site. Each part is an entry, so every replica has it and a
//! snapshot of the expecting shard carries what came so far. Once all have come, an entry brings
//! the site to life: its clock goes on where it stood, its deadlines, places in line, sessions and
//! windows are what they were. Replicas put it together ahead of that entry, as parts come, so
//! that other sites do not wait for it ([`Assembly`]). Then the first shard forgets it, and says
//! where it went to whoever asks.
//!
//! A site never lives twice. Its departures are numbered over its whole life, and a shard takes
//! none whose number is not above all that it has taken or *declined* of that site. It returns
//! where it departed only after the other shard has declined the departure, which it cannot once it
//! has taken it. So whoever brings the steps about may die between any two of them, or come twice,
//! or come late.

use std::collections::BTreeMap;
use std::sync::Arc;

use rotary_proto::ids::{ShardId, SiteId};
use rotary_proto::{LogicVersions, Refusal, SitePart, Stamp, limits};
use serde::{Deserialize, Serialize};

use crate::digest::{Sum, hash_of};
use crate::shard::Shard;
use crate::snapshot::Restore;

const MOVES: u64 = 106;
const PART: u64 = 107;
const TRAVEL: u64 = 108;

/// A site that is no longer served here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Away {
    /// Where it is, or is to be.
    pub(crate) to: ShardId,
    /// Since when it waits for that, while its state is here.
    pub(crate) departed: Option<Departure>,
}

/// A departure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Departure {
    /// Counts the site's departures, from 1.
    pub(crate) number: u64,
    /// The entry's index.
    pub(crate) index: u64,
    /// What the site's clock said.
    pub(crate) at: Stamp,
}

/// The last departures of a site that were taken or declined here.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Passed {
    /// The number of the last one.
    pub(crate) departed: u64,
    /// Of the last that was taken; 0 if none was.
    pub(crate) taken: u64,
}

/// A site that is expected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Expected {
    pub(crate) site: SiteId,
    pub(crate) from: ShardId,
    /// The number of its departure there.
    pub(crate) departed: u64,
    /// The index of the entry by which it is expected.
    pub(crate) attempt: u64,
    /// The version of the logic that the shard acted by then: that of the site's state.
    pub(crate) version: u32,
}

/// Where a site was before, and what follows from that.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Travel {
    /// Every shard that it lived in, in order; the last one is where it is.
    pub(crate) stays: Vec<Stay>,
    /// Added to shard time, this gives the site's clock.
    pub(crate) clock_us: i64,
    /// What its clock said when it came.
    pub(crate) arrived: Stamp,
    /// How often it has departed, whether it came anywhere or not.
    pub(crate) departures: u64,
    /// Whether what happened before it came is on the disks of a quorum.
    pub(crate) settled: bool,
}

/// The time that a site lived in one shard.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Stay {
    pub(crate) shard: ShardId,
    /// The sequence of the first event there.
    pub(crate) first: u64,
}

impl Travel {
    /// Of a site that has never moved.
    pub(crate) fn none_yet(shard: ShardId) -> Self {
        let stays = vec![Stay { shard, first: 1 }];
        Self { stays, clock_us: 0, arrived: Stamp::ZERO, departures: 0, settled: true }
    }

    /// The hash of it.
    pub(crate) fn digest(&self, buffer: &mut Vec<u8>) -> u128 {
        hash_of(TRAVEL, self, buffer)
    }
}

/// A site that is being given.
#[derive(Debug, Clone)]
pub(crate) struct Arrival {
    expected: Expected,
    /// What came, in order of the parts' numbers.
    parts: BTreeMap<u32, Arc<SitePart>>,
    bytes: usize,
    sum: Sum,
    /// How many came before the first that is missing.
    whole: u32,
    /// What those make, if somebody has put it together already. Derived.
    ready: Ready,
}

/// A site put together ahead of the entry that needs it. A copy of the shard goes without.
#[derive(Debug, Default)]
struct Ready(Option<Box<Assembled>>);

impl Clone for Ready {
    fn clone(&self) -> Self {
        Self(None)
    }
}

/// A site that has been put together from its parts.
#[derive(Debug)]
pub struct Assembled {
    attempt: u64,
    parts: u32,
    site: SiteId,
    /// A shard that has it, and nothing else.
    alone: Shard,
}

/// Puts a site together from its parts, apart from the shard that expects it.
///
/// It follows from the parts alone. So whether a replica does it ahead, on another thread, or not
/// before the entry that brings the site to life makes no difference but how long that one takes.
#[derive(Debug)]
pub struct Assembly {
    expected: Expected,
    read: u32,
    /// The beginning of a chunk whose end has not come.
    begun: Vec<u8>,
    restore: Restore,
}

/// A site whose parts have all come.
pub(crate) struct Arrived {
    pub(crate) expected: Expected,
    /// A shard that has it, and nothing else.
    pub(crate) alone: Shard,
}

impl Assembly {
    fn new(expected: Expected) -> Self {
        let can = LogicVersions { oldest: expected.version, newest: expected.version };
        let restore = Restore::alone(expected.from, can);
        Self { expected, read: 0, begun: Vec::new(), restore }
    }

    /// Which site it is of.
    pub const fn site(&self) -> SiteId {
        self.expected.site
    }

    /// Of which attempt to pass the site on it takes parts: the index of the entry by which the
    /// site is expected.
    pub const fn attempt(&self) -> u64 {
        self.expected.attempt
    }

    /// How many parts it has taken.
    pub const fn parts(&self) -> u32 {
        self.read
    }

    /// Takes the next part.
    ///
    /// # Errors
    /// Why what came is no site.
    pub fn take(mut self, part: &SitePart) -> Result<Self, String> {
        if part.number != self.read || part.attempt != self.expected.attempt {
            return Err(format!("part {} comes first", self.read));
        }
        self.read += 1;
        self.begun.extend_from_slice(&part.bytes);
        if self.begun.len() > limits::SNAPSHOT_CHUNK_BYTES_MAX {
            return Err("a chunk is too long".to_owned());
        }
        if part.ends_chunk {
            let chunk = std::mem::take(&mut self.begun);
            self.restore = self.restore.chunk(&chunk).map_err(|error| error.to_string())?;
        }
        Ok(self)
    }

    /// Whether nothing more can come.
    pub fn is_whole(&self) -> bool {
        self.restore.is_whole()
    }

    /// The site.
    ///
    /// # Errors
    /// Why what came is no site, or not all of it.
    pub fn finish(self) -> Result<Assembled, String> {
        let Self { expected: Expected { site, attempt, .. }, read: parts, begun, restore } = self;
        if !begun.is_empty() {
            return Err("the last chunk has no end".to_owned());
        }
        let alone = restore.finish().map_err(|error| error.to_string())?;
        if alone.sites().ne([site]) {
            return Err("it is the state of another site".to_owned());
        }
        Ok(Assembled { attempt, parts, site, alone })
    }
}

impl Arrival {
    fn new(expected: Expected) -> Self {
        let (parts, ready) = (BTreeMap::new(), Ready::default());
        Self { expected, parts, bytes: 0, sum: Sum::ZERO, whole: 0, ready }
    }

    /// The index of the entry by which it is expected.
    pub(crate) const fn attempt(&self) -> u64 {
        self.expected.attempt
    }

    /// Its head and what came of it.
    pub(crate) fn freeze(&self) -> (Expected, Vec<Arc<SitePart>>) {
        (self.expected, self.parts.values().cloned().collect())
    }

    /// Nothing of it put together so far.
    pub(crate) fn assembly(&self) -> Assembly {
        Assembly::new(self.expected)
    }

    /// Whether it has been put together.
    pub(crate) const fn is_ready(&self) -> bool {
        self.ready.0.is_some()
    }

    /// What came from that part on, as far as nothing is missing.
    pub(crate) fn parts_from(&self, number: u32) -> impl Iterator<Item = &Arc<SitePart>> {
        self.parts.range(number.min(self.whole)..self.whole).map(|(_, part)| part)
    }

    /// Keeps a part.
    fn keep(&mut self, part: SitePart) -> Result<(), Refusal> {
        self.is_attempt(part.attempt)?;
        if part.bytes.len() > limits::PART_BYTES_MAX {
            return Err(bad("bytes", format!("at most {}", limits::PART_BYTES_MAX)));
        }
        if part.number >= self.whole.saturating_add(limits::PARTS_AHEAD_MAX) {
            return Err(bad("number", format!("part {} comes first", self.whole)));
        }
        if self.parts.contains_key(&part.number) {
            return Ok(());
        }
        if self.bytes + part.bytes.len() > limits::SITE_PARTS_BYTES_MAX {
            return Err(Refusal::LimitReached { limit: "site_parts_bytes_max".to_owned() });
        }
        self.bytes += part.bytes.len();
        self.sum.add(hash_of(PART, &part, &mut Vec::new()));
        self.parts.insert(part.number, Arc::new(part));
        while self.parts.contains_key(&self.whole) {
            self.whole += 1;
        }
        Ok(())
    }

    fn is_attempt(&self, attempt: u64) -> Result<(), Refusal> {
        let rule = || format!("parts of attempt {} are expected", self.expected.attempt);
        if attempt == self.expected.attempt { Ok(()) } else { Err(bad("attempt", rule())) }
    }

    /// What its first `parts` parts make.
    fn assemble(self, parts: u32) -> Result<Shard, String> {
        if let Some(ready) = self.ready.0.filter(|ready| ready.parts == parts) {
            return Ok(ready.alone);
        }
        let mut assembly = Assembly::new(self.expected);
        for part in self.parts.range(..parts).map(|(_, part)| part) {
            assembly = assembly.take(part)?;
        }
        Ok(assembly.finish()?.alone)
    }
}

fn bad(field: &str, rule: String) -> Refusal {
    Refusal::BadValue { field: field.to_owned(), rule }
}

fn not_expected() -> Refusal {
    bad("site", "this site is not expected".to_owned())
}

/// Sites on their way from and to one shard.
#[derive(Debug, Clone, Default)]
pub(crate) struct Moves {
    pub(crate) away: BTreeMap<SiteId, Away>,
    pub(crate) passed: BTreeMap<SiteId, Passed>,
    pub(crate) arriving: BTreeMap<SiteId, Arrival>,
}

impl Moves {
    /// Whether that site is here and waits to live elsewhere.
    pub(crate) fn is_departed(&self, site: SiteId) -> bool {
        self.departure(site).is_some()
    }

    /// Its departure, while its state is here.
    pub(crate) fn departure(&self, site: SiteId) -> Option<(ShardId, Departure)> {
        let away = self.away.get(&site)?;
        Some((away.to, away.departed?))
    }

    /// Why that site cannot be asked for anything here.
    pub(crate) fn refusal(&self, site: SiteId) -> Option<Refusal> {
        Some(Refusal::SiteAway { shard: self.away.get(&site)?.to })
    }

    /// Expects a site, and forgets what came of it before.
    pub(crate) fn expect(&mut self, expected: Expected) -> Result<(), Refusal> {
        let site = expected.site;
        if self.passed.get(&site).is_some_and(|passed| passed.departed >= expected.departed) {
            let rule = "this departure was taken or declined here".to_owned();
            return Err(Refusal::BadValue { field: "departed".to_owned(), rule });
        }
        if self.arriving.get(&site).is_some_and(|a| a.expected.departed > expected.departed) {
            let rule = "a later departure is expected".to_owned();
            return Err(Refusal::BadValue { field: "departed".to_owned(), rule });
        }
        let others = self.arriving.keys().filter(|other| **other != site).count();
        if others >= limits::ARRIVALS_PER_SHARD_MAX {
            return Err(Refusal::LimitReached { limit: "arrivals_per_shard_max".to_owned() });
        }
        let full = self.passed.len() >= limits::SITES_GONE_PER_SHARD_MAX;
        if full && !self.passed.contains_key(&site) {
            return Err(Refusal::LimitReached { limit: "sites_gone_per_shard_max".to_owned() });
        }
        self.arriving.insert(site, Arrival::new(expected));
        Ok(())
    }

    /// Takes a part. One that came before is left as it is.
    pub(crate) fn take(&mut self, part: SitePart) -> Result<(), Refusal> {
        let arrival = self.arriving.get_mut(&part.site).ok_or_else(not_expected)?;
        arrival.keep(part)
    }

    /// Gives the site that so many parts make. What is no site ends the arrival.
    pub(crate) fn arrive(
        &mut self,
        site: SiteId,
        attempt: u64,
        parts: u32,
    ) -> Result<Arrived, Refusal> {
        let arrival = self.arriving.get(&site).ok_or_else(not_expected)?;
        arrival.is_attempt(attempt)?;
        if parts > arrival.whole {
            return Err(bad("parts", format!("part {} has not come", arrival.whole)));
        }
        let arrival = self.arriving.remove(&site).expect("found above");
        let expected = arrival.expected;
        let alone = arrival.assemble(parts).map_err(|error| bad("bytes", error))?;
        Ok(Arrived { expected, alone })
    }

    /// Takes a site that was put together ahead, if it is one that is expected.
    pub(crate) fn put_ready(&mut self, assembled: Assembled) {
        let arrival = self.arriving.get_mut(&assembled.site);
        if let Some(arrival) = arrival.filter(|arrival| arrival.attempt() == assembled.attempt) {
            arrival.ready = Ready(Some(Box::new(assembled)));
        }
    }

    /// Takes no departure up to that number from now on. One that was taken cannot be declined: the
    /// site lived here, and may have gone on.
    pub(crate) fn decline(&mut self, site: SiteId, departed: u64) -> Result<(), Refusal> {
        if self.passed.get(&site).is_some_and(|passed| passed.taken >= departed) {
            return Err(bad("departed", "this departure was taken here".to_owned()));
        }
        self.pass(site, Passed { departed, taken: 0 })
    }

    /// Notes that a departure was taken.
    pub(crate) fn note_taken(&mut self, site: SiteId, departed: u64) -> Result<(), Refusal> {
        self.pass(site, Passed { departed, taken: departed })
    }

    fn pass(&mut self, site: SiteId, more: Passed) -> Result<(), Refusal> {
        let full = self.passed.len() >= limits::SITES_GONE_PER_SHARD_MAX;
        if full && !self.passed.contains_key(&site) {
            return Err(Refusal::LimitReached { limit: "sites_gone_per_shard_max".to_owned() });
        }
        let most = self.passed.entry(site).or_default();
        most.departed = more.departed.max(most.departed);
        most.taken = more.taken.max(most.taken);
        if self.arriving.get(&site).is_some_and(|a| a.expected.departed <= more.departed) {
            self.arriving.remove(&site);
        }
        Ok(())
    }

    /// Declines a site that is being given.
    pub(crate) fn abandon(&mut self, site: SiteId) {
        if let Some(arrival) = self.arriving.remove(&site) {
            let most = self.passed.entry(site).or_default();
            most.departed = arrival.expected.departed.max(most.departed);
        }
    }

    /// Puts back that a site is away; whether it is new and within the bound.
    pub(crate) fn restore_away(&mut self, site: SiteId, away: Away) -> bool {
        self.away.len() < limits::SITES_GONE_PER_SHARD_MAX && self.away.insert(site, away).is_none()
    }

    /// Puts back what was taken or declined; whether it is new, possible and within the bound.
    pub(crate) fn restore_passed(&mut self, site: SiteId, passed: Passed) -> bool {
        let new = passed.taken <= passed.departed && !self.passed.contains_key(&site);
        new && self.pass(site, passed).is_ok()
    }

    /// Puts back that a site is expected; whether it may be.
    pub(crate) fn restore_expected(&mut self, expected: Expected) -> bool {
        !self.arriving.contains_key(&expected.site) && self.expect(expected).is_ok()
    }

    /// The hash of everything; 0 where there is nothing.
    pub(crate) fn digest(&self) -> u128 {
        if self.away.is_empty() && self.passed.is_empty() && self.arriving.is_empty() {
            return 0;
        }
        let arriving = self.arriving.values().map(|arrival| {
            let Arrival { expected, parts, sum, .. } = arrival;
            (*expected, parts.len() as u64, sum.value())
        });
        let arriving: Vec<_> = arriving.collect();
        hash_of(MOVES, &(&self.away, &self.passed, arriving), &mut Vec::new())
    }
}
