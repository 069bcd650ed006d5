//! A backup of a cluster that serves, checked without it, and made into another cluster.

#[path = "support/nodes.rs"]
#[expect(dead_code, reason = "each test binary uses its own part of the support")]
mod nodes;

use std::path::Path;
use std::process::Output;

use hyper::Method;
use nodes::{Nodes, done, rotary, said, tenant_and_site};
use rotary_client::Api;
use serde_json::{Value, json};

/// Conversations of each site, which is more than one piece of a journal.
const CONVERSATIONS: u32 = 40;

fn backup(args: &[&str]) -> Output {
    let mut asked = rotary();
    asked.arg("backup").args(args);
    asked.output().expect("it runs")
}

fn must(output: &Output) -> String {
    assert!(output.status.success(), "{:?}", said(output));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn text(path: &Path) -> &str {
    path.to_str().expect("plain")
}

/// Makes a site with a queue, and conversations whose messages have a file; gives their ids.
async fn fill(api: &Api, tenant: &str) -> (String, Vec<String>) {
    let (_, site) = tenant_and_site(api, tenant, json!({"name": "north"})).await;
    done(api, Method::PUT, &format!("/v1/sites/{site}/queues/qu_1"), json!({"name": "q"})).await;
    let mut made = Vec::new();
    for number in 0..CONVERSATIONS {
        let file = json!({"what": tenant, "number": number});
        let mut file = done(api, Method::POST, &format!("/v1/sites/{site}/blobs"), file).await;
        file["name"] = json!({"text": "order.json"});
        let body = json!({"text": {"text": "Hello ".repeat(300)}, "attachments": [file]});
        let item = json!({"id": format!("it_{number:032x}"), "body": body});
        let open = json!({"queue": "qu_1", "channel": "chat", "item": item});
        let path = format!("/v1/sites/{site}/conversations");
        let opened = done(api, Method::POST, &path, open).await;
        made.push(opened["conversation"].as_str().expect("a text").to_owned());
    }
    (site, made)
}

/// What is known of a conversation, and the bytes of its file.
async fn story(api: &Api, conversation: &str) -> (Value, Value) {
    let path = format!("/v1/conversations/{conversation}");
    let trace: Value = api.read(&format!("{path}/trace")).await.expect("it is there");
    let messages: Value = api.read(&format!("{path}/messages")).await.expect("they are there");
    let blob = messages["data"][0]["body"]["attachments"][0]["blob"].as_str().expect("a file");
    let file: Value = api.read(&format!("{path}/attachments/{blob}")).await.expect("it is there");
    (trace, file)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_is_made_from_anothers_backup() {
    let mut old = Nodes::init(3, 2);
    old.start_all().await;
    let api = old.admin(1);
    let (north, first) = fill(&api, "north").await;
    let (_, second) = fill(&api, "south").await;
    let folder = tempfile::tempdir().expect("a folder");
    let kept = folder.path().join("kept");
    let url = old.gateways[1].to_string();
    let create = ["create", "--to", text(&kept), "--url", &url, "--token", &old.token];
    let created = must(&backup(&create));
    assert!(created.contains("sh_0") && created.contains("sh_2"), "{created}");
    let again = said(&backup(&create));
    assert!(again.0 == Some(2) && again.1.contains("something is there already"), "{again:?}");
    // What happens afterwards is in no backup.
    let late = json!({"queue": "qu_1", "channel": "chat"});
    let path = format!("/v1/sites/{north}/conversations");
    let late = done(&api, Method::POST, &path, late).await["conversation"].clone();
    let before = story(&api, &first[3]).await;
    drop(old);

    let found: Value =
        serde_json::from_str(&must(&backup(&["verify", text(&kept), "-o", "json"]))).expect("JSON");
    assert_eq!((&found[0]["shard"], &found[0]["sites"]), (&json!("sh_0"), &json!(2)));
    let files: u64 = (1..=2).map(|shard| found[shard]["files"].as_u64().expect("a count")).sum();
    assert_eq!(files, u64::from(2 * CONVERSATIONS), "{found}");

    let mut new = Nodes::init(3, 2);
    let restored = must(&backup(&["restore", text(&kept), "--into", text(new.dir.path())]));
    assert!(restored.contains("nd_1, nd_2, nd_3 have all of it"), "{restored}");
    new.start_all().await;
    for node in 1..=3 {
        let api = new.admin(node);
        assert_eq!(story(&api, &first[3]).await, before);
        for conversation in first.iter().chain(&second).step_by(7) {
            let (trace, file) = story(&api, conversation).await;
            assert!(trace["data"][0]["event"]["opened"].is_object(), "{trace}");
            assert!(file["number"].is_u64(), "{file}");
        }
    }
    let api = new.admin(1);
    let late = late.as_str().expect("a text");
    let gone = api.read::<Value>(&format!("/v1/conversations/{late}")).await.expect_err("later");
    assert!(gone.to_string().contains("conversation-unknown"), "{gone}");
    // It goes on from there, whoever dies.
    new.kill(2);
    let open = json!({"queue": "qu_1", "channel": "chat"});
    let opened = done(&new.admin(1), Method::POST, &path, open).await;
    let opened = opened["conversation"].as_str().expect("a text").to_owned();
    let trace: Value = new
        .admin(3)
        .read(&format!("/v1/conversations/{opened}/trace?consistency=linearizable"))
        .await
        .expect("it is there");
    assert!(trace["data"][0]["event"]["opened"].is_object(), "{trace}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_no_whole_backup_makes_no_cluster() {
    let mut old = Nodes::init(1, 2);
    old.start_all().await;
    fill(&old.admin(1), "north").await;
    let folder = tempfile::tempdir().expect("a folder");
    let kept = folder.path().join("kept");
    let url = old.gateways[0].to_string();
    must(&backup(&["create", "--to", text(&kept), "--url", &url, "--token", &old.token]));

    let used = said(&backup(&["restore", text(&kept), "--into", text(old.dir.path())]));
    assert!(used.0 == Some(1) && used.1.contains("is in use by process"), "{used:?}");
    assert!(old.stop(1).success());
    let used = said(&backup(&["restore", text(&kept), "--into", text(old.dir.path())]));
    assert!(used.1.contains("this node ran already"), "{used:?}");
    let other = Nodes::init(1, 3);
    let shards = said(&backup(&["restore", text(&kept), "--into", text(other.dir.path())]));
    assert!(shards.1.contains("rotary cluster init --shards 2"), "{shards:?}");

    let mut new = Nodes::init(1, 2);
    let second = kept.join("sh_2.backup");
    let whole = std::fs::read(&second).expect("readable");
    let mut damaged = whole.clone();
    *damaged.last_mut().expect("some") ^= 1;
    std::fs::write(&second, &damaged).expect("writable");
    let verified = said(&backup(&["verify", text(&kept)]));
    assert!(verified.1.contains("sh_2.backup: it is damaged at byte"), "{verified:?}");
    let broken = said(&backup(&["restore", text(&kept), "--into", text(new.dir.path())]));
    assert!(broken.1.contains("it is damaged at byte"), "{broken:?}");
    // What was half filled does not start, and is not filled again.
    new.start(1);
    let log = async || new.log(1).contains("is being restored from a backup").then_some(());
    nodes::eventually("it does not start", log).await;
    std::fs::write(&second, &whole[..whole.len() - 1]).expect("writable");
    let cut = said(&backup(&["verify", text(&kept)]));
    assert!(cut.1.contains("it is cut off at byte"), "{cut:?}");
    std::fs::remove_file(&second).expect("it was there");
    let missing = said(&backup(&["verify", text(&kept)]));
    assert!(missing.0 == Some(1) && missing.1.contains("sh_2.backup"), "{missing:?}");
}

fn recover(from: &[&Path], to: &Path, rest: &[&str]) -> Output {
    let mut asked = rotary();
    asked.args(["cluster", "recover", "--to", text(to)]).args(rest);
    from.iter().for_each(|folder| _ = asked.args(["--from", text(folder)]));
    asked.output().expect("it runs")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_left_of_a_cluster_becomes_another_one() {
    let mut old = Nodes::init(3, 2);
    old.start_all().await;
    let (_, made) = fill(&old.admin(1), "north").await;
    let before = story(&old.admin(1), &made[3]).await;
    let folder = |node: u64| old.dir.path().join(format!("node-{node}"));
    let (second, third) = (folder(2), folder(3));
    let (kept, gone) = (tempfile::tempdir().expect("a folder"), folder(1));
    let to = kept.path().join("kept");
    let runs = said(&recover(&[&second], &to, &["--unsafe"]));
    assert!(runs.0 == Some(1) && runs.1.contains("is in use by process"), "{runs:?}");
    (1..=3).for_each(|node| old.kill(node));
    std::fs::remove_dir_all(gone).expect("lost");

    let asked = said(&recover(&[&second, &third], &to, &[]));
    assert!(asked.0 == Some(2) && asked.1.contains("Say --unsafe"), "{asked:?}");
    assert!(asked.1.contains("KNOWN DECIDED") && !to.exists(), "{asked:?}");
    // Two of three have everything that was acknowledged.
    let recovered = must(&recover(&[&second, &third], &to, &["--unsafe"]));
    assert!(recovered.contains("sh_0") && recovered.contains("sh_2"), "{recovered}");
    let again = said(&recover(&[&second, &third], &to, &["--unsafe"]));
    assert!(again.0 == Some(2) && again.1.contains("something is there already"), "{again:?}");

    let mut new = Nodes::init(3, 2);
    must(&backup(&["restore", text(&to), "--into", text(new.dir.path())]));
    new.start_all().await;
    let api = new.admin(2);
    assert_eq!(story(&api, &made[3]).await, before);
    for conversation in &made {
        let (trace, _) = story(&api, conversation).await;
        assert!(trace["data"][0]["event"]["opened"].is_object(), "{trace}");
    }
}
