//! What a node measures is what docs/metrics.md says: names, kinds and labels.

#[path = "support/nodes.rs"]
#[expect(dead_code, reason = "each test binary uses its own part of the support")]
mod nodes;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use hyper::Method;
use nodes::{Nodes, done};
use serde_json::json;

/// Kind and labels of each documented metric.
fn documented() -> BTreeMap<String, (String, BTreeSet<String>)> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/metrics.md");
    let text = nodes::text(&path);
    let rows = text.lines().filter(|line| line.starts_with("| `"));
    let bare = |text: &str| text.trim().trim_matches('`').to_owned();
    let row = |line: &str| {
        let cells: Vec<&str> = line.split('|').collect();
        let labels = cells[4].split_whitespace().map(bare).collect();
        (bare(cells[1]), (bare(cells[2]), labels))
    };
    rows.map(row).collect()
}

/// The metric that a series belongs to: a histogram's has an ending of its own.
fn metric_of<'a>(
    series: &'a str,
    documented: &BTreeMap<String, (String, BTreeSet<String>)>,
) -> &'a str {
    let stems = ["_bucket", "_sum", "_count"].map(|end| series.strip_suffix(end));
    let stem = stems.into_iter().flatten().find(|stem| documented.contains_key(*stem));
    stem.unwrap_or(series)
}

#[tokio::test]
async fn a_scrape_is_as_documented() {
    let documented = documented();
    let mut nodes = Nodes::init(1, 1);
    nodes.start_all().await;
    let admin = nodes.admin(1);
    let tenant = done(&admin, Method::POST, "/v1/tenants", json!({"name": "Blue"})).await;
    let body = json!({"tenant": tenant["tenant"], "settings": {"name": "Lobby"}});
    let site = done(&admin, Method::POST, "/v1/sites", body).await;
    let site = site["site"].as_str().expect("a site");
    let path = format!("/v1/sites/{site}/queues/qu_1");
    done(&admin, Method::PUT, &path, json!({"name": "Sales"})).await;
    let answer = admin.fetch("/metrics").await.expect("it measures");
    let text = String::from_utf8(answer.body.to_vec()).expect("text");
    let mut seen = BTreeSet::new();
    for line in text.lines().filter(|line| !line.is_empty()) {
        let words: Vec<&str> = line.splitn(4, ' ').collect();
        if words[0] == "#" {
            let (kind, _) = documented.get(words[2]).unwrap_or_else(|| panic!("{line}"));
            assert!(words[1] == "HELP" || words[3] == kind, "{line}; documented as {kind}");
            continue;
        }
        let (series, labels) = line.split_once(['{', ' ']).expect("a name and a value");
        let name = metric_of(series, &documented);
        let (_, wanted) = documented.get(name).unwrap_or_else(|| panic!("undocumented: {line}"));
        let labels = labels.split_once('}').map_or("", |(labels, _)| labels);
        let keys = labels.split(',').filter_map(|pair| pair.split_once('=')).map(|(key, _)| key);
        let keys: BTreeSet<String> = keys.filter(|key| *key != "le").map(str::to_owned).collect();
        assert_eq!(&keys, wanted, "{line}");
        seen.insert(name.to_owned());
    }
    for name in ["rotary_command_commit_seconds", "rotary_queue_waiting", "rotary_raft_leader"] {
        assert!(seen.contains(name), "{name} is not measured: {seen:?}");
    }
}
