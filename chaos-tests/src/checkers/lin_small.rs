//! Is there any order of a conversation's operations that explains their answers? (P1, P7)
//!
//! A search in the manner of Wing and Gong ("Testing and verifying concurrent objects", 1993) with
//! the memory of Lowe ("Testing for linearizability", 2017): some operation that nobody had to wait
//! for is next, if its answer fits the state; if none fits, one step back. It knows nothing of the
//! log and its indexes, so it is a check on `replay`, which knows nothing else. It looks at windows
//! of at most [`WINDOW_MAX`] operations of one conversation and gives up after [`STEPS_MAX`] steps.
//!
//! What it knows of a conversation: it is opened once, counts its items and its assignments, and is
//! over at some time for whatever reason.

use std::collections::{BTreeMap, HashSet};

use rotary_proto::{Command, ConversationId};

use super::evidence::{Evidence, Placed};
use super::verdict::Check;
use crate::history::{End, Operation, Origin, Reply};

/// The most operations of one search.
pub const WINDOW_MAX: usize = 200;
/// The most steps of one search.
pub const STEPS_MAX: u64 = 100_000;

const WORDS: usize = WINDOW_MAX.div_ceil(64);

/// A conversation, as far as answers tell of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
struct State {
    opened: bool,
    over: bool,
    items: u32,
    legs: u32,
}

/// What an operation does to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Act {
    Open {
        items: u32,
    },
    Post(Option<u32>),
    Accept(Option<u32>),
    End,
    /// Refused because it is over, was there, or was not.
    Over,
    Exists,
    Missing,
}

/// An operation to be placed.
#[derive(Debug, Clone, Copy)]
struct Step {
    line: usize,
    invoked_ms: u64,
    /// Never, for one whose outcome is unknown.
    returned_ms: u64,
    act: Act,
}

/// Searches every conversation.
pub fn check(evidence: &Evidence<'_>) -> Check {
    let mut check = Check::new("lin_small", "operations of conversations");
    let mut large = 0_u64;
    for (id, steps) in steps(evidence) {
        if steps.len() > WINDOW_MAX {
            large += 1;
            continue;
        }
        check.checked += steps.len() as u64;
        match search(&steps) {
            Some(true) => {}
            Some(false) => {
                let lines = steps.iter().map(|step| step.line);
                check.find(format!("no order explains the answers about {id}"), lines);
            }
            None => check.doubt(format!("the search for {id} was given up")),
        }
    }
    check.figure("conversations too large for it", large);
    check.unless_empty()
}

/// What was answered about each conversation. Of one key, the first answer; of one that was turned
/// away at a door, nothing.
fn steps(evidence: &Evidence<'_>) -> BTreeMap<ConversationId, Vec<Step>> {
    let mut steps: BTreeMap<ConversationId, Vec<Step>> = BTreeMap::new();
    let mut seen: BTreeMap<&str, (ConversationId, usize)> = BTreeMap::new();
    for operation in &evidence.operations {
        let Some(id) = operation.of.command.conversation() else { continue };
        let Some(step) = step(*operation) else { continue };
        let known = steps.entry(id).or_default();
        if let Origin::Key(key) = &operation.of.origin {
            let (_, at) = *seen.entry(key).or_insert((id, known.len()));
            if let Some(first) = known.get_mut(at) {
                first.invoked_ms = first.invoked_ms.min(step.invoked_ms);
                if step.returned_ms < first.returned_ms {
                    (first.returned_ms, first.act) = (step.returned_ms, step.act);
                }
                continue;
            }
        }
        known.push(step);
    }
    steps
}

fn step(operation: Placed<'_, Operation>) -> Option<Step> {
    let reply = match &operation.of.end {
        End::Ok { reply, .. } => Some(*reply),
        End::Unknown { .. } => None,
        End::Fail { code, .. } => {
            let act = match code.as_str() {
                "conversation-closed" => Act::Over,
                "conversation-exists" => Act::Exists,
                "conversation-unknown" => Act::Missing,
                _ => return None,
            };
            let (line, invoked_ms) = (operation.line, operation.of.invoked_ms);
            return Some(Step { line, invoked_ms, returned_ms: operation.of.returned_ms, act });
        }
    };
    let act = match (&*operation.of.command, reply) {
        (Command::Open { item, .. }, _) => Act::Open { items: u32::from(item.is_some()) },
        (Command::Post { .. }, Some(Reply::Posted { ordinal })) => Act::Post(Some(ordinal)),
        (Command::Post { .. }, None) => Act::Post(None),
        (Command::Accept { .. }, Some(Reply::Accepted { leg })) => Act::Accept(Some(leg)),
        (Command::Accept { .. }, None) => Act::Accept(None),
        (Command::Close { .. } | Command::Abandon { .. }, _) => Act::End,
        _ => return None,
    };
    let (line, invoked_ms) = (operation.line, operation.of.invoked_ms);
    let returned_ms = reply.map_or(u64::MAX, |_| operation.of.returned_ms);
    Some(Step { line, invoked_ms, returned_ms, act })
}

impl State {
    /// The state after an operation, if its answer fits here. A conversation may be over for
    /// reasons of its own at any time, which only the refusal tells.
    fn after(self, act: Act) -> Option<Self> {
        let live = self.opened && !self.over;
        match act {
            Act::Open { items } => (!self.opened).then_some(Self { opened: true, items, ..self }),
            Act::Post(said) => {
                let items = self.items + 1;
                (live && said.is_none_or(|said| said == items)).then_some(Self { items, ..self })
            }
            Act::Accept(said) => {
                let legs = self.legs + 1;
                (live && said.is_none_or(|said| said == legs)).then_some(Self { legs, ..self })
            }
            Act::End => live.then_some(Self { over: true, ..self }),
            Act::Over => self.opened.then_some(Self { over: true, ..self }),
            Act::Exists => self.opened.then_some(self),
            Act::Missing => (!self.opened).then_some(self),
        }
    }
}

/// Whether there is an order; nothing, if that was not found out in time.
fn search(steps: &[Step]) -> Option<bool> {
    let mut tried: HashSet<([u64; WORDS], State)> = HashSet::new();
    let mut path: Vec<([u64; WORDS], State, usize)> = vec![([0; WORDS], State::default(), 0)];
    let mut taken = 0;
    while let Some((placed, state, from)) = path.pop() {
        taken += 1;
        if taken > STEPS_MAX {
            return None;
        }
        let is_placed = |at: usize| placed[at / 64] >> (at % 64) & 1 == 1;
        let open = || (0..steps.len()).filter(|at| !is_placed(*at));
        // Whatever ended first bounds what can be next; what never ended need not be placed.
        let bound = open().map(|at| steps[at].returned_ms).min().unwrap_or(u64::MAX);
        if bound == u64::MAX {
            return Some(true);
        }
        let mut next = open().filter(|at| *at >= from && steps[*at].invoked_ms <= bound);
        let fit = next.find_map(|at| Some((at, state.after(steps[at].act)?)));
        let Some((at, after)) = fit else { continue };
        path.push((placed, state, at + 1));
        let mut more = placed;
        more[at / 64] |= 1 << (at % 64);
        if tried.insert((more, after)) {
            path.push((more, after, 0));
        }
    }
    Some(false)
}
