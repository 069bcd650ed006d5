//! Self-service: the bot of a queue serves a conversation before its agents do.
//!
//! What the customer writes meanwhile leaves *turns*: effects that the bot answers one by one, in
//! order. A turn that is not answered hands the conversation over, and so does the bot when it
//! wants to, the customer or a supervisor; then the turns that are left are withdrawn, and the
//! conversation takes its place in line as if it had been opened then.

use rotary_proto::bot::BotPlan;
use rotary_proto::effect::{EffectOutcome, EffectTarget, PendingEffect};
use rotary_proto::event::{EffectEnd, QueuedWhy};
use rotary_proto::ids::{ConversationId, EffectId, QueueId};
use rotary_proto::web::Secret;
use rotary_proto::{Channel, limits};
use serde::{Deserialize, Serialize};

use crate::conversation::Stage;
use crate::effects::Ending;
use crate::queue::Queue;
use crate::site::Due;
use crate::turn::Turn;

/// The bot of a queue.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Bot {
    /// Counts plans, from 1.
    pub(crate) version: u32,
    /// Where it is, if the queue has one.
    pub(crate) plan: Option<BotPlan>,
    /// What its turns are signed with.
    pub(crate) secret: Secret,
}

impl Queue {
    /// The plan of the queue's bot, if it has one.
    pub(crate) fn bot_plan(&self) -> Option<&BotPlan> {
        self.bot.as_ref()?.plan.as_ref()
    }

    /// Whether a conversation that is opened here on that channel begins with a bot.
    pub(crate) fn begins_in_self_service(&self, channel: Channel) -> bool {
        self.bot_plan().is_some() && matches!(channel, Channel::Chat | Channel::Message)
    }
}

impl Turn<'_> {
    /// Leaves a turn for what a customer wrote, the event of that sequence; or hands over, where
    /// that cannot be.
    pub(crate) fn want_turn(&mut self, id: EffectId, conversation: ConversationId, sequence: u64) {
        self.effort.spend(1);
        let unique = conversation.unique;
        let found = self.conversation(unique);
        let (queue, waiting) = (found.queue, found.turns.len());
        let turn_ms = self.queue(queue).bot_plan().map(|plan| plan.turn_ms);
        let effect = PendingEffect {
            id,
            conversation,
            target: EffectTarget::Turn(queue),
            sequence,
            until: self.now.plus_ms(turn_ms.unwrap_or(limits::BOT_TURN_DEFAULT_MS)),
            started: None,
        };
        let room = waiting < limits::TURNS_PER_CONVERSATION_MAX;
        let why = match turn_ms {
            None => EffectEnd::Withdrawn,
            Some(_) if room && self.site.put_effect(effect.clone()) => {
                return self.conversation_mut(unique).turns.push(id);
            }
            Some(_) => EffectEnd::Overflow,
        };
        self.tell_effect_ended(&effect, Ending::given_up(EffectOutcome::NotSent, why));
        self.hand_over(unique, None, QueuedWhy::HandedOver);
    }

    /// A turn has its outcome: without an answer, agents take over.
    pub(crate) fn turn_ended(&mut self, unique: u128, id: EffectId, outcome: EffectOutcome) {
        self.conversation_mut(unique).turns.retain(|turn| *turn != id);
        if outcome != EffectOutcome::Sent {
            self.hand_over(unique, None, QueuedWhy::HandedOver);
        }
    }

    /// Withdraws the turns that are left.
    pub(crate) fn withdraw_turns(&mut self, unique: u128) {
        for id in std::mem::take(&mut self.conversation_mut(unique).turns) {
            self.effort.spend(1);
            self.site.clear_alarm(Due::Effect(id));
            let effect = self.site.effects.take(id).expect("a turn that is left waits");
            let ending = Ending::given_up(EffectOutcome::NotSent, EffectEnd::Withdrawn);
            self.tell_effect_ended(&effect, ending);
        }
    }

    /// Ends self-service: the conversation waits for an agent, as if it had been opened at this
    /// moment.
    pub(crate) fn hand_over(&mut self, unique: u128, queue: Option<QueueId>, why: QueuedWhy) {
        self.withdraw_turns(unique);
        let found = self.conversation(unique);
        let target = queue.unwrap_or(found.queue);
        let (channel, skills, now) = (found.channel, found.skills.clone(), self.now);
        // Where every class is in use there is one more: nobody is stuck with a bot.
        let _ = self.reserve_class(target, channel, &skills);
        self.change_queue(unique, Some(target), None);
        self.conversation_mut(unique).opened = now;
        self.set_stage(unique, Stage::Waiting);
        self.enter_line(unique, now, why);
    }

    /// The queue that a bot may hand over to, if it names one that there is.
    pub(crate) fn may_hand_over_to(&self, unique: u128, queue: QueueId) -> bool {
        let found = self.site.queues.get(queue);
        let skills = &self.conversation(unique).skills;
        found.is_some_and(|queue| queue.requirement(skills).len() <= limits::REQUIRED_SKILLS_MAX)
    }
}
