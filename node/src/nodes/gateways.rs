//! Which gateway-only nodes this core node has heard of, and when.
//!
//! A number is one node's: while one run of it is heard, another run with the same certificate is
//! refused, or two copies of a folder would change the directory in turns.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, Instant};

use rotary_proto::NodeId;
use rotary_proto::limits::NODES_MAX;
use serde::{Deserialize, Serialize};

use crate::nodes::PRESENT_EVERY;

/// One that is not heard for so long is gone.
const GONE_AFTER: Duration = PRESENT_EVERY.saturating_mul(3);
/// What one says of itself is proposed to the directory no more often than that.
const ANNOUNCE_AGAIN: Duration = Duration::from_secs(10);

/// What a core node has heard of a gateway-only node. Ages are in milliseconds, so that clocks that
/// differ do no harm.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Sighting {
    pub(crate) node: NodeId,
    /// Whether it is heard at present.
    pub(crate) connected: bool,
    /// How long ago it was first heard, without a gap since.
    pub(crate) since_ms: u64,
    /// How long ago it was last heard.
    pub(crate) heard_ms: u64,
    /// Sessions that it said it has.
    pub(crate) sessions: u32,
}

/// Those that this node has heard of since it started.
#[derive(Debug, Default)]
pub(crate) struct Gateways {
    known: Mutex<BTreeMap<NodeId, Life>>,
}

#[derive(Debug, Clone, Copy)]
struct Life {
    run: u64,
    since: Instant,
    at: Instant,
    sessions: u32,
    /// Whether it said that it stops, or was told to be silent.
    over: bool,
    proposed: Option<Instant>,
}

impl Life {
    fn lives(&self, now: Instant) -> bool {
        !self.over && now.saturating_duration_since(self.at) < GONE_AFTER
    }
}

impl Gateways {
    fn known(&self) -> MutexGuard<'_, BTreeMap<NodeId, Life>> {
        self.known.lock().expect("nothing panics under this lock")
    }

    /// Notes that a run of one is here.
    ///
    /// # Errors
    /// Why it is not taken for that node.
    pub(crate) fn heard(
        &self,
        (node, run): (NodeId, u64),
        sessions: u32,
        now: Instant,
    ) -> Result<(), String> {
        let mut known = self.known();
        let before = known.get(&node).copied();
        if before.is_some_and(|life| life.run != run && life.lives(now)) {
            return Err(format!(
                "another node runs as {node}: stop one of them, and give each a number and a \
                 certificate of its own (rotary cluster add-gateway)"
            ));
        }
        if before.is_none() && known.len() >= NODES_MAX {
            let gone = known.iter().filter(|(_, life)| !life.lives(now));
            let longest = gone.min_by_key(|(_, life)| life.at).map(|(node, _)| *node);
            let longest = longest.ok_or_else(|| format!("{NODES_MAX} others are connected"))?;
            known.remove(&longest);
        }
        let since = before.filter(|life| life.run == run && life.lives(now));
        let since = since.map_or(now, |life| life.since);
        let proposed = before.and_then(|life| life.proposed);
        known.insert(node, Life { run, since, at: now, sessions, over: false, proposed });
        Ok(())
    }

    /// A run of one says that it stops.
    pub(crate) fn left(&self, node: NodeId, run: u64) {
        if let Some(life) = self.known().get_mut(&node).filter(|life| life.run == run) {
            life.over = true;
        }
    }

    /// Whether what one says of itself may be proposed to the directory; if so, it was.
    pub(crate) fn may_propose(&self, node: NodeId, now: Instant) -> bool {
        let mut known = self.known();
        let Some(life) = known.get_mut(&node) else { return false };
        let lately =
            life.proposed.is_some_and(|at| now.saturating_duration_since(at) < ANNOUNCE_AGAIN);
        if !lately {
            life.proposed = Some(now);
        }
        !lately
    }

    /// Those that were here and have just fallen silent; each is told once.
    pub(crate) fn fallen_silent(&self, now: Instant) -> Vec<NodeId> {
        let mut known = self.known();
        let silent = known.iter_mut().filter(|(_, life)| !life.over && !life.lives(now));
        silent
            .map(|(node, life)| {
                life.over = true;
                *node
            })
            .collect()
    }

    /// Everything that was heard.
    pub(crate) fn seen(&self, now: Instant) -> Vec<Sighting> {
        let age = |at: Instant| {
            u64::try_from(now.saturating_duration_since(at).as_millis()).unwrap_or(u64::MAX)
        };
        let row = |(node, life): (&NodeId, &Life)| Sighting {
            node: *node,
            connected: life.lives(now),
            since_ms: age(life.since),
            heard_ms: age(life.at),
            sessions: life.sessions,
        };
        self.known().iter().map(row).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GATEWAY: NodeId = NodeId(4);

    fn seen(gateways: &Gateways, now: Instant) -> Option<(bool, u64, u64, u32)> {
        let seen = gateways.seen(now);
        seen.first().map(|row| (row.connected, row.since_ms, row.heard_ms, row.sessions))
    }

    #[test]
    fn one_is_here_until_it_is_silent_for_three_seconds_or_says_that_it_stops() {
        let (gateways, begin) = (Gateways::default(), Instant::now());
        let at = |ms| begin + Duration::from_millis(ms);
        gateways.heard((GATEWAY, 1), 5, at(0)).expect("taken");
        gateways.heard((GATEWAY, 1), 6, at(1_000)).expect("taken");
        assert_eq!(seen(&gateways, at(3_999)), Some((true, 3_999, 2_999, 6)));
        assert_eq!(gateways.fallen_silent(at(3_999)), []);
        assert_eq!(seen(&gateways, at(4_000)), Some((false, 4_000, 3_000, 6)));
        assert_eq!(gateways.fallen_silent(at(4_000)), [GATEWAY]);
        assert_eq!(gateways.fallen_silent(at(5_000)), [], "it is told once");
        gateways.heard((GATEWAY, 1), 0, at(9_000)).expect("taken");
        assert_eq!(seen(&gateways, at(9_100)), Some((true, 100, 100, 0)), "there was a gap");
        gateways.left(GATEWAY, 7);
        assert_eq!(seen(&gateways, at(9_100)), Some((true, 100, 100, 0)), "that was another run");
        gateways.left(GATEWAY, 1);
        assert_eq!(seen(&gateways, at(9_100)), Some((false, 100, 100, 0)));
        assert_eq!(gateways.fallen_silent(at(20_000)), [], "it said so itself");
    }

    #[test]
    fn a_number_is_one_runs_until_that_is_gone() {
        let (gateways, begin) = (Gateways::default(), Instant::now());
        gateways.heard((GATEWAY, 1), 0, begin).expect("taken");
        let refused = gateways.heard((GATEWAY, 2), 9, begin + GONE_AFTER / 2);
        assert!(refused.expect_err("the other lives").contains("another node runs as nd_4"));
        assert_eq!(seen(&gateways, begin).map(|row| row.3), Some(0), "nothing of it is kept");
        gateways.heard((GATEWAY, 2), 9, begin + GONE_AFTER).expect("the other is gone");
        gateways.left(GATEWAY, 2);
        gateways.heard((GATEWAY, 3), 1, begin + GONE_AFTER).expect("the other has left");
    }

    #[test]
    fn the_directory_is_asked_no_more_often_than_every_ten_seconds() {
        let (gateways, begin) = (Gateways::default(), Instant::now());
        assert!(!gateways.may_propose(GATEWAY, begin), "it was never heard");
        gateways.heard((GATEWAY, 1), 0, begin).expect("taken");
        assert!(gateways.may_propose(GATEWAY, begin));
        gateways.left(GATEWAY, 1);
        gateways.heard((GATEWAY, 2), 0, begin).expect("taken");
        assert!(!gateways.may_propose(GATEWAY, begin + ANNOUNCE_AGAIN / 2), "whichever run it is");
        assert!(gateways.may_propose(GATEWAY, begin + ANNOUNCE_AGAIN));
    }

    #[test]
    fn so_many_are_known_and_the_longest_silent_one_makes_room() {
        let (gateways, begin) = (Gateways::default(), Instant::now());
        for node in 1..=NODES_MAX as u64 {
            gateways.heard((NodeId(node), 1), 0, begin).expect("taken");
        }
        let more = (NodeId(1_000), 1);
        assert!(gateways.heard(more, 0, begin).is_err(), "all are here");
        gateways.left(NodeId(7), 1);
        gateways.heard(more, 0, begin).expect("one makes room");
        let nodes: Vec<NodeId> = gateways.seen(begin).iter().map(|row| row.node).collect();
        assert!(nodes.len() == NODES_MAX && !nodes.contains(&NodeId(7)));
    }
}
