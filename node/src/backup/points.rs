//! To which index each shard of a run is brought: as the run has it, at an index that somebody
//! names, or before a moment.

use std::collections::{BTreeMap, BTreeSet};
use std::io::BufReader;

use rotary_proto::{ShardId, Wall};

use crate::backup::entries::{self, Enough, wall_of};
use crate::backup::failure::BackupFailure;
use crate::backup::line::{Cut, Line, Place, Points};
use crate::backup::manifest::{DataShards, Manifest};
use crate::backup::run::{Lines, Run, entries_of, file_of, of_object, open_entries};
use crate::backup::store::Store;
use crate::replica::DIRECTORY;

/// What somebody wants back.
#[derive(Debug, Clone, Default)]
pub(crate) struct Wanted {
    /// Everything before this moment, of each shard that is not named.
    pub(crate) before: Option<Wall>,
    /// Everything up to an index.
    pub(crate) indexes: BTreeMap<ShardId, u64>,
}

/// Finds how shards of a run are brought to where they are wanted.
pub(crate) struct Finding<'a> {
    store: &'a dyn Store,
    run: &'a Run,
    manifest: Manifest,
    lines: Lines<'a>,
    wanted: &'a Wanted,
}

impl<'a> Finding<'a> {
    /// In the line of a run.
    ///
    /// # Errors
    /// What is wrong with the run; what the store says.
    pub(crate) fn of(
        store: &'a dyn Store,
        run: &'a Run,
        wanted: &'a Wanted,
    ) -> Result<Self, BackupFailure> {
        // What is wrong with the run itself is said, and not passed over.
        let manifest = run.manifest(store)?;
        Ok(Self { store, run, manifest, lines: Lines::of(store)?, wanted })
    }

    /// Of the directory, which says what data shards there are.
    ///
    /// # Errors
    /// A point that nothing leads to, and which are nearest.
    pub(crate) fn directory(&mut self) -> Result<Cut, BackupFailure> {
        self.cut(DIRECTORY)
    }

    /// Of each data shard that had something in it by the directory as it is brought back.
    ///
    /// # Errors
    /// A shard that is not there; a point that nothing leads to, and which are nearest.
    pub(crate) fn data_shards(
        &mut self,
        data_shards: &DataShards,
    ) -> Result<Vec<(ShardId, Cut)>, BackupFailure> {
        let is_kept = self.wanted.before.is_none() && !self.wanted.indexes.contains_key(&DIRECTORY);
        if is_kept && *data_shards != self.manifest.data_shards() {
            let name = format!("{}/{}", self.run.name, file_of(DIRECTORY));
            let what = "it has other data shards than the manifest says";
            return Err(of_object(self.store, &name, what));
        }
        let begun: BTreeSet<ShardId> = data_shards.begun().collect();
        let mut named = self.wanted.indexes.keys().filter(|shard| **shard != DIRECTORY);
        if let Some(unknown) = named.find(|shard| !begun.contains(shard)) {
            let (run, count) = (&self.run.name, data_shards.count);
            let what = if unknown.0 > count {
                format!("{unknown} is not in {run}, whose directory has {count} shards then")
            } else {
                format!("{unknown} is not in {run}: nothing was in it then")
            };
            return Err(BackupFailure::Wrong(what));
        }
        begun.into_iter().map(|shard| Ok((shard, self.cut(shard)?))).collect()
    }

    fn cut(&mut self, shard: ShardId) -> Result<Cut, BackupFailure> {
        let line = self.lines.line(&self.run.name, shard)?;
        let wrong = |what: String| BackupFailure::Wrong(format!("{shard}: {what}"));
        let index = match (self.wanted.indexes.get(&shard), self.wanted.before) {
            (Some(index), _) => *index,
            (None, Some(before)) => before_moment(self.store, &line, shard, before)?,
            (None, None) => {
                let unknown = || wrong(format!("{} does not have it", self.run.name));
                return self.as_kept(shard).ok_or_else(unknown);
            }
        };
        line.cut(index).map_err(wrong)
    }

    fn as_kept(&self, shard: ShardId) -> Option<Cut> {
        let kept = self.manifest.shards.iter().find(|kept| kept.shard == shard)?;
        let (index, base, runs) = (kept.index, self.run.name.clone(), Vec::new());
        Some(Cut { index, base, base_index: index, runs })
    }
}

/// The last index before a moment.
fn before_moment(
    store: &dyn Store,
    line: &Line,
    shard: ShardId,
    before: Wall,
) -> Result<u64, BackupFailure> {
    let wrong = |what: String| BackupFailure::Wrong(format!("{shard}: {what}"));
    match line.moment(before).map_err(wrong)? {
        Place::Behind(index) => Ok(index),
        Place::Within(run) => {
            let mut found = None;
            let file = BufReader::new(open_entries(store, &run, shard)?);
            let name = format!("{run}/{}", entries_of(shard));
            let wrong = |what: &dyn std::fmt::Display| of_object(store, &name, what);
            let walked = entries::walk(file, |entry| {
                let is_later = wall_of(&entry).is_some_and(|wall| wall >= before);
                found = is_later.then_some(entry.index - 1);
                Ok(if is_later { Enough::Yes } else { Enough::No })
            });
            walked.map_err(|error| wrong(&error))?;
            found.ok_or_else(|| wrong(&"it is not what the manifest says"))
        }
    }
}

/// The points that each shard of a run can be brought back to.
///
/// # Errors
/// What the store says; what is wrong with the run.
pub(crate) fn points(
    store: &dyn Store,
    run: &Run,
) -> Result<Vec<(ShardId, Vec<Points>)>, BackupFailure> {
    let manifest = run.manifest(store)?;
    let mut lines = Lines::of(store)?;
    let of = |shard| Ok((shard, lines.line(&run.name, shard)?.points()));
    manifest.shards.iter().map(|kept| kept.shard).map(of).collect()
}
