//! Commits per second of one shard on three nodes in this process, with real disks and sockets.
//!
//! `cargo run -p rotary-log --example commits -- [seconds] [shards]`
//!
//! Every writer proposes 200-byte commands to the leader, one after the other. The figures are for
//! this machine carrying all three nodes and the writers.

use std::collections::BTreeMap;
use std::net::{SocketAddr, UdpSocket};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rotary_log::{Chunks, Door, Frozen, Log, LogConfig, LogStores, Machine};
use rotary_proto::{NodeId, ShardId, Stamp, Wall};
use rotary_storage::{Disk, Fatal, FileDisk, FjallLog, FjallLogOptions, Notes, Snapshots};
use rotary_transport::{Certificates, ClusterAuthority, Transport, TransportConfig};

type Failure = Box<dyn std::error::Error>;

/// Applies nothing.
struct Idle(Stamp);

impl Machine for Idle {
    fn apply(&mut self, _: u64, stamp: Stamp, _: Wall, _: &[u8]) -> Vec<u8> {
        self.0 = stamp;
        Vec::new()
    }

    fn next_deadline(&self) -> Option<Stamp> {
        None
    }

    fn tick(&self) -> Vec<u8> {
        Vec::new()
    }

    fn last_stamp(&self) -> Stamp {
        self.0
    }

    fn refuse_poisoned(&mut self, _: u64, _: Stamp, _: &[u8]) -> Vec<u8> {
        Vec::new()
    }

    fn digest(&self) -> u64 {
        self.0.0
    }

    fn freeze(&mut self) -> Box<dyn Frozen> {
        Box::new(Nothing)
    }

    fn install(&mut self, _: u64, _: &mut Chunks<'_>) -> Result<(), String> {
        Ok(())
    }
}

/// The state of a machine that has none.
struct Nothing;

impl Frozen for Nothing {
    fn chunks(&self) -> Box<dyn Iterator<Item = Vec<u8>> + '_> {
        Box::new(std::iter::empty())
    }
}

async fn start(
    authority: &ClusterAuthority,
    node: NodeId,
    addresses: &BTreeMap<NodeId, SocketAddr>,
    shards: u32,
    path: &Path,
) -> Result<Arc<Log>, Failure> {
    let pem = authority.issue(node)?;
    let config = TransportConfig {
        node,
        listen: addresses[&node],
        peers: addresses.clone(),
        certificates: Certificates::from_pem(
            authority.certificate_pem(),
            &pem.certificate,
            &pem.key,
        )?,
    };
    let door = Door::new();
    let transport = Arc::new(Transport::start(config, Arc::new(door.clone()))?);
    let path = path.join(node.to_string());
    let disk: Arc<dyn Disk> = Arc::new(FileDisk);
    let stores = LogStores {
        log: Arc::new(FjallLog::open(&path.join("log"), FjallLogOptions::default())?),
        snapshots: Snapshots::open(disk.clone(), &path.join("snapshots"), Fatal::exit())?,
        notes: Notes::open(disk, &path.join("notes"))?,
    };
    let machine = || Box::new(Idle(Stamp::ZERO)) as Box<dyn Machine>;
    let machines = (0..shards).map(|shard| (ShardId(shard), machine())).collect();
    let config = LogConfig::new(node, addresses.keys().copied());
    let log = Arc::new(Log::start(config, stores, transport, &door, machines).await?);
    for shard in 0..shards {
        log.initialize(ShardId(shard)).await?;
    }
    Ok(log)
}

/// Writers on the leaders of their shards, for a while; prints what came of it.
async fn measure(logs: &[Arc<Log>], shards: u32, writers: u32, time: Duration) {
    let deadline = Instant::now() + time;
    let mut tasks = Vec::new();
    for writer in 0..writers {
        let shard = ShardId(writer % shards);
        let log = logs[shard.0 as usize % logs.len()].clone();
        tasks.push(tokio::spawn(async move {
            let mut waits = Vec::new();
            while Instant::now() < deadline {
                let began = Instant::now();
                let limit = began + Duration::from_secs(10);
                let proposed = log.propose_with_retry(shard, vec![7; 200], limit, true).await;
                waits.extend(proposed.ok().map(|_| began.elapsed()));
            }
            waits
        }));
    }
    let before = logs[0].store_stats();
    let mut waits = Vec::new();
    for task in tasks {
        waits.extend(task.await.unwrap_or_default());
    }
    let after = logs[0].store_stats();
    waits.sort_unstable();
    let at = |part: usize| waits.get(waits.len() * part / 100).copied().unwrap_or_default();
    let rate = waits.len() as f64 / time.as_secs_f64();
    println!(
        "{writers:5} writers: {rate:8.0} commits/s, p50 {:?}, p99 {:?}, {} syncs on node 1",
        at(50),
        at(99),
        after.syncs - before.syncs
    );
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() -> Result<(), Failure> {
    let argument = |place| std::env::args().nth(place).and_then(|text| text.parse().ok());
    let (seconds, shards) = (argument(1).unwrap_or(3), argument(2).unwrap_or(1).max(1) as u32);
    let directory = tempfile::tempdir()?;
    let authority = ClusterAuthority::create("bench")?;
    let mut addresses = BTreeMap::new();
    for node in 1..=3 {
        addresses.insert(NodeId(node), UdpSocket::bind("127.0.0.1:0")?.local_addr()?);
    }
    let mut logs = Vec::new();
    for node in addresses.keys() {
        logs.push(start(&authority, *node, &addresses, shards, directory.path()).await?);
    }
    measure(&logs, shards, 1, Duration::from_secs(1)).await;
    println!("that was the warming up; {shards} shards, {seconds} s each:");
    for writers in [1, 64, 512] {
        measure(&logs, shards, writers, Duration::from_secs(seconds)).await;
    }
    for log in logs {
        log.stop().await?;
    }
    Ok(())
}
