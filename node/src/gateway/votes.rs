//! Votes over zones: how they are spread, how they would be, and spreading them.

use std::collections::BTreeSet;

use axum::Json as AxumJson;
use axum::extract::State;
use rotary_directory::{DirectoryCommand, Spread, ZoneVotes};
use rotary_proto::limits::VOTERS_MAX;
use rotary_proto::{Name, NodeId};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::gateway::authority::{Action, permit};
use crate::gateway::doors::Doors;
use crate::gateway::extract::{Caller, Json, Key, Query};
use crate::gateway::identity::change;
use crate::gateway::list::{Changed, Nothing};
use crate::gateway::problem::Problem;

/// How many nodes are to have a vote.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Count {
    /// 1 to 9, and no more than there are core nodes; as many as have one if absent.
    #[serde(default)]
    count: Option<u32>,
}

/// The votes as they are, and as they would be.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Votes")]
pub(crate) struct VotesJson {
    /// The core nodes by what fails together.
    zones: Vec<ZoneJson>,
    /// Zones whose loss leaves no majority of the votes.
    overweight: Vec<Name>,
    /// Who would have a vote, were they spread.
    voters: BTreeSet<NodeId>,
    /// Those of them who have none.
    gain: BTreeSet<NodeId>,
    /// Those who have one, and would not.
    lose: BTreeSet<NodeId>,
}

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "ZoneVotes")]
struct ZoneJson {
    /// Null for the nodes that named none.
    zone: Option<Name>,
    nodes: BTreeSet<NodeId>,
    /// Those of them that are to have a vote.
    voters: BTreeSet<NodeId>,
}

impl From<ZoneVotes> for ZoneJson {
    fn from(ZoneVotes { zone, nodes, voters }: ZoneVotes) -> Self {
        Self { zone, nodes, voters }
    }
}

/// `GET /v1/cluster/votes`
pub(crate) async fn show(
    State(doors): State<Doors>,
    Caller(claims): Caller,
    Query(Count { count }): Query<Count>,
) -> Result<AxumJson<VotesJson>, Problem> {
    permit(&claims, Action::SeeCluster)?;
    let directory = doors.replica.directory();
    if count.is_some_and(|count| !(1..=VOTERS_MAX as u32).contains(&count)) {
        return Err(Problem::bad_value(format!("count: 1 to {VOTERS_MAX}")));
    }
    let Spread { voters, gain, lose } = directory.spread(count);
    let overweight = directory.overweight_zones();
    let zones = directory.zones().into_iter().map(ZoneJson::from).collect();
    Ok(AxumJson(VotesJson { zones, overweight, voters, gain, lose }))
}

/// `PUT /v1/cluster/votes`
pub(crate) async fn spread(
    State(doors): State<Doors>,
    Caller(claims): Caller,
    Key(key): Key,
    Json(Count { count }): Json<Count>,
) -> Result<Changed<Nothing>, Problem> {
    permit(&claims, Action::ChangeNodes)?;
    change(&doors, &claims, key, DirectoryCommand::SpreadVotes { count }).await
}
