//! The command line against a real node: what it prints, and how it ends.

#[path = "support/nodes.rs"]
#[expect(dead_code, reason = "each test binary uses its own part of the support")]
mod nodes;

use std::path::{Path, PathBuf};

use hyper::Method;
use nodes::{Nodes, done, rotary, text};
use serde_json::{Value, json};

/// What a command came to.
struct Ran {
    code: Option<i32>,
    out: String,
    err: String,
}

impl Ran {
    /// The table, with columns a space apart.
    fn table(&self) -> Vec<String> {
        assert_eq!(self.code, Some(0), "{}", self.err);
        let line = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
        self.out.lines().map(line).collect()
    }

    fn json(&self) -> Value {
        assert_eq!(self.code, Some(0), "{}", self.err);
        serde_json::from_str(&self.out).expect(&self.out)
    }

    /// What is said of a failure, with its exit code and the code to look up.
    fn refused(&self, exit: i32, code: &str) {
        assert_eq!(self.code, Some(exit), "{}", self.err);
        assert!(self.err.contains(&format!("rotary explain {code}")), "{}", self.err);
        assert!(self.out.is_empty(), "{}", self.out);
    }
}

/// The command line of somebody with the administrator's token.
struct Shell {
    nodes: Nodes,
}

impl Shell {
    async fn start() -> Self {
        let mut nodes = Nodes::init(1, 2);
        nodes.start_all().await;
        Self { nodes }
    }

    fn run(&self, line: &str) -> Ran {
        self.run_as(&self.nodes.token, line)
    }

    fn run_as(&self, token: &str, line: &str) -> Ran {
        let output = rotary()
            .args(line.split_whitespace())
            .env("ROTARY_URL", self.nodes.gateways[0].to_string())
            .env("ROTARY_TOKEN", token)
            .output()
            .expect("it runs");
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("text");
        Ran { code: output.status.code(), out: text(output.stdout), err: text(output.stderr) }
    }

    fn file(&self, name: &str, text: &str) -> PathBuf {
        let path = self.nodes.dir.path().join(name);
        std::fs::write(&path, text).expect("writable");
        path
    }

    /// A site with two queues, two agents and a chat that waits.
    async fn furnish(&self) -> (String, String) {
        let admin = self.nodes.admin(1);
        let tenant = done(&admin, Method::POST, "/v1/tenants", json!({"name": "Blue"})).await;
        let tenant = tenant["tenant"].as_str().expect("a tenant").to_owned();
        let made = self.run(&format!("site create --tenant {tenant} --name Lobby -o json"));
        let site = made.json()["site"].as_str().expect("a site").to_owned();
        let plan = self.file("plan.toml", "name = \"Sales\"\noffer_ms = 9000\n");
        let put = self.run(&format!("queue put qu_1 --site {site} --file {}", plan.display()));
        assert_eq!(put.table(), ["qu_1: version 1"]);
        let plan = self.file("plan.json", "{\"name\": \"Care\"}");
        let put = self.run(&format!("queue put qu_2 --site {site} -f {}", plan.display()));
        assert_eq!(put.table(), ["qu_2: version 1"]);
        let profile = self.file("ana.json", "{\"name\": \"Ana\"}");
        for agent in ["ag_1", "ag_2"] {
            let profile = profile.display();
            let put = self.run(&format!("agent put {agent} --site {site} -f {profile}"));
            assert_eq!(put.table(), [format!("{agent}: version 1")]);
        }
        let body = json!({"queue": "qu_1", "channel": "chat"});
        let path = format!("/v1/sites/{site}/conversations");
        let opened = done(&admin, Method::POST, &path, body).await;
        (site, opened["conversation"].as_str().expect("an id").to_owned())
    }
}

#[tokio::test]
async fn what_there_is_can_be_made_listed_and_shown() {
    let shell = Shell::start().await;
    let (site, conversation) = shell.furnish().await;
    let sites = shell.run("site ls").table();
    assert!(sites[0] == "SITE SHARD NAME MOVES" && sites[1].ends_with("Lobby -"), "{sites:?}");
    let queues = shell.run(&format!("queue list --site {site}")).table();
    assert_eq!(queues[0], "QUEUE NAME WAITING OFFERED ASSIGNED WRAP-UP OLDEST");
    assert!(queues[1].starts_with("qu_1 Sales 1 0 0 0 "), "{queues:?}");
    assert!(queues[2].starts_with("qu_2 Care 0 0 0 0 "), "{queues:?}");
    let queue = shell.run(&format!("queue show qu_1 --site {site} -o json")).json();
    assert_eq!(queue["plan"]["offer_ms"], 9_000);
    let agents = |state| shell.run(&format!("agent ls --site {site} --state {state}")).table();
    let head = "AGENT STATE REASON SESSION ROUTABLE HOLDS";
    let row = "signed-out - none false 0";
    assert_eq!(agents("signed-out"), [head, &format!("ag_1 {row}"), &format!("ag_2 {row}")]);
    assert_eq!(agents("ready"), [head]);
    let agents = shell.run(&format!("agent ls --site {site} --limit 1 -o json"));
    assert_eq!(agents.json()["data"].as_array().expect("rows").len(), 1);
    assert!(agents.err.contains("there are more"), "{}", agents.err);
    let live = shell.run(&format!("conversation ls --site {site}")).table();
    assert!(live[1].starts_with(&format!("{conversation} waiting - qu_1 chat ")), "{live:?}");
    let shown = shell.run(&format!("conversation show {conversation}")).table();
    assert!(shown.contains(&"stage waiting".to_owned()), "{shown:?}");
}

#[tokio::test]
async fn all_is_seen_at_a_glance() {
    let shell = Shell::start().await;
    let (site, _) = shell.furnish().await;
    let seen = shell.run("top").table();
    assert!(seen[0].contains("nodes 1 of 1 connected shards 3 of 3 led as nd_1"), "{seen:?}");
    let queue = format!("{site} qu_1 Sales 1 0 0 0 ");
    assert!(seen.iter().any(|line| line.starts_with(&queue)), "{seen:?}");
    assert!(seen.iter().any(|line| line.starts_with("sh_0 nd_1 ")), "{seen:?}");
    let seen = shell.run(&format!("top --site {site} -o json")).json();
    assert_eq!(seen["sites"][0]["view"]["agents"], 2);
    assert_eq!(seen["cluster"]["shards"].as_array().expect("rows").len(), 3);
}

#[tokio::test]
async fn what_is_asked_of_a_conversation_is_done_and_told() {
    let shell = Shell::start().await;
    let (site, conversation) = shell.furnish().await;
    let moved = shell.run(&format!("conversation requeue {conversation} --queue qu_2"));
    assert_eq!(moved.table(), [format!("{conversation}: done")]);
    let ended = shell.run(&format!("conversation abandon {conversation} -o json"));
    assert_eq!(ended.json(), json!({}));
    shell.run(&format!("conversation close {conversation}")).refused(4, "conversation-closed");
    let closed = format!("conversation ls --site {site} --closed --queue qu_2");
    let row = nodes::eventually("it is in the archive", async || {
        shell.run(&closed).table().get(1).cloned()
    });
    assert!(row.await.starts_with(&format!("{conversation} 2")), "a moment follows");
    let trace = shell.run(&format!("conversation trace {conversation}")).table();
    assert_eq!(trace[0], "AFTER INDEX EVENT WHAT");
    assert!(trace.iter().any(|line| line.contains(" opened ")), "{trace:?}");
}

#[tokio::test]
async fn a_failure_has_its_exit_code_and_a_page() {
    let shell = Shell::start().await;
    let (site, _) = shell.furnish().await;
    shell.run(&format!("queue show qu_9 --site {site}")).refused(3, "queue-unknown");
    shell.run("queue ls --site st_9.9").refused(3, "site-unknown");
    shell.run_as("nonsense", "site ls").refused(5, "token-malformed");
    let reason = shell.run(&format!("agent set-state ag_1 not-ready --site {site}"));
    assert_eq!(reason.code, Some(2), "{}", reason.err);
    assert!(reason.err.contains("--reason"), "{}", reason.err);
    let absent = shell.run(&format!("queue put qu_1 --site {site} -f absent.json"));
    assert_eq!(absent.code, Some(2), "{}", absent.err);
    let plan = shell.file("bad.json", "{\"name\": \"\"}");
    let bad = shell.run(&format!("queue put qu_1 --site {site} -f {}", plan.display()));
    bad.refused(1, "malformed");
    shell.run(&format!("agent set-state ag_2 ready --site {site}")).refused(4, "agent-away");
    shell.run(&format!("site show {site} -o json")).json();
}

#[tokio::test]
async fn the_type_of_a_problem_leads_to_its_page() {
    let shell = Shell::start().await;
    let admin = shell.nodes.admin(1);
    let page = admin.fetch("/runbook/offer-gone").await.expect("a page");
    let page = String::from_utf8(page.body.to_vec()).expect("text");
    let explained = shell.run("explain offer-gone");
    assert_eq!(explained.out, page);
    assert!(page.contains("## What to do"), "{page}");
    assert!(admin.fetch("/runbook/breakfast").await.is_err());
}

#[test]
fn an_unknown_code_is_answered_with_the_nearest() {
    let output = rotary().args(["explain", "ofer-gone"]).output().expect("it runs");
    assert_eq!(output.status.code(), Some(3));
    let said = String::from_utf8(output.stderr).expect("text");
    assert!(said.contains("did you mean `offer-gone`?"), "{said}");
    let listed = rotary().arg("explain").output().expect("it runs");
    let listed = String::from_utf8(listed.stdout).expect("text");
    assert!(listed.contains("  exit-74 ") && listed.contains("  offer-gone "), "{listed}");
}

#[test]
fn a_shell_can_complete_what_there_is() {
    for shell in ["bash", "zsh", "fish"] {
        let output = rotary().args(["completions", shell]).output().expect("it runs");
        let script = String::from_utf8(output.stdout).expect("text");
        assert!(output.status.success() && script.contains("set-state"), "{shell}");
    }
}

#[test]
fn a_configuration_says_where_it_is_from() {
    let nodes = Nodes::init(1, 1);
    let config = nodes.config(1);
    let show = |more: &[&str]| {
        let mut command = rotary();
        command.args(["config", "show", "--origin", "--config"]).arg(&config).args(more);
        let output = command.env("ROTARY_LOG__THREADS", "3").output().expect("it runs");
        String::from_utf8(output.stdout).expect("text")
    };
    let shown = show(&["--set", "log.heartbeat_ms=90"]);
    let row = |key: &str| -> Vec<String> {
        let row = shown.lines().find(|line| line.starts_with(key)).expect(key);
        row.split_whitespace().skip(1).map(str::to_owned).collect()
    };
    assert_eq!(row("log.threads"), ["ROTARY_LOG__THREADS", "3"]);
    assert_eq!(row("log.heartbeat_ms"), ["--set", "90"]);
    assert_eq!(row("node.id"), [&config.display().to_string(), "1"]);
    assert_eq!(row("log.engine"), ["default", "segments"]);
    let validated = |path: &Path| {
        rotary().args(["config", "validate"]).arg(path).output().expect("it runs").status.code()
    };
    assert_eq!(validated(&config), Some(0));
    let broken = nodes.dir.path().join("broken.toml");
    std::fs::write(&broken, text(&config).replace("data_dir", "datadir")).expect("writable");
    assert_eq!(validated(&broken), Some(2));
}

#[test]
fn who_reads_no_further_hears_nothing_more() {
    let (reader, writer) = std::io::pipe().expect("a pipe");
    drop(reader);
    let ran = rotary().args(["explain", "draining"]).stdout(writer).output().expect("it runs");
    let err = String::from_utf8_lossy(&ran.stderr);
    assert_eq!((ran.status.code(), err.as_ref()), (Some(141), ""));
}
