//! A shard acts by one version of the logic from one entry to another, and a build applies what it
//! can and nothing else.

use rotary_distributor::{LOGIC_VERSIONS, REHEARSED_LOGIC, Restore, RestoreError, Shard};
use rotary_proto::ids::{ReasonId, ShardId, SiteId};
use rotary_proto::plan::{NOT_RESPONDING, SiteSettings};
use rotary_proto::{
    Event, FIRST_LOGIC, LogicVersions, Name, ShardCommand, Stamp, UnfitBuild, Wall, planted,
};

const OLD: LogicVersions = LogicVersions { oldest: 1, newest: 1 };
const BOTH: LogicVersions = LogicVersions { oldest: 1, newest: 2 };
const NEW: LogicVersions = LogicVersions { oldest: 2, newest: 2 };

const RAISE: ShardCommand = ShardCommand::RaiseVersion { version: 2 };

/// A shard that acts by that version.
fn shard(version: u32) -> Shard {
    let mut shard = Shard::new(ShardId(1));
    shard.apply(1, Stamp(1), Wall(0), ShardCommand::RaiseVersion { version });
    assert_eq!(shard.logic_version(), version);
    shard
}

fn unfit(version: u32, can: LogicVersions) -> Result<(), UnfitBuild> {
    Err(UnfitBuild { version, can })
}

#[test]
fn an_entry_is_applied_by_builds_that_have_its_version() {
    let first = shard(1);
    assert_eq!(first.fits(Some(&ShardCommand::Tick), OLD), Ok(()));
    assert_eq!(first.fits(Some(&ShardCommand::Tick), BOTH), Ok(()));
    assert_eq!(first.fits(Some(&ShardCommand::Tick), NEW), unfit(1, NEW));
    assert_eq!(first.fits(None, NEW), unfit(1, NEW), "nor is one that cannot be read");
    let second = shard(2);
    assert_eq!(second.fits(Some(&ShardCommand::Tick), OLD), unfit(2, OLD));
    assert_eq!(second.fits(Some(&ShardCommand::Tick), BOTH), Ok(()));
    assert_eq!(second.fits(Some(&ShardCommand::Tick), NEW), Ok(()));
}

#[test]
fn an_entry_that_raises_it_is_applied_by_builds_that_have_the_next() {
    let first = shard(1);
    assert_eq!(first.fits(Some(&RAISE), OLD), unfit(2, OLD));
    assert_eq!(first.fits(Some(&RAISE), BOTH), Ok(()));
    assert_eq!(first.fits(Some(&RAISE), NEW), Ok(()), "it applies nothing by the old one");
    let lower = ShardCommand::RaiseVersion { version: 1 };
    assert_eq!(shard(2).fits(Some(&lower), NEW), Ok(()), "it raises nothing");
}

#[test]
fn a_snapshot_is_taken_by_builds_that_have_its_version() {
    let chunks: Vec<Vec<u8>> = shard(2).freeze().chunks().collect();
    let taken = |can| {
        let restore = Restore::fitting(ShardId(1), can);
        let restore = chunks.iter().try_fold(restore, |restore, chunk| restore.chunk(chunk))?;
        restore.finish().map(|shard| shard.logic_version())
    };
    assert_eq!(taken(BOTH).expect("it has it"), 2);
    assert_eq!(taken(NEW).expect("it has it"), 2);
    let refused = taken(OLD).expect_err("it has it not");
    assert_eq!(refused, RestoreError::Unfit(UnfitBuild { version: 2, can: OLD }));
    assert!(refused.to_string().ends_with("a newer build is needed"), "{refused}");
}

/// What a new site of a shard at that version calls an agent who did not answer.
fn silence(version: u32) -> Option<(ReasonId, Name)> {
    let settings = SiteSettings::named(Name::new("north").expect("short"));
    let site = SiteId::new(1, 1);
    let create = ShardCommand::CreateSite { site, settings };
    let applied = shard(version).apply(2, Stamp(2), Wall(0), create);
    applied.events.into_iter().find_map(|record| match record.event {
        Event::ReasonSet { reason, name } => Some((reason, name)),
        _ => None,
    })
}

#[test]
fn the_rehearsed_version_differs_in_builds_that_rehearse_alone() {
    assert_eq!((LOGIC_VERSIONS.oldest, LOGIC_VERSIONS.newest), (FIRST_LOGIC, 1));
    let named = |name: &str| Some((NOT_RESPONDING, Name::new(name).expect("short")));
    assert_eq!(silence(LOGIC_VERSIONS.newest), named("not responding"));
    let rehearsed = if planted::REHEARSES { "no answer" } else { "not responding" };
    assert_eq!(silence(REHEARSED_LOGIC), named(rehearsed));
}
