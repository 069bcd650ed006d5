//! Everything acknowledged ends exactly once, and nothing appears that nobody asked for (P1).
//!
//! After the drain each conversation whose opening was acknowledged must be told once as opened and
//! once as closed, and each message once; what was refused must not be there. Transcripts read back
//! from every gateway must have what was acknowledged.

use std::collections::{BTreeMap, BTreeSet};

use rotary_proto::{Command, ConversationId, ItemId};

use super::evidence::{Evidence, Placed};
use super::verdict::Check;
use crate::history::{End, Fact, Operation, Record, Reply};

/// What is told of one conversation.
#[derive(Default)]
struct Told {
    opened: Vec<usize>,
    ended: Vec<usize>,
    closed: Vec<usize>,
    /// Items with their ordinals.
    items: BTreeMap<ItemId, Vec<(u32, usize)>>,
}

/// Counts what was asked for against what is there.
pub fn check(evidence: &Evidence<'_>) -> Check {
    let mut check = Check::new("total_queue", "conversations and messages");
    let told = told(evidence);
    let mut recovered = 0;
    for operation in &evidence.operations {
        recovered += u64::from(asked(&mut check, *operation, &told));
    }
    let asked_for = may_be_open(evidence);
    for (id, told) in &told {
        if !told.opened.is_empty() && !asked_for.contains(id) {
            check.find(format!("{id} was opened, and nobody asked for it"), told.opened.clone());
        }
        ends(&mut check, *id, told, evidence.is_drained());
    }
    transcripts(&mut check, evidence);
    check.figure("took effect though their outcome was unknown", recovered);
    evidence.doubt_stories(&mut check);
    if !evidence.is_drained() {
        check.doubt("the run was not drained, so what waits is not known to be lost");
    }
    check.unless_empty()
}

/// Conversations that an operation may have opened.
fn may_be_open(evidence: &Evidence<'_>) -> BTreeSet<ConversationId> {
    let open = |operation: &Placed<'_, Operation>| match &*operation.of.command {
        Command::Open { conversation, .. } if operation.of.may_be() => Some(*conversation),
        _ => None,
    };
    evidence.operations.iter().filter_map(open).collect()
}

fn told(evidence: &Evidence<'_>) -> BTreeMap<ConversationId, Told> {
    let mut told: BTreeMap<ConversationId, Told> = BTreeMap::new();
    for event in evidence.stories.values().flat_map(|story| &story.events) {
        let Some(id) = event.of.fact.conversation() else { continue };
        let known = told.entry(id).or_default();
        match &event.of.fact {
            Fact::Opened { .. } => known.opened.push(event.line),
            Fact::Ended { .. } => known.ended.push(event.line),
            Fact::Closed { .. } => known.closed.push(event.line),
            Fact::Posted { item, ordinal, .. } => {
                known.items.entry(*item).or_default().push((*ordinal, event.line));
            }
            _ => {}
        }
    }
    told
}

/// One operation that opens or posts. Whether it is there though nobody knew.
fn asked(
    check: &mut Check,
    operation: Placed<'_, Operation>,
    told: &BTreeMap<ConversationId, Told>,
) -> bool {
    let (id, item) = match &*operation.of.command {
        Command::Open { conversation, item, .. } => (*conversation, item.as_ref()),
        Command::Post { conversation, item, .. } => (*conversation, Some(item)),
        _ => return false,
    };
    check.checked += 1;
    let found = told.get(&id);
    let opens = matches!(&*operation.of.command, Command::Open { .. });
    let is_there = found.is_some_and(|told| {
        let has_item = item.is_none_or(|item| told.items.contains_key(&item.id));
        has_item && (!opens || !told.opened.is_empty())
    });
    let what = operation.of.command.word();
    match &operation.of.end {
        End::Ok { reply, .. } if !is_there => {
            let what = format!("{what} of {id} was acknowledged as {reply:?}, and is lost");
            check.find(what, [operation.line]);
        }
        End::Ok { reply: Reply::Posted { ordinal }, .. } => {
            let places = item.and_then(|item| found?.items.get(&item.id));
            if places.is_none_or(|places| places.iter().all(|(place, _)| place != ordinal)) {
                let what = format!("{what} in {id} was told place {ordinal}, and has another");
                check.find(what, [operation.line]);
            }
        }
        End::Unknown { .. } => return is_there,
        _ => {}
    }
    false
}

/// Once opened, once ended, once closed; each item once.
fn ends(check: &mut Check, id: ConversationId, told: &Told, drained: bool) {
    if told.opened.len() > 1 {
        check.find(format!("{id} was opened {} times", told.opened.len()), told.opened.clone());
    }
    for (what, lines) in [("ended", &told.ended), ("closed", &told.closed)] {
        if lines.len() > 1 {
            check.find(format!("{id} was {what} {} times", lines.len()), lines.clone());
        } else if lines.is_empty() && drained && !told.opened.is_empty() {
            check.find(format!("{id} was never {what}"), told.opened.clone());
        }
    }
    for (item, places) in &told.items {
        if places.len() > 1 {
            let lines = places.iter().map(|(_, line)| *line);
            check.find(format!("{item} is in {id} {} times", places.len()), lines);
        }
    }
}

/// What was acknowledged is in every transcript that was read back, where its reader saw it.
fn transcripts(check: &mut Check, evidence: &Evidence<'_>) {
    let mut posted: BTreeMap<ConversationId, Vec<(ItemId, usize)>> = BTreeMap::new();
    for operation in evidence.operations.iter().filter(|operation| operation.of.is_ok()) {
        let item = match &*operation.of.command {
            Command::Open { conversation, item: Some(item), .. }
            | Command::Post { conversation, item, .. } => (*conversation, item.id),
            _ => continue,
        };
        posted.entry(item.0).or_default().push((item.1, operation.line));
    }
    for line in &evidence.history.lines {
        let Record::Transcript { conversation, closed, items, gateway, .. } = &line.record else {
            continue;
        };
        check.checked += 1;
        let opened = evidence.opens.get(conversation);
        let must = opened.is_some_and(|open| open.of.is_ok());
        if must && *closed != Some(true) {
            let what = format!("{gateway} shows {conversation} as {closed:?} after the drain");
            check.find(what, [line.number]);
        }
        let shown: BTreeSet<ItemId> = items.iter().map(|(_, item, _)| *item).collect();
        let lost = posted.get(conversation).into_iter().flatten();
        for (item, asked) in lost.filter(|(item, _)| !shown.contains(item)) {
            let what = format!("{gateway} does not show {item} of {conversation}");
            check.find(what, [*asked, line.number]);
        }
    }
}
