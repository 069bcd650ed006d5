//! What keeps a demo from starting, and what leaving one early says.

#[path = "support/nodes.rs"]
#[expect(dead_code, reason = "each test binary uses its own part of the support")]
mod nodes;

use std::io::{BufRead, BufReader, Read as _, Write as _};
use std::net::TcpListener;
use std::process::Stdio;

use nodes::{free_base, rotary, said};

#[test]
fn a_taken_port_or_folder_is_named_with_its_cure() {
    let base = free_base(3);
    let dir = tempfile::tempdir().expect("a directory");
    let folder = dir.path().join("cluster");
    let demo = || {
        let mut demo = rotary();
        demo.args(["demo", "--port-base", &base.to_string(), "--folder"]).arg(&folder);
        said(&demo.stdin(Stdio::null()).output().expect("it runs"))
    };
    let taken = TcpListener::bind(("127.0.0.1", base + 20)).expect("free");
    let (code, why) = demo();
    assert_eq!(code, Some(4), "{why}");
    assert!(why.contains(&format!("TCP port {} is in use", base + 20)), "{why}");
    assert!(why.contains("--port-base "), "{why}");
    assert!(!folder.exists(), "nothing is made before the ports are known to be free");
    drop(taken);
    std::fs::create_dir(&folder).expect("writable");
    let (code, why) = demo();
    assert_eq!(code, Some(4), "{why}");
    assert!(why.contains("is there already") && why.contains("--folder"), "{why}");
}

#[test]
fn leaving_before_the_verdict_is_said_and_is_not_success() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut demo = rotary()
        .args(["demo", "--agents", "8", "--sites", "1", "--port-base"])
        .arg(free_base(3).to_string())
        .arg("--folder")
        .arg(dir.path().join("cluster"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it starts");
    let mut lines = BufReader::new(demo.stdout.take().expect("piped")).lines();
    let banner = lines.by_ref().map(|line| line.expect("text"));
    let banner: Vec<String> = banner.take_while(|line| !line.contains("opened")).collect();
    assert!(banner.len() <= 15, "{banner:#?}");
    assert!(banner.iter().any(|line| line.contains("/#token=")), "{banner:#?}");
    demo.stdin.take().expect("piped").write_all(b"qq").expect("it reads keys");
    lines.for_each(drop);
    let mut why = String::new();
    demo.stderr.take().expect("piped").read_to_string(&mut why).expect("text");
    assert_eq!(demo.wait().expect("it ends").code(), Some(11), "{why}");
    assert!(why.contains("UNVERIFIED: left during the read-back"), "{why}");
}
