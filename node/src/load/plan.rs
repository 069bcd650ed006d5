//! Who arrives when, wanting what: the draws, all from one seed.
//!
//! Within an interval arrivals are a Poisson process at the interval's rate: gaps are exponential.
//! Handle times are drawn from the recorded ones with replacement. Patience is exponential (Brown
//! et al. 2005 found it roughly so), its mean an option. Each kind of draw has its own stream of
//! numbers, so that changing the mix does not move the arrivals.

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use rotary_proto::Channel;

use crate::bank::{INTERVAL_S, Interval, Mix};

/// What to draw.
#[derive(Debug, Clone, Copy)]
pub(super) struct Shape {
    /// Of all draws.
    pub seed: u64,
    /// From when, in seconds since midnight.
    pub from_s: f64,
    /// Until when.
    pub to_s: f64,
    /// The share of the day's contacts that is replayed.
    pub share: f64,
    /// How many sites share them.
    pub sites: usize,
    /// Their channels.
    pub mix: Mix,
    /// Mean patience while waiting.
    pub patience_s: f64,
    /// The share of chats whose customer has a session of their own.
    pub web_share: f64,
}

/// One contact to come.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Arrival {
    /// When, in seconds since the beginning of the window.
    pub at_s: f64,
    /// In which site, counted from 0.
    pub site: usize,
    /// How it travels.
    pub channel: Channel,
    /// How long it is with an agent.
    pub handle_s: f64,
    /// How long its customer waits.
    pub patience_s: f64,
    /// Whether the customer ends it, rather than the agent.
    pub hangs_up: bool,
    /// Whether it needs the scarce skill.
    pub scarce: bool,
    /// Whether the customer has a session of their own.
    pub web: bool,
    /// Of whatever else is drawn for it.
    pub seed: u64,
}

/// A stream of numbers for one purpose.
pub(super) fn stream(seed: u64, purpose: u64) -> StdRng {
    StdRng::seed_from_u64(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(purpose))
}

/// An exponential draw of that mean.
pub(super) fn exponential(rng: &mut StdRng, mean: f64) -> f64 {
    let uniform: f64 = rng.random();
    -(1.0 - uniform).ln() * mean
}

/// Every arrival of the window, in order.
pub(super) fn arrivals(day: &[Interval], handle_times: &[f64], shape: &Shape) -> Vec<Arrival> {
    let mut times = stream(shape.seed, 1);
    let mut draws = Draws::new(shape);
    let mut arrivals = Vec::new();
    for interval in day {
        let rate = f64::from(interval.count) * shape.share / INTERVAL_S;
        let start_s = f64::from(interval.start_s);
        let begin = start_s.max(shape.from_s);
        let end = (start_s + INTERVAL_S).min(shape.to_s);
        if rate <= 0.0 {
            continue;
        }
        let mut at = begin + exponential(&mut times, 1.0 / rate);
        while at < end {
            arrivals.push(draws.arrival(at - shape.from_s, handle_times, shape));
            at += exponential(&mut times, 1.0 / rate);
        }
    }
    arrivals
}

struct Draws {
    handle: StdRng,
    patience: StdRng,
    traits: StdRng,
}

impl Draws {
    fn new(shape: &Shape) -> Self {
        let [handle, patience, traits] = [2, 3, 4].map(|purpose| stream(shape.seed, purpose));
        Self { handle, patience, traits }
    }

    fn arrival(&mut self, at_s: f64, handle_times: &[f64], shape: &Shape) -> Arrival {
        let traits = &mut self.traits;
        let voice = traits.random::<f64>() < shape.mix.voice;
        Arrival {
            at_s,
            site: traits.random_range(0..shape.sites),
            channel: if voice { Channel::Voice } else { Channel::Chat },
            handle_s: handle_times[self.handle.random_range(0..handle_times.len())].max(1.0),
            patience_s: exponential(&mut self.patience, shape.patience_s).max(1.0),
            hangs_up: traits.random_bool(0.35),
            scarce: traits.random_bool(0.03),
            web: traits.random::<f64>() < shape.web_share && !voice,
            seed: traits.random(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bank;

    fn shape() -> Shape {
        let mix = Mix { voice: 0.6 };
        let (from_s, to_s) = (0.0, 86_400.0);
        let (share, sites, patience_s, web_share) = (1.0, 4, 180.0, 0.1);
        Shape { seed: 7, from_s, to_s, share, sites, mix, patience_s, web_share }
    }

    fn drawn(shape: &Shape) -> Vec<Arrival> {
        let day = bank::arrivals(None, "2003-03-03").expect("a day of the file");
        arrivals(&day, &bank::handle_times(None).expect("readable"), shape)
    }

    #[test]
    fn a_seed_is_a_day_and_the_day_has_its_shape() {
        let arrivals = drawn(&shape());
        assert_eq!(arrivals, drawn(&shape()));
        assert!((40_400..42_100).contains(&arrivals.len()), "{}", arrivals.len());
        assert!(arrivals.windows(2).all(|pair| pair[0].at_s <= pair[1].at_s));
        let calls = arrivals.iter().filter(|a| a.channel == Channel::Voice).count() as f64;
        assert!((0.58..0.62).contains(&(calls / arrivals.len() as f64)));
        let patience: f64 = arrivals.iter().map(|a| a.patience_s).sum();
        assert!((175.0..185.0).contains(&(patience / arrivals.len() as f64)));
    }

    #[test]
    fn a_share_and_a_window_thin_the_day() {
        let (from_s, to_s) = (36_000.0, 39_600.0);
        let hour = Shape { from_s, to_s, share: 0.1, ..shape() };
        let arrivals = drawn(&hour);
        assert!((320..560).contains(&arrivals.len()), "{}", arrivals.len());
        assert!(arrivals.iter().all(|a| (0.0..3_600.0).contains(&a.at_s)));
    }
}
