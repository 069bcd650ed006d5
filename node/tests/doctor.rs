//! The doctor beside real nodes: what it finds, and how it ends.

#[path = "support/nodes.rs"]
#[expect(dead_code, reason = "each test binary uses its own part of the support")]
mod nodes;

use std::net::UdpSocket;
use std::path::Path;

use nodes::{Nodes, rotary, text};
use serde_json::Value;

/// What it finds, and its exit code. A disk may be slow here, which is no failure.
fn found(config: &Path) -> (Option<i32>, Vec<(String, String)>) {
    let output = rotary()
        .args(["doctor", "--patience-ms", "3000", "-o", "json", "--config"])
        .arg(config)
        .output()
        .expect("it runs");
    let findings: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let rows = findings["data"].as_array().expect("rows").iter();
    let ills = rows.filter_map(|row| {
        let code = row["code"].as_str().filter(|code| *code != "disk-slow")?;
        Some((code.to_owned(), row["of"].as_str().expect("of what").to_owned()))
    });
    (output.status.code(), ills.collect())
}

/// A configuration with another text in the place of one.
fn changed(nodes: &Nodes, what: &str, with: &str) -> std::path::PathBuf {
    let path = nodes.config(1).with_file_name("changed.toml");
    let config = text(&nodes.config(1));
    assert!(config.contains(what), "{what} is not in {config}");
    std::fs::write(&path, config.replace(what, with)).expect("writable");
    path
}

fn ill(code: &str, of: &str) -> Vec<(String, String)> {
    vec![(code.to_owned(), of.to_owned())]
}

#[tokio::test]
async fn each_ill_of_a_cluster_has_its_code() {
    let mut nodes = Nodes::init(2, 1);
    for node in [1, 2] {
        nodes.configure(node, "[log]\nfree_bytes_min = 1\n");
    }
    nodes.start_all().await;
    assert_eq!(found(&nodes.config(1)), (Some(0), vec![]));

    let (one, two) = (nodes.gateways[0].to_string(), nodes.gateways[1].to_string());
    let config = changed(&nodes, &format!("public = \"{two}\""), &format!("public = \"{one}\""));
    assert_eq!(found(&config), (Some(10), ill("address-wrong", "nd_2")));

    let mute = UdpSocket::bind("127.0.0.1:0").expect("a free port");
    let mute = mute.local_addr().expect("bound").to_string();
    let config = text(&nodes.config(1));
    let row = config.lines().rfind(|line| line.starts_with("peer = ")).expect("that of node 2");
    let config = changed(&nodes, row, &format!("peer = \"{mute}\""));
    assert_eq!(found(&config), (Some(10), ill("udp-blocked", "nd_2")));

    assert!(nodes.stop(2).success());
    assert_eq!(found(&nodes.config(1)), (Some(10), ill("peer-unreachable", "nd_2")));
}

#[test]
fn a_node_that_does_not_run_is_examined_too() {
    let nodes = Nodes::init(1, 1);
    nodes.configure(1, "[log]\nfree_bytes_min = 1\n");
    assert_eq!(found(&nodes.config(1)), (Some(0), vec![]));
    let key = nodes.dir.path().join("node-1/token.secret");
    std::fs::remove_file(&key).expect("there");
    assert_eq!(found(&nodes.config(1)), (Some(10), ill("secret-unreadable", &shown(&key))));
    let broken = rotary().args(["doctor", "--config", "/nowhere/rotary.toml"]).output();
    assert_eq!(broken.expect("it runs").status.code(), Some(2));
}

fn shown(path: &Path) -> String {
    path.display().to_string()
}

#[tokio::test]
async fn a_node_says_at_its_start_what_is_wrong_around_it() {
    let mut nodes = Nodes::init(1, 1);
    let file = nodes.dir.path().join("log.json");
    let more = format!("[telemetry]\nlog_file = \"{}\"\n", file.display());
    nodes.configure(1, &format!("[log]\nfree_bytes_min = {}\n{more}", u64::from(u32::MAX) << 28));
    nodes.start(1);
    let line = nodes::eventually("the disk is judged", async || {
        let lines = std::fs::read_to_string(&file).unwrap_or_default();
        let mut lines = lines.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        lines.find(|line| line["code"] == "disk-low" && line["of"].is_string())
    });
    assert!(line.await["detail"].as_str().expect("a text").contains("log.free_bytes_min"));
}
