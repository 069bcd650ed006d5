//! Random histories of two sites, every entry under watch.
//!
//! Each history is bytes that become commands (`chance`), applied by a driver that checks the
//! promises at every entry (`driver`): invariants, the oracle of order and capacity (`oracle`),
//! dense sequences, refusals that change nothing, bounded work. Then what must hold of the whole:
//! the first refusal by precedence wins against an independent listing (`refusals`), a replay from
//! bytes gives the same, and a world gone silent comes to rest by its deadlines alone.
//!
//! A failure prints its history's bytes, and proptest keeps its seed beside this file.

#[path = "history/chance.rs"]
mod chance;
#[path = "history/driver.rs"]
#[allow(dead_code, reason = "shared between test binaries")]
mod driver;
#[path = "history/oracle.rs"]
#[allow(dead_code, reason = "shared between test binaries")]
mod oracle;
#[path = "history/refusals.rs"]
mod refusals;

use std::collections::BTreeMap;

use chance::{Numbers, Step, Wish, set_up, wish};
use driver::Driver;
use proptest::prelude::*;
use proptest::test_runner::FileFailurePersistence;
use refusals::{Expected, Ledger};
use rotary_distributor::Applied;
use rotary_proto::ids::GatewayId;
use rotary_proto::{Envelope, Outcome, ShardCommand, Stamp};

/// One history.
struct History {
    driver: Driver,
    numbers: Numbers,
    ledger: Ledger,
    /// Gateways that renew their leases; the third never does.
    kept: Vec<GatewayId>,
}

impl History {
    fn new(seed: Step) -> Self {
        let mut driver = Driver::new();
        driver.compares = false;
        set_up(&mut driver, seed);
        driver.compares = true;
        let kept = if seed[5] & 15 != 0 { vec![1, 2] } else { vec![1] };
        let gateway = |node| GatewayId { node: rotary_proto::NodeId(node), run: 1 };
        let kept = kept.into_iter().map(gateway).collect();
        Self { driver, numbers: Numbers::default(), ledger: Ledger::default(), kept }
    }

    fn step(&mut self, step: Step) {
        match wish(&self.driver, &mut self.numbers, step) {
            Wish::Wait(ms) => self.wait(self.driver.now().plus_ms(ms)),
            Wish::Calm(command) => {
                self.driver.advance(self.driver.now());
                self.watched(Stamp(self.driver.now().0 + 1), *command);
                self.driver.advance(self.driver.now());
            }
            Wish::Late(us, command) => {
                let stamp = Stamp(self.driver.now().0 + us);
                self.watched(stamp, *command);
            }
        }
    }

    /// Lets time pass; gateways that live renew their leases just before they run out.
    fn wait(&mut self, until: Stamp) {
        loop {
            let mut leases = self.driver.shard.leases();
            let lease = leases.find(|(id, at)| self.kept.contains(id) && *at <= until);
            drop(leases);
            let Some((gateway, at)) = lease else { break };
            self.driver.advance(Stamp(at.0 - 2));
            self.driver.apply(Stamp(at.0 - 1), ShardCommand::RenewLease { gateway });
        }
        self.driver.advance(until);
        if self.driver.now() < until {
            self.driver.apply(until, ShardCommand::Tick);
        }
    }

    /// Applies a command; where nothing was due before it, what comes of it is foretold.
    fn watched(&mut self, stamp: Stamp, command: ShardCommand) {
        let ShardCommand::Site(envelope) = &command else {
            self.driver.apply(stamp, command);
            return;
        };
        let envelope = envelope.clone();
        if !self.driver.is_quiet(stamp) {
            // Everything due is done first, so that the books can be kept.
            self.driver.advance(stamp);
        }
        let stamp = stamp.after(self.driver.now());
        let shard = &self.driver.shard;
        let verdict = self.ledger.expect(shard, &self.driver.oracle, stamp, &envelope);
        let first = self.driver.apply(stamp, command);
        foretold(verdict.expected, &envelope, &first);
        self.ledger.follow(stamp, &envelope, verdict, &first);
    }
}

fn foretold(expected: Expected, envelope: &Envelope, applied: &Applied) {
    let given = match &applied.answer.outcome {
        _ if applied.answer.repeated => Expected::Repeated,
        Outcome::Refused(refusal) => Expected::Refused(refusal.precedence()),
        Outcome::Done(_) => Expected::Done,
    };
    assert_eq!(given, expected, "{envelope:#?}\n{:?}", applied.answer);
}

fn histories(steps: usize) -> impl Strategy<Value = (Step, Vec<Step>)> {
    (any::<Step>(), prop::collection::vec(any::<Step>(), 1..steps))
}

/// That many histories; `ROTARY_HISTORIES` asks for another number of each kind.
fn cases(count: u32) -> ProptestConfig {
    let asked = std::env::var("ROTARY_HISTORIES").ok().and_then(|text| text.parse().ok());
    let count = asked.unwrap_or(count);
    let seeds = FileFailurePersistence::Direct("tests/properties.seeds");
    ProptestConfig {
        cases: count,
        max_shrink_iters: 2_000,
        failure_persistence: Some(Box::new(seeds)),
        ..ProptestConfig::default()
    }
}

proptest! {
    #![proptest_config(cases(160))]

    /// Every promise at every entry, then replay, then silence.
    #[test]
    fn promises_hold_in_any_history((seed, steps) in histories(120)) {
        let mut history = History::new(seed);
        for step in steps {
            history.step(step);
        }
        history.driver.replay();
        history.driver.exhaust();
    }
}

proptest! {
    #![proptest_config(cases(60))]

    /// Entries that come late, in bursts, with nothing ticked in between.
    #[test]
    fn promises_hold_when_ticks_come_late((seed, steps) in histories(120)) {
        let mut history = History::new(seed);
        history.driver.compares = false;
        for mut step in steps {
            step[4] = if step[4] % 2 == 0 { step[4] & 0xf8 } else { step[4] };
            match wish(&history.driver, &mut history.numbers, step) {
                Wish::Wait(ms) => {
                    let stamp = history.driver.now().plus_ms(ms);
                    history.driver.apply(stamp, ShardCommand::Tick);
                }
                Wish::Calm(command) => {
                    history.driver.apply(history.driver.now(), *command);
                }
                Wish::Late(us, command) => {
                    let stamp = Stamp(history.driver.now().0 + us);
                    history.driver.apply(stamp, *command);
                }
            }
        }
        history.driver.replay();
        history.driver.exhaust();
    }
}

/// What random histories must come upon: a property over what never happens proves nothing.
const REACHED: &[&str] = &[
    "Opened",
    "Queued",
    "Offered",
    "Assigned",
    "Released",
    "Held",
    "Retrieved",
    "Posted",
    "WrapUpStarted",
    "Closed",
    "SessionLost",
    "SessionEnded",
    "AgentDeclared",
    "QueueSet",
    "AgentSet",
    "Declined",
    "Expired",
    "AgentNotReady",
    "AgentLost",
    "CustomerLeft",
    "Withdrawn",
    "Abandoned",
    "WaitExpired",
    "Idle",
    "CustomerLost",
    "AgentSignedOut",
    "Requeued",
    "Gateway",
    "repeated",
    "outcome-forgotten",
    "window-full",
    "session-unknown",
    "not-allowed",
    "wrong-site",
    "queue-unknown",
    "skill-unknown",
    "reason-unknown",
    "disposition-unknown",
    "session-taken",
    "conversation-exists",
    "conversation-closed",
    "conversation-unknown",
    "offer-gone",
    "not-yours",
    "agent-away",
    "not-assigned",
    "already-held",
    "not-held",
    "not-in-wrap-up",
    "disposition-required",
    "item-exists",
    "seen-to-required",
];

#[test]
fn histories_reach_everything_that_matters() {
    let (mut state, mut seen) = (0x9E37_79B9_7F4A_7C15_u64, BTreeMap::<String, u32>::new());
    for _ in 0..250 {
        let mut bytes = || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            let [a, b, c, d, e, f, ..] = state.to_le_bytes();
            [a, b, c, d, e, f]
        };
        let mut history = History::new(bytes());
        (0..120).for_each(|_| history.step(bytes()));
        for applied in &history.driver.given {
            let mut note = |word: &str| *seen.entry(word.to_owned()).or_default() += 1;
            match &applied.answer.outcome {
                _ if applied.answer.repeated => note("repeated"),
                Outcome::Refused(refusal) => note(refusal.word()),
                Outcome::Done(_) => {}
            }
            for record in &applied.events {
                let text = format!("{:?}", record.event);
                let words = text.split(|c: char| !c.is_alphanumeric());
                words.filter(|word| REACHED.contains(word)).for_each(&mut note);
            }
        }
    }
    let report: Vec<String> = seen.iter().map(|(word, count)| format!("{word} {count}")).collect();
    let missing: Vec<_> = REACHED.iter().filter(|word| !seen.contains_key(**word)).collect();
    assert!(missing.is_empty(), "never: {missing:?}\nseen: {}", report.join(", "));
}
