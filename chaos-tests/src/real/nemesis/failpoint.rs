//! A disk that fails at a place in the product: the process ends there, or is told of an error, or
//! waits.
//!
//! A node is started anew with one such place, drawn among those that a node comes by often. It
//! bites if the node came by: it says so in its log. Then it is started again without. Only a build
//! for harnesses can do it.

use std::collections::BTreeSet;
use std::time::Duration;

use rand::RngExt as _;
use rand::rngs::StdRng;

use super::{Damage, Fault, Kind, Refusal, Stage, pick};
use crate::real::cluster::{Cluster, ClusterError, Trouble};
use crate::real::process::Server;
use crate::real::view::NodeNumber;

/// What a node says when it comes by.
const STRUCK: &str = "rotary: failpoint ";
/// How long a process may take to end after it said that it does.
const END_LIMIT: Duration = Duration::from_secs(20);
/// How long one that was told of an error is watched: it may end by it.
const WATCH_LIMIT: Duration = Duration::from_secs(1);

/// A place, how often a node passes it unharmed at most, and whether it makes files longer.
struct Place(&'static str, u32, bool);

/// Where a node comes by: within a second or two for the first ones, which are drawn more often;
/// when it begins a segment or makes a snapshot for the others.
const PLACES: [Place; 12] = [
    Place("write:log", 120, true),
    Place("sync:log", 120, false),
    Place("write:journal", 40, true),
    Place("sync:journal", 10, false),
    Place("create:log", 0, true),
    Place("sync-directory:log", 0, false),
    Place("create:snapshots", 0, true),
    Place("write:snapshots", 1, true),
    Place("sync:snapshots", 0, false),
    Place("rename:snapshots", 0, false),
    Place("sync-directory:snapshots", 0, false),
    Place("remove:snapshots", 0, false),
];
/// How many of them a node comes by often.
const BUSY: usize = 4;

pub(super) fn begin(stage: &mut Stage<'_>) -> Result<Fault, Refusal> {
    let node = stage.anyone()?;
    let drawn = draw(stage.chance);
    let text = stage.means.failpoint.clone().unwrap_or(drawn);
    stage.cluster.kill(node)?;
    let from = stage.cluster.log_bytes(node);
    let trouble = Trouble { failpoints: Some(text.clone()), ..Trouble::default() };
    stage.cluster.start(node, trouble)?;
    stage.cluster.expect_end(node);
    let damage = Box::new(Failing { node, from, ends: text.contains("abort") });
    Ok(Fault { kind: Kind::Failpoint, targets: BTreeSet::from([node]), detail: text, damage })
}

/// A place and what happens there.
fn draw(chance: &mut StdRng) -> String {
    let among = if chance.random_bool(0.5) { BUSY } else { PLACES.len() };
    let Place(place, passes_max, grows) = &PLACES[chance.random_range(0..among)];
    let passes = chance.random_range(0..=*passes_max);
    let after = if chance.random_bool(0.5) { ":after" } else { "" };
    let errors: &[&str] = if *grows { &["EIO", "ENOSPC"] } else { &["EIO"] };
    let error = pick(chance, errors).unwrap_or("EIO");
    let action = match chance.random_range(0..6) {
        0..=2 => "abort".to_owned(),
        3 => format!("error({error})"),
        4 => format!("1*error({error})"),
        _ => {
            let (times, ms) = (chance.random_range(1..=20), chance.random_range(20..=800));
            format!("{times}*sleep({ms})")
        }
    };
    format!("{place}{after}={passes}*off->{action}")
}

#[derive(Debug)]
struct Failing {
    node: NodeNumber,
    /// Where its log was when it started.
    from: u64,
    /// Whether it is to end by it.
    ends: bool,
}

impl Failing {
    /// What the node said when it came by.
    fn said(&self, cluster: &Cluster) -> Option<String> {
        let log = cluster.log_from(self.node, self.from);
        let line = log.lines().find_map(|line| line.strip_prefix(STRUCK));
        line.map(str::to_owned)
    }
}

impl Damage for Failing {
    fn has_settled(&mut self, cluster: &mut Cluster) -> bool {
        let ended = cluster.server(self.node).is_none_or(|server| server.ended().is_some());
        ended || self.said(cluster).is_some()
    }

    fn bite(&mut self, cluster: &mut Cluster) -> Option<String> {
        let said = self.said(cluster)?;
        let limit = if self.ends { END_LIMIT } else { WATCH_LIMIT };
        let ending = cluster.server(self.node).and_then(|server: &mut Server| server.wait(limit));
        match ending {
            Some(ending) => Some(format!("{said}; it ended with {ending}")),
            None if self.ends => None,
            None => Some(format!("{said}; it went on")),
        }
    }

    fn mend(&mut self, cluster: &mut Cluster) -> Result<(), ClusterError> {
        cluster.kill(self.node)?;
        cluster.start(self.node, Trouble::default())
    }
}

#[cfg(test)]
mod tests {
    use rotary_storage::Failpoints;

    use super::*;
    use crate::real::nemesis::chance;

    #[test]
    fn what_is_drawn_can_be_read_and_seeds_repeat() {
        let drawn = |seed| {
            let mut chance = chance(seed, "failpoints");
            (0..500).map(|_| draw(&mut chance)).collect::<Vec<_>>()
        };
        for text in drawn(1) {
            text.parse::<Failpoints>().expect(&text);
        }
        assert_eq!(drawn(1), drawn(1));
        assert_ne!(drawn(1), drawn(2));
        let has = |word: &str| drawn(1).iter().any(|text| text.contains(word));
        for word in ["abort", "error(EIO)", "error(ENOSPC)", "sleep(", ":after=", "rename:"] {
            assert!(has(word), "{word}");
        }
        assert!(!drawn(1).iter().any(|text| text.contains("sync") && text.contains("ENOSPC")));
    }
}
