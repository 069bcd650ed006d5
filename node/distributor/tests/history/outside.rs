//! Books of what must happen outside: each event that a webhook is told of, each answer that is
//! mailed and each message to a bot leaves one effect; each effect has one outcome; what is done
//! *once* is begun once.

use std::collections::{BTreeMap, BTreeSet};

use rotary_distributor::{Applied, Shard};
use rotary_proto::effect::{EffectOutcome, EffectStart, EffectTarget, PendingEffect};
use rotary_proto::event::{Author, EffectEnd, Topic};
use rotary_proto::ids::{ConversationId, EffectId, QueueId, SiteId, WebhookId};
use rotary_proto::{Event, EventRecord, Stamp};

/// An effect that an event leaves: where, for whom, for which event.
type Want = (SiteId, EffectTarget, u64);

/// What the books say of all sites.
#[derive(Debug, Clone, Default)]
pub(crate) struct Books {
    /// What each webhook is told of, if anything.
    told: BTreeMap<(SiteId, WebhookId), BTreeSet<Topic>>,
    /// The event that began each conversation with mails, and its last mail.
    threads: BTreeMap<ConversationId, (u64, Option<EffectId>)>,
    /// Whose bot serves each conversation that one serves.
    served: BTreeMap<ConversationId, QueueId>,
    /// What waits.
    waiting: BTreeMap<(SiteId, EffectId), PendingEffect>,
    ended: BTreeSet<EffectId>,
}

impl Books {
    /// Follows an entry, and compares the state with the books.
    pub(crate) fn follow(&mut self, shard: &Shard, applied: &Applied) -> Vec<String> {
        let mut wrong = Vec::new();
        let mut wanted: Vec<Want> = Vec::new();
        for record in &applied.events {
            match &record.event {
                Event::WebhookSet { webhook, plan, .. } => {
                    let topics = if plan.enabled { plan.topics.clone() } else { BTreeSet::new() };
                    self.told.insert((record.site, *webhook), topics);
                }
                Event::EffectEnded { .. } => self.ends(record, &mut wanted, &mut wrong),
                Event::SelfServiceStarted { conversation, queue } => {
                    self.served.insert(*conversation, *queue);
                }
                event => {
                    let Some((topic, _)) = event.topic() else { continue };
                    let hears = |((site, _), topics): &(&(SiteId, _), &BTreeSet<Topic>)| {
                        *site == record.site && topics.contains(&topic)
                    };
                    let webhooks = self.told.iter().filter(hears).map(|((_, id), _)| *id);
                    let of = |id| (record.site, EffectTarget::Webhook(id), record.sequence);
                    wanted.extend(webhooks.map(of));
                    wanted.extend(self.mail(record, &mut wrong));
                    wanted.extend(self.turn(record));
                }
            }
        }
        self.compare(shard, wanted, &mut wrong);
        wrong
    }

    /// One that waited is over, and for the reason that it gives.
    fn ends(&mut self, record: &EventRecord, wanted: &mut Vec<Want>, wrong: &mut Vec<String>) {
        let Event::EffectEnded { effect, target, sequence, outcome, why, .. } = &record.event
        else {
            return;
        };
        let known = self.waiting.remove(&(record.site, *effect));
        let at_once = wanted.iter().position(|w| *w == (record.site, *target, *sequence));
        if let (EffectTarget::Turn(_), None, Some(place)) = (target, &known, at_once) {
            // There was no room for it, or no bot.
            wanted.remove(place);
            self.ended.insert(*effect);
            return;
        }
        let same = known.as_ref().is_some_and(|k| (k.target, k.sequence) == (*target, *sequence));
        if !same || !self.ended.insert(*effect) {
            wrong.push(format!("{effect} ends, and was {known:?}"));
        }
        let begun = known.is_some_and(|known| known.started.is_some());
        let mail = matches!(target, EffectTarget::Mail { .. });
        let expected = match (why, mail && !begun) {
            (EffectEnd::Expired, true) => Some(EffectOutcome::NotSent),
            (EffectEnd::Expired, false) => Some(EffectOutcome::Unknown),
            _ => None,
        };
        if expected.is_some_and(|expected| expected != *outcome) {
            wrong.push(format!("{effect} is over as {outcome:?}, begun: {begun}"));
        }
        if record.audience.customer.is_some() {
            wrong.push(format!("a customer is told of {effect}"));
        }
    }

    /// The turn that an event leaves.
    fn turn(&mut self, record: &EventRecord) -> Option<Want> {
        match &record.event {
            Event::Queued { conversation, .. } | Event::Ended { conversation, .. } => {
                self.served.remove(conversation);
                None
            }
            Event::Posted { conversation, author: Author::Customer, .. } => {
                let queue = self.served.get(conversation)?;
                Some((record.site, EffectTarget::Turn(*queue), record.sequence))
            }
            _ => None,
        }
    }

    /// The mail that an event leaves.
    fn mail(&mut self, record: &EventRecord, wrong: &mut Vec<String>) -> Option<Want> {
        match &record.event {
            Event::Opened { conversation, mail: Some(_), .. } => {
                self.threads.insert(*conversation, (record.sequence, None));
                None
            }
            Event::Posted { conversation, author, note, mail, .. } => {
                let by = if let Author::Agent(agent) = author { Some(*agent) } else { None };
                let thread = self.threads.get_mut(conversation);
                let expected = thread.zip(by).filter(|_| !note);
                if expected.is_some() != mail.is_some() {
                    wrong.push(format!("an item of {conversation} is mailed: {mail:?}"));
                }
                let ((opened, last), author) = expected?;
                let target = EffectTarget::Mail { opened: *opened, after: *last, author };
                *last = *mail;
                Some((record.site, target, record.sequence))
            }
            _ => None,
        }
    }

    /// What waits in the state is what waited before, and what this entry wanted.
    fn compare(&mut self, shard: &Shard, mut wanted: Vec<Want>, wrong: &mut Vec<String>) {
        let mut found = BTreeMap::new();
        for site in shard.sites() {
            for effect in shard.effects(site, None, usize::MAX).unwrap_or_default() {
                let PendingEffect { id, target, sequence, .. } = effect;
                match self.waiting.get(&(site, id)) {
                    Some(before) => begins(shard, before, effect.started, wrong),
                    None => {
                        let place = wanted.iter().position(|w| *w == (site, target, sequence));
                        if place.map(|place| wanted.remove(place)).is_none()
                            || self.ended.contains(&id)
                        {
                            wrong.push(format!("{id} waits, and nobody wanted it"));
                        }
                        if effect.until <= Stamp(shard.last_stamp().0) || effect.started.is_some() {
                            wrong.push(format!("{id} is over or begun from its beginning on"));
                        }
                    }
                }
                found.insert((site, id), effect);
            }
        }
        wrong.extend(wanted.into_iter().map(|want| format!("{want:?} is wanted and not there")));
        let gone = self.waiting.keys().filter(|key| !found.contains_key(key));
        wrong.extend(gone.map(|key| format!("{key:?} is gone without an outcome")));
        self.waiting = found;
    }
}

/// What began stays with whom it began; and it began with its owner.
fn begins(
    shard: &Shard,
    before: &PendingEffect,
    started: Option<EffectStart>,
    wrong: &mut Vec<String>,
) {
    let id = before.id;
    if before.started == started {
        return;
    }
    let view = shard.view();
    let owner = started.map(|start| (Some(start.owner), start.epoch));
    let owns = owner == Some((view.owner(before.conversation), view.epoch));
    if before.started.is_some() || !owns || !matches!(before.target, EffectTarget::Mail { .. }) {
        wrong.push(format!("{id} was begun by {:?}, is by {started:?}", before.started));
    }
}
