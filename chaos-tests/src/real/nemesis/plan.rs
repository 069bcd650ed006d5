//! Which fault comes when, from a seed.
//!
//! Every kind asked for comes once in each round, in another order each time, so that a run which
//! is long enough has met all of them.

use std::time::Duration;

use rand::RngExt as _;
use rand::rngs::StdRng;

use super::{Kind, chance, partition};

/// How fast faults follow each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pace {
    /// One begins this often.
    pub every: Duration,
    /// They last at least this long.
    pub lasts_min: Duration,
    /// They last at most this long.
    pub lasts_max: Duration,
}

/// What comes next.
#[derive(Debug)]
pub struct Plan {
    kinds: Vec<Kind>,
    round: Vec<Kind>,
    pace: Pace,
    chance: StdRng,
}

impl Plan {
    /// A plan of these kinds.
    pub fn new(seed: u64, kinds: &[Kind], pace: Pace) -> Self {
        Self { kinds: kinds.to_vec(), round: Vec::new(), pace, chance: chance(seed, "plan") }
    }

    /// How many kinds there are.
    pub fn kinds(&self) -> usize {
        self.kinds.len()
    }

    /// The next fault and how long it lasts; nothing if no kind was asked for.
    pub fn draw(&mut self) -> Option<(Kind, Duration)> {
        if self.round.is_empty() {
            self.round.clone_from(&self.kinds);
            partition::shuffle(&mut self.chance, &mut self.round);
        }
        let kind = self.round.pop()?;
        let Pace { lasts_min, lasts_max, .. } = self.pace;
        let span = lasts_max.saturating_sub(lasts_min).as_millis();
        let more = self.chance.random_range(0..=u64::try_from(span).unwrap_or(u64::MAX));
        Some((kind, lasts_min + Duration::from_millis(more)))
    }

    /// Puts kinds back that could not begin: they come first the next time, each once.
    pub fn postpone(&mut self, kinds: &[Kind]) {
        for kind in kinds.iter().rev() {
            self.round.retain(|other| other != kind);
            self.round.push(*kind);
        }
    }

    /// How long after one fault the next begins.
    pub fn every(&self) -> Duration {
        self.pace.every
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PACE: Pace = Pace {
        every: Duration::from_secs(1),
        lasts_min: Duration::from_millis(300),
        lasts_max: Duration::from_secs(3),
    };

    #[test]
    fn every_kind_comes_once_a_round_and_seeds_repeat() {
        let drawn = |seed| {
            let mut plan = Plan::new(seed, Kind::ALL, PACE);
            (0..3 * plan.kinds()).map(|_| plan.draw().expect("some")).collect::<Vec<_>>()
        };
        for round in drawn(1).chunks(Kind::ALL.len()) {
            let mut kinds: Vec<_> = round.iter().map(|(kind, _)| *kind).collect();
            kinds.sort();
            assert_eq!(kinds, Kind::ALL);
            let fits = |lasts: &Duration| (PACE.lasts_min..=PACE.lasts_max).contains(lasts);
            assert!(round.iter().all(|(_, lasts)| fits(lasts)));
        }
        assert_eq!(drawn(1), drawn(1));
        assert_ne!(drawn(1), drawn(2));
    }

    #[test]
    fn what_cannot_begin_comes_first_the_next_time() {
        let mut plan = Plan::new(1, &[Kind::Kill, Kind::Loss, Kind::Delay], PACE);
        let mut draw = |put_off: &[Kind]| {
            plan.postpone(put_off);
            plan.draw().expect("some").0
        };
        let (first, second) = (draw(&[]), draw(&[]));
        assert_ne!(first, second);
        assert_eq!(draw(&[first, second]), first);
        assert_eq!(draw(&[]), second);
        assert_ne!(draw(&[]), second);
        assert_eq!(Plan::new(1, &[], PACE).draw(), None);
    }
}
