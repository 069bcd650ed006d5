//! The nodes' network: a namespace for each, with a TUN device as its only way out.
//!
//! ```text
//!   node N: 10.77.0.N, 10.78.0.N  --tunN--+
//!                                         switch (this process)
//!   clients: 10.77.0.254          --tun0--+
//!   harness: 10.78.0.254
//! ```
//!
//! What the cluster and its clients say to each other is in 10.77.0.0/24. The harness looks at the
//! nodes in 10.78.0.0/24, where no policy is ever set: it sees what a fault does to them, not the
//! fault.

use std::collections::BTreeMap;
use std::io;
use std::net::Ipv4Addr;
use std::process::Command;

use super::shell::{self, ShellError};
use super::switch::{Driver, Handle, Switch};

/// Bytes of the largest packet between hosts.
const MTU: u32 = 1_500;
/// Packets that a device keeps for the switch.
const QUEUE_PACKETS: u32 = 4_096;

/// A network that cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum NetworkError {
    /// A command failed.
    #[error(transparent)]
    Shell(#[from] ShellError),
    /// No TUN device, or no thread.
    #[error("the switch: {0}")]
    Io(#[from] io::Error),
}

/// Where the clients are.
pub const CLIENTS: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 254);

/// Where the cluster and clients reach a node.
pub fn address(node: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 77, 0, node)
}

/// Where the harness reaches a node, past all policies.
pub fn back_door(node: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 78, 0, node)
}

/// A running network. It must be made inside the harness's namespace, and ends with it.
#[derive(Debug)]
pub struct Network {
    driver: Driver,
    nodes: u8,
}

impl Network {
    /// Makes the network of so many nodes, numbered from 1. `seed` fixes every coin of the switch.
    ///
    /// # Errors
    /// [`NetworkError`].
    pub fn start(nodes: u8, seed: u64) -> Result<Self, NetworkError> {
        let mut devices = Vec::new();
        let mut ports = BTreeMap::new();
        for host in 0..=nodes {
            let device = format!("tun{host}");
            devices.push(super::ioctl::tun(&device)?);
            let last = if host == 0 { 254 } else { host };
            if host > 0 {
                shell::run(&format!("ip netns add node-{host}"))?;
                shell::run(&format!("ip link set {device} netns node-{host}"))?;
                ip(host, "link set lo up")?;
            }
            ip(host, &format!("link set {device} mtu {MTU} txqueuelen {QUEUE_PACKETS} up"))?;
            for address in [address(last), back_door(last)] {
                ip(host, &format!("addr add {address}/24 dev {device}"))?;
                ports.insert(address, usize::from(host));
            }
        }
        let driver = Driver::start(Switch::new(seed, ports), devices)?;
        Ok(Self { driver, nodes })
    }

    /// What sets policies and reads counters.
    pub fn switch(&self) -> &Handle {
        self.driver.handle()
    }

    /// How many nodes there are.
    pub fn nodes(&self) -> u8 {
        self.nodes
    }
}

/// Runs `ip` for a node, or here for host 0.
fn ip(host: u8, what: &str) -> Result<String, ShellError> {
    match host {
        0 => shell::run(&format!("ip {what}")),
        _ => shell::run(&format!("ip -n node-{host} {what}")),
    }
}

/// A command whose process is in a node's network, and has its own pid: nothing is forked between.
pub fn command_in(node: u8, program: &str) -> Command {
    let mut command = Command::new("nsenter");
    command.arg(format!("--net=/run/netns/node-{node}")).arg("--").arg(program);
    command
}
