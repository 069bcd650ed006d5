//! Which core nodes live, as a gateway-only node sees it.
//!
//! Each is asked five times a second. One that is silent for [`FEED_SILENCE_MS`] is taken for lost:
//! its tunnels are broken at once, so that what they carried goes on through another. Among those
//! that live, the ones that hear the leaders of the most shards are used: in turn for sessions, and
//! the same one for all requests of a client.
//!
//! Where this node itself is late, with thousands of sessions to bring back at once, answers wait
//! here to be read. So its own lateness is taken off the silence of others.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use metrics::gauge;
use rotary_proto::NodeId;
use rotary_proto::limits::{FEED_HEARTBEAT_MS, FEED_SILENCE_MS};
use rotary_transport::Transport;

use crate::hint::shards_heard;
use crate::nodes::roster::{self, Roster};
use crate::telemetry::names;

/// How often this node looks how late it is.
const LOOK: Duration = Duration::from_millis(50);

/// The core nodes.
pub(super) struct Cores {
    roster: Arc<Roster>,
    known: Mutex<BTreeMap<NodeId, Life>>,
    turn: AtomicUsize,
    /// How much later than asked for this node woke lately, in milliseconds.
    late_ms: AtomicU64,
}

/// What is known of one.
#[derive(Debug, Clone, Copy)]
struct Life {
    /// When it last answered.
    at: Instant,
    /// Of how many shards it hears the leader.
    shards: usize,
}

impl Cores {
    /// Asks them from here on, whichever they are.
    pub(super) fn watch(transport: &Arc<Transport>, roster: Arc<Roster>) -> Arc<Self> {
        let cores = Arc::new(Self {
            roster: roster.clone(),
            known: Mutex::default(),
            turn: AtomicUsize::new(0),
            late_ms: AtomicU64::new(0),
        });
        let clock = cores.clone();
        tokio::spawn(async move { clock.keep_time().await });
        let (asking, transport) = (cores.clone(), transport.clone());
        let (known, learnt) = (cores.clone(), (roster.clone(), transport.clone()));
        tokio::spawn(async move { roster::learn(learnt.0, learnt.1, || known.live()).await });
        tokio::spawn(async move {
            let ask = |core| {
                let (cores, transport) = (asking.clone(), transport.clone());
                async move { cores.keep_asking(&transport, core).await }
            };
            roster::for_each(&roster, ask).await;
        });
        cores
    }

    async fn keep_asking(&self, transport: &Transport, node: NodeId) {
        loop {
            match shards_heard(transport, node).await {
                Some(shards) => self.answered(node, shards, Instant::now()),
                None if self.is_lost(node, Instant::now()) => {
                    tracing::warn!(
                        code = "core-silent",
                        %node,
                        "a core node is silent; what it served goes elsewhere"
                    );
                    transport.break_tunnels(node);
                }
                None => {}
            }
            gauge!(names::RELAY_CORES).set(self.live().len() as f64);
            tokio::time::sleep(Duration::from_millis(FEED_HEARTBEAT_MS)).await;
        }
    }

    fn known(&self) -> MutexGuard<'_, BTreeMap<NodeId, Life>> {
        self.known.lock().expect("nothing panics under this lock")
    }

    /// Sees how late this node is, as long as it runs.
    async fn keep_time(&self) {
        loop {
            let begun = Instant::now();
            tokio::time::sleep(LOOK).await;
            self.woke(begun.elapsed());
        }
    }

    /// It woke after so long. Lateness that was seen is forgotten as time goes by.
    fn woke(&self, took: Duration) {
        let ms = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        let before = self.late_ms.load(Ordering::Relaxed).saturating_sub(ms(took));
        self.late_ms.store(before.max(ms(took.saturating_sub(LOOK))), Ordering::Relaxed);
    }

    /// Whether it answered lately, as far as this node could hear it.
    fn is_recent(&self, life: &Life, now: Instant) -> bool {
        let late = Duration::from_millis(self.late_ms.load(Ordering::Relaxed));
        let silence = now.saturating_duration_since(life.at);
        silence.saturating_sub(late) <= Duration::from_millis(FEED_SILENCE_MS)
    }

    fn answered(&self, node: NodeId, shards: usize, at: Instant) {
        let mut known = self.known();
        known.insert(node, Life { at, shards });
        known.retain(|node, _| self.roster.has(*node));
    }

    /// Whether a node that lived has just been silent for too long.
    fn is_lost(&self, node: NodeId, now: Instant) -> bool {
        let mut known = self.known();
        let silent = known.get(&node).is_some_and(|life| !self.is_recent(life, now));
        silent && known.remove(&node).is_some()
    }

    /// Those that live.
    pub(super) fn live(&self) -> Vec<NodeId> {
        self.known().keys().copied().collect()
    }

    /// The next one to use, another than `avoid` if there is one; `None` if none lives.
    pub(super) fn pick(&self, avoid: Option<NodeId>) -> Option<NodeId> {
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        self.pick_at(avoid, turn, Instant::now())
    }

    /// The one to use for a client, the same as long as it lives, so that who has just written
    /// reads where that was applied.
    pub(super) fn pick_for(&self, client: u64, avoid: Option<NodeId>) -> Option<NodeId> {
        let turn = usize::try_from(client % (1 << 31)).expect("31 bits fit");
        self.pick_at(avoid, turn, Instant::now())
    }

    fn pick_at(&self, avoid: Option<NodeId>, turn: usize, now: Instant) -> Option<NodeId> {
        let known = self.known();
        let live = || known.iter().filter(|(_, life)| self.is_recent(life, now));
        let nodes = |shards: usize| {
            let others = live().filter(move |(node, _)| Some(**node) != avoid);
            others.filter(move |(_, life)| life.shards >= shards).map(|(node, _)| *node)
        };
        let most = live().map(|(_, life)| life.shards).max()?;
        // A second best beats the one that is to be avoided.
        let best: Vec<NodeId> = nodes(most).collect();
        let from = if best.is_empty() { nodes(0).collect() } else { best };
        let there = |node: &NodeId| live().any(|(live, _)| live == node);
        let other = from.get(turn % from.len().max(1)).copied();
        other.or_else(|| avoid.filter(there))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn those_that_hear_most_are_used_in_turn_and_the_avoided_one_last() {
        let mut config = crate::config::Config::default();
        for id in 1..=3 {
            let (peer, public) = (config.listen.peer, String::new());
            config.cluster.peers.push(crate::config::PeerNode { id, peer, public });
        }
        let cores = Cores {
            roster: Roster::of(&config),
            known: Mutex::default(),
            turn: AtomicUsize::new(0),
            late_ms: AtomicU64::new(0),
        };
        let (begin, node) = (Instant::now(), NodeId);
        let pick =
            |avoid: Option<u64>, turn, at| cores.pick_at(avoid.map(node), turn, at).map(|n| n.0);
        assert_eq!(pick(None, 0, begin), None);
        for (id, shards) in [(1, 9), (2, 9), (3, 4)] {
            cores.answered(node(id), shards, begin);
        }
        let turns = [0, 1, 2, 7].map(|turn| pick(None, turn, begin));
        assert_eq!(turns, [Some(1), Some(2), Some(1), Some(2)]);
        for turn in 0..3 {
            assert_eq!(pick(Some(1), turn, begin), Some(2));
        }
        let later = begin + Duration::from_millis(FEED_SILENCE_MS + 1);
        cores.answered(node(3), 4, later);
        assert_eq!(pick(None, 1, later), Some(3), "the others are silent");
        assert_eq!(pick(Some(3), 1, later), Some(3), "there is no other");
        cores.woke(LOOK + Duration::from_millis(1));
        assert!(!cores.is_lost(node(1), later), "this node was late itself");
        cores.woke(LOOK);
        assert!(cores.is_lost(node(1), later) && !cores.is_lost(node(1), later), "it is told once");
        assert!(!cores.is_lost(node(3), later));
        assert_eq!(cores.live(), [node(2), node(3)]);
    }
}
