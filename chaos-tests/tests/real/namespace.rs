//! The namespace takes everything along, and what the machine can do is found out.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rotary_chaos::real::{probe, shell};

/// What the inside says when all that it makes is there.
const MADE: &str = "everything is made";

fn loops() -> String {
    shell::run("losetup --list --noheadings --output BACK-FILE").expect("losetup is there")
}

fn processes_of(mark: &str) -> usize {
    let all = std::fs::read_dir("/proc").expect("proc is mounted").flatten();
    let lines = all.filter_map(|entry| std::fs::read(entry.path().join("cmdline")).ok());
    lines.filter(|line| String::from_utf8_lossy(line).contains(mark)).count()
}

/// Makes mounts, a loop device, processes and network namespaces, and waits to be killed.
#[test]
#[ignore = "the inside of the next test"]
fn something_to_leave_behind() {
    if !rotary_chaos::real::namespace::is_inside() {
        return;
    }
    rotary_chaos::real::namespace::furnish().expect("furnished");
    shell::run("mount -t tmpfs tmpfs /mnt").expect("a tmpfs");
    let (image, mount) = ("/mnt/left-behind-image".into(), "/mnt/volume".into());
    let _volume = rotary_chaos::real::volume::Volume::make(image, mount, 16).expect("a volume");
    let _network = rotary_chaos::real::network::Network::start(2, 1).expect("a network");
    let mut sleeper = Command::new("setsid").args(["sleep", "3331.77"]).spawn().expect("sleep");
    println!("\n{MADE}");
    sleeper.wait().expect("it is killed with us");
}

#[test]
fn the_end_of_the_harness_leaves_nothing_behind() {
    let name = "namespace::something_to_leave_behind";
    if !super::allowed() {
        super::inside(name);
        return;
    }
    let mut guard = super::again(name).stdout(Stdio::piped()).spawn().expect("unshare");
    let lines = BufReader::new(guard.stdout.take().expect("it is piped")).lines();
    let mut said = lines.map_while(Result::ok);
    assert!(said.any(|line| line == MADE), "the inside ended early");
    assert!(loops().contains("left-behind-image"), "{}", loops());
    assert_eq!(processes_of("3331.77"), 1);
    guard.kill().expect("it runs");
    guard.wait().expect("it ran");
    let until = Instant::now() + Duration::from_secs(60);
    while processes_of("3331.77") > 0 || loops().contains("left-behind-image") {
        assert!(Instant::now() < until, "left: {}", loops());
        std::thread::yield_now();
    }
    let mounts = std::fs::read_to_string("/proc/mounts").expect("proc is mounted");
    assert!(!mounts.contains("/mnt/volume"), "{mounts}");
    assert!(!Path::new("/run/netns/node-1").exists());
}

#[test]
fn the_probe_finds_what_works() {
    if !super::inside("namespace::the_probe_finds_what_works") {
        return;
    }
    shell::run("mount -t tmpfs tmpfs /mnt").expect("a tmpfs");
    let findings = probe::probe(Path::new("/mnt/probe"));
    print!("{}", probe::table(&findings));
    for needed in [probe::Mechanism::NetworkNamespace, probe::Mechanism::Tun] {
        let found = findings.iter().find(|finding| finding.mechanism == needed);
        assert!(found.is_some_and(|finding| finding.missing.is_none()), "{needed:?}");
    }
}
