//! The workload on three real processes, and the checkers on its history: a calm run and one with a
//! node killed must be valid, and a history that was tampered with must not be.

use std::collections::BTreeSet;
use std::net::{TcpListener, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rotary_chaos::checkers::log_agreement::{self, NodeLog};
use rotary_chaos::checkers::{self, Evidence, Verdict};
use rotary_chaos::history::{Edge, FORMAT, Fact, Head, History, Record, Recorder};
use rotary_chaos::workload::{self, Config, Phase};
use rotary_client::{Api, Gateway, Patience};
use rotary_proto::ids::ShardId;
use tokio::sync::watch;

/// Generous: a busy machine with one slow core must pass.
const LIMIT: Duration = Duration::from_secs(120);

/// The product's binary, beside this one; built first if it is not there.
fn rotary() -> PathBuf {
    let here = std::env::current_exe().expect("this process has a file");
    let folder = here.parent().and_then(Path::parent).expect("in the folder of dependencies");
    let binary = folder.join("rotary");
    if !binary.exists() {
        let built = Command::new(env!("CARGO")).args(["build", "-q", "-p", "rotary"]).status();
        assert!(built.expect("cargo is at hand").success(), "build rotary first");
    }
    binary
}

/// Three nodes, in a folder of their own.
struct Nodes {
    folder: tempfile::TempDir,
    token: String,
    gateways: Vec<Gateway>,
    children: Vec<Option<Child>>,
}

impl Nodes {
    async fn start() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let base = free_base();
        let made = Command::new(rotary())
            .args(["cluster", "init", "--nodes", "3", "--shards", "2", "--base-port"])
            .arg(base.to_string())
            .arg("--dir")
            .arg(folder.path())
            .output()
            .expect("it runs");
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        let token = std::fs::read_to_string(folder.path().join("admin.token")).expect("written");
        let gateway = |node: u16| format!("http://127.0.0.1:{}", base + 10 * node).parse();
        let gateways = (0..3).map(|node| gateway(node).expect("an address")).collect();
        let children = (0..3).map(|_| None).collect();
        let token = token.trim().to_owned();
        let mut nodes = Self { folder, token, gateways, children };
        (0..3).for_each(|node| nodes.spawn(node));
        for node in 0..3 {
            nodes.ready(node).await;
        }
        nodes
    }

    fn spawn(&mut self, node: usize) {
        let log = self.folder.path().join(format!("node-{}.log", node + 1));
        let log = std::fs::File::options().create(true).append(true).open(log).expect("writable");
        let config = self.folder.path().join(format!("node-{}/rotary.toml", node + 1));
        let child = Command::new(rotary())
            .args(["server", "--exit-with-stdin", "--config"])
            .arg(config)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("it starts");
        self.children[node] = Some(child);
    }

    async fn ready(&self, node: usize) {
        let patience =
            Patience { attempt: Duration::from_secs(5), total: Duration::from_millis(1) };
        let one = vec![self.gateways[node].clone()];
        let api = Api::new(one, &self.token, patience).expect("a gateway");
        let begun = Instant::now();
        while api.fetch("/readyz").await.is_err() {
            assert!(begun.elapsed() < LIMIT, "node {node} is never ready");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    fn kill(&mut self, node: usize) {
        let mut child = self.children[node].take().expect("it runs");
        child.kill().expect("it can be killed");
        child.wait().expect("it ends");
    }

    /// Asks a node to stop, and waits until it has.
    fn stop(&mut self, node: usize) {
        let mut child = self.children[node].take().expect("it runs");
        drop(child.stdin.take());
        child.wait().expect("it ends");
    }

    fn config(&self, seed: u64) -> Config {
        let config = Config::new(self.gateways.clone(), self.token.clone(), seed);
        Config { rate: 6.0, ..config }
    }
}

impl Drop for Nodes {
    fn drop(&mut self) {
        for child in self.children.iter_mut().flatten() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// A base port such that the ports of three nodes are free; other tests use those from 20 000.
fn free_base() -> u16 {
    let first = std::process::id() as u16 % 100;
    let free = |base: &u16| {
        (0..3).all(|node| {
            let public = TcpListener::bind(("127.0.0.1", base + 10 * node));
            public.is_ok() && UdpSocket::bind(("127.0.0.1", base + 10 * node + 2)).is_ok()
        })
    };
    let bases = (0..100).map(|n| 14_000 + 50 * ((first + n) % 100));
    bases.into_iter().find(free).expect("some ports are free")
}

fn head(name: &str, seed: u64, nemeses: &[&str]) -> Head {
    let (name, replay) = (name.to_owned(), format!("cargo nextest run {name}"));
    let nemeses = nemeses.iter().map(|name| (*name).to_owned()).collect();
    Head { format: FORMAT, seed, name, replay, nemeses }
}

/// Runs the workload with something beside it, and gives what was written down.
async fn run(
    nodes: &mut Nodes,
    head: Head,
    beside: impl AsyncFnOnce(&mut Nodes, &Recorder),
) -> History {
    let path = nodes.folder.path().join("history.jsonl");
    let config = nodes.config(head.seed);
    let recorder = Recorder::create(&path, head).expect("a new file");
    let (say, phase) = watch::channel(Phase::Run);
    let driven = tokio::spawn(workload::drive(config, recorder.clone(), phase));
    beside(nodes, &recorder).await;
    say.send(Phase::Drain).expect("somebody listens");
    let summary = driven.await.expect("it ends").expect("it can be read back");
    let written = recorder.finish().expect("written");
    eprintln!("{summary:?} {written:?}");
    assert!(summary.drained && summary.ok > 100, "{summary:?}");
    if let Ok(kept) = std::env::var("ROTARY_KEEP_HISTORY") {
        std::fs::copy(&path, kept).expect("writable");
    }
    History::read(&path).expect("readable")
}

/// Checks that a calm run must give something to.
const LOOKED_AT: [&str; 5] = ["replay", "real_time", "total_queue", "no_overtake", "dense_prefix"];
/// How much.
const ENOUGH: u64 = 30;
/// How long that may take, in seconds.
const PATIENCE_S: u32 = 300;

fn looked_at(judgement: &checkers::Judgement, name: &str) -> u64 {
    judgement.of(name).expect("it was asked").checked
}

#[tokio::test(flavor = "multi_thread")]
async fn a_calm_run_is_valid_and_tampering_is_found() {
    let mut nodes = Nodes::start().await;
    // As long as it takes until every check has something to look at.
    let calm = async |nodes: &mut Nodes, _: &Recorder| {
        let path = nodes.folder.path().join("history.jsonl");
        for _ in 0..PATIENCE_S {
            tokio::time::sleep(Duration::from_secs(1)).await;
            let seen = checkers::check(&History::read(&path).expect("readable"));
            if LOOKED_AT.iter().all(|name| looked_at(&seen, name) > ENOUGH) {
                break;
            }
        }
    };
    let history = run(&mut nodes, head("calm", 11, &[]), calm).await;
    let judgement = checkers::check(&history);
    eprintln!("{judgement}");
    assert_eq!(judgement.verdict(), Verdict::Valid, "{judgement}");
    for name in LOOKED_AT {
        assert!(looked_at(&judgement, name) > ENOUGH, "{name}\n{judgement}");
    }
    let led = |record: &Record| matches!(record, Record::Leader { .. });
    assert!(history.lines.iter().any(|line| led(&line.record)), "nobody led");
    logs_agree(&mut nodes, &history);
    let mut tampered = history;
    for line in &mut tampered.lines {
        if let Record::Fed { event, .. } = &mut line.record
            && let Fact::Posted { .. } = event.fact
        {
            event.fact = Fact::Other { conversation: None };
        }
    }
    assert_eq!(checkers::check(&tampered).verdict(), Verdict::Invalid);
}

/// The logs of the stopped nodes agree with each other and with the history, and not any more when
/// one byte of one entry, or one answer, is another.
fn logs_agree(nodes: &mut Nodes, history: &History) {
    (0..3).for_each(|node| nodes.stop(node));
    let evidence = Evidence::of(history);
    let shards: BTreeSet<ShardId> = evidence.shards.values().copied().collect();
    let read = |node: usize| {
        let data = nodes.folder.path().join(format!("node-{node}/data"));
        NodeLog::read(&data, shards.iter().copied().chain([ShardId(0)])).expect("readable")
    };
    let logs: Vec<NodeLog> = (1..=3).map(read).collect();
    let found = log_agreement::check(&evidence, &logs);
    assert_eq!(found.verdict(), Verdict::Valid, "{found:?}");
    assert!(found.checked > 1_000, "{found:?}");
    let mut damaged = logs.clone();
    let shard = *shards.first().expect("there is a site");
    let log = damaged[1].shards.get_mut(&shard).expect("it was read");
    let entry = log.entries.get_mut(&10).expect("a run has as many");
    let mut bytes = entry.bytes.to_vec();
    bytes[3] ^= 1;
    entry.bytes = bytes.into();
    assert!(log_agreement::check(&evidence, &damaged).found > 0, "a flipped bit was missed");
    let mut lost = logs;
    for node in &mut lost[..2] {
        node.shards.values_mut().for_each(|log| drop(log.entries.split_off(&200)));
    }
    assert!(log_agreement::check(&evidence, &lost).found > 0, "a lost majority was missed");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_with_a_node_killed_is_valid() {
    let mut nodes = Nodes::start().await;
    let killing = async |nodes: &mut Nodes, recorder: &Recorder| {
        tokio::time::sleep(Duration::from_secs(5)).await;
        recorder.mark("faults");
        recorder.fault("kill", "nd_1", Edge::Begin, "SIGKILL");
        nodes.kill(0);
        recorder.bitten("kill", "nd_1", true, "it served a third of all sockets");
        tokio::time::sleep(Duration::from_secs(6)).await;
        recorder.fault("kill", "nd_1", Edge::End, "started again");
        nodes.spawn(0);
        nodes.ready(0).await;
        recorder.mark("heal");
        recorder.mark("serve");
        tokio::time::sleep(Duration::from_secs(5)).await;
    };
    let history = run(&mut nodes, head("kill", 12, &["kill"]), killing).await;
    let judgement = checkers::check(&history);
    eprintln!("{judgement}");
    assert_eq!(judgement.verdict(), Verdict::Valid, "{judgement}");
}
