//! What one sees first: at most fifteen lines.

use std::time::Duration;

use super::args::DemoArgs;
use super::cluster::Cluster;

/// Prints where everything is, and what the keys do.
pub(super) fn print(cluster: &Cluster, args: &DemoArgs, took: Duration) {
    for line in lines(cluster, args, took) {
        println!("{line}");
    }
}

fn lines(cluster: &Cluster, args: &DemoArgs, took: Duration) -> Vec<String> {
    let options = args.options();
    let mut lines = vec![format!(
        "rotary {}  demo cluster in {}, ready in {:.1} s",
        env!("CARGO_PKG_VERSION"),
        cluster.folder().display(),
        took.as_secs_f64()
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
        lines.push(
            "  keys     1 2 3 kill -9 that node | s restart the dead | v verify and go on | q \
            verify and quit"
                .to_owned(),
        );
    }
    lines
}
