//! A shard under watch: every entry is checked against every promise that can be checked, and
//! followed by the twins that were restored from its snapshots.

#[path = "outside.rs"]
mod outside;
#[path = "twin.rs"]
pub(crate) mod twin;

use std::collections::BTreeMap;

use rotary_distributor::{Applied, Shard, invariants};
use rotary_proto::codec::{self, Limit};
use rotary_proto::ids::*;
use rotary_proto::{Origin, Outcome, ShardCommand, Stamp, Wall, limits};

use crate::oracle::Oracle;
use twin::Twin;

/// What one entry may do beyond its share: a piece of work that was begun is finished. The most is
/// matching an agent with full capacity against every class of these small worlds.
pub(crate) const OVERSHOOT: u64 = 2_048;

/// A shard, its log, and the oracle that follows it.
#[derive(Clone)]
pub(crate) struct Driver {
    pub(crate) shard: Shard,
    pub(crate) oracle: Oracle,
    pub(crate) log: Vec<(Stamp, ShardCommand)>,
    pub(crate) given: Vec<Applied>,
    sequences: BTreeMap<SiteId, u64>,
    books: outside::Books,
    /// Shards restored from snapshots of this one.
    twins: Vec<Twin>,
    /// Whether log and answers are kept, for replays.
    pub(crate) keeps: bool,
    /// Whether refused commands are compared with a twin that got a tick.
    pub(crate) compares: bool,
    /// Whether `invariants::check` and the oracle's search for idlers run after every entry.
    pub(crate) checks: bool,
    index: u64,
}

impl Driver {
    pub(crate) fn new() -> Self {
        Self {
            shard: empty(),
            oracle: Oracle::default(),
            log: Vec::new(),
            given: Vec::new(),
            sequences: BTreeMap::new(),
            books: outside::Books::default(),
            twins: Vec::new(),
            keeps: true,
            compares: true,
            checks: true,
            index: 0,
        }
    }

    /// The last entry's index.
    pub(crate) fn index(&self) -> u64 {
        self.index
    }

    /// The present stamp.
    pub(crate) fn now(&self) -> Stamp {
        self.shard.last_stamp()
    }

    /// Whether nothing is due at or before a stamp.
    pub(crate) fn is_quiet(&self, stamp: Stamp) -> bool {
        self.shard.next_deadline().is_none_or(|at| at > stamp)
    }

    /// Applies an entry and checks everything.
    pub(crate) fn apply(&mut self, stamp: Stamp, command: ShardCommand) -> Applied {
        let stamp = stamp.after(self.shard.last_stamp());
        let twin = (self.compares && self.is_quiet(stamp)).then(|| self.shard.clone());
        let before = self.is_quiet(stamp);
        self.index += 1;
        let applied = self.shard.apply(self.index, stamp, wall(stamp), command.clone());
        if self.keeps {
            self.log.push((stamp, command.clone()));
            self.given.push(applied.clone());
        }
        for twin in &mut self.twins {
            let entry = (self.index, stamp, wall(stamp));
            twin.follow(&self.shard, entry, command.clone(), &applied);
        }
        self.dense(&applied, stamp);
        let index = self.index;
        let recent: Vec<String> =
            self.log.iter().rev().take(16).map(|(at, command)| told(*at, command)).collect();
        let context = || {
            let recent: Vec<&str> = recent.iter().rev().map(String::as_str).collect();
            format!("entry {index}: {command:?}\n{applied:#?}\nhistory:\n{}", recent.join("\n"))
        };
        if self.checks {
            let found = invariants::check(&self.shard);
            assert!(found.is_empty(), "{found:#?}\nafter {}", context());
        }
        let quiet = (before, self.checks && self.is_quiet(self.now()));
        let found = self.oracle.follow(stamp, &command, &applied, quiet);
        assert!(found.is_empty(), "{found:#?}\nafter {}", context());
        let found = self.books.follow(&self.shard, &applied);
        assert!(found.is_empty(), "{found:#?}\nafter {}", context());
        let steps = self.shard.counters().steps_max;
        let most = u64::from(limits::WORK_PER_ENTRY_MAX) + OVERSHOOT;
        assert!(steps <= most, "{steps} steps by {}", context());
        if let Some(twin) = twin {
            self.changes_nothing(twin, stamp, &command, &applied);
        }
        applied
    }

    /// Sequences are dense per site, and records carry their entry.
    fn dense(&mut self, applied: &Applied, stamp: Stamp) {
        for record in &applied.events {
            let last = self.sequences.entry(record.site).or_insert(0);
            *last += 1;
            assert_eq!(record.sequence, *last, "{record:?}");
            assert_eq!((record.index, record.stamp), (self.index, stamp), "{record:?}");
        }
        for site in self.shard.sites() {
            let last = self.sequences.get(&site).copied();
            assert_eq!(self.shard.sequence(site), last, "the last sequence of {site}");
        }
    }

    /// A refused or repeated command leaves what a tick would have left, windows aside.
    fn changes_nothing(
        &self,
        twin: Shard,
        stamp: Stamp,
        command: &ShardCommand,
        applied: &Applied,
    ) {
        let ShardCommand::Site(envelope) = command else { return };
        let refused = matches!(applied.answer.outcome, Outcome::Refused(_));
        if !refused && !applied.answer.repeated {
            return;
        }
        assert!(applied.events.is_empty(), "{command:?} was refused or repeated\n{applied:#?}");
        let mut ticked = twin.clone();
        ticked.apply(self.index, stamp, wall(stamp), ShardCommand::Tick);
        if applied.answer.repeated {
            if let Origin::Session { acknowledged: 0, .. } | Origin::Request { .. } =
                envelope.origin
            {
                assert_eq!(self.shard.digest(), ticked.digest(), "repeated {command:?}");
            }
            return;
        }
        let mut inside = twin;
        let mut envelope = envelope.clone();
        envelope.origin = Origin::Internal;
        let command = ShardCommand::Site(envelope);
        let again = inside.apply(self.index, stamp, wall(stamp), command.clone());
        if matches!(again.answer.outcome, Outcome::Refused(_)) {
            assert_eq!(inside.digest(), ticked.digest(), "refused {command:?}");
        }
    }

    /// Restores a twin from a snapshot of the present state; it follows from here on. Of more than
    /// three the oldest goes.
    pub(crate) fn twin(&mut self) {
        self.twins.push(Twin::of(&mut self.shard));
        if self.twins.len() > 3 {
            self.twins.remove(0).part(&mut self.shard);
        }
    }

    /// Lets the twins go, when they are found to be what the shard is.
    pub(crate) fn part(&mut self) {
        self.twins.drain(..).for_each(|twin| twin.part(&mut self.shard));
    }

    /// Ticks at each deadline up to a stamp, and while work is left over.
    pub(crate) fn advance(&mut self, until: Stamp) {
        let mut ticks = 0;
        while let Some(at) = self.shard.next_deadline().filter(|at| *at <= until) {
            self.apply(at, ShardCommand::Tick);
            ticks += 1;
            assert!(ticks < 20_000, "deadlines up to {until:?} come to no end");
        }
    }

    /// Applies a command when everything due before it is done.
    pub(crate) fn calm(&mut self, stamp: Stamp, command: ShardCommand) -> Applied {
        self.advance(stamp);
        let applied = self.apply(stamp, command);
        self.advance(self.now());
        applied
    }

    /// Ticks until nothing is due any more: the world has gone silent.
    pub(crate) fn exhaust(&mut self) {
        self.compares = false;
        self.advance(Stamp(u64::MAX));
        for site in self.shard.sites().collect::<Vec<_>>() {
            let view = self.shard.site_view(site).expect("listed");
            assert_eq!((view.conversations, view.sessions), (0, 0), "P5: {site} keeps something");
            let effects = self.shard.effects(site, None, 1);
            assert_eq!(effects, Some(Vec::new()), "P5: {site} keeps an effect");
        }
    }

    /// The same entries, read back from their bytes, give the same answers, events and digest.
    pub(crate) fn replay(&self) {
        let mut other = empty();
        for (at, (stamp, command)) in self.log.iter().enumerate() {
            let bytes = codec::encode(command, Limit::Entry).expect("fits an entry");
            let command: ShardCommand = codec::decode(&bytes, Limit::Entry).expect("round trip");
            let applied = other.apply(at as u64 + 1, *stamp, wall(*stamp), command);
            assert_eq!(applied, self.given[at], "entry {} is replayed differently", at + 1);
        }
        assert_eq!(other.digest(), self.shard.digest(), "a replay has another digest");
        assert_eq!(other.counters(), self.shard.counters(), "a replay took other steps");
    }
}

/// A shard of three replicas, with nothing in it.
fn empty() -> Shard {
    let mut shard = Shard::new(ShardId(1));
    shard.set_members((1..=3).map(NodeId));
    shard
}

fn wall(stamp: Stamp) -> Wall {
    Wall(1_700_000_000_000 + stamp.0 / 1_000)
}

/// An entry in a line.
fn told(stamp: Stamp, command: &ShardCommand) -> String {
    match command {
        ShardCommand::Site(envelope) => {
            format!("{} {:?} {:?}", stamp.0, envelope.actor, envelope.command)
        }
        other => format!("{} {other:?}", stamp.0),
    }
}
