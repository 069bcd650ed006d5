//! P7: exactly once, within a stated window.
//!
//! However often a command is asked, on whichever nodes: it is done at one place in the log at
//! most, and every answer to it says that place and that outcome, or that it is too old to know.

use std::collections::BTreeMap;

use rotary_proto::outcome::Answer;
use rotary_proto::{Origin, Outcome, PrincipalId, Refusal, RequestId};
use rotary_proto::{SessionId, ShardCommand, SiteId};

use super::{Findings, Seen};
use crate::simulation::history::Acknowledged;

/// What makes two entries the same command.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Key {
    Session(SiteId, SessionId, u64),
    Request(SiteId, PrincipalId, RequestId),
}

/// Where each command was done.
#[derive(Default)]
pub(crate) struct ExactlyOnce {
    done: BTreeMap<Key, (u64, Outcome)>,
}

impl ExactlyOnce {
    pub(crate) fn applied(&mut self, seen: &Seen<'_>, found: &mut Findings) {
        if let Some(key) = seen.command.and_then(key_of) {
            self.answered(key, seen.answer, found);
        }
    }

    pub(crate) fn acknowledged(&mut self, told: &Acknowledged<'_>, found: &mut Findings) {
        let command = crate::simulation::machine::decode(&told.operation.payload);
        if let Some(key) = command.as_ref().and_then(key_of) {
            self.answered(key, told.answer, found);
        }
    }

    fn answered(&mut self, key: Key, answer: &Answer, found: &mut Findings) {
        if is_of_the_window(&answer.outcome) {
            return;
        }
        let now = (answer.index, answer.outcome.clone());
        let first = self.done.entry(key).or_insert_with(|| now.clone());
        if *first != now {
            found.breach("P7", format!("{key:?} was done at {first:?} and at {now:?}"));
        }
    }
}

/// Refusals that say nothing of the command itself, and may differ from one retry to the next.
fn is_of_the_window(outcome: &Outcome) -> bool {
    use Refusal::{
        Malformed, OutcomeForgotten, SessionUnknown, SiteAway, SiteFrozen, SiteUnknown, WindowFull,
    };
    let Outcome::Refused(refusal) = outcome else { return false };
    if matches!(refusal, SiteAway { .. }) {
        return true;
    }
    let known = [OutcomeForgotten, WindowFull, SessionUnknown, SiteUnknown, SiteFrozen, Malformed];
    known.contains(refusal)
}

fn key_of(command: &ShardCommand) -> Option<Key> {
    let ShardCommand::Site(envelope) = command else { return None };
    match envelope.origin {
        Origin::Session { session, sequence, .. } => {
            Some(Key::Session(envelope.site, session, sequence))
        }
        Origin::Request { principal, request } => {
            Some(Key::Request(envelope.site, principal, request))
        }
        Origin::Internal => None,
    }
}
