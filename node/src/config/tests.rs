//! Sources, their order, and what is refused.

use std::time::Duration;

use figment::Figment;
use figment::providers::{Format, Serialized, Toml};

use super::*;

const FILE: &str = "[node]\nid = 1\n[cluster]\nid = \"c\"\n[[cluster.peers]]\nid = 1\n\
                    peer = \"127.0.0.1:1\"\npublic = \"http://x\"\n";

fn load(text: &str, flags: &[&str]) -> Result<Config, String> {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("rotary.toml");
    std::fs::write(&path, text).expect("writable");
    let flags: Vec<String> = flags.iter().map(|flag| (*flag).to_owned()).collect();
    let loaded = Config::load(&path, &flags);
    loaded.map_err(|error| error.to_string().replace(&dir.path().display().to_string(), "DIR"))
}

#[test]
fn the_documented_file_is_the_defaults() {
    let text = include_str!("../../../config/rotary.toml");
    let documented: Config = Figment::from(Toml::string(text)).extract().expect("whole");
    assert_eq!(documented, Config::default());
    let refused = load(text, &[]).expect_err("it names no node");
    assert!(!refused.contains("unknown key"), "{refused}");
}

#[test]
fn a_flag_beats_the_file_and_the_file_beats_the_default() {
    let config = load(FILE, &[]).expect("valid");
    assert_eq!((config.cluster.shards, config.session.heartbeat_ms), (8, 10_000));
    let text = format!("{FILE}[session]\nheartbeat_ms = 500\n");
    assert_eq!(load(&text, &[]).expect("valid").session.heartbeat_ms, 500);
    let config = load(&text, &["session.heartbeat_ms=700", "cluster.shards=2"]).expect("valid");
    assert_eq!((config.cluster.shards, config.session.heartbeat_ms), (2, 700));
}

#[test]
fn retention_is_a_time_with_its_unit() {
    let with = |value: &str| load(&format!("{FILE}[journal]\nretention = {value}\n"), &[]);
    let kept = |loaded: Result<Config, String>| loaded.expect("valid").journal.retention.0;
    for loaded in [with("\"forever\""), load(FILE, &[])] {
        assert_eq!(kept(loaded), None);
    }
    let day = Duration::from_secs(24 * 3_600);
    assert_eq!(kept(with("\"90d\"")), Some(90 * day));
    assert_eq!(kept(load(FILE, &["journal.retention=36h"])), Some(3 * day / 2));
    for value in ["90", "\"90\"", "\"a month\"", "1.5", "\"30s\"", "true"] {
        let error = with(value).expect_err(value);
        assert!(error.contains("journal.retention"), "{value}: {error}");
    }
    let days = format!("{FILE}[journal]\nretention_days = 9\n");
    let error = load(&days, &[]).expect_err("unknown");
    assert!(error.contains("did you mean `journal.retention`?"), "{error}");
}

#[test]
fn an_unknown_key_is_refused_with_the_nearest_one() {
    let error = load(&format!("{FILE}[session]\nhartbeat_ms = 1\n"), &[]).expect_err("unknown");
    let expected = "DIR/rotary.toml: unknown key `session.hartbeat_ms`; did you mean \
                    `session.heartbeat_ms`?; every key is listed in config/rotary.toml";
    assert_eq!(error, expected);
    let error = load(FILE, &["data_dir=x"]).expect_err("unknown");
    assert!(error.contains("did you mean `node.data_dir`?"), "{error}");
    let error = load(FILE, &["zzz.yyy=1"]).expect_err("unknown");
    assert!(error.contains("unknown key `zzz.yyy`; every key"), "{error}");
    let peers = FILE.replace("public", "publik");
    let error = load(&peers, &[]).expect_err("unknown");
    assert!(error.contains("did you mean `cluster.peers.public`?"), "{error}");
}

#[test]
fn a_wrong_value_is_refused_by_its_key() {
    let error = load(&format!("{FILE}[session]\nheartbeat_ms = \"soon\"\n"), &[]);
    assert!(error.expect_err("a text").contains("session.heartbeat_ms"));
    let error = load(&FILE.replace("id = 1\n[cluster]", "id = 2\n[cluster]"), &[]);
    assert!(error.expect_err("no such node").contains("cluster.peers has no such node"));
}

#[test]
fn paths_are_relative_to_the_file() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("rotary.toml");
    std::fs::write(&path, FILE).expect("writable");
    let config = Config::load(&path, &[]).expect("valid");
    assert_eq!(config.node.data_dir, dir.path().join("data"));
    assert_eq!(config.telemetry.log_file, PathBuf::new());
}

#[test]
fn the_environment_is_between_flag_and_file() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("rotary.toml");
    std::fs::write(&path, format!("{FILE}[log]\nthreads = 3\nheartbeat_ms = 50\n"))
        .expect("writable");
    let environment = Figment::new()
        .merge(Serialized::default("log.threads", 4))
        .merge(Serialized::default("cluster.shards", 5));
    let flags = ["cluster.shards=6".to_owned()];
    let sources = Sources::with_environment(&path, environment, &flags).expect("known keys");
    let config = Config::from_sources(&sources, &path).expect("valid");
    let values = (config.log.heartbeat_ms, config.log.threads, config.cluster.shards);
    assert_eq!(values, (50, 4, 6));
    let keys = ["log.heartbeat_ms", "log.threads", "cluster.shards", "session.heartbeat_ms"];
    let origins = keys.map(|key| sources.origin(key));
    let file = path.display().to_string();
    assert_eq!(origins, [&*file, "ROTARY_LOG__THREADS", "--set", "default"]);
}
