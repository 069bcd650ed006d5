//! A backup of a cluster that serves, checked without it, and made into another cluster.

#[path = "support/bucket.rs"]
#[expect(dead_code, unreachable_pub, reason = "the store's own tests use the rest of it")]
mod bucket;
#[path = "support/nodes.rs"]
#[expect(dead_code, reason = "each test binary uses its own part of the support")]
mod nodes;

use std::path::Path;
use std::process::Output;
use std::time::Duration;

use bucket::{BUCKET, SECRET, Served};
use hyper::Method;
use nodes::{Nodes, done, rotary, said, tenant_and_site};
use rotary_client::{Api, Patience};
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
    let listed = must(&backup(&["list", text(&kept)]));
    let run = listed.lines().nth(1).expect("one").split_whitespace().next().expect("its name");
    assert!(run.ends_with("_hand") && listed.contains("complete"), "{listed}");
    // What happens afterwards is in no backup.
    let late = json!({"queue": "qu_1", "channel": "chat"});
    let path = format!("/v1/sites/{north}/conversations");
    let late = done(&api, Method::POST, &path, late).await["conversation"].clone();
    let before = story(&api, &first[3]).await;
    drop(old);

    let found: Value =
        serde_json::from_str(&must(&backup(&["verify", text(&kept), "-o", "json"]))).expect("JSON");
    let shards = &found["shards"];
    assert_eq!((&shards[0]["shard"], &shards[0]["sites"]), (&json!("sh_0"), &json!(2)));
    let files: u64 = (1..=2).map(|shard| shards[shard]["files"].as_u64().expect("a count")).sum();
    assert_eq!(files, u64::from(2 * CONVERSATIONS), "{found}");

    let mut new = Nodes::init(3, 2);
    let restored = must(&backup(&["restore", text(&kept), "--into", text(new.dir.path())]));
    assert!(restored.contains("nd_1, nd_2, nd_3 have all of"), "{restored}");
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
    let listed = must(&backup(&["list", text(&kept), "-o", "json"]));
    let listed: Value = serde_json::from_str(&listed).expect("JSON");
    let run = kept.join(listed[0]["run"].as_str().expect("a name"));
    let second = run.join("sh_2.backup");
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
    assert!(cut.1.contains("which is there with"), "{cut:?}");
    std::fs::remove_file(&second).expect("it was there");
    let missing = said(&backup(&["verify", text(&kept)]));
    assert!(missing.0 == Some(1) && missing.1.contains("sh_2.backup"), "{missing:?}");
}

/// The same with a store to reach, and nothing else that says how one is reached.
fn backup_with(environment: &[(&str, &str)], args: &[&str]) -> Output {
    let mut asked = rotary();
    for (key, _) in std::env::vars().filter(|(key, _)| key.starts_with("AWS_")) {
        asked.env_remove(key);
    }
    asked.arg("backup").args(args).envs(environment.iter().copied());
    asked.output().expect("it runs")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bucket_keeps_backups_as_a_folder_does() {
    let served = Served::start();
    let reached = served.environment();
    let mut old = Nodes::init(1, 2);
    old.start_all().await;
    let (_, made) = fill(&old.admin(1), "north").await;
    let before = story(&old.admin(1), &made[3]).await;
    let store = format!("s3://{BUCKET}/of/main");
    let url = old.gateways[0].to_string();
    let create = ["create", "--to", &store, "--url", &url, "--token", &old.token];
    let keyless = said(&backup_with(&reached[..1], &create));
    assert!(keyless.0 == Some(2) && keyless.1.contains("AWS_ACCESS_KEY_ID"), "{keyless:?}");
    let wrong = [reached[0], reached[1], ("AWS_SECRET_ACCESS_KEY", "not-the-secret")];
    let wrong = said(&backup_with(&wrong, &create));
    assert!(wrong.0 == Some(1) && wrong.1.contains("SignatureDoesNotMatch"), "{wrong:?}");
    assert!(!wrong.1.contains("not-the-secret") && !wrong.1.contains("X-Amz"), "{wrong:?}");

    served.refuse(2);
    let created = backup_with(&reached, &create);
    assert!(!said(&created).1.contains(SECRET), "{created:?}");
    let first = must(&created).lines().last().expect("its name").to_owned();
    let second = must(&backup_with(&reached, &create));
    let listed = must(&backup_with(&reached, &["list", &store]));
    assert!(listed.matches("complete").count() == 2 && listed.contains(&first), "{listed}");
    let removed = must(&backup_with(&reached, &["remove", &store, "--run", &first]));
    assert_eq!(removed.trim(), format!("{first} is gone"));
    let gone = said(&backup_with(&reached, &["verify", &store, "--run", &first]));
    assert!(gone.1.contains("rotary backup list"), "{gone:?}");
    // How it is reached may be in a file, all but the keys or with them.
    old.configure(
        1,
        &format!("[backup]\nendpoint = \"{}\"\ncredentials_file = \"store.keys\"", served.endpoint),
    );
    let keys = old.config(1).with_file_name("store.keys");
    std::fs::write(keys, format!("{}\n{SECRET}\n", bucket::KEY)).expect("writable");
    let config = old.config(1);
    let verified = must(&backup_with(&[], &["verify", &store, "--config", text(&config)]));
    assert_eq!(verified, second);
    assert!(old.stop(1).success());

    let mut new = Nodes::init(1, 2);
    let into = text(new.dir.path()).to_owned();
    must(&backup_with(&reached, &["restore", &store, "--into", &into]));
    new.start_all().await;
    assert_eq!(story(&new.admin(1), &made[3]).await, before);
}

/// The runs of a store, by their names, and whether they are complete.
fn runs(store: &Path) -> Vec<(String, bool)> {
    let listed = must(&backup(&["list", text(store), "-o", "json"]));
    let listed: Value = serde_json::from_str(&listed).expect("JSON");
    let rows = listed.as_array().expect("a list").iter();
    let run = |row: &Value| row["run"].as_str().expect("a name").to_owned();
    rows.map(|row| (run(row), row["state"] == "complete")).collect()
}

/// Waits for a finished run of a node that is not among those.
async fn another_run(store: &Path, but: &[String]) -> String {
    let look = async || {
        let found = runs(store).into_iter().filter(|(_, is_complete)| *is_complete);
        found.map(|(name, _)| name).find(|name| !but.contains(name) && !name.ends_with("hand"))
    };
    nodes::eventually("another backup", look).await
}

/// Makes a run as old as one of the day before.
fn age(store: &Path, run: &str) -> String {
    let (cluster, rest) = run.split_once('_').expect("its cluster");
    let (_, maker) = rest.split_once('_').expect("its time");
    let old = format!("{cluster}_20250101T000000.000Z_{maker}");
    std::fs::rename(store.join(run), store.join(&old)).expect("it was there");
    old
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_makes_backups_by_itself_whoever_dies() {
    let mut old = Nodes::init(3, 2);
    let folder = tempfile::tempdir().expect("a folder");
    let kept = folder.path().join("kept");
    let section = format!("[backup]\nto = \"{}\"\nevery = \"1min\"\nkeep = 1", text(&kept));
    (1..=3).for_each(|node| old.configure(node, &section));
    old.start_all().await;
    // What is half, and what no node made.
    let seen: Value = old.admin(1).read("/v1/cluster").await.expect("readable");
    let cluster = seen["cluster"].as_str().expect("an id").to_owned();
    let half = format!("{cluster}_20240101T000000.000Z_nd_2");
    let by_hand = format!("{cluster}_20240101T000000.000Z_hand");
    for run in [&half, &by_hand] {
        std::fs::create_dir_all(kept.join(run)).expect("writable");
        std::fs::write(kept.join(run).join("sh_0.backup"), "half").expect("writable");
    }
    fill(&old.admin(1), "north").await;
    let first = another_run(&kept, &[]).await;
    // The node that made it dies; another makes the next one, and then the first one goes.
    let maker: usize = first.rsplit('_').next().expect("a number").parse().expect("a number");
    old.kill(maker);
    let aged = age(&kept, &first);
    let second = another_run(&kept, &[first.clone(), aged.clone()]).await;
    assert!(!second.ends_with(&format!("nd_{maker}")), "{second}");
    nodes::eventually("what is old and what is half goes", async || {
        runs(&kept).iter().all(|(name, _)| ![&aged, &half].contains(&name)).then_some(())
    })
    .await;
    assert!(runs(&kept).iter().any(|(name, _)| *name == by_hand), "it stays");
    let other = 1 + maker % 3;
    let api = old.admin(other);
    nodes::eventually("its standing", async || {
        let standing: Value = api.read("/v1/backups").await.ok()?;
        let fits = standing["last"]["run"].is_string() && standing["last"]["run"] != json!(aged);
        (fits && standing["last"]["shards"] == 3 && standing["failed"].is_null()).then_some(())
    })
    .await;
    let url = old.gateways[other - 1].to_string();
    let told = must(&backup(&["status", "--url", &url, "--token", &old.token]));
    assert!(told.contains(&cluster) && told.contains("60.0 s"), "{told}");
    (1..=3).filter(|node| *node != maker).for_each(|node| old.kill(node));
    must(&backup(&["verify", text(&kept)]));
    let mut new = Nodes::init(1, 2);
    must(&backup(&["restore", text(&kept), "--into", text(new.dir.path())]));
    new.start_all().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_that_cannot_be_written_is_said() {
    let mut nodes = Nodes::init(1, 1);
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("file");
    std::fs::write(&file, "no folder").expect("writable");
    nodes.configure(1, &format!("[backup]\nto = \"{}/kept\"\nevery = \"1min\"", text(&file)));
    nodes.start_all().await;
    let said = async || nodes.log(1).contains("backup-failed").then_some(());
    nodes::eventually("it says so", said).await;
    let standing: Value = nodes.admin(1).read("/v1/backups").await.expect("readable");
    assert!(standing["last"].is_null(), "{standing}");
    let failed = standing["failed"].as_str().expect("why");
    assert!(failed.contains("Not a directory"), "{failed}");
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

/// Adds a data shard that nobody can begin yet, because node 1 is away: the third falls to it.
async fn with_a_shard_that_waits(nodes: &mut Nodes) {
    nodes.kill(1);
    let url = nodes.gateways[1].to_string();
    let mut asked = rotary();
    asked.args(["cluster", "set-shards", "3", "--url", &url, "--token", &nodes.token]);
    must(&asked.output().expect("it runs"));
    let api = nodes.admin(2);
    nodes::eventually("it waits for its beginning", async || {
        let cluster: Value = api.read("/v1/cluster").await.ok()?;
        let row = cluster["shards"].as_array()?.iter().find(|row| row["shard"] == "sh_3")?;
        row["waiting"].as_str()?.contains("begins on nd_1").then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_shard_without_a_beginning_keeps_nobody_from_backups() {
    let mut old = Nodes::init(3, 2);
    let folder = tempfile::tempdir().expect("a folder");
    let [own, by_hand, left] = ["own", "hand", "left"].map(|name| folder.path().join(name));
    let section = format!("[backup]\nto = \"{}\"\nevery = \"1min\"\nkeep = 3", text(&own));
    (1..=3).for_each(|node| old.configure(node, &section));
    old.start_all().await;
    let (_, made) = fill(&old.admin(2), "north").await;
    let before = story(&old.admin(2), &made[3]).await;
    let first = another_run(&own, &[]).await;
    with_a_shard_that_waits(&mut old).await;

    // What nodes make by themselves, what is made by hand, and what is recovered.
    let aged = age(&own, &first);
    let second = another_run(&own, &[first, aged]).await;
    must(&backup(&["verify", text(&own), "--run", &second]));
    let url = old.gateways[1].to_string();
    must(&backup(&["create", "--to", text(&by_hand), "--url", &url, "--token", &old.token]));
    let shown = must(&backup(&["verify", text(&by_hand)]));
    assert!(shown.contains("sh_2") && !shown.contains("sh_3"), "{shown}");
    let once = Patience { total: Duration::from_millis(1), ..Patience::default() };
    let api = old.admin(2).patient(once);
    let none = api.read::<Value>("/v1/shards/sh_3/backup").await.expect_err("nothing is in it");
    assert!(none.to_string().contains("sh_3 is being made"), "{none}");
    (2..=3).for_each(|node| old.kill(node));
    let nodes = [2, 3].map(|node| old.dir.path().join(format!("node-{node}")));
    let recovered = recover(&[&nodes[0], &nodes[1]], &left, &["--unsafe"]);
    assert!(said(&recovered).1.contains("sh_3 is in no folder"), "{recovered:?}");
    let shown = must(&recovered);
    assert!(shown.contains("sh_2") && !shown.contains("sh_3"), "{shown}");

    for store in [&by_hand, &left] {
        let mut new = Nodes::init(1, 3);
        must(&backup(&["restore", text(store), "--into", text(new.dir.path())]));
        new.start_all().await;
        assert_eq!(story(&new.admin(1), &made[3]).await, before);
        // It begins there.
        let (tenant, _) = tenant_and_site(&new.admin(1), "later", json!({"name": "s"})).await;
        let api = new.admin(1);
        let body = json!({"tenant": tenant, "shard": "sh_3", "settings": {"name": "third"}});
        let site = done(&api, Method::POST, "/v1/sites", body).await;
        assert_eq!(site["shard"], "sh_3");
    }
}
