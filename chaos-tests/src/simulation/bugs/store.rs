//! A log store that breaks its contract.

use std::sync::Arc;

use rotary_storage::{Done, Group, LogEntry, LogStore};

use super::Bug;
use crate::simulation::layer::Layer;

/// Entries that are forgotten too early.
const TOO_MUCH: u64 = 250;

/// A store, with a bug that concerns stores or with another one, which then does nothing here.
pub(crate) struct PlantedStore {
    pub(crate) store: Arc<dyn LogStore>,
    pub(crate) bug: Option<Bug>,
}

impl Layer for PlantedStore {
    fn beneath(&self) -> &dyn LogStore {
        &*self.store
    }

    fn append(&self, group: Group, entries: Vec<LogEntry>, done: Done) {
        if self.bug == Some(Bug::AckBeforeSync) {
            done(Ok(()));
            return self.store.append(group, entries, Box::new(|_| ()));
        }
        self.store.append(group, entries, done);
    }

    fn save_vote(&self, group: Group, bytes: Vec<u8>, done: Done) {
        if self.bug == Some(Bug::VoteForgotten) {
            return done(Ok(()));
        }
        self.store.save_vote(group, bytes, done);
    }

    fn truncate_after(&self, group: Group, last: Option<u64>, done: Done) {
        let more = u64::from(self.bug == Some(Bug::TruncateTooMuch));
        self.store.truncate_after(group, last.map(|last| last.saturating_sub(more)), done);
    }
}

/// A store above those who watch, with a bug that concerns what is forgotten.
pub(crate) struct PlantedPurge {
    pub(crate) store: Arc<dyn LogStore>,
    pub(crate) bug: Option<Bug>,
}

impl Layer for PlantedPurge {
    fn beneath(&self) -> &dyn LogStore {
        &*self.store
    }

    fn purge(&self, group: Group, through: u64, mark: Vec<u8>, done: Done) {
        let more = if self.bug == Some(Bug::PurgeTooMuch) { TOO_MUCH } else { 0 };
        self.store.purge(group, through + more, mark, done);
    }
}
