//! P1 for words: every acknowledged message exactly once, in the order of its ordinals, and each
//! author's messages in the order in which the author got them acknowledged.

use std::collections::BTreeMap;

use rotary_proto::{Actor, Command, ConversationId, Event, ItemId};

use super::effects::Effects;
use super::history::{History, Op, OpEnd};
use super::verdict::Verdict;

/// Where items of one conversation are found: ordinals by item.
type Places = BTreeMap<ItemId, Vec<u32>>;

pub(super) fn check(history: &History, effects: &Effects<'_>, verdict: &mut Verdict) {
    let mut places: BTreeMap<ConversationId, Places> = BTreeMap::new();
    for conversation in effects.conversations.keys() {
        let found = dense(*conversation, effects, verdict);
        places.insert(*conversation, found);
    }
    let mut asked: BTreeMap<(ConversationId, ItemId), bool> = BTreeMap::new();
    let mut authors: BTreeMap<(ConversationId, Option<rotary_proto::AgentId>), Vec<Written>> =
        BTreeMap::new();
    for op in history.ops.values() {
        let Some((conversation, item)) = item_of(op) else { continue };
        let may = asked.entry((conversation, item)).or_default();
        *may |= op.may_have_happened();
        let found = places.get(&conversation).and_then(|places| places.get(&item));
        if op.must_have_happened() {
            let Some(ordinal) = found.and_then(|ordinals| ordinals.first()) else {
                verdict.lost.insert(format!("{item} of {conversation}"));
                continue;
            };
            let author = (conversation, author(op.actor));
            authors.entry(author).or_default().push(Written::of(op, *ordinal));
        }
    }
    for ((conversation, _), written) in authors {
        in_order(conversation, written, verdict);
    }
    unasked(history, &places, &asked, verdict);
}

/// Checks that ordinals are 1, 2, 3 ... in the order of the log; where each item is.
fn dense(conversation: ConversationId, effects: &Effects<'_>, verdict: &mut Verdict) -> Places {
    let mut places = Places::new();
    let mut expected = 1;
    for record in effects.conversation(conversation) {
        let Event::Posted { item, ordinal, .. } = &record.event else { continue };
        if *ordinal != expected {
            let text = format!("{conversation}: ordinal {ordinal} where {expected} was due");
            verdict.misordered.insert(text);
        }
        expected = ordinal + 1;
        places.entry(*item).or_default().push(*ordinal);
    }
    for (item, ordinals) in &places {
        if ordinals.len() > 1 {
            verdict.duplicated.insert(format!("{item} of {conversation}: {ordinals:?}"));
        }
    }
    places
}

/// The message that a command carries.
fn item_of(op: &Op) -> Option<(ConversationId, ItemId)> {
    match &*op.command {
        Command::Post { conversation, item, .. } => Some((*conversation, item.id)),
        Command::Open { conversation, item: Some(item), .. } => Some((*conversation, item.id)),
        _ => None,
    }
}

/// Whose order a message belongs to: an agent's, or else the customer's side.
fn author(actor: Actor) -> Option<rotary_proto::AgentId> {
    if let Actor::Agent(agent) = actor { Some(agent) } else { None }
}

/// A message that its author got acknowledged.
struct Written {
    sent_at: usize,
    ended_at: usize,
    ordinal: u32,
}

impl Written {
    fn of(op: &Op, ordinal: u32) -> Self {
        let settled = matches!(op.end, OpEnd::Settled(_));
        let ended_at = if settled { usize::MAX } else { op.ended_at };
        Self { sent_at: op.sent_at, ended_at, ordinal }
    }
}

/// What was acknowledged before another was sent comes before it.
fn in_order(conversation: ConversationId, mut written: Vec<Written>, verdict: &mut Verdict) {
    written.sort_by_key(|message| message.sent_at);
    for (place, later) in written.iter().enumerate() {
        let earlier = written[..place].iter().filter(|message| message.ended_at < later.sent_at);
        for message in earlier.filter(|message| message.ordinal >= later.ordinal) {
            let (first, second) = (message.ordinal, later.ordinal);
            let text =
                format!("{conversation}: item {first} was acknowledged before {second} was sent");
            verdict.misordered.insert(text);
        }
    }
}

/// Finds messages that nobody can have written.
fn unasked(
    history: &History,
    places: &BTreeMap<ConversationId, Places>,
    asked: &BTreeMap<(ConversationId, ItemId), bool>,
    verdict: &mut Verdict,
) {
    let sites = history.run.as_ref().map_or(&[][..], |run| &run.sites);
    for (conversation, places) in places {
        if !sites.contains(&conversation.site) {
            continue;
        }
        for item in places.keys() {
            if asked.get(&(*conversation, *item)) != Some(&true) {
                verdict.duplicated.insert(format!("{item} of {conversation}: nobody wrote it"));
            }
        }
    }
}
