//! Backups from the folders of nodes that do not run, when a majority of them is gone for good.
//!
//! Of each shard the replica that reaches furthest counts, whosever it is. Its node's data is
//! copied; in the copy the node is made the only member of the shard, applies everything that its
//! log has, and writes the backup. It speaks to nobody meanwhile. The originals are only read (but
//! that a torn end of a log is cut, as it is at every start), so whatever comes of it can be tried
//! again.
//!
//! The directory's is made first: it says which shards there are. One that has no beginning, as it
//! says, has nothing to recover.
//!
//! What is made of the backups is another cluster, with another authority: should nodes of the old
//! one come back, the two have nothing to say to each other.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::{FutureExt as _, TryStreamExt as _};
use rotary_log::{Door, Log, Machine, Reach, leave_alone, reach};
use rotary_proto::{NodeId, ShardId};
use rotary_storage::{DataDir, Fatal, Lookup};
use rotary_transport::{Transport, TransportConfig};

use crate::backup::Checked;
use crate::backup::failure::{BackupFailure, of_file};
use crate::backup::making::Making;
use crate::backup::manifest::{Maker, Manifest, RunName};
use crate::backup::pace::Pace;
use crate::backup::source::{Origin, Source};
use crate::backup::store::Store;
use crate::build;
use crate::config::{Config, Role};
use crate::feed;
use crate::machine::directory::DirectoryMachine;
use crate::machine::fence::Fences;
use crate::machine::site::SiteMachine;
use crate::nodes::hosting;
use crate::replica::{DIRECTORY, Replica};
use crate::server::running::log_config;
use crate::server::{self, Disks, peer_tls};

/// How long a shard may take to apply what its log has.
const PATIENCE: Duration = Duration::from_secs(3_600);
/// How often it is looked whether it has.
const LOOK: Duration = Duration::from_millis(50);
/// Where copies are, in the folder of the backups, while they are made.
const COPIES: &str = "copies";

/// A node's folder, and how far its replicas reach.
struct Survivor {
    config: Config,
    /// The last data shard that it keeps.
    last: ShardId,
    reaches: BTreeMap<ShardId, Reach>,
}

impl Survivor {
    fn node(&self) -> NodeId {
        NodeId(self.config.node.id)
    }
}

/// Which node's replica of a shard counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Choice {
    pub(crate) shard: ShardId,
    pub(crate) node: NodeId,
    pub(crate) reach: Reach,
}

/// What would be recovered.
pub(crate) struct Plan {
    survivors: Vec<Survivor>,
    /// Of each shard that a folder has.
    pub(crate) choices: Vec<Choice>,
    /// Shards that none has, as far as the folders say that there are such.
    pub(crate) nowhere: Vec<ShardId>,
}

/// Looks into nodes' folders.
///
/// # Errors
/// A folder that is none of a stopped core node of one cluster; where none has the directory.
pub(crate) fn plan(folders: &[PathBuf]) -> Result<Plan, BackupFailure> {
    let survivors: Vec<Survivor> =
        folders.iter().map(|folder| survivor(folder)).collect::<Result<_, _>>()?;
    let Some(first) = survivors.first().map(|survivor| survivor.config.cluster.clone()) else {
        return Err(BackupFailure::Wrong("name the folder of at least one node".to_owned()));
    };
    if let Some(other) = survivors.iter().find(|other| other.config.cluster.id != first.id) {
        return Err(BackupFailure::Wrong(format!(
            "one node is of the cluster {}, another of {}: name nodes of one cluster",
            first.id, other.config.cluster.id
        )));
    }
    let last = survivors.iter().map(|survivor| survivor.last).max().unwrap_or(DIRECTORY);
    let directory = choose(&survivors, DIRECTORY).ok_or_else(|| nowhere(DIRECTORY))?;
    let (mut choices, mut nowhere) = (vec![directory], Vec::new());
    for shard in (1..=last.0).map(ShardId) {
        match choose(&survivors, shard) {
            Some(choice) => choices.push(choice),
            None => nowhere.push(shard),
        }
    }
    Ok(Plan { survivors, choices, nowhere })
}

fn nowhere(shard: ShardId) -> BackupFailure {
    BackupFailure::Wrong(format!("no folder has all of {shard}: name another node's"))
}

fn survivor(folder: &Path) -> Result<Survivor, BackupFailure> {
    let file = folder.join("rotary.toml");
    let config = Config::load(&file, &[]).map_err(|error| of_file(&file, error))?;
    if config.node.role != Role::Core {
        return Err(of_file(folder, "a gateway-only node keeps nothing"));
    }
    let (data, disks) = open(&config)?;
    let kept = hosting::kept(config.cluster.shards, &disks.stores.notes);
    let kept = kept.map_err(|error| of_file(data.path(), error))?;
    let last = kept.last().copied().unwrap_or(DIRECTORY);
    let mut reaches = BTreeMap::new();
    for shard in std::iter::once(DIRECTORY).chain(kept) {
        let found = reach(&disks.stores, shard).map_err(|error| of_file(data.path(), error))?;
        let is_whole = shard == DIRECTORY || disks.journal.missing(shard.0).is_none();
        reaches.extend(found.filter(|_| is_whole).map(|found| (shard, found)));
    }
    Ok(Survivor { config, last, reaches })
}

fn open(config: &Config) -> Result<(DataDir, Disks), BackupFailure> {
    let path = &config.node.data_dir;
    let data = DataDir::open(path, &config.cluster.id, config.node.id)
        .map_err(|error| of_file(path, error))?;
    let disks = server::disks(config, &data).map_err(|error| of_file(path, error))?;
    Ok((data, disks))
}

/// The replica that reaches furthest; of two alike the first node's.
fn choose(survivors: &[Survivor], shard: ShardId) -> Option<Choice> {
    let of = |survivor: &Survivor| {
        let reach = *survivor.reaches.get(&shard)?;
        Some(Choice { shard, node: survivor.node(), reach })
    };
    let all = survivors.iter().filter_map(of);
    all.max_by_key(|choice| (choice.reach.term, choice.reach.index, std::cmp::Reverse(choice.node)))
}

impl Plan {
    /// Writes a run into a store; copies of what the nodes have are meanwhile in `beside`. `told`
    /// hears of each shard. With the run comes why nothing can be made from it, if a site moved
    /// between shards just then.
    ///
    /// # Errors
    /// What is wrong with a file, or does not come.
    pub(crate) async fn carry_out(
        self,
        store: Arc<dyn Store>,
        beside: &Path,
        mut told: impl FnMut(&Checked),
    ) -> Result<(RunName, Manifest, Option<String>), BackupFailure> {
        let cluster = self.survivors.first().map(|first| first.config.cluster.id.as_str());
        let name = RunName::begun(cluster.unwrap_or_default(), Maker::Recovery);
        let last = self.choices.last().map_or(DIRECTORY, |choice| choice.shard);
        let mut making = Making::begin(store, name);
        // The one with the directory first.
        let with_directory = self.choices.first().map(|choice| choice.node);
        let mut survivors: Vec<&Survivor> = self.survivors.iter().collect();
        survivors.sort_by_key(|survivor| Some(survivor.node()) != with_directory);
        for survivor in survivors {
            let node = survivor.node();
            let chosen = self.choices.iter().filter(|choice| choice.node == node);
            let chosen: Vec<ShardId> = chosen.map(|choice| choice.shard).collect();
            if chosen.is_empty() {
                continue;
            }
            let copy = beside.join(COPIES).join(node.to_string());
            let original = &survivor.config.node.data_dir;
            copy_folder(original, &copy).map_err(|error| of_file(original, error))?;
            let mut config = survivor.config.clone();
            config.node.data_dir.clone_from(&copy);
            let here = Here { chosen: &chosen, choices: &self.choices, last };
            let written = alone(&config, here, &mut making, &mut told).await;
            std::fs::remove_dir_all(&copy).map_err(|error| of_file(&copy, error))?;
            written?;
        }
        // What is left of it is empty.
        let copies = beside.join(COPIES);
        std::fs::remove_dir(&copies).map_err(|error| of_file(&copies, error))?;
        let unfit = making.unfit();
        making.finish().map(|(name, manifest)| (name, manifest, unfit))
    }
}

/// Copies what a node keeps, but for what is made from it.
fn copy_folder(from: &Path, to: &Path) -> io::Result<()> {
    std::fs::create_dir_all(to)?;
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        let (name, kind) = (entry.file_name(), entry.file_type()?);
        let is_derived = name == "lookup" || name.to_string_lossy().starts_with("set-aside-");
        if kind.is_dir() && !is_derived {
            copy_folder(&entry.path(), &to.join(name))?;
        } else if kind.is_file() && name != "lock" {
            std::fs::copy(entry.path(), to.join(name))?;
        }
    }
    Ok(())
}

/// Which shards a node's copy counts for, the directory first if it is among them, beside all that
/// any counts for; and the last that the folders know of.
struct Here<'a> {
    chosen: &'a [ShardId],
    choices: &'a [Choice],
    last: ShardId,
}

/// Runs shards of a node's copy with no other member, one after the other, and writes the backups
/// of those that have begun.
async fn alone(
    config: &Config,
    here: Here<'_>,
    making: &mut Making,
    told: &mut impl FnMut(&Checked),
) -> Result<(), BackupFailure> {
    let (data, Disks { stores, journal, blobs }) = open(config)?;
    let node = NodeId(config.node.id);
    let wrong = |what: String| of_file(data.path(), what);
    let count = here.last.0;
    let data_shards = (1..=count).map(ShardId);
    let replica = Arc::new(Replica::new(data_shards, Arc::new(journal), Lookup::in_memory()));
    let fences = Fences::new(build::logic(), stores.notes.clone(), Fatal::exit());
    fences.check().map_err(|error| wrong(error.to_string()))?;
    let mut log = log_config(config);
    log.founders.clear();
    let (transport, door) = (nobody(config)?, Door::new());
    let log = Log::start(log, stores.clone(), transport.clone(), &door, Vec::new()).await;
    let log = log.map_err(|error| wrong(error.to_string()))?;
    let (log, blobs) = (Arc::new(log), Arc::new(blobs));
    for shard in here.chosen {
        if *shard != DIRECTORY && !making.wanted().contains(shard) {
            continue;
        }
        let left = leave_alone(&stores, *shard, node).await;
        left.map_err(|error| wrong(error.to_string()))?;
        let added = log.add(*shard, machine(&replica, *shard, &fences)).await;
        added.map_err(|error| wrong(error.to_string()))?;
        until_applied(&log, node, *shard).await?;
        let origin = Origin {
            node,
            cluster: config.cluster.id.clone(),
            shards: count,
            replica: replica.clone(),
            blobs: blobs.clone(),
        };
        told(&write(origin, &log, *shard, making).await?);
        let is_there = |shard: &ShardId| here.choices.iter().any(|choice| choice.shard == *shard);
        if let Some(missing) = making.wanted().into_iter().find(|shard| !is_there(shard)) {
            return Err(nowhere(missing));
        }
    }
    log.halt().await;
    transport.close().await;
    Ok(())
}

fn machine(replica: &Arc<Replica>, shard: ShardId, fences: &Fences) -> Box<dyn Machine> {
    let fence = fences.of(shard);
    match replica.shard(shard) {
        None => Box::new(DirectoryMachine::new(replica.clone(), fence, None)),
        Some(kept) => {
            // Nobody listens.
            let (entry, _) = feed::entry();
            let (replica, kept) = (replica.clone(), kept.clone());
            Box::new(SiteMachine::new(replica, kept, entry, Fatal::exit(), fence))
        }
    }
}

/// A transport that knows no other node.
fn nobody(config: &Config) -> Result<Arc<Transport>, BackupFailure> {
    let wrong = |what: String| BackupFailure::Wrong(what);
    let certificates = peer_tls::certificates(config).map_err(|error| wrong(error.to_string()))?;
    let (node, listen) = (NodeId(config.node.id), SocketAddr::from(([127, 0, 0, 1], 0)));
    let config = TransportConfig { node, listen, peers: BTreeMap::new(), certificates };
    let started = Transport::start(config, Arc::new(Door::new()));
    started.map(Arc::new).map_err(|error| wrong(error.to_string()))
}

/// Until a shard leads itself and has applied all that its log has.
async fn until_applied(log: &Log, node: NodeId, shard: ShardId) -> Result<(), BackupFailure> {
    let begun = Instant::now();
    while begun.elapsed() < PATIENCE {
        let status = log.status(shard);
        if status.is_some_and(|status| {
            status.leader == Some(node) && status.applied_index == status.last_index
        }) {
            return Ok(());
        }
        tokio::time::sleep(LOOK).await;
    }
    Err(BackupFailure::Wrong(format!("{shard} has not applied its log within an hour")))
}

/// Writes a shard's backup, and reads it back.
async fn write(
    origin: Origin,
    log: &Arc<Log>,
    shard: ShardId,
    making: &mut Making,
) -> Result<Checked, BackupFailure> {
    let asked = log.clone();
    let taken = async move { asked.snapshot(shard).await.map_err(|error| error.to_string()) };
    let source = Source::of(origin, shard, taken.boxed()).await;
    let source = source.map_err(|what| BackupFailure::Wrong(format!("{shard}: {what}")))?;
    let stream = source.stream().map_err(|error| error.to_string());
    let bytes = making.fill(shard, stream, &mut Pace::of(0)).await?;
    making.prove(shard, bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn survivor(node: u64, reaches: &[(u32, u64, u64)]) -> Survivor {
        let mut config = Config::default();
        config.node.id = node;
        let reach = |(shard, term, index): &(u32, u64, u64)| {
            let reach = Reach { term: *term, index: *index, committed: 0, cut: false };
            (ShardId(*shard), reach)
        };
        let last = ShardId(reaches.len() as u32);
        Survivor { config, last, reaches: reaches.iter().map(reach).collect() }
    }

    #[test]
    fn the_replica_that_reaches_furthest_counts_by_its_term_first() {
        let survivors = [
            survivor(1, &[(0, 3, 90), (1, 2, 50), (2, 4, 7)]),
            survivor(2, &[(0, 4, 80), (1, 2, 51), (2, 4, 7)]),
        ];
        let of = |shard| choose(&survivors, ShardId(shard)).map(|choice| choice.node.0);
        assert_eq!(of(0), Some(2), "a later term decides");
        assert_eq!((of(1), of(2)), (Some(2), Some(1)), "of two alike the first");
        assert_eq!(of(3), None, "nobody has it");
    }
}
