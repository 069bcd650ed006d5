//! The registry, the sources and the document say the same metrics.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use super::*;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("a crate in a workspace").to_owned()
}

fn unit(name: &str) -> &'static str {
    let stem = name.strip_suffix("_total").unwrap_or(name);
    match stem.rsplit('_').next() {
        Some("seconds") => "seconds",
        Some("bytes") => "bytes",
        Some("index") => "log index",
        _ => "",
    }
}

const ABOUT: &str = "# Metrics

Every node answers `GET /metrics` with these, in the text form of Prometheus. Labels never carry
ids of people, conversations or tenants. This file is written from `node/src/telemetry/names.rs`.

| name | kind | unit | labels | meaning |
|---|---|---|---|---|
";

fn document() -> String {
    let mut text = ABOUT.to_owned();
    for metric in METRICS {
        let (name, kind) = (metric.name, format!("{:?}", metric.kind).to_lowercase());
        let labels: Vec<String> = metric.labels.iter().map(|label| format!("`{label}`")).collect();
        let (unit, labels, help) = (unit(name), labels.join(" "), metric.help());
        writeln!(text, "| `{name}` | {kind} | {unit} | {labels} | {help} |").expect("a text");
    }
    text
}

/// Compares with `docs/metrics.md`, or writes it where `ROTARY_BLESS` is 1.
#[test]
fn the_document_is_the_registry() {
    let path = root().join("docs/metrics.md");
    if std::env::var_os("ROTARY_BLESS").is_some_and(|value| value == "1") {
        std::fs::write(&path, document()).expect("writable");
    }
    let kept = std::fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(kept, document(), "docs/metrics.md differs; run with ROTARY_BLESS=1 and commit it");
}

#[test]
fn names_say_what_they_are() {
    let names: BTreeSet<&str> = METRICS.iter().map(|metric| metric.name).collect();
    assert_eq!(names.len(), METRICS.len(), "a name is there twice");
    for metric in METRICS {
        let Metric { name, kind, .. } = metric;
        // Those of the process have the names that they have everywhere.
        assert!(name.starts_with("rotary_") || name.starts_with("process_"), "{name}");
        assert_eq!(name.ends_with("_total"), *kind == Kind::Counter, "{name}");
        assert!(metric.help().ends_with('.'), "{name}: {}", metric.help());
    }
}

#[test]
fn every_metric_is_measured() {
    let registry = std::fs::read_to_string(root().join("node/src/telemetry/names.rs"));
    let registry = registry.expect("this crate's source");
    let rows = registry.lines().filter_map(|line| line.strip_prefix("    ")?.split_once(": "));
    let is_row = |rest: &str| rest.contains(" \"rotary_") || rest.contains(" \"process_");
    let constants = rows.filter(|(_, rest)| is_row(rest)).map(|(name, _)| name);
    let constants: Vec<&str> = constants.collect();
    assert_eq!(constants.len(), METRICS.len());
    let (mut folders, mut code) = (vec![root().join("node/src")], String::new());
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).expect("a folder of sources") {
            let path = entry.expect("readable").path();
            match path.is_dir() {
                true => folders.push(path),
                false => code += &std::fs::read_to_string(&path).expect("a source is text"),
            }
        }
    }
    for constant in constants {
        let used = |end: &str| code.contains(&format!("names::{constant}{end}"));
        assert!([",", ")", ";"].into_iter().any(used), "nothing measures {constant}");
    }
}
