//! Backups of a cluster whose sites move between shards: whatever point it is brought back to, each
//! site is in one shard with its story whole, or it is said which shards do not fit together.

#[path = "support/nodes.rs"]
#[expect(dead_code, reason = "each test binary uses its own part of the support")]
mod nodes;

use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

use hyper::Method;
use nodes::{Nodes, done, eventually, rotary, said, tenant_and_site};
use rotary_client::{Api, Gateway};
use serde_json::{Value, json};

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

fn create(nodes: &Nodes, store: &Path) -> Output {
    let url = nodes.gateways[0].to_string();
    backup(&["create", "--to", text(store), "--url", &url, "--token", &nodes.token])
}

/// The name that a run was given.
fn name(created: &Output) -> String {
    must(created).lines().last().expect("its name").to_owned()
}

fn move_site(gateway: &Gateway, token: &str, site: &str, to: &str) {
    let url = gateway.to_string();
    let mut asked = rotary();
    asked.args(["site", "move", site, "--to", to, "--wait", "--url", &url, "--token", token]);
    must(&asked.output().expect("it runs"));
}

/// Of a shard, the first and the last index that the newest run can be brought back to.
fn points(store: &Path, shard: &str) -> (u64, u64) {
    let found = must(&backup(&["points", text(store), "-o", "json"]));
    let found: Value = serde_json::from_str(&found).expect("JSON");
    let rows = found["points"].as_array().expect("a list").iter();
    let rows: Vec<&Value> = rows.filter(|row| row["shard"] == shard).collect();
    let number = |value: &Value| value.as_u64().expect("an index");
    (number(&rows[0]["first"]), number(&rows[rows.len() - 1]["last"]))
}

/// A site with a queue, and the shard that it was made in.
async fn site_in(api: &Api, shard: &str) -> String {
    let (tenant, _) = tenant_and_site(api, "acme", json!({"name": "other"})).await;
    let body = json!({"tenant": tenant, "shard": shard, "settings": {"name": "north"}});
    let site = done(api, Method::POST, "/v1/sites", body).await["site"].clone();
    let site = site.as_str().expect("a text").to_owned();
    let queue = format!("/v1/sites/{site}/queues/qu_1");
    done(api, Method::PUT, &queue, json!({"name": "sales"})).await;
    site
}

/// Opens a conversation whose message has a file; its id, and its index.
async fn open(api: &Api, site: &str, number: u32) -> (String, u64) {
    let file = json!({"number": number});
    let mut file = done(api, Method::POST, &format!("/v1/sites/{site}/blobs"), file).await;
    file["name"] = json!({"text": "order.json"});
    let body = json!({"text": {"text": format!("number {number}")}, "attachments": [file]});
    let item = json!({"id": format!("it_{number:032x}"), "body": body});
    let open = json!({"queue": "qu_1", "channel": "chat", "item": item});
    let opened = api.change(Method::POST, &format!("/v1/sites/{site}/conversations"), &open).await;
    let opened = opened.acknowledged().expect("it is open");
    let index = opened.position.expect("a log has it").index;
    let opened: Value = opened.read().expect("JSON");
    (opened["conversation"].as_str().expect("a text").to_owned(), index)
}

/// Where the directory has a site.
async fn lives_in(api: &Api, site: &str) -> String {
    let sites: Value = api.read("/v1/sites").await.expect("readable");
    let row = sites["data"].as_array().expect("a list").iter().find(|row| row["site"] == site);
    row.expect("it is known")["shard"].as_str().expect("a name").to_owned()
}

/// Every event of a site; its sequences have no hole.
async fn told(api: &Api, site: &str) -> Vec<Value> {
    let (mut all, mut after) = (Vec::<Value>::new(), 0);
    loop {
        let path = format!("/v1/sites/{site}/events?after={after}&limit=100");
        let page: Value = api.read(&path).await.expect("it answers");
        all.extend(page["data"].as_array().expect("a list").iter().cloned());
        let through = page["through"].as_u64().expect("a number");
        if through == after {
            break;
        }
        after = through;
    }
    let sequences: Vec<u64> =
        all.iter().map(|event| event["cursor"]["sequence"].as_u64().expect("it is")).collect();
    assert_eq!(sequences, (1..=all.len() as u64).collect::<Vec<_>>());
    all
}

/// That a conversation is there, with its message and its file, or is not.
async fn is_there(api: &Api, conversation: &str) -> bool {
    let path = format!("/v1/conversations/{conversation}");
    let view = match api.read::<Value>(&path).await {
        Ok(view) => view,
        Err(unknown) => {
            assert!(unknown.to_string().contains("conversation-unknown"), "{unknown}");
            return false;
        }
    };
    assert_eq!(view["stage"], "waiting", "{view}");
    let messages: Value = api.read(&format!("{path}/messages")).await.expect("it has some");
    let blob = messages["data"][0]["body"]["attachments"][0]["blob"].as_str().expect("a file");
    let file: Value = api.read(&format!("{path}/attachments/{blob}")).await.expect("it is there");
    assert!(file["number"].is_u64(), "{file}");
    true
}

/// A cluster as of a point; `None`, and why, if it is refused.
fn filled(store: &Path, at: &[&str]) -> Result<Nodes, String> {
    let new = Nodes::init(1, 2);
    let into = text(new.dir.path()).to_owned();
    let restored = backup(&[&["restore", text(store), "--into", &into], at].concat());
    match said(&restored) {
        (Some(0), _) => Ok(new),
        (_, why) => Err(why),
    }
}

/// What was done to a cluster and its store.
struct Story {
    site: String,
    /// Before the first run, before the site moved, and after.
    conversations: [String; 3],
    /// Of the first shard before it moved, of the second after.
    indexes: [u64; 2],
}

impl Story {
    /// Has a site move from the first shard to the second between two runs.
    async fn tell(nodes: &Nodes, store: &Path) -> Self {
        let api = nodes.admin(1);
        let site = site_in(&api, "sh_1").await;
        let (first, _) = open(&api, &site, 1).await;
        name(&create(nodes, store));
        let (second, before) = open(&api, &site, 2).await;
        move_site(&nodes.gateways[0], &nodes.token, &site, "sh_2");
        let (third, after) = open(&api, &site, 3).await;
        name(&create(nodes, store));
        Self { site, conversations: [first, second, third], indexes: [before, after] }
    }

    /// Looks into a cluster that was filled: the site is there once, and serves, with those
    /// conversations and no others.
    async fn holds(&self, mut new: Nodes, shard: &str, there: [bool; 3]) {
        new.start_all().await;
        let (api, site) = (new.admin(1), &self.site);
        eventually("it lives there", async || (lives_in(&api, site).await == shard).then_some(()))
            .await;
        // Whatever it departed for, it serves.
        let (opened, _) = open(&api, site, 9).await;
        assert!(is_there(&api, &opened).await);
        for (conversation, there) in self.conversations.iter().zip(there) {
            assert_eq!(is_there(&api, conversation).await, there, "{conversation}");
        }
        let moves = |all: &[Value]| {
            all.iter().filter(|event| event["event"]["site_moved"].is_object()).count()
        };
        assert_eq!(moves(&told(&api, site).await), usize::from(shard == "sh_2"));
        // It can go on to the other, and come back.
        for (to, moved) in [("sh_2", 1), ("sh_1", 2)] {
            move_site(&new.gateways[0], &new.token, site, to);
            assert!(is_there(&api, &opened).await);
            assert_eq!(moves(&told(&api, site).await), moved);
        }
        // What was empty is whole, too.
        let kept = new.dir.path().join("kept");
        name(&create(&new, &kept));
        must(&backup(&["verify", text(&kept)]));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_site_is_brought_back_to_before_amid_and_after_its_move() {
    let mut old = Nodes::init(1, 2);
    old.start_all().await;
    let folder = tempfile::tempdir().expect("a folder");
    let kept = folder.path().join("kept");
    let story = Story::tell(&old, &kept).await;
    drop(old);
    must(&backup(&["verify", text(&kept)]));
    let ([before, after], [first, second]) =
        (story.indexes, ["sh_1", "sh_2"].map(|shard| points(&kept, shard)));
    assert!(first.0 < before && before < first.1 && second.0 < after && after <= second.1);

    let at = |one: u64, two: u64| [format!("sh_1={one}"), format!("sh_2={two}")];
    let fill = |one: u64, two: u64| {
        let [one, two] = at(one, two);
        filled(&kept, &["--at-index", &one, "--at-index", &two])
    };
    let new = fill(before, second.0).expect("it had not left");
    story.holds(new, "sh_1", [true, true, false]).await;
    let new = fill(first.1, after).expect("it had come");
    story.holds(new, "sh_2", [true, true, true]).await;
    let twice = fill(before, after).map(drop).expect_err("it is in both");
    let wanted = format!(
        "{} is in sh_2 at index {after} and in sh_1 at index {before}: sh_1 would have to be of a \
         later moment",
        story.site
    );
    assert!(twice.contains(&wanted) && twice.contains("earlier ones of the others"), "{twice}");
    let nowhere = fill(first.1, second.0).map(drop).expect_err("it is in none");
    let wanted = format!(
        "{} left sh_1 at index {} and did not come to sh_2 at index {}",
        story.site, first.1, second.0
    );
    assert!(nowhere.contains(&wanted), "{nowhere}");

    // The last index at which the first shard still had it, which is after it departed.
    let (mut had, mut lost) = (before, first.1);
    while lost - had > 1 {
        let middle = had.midpoint(lost);
        match fill(middle, second.0) {
            Ok(_) => had = middle,
            Err(_) => lost = middle,
        }
    }
    let new = fill(had, second.0).expect("it was on its way");
    story.holds(new, "sh_1", [true, true, false]).await;
    let new = fill(had, after).expect("it was not forgotten yet");
    story.holds(new, "sh_2", [true, true, true]).await;
}

/// What shards say that were read before and after a move does not fit, though each file is whole.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn files_of_two_runs_are_no_run() {
    let mut old = Nodes::init(1, 2);
    old.start_all().await;
    let folder = tempfile::tempdir().expect("a folder");
    let kept = folder.path().join("kept");
    let site = site_in(&old.admin(1), "sh_1").await;
    let first = kept.join(name(&create(&old, &kept)));
    move_site(&old.gateways[0], &old.token, &site, "sh_2");
    let run = kept.join(name(&create(&old, &kept)));
    drop(old);
    must(&backup(&["verify", text(&kept)]));

    let read = |run: &Path| -> Value {
        let manifest = std::fs::read(run.join("manifest.json")).expect("readable");
        serde_json::from_slice(&manifest).expect("JSON")
    };
    let mut manifest = read(&run);
    manifest["shards"][1] = read(&first)["shards"][1].clone();
    std::fs::write(run.join("manifest.json"), manifest.to_string()).expect("writable");
    for file in ["sh_1.backup", "sh_1.entries"] {
        std::fs::copy(first.join(file), run.join(file)).expect("writable");
    }
    let wanted = format!("{site} is in sh_2 at index");
    let (code, verified) = said(&backup(&["verify", text(&kept)]));
    assert!(code == Some(1) && verified.contains(&wanted), "{verified}");
    let refused = filled(&kept, &[]).map(drop).expect_err("it is in both");
    assert!(refused.contains(&wanted), "{refused}");
}

/// The file that a run which is being made has begun to write of a shard.
fn begun(store: &Path, shard: &str) -> Option<()> {
    let part = format!("{shard}.backup.part");
    let runs = std::fs::read_dir(store).ok()?.flatten();
    let parts = runs.filter_map(|run| std::fs::metadata(run.path().join(&part)).ok());
    parts.into_iter().any(|part| part.len() > 0).then_some(())
}

fn signal(process: &Child, name: &str) {
    let (pid, name) = (process.id().to_string(), format!("-{name}"));
    assert!(Command::new("kill").args([name, pid]).status().expect("it runs").success());
}

/// A site leaves a shard after that was read, and comes to one that is read next.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_that_is_made_while_a_site_moves_has_it_once() {
    let mut old = Nodes::init(1, 2);
    old.start_all().await;
    let folder = tempfile::tempdir().expect("a folder");
    let kept = folder.path().join("kept");
    let api = old.admin(1);
    let site = site_in(&api, "sh_1").await;
    let (conversation, _) = open(&api, &site, 1).await;
    // At the pace of this run some seconds' worth.
    let large = json!({"number": "9".repeat(512 * 1024)});
    done(&api, Method::POST, &format!("/v1/sites/{site}/blobs"), large).await;
    let url = old.gateways[0].to_string();
    let mut slowly = rotary();
    slowly.args(["backup", "create", "--to", text(&kept), "--url", &url, "--token", &old.token]);
    slowly.args(["--bytes-per-second", "65536"]).stdout(Stdio::piped()).stderr(Stdio::piped());
    let making = slowly.spawn().expect("it runs");
    eventually("the first shard is read", async || begun(&kept, "sh_1")).await;
    signal(&making, "STOP");
    move_site(&old.gateways[0], &old.token, &site, "sh_2");
    signal(&making, "CONT");
    let made = making.wait_with_output().expect("it ends");
    let (_, said) = said(&made);
    assert_eq!(said.matches("again: sites moved").count(), 1, "{said}");
    let run = name(&made);
    must(&backup(&["verify", text(&kept), "--run", &run]));
    drop(old);

    let mut new = filled(&kept, &[]).expect("it fits");
    new.start_all().await;
    let api = new.admin(1);
    assert_eq!(lives_in(&api, &site).await, "sh_2");
    assert!(is_there(&api, &conversation).await);
    let (opened, _) = open(&api, &site, 2).await;
    assert!(is_there(&api, &opened).await);
    told(&api, &site).await;
}
