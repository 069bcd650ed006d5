//! Telling the result: stories become moments of the report, and lines on the terminal.

use std::collections::BTreeMap;
use std::io::{self, Write as _};
use std::time::Duration;

use rotary_proto::Channel;
use serde_json::json;

use super::floor::Floor;
use super::workload::{Customer, Day, micros};
use super::world::{Entries, Run, Story};
use crate::report::{Figures, Kind, Moment, Report};

/// How fast a run was.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pace {
    /// Real time.
    pub(crate) took: Duration,
    /// Virtual time.
    pub(crate) simulated_us: u64,
}

impl Pace {
    /// In words.
    pub(crate) fn of(&self, entries: &Entries) -> String {
        let (took_s, simulated_s) = (self.took.as_secs_f64(), self.simulated_us as f64 / 1e6);
        let Entries { commands, ticks, renewals } = *entries;
        format!(
            "{:.2} h in {took_s:.2} s: {:.0} times real time; {} entries ({commands} commands, \
             {ticks} ticks, {renewals} lease renewals), {:.0} a second",
            simulated_s / 3_600.0,
            simulated_s / took_s,
            entries.all(),
            entries.all() as f64 / took_s,
        )
    }
}

/// What happened, as the report reads it. Agents are there all day, and until their last
/// conversation is over.
pub(crate) fn moments(
    floor: &Floor,
    day: &Day,
    customers: &[Customer],
    stories: &[Story],
) -> Vec<Moment> {
    let time_s = |us: u64| f64::from(day.opens_s) + us as f64 / 1e6;
    let mut leaves_us = vec![micros(day.length_s()); floor.agents as usize];
    let mut moments: Vec<Moment> =
        (0..floor.agents).map(|agent| staff(time_s(0), Kind::Staffed, agent)).collect();
    for ((number, story), customer) in (1..).zip(stories).zip(customers) {
        let agent = story.answered.map(|(_, agent)| agent);
        let mut add = |us: u64, kind| {
            let (channel, agent) = (customer.channel, agent.map_or(0, person));
            moments.push(Moment { time_s: time_s(us), kind, conversation: number, agent, channel });
        };
        add(story.opened_us, Kind::Arrived);
        if let Some((answered_us, agent)) = story.answered {
            add(answered_us, Kind::Answered);
            add(story.ended_us.unwrap_or(story.closed_us), Kind::Ended);
            add(story.closed_us, Kind::Finished);
            let leaves_us = &mut leaves_us[agent as usize];
            *leaves_us = story.closed_us.max(*leaves_us);
        } else {
            add(story.abandoned_us.unwrap_or(story.closed_us), Kind::Ended);
        }
    }
    let leave = |(agent, us)| staff(time_s(us), Kind::Unstaffed, agent);
    moments.extend((0..).zip(leaves_us).map(leave));
    moments
}

fn staff(time_s: f64, kind: Kind, agent: u32) -> Moment {
    let (agent, channel) = (person(agent), Channel::default());
    Moment { time_s, kind, conversation: 0, agent, channel }
}

/// The report's number of an agent: 0 is nobody.
const fn person(agent: u32) -> u64 {
    agent as u64 + 1
}

/// How many wait in each half hour since midnight, on average: their waiting time over its length.
fn waiting_means(day: &Day, stories: &[Story]) -> BTreeMap<u32, f64> {
    let (half_hour_us, opens_us) = (1_800_000_000, u64::from(day.opens_s) * 1_000_000);
    let mut means = BTreeMap::new();
    for story in stories {
        let answered = story.answered.map(|(at, _)| at);
        let until = opens_us + answered.or(story.abandoned_us).unwrap_or(story.closed_us);
        let mut at = opens_us + story.opened_us;
        while at < until {
            let row = at / half_hour_us;
            let end = until.min((row + 1) * half_hour_us);
            *means.entry(row as u32).or_default() += (end - at) as f64 / half_hour_us as f64;
            at = end;
        }
    }
    means
}

/// The report for programs, with what the table has no room for.
pub(crate) fn json(report: &Report, floor: &Floor, day: &Day, run: &Run) -> String {
    let means = waiting_means(day, &run.stories);
    let rows: Vec<_> = report
        .rows
        .iter()
        .map(|(row, figures)| {
            let mut json = row_json(&format!("{:02}:{:02}", row / 2, row % 2 * 30), figures);
            json["waiting_mean"] = means.get(row).copied().unwrap_or(0.0).into();
            json
        })
        .collect();
    let Entries { commands, ticks, renewals } = run.entries;
    let document = json!({
        "title": report.title,
        "agents": floor.agents,
        "service_level_s": report.service_level_s,
        "half_hours": rows,
        "day": row_json("day", &report.total()),
        "entries": { "commands": commands, "ticks": ticks, "lease_renewals": renewals },
        "digest": format!("{:032x}", run.digest),
    });
    format!("{document:#}\n")
}

fn row_json(half_hour: &str, figures: &Figures) -> serde_json::Value {
    json!({
        "half_hour": half_hour,
        "offered": figures.offered,
        "answered": figures.answered,
        "abandoned": figures.abandoned,
        "service_level": figures.service_level(),
        "asa_s": figures.asa_s(),
        "aht_s": figures.aht_s(),
        "occupancy": figures.occupancy(),
        "waiting_max": figures.waiting_max,
    })
}

/// Prints a result.
pub(crate) fn print(text: &str) -> io::Result<()> {
    io::stdout().lock().write_all(text.as_bytes())
}

/// Says what is not the result; it does not matter if nobody hears it.
pub(crate) fn whisper(line: &str) {
    let _ = writeln!(io::stderr().lock(), "{line}");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simulate_day::workload::Interval;

    #[test]
    fn stories_are_told_in_half_hours() {
        let floor = Floor { sites: 1, agents: 1, accept_after_us: 0, wrap_up_us: 0 };
        let interval = Interval { start_s: 0.0, length_s: 600.0, expected: 2.0 };
        let day = Day { opens_s: 25_200, intervals: vec![interval] };
        let customer = Customer {
            arrives_us: 0,
            site: 0,
            channel: Channel::Voice,
            patience_us: 0,
            handle_us: 0,
        };
        let answered = Story {
            opened_us: 0,
            answered: Some((10_000_000, 0)),
            ended_us: Some(100_000_000),
            closed_us: 110_000_000,
            ..Story::default()
        };
        let left_us = 50_000_000;
        let left = Story { abandoned_us: Some(left_us), closed_us: left_us, ..Story::default() };
        let moments = moments(&floor, &day, &[customer; 2], &[answered, left]);
        let report = Report::of("a day", 20.0, moments);
        let row = report.rows[&14];
        assert_eq!((row.offered, row.answered, row.abandoned, row.in_time), (2, 1, 1, 1));
        assert_eq!((row.asa_s(), row.aht_s()), (Some(10.0), Some(100.0)));
        assert_eq!((row.busy_s, row.staffed_s, row.waiting_max), (100.0, 600.0, 2));
        let means = waiting_means(&day, &[answered, left]);
        assert_eq!(means, BTreeMap::from([(14, 60.0 / 1_800.0)]));
    }

    #[test]
    fn a_pace_counts_virtual_over_real_time() {
        let pace = Pace { took: Duration::from_secs(2), simulated_us: 7_200_000_000 };
        let told = pace.of(&Entries { commands: 6, ticks: 3, renewals: 1 });
        assert_eq!(
            told,
            "2.00 h in 2.00 s: 3600 times real time; 10 entries (6 commands, 3 ticks, 1 lease \
             renewals), 5 a second"
        );
    }
}
