//! The checks that a running node makes by itself, told in its log lines with their codes.

use std::collections::BTreeSet;
use std::time::Duration;

use metrics::gauge;
use rotary_client::Trust;
use rotary_proto::NodeId;

use crate::cli::trust;
use crate::config::{Config, PeerNode};
use crate::doctor::{Finding, local, peers};
use crate::telemetry::names;

/// The others may be starting too.
const FIRST_LOOK: Duration = Duration::from_secs(15);
const LOOK_AGAIN: Duration = Duration::from_secs(300);
/// How long an answer of another node is waited for.
const PATIENCE: Duration = Duration::from_secs(3);

/// Looks at this machine's disk and certificate at once, at the other nodes a little later, and
/// again from time to time. `peers` gives the core nodes that there are, `reaches` says whether
/// they are connected over UDP.
pub(crate) async fn watch(
    config: Config,
    peers: impl Fn() -> Vec<PeerNode>,
    reaches: impl Fn(NodeId) -> bool,
) {
    let (mut told, mut compared) = (BTreeSet::new(), BTreeSet::new());
    let trusted = trust(config.gateway.trusted()).unwrap_or_else(|error| {
        tracing::warn!(%error, "gateway.ca_file is of no use: nodes that speak TLS are not seen");
        Trust::default()
    });
    tell(&mut told, look_here(&config).await);
    tokio::time::sleep(FIRST_LOOK).await;
    loop {
        let mut found = look_here(&config).await;
        let mut answered = BTreeSet::new();
        for peer in &peers() {
            // A node that nobody answers for may be stopped on purpose: the cluster view says so.
            let Ok(answer) = peers::ask(peer, &trusted, PATIENCE).await else { continue };
            let node = NodeId(peer.id);
            ahead(node, answer.ahead_ms() as f64 / 1e3);
            answered.insert(node);
            found.extend(peers::differing(peer, &answer));
            if !reaches(node) {
                let detail = format!("{} answers, {} (UDP) does not", peer.public, peer.peer);
                found.push(Finding::failure("udp-blocked", node, detail));
            }
        }
        // Of whom nothing is known, nothing is said.
        compared.difference(&answered).for_each(|node| ahead(*node, 0.0));
        compared.extend(answered);
        tell(&mut told, found);
        tokio::time::sleep(LOOK_AGAIN).await;
    }
}

fn ahead(node: NodeId, seconds: f64) {
    gauge!(names::CLOCK_AHEAD, "node" => node.to_string()).set(seconds);
}

async fn look_here(config: &Config) -> Vec<Finding> {
    let config = config.clone();
    let looked = tokio::task::spawn_blocking(move || local::look_again(&config)).await;
    looked.unwrap_or_default()
}

/// Logs what was not told at the look before, and forgets what has gone.
fn tell(told: &mut BTreeSet<(&'static str, String)>, found: Vec<Finding>) {
    let ills = found.into_iter().filter_map(|finding| Some((finding.code?, finding)));
    let mut present = BTreeSet::new();
    for (code, Finding { of, detail, .. }) in ills {
        if !told.contains(&(code, of.clone())) {
            tracing::warn!(code, of, detail, "something around this node is not as it should be");
        }
        present.insert((code, of));
    }
    *told = present;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ill_is_told_once_while_it_lasts() {
        let mut told = BTreeSet::new();
        let slow = || vec![Finding::warning("disk-slow", "data", ""), Finding::good("x", "")];
        tell(&mut told, slow());
        assert_eq!(told.len(), 1);
        tell(&mut told, slow());
        assert_eq!(told.len(), 1);
        tell(&mut told, vec![Finding::good("x", "")]);
        assert!(told.is_empty(), "it may come back, and is told again");
    }
}
