//! How the directory comes to know nodes: a core node tells it of itself, and of the gateway-only
//! nodes that say who they are.

use std::time::{Duration, Instant};

use rotary_directory::{
    Announced, DirectoryAnswer, DirectoryCommand, DirectoryEntry, DirectoryOutcome, NodeKind,
};
use rotary_proto::NodeId;
use rotary_proto::codec::{self, Limit};

use crate::gateway::doors::Doors;
use crate::nodes::disagreement::disagreement;
use crate::nodes::{Heard, PRESENT_EVERY, Present, Wants};
use crate::replica::DIRECTORY;

/// How long the directory's answer is waited for.
const PATIENCE: Duration = Duration::from_secs(2);
/// Pause between attempts of a node to announce itself.
const AGAIN: Duration = Duration::from_millis(500);

/// Why a node is not announced.
enum Unsaid {
    /// Not at present.
    Later(String),
    /// Not as it is.
    Never(String),
}

/// Announces this node until the directory knows it, and says where configuration and directory
/// differ.
pub(crate) async fn announce_self(doors: Doors, announced: Announced, shards: u32) {
    loop {
        match announce(&doors, doors.node, &announced, || true).await {
            Ok(()) => break,
            Err(Unsaid::Later(why)) => tracing::debug!(why, "this node is announced later"),
            Err(Unsaid::Never(why)) => {
                tracing::warn!(
                    code = "announce-refused",
                    why,
                    "the directory does not take what this node says of itself"
                );
                break;
            }
        }
        tokio::time::sleep(AGAIN).await;
    }
    doors.hints.is_announced();
    let differs = disagreement(shards, &doors.replica.directory());
    if let Some(differs) = differs {
        tracing::warn!(
            code = "members-differ",
            differs,
            "the configuration of this node is not what the cluster was founded with"
        );
    }
}

/// Brings an announcement into the directory, unless it is there; `may` is asked before an entry is
/// proposed for it.
async fn announce(
    doors: &Doors,
    node: NodeId,
    announced: &Announced,
    may: impl FnOnce() -> bool,
) -> Result<(), Unsaid> {
    let later = |why: &dyn std::fmt::Display| Unsaid::Later(why.to_string());
    // What this node does not know yet must not be said again.
    doors.spine.read_index(DIRECTORY, PATIENCE).await.map_err(|error| later(&error))?;
    if doors.replica.directory().shards() == 0 {
        return Err(later(&"the cluster is not founded yet"));
    }
    if is_known(doors, node, announced) {
        return Ok(());
    }
    if !may() {
        return Err(later(&"it was announced a moment ago"));
    }
    let command = DirectoryCommand::Announce { node, announced: announced.clone() };
    let entry = DirectoryEntry { origin: None, asked: None, command };
    let told: Result<DirectoryAnswer, _> = doors.propose(DIRECTORY, &entry, PATIENCE).await;
    let DirectoryAnswer { outcome, index, .. } = told.map_err(|error| later(&error))?;
    match outcome {
        DirectoryOutcome::Done(_) => {
            doors.replica.reach(DIRECTORY, index, PATIENCE).await;
            Ok(())
        }
        DirectoryOutcome::Refused(refusal) => Err(Unsaid::Never(refusal.to_string())),
    }
}

fn is_known(doors: &Doors, node: NodeId, announced: &Announced) -> bool {
    doors.replica.directory().node(node) == Some(announced)
}

/// Answers [`crate::nodes::SERVICE_PRESENT`]: notes that a gateway-only node is here, and announces
/// it if it wants that.
pub(crate) async fn answer_present(
    doors: Doors,
    from: NodeId,
    payload: &[u8],
) -> Result<Vec<u8>, String> {
    let present: Present =
        codec::decode(payload, Limit::Entry).map_err(|error| error.to_string())?;
    let heard = hear(&doors, from, present).await?;
    codec::encode(&heard, Limit::Entry).map_err(|error| error.to_string())
}

/// Who says it is known from their certificate: nobody speaks for another node.
async fn hear(doors: &Doors, from: NodeId, present: Present) -> Result<Heard, String> {
    let Present { run, announced, sessions, wants } = present;
    if wants == Wants::Leave {
        doors.gateways.left(from, run);
        return Ok(known(doors, from));
    }
    if let Err(why) = admit(doors, from, &announced) {
        return Ok(refused(from, why));
    }
    if let Err(why) = doors.gateways.heard((from, run), sessions, Instant::now()) {
        return Ok(refused(from, why));
    }
    if is_known(doors, from, &announced) {
        return Ok(known(doors, from));
    }
    if wants == Wants::Nothing {
        return Ok(Heard::Unknown);
    }
    let may = || doors.gateways.may_propose(from, Instant::now());
    match announce(doors, from, &announced, may).await {
        Ok(()) => Ok(known(doors, from)),
        Err(Unsaid::Later(why)) => Err(why),
        Err(Unsaid::Never(why)) => Ok(refused(from, why)),
    }
}

/// What a gateway-only node is told that is known.
fn known(doors: &Doors, node: NodeId) -> Heard {
    let directory = doors.replica.directory();
    Heard::Known { drains: directory.is_draining(node), stamp: directory.last_stamp() }
}

/// A gateway-only node has a number of its own.
fn admit(doors: &Doors, from: NodeId, announced: &Announced) -> Result<(), String> {
    let is_core = doors.roster.has(from) || doors.replica.directory().keeps_replicas(from);
    if is_core || announced.kind != NodeKind::Gateway {
        return Err(format!(
            "{from} is a core node: a gateway-only node has a number and a certificate of its own \
             (rotary cluster add-gateway)"
        ));
    }
    Ok(())
}

fn refused(from: NodeId, why: String) -> Heard {
    tracing::debug!(%from, why, "a gateway-only node is not taken for what it says");
    Heard::Refused(why)
}

/// Says which gateway-only nodes fall silent, as long as this node runs.
pub(crate) async fn watch(doors: Doors) {
    loop {
        tokio::time::sleep(PRESENT_EVERY).await;
        for node in doors.gateways.fallen_silent(Instant::now()) {
            tracing::warn!(code = "gateway-silent", %node, "a gateway-only node is silent");
        }
    }
}
