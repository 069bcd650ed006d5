//! Backups that nodes make by themselves: `backup.to` says where, `backup.every` how often.
//!
//! Every core node looks at the store from time to time and says how old the newest finished run
//! is. Whoever leads the directory makes one when it is time. Nothing depends on there being only
//! one such node: each run is in a folder of its own, counts once its manifest is there, and a node
//! that does not lead any more, which a majority says, gives its run up. The store is what is
//! remembered; the next leader goes on from there. A node whose run failed makes the next after a
//! pause that doubles, up to the time between two runs.
//!
//! How old the newest run is is told by a task of its own, which asks nobody: a store that says
//! nothing for ever does not keep that from being noticed.
//!
//! What is older is removed once a newer run was read back and finished: finished ones beyond
//! `backup.keep`, and half ones, whose makers died or gave up. Runs that nodes did not make are
//! left alone.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use futures::future::BoxFuture;
use futures::{FutureExt as _, TryStreamExt as _};
use metrics::{counter, gauge};
use rotary_proto::{ShardId, Wall};

use crate::background;
use crate::backup::failure::BackupFailure;
use crate::backup::making::Making;
use crate::backup::manifest::{Maker, Manifest, RunName};
use crate::backup::pace::Pace;
use crate::backup::run::{Run, runs};
use crate::backup::store::{self, Access, OBJECTS_MAX, Store};
use crate::config::{Backup, Config};
use crate::gateway::backups::{entries_of, source};
use crate::gateway::doors::Doors;
use crate::gateway::token::unix_ms;
use crate::replica::DIRECTORY;
use crate::telemetry::names;

/// How often the store is looked at: a twelfth of the time between runs, within these.
const LOOK_MIN: Duration = Duration::from_secs(1);
const LOOK_MAX: Duration = Duration::from_secs(60);
/// How long a store may take to say what it has. It is not asked again before it has.
const STORE_PATIENCE: Duration = Duration::from_secs(60);
/// Runs that may be in the store beside those that are kept: the one that is being made, and what
/// attempts left.
const RUNS_BESIDE: usize = 8;
/// How long a majority may take to say that this node leads.
const LEAD_PATIENCE: Duration = Duration::from_secs(2);
/// How far a maker's clock may be ahead, for its runs to count as made.
const AHEAD: Duration = Duration::from_secs(300);

/// How the backups of this cluster are doing, as this node sees it.
pub(crate) struct Standing {
    /// `None` where no schedule is set.
    pub(crate) plan: Option<Plan>,
    began: Instant,
    seen: Mutex<Seen>,
    /// Whether no site is to depart.
    holds_moves: AtomicBool,
}

/// No site departs, as far as this node brings that about, until this goes.
pub(crate) struct Hold(Arc<Standing>);

impl Drop for Hold {
    fn drop(&mut self) {
        self.0.holds_moves.store(false, Ordering::Release);
    }
}

/// What a node has seen.
#[derive(Debug, Clone, Default)]
pub(crate) struct Seen {
    /// The newest finished run.
    pub(crate) last: Option<(RunName, Manifest)>,
    /// The run that this node makes, and the shard that it is at.
    pub(crate) running: Option<(RunName, ShardId)>,
    /// Why this node's last look or run failed; none, since one went well.
    pub(crate) failed: Option<String>,
}

/// What is to be done.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    /// The store.
    pub(crate) to: String,
    pub(crate) every: Duration,
    /// Finished runs.
    pub(crate) keep: usize,
    pub(crate) bytes_per_second: u64,
}

impl Standing {
    /// As the configuration has it; nothing was seen yet.
    pub(crate) fn of(section: &Backup) -> Arc<Self> {
        let plan = section.every().filter(|_| !section.to.is_empty()).map(|every| Plan {
            to: section.to.clone(),
            every,
            keep: section.keep,
            bytes_per_second: section.bytes_per_second,
        });
        let (began, seen, holds_moves) = (Instant::now(), Mutex::default(), AtomicBool::new(false));
        Arc::new(Self { plan, began, seen, holds_moves })
    }

    /// Has sites stay where they are. Who leads the directory makes runs and brings moves about, so
    /// both end with it; a run does not need this to be right, only to come to an end.
    fn hold_moves(self: &Arc<Self>) -> Hold {
        self.holds_moves.store(true, Ordering::Release);
        Hold(self.clone())
    }

    /// Whether sites are to stay where they are.
    pub(crate) fn holds_moves(&self) -> bool {
        self.holds_moves.load(Ordering::Acquire)
    }

    /// What was seen.
    pub(crate) fn seen(&self) -> Seen {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn note(&self, change: impl FnOnce(&mut Seen)) {
        change(&mut self.seen.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// How old the newest finished run is; as old as this node's run, where there is none.
    pub(crate) fn age(&self) -> Duration {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        match &seen.last {
            Some((name, _)) => Duration::from_millis(unix_ms().saturating_sub(name.wall.0)),
            None => self.began.elapsed(),
        }
    }
}

/// Starts looking, where there is a schedule.
pub(crate) fn start(config: &Config, doors: &Doors) {
    let Some(plan) = doors.backups.plan.clone() else { return };
    tokio::spawn(tell(doors.backups.clone(), plan.clone()));
    let (section, doors) = (config.backup.clone(), doors.clone());
    let resting = Resting::default();
    tokio::spawn(Schedule { section, plan, doors, resting }.keep());
}

/// Says how old the newest run is, as long as the node runs.
async fn tell(backups: Arc<Standing>, plan: Plan) {
    let mut is_late = false;
    loop {
        let (age, was_late) = (backups.age(), is_late);
        is_late = age > plan.every * 2;
        if is_late && !was_late {
            let hours = age.as_secs() / 3_600;
            tracing::warn!(code = "backup-late", hours, "the newest backup is old");
        }
        gauge!(names::BACKUP_AGE).set(age.as_secs_f64());
        gauge!(names::BACKUP_EVERY).set(plan.every.as_secs_f64());
        if let Some((_, manifest)) = backups.seen().last {
            gauge!(names::BACKUP_BYTES).set(manifest.bytes() as f64);
            gauge!(names::BACKUP_SECONDS).set(manifest.ms as f64 / 1_000.0);
        }
        tokio::time::sleep(plan.pause()).await;
    }
}

/// A look that the store has not answered yet, of which comes the store, as it was opened, and its
/// newest finished run.
type Looking = Option<BoxFuture<'static, Result<Found, String>>>;
type Found = (Arc<dyn Store>, Option<(RunName, Manifest)>);

struct Schedule {
    section: Backup,
    plan: Plan,
    doors: Doors,
    resting: Resting,
}

/// The pause after runs that failed.
#[derive(Debug, Default)]
struct Resting {
    /// How many did, one after the other.
    failures: u32,
    /// When the next may begin.
    until: Option<Instant>,
}

impl Resting {
    /// After a run, made or not, from this moment on; what the pause is.
    fn note(&mut self, is_made: bool, plan: &Plan, now: Instant) -> Option<Duration> {
        if is_made {
            *self = Self::default();
            return None;
        }
        let pause = plan.pause() * 2u32.saturating_pow(self.failures.min(20));
        let pause = pause.min(plan.every);
        self.failures = self.failures.saturating_add(1);
        self.until = Some(now + pause);
        Some(pause)
    }

    fn is_over(&self, now: Instant) -> bool {
        self.until.is_none_or(|until| until <= now)
    }
}

impl Plan {
    /// Between two looks at the store.
    fn pause(&self) -> Duration {
        (self.every / 12).clamp(LOOK_MIN, LOOK_MAX)
    }

    /// Refuses to keep more than a list of the store may have, where a run has two files for each
    /// of so many data shards.
    fn check(&self, data_shards: u32) -> Result<(), String> {
        // The directory's, and the manifest.
        let files = 2 * (data_shards as usize + 1) + 1;
        let most = (OBJECTS_MAX / files).saturating_sub(RUNS_BESIDE);
        if self.keep <= most {
            return Ok(());
        }
        Err(format!(
            "backup.keep is {} runs of {files} files each, and a store has {OBJECTS_MAX} objects \
             at most: keep {most} or fewer",
            self.keep
        ))
    }
}

/// Does something that blocks, behind everything else that this machine does.
async fn behind<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, BackupFailure> + Send + 'static,
) -> Result<T, String> {
    let done = crate::blocking::run(|| background::begun_behind(work)).await;
    done.map_err(|error| error.to_string())?.map_err(|error| error.to_string())
}

impl Schedule {
    async fn keep(mut self) {
        let (mut why, mut looking) = (None, Looking::default());
        loop {
            let store = match self.look(&mut looking).await {
                Ok(store) => Some(store),
                Err(error) => {
                    why = Some(failed(error));
                    None
                }
            };
            if let Some(store) = store {
                match self.run(store).await {
                    // It rests after one that failed, and goes on saying why.
                    Ok(Turn::Rests) => {}
                    Ok(Turn::Fine) => why = None,
                    Err(error) => why = Some(failed(error)),
                }
            }
            self.doors.backups.note(|seen| seen.failed.clone_from(&why));
            tokio::time::sleep(self.plan.pause()).await;
        }
    }

    /// Finds the newest finished run. The store is opened anew each time: keys may have changed.
    async fn look(&self, looking: &mut Looking) -> Result<Arc<dyn Store>, String> {
        let Self { section, plan, doors, .. } = self;
        let begin = || {
            let (place, access) = (plan.to.clone(), Access::of(section));
            let (known, cluster) = (doors.backups.seen().last, doors.cluster.clone());
            behind(move || {
                let store = store::open(&place, &access)?;
                let newest = newest(&*store, known, &cluster)?;
                Ok((store, newest))
            })
            .boxed()
        };
        let Some(found) = in_time(looking, STORE_PATIENCE, begin).await else {
            let (to, seconds) = (&self.plan.to, STORE_PATIENCE.as_secs());
            return Err(format!("{to}: it has not answered for {seconds} s or longer"));
        };
        let (store, newest) = found?;
        self.doors.backups.note(|seen| seen.last = newest);
        Ok(store)
    }

    /// Makes a run if it is time to and this node is to.
    async fn run(&mut self, store: Arc<dyn Store>) -> Result<Turn, String> {
        if !self.is_due() || !self.leads().await {
            return Ok(Turn::Fine);
        }
        if !self.resting.is_over(Instant::now()) {
            return Ok(Turn::Rests);
        }
        let made = self.make(&store).await;
        self.doors.backups.note(|seen| seen.running = None);
        let pause = self.resting.note(made.is_ok(), &self.plan, Instant::now());
        if let Some(pause) = pause {
            tracing::debug!(seconds = pause.as_secs(), "the next backup is not begun before");
        }
        let (name, manifest) = made?;
        let (bytes, ms) = (manifest.bytes(), manifest.ms);
        tracing::info!(run = %name, bytes, ms, "a backup is complete");
        self.doors.backups.note(|seen| seen.last = Some((name.clone(), manifest)));
        let keep = self.plan.keep;
        behind(move || clean(&*store, &name, keep)).await?;
        Ok(Turn::Fine)
    }

    fn is_due(&self) -> bool {
        let last = self.doors.backups.seen().last;
        last.is_none() || self.doors.backups.age() >= self.plan.every
    }

    /// Whether this node leads the directory, by the word of a majority.
    async fn leads(&self) -> bool {
        let leads_here = || {
            let status = self.doors.spine.status(DIRECTORY);
            status.is_some_and(|status| status.leads_here)
        };
        leads_here()
            && self.doors.spine.read_index(DIRECTORY, LEAD_PATIENCE).await.is_ok()
            && leads_here()
    }

    /// Makes a run of every shard that has begun.
    async fn make(&self, store: &Arc<dyn Store>) -> Result<(RunName, Manifest), String> {
        let data_shards = self.doors.replica.directory().shards();
        self.plan.check(data_shards)?;
        let name = RunName::begun(&self.doors.cluster, Maker::Node(self.doors.node));
        let (cleared, own) = (store.clone(), name.clone());
        behind(move || clear(&*cleared, &own)).await?;
        let begun = Making::begin(store.clone(), name.clone());
        let mut making = behind(move || begun.go_on()).await?;
        let mut pace = Pace::of(self.plan.bytes_per_second);
        let mut held = None;
        loop {
            let next;
            let look = move || making.next().map(|next| (making, next));
            (making, next) = behind(look).await?;
            let Some(shard) = next else { break };
            if making.is_again() && held.is_none() {
                held = Some(self.doors.backups.hold_moves());
            }
            self.doors.backups.note(|seen| seen.running = Some((name.clone(), shard)));
            let (log, bytes) = self.copy(&making, shard, &mut pace).await?;
            let prove = move || {
                making.prove_entries(shard, log, &mut pace)?;
                making.prove_at(shard, bytes, &mut pace)?;
                Ok((making, pace))
            };
            (making, pace) = behind(prove).await?;
            if !self.leads().await {
                return Err(format!("{name} is given up: another node leads the directory"));
            }
        }
        drop(held);
        behind(move || making.finish()).await
    }

    /// Writes a shard into the store: the entries that the run before does not have, and then, as
    /// a snapshot lets the log forget them, the shard; how many bytes each.
    async fn copy(
        &self,
        making: &Making,
        shard: ShardId,
        pace: &mut Pace,
    ) -> Result<(u64, u64), String> {
        let of_shard = |error: String| format!("{shard}: {error}");
        let entries = entries_of(&self.doors, shard, making.known(shard)).await;
        let stream = entries.map_err(of_shard)?.stream().map_err(|error| error.to_string());
        let log = making.fill_entries(shard, stream, pace).await;
        let log = log.map_err(|error| error.to_string())?;
        let source = source(&self.doors, shard).await.map_err(of_shard)?;
        let stream = source.stream().map_err(|error| error.to_string());
        let bytes = making.fill(shard, stream, pace).await.map_err(|error| error.to_string())?;
        Ok((log, bytes))
    }
}

/// What comes of something that was begun before and is awaited still, or else is begun; `None`
/// where it does not come in time.
async fn in_time<T>(
    pending: &mut Option<BoxFuture<'static, T>>,
    patience: Duration,
    begin: impl FnOnce() -> BoxFuture<'static, T>,
) -> Option<T> {
    let done = tokio::time::timeout(patience, pending.get_or_insert_with(begin)).await.ok()?;
    *pending = None;
    Some(done)
}

/// What a turn came to that did not fail.
enum Turn {
    /// There was nothing to do, or it was done.
    Fine,
    /// A run failed, and it is not time for the next.
    Rests,
}

/// Notes that a look or a run failed.
fn failed(error: String) -> String {
    counter!(names::BACKUP_FAILURES).increment(1);
    tracing::warn!(code = "backup-failed", error, "a backup failed");
    error
}

/// The newest finished run of a cluster's nodes.
fn newest(
    store: &dyn Store,
    known: Option<(RunName, Manifest)>,
    cluster: &str,
) -> Result<Option<(RunName, Manifest)>, BackupFailure> {
    let mut found = runs(store)?;
    let until = Wall(unix_ms() + AHEAD.as_millis() as u64);
    found.retain(|run| is_of(&run.name, cluster) && run.name.wall <= until);
    for run in found.into_iter().rev().filter(Run::is_complete) {
        if let Some(known) = known.as_ref().filter(|known| known.0 == run.name) {
            return Ok(Some(known.clone()));
        }
        // One that lacks something is none.
        match run.manifest(store) {
            Ok(manifest) => return Ok(Some((run.name, manifest))),
            Err(BackupFailure::Wrong(what)) => tracing::debug!(what, "a run is broken"),
            Err(error) => return Err(error),
        }
    }
    Ok(None)
}

/// Whether a run was made by a node of a cluster.
fn is_of(name: &RunName, cluster: &str) -> bool {
    name.cluster == cluster && matches!(name.maker, Maker::Node(_))
}

/// Removes what is left of this node's own attempts, so that however often it fails there is one.
fn clear(store: &dyn Store, own: &RunName) -> Result<(), BackupFailure> {
    runs(store)?.iter().filter(|run| is_left_by(run, own)).try_for_each(|run| run.remove(store))
}

/// Whether a run is half, and of the same maker: who makes another makes that one no more.
fn is_left_by(run: &Run, own: &RunName) -> bool {
    let RunName { cluster, maker, .. } = &run.name;
    !run.is_complete() && (cluster, maker) == (&own.cluster, &own.maker)
}

/// Removes what a run that was finished takes the place of.
fn clean(store: &dyn Store, own: &RunName, keep: usize) -> Result<(), BackupFailure> {
    for run in past(runs(store)?, own, keep) {
        run.remove(store)?;
        tracing::info!(run = %run.name, complete = run.is_complete(), "an old backup is removed");
    }
    Ok(())
}

/// Which runs go: of those that nodes of this cluster made, half ones that were begun before, and
/// finished ones but for the newest.
fn past(mut found: Vec<Run>, own: &RunName, keep: usize) -> Vec<Run> {
    found.retain(|run| is_of(&run.name, &own.cluster) && run.name != *own);
    let (complete, mut half): (Vec<Run>, Vec<Run>) = found.into_iter().partition(Run::is_complete);
    half.retain(|run| run.name < *own);
    let over = (complete.len() + 1).saturating_sub(keep.max(1));
    complete.into_iter().take(over).chain(half).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::backup::manifest::MANIFEST;

    fn run(name: &str, is_complete: bool) -> Run {
        let files = if is_complete { MANIFEST } else { "sh_0.backup" };
        let files = BTreeMap::from([(files.to_owned(), 1)]);
        Run { name: name.parse().expect("a name"), files }
    }

    #[test]
    fn only_what_nodes_of_this_cluster_made_goes_and_the_newest_stay() {
        let name = |day: u32, maker: &str| format!("main_202611{day:02}T000000.000Z_{maker}");
        let own = name(20, "nd_2");
        let found = || {
            vec![
                run(&name(1, "nd_1"), true),
                run(&name(2, "hand"), true),
                run(&name(3, "nd_1"), false),
                run(&name(4, "hand"), false),
                run(&name(5, "nd_1"), true),
                run(&name(6, "nd_3"), true),
                run("other_20261101T000000.000Z_nd_1", true),
                run(&own, true),
                run(&name(21, "nd_1"), false),
            ]
        };
        let gone = |keep| {
            let gone = past(found(), &own.parse().expect("a name"), keep);
            gone.iter().map(|run| run.name.to_string()).collect::<Vec<_>>()
        };
        assert_eq!(gone(3), [name(1, "nd_1"), name(3, "nd_1")]);
        assert_eq!(gone(9), [name(3, "nd_1")]);
        let all = [name(1, "nd_1"), name(5, "nd_1"), name(6, "nd_3"), name(3, "nd_1")];
        assert_eq!(gone(1), all);
        assert_eq!(gone(0), all, "its own is never among them");
    }

    fn plan(every_s: u64, keep: usize) -> Plan {
        let every = Duration::from_secs(every_s);
        Plan { to: "kept".to_owned(), every, keep, bytes_per_second: 0 }
    }

    #[test]
    fn the_pause_after_a_failure_doubles_until_it_is_the_time_between_two_runs() {
        let (plan, now) = (plan(600, 7), Instant::now());
        let mut resting = Resting::default();
        assert!(resting.is_over(now));
        let mut pauses = Vec::new();
        for _ in 0..6 {
            let pause = resting.note(false, &plan, now).expect("it failed");
            assert!(!resting.is_over(now + pause - LOOK_MIN) && resting.is_over(now + pause));
            pauses.push(pause.as_secs());
        }
        assert_eq!(pauses, [50, 100, 200, 400, 600, 600]);
        for _ in 0..100 {
            assert_eq!(resting.note(false, &plan, now), Some(plan.every), "however often");
        }
        assert_eq!(resting.note(true, &plan, now), None);
        assert!(resting.is_over(now));
        assert_eq!(resting.note(false, &plan, now), Some(Duration::from_secs(50)));
    }

    #[test]
    fn what_is_kept_fits_a_list_of_the_store() {
        assert_eq!(plan(600, 10_000).check(8), Ok(()));
        assert_eq!(plan(600, 89).check(1_024), Ok(()));
        let refused = plan(600, 90).check(1_024).expect_err("too many");
        assert!(refused.contains("backup.keep is 90 runs of 2051 files each"), "{refused}");
        assert!(refused.contains("keep 89 or fewer"), "{refused}");
    }

    #[tokio::test]
    async fn a_look_that_hangs_is_given_up_and_no_other_is_begun_before_it_ends() {
        let (end, ends) = tokio::sync::oneshot::channel::<u32>();
        let (mut pending, short) = (None, Duration::from_millis(1));
        let begin = || async move { ends.await.expect("it ends") }.boxed();
        assert_eq!(in_time(&mut pending, short, begin).await, None);
        let never = || -> BoxFuture<'static, u32> { panic!("the first one hangs still") };
        assert_eq!(in_time(&mut pending, short, never).await, None);
        end.send(7).expect("awaited");
        assert_eq!(in_time(&mut pending, STORE_PATIENCE, never).await, Some(7));
        let next = || async { 8 }.boxed();
        assert_eq!(in_time(&mut pending, STORE_PATIENCE, next).await, Some(8));
    }

    #[tokio::test]
    async fn how_old_the_newest_is_is_told_without_the_store() {
        let recorder = metrics_exporter_prometheus::PrometheusBuilder::new().build_recorder();
        let shown = recorder.handle();
        let _held = metrics::set_default_local_recorder(&recorder);
        let section = Backup { to: "/nowhere/at/all".to_owned(), ..Backup::default() };
        let backups = Standing::of(&section);
        let plan = backups.plan.clone().expect("a schedule");
        assert_eq!(tell(backups, plan).now_or_never(), None, "it goes on");
        let shown = shown.render();
        assert!(
            shown.contains(names::BACKUP_AGE) && shown.contains(names::BACKUP_EVERY),
            "{shown}"
        );
    }

    #[test]
    fn what_an_attempt_left_is_known_by_its_maker() {
        let own = "main_20261120T000000.000Z_nd_2".parse().expect("a name");
        let is_left = |name, is_complete| is_left_by(&run(name, is_complete), &own);
        assert!(is_left("main_20261119T000000.000Z_nd_2", false));
        assert!(!is_left("main_20261119T000000.000Z_nd_2", true));
        assert!(!is_left("main_20261119T000000.000Z_nd_1", false));
        assert!(!is_left("main_20261119T000000.000Z_hand", false));
        assert!(!is_left("else_20261119T000000.000Z_nd_2", false));
    }
}
