//! The cluster as this node sees it, and its gateway-only nodes as all core nodes do.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use rotary_directory::{Announced, LogicVersions, NodeKind, Upgrade};
use rotary_proto::{Name, NodeId, ShardId, Wall};
use schemars::JsonSchema;
use serde::Serialize;

use crate::build;
use crate::gateway::authority::{Action, permit};
use crate::gateway::doors::{Doors, Peer};
use crate::gateway::extract::Caller;
use crate::gateway::health::all_shards;
use crate::gateway::problem::Problem;
use crate::gateway::token::unix_ms;
use crate::nodes::{Sighting, drain, seen_by_all, upgrade};
use crate::replica::ShardReplica;
use crate::spine::ShardMembers;

/// The answer: nodes and shards.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Cluster")]
pub(crate) struct ClusterJson {
    /// Who answers.
    node: NodeId,
    /// The cluster's id.
    cluster: String,
    build: &'static str,
    /// The version of the routing logic that the cluster acts by.
    acts_by: u32,
    /// The version that it is to act by.
    wanted: u32,
    nodes: Vec<NodeJson>,
    /// Gateway-only nodes.
    gateways: Vec<GatewayJson>,
    shards: Vec<ShardJson>,
    /// Zones whose loss leaves no majority of the votes.
    overweight: Vec<Name>,
}

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Node")]
struct NodeJson {
    #[serde(flatten)]
    peer: Peer,
    /// Whether the answering node has a connection to it, and heard it within the last second.
    connected: bool,
    /// Whether it is to keep replicas; if not, it is leaving, or gone.
    keeps: bool,
    /// Whether it is to have a vote.
    votes: bool,
    /// How many shards it leads.
    leads: usize,
    /// Whether it is to be empty.
    drains: bool,
    /// Sessions that it has; null if it does not answer.
    sessions: Option<u32>,
    /// What is still on it that is to be elsewhere; null where nothing is, or nothing is to be.
    remains: Option<String>,
    /// The version that it announced; null before it has.
    build: Option<Name>,
    /// Whether it has said what it is since it started, so that this is what runs; null if it does
    /// not answer.
    announced: Option<bool>,
    /// Which versions of the routing logic it can apply.
    logic: Option<LogicJson>,
    /// What fails together with it, as it announced; null where nobody said.
    zone: Option<Name>,
}

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "LogicVersions")]
pub(crate) struct LogicJson {
    oldest: u32,
    newest: u32,
}

/// A gateway-only node.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "GatewayNode")]
struct GatewayJson {
    node: NodeId,
    /// The base of its HTTP API, as it announced it.
    url: String,
    /// Where it speaks to core nodes from.
    peer: String,
    build: Name,
    logic: LogicJson,
    /// Whether any core node that answers hears it.
    connected: bool,
    /// Those that do.
    seen_by: BTreeSet<NodeId>,
    /// Since when, by the clock of the answering node.
    since: Option<Wall>,
    /// When it was last heard; null if no core node has heard it since it started.
    last_seen: Option<Wall>,
    /// The sessions that it had then.
    sessions: Option<u32>,
    /// Whether it is to be empty.
    drains: bool,
    /// What is still on it that is to be elsewhere; null where nothing is, or nothing is to be.
    remains: Option<String>,
}

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Shard")]
struct ShardJson {
    shard: ShardId,
    leader: Option<NodeId>,
    term: u64,
    last: u64,
    applied: u64,
    fresh: bool,
    sites: usize,
    /// The version of the routing logic that the answering node's replica acts by.
    logic: u32,
    /// The nodes that are to keep a replica, as the directory has them.
    replicas: BTreeSet<NodeId>,
    /// Those of them that are to have no vote.
    voteless: BTreeSet<NodeId>,
    /// The nodes that have a vote, as the shard's own log says; while voters are exchanged, those
    /// of both sets.
    voters: BTreeSet<NodeId>,
    /// Those that follow without one.
    learners: BTreeSet<NodeId>,
    /// What keeps them from being those that are wanted; null where nothing does.
    waiting: Option<String>,
    /// The index up to which a quorum's journals are known to be on disk.
    recorded: Option<u64>,
    /// The same of each member.
    marks: BTreeMap<String, u64>,
}

/// `GET /v1/cluster`
pub(crate) async fn show(
    State(doors): State<Doors>,
    Caller(claims): Caller,
) -> Result<Json<ClusterJson>, Problem> {
    permit(&claims, Action::SeeCluster)?;
    let shards: Vec<ShardJson> = all_shards(&doors).filter_map(|id| shard(&doors, id)).collect();
    let gateways = gateways(&doors).await;
    let nodes = nodes(&doors, &shards);
    let build = build::name();
    let (node, directory) = (doors.node, doors.replica.directory());
    let Upgrade { acts_by, wanted } = directory.upgrade();
    let overweight = directory.overweight_zones();
    let cluster = doors.cluster.clone();
    Ok(Json(ClusterJson {
        node,
        cluster,
        build,
        acts_by,
        wanted,
        nodes,
        gateways,
        shards,
        overweight,
    }))
}

/// The core nodes, those included that keep nothing any more and are not forgotten.
fn nodes(doors: &Doors, shards: &[ShardJson]) -> Vec<NodeJson> {
    let (directory, mut peers) = (doors.replica.directory(), (*doors.roster.peers()).clone());
    // Who was forgotten may still be on the roster for a moment.
    let is_known = |node| directory.keeps_replicas(node) || directory.node(node).is_some();
    peers.retain(|node, _| directory.shards() == 0 || is_known(*node));
    for (node, known) in directory.nodes().filter(|(_, known)| known.kind == NodeKind::Core) {
        let (url, peer) = (known.public.clone(), known.peer.to_string());
        peers.entry(node).or_insert(Peer { node, url, peer });
    }
    let node = |peer: &Peer| {
        let announced = directory.node(peer.node);
        let to_vote = |shard: &ShardJson| {
            shard.replicas.contains(&peer.node) && !shard.voteless.contains(&peer.node)
        };
        NodeJson {
            connected: doors.hints.hears(peer.node),
            keeps: directory.shards() == 0 || directory.keeps_replicas(peer.node),
            votes: directory.shards() == 0 || shards.iter().any(to_vote),
            leads: shards.iter().filter(|shard| shard.leader == Some(peer.node)).count(),
            drains: directory.is_draining(peer.node),
            sessions: doors.hints.sessions(peer.node),
            // Not by way of the replica: who holds a lock to read must not ask for it again.
            remains: drain::is_left(&directory, peer.node)
                .then(|| remains(doors, shards, peer.node))
                .flatten(),
            build: announced.map(|announced| announced.build.clone()),
            announced: doors.hints.announced(peer.node),
            logic: announced.map(|announced| logic(announced.logic)),
            zone: announced.and_then(|announced| announced.zone.clone()),
            peer: peer.clone(),
        }
    };
    peers.values().map(node).collect()
}

/// What is on a core node that is to be left.
fn remains(doors: &Doors, shards: &[ShardJson], node: NodeId) -> Option<String> {
    let leads = shards.iter().filter(|shard| shard.leader == Some(node)).map(|shard| shard.shard);
    let performs = |shard: &Arc<ShardReplica>| shard.read().view().replicas.contains(&node);
    let performs = doors.replica.shards().into_iter().filter(performs).map(|shard| shard.id);
    let sessions = doors.hints.sessions(node).unwrap_or(0);
    drain::remains(sessions, &leads.collect::<Vec<_>>(), &performs.collect::<Vec<_>>())
}

pub(crate) const fn logic(LogicVersions { oldest, newest }: LogicVersions) -> LogicJson {
    LogicJson { oldest, newest }
}

/// Those that announced themselves; the other core nodes are asked only if there are any.
async fn gateways(doors: &Doors) -> Vec<GatewayJson> {
    let announced: Vec<(NodeId, Announced, bool)> = {
        let directory = doors.replica.directory();
        let all = directory.nodes().filter(|(_, known)| known.kind == NodeKind::Gateway);
        let row = |(node, announced): (NodeId, &Announced)| {
            (node, announced.clone(), directory.is_draining(node))
        };
        all.map(row).collect()
    };
    if announced.is_empty() {
        return Vec::new();
    }
    let (seen, now_ms) = (seen_by_all(doors).await, unix_ms());
    let row = |(node, announced, drains)| GatewayJson {
        drains,
        ..gateway(node, announced, &seen, now_ms)
    };
    let rows = announced.into_iter().map(row);
    let remains = |row: &GatewayJson| {
        let sessions = row.sessions.filter(|_| row.drains && row.connected);
        drain::remains(sessions.unwrap_or(0), &[], &[])
    };
    rows.map(|row| GatewayJson { remains: remains(&row), ..row }).collect()
}

/// One, as all who have heard it together see it.
fn gateway(
    node: NodeId,
    announced: Announced,
    seen: &[(NodeId, Vec<Sighting>)],
    now_ms: u64,
) -> GatewayJson {
    let of = |(seer, rows): &(NodeId, Vec<Sighting>)| {
        let row = rows.iter().find(|row| row.node == node);
        row.map(|row| (*seer, *row))
    };
    let seen: Vec<(NodeId, Sighting)> = seen.iter().filter_map(of).collect();
    let connected = || seen.iter().filter(|(_, row)| row.connected);
    let ago = |ms: u64| Wall(now_ms.saturating_sub(ms));
    let latest = seen.iter().map(|(_, row)| row).min_by_key(|row| row.heard_ms);
    GatewayJson {
        node,
        connected: connected().next().is_some(),
        seen_by: connected().map(|(seer, _)| *seer).collect(),
        since: connected().map(|(_, row)| row.since_ms).max().map(ago),
        last_seen: latest.map(|row| ago(row.heard_ms)),
        sessions: latest.map(|row| row.sessions),
        drains: false,
        remains: None,
        url: announced.public,
        peer: announced.peer.to_string(),
        build: announced.build,
        logic: logic(announced.logic),
    }
}

fn shard(doors: &Doors, shard: ShardId) -> Option<ShardJson> {
    let status = doors.spine.status(shard)?;
    let (mut sites, mut recorded, mut marks) = (0, None, BTreeMap::new());
    if let Some(replica) = doors.replica.shard(shard) {
        let state = replica.read();
        let logged = state.journal_marks().iter();
        sites = state.sites().count();
        marks = logged.map(|(node, index)| (node.to_string(), *index)).collect();
        recorded = (!marks.is_empty()).then(|| state.recorded());
    }
    let logic = upgrade::acts_by(&doors.replica, shard);
    let directory = doors.replica.directory();
    let ShardMembers { voters, learners, waiting } = doors.spine.members(shard);
    let wanted = directory.seats(shard).unwrap_or_default();
    let begins = directory.founding().find(|(begins, _)| *begins == shard);
    let begins = begins.and_then(|(_, founding)| founding.founder(shard));
    let begins = begins.map(|founder| format!("it is being made, and begins on {founder}"));
    // What the leader said a moment ago may have come true.
    let waiting = waiting.filter(|_| voters != wanted.voters || learners != wanted.learners);
    Some(ShardJson {
        shard,
        leader: status.leader,
        term: status.term,
        last: status.last,
        applied: status.applied,
        fresh: status.fresh,
        sites,
        logic,
        replicas: directory.replicas(shard).cloned().unwrap_or_default(),
        voteless: wanted.learners,
        voters,
        learners,
        waiting: begins.or(waiting),
        recorded,
        marks,
    })
}

#[cfg(test)]
mod tests {
    use rotary_directory::NodeKind;

    use super::*;

    fn announced() -> Announced {
        Announced {
            kind: NodeKind::Gateway,
            peer: ([192, 0, 2, 1], 7_082).into(),
            public: "https://acd.example".to_owned(),
            build: Name::new("1.2").expect("valid"),
            logic: LogicVersions { oldest: 1, newest: 2 },
            zone: None,
        }
    }

    fn row(node: u64, connected: bool, since_ms: u64, heard_ms: u64) -> Sighting {
        let (node, sessions) = (NodeId(node), heard_ms as u32);
        Sighting { node, connected, since_ms, heard_ms, sessions }
    }

    #[test]
    fn a_gateway_is_connected_if_any_core_node_hears_it() {
        let seen = [
            (NodeId(1), vec![row(4, true, 900, 30), row(5, true, 1, 1)]),
            (NodeId(2), vec![row(4, true, 500, 10)]),
            (NodeId(3), vec![row(4, false, 9_000, 5_000), row(6, false, 7_000, 6_000)]),
        ];
        let shown = |node| {
            let shown = gateway(NodeId(node), announced(), &seen, 10_000);
            serde_json::to_value(shown).expect("plain data")
        };
        let here = serde_json::json!({
            "node": "nd_4", "url": "https://acd.example", "peer": "192.0.2.1:7082",
            "build": "1.2", "logic": {"oldest": 1, "newest": 2}, "connected": true,
            "seen_by": ["nd_1", "nd_2"], "since": 9_100, "last_seen": 9_990, "sessions": 10,
            "drains": false, "remains": null,
        });
        assert_eq!(shown(4), here);
        let gone = shown(6);
        assert_eq!((&gone["connected"], &gone["since"]), (&false.into(), &().into()));
        assert_eq!(gone["last_seen"], 4_000);
        let never = shown(7);
        assert_eq!((&never["last_seen"], &never["sessions"]), (&().into(), &().into()));
    }
}
