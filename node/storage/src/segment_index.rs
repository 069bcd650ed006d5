//! What the records of a segment log add up to: where each entry is, and each group's values.
//!
//! The writer and recovery feed it the same records in the same order, so what a running log knows
//! is by construction what a reopened one will know.
//!
//! Recovery does not see records of segments that were dropped. What it then has of a group is some
//! of its entries, in runs; copies made before the drop fill the holes as they come, and at the end
//! there is one run or none ([`Index::check`]).

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ops::Range;

use crate::log_store::Group;
use crate::segment_format::{
    BATCH_HEADER_BYTES, Batch, ENTRY_HEADER_BYTES, Found, Record, records,
};

/// Where an entry's record is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Location {
    pub(crate) segment: u32,
    /// Of the record, from the start of the file.
    pub(crate) offset: u32,
    /// Of the entry, without its record's header.
    pub(crate) bytes: u32,
}

impl Location {
    /// The length of the whole record.
    pub(crate) fn record_bytes(&self) -> usize {
        self.bytes as usize + ENTRY_HEADER_BYTES
    }
}

/// What a group has beside its entries.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Values {
    pub(crate) vote: Option<Vec<u8>>,
    pub(crate) purged: Option<(u64, Vec<u8>)>,
    pub(crate) saved: BTreeMap<String, Vec<u8>>,
}

/// Whether the log's end was cut off, and for which groups that is settled.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Cut {
    pub(crate) happened: bool,
    pub(crate) cleared: BTreeSet<Group>,
}

impl Cut {
    pub(crate) fn concerns(&self, group: Group) -> bool {
        self.happened && !self.cleared.contains(&group)
    }
}

/// How much of a segment is still needed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Use {
    pub(crate) live_entries: u64,
    pub(crate) live_bytes: u64,
    /// Of everything that was written into it.
    pub(crate) bytes: u64,
}

#[derive(Debug, Default)]
pub(crate) struct Index {
    groups: BTreeMap<Group, IndexedGroup>,
    pub(crate) cut: Cut,
    /// All segments that exist.
    pub(crate) segments: BTreeMap<u32, Use>,
}

#[derive(Debug, Default)]
struct IndexedGroup {
    entries: Runs,
    values: Values,
}

/// A record does not fit what came before it, which no writer of this log does.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Misfit(String);

impl Index {
    /// Takes a finished batch that was written at that offset of that segment.
    pub(crate) fn apply_batch(
        &mut self,
        batch: &Batch,
        segment: u32,
        at: u64,
    ) -> Result<(), Misfit> {
        let (head, body) = batch.as_bytes().split_at(BATCH_HEADER_BYTES);
        for found in records(body) {
            let found = found.ok_or_else(|| Misfit("a record makes no sense".to_owned()))?;
            self.apply(&found, segment, at + head.len() as u64)?;
        }
        let end = at + batch.len() as u64;
        self.segments.entry(segment).or_default().bytes = end;
        Ok(())
    }

    /// Takes one record of the batch whose body starts at `body` in that segment.
    pub(crate) fn apply(
        &mut self,
        found: &Found<'_>,
        segment: u32,
        body: u64,
    ) -> Result<(), Misfit> {
        match found.record {
            Record::Cut => {
                self.cut = Cut { happened: true, cleared: BTreeSet::new() };
                return Ok(());
            }
            Record::CutCleared => {
                if self.cut.happened {
                    self.cut.cleared.insert(found.group);
                }
                return Ok(());
            }
            _ => {}
        }
        let group = self.groups.entry(found.group).or_default();
        let segments = &mut self.segments;
        match found.record {
            Record::Entry(index, bytes) | Record::Copy(index, bytes) => {
                let is_copy = matches!(found.record, Record::Copy(..));
                if !is_copy && group.entries.last().is_some_and(|last| last >= index) {
                    let group = found.group;
                    return Err(Misfit(format!("entry {index} of group {group} is there twice")));
                }
                let misfit = |_| Misfit("an entry lies beyond 4 GiB".to_owned());
                let offset = u32::try_from(body + found.offset as u64).map_err(misfit)?;
                let bytes = u32::try_from(bytes.len()).map_err(misfit)?;
                let location = Location { segment, offset, bytes };
                let used = segments.entry(segment).or_default();
                used.live_entries += 1;
                used.live_bytes += location.record_bytes() as u64;
                if let Some(before) = group.entries.insert(index, location) {
                    forget(segments, before);
                }
            }
            Record::Truncate(from) => {
                group.entries.remove_from(from, |location| forget(segments, location));
            }
            Record::Purge(through, mark) => {
                group.entries.remove_through(through, |location| forget(segments, location));
                group.values.purged = Some((through, mark.to_vec()));
            }
            Record::Mark(through, mark) => group.values.purged = Some((through, mark.to_vec())),
            Record::Vote(vote) => group.values.vote = Some(vote.to_vec()),
            Record::Saved(name, value) => {
                group.values.saved.insert(name.to_owned(), value.to_vec());
            }
            Record::Cut | Record::CutCleared => {}
        }
        Ok(())
    }

    /// Whether every group's entries are dense, as they are once all records have been seen.
    pub(crate) fn check(&self) -> Result<(), Misfit> {
        for (number, group) in &self.groups {
            if group.entries.0.len() > 1 {
                let (first, run) = group.entries.0.first_key_value().expect("more than one");
                let missing = first + run.len() as u64;
                return Err(Misfit(format!("entry {missing} of group {number} is missing")));
            }
        }
        Ok(())
    }

    /// The groups, the first and last index of their entries, and their values.
    pub(crate) fn groups(
        &self,
    ) -> impl Iterator<Item = (Group, Option<(u64, u64)>, &Values)> + use<'_> {
        self.groups.iter().map(|(number, group)| {
            let bounds = group.entries.first().zip(group.entries.last());
            (*number, bounds, &group.values)
        })
    }

    pub(crate) fn locate(&self, group: Group, index: u64) -> Option<Location> {
        self.groups.get(&group)?.entries.at(index)
    }

    /// The places of the entries of a range, in order, as far as they are known.
    pub(crate) fn range(
        &self,
        group: Group,
        range: Range<u64>,
    ) -> impl Iterator<Item = (u64, Location)> + use<'_> {
        let entries = self.groups.get(&group).map(|group| &group.entries);
        entries.into_iter().flat_map(move |entries| entries.range(range.clone()))
    }

    /// The entries that are still needed of a segment, ascending.
    pub(crate) fn live_of(&self, segment: u32) -> Vec<(Group, u64)> {
        let mut live = Vec::new();
        for (number, group) in &self.groups {
            let all = group.entries.range(0..u64::MAX);
            let here = all.filter(|(_, location)| location.segment == segment);
            live.extend(here.map(|(index, _)| (*number, index)));
        }
        live
    }

    /// The first segment that must stay: the first with an entry that is needed, or the head.
    pub(crate) fn oldest_needed(&self, head: u32) -> u32 {
        let needed = self.segments.iter().find(|(_, used)| used.live_entries > 0);
        needed.map_or(head, |(number, _)| (*number).min(head))
    }

    /// The records that say everything but the entries.
    pub(crate) fn checkpoint(&self, mut push: impl FnMut(Group, Record<'_>)) {
        if self.cut.happened {
            push(0, Record::Cut);
            for group in &self.cut.cleared {
                push(*group, Record::CutCleared);
            }
        }
        for (number, group) in &self.groups {
            let values = &group.values;
            if let Some(vote) = &values.vote {
                push(*number, Record::Vote(vote));
            }
            if let Some((through, mark)) = &values.purged {
                push(*number, Record::Mark(*through, mark));
            }
            for (name, value) in &values.saved {
                push(*number, Record::Saved(name, value));
            }
        }
    }
}

fn forget(segments: &mut BTreeMap<u32, Use>, location: Location) {
    if let Some(used) = segments.get_mut(&location.segment) {
        used.live_entries -= 1;
        used.live_bytes -= location.record_bytes() as u64;
    }
}

/// Places by index: runs without holes, by their first index. A running log has at most one.
#[derive(Debug, Default)]
struct Runs(BTreeMap<u64, VecDeque<Location>>);

impl Runs {
    fn first(&self) -> Option<u64> {
        self.0.first_key_value().map(|(first, _)| *first)
    }

    fn last(&self) -> Option<u64> {
        self.0.last_key_value().map(|(first, run)| first + run.len() as u64 - 1)
    }

    fn at(&self, index: u64) -> Option<Location> {
        let (first, run) = self.0.range(..=index).next_back()?;
        run.get(usize::try_from(index - first).ok()?).copied()
    }

    /// Puts a place in and returns the one that it replaces.
    fn insert(&mut self, index: u64, location: Location) -> Option<Location> {
        let following = index.checked_add(1).and_then(|next| self.0.remove(&next));
        let before = self.0.range_mut(..=index).next_back();
        let Some((first, run)) = before else {
            self.start(index, location, following);
            return None;
        };
        let at = usize::try_from(index - first).unwrap_or(usize::MAX);
        if let Some(place) = run.get_mut(at) {
            debug_assert!(following.is_none(), "runs do not overlap");
            return Some(std::mem::replace(place, location));
        }
        if at == run.len() {
            run.push_back(location);
            run.extend(following.into_iter().flatten());
        } else {
            self.start(index, location, following);
        }
        None
    }

    fn start(&mut self, index: u64, location: Location, following: Option<VecDeque<Location>>) {
        let mut run = following.unwrap_or_default();
        run.push_front(location);
        self.0.insert(index, run);
    }

    fn remove_from(&mut self, from: u64, mut gone: impl FnMut(Location)) {
        let runs = self.0.split_off(&from);
        runs.into_values().flatten().for_each(&mut gone);
        if let Some((first, run)) = self.0.last_key_value() {
            let stays = usize::try_from(from - first).unwrap_or(usize::MAX).min(run.len());
            let run = self.0.values_mut().next_back().expect("it was just seen");
            run.drain(stays..).for_each(gone);
            if run.capacity() > 64 && run.len() < run.capacity() / 4 {
                run.shrink_to(run.len() * 2);
            }
        }
    }

    fn remove_through(&mut self, through: u64, mut gone: impl FnMut(Location)) {
        let after = through.saturating_add(1);
        while let Some((first, mut run)) = self.0.pop_first() {
            if first >= after {
                self.0.insert(first, run);
                return;
            }
            let count = usize::try_from(after - first).unwrap_or(usize::MAX).min(run.len());
            run.drain(..count).for_each(&mut gone);
            if !run.is_empty() {
                if run.len() < run.capacity() / 4 {
                    run.shrink_to(run.len() * 2);
                }
                self.0.insert(first + count as u64, run);
                return;
            }
        }
    }

    fn range(&self, range: Range<u64>) -> impl Iterator<Item = (u64, Location)> + use<'_> {
        let start = self.0.range(..=range.start).next_back().map_or(range.start, |(at, _)| *at);
        let runs = self.0.range(start..range.end.max(start));
        runs.flat_map(move |(first, run)| {
            let skip = range.start.saturating_sub(*first);
            let count = usize::try_from(skip).unwrap_or(usize::MAX).min(run.len());
            let places = run.range(count..).copied();
            let end = range.end;
            let indexed = (first + count as u64..=u64::MAX).zip(places);
            indexed.take_while(move |(index, _)| *index < end)
        })
    }
}

#[cfg(test)]
#[path = "segment_index_tests.rs"]
mod tests;
