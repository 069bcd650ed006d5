//! A crash at every write, a failed sync at every sync, a full disk at every byte.
//!
//! A run plays random steps on a log and on an oracle in memory, and remembers what the oracle held
//! at every batch. Whatever happens to the process or the power, the log that is opened afterwards
//! holds what the oracle held at the last acknowledged batch, or at the one that was on its way.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use super::tests::small;
use super::*;
use crate::contract::{GroupContents, Step, Steps, contents};
use crate::dice::Dice;
use crate::fatal::{EXIT_STORAGE, Fatal};
use crate::memory_log::MemoryLog;
use crate::simulated_disk::SimulatedDisk;

type Contents = BTreeMap<Group, GroupContents>;

/// What the log must hold after a crash: one of these, the first if nothing was on its way.
struct Promise {
    acknowledged: Contents,
    on_its_way: Option<Contents>,
}

/// The steps of one seed, played from process to process.
struct Run {
    disk: SimulatedDisk,
    seed: u64,
    ends: Arc<Mutex<Vec<i32>>>,
    options: SegmentLogOptions,
}

/// How a process came to its end.
enum Outcome {
    Finished(Contents),
    Died(Promise),
}

impl Run {
    fn new(disk: SimulatedDisk, seed: u64) -> Self {
        let ends = Arc::new(Mutex::new(Vec::new()));
        let sink = ends.clone();
        let fatal = Fatal::with(move |code, _| sink.lock().expect("sound").push(code));
        let drive = Drive::Manual(Arc::new(|| {}));
        Self { disk, seed, ends, options: SegmentLogOptions { fatal, drive, ..small() } }
    }

    fn open(&self) -> Result<SegmentLog, SegmentLogError> {
        SegmentLog::open(self.disk.process(), "/log", self.options.clone())
    }

    /// Plays steps until they are done or the process dies.
    fn play(&self, steps: u64) -> Outcome {
        let log = match self.open() {
            Ok(log) => log,
            Err(SegmentLogError::Disk { .. }) => {
                // Nothing was written that was not there before.
                return Outcome::Died(Promise { acknowledged: empty(), on_its_way: None });
            }
            Err(error) => panic!("seed {}: {error}", self.seed),
        };
        self.play_on(&log, steps)
    }

    fn play_on(&self, log: &SegmentLog, count: u64) -> Outcome {
        let oracle = copied(log);
        let mut acknowledged = contents(&oracle);
        let mut steps = Steps::new(self.seed);
        let mut dice = Dice::new(self.seed ^ 77);
        let answers = Arc::new(Answers::default());
        for number in 0..count {
            let step = steps.next(&oracle);
            step.take(&oracle, Box::new(|_| {}));
            let awaited = !matches!(step, Step::Save(..));
            step.take(log, answers.done());
            let is_last = number + 1 == count;
            if !is_last && (dice.roll(3) > 0 || !awaited) {
                continue;
            }
            let batch = contents(&oracle);
            if is_last {
                log.write(0, answers.done(), |_, _| Vec::new());
            }
            log.pump();
            if answers.failed.load(Ordering::Relaxed) > 0 {
                assert_eq!(self.ends.lock().expect("sound").first(), Some(&EXIT_STORAGE));
                self.check_dead(log);
                return Outcome::Died(Promise { acknowledged, on_its_way: Some(batch) });
            }
            acknowledged = batch;
            if self.disk.is_dead() || !self.ends.lock().expect("sound").is_empty() {
                // It died while tidying up, after everything was answered.
                return Outcome::Died(Promise { acknowledged, on_its_way: None });
            }
            if number % 8 == 0 {
                assert_eq!(contents(log), acknowledged, "seed {}", self.seed);
            }
        }
        Outcome::Finished(acknowledged)
    }

    /// A log that has failed acknowledges nothing.
    fn check_dead(&self, log: &SegmentLog) {
        let answers = Arc::new(Answers::default());
        log.save_vote(1, b"late".to_vec(), answers.done());
        log.pump();
        assert_eq!(answers.failed.load(Ordering::Relaxed), 1);
        assert!(log.flush().is_err());
        assert_eq!(answers.given.load(Ordering::Relaxed), 0);
    }

    /// Opens the log and checks the promise.
    fn check(&self, promise: &Promise, when: &str) -> Contents {
        self.ends.lock().expect("sound").clear();
        let log = self.open().unwrap_or_else(|error| panic!("{when}: {error}"));
        let found = contents(&log);
        if Some(&found) != promise.on_its_way.as_ref() {
            assert_eq!(found, promise.acknowledged, "{when}");
        }
        found
    }
}

#[derive(Default)]
struct Answers {
    given: AtomicU64,
    failed: AtomicU64,
}

impl Answers {
    fn done(self: &Arc<Self>) -> Done {
        let answers = self.clone();
        Box::new(move |result: io::Result<()>| {
            let count = if result.is_ok() { &answers.given } else { &answers.failed };
            count.fetch_add(1, Ordering::Relaxed);
        })
    }
}

fn empty() -> Contents {
    contents(&MemoryLog::new())
}

/// An oracle that holds what the log holds.
fn copied(log: &SegmentLog) -> MemoryLog {
    let oracle = MemoryLog::new();
    for (group, (entries, vote, purged, saved)) in contents(log) {
        let done = || -> Done { Box::new(|_| {}) };
        if let Some((through, mark)) = purged {
            oracle.purge(group, through, mark, done());
        }
        oracle.append(group, entries, done());
        if let Some(vote) = vote {
            oracle.save_vote(group, vote, done());
        }
        if let Some(saved) = saved {
            oracle.save_lazily(group, "committed", saved);
        }
    }
    oracle
}

const STEPS: u64 = 160;

/// A seed's whole run without faults, and how many changes of the disk it takes.
fn changes_of(seed: u64) -> (u64, SimulatedDisk) {
    let run = Run::new(SimulatedDisk::new(seed), seed);
    assert!(matches!(run.play(STEPS), Outcome::Finished(_)));
    (run.disk.operations(), run.disk)
}

#[test]
fn the_run_sees_every_part_of_the_log() {
    let (changes, disk) = changes_of(1);
    let files = disk.files();
    assert!(changes > 200, "{changes} changes");
    assert!(files[0].0 > *Path::new("/log/0000000001.segment"), "{files:?}");
    assert!(files.len() >= 3, "{files:?}");
}

#[test]
fn a_crash_at_every_change_loses_nothing_that_was_acknowledged() {
    let (changes, _) = changes_of(1);
    let mut cuts = 0;
    for change in 0..changes {
        for dice in 0..5 {
            let when = format!("change {change}, dice {dice}");
            let run = Run::new(SimulatedDisk::new(1000 * change + dice), 1);
            run.disk.die_after(change);
            let Outcome::Died(promise) = run.play(STEPS) else { panic!("{when}: it lives") };
            if dice == 0 {
                run.disk.kill()
            } else {
                run.disk.power_cut()
            }
            let found = run.check(&promise, &when);
            cuts += u64::from(run.open().expect("opens").was_cut(1).expect("readable"));
            // What was read was durable, whether or not it had been acknowledged.
            run.disk.power_cut();
            let settled = Promise { acknowledged: found, on_its_way: None };
            run.check(&settled, &when);
            // It goes on, and dies again soon.
            run.disk.die_after(10 + change % 37);
            let again = Run { seed: 2 + change, ..run };
            let log = again.open();
            if let Ok(log) = log {
                let outcome = again.play_on(&log, STEPS);
                drop(log);
                again.disk.power_cut();
                match outcome {
                    Outcome::Died(promise) => again.check(&promise, &when),
                    Outcome::Finished(acknowledged) => {
                        again.check(&Promise { acknowledged, on_its_way: None }, &when)
                    }
                };
            } else {
                again.disk.power_cut();
                again.check(&settled, &when);
            }
        }
    }
    assert!(cuts > 20, "{cuts} runs cut a torn end");
}

#[test]
fn a_failed_sync_ends_the_process_and_loses_nothing() {
    let mut failures = 0;
    for sync in 0.. {
        let mut died = false;
        for dice in 0..4 {
            let when = format!("sync {sync}, dice {dice}");
            let run = Run::new(SimulatedDisk::new(1000 * sync + dice), 3);
            run.disk.fail_sync(sync);
            let outcome = run.play(STEPS);
            died = matches!(outcome, Outcome::Died(_));
            let Outcome::Died(promise) = outcome else { break };
            failures += 1;
            // The page cache still has what the disk does not.
            if dice % 2 == 0 {
                run.disk.kill()
            } else {
                run.disk.power_cut()
            }
            let found = run.check(&promise, &when);
            let run = Run { seed: 4, ..run };
            let log = run.open().expect("opens");
            let Outcome::Finished(acknowledged) = run.play_on(&log, 30) else {
                panic!("{when}: it died again")
            };
            drop((log, found));
            run.disk.power_cut();
            run.check(&Promise { acknowledged, on_its_way: None }, &when);
        }
        if !died {
            break;
        }
    }
    assert!(failures > 200, "{failures} failures");
}

#[test]
fn a_disk_that_is_full_at_any_byte_loses_nothing() {
    let (_, whole) = changes_of(5);
    let mut deaths = 0;
    for capacity in (0..whole.used_bytes() + 3000).step_by(61) {
        let when = format!("capacity {capacity}");
        let run = Run::new(SimulatedDisk::new(capacity), 5);
        run.disk.set_capacity(capacity);
        let promise = match run.play(STEPS) {
            Outcome::Finished(acknowledged) => Promise { acknowledged, on_its_way: None },
            Outcome::Died(promise) => {
                deaths += 1;
                promise
            }
        };
        run.disk.power_cut();
        run.disk.set_capacity(u64::MAX);
        run.check(&promise, &when);
    }
    assert!(deaths > 50, "{deaths} deaths");
}
