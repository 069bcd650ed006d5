//! Killing a node, or pausing it, or cutting it off, and what it cost.

use std::fmt;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rotary_proto::{NodeId, SiteId};

use super::cluster::Cluster;
use super::view::View;
use crate::load::{Tally, WatchNumber};

/// How long a first offer may take before the wait for it is given up.
const OFFER_WAIT: Duration = Duration::from_secs(20);
/// How long sessions have to move before they are counted.
const MOVE_WAIT: Duration = Duration::from_secs(2);

/// What is done to a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Means {
    /// `kill -9`
    Kill,
    /// `kill -STOP`
    Pause,
    /// No other node reaches it.
    Cut,
}

impl fmt::Display for Means {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Kill => "killed",
            Self::Pause => "paused",
            Self::Cut => "cut off",
        })
    }
}

/// One blow, a `kill -9` as a rule.
#[derive(Debug, Clone)]
pub(super) struct Kill {
    /// What was done.
    pub means: Means,
    /// To which node.
    pub node: NodeId,
    /// Shards it led.
    pub led: usize,
    /// Live conversations in them.
    pub live: u64,
    /// Sessions that had to move.
    pub moved: u64,
    /// From the kill to the first offer of the sites concerned that was made after it.
    pub first_offer: Option<Duration>,
    /// From the restart to ready.
    pub ready: Option<Duration>,
}

impl Kill {
    /// Whether the node led a shard with live conversations.
    pub(super) const fn led(&self) -> bool {
        self.led > 0 && self.live > 0
    }

    /// Whether the process died.
    pub(super) fn is_of_process(&self) -> bool {
        self.means == Means::Kill
    }

    /// Whether it hurt: somebody was there.
    pub(super) const fn counts(&self) -> bool {
        self.led() || self.moved > 0
    }
}

impl fmt::Display for Kill {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ms = |time: Duration| format!("{} ms", time.as_millis());
        let offer = self
            .first_offer
            .map_or("no offer came".to_owned(), |time| format!("first offer after {}", ms(time)));
        write!(
            f,
            "{} {}: led {} shards with {} live conversations, {} sessions moved, {offer}",
            self.means, self.node, self.led, self.live, self.moved,
        )?;
        self.ready.map_or(Ok(()), |time| write!(f, ", ready {} after its restart", ms(time)))
    }
}

/// All kills in a line.
pub(super) fn summary(kills: &[Kill]) -> String {
    let kills: Vec<&Kill> = kills.iter().filter(|kill| kill.is_of_process()).collect();
    let counted = kills.iter().filter(|kill| kill.counts()).count();
    let leaders = kills.iter().filter(|kill| kill.led()).count();
    let mut times: Vec<u128> = kills
        .iter()
        .filter(|kill| kill.led())
        .filter_map(|kill| kill.first_offer)
        .map(|time| time.as_millis())
        .collect();
    times.sort_unstable();
    let middle = times.get(times.len() / 2).copied().unwrap_or_default();
    let worst = times.last().copied().unwrap_or_default();
    format!(
        "{counted} of {} kills counted, {leaders} of them leaders of shards with live \
        conversations; kill to first offer: median {middle} ms, worst {worst} ms",
        kills.len()
    )
}

fn wall_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    since.as_millis() as u64
}

/// A node that was killed, and what is still to be seen of it.
#[derive(Debug)]
pub(super) struct Blow {
    kill: Kill,
    begun: Instant,
    resumed: u64,
    watch: WatchNumber,
}

impl Blow {
    /// Does that to `node`, and watches for offers in the sites that it led, or in any if it led
    /// none.
    ///
    /// # Errors
    /// A node that is not running.
    pub(super) async fn strike(
        cluster: &mut Cluster,
        tally: &Tally,
        sites: &[SiteId],
        node: NodeId,
        means: Means,
    ) -> anyhow::Result<Self> {
        let view = View::of(&cluster.api()?, sites).await.unwrap_or_default();
        let concerned = match view.led_sites(node) {
            led if led.is_empty() => sites.iter().copied().collect(),
            led => led,
        };
        let (led, live, resumed) = (view.led(node), view.led_live(node), tally.resumed.value());
        let watch = tally.watch_offers(concerned, wall_ms());
        match means {
            Means::Kill => cluster.kill(node).await?,
            Means::Pause => drop(cluster.toggle_pause(node)?),
            Means::Cut => drop(cluster.toggle_cut(node)?),
        }
        let kill = Kill { means, node, led, live, moved: 0, first_offer: None, ready: None };
        Ok(Self { kill, begun: Instant::now(), resumed, watch })
    }

    /// Whether there is nothing more to be seen: an offer came, and sessions had time to move; or
    /// none came in time, or before the next kill.
    pub(super) fn is_over(&self, tally: &Tally) -> bool {
        let found = tally.first_offer(self.watch).is_some();
        let (elapsed, watched) = (self.begun.elapsed(), tally.is_watching(self.watch));
        elapsed >= if found || !watched { MOVE_WAIT } else { OFFER_WAIT }
    }

    /// What it cost, as far as was seen.
    pub(super) fn cost(self, tally: &Tally) -> Kill {
        let moved = tally.resumed.value() - self.resumed;
        Kill { moved, first_offer: tally.first_offer(self.watch), ..self.kill }
    }
}

/// Kills `node` and waits for what it costs.
pub(super) async fn kill(
    cluster: &mut Cluster,
    tally: &Tally,
    sites: &[SiteId],
    node: NodeId,
) -> anyhow::Result<Kill> {
    let blow = Blow::strike(cluster, tally, sites, node, Means::Kill).await?;
    while !blow.is_over(tally) {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    Ok(blow.cost(tally))
}

/// What kind of node is killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Prey {
    /// The one with the most live conversations in the shards it leads.
    Leader,
    /// The core node that leads fewest.
    Follower,
    /// A gateway-only one.
    Gateway,
}

/// The node to kill next; never the one killed `last` unless it is the leader, because people have
/// hardly returned to it.
pub(super) async fn victim(
    cluster: &Cluster,
    sites: &[SiteId],
    prey: Prey,
    last: Option<NodeId>,
) -> anyhow::Result<NodeId> {
    let view = View::of(&cluster.api()?, sites).await?;
    let mut nodes = cluster.running();
    nodes.retain(|node| cluster.is_core(*node) == (prey != Prey::Gateway));
    if nodes.len() > 1 && prey != Prey::Leader {
        nodes.retain(|node| Some(*node) != last);
    }
    nodes.sort_by_key(|node| (view.led_live(*node), *node));
    let chosen = if prey == Prey::Leader { nodes.last() } else { nodes.first() };
    chosen.copied().ok_or_else(|| anyhow::anyhow!("no node is running"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kill_counts_if_somebody_was_there() {
        let idle = Kill {
            means: Means::Kill,
            node: NodeId(1),
            led: 3,
            live: 0,
            moved: 0,
            first_offer: Some(Duration::from_millis(900)),
            ready: None,
        };
        let (led, moved) = (Kill { live: 4, ..idle.clone() }, Kill { moved: 2, ..idle.clone() });
        assert_eq!([&idle, &led, &moved].map(Kill::counts), [false, true, true]);
        let paused = Kill { means: Means::Pause, ..led.clone() };
        assert!(paused.to_string().starts_with("paused nd_1: led 3 shards with 4 live"));
        let summary = summary(&[idle, led, moved, paused]);
        assert!(summary.starts_with("2 of 3 kills counted, 1 of them leaders"), "{summary}");
        assert!(summary.ends_with("median 900 ms, worst 900 ms"), "{summary}");
    }
}
