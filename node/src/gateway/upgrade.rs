//! Which version of the logic the cluster acts by, what it could act by, and what keeps it from
//! that; and which nodes can be restarted just now.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use axum::Json as AxumJson;
use axum::extract::State;
use axum::http::StatusCode;
use rotary_directory::{Announced, DirectoryCommand, NodeKind};
use rotary_proto::{Name, NodeId, ShardId};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::gateway::authority::{Action, permit};
use crate::gateway::cluster::{LogicJson, logic};
use crate::gateway::doors::Doors;
use crate::gateway::extract::{Caller, Json, Key};
use crate::gateway::health::all_shards;
use crate::gateway::identity::change;
use crate::gateway::list::{Changed, Nothing};
use crate::gateway::problem::Problem;
use crate::hint::Health;
use crate::nodes::{seen_by_all, upgrade};

/// Where an upgrade stands.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Upgrade")]
pub(crate) struct UpgradeJson {
    /// The version of the routing logic that the cluster acts by, and that there is no way back
    /// from.
    acts_by: u32,
    /// The version that it is to act by.
    wanted: u32,
    /// The newest version beyond what is wanted that any node's build can apply; null if there is
    /// none.
    next: Option<u32>,
    /// What keeps `next` from being wanted; none where nothing does.
    blocks: Vec<String>,
    nodes: Vec<NodeJson>,
    shards: Vec<ShardJson>,
}

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "UpgradeNode")]
struct NodeJson {
    node: NodeId,
    /// Whether it is a gateway-only node.
    gateway: bool,
    /// The build that it announced; null before it has.
    build: Option<Name>,
    /// Which versions of the routing logic that can apply.
    logic: Option<LogicJson>,
    /// Whether it answers.
    answers: bool,
    /// Why it should not be restarted just now; null where nothing speaks against it.
    keep: Option<String>,
}

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "UpgradeShard")]
struct ShardJson {
    shard: ShardId,
    /// The version that it acts by.
    logic: u32,
    /// What keeps it from acting by the version that it is to; null where nothing does.
    waiting: Option<String>,
}

/// The version that the cluster is to act by.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Wish {
    version: u32,
}

/// `GET /v1/upgrade`
pub(crate) async fn show(
    State(doors): State<Doors>,
    Caller(claims): Caller,
) -> Result<AxumJson<UpgradeJson>, Problem> {
    permit(&claims, Action::SeeCluster)?;
    let (nodes, upgrade) = {
        let directory = doors.replica.directory();
        let known = |node| (node, directory.node(node).cloned());
        let nodes: Vec<(NodeId, Option<Announced>)> =
            directory.participants().into_iter().map(known).collect();
        (nodes, directory.upgrade())
    };
    let is_gateway =
        |known: &Option<Announced>| known.as_ref().is_some_and(|it| it.kind == NodeKind::Gateway);
    // The other core nodes are asked only if there are any.
    let seen = match nodes.iter().any(|(_, known)| is_gateway(known)) {
        true => seen_by_all(&doors).await,
        false => Vec::new(),
    };
    let seen = seen.iter().flat_map(|(_, rows)| rows).filter(|row| row.connected);
    let gateways: BTreeSet<NodeId> = seen.map(|row| row.node).collect();
    let newest = nodes.iter().filter_map(|(_, known)| Some(known.as_ref()?.logic.newest)).max();
    let next = newest.filter(|newest| *newest > upgrade.wanted);
    let row = |(node, known): &(NodeId, Option<Announced>)| {
        let gateway = is_gateway(known);
        let answers = match gateway {
            true => gateways.contains(node),
            false => doors.hints.health(*node).is_some(),
        };
        NodeJson {
            node: *node,
            gateway,
            build: known.as_ref().map(|known| known.build.clone()),
            logic: known.as_ref().map(|known| logic(known.logic)),
            answers,
            keep: if gateway { None } else { keep(&doors, *node) },
        }
    };
    let shard = |shard: ShardId| ShardJson {
        shard,
        logic: upgrade::acts_by(&doors.replica, shard),
        waiting: doors.hints.raising(shard).filter(|_| is_behind(&doors, shard)),
    };
    Ok(AxumJson(UpgradeJson {
        acts_by: upgrade.acts_by,
        wanted: upgrade.wanted,
        next,
        blocks: next.map_or_else(Vec::new, |next| blocks(&doors, &nodes, next)),
        nodes: nodes.iter().map(row).collect(),
        shards: all_shards(&doors).map(shard).collect(),
    }))
}

/// What a leader said a moment ago may have come true.
fn is_behind(doors: &Doors, shard: ShardId) -> bool {
    upgrade::acts_by(&doors.replica, shard) < upgrade::wanted(&doors.replica, shard)
}

/// What keeps a version from being wanted.
fn blocks(doors: &Doors, nodes: &[(NodeId, Option<Announced>)], next: u32) -> Vec<String> {
    let cannot = |(node, known): &(NodeId, Option<Announced>)| match known {
        None => Some(format!("{node} has not said what it runs: start it")),
        Some(known) if known.logic.include(next) => None,
        Some(known) => {
            let Announced { build, logic, .. } = known;
            Some(format!("{node} runs {}, which can apply {logic}: upgrade it", build.as_str()))
        }
    };
    let differ = doors.hints.doubtful();
    let differ = differ.iter().map(|shard| format!("replicas of {shard} differ: replicas-differ"));
    nodes.iter().filter_map(cannot).chain(differ).collect()
}

/// Why a core node should not be restarted just now: a shard could not decide without it, or
/// another node is on its way.
fn keep(doors: &Doors, node: NodeId) -> Option<String> {
    let cores: Vec<NodeId> = doors.roster.peers().keys().copied().collect();
    let mut why = Vec::new();
    for other in cores.into_iter().filter(|other| *other != node) {
        if doors.replica.directory().is_draining(other) {
            why.push(format!("{other} drains"));
        }
        match doors.hints.health(other) {
            Some(Health { lacking, .. }) if !lacking.is_empty() => {
                why.push(format!("{other} fetches the journal of {}", list(&lacking)));
            }
            _ => {}
        }
    }
    let mut short: Vec<(ShardId, Vec<NodeId>)> = Vec::new();
    for shard in all_shards(doors) {
        let members = doors.spine.members(shard);
        let votes = |other: NodeId| {
            let health = doors.hints.health(other);
            health.is_some_and(|health| !health.cut.contains(&shard))
        };
        short.extend(missing(node, &members.voters, votes).map(|missing| (shard, missing)));
    }
    if let Some((_, missing)) = short.first() {
        let shards: BTreeSet<ShardId> = short.iter().map(|(shard, _)| *shard).collect();
        let mut said = format!("no majority without it in {}", list(&shards));
        if !missing.is_empty() {
            let missing: BTreeSet<NodeId> = missing.iter().copied().collect();
            write!(said, ": {} cannot vote", list(&missing)).expect("a string takes any text");
        }
        why.push(said);
    }
    (!why.is_empty()).then(|| why.join("; "))
}

/// The others that cannot vote, if those that can are no majority without a node.
fn missing(
    node: NodeId,
    voters: &BTreeSet<NodeId>,
    votes: impl Fn(NodeId) -> bool,
) -> Option<Vec<NodeId>> {
    if !voters.contains(&node) {
        return None;
    }
    let others = voters.iter().copied().filter(|other| *other != node);
    let (can, cannot): (Vec<NodeId>, Vec<NodeId>) = others.partition(|other| votes(*other));
    (can.len() <= voters.len() / 2).then_some(cannot)
}

fn list<T: ToString>(items: &BTreeSet<T>) -> String {
    items.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
}

/// `PUT /v1/upgrade`
pub(crate) async fn finalize(
    State(doors): State<Doors>,
    Caller(claims): Caller,
    Key(key): Key,
    Json(Wish { version }): Json<Wish>,
) -> Result<Changed<Nothing>, Problem> {
    permit(&claims, Action::Upgrade)?;
    if let Some(shard) = doors.hints.doubtful().first() {
        let detail = format!(
            "replicas of {shard} differ, and nobody knows which are right: nothing is upgraded \
             until that is understood (rotary explain replicas-differ)"
        );
        return Err(Problem::new(StatusCode::CONFLICT, "upgrade-blocked", detail));
    }
    change(&doors, &claims, key, DirectoryCommand::Finalize { version }).await
}

/// `DELETE /v1/upgrade`
pub(crate) async fn abort(
    State(doors): State<Doors>,
    Caller(claims): Caller,
    Key(key): Key,
    Json(Nothing {}): Json<Nothing>,
) -> Result<Changed<Nothing>, Problem> {
    permit(&claims, Action::Upgrade)?;
    change(&doors, &claims, key, DirectoryCommand::AbortUpgrade).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_is_missed_where_the_others_are_no_majority() {
        let nodes =
            |numbers: &[u64]| -> BTreeSet<NodeId> { numbers.iter().copied().map(NodeId).collect() };
        let of = |voters: &[u64], silent: &[u64]| {
            let votes = |node: NodeId| !silent.contains(&node.0);
            let missing = missing(NodeId(3), &nodes(voters), votes)?;
            Some(missing.into_iter().map(|node| node.0).collect::<Vec<_>>())
        };
        assert_eq!(of(&[1, 2, 3], &[]), None);
        assert_eq!(of(&[1, 2, 3], &[2]), Some(vec![2]));
        assert_eq!(of(&[1, 2, 3, 4, 5], &[2]), None);
        assert_eq!(of(&[1, 2, 3, 4, 5], &[2, 5]), Some(vec![2, 5]));
        assert_eq!(of(&[1, 3], &[]), Some(vec![]), "its own vote counts on");
        assert_eq!(of(&[3], &[]), Some(vec![]));
        assert_eq!(of(&[1, 2], &[1, 2]), None, "it has no vote");
    }
}
