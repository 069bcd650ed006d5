//! What the engine can distribute: three processes, QUIC, fsync, the real distributor and journal,
//! and no client protocol.
//!
//! Run it with `scripts/bench engine [seconds] [shards] [writers] [batch]
//! [segments|fjall|memory]`. Each process leads its
//! share of the shards and makes the load for them, so that nothing is forwarded. A writer has a
//! site of its own with `batch` agents; a round opens as many conversations, accepts their offers
//! and closes them, each as one batch of proposals. A distribution is the three together. Without
//! writers it says what idle shards cost.

#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_macros,
    missing_docs,
    reason = "a bench reads the clock and prints; nothing here is replicated"
)]

use std::collections::BTreeMap;
use std::error::Error;
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, Command as Process, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use rotary_distributor::{Applied, Shard};
use rotary_log::{Chunks, Door, Frozen, Log, LogConfig, LogStores, Machine};
use rotary_proto::codec::{self, Limit};
use rotary_proto::command::Subject;
use rotary_proto::event::Event;
use rotary_proto::ids::{GatewayId, OfferId, PrincipalId, RequestId, SessionId};
use rotary_proto::values::Attributes;
use rotary_proto::{
    Actor, AgentId, AgentProfile, Capacity, Channel, Command, ConversationId, Declared, Envelope,
    Name, NodeId, Origin, QueueId, QueuePlan, Sealed, ShardCommand, ShardId, SiteId, SiteSettings,
    Stamp, Wall,
};
use rotary_storage::{
    Disk, Fatal, FileDisk, Journal, JournalOptions, JournalRecord, Notes, Snapshots,
};
use rotary_transport::{Certificates, ClusterAuthority, Transport, TransportConfig};

/// As in a node.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

type Failure = Box<dyn Error + Send + Sync>;

/// What the parent tells a child, as arguments.
#[derive(Clone)]
struct Load {
    seconds: u64,
    shards: u32,
    writers: u32,
    batch: u32,
    store: String,
}

type Offers = Arc<Mutex<BTreeMap<SiteId, Vec<(ConversationId, OfferId, AgentId)>>>>;

/// The distributor and the journal, as a node has them.
struct Engine {
    group: u32,
    shard: Shard,
    journal: Arc<Journal>,
    offers: Offers,
}

impl Engine {
    fn record(&mut self, applied: &Applied) {
        let mut records = Vec::with_capacity(applied.events.len());
        for (ordinal, record) in (0u32..).zip(&applied.events) {
            records.push(JournalRecord {
                stream: record.site.key(),
                sequence: record.sequence,
                index: record.index,
                ordinal,
                bytes: codec::encode(record, Limit::Entry).expect("an event fits an entry"),
            });
            if let Event::Offered { conversation, offer, agent, .. } = &record.event {
                let mut offers = self.offers.lock().expect("not poisoned");
                let waiting = offers.entry(record.site).or_default();
                // Only the process that makes the load takes them out.
                if waiting.len() < 4_096 {
                    waiting.push((*conversation, *offer, *agent));
                }
            }
        }
        if !records.is_empty() {
            self.journal.append(self.group, records).expect("the journal takes it");
        }
    }
}

impl Machine for Engine {
    fn apply(&mut self, index: u64, stamp: Stamp, wall: Wall, payload: &[u8]) -> Vec<u8> {
        let command: ShardCommand = codec::decode(payload, Limit::Entry).expect("our own");
        let applied = self.shard.apply(index, stamp, wall, command);
        self.record(&applied);
        codec::encode(&applied.answer, Limit::Entry).expect("an answer fits an entry")
    }

    fn refuse_poisoned(&mut self, _: u64, _: Stamp, _: &[u8]) -> Vec<u8> {
        Vec::new()
    }

    fn next_deadline(&self) -> Option<Stamp> {
        self.shard.next_deadline()
    }

    fn tick(&self) -> Vec<u8> {
        codec::encode(&ShardCommand::Tick, Limit::Entry).expect("a tick fits an entry")
    }

    fn last_stamp(&self) -> Stamp {
        self.shard.last_stamp()
    }

    fn digest(&self) -> u64 {
        self.shard.last_stamp().0
    }

    fn freeze(&mut self) -> Box<dyn Frozen> {
        unreachable!("the bench takes no snapshots")
    }

    fn install(&mut self, _: u64, _: &mut Chunks<'_>) -> Result<(), String> {
        Err("the bench takes no snapshots".to_owned())
    }
}

/// Microseconds of processor time that this process has used.
fn cpu_micros() -> u64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or("").split_whitespace().collect();
    let ticks = |at: usize| fields.get(at).and_then(|text| text.parse::<u64>().ok()).unwrap_or(0);
    (ticks(11) + ticks(12)) * 10_000
}

/// One site and what it does.
struct Writer {
    log: Arc<Log>,
    shard: ShardId,
    site: SiteId,
    batch: u32,
    offers: Offers,
    conversations: u128,
    requests: u128,
    waits: Vec<Duration>,
}

impl Writer {
    fn envelope(&mut self, actor: Actor, command: Command) -> Bytes {
        self.requests += 1;
        let request = RequestId(self.requests << 80 | 7 << 76 | 1 << 63);
        let origin = Origin::Request { principal: PrincipalId(1), request };
        let command = ShardCommand::Site(Envelope { site: self.site, origin, actor, command });
        Bytes::from(codec::encode(&command, Limit::Entry).expect("it fits"))
    }

    async fn insist(&self, payload: Bytes) {
        let deadline = Instant::now() + Duration::from_secs(20);
        let proposed = self.log.propose_with_retry(self.shard, payload, deadline, true).await;
        proposed.expect("the set-up is committed");
    }

    async fn set_up(&mut self) {
        let settings = SiteSettings::named(Name::new("bench").expect("valid"));
        let create = ShardCommand::CreateSite { site: self.site, settings };
        self.insist(codec::encode(&create, Limit::Entry).expect("it fits").into()).await;
        let mut plan = QueuePlan::named(Name::new("queue").expect("valid"));
        plan.wrap_up_ms = 0;
        let mut commands =
            vec![self.envelope(Actor::System, Command::PutQueue { queue: QueueId(0), plan })];
        for number in 0..self.batch {
            let agent = AgentId(number);
            let name = Sealed::plain("Agent").expect("short");
            let profile =
                AgentProfile { name, skills: BTreeMap::new(), capacity: Capacity::default() };
            commands.push(self.envelope(Actor::System, Command::PutAgent { agent, profile }));
            let (session, subject) = (SessionId(u128::from(number) + 1), Subject::Agent(agent));
            let gateway = GatewayId { node: NodeId(1), run: 1 };
            let attach = Command::Attach { session, subject, gateway };
            commands.push(self.envelope(Actor::System, attach));
            let ready = Command::Declare { agent, declared: Declared::Ready };
            commands.push(self.envelope(Actor::Agent(agent), ready));
        }
        assert!(self.propose(commands).await, "the set-up is committed");
        (self.waits, _) = (Vec::new(), self.taken());
    }

    fn taken(&self) -> Vec<(ConversationId, OfferId, AgentId)> {
        let mut offers = self.offers.lock().expect("not poisoned");
        offers.get_mut(&self.site).map(std::mem::take).unwrap_or_default()
    }

    /// Proposes a batch; returns whether all of it was committed.
    async fn propose(&mut self, payloads: Vec<Bytes>) -> bool {
        let began = Instant::now();
        let outcomes = self.log.propose_many(self.shard, payloads).await;
        self.waits.push(began.elapsed());
        outcomes.iter().all(Result::is_ok)
    }

    /// Distributes a batch; returns how many were distributed.
    async fn round(&mut self) -> u64 {
        let mut opens = Vec::new();
        for _ in 0..self.batch {
            self.conversations += 1;
            let conversation = ConversationId::new(self.site, self.conversations);
            opens.push(self.envelope(
                Actor::System,
                Command::Open {
                    conversation,
                    queue: QueueId(0),
                    channel: Channel::Voice,
                    priority: None,
                    skills: Vec::new(),
                    customer: None,
                    attributes: Attributes::default(),
                    item: None,
                    mail: None,
                },
            ));
        }
        if !self.propose(opens).await {
            return 0;
        }
        let offers = self.taken();
        let mut accepts = Vec::new();
        let mut closes = Vec::new();
        for (conversation, offer, agent) in offers {
            let accept = Command::Accept { conversation, offer };
            accepts.push(self.envelope(Actor::Agent(agent), accept));
            closes.push(self.envelope(Actor::Agent(agent), Command::Close { conversation }));
        }
        let distributed = closes.len() as u64;
        let done = self.propose(accepts).await && self.propose(closes).await;
        if done { distributed } else { 0 }
    }
}

async fn node(number: u64, load: Load, path: PathBuf) -> Result<(), Failure> {
    let read = |name: &str| std::fs::read_to_string(path.join(name));
    let mut addresses: BTreeMap<NodeId, SocketAddr> = BTreeMap::new();
    for (place, line) in read("addresses")?.lines().enumerate() {
        addresses.insert(NodeId(place as u64 + 1), line.parse()?);
    }
    let own = path.join(number.to_string());
    let config = TransportConfig {
        node: NodeId(number),
        listen: addresses[&NodeId(number)],
        peers: addresses.clone(),
        certificates: Certificates::from_pem(
            &read("ca")?,
            &read(&format!("{number}.certificate"))?,
            &read(&format!("{number}.key"))?,
        )?,
    };
    let door = Door::new();
    let transport = Arc::new(Transport::start(config, Arc::new(door.clone()))?);
    let disk: Arc<dyn Disk> = Arc::new(FileDisk);
    let stores = LogStores {
        log: store_named(&load.store, &own)?,
        snapshots: Snapshots::open(disk.clone(), &own.join("snapshots"), Fatal::exit())?,
        notes: Notes::open(disk, &own.join("notes"))?,
    };
    let journal = Arc::new(Journal::open(
        Arc::new(FileDisk),
        &own.join("journal"),
        JournalOptions::default(),
    )?);
    let offers = Offers::default();
    let mut machines: Vec<(ShardId, Box<dyn Machine>)> = Vec::new();
    for shard in (0..load.shards).map(ShardId) {
        let (group, journal) = (shard.0, journal.clone());
        let engine = Engine { group, shard: Shard::new(shard), journal, offers: offers.clone() };
        machines.push((shard, Box::new(engine)));
    }
    let mut config = LogConfig::new(NodeId(number), addresses.keys().copied());
    config.snapshot_bytes_min = u64::MAX;
    let log = Arc::new(Log::start(config, stores, transport, &door, machines).await?);
    for shard in (0..load.shards).map(ShardId) {
        log.initialize(shard).await?;
    }
    serve(number, &load, &log, &offers).await?;
    log.halt().await;
    Ok(())
}

/// The log store of that name.
fn store_named(name: &str, path: &Path) -> Result<Arc<dyn rotary_storage::LogStore>, Failure> {
    use rotary_storage::{FjallLog, FjallLogOptions, MemoryLog, SegmentLog, SegmentLogOptions};
    Ok(match name {
        "segments" => {
            let disk = Arc::new(FileDisk);
            Arc::new(SegmentLog::open(disk, path.join("log"), SegmentLogOptions::default())?)
        }
        "fjall" => Arc::new(FjallLog::open(&path.join("log"), FjallLogOptions::default())?),
        "memory" => Arc::new(MemoryLog::new()),
        other => return Err(format!("there is no store named {other}").into()),
    })
}

/// Sets its sites up, waits for the word, distributes, says what it saw, waits for the end.
async fn serve(number: u64, load: &Load, log: &Arc<Log>, offers: &Offers) -> Result<(), Failure> {
    let own = (0..load.shards).filter(|shard| u64::from(shard % 3) + 1 == number).map(ShardId);
    let mut writers = Vec::new();
    for shard in own {
        let mut led = log.watch_leader(shard).ok_or("no such shard")?;
        led.wait_for(|view| view.is_self).await?;
        if load.writers == 0 {
            continue;
        }
        let renewing = log.clone();
        tokio::spawn(async move {
            let gateway = GatewayId { node: NodeId(1), run: 1 };
            let renew = ShardCommand::RenewLease { gateway };
            let renew = Bytes::from(codec::encode(&renew, Limit::Entry).expect("it fits"));
            loop {
                drop(renewing.propose(shard, renew.clone()).await);
                tokio::time::sleep(Duration::from_millis(500)).await;
            }
        });
        for number in 0..load.writers {
            let mut writer = Writer {
                log: log.clone(),
                shard,
                site: SiteId::new(1, shard.0 * 1_000 + number + 1),
                batch: load.batch,
                offers: offers.clone(),
                conversations: 0,
                requests: 0,
                waits: Vec::new(),
            };
            writer.set_up().await;
            writers.push(writer);
        }
    }
    let mut words = tokio::task::spawn_blocking(|| {
        println!("ready");
        drop(std::io::stdout().flush());
        let mut line = String::new();
        std::io::stdin().read_line(&mut line)
    });
    (&mut words).await??;
    let (cpu, syncs) = (cpu_micros(), log.store_stats());
    let end = Instant::now() + Duration::from_secs(load.seconds);
    let tasks = writers.into_iter().map(|mut writer| {
        tokio::spawn(async move {
            let mut distributed = 0;
            while Instant::now() < end {
                distributed += writer.round().await;
            }
            (distributed, writer.waits)
        })
    });
    let tasks: Vec<_> = tasks.collect();
    let (mut distributed, mut waits) = (0, Vec::new());
    for task in tasks {
        let (count, own) = task.await?;
        distributed += count;
        waits.extend(own);
    }
    tokio::time::sleep_until((end + Duration::from_millis(200)).into()).await;
    let (cpu, after) = (cpu_micros() - cpu, log.store_stats());
    waits.sort_unstable();
    let at = |part: usize| waits.get(waits.len() * part / 100).map_or(0, Duration::as_micros);
    let (syncs, entries) = (after.syncs - syncs.syncs, after.entries - syncs.entries);
    println!("{distributed} {cpu} {} {} {syncs} {entries}", at(50), at(99));
    drop(std::io::stdout().flush());
    let last = tokio::task::spawn_blocking(|| std::io::stdin().read_line(&mut String::new()));
    last.await??;
    Ok(())
}

struct Node {
    child: Child,
    lines: BufReader<std::process::ChildStdout>,
}

impl Node {
    fn start(number: u64, load: &Load, path: &Path) -> Result<Self, Failure> {
        let mut child = Process::new(std::env::current_exe()?)
            .args(["node", &number.to_string(), &path.to_string_lossy()])
            .args([load.seconds.to_string(), load.shards.to_string(), load.writers.to_string()])
            .args([load.batch.to_string(), load.store.clone()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let lines = BufReader::new(child.stdout.take().ok_or("no output")?);
        Ok(Self { child, lines })
    }

    fn line(&mut self) -> Result<String, Failure> {
        let mut line = String::new();
        self.lines.read_line(&mut line)?;
        if line.is_empty() { Err("a process has ended".into()) } else { Ok(line) }
    }

    fn say(&mut self, word: &str) -> Result<(), Failure> {
        let stdin = self.child.stdin.as_mut().ok_or("no door to the process")?;
        writeln!(stdin, "{word}")?;
        Ok(stdin.flush()?)
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

fn parent(load: &Load) -> Result<(), Failure> {
    let directory = tempfile::tempdir()?;
    let path = directory.path();
    let authority = ClusterAuthority::create("bench")?;
    std::fs::write(path.join("ca"), authority.certificate_pem())?;
    let mut addresses = String::new();
    for node in 1..=3 {
        let address = UdpSocket::bind("127.0.0.1:0")?.local_addr()?;
        addresses.push_str(&format!("{address}\n"));
        let pem = authority.issue(NodeId(node))?;
        std::fs::write(path.join(format!("{node}.certificate")), pem.certificate)?;
        std::fs::write(path.join(format!("{node}.key")), pem.key)?;
    }
    std::fs::write(path.join("addresses"), addresses)?;
    let mut nodes = Vec::new();
    for node in 1..=3 {
        nodes.push(Node::start(node, load, path)?);
    }
    for node in &mut nodes {
        node.line()?;
    }
    eprintln!(
        "engine: {} sites are set up; {} s of load",
        load.shards * load.writers,
        load.seconds
    );
    for node in &mut nodes {
        node.say("go")?;
    }
    let (mut distributed, mut cpu, mut syncs, mut entries) = (0, 0, 0, 0);
    let (mut p50, mut p99) = (Vec::new(), Vec::new());
    for node in &mut nodes {
        let line = node.line()?;
        let numbers: Vec<u64> = line.split_whitespace().filter_map(|n| n.parse().ok()).collect();
        let [count, micros, half, most, synced, written] = numbers[..] else {
            return Err(format!("a process said {line:?}").into());
        };
        distributed += count;
        cpu += micros;
        syncs += synced;
        entries += written;
        p50.push(half);
        p99.push(most);
    }
    for node in &mut nodes {
        node.say("end")?;
    }
    let rate = distributed / load.seconds;
    let each = cpu as f64 / distributed.max(1) as f64;
    println!(
        "{} shards, {} writers each, batch {}, {}: {rate} distributions/s, {each:.1} us CPU each \
         over three processes, {:.3} cores; a batch p50 {:?} us, p99 {:?} us; {:.4} syncs an entry",
        load.shards,
        load.writers,
        load.batch,
        load.store,
        cpu as f64 / 1e6 / load.seconds as f64,
        p50,
        p99,
        syncs as f64 / entries.max(1) as f64,
    );
    Ok(())
}

fn main() -> Result<(), Failure> {
    let mut arguments: Vec<String> = std::env::args().skip(1).collect();
    let child = arguments.first().is_some_and(|first| first == "node");
    let own: Vec<String> = if child { arguments.drain(..3).collect() } else { Vec::new() };
    let number = |place: usize, or: u64| {
        arguments.get(place).and_then(|text| text.parse().ok()).unwrap_or(or)
    };
    let load = Load {
        seconds: number(0, 5).max(1),
        shards: number(1, 3).max(1) as u32,
        writers: number(2, 16) as u32,
        batch: number(3, 64).clamp(1, 256) as u32,
        store: arguments.get(4).cloned().unwrap_or_else(|| "segments".to_owned()),
    };
    if !child {
        return parent(&load);
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(node(own[1].parse()?, load, PathBuf::from(&own[2])))
}
