//! A conversation never has two accepted assignments at once (P2).
//!
//! Three accounts: the facts that readers of the feed tell, what agents' own sessions received, and
//! the acknowledgements of accepting. A session may miss how an assignment ended, but each
//! assignment is a leg, which only one agent can be shown or told.

use std::collections::BTreeMap;

use rotary_proto::ids::AgentId;
use rotary_proto::{Actor, Command, ConversationId};

use super::evidence::Evidence;
use super::verdict::Check;
use crate::history::{End, Event, Fact, Record, Reply};

/// Who serves which conversation, and the line that says so.
type Serving = BTreeMap<ConversationId, (AgentId, usize)>;

/// Compares intervals.
pub fn check(evidence: &Evidence<'_>) -> Check {
    let mut check = Check::new("interval_overlap", "assignments");
    for events in evidence.stories.values().map(|story| &story.events) {
        let mut serving = Serving::new();
        for event in events {
            step(&mut check, &mut serving, event.of, event.line);
        }
    }
    received(&mut check, evidence);
    contested(&mut check, evidence);
    evidence.doubt_stories(&mut check);
    check.unless_empty()
}

fn step(check: &mut Check, serving: &mut Serving, event: &Event, line: usize) {
    match &event.fact {
        Fact::Assigned { conversation, agent, .. } => {
            check.checked += 1;
            if let Some((other, since)) = serving.insert(*conversation, (*agent, line)) {
                let what = format!("{conversation} went to {agent} while {other} served it");
                check.find(what, [since, line]);
            }
        }
        Fact::Released { conversation, .. } | Fact::Ended { conversation, .. } => {
            serving.remove(conversation);
        }
        _ => {}
    }
}

/// No two agents' sessions received that they took the same leg of a conversation.
fn received(check: &mut Check, evidence: &Evidence<'_>) {
    let mut legs: BTreeMap<(ConversationId, u32), (AgentId, usize)> = BTreeMap::new();
    for line in &evidence.history.lines {
        let Record::Received { event, .. } = &line.record else { continue };
        let Fact::Assigned { conversation, agent, leg, .. } = event.fact else { continue };
        check.checked += 1;
        let first = legs.entry((conversation, leg)).or_insert((agent, line.number));
        if first.0 != agent {
            let what =
                format!("{agent} and {} were both shown leg {leg} of {conversation}", first.0);
            check.find(what, [first.1, line.number]);
        }
    }
}

/// No two agents were told that they took the same leg, or the same offer, of a conversation.
fn contested(check: &mut Check, evidence: &Evidence<'_>) {
    let mut legs: BTreeMap<(ConversationId, u32), (Actor, usize)> = BTreeMap::new();
    let mut offers: BTreeMap<(ConversationId, u64), u64> = BTreeMap::new();
    for operation in &evidence.operations {
        let Command::Accept { conversation, offer } = &*operation.of.command else { continue };
        *offers.entry((*conversation, offer.0)).or_default() += 1;
        let End::Ok { reply: Reply::Accepted { leg }, repeated, .. } = &operation.of.end else {
            continue;
        };
        check.checked += 1;
        let (actor, line) = (operation.of.actor, operation.line);
        let first = legs.entry((*conversation, *leg)).or_insert((actor, line));
        if first.1 != line && !repeated && format!("{:?}", first.0) != format!("{actor:?}") {
            let what = format!("{actor:?} and {:?} both took leg {leg} of {conversation}", first.0);
            check.find(what, [first.1, line]);
        }
    }
    check.figure("offers accepted more than once", offers.values().filter(|n| **n > 1).count());
}
