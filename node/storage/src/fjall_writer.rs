//! The one thread that writes a [`crate::FjallLog`] to disk.
//!
//! A round takes everything that is queued, by whichever group, and turns it into one fjall batch
//! with one sync. Within a batch the last operation on a key wins: fjall gives all operations of a
//! batch one sequence number, so a removed and rewritten entry must not be in it twice.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use fjall::PersistMode;

use crate::fatal::EXIT_STORAGE;
use crate::fjall_log::{Lazy, Operation, Queued, Shared, entry_key, io_error};

/// What one batch does to each key: a value, or its removal.
type Changes = BTreeMap<Vec<u8>, Option<Arc<[u8]>>>;

/// Writes until the store closes. What is queued then is dropped, as in a crash.
pub(crate) fn run(shared: &Shared) {
    let _guard = shared.options.fatal.on_panic("the log writer");
    while let Some((queue, lazy)) = next(shared) {
        let result = write(shared, &queue, lazy);
        if let Err(error) = &result {
            let reason = format!("the log could not be written: {error}");
            shared.lock().failed = Some(reason.clone());
            shared.drained.notify_all();
            shared.options.fatal.end(EXIT_STORAGE, &reason);
        } else {
            settle(shared, &queue);
        }
        for queued in queue {
            (queued.done)(match &result {
                Ok(()) => Ok(()),
                Err(error) => Err(io::Error::new(error.kind(), error.to_string())),
            });
        }
    }
}

/// Waits for work; `None` when the store closes.
fn next(shared: &Shared) -> Option<(Vec<Queued>, Lazy)> {
    let mut state = shared.lock();
    loop {
        if state.closing {
            return None;
        }
        if !state.queue.is_empty() {
            state.queue_bytes = 0;
            return Some((std::mem::take(&mut state.queue), std::mem::take(&mut state.lazy)));
        }
        state = shared.filled.wait(state).expect("a panic under this lock ends the process");
    }
}

fn write(shared: &Shared, queue: &[Queued], lazy: Lazy) -> io::Result<()> {
    let mut changes = Changes::new();
    for operation in queue.iter().flat_map(|queued| &queued.operations) {
        match operation {
            Operation::Put(key, value) => {
                changes.insert(key.clone(), Some(value.clone()));
            }
            Operation::RemoveEntries(group, range) => {
                for index in range.clone() {
                    changes.insert(entry_key(*group, index), None);
                }
            }
        }
    }
    for (key, value) in lazy {
        changes.insert(key, Some(value.into()));
    }
    if changes.is_empty() {
        return shared.database.persist(PersistMode::SyncData).map_err(io_error);
    }
    let mut batch = shared.database.batch().durability(Some(PersistMode::SyncData));
    for (key, value) in changes {
        match value {
            Some(value) => batch.insert(&shared.keyspace, key, &*value),
            None => batch.remove(&shared.keyspace, key),
        }
    }
    batch.commit().map_err(io_error)
}

/// Marks a written batch durable and lets memory go.
fn settle(shared: &Shared, queue: &[Queued]) {
    let mut state = shared.lock();
    let durable = queue.iter().map(|queued| queued.ticket).max().unwrap_or(state.durable);
    state.durable = durable.max(state.durable);
    let durable = state.durable;
    for group in state.groups.values_mut() {
        group.tail.evict(durable, shared.options.tail_bytes_max);
    }
    state.stats.batches += 1;
    state.stats.syncs += 1;
    state.stats.operations += queue.len() as u64;
    state.stats.entries += queue.iter().map(|queued| queued.entries).sum::<u64>();
    drop(state);
    shared.drained.notify_all();
}
