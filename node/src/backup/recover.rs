//! Backups from the folders of nodes that do not run, when a majority of them is gone for good.
//!
//! Of each shard the replica that reaches furthest counts, whosever it is. Its node's data is
//! copied; in the copy the node is made the only member of the shard, applies everything that its
//! log has, and writes the backup. It speaks to nobody meanwhile. The originals are only read (but
//! that a torn end of a log is cut, as it is at every start), so whatever comes of it can be tried
//! again.
//!
//! What is made of the backups is another cluster, with another authority: should nodes of the old
//! one come back, the two have nothing to say to each other.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufReader, BufWriter, Write as _};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::{FutureExt as _, StreamExt as _, pin_mut};
use rotary_log::{Door, Log, Machine, Reach, leave_alone, reach};
use rotary_proto::{NodeId, ShardId};
use rotary_storage::{DataDir, Fatal, Lookup};
use rotary_transport::{Transport, TransportConfig};

use crate::backup::restore::file_of;
use crate::backup::source::{Origin, Source};
use crate::backup::{Checked, check};
use crate::build;
use crate::config::{Config, Role};
use crate::feed;
use crate::machine::directory::DirectoryMachine;
use crate::machine::fence::Fences;
use crate::machine::site::SiteMachine;
use crate::replica::{DIRECTORY, Replica};
use crate::server::running::log_config;
use crate::server::{self, Disks, peer_tls};

/// How long a shard may take to apply what its log has.
const PATIENCE: Duration = Duration::from_secs(3_600);
/// How often it is looked whether it has.
const LOOK: Duration = Duration::from_millis(50);
/// Where copies are, in the folder of the backups, while they are made.
const COPIES: &str = "copies";

/// Why there are no backups.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RecoverError {
    #[error("{path}: {what}")]
    File { path: PathBuf, what: String },
    #[error("{0}")]
    Wrong(String),
}

fn of_file(path: &Path, what: impl std::fmt::Display) -> RecoverError {
    RecoverError::File { path: path.to_owned(), what: what.to_string() }
}

/// A node's folder, and how far its replicas reach.
struct Survivor {
    config: Config,
    reaches: BTreeMap<ShardId, Reach>,
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
    /// Of each shard.
    pub(crate) choices: Vec<Choice>,
}

/// Looks into nodes' folders.
///
/// # Errors
/// A folder that is none of a stopped core node of one cluster; a shard that no folder has.
pub(crate) fn plan(folders: &[PathBuf]) -> Result<Plan, RecoverError> {
    let survivors: Vec<Survivor> =
        folders.iter().map(|folder| survivor(folder)).collect::<Result<_, _>>()?;
    let Some(first) = survivors.first().map(|survivor| survivor.config.cluster.clone()) else {
        return Err(RecoverError::Wrong("name the folder of at least one node".to_owned()));
    };
    if let Some(other) = survivors.iter().find(|other| other.config.cluster.id != first.id) {
        return Err(RecoverError::Wrong(format!(
            "one node is of the cluster {}, another of {}: name nodes of one cluster",
            first.id, other.config.cluster.id
        )));
    }
    let shards = survivors.iter().map(|survivor| survivor.config.cluster.shards).max().unwrap_or(0);
    let choose = |shard| choose(&survivors, shard);
    let choices = (0..=shards).map(ShardId).map(choose).collect::<Result<_, _>>()?;
    Ok(Plan { survivors, choices })
}

fn survivor(folder: &Path) -> Result<Survivor, RecoverError> {
    let file = folder.join("rotary.toml");
    let config = Config::load(&file, &[]).map_err(|error| of_file(&file, error))?;
    if config.node.role != Role::Core {
        return Err(of_file(folder, "a gateway-only node keeps nothing"));
    }
    let (data, disks) = open(&config)?;
    let mut reaches = BTreeMap::new();
    for shard in (0..=config.cluster.shards).map(ShardId) {
        let found = reach(&disks.stores, shard).map_err(|error| of_file(data.path(), error))?;
        let is_whole = shard == DIRECTORY || disks.journal.missing(shard.0).is_none();
        reaches.extend(found.filter(|_| is_whole).map(|found| (shard, found)));
    }
    Ok(Survivor { config, reaches })
}

fn open(config: &Config) -> Result<(DataDir, Disks), RecoverError> {
    let path = &config.node.data_dir;
    let data = DataDir::open(path, &config.cluster.id, config.node.id)
        .map_err(|error| of_file(path, error))?;
    let disks = server::disks(config, &data).map_err(|error| of_file(path, error))?;
    Ok((data, disks))
}

/// The replica that reaches furthest; of two alike the first node's.
fn choose(survivors: &[Survivor], shard: ShardId) -> Result<Choice, RecoverError> {
    let of = |survivor: &Survivor| {
        let reach = *survivor.reaches.get(&shard)?;
        Some(Choice { shard, node: NodeId(survivor.config.node.id), reach })
    };
    let all = survivors.iter().filter_map(of);
    let best = all.max_by_key(|choice| {
        (choice.reach.term, choice.reach.index, std::cmp::Reverse(choice.node))
    });
    best.ok_or_else(|| {
        RecoverError::Wrong(format!("no folder has all of {shard}: name another node's"))
    })
}

impl Plan {
    /// Writes a backup of each shard into a folder; `told` hears of each.
    ///
    /// # Errors
    /// What is wrong with a file, or does not come.
    pub(crate) async fn carry_out(
        self,
        to: &Path,
        mut told: impl FnMut(&Checked),
    ) -> Result<Vec<Checked>, RecoverError> {
        let mut done = Vec::new();
        for survivor in &self.survivors {
            let node = NodeId(survivor.config.node.id);
            let chosen = self.choices.iter().filter(|choice| choice.node == node);
            let chosen: Vec<ShardId> = chosen.map(|choice| choice.shard).collect();
            if chosen.is_empty() {
                continue;
            }
            let copy = to.join(COPIES).join(node.to_string());
            let original = &survivor.config.node.data_dir;
            copy_folder(original, &copy).map_err(|error| of_file(original, error))?;
            let mut config = survivor.config.clone();
            config.node.data_dir.clone_from(&copy);
            let written = alone(&config, &chosen, to).await;
            std::fs::remove_dir_all(&copy).map_err(|error| of_file(&copy, error))?;
            for found in written? {
                told(&found);
                done.push(found);
            }
        }
        // What is left of it is empty.
        let copies = to.join(COPIES);
        std::fs::remove_dir(&copies).map_err(|error| of_file(&copies, error))?;
        done.sort_by_key(|found| found.shard);
        Ok(done)
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

/// Runs shards of a node's copy with no other member, and writes their backups.
async fn alone(
    config: &Config,
    shards: &[ShardId],
    to: &Path,
) -> Result<Vec<Checked>, RecoverError> {
    let (data, Disks { stores, journal, blobs }) = open(config)?;
    let node = NodeId(config.node.id);
    let wrong = |what: String| of_file(data.path(), what);
    for shard in shards {
        let left = leave_alone(&stores, *shard, node).await;
        left.map_err(|error| wrong(error.to_string()))?;
    }
    let count = config.cluster.shards;
    let replica = Arc::new(Replica::new(count, Arc::new(journal), Lookup::in_memory()));
    let fences = Fences::new(build::logic(), stores.notes.clone(), Fatal::exit());
    fences.check().map_err(|error| wrong(error.to_string()))?;
    let made = |shard: &ShardId| (*shard, machine(&replica, *shard, &fences));
    let machines = shards.iter().map(made).collect();
    let mut log = log_config(config);
    log.founders.clear();
    let (transport, door) = (nobody(config)?, Door::new());
    let log = Log::start(log, stores, transport.clone(), &door, machines).await;
    let log = log.map_err(|error| wrong(error.to_string()))?;
    let (log, blobs) = (Arc::new(log), Arc::new(blobs));
    let mut written = Vec::new();
    for shard in shards {
        until_applied(&log, node, *shard).await?;
        let origin = Origin {
            node,
            cluster: config.cluster.id.clone(),
            shards: count,
            replica: replica.clone(),
            blobs: blobs.clone(),
        };
        written.push(write(origin, &log, *shard, to).await?);
    }
    log.halt().await;
    transport.close().await;
    Ok(written)
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
fn nobody(config: &Config) -> Result<Arc<Transport>, RecoverError> {
    let wrong = |what: String| RecoverError::Wrong(what);
    let certificates = peer_tls::read(config).map_err(|error| wrong(error.to_string()))?.0;
    let (node, listen) = (NodeId(config.node.id), SocketAddr::from(([127, 0, 0, 1], 0)));
    let config = TransportConfig { node, listen, peers: BTreeMap::new(), certificates };
    let started = Transport::start(config, Arc::new(Door::new()));
    started.map(Arc::new).map_err(|error| wrong(error.to_string()))
}

/// Until a shard leads itself and has applied all that its log has.
async fn until_applied(log: &Log, node: NodeId, shard: ShardId) -> Result<(), RecoverError> {
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
    Err(RecoverError::Wrong(format!("{shard} has not applied its log within an hour")))
}

/// Writes a shard's backup, and reads it back.
async fn write(
    origin: Origin,
    log: &Arc<Log>,
    shard: ShardId,
    to: &Path,
) -> Result<Checked, RecoverError> {
    let asked = log.clone();
    let taken = async move { asked.snapshot(shard).await.map_err(|error| error.to_string()) };
    let source = Source::of(origin, shard, taken.boxed()).await;
    let source = source.map_err(|what| RecoverError::Wrong(format!("{shard}: {what}")))?;
    let (path, part) = (file_of(to, shard), to.join(format!("{shard}.part")));
    let failed = |error: io::Error| of_file(&part, error);
    let mut out = BufWriter::new(File::create(&part).map_err(failed)?);
    let stream = source.stream();
    pin_mut!(stream);
    while let Some(piece) = stream.next().await {
        out.write_all(&piece.map_err(failed)?).map_err(failed)?;
    }
    let file = out.into_inner().map_err(|error| failed(error.into_error()))?;
    file.sync_all().map_err(failed)?;
    let file = File::open(&part).map_err(failed)?;
    let found = check(BufReader::new(file)).map_err(|error| of_file(&part, error))?;
    std::fs::rename(&part, &path).map_err(|error| of_file(&path, error))?;
    Ok(found)
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
        Survivor { config, reaches: reaches.iter().map(reach).collect() }
    }

    #[test]
    fn the_replica_that_reaches_furthest_counts_by_its_term_first() {
        let survivors = [
            survivor(1, &[(0, 3, 90), (1, 2, 50), (2, 4, 7)]),
            survivor(2, &[(0, 4, 80), (1, 2, 51), (2, 4, 7)]),
        ];
        let of = |shard| choose(&survivors, ShardId(shard)).map(|choice| choice.node.0);
        assert_eq!(of(0).expect("there"), 2, "a later term decides");
        assert_eq!(of(1).expect("there"), 2);
        assert_eq!(of(2).expect("there"), 1, "both alike");
        let none = of(3).expect_err("nobody has it").to_string();
        assert!(none.contains("no folder has all of sh_3"), "{none}");
    }
}
