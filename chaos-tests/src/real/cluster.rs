//! A cluster of real processes: laid out, started, watched and mended.
//!
//! Each node has a network namespace, a volume and a log file of its own. Servers that end by
//! themselves are started again, as a supervisor would, and remembered: some faults ask for just
//! that end. A node that will not start is not hidden.

mod layout;

use std::collections::BTreeSet;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

pub use layout::Layout;
use layout::PUBLIC_PORT;

use rotary_proto::planted::Planted;

use super::clock::Clock;
use super::http;
use super::network::{self, Network, NetworkError};
use super::process::{Ending, Server};
use super::shell::{self, ShellError};
use super::view::{NodeNumber, View};
use super::volume::{Volume, VolumeError};

/// How long a node may take to serve after it was started.
pub const READY_LIMIT: Duration = Duration::from_secs(120);
/// How long a question to a node may take.
const ANSWER_LIMIT: Duration = Duration::from_millis(500);
/// Bytes of a log that are read at a time.
const LOG_BYTES_MAX: u64 = 16 * 1024 * 1024;
/// Names the bug that a program for harnesses has.
const PLANTED: &str = "ROTARY_PLANTED";
/// Says where the disk of a program for harnesses fails.
const FAILPOINTS: &str = "ROTARY_FAILPOINTS";
/// How often in a row a server may end before it ever served.
const FALSE_STARTS_MAX: u32 = 5;

/// What the harness could not do to a cluster.
#[derive(Debug, thiserror::Error)]
pub enum ClusterError {
    /// A command failed.
    #[error(transparent)]
    Shell(#[from] ShellError),
    /// The network cannot be made.
    #[error(transparent)]
    Network(#[from] NetworkError),
    /// A volume would not do it.
    #[error(transparent)]
    Volume(#[from] VolumeError),
    /// A call failed.
    #[error("{what}: {source}")]
    Io {
        /// What was being done.
        what: String,
        /// Why not.
        source: io::Error,
    },
    /// A server does not serve.
    #[error("node {node} {how}; its last words: {words}")]
    Node {
        /// Which.
        node: NodeNumber,
        /// What it did.
        how: String,
        /// The end of its log.
        words: String,
    },
}

/// One node.
#[derive(Debug)]
pub struct Node {
    number: NodeNumber,
    volume: Volume,
    log: PathBuf,
    clock: Option<Clock>,
    server: Option<Server>,
    wanted: bool,
    served: bool,
    false_starts: u32,
}

/// What a server is started under.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Trouble {
    /// Its so-manyth sync of data, and every later one, fails.
    pub failing_sync: Option<u32>,
    /// Where its disk fails, as `rotary_storage::Failpoints` reads it.
    pub failpoints: Option<String>,
}

/// A server that ended without having been told to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Incident {
    /// Which node.
    pub node: NodeNumber,
    /// How.
    pub ending: Ending,
}

/// A cluster.
#[derive(Debug)]
pub struct Cluster {
    nodes: Vec<Node>,
    network: Network,
    rotary: PathBuf,
    token: String,
    set: Vec<String>,
    bug: Option<Planted>,
    incidents: Vec<Incident>,
}

impl Cluster {
    /// What sets the policies of its links.
    pub fn switch(&self) -> &super::switch::Handle {
        self.network.switch()
    }

    /// Its nodes' numbers, from 1.
    pub fn numbers(&self) -> impl Iterator<Item = NodeNumber> + use<> {
        1..=self.network.nodes()
    }

    /// The first administrator's token.
    pub fn token(&self) -> &str {
        &self.token
    }

    /// The program that serves.
    pub(super) fn rotary(&self) -> &Path {
        &self.rotary
    }

    /// Where it is reached past all faults.
    pub(super) fn back_doors(&self) -> Vec<String> {
        let url = |node| format!("http://{}:{PUBLIC_PORT}", network::back_door(node));
        self.numbers().map(url).collect()
    }

    /// Where clients reach it.
    pub fn gateways(&self) -> Vec<String> {
        let url = |node| format!("http://{}:{PUBLIC_PORT}", network::address(node));
        self.numbers().map(url).collect()
    }

    /// A node's file system.
    pub fn volume(&self, node: NodeNumber) -> &Volume {
        &self.nodes[usize::from(node) - 1].volume
    }

    /// A node's wall clock, if it has one of its own.
    pub fn clock(&self, node: NodeNumber) -> Option<&Clock> {
        self.nodes[usize::from(node) - 1].clock.as_ref()
    }

    /// A node's process, if it was started.
    pub fn server(&mut self, node: NodeNumber) -> Option<&mut Server> {
        self.node(node).server.as_mut()
    }

    /// Starts a node's server.
    ///
    /// # Errors
    /// [`ClusterError::Io`].
    pub fn start(&mut self, node: NodeNumber, trouble: Trouble) -> Result<(), ClusterError> {
        let mut command = self.command(node, &trouble);
        let this = self.node(node);
        if let Some(clock) = &this.clock {
            clock.wear(&mut command);
        }
        let server = Server::start(&mut command, &this.log);
        let io = |source| ClusterError::Io { what: format!("starting node {node}"), source };
        this.server = Some(server.map_err(io)?);
        (this.wanted, this.served) = (true, false);
        Ok(())
    }

    fn command(&self, node: NodeNumber, trouble: &Trouble) -> Command {
        let mut command = match trouble.failing_sync {
            None => network::command_in(node, &self.rotary.to_string_lossy()),
            Some(from) => {
                let mut command = network::command_in(node, "strace");
                let inject = format!("inject=fdatasync:error=EIO:when={from}+");
                command.args(["-D", "-f", "-qq", "-o", "/dev/null", "-e", "trace=fdatasync", "-e"]);
                command.arg(inject).arg(&self.rotary);
                command
            }
        };
        // What the harness itself was started under is nobody's trouble.
        command.env_remove(PLANTED).env_remove(FAILPOINTS);
        command.envs(self.bug.map(|bug| (PLANTED, bug.name())));
        command.envs(trouble.failpoints.as_ref().map(|text| (FAILPOINTS, text)));
        command.arg("server").arg("--config").arg(self.config(node));
        for pair in &self.set {
            command.args(["--set", pair]);
        }
        command
    }

    fn config(&self, node: NodeNumber) -> PathBuf {
        self.volume(node).folder().join("rotary.toml")
    }

    /// Kills a node's server, which is then not wanted until it is started, and says how it ended.
    ///
    /// # Errors
    /// [`ClusterError::Io`].
    pub fn kill(&mut self, node: NodeNumber) -> Result<Option<Ending>, ClusterError> {
        let this = self.node(node);
        (this.wanted, this.served) = (false, false);
        let io = |source| ClusterError::Io { what: format!("killing node {node}"), source };
        this.server.as_mut().map(Server::kill).transpose().map_err(io)
    }

    /// From now on an end of a node's server is expected.
    pub fn expect_end(&mut self, node: NodeNumber) {
        self.node(node).wanted = false;
    }

    /// From now on an end of a node's server is not expected, and it is started again.
    pub fn expect_life(&mut self, node: NodeNumber) {
        self.node(node).wanted = true;
    }

    /// Nodes that have not answered since they were started, or are not running. Faults of the
    /// network, which keep nodes that answer from being ready, are no reason to spare them.
    pub fn starting(&mut self) -> BTreeSet<NodeNumber> {
        let silent: Vec<_> = self.nodes.iter().filter(|n| !n.served).map(|n| n.number).collect();
        let lives = |cluster: &mut Self, node| {
            let lives = cluster.ask(node, "/livez").is_ok();
            cluster.node(node).served |= lives;
            lives
        };
        silent.into_iter().filter(|node| !lives(self, *node)).collect()
    }

    /// Sets a node's data aside and starts it, so that it takes all from the others.
    ///
    /// # Errors
    /// [`ClusterError`].
    pub fn rebuild(&mut self, node: NodeNumber) -> Result<(), ClusterError> {
        self.kill(node)?;
        let config = self.config(node);
        let mut command = Command::new(&self.rotary);
        shell::finish(command.args(["node", "rebuild", "--yes", "--config"]).arg(config))?;
        self.start(node, Trouble::default())
    }

    /// Asks a node, past all faults.
    ///
    /// # Errors
    /// Those of the socket; at once where no server runs.
    pub fn ask(&self, node: NodeNumber, path: &str) -> io::Result<http::Answer> {
        let server = self.nodes[usize::from(node) - 1].server.as_ref();
        if server.is_none_or(Server::is_paused) {
            return Err(io::ErrorKind::NotConnected.into());
        }
        let to = SocketAddr::from((network::back_door(node), PUBLIC_PORT));
        http::ask(to, path, &self.token, ANSWER_LIMIT)
    }

    /// Asks a node for a change, past all faults.
    ///
    /// # Errors
    /// As [`Self::ask`].
    pub fn change(
        &self,
        node: NodeNumber,
        method: &str,
        path: &str,
        body: &str,
    ) -> io::Result<http::Answer> {
        let server = self.nodes[usize::from(node) - 1].server.as_ref();
        if server.is_none_or(Server::is_paused) {
            return Err(io::ErrorKind::NotConnected.into());
        }
        let to = SocketAddr::from((network::back_door(node), PUBLIC_PORT));
        http::send(to, (method, path, body), &self.token, ANSWER_LIMIT)
    }

    /// Whether a node serves.
    pub fn is_ready(&mut self, node: NodeNumber) -> bool {
        let ready = self.ask(node, "/readyz").is_ok_and(|answer| answer.status == 200);
        let this = self.node(node);
        this.served |= ready;
        if ready {
            this.false_starts = 0;
        }
        ready
    }

    /// Nodes that do not serve.
    pub fn unready(&mut self) -> BTreeSet<NodeNumber> {
        self.numbers().filter(|node| !self.is_ready(*node)).collect()
    }

    /// Waits until a node serves.
    ///
    /// # Errors
    /// [`ClusterError::Node`] if it ended, or takes longer than that.
    pub fn wait_ready(&mut self, node: NodeNumber, limit: Duration) -> Result<(), ClusterError> {
        let until = Instant::now() + limit;
        while !self.is_ready(node) {
            let ended = self.server(node).and_then(Server::ended);
            if let Some(ending) = ended {
                return Err(self.wrong(node, format!("ended with {ending} before it served")));
            }
            if Instant::now() > until {
                let why = self.ask(node, "/readyz").map(|answer| answer.body.trim().to_owned());
                return Err(self.wrong(node, format!("does not serve after {limit:?}: {why:?}")));
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        Ok(())
    }

    /// What all nodes that can answer say of leaders.
    pub fn view(&self) -> View {
        let answer = |node| Some((node, self.ask(node, "/v1/cluster").ok()?.body));
        let answers: Vec<_> = self.numbers().filter_map(answer).collect();
        View::of(answers.iter().map(|(node, text)| (*node, text.as_str())))
    }

    /// Starts again what ended by itself, and gives what did since the last time.
    ///
    /// # Errors
    /// [`ClusterError::Node`] for one that ends again and again before it serves.
    pub fn supervise(&mut self) -> Result<Vec<Incident>, ClusterError> {
        let mut ended = Vec::new();
        for number in self.numbers() {
            let this = self.node(number);
            if !this.wanted {
                continue;
            }
            let Some(ending) = this.server.as_mut().and_then(Server::ended) else { continue };
            this.false_starts += u32::from(!this.served);
            ended.push(Incident { node: number, ending });
            if this.false_starts > FALSE_STARTS_MAX {
                return Err(self.wrong(number, format!("ends before it serves, with {ending}")));
            }
            self.start(number, Trouble::default())?;
        }
        self.incidents.extend(ended.iter().cloned());
        Ok(ended)
    }

    /// Every end of a server that was not told to.
    pub fn incidents(&self) -> &[Incident] {
        &self.incidents
    }

    /// Lines of the servers' logs that tell of a panic, with their nodes.
    pub fn panics(&self) -> Vec<(NodeNumber, String)> {
        let of = |node: &Node| {
            let text = std::fs::read(&node.log).unwrap_or_default();
            let text = String::from_utf8_lossy(&text).into_owned();
            // The index of the archive is derived: one that panics over damage is made again.
            let lines = text.lines().filter(|line| line.contains("panicked at"));
            let lines = lines.filter(|line| !line.contains("/fjall-"));
            lines.map(|line| (node.number, line.to_owned())).collect::<Vec<_>>()
        };
        self.nodes.iter().flat_map(of).collect()
    }

    /// Bytes that a node's log has.
    pub fn log_bytes(&self, node: NodeNumber) -> u64 {
        std::fs::metadata(&self.nodes[usize::from(node) - 1].log).map_or(0, |meta| meta.len())
    }

    /// What a node's log has from there on.
    pub fn log_from(&self, node: NodeNumber, from: u64) -> String {
        use std::io::{Read as _, Seek as _};
        let mut bytes = Vec::new();
        let read =
            std::fs::File::open(&self.nodes[usize::from(node) - 1].log).and_then(|mut log| {
                log.seek(io::SeekFrom::Start(from))?;
                log.take(LOG_BYTES_MAX).read_to_end(&mut bytes)
            });
        // A log that cannot be read says nothing.
        drop(read);
        String::from_utf8_lossy(&bytes).into_owned()
    }

    fn wrong(&self, node: NodeNumber, how: String) -> ClusterError {
        let words = last_words(&self.nodes[usize::from(node) - 1].log);
        ClusterError::Node { node, how, words }
    }

    fn node(&mut self, node: NodeNumber) -> &mut Node {
        &mut self.nodes[usize::from(node) - 1]
    }
}

/// The last line of a log that says something of the end, and not only where to read on.
fn last_words(log: &Path) -> String {
    let text = std::fs::read(log).unwrap_or_default();
    let text = String::from_utf8_lossy(&text).into_owned();
    let mut said = text.lines().filter(|line| !line.starts_with("rotary: more:"));
    said.next_back().unwrap_or("none").to_owned()
}
