//! A replayed day's moments, from the events of its sites.

use std::collections::BTreeMap;

use rotary_proto::{Channel, ConversationId, Declared, Event, SiteId};

use super::{Kind, Moment, Report};
use crate::load::ledger::{FeedEvent, History, Readings};

/// The report of a run, from the first node's account of it. The time of day is the entries' wall
/// time, as fast as the run was.
pub(crate) fn from_feeds(history: &History, readings: &Readings) -> Report {
    let (Some(run), Some(reading)) = (&history.run, readings.nodes.values().next()) else {
        return Report::default();
    };
    let mut source = Source::default();
    for site in &run.sites {
        let events = reading.sites.get(site).map_or(&[][..], Vec::as_slice);
        for record in events {
            let real_s = record.wall.saturating_sub(run.wall_ms) as f64 / 1_000.0;
            source.take(*site, run.from_s + real_s * run.speed, record);
        }
    }
    let title = format!("{} at {} times the speed of life, seed {}", run.day, run.speed, run.seed);
    Report::of(&title, run.service_level_s, source.moments)
}

#[derive(Default)]
struct Source {
    moments: Vec<Moment>,
    /// How each conversation travels, and with whom it is.
    contacts: BTreeMap<ConversationId, (Channel, u64)>,
}

impl Source {
    fn take(&mut self, site: SiteId, time_s: f64, record: &FeedEvent) {
        let person =
            |agent: rotary_proto::AgentId| u64::from(site.number) << 32 | u64::from(agent.0);
        if let Event::AgentDeclared { agent, declared, .. } = record.event {
            let gone = declared == Declared::SignedOut;
            let kind = if gone { Kind::Unstaffed } else { Kind::Staffed };
            let (agent, channel) = (person(agent), Channel::default());
            self.moments.push(Moment { time_s, kind, conversation: 0, agent, channel });
            return;
        }
        let Some(conversation) = record.event.conversation() else { return };
        let contact = self.contacts.entry(conversation).or_default();
        let kind = match record.event {
            Event::Opened { channel, .. } => {
                contact.0 = channel;
                Kind::Arrived
            }
            Event::Assigned { agent, .. } => {
                contact.1 = person(agent);
                Kind::Answered
            }
            Event::Released { .. } => Kind::Returned,
            Event::Ended { .. } => Kind::Ended,
            Event::Closed { .. } => Kind::Finished,
            _ => return,
        };
        let (channel, agent) = *contact;
        let conversation = conversation.unique;
        self.moments.push(Moment { time_s, kind, conversation, agent, channel });
    }
}
