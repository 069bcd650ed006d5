//! The judge: every promise against the evidence, one file per promise.

use super::effects::Effects;
use super::history::{History, OpEnd};
use super::readings::Readings;
use super::verdict::{LookedAt, Verdict};
use super::{
    check_assignments, check_capacity, check_messages, check_outcomes, check_replicas,
    check_streams,
};
use rotary_proto::Command;

/// Judges a run. Pure: the same evidence gives the same verdict anywhere.
pub(crate) fn check(history: &History, readings: &Readings) -> Verdict {
    let mut verdict = Verdict { looked_at: looked_at(history, readings), ..Verdict::default() };
    check_replicas::check(history, readings, &mut verdict);
    for (node, reading) in distinct(readings) {
        let effects = Effects::of(reading);
        check_outcomes::check(history, &effects, &mut verdict);
        check_messages::check(history, &effects, &mut verdict);
        check_assignments::check(&effects, &mut verdict);
        check_capacity::check(&effects, &mut verdict);
        tracing::debug!(%node, "judged");
    }
    check_streams::check(history, readings, &mut verdict);
    for (op, command) in &history.ops {
        if let OpEnd::Pending | OpEnd::Unknown(_) = command.end {
            let word = command.command.word();
            verdict.unknown_unresolved.insert(format!("command {op} ({word})"));
        }
    }
    verdict
}

/// The nodes whose stories differ from those before them: judging equal ones twice proves nothing.
fn distinct(readings: &Readings) -> Vec<(rotary_proto::NodeId, &super::readings::NodeReading)> {
    let mut distinct: Vec<(rotary_proto::NodeId, &super::readings::NodeReading)> = Vec::new();
    for (node, reading) in &readings.nodes {
        if distinct.iter().all(|(_, other)| other.sites != reading.sites) {
            distinct.push((*node, reading));
        }
    }
    distinct
}

fn looked_at(history: &History, readings: &Readings) -> LookedAt {
    let first = readings.nodes.values().next();
    let mut at = LookedAt {
        nodes: readings.nodes.len(),
        events: first.map_or(0, |reading| reading.sites.values().map(Vec::len).sum()),
        commands: history.ops.len(),
        streams: history.streams.len(),
        ..LookedAt::default()
    };
    for op in history.ops.values() {
        at.refused += usize::from(matches!(op.end, OpEnd::Refused(_)));
        if !op.must_have_happened() {
            continue;
        }
        at.acknowledged += 1;
        match &*op.command {
            Command::Open { item, .. } => {
                at.conversations += 1;
                at.messages += usize::from(item.is_some());
            }
            Command::Post { .. } => at.messages += 1,
            _ => {}
        }
    }
    for stream in history.streams.values() {
        at.received += stream.segments.iter().map(|segment| segment.events.len()).sum::<usize>();
        at.resumed += stream.resumed;
        at.snapshots += stream.snapshots;
    }
    at
}

#[cfg(test)]
#[path = "check_tests.rs"]
mod tests;
