//! One node: a process that starts, runs, stops being polled, crashes and starts again, and the
//! disk and wall clock that outlive it.

mod cluster;
mod orders;

use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt as _;
use rotary_distributor::{LOGIC_VERSIONS, REHEARSED_LOGIC};
use rotary_log::{
    Blocking, Door, Fatal, History, Log, LogConfig, LogStores, Machine, Members, ProposeError,
    Proposed, WallClock,
};
use rotary_proto::{FIRST_LOGIC, LogicVersions, NodeId, ShardId, Wall};
use rotary_storage::{Disk, Journal};
use rotary_transport::{Transport, TransportConfig};

use crate::simulation::bugs::{Bug, PlantedDoor, PlantedMachine, PlantedPurge};
use crate::simulation::hall::Hall;
use crate::simulation::history::Ms;
use crate::simulation::invariants::{self, Extent, Findings, Owing, PurgeBound};
use crate::simulation::layer::Layered;
use crate::simulation::machine::directory::DirectoryMachine;
use crate::simulation::machine::{Ground, ShardMachine};
use crate::simulation::node_disk::{Engine, NodeDisk, Opened};
use crate::simulation::observer::{Observed, Observer};
use crate::simulation::process::Process;
use crate::simulation::promised::Promised;
use crate::simulation::random::Random;
use crate::simulation::store::{Shadow, Shadowed};
use crate::simulation::upkeep::{Marked, Upkeep};
use crate::simulation::whole::{self, Doors};
use crate::simulation::wires::{Guest, Listening};

pub(crate) use cluster::Cluster;

/// The time of day at which every world begins: an ordinary day in 2023, in ms since 1970.
pub(crate) const DAWN_MS: u64 = 1_700_000_000_000;
/// How long the journal lets records gather before it writes, in ms at most.
const JOURNAL_REST_MS_MAX: Ms = 60;
/// What an older build can apply, and what a newer one can.
pub(crate) const OLD_BUILD: LogicVersions = LOGIC_VERSIONS;
pub(crate) const NEW_BUILD: LogicVersions =
    LogicVersions { oldest: FIRST_LOGIC, newest: REHEARSED_LOGIC };
/// Of a thousand nodes, so many run the newer build from their beginning.
const NEW_PERMILLE: u64 = 800;
/// A client gives one attempt so long.
const ATTEMPT: Duration = Duration::from_secs(3);

/// The id of the node at that place.
pub(crate) fn id_of(node: usize) -> NodeId {
    NodeId(node as u64 + 1)
}

/// A node.
pub(crate) struct Node {
    pub(crate) index: usize,
    pub(crate) disk: NodeDisk,
    pub(crate) shadow: Shadow,
    /// What its journal said is durable.
    pub(crate) promised: Promised,
    observer: Observer,
    /// What its log forgot too early.
    forgotten: Arc<Mutex<Vec<String>>>,
    /// What it lacks since it was rebuilt.
    owing: Option<Owing>,
    /// Whether digests come out wrong in its memory, until its process ends.
    pub(crate) astray: Arc<AtomicBool>,
    /// Which build its next process runs, by what that can apply.
    pub(crate) build: LogicVersions,
    /// What its wall clock is off by, in ms, and how often it was read.
    pub(crate) wall_off_ms: Arc<AtomicI64>,
    pub(crate) wall_reads: Arc<AtomicU64>,
    /// Its disk's random choices: how long a sync takes.
    random: Random,
    journal_random: Random,
    /// What a sync takes at most.
    pub(crate) sync_ms_max: Ms,
    starts: u64,
    running: Option<Running>,
}

struct Running {
    process: Process,
    log: Arc<OnceLock<Arc<Log>>>,
    doors: Doors,
    engine: Engine,
    pump_at: Option<Ms>,
    journal_at: Option<Ms>,
    pumps: u64,
    ended: Arc<Mutex<Option<String>>>,
    door: Arc<PlantedDoor>,
}

/// What a client's attempt came to.
pub(crate) struct Reply {
    pub(crate) operation: usize,
    pub(crate) node: usize,
    pub(crate) sent_ms: Ms,
    /// None if the connection was lost.
    pub(crate) told: Option<Result<Proposed, ProposeError>>,
}

/// Where replies gather.
pub(crate) type Replies = Arc<Mutex<Vec<Reply>>>;

/// Says that the connection was lost, unless there is an answer first.
struct Attempt {
    replies: Replies,
    reply: Option<Reply>,
}

impl Drop for Attempt {
    fn drop(&mut self) {
        let mut replies = self.replies.lock().expect("no code panics while it holds this lock");
        replies.extend(self.reply.take());
    }
}

impl Node {
    pub(crate) fn new(cluster: &Cluster, index: usize) -> Self {
        let mut random = Random::salted(cluster.seed, &format!("disk {index}"));
        let mut journal_random = Random::salted(cluster.seed, &format!("journal {index}"));
        let is_new = Random::salted(cluster.seed, &format!("build {index}")).permille(NEW_PERMILLE);
        Self {
            index,
            disk: NodeDisk::new(&mut random, &mut journal_random, cluster.bug),
            shadow: Shadow::default(),
            promised: Promised::default(),
            observer: cluster.observer.clone(),
            forgotten: Arc::default(),
            owing: None,
            astray: Arc::default(),
            build: if is_new { NEW_BUILD } else { OLD_BUILD },
            wall_off_ms: Arc::default(),
            wall_reads: Arc::default(),
            random,
            journal_random,
            sync_ms_max: 2,
            starts: 0,
            running: None,
        }
    }

    pub(crate) fn is_up(&self) -> bool {
        self.running.is_some()
    }

    /// Whether its log is there for clients.
    pub(crate) fn is_ready(&self) -> bool {
        self.running.as_ref().is_some_and(|running| running.log.get().is_some())
    }

    /// Its journal, while it runs.
    pub(crate) fn journal(&self) -> Option<&Arc<Journal>> {
        self.running.as_ref().map(|running| &running.engine.journal)
    }

    /// Whether every replica of it has a vote and all of its history.
    pub(crate) fn is_whole(&self) -> bool {
        let Some(running) = &self.running else { return false };
        let Some(log) = running.log.get() else { return false };
        let journal = &running.engine.journal;
        let _entered = running.process.runtime.enter();
        let votes = |shard| log.status(shard).is_some_and(|status| !status.cut);
        log.shards().into_iter().all(|shard| votes(shard) && journal.missing(shard.0).is_none())
    }

    /// Its runs so far; the number of the present one.
    pub(crate) fn starts(&self) -> u64 {
        self.starts
    }

    /// Starts a process on what the disk holds.
    ///
    /// # Errors
    /// Why the log or the journal cannot be opened.
    pub(crate) fn start(&mut self, cluster: &Cluster, now_ms: Ms) -> Result<(), String> {
        self.starts += 1;
        cluster.observer.lock().invariants.started(self.index);
        let ended: Arc<Mutex<Option<String>>> = Arc::default();
        let fatal = fatal_into(ended.clone());
        let opened = self.disk.open(fatal.clone()).map_err(|error| error.to_string())?;
        let Opened { engine, stores } = opened;
        let groups: Vec<u32> = (0..cluster.groups()).collect();
        self.shadow.recover(&groups, &*stores.log).map_err(|error| error.to_string())?;
        self.promised.recover(&engine.journal);
        self.check_streams(cluster, &engine.journal, Extent::Some, &mut cluster.observer.lock());
        let stores = self.watched(stores, &engine.journal, cluster.bug);
        self.astray.store(false, Ordering::Relaxed);
        let (journal, astray) = (engine.journal.clone(), self.astray.clone());
        let ground = Ground { journal, fatal, astray, marked: Marked::default() };
        let seed =
            Random::salted(cluster.seed, &format!("run {}.{}", self.index, self.starts)).next();
        let process = Process::start(seed, now_ms, self.wall_ms(now_ms));
        let log = Arc::new(OnceLock::new());
        let door = Arc::new(PlantedDoor::new(cluster.bug));
        let doors = Doors::default();
        let boot = if cluster.whole {
            let disk = self.disk.disk.process();
            let stands = (seed, log.clone(), doors.clone(), door.clone());
            self.boot_whole(cluster, ground, stores, disk, stands).boxed()
        } else {
            self.boot(cluster, seed, ground, stores, log.clone(), door.clone()).boxed()
        };
        let failed = ended.clone();
        process.runtime.spawn(async move {
            if let Err(error) = boot.await {
                failed.lock().expect("not poisoned").get_or_insert(error);
            }
        });
        let (pump_at, journal_at, pumps) = (None, None, 0);
        self.running =
            Some(Running { process, log, doors, engine, pump_at, journal_at, pumps, ended, door });
        Ok(())
    }

    /// The stores, with those who watch what goes in and out.
    fn watched(&self, stores: LogStores, journal: &Arc<Journal>, bug: Option<Bug>) -> LogStores {
        let (snapshots, journal) = (stores.snapshots.clone(), journal.clone());
        let store = Arc::new(Layered(Shadowed::new(self.shadow.clone(), stores.log)));
        let wrong = self.forgotten.clone();
        let store = Arc::new(Layered(PurgeBound { store, snapshots, journal, wrong }));
        let store = Arc::new(Layered(PlantedPurge { store, bug }));
        LogStores { log: store, ..stores }
    }

    /// What an operator does who has it rebuilt from the others.
    ///
    /// # Errors
    /// What the disk says.
    pub(crate) fn set_aside(&mut self, cluster: &Cluster, now_ms: Ms) -> Result<(), String> {
        self.disk.set_aside(cluster.groups()).map_err(|error| error.to_string())?;
        self.shadow.forget(now_ms);
        self.promised.forget();
        let lasts = cluster.observer.lock().last_indexes();
        self.owing = Some(Owing(cluster.story_groups().map(ShardId).zip(lasts).collect()));
        Ok(())
    }

    /// Compares its journal with what machines said.
    pub(crate) fn check_streams(
        &self,
        cluster: &Cluster,
        journal: &Journal,
        extent: Extent,
        observed: &mut Observed,
    ) {
        let drops = cluster.retention_ms.is_some();
        for (group, story) in cluster.data_groups().zip(&observed.stories) {
            for (stream, told) in story.streams() {
                let place = (self.index, group, stream);
                invariants::stream(place, journal, (extent, drops), told, &mut observed.findings);
            }
        }
    }

    /// What its disk gave back wrongly, and what its log forgot too early.
    pub(crate) fn check_disk(&mut self, found: &mut Findings) {
        invariants::disk(self.index, &self.shadow, &mut self.promised, found);
        invariants::purges(self.index, &self.forgotten, found);
        let Some(running) = &self.running else { return };
        let Some(log) = running.log.get() else { return };
        invariants::ahead(self.index, log, &running.engine.journal, found);
        if let Some(owing) = &self.owing {
            let _entered = running.process.runtime.enter();
            if owing.check(self.index, log, found) {
                self.owing = None;
            }
        }
    }

    fn boot(
        &self,
        cluster: &Cluster,
        seed: u64,
        ground: Ground,
        store: LogStores,
        log: Arc<OnceLock<Arc<Log>>>,
        door: Arc<PlantedDoor>,
    ) -> impl Future<Output = Result<(), String>> + Send + use<> {
        let id = id_of(self.index);
        let config = self.log_config(cluster, seed, ground.fatal.clone());
        let machines: Vec<(ShardId, Box<dyn Machine>)> =
            (0..cluster.groups()).map(|shard| self.machine(cluster, &ground, shard)).collect();
        let socket = cluster.network.socket(self.index, seed);
        let certificates = cluster.certificates(self.index);
        let (node, bug, keep_ms) = (self.index, cluster.bug, cluster.retention_ms);
        let (observer, wall) = (cluster.observer.clone(), config.wall.clone());
        let shards = (0..cluster.shards as u32).map(ShardId).collect();
        let peers = cluster.peers();
        async move {
            let certificates = certificates?;
            let listen = socket.local_address();
            let transport = TransportConfig { node: id, listen, peers, certificates };
            let journal = ground.journal;
            let gate = Door::new();
            let hall = Hall { shards: gate.clone(), journal: journal.clone(), door };
            let transport = Transport::start_over(socket, transport, Arc::new(hall));
            let transport = Arc::new(transport.map_err(|error| error.to_string())?);
            let snapshots = store.snapshots.clone();
            let started = Log::start(config, store, transport.clone(), &gate, machines).await;
            let started = Arc::new(started.map_err(|error| error.to_string())?);
            drop(log.set(started.clone()));
            for shard in started.shards() {
                started.initialize(shard).await.map_err(|error| error.to_string())?;
            }
            let known = started.clone();
            let members =
                Box::new(move |shard| known.members(shard).iter().flat_map(Members::all).collect());
            let upkeep = Upkeep {
                node,
                id,
                log: started,
                journal: journal.clone(),
                snapshots,
                shards,
                marked: ground.marked,
                wall,
                keep_ms,
                observer,
                bug,
            };
            let (shards, blocking) = (upkeep.shards.clone(), Blocking::Inline);
            let shards = Box::new(move || shards.clone());
            upkeep.keep(History { journal, transport, members, shards, blocking }).await;
            Ok(())
        }
    }

    /// Starts the whole of a node.
    fn boot_whole(
        &self,
        cluster: &Cluster,
        ground: Ground,
        stores: LogStores,
        disk: Arc<dyn Disk>,
        (seed, started, doors, door): (u64, Arc<OnceLock<Arc<Log>>>, Doors, Arc<PlantedDoor>),
    ) -> impl Future<Output = Result<(), String>> + Send + use<> {
        let network = cluster.network.socket(self.index, seed);
        let certificates = cluster.certificates(self.index);
        let (peers, id) = (cluster.peers(), id_of(self.index));
        let outside = cluster.wires.outward(self.index);
        let log = self.log_config(cluster, seed, ground.fatal.clone());
        let (node, shards, run) = (self.index, cluster.shards as u32, log.wall.now().0);
        let begins_with = cluster.begins_with as u32;
        let (retention_ms, observer) = (cluster.retention_ms, cluster.observer.clone());
        let logic = self.build;
        async move {
            let (certificates, listen) = (certificates?, network.local_address());
            let transport = TransportConfig { node: id, listen, peers, certificates };
            let journal = ground.journal;
            let start = whole::Start {
                node,
                shards,
                begins_with,
                log,
                network,
                transport,
                stores,
                journal,
                disk,
                outside,
                door,
                run,
                retention_ms,
                logic,
                observer,
                doors,
                started,
            };
            start.go().await
        }
    }

    fn log_config(&self, cluster: &Cluster, seed: u64, fatal: Fatal) -> LogConfig {
        LogConfig {
            fatal,
            wall: self.wall(cluster),
            seed: Some(seed),
            blocking: Blocking::Inline,
            snapshot_bytes_min: cluster.snapshot_bytes_min,
            snapshot_entries_kept: cluster.snapshot_entries_kept,
            digest_entries: cluster.digest_entries,
            ..LogConfig::new(id_of(self.index), (0..cluster.nodes).map(id_of))
        }
    }

    fn machine(
        &self,
        cluster: &Cluster,
        ground: &Ground,
        shard: u32,
    ) -> (ShardId, Box<dyn Machine>) {
        let planted = PlantedMachine { node: self.index, bug: cluster.bug };
        if Some(shard) == cluster.directory() {
            let machine = DirectoryMachine::new(shard, cluster.observer.clone(), planted);
            return (ShardId(shard), Box::new(machine));
        }
        let machine = ShardMachine::new(shard, ground.clone(), cluster.observer.clone(), planted);
        (ShardId(shard), Box::new(machine))
    }

    fn wall(&self, cluster: &Cluster) -> WallClock {
        let (now, off) = (cluster.now_ms.clone(), self.wall_off_ms.clone());
        let reads = self.wall_reads.clone();
        WallClock::with(move || {
            reads.fetch_add(1, Ordering::Relaxed);
            let now = DAWN_MS + now.load(Ordering::Relaxed);
            Wall(now.saturating_add_signed(off.load(Ordering::Relaxed)))
        })
    }

    /// What its wall clock says at that time.
    fn wall_ms(&self, now_ms: Ms) -> u64 {
        (DAWN_MS + now_ms).saturating_add_signed(self.wall_off_ms.load(Ordering::Relaxed))
    }

    /// Lets the process run until that time; then says why it has ended, if it has.
    pub(crate) fn run_to(&mut self, now_ms: Ms) -> Option<String> {
        let wall_ms = self.wall_ms(now_ms);
        let (random, sync_ms_max) = (&mut self.random, self.sync_ms_max);
        let running = self.running.as_mut()?;
        if !running.process.may_run(now_ms) {
            return None;
        }
        if running.pump_is_due(now_ms, || random.below(sync_ms_max + 1)) {
            let before = self.disk.data();
            if running.pump() {
                self.disk.note_cold(before, false);
            }
        }
        let rest = || self.journal_random.between(1, JOURNAL_REST_MS_MAX + sync_ms_max);
        if running.journal_is_due(now_ms, rest) {
            let before = self.disk.data();
            if running.pump_journal() {
                self.disk.note_cold(before, true);
            }
            self.promised.note(&running.engine.journal);
        }
        running.process.run_to(now_ms, wall_ms);
        self.observer.lock().invariants.closings.durable(self.index, &running.engine.journal);
        running.ended.lock().expect("not poisoned").take()
    }

    /// Keeps the process from running until that time, or no longer than it is late already.
    /// Whether there was one.
    pub(crate) fn pause_until(&mut self, ms: Ms) -> bool {
        let Some(running) = &mut self.running else { return false };
        running.process.pause_until(ms);
        true
    }

    /// Whether the process is kept from running.
    pub(crate) fn is_paused(&self) -> bool {
        self.running.as_ref().is_some_and(|running| running.process.is_paused())
    }

    /// Batches that its process has written.
    pub(crate) fn pumps(&self) -> u64 {
        self.running.as_ref().map_or(0, |running| running.pumps)
    }

    /// How it answers a client that dials it.
    pub(crate) fn listening(&self) -> Listening {
        match &self.running {
            None => Listening::Closed,
            Some(running) if running.process.is_paused() => Listening::Silent,
            Some(running) if running.doors.get().is_some() => Listening::Open,
            Some(_) => Listening::Closed,
        }
    }

    /// Lets a client's connection in.
    pub(crate) fn admit(&self, guest: Guest) {
        let Some(running) = &self.running else { return };
        let Some(node) = running.doors.get().cloned() else { return };
        let Guest { stream, address, .. } = guest;
        running.process.runtime.spawn(async move { node.admit(stream, address).await });
    }

    /// Ends the process where it stands, and says so to nobody if its machine lost its power.
    /// Whether there was one.
    pub(crate) fn crash(&mut self, cluster: &Cluster, silently: bool) -> bool {
        cluster.network.close(self.index);
        cluster.wires.close(self.index, silently);
        let Some(running) = self.running.take() else { return false };
        drop(running.process);
        true
    }

    /// Asks the node for a client.
    pub(crate) fn ask(&self, shard: u32, payload: &[u8], reply: Reply, replies: &Replies) {
        let attempt = Attempt { replies: replies.clone(), reply: Some(reply) };
        let Some(running) = &self.running else { return };
        let Some(log) = running.log.get().cloned() else { return };
        let (payload, door) = (Bytes::copy_from_slice(payload), running.door.clone());
        running.process.runtime.spawn(async move {
            let mut attempt = attempt;
            let deadline = tokio::time::Instant::now() + ATTEMPT;
            let told = log.propose_with_retry(ShardId(shard), payload, deadline, true).await;
            if let Some(reply) = &mut attempt.reply {
                reply.told = Some(door.told(told));
            }
        });
    }
}

impl Running {
    /// Whether a sync that was asked for is to be done by now.
    fn pump_is_due(&mut self, now_ms: Ms, latency: impl FnOnce() -> Ms) -> bool {
        if self.pump_at.is_none() && self.engine.asks() {
            self.pump_at = Some(now_ms + latency());
        }
        self.pump_at.is_some_and(|at| at <= now_ms)
    }

    /// The same, of the journal.
    fn journal_is_due(&mut self, now_ms: Ms, rest: impl FnOnce() -> Ms) -> bool {
        if self.journal_at.is_none() && self.engine.journal_asks() {
            self.journal_at = Some(now_ms + rest());
        }
        self.journal_at.is_some_and(|at| at <= now_ms)
    }

    /// Whether something was written to the journal, whole.
    fn pump_journal(&mut self) -> bool {
        let _entered = self.process.runtime.enter();
        self.journal_at = None;
        let done = self.engine.pump_journal();
        self.pumps += u64::from(done);
        done && self.ended.lock().expect("not poisoned").is_none()
    }

    /// Whether a batch was written to the log, whole.
    fn pump(&mut self) -> bool {
        let _entered = self.process.runtime.enter();
        self.pump_at = None;
        let done = self.engine.pump();
        self.pumps += u64::from(done);
        done && self.ended.lock().expect("not poisoned").is_none()
    }
}

fn fatal_into(ended: Arc<Mutex<Option<String>>>) -> Fatal {
    Fatal::with(move |code, reason| {
        let mut ended = ended.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        ended.get_or_insert_with(|| format!("exit code {code}: {reason}"));
    })
}
