//! Backups brought back to a point between two of them: nothing that came later is there.

#[path = "support/nodes.rs"]
#[expect(dead_code, reason = "each test binary uses its own part of the support")]
mod nodes;

use std::path::Path;
use std::process::Output;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use hyper::Method;
use nodes::{Nodes, done, rotary, said, tenant_and_site};
use rotary_client::Api;
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

fn refused(output: &Output) -> String {
    let (code, text) = said(output);
    assert_eq!(code, Some(1), "{text}");
    text
}

fn text(path: &Path) -> &str {
    path.to_str().expect("plain")
}

/// Makes a run, and gives its name.
fn create(nodes: &Nodes, store: &Path) -> String {
    let url = nodes.gateways[0].to_string();
    let args = ["create", "--to", text(store), "--url", &url, "--token", &nodes.token];
    must(&backup(&args)).lines().last().expect("its name").to_owned()
}

/// What a run, or the newest one, can be brought back to: of each shard the first and the last
/// index of each range.
fn points(store: &Path, run: &[&str]) -> Vec<(String, u64, u64)> {
    let args = [&["points", text(store), "-o", "json"], run].concat();
    let found: Value = serde_json::from_str(&must(&backup(&args))).expect("JSON");
    let rows = found["points"].as_array().expect("a list").iter();
    let number = |value: &Value| value.as_u64().expect("an index");
    let shard = |row: &Value| row["shard"].as_str().expect("a name").to_owned();
    rows.map(|row| (shard(row), number(&row["first"]), number(&row["last"]))).collect()
}

struct Site {
    api: Api,
    site: String,
}

impl Site {
    async fn make(api: Api) -> Self {
        let (_, site) = tenant_and_site(&api, "north", json!({"name": "north"})).await;
        let site = Self { api, site };
        site.name_queue("for sale").await;
        site
    }

    fn path(&self, rest: &str) -> String {
        format!("/v1/sites/{}{rest}", self.site)
    }

    async fn name_queue(&self, name: &str) {
        done(&self.api, Method::PUT, &self.path("/queues/qu_1"), json!({"name": name})).await;
    }

    /// Opens a conversation whose message has a file; its id, and where the log has it.
    async fn open(&self, number: u32) -> (String, (String, u64)) {
        let file = json!({"number": number});
        let mut file = done(&self.api, Method::POST, &self.path("/blobs"), file).await;
        file["name"] = json!({"text": "order.json"});
        let body = json!({"text": {"text": "Hello ".repeat(100)}, "attachments": [file]});
        let item = json!({"id": format!("it_{number:032x}"), "body": body});
        let open = json!({"queue": "qu_1", "channel": "chat", "item": item});
        let opened = self.api.change(Method::POST, &self.path("/conversations"), &open).await;
        let opened = opened.acknowledged().expect("it is open");
        let place = opened.position.expect("a log has it");
        let opened: Value = opened.read().expect("JSON");
        let id = opened["conversation"].as_str().expect("a text").to_owned();
        (id, (place.shard.to_string(), place.index))
    }
}

/// Everything that can be seen of a site and two of its conversations.
async fn seen(api: &Api, site: &str, conversations: [&str; 2]) -> Value {
    let read = async |path: String| api.read::<Value>(&path).await.expect("it is there");
    let mut found = vec![read(format!("/v1/sites/{site}/queues/qu_1")).await["plan"].clone()];
    for id in conversations {
        let path = format!("/v1/conversations/{id}");
        found.push(read(path.clone()).await["stage"].clone());
        found.push(read(format!("{path}/trace")).await);
        let messages = read(format!("{path}/messages")).await;
        let blob = messages["data"][0]["body"]["attachments"][0]["blob"].as_str();
        let blob = blob.expect("a file").to_owned();
        found.push(messages);
        found.push(read(format!("{path}/attachments/{blob}")).await);
    }
    json!(found)
}

async fn events(api: &Api, site: &str) -> Vec<Value> {
    let page: Value =
        api.read(&format!("/v1/sites/{site}/events?limit=1000")).await.expect("there");
    page["data"].as_array().expect("a list").clone()
}

fn unix_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("it is later");
    u64::try_from(since.as_millis()).expect("not so late")
}

/// A moment that everything before this call is before, and everything after it is not.
async fn between() -> u64 {
    let moment = unix_ms() + 1;
    while unix_ms() <= moment {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    moment
}

/// A moment as the command line takes it.
fn written(unix_ms: u64) -> String {
    let (days, ms) = (unix_ms / 86_400_000, unix_ms % 86_400_000);
    let date = time::OffsetDateTime::UNIX_EPOCH + time::Duration::days(days as i64);
    let (hour, minute) = (ms / 3_600_000, ms / 60_000 % 60);
    let (second, ms) = (ms / 1_000 % 60, ms % 1_000);
    format!("{}T{hour:02}:{minute:02}:{second:02}.{ms:03}Z", date.date())
}

/// Another cluster, as of a point; it runs.
async fn restored(store: &Path, at: &[&str]) -> Nodes {
    let mut new = Nodes::init(1, 2);
    let into = text(new.dir.path()).to_owned();
    must(&backup(&[&["restore", text(store), "--into", &into], at].concat()));
    new.start_all().await;
    new
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_is_brought_back_to_before_a_mistake() {
    let mut old = Nodes::init(3, 2);
    old.start_all().await;
    let site = Site::make(old.admin(1)).await;
    let (first, _) = site.open(1).await;
    let folder = tempfile::tempdir().expect("a folder");
    let kept = folder.path().join("kept");
    let run = create(&old, &kept);

    let (second, (shard, good)) = site.open(2).await;
    let before = seen(&site.api, &site.site, [&first, &second]).await;
    assert!(before[0].to_string().contains("for sale"), "{before}");
    let told = events(&site.api, &site.site).await;
    let moment = between().await;
    // The mistake, and what else came later.
    site.name_queue("ruined").await;
    let abandon = format!("/v1/conversations/{second}/abandon");
    done(&site.api, Method::POST, &abandon, json!({})).await;
    let (third, (_, later)) = site.open(3).await;
    done(&site.api, Method::POST, "/v1/tenants", json!({"name": "late"})).await;
    create(&old, &kept);
    let (fourth, (_, last)) = site.open(4).await;
    assert!(good < later && later < last);
    drop(old);

    must(&backup(&["verify", text(&kept)]));
    let all = points(&kept, &[]);
    let leads =
        |index| all.iter().any(|(of, from, to)| *of == shard && (*from..=*to).contains(&index));
    assert!(leads(good) && leads(later) && !leads(last), "{all:?}");
    let at_index = format!("{shard}={good}");
    for at in [["--at-index", &at_index], ["--at-time", &written(moment)]] {
        let new = restored(&kept, &at).await;
        let api = new.admin(1);
        assert_eq!(seen(&api, &site.site, [&first, &second]).await, before, "{at:?}");
        for id in [&third, &fourth] {
            let gone = api.read::<Value>(&format!("/v1/conversations/{id}")).await;
            let gone = gone.expect_err("it came later").to_string();
            assert!(gone.contains("conversation-unknown"), "{gone}");
        }
        let found = events(&api, &site.site).await;
        assert_eq!(found[..told.len()], told);
        assert!(!found[told.len()..].iter().any(|event| event["index"] == json!(later)));
        let tenants: Value = api.read("/v1/tenants").await.expect("readable");
        let has_late = tenants.to_string().contains("\"late\"");
        assert_eq!(has_late, at[0] == "--at-index", "the directory is as the run has it, or not");
        // It goes on from there.
        let again = Site { api, site: site.site.clone() };
        let (opened, (_, index)) = again.open(5).await;
        assert!(index > good);
        let trace = format!("/v1/conversations/{opened}/trace");
        let trace: Value = again.api.read(&trace).await.expect("it is there");
        assert!(trace["data"][0]["event"]["opened"].is_object(), "{trace}");
    }
    what_nothing_leads_to_is_refused(&kept, &shard, last);
    // Without the run that has the beginning, the later one stands alone.
    must(&backup(&["remove", text(&kept), "--run", &run]));
    assert!(points(&kept, &[]).iter().all(|(_, first, last)| first == last));
    let new = Nodes::init(1, 2);
    let into = text(new.dir.path());
    let gone = refused(&backup(&["restore", text(&kept), "--into", into, "--at-index", &at_index]));
    assert!(gone.contains("the nearest indexes are, after it"), "{gone}");
    let new = restored(&kept, &[]).await;
    let third: Value =
        new.admin(1).read(&format!("/v1/conversations/{third}")).await.expect("it is there");
    assert!(third["stage"].is_string(), "{third}");
}

/// Refusals say what can be had; the folder is as it was, and can still be filled.
fn what_nothing_leads_to_is_refused(kept: &Path, shard: &str, last: u64) {
    let new = Nodes::init(1, 2);
    let into = text(new.dir.path());
    let restore = |at: [&str; 2]| {
        let args = ["restore", text(kept), "--into", into, at[0], at[1]];
        said(&backup(&args))
    };
    let (code, beyond) = restore(["--at-index", &format!("{shard}={}", last + 9)]);
    assert_eq!(code, Some(1), "{beyond}");
    let wanted = format!("{shard}: nothing kept leads to index {}", last + 9);
    assert!(beyond.contains(&wanted) && beyond.contains("nearest"), "{beyond}");
    let (code, unknown) = restore(["--at-index", "sh_9=4"]);
    assert!(code == Some(1) && unknown.contains("sh_9 is not in"), "{unknown}");
    let (code, early) = restore(["--at-time", "2020-02-29T14:03Z"]);
    assert!(code == Some(1) && early.contains("leads to 2020-02-29T14:03:00.000Z"), "{early}");
    let (code, late) = restore(["--at-time", "2999-01-01T00:00:00Z"]);
    assert!(code == Some(1) && late.contains("before it"), "{late}");
    for wrong in [["--at-time", "yesterday"], ["--at-index", "1=2=3"]] {
        let (code, what) = restore(wrong);
        assert!(code == Some(2) && what.contains("as in"), "{what}");
    }
    must(&backup(&["restore", text(kept), "--into", into]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_forgotten_before_a_run_took_it_is_a_hole() {
    let mut old = Nodes::init(1, 1);
    old.configure(1, "[log]\nsnapshot_entries_kept = 0");
    old.start_all().await;
    let site = Site::make(old.admin(1)).await;
    let folder = tempfile::tempdir().expect("a folder");
    let (kept, other) = (folder.path().join("kept"), folder.path().join("other"));
    create(&old, &kept);
    let (_, (shard, lost)) = site.open(1).await;
    // It forgets entries by the hundred.
    for number in 0..300 {
        site.name_queue(&format!("number {number}")).await;
    }
    // A snapshot that no run of this store knows of has the log forget what was before it.
    nodes::eventually("the log forgets", async || {
        create(&old, &other);
        create(&old, &kept);
        let found = points(&kept, &[]);
        let last = found.iter().rfind(|(of, ..)| *of == shard).map(|(_, first, _)| *first);
        (last.is_some_and(|last| last > lost)).then_some(())
    })
    .await;
    assert!(old.stop(1).success());
    must(&backup(&["verify", text(&kept)]));
    let new = Nodes::init(1, 1);
    let into = text(new.dir.path());
    let at = format!("{shard}={lost}");
    let hole = refused(&backup(&["restore", text(&kept), "--into", into, "--at-index", &at]));
    let wanted = format!("{shard}: nothing kept leads to index {lost}: the nearest indexes are");
    assert!(hole.contains(&wanted), "{hole}");
    assert!(hole.contains("before it") && hole.contains("after it"), "{hole}");
    // What it names can be had.
    let found = points(&kept, &[]);
    let (_, _, before) = found.iter().find(|(of, ..)| *of == shard).expect("the first run's");
    let at = format!("{shard}={before}");
    must(&backup(&["restore", text(&kept), "--into", into, "--at-index", &at]));
}
