//! P2 and P5: one agent at a time, one end, and an end to everything.

use std::collections::BTreeMap;

use rotary_proto::{AgentId, ConversationId, Event, OfferId};

use super::effects::Effects;
use super::readings::FeedEvent;
use super::verdict::Verdict;

/// A conversation, followed through its events.
#[derive(Default)]
struct Life {
    with: Option<AgentId>,
    legs: u32,
    offer: Option<(OfferId, AgentId)>,
    opened: u32,
    ended: u32,
    closed: u32,
}

pub(super) fn check(effects: &Effects<'_>, verdict: &mut Verdict) {
    let mut offers: BTreeMap<(rotary_proto::SiteId, OfferId), ConversationId> = BTreeMap::new();
    for (conversation, events) in &effects.conversations {
        let mut life = Life::default();
        for record in events {
            if let Event::Offered { offer, .. } = &record.event
                && offers.insert((conversation.site, *offer), *conversation).is_some()
            {
                verdict.duplicated.insert(format!("{offer} of {}", conversation.site));
            }
            life.step(*conversation, record, verdict);
        }
        life.over(*conversation, verdict);
    }
}

impl Life {
    fn step(&mut self, conversation: ConversationId, record: &FeedEvent, verdict: &mut Verdict) {
        let at = record.index;
        match &record.event {
            Event::Opened { .. } => self.opened += 1,
            Event::Offered { offer, agent, .. } => {
                if let Some((open, other)) = self.offer.replace((*offer, *agent)) {
                    let text = format!("{conversation} at {at}: {offer} while {open} of {other}");
                    verdict.double_assigned.insert(text);
                }
                if let Some(other) = self.with {
                    let text = format!("{conversation} at {at}: offered while with {other}");
                    verdict.double_assigned.insert(text);
                }
            }
            Event::OfferEnded { offer, .. } => self.take(conversation, at, *offer, verdict),
            Event::Assigned { agent, offer, leg, .. } => {
                self.take(conversation, at, *offer, verdict);
                self.legs += 1;
                if let Some(other) = self.with.replace(*agent) {
                    let text = format!("{conversation} at {at}: {agent} while with {other}");
                    verdict.double_assigned.insert(text);
                }
                if *leg != self.legs {
                    let text = format!("{conversation} at {at}: leg {leg} is number {}", self.legs);
                    verdict.duplicated.insert(text);
                }
            }
            Event::Released { .. } => self.with = None,
            Event::Ended { .. } => {
                self.with = None;
                self.ended += 1;
            }
            Event::Closed { .. } => self.closed += 1,
            _ => {}
        }
    }

    /// The open offer ends, and must be that one.
    fn take(
        &mut self,
        conversation: ConversationId,
        at: u64,
        ends: OfferId,
        verdict: &mut Verdict,
    ) {
        let open = self.offer.take().map(|(offer, _)| offer);
        if open != Some(ends) {
            let text = format!("{conversation} at {at}: {ends} ends while {open:?} is open");
            verdict.double_assigned.insert(text);
        }
    }

    /// The feed is over.
    fn over(&self, conversation: ConversationId, verdict: &mut Verdict) {
        if let Some((offer, agent)) = self.offer {
            verdict.stuck.insert(format!("{conversation}: {offer} to {agent} has no end"));
        }
        if self.opened == 0 {
            verdict.lost.insert(format!("{conversation}: it never opened"));
        }
        if self.closed == 0 {
            verdict.stuck.insert(format!("{conversation} is not closed"));
        }
        for (word, count) in
            [("opened", self.opened), ("ended", self.ended), ("closed", self.closed)]
        {
            if count > 1 {
                verdict.duplicated.insert(format!("{conversation} {word} {count} times"));
            }
        }
    }
}
