//! A site that moves to another shard goes on as if it had stayed; and it never lives twice,
//! whoever brings the steps about dies, comes twice or comes late.

#[path = "history/chance.rs"]
mod chance;
#[path = "history/driver.rs"]
#[allow(dead_code, reason = "shared between test binaries")]
mod driver;
#[path = "history/oracle.rs"]
#[allow(dead_code, reason = "shared between test binaries")]
mod oracle;

use chance::{Numbers, SITES, Step, Wish, set_up, wish};
use driver::Driver;
use driver::twin::restore;
use proptest::prelude::*;
use proptest::test_runner::FileFailurePersistence;
use rotary_distributor::{Applied, Leaving, Shard, invariants};
use rotary_proto::effect::EffectTarget;
use rotary_proto::ids::*;
use rotary_proto::outcome::Answer;
use rotary_proto::{
    Command, Envelope, Event, EventRecord, Outcome, ShardCommand, SiteMove, SitePart, Stamp, Wall,
    limits,
};

const SITE: SiteId = SITES[0];
/// The log indexes of what a history does; what moves a site has lower ones.
const FIRST: u64 = 1_000_000;

/// A shard and the number of its next entry.
#[derive(Clone)]
struct Log {
    shard: Shard,
    index: u64,
}

impl Log {
    /// Everyone has the same id, so that ids of effects are the same in either story.
    fn new() -> Self {
        Self { shard: Shard::new(ShardId(1)), index: 0 }
    }

    fn at(&mut self, stamp: Stamp, command: ShardCommand) -> Applied {
        self.index += 1;
        let applied = self.shard.apply(self.index, stamp, Wall(1), command);
        assert_eq!(invariants::check(&self.shard), []);
        applied
    }

    /// Does a step of a move, at the next moment.
    fn step(&mut self, step: SiteMove) -> Applied {
        let stamp = Stamp(self.shard.last_stamp().0 + 1);
        self.at(stamp, ShardCommand::Move(step))
    }

    fn done(&mut self, step: SiteMove) -> Applied {
        let applied = self.step(step.clone());
        assert!(matches!(applied.answer.outcome, Outcome::Done(_)), "{step:?}: {applied:?}");
        applied
    }

    fn refused(&mut self, step: SiteMove) -> &'static str {
        let applied = self.step(step.clone());
        assert!(applied.events.is_empty());
        match applied.answer.outcome {
            Outcome::Refused(refusal) => refusal.word(),
            Outcome::Done(_) => panic!("{step:?} was done"),
        }
    }

    /// Goes on from a snapshot of itself.
    fn restart(&mut self) {
        let digest = self.shard.digest();
        let chunks: Vec<_> = self.shard.freeze().chunks().collect();
        self.shard = restore(&self.shard, &chunks).expect("what was frozen can be restored");
        assert_eq!(self.shard.digest(), digest);
        assert!(self.shard.freeze().chunks().eq(chunks), "it freezes to the same");
    }

    fn digest(&self) -> u128 {
        self.shard.digest()
    }

    /// Puts together what has come, ahead of the entry that needs it.
    fn put_together(&mut self) {
        let mut assembly = self.shard.assembly().expect("it is expected");
        while !assembly.is_whole() {
            let parts = self.shard.parts_for(&assembly, 3).expect("it is expected");
            for part in parts {
                assembly = assembly.take(&part).expect("it can be read");
            }
        }
        self.shard.put_assembled(assembly.finish().expect("it is whole"));
    }

    fn leaving(&self) -> Leaving {
        self.shard.departure(SITE).expect("it has departed")
    }

    /// The parts of a site that has departed, of at most that many bytes.
    fn parts(&mut self, attempt: u64, most: usize) -> Vec<SitePart> {
        let frozen = self.shard.freeze_departed(SITE).expect("it has departed");
        let mut parts = Vec::new();
        for chunk in frozen.chunks() {
            let pieces = chunk.chunks(most).count();
            for (at, bytes) in chunk.chunks(most).enumerate() {
                let (number, ends_chunk) = (parts.len() as u32, at + 1 == pieces);
                let bytes = bytes.to_vec();
                parts.push(SitePart { site: SITE, attempt, number, ends_chunk, bytes });
            }
        }
        parts
    }
}

const FROM: ShardId = ShardId(1);
const TO: ShardId = ShardId(2);

const fn depart(departed: u64) -> SiteMove {
    SiteMove::Depart { site: SITE, to: TO, departed }
}

const fn expect(departed: u64) -> SiteMove {
    SiteMove::Expect { site: SITE, from: FROM, departed }
}

const fn decline(departed: u64) -> SiteMove {
    SiteMove::Decline { site: SITE, departed }
}

/// All of the parts have come.
fn arrive(parts: &[SitePart]) -> SiteMove {
    SiteMove::Arrive { site: SITE, attempt: parts[0].attempt, parts: parts.len() as u32 }
}

/// Moves the site, with restarts on the way; the event that says so.
fn moved(from: &mut Log, to: &mut Log, most: usize) -> EventRecord {
    let number = from.shard.departures_of(SITE) + 1;
    if from.shard.departure(SITE).is_none() {
        from.done(depart(number));
    }
    from.restart();
    to.done(expect(from.leaving().number));
    let attempt = to.shard.expects(SITE).expect("it is expected");
    let parts = from.parts(attempt, most);
    for (at, part) in parts.iter().enumerate() {
        if at % 7 == 3 {
            to.restart();
        }
        to.done(SiteMove::Take(part.clone()));
        to.done(SiteMove::Take(part.clone()));
    }
    let mut late = to.clone();
    to.put_together();
    let arrived = to.done(arrive(&parts));
    assert_eq!((late.done(arrive(&parts)), late.shard.digest()), (arrived.clone(), to.digest()));
    to.restart();
    assert!(to.shard.has(SITE) && !from.shard.has(SITE));
    let departed = from.leaving().number;
    let forget = |departed| SiteMove::Forget { site: SITE, departed };
    assert_eq!(from.refused(forget(departed + 1)), "bad-value", "of another departure");
    from.done(forget(departed));
    from.done(forget(departed));
    from.restart();
    assert_eq!(from.shard.gone_to(SITE), Some(TO));
    to.done(SiteMove::Settle { site: SITE, departed });
    let [event] = arrived.events.as_slice() else { panic!("{arrived:?}") };
    assert!(matches!(event.event, Event::SiteMoved { .. }));
    event.clone()
}

/// What the site did by one entry, as it would be told had it never moved at that sequence.
fn told(applied: &Applied, moved_at: u64) -> (Vec<EventRecord>, Outcome, u64) {
    let shifted = |sequence: u64| if sequence >= moved_at { sequence - 1 } else { sequence };
    let ours = applied.events.iter().filter(|record| record.site == SITE);
    let ours = ours.cloned().map(|mut record| {
        record.sequence = shifted(record.sequence);
        if let Event::EffectEnded { sequence, target, .. } = &mut record.event {
            *sequence = shifted(*sequence);
            if let EffectTarget::Mail { opened, .. } = target {
                *opened = shifted(*opened);
            }
        }
        record
    });
    (ours.collect(), applied.answer.outcome.clone(), shifted(applied.answer.sequence))
}

/// Whether an entry concerns the site, or all sites.
fn concerns(command: &ShardCommand) -> bool {
    match command {
        ShardCommand::Site(envelope) => envelope.site == SITE,
        ShardCommand::CreateSite { site, .. } => *site == SITE,
        ShardCommand::JournalMark { .. } => false,
        _ => true,
    }
}

fn renew(driver: &mut Driver) {
    for (gateway, _) in driver.shard.leases().collect::<Vec<_>>() {
        driver.apply(Stamp(driver.now().0 + 1), ShardCommand::RenewLease { gateway });
    }
}

/// The gateway that an attachment to the other site proves to live.
fn lives(command: &ShardCommand) -> Option<GatewayId> {
    match command {
        ShardCommand::Site(Envelope { command: Command::Attach { gateway, .. }, .. }) => {
            Some(*gateway)
        }
        _ => None,
    }
}

/// A history, and how many of its entries come before the move; leases are renewed behind it.
fn history(seed: Step, steps: Vec<Step>, cut: usize) -> (Vec<(Stamp, ShardCommand)>, usize) {
    let mut driver = Driver::new();
    driver.compares = false;
    set_up(&mut driver, seed);
    let (mut numbers, mut before) = (Numbers::default(), driver.log.len());
    for (at, step) in steps.into_iter().enumerate() {
        if at == cut {
            renew(&mut driver);
            before = driver.log.len();
            driver.apply(Stamp(driver.now().0 + 1_000), ShardCommand::Tick);
            renew(&mut driver);
        }
        match wish(&driver, &mut numbers, step) {
            Wish::Wait(ms) => driver.advance(driver.now().plus_ms(ms)),
            Wish::Calm(command) => drop(driver.calm(driver.now(), *command)),
            Wish::Late(us, command) => drop(driver.apply(Stamp(driver.now().0 + us), *command)),
        }
    }
    driver.exhaust();
    (driver.log, before)
}

fn cases(count: u32) -> ProptestConfig {
    let asked = std::env::var("ROTARY_HISTORIES").ok().and_then(|text| text.parse().ok());
    let seeds = FileFailurePersistence::Direct("tests/moves.seeds");
    ProptestConfig {
        cases: asked.unwrap_or(count),
        max_shrink_iters: 500,
        failure_persistence: Some(Box::new(seeds)),
        ..ProptestConfig::default()
    }
}

proptest! {
    #![proptest_config(cases(80))]

    /// Events, answers, deadlines and what is seen are those of a site that stayed, whatever the
    /// clock of the other shard says.
    #[test]
    fn a_site_that_moves_goes_on_as_if_it_had_stayed(
        seed in any::<Step>(),
        steps in prop::collection::vec(any::<Step>(), 2..100),
        cut in any::<prop::sample::Index>(),
        ahead in 0..4_000_000_000u64,
        most in 40..4_000usize,
    ) {
        let cut = cut.index(steps.len());
        let (log, before) = history(seed, steps, cut);
        let mut stays = Log { index: FIRST, ..Log::new() };
        for (stamp, command) in &log[..before] {
            stays.at(*stamp, command.clone());
        }
        let (mut from, mut to) = (stays.clone(), Log::new());
        to.at(Stamp(ahead + 1), ShardCommand::Tick);
        let replicas = from.shard.view().replicas.clone();
        let stood = from.shard.last_stamp();
        to.at(Stamp(ahead + 2), ShardCommand::SetView { replicas });
        let version = from.shard.logic_version();
        to.at(Stamp(ahead + 3), ShardCommand::RaiseVersion { version });
        let event = moved(&mut from, &mut to, most);
        // Departing is an entry, and so one microsecond; coming is another.
        prop_assert_eq!(event.stamp, Stamp(stood.0 + 2));
        let arrived = to.shard.last_stamp().0 - 1;
        to.index = stays.index;
        for (stamp, command) in &log[before..] {
            let stayed = stays.at(*stamp, command.clone());
            let there = Stamp(arrived + (stamp.0 - event.stamp.0));
            if !concerns(command) {
                match (lives(command), &stayed.answer) {
                    (Some(gateway), Answer { outcome: Outcome::Done(_), repeated: false, .. }) => {
                        drop(to.at(there, ShardCommand::RenewLease { gateway }));
                    }
                    _ => to.index += 1,
                }
                continue;
            }
            let moved = to.at(there, command.clone());
            prop_assert_eq!(told(&moved, event.sequence), told(&stayed, u64::MAX), "{:?}", command);
        }
        let views = |shard: &Shard| {
            let conversations = shard.conversation_views(SITE, None, usize::MAX);
            (conversations, shard.agent_views(SITE, None, usize::MAX), shard.queue_views(SITE))
        };
        prop_assert_eq!(views(&to.shard), views(&stays.shard));
    }
}

/// A site with something in it, after a history.
fn busy() -> Log {
    let steps = (0..60u8).map(|at| [at, at.wrapping_mul(37), at ^ 0x55, at / 3, 7, 1]);
    let (log, _) = history([7, 3, 200, 11, 5, 31], steps.collect(), 0);
    let mut shard = Log { index: FIRST, ..Log::new() };
    for (stamp, command) in &log[..log.len() / 2] {
        shard.at(*stamp, command.clone());
    }
    shard
}

#[test]
fn who_asks_a_site_that_left_is_told_where_it_went() {
    let (mut from, mut to) = (busy(), Log::new());
    let settings = from.shard.site_view(SITE).expect("it is there").settings;
    let create = || ShardCommand::CreateSite { site: SITE, settings: settings.clone() };
    let told = |log: &mut Log| match log.at(Stamp(0), create()).answer.outcome {
        Outcome::Refused(refusal) => refusal.word(),
        Outcome::Done(_) => "done",
    };
    assert_eq!(from.refused(depart(2)), "bad-value", "it is to be the first");
    from.done(depart(1));
    let away = (from.shard.next_deadline(), told(&mut from), from.shard.gone_to(SITE));
    from.done(depart(1));
    let elsewhere = SiteMove::Depart { site: SITE, to: ShardId(3), departed: 1 };
    assert_eq!((away.1, away.2, from.refused(elsewhere)), ("site-away", Some(TO), "site-away"));
    assert_eq!(from.shard.effects(SITE, None, 9), None, "they are for the other shard to perform");
    moved(&mut from, &mut to, 4_000);
    assert_eq!((told(&mut from), told(&mut to)), ("site-away", "done"));
    assert_eq!(to.shard.stays(SITE).len(), 2);
}

#[test]
fn a_site_goes_to_and_fro() {
    let (mut one, mut other) = (busy(), Log::new());
    let digest = |log: &Log| log.shard.conversation_views(SITE, None, usize::MAX);
    let before = digest(&one);
    for round in 1..=3 {
        moved(&mut one, &mut other, 900);
        assert_eq!((one.shard.has(SITE), one.shard.gone_to(SITE)), (false, Some(TO)));
        moved(&mut other, &mut one, 900);
        assert_eq!((one.shard.has(SITE), one.shard.gone_to(SITE)), (true, None));
        assert_eq!(one.shard.stays(SITE).len(), 1 + round * 2);
    }
    let ids = |views: Option<Vec<rotary_proto::query::ConversationView>>| {
        views.expect("it is there").into_iter().map(|view| view.conversation).collect::<Vec<_>>()
    };
    assert_eq!(ids(digest(&one)), ids(before));
}

#[test]
fn a_site_that_is_not_taken_returns_once_it_is_declined() {
    let (mut from, mut to) = (busy(), Log::new());
    from.done(depart(1));
    let departed = from.leaving().number;
    to.done(expect(departed));
    let attempt = to.shard.expects(SITE).expect("it is expected");
    let mut parts = from.parts(attempt, 700);
    let wrong = SitePart { attempt: attempt + 1, ..parts[0].clone() };
    assert_eq!(to.refused(SiteMove::Take(wrong)), "bad-value");
    let far = SitePart { number: limits::PARTS_AHEAD_MAX, ..parts[0].clone() };
    assert_eq!(to.refused(SiteMove::Take(far)), "bad-value");
    parts[1].bytes[5] ^= 1;
    assert_eq!(to.refused(arrive(&parts)), "bad-value", "nothing has come");
    parts.iter().for_each(|part| drop(to.done(SiteMove::Take(part.clone()))));
    let few = SiteMove::Arrive { site: SITE, attempt, parts: parts.len() as u32 + 1 };
    assert_eq!(to.refused(few), "bad-value", "one has not come");
    assert!(to.shard.expects(SITE).is_some());
    assert_eq!(to.refused(arrive(&parts)), "bad-value", "what is damaged is not taken");
    assert!(!to.shard.has(SITE));
    assert_eq!(to.shard.expects(SITE), None);
    to.done(decline(departed));
    assert_eq!(to.refused(expect(departed)), "bad-value");
    to.restart();
    assert_eq!(to.refused(expect(departed)), "bad-value");
    let back = |departed| SiteMove::Return { site: SITE, departed };
    assert_eq!(from.refused(back(departed + 1)), "bad-value", "of another departure");
    from.done(back(departed));
    from.done(back(departed));
    assert!(from.shard.has(SITE));
    moved(&mut from, &mut to, 5_000);
    assert_eq!(to.refused(decline(departed + 1)), "bad-value", "it lives here");
    assert_eq!(from.refused(back(departed)), "site-away");
}

/// Where a site went on from, nobody is told that it never came.
#[test]
fn what_was_taken_cannot_be_declined_afterwards() {
    let (mut one, mut two, mut three) = (busy(), Log::new(), Log::new());
    moved(&mut one, &mut two, 5_000);
    moved(&mut two, &mut three, 5_000);
    assert!(!two.shard.has(SITE) && three.shard.has(SITE));
    for restarted in [false, true] {
        if restarted {
            two.restart();
        }
        assert_eq!(two.refused(decline(1)), "bad-value", "it lived here");
    }
    two.done(decline(3));
    two.done(decline(3));
    assert_eq!(two.refused(expect(3)), "bad-value", "it was declined");
}

#[test]
fn a_part_that_made_applying_panic_is_not_offered_again() {
    let (mut from, mut to) = (busy(), Log::new());
    from.done(depart(1));
    to.done(expect(1));
    let attempt = to.shard.expects(SITE).expect("it is expected");
    let part = from.parts(attempt, 2_000).remove(0);
    let take = ShardCommand::Move(SiteMove::Take(part));
    to.index += 1;
    to.shard.refuse_poisoned(to.index, Stamp(9_999), Some(&take));
    assert_eq!((to.shard.expects(SITE), to.refused(expect(1))), (None, "bad-value"));
}

#[test]
fn parts_may_overtake_one_another() {
    let (mut from, mut to) = (busy(), Log::new());
    from.done(depart(1));
    to.done(expect(1));
    let attempt = to.shard.expects(SITE).expect("it is expected");
    let parts = from.parts(attempt, 2_000);
    for few in parts.chunks(8) {
        few.iter().rev().for_each(|part| drop(to.done(SiteMove::Take(part.clone()))));
        to.restart();
    }
    to.done(arrive(&parts));
    assert!(to.shard.has(SITE));
}

/// Steps that come late, twice, or from somebody who knows nothing of the others.
fn steps() -> impl Strategy<Value = Vec<(u8, u8)>> {
    prop::collection::vec((0..9u8, 0..3u8), 1..60)
}

proptest! {
    #![proptest_config(cases(200))]

    /// Among three shards, whatever is asked of them in whatever order, the site lives in one at
    /// most, and its state is somewhere.
    #[test]
    fn it_never_lives_twice_and_is_never_lost(steps in steps()) {
        let mut logs = [busy(), Log::new(), Log::new()];
        let mut known: Vec<(ShardId, u64, Vec<SitePart>)> = Vec::new();
        for (at, log) in logs.iter_mut().enumerate() {
            let id = ShardId(at as u32 + 1);
            log.shard = renamed(&log.shard, id);
        }
        for (what, which) in steps {
            let at = usize::from(which);
            let to = ShardId(u32::from((which + what % 2 + 1) % 3) + 1);
            let step = match what {
                0 | 1 => {
                    let departed = logs[at].shard.departures_of(SITE) + 1;
                    SiteMove::Depart { site: SITE, to, departed }
                }
                2 | 3 => match departed(&logs) {
                    Some((from, left)) if left.to == logs[at].shard.id() => {
                        // One that is late by some departures, or not.
                        let departed = left.number.saturating_sub(u64::from(what - 2));
                        SiteMove::Expect { site: SITE, from, departed }
                    }
                    _ => continue,
                },
                4 | 5 => {
                    let Some(attempt) = logs[at].shard.expects(SITE) else { continue };
                    let from = (0..3).find(|from| logs[*from].shard.departure(SITE).is_some());
                    if let Some(from) = from {
                        let id = logs[from].shard.id();
                        known.push((id, attempt, logs[from].parts(attempt, 60_000)));
                    }
                    for (_, _, parts) in known.clone() {
                        for part in &parts {
                            logs[at].step(SiteMove::Take(part.clone()));
                        }
                        logs[at].step(arrive(&parts));
                    }
                    continue;
                }
                6 => SiteMove::Decline { site: SITE, departed: u64::from(which) + 1 },
                // These are asked only of who may be asked.
                7 => match leaving(&logs[at]) {
                    Some(left) if logs[left.to.0 as usize - 1].shard.has(SITE) => {
                        SiteMove::Forget { site: SITE, departed: left.number }
                    }
                    _ => continue,
                },
                _ => match leaving(&logs[at]) {
                    Some(left) => {
                        let there = &mut logs[left.to.0 as usize - 1];
                        let declined = there.step(decline(left.number)).answer.outcome;
                        if matches!(declined, Outcome::Refused(_)) {
                            continue;
                        }
                        SiteMove::Return { site: SITE, departed: left.number }
                    }
                    None => continue,
                },
            };
            logs[at].step(step);
            logs[at].restart();
            let lives = logs.iter().filter(|log| log.shard.has(SITE)).count();
            let kept = logs.iter().filter(|log| log.shard.departure(SITE).is_some()).count();
            prop_assert!(lives <= 1 && lives + kept >= 1, "{lives} live, {kept} have departed");
        }
    }
}

fn leaving(log: &Log) -> Option<Leaving> {
    log.shard.departure(SITE)
}

/// Where it has departed.
fn departed(logs: &[Log]) -> Option<(ShardId, Leaving)> {
    logs.iter().find_map(|log| Some((log.shard.id(), leaving(log)?)))
}

/// The same state in a shard of another id.
fn renamed(shard: &Shard, id: ShardId) -> Shard {
    if shard.id() == id {
        return shard.clone();
    }
    assert_eq!(shard.sites().count(), 0, "only an empty one is another");
    Shard::new(id)
}
