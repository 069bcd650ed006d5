//! What one sees first: at most fifteen lines.

use std::fmt;
use std::time::Duration;

use super::args::DemoArgs;
use super::cluster::Cluster;

/// How long the start took.
#[derive(Debug, Clone, Copy)]
pub(super) struct Took {
    /// Until the nodes' folders were made.
    pub made: Duration,
    /// Until every node was ready.
    pub healthy: Duration,
    /// Until every agent was signed in.
    pub all: Duration,
}

impl fmt::Display for Took {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { made, healthy, all } = self;
        let [all_s, made_s, nodes_s, agents_s] =
            [*all, *made, *healthy - *made, *all - *healthy].map(|time| time.as_secs_f64());
        write!(f, "healthy in {all_s:.1} s ")?;
        write!(f, "(folders {made_s:.1}, nodes {nodes_s:.1}, agents {agents_s:.1})")
    }
}

/// What can be pressed.
pub(super) const KEYS: &str = "1-9 kill -9 that node | p1-p9 pause it, or let it go on | x1-x9 \
    cut it off, or join it again | s all well again | + one more gateway | v verify and go on | q \
    verify and quit";

/// Prints where everything is, and what the keys do.
pub(super) fn print(cluster: &Cluster, args: &DemoArgs, took: Took) {
    for line in lines(cluster, args, took) {
        println!("{line}");
    }
}

fn lines(cluster: &Cluster, args: &DemoArgs, took: Took) -> Vec<String> {
    let options = args.options();
    let mut lines = vec![format!(
        "rotary {}  demo cluster in {}, {took}",
        env!("CARGO_PKG_VERSION"),
        cluster.folder().display(),
    )];
    for (node, gateway, pid) in cluster.nodes() {
        let pid = pid.map_or("-".to_owned(), |pid| pid.to_string());
        lines.push(format!("  {node}  pid {pid:<8} {gateway}"));
    }
    lines.push(String::new());
    if let Some((_, gateway, _)) = cluster.nodes().first() {
        lines.push(format!("  status   {gateway}/#token={}", cluster.token()));
        lines.push(format!("  metrics  {gateway}/metrics"));
    }
    lines.push(format!(
        "  traffic  {} from {} at {} times the speed of life, share {}, {} agents in {} sites, \
        seed {}",
        options.day,
        options.from,
        options.speed,
        options.share,
        options.agents,
        options.sites,
        options.seed
    ));
    if args.script.is_none() {
        lines.push(String::new());
        lines.push(format!("  keys     {KEYS}"));
    }
    lines
}
