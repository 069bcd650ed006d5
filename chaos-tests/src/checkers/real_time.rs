//! The order of each log agrees with real time (P1).
//!
//! What was answered before something else was asked stands before it in the log. A sweep over all
//! beginnings and ends in order of time keeps the highest index that anybody had been told of; what
//! begins after that must come to stand higher, unless it repeats what was asked earlier.

use std::collections::BTreeMap;

use rotary_proto::ids::ShardId;

use super::evidence::{Evidence, Placed};
use super::replay::position;
use super::verdict::Check;
use crate::history::{End, Operation, Origin};

/// An operation's interval and place.
struct Interval {
    line: usize,
    invoked_ms: u64,
    returned_ms: u64,
    shard: ShardId,
    index: u64,
}

/// Compares places with intervals.
pub fn check(evidence: &Evidence<'_>) -> Check {
    let mut check = Check::new("real_time", "answers");
    let intervals = intervals(evidence);
    let mut ends: Vec<&Interval> = intervals.iter().collect();
    ends.sort_by_key(|interval| interval.returned_ms);
    let mut begins: Vec<&Interval> = intervals.iter().collect();
    begins.sort_by_key(|interval| interval.invoked_ms);
    let mut told: BTreeMap<ShardId, &Interval> = BTreeMap::new();
    let mut ends = ends.into_iter().peekable();
    for interval in begins {
        while let Some(ended) = ends.next_if(|end| end.returned_ms < interval.invoked_ms) {
            let highest = told.entry(ended.shard).or_insert(ended);
            if ended.index > highest.index {
                *highest = ended;
            }
        }
        check.checked += 1;
        if let Some(before) = told.get(&interval.shard).filter(|b| b.index >= interval.index) {
            let what = format!(
                "{} was asked at {} ms and stands at {}, after {} had been told at {} ms",
                interval.line,
                interval.invoked_ms,
                interval.index,
                before.index,
                before.returned_ms
            );
            check.find(what, [before.line, interval.line]);
        }
    }
    check.unless_empty()
}

/// Every operation that a log answered, from when its key was first sent. What a session sends
/// again, and what a retry is told, is the first answer.
fn intervals(evidence: &Evidence<'_>) -> Vec<Interval> {
    let mut begun: BTreeMap<&str, u64> = BTreeMap::new();
    for operation in &evidence.operations {
        if let Origin::Key(key) = &operation.of.origin {
            let first = begun.entry(key).or_insert(u64::MAX);
            *first = operation.of.invoked_ms.min(*first);
        }
    }
    let of = |operation: &Placed<'_, Operation>| {
        let at = position(operation.of)?;
        if let (End::Ok { repeated: true, .. }, Origin::Once) =
            (&operation.of.end, &operation.of.origin)
        {
            return None;
        }
        let invoked_ms = match &operation.of.origin {
            Origin::Key(key) => begun.get(key.as_str()).copied()?,
            _ => operation.of.invoked_ms,
        };
        let (line, returned_ms) = (operation.line, operation.of.returned_ms);
        Some(Interval { line, invoked_ms, returned_ms, shard: at.shard, index: at.index })
    };
    evidence.operations.iter().filter_map(of).collect()
}
