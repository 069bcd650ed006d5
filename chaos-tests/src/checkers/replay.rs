//! Every fact follows from the ones before it, and every answer from the facts (P1, P2, P7).
//!
//! The facts of a site are taken one by one by an executable model that shares no code with the
//! distributor. The acknowledgements of all clients, in the order of (stay in a shard, index), are
//! held against it: at the index that one names, what it acknowledges must have happened, and must
//! be what it said; a refusal must be right at its index. What only people cause must have been
//! asked for, at that index or by an operation whose end is unknown. All answers under one key are
//! one.

use std::collections::BTreeMap;

use rotary_proto::event::{Author, DeclaredWhy, EndReason, OfferEnd, QueuedWhy};
use rotary_proto::limits::REQUEST_WINDOW_MS;
use rotary_proto::{Command, Position, SiteId};

use super::evidence::{Evidence, Place, Placed, Story};
use super::model::{Model, Stage};
use super::model_replies::{Demand, contradiction, demand, is_cause};
use super::verdict::Check;
use crate::history::{End, Event, Fact, Operation, Origin, Reply};

/// Broken steps of one site after which it is not looked at further: all follow from the first.
const BROKEN_MAX: usize = 20;

/// Operations of a site by the place that their answers name.
type ByPlace<'a> = BTreeMap<Place, Vec<Placed<'a, Operation>>>;

/// Operations of a site by what they can have caused.
type Causes<'a> = BTreeMap<String, Vec<Placed<'a, Operation>>>;

/// What was said under each key: the first line, when it was sent first, and the answer, if any.
type Answers<'a> = BTreeMap<(SiteId, &'a str), (usize, u64, Option<Said>)>;

/// An acknowledgement.
type Said = (Option<Position>, Reply);

/// Replays every site.
pub fn check(evidence: &Evidence<'_>) -> Check {
    let mut check = Check::new("replay", "facts and answers");
    for (site, story) in &evidence.stories {
        replay(&mut check, evidence, *site, story);
    }
    keys(&mut check, evidence);
    evidence.doubt_stories(&mut check);
    check.unless_empty()
}

fn replay(check: &mut Check, evidence: &Evidence<'_>, site: SiteId, story: &Story<'_>) {
    let (answers, causes) = sorted(evidence, site, story);
    let (mut model, mut broken) = (Model::default(), 0);
    let mut entries = story.entries().peekable();
    let mut answered = answers.iter().peekable();
    loop {
        let entry = entries.peek().map(|(place, _)| *place);
        let answer = answered.peek().map(|(place, _)| **place);
        let Some(place) = entry.into_iter().chain(answer).min() else { return };
        let facts = entries.next_if(|(next, _)| *next == place).map_or(&[][..], |(_, facts)| facts);
        for fact in facts {
            check.checked += 1;
            let there = |at| story.place(at) == place;
            let uncaused = uncaused(fact.of, there, &causes, &model);
            let stepped = model.step(fact.of).err();
            broken += usize::from(stepped.is_some());
            for why in stepped.into_iter().chain(uncaused) {
                check.find(format!("{site} event {}: {why}", fact.of.sequence), [fact.line]);
            }
        }
        if broken > BROKEN_MAX {
            return check.doubt(format!("{site} was not replayed further"));
        }
        if answer == Some(place) {
            let named = answered.next().map_or(&[][..], |(_, named)| named);
            for operation in named {
                check.checked += 1;
                answer_fits(check, *operation, facts, &model);
            }
        }
    }
}

/// A site's operations by the place that answered them, and by what they may have caused.
fn sorted<'a>(
    evidence: &Evidence<'a>,
    site: SiteId,
    story: &Story<'_>,
) -> (ByPlace<'a>, Causes<'a>) {
    let (mut answers, mut causes) = (ByPlace::new(), Causes::new());
    for operation in evidence.operations.iter().filter(|operation| operation.of.site == site) {
        if let Some(position) = position(operation.of) {
            answers.entry(story.place(position)).or_default().push(*operation);
        }
        if operation.of.may_be() {
            causes.entry(subject(&operation.of.command)).or_default().push(*operation);
        }
    }
    (answers, causes)
}

/// Where a log answered an operation.
pub(super) const fn position(operation: &Operation) -> Option<Position> {
    match &operation.end {
        End::Ok { position, .. } | End::Fail { position, .. } => *position,
        End::Unknown { .. } => None,
    }
}

/// What a command is about.
fn subject(command: &Command) -> String {
    match command {
        Command::Declare { agent, .. } | Command::PutAgent { agent, .. } => agent.to_string(),
        command => command.conversation().map_or_else(String::new, |id| id.to_string()),
    }
}

/// Whether an answer is what the facts of its entry and the model say.
fn answer_fits(
    check: &mut Check,
    operation: Placed<'_, Operation>,
    facts: &[Placed<'_, Event>],
    model: &Model,
) {
    let only: Vec<&Fact> = facts.iter().map(|fact| &fact.of.fact).collect();
    let word = operation.of.command.word();
    let lines = || std::iter::once(operation.line).chain(facts.iter().map(|fact| fact.line));
    match &operation.of.end {
        End::Ok { position: Some(at), reply, .. } => {
            match demand(operation.of, *reply, &only, model) {
                Err(why) => check.find(format!("{word} at {at}: {why}"), lines()),
                Ok(Demand::Missing) => {
                    let what = format!("{word} was acknowledged at {at}, and did not happen there");
                    check.find(what, lines());
                }
                Ok(Demand::Met | Demand::None) => {}
            }
        }
        End::Fail { code, .. } => {
            if let Some(why) = contradiction(operation.of, code, model) {
                check.find(format!("{word}: {why}"), lines());
            }
        }
        _ => {}
    }
}

/// What nobody asked for `there`, of that which only people cause.
fn uncaused(
    event: &Event,
    there: impl Fn(Position) -> bool,
    causes: &Causes<'_>,
    model: &Model,
) -> Option<String> {
    let subject = match &event.fact {
        Fact::AgentDeclared {
            agent, why: DeclaredWhy::Agent | DeclaredWhy::Supervisor, ..
        } => agent.to_string(),
        Fact::Opened { conversation, .. } | Fact::Assigned { conversation, .. } => {
            conversation.to_string()
        }
        Fact::Posted { conversation, author, .. } if *author != Author::Bot => {
            conversation.to_string()
        }
        Fact::OfferEnded { conversation, why: OfferEnd::Declined, .. }
        | Fact::Released { conversation, why: QueuedWhy::Requeued, .. }
        | Fact::Ended { conversation, why: EndReason::Agent | EndReason::Supervisor } => {
            conversation.to_string()
        }
        // A queue without wrap-up closes with the end, which has its own cause.
        Fact::Closed { conversation, agent: Some(_), expired: false } => {
            let found = model.conversations.get(conversation)?;
            let Stage::WrapUp { .. } = found.stage else { return None };
            conversation.to_string()
        }
        _ => return None,
    };
    let asked = causes.get(&subject).map_or(&[][..], Vec::as_slice);
    let by = |operation: &&Placed<'_, Operation>| {
        position(operation.of).is_none_or(&there) && is_cause(operation.of, &event.fact)
    };
    let caused = asked.iter().any(|operation| by(&operation));
    (!caused).then(|| format!("{subject} was {}, and nobody asked for it there", event.fact.word()))
}

/// Every answer under one key is the same answer.
fn keys(check: &mut Check, evidence: &Evidence<'_>) {
    let mut first = Answers::new();
    for operation in &evidence.operations {
        let Origin::Key(key) = &operation.of.origin else { continue };
        let said = match &operation.of.end {
            End::Ok { position, reply, .. } => Some((*position, *reply)),
            End::Fail { code, .. } => {
                forgotten(check, *operation, code, &first);
                continue;
            }
            // The client cannot know whether it was done before.
            End::Unknown { detail } => {
                forgotten(check, *operation, detail, &first);
                None
            }
        };
        check.checked += 1;
        let begun = (operation.line, operation.of.invoked_ms, said);
        let kept = first.entry((operation.of.site, key.as_str())).or_insert(begun);
        match (kept.2, said) {
            (Some(one), Some(other)) if one != other => {
                let what = format!("{key} was answered {one:?}, and then {other:?}");
                check.find(what, [kept.0, operation.line]);
            }
            (None, Some(_)) => kept.2 = said,
            _ => {}
        }
    }
}

/// An answer is kept for the whole window, and a key that was never sent is not taken for old.
fn forgotten(check: &mut Check, operation: Placed<'_, Operation>, said: &str, first: &Answers<'_>) {
    let Origin::Key(key) = &operation.of.origin else { return };
    let known = first.get(&(operation.of.site, key.as_str()));
    let (line, begun_ms) = match known {
        Some((line, begun_ms, _)) => (*line, *begun_ms),
        None => (operation.line, operation.of.invoked_ms),
    };
    let young = operation.of.returned_ms.saturating_sub(begun_ms) < REQUEST_WINDOW_MS;
    if said.starts_with("outcome-forgotten") && young {
        check.find(format!("{key} was forgotten within its window"), [line, operation.line]);
    }
}
