//! A gateway-only node says that it is here, to every core node, every second; and has one of them
//! announce it where the directory knows something else of it, or nothing.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures::future::join_all;
use rotary_directory::Announced;
use rotary_proto::NodeId;
use rotary_proto::codec::{self, Limit};
use rotary_proto::wire::Lane;
use tokio::sync::{Mutex, OwnedMutexGuard};

use crate::nodes::roster;
use crate::nodes::{Heard, PRESENT_EVERY, Present, SERVICE_PRESENT, Wants};
use crate::relay::Relay;

/// How long a core node may take to answer.
const PATIENCE: Duration = Duration::from_secs(1);
/// How long it may take to announce this node.
const ANNOUNCE_PATIENCE: Duration = Duration::from_secs(6);
/// Pause after the directory has refused it: nothing changes that quickly.
const ANNOUNCE_AGAIN: Duration = Duration::from_secs(60);
/// Times in a row, a second apart, after which a refusal is told; a run that is gone is forgotten
/// after three.
const REFUSALS_TOLD: u32 = 5;
/// How long the core nodes may take to hear that this node stops.
const LEAVE_PATIENCE: Duration = Duration::from_millis(300);

/// Who this node is, in this run of it.
#[derive(Debug, Clone)]
pub(crate) struct Identity {
    pub(crate) run: u64,
    pub(crate) announced: Announced,
}

/// Says so to each core node, for as long as the node runs. One that is slow holds up no other.
pub(crate) async fn keep_saying(relay: Relay, identity: Identity) {
    let turn = Arc::new(Mutex::new(()));
    let tell = |core| {
        let (relay, identity, turn) = (relay.clone(), identity.clone(), turn.clone());
        async move { keep_telling(&relay, &identity, core, &turn).await }
    };
    roster::for_each(&relay.roster, tell).await;
}

/// The same to one of them. Whoever holds `turn` has this node announced.
async fn keep_telling(relay: &Relay, identity: &Identity, core: NodeId, turn: &Arc<Mutex<()>>) {
    let mut refused = Refusals::default();
    loop {
        let heard = tell(relay, identity, core, (Wants::Nothing, PATIENCE)).await;
        if heard == Some(Heard::Unknown)
            && let Ok(turn) = turn.clone().try_lock_owned()
        {
            tokio::spawn(announce(relay.clone(), identity.clone(), core, turn));
        }
        match heard {
            Some(Heard::Refused(why)) if refused.lasts(&why) => tell_refused(core, &why),
            Some(Heard::Known { drains, stamp }) => {
                refused = Refusals::default();
                relay.told(drains, stamp);
            }
            _ => {}
        }
        tokio::time::sleep(PRESENT_EVERY).await;
    }
}

/// The same refusal, time after time.
#[derive(Debug, Default)]
struct Refusals {
    why: String,
    times: u32,
}

impl Refusals {
    /// Whether it is time to tell of it: once it has lasted longer than this node's run before this
    /// one, that was killed a moment ago, is taken for another node.
    fn lasts(&mut self, why: &str) -> bool {
        if self.why != why {
            (self.why, self.times) = (why.to_owned(), 0);
        }
        self.times = self.times.saturating_add(1);
        self.times == REFUSALS_TOLD
    }
}

/// Has this node announced; it goes on saying that it is here meanwhile.
async fn announce(relay: Relay, identity: Identity, core: NodeId, _turn: OwnedMutexGuard<()>) {
    let with = (Wants::Announcement, ANNOUNCE_PATIENCE);
    if let Some(Heard::Refused(why)) = tell(&relay, &identity, core, with).await {
        tell_refused(core, &why);
        tokio::time::sleep(ANNOUNCE_AGAIN).await;
    }
}

fn tell_refused(core: NodeId, why: &str) {
    tracing::warn!(
        code = "announce-refused",
        %core,
        why,
        "the cluster does not take what this node says of itself; it serves all the same"
    );
}

/// Says that this node stops, and waits for a moment until the core nodes have heard it.
pub(crate) async fn leave(relay: &Relay, identity: &Identity) {
    let live = relay.cores.live();
    let with = (Wants::Leave, LEAVE_PATIENCE);
    join_all(live.into_iter().map(|core| tell(relay, identity, core, with))).await;
}

/// What a core node answers; `None` where it does not, or cannot at present.
async fn tell(
    relay: &Relay,
    identity: &Identity,
    core: NodeId,
    (wants, patience): (Wants, Duration),
) -> Option<Heard> {
    let sessions = u32::try_from(relay.sockets.load(Ordering::Relaxed)).unwrap_or(u32::MAX);
    let Identity { run, announced } = identity.clone();
    let present = Present { run, announced, sessions, wants };
    let payload = codec::encode(&present, Limit::Entry).ok()?;
    let answer = relay.transport.call(core, Lane::Live, SERVICE_PRESENT, payload, patience).await;
    match answer {
        Ok(answer) => codec::decode(&answer, Limit::Entry).ok(),
        Err(error) => {
            tracing::debug!(%core, %error, "a core node did not hear that this node is here");
            None
        }
    }
}
