//! A cluster that somebody else started, judged by the command line as a stranger would: no root,
//! no namespace.

use std::net::{TcpListener, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rotary_chaos::real::http;

/// Generous: a busy machine with one slow core must pass.
const LIMIT: Duration = Duration::from_secs(120);

/// The program, built first if it is not there.
fn rotary() -> PathBuf {
    let own = std::env::current_exe().expect("this program has a path");
    let path = own.ancestors().nth(2).expect("a target folder").join("rotary");
    if !path.exists() {
        let built = Command::new(env!("CARGO")).args(["build", "-q", "-p", "rotary"]).status();
        assert!(built.expect("cargo is at hand").success(), "build rotary first");
    }
    path
}

/// Three nodes, made and started by hand.
struct Nodes {
    folder: tempfile::TempDir,
    base: u16,
    children: Vec<Child>,
}

impl Nodes {
    fn start() -> Self {
        let (folder, base) = (tempfile::tempdir().expect("a folder"), free_base());
        let made = Command::new(rotary())
            .args(["cluster", "init", "--nodes", "3", "--shards", "2", "--base-port"])
            .arg(base.to_string())
            .arg("--dir")
            .arg(folder.path())
            .output()
            .expect("it runs");
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        let start = |node| {
            let log = folder.path().join(format!("node-{node}.log"));
            Command::new(rotary())
                .args(["server", "--exit-with-stdin", "--config"])
                .arg(folder.path().join(format!("node-{node}/rotary.toml")))
                .stdin(Stdio::piped())
                .stdout(Stdio::null())
                .stderr(std::fs::File::create(log).expect("writable"))
                .spawn()
                .expect("it starts")
        };
        let children = (1..=3).map(start).collect();
        let nodes = Self { folder, base, children };
        (0..3_u16).for_each(|node| nodes.wait_ready(node));
        nodes
    }

    fn wait_ready(&self, node: u16) {
        let (to, began) = (([127, 0, 0, 1], self.base + 10 * node).into(), Instant::now());
        let ready = || http::ask(to, "/readyz", "", Duration::from_secs(1));
        while !ready().is_ok_and(|answer| answer.status == 200) {
            assert!(began.elapsed() < LIMIT, "node {} never serves", node + 1);
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn gateways(&self) -> String {
        let url = |node: u16| format!("http://127.0.0.1:{}", self.base + 10 * node);
        (0..3).map(url).collect::<Vec<_>>().join(",")
    }

    fn token(&self) -> String {
        let token = std::fs::read_to_string(self.folder.path().join("admin.token"));
        token.expect("it was written").trim().to_owned()
    }
}

impl Drop for Nodes {
    fn drop(&mut self) {
        for child in &mut self.children {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// A base port such that the ports of three nodes are free; other tests use those below and above.
fn free_base() -> u16 {
    let first = std::process::id() as u16 % 18;
    let free = |base: &u16| {
        (0..3).all(|node| {
            let public = TcpListener::bind(("127.0.0.1", base + 10 * node));
            public.is_ok() && UdpSocket::bind(("127.0.0.1", base + 10 * node + 2)).is_ok()
        })
    };
    let bases = (0..18).map(|n| 19_050 + 50 * ((first + n) % 18));
    bases.into_iter().find(free).expect("some ports are free")
}

/// `rotary-chaos run`: its exit code and what it says.
fn run(report: &Path, token: &str, arguments: &[&str]) -> (Option<i32>, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_rotary-chaos"))
        .arg("run")
        .args(arguments)
        .arg("--report")
        .arg(report)
        .env("ROTARY_TOKEN", token)
        .output()
        .expect("it runs");
    let words = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8_lossy(&words).into_owned())
}

#[test]
fn a_named_cluster_is_judged_under_what_clients_can_break() {
    let (nodes, report) = (Nodes::start(), tempfile::tempdir().expect("a folder"));
    let mut scenario =
        "nemesis = [\"clients-reset\", \"clients-stall\", \"clients-slow\"]\n".to_owned();
    scenario.push_str(
        "calm_s = 2\nserve_s = 1\nevery_ms = 2000\nlasts_min_ms = 500\nlasts_max_ms = 1500\n",
    );
    let file = report.path().join("clients.toml");
    std::fs::write(&file, scenario).expect("writable");
    let folder = report.path().join("run");
    let gateways = nodes.gateways();
    let file = file.to_string_lossy();
    let arguments = [&*file, "--minutes", "0.25", "--gateway", &gateways];
    let (code, words) = run(&folder, &nodes.token(), &arguments);
    assert_eq!(code, Some(0), "{words}");
    for said in ["VALID", "3 nodes of", "clients-reset", "replay: rotary-chaos run "] {
        assert!(words.contains(said), "{said}: {words}");
    }
    let summary = std::fs::read(folder.join("run.json")).expect("it was written");
    let summary: serde_json::Value = serde_json::from_slice(&summary).expect("JSON");
    for kind in ["clients-reset", "clients-stall", "clients-slow"] {
        assert!(summary["nemeses"][kind]["bitten"].as_u64() > Some(0), "{kind}: {summary}");
    }
    assert!(folder.join("index.html").exists() && folder.join("judgement.txt").exists());
}

#[test]
fn what_cannot_be_done_to_a_named_cluster_is_refused_by_name() {
    let folder = tempfile::tempdir().expect("a folder");
    let refused = |arguments: &[&str], names: &[&str]| {
        let (code, words) = run(&folder.path().join("run"), "not a token", arguments);
        assert_eq!(code, Some(2), "{words}");
        for name in names {
            assert!(words.contains(name), "{arguments:?}, {name}: {words}");
        }
    };
    // Nobody listens at port 9.
    let gateway = "http://127.0.0.1:9";
    let kinds = "kill-leader,clients-reset,loss";
    refused(
        &["calm", "--nemesis", kinds, "--gateway", gateway],
        &["kill-leader, loss: not possible", "of nemeses clients-reset, clients-stall"],
    );
    refused(&["power-cut", "--gateway", gateway], &["power-cut-all: not possible"]);
    refused(&["calm", "--gateway", gateway], &["http://127.0.0.1:9 is not usable"]);
    refused(&["calm", "--gateway", "127.0.0.1:7080"], &["write it as http://127.0.0.1:7080"]);
    let secret = "https://127.0.0.1:9";
    refused(&["calm", "--nemesis", "clients-slow", "--gateway", secret], &["over TLS"]);
    refused(&["calm", "--bug", "hash-order", "--gateway", gateway], &["--bug", "--gateway"]);
    assert!(!folder.path().join("run/run.json").exists());
}
