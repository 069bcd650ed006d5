//! The recorded exchanges of `docs/api/conformance` are what gateways do, and a gateway that did
//! otherwise would be told.

#[path = "support/nodes.rs"]
#[expect(dead_code, reason = "each test binary uses its own part of the support")]
mod nodes;

use std::path::{Path, PathBuf};
use std::process::Command;

use nodes::{LIMIT, Nodes, text};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// Every play.
fn plays() -> Vec<PathBuf> {
    let all = std::fs::read_dir(root().join("docs/api/conformance")).expect("a folder");
    let mut all: Vec<PathBuf> = all.map(|entry| entry.expect("readable").path()).collect();
    all.sort_unstable();
    assert!(all.len() >= 8, "{all:?}");
    all
}

/// Plays files against a node, counted from 1; whether all went as written, and what was said.
async fn play(nodes: &Nodes, node: usize, files: &[PathBuf]) -> (bool, String) {
    let mut command = Command::new("python3");
    command
        .arg(root().join("scripts/conformance.py"))
        .args(["--url", &format!("http://{}", nodes.gateways[node - 1].authority())])
        .args(["--token", &nodes.token, "--patience", &LIMIT.as_secs().to_string()])
        .args(files);
    let output = tokio::task::spawn_blocking(move || command.output()).await.expect("it runs");
    let output = output.expect("python3 is at hand: apt-get install python3");
    let said = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8_lossy(&said).into_owned())
}

#[tokio::test]
async fn every_gateway_plays_its_part() {
    let mut nodes = Nodes::init(3, 2);
    nodes.start_all().await;
    let plays = plays();
    for node in 1..=3 {
        let (fine, said) = play(&nodes, node, &plays).await;
        assert!(fine, "at node {node}:\n{said}");
        assert_eq!(said.matches("ok ").count(), plays.len(), "{said}");
    }
}

/// Each line that expects something is needed: with another word in it, its play fails there.
#[tokio::test]
async fn what_differs_is_found() {
    let mut nodes = Nodes::init(1, 1);
    nodes.start_all().await;
    let start = text(&root().join("docs/api/conformance/start.jsonl"));
    for (right, wrong, line) in [
        (r#""mode": "new""#, r#""mode": "replayed""#, 6),
        (r#""link": "up""#, r#""link": "lost""#, 7),
        (r#""type": "pong", "t": 7"#, r#""type": "pong", "t": 8"#, 9),
        (r#""code": "session-ended""#, r#""code": "stopping""#, 11),
    ] {
        let changed = start.replace(right, wrong);
        assert_ne!(changed, start, "{right}");
        let file = nodes.dir.path().join("changed.jsonl");
        std::fs::write(&file, changed).expect("writable");
        let (fine, said) = play(&nodes, 1, &[file]).await;
        assert!(!fine && said.contains(&format!("changed.jsonl:{line}:")), "{wrong}: {said}");
    }
}
