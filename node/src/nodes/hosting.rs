//! Which shards this node has replicas of: at its start those that its configuration names, and
//! from then on all that the directory names.
//!
//! A shard that is made while the cluster serves begins here. Every node starts a replica of it, as
//! soon as its directory has it; the one that the directory names gives it its first voters; and
//! whoever leads it then says so to the directory ([`rotary_directory::Founding`]). Each step is
//! seen in a log, so whoever is killed on the way goes on where it was, or another one does.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::Arc;
use std::time::Duration;

use rotary_directory::{DirectoryAnswer, DirectoryCommand, DirectoryEntry, Founding};
use rotary_log::{Log, LogError, Machine, Role};
use rotary_proto::{NodeId, ShardId};
use rotary_storage::{EXIT_STORAGE, Notes};

use crate::actor::Registry;
use crate::effects::{self, Tools};
use crate::feed;
use crate::gateway::doors::Doors;
use crate::machine::Witness;
use crate::machine::directory::DirectoryMachine;
use crate::machine::fence::Fences;
use crate::machine::site::SiteMachine;
use crate::replica::{DIRECTORY, Replica, ShardReplica};

/// How often shards are looked at that have no beginning yet.
const LOOK: Duration = Duration::from_millis(200);
/// How long a step waits for its commit.
const PATIENCE: Duration = Duration::from_secs(2);
/// What the names of notes begin with that a shard is kept here; the shard's number follows.
const NOTE: &str = "keeps-";

/// The data shards that a node has replicas of: those that its configuration names, and those that
/// it noted when they were made. Whoever needs them all may have no directory to ask: what it has
/// is in a log that must be opened first, or is damaged.
pub(crate) fn kept(configured: u32, notes: &Notes) -> io::Result<BTreeSet<ShardId>> {
    let names = notes.names()?;
    let noted = names.iter().filter_map(|name| name.strip_prefix(NOTE)?.parse().ok().map(ShardId));
    Ok((1..=configured).map(ShardId).chain(noted).collect())
}

/// What replicas are made with.
pub(crate) struct Hosting {
    node: NodeId,
    replica: Arc<Replica>,
    registry: Arc<Registry>,
    fences: Fences,
    /// Who sees what machines do, in a simulation.
    witness: Option<Arc<dyn Witness>>,
}

impl Hosting {
    /// For a node, and those who see what its machines do.
    pub(crate) fn new(
        (node, witness): (NodeId, Option<Arc<dyn Witness>>),
        replica: &Arc<Replica>,
        registry: &Arc<Registry>,
        fences: &Fences,
    ) -> Self {
        let (replica, registry) = (replica.clone(), registry.clone());
        Self { node, replica, registry, fences: fences.clone(), witness }
    }

    /// The machines of the directory and of every data shard that there is a replica of.
    pub(crate) fn machines(&self) -> Vec<(ShardId, Box<dyn Machine>)> {
        let fence = self.fences.of(DIRECTORY);
        let directory = DirectoryMachine::new(self.replica.clone(), fence, self.witness.clone());
        let directory: Box<dyn Machine> = Box::new(directory);
        let data = self.replica.shards().into_iter().map(|shard| (shard.id, self.machine(shard)));
        std::iter::once((DIRECTORY, directory)).chain(data).collect()
    }

    fn machine(&self, shard: Arc<ShardReplica>) -> Box<dyn Machine> {
        let (entry, source) = feed::entry();
        feed::start(self.replica.clone(), shard.clone(), self.registry.clone(), source);
        let (fence, fatal) = (self.fences.of(shard.id), self.fences.fatal().clone());
        let machine = SiteMachine::new(self.replica.clone(), shard, entry, fatal, fence);
        Box::new(machine.seen_by(self.witness.clone()))
    }

    /// Starts a replica of every shard that the directory names and that has none here; which.
    ///
    /// # Errors
    /// What the log says to the first that it does not start.
    pub(crate) async fn catch_up(&self, log: &Log) -> Result<Vec<Arc<ShardReplica>>, LogError> {
        let wanted = self.replica.directory().shards();
        let mut new = Vec::new();
        for id in (1..=wanted).map(ShardId).filter(|id| !self.replica.has(*id)) {
            let (notes, name) = (self.fences.notes().clone(), format!("{NOTE}{}", id.0));
            // Before it is noted nothing of it was ever here, so nothing of it was lost.
            log.never_had(id).await?;
            let noted = crate::blocking::run(move || notes.put(&name, "")).await;
            noted.map_err(io::Error::other)??;
            let shard = self.replica.add(id);
            tracing::info!(shard = %id, "this node keeps a replica of a shard that is new to it");
            log.add(id, self.machine(shard.clone())).await?;
            new.push(shard);
        }
        Ok(new)
    }

    /// Does so, and has new shards founded, as long as the node runs.
    pub(crate) async fn keep(self, doors: Doors, log: Arc<Log>, tools: Arc<Tools>) {
        let mut changes = self.replica.directory_changes();
        let mut told = BTreeMap::new();
        for shard in self.replica.shards() {
            effects::start(&doors, shard, &tools);
        }
        loop {
            changes.borrow_and_update();
            match self.catch_up(&log).await {
                Ok(new) => new.into_iter().for_each(|shard| effects::start(&doors, shard, &tools)),
                Err(error) => {
                    let why = format!("a shard cannot begin here: {error}");
                    self.fences.fatal().end(EXIT_STORAGE, &why);
                    return;
                }
            }
            if self.replica.directory().founding().next().is_some() {
                self.found(&doors, &log, &mut told).await;
                tokio::time::sleep(LOOK).await;
            } else if changes.changed().await.is_err() {
                return;
            }
        }
    }

    /// Takes the next step with each shard that has no beginning, as far as it falls to this node.
    /// What keeps one from beginning is told once, until it is something else.
    async fn found(&self, doors: &Doors, log: &Log, told: &mut BTreeMap<ShardId, String>) {
        let waiting: Vec<(ShardId, Founding)> = {
            let directory = self.replica.directory();
            directory.founding().map(|(shard, founding)| (shard, founding.clone())).collect()
        };
        for (shard, founding) in waiting {
            if log.status(shard).is_some_and(|status| status.role == Role::Leader) {
                tell(doors, shard).await;
            } else if founding.founder(shard) == Some(self.node) {
                let Err(error) = begin(log, shard, &founding).await else { continue };
                let why = error.to_string();
                if told.insert(shard, why.clone()).is_none_or(|before| before != why) {
                    let error = why;
                    tracing::warn!(
                        code = "shard-unfounded",
                        %shard, error,
                        "a new shard does not begin yet"
                    );
                }
            }
        }
    }
}

/// Gives a shard its first voters, unless somebody else may have done so.
async fn begin(log: &Log, shard: ShardId, founding: &Founding) -> Result<(), LogError> {
    let Founding { voters, again } = founding;
    if *again { log.found_again(shard, voters).await } else { log.found(shard, voters).await }
}

/// Tells the directory that a shard has its beginning.
async fn tell(doors: &Doors, shard: ShardId) {
    let command = DirectoryCommand::ShardFounded { shard };
    let entry = DirectoryEntry { origin: None, asked: None, command };
    match doors.propose::<_, DirectoryAnswer>(DIRECTORY, &entry, PATIENCE).await {
        Ok(DirectoryAnswer { index, .. }) => {
            doors.replica.reach(DIRECTORY, index, PATIENCE).await;
            tracing::info!(%shard, "a new shard has its beginning");
        }
        Err(error) => tracing::debug!(%shard, %error, "the directory is told again later"),
    }
}
