//! The part of a day that is replayed: its counts and handle times, read before anything begins.

use anyhow::ensure;

use super::args::Options;
use super::plan::{self, Arrival, Shape};
use crate::bank::{self, INTERVAL_S, Interval};

/// What is replayed.
pub(super) struct Day {
    intervals: Vec<Interval>,
    handle_times: Vec<f64>,
    /// From when, in seconds since midnight.
    pub from_s: f64,
    /// Until when; after `from_s`.
    pub to_s: f64,
}

impl Day {
    /// Reads the two files, and finds the part of the asked window in which the day has counts.
    ///
    /// # Errors
    /// Options out of their bounds, data that cannot be read, or a window in which nobody comes.
    pub(super) fn read(options: &Options) -> anyhow::Result<Self> {
        let (from_s, to_s) = options.check()?;
        let intervals = bank::arrivals(options.arrivals.as_deref(), &options.day)?;
        let handle_times = bank::handle_times(options.handle_times.as_deref())?;
        let first_s = intervals.first().map_or(0.0, |first| f64::from(first.start_s));
        let last_s = intervals.last().map_or(0.0, |last| f64::from(last.start_s) + INTERVAL_S);
        ensure!(
            from_s < last_s && to_s > first_s,
            "nobody arrives between --from {} and --to {}: {} has counts from {} to {}",
            options.from,
            options.to,
            options.day,
            clock(first_s),
            clock(last_s)
        );
        Ok(Self { intervals, handle_times, from_s: from_s.max(first_s), to_s: to_s.min(last_s) })
    }

    /// Everybody who arrives, by the draws of `seed`.
    pub(super) fn arrivals(&self, options: &Options, seed: u64) -> Vec<Arrival> {
        let (from_s, to_s) = (self.from_s, self.to_s);
        let Options { share, sites, mix, patience: patience_s, web: web_share, .. } = *options;
        let shape = Shape { seed, from_s, to_s, share, sites, mix, patience_s, web_share };
        plan::arrivals(&self.intervals, &self.handle_times, &shape)
    }

    /// What is going to happen, and how long it takes.
    pub(super) fn told(&self, options: &Options, gateways: usize) -> String {
        format!(
            "{}, {} to {} at {} times the speed of life: {} contacts in {:.0} s, and as long as \
            the last ones take; {} agents in {} sites over {gateways} gateways",
            options.day,
            clock(self.from_s),
            clock(self.to_s),
            options.speed,
            self.arrivals(options, options.seed).len(),
            (self.to_s - self.from_s) / options.speed,
            options.agents,
            options.sites,
        )
    }
}

/// Seconds since midnight as `07:05`.
fn clock(seconds: f64) -> String {
    let minutes = (seconds / 60.0) as u32;
    format!("{:02}:{:02}", minutes / 60, minutes % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(from: &str, to: &str) -> Options {
        Options { from: from.to_owned(), to: to.to_owned(), ..Options::standard() }
    }

    #[test]
    fn the_window_is_where_the_day_has_counts() {
        let day = Day::read(&options("00:00", "07:10")).expect("ten minutes");
        assert_eq!((day.from_s, day.to_s), (25_200.0, 25_800.0));
        let told = day.told(&options("00:00", "07:10"), 3);
        assert!(told.starts_with("2003-03-03, 07:00 to 07:10 at 60 times"), "{told}");
        let contacts = format!("{} contacts in 10 s", day.arrivals(&Options::standard(), 1).len());
        assert!(told.contains(&contacts) && contacts != "0 contacts in 10 s", "{told}");
    }

    #[test]
    fn a_window_without_anybody_is_refused() {
        for (from, to) in [("22:00", "24:00"), ("00:00", "07:00")] {
            let refused = Day::read(&options(from, to)).err().expect("nobody arrives");
            let refused = refused.to_string();
            assert!(refused.contains("has counts from 07:00 to 21:05"), "{refused}");
        }
    }
}
