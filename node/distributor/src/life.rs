//! The steps of a conversation's life that several commands and deadlines share.

use rotary_proto::Stamp;
use rotary_proto::event::{EndReason, Event, OfferEnd, QueuedWhy};
use rotary_proto::ids::{AgentId, DispositionId};
use rotary_proto::planted::{self, Planted};
use rotary_proto::values::Sealed;

use crate::conversation::Stage;
use crate::site::{Due, Tombstone, Work};
use crate::turn::Turn;

/// How an agent's part of a conversation was finished.
#[derive(Debug, Clone, Default)]
pub(crate) struct Finish {
    pub(crate) agent: Option<AgentId>,
    pub(crate) disposition: Option<DispositionId>,
    pub(crate) note: Option<Sealed>,
    pub(crate) expired: bool,
}

impl Turn<'_> {
    /// Takes an offer back from its agent. The conversation is still to be put somewhere.
    pub(crate) fn end_offer(&mut self, unique: u128, why: OfferEnd) {
        let Stage::Offered { offer, agent, .. } = self.conversation(unique).stage else {
            unreachable!("the caller found it on offer")
        };
        self.conversation_mut(unique).last_offer = Some((offer, why));
        self.credit(unique, agent);
        let conversation = self.id(unique);
        self.emit(
            self.audience(unique, [agent], false),
            Event::OfferEnded { conversation, offer, agent, why },
        );
    }

    /// Gives an agent's capacity back and looks for something else for them.
    fn credit(&mut self, unique: u128, agent: AgentId) {
        let channel = self.conversation(unique).channel;
        self.set_busy(agent);
        self.agent_mut(agent).credit(unique, channel);
        self.later(Work::MatchAgent(agent));
    }

    /// Ends an agent's work on a conversation.
    fn release(&mut self, unique: u128, agent: AgentId) {
        self.credit(unique, agent);
        let now = self.now;
        self.agent_mut(agent).reset_idle(now);
    }

    /// Puts an assigned conversation back in line.
    pub(crate) fn give_back(&mut self, unique: u128, agent: AgentId, why: QueuedWhy) {
        let conversation = self.id(unique);
        self.emit(
            self.audience(unique, [agent], true),
            Event::Released { conversation, agent, why },
        );
        self.release(unique, agent);
        self.set_stage(unique, Stage::Waiting);
        let conversation = self.conversation(unique);
        let since = match why {
            QueuedWhy::AgentLost | QueuedWhy::AgentSignedOut => conversation.opened,
            QueuedWhy::Opened | QueuedWhy::Requeued | QueuedWhy::HandedOver => {
                Stamp(self.now.0.saturating_sub(conversation.waited_us))
            }
        };
        let since = if planted::is(Planted::RequeuedAtTail) { self.now } else { since };
        self.enter_line(unique, since, why);
    }

    /// Keeps a conversation from an agent who did not want it, for as long as its queue says:
    /// others come first, and an agent alone is asked again.
    pub(crate) fn delay(&mut self, unique: u128, agent: AgentId) {
        let queue = self.conversation(unique).queue;
        let until = self.now.plus_ms(self.queue(queue).plan.decline_delay_ms);
        self.conversation_mut(unique).decline(agent, until);
        self.site.set_alarm_by(Due::Declines(unique), until);
    }

    /// Ends the customer's part.
    pub(crate) fn end(&mut self, unique: u128, why: EndReason) {
        let stage = self.conversation(unique).stage;
        match stage {
            Stage::SelfService { .. } => self.withdraw_turns(unique),
            Stage::Waiting => self.leave_line(unique),
            Stage::Offered { .. } => {
                let left = matches!(why, EndReason::Abandoned | EndReason::CustomerLost);
                let ended = if left { OfferEnd::CustomerLeft } else { OfferEnd::Withdrawn };
                self.end_offer(unique, ended);
                self.leave_line(unique);
            }
            Stage::Assigned { .. } => {}
            Stage::WrapUp { .. } => unreachable!("the caller found the customer still there"),
        }
        let conversation = self.id(unique);
        self.emit(self.audience(unique, stage.agent(), true), Event::Ended { conversation, why });
        match stage {
            Stage::Assigned { agent, .. } => self.begin_wrap_up(unique, agent),
            _ => self.close(unique, Finish::default()),
        }
    }

    fn begin_wrap_up(&mut self, unique: u128, agent: AgentId) {
        let queue = self.conversation(unique).queue;
        let wrap_up_ms = self.queue(queue).plan.wrap_up_ms;
        if wrap_up_ms == 0 {
            return self.finish(unique, agent, Finish::default());
        }
        let until = self.now.plus_ms(wrap_up_ms);
        self.set_stage(unique, Stage::WrapUp { agent, until });
        let conversation = self.id(unique);
        self.emit(
            self.audience(unique, [agent], false),
            Event::WrapUpStarted { conversation, agent, until },
        );
    }

    /// Ends the agent's part, and with it the conversation.
    pub(crate) fn finish(&mut self, unique: u128, agent: AgentId, finish: Finish) {
        self.release(unique, agent);
        self.close(unique, Finish { agent: Some(agent), ..finish });
    }

    /// Takes a conversation that nobody holds out of hot state.
    fn close(&mut self, unique: u128, finish: Finish) {
        let Finish { agent, disposition, note, expired } = finish;
        let conversation = self.id(unique);
        self.emit(
            self.audience(unique, agent, false),
            Event::Closed { conversation, agent, disposition, note, expired },
        );
        self.site.clear_alarm(Due::Conversation(unique));
        self.site.clear_alarm(Due::Declines(unique));
        let gone = self.site.conversations.take(unique).expect("the caller found it");
        self.count(gone.queue, gone.stage, |count| *count -= 1);
        if let Some(customer) = gone.customer {
            self.forget_customer(customer, unique);
        }
        let tombstone = Tombstone { at: self.now, index: self.index, unique };
        let (tombstones, buffer) = self.site.tombstones_mut();
        tombstones.bury(tombstone, buffer);
    }

    /// When silence or length will end an assignment that something just happened in.
    pub(crate) fn assignment_until(&self, unique: u128) -> Stamp {
        let conversation = self.conversation(unique);
        let plan = &self.queue(conversation.queue).plan;
        let timed_by_length = conversation.is_timed_by_length();
        self.now.plus_ms(if timed_by_length { plan.talk_max_ms } else { plan.idle_max_ms })
    }
}
