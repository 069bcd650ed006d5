//! Where sites are, as the shards of a backup say, which were not stopped together.
//!
//! A site moves between shards by entries of both ([`rotary_distributor`], `moves`). A shard that
//! is of an earlier moment than another may then have a site that the other has too, and the other
//! way round none has it. What each says is held against what the others do: where the newest state
//! of a site is, by the number of its departures; and whether each shard where it stayed has
//! recorded all that happened there, and nothing that the state does not know of. Where that fits,
//! the shards are as if they had been stopped at moments between which no step of a move is lost,
//! and whoever brings moves about goes on from there. Where it does not, some shard has to be of a
//! later moment, and is named.
//!
//! Where the directory has a site is not held against it: it follows the shards, and is put right.
//! It has a site where that departed until it is forgotten there: only then does the next move
//! begin.
//!
//! This file is pure.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use rotary_directory::Directory;
use rotary_distributor::Shard;
use rotary_proto::{ShardId, SiteId};
use rotary_storage::JournalBase;

use crate::backup::check::{State, Taker};
use crate::backup::format::Head;
use crate::replica::DIRECTORY;
use crate::replica::stays::{Stay, site_of, stays_in};

/// How many sites are named where something is wrong with more.
const NAMED_MAX: usize = 8;

/// A site whose state is in a shard.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Here {
    /// Where it is to live instead, if it does not live here any more.
    departed: Option<ShardId>,
    /// How often it has departed; if it has departed from here, that is the last time.
    departures: u64,
    stays: Vec<Stay>,
    /// The number of its last event.
    sequence: u64,
}

/// What a shard says.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Says {
    index: u64,
    here: BTreeMap<SiteId, Here>,
    /// Where those went whose state was here.
    gone: BTreeMap<SiteId, ShardId>,
    /// The last sequence of each stream of its journal.
    streams: BTreeMap<SiteId, BTreeMap<u64, u64>>,
}

impl Says {
    fn of(shard: &Shard, index: u64, journal: &JournalBase) -> Self {
        let here = |site: SiteId| Here {
            departed: shard.departure(site).map(|leaving| leaving.to),
            departures: shard.departures_of(site),
            stays: stays_in(shard, site),
            sequence: shard.sequence(site).unwrap_or(0),
        };
        let mut streams: BTreeMap<SiteId, BTreeMap<u64, u64>> = BTreeMap::new();
        for (stream, last) in &journal.streams {
            streams.entry(site_of(*stream)).or_default().insert(*stream, *last);
        }
        let here = shard.sites().map(|site| (site, here(site))).collect();
        Self { index, here, gone: shard.gone().collect(), streams }
    }
}

/// The shards that say something of a site.
type About<'a> = BTreeMap<ShardId, &'a Says>;

/// What the directory and the shards of a backup say.
#[derive(Debug, Clone, Default)]
pub(crate) struct Places {
    /// Of each site that the directory knows, and as of which index; `None` until it was heard.
    directory: Option<(u64, BTreeMap<SiteId, ShardId>)>,
    shards: BTreeMap<ShardId, Says>,
}

/// A site that what the shards say does not fit together for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Trouble {
    site: SiteId,
    what: String,
    /// Those that would have to be of a later moment.
    later: BTreeSet<ShardId>,
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let later: Vec<String> = self.later.iter().map(ToString::to_string).collect();
        let Self { site, what, .. } = self;
        write!(f, "{site} {what}: {} would have to be of a later moment", later.join(" and "))
    }
}

/// What comes of it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Judged {
    /// Where the directory is to have each site that the shards know.
    pub(crate) homes: BTreeMap<SiteId, ShardId>,
    /// Sites that what the shards say does not fit together for.
    pub(crate) troubles: Vec<Trouble>,
    /// Sites that the directory does not know.
    pub(crate) unknown: Vec<Trouble>,
}

impl Judged {
    fn all(&self) -> impl Iterator<Item = &Trouble> {
        self.troubles.iter().chain(&self.unknown)
    }

    /// The shards that would have to be of a later moment, the directory first.
    pub(crate) fn later(&self) -> BTreeSet<ShardId> {
        self.all().flat_map(|trouble| trouble.later.iter().copied()).collect()
    }

    /// What is wrong; `None` if nothing is.
    pub(crate) fn wrong(&self) -> Option<String> {
        let mut named: Vec<String> = self.all().take(NAMED_MAX).map(ToString::to_string).collect();
        let more = self.all().count() - named.len();
        if more > 0 {
            named.push(format!("and {more} more sites"));
        }
        (!named.is_empty()).then(|| named.join("; "))
    }
}

impl Places {
    /// Hears the directory, as of an index.
    pub(crate) fn hear_directory(&mut self, directory: &Directory, index: u64) {
        let rows = directory.sites(None).map(|row| (row.site, row.shard));
        self.directory = Some((index, rows.collect()));
    }

    /// Hears a shard as of an index, and of how far its journal has come there. What it said before
    /// is forgotten.
    pub(crate) fn hear(&mut self, shard: &Shard, index: u64, journal: &JournalBase) {
        self.shards.insert(shard.id(), Says::of(shard, index, journal));
    }

    /// Holds what they say against each other.
    pub(crate) fn judge(&self) -> Judged {
        let mut sites: BTreeMap<SiteId, About> = BTreeMap::new();
        for (shard, says) in &self.shards {
            let told = says.here.keys().chain(says.gone.keys()).chain(says.streams.keys());
            for site in told {
                sites.entry(*site).or_default().insert(*shard, says);
            }
        }
        let mut judged = Judged::default();
        for (site, about) in &sites {
            let (site, home) = (*site, newest(site, about));
            if let Some((shard, _)) = home {
                judged.homes.insert(site, left(site, about).unwrap_or(shard));
                judged.unknown.extend(self.unknown(site, shard));
            }
            judged.troubles.extend(match home {
                Some(home) => {
                    self.twice(site, about, home).or_else(|| self.told(site, about, home))
                }
                None => Some(self.nowhere(site, about)),
            });
        }
        judged
    }

    fn at(&self, shard: ShardId) -> String {
        let index = match self.shards.get(&shard) {
            Some(says) => says.index,
            None => return format!("{shard}, which the backup does not have"),
        };
        format!("{shard} at index {index}")
    }

    /// A shard, or the directory, if that has to be asked again about a shard that began since.
    fn known(&self, shard: ShardId) -> ShardId {
        if self.shards.contains_key(&shard) { shard } else { DIRECTORY }
    }

    /// A state beside the newest, other than of a site that is not forgotten yet where it departed.
    fn twice(
        &self,
        site: SiteId,
        about: &About,
        (home, newest): (ShardId, &Here),
    ) -> Option<Trouble> {
        let is_left = |here: &Here| {
            newest.departed.is_none()
                && here.departed == Some(home)
                && here.departures == newest.departures
        };
        let others = about.iter().filter(|(shard, _)| **shard != home);
        let twice = others.filter(|(_, says)| says.here.get(&site).is_some_and(|h| !is_left(h)));
        let later: BTreeSet<ShardId> = twice.map(|(shard, _)| *shard).collect();
        let other = *later.first()?;
        let what = format!("is in {} and in {}", self.at(home), self.at(other));
        Some(Trouble { site, what, later })
    }

    /// A journal that lacks something of a site, or has what its newest state does not know of.
    fn told(
        &self,
        site: SiteId,
        about: &About,
        (home, newest): (ShardId, &Here),
    ) -> Option<Trouble> {
        let due = |stay: &Stay| stay.in_stream(stay.last.unwrap_or(newest.sequence));
        let due = newest.stays.iter().map(|stay| ((stay.shard, stay.stream), due(stay)));
        let due: BTreeMap<(ShardId, u64), u64> = due.filter(|(_, last)| *last > 0).collect();
        let kept = about.iter().flat_map(|(shard, says)| {
            let streams = says.streams.get(&site).into_iter().flatten();
            streams.map(|(stream, last)| ((*shard, *stream), *last))
        });
        let kept: BTreeMap<(ShardId, u64), u64> = kept.collect();
        let (mut later, mut what) = (BTreeSet::new(), None);
        for place @ (shard, _) in due.keys().chain(kept.keys()).copied() {
            let last = |of: &BTreeMap<(ShardId, u64), u64>| of.get(&place).copied().unwrap_or(0);
            let (state, journal) = (self.at(home), self.at(shard));
            match last(&kept).cmp(&last(&due)) {
                Ordering::Less => {
                    what = Some(format!("in {state} remembers more than {journal} has recorded"));
                    later.insert(self.known(shard));
                }
                Ordering::Equal => {}
                Ordering::Greater => {
                    what = Some(format!("in {state} remembers less than {journal} has recorded"));
                    later.insert(home);
                }
            }
        }
        Some(Trouble { site, what: what?, later })
    }

    /// A site whose state is in no shard, though one has had it.
    fn nowhere(&self, site: SiteId, about: &About) -> Trouble {
        let had: BTreeSet<ShardId> = about.keys().copied().collect();
        let to = about.values().filter_map(|says| says.gone.get(&site).copied());
        let to: BTreeSet<ShardId> = to.filter(|shard| !had.contains(shard)).collect();
        let from = had.first().map_or_else(String::new, |shard| self.at(*shard));
        let (what, later) = match to.first() {
            Some(first) => {
                let what = format!("left {from} and did not come to {}", self.at(*first));
                (what, to.into_iter().map(|shard| self.known(shard)).collect())
            }
            None => (format!("left {from} and is nowhere"), had),
        };
        Trouble { site, what, later }
    }

    /// A site that the directory does not know.
    fn unknown(&self, site: SiteId, home: ShardId) -> Option<Trouble> {
        let (index, known) = self.directory.as_ref()?;
        if known.contains_key(&site) {
            return None;
        }
        let what = format!("is in {} and not in {DIRECTORY} at index {index}", self.at(home));
        Some(Trouble { site, what, later: [DIRECTORY].into() })
    }
}

/// The newest state of a site: where it lives, before where it departed to live there.
fn newest<'a>(site: &SiteId, about: &About<'a>) -> Option<(ShardId, &'a Here)> {
    let found = about.iter().filter_map(|(shard, says)| Some((*shard, says.here.get(site)?)));
    found.max_by_key(|(_, here)| (here.departures, here.departed.is_none()))
}

/// A shard that a site departed from and that has its state still.
fn left(site: SiteId, about: &About) -> Option<ShardId> {
    let is_left = |says: &Says| says.here.get(&site).is_some_and(|here| here.departed.is_some());
    about.iter().find(|(_, says)| is_left(says)).map(|(shard, _)| *shard)
}

impl Taker for Places {
    fn state(&mut self, head: &Head, state: State) -> Result<(), String> {
        match state {
            State::Directory(directory) => self.hear_directory(&directory, head.index),
            State::Data { base, shard } => self.hear(&shard, head.index, &base),
        }
        Ok(())
    }
}

#[cfg(test)]
#[path = "places_tests.rs"]
mod tests;
