//! Books of what must happen outside: each event that a webhook is told of leaves one effect, and
//! each effect has one outcome.

use std::collections::{BTreeMap, BTreeSet};

use rotary_distributor::{Applied, Shard};
use rotary_proto::effect::EffectTarget;
use rotary_proto::event::Topic;
use rotary_proto::ids::{EffectId, SiteId, WebhookId};
use rotary_proto::{Event, Stamp};

/// What the books say of all sites.
#[derive(Debug, Clone, Default)]
pub(crate) struct Books {
    /// What each webhook is told of, if anything.
    told: BTreeMap<(SiteId, WebhookId), BTreeSet<Topic>>,
    /// What waits: the event, and for whom.
    waiting: BTreeMap<(SiteId, EffectId), (WebhookId, u64)>,
    ended: BTreeSet<EffectId>,
}

impl Books {
    /// Follows an entry, and compares the state with the books.
    pub(crate) fn follow(&mut self, shard: &Shard, applied: &Applied) -> Vec<String> {
        let mut wrong = Vec::new();
        let mut wanted: BTreeSet<(SiteId, WebhookId, u64)> = BTreeSet::new();
        for record in &applied.events {
            match &record.event {
                Event::WebhookSet { webhook, plan, .. } => {
                    let topics = if plan.enabled { plan.topics.clone() } else { BTreeSet::new() };
                    self.told.insert((record.site, *webhook), topics);
                }
                Event::EffectEnded { effect, target, sequence, .. } => {
                    let EffectTarget::Webhook(webhook) = *target;
                    let known = self.waiting.remove(&(record.site, *effect));
                    if known != Some((webhook, *sequence)) || !self.ended.insert(*effect) {
                        wrong.push(format!("{effect} ends, and was {known:?}"));
                    }
                }
                event => {
                    let Some((topic, _)) = event.topic() else { continue };
                    let hears = |((site, _), topics): &(&(SiteId, _), &BTreeSet<Topic>)| {
                        *site == record.site && topics.contains(&topic)
                    };
                    let webhooks = self.told.iter().filter(hears).map(|((_, id), _)| *id);
                    wanted.extend(webhooks.map(|id| (record.site, id, record.sequence)));
                }
            }
        }
        self.compare(shard, wanted, &mut wrong);
        wrong
    }

    /// What waits in the state is what waited before, and what this entry wanted.
    fn compare(
        &mut self,
        shard: &Shard,
        mut wanted: BTreeSet<(SiteId, WebhookId, u64)>,
        wrong: &mut Vec<String>,
    ) {
        let mut found = BTreeMap::new();
        for site in shard.sites() {
            for effect in shard.effects(site, None, usize::MAX).unwrap_or_default() {
                let EffectTarget::Webhook(webhook) = effect.target;
                let (id, sequence) = (effect.id, effect.sequence);
                if !self.waiting.contains_key(&(site, id)) {
                    if !wanted.remove(&(site, webhook, sequence)) || self.ended.contains(&id) {
                        wrong.push(format!("{id} waits, and nobody wanted it"));
                    }
                    if effect.until <= Stamp(shard.last_stamp().0) {
                        wrong.push(format!("{id} waits from its end on"));
                    }
                }
                found.insert((site, id), (webhook, sequence));
            }
        }
        wrong.extend(wanted.into_iter().map(|want| format!("{want:?} is wanted and not there")));
        let gone = self.waiting.keys().filter(|key| !found.contains_key(key));
        wrong.extend(gone.map(|key| format!("{key:?} is gone without an outcome")));
        self.waiting = found;
    }
}
