//! Makes the data directories of a new cluster from backups of every shard of an old one.
//!
//! Every core node gets the same: the state, as a snapshot that the shard begins with; the journal
//! before it; and the files. What the old cluster's nodes were is left out: the new one's keep the
//! shards from here on, and its own log goes on behind the snapshot. What is begun and not finished
//! does not start ([`rotary_storage::DataDir`]).

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, BufReader};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rotary_directory::Directory;
use rotary_log::{LogStores, Place, encode_base, plant};
use rotary_proto::{NodeId, ShardId};
use rotary_storage::{
    BackupFrames, BlobUse, BlobWriter, Blobs, DataDir, Journal, JournalBase, JournalChunk,
};

use crate::backup::check::{BackupError, Checked, State, Taker, walk};
use crate::backup::format::{self, BlobHead, Frame, Head};
use crate::config::{Config, Role};
use crate::gateway::token::unix_ms;
use crate::replica::DIRECTORY;
use crate::server::{self, Disks};

/// Why a cluster cannot be made from backups.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RestoreError {
    #[error("{path}: {what}")]
    File { path: PathBuf, what: String },
    #[error("{0}")]
    Wrong(String),
}

fn of_file(path: &Path, what: impl std::fmt::Display) -> RestoreError {
    RestoreError::File { path: path.to_owned(), what: what.to_string() }
}

/// A node that is filled.
struct Target {
    node: NodeId,
    data: DataDir,
    stores: LogStores,
    journal: Journal,
    blobs: Arc<Blobs>,
}

/// The file of a shard in a folder of backups.
pub(crate) fn file_of(folder: &Path, shard: ShardId) -> PathBuf {
    folder.join(format!("{shard}.backup"))
}

/// Whose backup a file is, as its first frame says.
///
/// # Errors
/// Where it is none.
pub(crate) fn head_of(path: &Path) -> Result<Head, RestoreError> {
    let file = File::open(path).map_err(|error| of_file(path, error))?;
    match format::next(&mut BackupFrames::of(BufReader::new(file))) {
        Ok(Some(Frame::Head(head))) => Ok(head),
        Ok(_) => Err(of_file(path, "it does not say whose it is")),
        Err(error) => Err(of_file(path, error)),
    }
}

/// The shards of a folder of backups, the directory's first.
///
/// # Errors
/// Where one is missing, or is not what its name says.
pub(crate) fn shards_of(folder: &Path) -> Result<Vec<ShardId>, RestoreError> {
    let first = head_of(&file_of(folder, DIRECTORY))?;
    let shards: Vec<ShardId> = (0..=first.shards).map(ShardId).collect();
    for shard in &shards {
        let path = file_of(folder, *shard);
        let head = head_of(&path)?;
        if (head.shard, head.shards, &head.cluster) != (*shard, first.shards, &first.cluster) {
            let Head { cluster, shard, shards, .. } = head;
            let what = format!("it is {shard} of {shards} of the cluster {cluster}");
            return Err(of_file(&path, what));
        }
    }
    Ok(shards)
}

/// Fills the core nodes of a new cluster's folder, which never ran; `told` hears of each shard.
///
/// # Errors
/// What is wrong with the backups or the folder; then the nodes do not start.
pub(crate) async fn restore(
    folder: &Path,
    into: &Path,
    mut told: impl FnMut(&Checked),
) -> Result<Vec<NodeId>, RestoreError> {
    let shards = shards_of(folder)?;
    let configs = cores(into)?;
    let data_shards = shards.len() as u32 - 1;
    if let Some(other) = configs.iter().find(|config| config.cluster.shards != data_shards) {
        return Err(RestoreError::Wrong(format!(
            "the backup has {data_shards} data shards, the cluster has {}: make it with `rotary \
             cluster init --shards {data_shards}`",
            other.cluster.shards
        )));
    }
    let targets: Vec<Target> = configs.iter().map(open).collect::<Result<_, _>>()?;
    let members: BTreeSet<NodeId> = targets.iter().map(|target| target.node).collect();
    for shard in shards {
        let path = file_of(folder, shard);
        let file = File::open(&path).map_err(|error| of_file(&path, error))?;
        let mut filling = Filling::new(&targets, &members, shard);
        let walked = walk(BufReader::new(file), &mut filling);
        let checked = walked.map_err(|error: BackupError| of_file(&path, error))?;
        filling.finish().await.map_err(|error| of_file(&path, error))?;
        told(&checked);
    }
    for target in targets {
        let path = target.data.path().to_owned();
        target.close().map_err(|error| of_file(&path, error))?;
    }
    Ok(members.into_iter().collect())
}

/// The configurations of a folder's core nodes.
fn cores(into: &Path) -> Result<Vec<Config>, RestoreError> {
    let listed = std::fs::read_dir(into).map_err(|error| of_file(into, error))?;
    let mut folders: Vec<PathBuf> = listed
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<io::Result<_>>()
        .map_err(|error| of_file(into, error))?;
    folders.retain(|path| path.join("rotary.toml").is_file());
    folders.sort();
    let load = |path: PathBuf| {
        let path = path.join("rotary.toml");
        Config::load(&path, &[]).map_err(|error| RestoreError::Wrong(error.to_string()))
    };
    let mut configs: Vec<Config> = folders.into_iter().map(load).collect::<Result<_, _>>()?;
    configs.retain(|config| config.node.role == Role::Core);
    if configs.is_empty() {
        let what = "there are no core nodes in it: make a cluster there (`rotary cluster init`)";
        return Err(of_file(into, what));
    }
    Ok(configs)
}

fn open(config: &Config) -> Result<Target, RestoreError> {
    let wrong = |error: &dyn std::fmt::Display| RestoreError::Wrong(error.to_string());
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

/// A shard on its way into every node.
struct Filling<'a> {
    targets: &'a [Target],
    members: &'a BTreeSet<NodeId>,
    shard: ShardId,
    /// Where it stands, and the chunks of its snapshot.
    snapshot: Option<(Place, Vec<Vec<u8>>)>,
    /// The file that is being written, on each node.
    writers: Vec<BlobWriter>,
    digest: [u8; 32],
}

impl<'a> Filling<'a> {
    fn new(targets: &'a [Target], members: &'a BTreeSet<NodeId>, shard: ShardId) -> Self {
        let (snapshot, writers, digest) = (None, Vec::new(), [0; 32]);
        Self { targets, members, shard, snapshot, writers, digest }
    }

    fn each(
        &self,
        what: impl Fn(&Target) -> Result<(), rotary_storage::JournalError>,
    ) -> Result<(), String> {
        self.targets.iter().try_for_each(what).map_err(|error| error.to_string())
    }

    fn finish_blob(&mut self) -> Result<(), String> {
        for writer in self.writers.drain(..) {
            writer.finish(Some(self.digest), unix_ms()).map_err(|error| error.to_string())?;
        }
        Ok(())
    }

    /// Closes what is open, and puts the snapshot in.
    async fn finish(mut self) -> Result<(), String> {
        self.finish_blob()?;
        let (place, chunks) = self.snapshot.take().ok_or("it has no state")?;
        for target in self.targets {
            // A journal that begins where the snapshot stands has no piece that would say so.
            if let Some(missing) = target.journal.missing(self.shard.0)
                && let Some(after) = missing.after
            {
                let (bytes, end) = (Vec::new(), missing.through);
                let last = JournalChunk { after, skip: missing.skip, bytes, end };
                let imported = target.journal.import(self.shard.0, &last);
                imported.map_err(|error| error.to_string())?;
            }
            let chunks = chunks.iter().map(|chunk| Ok(chunk.clone()));
            plant(&target.stores, self.shard, place, self.members, chunks)
                .await
                .map_err(|error| error.to_string())?;
        }
        Ok(())
    }
}

impl Taker for Filling<'_> {
    fn state(&mut self, head: &Head, state: State) -> Result<(), String> {
        let place = Place { index: head.index, term: head.term, leader: head.leader };
        let chunks = match state {
            State::Directory(mut directory) => {
                rehome(&mut directory, self.members)?;
                directory.freeze().chunks().collect()
            }
            State::Data { base, mut shard } => {
                shard.set_members(self.members.iter().copied());
                let group = self.shard.0;
                self.each(|target| target.journal.rebase(group, base.clone()))?;
                let frozen = shard.freeze();
                std::iter::once(encode_base(base)).chain(frozen.chunks()).collect()
            }
        };
        self.snapshot = Some((place, chunks));
        Ok(())
    }

    fn base(&mut self, base: JournalBase) -> Result<(), String> {
        let group = self.shard.0;
        self.each(|target| match target.journal.missing(group) {
            Some(_) => target.journal.import_base(group, base.clone()),
            None => Ok(()),
        })
    }

    fn piece(&mut self, piece: &JournalChunk) -> Result<(), String> {
        let group = self.shard.0;
        self.each(|target| target.journal.import(group, piece).map(drop))
    }

    fn blob(&mut self, head: BlobHead) -> Result<(), String> {
        self.finish_blob()?;
        self.digest = head.digest;
        for target in self.targets {
            let writer = target.blobs.begin(head.scope, BlobUse::Promised, head.bytes);
            self.writers.push(writer.map_err(|error| error.to_string())?);
        }
        Ok(())
    }

    fn bytes(&mut self, bytes: &[u8]) -> Result<(), String> {
        let mut writers = self.writers.iter_mut();
        writers.try_for_each(|writer| writer.append(bytes)).map_err(|error| error.to_string())
    }
}

/// Has the nodes of the new cluster keep every shard.
fn rehome(directory: &mut Directory, members: &BTreeSet<NodeId>) -> Result<(), String> {
    directory.rehome(members).map_err(|error| error.to_string())
}
