//! An entry that made the logic panic: its site stands still on every replica alike, the others go
//! on, and a raised logic version lifts it.

use rotary_distributor::{Applied, Restore, Shard, invariants};
use rotary_proto::ids::*;
use rotary_proto::{
    Actor, Attributes, Channel, Command, Envelope, Name, Origin, Outcome, QueuePlan, Refusal,
    ShardCommand, SiteSettings, Stamp, Wall,
};

const NORTH: SiteId = SiteId::new(1, 1);
const SOUTH: SiteId = SiteId::new(1, 2);
const QUEUE: QueueId = QueueId(1);

/// A replica, and where its log is.
#[derive(Clone)]
struct Replica {
    shard: Shard,
    index: u64,
}

fn name(text: &str) -> Name {
    Name::new(text).expect("short")
}

fn asked(site: SiteId, command: Command) -> ShardCommand {
    let (origin, actor) = (Origin::Internal, Actor::System);
    ShardCommand::Site(Envelope { site, origin, actor, command })
}

fn open(site: SiteId, unique: u128) -> ShardCommand {
    let open = Command::Open {
        conversation: ConversationId::new(site, unique),
        queue: QUEUE,
        channel: Channel::Chat,
        priority: None,
        skills: Vec::new(),
        customer: None,
        attributes: Attributes::default(),
        item: None,
        mail: None,
    };
    asked(site, open)
}

impl Replica {
    /// Two sites with a queue each, whose conversations wait for a second.
    fn new() -> Self {
        let mut replica = Self { shard: Shard::new(ShardId(1)), index: 0 };
        for site in [NORTH, SOUTH] {
            let settings = SiteSettings::named(name("site"));
            replica.done(ShardCommand::CreateSite { site, settings });
            let plan = QueuePlan { wait_max_ms: 1_000, ..QueuePlan::named(name("sales")) };
            replica.done(asked(site, Command::PutQueue { queue: QUEUE, plan }));
        }
        replica
    }

    fn next(&mut self) -> (u64, Stamp) {
        self.index += 1;
        (self.index, self.shard.last_stamp().plus_ms(1))
    }

    fn apply(&mut self, command: ShardCommand) -> Applied {
        let (index, stamp) = self.next();
        self.apply_at(index, stamp, command)
    }

    fn apply_at(&mut self, index: u64, stamp: Stamp, command: ShardCommand) -> Applied {
        self.index = index;
        let applied = self.shard.apply(index, stamp, Wall(0), command);
        assert_eq!(invariants::check(&self.shard), []);
        applied
    }

    fn done(&mut self, command: ShardCommand) -> Applied {
        let applied = self.apply(command.clone());
        assert!(matches!(applied.answer.outcome, Outcome::Done(_)), "{command:?}: {applied:?}");
        applied
    }

    fn poisoned(&mut self, command: Option<&ShardCommand>) {
        let (index, stamp) = self.next();
        let applied = self.shard.refuse_poisoned(index, stamp, command);
        assert_eq!(applied.answer.outcome, Outcome::Refused(Refusal::SiteFrozen));
        assert_eq!((applied.answer.index, applied.events), (index, Vec::new()));
        assert_eq!(self.shard.last_stamp(), stamp);
        assert_eq!(invariants::check(&self.shard), []);
    }

    fn is_frozen(&self, site: SiteId) -> bool {
        self.shard.site_view(site).expect("it was made").frozen
    }

    fn waiting(&self, site: SiteId) -> u64 {
        self.shard.queue_view(site, QUEUE).expect("it was made").waiting
    }

    #[track_caller]
    fn refuses(&mut self, site: SiteId, unique: u128) {
        let applied = self.apply(open(site, unique));
        assert_eq!(applied.answer.outcome, Outcome::Refused(Refusal::SiteFrozen));
        assert!(applied.events.is_empty(), "{applied:?}");
    }
}

#[test]
fn one_site_stands_still_and_the_other_serves() {
    let mut replica = Replica::new();
    replica.done(open(NORTH, 1));
    replica.poisoned(Some(&open(NORTH, 2)));
    assert_eq!((replica.is_frozen(NORTH), replica.is_frozen(SOUTH)), (true, false));
    let before = replica.shard.sequence(NORTH);
    replica.refuses(NORTH, 3);
    let served = replica.done(open(SOUTH, 4));
    assert!(served.events.iter().all(|record| record.site == SOUTH) && !served.events.is_empty());
    assert_eq!((replica.waiting(NORTH), replica.waiting(SOUTH)), (1, 1));
    assert_eq!(replica.shard.sequence(NORTH), before, "nothing happens there");
}

#[test]
fn a_frozen_site_has_no_deadlines_and_the_other_keeps_its_own() {
    let mut replica = Replica::new();
    replica.done(open(NORTH, 1));
    replica.poisoned(Some(&open(NORTH, 2)));
    assert_eq!(replica.shard.next_deadline(), None);
    replica.done(open(SOUTH, 3));
    let due = replica.shard.next_deadline().expect("its wait ends");
    let ticked = replica.apply_at(replica.index + 1, due.plus_ms(60_000), ShardCommand::Tick);
    assert!(ticked.events.iter().all(|record| record.site == SOUTH));
    assert_eq!((replica.waiting(NORTH), replica.waiting(SOUTH)), (1, 0));
}

#[test]
fn replicas_that_skipped_the_same_entry_agree_and_one_that_did_not_is_found() {
    let mut replica = Replica::new();
    replica.done(open(NORTH, 1));
    let (mut twin, mut other) = (replica.clone(), replica.clone());
    let poison = open(NORTH, 2);
    replica.poisoned(Some(&poison));
    twin.poisoned(Some(&poison));
    other.done(poison);
    let then = [open(SOUTH, 3), open(NORTH, 4), ShardCommand::RaiseVersion { version: 2 }];
    for command in then.into_iter().chain([open(NORTH, 5), ShardCommand::Tick]) {
        let (given, again) = (replica.apply(command.clone()), twin.apply(command.clone()));
        other.apply(command.clone());
        assert_eq!(given, again, "{command:?}");
        assert_eq!(replica.shard.digest(), twin.shard.digest(), "{command:?}");
        assert_ne!(replica.shard.digest(), other.shard.digest(), "{command:?}");
    }
}

#[test]
fn a_snapshot_carries_what_stands_still() {
    let mut replica = Replica::new();
    replica.done(open(NORTH, 1));
    replica.poisoned(Some(&open(NORTH, 2)));
    let frozen = replica.shard.freeze();
    let restore = frozen.chunks().try_fold(Restore::new(ShardId(1)), |r, chunk| r.chunk(&chunk));
    let shard = restore.and_then(Restore::finish).expect("what was frozen can be restored");
    let mut restored = Replica { shard, index: replica.index };
    assert!(restored.is_frozen(NORTH));
    for command in [open(NORTH, 3), ShardCommand::RaiseVersion { version: 2 }, open(NORTH, 4)] {
        assert_eq!(restored.apply(command.clone()), replica.apply(command));
        assert_eq!(restored.shard.digest(), replica.shard.digest());
    }
}

#[test]
fn a_poisoned_tick_freezes_the_sites_that_were_due() {
    let mut replica = Replica::new();
    replica.done(open(NORTH, 1));
    let due = replica.shard.next_deadline().expect("its wait ends");
    replica.apply_at(replica.index + 1, due.plus_ms(60_000), open(SOUTH, 2));
    replica.poisoned(Some(&ShardCommand::Tick));
    assert_eq!((replica.is_frozen(NORTH), replica.is_frozen(SOUTH)), (true, false));
}

#[test]
fn a_raised_version_lifts_it_and_what_was_due_meanwhile_is_done() {
    let mut replica = Replica::new();
    replica.done(open(NORTH, 1));
    let due = replica.shard.next_deadline().expect("its wait ends");
    replica.poisoned(Some(&open(NORTH, 2)));
    let late = due.plus_ms(60_000);
    replica.apply_at(replica.index + 1, late, ShardCommand::RaiseVersion { version: 1 });
    assert!(replica.is_frozen(NORTH), "that is no newer version");
    replica.done(ShardCommand::RaiseVersion { version: 2 });
    assert!(!replica.is_frozen(NORTH));
    assert!(replica.shard.next_deadline().is_some_and(|at| at <= replica.shard.last_stamp()));
    replica.done(ShardCommand::Tick);
    assert_eq!(replica.waiting(NORTH), 0, "its wait was over");
    replica.done(open(NORTH, 3));
    assert_eq!(replica.waiting(NORTH), 1);
}

#[test]
fn an_entry_that_cannot_be_read_freezes_nobody() {
    let mut replica = Replica::new();
    replica.poisoned(None);
    replica.poisoned(Some(&ShardCommand::RaiseVersion { version: 9 }));
    assert_eq!((replica.is_frozen(NORTH), replica.is_frozen(SOUTH)), (false, false));
    assert_eq!(replica.shard.logic_version(), 1);
    replica.done(open(NORTH, 1));
}
