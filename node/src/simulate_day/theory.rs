//! A day beside what queueing theory says of each half hour: Erlang C, where nobody leaves, and
//! Erlang A, where they do.
//!
//! Planners take each half hour for a centre of its own, at a constant rate and settled: the
//! "stationary independent period by period" approach (Green, Kolesar and Soares, "Improving the
//! SIPP approach for staffing service systems that have cyclic demands", Operations Research
//! 49(4), 2001). The simulated day is one day: what was left over at the end of a half hour
//! begins the next. Both are shown, with exponential handle times, which theory assumes, and with
//! the measured ones.
//!
//! An agent of chats is as many servers as chats they take at once. That is exact here, because a
//! chat takes as long beside others as alone.

mod shown;

use std::collections::BTreeMap;

use anyhow::ensure;

pub(super) use shown::{json, picture, table};

use super::SimulateDayArgs;
use super::calibration::{Estimate, ratio};
use super::erlang::{ErlangA, erlang_c};
use super::floor::{CHATS_AT_ONCE, Floor};
use super::seeds;
use super::workload::{Customer, Day, HandleTimes, Laws, customers, micros};
use super::world::{self, Story, WorldError};

/// Seconds of a row.
const HALF_HOUR_S: u32 = 1_800;

/// What is compared.
#[derive(Debug, Clone)]
pub(super) struct Question {
    pub(super) day: Day,
    pub(super) laws: Laws,
    pub(super) agents: u32,
    pub(super) within_s: f64,
    pub(super) seed: u64,
    pub(super) seeds: u32,
}

/// One half hour.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Row {
    /// Half hours from midnight.
    pub(super) number: u32,
    /// Customers expected in it.
    pub(super) expected: f64,
    /// Work that arrives, in servers' full time.
    pub(super) offered: f64,
    /// The service level where nobody leaves; 0 where more arrives than can be served.
    pub(super) erlang_c: f64,
    /// The service level where customers leave.
    pub(super) erlang_a: f64,
    /// The share who leave.
    pub(super) abandoned_a: f64,
    /// What was simulated: service levels, exponential and measured, then shares who leave.
    pub(super) simulated: [Estimate; 4],
}

/// The answer.
#[derive(Debug, Clone)]
pub(super) struct Answer {
    pub(super) title: String,
    pub(super) within_s: f64,
    /// Rows in which anybody is expected.
    pub(super) rows: Vec<Row>,
}

/// Whether theory has an answer for such a day.
///
/// # Errors
/// Names the option that it has none for.
pub(super) fn check(args: &SimulateDayArgs) -> anyhow::Result<()> {
    ensure!(args.sites == 1, "--theory is of one queue: add --sites 1");
    let one = args.mix.voice == 1.0 || args.mix.voice == 0.0;
    ensure!(one, "--theory is of one channel: add --mix voice=1 or --mix chat=1");
    Ok(())
}

/// Sums over those who arrived in a half hour: all, in time, abandoned.
type Sums = BTreeMap<u32, [f64; 3]>;

impl Question {
    /// Conversations that can be had at once.
    fn servers(&self) -> u32 {
        if self.laws.mix.voice == 0.0 {
            self.agents * u32::from(CHATS_AT_ONCE)
        } else {
            self.agents
        }
    }

    /// Runs every seed under both laws.
    pub(super) fn answer(&self, name: &str) -> Result<Answer, WorldError> {
        let mean_s = self.laws.handle.mean_s();
        let exponential = Laws { handle: HandleTimes::Exponential(mean_s), ..self.laws.clone() };
        let [exponential, measured] = [self.run(&exponential)?, self.run(&self.laws)?];
        let rows = self.expected().into_iter().map(|(number, expected)| {
            let (erlang_c, erlang_a, abandoned_a) = self.theory(expected, mean_s);
            let part = |runs, part| of(runs, number, part);
            Row {
                number,
                expected,
                offered: expected * mean_s / f64::from(HALF_HOUR_S),
                erlang_c,
                erlang_a,
                abandoned_a,
                simulated: [
                    part(&exponential, 1),
                    part(&measured, 1),
                    part(&exponential, 2),
                    part(&measured, 2),
                ],
            }
        });
        let (agents, servers) = (self.agents, self.servers());
        let chats = if servers > agents { ", three chats each" } else { "" };
        let title = format!(
            "{name}: {agents} agents{chats}, mean handle time {mean_s:.1} s, {} seeds from {}",
            self.seeds, self.seed
        );
        Ok(Answer { title, within_s: self.within_s, rows: rows.collect() })
    }

    /// Customers expected in each half hour from midnight.
    fn expected(&self) -> BTreeMap<u32, f64> {
        let mut rows = BTreeMap::new();
        for interval in self.day.intervals.iter().filter(|interval| interval.expected > 0.0) {
            *rows.entry(self.row(interval.start_s)).or_default() += interval.expected;
        }
        rows
    }

    fn row(&self, from_opening_s: f64) -> u32 {
        (f64::from(self.day.opens_s) + from_opening_s) as u32 / HALF_HOUR_S
    }

    /// Service levels of Erlang C and A, and the share who leave in the latter.
    fn theory(&self, expected: f64, mean_s: f64) -> (f64, f64, f64) {
        let (lambda, mu) = (expected / f64::from(HALF_HOUR_S), 1.0 / mean_s);
        let (theta, agents) = (1.0 / self.laws.patience_s, self.servers());
        let spare = f64::from(agents) * mu - lambda;
        let waits = erlang_c(agents, lambda / mu);
        let c = if spare > 0.0 { 1.0 - waits * (-spare * self.within_s).exp() } else { 0.0 };
        let a = ErlangA { lambda, mu, theta, agents }.measures(self.within_s);
        (c, a.service_level, a.abandoned)
    }

    fn run(&self, laws: &Laws) -> Result<Vec<Sums>, WorldError> {
        seeds::each(self.seed, self.seeds, |seed| self.run_seed(laws, seed))
    }

    fn run_seed(&self, laws: &Laws, seed: u64) -> Result<Sums, WorldError> {
        let customers = customers(&self.day.intervals, laws, seed);
        let floor = Floor { sites: 1, agents: self.agents, accept_after_us: 0, wrap_up_us: 0 };
        let run = world::run(floor, &customers, self.day.wall_ms(), None)?;
        let mut sums = Sums::new();
        for (customer, story) in customers.iter().zip(&run.stories) {
            let row = self.row(customer.arrives_us as f64 / 1e6);
            let counted = sums.entry(row).or_default();
            let parts = self.parts(customer, story);
            counted.iter_mut().zip(parts).for_each(|(sum, part)| *sum += part);
        }
        Ok(sums)
    }

    /// One arrived; whether in time, and whether left.
    fn parts(&self, customer: &Customer, story: &Story) -> [f64; 3] {
        let one = |so: bool| f64::from(u8::from(so));
        let answered = story.answered.map(|(at_us, _)| at_us - customer.arrives_us);
        let in_time = answered.is_some_and(|waited_us| waited_us <= micros(self.within_s));
        [1.0, one(in_time), one(answered.is_none())]
    }
}

/// A share of those who arrived in a half hour, over all seeds.
fn of(runs: &[Sums], row: u32, part: usize) -> Estimate {
    let column = |part: usize| -> Vec<f64> {
        runs.iter().map(|sums| sums.get(&row).map_or(0.0, |counted| counted[part])).collect()
    };
    ratio(&column(part), &column(0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bank::{self, Mix};
    use crate::simulate_day::workload::Laws;

    /// Four quiet half hours at one rate, after two in which the centre fills.
    fn question(mix: Mix, agents: u32) -> Question {
        let interval =
            |start_s| bank::Interval { start_s, count: if start_s < 32_400 { 20 } else { 40 } };
        let day = Day::of(&(0..24).map(|n| interval(28_800 + 300 * n)).collect::<Vec<_>>());
        let handle = HandleTimes::Measured(vec![20.0, 40.0, 60.0]);
        let laws = Laws { sites: 1, mix, patience_s: 30.0, handle };
        Question { day, laws, agents, within_s: 5.0, seed: 1, seeds: 30 }
    }

    #[test]
    fn settled_half_hours_are_as_theory_says_and_full_ones_are_not_erlang_c() {
        for (mix, agents) in [(Mix { voice: 1.0 }, 6), (Mix { voice: 0.0 }, 2)] {
            let answer = question(mix, agents).answer("a day").expect("nothing is refused");
            assert_eq!(answer.rows.len(), 4);
            // 240 in a half hour, 40 s each: 5.3 erlangs for six servers.
            let last = answer.rows[3];
            assert!((last.offered - 240.0 * 40.0 / 1_800.0).abs() < 1e-9, "{last:?}");
            let [exponential, _, left, _] = last.simulated;
            let wide = |of: Estimate| Estimate { half_width: 1.75 * of.half_width, ..of };
            assert!(wide(exponential).contains(last.erlang_a), "{last:?}");
            assert!(wide(left).contains(last.abandoned_a), "{last:?}");
            assert!(!wide(exponential).contains(last.erlang_c), "{last:?}");
            assert!(exponential.half_width < 0.05, "{last:?}");
        }
    }

    #[test]
    fn what_cannot_be_served_has_no_service_level_where_nobody_leaves() {
        let question = question(Mix { voice: 1.0 }, 5);
        let (c, a, left) = question.theory(240.0, 40.0);
        assert_eq!(c, 0.0);
        assert!(a > 0.0 && left > 0.06, "{a} {left}");
    }
}
