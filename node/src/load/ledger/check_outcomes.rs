//! P1 and P7: what was acknowledged is there, as it was acknowledged, once; and nothing is there
//! that nobody asked for.

use std::collections::BTreeMap;

use rotary_proto::event::{EndReason, OfferEnd};
use rotary_proto::{Command, ConversationId, Event};

use super::effects::{Effects, says};
use super::history::{History, Op, OpEnd};
use super::verdict::Verdict;

pub(super) fn check(history: &History, effects: &Effects<'_>, verdict: &mut Verdict) {
    let mut asked: BTreeMap<ConversationId, Vec<&Op>> = BTreeMap::new();
    for (number, op) in &history.ops {
        if let Some(conversation) = op.command.conversation() {
            asked.entry(conversation).or_default().push(op);
        }
        if op.must_have_happened()
            && let Some(loss) = loss(op, effects)
        {
            verdict.lost.insert(format!("command {number}: {loss}"));
        }
    }
    let sites = history.run.as_ref().map_or(&[][..], |run| &run.sites);
    for (conversation, events) in &effects.conversations {
        let ops = asked.get(conversation).map_or(&[][..], Vec::as_slice);
        if !ops.is_empty() || sites.contains(&conversation.site) {
            unasked(*conversation, events.iter().map(|record| &record.event), ops, verdict);
        }
    }
}

/// How what was acknowledged is missing, if it is.
fn loss(op: &Op, effects: &Effects<'_>) -> Option<String> {
    let traces = effects.traces(op)?;
    let conversation = op.command.conversation()?;
    let word = op.command.word();
    let OpEnd::Ok { position, done } = &op.end else {
        return traces.is_empty().then(|| format!("{word} of {conversation} is not found"));
    };
    let Some(found) = traces.iter().find(|record| says(*done, &record.event)) else {
        let ended = ended(conversation, effects);
        return Some(format!("{word} of {conversation} is not found as acknowledged{ended}"));
    };
    let index = position.map_or(found.index, |position| position.index);
    let there = traces.iter().any(|record| record.index == index && says(*done, &record.event));
    (!there).then(|| {
        format!("{word} of {conversation} was decided at {index}, and is found at {}", found.index)
    })
}

/// How a conversation ended instead, for the report.
fn ended(conversation: ConversationId, effects: &Effects<'_>) -> String {
    let events = effects.conversation(conversation).iter();
    let end = events.rev().find_map(|record| match record.event {
        Event::Ended { why, .. } => Some(format!("; it ended as {why:?}")),
        _ => None,
    });
    end.unwrap_or_default()
}

/// Finds events that more often happened than anybody can have asked for.
fn unasked<'a>(
    conversation: ConversationId,
    events: impl Iterator<Item = &'a Event>,
    ops: &[&Op],
    verdict: &mut Verdict,
) {
    let mut found: BTreeMap<&'static str, usize> = BTreeMap::new();
    for event in events {
        let word = match event {
            Event::Opened { .. } => "open",
            Event::Assigned { .. } => "accept",
            Event::OfferEnded { why: OfferEnd::Declined, .. } => "decline",
            Event::Held { .. } => "hold",
            Event::Retrieved { expired: false, .. } => "retrieve",
            Event::Ended { why: EndReason::Agent | EndReason::Supervisor, .. } => "close",
            Event::Ended { why: EndReason::Abandoned | EndReason::Customer, .. } => "abandon",
            Event::Closed { agent: Some(_), expired: false, .. } => "wrap_up",
            _ => continue,
        };
        *found.entry(word).or_default() += 1;
    }
    for (word, count) in found {
        let asked = |op: &&&Op| op.command.word() == word && op.may_have_happened();
        let most = ops.iter().filter(asked).count();
        // A settled hold is a guess: it may have happened all the same.
        let guessed = |op: &&&Op| op.command.word() == word && op.end == OpEnd::Settled(false);
        let guesses = match word {
            "hold" | "retrieve" => ops.iter().filter(guessed).count(),
            _ => 0,
        };
        let closed_without_wrap_up = word == "wrap_up" && !ops.iter().any(|op| is_wrap_up(op));
        if count > most + guesses && !closed_without_wrap_up {
            let text = format!("{conversation}: {word} happened {count} times, asked for {most}");
            verdict.duplicated.insert(text);
        }
    }
}

/// Whether somebody tried to wrap up. Where nobody did, a plan without wrap-up closed it.
fn is_wrap_up(op: &Op) -> bool {
    matches!(*op.command, Command::WrapUp { .. })
}
