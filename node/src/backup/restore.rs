//! Makes the data directories of a new cluster from backups of every shard of an old one.
//!
//! Every core node gets the same: the state, as a snapshot that the shard begins with; the journal
//! before it; and the files. What the old cluster's nodes were is left out: the new one's keep the
//! shards from here on, and its own log goes on behind the snapshot. What is begun and not finished
//! does not start ([`rotary_storage::DataDir`]).
//!
//! Where a shard is wanted as of a later index than a snapshot's, the entries from there are
//! carried out first ([`crate::backup::replay`]), and what they record goes behind the journal: the
//! new cluster's snapshot is as of that index, and nothing of it is later.
//!
//! The directory's state is planted last, once every site was found in the shards exactly once
//! ([`crate::backup::places`]), and says where they are.

use std::collections::BTreeSet;
use std::io::{self, BufReader};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rotary_directory::Directory;
use rotary_log::{LogStores, OfflineEntry, Place, encode_base, plant};
use rotary_proto::{NodeId, ShardId};
use rotary_storage::{
    BackupFrames, BlobUse, BlobWriter, Blobs, DataDir, Journal, JournalBase, JournalChunk,
};

use crate::backup::check::{BackupError, Checked, State, Taker, walk};
use crate::backup::entries::{self, Enough};
use crate::backup::failure::{BackupFailure, of_file};
use crate::backup::format::{self, BlobHead, Frame, Head};
use crate::backup::line::Cut;
use crate::backup::manifest::{DataShards, RunName};
use crate::backup::places::Places;
use crate::backup::points::{Finding, Wanted};
use crate::backup::replay::{Machine, Replay};
use crate::backup::run::{Run, choose, entries_of, file_of, judge, of_object, open_entries};
use crate::backup::store::Store;
use crate::config::{Config, Role};
use crate::gateway::token::unix_ms;
use crate::machine::site::records;
use crate::replica::DIRECTORY;
use crate::server::{self, Disks};

/// A node that is filled.
struct Target {
    node: NodeId,
    data: DataDir,
    stores: LogStores,
    journal: Journal,
    blobs: Arc<Blobs>,
}

/// Makes sure that each shard's file is what its name says.
fn expect_shards(
    store: &dyn Store,
    cluster: &str,
    cuts: &[(ShardId, Cut)],
) -> Result<(), BackupFailure> {
    for (wanted, cut) in cuts {
        let name = format!("{}/{}", cut.base, file_of(*wanted));
        let wrong = |what: &dyn std::fmt::Display| of_object(store, &name, what);
        let first = format::next(&mut BackupFrames::of(BufReader::new(store.read(&name)?)));
        let Some(Frame::Head(head)) = first.map_err(|error| wrong(&error))? else {
            return Err(wrong(&"it does not say whose it is"));
        };
        let Head { cluster: of, shard, index, .. } = head;
        if (shard, index, of.as_str()) != (*wanted, cut.base_index, cluster) {
            return Err(wrong(&format_args!("it is {shard} at {index} of the cluster {of}")));
        }
    }
    Ok(())
}

/// Fills the core nodes of a new cluster's folder, which never ran, with a run, or with what was
/// before it; `told` hears of each shard.
///
/// # Errors
/// What is wrong with the backups or the folder; then the nodes do not start. A point that nothing
/// leads to, before anything is touched.
pub(crate) async fn restore(
    (store, run): (&dyn Store, &Run),
    into: &Path,
    wanted: &Wanted,
    mut told: impl FnMut(&Checked),
) -> Result<Vec<NodeId>, BackupFailure> {
    let mut finding = Finding::of(store, run, wanted)?;
    let cut = finding.directory()?;
    expect_shards(store, &run.name.cluster, &[(DIRECTORY, cut.clone())])?;
    let (mut directory, place, checked) = directory_at(store, &cut)?;
    let data_shards = DataShards::of(&directory);
    let cuts = finding.data_shards(&data_shards)?;
    expect_shards(store, &run.name.cluster, &cuts)?;
    let configs = cores(into)?;
    let count = data_shards.count;
    if let Some(other) = configs.iter().find(|config| config.cluster.shards != count) {
        return Err(BackupFailure::Wrong(format!(
            "the backup has {count} data shards, the cluster has {}: make it with `rotary \
             cluster init --shards {count}`",
            other.cluster.shards
        )));
    }
    let targets: Vec<Target> = configs.iter().map(open).collect::<Result<_, _>>()?;
    let members: BTreeSet<NodeId> = targets.iter().map(|target| target.node).collect();
    told(&checked);
    let (mut places, with_files) = (Places::default(), runs_with_files(&cuts));
    places.hear_directory(&directory, place.index);
    for (shard, cut) in cuts {
        let mut filling = Filling::new(&targets, shard);
        let checked = fill(store, &mut filling, &cut)?;
        let wrong = |error: String| BackupFailure::Wrong(format!("{shard}: {error}"));
        filling.tell(&mut places).map_err(wrong)?;
        filling.plant(&members).await.map_err(wrong)?;
        told(&checked);
    }
    bring_files(store, &targets, &with_files)?;
    put_right(run, &places, &mut directory)?;
    let of_directory = |error: String| BackupFailure::Wrong(format!("{DIRECTORY}: {error}"));
    rehome(&mut directory, &members).map_err(of_directory)?;
    let chunks: Vec<Vec<u8>> = directory.freeze().chunks().collect();
    plant_in((&targets, &members), DIRECTORY, place, &chunks).await.map_err(of_directory)?;
    for target in targets {
        let path = target.data.path().to_owned();
        target.close().map_err(|error| of_file(&path, error))?;
    }
    Ok(members.into_iter().collect())
}

/// The directory as it is brought back, and where it stands.
fn directory_at(
    store: &dyn Store,
    cut: &Cut,
) -> Result<(Directory, Place, Checked), BackupFailure> {
    let name = format!("{}/{}", cut.base, file_of(DIRECTORY));
    let mut found = StateOnly(None);
    let walked = walk(BufReader::new(store.read(&name)?), &mut found);
    let mut checked = walked.map_err(|error| of_object(store, &name, error))?;
    let replay = found.0.as_mut().ok_or_else(|| of_object(store, &name, "it has no state"))?;
    carry_out(store, (DIRECTORY, cut), |entry| replay.take(entry).map(drop))?;
    arrived(replay, (DIRECTORY, cut), &mut checked)?;
    match found.0.take() {
        Some(Replay { machine: Machine::Directory(directory), place }) => {
            checked.data_shards = Some(DataShards::of(&directory));
            Ok((*directory, place, checked))
        }
        _ => Err(of_object(store, &name, "it is no directory")),
    }
}

/// Reads the entries that lead from a snapshot to where a shard is wanted, each for `taker`.
fn carry_out(
    store: &dyn Store,
    (shard, cut): (ShardId, &Cut),
    mut taker: impl FnMut(&OfflineEntry) -> Result<(), String>,
) -> Result<(), BackupFailure> {
    for run in &cut.runs {
        let name = format!("{run}/{}", entries_of(shard));
        let file = BufReader::new(open_entries(store, run, shard)?);
        let walked = entries::walk(file, |entry| match entry.index > cut.index {
            true => Ok(Enough::Yes),
            false => taker(&entry).map(|()| Enough::No),
        });
        walked.map_err(|error| of_object(store, &name, error))?;
    }
    Ok(())
}

/// Notes that a shard is where it was wanted, if it is.
fn arrived(
    replay: &Replay,
    (shard, cut): (ShardId, &Cut),
    checked: &mut Checked,
) -> Result<(), BackupFailure> {
    if replay.place.index != cut.index {
        let what = format!("the entries of {shard} do not lead to {}", cut.index);
        return Err(BackupFailure::Wrong(what));
    }
    checked.index = cut.index;
    checked.sites = replay.machine.sites();
    Ok(())
}

/// Brings a shard into every node, as of where it is wanted, but for its state.
fn fill(store: &dyn Store, filling: &mut Filling<'_>, cut: &Cut) -> Result<Checked, BackupFailure> {
    let shard = filling.shard;
    let name = format!("{}/{}", cut.base, file_of(shard));
    let wrong = |error: &dyn std::fmt::Display| of_object(store, &name, error);
    let walked = walk(BufReader::new(store.read(&name)?), filling);
    let mut checked = walked.map_err(|error: BackupError| wrong(&error))?;
    filling.close().map_err(|error| wrong(&error))?;
    carry_out(store, (shard, cut), |entry| {
        checked.records += filling.take(entry)?;
        Ok(())
    })?;
    let replay = filling.replay.as_ref().ok_or_else(|| wrong(&"it has no state"))?;
    arrived(replay, (shard, cut), &mut checked)?;
    Ok(checked)
}

/// The runs that have all files which entries name that are carried out: of each shard the last one
/// that is needed.
fn runs_with_files(cuts: &[(ShardId, Cut)]) -> BTreeSet<RunName> {
    cuts.iter().filter_map(|(_, cut)| cut.runs.last().cloned()).collect()
}

/// Brings the files of whole runs. A site's are with the shard where it was by then, which may be
/// another than the one whose entries name them.
fn bring_files(
    store: &dyn Store,
    targets: &[Target],
    runs: &BTreeSet<RunName>,
) -> Result<(), BackupFailure> {
    for run in runs {
        let manifest = choose(store, Some(run))?.manifest(store)?;
        for shard in manifest.data_shards().begun() {
            let name = format!("{run}/{}", file_of(shard));
            let mut files = Files::new(targets);
            let walked = walk(BufReader::new(store.read(&name)?), &mut FilesOnly(&mut files));
            walked.map_err(|error| of_object(store, &name, error))?;
            files.finish().map_err(|error| of_object(store, &name, error))?;
        }
    }
    Ok(())
}

/// Makes sure that every site is in the shards once, and has the directory say where.
///
/// # Errors
/// Where one is in two shards or in none, or nothing but a part of its history is there.
fn put_right(run: &Run, places: &Places, directory: &mut Directory) -> Result<(), BackupFailure> {
    let judged = judge(places, &run.name);
    if let Some(what) = judged.wrong() {
        return Err(BackupFailure::Wrong(format!(
            "{what}. A site moved between these points: name later indexes of those shards, or \
             earlier ones of the others, and fill another folder"
        )));
    }
    for (site, home) in judged.homes {
        if directory.shard_of(site).is_some_and(|shard| shard != home) {
            let placed = directory.rehouse(site, home);
            placed.map_err(|error| BackupFailure::Wrong(format!("{site}: {error}")))?;
        }
    }
    Ok(())
}

/// The configurations of a folder's core nodes.
fn cores(into: &Path) -> Result<Vec<Config>, BackupFailure> {
    let listed = std::fs::read_dir(into).map_err(|error| of_file(into, error))?;
    let mut folders: Vec<PathBuf> = listed
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<io::Result<_>>()
        .map_err(|error| of_file(into, error))?;
    folders.retain(|path| path.join("rotary.toml").is_file());
    folders.sort();
    let load = |path: PathBuf| {
        let path = path.join("rotary.toml");
        Config::load(&path, &[]).map_err(|error| BackupFailure::Wrong(error.to_string()))
    };
    let mut configs: Vec<Config> = folders.into_iter().map(load).collect::<Result<_, _>>()?;
    configs.retain(|config| config.node.role == Role::Core);
    if configs.is_empty() {
        let what = "there are no core nodes in it: make a cluster there (`rotary cluster init`)";
        return Err(of_file(into, what));
    }
    Ok(configs)
}

fn open(config: &Config) -> Result<Target, BackupFailure> {
    let wrong = |error: &dyn std::fmt::Display| BackupFailure::Wrong(error.to_string());
    let data = DataDir::open(&config.node.data_dir, &config.cluster.id, config.node.id)
        .map_err(|error| wrong(&error))?;
    let path = data.path().to_owned();
    for used in [data.log_path(), data.snapshots_path(), data.journal_path()] {
        if used.exists() {
            let what = "this node ran already: restore into a cluster that was just made";
            return Err(of_file(&used, what));
        }
    }
    data.begin_restore().map_err(|error| of_file(&path, error))?;
    let opened = server::disks(config, &data).map_err(|error| wrong(&error))?;
    let Disks { stores, journal, blobs } = opened;
    let node = NodeId(config.node.id);
    Ok(Target { node, data, stores, journal, blobs: Arc::new(blobs) })
}

impl Target {
    /// Makes everything durable, and lets the node start.
    fn close(self) -> io::Result<()> {
        self.journal.flush().map_err(io::Error::other)?;
        self.stores.log.flush()?;
        self.data.end_restore()
    }
}

/// Files on their way into every node.
struct Files<'a> {
    targets: &'a [Target],
    /// The one that is being written, on each node.
    writers: Vec<BlobWriter>,
    digest: [u8; 32],
}

impl<'a> Files<'a> {
    fn new(targets: &'a [Target]) -> Self {
        Self { targets, writers: Vec::new(), digest: [0; 32] }
    }

    fn begin(&mut self, head: BlobHead) -> Result<(), String> {
        self.finish()?;
        self.digest = head.digest;
        for target in self.targets {
            let writer = target.blobs.begin(head.scope, BlobUse::Promised, head.bytes);
            self.writers.push(writer.map_err(|error| error.to_string())?);
        }
        Ok(())
    }

    fn append(&mut self, bytes: &[u8]) -> Result<(), String> {
        let mut writers = self.writers.iter_mut();
        writers.try_for_each(|writer| writer.append(bytes)).map_err(|error| error.to_string())
    }

    fn finish(&mut self) -> Result<(), String> {
        for writer in self.writers.drain(..) {
            writer.finish(Some(self.digest), unix_ms()).map_err(|error| error.to_string())?;
        }
        Ok(())
    }
}

/// Takes nothing but the files of a backup.
struct FilesOnly<'a, 'b>(&'b mut Files<'a>);

impl Taker for FilesOnly<'_, '_> {
    fn blob(&mut self, head: BlobHead) -> Result<(), String> {
        self.0.begin(head)
    }

    fn bytes(&mut self, bytes: &[u8]) -> Result<(), String> {
        self.0.append(bytes)
    }
}

/// Takes nothing but the state.
struct StateOnly(Option<Replay>);

impl Taker for StateOnly {
    fn state(&mut self, head: &Head, state: State) -> Result<(), String> {
        let machine = match state {
            State::Directory(directory) => Machine::Directory(Box::new(directory)),
            State::Data { shard, .. } => Machine::Data(shard),
        };
        self.0 = Some(Replay { machine, place: place_of(head) });
        Ok(())
    }
}

fn place_of(head: &Head) -> Place {
    Place { index: head.index, term: head.term, leader: head.leader }
}

/// A data shard on its way into every node.
struct Filling<'a> {
    targets: &'a [Target],
    shard: ShardId,
    /// The state, and where it stands, also in its journal.
    replay: Option<Replay>,
    through: JournalBase,
    files: Files<'a>,
}

impl<'a> Filling<'a> {
    fn new(targets: &'a [Target], shard: ShardId) -> Self {
        let (through, files) = (JournalBase::default(), Files::new(targets));
        Self { targets, shard, replay: None, through, files }
    }

    fn each(
        &self,
        what: impl Fn(&Target) -> Result<(), rotary_storage::JournalError>,
    ) -> Result<(), String> {
        self.targets.iter().try_for_each(what).map_err(|error| error.to_string())
    }

    /// Closes what is open: the files and the journal are whole.
    fn close(&mut self) -> Result<(), String> {
        self.files.finish()?;
        let group = self.shard.0;
        self.each(|target| {
            // What was passed over behind the last record is in no piece.
            if let Some(missing) = target.journal.missing(group)
                && let Some(after) = missing.after
            {
                let (bytes, end) = (Vec::new(), missing.through);
                let last = JournalChunk { after, skip: missing.skip, bytes, end };
                target.journal.import(group, &last)?;
            }
            Ok(())
        })
    }

    /// Carries out the next entry; how many records it made.
    fn take(&mut self, entry: &OfflineEntry) -> Result<u64, String> {
        let replay = self.replay.as_mut().ok_or("it has no state")?;
        let events = replay.take(entry)?;
        if let (Machine::Data(shard), false) = (&replay.machine, events.is_empty()) {
            let (group, records) = (self.shard.0, records(shard, &events));
            self.each(|target| target.journal.append(group, records.clone()))?;
        }
        Ok(events.len() as u64)
    }

    /// Tells where it has sites.
    fn tell(&self, places: &mut Places) -> Result<(), String> {
        let Some(Replay { machine: Machine::Data(shard), place }) = &self.replay else {
            return Err("it is no data shard".to_owned());
        };
        let tip = self.targets.first().map(|target| target.journal.tip(self.shard.0));
        places.hear(shard, place.index, &tip.unwrap_or_default());
        Ok(())
    }

    /// Puts the state in, as the beginning of a shard that those nodes keep.
    async fn plant(mut self, members: &BTreeSet<NodeId>) -> Result<(), String> {
        let replay = self.replay.take().ok_or("it has no state")?;
        let Replay { machine: Machine::Data(mut shard), place } = replay else {
            return Err("it is no data shard".to_owned());
        };
        let group = self.shard.0;
        self.each(|target| target.journal.advance(group, place.index))?;
        shard.set_members(members.iter().copied());
        let tip = self.targets.first().map(|target| target.journal.tip(group));
        let frozen = shard.freeze();
        let base = encode_base(tip.unwrap_or_default());
        let chunks: Vec<Vec<u8>> = std::iter::once(base).chain(frozen.chunks()).collect();
        plant_in((self.targets, members), self.shard, place, &chunks).await
    }
}

/// Plants a snapshot in every node.
async fn plant_in(
    (targets, members): (&[Target], &BTreeSet<NodeId>),
    shard: ShardId,
    place: Place,
    chunks: &[Vec<u8>],
) -> Result<(), String> {
    for target in targets {
        let chunks = chunks.iter().map(|chunk| Ok(chunk.clone()));
        let planted = plant(&target.stores, shard, place, members, chunks).await;
        planted.map_err(|error| error.to_string())?;
    }
    Ok(())
}

impl Taker for Filling<'_> {
    fn state(&mut self, head: &Head, state: State) -> Result<(), String> {
        let State::Data { base, shard } = state else {
            return Err("it is a directory".to_owned());
        };
        self.through = base;
        self.replay = Some(Replay { machine: Machine::Data(shard), place: place_of(head) });
        Ok(())
    }

    fn base(&mut self, base: JournalBase) -> Result<(), String> {
        let (group, through) = (self.shard.0, &self.through);
        self.each(|target| {
            // With nothing between there is no piece that would say so once the node starts.
            if base.head.hash == through.head.hash {
                return target.journal.plant(group, through.clone());
            }
            target.journal.rebase(group, through.clone())?;
            target.journal.import_base(group, base.clone())
        })
    }

    fn piece(&mut self, piece: &JournalChunk) -> Result<(), String> {
        let group = self.shard.0;
        self.each(|target| target.journal.import(group, piece).map(drop))
    }

    fn blob(&mut self, head: BlobHead) -> Result<(), String> {
        self.files.begin(head)
    }

    fn bytes(&mut self, bytes: &[u8]) -> Result<(), String> {
        self.files.append(bytes)
    }
}

/// Has the nodes of the new cluster keep every shard.
fn rehome(directory: &mut Directory, members: &BTreeSet<NodeId>) -> Result<(), String> {
    directory.rehome(members).map_err(|error| error.to_string())
}
