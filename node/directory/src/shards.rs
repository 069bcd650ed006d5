//! Data shards that are made while the cluster serves.
//!
//! A cluster is founded with some; more can be made later, and none is ever taken away: what a log
//! has promised stays in it. Those that are wanted are said here. Every core node then starts a
//! replica of a new one, and one of them, its *founder*, gives it its first voters. Once it has a
//! leader that is said here too, and then sites may live in it.
//!
//! If a core node goes for good before that, another may take the founder's place. It cannot know
//! whether the first one began, so it asks all of the others whether they have anything of the
//! shard ([`Founding::again`]): two beginnings would be two shards under one number.

use std::collections::BTreeSet;
use std::sync::Arc;

use rotary_proto::{NodeId, ShardId};
use serde::{Deserialize, Serialize};

use crate::command::{DirectoryDone, DirectoryEvent, DirectoryRefusal};
use crate::nodes::{bad, check_members};
use crate::state::{Directory, SHARDS_MAX};

type Done = Result<(DirectoryDone, Vec<DirectoryEvent>), DirectoryRefusal>;

/// A shard that is to have its beginning.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Founding {
    /// Its first voters.
    pub voters: BTreeSet<NodeId>,
    /// Whether somebody else may have begun it already.
    pub again: bool,
}

impl Founding {
    /// Who is to give a shard its first voters.
    pub fn founder(&self, shard: ShardId) -> Option<NodeId> {
        self.voters.iter().nth(shard.0 as usize % self.voters.len().max(1)).copied()
    }

    pub(crate) fn is_valid(&self) -> bool {
        check_members(&self.voters).is_ok()
    }
}

impl Directory {
    /// The shards that have no beginning yet, as far as is known here.
    pub fn founding(&self) -> impl Iterator<Item = (ShardId, &Founding)> {
        self.founding.iter().map(|(shard, founding)| (*shard, founding))
    }

    /// Has data shards made until there are so many.
    pub(crate) fn add_shards(&mut self, wanted: u32) -> Done {
        if self.shards == 0 {
            return Err(DirectoryRefusal::NotFounded);
        }
        if !(self.shards..=SHARDS_MAX).contains(&wanted) {
            let rule = format!("{} to {SHARDS_MAX}: shards are never taken away", self.shards);
            return Err(bad("shards", rule));
        }
        if wanted == self.shards {
            return Ok((DirectoryDone::Ok, Vec::new()));
        }
        let members = self.cores();
        let voters: BTreeSet<NodeId> = members.difference(&self.voteless).copied().collect();
        let founding = Founding { voters, again: false };
        for shard in (self.shards + 1..=wanted).map(ShardId) {
            Arc::make_mut(&mut self.replicas).insert(shard, members.clone());
            Arc::make_mut(&mut self.founding).insert(shard, founding.clone());
            self.placed.insert(shard, 0);
        }
        self.shards = wanted;
        Ok((DirectoryDone::Ok, vec![DirectoryEvent::ShardsAdded { shards: wanted }]))
    }

    /// Notes that a shard has its beginning; what has one already stays as it is.
    pub(crate) fn shard_founded(&mut self, shard: ShardId) -> Done {
        if Arc::make_mut(&mut self.founding).remove(&shard).is_none() {
            return Ok((DirectoryDone::Ok, Vec::new()));
        }
        Ok((DirectoryDone::Ok, vec![DirectoryEvent::ShardFounded { shard }]))
    }

    /// A core node goes for good: shards without a beginning get one without it.
    pub(crate) fn found_without(&mut self, node: NodeId) {
        let stay: BTreeSet<NodeId> = self.cores().difference(&self.voteless).copied().collect();
        for (shard, founding) in Arc::make_mut(&mut self.founding) {
            let before = founding.founder(*shard);
            founding.voters.remove(&node);
            if founding.voters.is_empty() {
                founding.voters.clone_from(&stay);
            }
            // Whoever goes, another one's turn may have come, and the one before may have begun.
            founding.again |= founding.founder(*shard) != before;
        }
    }
}

#[cfg(test)]
#[path = "shards_tests.rs"]
mod tests;
