//! A site's way as the directory sees it.

use rotary_proto::{Name, Stamp, TenantId};

use super::*;
use crate::command::{DirectoryCommand, DirectoryEntry, DirectoryOutcome};

const SITE: SiteId = SiteId::new(1, 1);
const ONE: ShardId = ShardId(1);
const TWO: ShardId = ShardId(2);

fn ask(directory: &mut Directory, command: DirectoryCommand) -> DirectoryOutcome {
    let stamp = Stamp(directory.last_stamp().0 + 1);
    let entry = DirectoryEntry { origin: None, asked: None, command };
    directory.apply(stamp.0, stamp, entry).answer.outcome
}

fn named(name: &str) -> Name {
    Name::new(name).expect("short")
}

/// Three shards, and a site in the first.
fn founded() -> Directory {
    let mut directory = Directory::new();
    let members = [rotary_proto::NodeId(1)].into();
    ask(&mut directory, DirectoryCommand::Found { shards: 3, members });
    ask(&mut directory, DirectoryCommand::CreateTenant { name: named("tenant") });
    let (tenant, name) = (TenantId(1), named("site"));
    ask(&mut directory, DirectoryCommand::CreateSite { tenant, name, shard: Some(ONE) });
    directory
}

fn to(directory: &mut Directory, to: ShardId) -> DirectoryOutcome {
    ask(directory, DirectoryCommand::MoveSite { site: SITE, to })
}

const OK: DirectoryOutcome = DirectoryOutcome::Done(DirectoryDone::Ok);

#[test]
fn a_site_is_where_it_was_until_it_is_there() {
    let mut directory = founded();
    assert_eq!((to(&mut directory, TWO), to(&mut directory, TWO)), (OK, OK));
    assert_eq!(directory.shard_of(SITE), Some(ONE));
    assert_eq!(directory.moving_of(SITE).map(|moving| moving.to), Some(TWO));
    let elsewhere = to(&mut directory, ShardId(3));
    let refused = DirectoryOutcome::Refused(DirectoryRefusal::SiteMoving { shard: TWO });
    assert_eq!(elsewhere, refused);
    let moved = DirectoryCommand::SiteMoved { site: SITE, to: TWO };
    assert_eq!((ask(&mut directory, moved.clone()), ask(&mut directory, moved)), (OK, OK));
    assert_eq!((directory.shard_of(SITE), directory.moving_of(SITE)), (Some(TWO), None));
    assert_eq!((directory.placed[&ONE], directory.placed[&TWO]), (0, 1));
    assert_eq!(to(&mut directory, TWO), OK, "it is there");
    assert_eq!(directory.moving().count(), 0);
}

#[test]
fn a_move_that_failed_says_why_until_it_is_asked_for_again() {
    let mut directory = founded();
    to(&mut directory, TWO);
    let why = "é".repeat(REASON_BYTES_MAX);
    let number = directory.moving_of(SITE).expect("it is to move").number;
    let failed = |number, why| DirectoryCommand::MoveFailed { site: SITE, number, why };
    ask(&mut directory, failed(number + 1, "of another order".to_owned()));
    assert_eq!(directory.moving_of(SITE).and_then(|moving| moving.failed.clone()), None);
    ask(&mut directory, failed(number, why));
    let failed = directory.moving_of(SITE).and_then(|moving| moving.failed.clone());
    assert_eq!(failed, Some("é".repeat(REASON_BYTES_MAX / 2)));
    assert_eq!(to(&mut directory, ShardId(3)), OK, "it may go elsewhere");
    assert_eq!(directory.moving_of(SITE).map(|moving| moving.failed.is_none()), Some(true));
    let cancel = || DirectoryCommand::CancelMove { site: SITE };
    assert_eq!(ask(&mut directory, cancel()), OK);
    assert!(directory.moving_of(SITE).is_some_and(|moving| moving.failed.is_some()));
    assert_eq!(ask(&mut directory, cancel()), OK);
    assert_eq!((directory.moving_of(SITE), directory.shard_of(SITE)), (None, Some(ONE)));
    let stray = DirectoryCommand::MoveFailed { site: SITE, number, why: String::new() };
    assert!(matches!(ask(&mut directory, stray), DirectoryOutcome::Refused(_)));
}

#[test]
fn a_move_goes_to_a_shard_that_there_is() {
    let mut directory = founded();
    let refused = |outcome| match outcome {
        DirectoryOutcome::Refused(refusal) => refusal.word(),
        DirectoryOutcome::Done(_) => "done",
    };
    assert_eq!(refused(to(&mut directory, ShardId(4))), "bad-value");
    assert_eq!(refused(to(&mut directory, ShardId(0))), "bad-value");
    ask(&mut directory, DirectoryCommand::AddShards { shards: 4 });
    assert_eq!(refused(to(&mut directory, ShardId(4))), "unavailable");
    let site = SiteId::new(1, 2);
    let unknown = ask(&mut directory, DirectoryCommand::MoveSite { site, to: TWO });
    assert_eq!(refused(unknown), "site-unknown");
}
