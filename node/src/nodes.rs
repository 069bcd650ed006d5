//! Which nodes there are, as they tell the directory and each other.
//!
//! A node *announces* itself: what it is, where, and which build. A core node does so when it
//! starts ([`announce`]). A gateway-only node has no log, so it tells the core nodes that it is
//! here, every second ([`Present`]), and has one of them announce it where the directory knows
//! something else. Who it is says its certificate and nothing else: there is no number in what it
//! says.
//!
//! Whether a gateway-only node lives is replicated nowhere. Each core node keeps when it last heard
//! of which ([`gateways`]), and whoever is asked asks the others too ([`seen_by_all`]).
//!
//! Who votes in a shard is in that shard's own log. What the directory wants there is brought about
//! by whoever leads the shard ([`seats`]); whom this node speaks to follows from both ([`roster`]).
//! So is the version of the logic that a shard acts by ([`upgrade`]), and the beginning of a shard
//! that is made while the cluster serves ([`hosting`]). Where a site is to live the directory says,
//! too; its leader brings it there ([`mover`]).

pub(crate) mod announce;
pub(crate) mod assembler;
mod disagreement;
pub(crate) mod drain;
mod gateways;
pub(crate) mod hosting;
pub(crate) mod mover;
pub(crate) mod roster;
pub(crate) mod seats;
pub(crate) mod upgrade;

use std::time::{Duration, Instant};

use rotary_directory::{Announced, LogicVersions, NodeKind};
use rotary_proto::codec::{self, Limit};
use rotary_proto::{Name, NodeId, Stamp};
use serde::{Deserialize, Serialize};

use crate::build;
use crate::config::{Config, Role};
use crate::gateway::doors::Doors;

pub(crate) use gateways::{Gateways, Sighting};

/// The transport service that hears of gateway-only nodes.
pub(crate) const SERVICE_PRESENT: u8 = 12;
/// The transport service that answers which gateway-only nodes this node has heard of.
pub(crate) const SERVICE_SEEN: u8 = 13;

/// How often a gateway-only node says that it is here.
pub(crate) const PRESENT_EVERY: Duration = Duration::from_secs(1);

/// How long another node's answer to [`SERVICE_SEEN`] is waited for: a person looks at the list.
const SEEN_PATIENCE: Duration = Duration::from_millis(300);

/// What a gateway-only node says of itself, to a core node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Present {
    /// Differs between any two runs of it.
    pub(crate) run: u64,
    pub(crate) announced: Announced,
    /// Sessions that it has.
    pub(crate) sessions: u32,
    pub(crate) wants: Wants,
}

/// What it wants by that.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Wants {
    /// To be seen.
    Nothing,
    /// To be announced to the directory as well.
    Announcement,
    /// To be seen no more: it stops.
    Leave,
}

/// What it is answered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Heard {
    /// The directory knows it so.
    Known {
        /// Whether its sessions are to be elsewhere.
        drains: bool,
        /// Up to when the directory of the node that answers knows.
        stamp: Stamp,
    },
    /// The directory of the node that answers does not.
    Unknown,
    /// It is not taken for what it says, and why.
    Refused(String),
}

/// What a node runs.
#[derive(Debug, Clone)]
pub(crate) struct Runs {
    /// What others know the build by.
    pub(crate) build: Name,
    /// Which versions of the logic it can apply.
    pub(crate) logic: LogicVersions,
}

impl Runs {
    /// This build.
    pub(crate) fn this_build() -> Self {
        Self {
            build: Name::new(build::name()).expect("a version is a name"),
            logic: build::logic(),
        }
    }
}

/// What this node says of itself.
pub(crate) fn announced(config: &Config, peer: std::net::SocketAddr, runs: Runs) -> Announced {
    let Runs { build, logic } = runs;
    let own = config.cluster.peers.iter().find(|peer| peer.id == config.node.id);
    let (kind, peer, public) = match (config.node.role, own) {
        (Role::Core, Some(own)) => (NodeKind::Core, own.peer, own.public.clone()),
        (Role::Core, None) => (NodeKind::Core, peer, String::new()),
        (Role::Gateway, _) => (NodeKind::Gateway, peer, config.public_url()),
    };
    let zone = config.node.zone();
    Announced { kind, peer, public, build, logic, zone }
}

/// What every core node that answers has heard of gateway-only nodes, this one first.
pub(crate) async fn seen_by_all(doors: &Doors) -> Vec<(NodeId, Vec<Sighting>)> {
    let own = (doors.node, doors.gateways.seen(Instant::now()));
    let others = doors.hints.ask_all(SERVICE_SEEN, SEEN_PATIENCE).await;
    let read = |(node, answer): (NodeId, bytes::Bytes)| {
        Some((node, codec::decode(&answer, Limit::Wire).ok()?))
    };
    std::iter::once(own).chain(others.into_iter().filter_map(read)).collect()
}

/// Answers [`SERVICE_SEEN`].
pub(crate) fn answer_seen(doors: &Doors) -> Result<Vec<u8>, String> {
    let seen = doors.gateways.seen(Instant::now());
    codec::encode(&seen, Limit::Wire).map_err(|error| error.to_string())
}
