//! The cluster as this node sees it.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::State;
use rotary_proto::{NodeId, ShardId};
use schemars::JsonSchema;
use serde::Serialize;

use crate::gateway::authority::{Action, permit};
use crate::gateway::doors::{Doors, Peer};
use crate::gateway::extract::Caller;
use crate::gateway::health::all_shards;
use crate::gateway::problem::Problem;

/// The answer: nodes and shards.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Cluster")]
pub(crate) struct ClusterJson {
    /// Who answers.
    node: NodeId,
    build: &'static str,
    nodes: Vec<NodeJson>,
    shards: Vec<ShardJson>,
}

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Node")]
struct NodeJson {
    #[serde(flatten)]
    peer: Peer,
    /// Whether the answering node has a connection to it.
    connected: bool,
    /// How many shards it leads.
    leads: usize,
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
    let node = |peer: &Peer| NodeJson {
        connected: doors.hints.reaches(peer.node),
        leads: shards.iter().filter(|shard| shard.leader == Some(peer.node)).count(),
        peer: peer.clone(),
    };
    let nodes = doors.peers.iter().map(node).collect();
    let build = env!("CARGO_PKG_VERSION");
    Ok(Json(ClusterJson { node: doors.node, build, nodes, shards }))
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
    Some(ShardJson {
        shard,
        leader: status.leader,
        term: status.term,
        last: status.last,
        applied: status.applied,
        fresh: status.fresh,
        sites,
        recorded,
        marks,
    })
}
