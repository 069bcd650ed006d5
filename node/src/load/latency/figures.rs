//! Quantiles of times, and the table of them.

use std::collections::BTreeMap;
use std::time::Duration;

use rotary_proto::{NodeId, SiteId};

use super::board::Sample;
use crate::cli::output::Table;

/// What the design allows above the floor: at the median, and at the 99th percentile.
const BUDGET: [Duration; 2] = [Duration::from_millis(1), Duration::from_millis(10)];

/// Times, by nearest rank.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Quantiles {
    pub count: usize,
    pub p50: Duration,
    pub p90: Duration,
    pub p99: Duration,
    pub max: Duration,
}

impl Quantiles {
    /// Of at least one time.
    pub(crate) fn of(mut times: Vec<Duration>) -> Option<Self> {
        times.sort_unstable();
        let max = *times.last()?;
        let at = |percent: usize| times[(times.len() * percent).div_ceil(100).max(1) - 1];
        Some(Self { count: times.len(), p50: at(50), p90: at(90), p99: at(99), max })
    }

    fn all(&self) -> [Duration; 4] {
        [self.p50, self.p90, self.p99, self.max]
    }
}

/// What one rate of arrivals came to.
#[derive(Debug)]
pub(crate) struct Figures {
    /// Contacts a second, each opened, accepted and closed.
    pub rate: f64,
    floor: Option<Quantiles>,
    rows: Vec<(&'static str, &'static str, Quantiles)>,
}

/// Whether a node leads.
const fn role(leads: bool) -> &'static str {
    if leads { "leader" } else { "follower" }
}

impl Figures {
    /// Of so many contacts in `took`, with the floor beside them.
    pub(super) fn of(
        contacts: usize,
        took: Duration,
        floor: Vec<Duration>,
        samples: &[Sample],
        leaders: &BTreeMap<SiteId, NodeId>,
    ) -> Self {
        let mut groups: BTreeMap<(bool, bool), Vec<Duration>> = BTreeMap::new();
        for sample in samples {
            let follows = |node| leaders.get(&sample.site) != Some(&node);
            let group = (follows(sample.door), follows(sample.agent));
            groups.entry(group).or_default().push(sample.took);
        }
        let every = samples.iter().map(|sample| sample.took).collect();
        let mut rows = Vec::from_iter(Quantiles::of(every).map(|all| ("any", "any", all)));
        rows.extend(groups.into_iter().filter_map(|((door, agent), times)| {
            Some((role(!door), role(!agent), Quantiles::of(times)?))
        }));
        let rate = contacts as f64 / took.as_secs_f64();
        Self { rate, floor: Quantiles::of(floor), rows }
    }

    /// A table for headings.
    pub(crate) fn table() -> Table {
        Table::new([
            "ARRIVALS", "DOOR", "AGENT", "N", "P50", "P90", "P99", "MAX", "+P50", "+P90", "+P99",
            "+MAX",
        ])
    }

    /// Adds the floor's row and the rows of every way, in milliseconds.
    pub(crate) fn tell(&self, arrivals: &str, table: &mut Table) {
        let Some(floor) = self.floor else { return };
        let name = arrivals.to_owned();
        let absent = [(); 4].map(|()| "-".to_owned());
        table.row(row([name.clone(), "floor".into(), "-".into()], &floor, absent));
        for (door, agent, times) in &self.rows {
            let above = above(times, &floor).map(|ms| format!("{ms:.2}"));
            table.row(row([name.clone(), (*door).into(), (*agent).into()], times, above));
        }
    }

    /// Whether the median and the 99th percentile are within what the design allows.
    pub(crate) fn judged(&self) -> String {
        let Some((floor, (_, _, all))) = self.floor.zip(self.rows.first().copied()) else {
            return "nothing was measured".to_owned();
        };
        let [p50, _, p99, _] = above(&all, &floor);
        let [most_p50, most_p99] = BUDGET.map(ms);
        let kept = |is: f64, most: f64| if is <= most { "kept" } else { "missed" };
        format!(
            "p50 {p50:.2} ms above the floor (budget {most_p50}: {}), p99 {p99:.2} ms above it \
            (budget {most_p99}: {})",
            kept(p50, most_p50),
            kept(p99, most_p99)
        )
    }
}

fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1_000.0
}

fn above(times: &Quantiles, floor: &Quantiles) -> [f64; 4] {
    let (times, floor) = (times.all(), floor.all());
    std::array::from_fn(|place| ms(times[place]) - ms(floor[place]))
}

fn row(name: [String; 3], times: &Quantiles, above: [String; 4]) -> [String; 12] {
    let [arrivals, door, agent] = name;
    let [p50, p90, p99, max] = times.all().map(|time| format!("{:.2}", ms(time)));
    let [over_50, over_90, over_99, over_max] = above;
    let count = times.count.to_string();
    [arrivals, door, agent, count, p50, p90, p99, max, over_50, over_90, over_99, over_max]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn millis(range: std::ops::RangeInclusive<u64>) -> Vec<Duration> {
        range.rev().map(Duration::from_millis).collect()
    }

    #[test]
    fn quantiles_are_times_that_were_seen() {
        let of = |range| Quantiles::of(millis(range)).map(|q| q.all().map(|t| t.as_millis()));
        assert_eq!(of(1..=100), Some([50, 90, 99, 100]));
        assert_eq!(of(1..=1_000), Some([500, 900, 990, 1_000]));
        assert_eq!(of(1..=3), Some([2, 3, 3, 3]));
        assert_eq!(of(7..=7), Some([7, 7, 7, 7]));
        assert_eq!(Quantiles::of(Vec::new()), None);
    }

    #[test]
    fn contacts_are_told_apart_by_where_the_leader_is() {
        let (site, leader, other) = (SiteId::new(1, 1), NodeId(1), NodeId(2));
        let leaders = [(site, leader)].into();
        let sample =
            |door, agent, ms| Sample { site, door, agent, took: Duration::from_millis(ms) };
        let samples =
            [sample(leader, leader, 2), sample(other, leader, 4), sample(other, other, 13)];
        let floor = millis(1..=1);
        let figures = Figures::of(3, Duration::from_secs(2), floor, &samples, &leaders);
        assert_eq!(figures.rate, 1.5);
        let mut table = Figures::table();
        figures.tell("25/s", &mut table);
        let told = table.to_string();
        let lines: Vec<Vec<&str>> =
            told.lines().skip(1).map(|line| line.split_whitespace().collect()).collect();
        assert_eq!(lines.len(), 5, "{told}");
        assert_eq!(lines[0][..5], ["25/s", "floor", "-", "1", "1.00"]);
        assert_eq!(lines[1][1..5], ["any", "any", "3", "4.00"]);
        assert_eq!(lines[2][1..5], ["leader", "leader", "1", "2.00"]);
        assert_eq!(lines[4][1..5], ["follower", "follower", "1", "13.00"]);
        assert_eq!(lines[4][8..], ["12.00", "12.00", "12.00", "12.00"]);
        let judged = figures.judged();
        assert!(judged.contains("p50 3.00 ms above the floor (budget 1: missed)"), "{judged}");
        assert!(judged.contains("p99 12.00 ms above it (budget 10: missed)"), "{judged}");
    }
}
