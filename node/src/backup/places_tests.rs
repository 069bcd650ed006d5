//! A site that moves between three shards, each of which is then taken as of any of its entries:
//! what fits together goes on in another cluster with the site in one place and its story whole;
//! and what was so at one moment always fits together.

use proptest::prelude::*;
use rotary_proto::{
    Actor, Command, Envelope, Name, Origin, Outcome, PrincipalId, ShardCommand, SiteMove, SitePart,
    SiteSettings, SkillId, Stamp, Wall,
};
use rotary_storage::JournalHead;

use super::*;
use crate::machine::site::records;

const SITE: SiteId = SiteId::new(1, 1);
const SHARDS: [ShardId; 3] = [ShardId(1), ShardId(2), ShardId(3)];

/// What a shard is at an index.
#[derive(Clone)]
struct At {
    shard: Shard,
    journal: BTreeMap<u64, u64>,
}

impl At {
    fn base(&self) -> JournalBase {
        JournalBase { head: JournalHead::default(), streams: self.journal.clone() }
    }
}

/// A shard's log: what it was after each entry, from none on.
#[derive(Clone)]
struct Log(Vec<At>);

impl Log {
    fn new(id: ShardId) -> Self {
        Self(vec![At { shard: Shard::new(id), journal: BTreeMap::new() }])
    }

    fn last(&self) -> &At {
        self.0.last().expect("there is one of no entries")
    }

    /// As it was at an index, with nothing behind it.
    fn cut(&self, index: usize) -> Self {
        Self(self.0[..=index].to_vec())
    }

    /// Applies an entry; what it is told is recorded without a hole, as a journal demands.
    fn enter(&mut self, command: ShardCommand) -> Outcome {
        let At { mut shard, mut journal } = self.last().clone();
        let (index, stamp) = (self.0.len() as u64, Stamp(shard.last_stamp().0 + 1));
        let applied = shard.apply(index, stamp, Wall(1), command);
        for record in records(&shard, &applied.events) {
            let last = journal.entry(record.stream).or_default();
            assert_eq!(record.sequence, *last + 1, "of {:x}", record.stream);
            *last = record.sequence;
        }
        self.0.push(At { shard, journal });
        applied.answer.outcome
    }
}

/// Shards, and what the directory says.
#[derive(Clone)]
struct World {
    logs: BTreeMap<ShardId, Log>,
    placed: ShardId,
    /// How many entries each shard had at every moment.
    moments: Vec<[usize; 3]>,
    work: u32,
}

impl World {
    fn new() -> Self {
        let logs = SHARDS.map(|shard| (shard, Log::new(shard))).into();
        let (placed, moments) = (SHARDS[0], vec![[0; 3]]);
        let mut world = Self { logs, placed, moments, work: 0 };
        let settings = SiteSettings::named(Name::new("north").expect("short"));
        world.enter(SHARDS[0], ShardCommand::CreateSite { site: SITE, settings });
        world
    }

    /// Goes on from shards as of some indexes, in another cluster.
    fn restored(&self, at: [usize; 3], home: ShardId) -> Self {
        let cut = |(shard, index): (ShardId, usize)| (shard, self.logs[&shard].cut(index));
        let logs = SHARDS.into_iter().zip(at).map(cut).collect();
        Self { logs, placed: home, moments: Vec::new(), work: 1_000 }
    }

    fn lengths(&self) -> [usize; 3] {
        SHARDS.map(|shard| self.logs[&shard].0.len() - 1)
    }

    fn shard(&self, shard: ShardId) -> &Shard {
        &self.logs[&shard].last().shard
    }

    fn enter(&mut self, shard: ShardId, command: ShardCommand) -> Outcome {
        let outcome = self.logs.get_mut(&shard).expect("there are three").enter(command);
        self.moments.push(self.lengths());
        outcome
    }

    fn step(&mut self, shard: ShardId, step: SiteMove) {
        let outcome = self.enter(shard, ShardCommand::Move(step.clone()));
        assert!(matches!(outcome, Outcome::Done(_)), "{shard}: {step:?}: {outcome:?}");
    }

    /// Something happens in the site, wherever it lives.
    fn work(&mut self) {
        self.work += 1;
        let name = Name::new(format!("skill {}", self.work)).expect("short");
        let command = Command::PutSkill { skill: SkillId(self.work % 50 + 1), name };
        let actor = Actor::Administrator(PrincipalId(1));
        let envelope = Envelope { site: SITE, origin: Origin::Internal, actor, command };
        let lives = SHARDS.into_iter().find(|shard| self.shard(*shard).has(SITE));
        if let Some(shard) = lives {
            let outcome = self.enter(shard, ShardCommand::Site(envelope));
            assert!(matches!(outcome, Outcome::Done(_)), "{outcome:?}");
        }
    }

    /// The next step of the site's way to where it is wanted, as `nodes::mover` takes it; whether
    /// there was one.
    fn drive(&mut self, wanted: Option<ShardId>) -> bool {
        // One that has departed comes first, wherever the directory has it.
        let left = SHARDS.into_iter().find(|shard| self.shard(*shard).departure(SITE).is_some());
        let from = left.filter(|_| wanted.is_none()).unwrap_or(self.placed);
        let departed = self.shard(from).departure(SITE);
        let there = departed.map(|leaving| leaving.to).or(wanted.filter(|to| *to != from));
        let Some(there) = there else { return false };
        if self.shard(there).has(SITE) {
            if self.shard(there).is_unsettled(SITE) {
                let departed = self.shard(there).departures_of(SITE);
                self.step(there, SiteMove::Settle { site: SITE, departed });
            }
            if let Some(leaving) = departed {
                self.step(from, SiteMove::Forget { site: SITE, departed: leaving.number });
            }
            self.placed = there;
            return true;
        }
        let Some(leaving) = departed else {
            let departed = self.shard(from).departures_of(SITE) + 1;
            let depart = SiteMove::Depart { site: SITE, to: there, departed };
            self.step(from, depart);
            return true;
        };
        let departed = leaving.number;
        if wanted != Some(there) || !self.carry(from, there, departed) {
            self.step(there, SiteMove::Decline { site: SITE, departed });
            self.step(from, SiteMove::Return { site: SITE, departed });
        }
        true
    }

    /// Gives the site to the other shard; whether that takes it.
    fn carry(&mut self, from: ShardId, to: ShardId, departed: u64) -> bool {
        let expect = ShardCommand::Move(SiteMove::Expect { site: SITE, from, departed });
        if !matches!(self.enter(to, expect), Outcome::Done(_)) {
            return false;
        }
        let attempt = self.shard(to).expects(SITE).expect("it is expected");
        let frozen = self.shard(from).clone().freeze_departed(SITE).expect("it has departed");
        let mut parts = 0;
        for (number, bytes) in (0..).zip(frozen.chunks()) {
            let part = SitePart { site: SITE, attempt, number, ends_chunk: true, bytes };
            self.step(to, SiteMove::Take(part));
            parts += 1;
        }
        self.step(to, SiteMove::Arrive { site: SITE, attempt, parts });
        assert!(self.shard(to).has(SITE));
        true
    }

    fn bring(&mut self, to: ShardId) {
        for _ in 0..20 {
            let lives = self.shard(to).has(SITE) && self.placed == to;
            let left = SHARDS.into_iter().any(|at| self.shard(at).departure(SITE).is_some());
            if lives && !left {
                return;
            }
            self.drive((!lives).then_some(to));
        }
        panic!("it does not come to {to}");
    }

    fn places(&self, at: [usize; 3]) -> Places {
        let mut places = Places::default();
        for (shard, index) in SHARDS.into_iter().zip(at) {
            let At { shard, .. } = &self.logs[&shard].0[index];
            places.hear(shard, index as u64, &self.logs[&shard.id()].0[index].base());
        }
        places
    }
}

/// What happens next in a history.
#[derive(Debug, Clone)]
enum Happens {
    Work,
    /// From here on it is wanted there, or nowhere else.
    Wanted(Option<ShardId>),
    Step,
}

fn happens() -> impl Strategy<Value = Happens> {
    let shard = (0..3_usize).prop_map(|at| SHARDS[at]);
    prop_oneof![
        2 => Just(Happens::Work),
        1 => proptest::option::of(shard).prop_map(Happens::Wanted),
        4 => Just(Happens::Step),
    ]
}

fn history() -> impl Strategy<Value = Vec<Happens>> {
    proptest::collection::vec(happens(), 1..60)
}

fn happened(history: Vec<Happens>) -> World {
    let (mut world, mut wanted) = (World::new(), None);
    for next in history {
        match next {
            Happens::Work => world.work(),
            Happens::Wanted(to) => wanted = to,
            Happens::Step => _ = world.drive(wanted),
        }
    }
    world
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn what_was_at_one_moment_fits_together(history in history()) {
        let world = happened(history);
        for at in &world.moments {
            let judged = world.places(*at).judge();
            prop_assert_eq!(judged.wrong(), None, "at {:?}", at);
        }
    }

    #[test]
    fn what_fits_together_goes_on_and_the_story_is_whole(
        history in history(),
        cuts in proptest::collection::vec(any::<[prop::sample::Index; 3]>(), 20),
    ) {
        let world = happened(history);
        for cut in cuts {
            let lengths = world.lengths();
            let mut at = lengths;
            at.iter_mut().zip(cut).for_each(|(at, cut)| *at = cut.index(*at + 1));
            let judged = world.places(at).judge();
            let Some(home) = judged.homes.get(&SITE).filter(|_| judged.troubles.is_empty()) else {
                continue;
            };
            for to in SHARDS {
                let mut again = world.restored(at, *home);
                again.work();
                for to in [to, SHARDS[0], SHARDS[1], SHARDS[2], SHARDS[0]] {
                    again.bring(to);
                    again.work();
                    let lives = SHARDS.into_iter().filter(|at| again.shard(*at).has(SITE));
                    prop_assert_eq!(lives.collect::<Vec<_>>(), [to]);
                    prop_assert_eq!(again.places(again.lengths()).judge().wrong(), None);
                }
                let streams = again.logs.values().flat_map(|log| log.last().journal.values());
                let last = again.shard(SHARDS[0]).sequence(SITE);
                prop_assert_eq!(last, Some(streams.sum()), "its story is whole");
            }
        }
    }

    #[test]
    fn those_that_are_behind_are_taken_again_until_all_fits(
        history in history(),
        cut in any::<[prop::sample::Index; 3]>(),
    ) {
        let world = happened(history);
        let lengths = world.lengths();
        let mut at = lengths;
        for (at, cut) in at.iter_mut().zip(cut) {
            *at = cut.index(*at + 1);
        }
        // Nothing moves meanwhile. Each time one more is as late as can be.
        for _ in SHARDS {
            let later = world.places(at).judge().later();
            let before = at;
            for (at, (shard, last)) in at.iter_mut().zip(SHARDS.into_iter().zip(lengths)) {
                *at = if later.contains(&shard) { last } else { *at };
            }
            prop_assert!(later.is_empty() || at != before, "{:?} changes nothing", later);
        }
        prop_assert_eq!(world.places(at).judge().wrong(), None);
    }
}

/// A world in which the site has moved to the second shard; how many entries each had before, when
/// it had departed, when it had come, and at the end.
fn moved() -> (World, [[usize; 3]; 4]) {
    let mut world = World::new();
    world.work();
    let before = world.lengths();
    world.drive(Some(SHARDS[1]));
    let departed = world.lengths();
    world.drive(Some(SHARDS[1]));
    let came = world.lengths();
    world.bring(SHARDS[1]);
    let moments = [before, departed, came, world.lengths()];
    (world, moments)
}

#[test]
fn a_site_in_two_shards_or_in_none_is_named_with_who_is_behind() {
    let (world, [before, departed, came, end]) = moved();
    let judge = |first: usize, second: usize| world.places([first, second, 0]).judge();
    let wrong = |first: usize, second: usize| judge(first, second).wrong().expect("it is wrong");
    assert_eq!(
        wrong(before[0], came[1]),
        format!(
            "st_1.1 is in sh_2 at index {} and in sh_1 at index {}: sh_1 would have to be of a \
             later moment",
            came[1], before[0]
        )
    );
    assert_eq!(
        wrong(end[0], departed[1]),
        format!(
            "st_1.1 left sh_1 at index {} and did not come to sh_2 at index {}: sh_2 would have to \
             be of a later moment",
            end[0], departed[1]
        )
    );
    for (first, second, home) in [
        (before[0], before[1], 1),
        (before[0], departed[1], 1),
        (departed[0], departed[1], 1),
        (departed[0], came[1], 1),
        (end[0], came[1], 2),
    ] {
        let judged = judge(first, second);
        assert_eq!(judged.wrong(), None, "{first} {second}");
        assert_eq!(judged.homes, [(SITE, ShardId(home))].into(), "{first} {second}");
    }
    // Shards that began after the directory was taken.
    let mut places = world.places(end);
    places.shards.remove(&SHARDS[1]);
    let judged = places.judge();
    assert_eq!(judged.later(), [DIRECTORY].into(), "{judged:?}");
}

#[test]
fn a_site_that_the_directory_does_not_know_is_named() {
    let (world, [.., end]) = moved();
    let mut places = world.places(end);
    places.hear_directory(&Directory::new(), 4);
    let judged = places.judge();
    assert_eq!(judged.later(), [DIRECTORY].into());
    let wrong = judged.wrong().expect("it is wrong");
    assert!(wrong.contains("st_1.1 is in sh_2 at index"), "{wrong}");
    assert!(wrong.contains("and not in sh_0 at index 4"), "{wrong}");
}
