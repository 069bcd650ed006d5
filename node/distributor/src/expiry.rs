//! What is due: alarms that ring, outcomes and tombstones that are forgotten.
//!
//! Everything due at or before an entry's stamp is done before the entry's own command, as far as
//! one entry may; so a click that is applied after a deadline meets the deadline's outcome whether
//! or not a tick came first.

use rotary_proto::event::{EndReason, Event};
use rotary_proto::planted::{self, Planted};
use rotary_proto::{Channel, Stamp};

use crate::conversation::Stage;
use crate::life::Finish;
use crate::site::{Due, Work};
use crate::turn::Turn;

impl Turn<'_> {
    /// Does what is due, as far as this entry may.
    pub(crate) fn run_due(&mut self) {
        while self.effort.remains() {
            let Some(due) = self.site.ring(self.now) else { break };
            self.effort.spend(4);
            self.effort.counters.alarms += 1;
            match due {
                Due::Conversation(unique) => self.conversation_due(unique),
                Due::Declines(unique) => self.declines_due(unique),
                Due::Agent(agent) => self.agent_due(agent),
                Due::Session(session) => self.session_due(session),
                Due::Effect(effect) => self.effect_due(effect),
            }
        }
        self.forget();
    }

    fn conversation_due(&mut self, unique: u128) {
        let Some(conversation) = self.site.conversations.get(unique) else { return };
        if conversation.due() > self.now {
            return self.rearm(unique);
        }
        match conversation.stage {
            Stage::SelfService { .. } => self.end(unique, EndReason::Idle),
            Stage::Waiting => self.end(unique, EndReason::WaitExpired),
            Stage::Offered { .. } if planted::is(Planted::OfferNeverExpires) => {}
            Stage::Offered { agent, .. } => self.offer_expired(unique, agent),
            Stage::Assigned { until, .. } if until <= self.now => {
                let silent = matches!(conversation.channel, Channel::Chat | Channel::Message);
                self.end(unique, if silent { EndReason::Idle } else { EndReason::TooLong });
            }
            Stage::Assigned { agent, until, .. } => {
                self.set_stage(unique, Stage::Assigned { agent, until, held: None });
                let conversation = self.id(unique);
                self.emit(
                    self.audience(unique, [agent], true),
                    Event::Retrieved { conversation, agent, expired: true },
                );
            }
            Stage::WrapUp { agent, .. } => {
                self.finish(unique, agent, Finish { expired: true, ..Finish::default() });
            }
        }
    }

    /// Forgets declines that no longer hold, and asks again.
    fn declines_due(&mut self, unique: u128) {
        let now = self.now;
        let Some(conversation) = self.site.conversations.edit(unique) else { return };
        conversation.declines.retain(|(_, until)| *until > now);
        if let Some(next) = conversation.declines_due() {
            self.site.set_alarm(Due::Declines(unique), next);
        }
        self.later(Work::MatchItem(unique));
    }

    fn forget(&mut self) {
        let now = self.now;
        let due = |at: Option<Stamp>| at.is_some_and(|at| at <= now);
        while self.effort.remains() && due(self.site.requests.due()) {
            self.effort.spend(1);
            let (requests, buffer) = self.site.requests_mut();
            requests.forget_oldest(buffer);
        }
        while self.effort.remains() && due(self.site.forgets_tombstones_at()) {
            self.effort.spend(1);
            let (tombstones, buffer) = self.site.tombstones_mut();
            tombstones.forget_oldest(buffer);
        }
    }
}
