//! Runs: one backup of a whole cluster each, in a folder of a store that is named by cluster, time
//! and maker. A run has a file for each shard, and a *manifest*, which is written last, once all of
//! them were read back: a run without one is *half*, whatever else is there.
//!
//! ```text
//! main_20261123T193000.250Z_nd_1/sh_0.entries
//!                                sh_0.backup
//!                                sh_1.entries
//!                                sh_1.backup
//!                                manifest.json
//! ```
//!
//! A shard's entries go on where those of the run before ended, so that between two runs every
//! index can be had ([`crate::backup::line`]).
//!
//! How many data shards a run has is what the directory's state in it says: those that are made
//! while it is are in the next, unless a site moves there meanwhile. A shard that has no beginning
//! by then has nothing to keep, and no file; whoever restores the run begins it.

use std::collections::BTreeMap;
use std::fmt;
use std::io::{BufReader, Read as _};

use rotary_proto::{ShardId, Wall};

use crate::backup::check::{Checked, walk};
use crate::backup::entries::{self, Enough, Found};
use crate::backup::failure::BackupFailure;
use crate::backup::line::{Line, Link};
use crate::backup::manifest::{
    EntryMark, Kept, MANIFEST, MANIFEST_BYTES_MAX, Maker, Manifest, RunName, Taken,
};
use crate::backup::pace::{Pace, Paced};
use crate::backup::places::{Judged, Places};
use crate::backup::store::Store;
use crate::gateway::token::unix_ms;

impl RunName {
    /// A run that is begun at this moment.
    pub(crate) fn begun(cluster: &str, maker: Maker) -> Self {
        Self { wall: Wall(unix_ms()), cluster: cluster.to_owned(), maker }
    }
}

/// A run as a list of the store has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Run {
    pub(crate) name: RunName,
    /// The files of its folder, and their bytes.
    pub(crate) files: BTreeMap<String, u64>,
}

impl Run {
    /// Whether it was finished.
    pub(crate) fn is_complete(&self) -> bool {
        self.files.contains_key(MANIFEST)
    }

    /// What it holds, by its manifest, and as far as the list says so.
    ///
    /// # Errors
    /// What is wrong with it; a run that is half.
    pub(crate) fn manifest(&self, store: &dyn Store) -> Result<Manifest, BackupFailure> {
        let name = format!("{}/{MANIFEST}", self.name);
        let wrong = |what: String| of_object(store, &name, what);
        if !self.is_complete() {
            return Err(wrong("the run was not finished: take another, or make one".to_owned()));
        }
        let mut bytes = Vec::new();
        let read = store.read(&name)?.take(MANIFEST_BYTES_MAX + 1).read_to_end(&mut bytes);
        read.map_err(|error| wrong(error.to_string()))?;
        let manifest = Manifest::parse(&bytes).map_err(wrong)?;
        if manifest.cluster != self.name.cluster {
            return Err(wrong(format!("it is of the cluster {}", manifest.cluster)));
        }
        for kept in &manifest.shards {
            let log = kept.log.as_ref().map(|log| (entries_of(kept.shard), log.bytes));
            for (file, bytes) in log.into_iter().chain([(file_of(kept.shard), kept.bytes)]) {
                let found = self.files.get(&file);
                if found != Some(&bytes) {
                    let there = |bytes| format!("there with {bytes} bytes");
                    let there = found.map_or("not there".to_owned(), there);
                    let what = format!("it names {file} with {bytes} bytes, which is {there}");
                    return Err(wrong(what));
                }
            }
        }
        Ok(manifest)
    }

    /// Takes it out of the store: the manifest first, so that what is left of it is half.
    ///
    /// # Errors
    /// What the store says.
    pub(crate) fn remove(&self, store: &dyn Store) -> Result<(), BackupFailure> {
        let others = self.files.keys().map(String::as_str).filter(|file| *file != MANIFEST);
        for file in self.is_complete().then_some(MANIFEST).into_iter().chain(others) {
            store.remove(&format!("{}/{file}", self.name))?;
        }
        Ok(())
    }
}

/// The file of a shard.
pub(crate) fn file_of(shard: ShardId) -> String {
    format!("{shard}.backup")
}

/// The file of its entries.
pub(crate) fn entries_of(shard: ShardId) -> String {
    format!("{shard}.entries")
}

/// What is wrong with an object.
pub(crate) fn of_object(store: &dyn Store, name: &str, what: impl fmt::Display) -> BackupFailure {
    BackupFailure::Wrong(format!("{}/{name}: {what}", store.name()))
}

/// Every run of a store, the oldest first. What else is there is nobody's business.
///
/// # Errors
/// What the store says.
pub(crate) fn runs(store: &dyn Store) -> Result<Vec<Run>, BackupFailure> {
    runs_within(store, None)
}

/// The same, or that one alone.
fn runs_within(store: &dyn Store, only: Option<&RunName>) -> Result<Vec<Run>, BackupFailure> {
    let mut found: BTreeMap<RunName, BTreeMap<String, u64>> = BTreeMap::new();
    let objects = match only {
        None => store.list()?,
        Some(run) => store.list_of(&run.to_string())?,
    };
    for object in objects {
        let Some((run, file)) = object.name.split_once('/') else { continue };
        let Ok(name) = run.parse::<RunName>() else { continue };
        found.entry(name).or_default().insert(file.to_owned(), object.bytes);
    }
    Ok(found.into_iter().map(|(name, files)| Run { name, files }).collect())
}

/// The run of that name, or the newest that was finished.
///
/// # Errors
/// Where there is none, or there are runs of several clusters and nobody says which.
pub(crate) fn choose(store: &dyn Store, wanted: Option<&RunName>) -> Result<Run, BackupFailure> {
    let mut found = runs_within(store, wanted)?;
    if let Some(wanted) = wanted {
        let run = found.into_iter().find(|run| run.name == *wanted);
        return run.ok_or_else(|| {
            let what = format!("there is no {wanted}: `rotary backup list` shows what there is");
            BackupFailure::Wrong(format!("{}: {what}", store.name()))
        });
    }
    found.retain(Run::is_complete);
    let newest = found.pop().ok_or_else(|| {
        BackupFailure::Wrong(format!("{}: no finished backup is there", store.name()))
    })?;
    if let Some(other) = found.iter().find(|run| run.name.cluster != newest.name.cluster) {
        let (one, two) = (&newest.name.cluster, &other.name.cluster);
        return Err(BackupFailure::Wrong(format!(
            "{}: it has backups of {one} and of {two}: say which with --run",
            store.name()
        )));
    }
    Ok(newest)
}

/// Reads a shard's file from end to end, and hears where it has sites.
///
/// # Errors
/// What is wrong with it.
pub(super) fn look_at(
    store: &dyn Store,
    run: &RunName,
    shard: ShardId,
    (places, pace): (&mut Places, &mut Pace),
) -> Result<Checked, BackupFailure> {
    let name = format!("{run}/{}", file_of(shard));
    let wrong = |what: &dyn fmt::Display| of_object(store, &name, what);
    let paced = Paced { from: store.read(&name)?, pace };
    let found = walk(BufReader::new(paced), places).map_err(|error| wrong(&error))?;
    if (found.shard, &found.cluster) != (shard, &run.cluster) {
        let Checked { shard, cluster, .. } = &found;
        return Err(wrong(&format_args!("it is {shard} of the cluster {cluster}")));
    }
    Ok(found)
}

/// Reads a shard's entries from end to end.
///
/// # Errors
/// What is wrong with them.
pub(super) fn look_at_entries(
    store: &dyn Store,
    run: &RunName,
    shard: ShardId,
    pace: &mut Pace,
) -> Result<Found, BackupFailure> {
    let paced = Paced { from: open_entries(store, run, shard)?, pace };
    let name = format!("{run}/{}", entries_of(shard));
    let found = entries::walk(BufReader::new(paced), |_| Ok(Enough::No));
    let found = found.map_err(|error| of_object(store, &name, error))?;
    if (found.head.shard, &found.head.cluster) != (shard, &run.cluster) {
        let (shard, cluster) = (found.head.shard, &found.head.cluster);
        return Err(of_object(store, &name, format!("it is {shard} of the cluster {cluster}")));
    }
    Ok(found)
}

/// The file of a shard's entries.
///
/// # Errors
/// What the store says.
pub(crate) fn open_entries(
    store: &dyn Store,
    run: &RunName,
    shard: ShardId,
) -> Result<Box<dyn std::io::Read + Send>, BackupFailure> {
    Ok(store.read(&format!("{run}/{}", entries_of(shard)))?)
}

/// Reads the files of a run from end to end, and compares them with its manifest, and what they say
/// of where sites are with each other.
///
/// # Errors
/// What is wrong with one.
pub(crate) fn verify(store: &dyn Store, run: &Run) -> Result<Vec<Checked>, BackupFailure> {
    let manifest = run.manifest(store)?;
    let data_shards = manifest.data_shards();
    let mut places = Places::default();
    let mut verified = |kept: &Kept| {
        let differs = |file: String| {
            let name = format!("{}/{file}", run.name);
            of_object(store, &name, "it is not what the manifest says")
        };
        if let Some(log) = &kept.log {
            let found = look_at_entries(store, &run.name, kept.shard, &mut Pace::of(0))?;
            if taken(&found, log.previous.clone(), log.bytes) != *log {
                return Err(differs(entries_of(kept.shard)));
            }
        }
        let with = (&mut places, &mut Pace::of(0));
        let found = look_at(store, &run.name, kept.shard, with)?;
        let is_counted = found.data_shards.as_ref().is_none_or(|found| *found == data_shards);
        if kept_of(&found, kept.bytes, kept.log.clone()) != *kept || !is_counted {
            return Err(differs(file_of(kept.shard)));
        }
        Ok(found)
    };
    let found = manifest.shards.iter().map(&mut verified).collect::<Result<_, _>>()?;
    match judge(&places, &run.name).wrong() {
        Some(what) => Err(of_object(store, &run.name.to_string(), what)),
        None => Ok(found),
    }
}

/// What a run says of where sites are. What the directory lost of them it cannot be asked for again
/// where no majority is left.
pub(super) fn judge(places: &Places, run: &RunName) -> Judged {
    let mut judged = places.judge();
    if run.maker == Maker::Recovery {
        judged.unknown.clear();
    }
    judged
}

pub(super) fn kept_of(found: &Checked, bytes: u64, log: Option<Taken>) -> Kept {
    let Checked { shard, index, sites, records, files, made, .. } = *found;
    Kept { shard, index, sites: sites as u64, records, files, bytes, made, log }
}

pub(super) fn taken(found: &Found, previous: Option<RunName>, bytes: u64) -> Taken {
    let (head, latest) = (&found.head, found.latest);
    let (after, through) = (head.after, head.through);
    let last = EntryMark { term: head.term, sum: head.sum };
    let previous = previous.filter(|_| head.goes_on);
    Taken { previous, after, through, last, bytes, latest, until: head.wall }
}

/// The runs of a store whose manifests were read: each is read once.
pub(crate) struct Lines<'a> {
    store: &'a dyn Store,
    runs: Vec<Run>,
    read: BTreeMap<RunName, Option<Manifest>>,
}

impl<'a> Lines<'a> {
    /// Of all that a store has.
    ///
    /// # Errors
    /// What the store says.
    pub(crate) fn of(store: &'a dyn Store) -> Result<Self, BackupFailure> {
        Ok(Self { store, runs: runs(store)?, read: BTreeMap::new() })
    }

    /// A run's manifest; `None` where there is no such run, or something is wrong with it.
    fn manifest(&mut self, name: &RunName) -> Result<Option<&Manifest>, BackupFailure> {
        if !self.read.contains_key(name) {
            let run = self.runs.iter().find(|run| run.name == *name && run.is_complete());
            let manifest = match run.map(|run| run.manifest(self.store)) {
                Some(Err(BackupFailure::Wrong(what))) => {
                    tracing::debug!(what, "a run is broken");
                    None
                }
                read => read.transpose()?,
            };
            self.read.insert(name.clone(), manifest);
        }
        Ok(self.read.get(name).and_then(Option::as_ref))
    }

    /// What a run and those before it have of a shard, as far as each goes on from another that
    /// is there.
    ///
    /// # Errors
    /// What the store says.
    pub(crate) fn line(&mut self, run: &RunName, shard: ShardId) -> Result<Line, BackupFailure> {
        let (mut links, mut next) = (Vec::new(), Some(run.clone()));
        while let Some(run) = next.take() {
            let Some(manifest) = self.manifest(&run)? else { break };
            let kept = manifest.shards.iter().find(|kept| kept.shard == shard);
            let Some(Kept { index, made, log, .. }) = kept.cloned() else { break };
            let (mut after, mut through, mut latest, mut until) = (index, index, Wall(0), made);
            if let Some(log) = log {
                (after, through, latest, until) = (log.after, log.through, log.latest, log.until);
                // Each is older than the one that goes on from it, so that this ends.
                next = log.previous.filter(|before| *before < run);
            }
            links.push(Link { run, index, made, after, through, latest, until });
        }
        links.reverse();
        Ok(Line::of(links))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use std::io::Write as _;

    use super::*;
    use crate::backup::manifest::FORM;
    use crate::backup::store::{Access, open};

    fn name(text: &str) -> RunName {
        text.parse().expect("a name")
    }

    fn put(store: &dyn Store, name: &str, text: &str) {
        let mut file = store.write(name).expect("begun");
        file.write_all(text.as_bytes()).expect("writable");
        file.finish().expect("finished");
    }

    fn manifest(bytes: u64) -> Manifest {
        let kept = |shard| {
            let (shard, made, log) = (ShardId(shard), Wall(9), None);
            Kept { shard, index: 3, sites: 0, records: 0, files: 0, bytes, made, log }
        };
        let (cluster, shards) = ("main".to_owned(), vec![kept(0), kept(1)]);
        Manifest { form: FORM, cluster, ms: 1, shards, not_begun: BTreeSet::new() }
    }

    #[test]
    fn a_run_counts_once_its_manifest_is_there_and_fits() {
        let folder = tempfile::tempdir().expect("a folder");
        let store = open(folder.path().to_str().expect("plain"), &Access::default());
        let store = store.expect("a folder");
        let (old, new) = ("main_20261123T193000.250Z_hand", "main_20261123T203000.250Z_nd_1");
        for run in [old, new] {
            put(&*store, &format!("{run}/sh_0.backup"), "four");
            put(&*store, &format!("{run}/sh_1.backup"), "four");
        }
        put(&*store, "notes/else", "of somebody");
        let none = choose(&*store, None).expect_err("both are half").to_string();
        assert!(none.contains("no finished backup"), "{none}");
        let text = serde_json::to_string(&manifest(4)).expect("JSON");
        put(&*store, &format!("{old}/{MANIFEST}"), &text);
        let chosen = choose(&*store, None).expect("one is whole");
        assert_eq!((chosen.name.to_string().as_str(), chosen.files.len()), (old, 3));
        assert_eq!(chosen.manifest(&*store).expect("it fits"), manifest(4));
        let text = serde_json::to_string(&manifest(5)).expect("JSON");
        put(&*store, &format!("{new}/{MANIFEST}"), &text);
        let wrong = choose(&*store, None).expect("the newest").manifest(&*store);
        let wrong = wrong.expect_err("other sizes").to_string();
        assert!(wrong.contains("sh_0.backup with 5 bytes, which is there with 4"), "{wrong}");
        choose(&*store, Some(&name(new))).expect("there").remove(&*store).expect("removable");
        assert_eq!(runs(&*store).expect("listed").len(), 1);
        let other = "blue_20261123T213000.250Z_hand";
        put(&*store, &format!("{other}/{MANIFEST}"), "{}");
        let which = choose(&*store, None).expect_err("of two").to_string();
        assert!(which.contains("of blue and of main: say which with --run"), "{which}");
    }
}
