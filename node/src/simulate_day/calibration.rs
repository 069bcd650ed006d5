//! Calibration: does the simulated centre do what queueing theory says it must?
//!
//! Where theory has exact values, the simulation has to meet them: one site, calls only, a constant
//! arrival rate, exponential handle times and patience, agents who accept at once and need no
//! wrap-up. That is the Erlang A queue (`erlang`), whose values are computed apart from everything
//! here. A load is simulated from many seeds; each run starts empty, its warm-up is left out, and
//! all who arrive in the counted time are followed to their end.
//!
//! Definitions, the same on both sides; the denominator is **all who arrive**:
//!
//! * service level: served, and within `T` of arriving; who leaves is not served, however soon;
//! * abandoned: left without being served;
//! * wait: from arriving to being served or leaving;
//! * occupancy: time on customers over the agents' time.
//!
//! Over seeds, a share is a ratio of sums (not a mean of ratios, which is biased where the number
//! of arrivals differs), and its interval comes from the spread of the seeds' residuals (Cochran,
//! "Sampling techniques", 1977, 6.4) with Student's factor.

mod shown;

pub(crate) use shown::{json, picture, table};

use super::erlang::{ErlangA, Measures};
use super::floor::Floor;
use super::seeds;
use super::workload::{Customer, HandleTimes, Interval, Laws, customers, micros};
use super::world::{self, Story, WorldError};
use crate::bank::Mix;

/// What is calibrated and how long.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Trial {
    /// How many seeds, the first being `seed`.
    pub(crate) seeds: u32,
    /// The first seed.
    pub(crate) seed: u64,
    /// Mean handle time in seconds.
    pub(crate) handle_s: f64,
    /// Mean patience in seconds.
    pub(crate) patience_s: f64,
    /// The time of the service level in seconds.
    pub(crate) within_s: f64,
    /// How many agents serve.
    pub(crate) agents: u32,
    /// How much work arrives, in agents' full time (erlangs).
    pub(crate) offered: f64,
    /// What is left out at the beginning, in seconds.
    pub(crate) warm_up_s: f64,
    /// How long arrivals count, in seconds.
    pub(crate) counted_s: f64,
}

/// A simulated measure: its value and half the width of its 95 % confidence interval.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Estimate {
    /// The value over all seeds.
    pub(crate) value: f64,
    /// Half the width.
    pub(crate) half_width: f64,
}

impl Estimate {
    /// Whether the interval contains a value.
    pub(crate) fn contains(self, theory: f64) -> bool {
        (self.value - theory).abs() <= self.half_width
    }
}

/// What was simulated of one load.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Comparison {
    /// What was run.
    pub(crate) trial: Trial,
    /// Service level, abandoned, wait in seconds, occupancy.
    pub(crate) simulated: [Estimate; 4],
    /// Customers counted.
    pub(crate) counted: u64,
    /// Entries applied.
    pub(crate) entries: u64,
}

impl Comparison {
    /// Each measure's name, what theory says, and what was simulated.
    pub(crate) fn rows(&self) -> [(&'static str, f64, Estimate); 4] {
        let theory = self.trial.theory();
        std::array::from_fn(|row| (theory[row].0, theory[row].1, self.simulated[row]))
    }

    /// Whether the service level's interval contains what theory says, and is narrow enough for
    /// that to mean something.
    pub(crate) fn agrees(&self) -> bool {
        let (_, theory, service_level) = self.rows()[0];
        service_level.contains(theory) && service_level.half_width <= HALF_WIDTH_MAX
    }
}

/// What one seed gave: sums over those who arrived in the counted time.
#[derive(Debug, Clone, Copy, Default)]
struct Sums {
    arrived: f64,
    /// In time, abandoned, waited seconds.
    of_arrived: [f64; 3],
    busy_s: f64,
    entries: u64,
}

impl Trial {
    /// The calibration that `docs/calibration.md` tells: fifty agents for half a day.
    pub(crate) fn full(seed: u64, seeds: u32, load: f64) -> Self {
        Self {
            seeds,
            seed,
            handle_s: 240.0,
            patience_s: 180.0,
            within_s: 20.0,
            agents: 50,
            offered: 50.0 * load,
            warm_up_s: 2.0 * 3_600.0,
            counted_s: 12.0 * 3_600.0,
        }
    }

    /// The queue that theory sees.
    pub(crate) fn queue(&self) -> ErlangA {
        let (mu, theta) = (1.0 / self.handle_s, 1.0 / self.patience_s);
        ErlangA { lambda: self.offered * mu, mu, theta, agents: self.agents }
    }

    /// Each measure's name and what theory says.
    pub(crate) fn theory(&self) -> [(&'static str, f64); 4] {
        let Measures { service_level, abandoned, wait_s, occupancy } =
            self.queue().measures(self.within_s);
        [
            ("service level", service_level),
            ("abandoned", abandoned),
            ("wait", wait_s),
            ("occupancy", occupancy),
        ]
    }

    /// Runs every seed.
    pub(crate) fn run(&self) -> Result<Comparison, WorldError> {
        Ok(self.compare(&seeds::each(self.seed, self.seeds, |seed| self.run_seed(seed))?))
    }

    fn run_seed(&self, seed: u64) -> Result<Sums, WorldError> {
        let length_s = self.warm_up_s + self.counted_s;
        let expected = self.queue().lambda * length_s;
        let handle = HandleTimes::Exponential(self.handle_s);
        let laws = Laws { sites: 1, mix: Mix { voice: 1.0 }, patience_s: self.patience_s, handle };
        let customers = customers(&[Interval { start_s: 0.0, length_s, expected }], &laws, seed);
        let floor = Floor { sites: 1, agents: self.agents, accept_after_us: 0, wrap_up_us: 0 };
        let run = world::run(floor, &customers, 0, None)?;
        let mut sums = Sums { entries: run.entries.all(), ..Sums::default() };
        for (customer, story) in customers.iter().zip(&run.stories) {
            self.add(&mut sums, customer, story);
        }
        Ok(sums)
    }

    fn add(&self, sums: &mut Sums, customer: &Customer, story: &Story) {
        let counted = micros(self.warm_up_s)..micros(self.warm_up_s + self.counted_s);
        if let Some((answered_us, _)) = story.answered {
            let from = answered_us.max(counted.start);
            sums.busy_s += story.closed_us.min(counted.end).saturating_sub(from) as f64 / 1e6;
        }
        if !counted.contains(&customer.arrives_us) {
            return;
        }
        let answered = story.answered.map(|(at, _)| at);
        let done_us = answered.or(story.abandoned_us).unwrap_or(story.closed_us);
        let wait_s = (done_us - customer.arrives_us) as f64 / 1e6;
        let in_time = answered.is_some() && wait_s <= self.within_s;
        sums.arrived += 1.0;
        let parts = [f64::from(u8::from(in_time)), f64::from(u8::from(answered.is_none())), wait_s];
        sums.of_arrived.iter_mut().zip(parts).for_each(|(sum, part)| *sum += part);
    }

    fn compare(&self, runs: &[Sums]) -> Comparison {
        let arrived: Vec<f64> = runs.iter().map(|run| run.arrived).collect();
        let time_s = vec![f64::from(self.agents) * self.counted_s; runs.len()];
        let of_arrived = |part: usize| {
            let sums: Vec<f64> = runs.iter().map(|run| run.of_arrived[part]).collect();
            ratio(&sums, &arrived)
        };
        let busy: Vec<f64> = runs.iter().map(|run| run.busy_s).collect();
        Comparison {
            trial: *self,
            simulated: [of_arrived(0), of_arrived(1), of_arrived(2), ratio(&busy, &time_s)],
            counted: arrived.iter().sum::<f64>() as u64,
            entries: runs.iter().map(|run| run.entries).sum(),
        }
    }
}

/// The ratio of two sums over seeds, with its interval.
pub(super) fn ratio(parts: &[f64], wholes: &[f64]) -> Estimate {
    let (runs, whole) = (parts.len() as f64, wholes.iter().sum::<f64>());
    let value = parts.iter().sum::<f64>() / whole;
    let residuals = parts.iter().zip(wholes).map(|(part, of)| part - value * of);
    let spread = (residuals.map(|residual| residual * residual).sum::<f64>() / (runs - 1.0)).sqrt();
    Estimate { value, half_width: student(runs - 1.0) * spread * runs.sqrt() / whole }
}

/// Student's factor for 95 %, for 20 degrees of freedom and more (Abramowitz and Stegun 26.7.5).
fn student(freedom: f64) -> f64 {
    let z: f64 = 1.959_964;
    let first = (z.powi(3) + z) / 4.0;
    let second = (5.0 * z.powi(5) + 16.0 * z.powi(3) + 3.0 * z) / 96.0;
    z + first / freedom + second / freedom.powi(2)
}

/// Half the width of a service level's interval, at most, for the comparison to mean anything.
const HALF_WIDTH_MAX: f64 = 0.02;

/// The loads of a calibration: under, at and over what the agents can serve.
pub(crate) const LOADS: [(&str, f64); 3] =
    [("underloaded", 0.84), ("critically loaded", 1.0), ("overloaded", 1.2)];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_factor_is_that_of_the_tables() {
        for (freedom, factor) in [(29.0, 2.045), (49.0, 2.010), (99.0, 1.984), (1e9, 1.960)] {
            assert!((student(freedom) - factor).abs() < 0.000_6, "{freedom}");
        }
    }

    #[test]
    fn a_ratio_is_of_sums_and_its_interval_of_residuals() {
        let even = ratio(&[1.0, 2.0, 3.0], &[2.0, 4.0, 6.0]);
        assert_eq!((even.value, even.half_width), (0.5, 0.0));
        let uneven = ratio(&[1.0, 3.0], &[4.0, 4.0]);
        let expected = student(1.0) * 2.0_f64.sqrt() * 2.0_f64.sqrt() / 8.0;
        assert!((uneven.half_width - expected).abs() < 1e-12);
        assert!(uneven.contains(0.9) && !uneven.contains(5.0));
    }

    /// A small centre at ten times life's speed, so that a build without optimisation is done in
    /// seconds. `rotary simulate-day --calibrate` runs the large one.
    #[test]
    fn simulated_measures_agree_with_erlang_a() {
        for (name, load) in LOADS {
            let trial = Trial {
                seeds: 30,
                seed: 1,
                handle_s: 24.0,
                patience_s: 18.0,
                within_s: 2.0,
                agents: 8,
                offered: 8.0 * load,
                warm_up_s: 300.0,
                counted_s: 4_000.0,
            };
            let comparison = trial.run().expect("nothing is refused");
            let rows = comparison.rows();
            let (.., service_level) = rows[0];
            assert!(comparison.agrees(), "{name}: {rows:?}");
            let one_more = Trial { agents: 9, ..trial }.theory()[0].1;
            assert!(!service_level.contains(one_more), "{name}: blind to one agent more");
            // One in twenty intervals misses by luck: the others of a load may, by a little.
            for (measure, theory, simulated) in rows {
                let wide = Estimate { half_width: 1.75 * simulated.half_width, ..simulated };
                assert!(wide.contains(theory), "{name}: {measure} {theory} {simulated:?}");
            }
        }
    }
}
