//! Effects: what must happen outside, as replicated state.
//!
//! An event that a webhook is told of leaves an effect behind, in the same entry. It stays until
//! its outcome is logged or its time is over, whoever fails meanwhile; performing it is the
//! business of its owner, a replica that the shard's view names. Each webhook has a bound of its
//! own, so that an endpoint that is dead for days crowds out nothing but its own messages; so have
//! the mails of a site.
//!
//! What an agent writes where a conversation has a mail thread leaves a mail. It is done *once*:
//! the owner logs that it begins (`commands/start_effect`), and what began is never begun again.

use std::collections::BTreeMap;

use rotary_proto::effect::{EffectOutcome, EffectTarget, PendingEffect, Repetition};
use rotary_proto::event::{Audience, EffectEnd, Event, Topic};
use rotary_proto::ids::{AgentId, ConversationId, EffectId, QueueId, WebhookId};
use rotary_proto::limits;
use rotary_proto::plan::WebhookPlan;
use rotary_proto::web::Secret;
use serde::{Deserialize, Serialize};

use crate::conversation::MailThread;
use crate::site::{Due, Site};
use crate::table::Table;
use crate::turn::Turn;

/// A place outside that is told what happens.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Webhook {
    pub(crate) version: u32,
    pub(crate) plan: WebhookPlan,
    pub(crate) secret: Secret,
}

/// Who is waited for: each has a bound of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Place {
    Webhook(WebhookId),
    Mail,
    Turn(QueueId),
}

impl Place {
    const fn of(target: EffectTarget) -> Self {
        match target {
            EffectTarget::Webhook(webhook) => Self::Webhook(webhook),
            EffectTarget::Mail { .. } => Self::Mail,
            EffectTarget::Turn(queue) => Self::Turn(queue),
        }
    }

    const fn most(self) -> usize {
        match self {
            Self::Webhook(_) => limits::EFFECTS_PER_WEBHOOK_MAX,
            Self::Mail => limits::MAILS_PER_SITE_MAX,
            Self::Turn(_) => limits::TURNS_PER_QUEUE_MAX,
        }
    }
}

/// What waits to happen.
#[derive(Debug, Clone)]
pub(crate) struct Effects {
    pub(crate) pending: Table<EffectId, PendingEffect>,
    /// How many wait for each. Derived.
    waiting: BTreeMap<Place, usize>,
}

impl Effects {
    /// Nothing waits.
    pub(crate) const fn new() -> Self {
        Self { pending: Table::new(5), waiting: BTreeMap::new() }
    }

    /// How many wait for a webhook.
    pub(crate) fn waiting(&self, webhook: WebhookId) -> usize {
        self.waiting.get(&Place::Webhook(webhook)).copied().unwrap_or(0)
    }

    /// Takes an effect in; whether it is new and there is room for it.
    pub(crate) fn put(&mut self, effect: PendingEffect) -> bool {
        let place = Place::of(effect.target);
        let waiting = self.waiting.entry(place).or_default();
        if *waiting >= place.most() || self.pending.contains(effect.id) {
            return false;
        }
        *waiting += 1;
        self.pending.put(effect.id, effect);
        true
    }

    /// Takes an effect out.
    pub(crate) fn take(&mut self, id: EffectId) -> Option<PendingEffect> {
        let effect = self.pending.take(id)?;
        let place = Place::of(effect.target);
        let waiting = self.waiting.get_mut(&place).expect("what waits was counted");
        *waiting -= 1;
        if *waiting == 0 {
            self.waiting.remove(&place);
        }
        Some(effect)
    }
}

impl Site {
    /// Takes an effect in, with its alarm; whether it is new and there is room for it.
    pub(crate) fn put_effect(&mut self, effect: PendingEffect) -> bool {
        let (id, until) = (effect.id, effect.until);
        let put = self.effects.put(effect);
        if put {
            self.arm(Due::Effect(id), until);
        }
        put
    }
}

/// How an effect ended.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ending {
    pub(crate) outcome: EffectOutcome,
    pub(crate) why: EffectEnd,
    pub(crate) attempts: u32,
    pub(crate) status: Option<u16>,
}

impl Ending {
    /// Of one that nobody performs any more.
    pub(crate) const fn given_up(outcome: EffectOutcome, why: EffectEnd) -> Self {
        Self { outcome, why, attempts: 0, status: None }
    }
}

impl Turn<'_> {
    /// Leaves effects for the event just made.
    pub(crate) fn want_effects(&mut self, topic: Topic, conversation: ConversationId) {
        let (sequence, webhooks) = (self.site.sequence, self.site.webhooks.clone());
        let made = self.events.len() - 1;
        for (slot, (webhook, known)) in (0u32..).zip(webhooks.iter()) {
            if !known.plan.enabled || !known.plan.topics.contains(&topic) {
                continue;
            }
            self.effort.spend(1);
            let effect = PendingEffect {
                id: self.effect_id(made, slot),
                conversation,
                target: EffectTarget::Webhook(*webhook),
                sequence,
                until: self.now.plus_ms(known.plan.give_up_ms),
                started: None,
            };
            self.leave(effect);
        }
    }

    /// The id of the mail or turn of the event that is made next.
    pub(crate) fn next_effect_id(&self) -> EffectId {
        self.effect_id(self.events.len(), limits::WEBHOOKS_PER_SITE_MAX as u32)
    }

    /// The id of an effect of the event that was or will be the entry's event in that place.
    const fn effect_id(&self, made: usize, slot: u32) -> EffectId {
        let ordinal = made as u32 * limits::EFFECTS_PER_EVENT_MAX as u32 + slot;
        EffectId { shard: self.shard, index: self.index, ordinal }
    }

    /// Leaves an effect, or says that there are too many.
    fn leave(&mut self, effect: PendingEffect) {
        if !self.site.put_effect(effect.clone()) {
            let ending = Ending::given_up(EffectOutcome::NotSent, EffectEnd::Overflow);
            self.tell_effect_ended(&effect, ending);
        }
    }

    /// The mail that carries what an agent writes next, where the conversation has mails.
    pub(crate) fn mail_of(
        &self,
        unique: u128,
        author: AgentId,
    ) -> Option<(EffectId, EffectTarget)> {
        let MailThread { opened, last } = self.conversation(unique).mail?;
        Some((self.next_effect_id(), EffectTarget::Mail { opened, after: last, author }))
    }

    /// Leaves the mail for the event of that sequence.
    pub(crate) fn want_mail(
        &mut self,
        id: EffectId,
        target: EffectTarget,
        conversation: ConversationId,
        sequence: u64,
    ) {
        self.effort.spend(1);
        if let Some(thread) = &mut self.conversation_mut(conversation.unique).mail {
            thread.last = Some(id);
        }
        let until = self.now.plus_ms(limits::MAIL_GIVE_UP_MS);
        let started = None;
        self.leave(PendingEffect { id, conversation, target, sequence, until, started });
    }

    /// Ends an effect; one that is over already changes nothing.
    pub(crate) fn end_effect(&mut self, id: EffectId, ending: Ending) {
        self.site.clear_alarm(Due::Effect(id));
        if let Some(effect) = self.site.effects.take(id) {
            self.tell_effect_ended(&effect, ending);
            if let EffectTarget::Turn(_) = effect.target {
                self.turn_ended(effect.conversation.unique, id, ending.outcome);
            }
        }
    }

    /// Nobody has said how it came out, and its time is over. What nobody began has not happened.
    pub(crate) fn effect_due(&mut self, id: EffectId) {
        let Some(effect) = self.site.effects.pending.get(id) else { return };
        let begun = effect.started.is_some();
        let outcome = match effect.target.repetition() {
            Repetition::Once if !begun => EffectOutcome::NotSent,
            Repetition::Once | Repetition::Repeatable => EffectOutcome::Unknown,
        };
        self.end_effect(id, Ending::given_up(outcome, EffectEnd::Expired));
    }

    /// Says how an effect ended.
    pub(crate) fn tell_effect_ended(&mut self, effect: &PendingEffect, ending: Ending) {
        let Ending { outcome, why, attempts, status } = ending;
        let PendingEffect { id, conversation, target, sequence, .. } = *effect;
        let event = Event::EffectEnded {
            effect: id,
            conversation,
            target,
            sequence,
            outcome,
            why,
            attempts,
            status,
        };
        let audience = match target {
            EffectTarget::Webhook(_) | EffectTarget::Turn(_) => Audience::default(),
            EffectTarget::Mail { author, .. } => self.mail_audience(conversation, author),
        };
        self.emit(audience, event);
    }

    /// Who hears what became of a mail: its author, and whoever serves.
    fn mail_audience(&self, conversation: ConversationId, author: AgentId) -> Audience {
        let found = self.site.conversations.get(conversation.unique);
        let serving = found.and_then(|found| found.stage.agent()).filter(|agent| *agent != author);
        Audience {
            agents: [author].into_iter().chain(serving).collect(),
            customer: None,
            queue: found.map(|found| found.queue),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rotary_proto::{ShardId, SiteId, Stamp};

    fn effect(index: u64, webhook: u16) -> PendingEffect {
        PendingEffect {
            id: EffectId { shard: ShardId(1), index, ordinal: 0 },
            conversation: ConversationId::new(SiteId::new(1, 1), 7),
            target: EffectTarget::Webhook(WebhookId(webhook)),
            sequence: index,
            until: Stamp(100),
            started: None,
        }
    }

    #[test]
    fn a_full_webhook_leaves_room_for_the_others() {
        let mut effects = Effects::new();
        let max = limits::EFFECTS_PER_WEBHOOK_MAX as u64;
        assert!((0..max).all(|index| effects.put(effect(index, 1))));
        assert!(!effects.put(effect(max, 1)), "it is full");
        assert!(effects.put(effect(max, 2)));
        assert!(!effects.put(effect(max, 2)), "it is there");
        assert_eq!((effects.waiting(WebhookId(1)), effects.waiting(WebhookId(2))), (4_096, 1));
        assert_eq!(effects.take(effect(5, 1).id), Some(effect(5, 1)));
        assert!(effects.take(effect(5, 1).id).is_none() && effects.put(effect(max + 1, 1)));
    }
}
