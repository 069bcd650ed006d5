//! A real node forgets what is old: answers say so, the disk gets its room back, the rest stays.

#[path = "support/nodes.rs"]
#[expect(dead_code, reason = "each test binary uses its own part of the support")]
mod nodes;
#[path = "support/wire.rs"]
#[expect(dead_code, reason = "each test binary uses its own part of the support")]
mod wire;

use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use hyper::Method;
use nodes::{Nodes, done, eventually, tenant_and_site};
use rotary_client::Api;
use serde_json::{Value, json};

/// The shortest retention that there is, and an eighth of it for pieces to end, and some looks;
/// generous.
const LIMIT: Duration = Duration::from_secs(400);

/// How long a conversation goes on whose beginning is forgotten before its end.
const LASTS: Duration = Duration::from_secs(40);

/// A site with a queue, and one customer's way in.
struct Floor {
    admin: Api,
    customer: Api,
    site: String,
}

impl Floor {
    async fn make(nodes: &Nodes) -> Self {
        let admin = nodes.admin(1);
        let (_, site) = tenant_and_site(&admin, "acme", json!({"name": "north"})).await;
        let queue = format!("/v1/sites/{site}/queues/qu_1");
        done(&admin, Method::PUT, &queue, json!({"name": "sales"})).await;
        let customer = rotary_proto::CustomerId(7);
        let token = json!({"role": "customer", "site": site, "customer": customer, "ttl_s": 3600});
        let token = done(&admin, Method::POST, "/v1/tokens", token).await;
        let customer = nodes.api(token["token"].as_str().expect("a text"));
        Self { admin, customer, site }
    }

    /// A conversation of that many messages, each of those words, which ends at once.
    async fn chat(&self, messages: u128, words: &str) -> String {
        let id = self.open().await;
        for number in 0..messages {
            let item = rotary_proto::ItemId(number);
            let body = json!({"item": {"id": item, "body": {"text": {"text": words}}}});
            let path = format!("/v1/conversations/{id}/messages");
            done(&self.customer, Method::POST, &path, body).await;
        }
        let path = format!("/v1/conversations/{id}/abandon");
        done(&self.customer, Method::POST, &path, json!({})).await;
        id
    }

    /// Begins a conversation that goes on.
    async fn open(&self) -> String {
        let path = format!("/v1/sites/{}/conversations", self.site);
        let body = json!({"queue": "qu_1", "channel": "chat"});
        let opened = done(&self.customer, Method::POST, &path, body).await;
        opened["conversation"].as_str().expect("a text").to_owned()
    }

    /// Says something with a file in a conversation, and ends it; gives where the file is read.
    async fn end_with_file(&self, nodes: &Nodes, id: &str) -> String {
        let token = &nodes.token;
        let head = format!(
            "POST /v1/sites/{}/blobs HTTP/1.1\r\nauthorization: Bearer {token}\r\n\
             content-length: 5",
            self.site
        );
        let stored = wire::send_to(&nodes.gateways[0], &head, b"words").await;
        assert_eq!(stored.status, 201, "{}", stored.body);
        let file: Value = serde_json::from_str(&stored.body).expect("JSON");
        let read = format!(
            "/v1/conversations/{id}/attachments/{}",
            file["blob"].as_str().expect("a text")
        );
        let item = json!({"id": rotary_proto::ItemId(99),
            "body": {"text": {"text": "here"}, "attachments": [file]}});
        let path = format!("/v1/conversations/{id}/messages");
        done(&self.customer, Method::POST, &path, json!({"item": item})).await;
        let path = format!("/v1/conversations/{id}/abandon");
        done(&self.customer, Method::POST, &path, json!({})).await;
        read
    }

    /// The words of a conversation, or why they are not told.
    async fn words(&self, conversation: &str) -> Result<Vec<String>, String> {
        let path = format!("/v1/conversations/{conversation}/messages");
        let page = self.admin.read::<Value>(&path).await.map_err(|error| error.to_string())?;
        let rows = page["data"].as_array().expect("a list").iter();
        let text = |row: &Value| row["body"]["text"]["text"].as_str().expect("a text").to_owned();
        Ok(rows.map(text).collect())
    }

    /// The conversations that are listed as closed.
    async fn closed(&self) -> Vec<String> {
        let path = format!("/v1/conversations?site={}&limit=1000", self.site);
        let page = self.admin.read::<Value>(&path).await.expect("readable");
        let rows = page["data"].as_array().expect("a list").iter();
        rows.map(|row| row["conversation"].as_str().expect("an id").to_owned()).collect()
    }

    /// What a measure without labels is, or the sum of one with them.
    async fn measured(&self, name: &str) -> Option<f64> {
        let answer = self.admin.fetch("/metrics").await.ok()?;
        let text = String::from_utf8_lossy(&answer.body).into_owned();
        let rows = text.lines().filter(|line| {
            line.strip_prefix(name).is_some_and(|rest| rest.starts_with(['{', ' ']))
        });
        rows.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).reduce(|a, b| a + b)
    }

    /// What is old is not told any more, for a reason that is; what is new is.
    async fn assert_forgotten(&self, old: &str, new: &str) {
        let why = self.words(old).await.expect_err("it is forgotten");
        assert!(why.contains("older than what this cluster keeps"), "{why}");
        let trace = self.admin.read::<Value>(&format!("/v1/conversations/{old}/trace")).await;
        let why = trace.expect_err("it is forgotten").to_string();
        assert!(why.contains("older than what this cluster keeps"), "{why}");
        let events = format!("/v1/sites/{}/events?after=0", self.site);
        let why = self.admin.read::<Value>(&events).await.expect_err("forgotten").to_string();
        assert!(why.contains("forgotten"), "{why}");
        assert_eq!(self.words(new).await, Ok(vec!["a new word".to_owned()]));
        let closed = self.closed().await;
        assert!(!closed.iter().any(|id| id == old), "{closed:?}");
        assert!(closed.iter().any(|id| id == new), "{closed:?}");
    }
}

/// The files of the site's journal, the oldest first.
fn segments(journal: &Path) -> Vec<PathBuf> {
    let files = std::fs::read_dir(journal.join("group-1")).expect("the shard's journal");
    let mut files: Vec<PathBuf> = files.map(|file| file.expect("readable").path()).collect();
    files.sort_unstable();
    files
}

fn bytes(files: &[PathBuf]) -> u64 {
    // One may be dropped while it is looked at.
    files.iter().filter_map(|file| Some(std::fs::metadata(file).ok()?.len())).sum()
}

/// Writes over a file, unless it has just been dropped.
fn damage(file: &Path) {
    let Ok(mut open) = std::fs::File::options().write(true).open(file) else { return };
    let length = open.metadata().expect("readable").len();
    std::io::copy(&mut std::io::repeat(0xaa).take(length), &mut open).expect("writable");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_older_than_the_retention_is_forgotten_and_the_rest_is_not() {
    let mut nodes = Nodes::init(1, 1);
    nodes.configure(1, "[journal]\nretention = \"1min\"");
    let journal = nodes.dir.path().join("node-1/data/journal");
    nodes.start_all().await;
    let floor = Floor::make(&nodes).await;
    let long = "word ".repeat(800);
    let (lasting, mut file) = (floor.open().await, None);
    let old = floor.chat(50, &long).await;
    let begun = Instant::now();
    assert_eq!(floor.words(&old).await.map(|words| words.len()), Ok(50));
    let before = eventually("it is on disk", async || {
        let bytes = bytes(&segments(&journal));
        (bytes > 50 * long.len() as u64).then_some(bytes)
    })
    .await;

    // Time passes, and something happens in it: without that nobody knows how late it is.
    let mut new = floor.chat(1, "a new word").await;
    while floor.words(&old).await.is_ok() {
        assert!(begun.elapsed() < LIMIT, "it is never forgotten");
        tokio::time::sleep(Duration::from_secs(1)).await;
        if file.is_none() && begun.elapsed() >= LASTS {
            file = Some(floor.end_with_file(&nodes, &lasting).await);
            assert_eq!(floor.words(&lasting).await, Ok(vec!["here".to_owned()]));
        }
        new = floor.chat(1, "a new word").await;
    }
    assert!(begun.elapsed() > Duration::from_secs(55), "forgotten after {:?}", begun.elapsed());
    floor.assert_forgotten(&old, &new).await;
    // A conversation whose beginning is gone is not told in part, nor are its files.
    floor.words(&lasting).await.expect_err("it is forgotten");
    let read = floor.admin.fetch(&file.expect("it ended")).await;
    let why = read.expect_err("it is forgotten").to_string();
    assert!(why.contains("older than what this cluster keeps"), "{why}");
    let after = bytes(&segments(&journal));
    assert!(after + 40 * (long.len() as u64) < before, "{before} bytes became {after}");
    let dropped = floor.measured("rotary_journal_dropped_bytes_total").await;
    assert!(dropped.is_some_and(|bytes| bytes > 40.0 * long.len() as f64), "{dropped:?}");
    assert_eq!(floor.measured("rotary_retention_failures_total").await, Some(0.0));

    assert!(nodes.stop(1).success());
    nodes.start_all().await;
    floor.assert_forgotten(&old, &new).await;
    let newest = floor.chat(1, "a new word").await;
    floor.assert_forgotten(&old, &newest).await;

    // A piece that cannot be read cannot be judged, and that is counted.
    eventually("a failed look is counted", async || {
        damage(&segments(&journal)[0]);
        let failures = floor.measured("rotary_retention_failures_total").await?;
        (failures > 0.0).then_some(())
    })
    .await;
}
