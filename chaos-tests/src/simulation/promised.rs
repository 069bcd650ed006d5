//! What a node's journal said is durable, beyond the life of its processes.
//!
//! A journal that is opened again must reach as far as it said before, by way of the same records:
//! its hash chain there is the same.

use std::collections::BTreeMap;

use rotary_storage::{Journal, JournalHead};

/// How far each group's journal is durable, and the chain there.
#[derive(Debug, Default)]
pub(crate) struct Promised {
    heads: BTreeMap<u32, JournalHead>,
    wrong: Vec<String>,
}

impl Promised {
    /// Takes down what the journal says.
    pub(crate) fn note(&mut self, journal: &Journal) {
        let heads = journal.groups().into_iter().map(|group| (group, journal.durable_head(group)));
        self.heads.extend(heads);
    }

    /// Compares a journal just opened with what was promised.
    pub(crate) fn recover(&mut self, journal: &Journal) {
        for (group, head) in &self.heads {
            let last = journal.last_index(*group);
            if head.index < journal.first_index(*group) && journal.missing(*group).is_some() {
                // A snapshot from another replica took its place, and what is below it is fetched.
                continue;
            }
            let what = if last < head.index {
                format!("group {group}: it ends at {last}, and said {} was durable", head.index)
            } else {
                match journal.head_at(*group, head.index) {
                    Ok(found) if found == *head => continue,
                    Ok(_) => format!("group {group}: it says something else up to {}", head.index),
                    Err(error) => error.to_string(),
                }
            };
            self.wrong.push(format!("a journal was opened: {what}"));
        }
        self.note(journal);
    }

    /// Nothing is promised any more: bits were turned over, or all of it was set aside.
    pub(crate) fn forget(&mut self) {
        self.heads.clear();
    }

    /// What journals gave back wrongly since the last call.
    pub(crate) fn take_wrong(&mut self) -> Vec<String> {
        std::mem::take(&mut self.wrong)
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::sync::Arc;

    use rotary_storage::{Drive, JournalOptions, JournalRecord, SimulatedDisk};

    use super::*;

    fn open(disk: &SimulatedDisk) -> Journal {
        let drive = Drive::Manual(Arc::new(|| ()));
        let options = JournalOptions { drive, ..JournalOptions::default() };
        Journal::open(disk.process(), Path::new("/journal"), options).expect("opens")
    }

    fn append(journal: &Journal, index: u64, byte: u8) {
        let record =
            JournalRecord { stream: 1, sequence: index, index, ordinal: 0, bytes: vec![byte] };
        journal.append(3, vec![record]).expect("it goes on");
        journal.pump().expect("the disk is whole");
    }

    #[test]
    fn what_was_durable_must_come_back() {
        let (disk, mut promised) = (SimulatedDisk::new(1), Promised::default());
        let journal = open(&disk);
        append(&journal, 1, 7);
        append(&journal, 2, 8);
        promised.note(&journal);
        disk.power_cut();
        promised.recover(&open(&disk));
        assert_eq!(promised.take_wrong(), Vec::<String>::new());
        let (other, shorter) = (open(&SimulatedDisk::new(2)), open(&SimulatedDisk::new(3)));
        append(&other, 1, 9);
        append(&other, 2, 8);
        promised.recover(&other);
        assert!(promised.take_wrong()[0].contains("something else"));
        promised.recover(&shorter);
        assert!(promised.take_wrong()[0].contains("it ends at 0"));
    }
}
