//! Brings a shard's state forward by the entries of its log, as its replicas did.
//!
//! It happens before anything of the new cluster is in the state: entries are of the cluster that
//! was, its members included.

use std::panic::{AssertUnwindSafe, catch_unwind};

use rotary_directory::{Directory, DirectoryEntry};
use rotary_distributor::Shard;
use rotary_log::{OfflineEntry, OfflinePayload, Place};
use rotary_proto::codec::{self, Limit};
use rotary_proto::{EventRecord, ShardCommand, Stamp, Wall};

use crate::build;

/// What entries change.
pub(crate) enum Machine {
    Directory(Box<Directory>),
    Data(Box<Shard>),
}

impl Machine {
    /// Sites that are in it.
    pub(crate) fn sites(&self) -> usize {
        match self {
            Self::Directory(directory) => directory.sites(None).count(),
            Self::Data(shard) => shard.sites().count(),
        }
    }
}

/// A state on its way to a later index.
pub(crate) struct Replay {
    pub(crate) machine: Machine,
    /// The last entry that is in it.
    pub(crate) place: Place,
}

impl Replay {
    /// Carries out the next entry; what became true by it. One that is in the state already is
    /// passed over.
    ///
    /// # Errors
    /// In words: an entry that does not follow, or that this build cannot carry out.
    pub(crate) fn take(&mut self, entry: &OfflineEntry) -> Result<Vec<EventRecord>, String> {
        let OfflineEntry { index, term, leader, .. } = *entry;
        if index <= self.place.index {
            let is_other = index == self.place.index && term != self.place.term;
            let (here, at) = (self.place.term, self.place.index);
            return match is_other {
                true => Err(format!("index {at} is of term {term}, and of {here} in the snapshot")),
                false => Ok(Vec::new()),
            };
        }
        if index != self.place.index + 1 || term < self.place.term {
            let Place { index: at, term: of, .. } = self.place;
            return Err(format!("index {index} of term {term} follows {at} of {of}"));
        }
        self.place = Place { index, term, leader };
        match &entry.payload {
            OfflinePayload::Blank => Ok(Vec::new()),
            OfflinePayload::Members(members) => {
                if let Machine::Data(shard) = &mut self.machine {
                    shard.set_members(members.iter().copied());
                }
                Ok(Vec::new())
            }
            OfflinePayload::Command { stamp, wall, payload } => {
                let times = (*stamp, *wall);
                let machine = &mut self.machine;
                let applied =
                    catch_unwind(AssertUnwindSafe(|| apply(machine, index, times, payload)));
                let poisoned = |_| {
                    Err("this build panics when it carries it out: name an index before it"
                        .to_owned())
                };
                let applied = applied.unwrap_or_else(poisoned);
                applied.map_err(|what| format!("the entry at index {index}: {what}"))
            }
        }
    }
}

fn apply(
    machine: &mut Machine,
    index: u64,
    (stamp, wall): (Stamp, Wall),
    payload: &[u8],
) -> Result<Vec<EventRecord>, String> {
    let can = build::logic();
    match machine {
        Machine::Directory(directory) => {
            let stamp = stamp.after(directory.last_stamp());
            let entry = codec::decode::<DirectoryEntry>(payload, Limit::Entry);
            let command = entry.as_ref().ok().map(|entry| &entry.command);
            directory.fits(command, can).map_err(|error| error.to_string())?;
            match entry {
                Ok(entry) => _ = directory.apply(index, stamp, entry),
                Err(_) => _ = directory.refuse_malformed(index, stamp),
            }
            Ok(Vec::new())
        }
        Machine::Data(shard) => {
            let stamp = stamp.after(shard.last_stamp());
            let command = codec::decode::<ShardCommand>(payload, Limit::Entry);
            shard.fits(command.as_ref().ok(), can).map_err(|error| error.to_string())?;
            let applied = match command {
                Ok(command) => shard.apply(index, stamp, wall, command),
                Err(_) => shard.refuse_malformed(index, stamp),
            };
            Ok(applied.events)
        }
    }
}
