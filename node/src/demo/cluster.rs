//! Processes of this binary, three and more gateways, and nobody else's.
//!
//! A node's standard input is a pipe from here and it runs with `--exit-with-stdin`, so that it
//! dies with this process, however this process dies. Nothing is ever ended by name.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use rotary_client::{Api, Gateway, Patience};
use rotary_proto::NodeId;
use rustix::process::{Pid, Signal, kill_process};
use tokio::process::{Child, Command};

use super::wires::Wires;

/// How many nodes a demo has.
pub(super) const NODES: u16 = 3;
/// Most nodes of a demo, gateway-only ones included.
const NODES_MAX: usize = 32;

/// One node.
struct Node {
    id: NodeId,
    /// Whether it has a copy of the data, or is a gateway only.
    core: bool,
    gateway: Gateway,
    config: PathBuf,
    log: PathBuf,
    child: Option<Child>,
    paused: bool,
}

/// The cluster of a demo.
pub(super) struct Cluster {
    folder: PathBuf,
    port_base: u16,
    token: String,
    nodes: Vec<Node>,
    /// Between the nodes, where they can be cut.
    wires: Option<Wires>,
}

impl Cluster {
    /// Writes the configuration of three nodes into `folder`, as an operator would.
    ///
    /// # Errors
    /// What `cluster init` said.
    pub(super) async fn init(folder: &Path, port_base: u16) -> anyhow::Result<Self> {
        let made = rotary()?
            .args(["cluster", "init", "--nodes", &NODES.to_string()])
            .args(["--port-base", &port_base.to_string()])
            .arg("--folder")
            .arg(folder.join("cluster"))
            .stdin(Stdio::null())
            .output()
            .await?;
        if !made.status.success() {
            bail!("cluster init: {}", String::from_utf8_lossy(&made.stderr).trim());
        }
        let cluster = folder.join("cluster");
        let token = std::fs::read_to_string(cluster.join("admin.token")).context("admin.token")?;
        let node = |number| Node::of(folder, port_base, number, true);
        let nodes = (1..=NODES).map(node).collect::<Result<_, _>>()?;
        let (folder, token) = (folder.to_owned(), token.trim().to_owned());
        Ok(Self { folder, port_base, token, nodes, wires: None })
    }

    /// Lets nodes reach each other over wires that can be cut; before they start.
    ///
    /// # Errors
    /// A port that is taken.
    pub(super) async fn wire(&mut self) -> anyhow::Result<()> {
        self.wires = Some(Wires::default());
        for number in 1..=self.nodes.len() {
            self.wire_node(number).await?;
        }
        Ok(())
    }

    /// The wires from a node to every core node.
    async fn wire_node(&mut self, number: usize) -> anyhow::Result<()> {
        let Some(wires) = &mut self.wires else { return Ok(()) };
        let from = &self.nodes[number - 1];
        for to in self.nodes.iter().filter(|to| to.core && to.id != from.id) {
            let peer = port_of(self.port_base, to.id.0 as u16) + 2;
            let port = port_of(self.port_base, number as u16) + 2 + to.id.0 as u16;
            wires.lay((from.id, &from.config), (to.id, peer), port).await?;
        }
        Ok(())
    }

    /// Makes the configuration of one more node, a gateway only, as an operator would.
    ///
    /// # Errors
    /// What `cluster add-gateway` said.
    pub(super) async fn add_gateway(&mut self) -> anyhow::Result<NodeId> {
        ensure!(self.nodes.len() < NODES_MAX, "{NODES_MAX} nodes are as many as a demo has");
        let number = self.nodes.len() as u16 + 1;
        let port = port_of(self.port_base, number);
        let made = rotary()?
            .args(["cluster", "add-gateway", "--id", &number.to_string()])
            .args(["--public", &format!("127.0.0.1:{port}")])
            .args(["--peer", &format!("127.0.0.1:{}", port + 2)])
            .arg("--dir")
            .arg(self.folder.join("cluster"))
            .stdin(Stdio::null())
            .output()
            .await?;
        if !made.status.success() {
            bail!("cluster add-gateway: {}", String::from_utf8_lossy(&made.stderr).trim());
        }
        let node = Node::of(&self.folder, self.port_base, number, false)?;
        let id = node.id;
        self.nodes.push(node);
        self.wire_node(usize::from(number)).await?;
        Ok(id)
    }

    /// Starts every node that is not running; which ones those were.
    ///
    /// # Errors
    /// A process that cannot be started.
    pub(super) async fn start_all(&mut self) -> anyhow::Result<Vec<NodeId>> {
        let mut started = Vec::new();
        for node in self.nodes.iter_mut().filter(|node| node.child.is_none()) {
            node.start()?;
            started.push(node.id);
        }
        Ok(started)
    }

    /// Starts a node that does not run; where its clients go.
    ///
    /// # Errors
    /// A process that cannot be started.
    pub(super) fn start(&mut self, id: NodeId) -> anyhow::Result<Gateway> {
        let node = self.node(id)?;
        node.start()?;
        Ok(node.gateway.clone())
    }

    /// Where everything is.
    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    /// The administrator's token.
    pub(super) fn token(&self) -> &str {
        &self.token
    }

    /// Every node's gateway.
    pub(super) fn gateways(&self) -> Vec<Gateway> {
        self.nodes.iter().map(|node| node.gateway.clone()).collect()
    }

    /// Every node with its gateway and process.
    pub(super) fn nodes(&self) -> Vec<(NodeId, Gateway, Option<u32>)> {
        let row = |node: &Node| {
            let pid = node.child.as_ref().and_then(Child::id);
            (node.id, node.gateway.clone(), pid)
        };
        self.nodes.iter().map(row).collect()
    }

    /// The core nodes' gateways.
    pub(super) fn cores(&self) -> Vec<Gateway> {
        let cores = self.nodes.iter().filter(|node| node.core);
        cores.map(|node| node.gateway.clone()).collect()
    }

    /// Whether a node keeps replicas.
    pub(super) fn is_core(&self, id: NodeId) -> bool {
        self.nodes.iter().any(|node| node.id == id && node.core)
    }

    /// The nodes that are running, as far as is known.
    pub(super) fn running(&self) -> Vec<NodeId> {
        self.nodes.iter().filter(|node| node.child.is_some()).map(|node| node.id).collect()
    }

    /// The API over the nodes that are running and not paused.
    ///
    /// # Errors
    /// None of them is.
    pub(super) fn api(&self) -> anyhow::Result<Api> {
        let running = self.nodes.iter().filter(|node| node.child.is_some() && !node.paused);
        let gateways = running.map(|node| node.gateway.clone()).collect();
        let patience =
            Patience { attempt: Duration::from_millis(800), total: Duration::from_secs(3) };
        Ok(Api::new(gateways, &self.token, patience)?)
    }

    fn node(&mut self, id: NodeId) -> anyhow::Result<&mut Node> {
        let found = self.nodes.iter_mut().find(|node| node.id == id);
        found.with_context(|| format!("there is no {id}"))
    }

    /// Ends a node with SIGKILL, at once.
    ///
    /// # Errors
    /// A node that is not running.
    pub(super) async fn kill(&mut self, id: NodeId) -> anyhow::Result<()> {
        let node = self.node(id)?;
        let mut child = node.child.take().with_context(|| format!("{id} is not running"))?;
        node.paused = false;
        child.kill().await.with_context(|| format!("killing {id}"))
    }

    /// Stands a node still with SIGSTOP, or lets it go on; which of both.
    ///
    /// # Errors
    /// A node that is not running.
    pub(super) fn toggle_pause(&mut self, id: NodeId) -> anyhow::Result<bool> {
        let node = self.node(id)?;
        node.pause(!node.paused)?;
        Ok(node.paused)
    }

    /// Whether a node stands still.
    pub(super) fn is_paused(&self, id: NodeId) -> bool {
        self.nodes.iter().any(|node| node.id == id && node.paused)
    }

    /// Whether no other node reaches a node.
    pub(super) fn is_cut_off(&self, id: NodeId) -> bool {
        self.wires.as_ref().is_some_and(|wires| wires.cut_off().contains(&id))
    }

    /// Cuts a node off from the others, or joins it to them again; which of both.
    ///
    /// # Errors
    /// A cluster without wires.
    pub(super) fn toggle_cut(&self, id: NodeId) -> anyhow::Result<bool> {
        Ok(self.wires.as_ref().context("these nodes have no wires")?.toggle(id))
    }

    /// Starts the dead, lets the paused go on and joins who was cut off; who they were.
    ///
    /// # Errors
    /// A process that cannot be started.
    pub(super) async fn restore(&mut self) -> anyhow::Result<Vec<NodeId>> {
        let mut restored = self.start_all().await?;
        for node in self.nodes.iter_mut().filter(|node| node.paused) {
            node.pause(false)?;
            restored.push(node.id);
        }
        if let Some(wires) = &self.wires {
            restored.extend(wires.cut_off());
            wires.join_all();
        }
        restored.sort_unstable();
        restored.dedup();
        Ok(restored)
    }

    /// Core nodes that run and are neither paused nor cut off; and all there are.
    pub(super) fn cores_at_work(&self) -> (usize, usize) {
        let cut_off = self.wires.as_ref().map(Wires::cut_off).unwrap_or_default();
        let works =
            |node: &&Node| node.child.is_some() && !node.paused && !cut_off.contains(&node.id);
        let cores = || self.nodes.iter().filter(|node| node.core);
        (cores().filter(works).count(), cores().count())
    }

    /// Nodes that ended by themselves since the last look, and how.
    pub(super) fn fallen(&mut self) -> Vec<String> {
        let mut fallen = Vec::new();
        for node in &mut self.nodes {
            let Some(child) = &mut node.child else { continue };
            if let Ok(Some(status)) = child.try_wait() {
                fallen.push(format!("{} ended: {status}; {}", node.id, node.last_words()));
                (node.child, node.paused) = (None, false);
            }
        }
        fallen
    }

    /// Waits until every running node is ready; how long that took.
    ///
    /// # Errors
    /// A node that ended, or is not ready in time, with what it says.
    pub(super) async fn wait_ready(&mut self, limit: Duration) -> anyhow::Result<Duration> {
        let begun = Instant::now();
        let gateways: Vec<Gateway> = self.nodes.iter().map(|node| node.gateway.clone()).collect();
        let patience =
            Patience { attempt: Duration::from_millis(500), total: Duration::from_millis(1) };
        let api = Api::new(gateways.clone(), "", patience)?;
        for gateway in &gateways {
            loop {
                if let Some(fallen) = self.fallen().first() {
                    bail!("{fallen}");
                }
                let Err(error) = api.only(gateway).fetch("/readyz").await else { break };
                if begun.elapsed() > limit {
                    bail!("{gateway} is not ready after {} s: {error}", limit.as_secs());
                }
                tokio::time::sleep(Duration::from_millis(25)).await;
            }
        }
        Ok(begun.elapsed())
    }

    /// Ends every node.
    pub(super) async fn stop(&mut self) {
        for node in &mut self.nodes {
            if let Some(mut child) = node.child.take() {
                let _ = child.kill().await;
            }
        }
    }
}

/// Where a node listens for clients; in range for every base that is taken and [`NODES_MAX`].
const fn port_of(port_base: u16, number: u16) -> u16 {
    port_base + 10 * (number - 1)
}

impl Node {
    fn of(folder: &Path, port_base: u16, number: u16, core: bool) -> anyhow::Result<Self> {
        let gateway = format!("http://127.0.0.1:{}", port_of(port_base, number)).parse()?;
        let config = folder.join("cluster").join(format!("node-{number}")).join("rotary.toml");
        let log = folder.join(format!("node-{number}.log"));
        Ok(Self {
            id: NodeId(u64::from(number)),
            core,
            gateway,
            config,
            log,
            child: None,
            paused: false,
        })
    }

    /// Where its log is, and how it ends.
    fn last_words(&self) -> String {
        let log = std::fs::read_to_string(&self.log).unwrap_or_default();
        let last = log.lines().last().unwrap_or_default();
        format!("{} ends with: {last}", self.log.display())
    }

    fn pause(&mut self, paused: bool) -> anyhow::Result<()> {
        let pid = self.child.as_ref().and_then(Child::id);
        let pid = pid.and_then(|pid| Pid::from_raw(pid.cast_signed()));
        let pid = pid.with_context(|| format!("{} is not running", self.id))?;
        let signal = if paused { Signal::STOP } else { Signal::CONT };
        kill_process(pid, signal).with_context(|| format!("pausing {}", self.id))?;
        self.paused = paused;
        Ok(())
    }

    fn start(&mut self) -> anyhow::Result<()> {
        let log = File::options().create(true).append(true).open(&self.log)?;
        let child = rotary()?
            .arg("server")
            .arg("--config")
            .arg(&self.config)
            .arg("--exit-with-stdin")
            .stdin(Stdio::piped())
            .stdout(log.try_clone()?)
            .stderr(log)
            .kill_on_drop(true)
            // An interrupt from the terminal is for this process: nodes end when it says so.
            .process_group(0)
            .spawn()
            .with_context(|| format!("starting {}", self.id))?;
        self.child = Some(child);
        Ok(())
    }
}

/// This very binary.
fn rotary() -> anyhow::Result<Command> {
    Ok(Command::new(std::env::current_exe().context("where is this binary?")?))
}
