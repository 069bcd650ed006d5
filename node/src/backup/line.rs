//! The line of one shard's runs, each of which goes on from the one before, and the points that it
//! can be brought back to.
//!
//! A run has a snapshot, and the entries from where the run before had come to (its own come
//! before its snapshot, since taking one lets the log forget). What was at an index is found from
//! the newest snapshot at or below it, and the entries from there. Where entries were forgotten
//! before a run took them is a *hole*: nothing is brought back from below it to above it.
//!
//! ```text
//! run 1     run 2                    run 3 (entries were forgotten before it)
//!   S---------+--S-----------+          ......+--S
//!   |<--- any index of these ->|              none|<- this one
//! ```
//!
//! This file is pure: it has read nothing but manifests.

use std::fmt;
use std::ops::RangeInclusive;

use rotary_proto::Wall;

use crate::backup::manifest::{Moment, RunName};

/// What a run has of one shard.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Link {
    pub(crate) run: RunName,
    /// What its snapshot has everything up to.
    pub(crate) index: u64,
    /// When that was there.
    pub(crate) made: Wall,
    /// Its entries: those behind the first index, up to and with the other.
    pub(crate) after: u64,
    pub(crate) through: u64,
    /// The latest time of day that one of them has.
    pub(crate) latest: Wall,
    /// When they were taken.
    pub(crate) until: Wall,
}

/// The runs of one shard that a run goes back to, itself included, the oldest first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Line(Vec<Link>);

/// How a shard is brought to an index.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Cut {
    pub(crate) index: u64,
    /// The run whose snapshot is planted, and the index that it has everything up to.
    pub(crate) base: RunName,
    pub(crate) base_index: u64,
    /// The runs whose entries follow, up to the index; none where it is the snapshot's own.
    pub(crate) runs: Vec<RunName>,
}

/// Where a moment is in a line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Place {
    /// Before the first entry of this run that is not before the moment.
    Within(RunName),
    /// Behind this index.
    Behind(u64),
}

/// Points that a line can be brought back to: indexes, and the moments that they are of. A shard
/// in which nothing happens has one index for many moments.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Points {
    pub(crate) indexes: RangeInclusive<u64>,
    /// Above the first, not above the other; where both are one, the snapshot's own.
    pub(crate) since: Wall,
    pub(crate) until: Wall,
}

impl fmt::Display for Points {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (first, last) = self.indexes.clone().into_inner();
        let (since, until) = (Moment(self.since), Moment(self.until));
        match first == last {
            true => write!(f, "{first}")?,
            false => write!(f, "{first} to {last}")?,
        }
        match since == until {
            true => write!(f, " (as of {since})"),
            false => write!(f, " (after {since}, up to {until})"),
        }
    }
}

/// Part of a line without a hole.
struct Stretch<'a> {
    links: &'a [Link],
    /// Every entry behind the first index, up to and with the other, is there.
    after: u64,
    through: u64,
}

impl Stretch<'_> {
    /// The newest snapshot from which the entries lead to an index.
    fn base(&self, index: u64) -> Option<&Link> {
        let leads = |link: &&Link| {
            link.index == index
                || (self.after <= link.index && link.index < index && index <= self.through)
        };
        self.links.iter().rev().find(leads)
    }

    fn cut(&self, index: u64) -> Option<Cut> {
        let base = self.base(index)?;
        let needed = |link: &&Link| link.through > base.index && link.after < index;
        let runs = self.links.iter().filter(needed).map(|link| link.run.clone());
        let runs = if base.index == index { Vec::new() } else { runs.collect() };
        Some(Cut { index, base: base.run.clone(), base_index: base.index, runs })
    }

    /// What entries lead to, first, and the snapshots beyond.
    fn points(&self) -> Vec<Points> {
        let mut found = Vec::new();
        let led = |link: &&Link| (self.after..=self.through).contains(&link.index);
        let led = self.links.iter().filter(led);
        let first = led.min_by_key(|link| link.index);
        let until = self.links.last().map_or(Wall(0), |link| link.until);
        if let Some(first) = first {
            let (indexes, since) = (first.index..=self.through, first.made);
            found.push(Points { indexes, since, until: until.max(since) });
        }
        let is_alone = |link: &&Link| {
            found.first().is_none_or(|points: &Points| !points.indexes.contains(&link.index))
        };
        let alone = |link: &Link| {
            let (indexes, since) = (link.index..=link.index, link.made);
            Points { indexes, since, until: since }
        };
        let alone: Vec<Points> = self.links.iter().filter(is_alone).map(alone).collect();
        found.extend(alone);
        found
    }
}

impl Line {
    /// Of links, the oldest first.
    pub(crate) fn of(links: Vec<Link>) -> Self {
        Self(links)
    }

    fn stretches(&self) -> Vec<Stretch<'_>> {
        let is_whole = |one: &Link, next: &Link| next.after <= one.through;
        let stretch = |links| {
            let mut stretch = Stretch { links, after: links[0].after, through: 0 };
            stretch.through = links.iter().map(|link| link.through).max().unwrap_or(0);
            stretch
        };
        self.0.chunk_by(is_whole).map(stretch).collect()
    }

    /// All points that it can be brought back to, in the order of their indexes.
    pub(crate) fn points(&self) -> Vec<Points> {
        let mut found: Vec<Points> = self.stretches().iter().flat_map(Stretch::points).collect();
        found.sort_by_key(|points| points.indexes.clone().into_inner());
        found.dedup_by(|one, before| one.indexes == before.indexes);
        found
    }

    /// How to come to an index.
    ///
    /// # Errors
    /// In words, where nothing leads there, and what can be had instead.
    pub(crate) fn cut(&self, index: u64) -> Result<Cut, String> {
        let cut = self.stretches().iter().rev().find_map(|stretch| stretch.cut(index));
        cut.ok_or_else(|| {
            let near = self.near(|points| *points.indexes.end() < index);
            format!("nothing kept leads to index {index}{near}")
        })
    }

    /// Where a moment is: everything before it, and nothing of it or after it.
    ///
    /// # Errors
    /// In words, where that is not known, and what can be had instead.
    pub(crate) fn moment(&self, at: Wall) -> Result<Place, String> {
        let refuse = || {
            let near = self.near(|points| points.until < at);
            format!("nothing kept leads to {}{near}", Moment(at))
        };
        let stretches = self.stretches();
        let leads = |stretch: &&Stretch<'_>| {
            let points = stretch.points();
            points.first().is_some_and(|points| points.since < at && at <= points.until)
        };
        let stretch = stretches.iter().rev().find(leads).ok_or_else(refuse)?;
        let later = stretch.links.iter().find(|link| link.latest >= at);
        Ok(later.map_or(Place::Behind(stretch.through), |link| Place::Within(link.run.clone())))
    }

    /// The points before and after what nothing leads to.
    fn near(&self, is_before: impl Fn(&Points) -> bool) -> String {
        let points = self.points();
        let (before, after): (Vec<_>, Vec<_>) = points.into_iter().partition(is_before);
        let before = before.last().map(|points| format!("before it {points}"));
        let after = after.first().map(|points| format!("after it {points}"));
        let near: Vec<String> = before.into_iter().chain(after).collect();
        match near.as_slice() {
            [] => String::new(),
            near => format!(": the nearest indexes are, {}", near.join("; ")),
        }
    }
}

#[cfg(test)]
#[path = "line_tests.rs"]
mod tests;
