//! What is wrong at the start is said with its cure, and with the exit code of its kind.

#[path = "support/nodes.rs"]
#[expect(dead_code, reason = "each test binary uses its own part of the support")]
mod nodes;

use std::net::{TcpListener, UdpSocket};
use std::path::Path;

use nodes::{Nodes, rotary, said, text};

/// Runs a server that cannot start; its exit code and what it says.
fn refused(config: &Path, more: &[&str]) -> (Option<i32>, String) {
    let output = rotary()
        .args(["server", "--exit-with-stdin"])
        .args(more)
        .arg("--config")
        .arg(config)
        .stdin(std::process::Stdio::null())
        .output();
    said(&output.expect("it runs"))
}

/// An address from a configuration file.
fn address<'a>(config: &'a str, key: &str) -> &'a str {
    let line = config.lines().find(|line| line.starts_with(key)).expect(key);
    line.split('"').nth(1).expect("quoted")
}

#[test]
fn a_taken_address_is_named_with_its_key() {
    let nodes = Nodes::init(1, 1);
    let config = text(&nodes.config(1));
    let tcp = TcpListener::bind(address(&config, "public =")).expect("free");
    let (code, why) = refused(&nodes.config(1), &[]);
    assert_eq!(code, Some(4), "{why}");
    assert!(why.contains("is in use") && why.contains("listen.public"), "{why}");
    drop(tcp);
    let _udp = UdpSocket::bind(address(&config, "peer =")).expect("free");
    let (code, why) = refused(&nodes.config(1), &[]);
    assert_eq!(code, Some(4), "{why}");
    assert!(why.contains("is in use") && why.contains("listen.peer"), "{why}");
}

#[test]
fn a_misspelt_key_is_refused_with_the_nearest_one() {
    let nodes = Nodes::init(1, 1);
    let (code, why) = refused(&nodes.config(1), &["--set", "session.heartbeet_ms=1"]);
    assert_eq!(code, Some(2), "{why}");
    assert!(why.contains("did you mean `session.heartbeat_ms`?"), "{why}");
    let (code, why) = refused(Path::new("/nowhere/rotary.toml"), &[]);
    assert_eq!(code, Some(2), "{why}");
    assert!(why.contains("cluster init"), "{why}");
}

/// What it is started with is open still.
#[tokio::test]
async fn a_node_stops_when_it_is_told_to() {
    let mut nodes = Nodes::init_before(1, 1, 1);
    nodes.start_all().await;
    assert!(nodes.terminate(2).success());
    assert!(nodes.terminate(1).success());
}

#[test]
fn the_directory_of_another_node_or_cluster_is_refused() {
    let (ours, theirs) = (Nodes::init(2, 1), Nodes::init(1, 1));
    let set = |path: &Path| format!("node.data_dir={}", path.join("data").display());
    let other = set(&theirs.dir.path().join("node-1"));
    let (code, why) = refused(&ours.config(1), &["--set", &other]);
    assert_eq!(code, Some(4), "{why}");
    assert!(why.contains("belongs to cluster"), "{why}");
    let second = set(&ours.dir.path().join("node-2"));
    let (code, why) = refused(&ours.config(1), &["--set", &second]);
    assert_eq!(code, Some(4), "{why}");
    assert!(why.contains("belongs to node 2"), "{why}");
    let empty = set(&ours.dir.path().join("nothing"));
    let (code, why) = refused(&ours.config(1), &["--set", &empty]);
    assert_eq!(code, Some(1), "{why}");
    assert!(why.contains("rotary cluster init"), "{why}");
}

#[test]
fn certificates_that_are_missing_or_anothers_are_refused() {
    let nodes = Nodes::init(2, 1);
    let (code, why) = refused(&nodes.config(1), &["--set", "tls.cert_file=nowhere.pem"]);
    assert_eq!(code, Some(1), "{why}");
    assert!(why.contains("nowhere.pem") && why.contains("tls.cert_file"), "{why}");
    let second = nodes.dir.path().join("node-2/tls");
    let cert = format!("tls.cert_file={}", second.join("node.pem").display());
    let key = format!("tls.key_file={}", second.join("node.key").display());
    let (code, why) = refused(&nodes.config(1), &["--set", &cert, "--set", &key]);
    assert_eq!(code, Some(1), "{why}");
    assert!(why.contains("is the certificate of nd_2"), "{why}");
}

#[test]
fn a_cluster_is_not_made_over_another() {
    let nodes = Nodes::init(1, 1);
    let before = text(&nodes.config(1));
    let output = rotary().args(["cluster", "init", "--dir"]).arg(nodes.dir.path()).output();
    let (code, why) = said(&output.expect("it runs"));
    assert_eq!(code, Some(4), "{why}");
    assert!(why.contains("is there already"), "{why}");
    assert_eq!(text(&nodes.config(1)), before);
}

#[tokio::test]
async fn a_second_process_on_one_directory_is_refused_by_the_firsts_number() {
    let mut nodes = Nodes::init(1, 1);
    nodes.start_all().await;
    let (code, why) = refused(&nodes.config(1), &[]);
    assert_eq!(code, Some(4), "{why}");
    assert!(why.contains("is in use by process"), "{why}");
    assert!(nodes.stop(1).success());
}

#[test]
fn a_build_for_harnesses_says_so_and_names_what_it_cannot_plant() {
    let version = rotary().arg("--version").output().expect("it runs");
    let version = String::from_utf8_lossy(&version.stdout).trim().to_owned();
    if !cfg!(any(feature = "chaos", feature = "simulated")) {
        assert_eq!(version, concat!("rotary ", env!("CARGO_PKG_VERSION")));
        return;
    }
    assert!(version.ends_with("never serve with it)"), "{version}");
    if !cfg!(feature = "chaos") {
        return;
    }
    let nodes = Nodes::init(1, 1);
    for (variable, value, names) in [
        (
            "ROTARY_PLANTED",
            "slot-lost",
            "\"slot-lost\" is no planted bug; choose among slot-leaked",
        ),
        ("ROTARY_FAILPOINTS", "flush=abort", "\"flush\" is no operation; choose among create"),
    ] {
        let output = rotary()
            .args(["server", "--exit-with-stdin", "--config"])
            .arg(nodes.config(1))
            .env(variable, value)
            .stdin(std::process::Stdio::null())
            .output();
        let (code, why) = said(&output.expect("it runs"));
        assert_eq!(code, Some(2), "{why}");
        assert!(why.contains(variable) && why.contains(names), "{why}");
        assert!(why.contains("this build is for harnesses"), "{why}");
    }
}
