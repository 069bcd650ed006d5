//! What an administrator does to the list of nodes: who keeps the shards, who has a vote, and whom
//! to forget. Each is one entry of the directory's log; the leaders of the shards then follow it.

use std::net::SocketAddr;

use axum::extract::State;
use rotary_directory::{Announced, DirectoryCommand, NodeKind};
use rotary_proto::{Name, NodeId};
use schemars::JsonSchema;
use serde::Deserialize;

use crate::gateway::authority::{Action, permit};
use crate::gateway::doors::Doors;
use crate::gateway::extract::{Caller, Ids, Json, Key};
use crate::gateway::health::all_shards;
use crate::gateway::identity::change;
use crate::gateway::list::{Changed, Nothing};
use crate::gateway::problem::Problem;
use crate::nodes::Runs;
use crate::spine::ShardMembers;

/// A core node that is to be taken in.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewNode {
    /// Its number, which no core node has had.
    node: NodeId,
    /// Where other nodes reach it (UDP).
    #[schemars(with = "String")]
    peer: SocketAddr,
    /// The base of its HTTP API, as clients reach it.
    url: String,
    /// What fails together with it, as its configuration says (`node.zone`).
    #[serde(default)]
    zone: Option<Name>,
    /// The core node whose place it takes, if it takes one.
    #[serde(default)]
    instead_of: Option<NodeId>,
}

/// Whether a node is to have a vote.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Vote {
    votes: bool,
}

/// Whether a node is to be empty.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Drain {
    drains: bool,
}

/// `POST /v1/nodes`
pub(crate) async fn admit(
    State(doors): State<Doors>,
    Caller(claims): Caller,
    Key(key): Key,
    Json(new): Json<NewNode>,
) -> Result<Changed<Nothing>, Problem> {
    permit(&claims, Action::ChangeNodes)?;
    let NewNode { node, peer, url, zone, instead_of } = new;
    // It says itself what it runs, as soon as it does.
    let (kind, public) = (NodeKind::Core, url);
    let Runs { build, logic } = doors.runs.clone();
    let announced = Announced { kind, peer, public, build, logic, zone };
    change(&doors, &claims, key, DirectoryCommand::Admit { node, announced, instead_of }).await
}

/// `POST /v1/nodes/{node}/decommission`
pub(crate) async fn decommission(
    State(doors): State<Doors>,
    Caller(claims): Caller,
    Ids(node): Ids<NodeId>,
    Key(key): Key,
    Json(Nothing {}): Json<Nothing>,
) -> Result<Changed<Nothing>, Problem> {
    permit(&claims, Action::ChangeNodes)?;
    change(&doors, &claims, key, DirectoryCommand::Release { node }).await
}

/// `PUT /v1/nodes/{node}/vote`
pub(crate) async fn vote(
    State(doors): State<Doors>,
    Caller(claims): Caller,
    Ids(node): Ids<NodeId>,
    Key(key): Key,
    Json(Vote { votes }): Json<Vote>,
) -> Result<Changed<Nothing>, Problem> {
    permit(&claims, Action::ChangeNodes)?;
    change(&doors, &claims, key, DirectoryCommand::SetVote { node, votes }).await
}

/// `PUT /v1/nodes/{node}/drain`
pub(crate) async fn drain(
    State(doors): State<Doors>,
    Caller(claims): Caller,
    Ids(node): Ids<NodeId>,
    Key(key): Key,
    Json(Drain { drains }): Json<Drain>,
) -> Result<Changed<Nothing>, Problem> {
    permit(&claims, Action::ChangeNodes)?;
    change(&doors, &claims, key, DirectoryCommand::SetDraining { node, drains }).await
}

/// Whether the log of any shard still has a node that keeps no replicas any more.
fn is_leaving(doors: &Doors, node: NodeId) -> bool {
    !doors.replica.directory().keeps_replicas(node)
        && all_shards(doors).any(|shard| {
            let ShardMembers { voters, learners, .. } = doors.spine.members(shard);
            voters.contains(&node) || learners.contains(&node)
        })
}

/// `DELETE /v1/nodes/{node}`
pub(crate) async fn forget(
    State(doors): State<Doors>,
    Caller(claims): Caller,
    Ids(node): Ids<NodeId>,
    Key(key): Key,
    Json(Nothing {}): Json<Nothing>,
) -> Result<Changed<Nothing>, Problem> {
    permit(&claims, Action::ChangeNodes)?;
    if is_leaving(&doors, node) {
        let detail = format!("{node} is still leaving: its shards have not all let it go");
        return Err(Problem::new(axum::http::StatusCode::CONFLICT, "keeps-replicas", detail));
    }
    change(&doors, &claims, key, DirectoryCommand::Forget { node }).await
}
