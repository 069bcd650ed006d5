//! Who comes, when, with what patience, and how long serving them takes.
//!
//! Arrivals are a Poisson process whose rate is constant within an interval: an exponential gap
//! that reaches past the interval's end is drawn anew from there, which changes nothing because
//! the law has no memory. Patience is exponential. Handle times are drawn from a list of measured
//! ones, with replacement, or are exponential for calibration. What a customer brings is drawn
//! when they arrive, never when they are served, so that it is the same whoever serves them.

use rotary_proto::Channel;

use super::random::Stream;
use crate::bank::{self, INTERVAL_S, Mix};

/// A customer before anything has happened to them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Customer {
    /// When they arrive, in microseconds from the beginning of the day.
    pub(crate) arrives_us: u64,
    /// Which site they turn to, from 0.
    pub(crate) site: u32,
    /// How they come.
    pub(crate) channel: Channel,
    /// How long they wait for an agent at most.
    pub(crate) patience_us: u64,
    /// How long serving them takes, wrap-up left out.
    pub(crate) handle_us: u64,
}

/// A stretch of time at a constant rate.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Interval {
    /// Where it begins, in seconds from the beginning of the day.
    pub(crate) start_s: f64,
    /// How long it lasts.
    pub(crate) length_s: f64,
    /// How many customers are expected in it.
    pub(crate) expected: f64,
}

/// How long serving a customer takes.
#[derive(Debug, Clone)]
pub(crate) enum HandleTimes {
    /// One of these, each as likely, in seconds.
    Measured(Vec<f64>),
    /// Exponential, with this mean in seconds.
    Exponential(f64),
}

/// The laws that customers follow.
#[derive(Debug, Clone)]
pub(crate) struct Laws {
    /// Sites that share the arrivals, each as likely.
    pub(crate) sites: u32,
    /// Shares of the channels.
    pub(crate) mix: Mix,
    /// Mean patience in seconds.
    pub(crate) patience_s: f64,
    /// Handle times.
    pub(crate) handle: HandleTimes,
}

/// Everybody who comes during `intervals`, in order of their coming.
pub(crate) fn customers(intervals: &[Interval], laws: &Laws, seed: u64) -> Vec<Customer> {
    let mut arrivals = Stream::new(seed, "arrivals");
    let [mut sites, mut channels, mut patience, mut handle] =
        ["sites", "channels", "patience", "handle"].map(|purpose| Stream::new(seed, purpose));
    let mut customers = Vec::new();
    for interval in intervals.iter().filter(|interval| interval.expected > 0.0) {
        let gap_s = interval.length_s / interval.expected;
        let mut at_s = arrivals.exponential(gap_s);
        while at_s < interval.length_s {
            let voice = channels.unit() < laws.mix.voice;
            customers.push(Customer {
                arrives_us: micros(interval.start_s + at_s),
                site: sites.below(laws.sites),
                channel: if voice { Channel::Voice } else { Channel::Chat },
                patience_us: micros(patience.exponential(laws.patience_s)),
                handle_us: micros(laws.handle.draw(&mut handle)),
            });
            at_s += arrivals.exponential(gap_s);
        }
    }
    customers
}

impl HandleTimes {
    /// The mean in seconds.
    pub(crate) fn mean_s(&self) -> f64 {
        match self {
            Self::Measured(seconds) => seconds.iter().sum::<f64>() / seconds.len() as f64,
            Self::Exponential(mean) => *mean,
        }
    }

    fn draw(&self, stream: &mut Stream) -> f64 {
        match self {
            Self::Measured(seconds) => seconds[stream.below(seconds.len() as u32) as usize],
            Self::Exponential(mean) => stream.exponential(*mean),
        }
    }
}

/// Seconds to whole microseconds.
pub(crate) fn micros(seconds: f64) -> u64 {
    (seconds * 1e6).round() as u64
}

/// A day's counts.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Day {
    /// The time of day at which it begins, in seconds from midnight.
    pub(crate) opens_s: u32,
    /// Its intervals.
    pub(crate) intervals: Vec<Interval>,
}

impl Day {
    /// The day of those counts, in order of time; an empty one begins at midnight.
    pub(crate) fn of(counts: &[bank::Interval]) -> Self {
        let opens_s = counts.first().map_or(0, |first| first.start_s);
        let interval = |counted: &bank::Interval| Interval {
            start_s: f64::from(counted.start_s - opens_s),
            length_s: INTERVAL_S,
            expected: f64::from(counted.count),
        };
        Self { opens_s, intervals: counts.iter().map(interval).collect() }
    }

    /// Seconds from the beginning to the end of the last interval.
    pub(crate) fn length_s(&self) -> f64 {
        self.intervals.last().map_or(0.0, |last| last.start_s + last.length_s)
    }

    /// The wall time at which it begins. People and ids read it, nothing else: it is the time of
    /// day on the first day that wall time counts.
    pub(crate) fn wall_ms(&self) -> u64 {
        u64::from(self.opens_s) * 1_000
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn day() -> Day {
        let counts = [(25_200, 10), (25_500, 400)];
        Day::of(&counts.map(|(start_s, count)| bank::Interval { start_s, count }))
    }

    fn laws() -> Laws {
        let handle = HandleTimes::Measured(vec![60.0, 120.0]);
        Laws { sites: 4, mix: Mix { voice: 0.7 }, patience_s: 180.0, handle }
    }

    #[test]
    fn a_day_begins_with_its_first_interval() {
        let expected = [(0.0, 10.0), (300.0, 400.0)];
        let intervals =
            expected.map(|(start_s, expected)| Interval { start_s, length_s: 300.0, expected });
        assert_eq!(day(), Day { opens_s: 25_200, intervals: intervals.to_vec() });
        assert_eq!(day().length_s(), 600.0);
    }

    #[test]
    fn arrivals_keep_to_their_interval_and_its_rate() {
        let day = day();
        let (mut first, mut second) = (0_u32, 0_u32);
        for seed in 0..100 {
            let customers = customers(&day.intervals, &laws(), seed);
            assert!(customers.is_sorted_by_key(|customer| customer.arrives_us));
            first += customers.iter().filter(|c| c.arrives_us < 300_000_000).count() as u32;
            second += customers.iter().filter(|c| c.arrives_us >= 300_000_000).count() as u32;
        }
        assert!(first.abs_diff(1_000) < 100 && second.abs_diff(40_000) < 600, "{first} {second}");
    }

    #[test]
    fn one_law_changed_leaves_the_others_as_they_were() {
        let day = day();
        let one = customers(&day.intervals, &laws(), 1);
        let other = customers(&day.intervals, &Laws { patience_s: 60.0, ..laws() }, 1);
        let strip = |customer: &Customer| Customer { patience_us: 0, ..*customer };
        assert_ne!(one, other);
        assert!(one.iter().map(strip).eq(other.iter().map(strip)));
    }
}
