//! The figures, computed.

use std::collections::BTreeMap;

use super::{Kind, Moment};

/// The length of a row.
pub(super) const ROW_S: f64 = 1_800.0;

/// One half hour.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(crate) struct Figures {
    /// Contacts that arrived.
    pub offered: u32,
    /// Of these, those that reached an agent.
    pub answered: u32,
    /// Of these, those within the service level's time.
    pub in_time: u32,
    /// Those that ended unanswered.
    pub abandoned: u32,
    /// Waits of the answered, together, in seconds.
    pub waited_s: f64,
    /// Handle times, together, in seconds.
    pub handled_s: f64,
    /// How many handle times that are.
    pub handled: u32,
    /// Agents' time with at least one contact, in seconds.
    pub busy_s: f64,
    /// Agents' time at work, in seconds.
    pub staffed_s: f64,
    /// The most that waited at once.
    pub waiting_max: u32,
}

/// `part / whole`, where there is a whole.
fn ratio(part: f64, whole: f64) -> Option<f64> {
    (whole > 0.0).then(|| part / whole)
}

impl Figures {
    /// The share answered in time.
    pub(crate) fn service_level(&self) -> Option<f64> {
        ratio(f64::from(self.in_time), f64::from(self.offered))
    }

    /// The average speed of answer, in seconds.
    pub(crate) fn asa_s(&self) -> Option<f64> {
        ratio(self.waited_s, f64::from(self.answered))
    }

    /// The average handle time, in seconds.
    pub(crate) fn aht_s(&self) -> Option<f64> {
        ratio(self.handled_s, f64::from(self.handled))
    }

    /// The share of staffed time spent with contacts.
    pub(crate) fn occupancy(&self) -> Option<f64> {
        ratio(self.busy_s, self.staffed_s)
    }

    /// Both together. Every field is named, so that none can be left out of a total.
    fn and(self, other: &Self) -> Self {
        Self {
            offered: self.offered + other.offered,
            answered: self.answered + other.answered,
            in_time: self.in_time + other.in_time,
            abandoned: self.abandoned + other.abandoned,
            waited_s: self.waited_s + other.waited_s,
            handled_s: self.handled_s + other.handled_s,
            handled: self.handled + other.handled,
            busy_s: self.busy_s + other.busy_s,
            staffed_s: self.staffed_s + other.staffed_s,
            waiting_max: self.waiting_max.max(other.waiting_max),
        }
    }
}

/// A day in half hours.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct Report {
    /// What it is about.
    pub title: String,
    /// The service level's time, in seconds.
    pub service_level_s: f64,
    /// By the begin of the half hour, in units of half hours since midnight.
    pub rows: BTreeMap<u32, Figures>,
}

/// A contact, followed.
#[derive(Default)]
struct Contact {
    row: u32,
    waits_since: Option<f64>,
    answered: bool,
}

/// An agent, followed.
#[derive(Default)]
struct Agent {
    staffed_since: Option<f64>,
    busy_since: Option<f64>,
    contacts: BTreeMap<u128, f64>,
}

fn row_of(time_s: f64) -> u32 {
    (time_s / ROW_S).max(0.0) as u32
}

impl Report {
    /// Computes a day from its moments, in any order.
    pub(crate) fn of(title: &str, service_level_s: f64, mut moments: Vec<Moment>) -> Self {
        moments.sort_by(|a, b| a.time_s.total_cmp(&b.time_s));
        let report = Self { title: title.to_owned(), service_level_s, rows: BTreeMap::new() };
        let mut day = Day { report, ..Day::default() };
        for moment in &moments {
            day.step(moment);
        }
        let end = moments.last().map_or(0.0, |moment| moment.time_s);
        day.over(end)
    }

    /// All rows together.
    pub(crate) fn total(&self) -> Figures {
        self.rows.values().fold(Figures::default(), Figures::and)
    }

    fn row(&mut self, row: u32) -> &mut Figures {
        self.rows.entry(row).or_default()
    }

    /// Deals a stretch of time out to the rows it lies in.
    fn spread(&mut self, from_s: f64, to_s: f64, add: impl Fn(&mut Figures, f64)) {
        let mut at = from_s;
        while at < to_s {
            let row = row_of(at);
            let end = (f64::from(row + 1) * ROW_S).min(to_s);
            add(self.row(row), end - at);
            at = end;
        }
    }
}

#[derive(Default)]
struct Day {
    report: Report,
    contacts: BTreeMap<u128, Contact>,
    agents: BTreeMap<u64, Agent>,
    waiting: u32,
}

impl Day {
    fn step(&mut self, moment: &Moment) {
        match moment.kind {
            Kind::Arrived => self.arrived(moment),
            Kind::Answered => self.answered(moment),
            Kind::Returned => {
                self.finished(moment);
                self.waits(moment.conversation, moment.time_s);
            }
            Kind::Ended => self.ended(moment),
            Kind::Finished => self.finished(moment),
            Kind::Staffed => {
                let agent = self.agents.entry(moment.agent).or_default();
                agent.staffed_since.get_or_insert(moment.time_s);
            }
            Kind::Unstaffed => self.unstaffed(moment.agent, moment.time_s),
        }
    }

    fn arrived(&mut self, moment: &Moment) {
        let row = row_of(moment.time_s);
        self.contacts.insert(moment.conversation, Contact { row, ..Contact::default() });
        self.report.row(row).offered += 1;
        self.waits(moment.conversation, moment.time_s);
    }

    fn waits(&mut self, conversation: u128, time_s: f64) {
        let Some(contact) = self.contacts.get_mut(&conversation) else { return };
        if contact.waits_since.replace(time_s).is_none() {
            self.waiting += 1;
        }
        let waiting = self.waiting;
        let row = self.report.row(row_of(time_s));
        row.waiting_max = row.waiting_max.max(waiting);
    }

    fn answered(&mut self, moment: &Moment) {
        let limit = self.report.service_level_s;
        if let Some(contact) = self.contacts.get_mut(&moment.conversation)
            && let Some(since) = contact.waits_since.take()
        {
            self.waiting -= 1;
            if !std::mem::replace(&mut contact.answered, true) {
                let (row, waited) = (contact.row, moment.time_s - since);
                let figures = self.report.row(row);
                figures.answered += 1;
                figures.waited_s += waited;
                figures.in_time += u32::from(waited <= limit);
            }
        }
        let agent = self.agents.entry(moment.agent).or_default();
        agent.contacts.insert(moment.conversation, moment.time_s);
        agent.busy_since.get_or_insert(moment.time_s);
    }

    fn ended(&mut self, moment: &Moment) {
        let Some(contact) = self.contacts.get_mut(&moment.conversation) else { return };
        if contact.waits_since.take().is_some() {
            self.waiting -= 1;
        }
        if !contact.answered {
            let row = contact.row;
            self.report.row(row).abandoned += 1;
        }
    }

    /// An agent is done with a contact.
    fn finished(&mut self, moment: &Moment) {
        let Some(agent) = self.agents.get_mut(&moment.agent) else { return };
        let Some(since) = agent.contacts.remove(&moment.conversation) else { return };
        let row = self.contacts.get(&moment.conversation).map_or(0, |contact| contact.row);
        let busy = if agent.contacts.is_empty() { agent.busy_since.take() } else { None };
        let figures = self.report.row(row);
        figures.handled += 1;
        figures.handled_s += moment.time_s - since;
        if let Some(busy) = busy {
            self.report.spread(busy, moment.time_s, |row, seconds| row.busy_s += seconds);
        }
    }

    fn unstaffed(&mut self, agent: u64, time_s: f64) {
        let since = self.agents.get_mut(&agent).and_then(|agent| agent.staffed_since.take());
        if let Some(since) = since {
            self.report.spread(since, time_s, |row, seconds| row.staffed_s += seconds);
        }
    }

    fn over(mut self, end_s: f64) -> Report {
        let agents: Vec<u64> = self.agents.keys().copied().collect();
        for agent in agents {
            self.unstaffed(agent, end_s);
            if let Some(busy) = self.agents.get_mut(&agent).and_then(|a| a.busy_since.take()) {
                self.report.spread(busy, end_s, |row, seconds| row.busy_s += seconds);
            }
        }
        self.report
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rotary_proto::Channel;

    fn moment(time_s: f64, kind: Kind, conversation: u128, agent: u64) -> Moment {
        Moment { time_s, kind, conversation, agent, channel: Channel::Voice }
    }

    #[test]
    fn a_small_day_has_the_figures_of_its_formulas() {
        let report = Report::of(
            "a day",
            20.0,
            vec![
                moment(0.0, Kind::Staffed, 0, 7),
                moment(100.0, Kind::Arrived, 1, 0),
                moment(110.0, Kind::Answered, 1, 7),
                moment(120.0, Kind::Arrived, 2, 0),
                moment(130.0, Kind::Arrived, 3, 0),
                moment(160.0, Kind::Ended, 3, 0),
                moment(200.0, Kind::Ended, 1, 7),
                moment(210.0, Kind::Finished, 1, 7),
                moment(210.0, Kind::Answered, 2, 7),
                moment(1_790.0, Kind::Ended, 2, 7),
                moment(1_810.0, Kind::Finished, 2, 7),
                moment(2_000.0, Kind::Unstaffed, 0, 7),
            ],
        );
        let row = report.rows[&0];
        assert_eq!((row.offered, row.answered, row.in_time, row.abandoned), (3, 2, 1, 1));
        assert_eq!(row.service_level(), Some(1.0 / 3.0));
        assert_eq!(row.asa_s(), Some(50.0));
        assert_eq!(row.aht_s(), Some(850.0));
        assert_eq!(row.waiting_max, 2);
        assert_eq!(row.occupancy(), Some(1_690.0 / 1_800.0));
        assert_eq!((report.rows[&1].busy_s, report.rows[&1].staffed_s), (10.0, 200.0));
        assert_eq!(report.total().offered, 3);
    }

    #[test]
    fn two_chats_at_once_are_one_busy_agent() {
        let report = Report::of(
            "a day",
            20.0,
            vec![
                moment(0.0, Kind::Staffed, 0, 7),
                moment(0.0, Kind::Arrived, 1, 0),
                moment(0.0, Kind::Answered, 1, 7),
                moment(0.0, Kind::Arrived, 2, 0),
                moment(0.0, Kind::Answered, 2, 7),
                moment(50.0, Kind::Finished, 1, 7),
                moment(100.0, Kind::Finished, 2, 7),
                moment(200.0, Kind::Unstaffed, 0, 7),
            ],
        );
        assert_eq!(report.total().occupancy(), Some(0.5));
        assert_eq!(report.total().aht_s(), Some(75.0));
    }

    #[test]
    fn a_contact_that_returns_is_answered_once() {
        let report = Report::of(
            "a day",
            20.0,
            vec![
                moment(0.0, Kind::Arrived, 1, 0),
                moment(5.0, Kind::Answered, 1, 7),
                moment(30.0, Kind::Returned, 1, 7),
                moment(90.0, Kind::Answered, 1, 8),
                moment(100.0, Kind::Ended, 1, 8),
            ],
        );
        let total = report.total();
        assert_eq!((total.answered, total.abandoned, total.in_time), (1, 0, 1));
        assert_eq!(total.asa_s(), Some(5.0));
    }
}
