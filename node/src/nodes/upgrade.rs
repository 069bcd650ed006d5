//! Raises the version of the logic of the shards that this node leads to what the directory wants.
//!
//! The directory's own shard goes first, up to what an administrator wants: from that entry on
//! there is no way back. The data shards follow, up to what the directory acts by. Each step is an
//! entry of the shard's own log, and every replica acts by the next version from there on. Whoever
//! leads a shard takes the next step; nobody remembers anything.
//!
//! Before a step every member of the shard must have answered lately, and since the step is wanted,
//! and said that its build can apply the next version: a node that is away, or was stopped a moment
//! before, might come back with an older one. While replicas of any shard differ and nobody knows
//! which are right, nothing is raised.
//!
//! What a replica acts by is noted beside the shards, not by whoever applies: applying does not
//! wait for a disk.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rotary_directory::{DirectoryAnswer, DirectoryCommand, DirectoryEntry};
use rotary_log::{Log, Members};
use rotary_proto::outcome::Answer;
use rotary_proto::{FIRST_LOGIC, LogicVersions, NodeId, ShardCommand, ShardId};

use crate::gateway::doors::Doors;
use crate::machine::fence::Fences;
use crate::replica::{DIRECTORY, Replica};

/// How often the shards are looked at.
const LOOK: Duration = Duration::from_millis(500);
/// How long a step waits for its commit.
const PATIENCE: Duration = Duration::from_secs(2);

/// Takes steps as long as the node runs, and notes which versions its replicas act by.
pub(crate) async fn keep(doors: Doors, log: Arc<Log>, fences: Fences) {
    let (mut noted, mut wishes) = (BTreeMap::new(), Wishes::default());
    loop {
        tokio::time::sleep(LOOK).await;
        let mut waiting = BTreeMap::new();
        for shard in log.shards() {
            let version = acts_by(&doors.replica, shard);
            if version > FIRST_LOGIC && noted.insert(shard, version) != Some(version) {
                let fences = fences.clone();
                let write = move || fences.note(shard, version);
                if let Err(error) = crate::blocking::run(write).await {
                    tracing::warn!(%shard, %error, "a version of the logic is not noted");
                }
            }
            let next = next(&doors, &log, shard);
            let Some((next, since)) = wishes.note(shard, next, Instant::now()) else { continue };
            let Some(look) = Look::at(&doors, &log, shard, next, since) else { continue };
            match look.obstacle() {
                None => raise(&doors, shard, look.next).await,
                Some(why) => _ = waiting.insert(shard, why),
            }
        }
        doors.hints.raise(waiting);
    }
}

/// The version that a shard acts by, as far as this node's replica has come.
pub(crate) fn acts_by(replica: &Replica, shard: ShardId) -> u32 {
    match replica.shard(shard) {
        Some(shard) => shard.read().logic_version(),
        None => replica.directory().upgrade().acts_by,
    }
}

/// The version that it is to act by.
pub(crate) fn wanted(replica: &Replica, shard: ShardId) -> u32 {
    let upgrade = replica.directory().upgrade();
    if shard == DIRECTORY { upgrade.wanted } else { upgrade.acts_by }
}

async fn raise(doors: &Doors, shard: ShardId, version: u32) {
    tracing::info!(%shard, version, "a shard is to act by the next version of the logic");
    let raised = if shard == DIRECTORY {
        let command = DirectoryCommand::RaiseVersion { version };
        let entry = DirectoryEntry { origin: None, asked: None, command };
        let told = doors.propose::<_, DirectoryAnswer>(shard, &entry, PATIENCE).await;
        told.map(|answer| format!("{:?}", answer.outcome))
    } else {
        let command = ShardCommand::RaiseVersion { version };
        let told = doors.propose::<_, Answer>(shard, &command, PATIENCE).await;
        told.map(|answer| format!("{:?}", answer.outcome))
    };
    match raised {
        Ok(outcome) => tracing::debug!(%shard, version, outcome, "it was decided"),
        Err(error) => tracing::debug!(%shard, %error, "it is tried again"),
    }
}

/// The version that a shard is to act by next, if this node leads it and another is wanted.
fn next(doors: &Doors, log: &Log, shard: ShardId) -> Option<u32> {
    let now = acts_by(&doors.replica, shard);
    let leads = log.followers(shard).is_some();
    (leads && now < wanted(&doors.replica, shard)).then_some(now + 1)
}

/// Since when this node knows that its shards are to take their next steps.
#[derive(Default)]
struct Wishes(BTreeMap<ShardId, (u32, Instant)>);

impl Wishes {
    /// The step and since when it is known, unless there is none, or it is known only now: the
    /// members had no time to answer yet.
    fn note(&mut self, shard: ShardId, next: Option<u32>, now: Instant) -> Option<(u32, Instant)> {
        let Some(next) = next else {
            self.0.remove(&shard);
            return None;
        };
        let known = self.0.get(&shard).copied().filter(|(version, _)| *version == next);
        if known.is_none() {
            self.0.insert(shard, (next, now));
        }
        known
    }
}

/// A shard that this node leads and that is behind what is wanted, at a moment.
struct Look {
    next: u32,
    /// What the build of each member can apply, if it said so lately.
    members: BTreeMap<NodeId, Option<LogicVersions>>,
    /// Nodes of which the directory does not know that they can apply it.
    unfit: BTreeSet<NodeId>,
    doubtful: BTreeSet<ShardId>,
}

impl Look {
    fn at(doors: &Doors, log: &Log, shard: ShardId, next: u32, since: Instant) -> Option<Self> {
        let members: Members = log.members(shard)?;
        let can = |node| (node, doors.hints.health_since(node, since).map(|health| health.can));
        Some(Self {
            next,
            members: members.all().map(can).collect(),
            unfit: doors.replica.directory().unfit(next),
            doubtful: doors.hints.doubtful(),
        })
    }

    /// What keeps the next step from being taken.
    fn obstacle(&self) -> Option<String> {
        if let Some(shard) = self.doubtful.first() {
            return Some(format!("replicas of {shard} differ (replicas-differ)"));
        }
        let lacks = |(node, can): (&NodeId, &Option<LogicVersions>)| match can {
            None => Some(format!("{node} does not answer")),
            Some(can) if !can.include(self.next) => Some(cannot(*node, *can)),
            Some(_) => None,
        };
        let mut lacks: Vec<String> = self.members.iter().filter_map(lacks).collect();
        let unknown = self.unfit.iter().filter(|node| !self.members.contains_key(node));
        lacks.extend(unknown.map(|node| format!("{node} is not known to be able to apply it")));
        (!lacks.is_empty()).then(|| lacks.join(", "))
    }
}

fn cannot(node: NodeId, can: LogicVersions) -> String {
    format!("{node} can apply {can}")
}

#[cfg(test)]
mod tests {
    use super::*;

    const NEW: LogicVersions = LogicVersions { oldest: 1, newest: 2 };

    fn look(third: Option<LogicVersions>) -> Look {
        let members = [(1, Some(NEW)), (2, Some(NEW)), (3, third)];
        let members = members.map(|(node, can)| (NodeId(node), can)).into();
        Look { next: 2, members, unfit: BTreeSet::new(), doubtful: BTreeSet::new() }
    }

    #[test]
    fn a_step_waits_for_whoever_is_away_or_cannot_follow() {
        assert_eq!(look(Some(NEW)).obstacle(), None);
        let told = |look: Look| look.obstacle().expect("it waits");
        assert_eq!(told(look(None)), "nd_3 does not answer");
        let old = LogicVersions { oldest: 1, newest: 1 };
        assert_eq!(told(look(Some(old))), "nd_3 can apply 1");
        let unfit = BTreeSet::from([NodeId(3), NodeId(9)]);
        let gateway = told(Look { unfit, ..look(Some(NEW)) });
        assert_eq!(gateway, "nd_9 is not known to be able to apply it");
    }

    #[test]
    fn a_step_is_known_since_it_was_first_seen() {
        let (mut wishes, shard, begin) = (Wishes::default(), ShardId(1), Instant::now());
        let at = |ms| begin + Duration::from_millis(ms);
        assert_eq!(wishes.note(shard, Some(2), at(0)), None, "nobody had time to answer");
        assert_eq!(wishes.note(shard, Some(2), at(500)), Some((2, at(0))));
        assert_eq!(wishes.note(shard, Some(3), at(600)), None, "it is another step");
        assert_eq!(wishes.note(shard, Some(3), at(700)), Some((3, at(600))));
        assert_eq!(wishes.note(shard, None, at(800)), None);
        assert_eq!(wishes.note(shard, Some(3), at(900)), None, "it was taken back, and is new");
    }

    #[test]
    fn nothing_is_raised_while_replicas_differ() {
        let doubtful = BTreeSet::from([ShardId(4)]);
        let told = Look { doubtful, ..look(Some(NEW)) }.obstacle();
        assert_eq!(told.as_deref(), Some("replicas of sh_4 differ (replicas-differ)"));
    }
}
