//! Every event is told to the webhooks that want such, under one id, until they have taken it
//! (P5, P10).
//!
//! Which events a webhook wants follows from the feed: its plan's topics at that place. Each leaves
//! one message, which ends once. It is called sent only after its endpoint took it; it is given up
//! only if its endpoint refused it for good, its webhook was switched off meanwhile, its time was
//! over, or too many waited. It may come more than once, under the same id each time, and in any
//! order. What comes is signed, says what the feed says, and is nothing that nobody wanted.

use std::collections::{BTreeMap, BTreeSet};

use rotary_proto::effect::EffectOutcome;
use rotary_proto::event::{EffectEnd, Topic};
use rotary_proto::ids::{EffectId, WebhookId};
use rotary_proto::{SiteId, Stamp};

use super::evidence::{Evidence, Placed, Story};
use super::verdict::Check;
use crate::history::{Event, Fact, Record};

/// The longest pause between two attempts: the last of the schedule and a fifth of it, in ms.
const PAUSE_MS_MAX: u64 = 86_400_000 / 5 * 6;
/// The pauses before that, in seconds, of the schedule that webhooks are promised.
const PAUSES_S: [u64; 8] = [5, 300, 1_800, 7_200, 18_000, 36_000, 50_400, 72_000];
/// The answer by which an endpoint refuses a message for good.
const GONE: u16 = 410;

/// A message: of which event, for whom.
type Of = (SiteId, WebhookId, u64);

/// An attempt as the endpoint saw it.
struct Delivery {
    line: usize,
    effect: Option<EffectId>,
    answer: Option<u16>,
}

/// A message that the log made.
struct Due {
    line: usize,
    stamp: Stamp,
    give_up_ms: u64,
    /// Its webhook was switched off while it waited.
    silenced: bool,
    /// The line that says how it ended.
    ended: Option<usize>,
}

/// What a webhook wants.
struct Plan<'a> {
    topics: &'a BTreeSet<Topic>,
    give_up_ms: u64,
    enabled: bool,
}

/// Holds what endpoints got against what the feed says.
pub fn check(evidence: &Evidence<'_>) -> Check {
    let mut check = Check::new("webhooks", "messages of webhooks");
    let deliveries = deliveries(&mut check, evidence);
    let mut dues = BTreeMap::new();
    for (site, story) in &evidence.stories {
        follow(&mut check, *site, story, &deliveries, &mut dues);
    }
    for (of, came) in &deliveries {
        let whole = evidence.stories.get(&of.0).is_some_and(Story::is_whole);
        if whole && !dues.contains_key(of) {
            let what = format!("{} was told of {}, which it did not want", name(*of), of.2);
            check.find(what, came.iter().map(|delivery| delivery.line));
        }
    }
    let left = dues.iter().filter(|(_, due)| due.ended.is_none());
    for (of, due) in left {
        if !evidence.is_drained() {
            check.doubt("the run was not drained, so what waits is not known to be lost");
            break;
        }
        let came = deliveries.get(of).map_or(&[][..], Vec::as_slice);
        let what = if came.is_empty() { "was never told of" } else { "is told without an end of" };
        let lines = came.iter().map(|delivery| delivery.line);
        check.find(format!("{} {what} {}", name(*of), of.2), [due.line].into_iter().chain(lines));
    }
    let again: usize = deliveries.values().map(|came| came.len() - 1).sum();
    check.figure("came again", again);
    if !dues.is_empty() {
        evidence.doubt_stories(&mut check);
    }
    check
}

fn name((site, webhook, _): Of) -> String {
    format!("{webhook} of {site}")
}

/// What came, by what it is of; and whether each is genuine, true and recognisable.
fn deliveries(check: &mut Check, evidence: &Evidence<'_>) -> BTreeMap<Of, Vec<Delivery>> {
    let mut found: BTreeMap<Of, Vec<Delivery>> = BTreeMap::new();
    let mut owners: BTreeMap<EffectId, (Of, usize)> = BTreeMap::new();
    for line in &evidence.history.lines {
        let Record::Delivered { site, webhook, effect, event, signed, answer, .. } = &line.record
        else {
            continue;
        };
        check.checked += 1;
        let (Some(event), true) = (event, *signed) else {
            check.find(
                format!("{webhook} of {site} got what is not signed or not to be read"),
                [line.number],
            );
            continue;
        };
        let of = (*site, *webhook, event.sequence);
        true_to_feed(check, evidence, of, event, line.number);
        let delivery = Delivery { line: line.number, effect: *effect, answer: *answer };
        let came = found.entry(of).or_default();
        if let Some(other) = came.first().filter(|first| first.effect != *effect) {
            let what = format!("{} was told of {} under two ids", name(of), of.2);
            check.find(what, [other.line, line.number]);
        }
        came.push(delivery);
        let Some(effect) = effect else {
            check.find(format!("{} got a message without an id", name(of)), [line.number]);
            continue;
        };
        let (first, at) = owners.entry(*effect).or_insert((of, line.number));
        if *first != of {
            check.find(format!("{effect} is the id of two messages"), [*at, line.number]);
        }
    }
    found
}

/// What a message tells is what the feed has there.
fn true_to_feed(check: &mut Check, evidence: &Evidence<'_>, of: Of, event: &Event, line: usize) {
    let Some(story) = evidence.stories.get(&of.0) else {
        return check.find(format!("{} is of no site of the run", name(of)), [line]);
    };
    let found = story.events.binary_search_by_key(&event.sequence, |placed| placed.of.sequence);
    if let Ok(at) = found
        && story.events[at].of != event
    {
        let what = format!("{} was told another event {}", name(of), of.2);
        check.find(what, [story.events[at].line, line]);
    }
}

/// Follows the plans and messages of a site through its feed.
fn follow(
    check: &mut Check,
    site: SiteId,
    story: &Story<'_>,
    deliveries: &BTreeMap<Of, Vec<Delivery>>,
    dues: &mut BTreeMap<Of, Due>,
) {
    let mut plans: BTreeMap<WebhookId, Plan<'_>> = BTreeMap::new();
    for event in &story.events {
        match &event.of.fact {
            Fact::WebhookSet { webhook, topics, give_up_ms, enabled, .. } => {
                let (give_up_ms, enabled) = (*give_up_ms, *enabled);
                plans.insert(*webhook, Plan { topics, give_up_ms, enabled });
                let waits = (site, *webhook, 0)..=(site, *webhook, u64::MAX);
                for (_, due) in dues.range_mut(waits).filter(|(_, due)| due.ended.is_none()) {
                    due.silenced |= !enabled;
                }
            }
            Fact::MessageEnded { webhook, sequence, .. } => {
                let of = (site, *webhook, *sequence);
                let came = deliveries.get(&of).map_or(&[][..], Vec::as_slice);
                ended(check, of, *event, came, dues.get_mut(&of));
            }
            fact => {
                let Some(topic) = fact.topic() else { continue };
                let wants = |plan: &Plan<'_>| plan.enabled && plan.topics.contains(&topic);
                for (webhook, plan) in plans.iter().filter(|(_, plan)| wants(plan)) {
                    check.checked += 1;
                    let (line, stamp, give_up_ms) = (event.line, event.of.stamp, plan.give_up_ms);
                    let due = Due { line, stamp, give_up_ms, silenced: false, ended: None };
                    dues.insert((site, *webhook, event.of.sequence), due);
                }
            }
        }
    }
}

/// A message is over: whether it may be, and is so for the first time.
fn ended(
    check: &mut Check,
    of: Of,
    event: Placed<'_, Event>,
    came: &[Delivery],
    due: Option<&mut Due>,
) {
    let Fact::MessageEnded { effect, outcome, why, attempts, .. } = &event.of.fact else { return };
    let Some(due) = due else {
        let what = format!("a message to {} of {} ended, which was not wanted", name(of), of.2);
        return check.find(what, [event.line]);
    };
    if let Some(before) = due.ended.replace(event.line) {
        let what = format!("the message to {} of {} ended twice", name(of), of.2);
        return check.find(what, [before, event.line]);
    }
    let line = event.line;
    let before = || came.iter().filter(move |delivery| delivery.line < line);
    if let Some(other) = before().find(|delivery| delivery.effect != Some(*effect)) {
        let what = format!("{effect} came to {} under another id", name(of));
        check.find(what, [other.line, event.line]);
    }
    let answered = |answer: fn(u16) -> bool| before().any(|it| it.answer.is_some_and(answer));
    let passed_ms = event.of.stamp.0.saturating_sub(due.stamp.0) / 1_000;
    let is_right = match (outcome, why) {
        (EffectOutcome::Sent, EffectEnd::Performed) => answered(|status| status / 100 == 2),
        (EffectOutcome::NotSent, EffectEnd::Performed) => {
            let has_time = passed_ms + pause_ms(*attempts) < due.give_up_ms;
            due.silenced || !has_time || answered(|status| status == GONE)
        }
        (_, EffectEnd::Expired) => passed_ms >= due.give_up_ms,
        (EffectOutcome::NotSent, EffectEnd::Overflow) => true,
        _ => false,
    };
    if !is_right {
        let lines = came.iter().map(|delivery| delivery.line);
        let what = format!("{effect} to {} of {} ended as {outcome:?}, {why:?}", name(of), of.2);
        check.find(what, [due.line, event.line].into_iter().chain(lines));
    }
}

/// The longest pause after so many attempts, in ms.
fn pause_ms(attempts: u32) -> u64 {
    let place = (attempts.max(1) - 1) as usize;
    PAUSES_S.get(place).map_or(PAUSE_MS_MAX, |seconds| seconds * 1_200)
}
