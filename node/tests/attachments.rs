//! Files that go with messages, on a real cluster: through whichever node they come, whichever node
//! dies, whoever asks for them.

#[path = "support/nodes.rs"]
#[expect(dead_code, reason = "each test binary uses its own part of the support")]
mod nodes;
#[path = "support/wire.rs"]
#[expect(dead_code, reason = "each test binary uses its own part of the support")]
mod wire;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::Mutex;
use std::time::Duration;

use futures::SinkExt;
use hyper::Method;
use nodes::{Nodes, done, eventually, tenant_and_site};
use rotary_client::Gateway;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;
use wire::{Answer, ask, connect, frame, send_to};

const CUSTOMER: &str = "cu_00000000000000000000000000000001";
const STRANGER: &str = "cu_00000000000000000000000000000002";
/// More than a request's body may have elsewhere, and several blocks on the disk.
const LARGE: usize = 300_000;

/// A cluster with a site in which somebody can say something.
struct House {
    nodes: Nodes,
    tenant: Value,
    site: String,
}

impl House {
    async fn build(cores: u16, gateways: u16, more: &str) -> Self {
        let mut nodes = Nodes::init_before(cores, gateways, 1);
        (1..=usize::from(cores + gateways)).for_each(|node| nodes.configure(node, more));
        nodes.start_all().await;
        let (tenant, site) = tenant_and_site(&nodes.admin(1), "Blue", json!({"name": "x"})).await;
        let queue = format!("/v1/sites/{site}/queues/qu_1");
        done(&nodes.admin(1), Method::PUT, &queue, json!({"name": "Sales"})).await;
        Self { nodes, tenant, site }
    }

    fn gateway(&self, node: usize) -> &Gateway {
        &self.nodes.gateways[node - 1]
    }

    async fn sign(&self, wanted: Value) -> String {
        let made = done(&self.nodes.admin(1), Method::POST, "/v1/tokens", wanted).await;
        made["token"].as_str().expect("a text").to_owned()
    }

    async fn customer(&self, customer: &str) -> String {
        let wanted = json!({"role": "customer", "site": self.site, "customer": customer,
            "ttl_s": 3_600});
        self.sign(wanted).await
    }

    fn uploads(&self) -> String {
        format!("/v1/sites/{}/blobs", self.site)
    }

    /// Uploads as the administrator, which must be done.
    async fn upload(&self, node: usize, bytes: &[u8]) -> Value {
        let answer = upload(self.gateway(node), &self.uploads(), &self.nodes.token, bytes).await;
        let answer = answer.expect("an answer");
        assert_eq!(answer.status, 201, "{}", answer.body);
        serde_json::from_str(&answer.body).expect("JSON")
    }

    fn conversation(&self, unique: u128) -> String {
        format!("cv_{}.{unique:032x}", &self.site["st_".len()..])
    }

    /// Opens a conversation whose first message has that file.
    async fn open(&self, node: usize, unique: u128, file: &Value) -> Answer {
        let item = json!({"id": format!("it_{unique:032x}"),
            "body": {"text": {"text": "Here it is."}, "attachments": [file]}});
        let open = json!({"conversation": self.conversation(unique), "queue": "qu_1",
            "channel": "chat", "customer": CUSTOMER, "item": item});
        let path = format!("/v1/sites/{}/conversations", self.site);
        ask(self.gateway(node), "POST", &path, &self.nodes.token, "", &open).await
    }

    fn file_path(&self, unique: u128, file: &Value) -> String {
        let blob = file["blob"].as_str().expect("a text");
        format!("/v1/conversations/{}/attachments/{blob}", self.conversation(unique))
    }

    /// Reads a file as the administrator, in whatever state the node is.
    async fn read(&self, node: usize, unique: u128, file: &Value, more: &str) -> Answer {
        self.read_as(node, &self.file_path(unique, file), &self.nodes.token, more).await
    }

    async fn read_as(&self, node: usize, path: &str, token: &str, more: &str) -> Answer {
        let head = format!("GET {path} HTTP/1.1\r\nauthorization: Bearer {token}{more}");
        send_to(self.gateway(node), &head, b"").await
    }

    /// Where a node, counted from 1, keeps a file.
    fn on_disk(&self, node: usize, file: &Value) -> PathBuf {
        let (tenant, number) = self.site["st_".len()..].split_once('.').expect("two numbers");
        let [tenant, number] = [tenant, number].map(|n| n.parse::<u64>().expect("a number"));
        let blob = &file["blob"].as_str().expect("a text")["bl_".len()..];
        let folder = format!("node-{node}/data/blobs/{:016x}", tenant << 32 | number);
        self.nodes.dir.path().join(folder).join(blob)
    }
}

/// Sends bytes; nothing where the node dies before it answers.
async fn upload(gateway: &Gateway, path: &str, token: &str, bytes: &[u8]) -> Option<Answer> {
    let length = format!("content-length: {}\r\n\r\n", bytes.len());
    send(gateway, path, token, &length, bytes).await
}

/// The same, in one chunk that says how long it is only when it comes.
async fn upload_chunk(gateway: &Gateway, path: &str, token: &str, bytes: &[u8]) -> Option<Answer> {
    let length = format!("transfer-encoding: chunked\r\n\r\n{:x}\r\n", bytes.len());
    send(gateway, path, token, &length, &[bytes, b"\r\n0\r\n\r\n"].concat()).await
}

async fn send(
    gateway: &Gateway,
    path: &str,
    token: &str,
    length: &str,
    bytes: &[u8],
) -> Option<Answer> {
    let mut socket = TcpStream::connect(gateway.authority()).await.ok()?;
    let head = format!(
        "POST {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\nauthorization: Bearer {token}\r\n\
         content-type: text/plain; charset=utf-8\r\n{length}"
    );
    socket.write_all(head.as_bytes()).await.ok()?;
    // A node that has heard enough may answer before it has read all.
    let _ = socket.write_all(bytes).await;
    let mut answer = Vec::new();
    let _ = socket.read_to_end(&mut answer).await;
    let answer = String::from_utf8_lossy(&answer).into_owned();
    let (head, body) = answer.split_once("\r\n\r\n")?;
    let status = head.split(' ').nth(1)?.parse().ok()?;
    Some(Answer { status, head: head.to_owned(), body: body.to_owned() })
}

fn text(seed: usize, bytes: usize) -> String {
    (0..bytes).map(|at| char::from(b'a' + ((at * 7 + at / 26 + seed) % 26) as u8)).collect()
}

/// The header of an answer.
fn header<'a>(answer: &'a Answer, name: &str) -> &'a str {
    let line = answer.head.lines().find_map(|line| line.strip_prefix(&format!("{name}: ")));
    line.unwrap_or_else(|| panic!("no {name} in {}", answer.head))
}

/// Through every node, also one that only passes on, and read through the others.
async fn a_file_goes_every_way(house: &House) {
    for node in 1..=4 {
        let content = text(node, LARGE);
        let mut file = house.upload(node, content.as_bytes()).await;
        assert_eq!((&file["bytes"], &file["media_type"]), (&json!(LARGE), &json!("text/plain")));
        let again = house.upload(node % 4 + 1, content.as_bytes()).await;
        assert_eq!(again, file, "the same bytes are the same file");
        file["name"] = json!({"text": "收据.txt"});
        let unique = node as u128;
        let opened = house.open(node % 4 + 1, unique, &file).await;
        assert_eq!(opened.status, 201, "{}", opened.body);
        let place = format!("\r\nrotary-min-index: {}", header(&opened, "rotary-index"));
        for reader in 1..=4 {
            let read = house.read(reader, unique, &file, &place).await;
            assert_eq!((read.status, read.body.len()), (200, LARGE), "{}", read.head);
            assert!(read.body == content, "{node} {reader}: other bytes");
            assert_eq!(header(&read, "content-type"), "text/plain");
            assert_eq!(header(&read, "x-content-type-options"), "nosniff");
            let disposition = header(&read, "content-disposition");
            assert!(disposition.starts_with("attachment; "), "{disposition}");
            assert!(disposition.ends_with("UTF-8''%E6%94%B6%E6%8D%AE.txt"), "{disposition}");
        }
    }
}

async fn parts_and_tags(house: &House) {
    let file = house.upload(1, text(1, LARGE).as_bytes()).await;
    let part = house.read(1, 1, &file, "\r\nrange: bytes=65530-65545").await;
    assert_eq!((part.status, part.body.as_str()), (206, &text(1, LARGE)[65_530..65_546]));
    assert_eq!(header(&part, "content-range"), format!("bytes 65530-65545/{LARGE}"));
    let none = house.read(1, 1, &file, &format!("\r\nrange: bytes={LARGE}-")).await;
    assert_eq!(none.status, 416, "{}", none.body);
    let tag = format!("\r\nif-none-match: {}", header(&part, "etag"));
    let same = house.read(1, 1, &file, &tag).await;
    assert_eq!((same.status, same.body.as_str()), (304, ""));
}

/// Who may not read the message may not read its file, and names open nothing by themselves.
async fn others_read_nothing(house: &House) {
    let file = house.upload(1, text(1, LARGE).as_bytes()).await;
    let path = house.file_path(1, &file);
    let owner = house.customer(CUSTOMER).await;
    assert_eq!(house.read_as(2, &path, &owner, "").await.status, 200);
    let stranger = house.customer(STRANGER).await;
    assert_eq!(house.read_as(2, &path, &stranger, "").await.code(), "not-yours");
    let api = house.nodes.admin(1);
    let other = done(&api, Method::POST, "/v1/tenants", json!({"name": "Red"})).await;
    let other = other["tenant"].clone();
    let token = house.sign(json!({"role": "administrator", "tenant": other, "ttl_s": 600})).await;
    assert_eq!(house.read_as(2, &path, &token, "").await.code(), "other-tenant");
    // Another site of the tenant has no such file, although the bytes are the same cluster's.
    let body = json!({"tenant": house.tenant, "settings": {"name": "y"}});
    let site = done(&house.nodes.admin(1), Method::POST, "/v1/sites", body).await;
    let site = site["site"].as_str().expect("a text").to_owned();
    let queue = format!("/v1/sites/{site}/queues/qu_1");
    done(&house.nodes.admin(1), Method::PUT, &queue, json!({"name": "Sales"})).await;
    let item = json!({"id": format!("it_{:032x}", 77),
        "body": {"text": {"text": "mine?"}, "attachments": [file]}});
    let open = json!({"queue": "qu_1", "channel": "chat", "item": item});
    let path = format!("/v1/sites/{site}/conversations");
    let opened = ask(house.gateway(1), "POST", &path, &house.nodes.token, "", &open).await;
    assert_eq!((opened.status, opened.code().as_str()), (404, "blob-unknown"));
    // A conversation that does not name it does not show it.
    let unnamed = house.upload(1, b"never named").await;
    let path = house.file_path(1, &unnamed);
    assert_eq!(house.read_as(1, &path, &house.nodes.token, "").await.code(), "blob-unknown");
    a_note_is_for_agents(house, &unnamed, &owner).await;
}

async fn a_note_is_for_agents(house: &House, file: &Value, customer: &str) {
    let item = json!({"id": format!("it_{:032x}", 78),
        "body": {"text": {"text": "look"}, "attachments": [file]}});
    let note = json!({"item": item, "note": true});
    let path = format!("/v1/conversations/{}/messages", house.conversation(1));
    let posted = ask(house.gateway(1), "POST", &path, &house.nodes.token, "", &note).await;
    assert_eq!(posted.status, 201, "{}", posted.body);
    let path = house.file_path(1, file);
    assert_eq!(house.read_as(1, &path, &house.nodes.token, "").await.status, 200);
    assert_eq!(house.read_as(1, &path, customer, "").await.code(), "blob-unknown");
}

async fn what_is_wrong_is_named(house: &House) {
    let file = house.upload(1, b"four").await;
    let with = |change: &dyn Fn(&mut Value)| {
        let mut file = file.clone();
        change(&mut file);
        file
    };
    let unknown = with(&|file| file["blob"] = json!(format!("bl_{}", "0".repeat(64))));
    for (file, code) in [
        (unknown, "blob-unknown"),
        (with(&|file| file["bytes"] = json!(5)), "bad-value"),
        (with(&|file| file["media_type"] = json!("four")), "malformed"),
    ] {
        let opened = house.open(2, 90, &file).await;
        assert_eq!(opened.code(), code, "{file}: {}", opened.body);
    }
    let path = house.uploads();
    for node in [1, 4] {
        let token = &house.nodes.token;
        let large = upload(house.gateway(node), &path, token, text(0, 1_000_001).as_bytes()).await;
        assert_eq!(large.expect("an answer").code(), "too-large");
        let large = text(0, 1_200_000);
        let large = upload_chunk(house.gateway(node), &path, token, large.as_bytes()).await;
        assert_eq!(large.expect("an answer").code(), "too-large");
        let empty = upload(house.gateway(node), &path, token, b"").await;
        assert_eq!(empty.expect("an answer").code(), "bad-value");
        let nobody = upload(house.gateway(node), &path, "x", b"four").await;
        assert_eq!(nobody.expect("an answer").status, 401);
    }
}

/// A session is told as well, and may send the command again once the file is there.
async fn a_session_names_files_too(house: &House) {
    let token = house.customer(CUSTOMER).await;
    let mut socket = connect(&house.nodes).await;
    let start = json!({"type": "start", "token": token});
    socket.send(Message::text(start.to_string())).await.expect("it takes frames");
    let file = json!({"blob": format!("bl_{}", "1".repeat(64)), "media_type": "a/b", "bytes": 4});
    let post = |file: &Value| {
        let item = json!({"id": format!("it_{:032x}", 91),
            "body": {"text": {"text": "?"}, "attachments": [file]}});
        let command = json!({"post": {"conversation": house.conversation(1), "item": item,
            "note": false, "seen_to": null}});
        json!({"type": "cmd", "site": house.site, "number": 1, "acknowledged": 0,
            "command": command})
    };
    let real = house.upload(1, b"four").await;
    for (file, expected) in [(&file, "blob-unknown"), (&real, "")] {
        socket.send(Message::text(post(file).to_string())).await.expect("it takes frames");
        let result = loop {
            let frame = frame(&mut socket).await;
            if frame["type"] == "result" {
                break frame;
            }
        };
        let code = result["result"]["not_applied"]["code"].as_str().unwrap_or_default();
        assert_eq!(code, expected, "{result}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_goes_with_a_message_and_to_nobody_else() {
    let house = House::build(3, 1, "[blobs]\nupload_bytes_max = 1000000").await;
    a_file_goes_every_way(&house).await;
    parts_and_tags(&house).await;
    others_read_nothing(&house).await;
    what_is_wrong_is_named(&house).await;
    a_session_names_files_too(&house).await;
}

/// A full store refuses files, and messages go on; so does a credential that has brought enough.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_full_is_said_and_harms_nothing_else() {
    let bounds = "[blobs]\ndisk_bytes_max = 800000\nuploads_per_minute_max = 2";
    let house = House::build(1, 0, bounds).await;
    let file = house.upload(1, text(1, LARGE).as_bytes()).await;
    let (gateway, path, token) = (house.gateway(1), house.uploads(), &house.nodes.token);
    let full = upload(gateway, &path, token, text(2, LARGE).as_bytes()).await;
    let full = full.expect("an answer");
    assert_eq!((full.status, full.code().as_str()), (507, "storage-full"), "{}", full.body);
    assert!(full.body.contains("tenant_disk_percent_max"), "half is the tenant's: {}", full.body);
    let (_, elsewhere) = tenant_and_site(&house.nodes.admin(1), "Red", json!({"name": "y"})).await;
    let elsewhere = format!("/v1/sites/{elsewhere}/blobs");
    let other = upload(gateway, &elsewhere, token, text(3, LARGE).as_bytes()).await;
    assert_eq!(other.expect("an answer").status, 201, "another tenant has the rest");
    let full = upload(gateway, &elsewhere, token, text(4, LARGE).as_bytes()).await;
    assert_eq!(full.expect("an answer").status, 507);
    assert_eq!(house.open(1, 1, &file).await.status, 201);
    assert_eq!(house.read(1, 1, &file, "").await.body, text(1, LARGE));
    let often = upload(gateway, &path, token, b"small").await.expect("an answer");
    assert_eq!((often.status, often.code().as_str()), (429, "caller-over-budget"));
    assert!(header(&often, "retry-after").parse::<u64>().is_ok_and(|s| (1..=30).contains(&s)));
    let customer = house.customer(CUSTOMER).await;
    let other = upload(gateway, &path, &customer, b"small").await.expect("an answer");
    assert_eq!(other.status, 201, "others have their own: {}", other.body);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_acknowledged_survives_the_node_that_took_it() {
    let mut house = House::build(3, 0, "[blobs]\nuploads_per_minute_max = 100000").await;
    let stored: Arc<Mutex<Vec<(usize, Value)>>> = Arc::default();
    let uploads: Vec<_> = (0..4)
        .map(|lane| {
            let (gateway, path) = (house.gateway(1).clone(), house.uploads());
            let (token, stored) = (house.nodes.token.clone(), stored.clone());
            tokio::spawn(async move {
                for seed in (lane..).step_by(4) {
                    let content = text(seed, 150_000 + seed);
                    match upload(&gateway, &path, &token, content.as_bytes()).await {
                        Some(answer) if answer.status == 201 => {
                            let file = serde_json::from_str(&answer.body).expect("JSON");
                            stored.lock().expect("not poisoned").push((seed, file));
                        }
                        _ => return,
                    }
                }
            })
        })
        .collect();
    eventually("some are stored", async || {
        (stored.lock().expect("not poisoned").len() >= 8).then_some(())
    })
    .await;
    house.nodes.kill(1);
    for upload in uploads {
        upload.await.expect("it ends");
    }
    let stored = std::mem::take(&mut *stored.lock().expect("not poisoned"));
    for (seed, file) in &stored {
        let unique = *seed as u128 + 1;
        let opened = eventually("the others serve", async || {
            let opened = house.open(2, unique, file).await;
            assert_ne!(opened.status, 404, "an acknowledged file is lost: {}", opened.body);
            (opened.status == 201).then_some(opened)
        });
        let place = format!("\r\nrotary-min-index: {}", header(&opened.await, "rotary-index"));
        let read = house.read(3, unique, file, &place).await;
        assert_eq!(read.status, 200, "{}", read.body);
        assert!(read.body == text(*seed, 150_000 + seed), "other bytes");
    }
    house.nodes.start(1);
    house.nodes.ready(&house.gateway(1).clone()).await;
    for (_, file) in &stored {
        eventually("the node has them all", async || house.on_disk(1, file).exists().then_some(()))
            .await;
    }
    let parts = house.nodes.dir.path().join("node-1/data/blobs/new");
    assert_eq!(std::fs::read_dir(parts).expect("readable").count(), 0, "halves are removed");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_disk_damaged_is_found_and_mended_before_anybody_reads_it() {
    let mut house = House::build(3, 0, "[blobs]\nscrub_bytes_per_second = 1000000000").await;
    let file = house.upload(1, text(6, LARGE).as_bytes()).await;
    assert_eq!(house.open(1, 1, &file).await.status, 201);
    let path = house.on_disk(3, &file);
    eventually("everybody has it", async || path.exists().then_some(())).await;
    assert!(house.nodes.stop(3).success());
    let whole = std::fs::read(&path).expect("readable");
    let mut damaged = whole.clone();
    damaged[LARGE / 2] ^= 1;
    std::fs::write(&path, &damaged).expect("writable");
    house.nodes.start(3);
    // Its header says when it was last asked for; the rest is as it was.
    let rest = 80..;
    eventually("it is fetched again", async || {
        let found = std::fs::read(&path).ok()?;
        (found.get(rest.clone()) == whole.get(rest.clone())).then_some(())
    })
    .await;
    assert!(house.nodes.log(3).contains("\"code\":\"blob-damaged\""));
    let aside = house.nodes.dir.path().join("node-3/data/blobs/damaged");
    let aside: Vec<_> = std::fs::read_dir(aside).expect("there").flatten().collect();
    assert_eq!(aside.len(), 1);
    assert_eq!(std::fs::read(aside[0].path()).expect("readable"), damaged);
    house.nodes.ready(&house.gateway(3).clone()).await;
    let metrics = house.nodes.admin(3).fetch("/metrics").await.expect("an answer");
    let metrics = String::from_utf8_lossy(&metrics.body).into_owned();
    assert!(metrics.lines().any(|line| line == "rotary_blobs_damaged_total 1"), "{metrics}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_that_was_away_completes_itself() {
    let mut house = House::build(3, 0, "").await;
    house.nodes.kill(3);
    let content = text(5, LARGE);
    let file = house.upload(1, content.as_bytes()).await;
    assert_eq!(house.open(2, 1, &file).await.status, 201);
    house.nodes.start(3);
    house.nodes.ready(&house.gateway(3).clone()).await;
    let path = house.on_disk(3, &file);
    eventually("it is fetched", async || path.exists().then_some(())).await;
    eventually("nothing is missing", async || {
        let metrics = house.nodes.admin(3).fetch("/metrics").await.ok()?;
        let metrics = String::from_utf8_lossy(&metrics.body).into_owned();
        metrics.lines().any(|line| line == "rotary_blobs_missing 0").then_some(())
    })
    .await;
    // One that the disk has damaged is fetched again by whoever reads it.
    let mut bytes = std::fs::read(&path).expect("readable");
    bytes[LARGE / 2] ^= 1;
    std::fs::write(&path, &bytes).expect("writable");
    let read = house.read(3, 1, &file, "").await;
    assert!(read.status == 200 && read.body == content, "{} {}", read.status, read.body.len());
    assert_ne!(std::fs::read(&path).expect("readable"), bytes, "it is mended");
    // Without a majority nothing is acknowledged, and what is there is still read.
    house.nodes.kill(1);
    house.nodes.kill(2);
    let (gateway, uploads) = (house.gateway(3), house.uploads());
    let alone = upload(gateway, &uploads, &house.nodes.token, b"alone").await;
    assert_eq!(alone.expect("an answer").status, 503);
    let read = tokio::time::timeout(Duration::from_secs(60), house.read(3, 1, &file, "")).await;
    assert_eq!(read.expect("in time").status, 200);
}
