//! Real nodes: processes of the binary under test, in a directory of their own, on free ports.

use std::fs::File;
use std::net::{TcpListener, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use hyper::Method;
use rotary_client::{Api, Gateway, Patience};
use serde_json::{Value, json};

/// Generous: a busy machine with one slow core must pass.
pub(crate) const LIMIT: Duration = Duration::from_secs(120);

/// The binary under test, away from the environment of whoever tests it.
pub(crate) fn rotary() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_rotary"));
    for (key, _) in std::env::vars().filter(|(key, _)| key.starts_with("ROTARY_")) {
        command.env_remove(key);
    }
    command
}

/// Ports that belong together: those of ten nodes.
const BLOCK: u16 = 100;
/// The first of them, and how many such blocks there are: all below what operating systems give to
/// those who ask for any port.
const BLOCKS_FROM: u16 = 20_000;
const BLOCKS: u16 = 120;

/// A base port such that the ports of `nodes` nodes are free, and are no other test's for as long
/// as this process lives: it holds the lock of their block.
pub(crate) fn free_base(nodes: u16) -> u16 {
    static HELD: Mutex<Vec<File>> = Mutex::new(Vec::new());
    assert!(nodes <= BLOCK / 10, "a block has the ports of ten nodes");
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join("ports");
    std::fs::create_dir_all(&dir).expect("writable");
    let first = std::process::id() as u16;
    let blocks = (0..BLOCKS).map(|n| first.wrapping_add(n) % BLOCKS);
    for block in blocks {
        let base = BLOCKS_FROM + BLOCK * block;
        let lock = File::options().create(true).append(true).open(dir.join(base.to_string()));
        let lock = lock.expect("writable");
        let free = |node: u16| {
            let public = base + 10 * node;
            TcpListener::bind(("127.0.0.1", public)).ok()?;
            UdpSocket::bind(("127.0.0.1", public + 2)).ok()
        };
        if lock.try_lock().is_ok() && (0..nodes).all(|node| free(node).is_some()) {
            HELD.lock().expect("nothing panics under this lock").push(lock);
            return base;
        }
    }
    panic!("every block of ports is taken");
}

/// Waits until something holds.
pub(crate) async fn eventually<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(found) = look().await {
            return found;
        }
        assert!(begun.elapsed() < LIMIT, "never: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Whether every thread of a process is stopped (proc(5): the state follows the name).
fn is_still(pid: u32) -> bool {
    let Ok(threads) = std::fs::read_dir(format!("/proc/{pid}/task")) else { return false };
    threads.flatten().all(|thread| {
        let stat = std::fs::read_to_string(thread.path().join("stat")).unwrap_or_default();
        stat.rsplit_once(')').is_some_and(|(_, rest)| rest.trim_start().starts_with('T'))
    })
}

/// A cluster of real nodes.
pub(crate) struct Nodes {
    pub(crate) dir: tempfile::TempDir,
    pub(crate) token: String,
    /// What `cluster init` said.
    pub(crate) made: Value,
    pub(crate) gateways: Vec<Gateway>,
    children: Vec<Option<Child>>,
}

impl Nodes {
    /// Makes the directories of a new cluster.
    pub(crate) fn init(nodes: u16, shards: u16) -> Self {
        Self::init_before(nodes, 0, shards)
    }

    /// The same with gateway-only nodes, numbered after the core nodes.
    pub(crate) fn init_before(cores: u16, gateways: u16, shards: u16) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let nodes = cores + gateways;
        let base = free_base(nodes);
        let made = rotary()
            .args(["cluster", "init", "-o", "json", "--nodes", &cores.to_string()])
            .args(["--gateways", &gateways.to_string()])
            .args(["--shards", &shards.to_string(), "--base-port", &base.to_string(), "--dir"])
            .arg(dir.path())
            .output()
            .expect("it runs");
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        let token = std::fs::read_to_string(dir.path().join("admin.token")).expect("written");
        let gateway = |node| format!("http://127.0.0.1:{}", base + 10 * node).parse();
        let gateways = (0..nodes).map(|node| gateway(node).expect("an address")).collect();
        let children = (0..nodes).map(|_| None).collect();
        let made = serde_json::from_slice(&made.stdout).expect("JSON");
        Self { dir, token: token.trim().to_owned(), made, gateways, children }
    }

    /// The configuration of a node, counted from 1.
    pub(crate) fn config(&self, node: usize) -> PathBuf {
        self.dir.path().join(format!("node-{node}/rotary.toml"))
    }

    /// Adds to the configuration of a node, counted from 1.
    pub(crate) fn configure(&self, node: usize, more: &str) {
        let text = std::fs::read_to_string(self.config(node)).expect("readable");
        std::fs::write(self.config(node), format!("{text}\n{more}\n")).expect("writable");
    }

    /// Counts a node in whose directory was added.
    pub(crate) fn admit(&mut self, gateway: Gateway) {
        self.gateways.push(gateway);
        self.children.push(None);
    }

    /// Starts a node, counted from 1.
    pub(crate) fn start(&mut self, node: usize) {
        self.start_with(node, &[]);
    }

    /// The same with variables of the environment.
    pub(crate) fn start_with(&mut self, node: usize, variables: &[(&str, &str)]) {
        let log = self.dir.path().join(format!("node-{node}.log"));
        let log = std::fs::File::options().create(true).append(true).open(log).expect("writable");
        let child = rotary()
            .args(["server", "--set", "session.heartbeat_ms=2000", "--exit-with-stdin", "--config"])
            .arg(self.config(node))
            .envs(variables.iter().copied())
            .stdin(Stdio::piped())
            .stderr(log)
            .spawn()
            .expect("it starts");
        self.children[node - 1] = Some(child);
    }

    /// Starts every node, and waits until all are ready.
    pub(crate) async fn start_all(&mut self) {
        (1..=self.gateways.len()).for_each(|node| self.start(node));
        for gateway in self.gateways.clone() {
            self.ready(&gateway).await;
        }
    }

    /// Waits until a node is ready.
    pub(crate) async fn ready(&self, gateway: &Gateway) {
        let patience =
            Patience { attempt: Duration::from_secs(5), total: Duration::from_millis(1) };
        let api = self.api(&self.token).only(gateway).patient(patience);
        eventually("ready", async || api.fetch("/readyz").await.ok()).await;
    }

    /// Ends a node, counted from 1, with SIGKILL.
    pub(crate) fn kill(&mut self, node: usize) {
        let mut child = self.children[node - 1].take().expect("it runs");
        child.kill().expect("it can be killed");
        child.wait().expect("it ends");
    }

    /// Stands a node, counted from 1, still, or lets it go on. A signal to stop takes effect when
    /// one of the threads takes it, and until then the others go on; so all are waited for.
    pub(crate) fn pause(&self, node: usize, paused: bool) {
        self.signal(node, if paused { "STOP" } else { "CONT" });
        let pid = self.children[node - 1].as_ref().expect("it runs").id();
        let begun = Instant::now();
        while paused && !is_still(pid) {
            assert!(begun.elapsed() < LIMIT, "node {node} does not stand still");
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// Sends a signal to a node, counted from 1.
    pub(crate) fn signal(&self, node: usize, name: &str) {
        let child = self.children[node - 1].as_ref().expect("it runs");
        let sent = Command::new("kill").args(["-s", name, &child.id().to_string()]).status();
        assert!(sent.expect("kill is at hand").success());
    }

    /// Tells a node, counted from 1, to stop as a process supervisor does, and says how it ended.
    pub(crate) fn terminate(&mut self, node: usize) -> std::process::ExitStatus {
        self.signal(node, "TERM");
        let mut child = self.children[node - 1].take().expect("it runs");
        // Its standard input stays open until it has ended.
        let _open = child.stdin.take();
        let begun = Instant::now();
        loop {
            if let Some(status) = child.try_wait().expect("it is a child") {
                return status;
            }
            if begun.elapsed() > LIMIT {
                let _ = child.kill();
                panic!("node {node} does not stop");
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// What a node, counted from 1, has logged so far.
    pub(crate) fn log(&self, node: usize) -> String {
        let log = self.dir.path().join(format!("node-{node}.log"));
        std::fs::read_to_string(log).unwrap_or_default()
    }

    /// Asks a node, counted from 1, to stop, and says how it ended.
    pub(crate) fn stop(&mut self, node: usize) -> std::process::ExitStatus {
        let mut child = self.children[node - 1].take().expect("it runs");
        drop(child.stdin.take());
        child.wait().expect("it ends")
    }

    /// The API of all nodes for the holder of a token.
    pub(crate) fn api(&self, token: &str) -> Api {
        let patience = Patience { attempt: Duration::from_secs(10), total: LIMIT };
        Api::new(self.gateways.clone(), token, patience).expect("there are gateways")
    }

    /// The API of one node, counted from 1, for the administrator.
    pub(crate) fn admin(&self, node: usize) -> Api {
        self.api(&self.token).only(&self.gateways[node - 1])
    }
}

impl Drop for Nodes {
    fn drop(&mut self) {
        for child in self.children.iter_mut().flatten() {
            let _ = child.kill();
            let _ = child.wait();
        }
        if std::thread::panicking() {
            for node in 1..=self.children.len() {
                let log = self.dir.path().join(format!("node-{node}.log"));
                let log = std::fs::read_to_string(log).unwrap_or_default();
                eprintln!("--- node {node}\n{}", tail(&log, 20));
            }
        }
    }
}

fn tail(text: &str, lines: usize) -> String {
    let all: Vec<&str> = text.lines().collect();
    all[all.len().saturating_sub(lines)..].join("\n")
}

/// Asks for a change that must be done.
pub(crate) async fn done(api: &Api, method: Method, path: &str, body: Value) -> Value {
    let outcome = api.change(method, path, &body).await;
    let acknowledged = outcome.acknowledged().unwrap_or_else(|error| panic!("{path}: {error}"));
    serde_json::from_slice(&acknowledged.body).expect("JSON")
}

/// Makes a tenant and a site of it, and gives the ids of both.
pub(crate) async fn tenant_and_site(api: &Api, tenant: &str, settings: Value) -> (Value, String) {
    let tenant = done(api, Method::POST, "/v1/tenants", json!({"name": tenant})).await;
    let body = json!({"tenant": tenant["tenant"], "settings": settings});
    let site = done(api, Method::POST, "/v1/sites", body).await;
    (tenant["tenant"].clone(), site["site"].as_str().expect("a text").to_owned())
}

/// What a process said, and its exit code.
pub(crate) fn said(output: &Output) -> (Option<i32>, String) {
    (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
}

/// Reads a whole file.
pub(crate) fn text(path: &Path) -> String {
    std::fs::read_to_string(path).expect("readable")
}
