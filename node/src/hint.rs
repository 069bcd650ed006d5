//! What nodes tell each other beside the log: signs of life, and what may be lost.
//!
//! Five times a second every node asks each of its peers which shards it leads. A replica that has
//! not heard of a leader in office for [`FEED_SILENCE_MS`] serves no feeds: its clients read on
//! elsewhere. A leader counts as in office while shard time runs, which it does only with a quorum
//! behind it. Signals between the parties of a conversation travel the same lane.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rotary_log::{Log, Role};
use rotary_proto::codec::{self, Limit};
use rotary_proto::frame::Signal;
use rotary_proto::limits::{FEED_HEARTBEAT_MS, FEED_SILENCE_MS};
use rotary_proto::wire::Lane;
use rotary_proto::{AgentId, ConversationId, NodeId, ShardId, Stamp};
use rotary_transport::Transport;
use serde::{Deserialize, Serialize};

/// The transport service that answers which shards this node leads.
pub(crate) const SERVICE_BEAT: u8 = 3;
/// The transport service that carries signals.
pub(crate) const SERVICE_SIGNAL: u8 = 4;

/// A shard that the answering node leads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Led {
    shard: ShardId,
    term: u64,
    /// Shard time there.
    time: Stamp,
    /// The last index applied there.
    applied: u64,
}

/// A signal on its way to where the other parties are.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) struct SignalHint {
    pub(crate) conversation: ConversationId,
    pub(crate) agent: Option<AgentId>,
    pub(crate) signal: Signal,
}

/// What was last heard of a shard's leader.
#[derive(Debug, Clone, Copy)]
struct Heard {
    at: Instant,
    led: Led,
}

/// When each shard's leader was last seen in office.
#[derive(Default)]
pub(crate) struct Freshness(Mutex<BTreeMap<ShardId, Heard>>);

impl Freshness {
    /// A node said that it leads a shard.
    fn note(&self, led: Led, at: Instant) {
        let mut heard = self.0.lock().expect("nothing panics under this lock");
        let known = heard.entry(led.shard).or_insert(Heard { at, led });
        // A deposed or cut-off leader goes on calling itself one, but its time stands still. A new
        // leader's time may be behind the old one's, which ran on after the last entry.
        if (led.term, led.time) > (known.led.term, known.led.time) {
            *known = Heard { at, led };
        }
    }

    /// Whether the shard's leader was in office within [`FEED_SILENCE_MS`] before `now`.
    pub(crate) fn is_fresh(&self, shard: ShardId, now: Instant) -> bool {
        let heard = self.0.lock().expect("nothing panics under this lock");
        let silence = Duration::from_millis(FEED_SILENCE_MS);
        heard.get(&shard).is_some_and(|heard| now.duration_since(heard.at) <= silence)
    }

    /// The index up to which the leader had applied when it was last heard of.
    pub(crate) fn applied(&self, shard: ShardId) -> u64 {
        let heard = self.0.lock().expect("nothing panics under this lock");
        heard.get(&shard).map_or(0, |heard| heard.led.applied)
    }
}

/// The shards that a node leads.
fn led(log: &Log) -> Vec<Led> {
    let statuses = log.shards().filter_map(|shard| Some((shard, log.status(shard)?)));
    let led = statuses.filter(|(_, status)| status.role == Role::Leader);
    led.map(|(shard, status)| Led {
        shard,
        term: status.term,
        time: status.time,
        applied: status.applied_index,
    })
    .collect()
}

/// Answers [`SERVICE_BEAT`].
pub(crate) fn answer_beat(log: &Log) -> Result<Vec<u8>, String> {
    codec::encode(&led(log), Limit::Wire).map_err(|error| error.to_string())
}

/// Asks each peer in turn, for as long as the node runs.
pub(crate) fn start_beats(
    log: Arc<Log>,
    transport: Arc<Transport>,
    peers: Vec<NodeId>,
    freshness: Arc<Freshness>,
) {
    let pause = Duration::from_millis(FEED_HEARTBEAT_MS);
    for peer in peers {
        let (log, transport, freshness) = (log.clone(), transport.clone(), freshness.clone());
        tokio::spawn(async move {
            loop {
                if let Some(led) = ask(&log, &transport, peer).await {
                    led.into_iter().for_each(|led| freshness.note(led, Instant::now()));
                }
                tokio::time::sleep(pause).await;
            }
        });
    }
}

async fn ask(log: &Log, transport: &Transport, peer: NodeId) -> Option<Vec<Led>> {
    if peer == transport.node() {
        return Some(led(log));
    }
    let ttl = Duration::from_millis(FEED_SILENCE_MS);
    let answer = transport.call(peer, Lane::Live, SERVICE_BEAT, Vec::new(), ttl).await.ok()?;
    codec::decode(&answer, Limit::Wire).ok()
}

/// Tells the other nodes what may be lost.
pub(crate) struct Hints {
    transport: Arc<Transport>,
    peers: Vec<NodeId>,
}

impl Hints {
    /// To those peers.
    pub(crate) fn new(transport: Arc<Transport>, peers: Vec<NodeId>) -> Self {
        let peers = peers.into_iter().filter(|peer| *peer != transport.node()).collect();
        Self { transport, peers }
    }

    /// Whether that node can be reached at this moment.
    pub(crate) fn reaches(&self, node: NodeId) -> bool {
        self.transport.peer_connected(node)
    }

    /// Tells every other node of a signal, once.
    pub(crate) fn signal(&self, hint: SignalHint) {
        let Ok(payload) = codec::encode(&hint, Limit::Entry) else { return };
        for peer in self.peers.iter().copied() {
            let (transport, payload) = (self.transport.clone(), payload.clone());
            let ttl = Duration::from_millis(FEED_SILENCE_MS);
            tokio::spawn(async move {
                // A signal may be lost.
                let _ = transport.call(peer, Lane::Live, SERVICE_SIGNAL, payload, ttl).await;
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_leader_whose_time_stands_still_is_not_heard() {
        let (freshness, shard, begin) = (Freshness::default(), ShardId(1), Instant::now());
        let at = |ms| begin + Duration::from_millis(ms);
        let led = |term, time, applied| Led { shard, term, time: Stamp(time), applied };
        assert!(!freshness.is_fresh(shard, begin));
        freshness.note(led(1, 10, 1), begin);
        assert!(freshness.is_fresh(shard, at(FEED_SILENCE_MS)));
        freshness.note(led(1, 10, 1), at(FEED_SILENCE_MS));
        assert!(!freshness.is_fresh(shard, at(FEED_SILENCE_MS + 1)));
        freshness.note(led(2, 3, 7), at(FEED_SILENCE_MS + 1));
        freshness.note(led(1, 11, 1), at(FEED_SILENCE_MS + 2));
        assert!(freshness.is_fresh(shard, at(2 * FEED_SILENCE_MS + 1)));
        assert!(!freshness.is_fresh(shard, at(2 * FEED_SILENCE_MS + 2)));
        assert_eq!(freshness.applied(shard), 7);
    }
}
