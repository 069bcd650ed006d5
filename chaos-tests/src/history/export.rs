//! Histories for the checkers of the Jepsen family, as EDN, one operation a line.
//!
//! The form of an operation is that of `jepsen.history` (jepsen-io/history, README): a map with
//! `:index`, `:time` in nanoseconds, `:type` (`:invoke`, `:ok`, `:fail`, `:info`), `:process`, `:f`
//! and `:value`. A process that crashed (`:info`) is never used again.
//!
//! * [`Form::Elle`], for `elle.list-append`: transactions of one step (`:f :txn`). A message that
//!   is posted is `[:append conversation item]`, a transcript that is read back is
//!   `[:r conversation [item ...]]`. Conversations and items are numbered in the order of their
//!   coming, because Elle wants small keys and unique values.
//! * [`Form::Knossos`], for a `cas-register` under `jepsen.independent`: each offer is a register
//!   that begins with 0, and accepting it is `:cas [offer [0 agent]]`. Offers are numbered, too.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::io::{self, Write};

use rotary_proto::{Actor, Command, ConversationId, ItemId, OfferId};

use super::reader::History;
use super::record::{End, Operation, Record};

/// For whom.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Form {
    /// Lists and appends.
    Elle,
    /// Registers and compare-and-set.
    Knossos,
}

/// One half of an operation.
struct Half {
    at_ms: u64,
    process: u64,
    /// Beginnings before ends of the same millisecond, so that no interval is empty.
    kind: (u8, &'static str),
    f: &'static str,
    value: String,
}

/// Numbers in the order of their coming.
#[derive(Default)]
struct Numbers<T>(BTreeMap<T, usize>);

impl<T: Ord> Numbers<T> {
    fn of(&mut self, id: T) -> usize {
        let next = self.0.len() + 1;
        *self.0.entry(id).or_insert(next)
    }
}

/// Writes a history in that form; says how many operations there are.
///
/// # Errors
/// What the writer says.
pub fn export(history: &History, form: Form, out: &mut impl Write) -> io::Result<usize> {
    let mut halves = match form {
        Form::Elle => lists(history),
        Form::Knossos => registers(history),
    };
    halves.sort_by_key(|half| (half.at_ms, half.kind.0));
    for (index, half) in halves.iter().enumerate() {
        let Half { at_ms, process, kind: (_, kind), f, value } = half;
        let time = at_ms.saturating_mul(1_000_000);
        writeln!(
            out,
            "{{:index {index}, :time {time}, :type :{kind}, :process {process}, :f :{f}, \
             :value {value}}}"
        )?;
    }
    Ok(halves.len() / 2)
}

/// Posts as appends, transcripts as reads.
fn lists(history: &History) -> Vec<Half> {
    let (mut keys, mut items) = (Numbers::<ConversationId>::default(), Numbers::default());
    let (mut halves, mut readers) = (Vec::new(), u64::MAX / 2);
    for line in &history.lines {
        match &line.record {
            Record::Operation(operation) => {
                let posted: Option<(ConversationId, ItemId)> = match &*operation.command {
                    Command::Post { conversation, item, .. }
                    | Command::Open { conversation, item: Some(item), .. } => {
                        Some((*conversation, item.id))
                    }
                    _ => None,
                };
                if let Some((conversation, item)) = posted.filter(|_| !is_repeated(operation)) {
                    let value = format!("[[:append {} {}]]", keys.of(conversation), items.of(item));
                    halves.extend(both(operation, "txn", &value, &value));
                }
            }
            Record::Transcript { at_ms, conversation, items: shown, .. } => {
                let key = keys.of(*conversation);
                let list: Vec<usize> = shown.iter().map(|(_, item, _)| items.of(*item)).collect();
                let (process, f) = (readers, "txn");
                readers += 1;
                let half = |kind, value| Half { at_ms: *at_ms, process, kind, f, value };
                halves.push(half((0, "invoke"), format!("[[:r {key} nil]]")));
                halves.push(half((1, "ok"), format!("[[:r {key} [{}]]]", joined(&list))));
            }
            _ => {}
        }
    }
    halves
}

/// Accepting as compare-and-set.
fn registers(history: &History) -> Vec<Half> {
    let mut offers = Numbers::<(ConversationId, OfferId)>::default();
    let mut halves = Vec::new();
    for line in &history.lines {
        let Record::Operation(operation) = &line.record else { continue };
        if let (Command::Accept { conversation, offer }, Actor::Agent(agent)) =
            (&*operation.command, operation.actor)
            && !is_repeated(operation)
        {
            let value = format!("[{} [0 {}]]", offers.of((*conversation, *offer)), agent.0);
            halves.extend(both(operation, "cas", &value, &value));
        }
    }
    halves
}

/// Whether it is the kept answer to what another operation did.
const fn is_repeated(operation: &Operation) -> bool {
    matches!(operation.end, End::Ok { repeated: true, .. })
}

fn both(operation: &Operation, f: &'static str, asked: &str, said: &str) -> [Half; 2] {
    let kind = match operation.end {
        End::Ok { .. } => (1, "ok"),
        End::Fail { .. } => (1, "fail"),
        End::Unknown { .. } => (1, "info"),
    };
    let half = |at_ms, kind, value: &str| Half {
        at_ms,
        process: operation.process,
        kind,
        f,
        value: value.to_owned(),
    };
    [half(operation.invoked_ms, (0, "invoke"), asked), half(operation.returned_ms, kind, said)]
}

fn joined(list: &[impl Display]) -> String {
    list.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
}
