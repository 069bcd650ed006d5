//! Sites that an operator has live in other shards, again and again while everything goes wrong:
//! by entries of the directory's log, which are asked for until one node has them. That each site
//! lives once, with all that it had, is looked at with everything else; that it gets there, here.

use rotary::simulated::{Moving, Place};
use rotary_proto::{ShardId, SiteId};

use super::{Faults, Ms};
use crate::simulation::invariants::Findings;
use crate::simulation::node::Node;
use crate::simulation::random::Random;

/// How often it is looked.
const LOOK_MS: Ms = 250;
/// The longest pause between two orders.
const REST_MS_MAX: Ms = 9_000;
/// What reports call it.
const WORD: &str = "site-move";

/// A site, and another shard than its own.
fn draw(random: &mut Random, places: &[Place], shards: u32) -> Option<(SiteId, ShardId)> {
    let place = places.get(random.below(places.len().max(1) as u64) as usize)?;
    let others: Vec<_> = (1..=shards).map(ShardId).filter(|shard| *shard != place.shard).collect();
    let to = others.get(random.below(others.len().max(1) as u64) as usize)?;
    Some((place.site, *to))
}

/// Which site is wanted where.
pub(super) struct Travel {
    random: Random,
    next_ms: Ms,
    turn: usize,
    order: Option<(SiteId, ShardId)>,
}

impl Travel {
    pub(super) fn new(seed: u64) -> Self {
        let mut random = Random::salted(seed, "travel");
        let next_ms = random.between(500, REST_MS_MAX);
        Self { random, next_ms, turn: 0, order: None }
    }
}

impl Faults {
    /// Gives one order after the other, as long as things go wrong. Asks one node after the other
    /// until an order is there.
    pub(crate) fn rehouse(&mut self, now_ms: Ms, nodes: &[Node], found: &mut Findings) {
        let healed = self.healed;
        let travel = &mut self.travel;
        if now_ms < travel.next_ms || (healed && travel.order.is_none()) {
            return;
        }
        (travel.next_ms, travel.turn) = (now_ms + LOOK_MS, travel.turn + 1);
        let asked = &nodes[travel.turn % nodes.len()];
        let Some((places, shards)) = asked.places() else { return };
        let Some((site, to)) = travel.order else {
            travel.order = draw(&mut travel.random, &places, shards);
            let begun = u64::from(travel.order.is_some());
            self.counts.entry(WORD.to_owned()).or_default().begun += begun;
            return;
        };
        let Some(place) = places.iter().find(|place| place.site == site) else { return };
        if let Some(Moving { failed: Some(why), .. }) = &place.moving {
            found.breach("P5", format!("{site} does not get to {to}: {why}"));
        }
        if place.shard == to {
            travel.order = None;
            travel.next_ms = now_ms + travel.random.between(500, REST_MS_MAX);
            self.counts.entry(WORD.to_owned()).or_default().struck += 1;
            self.say(now_ms, format!("{site} lives in {to}"));
        } else if place.moving.is_none() {
            self.say(now_ms, format!("{site} is to live in {to}"));
            asked.move_site(site, to);
        }
    }

    /// Whether every site is where it is wanted, as far as the nodes know.
    pub(crate) fn are_all_home(&self, nodes: &[Node]) -> bool {
        let home = |node: &Node| {
            let places = node.places();
            places.is_none_or(|(places, _)| places.iter().all(|place| place.moving.is_none()))
        };
        self.travel.order.is_none() && nodes.iter().all(home)
    }
}
