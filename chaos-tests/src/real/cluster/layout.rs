//! Laying a cluster out: `rotary cluster init`, then a volume and a network for each node.

use std::fs;
use std::path::{Path, PathBuf};

use rotary_proto::planted::Planted;

use super::{Cluster, ClusterError, Node, READY_LIMIT, Trouble};
use crate::real::clock::Clock;
use crate::real::network::{self, Network};
use crate::real::shell;
use crate::real::view::NodeNumber;
use crate::real::volume::Volume;

/// The port that every node serves clients at.
pub(super) const PUBLIC_PORT: u16 = 7_080;
/// The port that every node serves the others at.
const PEER_PORT: u16 = 7_082;

/// What a cluster is to be.
#[derive(Debug, Clone)]
pub struct Layout {
    /// The program.
    pub rotary: PathBuf,
    /// How many nodes, 1 to 9.
    pub nodes: NodeNumber,
    /// How many data shards.
    pub shards: u32,
    /// An empty folder for images and mounts.
    pub folder: PathBuf,
    /// A folder for the servers' logs.
    pub logs: PathBuf,
    /// The size of each node's file system.
    pub volume_mib: u64,
    /// Keys of the nodes' configuration, as `section.key=value`.
    pub set: Vec<String>,
    /// Whether the nodes have wall clocks of their own.
    pub clocks: bool,
    /// The bug that every node has.
    pub bug: Option<Planted>,
    /// Of the switch's coins.
    pub seed: u64,
}

impl Layout {
    /// Makes the cluster and starts every node.
    ///
    /// # Errors
    /// [`ClusterError`]; what was made goes with the namespace.
    pub fn start(self) -> Result<Cluster, ClusterError> {
        let network = Network::start(self.nodes, self.seed)?;
        let made = self.folder.join("cluster");
        let counts = [self.nodes.to_string(), self.shards.to_string()];
        let mut init = std::process::Command::new(&self.rotary);
        init.args(["cluster", "init", "--nodes", &counts[0], "--shards", &counts[1], "--dir"]);
        shell::finish(init.arg(&made))?;
        let token = read(&made.join("admin.token"))?.trim().to_owned();
        let node = |number| self.node(number, &made);
        let nodes = (1..=self.nodes).map(node).collect::<Result<_, _>>()?;
        let (rotary, set, incidents) = (self.rotary.clone(), self.set.clone(), Vec::new());
        let mut cluster = Cluster { nodes, network, rotary, token, set, bug: self.bug, incidents };
        for node in cluster.numbers() {
            cluster.start(node, Trouble::default())?;
        }
        for node in cluster.numbers() {
            cluster.wait_ready(node, READY_LIMIT)?;
        }
        Ok(cluster)
    }

    /// Puts what was made for a node on a volume of its own.
    fn node(&self, number: NodeNumber, made: &Path) -> Result<Node, ClusterError> {
        let from = made.join(format!("node-{number}"));
        let config = from.join("rotary.toml");
        let text = placed(&read(&config)?, number, self.nodes);
        fs::write(&config, text).map_err(|source| io(&config, source))?;
        let image = self.folder.join(format!("disk-{number}"));
        let volume =
            Volume::make(image, self.folder.join(format!("node-{number}")), self.volume_mib)?;
        let (from, to) = (from.join("."), volume.folder().to_string_lossy().into_owned());
        shell::run_with("cp -a", &[&from.to_string_lossy(), &to])?;
        shell::run_with("sync -f", &[&to])?;
        let file = self.folder.join(format!("clock-{number}"));
        let clock = if self.clocks { Clock::new(file.clone()) } else { Ok(None) };
        Ok(Node {
            number,
            volume,
            log: self.logs.join(format!("node-{number}.log")),
            clock: clock.map_err(|source| io(&file, source))?,
            server: None,
            wanted: false,
            served: false,
            false_starts: 0,
        })
    }
}

/// A node's configuration with every node at an address of its own. It listens for clients on all
/// of its addresses, so that the harness can look at it past the faults.
fn placed(config: &str, number: NodeNumber, nodes: NodeNumber) -> String {
    let port = |node: NodeNumber, add: u16| PUBLIC_PORT + 10 * (u16::from(node) - 1) + add;
    let own = format!("public = \"127.0.0.1:{}\"", port(number, 0));
    let mut text = config.replace(&own, &format!("public = \"0.0.0.0:{PUBLIC_PORT}\""));
    for node in 1..=nodes {
        let at = network::address(node);
        let (public, peer) = (port(node, 0), port(node, 2));
        text = text.replace(&format!("127.0.0.1:{public}"), &format!("{at}:{PUBLIC_PORT}"));
        text = text.replace(&format!("127.0.0.1:{peer}"), &format!("{at}:{PEER_PORT}"));
    }
    text
}

fn read(path: &Path) -> Result<String, ClusterError> {
    fs::read_to_string(path).map_err(|source| io(path, source))
}

fn io(path: &Path, source: std::io::Error) -> ClusterError {
    ClusterError::Io { what: path.display().to_string(), source }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_node_gets_an_address_of_its_own() {
        let config = "[listen]\npublic = \"127.0.0.1:7090\"\npeer = \"127.0.0.1:7092\"\n\
                      [[cluster.peers]]\npeer = \"127.0.0.1:7082\"\n\
                      public = \"http://127.0.0.1:7080\"\n\
                      [[cluster.peers]]\npeer = \"127.0.0.1:7092\"\n\
                      public = \"http://127.0.0.1:7090\"\n";
        let expected = "[listen]\npublic = \"0.0.0.0:7080\"\npeer = \"10.77.0.2:7082\"\n\
                        [[cluster.peers]]\npeer = \"10.77.0.1:7082\"\n\
                        public = \"http://10.77.0.1:7080\"\n\
                        [[cluster.peers]]\npeer = \"10.77.0.2:7082\"\n\
                        public = \"http://10.77.0.2:7080\"\n";
        assert_eq!(placed(config, 2, 2), expected);
    }
}
