//! Keeps a build from applying what it cannot apply.
//!
//! A shard acts by a version of the logic, which entries of its log raise. A build that meets an
//! entry or a snapshot of a version that it does not have stops there, with the state as it was
//! before: a guess would be a replica that differs. Which version a shard was seen at is noted on
//! the disk, by whoever stops here and, beside the shards, by [`crate::nodes::upgrade`]; so such a
//! build is refused at its next start, before it takes part in anything.

use std::collections::BTreeMap;
use std::io;

use rotary_proto::{LogicVersions, ShardId, UnfitBuild};
use rotary_storage::{EXIT_STORAGE, Fatal, Notes};

use crate::server::StartError;

/// What the names of notes begin with; the shard's number and the version follow.
const NOTE: &str = "logic-";

/// Makes those of a node's shards.
#[derive(Clone)]
pub(crate) struct Fences {
    can: LogicVersions,
    notes: Notes,
    fatal: Fatal,
}

impl Fences {
    /// For a build that can apply those versions.
    pub(crate) fn new(can: LogicVersions, notes: Notes, fatal: Fatal) -> Self {
        Self { can, notes, fatal }
    }

    /// What ends the process.
    pub(crate) const fn fatal(&self) -> &Fatal {
        &self.fatal
    }

    /// What a node must know at its next start.
    pub(crate) const fn notes(&self) -> &Notes {
        &self.notes
    }

    /// That of a shard that is about to be made from its snapshot and log.
    pub(crate) fn of(&self, shard: ShardId) -> Fence {
        Fence { shard, can: self.can, fences: self.clone(), unfit: None }
    }

    /// Notes that a shard was seen to act by a version. It writes to the disk.
    pub(crate) fn note(&self, shard: ShardId, version: u32) {
        let name = format!("{NOTE}{}-{version}", shard.0);
        match self.notes.put(&name, "") {
            Ok(()) => {}
            // There may be room at the next start, where the version is met again.
            Err(error) if error.kind() == io::ErrorKind::StorageFull => {
                tracing::warn!(%error, name, "a version of the logic could not be noted");
            }
            Err(error) => self.fatal.end(EXIT_STORAGE, &format!("note {name}: {error}")),
        }
    }

    /// Makes sure, before this node takes part in anything, that its build can apply what its
    /// shards were seen to act by.
    ///
    /// # Errors
    /// What the disk says; which shard it cannot, and why.
    pub(crate) fn check(&self) -> Result<(), StartError> {
        let names = self.notes.names().map_err(StartError::Io)?;
        let fit = check(&names, self.can);
        fit.map_err(|(shard, source)| StartError::Unfit { shard, source })
    }
}

/// One shard's.
pub(crate) struct Fence {
    shard: ShardId,
    /// What the build can apply.
    pub(crate) can: LogicVersions,
    fences: Fences,
    unfit: Option<UnfitBuild>,
}

impl Fence {
    /// The build cannot go on.
    pub(crate) fn stop(&mut self, error: UnfitBuild) {
        tracing::error!(code = "build-unfit", shard = %self.shard, %error, "this build stops");
        self.fences.note(self.shard, error.version);
        self.unfit = Some(error);
    }

    /// Why the build cannot go on.
    pub(crate) fn unfit(&self) -> Option<String> {
        self.unfit.map(|error| error.to_string())
    }
}

/// Makes sure that a build can apply what every shard of a node was seen to act by. A shard that
/// was seen at none acts by the first, or is not there. Says which cannot, and why.
fn check(names: &[String], can: LogicVersions) -> Result<(), (ShardId, UnfitBuild)> {
    let mut newest = BTreeMap::new();
    for (shard, version) in names.iter().filter_map(|name| read(name)) {
        let seen = newest.entry(shard).or_insert(version);
        *seen = version.max(*seen);
    }
    let unfit = newest.into_iter().find(|(_, version)| !can.include(*version));
    unfit.map_or(Ok(()), |(shard, version)| Err((shard, UnfitBuild { version, can })))
}

fn read(name: &str) -> Option<(ShardId, u32)> {
    let (shard, version) = name.strip_prefix(NOTE)?.split_once('-')?;
    Some((ShardId(shard.parse().ok()?), version.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use rotary_storage::SimulatedDisk;

    use super::*;

    const OLD: LogicVersions = LogicVersions { oldest: 1, newest: 1 };
    const NEW: LogicVersions = LogicVersions { oldest: 1, newest: 2 };

    fn notes() -> Notes {
        let disk = SimulatedDisk::new(1).process();
        Notes::open(disk, Path::new("/notes")).expect("opens")
    }

    #[test]
    fn what_was_seen_is_refused_to_a_build_that_cannot_apply_it() {
        let notes = notes();
        assert_eq!(check(&notes.names().expect("there"), OLD), Ok(()));
        let fences = Fences::new(NEW, notes.clone(), Fatal::exit());
        fences.note(ShardId(3), 2);
        fences.note(ShardId(3), 2);
        let names = notes.names().expect("there");
        assert_eq!(names, ["logic-3-2"]);
        let unfit = UnfitBuild { version: 2, can: OLD };
        assert_eq!(check(&names, OLD), Err((ShardId(3), unfit)));
        assert_eq!(check(&names, NEW), Ok(()));
        let newer = LogicVersions { oldest: 3, newest: 4 };
        assert_eq!(check(&names, newer), Err((ShardId(3), UnfitBuild { version: 2, can: newer })));
    }

    #[test]
    fn the_newest_counts_and_other_notes_do_not() {
        let names = ["doubt-1", "logic-", "logic-1", "logic-1-x", "logic-1-2", "logic-1-3"];
        let names = names.map(str::to_owned);
        let told = check(&names, NEW).expect_err("3 is too new");
        assert_eq!((told.0, told.1.version), (ShardId(1), 3));
    }

    #[test]
    fn a_build_that_stops_says_why_and_is_refused_from_then_on() {
        let notes = notes();
        let fences = Fences::new(OLD, notes.clone(), Fatal::exit());
        let mut fence = fences.of(ShardId(1));
        assert_eq!(fence.unfit(), None);
        fence.stop(UnfitBuild { version: 2, can: OLD });
        assert!(fence.unfit().is_some_and(|why| why.contains("version 2")));
        assert!(fences.check().is_err());
    }
}
