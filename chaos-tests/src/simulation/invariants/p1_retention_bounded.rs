//! P1: a journal drops only what a whole snapshot on the same disk stands for: a state that is made
//! again from what is left lacks nothing.

use rotary_storage::{Journal, Snapshots};

use super::Findings;

/// Looks at the journal of a (node, group) after something of it was dropped.
pub(crate) fn check(
    (node, group): (usize, u32),
    journal: &Journal,
    snapshots: &Snapshots,
    found: &mut Findings,
) {
    // Without a disk that can be read, the process is at its end.
    let Ok(current) = snapshots.current(group) else { return };
    let stands = current.map_or(0, |reader| reader.id().index);
    let first = journal.first_index(group);
    if first > stands {
        let what = format!("the journal begins after {first}, the snapshot is at {stands}");
        found.breach("P1", format!("node {} group {group}: {what}", node + 1));
    }
}
