//! P1: the log forgets only what a whole snapshot on the same disk stands for, and what the journal
//! there has made durable; and no snapshot is current before the journal is durable as far.

use std::sync::{Arc, Mutex};

use rotary_log::Log;
use rotary_proto::ShardId;
use rotary_storage::{Done, Group, Journal, LogStore, Snapshots};

use super::Findings;
use crate::simulation::layer::Layer;

/// Stands at the log of one process and looks at what it is told to forget.
pub(crate) struct PurgeBound {
    pub(crate) store: Arc<dyn LogStore>,
    pub(crate) snapshots: Snapshots,
    pub(crate) journal: Arc<Journal>,
    pub(crate) wrong: Arc<Mutex<Vec<String>>>,
}

impl Layer for PurgeBound {
    fn beneath(&self) -> &dyn LogStore {
        &*self.store
    }

    fn purge(&self, group: Group, through: u64, mark: Vec<u8>, done: Done) {
        let stands = match self.snapshots.current(group) {
            Ok(current) => current.map_or(0, |reader| reader.id().index),
            // The disk is gone, and the process with it.
            Err(_) => u64::MAX,
        };
        let has_journal = self.journal.groups().contains(&group);
        let durable = if has_journal { self.journal.durable_index(group) } else { u64::MAX };
        if through > stands.min(durable) {
            let what = format!("group {group}: the log forgets its entries up to {through}");
            let has = format!("the snapshot is at {stands}, the journal durable to {durable}");
            let mut wrong = self.wrong.lock().expect("no code panics while it holds this lock");
            wrong.push(format!("{what}; {has}"));
        }
        self.store.purge(group, through, mark, done);
    }
}

/// Looks whether a snapshot of a node is current too early.
pub(crate) fn ahead(node: usize, log: &Log, journal: &Journal, found: &mut Findings) {
    let groups = journal.groups().into_iter();
    for (group, counters) in groups.filter_map(|group| Some((group, log.counters(ShardId(group))?)))
    {
        let (current, durable) = (counters.snapshot_index, journal.durable_index(group));
        if current > durable {
            let what = format!("the snapshot is at {current}, the journal durable to {durable}");
            found.breach("P1", format!("node {} group {group}: {what}", node + 1));
        }
    }
}

/// Everything that a node's log forgot too early.
pub(crate) fn check(node: usize, wrong: &Mutex<Vec<String>>, found: &mut Findings) {
    let mut wrong = wrong.lock().expect("no code panics while it holds this lock");
    for what in wrong.drain(..) {
        found.breach("P1", format!("node {}: {what}", node + 1));
    }
}
