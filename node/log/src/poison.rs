//! Entries that made a machine panic.
//!
//! A panic while applying ends the process, because a replica that skipped an entry must not go on
//! as if it had not. Before it ends, the place and the entry are noted durably. The restarted
//! replica gives that entry to [`crate::Machine::refuse_poisoned`]; since the panic is as
//! deterministic as the machine, so do the others, after the same panic, and they agree. A replica
//! that panicked alone (bad memory, say) is found by its digest.

use std::any::Any;
use std::collections::BTreeSet;
use std::fmt::Write;
use std::io;

use rotary_storage::Notes;

/// The noted entries of one shard.
pub(crate) struct Poison {
    group: u32,
    notes: Notes,
    indexes: BTreeSet<u64>,
}

impl Poison {
    pub(crate) fn open(group: u32, notes: Notes) -> io::Result<Self> {
        let prefix = format!("poison-{group}-");
        let names = notes.names()?;
        let index = |name: &String| name.strip_prefix(&prefix)?.parse().ok();
        let indexes: BTreeSet<u64> = names.iter().filter_map(index).collect();
        if !indexes.is_empty() {
            tracing::error!(
                code = "entry-poisoned",
                group,
                ?indexes,
                "entries that made this replica panic are refused"
            );
        }
        Ok(Self { group, notes, indexes })
    }

    pub(crate) fn holds(&self, index: u64) -> bool {
        self.indexes.contains(&index)
    }

    /// Notes an entry and what the panic said; `payload` allows the case to be replayed.
    pub(crate) fn note(&self, index: u64, panic: &(dyn Any + Send), payload: &[u8]) {
        let said = panic.downcast_ref::<&str>().copied();
        let said = said.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
        let mut text = format!("panic: {}\npayload: ", said.unwrap_or("without a text"));
        for byte in payload {
            write!(text, "{byte:02x}").expect("writing to a string does not fail");
        }
        let name = format!("poison-{}-{index}", self.group);
        if let Err(error) = self.notes.put(&name, &text) {
            tracing::error!(
                code = "poison-unnoted",
                name, %error,
                "a poisoned entry could not be noted"
            );
        }
    }
}
