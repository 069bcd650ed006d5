//! What waits for one endpoint on this node, and when it is tried.
//!
//! Attempts follow one another at the pauses that Standard Webhooks proposes, scattered a little.
//! An endpoint that fails is tried with one message at a time until it takes one, so that a dead
//! one holds one connection, whatever waits for it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use rotary_proto::EffectId;
use rotary_proto::effect::PendingEffect;
use tokio::time::Instant;

/// Messages on their way to one endpoint at a time.
const RUNNING_MAX: usize = 8;
/// The same, where each is another customer who waits.
const QUICK_RUNNING_MAX: usize = 64;
/// The pauses after each failed attempt, in seconds; the last one goes on.
const PAUSES_S: [u64; 9] = [5, 300, 1_800, 7_200, 18_000, 36_000, 50_400, 72_000, 86_400];

/// One effect of this node's.
#[derive(Debug, Clone)]
pub(crate) struct Waiting {
    pub(crate) effect: PendingEffect,
    /// Attempts that were made.
    pub(crate) attempts: u32,
    /// What the endpoint said last.
    pub(crate) status: Option<u16>,
}

/// How a line goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Pace {
    /// In any order, with pauses that grow to a day; one at a time while the other side fails.
    #[default]
    Patient,
    /// Somebody waits: the effects of one conversation in their order, one at a time, with pauses
    /// that grow to seconds.
    Quick,
}

impl Pace {
    /// The pause after so many attempts, a fifth longer or shorter. `scatter` is 0 to 1 000.
    pub(crate) fn pause(self, attempts: u32, scatter: u64) -> Duration {
        let ms = match self {
            Self::Patient => {
                let place = (attempts.max(1) as usize - 1).min(PAUSES_S.len() - 1);
                PAUSES_S[place] * 1_000
            }
            Self::Quick => 250 << attempts.clamp(1, 5),
        };
        Duration::from_millis(ms - ms / 5 + ms * 2 / 5 * scatter.min(1_000) / 1_000)
    }
}

/// What waits for one endpoint.
#[derive(Debug, Default)]
pub(crate) struct Line {
    waiting: BTreeMap<EffectId, Waiting>,
    /// When each is tried next; what is on its way is not among them.
    due: BTreeSet<(Instant, EffectId)>,
    running: BTreeSet<EffectId>,
    failing: bool,
    /// Of the plan that says where it is.
    version: u32,
    pace: Pace,
    /// What waits of each conversation, where that has an order: that of their events.
    orders: BTreeMap<u128, BTreeSet<(u64, EffectId)>>,
}

impl Line {
    /// Of an endpoint whose plan has that version.
    pub(crate) fn of(version: u32, pace: Pace) -> Self {
        Self { version, pace, ..Self::default() }
    }

    /// Takes an effect in, to be tried at once; one that is there stays as it is.
    pub(crate) fn add(&mut self, effect: PendingEffect, now: Instant) {
        let (id, unique) = (effect.id, effect.conversation.unique);
        let place = (effect.sequence, id);
        if self.waiting.contains_key(&id) {
            return;
        }
        self.waiting.insert(id, Waiting { effect, attempts: 0, status: None });
        let first = self.pace == Pace::Patient || {
            let order = self.orders.entry(unique).or_default();
            order.insert(place);
            order.len() == 1
        };
        if first {
            self.due.insert((now, id));
        }
    }

    /// Takes in the version of the webhook's plan. Under another one everything is tried at once:
    /// the endpoint may be another, or nothing be told any more.
    pub(crate) fn note_version(&mut self, version: u32, now: Instant) {
        if std::mem::replace(&mut self.version, version) != version {
            self.failing = false;
            self.due = self.due.iter().map(|(_, id)| (now, *id)).collect();
        }
    }

    /// When the next attempt may begin, if one may.
    pub(crate) fn next_due(&self) -> Option<Instant> {
        let room = match (self.pace, self.failing) {
            (Pace::Patient, true) => 1,
            (Pace::Patient, false) => RUNNING_MAX,
            (Pace::Quick, _) => QUICK_RUNNING_MAX,
        };
        let first = self.due.first().map(|(at, _)| *at);
        first.filter(|_| self.running.len() < room)
    }

    /// Begins the next attempt, if one is due.
    pub(crate) fn begin(&mut self, now: Instant) -> Option<Waiting> {
        self.next_due().filter(|at| *at <= now)?;
        let (_, id) = self.due.pop_first()?;
        self.running.insert(id);
        self.waiting.get(&id).cloned()
    }

    /// It is over, or another node's: nothing is left of it. What comes after it is tried at once.
    pub(crate) fn forget(&mut self, id: EffectId, now: Instant) {
        self.running.remove(&id);
        let Some(gone) = self.waiting.remove(&id) else { return };
        let unique = gone.effect.conversation.unique;
        let Some(order) = self.orders.get_mut(&unique) else { return };
        order.remove(&(gone.effect.sequence, id));
        match order.first() {
            Some((_, next)) if !self.running.contains(next) => drop(self.due.insert((now, *next))),
            Some(_) => {}
            None => drop(self.orders.remove(&unique)),
        }
    }

    /// The endpoint took a message.
    pub(crate) fn works(&mut self) {
        self.failing = false;
    }

    /// An attempt has failed: when the next one is. `scatter` is 0 to 1 000.
    pub(crate) fn again(
        &mut self,
        id: EffectId,
        status: Option<u16>,
        asked: Option<Duration>,
        now: Instant,
        scatter: u64,
    ) {
        self.running.remove(&id);
        self.failing = true;
        if let Some(waiting) = self.waiting.get_mut(&id) {
            waiting.attempts += 1;
            waiting.status = status;
            let pause = self.pace.pause(waiting.attempts, scatter).max(asked.unwrap_or_default());
            self.due.insert((now + pause, id));
        }
    }

    /// The attempt could not be made here: it is made soon, and does not count.
    pub(crate) fn postpone(&mut self, id: EffectId, at: Instant) {
        self.running.remove(&id);
        if self.waiting.contains_key(&id) {
            self.due.insert((at, id));
        }
    }

    /// Keeps those of which `mine` says so, and those that are on their way.
    pub(crate) fn retain(&mut self, mine: impl Fn(&PendingEffect) -> bool) {
        let Self { waiting, due, running, orders, .. } = self;
        waiting.retain(|id, waiting| running.contains(id) || mine(&waiting.effect));
        due.retain(|(_, id)| waiting.contains_key(id));
        orders.retain(|_, order| {
            order.retain(|(_, id)| waiting.contains_key(id));
            !order.is_empty()
        });
    }

    /// Whether nothing waits and nothing is on its way.
    pub(crate) fn is_idle(&self) -> bool {
        self.waiting.is_empty() && self.running.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use rotary_proto::effect::EffectTarget;
    use rotary_proto::{ConversationId, ShardId, SiteId, Stamp, WebhookId};

    use super::*;

    fn effect(index: u64) -> PendingEffect {
        PendingEffect {
            id: EffectId { shard: ShardId(1), index, ordinal: 0 },
            conversation: ConversationId::new(SiteId::new(1, 1), u128::from(index)),
            target: EffectTarget::Webhook(WebhookId(1)),
            sequence: index,
            until: Stamp(u64::MAX),
            started: None,
        }
    }

    fn line(now: Instant) -> Line {
        let mut line = Line::default();
        (0..20).for_each(|index| line.add(effect(index), now));
        line
    }

    fn begin_all(line: &mut Line, now: Instant) -> Vec<EffectId> {
        std::iter::from_fn(|| line.begin(now)).map(|waiting| waiting.effect.id).collect()
    }

    #[test]
    fn some_are_on_their_way_at_a_time_and_one_to_an_endpoint_that_fails() {
        let now = Instant::now();
        let mut line = line(now);
        let begun = begin_all(&mut line, now);
        assert_eq!(begun.len(), RUNNING_MAX);
        line.add(effect(0), now);
        assert!(line.begin(now).is_none(), "there is no room, and that one is on its way");
        begun.iter().for_each(|id| line.again(*id, Some(500), None, now, 500));
        let one = begin_all(&mut line, now);
        assert_eq!(one.len(), 1, "it fails");
        line.works();
        line.forget(one[0], now);
        assert_eq!(begin_all(&mut line, now).len(), RUNNING_MAX);
    }

    #[test]
    fn attempts_come_at_growing_pauses_or_when_the_endpoint_says() {
        let now = Instant::now();
        let mut line = Line::default();
        line.add(effect(1), now);
        for (attempts, seconds) in [(1, 5), (2, 300), (3, 1_800)] {
            let at = line.next_due().expect("it waits");
            let waiting = line.begin(at).expect("it is due");
            assert_eq!(waiting.attempts + 1, attempts);
            line.again(waiting.effect.id, Some(503), None, at, 500);
            assert_eq!(line.next_due(), Some(at + Duration::from_secs(seconds)));
        }
        let at = line.next_due().expect("it waits");
        let id = line.begin(at).expect("it is due").effect.id;
        let asked = Some(Duration::from_secs(9_000));
        line.again(id, Some(429), asked, at, 0);
        assert_eq!(line.next_due(), Some(at + Duration::from_secs(9_000)));
        assert!(Pace::Patient.pause(99, 1_000) <= Duration::from_secs(86_400 * 6 / 5));
    }

    #[test]
    fn another_plan_is_tried_at_once() {
        let now = Instant::now();
        let mut line = Line::of(1, Pace::Patient);
        line.add(effect(1), now);
        let id = line.begin(now).expect("it is due").effect.id;
        line.again(id, None, None, now, 500);
        line.note_version(1, now);
        assert!(line.begin(now).is_none());
        line.note_version(2, now);
        assert_eq!(line.begin(now).map(|waiting| waiting.attempts), Some(1));
    }

    #[test]
    fn what_is_anothers_goes_but_for_what_is_on_its_way() {
        let now = Instant::now();
        let mut line = line(now);
        let begun = begin_all(&mut line, now);
        line.retain(|_| false);
        assert!(line.begin(now).is_none() && !line.is_idle());
        begun.iter().for_each(|id| line.forget(*id, now));
        assert!(line.is_idle());
    }

    #[test]
    fn what_somebody_waits_for_is_tried_in_its_order_and_soon_again() {
        let now = Instant::now();
        let mut line = Line::of(1, Pace::Quick);
        let of = |index, unique| {
            let conversation = ConversationId::new(SiteId::new(1, 1), unique);
            PendingEffect { conversation, ..effect(index) }
        };
        [of(1, 7), of(2, 7), of(3, 8)].into_iter().for_each(|effect| line.add(effect, now));
        let begun = begin_all(&mut line, now);
        assert_eq!(begun, [effect(1).id, effect(3).id], "one of each conversation");
        line.again(begun[0], Some(503), None, now, 500);
        assert!(line.begin(now).is_none(), "the second does not overtake the first");
        assert_eq!(line.next_due(), Some(now + Duration::from_millis(500)));
        let later = now + Duration::from_millis(500);
        assert_eq!(begin_all(&mut line, later), [effect(1).id]);
        line.forget(effect(1).id, later);
        assert_eq!(begin_all(&mut line, later), [effect(2).id]);
        line.forget(effect(2).id, later);
        line.forget(effect(3).id, later);
        assert!(line.is_idle() && line.orders.is_empty());
    }
}
