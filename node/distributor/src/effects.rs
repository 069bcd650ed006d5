//! Effects: what must happen outside, as replicated state.
//!
//! An event that a webhook is told of leaves an effect behind, in the same entry. It stays until
//! its outcome is logged or its time is over, whoever fails meanwhile; performing it is the
//! business of its owner, a replica that the shard's view names. Each webhook has a bound of its
//! own, so that an endpoint that is dead for days crowds out nothing but its own messages.

use std::collections::BTreeMap;

use rotary_proto::effect::{EffectOutcome, EffectTarget, PendingEffect};
use rotary_proto::event::{Audience, EffectEnd, Event, Topic};
use rotary_proto::ids::{ConversationId, EffectId, WebhookId};
use rotary_proto::limits;
use rotary_proto::plan::WebhookPlan;
use rotary_proto::web::Secret;
use serde::{Deserialize, Serialize};

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

/// What waits to happen.
#[derive(Debug, Clone)]
pub(crate) struct Effects {
    pub(crate) pending: Table<EffectId, PendingEffect>,
    /// How many wait for each webhook. Derived.
    waiting: BTreeMap<WebhookId, usize>,
}

impl Effects {
    /// Nothing waits.
    pub(crate) const fn new() -> Self {
        Self { pending: Table::new(5), waiting: BTreeMap::new() }
    }

    /// How many wait for a webhook.
    pub(crate) fn waiting(&self, webhook: WebhookId) -> usize {
        self.waiting.get(&webhook).copied().unwrap_or(0)
    }

    /// Takes an effect in; whether it is new and there is room for it.
    pub(crate) fn put(&mut self, effect: PendingEffect) -> bool {
        let EffectTarget::Webhook(webhook) = effect.target;
        let waiting = self.waiting.entry(webhook).or_default();
        if *waiting >= limits::EFFECTS_PER_WEBHOOK_MAX || self.pending.contains(effect.id) {
            return false;
        }
        *waiting += 1;
        self.pending.put(effect.id, effect);
        true
    }

    fn take(&mut self, id: EffectId) -> Option<PendingEffect> {
        let effect = self.pending.take(id)?;
        let EffectTarget::Webhook(webhook) = effect.target;
        let waiting = self.waiting.get_mut(&webhook).expect("what waits was counted");
        *waiting -= 1;
        if *waiting == 0 {
            self.waiting.remove(&webhook);
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
    const fn given_up(outcome: EffectOutcome, why: EffectEnd) -> Self {
        Self { outcome, why, attempts: 0, status: None }
    }
}

impl Turn<'_> {
    /// Leaves effects for the event just made.
    pub(crate) fn want_effects(&mut self, topic: Topic, conversation: ConversationId) {
        let (sequence, webhooks) = (self.site.sequence, self.site.webhooks.clone());
        let made = self.events.len() as u32 - 1;
        for (slot, (webhook, known)) in (0u32..).zip(webhooks.iter()) {
            if !known.plan.enabled || !known.plan.topics.contains(&topic) {
                continue;
            }
            self.effort.spend(1);
            let ordinal = made * limits::WEBHOOKS_PER_SITE_MAX as u32 + slot;
            let effect = PendingEffect {
                id: EffectId { shard: self.shard, index: self.index, ordinal },
                conversation,
                target: EffectTarget::Webhook(*webhook),
                sequence,
                until: self.now.plus_ms(known.plan.give_up_ms),
                started: None,
            };
            if !self.site.put_effect(effect.clone()) {
                let ending = Ending::given_up(EffectOutcome::NotSent, EffectEnd::Overflow);
                self.tell_effect_ended(&effect, ending);
            }
        }
    }

    /// Ends an effect; one that is over already changes nothing.
    pub(crate) fn end_effect(&mut self, id: EffectId, ending: Ending) {
        self.site.clear_alarm(Due::Effect(id));
        if let Some(effect) = self.site.effects.take(id) {
            self.tell_effect_ended(&effect, ending);
        }
    }

    /// Nobody has said how it came out, and its time is over.
    pub(crate) fn effect_due(&mut self, id: EffectId) {
        self.end_effect(id, Ending::given_up(EffectOutcome::Unknown, EffectEnd::Expired));
    }

    fn tell_effect_ended(&mut self, effect: &PendingEffect, ending: Ending) {
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
        self.emit(Audience::default(), event);
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
