//! A run of backups as it is made: shard by shard, the directory's first, each read back before it
//! counts.
//!
//! Sites move meanwhile. Once every shard was taken, what they say of where sites are is held
//! against each other ([`crate::backup::places`]), and those that are behind are taken again, until
//! every site is in the run once.

use std::collections::{BTreeMap, VecDeque};
use std::io::{self, Write as _};
use std::sync::Arc;

use bytes::Bytes;
use futures::{Stream, StreamExt as _, pin_mut};
use rotary_proto::ShardId;

use crate::backup::check::Checked;
use crate::backup::entries;
use crate::backup::failure::BackupFailure;
use crate::backup::manifest::{DataShards, FORM, Kept, MANIFEST, Maker, Manifest, RunName, Taken};
use crate::backup::pace::Pace;
use crate::backup::places::Places;
use crate::backup::run::{
    Run, entries_of, file_of, judge, kept_of, look_at, look_at_entries, of_object, runs, taken,
};
use crate::backup::store::{Store, Writing};
use crate::blocking;
use crate::gateway::token::unix_ms;
use crate::replica::DIRECTORY;

/// How often shards of a run are looked at whether some have to be taken again.
const ROUNDS_MAX: u32 = 8;

/// A run that is being made, the directory's files first.
pub(crate) struct Making {
    store: Arc<dyn Store>,
    name: RunName,
    begun: u64,
    /// The run that it goes on from, and what that one has.
    before: Option<(RunName, Manifest)>,
    logs: BTreeMap<ShardId, Taken>,
    shards: BTreeMap<ShardId, Kept>,
    /// As the directory's file says.
    data_shards: DataShards,
    /// Where the files have sites.
    places: Places,
    /// The shards that are to be taken next, and how often some had to be taken again.
    due: VecDeque<ShardId>,
    rounds: u32,
}

/// A file of a store that is being written. The store's calls block, also the one that gives up
/// what was begun, so whatever becomes of the writer, no thread that serves waits for them.
struct Held(Option<File>);

type File = Box<dyn Writing>;

impl Held {
    /// Does something with it where that delays nobody.
    async fn doing(
        mut self,
        what: impl FnOnce(File) -> io::Result<Option<File>> + Send + 'static,
    ) -> io::Result<Self> {
        let file = self.0.take().expect("it is there until it is finished");
        let done = blocking::run(move || what(file)).await.map_err(io::Error::other)?;
        Ok(Self(done?))
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let Some(file) = self.0.take() else { return };
        match tokio::runtime::Handle::try_current() {
            Ok(runtime) => drop(runtime.spawn_blocking(move || drop(file))),
            // Nobody is served here.
            Err(_) => drop(file),
        }
    }
}

impl Making {
    /// Begins one, of nothing.
    pub(crate) fn begin(store: Arc<dyn Store>, name: RunName) -> Self {
        let (before, logs, shards) = (None, BTreeMap::new(), BTreeMap::new());
        let (begun, data_shards) = (name.wall.0, DataShards::default());
        let (places, due, rounds) = (Places::default(), VecDeque::from([DIRECTORY]), 0);
        Self { store, begun, name, before, logs, shards, data_shards, places, due, rounds }
    }

    /// The shard to be taken next; none, once there is nothing but to finish. One that was taken is
    /// taken again where it is behind others in where sites are, since they move meanwhile.
    ///
    /// # Errors
    /// In words, if that does not come to an end.
    pub(crate) fn next(&mut self) -> Result<Option<ShardId>, BackupFailure> {
        if self.due.is_empty() {
            let judged = judge(&self.places, &self.name);
            self.due.extend(judged.later());
            self.rounds += 1;
            if let Some(what) = judged.wrong().filter(|_| self.rounds > ROUNDS_MAX) {
                return Err(BackupFailure::Wrong(format!(
                    "{}: sites moved all the time: {what}; try again when `rotary site ls` shows \
                     none on its way",
                    self.name
                )));
            }
        }
        Ok(self.due.pop_front())
    }

    /// Why nothing can be made from it, if it is finished as it is: what shards say of where sites
    /// are does not fit together.
    pub(crate) fn unfit(&self) -> Option<String> {
        judge(&self.places, &self.name).wrong()
    }

    /// Whether shards are taken again.
    pub(crate) fn is_again(&self) -> bool {
        self.rounds > 0
    }

    /// Has it go on from the newest run of the cluster that is there. Blocks.
    ///
    /// # Errors
    /// What the store says. A run that lacks something is passed over.
    pub(crate) fn go_on(mut self) -> Result<Self, BackupFailure> {
        let is_before = |run: &Run| {
            let RunName { cluster, maker, .. } = &run.name;
            *cluster == self.name.cluster && *maker != Maker::Recovery && run.name < self.name
        };
        for run in runs(&*self.store)?.into_iter().rev().filter(Run::is_complete) {
            if !is_before(&run) {
                continue;
            }
            match run.manifest(&*self.store) {
                Ok(manifest) => {
                    self.before = Some((run.name, manifest));
                    break;
                }
                Err(BackupFailure::Wrong(what)) => tracing::debug!(what, "a run is broken"),
                Err(error) => return Err(error),
            }
        }
        Ok(self)
    }

    /// The last entry of a shard that the run before has.
    pub(crate) fn known(&self, shard: ShardId) -> Option<entries::Known> {
        let (_, manifest) = self.before.as_ref()?;
        let kept = manifest.shards.iter().find(|kept| kept.shard == shard)?;
        kept.log.as_ref().map(entries::Known::from)
    }

    /// The data shards that are to have a file, once the directory's was read back.
    pub(crate) fn wanted(&self) -> Vec<ShardId> {
        self.data_shards.begun().collect()
    }

    /// Writes a shard's bytes into the store, no faster than a pace; how many there are.
    ///
    /// # Errors
    /// What the store says, or the stream; then there is no such file.
    pub(crate) async fn fill(
        &self,
        shard: ShardId,
        stream: impl Stream<Item = Result<Bytes, String>>,
        pace: &mut Pace,
    ) -> Result<u64, BackupFailure> {
        self.write((shard, file_of(shard)), stream, pace).await
    }

    /// Writes its entries. They come before, since what the others begin with lets the log forget.
    ///
    /// # Errors
    /// What the store says, or the stream; then there is no such file.
    pub(crate) async fn fill_entries(
        &self,
        shard: ShardId,
        stream: impl Stream<Item = Result<Bytes, String>>,
        pace: &mut Pace,
    ) -> Result<u64, BackupFailure> {
        self.write((shard, entries_of(shard)), stream, pace).await
    }

    async fn write(
        &self,
        (shard, file): (ShardId, String),
        stream: impl Stream<Item = Result<Bytes, String>>,
        pace: &mut Pace,
    ) -> Result<u64, BackupFailure> {
        let of_shard = |what: String| BackupFailure::Wrong(format!("{shard}: {what}"));
        let failed = |error: io::Error| of_shard(error.to_string());
        let (store, name) = (self.store.clone(), format!("{}/{file}", self.name));
        let begun = blocking::run(move || store.write(&name)).await;
        let mut file = Held(Some(begun.map_err(|error| of_shard(error.to_string()))??));
        let mut written = 0;
        pin_mut!(stream);
        while let Some(piece) = stream.next().await {
            let piece = match piece {
                Ok(piece) => piece,
                Err(what) => {
                    // What was begun is gone when this returns.
                    file.doing(|file| {
                        drop(file);
                        Ok(None)
                    })
                    .await
                    .map_err(failed)?;
                    return Err(of_shard(what));
                }
            };
            let bytes = piece.len() as u64;
            let write = move |mut file: File| file.write_all(&piece).map(|()| Some(file));
            file = file.doing(write).await.map_err(failed)?;
            written += bytes;
            tokio::time::sleep(pace.pause(bytes)).await;
        }
        file.doing(|file| file.finish().map(|()| None)).await.map_err(failed)?;
        Ok(written)
    }

    /// Reads a shard's entries back, which were finished with so many bytes, no faster than a
    /// pace. Blocks for as long.
    ///
    /// # Errors
    /// What is wrong with them.
    pub(crate) fn prove_entries(
        &mut self,
        shard: ShardId,
        bytes: u64,
        pace: &mut Pace,
    ) -> Result<(), BackupFailure> {
        let found = look_at_entries(&*self.store, &self.name, shard, pace)?;
        let previous = self.known(shard).and(self.before.as_ref()).map(|(run, _)| run.clone());
        self.logs.insert(shard, taken(&found, previous, bytes));
        Ok(())
    }

    /// Reads a shard's file back, which was finished with so many bytes.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(crate) fn prove(&mut self, shard: ShardId, bytes: u64) -> Result<Checked, BackupFailure> {
        self.prove_at(shard, bytes, &mut Pace::of(0))
    }

    /// The same, no faster than a pace. Blocks for as long.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(crate) fn prove_at(
        &mut self,
        shard: ShardId,
        bytes: u64,
        pace: &mut Pace,
    ) -> Result<Checked, BackupFailure> {
        let found = look_at(&*self.store, &self.name, shard, (&mut self.places, pace))?;
        if let Some(data_shards) = &found.data_shards {
            self.data_shards.clone_from(data_shards);
            let is_new =
                |shard: &ShardId| !self.shards.contains_key(shard) && !self.due.contains(shard);
            let new: Vec<ShardId> = data_shards.begun().filter(is_new).collect();
            self.due.extend(new);
        }
        self.shards.insert(shard, kept_of(&found, bytes, self.logs.remove(&shard)));
        Ok(found)
    }

    /// Writes the manifest, with which it is a backup.
    ///
    /// # Errors
    /// What the store says.
    pub(crate) fn finish(self) -> Result<(RunName, Manifest), BackupFailure> {
        let (cluster, ms) = (self.name.cluster.clone(), unix_ms().saturating_sub(self.begun));
        let not_begun = self.data_shards.not_begun.clone();
        let shards = self.shards.into_values().collect();
        let manifest = Manifest { form: FORM, cluster, ms, shards, not_begun };
        if manifest.data_shards() != self.data_shards {
            let what = "not every shard that the directory names was written";
            return Err(BackupFailure::Wrong(format!("{}: {what}", self.name)));
        }
        let text = serde_json::to_vec_pretty(&manifest);
        let text = text.expect("numbers and a name have a form in JSON");
        Manifest::parse(&text).map_err(BackupFailure::Wrong)?;
        let name = format!("{}/{MANIFEST}", self.name);
        let wrong = |error: std::io::Error| of_object(&*self.store, &name, error);
        let mut file = self.store.write(&name)?;
        file.write_all(&text).map_err(wrong)?;
        file.finish().map_err(wrong)?;
        Ok((self.name, manifest))
    }
}

#[cfg(test)]
#[path = "making_tests.rs"]
mod tests;
