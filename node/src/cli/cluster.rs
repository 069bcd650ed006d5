//! `rotary cluster`.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use clap::Args;
use rotary_client::Gateway;
use rotary_proto::limits::FEED_SILENCE_MS;
use rotary_proto::{Name, NodeId};
use serde_json::Value;

use crate::cli::client::{CliError, read_value};
use crate::cli::node::read_id;
use crate::cli::output::{Format, Table, cell, moment, rows};
use crate::cli::user::read_password;
use crate::cli::{Remote, exit, fail, fail_with, join, members};
use crate::cluster::authority::{self, Step};
use crate::cluster::{Goes, Made, MadeNode, Plan, add_node, break_glass_token, init as make};
use crate::config::{Config, Role};

/// How often `--wait` looks.
const LOOK: Duration = Duration::from_millis(200);
/// How long all must have been well for `--wait`: what a node said counts for as long as that, and
/// one that was restarted must have said it again.
const STEADY: Duration = Duration::from_millis(FEED_SILENCE_MS + 200);

/// `rotary cluster init`.
#[derive(Debug, Args)]
pub(crate) struct InitArgs {
    /// Where to make the nodes' directories.
    #[arg(long, visible_alias = "folder")]
    dir: PathBuf,
    /// How many nodes, 1 to 9; three survive the loss of one.
    #[arg(long, default_value_t = 3)]
    nodes: u64,
    /// How many gateway-only nodes beside them, 0 to 64: doors without a replica.
    #[arg(long, default_value_t = 0)]
    gateways: u64,
    /// The address that the nodes listen on.
    #[arg(long, default_value = "127.0.0.1")]
    listen: IpAddr,
    /// Node N takes this port + 10 (N - 1) for clients (TCP), and that + 2 for peers (UDP).
    #[arg(long, visible_alias = "port-base", default_value_t = 7080)]
    base_port: u16,
    /// Data shards; they cannot be changed afterwards.
    #[arg(long, default_value_t = 8)]
    shards: u32,
    /// The zones that the core nodes are in, in turn, e.g. a,b,c: what fails together is one zone.
    #[arg(long, value_delimiter = ',', value_parser = |text: &str| Name::new(text))]
    zones: Vec<Name>,
    /// The cluster's id, 1 to 40 of a-z, 0-9 and inner -; made up if absent.
    #[arg(long)]
    id: Option<String>,
    /// A file whose first line is the first administrator's password; made up and shown if absent.
    #[arg(long)]
    admin_password_file: Option<PathBuf>,
    /// How to show what was made.
    #[arg(short, long, value_enum, default_value_t = Format::Table)]
    output: Format,
}

/// `rotary cluster init`
pub(crate) fn init(args: InitArgs) -> u8 {
    let password = match args.admin_password_file.as_deref().map(read_password).transpose() {
        Ok(password) => password,
        Err(error) => return fail(error.exit_code(), &error),
    };
    let InitArgs { dir, nodes, gateways, listen, base_port, shards, zones, id, output, .. } = args;
    let plan = Plan { dir, nodes, gateways, listen, base_port, shards, zones, id, password };
    match make(&plan) {
        Ok(made) => {
            match output {
                Format::Json => match serde_json::to_string_pretty(&made) {
                    Ok(json) => println!("{json}"),
                    Err(error) => return fail(exit::ERROR, &error),
                },
                Format::Table => print!("{}", next_steps(&plan, &made)),
            }
            exit::OK
        }
        Err(error) => fail(error.exit_code(), &error),
    }
}

fn next_steps(plan: &Plan, made: &Made) -> String {
    let start = made
        .nodes
        .iter()
        .chain(&made.gateways)
        .map(|node| format!("  rotary server --config {}\n", node.config.display()));
    let url = made.nodes.first().map_or("", |node| &node.url);
    format!(
        "Cluster {id}: {count} {nodes}{gateways} in {dir}\n\n\
         Start each node, here or on its own machine:\n\n{start}\n\
         The first administrator signs in as {login}, with {password}.\n\
         A token of theirs (also in {token_file}, for your eyes only), until that changes:\n\n\
         \x20 {token}\n\n\
         Then:\n\n\
         \x20 export ROTARY_URL={url} ROTARY_TOKEN=$(cat {token_file})\n\
         \x20 rotary cluster status\n\
         \x20 open {url}/ and paste the token\n\n\
         Keep {authority} offline: whoever has it can join the cluster.\n",
        id = made.cluster,
        count = made.nodes.len(),
        nodes = if made.nodes.len() == 1 { "node" } else { "nodes" },
        gateways = match made.gateways.len() {
            0 => String::new(),
            count => format!(" and {count} gateway-only"),
        },
        dir = plan.dir.display(),
        start = start.collect::<String>(),
        token_file = plan.dir.join("admin.token").display(),
        token = made.token,
        login = made.login,
        password = made.password.as_ref().map_or_else(
            || "the password of --admin-password-file".to_owned(),
            |password| format!("the password {password}, which is shown nowhere else"),
        ),
        authority = plan.dir.join("authority/ca.key").display(),
    )
}

/// `rotary cluster add-gateway` and `add-node`.
#[derive(Debug, Args)]
pub(crate) struct AddNodeArgs {
    /// Where `cluster init` made the cluster: its authority/ and node-1/ are read.
    #[arg(long, visible_alias = "folder")]
    dir: PathBuf,
    /// Where clients are to reach it (TCP).
    #[arg(long, value_name = "ADDRESS:PORT")]
    public: SocketAddr,
    /// The UDP address that it speaks to the core nodes from.
    #[arg(long, value_name = "ADDRESS:PORT")]
    peer: SocketAddr,
    /// Its number; the next one that is free if absent.
    #[arg(long)]
    id: Option<u64>,
    /// What fails together with it: a rack, a hall, an availability zone.
    #[arg(long, value_parser = |text: &str| Name::new(text))]
    zone: Option<Name>,
    #[command(flatten)]
    joining: JoiningArgs,
}

/// How the folder gets to its machine.
#[derive(Debug, Args)]
struct JoiningArgs {
    /// Have the folder wait with the cluster, sealed, and print the command that fetches it from
    /// the new machine (rotary node join). Without it somebody carries the folder.
    #[arg(long, requires = "token")]
    join_token: bool,
    /// How long the join token is good for, in seconds: at most a week.
    #[arg(long, default_value_t = 86_400, requires = "join_token",
        value_parser = clap::value_parser!(u64).range(1..=604_800))]
    ttl_s: u64,
    /// With --join-token: a node of the cluster.
    #[arg(long, env = "ROTARY_URL", default_value = "http://127.0.0.1:7080")]
    url: Gateway,
    /// With --join-token: a token or API key of an administrator of the cluster.
    #[arg(long, env = "ROTARY_TOKEN", hide_env_values = true)]
    token: Option<String>,
    /// With --join-token: who signs the certificates of nodes that speak TLS, in a PEM file.
    #[arg(long, env = "ROTARY_CA")]
    ca: Option<PathBuf>,
}

/// `rotary cluster add-gateway` and `add-node`: makes the directory of one more node. Of a
/// gateway-only node the core nodes need not be told: its certificate says that it belongs to the
/// cluster. A core node waits until it is taken in.
pub(crate) async fn add_to(args: AddNodeArgs, role: Role) -> u8 {
    let AddNodeArgs { dir, public, peer, id, zone, joining } = args;
    let goes = if joining.join_token { Goes::ByToken } else { Goes::AsItIs };
    let made = match add_node(&dir, (role, goes), id, (public, peer), zone) {
        Ok(made) => made,
        Err(error) => return fail(error.exit_code(), &error),
    };
    let MadeNode { node, url, zone, .. } = &made;
    if joining.join_token {
        let JoiningArgs { ttl_s, url, token, ca, .. } = joining;
        let (token, output) = (token.unwrap_or_default(), Format::Table);
        let remote = Remote { url, token, ca, output };
        let folder = made.config.parent().unwrap_or(&dir);
        if let Err(error) = join::create(folder, ttl_s, &remote).await {
            let code = fail_with(error.exit_code(), &error, error.code());
            let (number, dir) = (node.0, dir.display());
            eprintln!("rotary: {} is made, and has no join token yet:", folder.display());
            eprintln!("rotary:   rotary cluster tokens create {number} --dir {dir}");
            return code;
        }
    } else {
        println!("Start it, here or on its own machine:\n");
        println!("  rotary server --config {}", made.config.display());
    }
    if role == Role::Core {
        print!("{}", members::admission(*node, peer, url, zone.as_ref()));
    }
    exit::OK
}

/// `rotary cluster renew-node`.
#[derive(Debug, Args)]
pub(crate) struct RenewArgs {
    /// Where `cluster init` made the cluster: its authority/ signs, and node-N/tls/ is written.
    #[arg(long, visible_alias = "folder")]
    dir: PathBuf,
    /// Which nodes, core or gateway-only, e.g. nd_4 or 4; all whose folders are there, if none.
    #[arg(value_parser = read_id)]
    nodes: Vec<NodeId>,
    /// How many days the certificates are good for; without it they do not end.
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..=36_500))]
    days: Option<u64>,
}

/// `rotary cluster renew-node`: new certificates and keys from the same authority.
pub(crate) fn renew(args: &RenewArgs) -> u8 {
    match authority::renew(&args.dir, &args.nodes, args.days) {
        Ok(written) => {
            print!("{}", to_be_taken(&written));
            exit::OK
        }
        Err(error) => fail(error.exit_code(), &error),
    }
}

/// `rotary cluster rotate-authority`.
#[derive(Debug, Args)]
pub(crate) struct RotateArgs {
    /// The step to take.
    step: Step,
    /// Where `cluster init` made the cluster.
    #[arg(long, visible_alias = "folder")]
    dir: PathBuf,
    /// With switch: how many days the nodes' certificates are good for; without it they do not end.
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..=36_500))]
    days: Option<u64>,
}

/// `rotary cluster rotate-authority`: another authority in place of the one that signs.
pub(crate) fn rotate(args: &RotateArgs) -> u8 {
    match authority::rotate(&args.dir, args.step, args.days) {
        Ok(written) => {
            let (done, next) = match args.step {
                Step::Begin => ("There is a new authority beside the old one.", Some("switch")),
                Step::Switch => {
                    ("The new authority signs; the old one is believed yet.", Some("finish"))
                }
                Step::Finish => ("The old authority is dropped.", None),
            };
            print!("{done}\n{}", to_be_taken(&written));
            if let Some(next) = next {
                let dir = args.dir.display();
                println!(
                    "\nOnce every node has them, and says so in its log or `rotary doctor`:\n"
                );
                println!("  rotary cluster rotate-authority {next} --dir {dir}");
            }
            exit::OK
        }
        Err(error) => fail(error.exit_code(), &error),
    }
}

/// What is to be done with files that were written for nodes.
fn to_be_taken(written: &[PathBuf]) -> String {
    let folders = written.iter().map(|folder| format!("  {}\n", folder.display()));
    format!(
        "Take each of these to its node, in place of the one there; a running node takes it up \
         within seconds, or at SIGHUP:\n\n{}",
        folders.collect::<String>()
    )
}

/// `rotary cluster break-glass`.
#[derive(Debug, Args)]
pub(crate) struct BreakGlassArgs {
    /// A node's directory, where its rotary.toml is.
    #[arg(long)]
    data: PathBuf,
    /// How long the token is good for, in seconds: at most an hour.
    #[arg(long, default_value_t = 900, value_parser = clap::value_parser!(u64).range(1..=3_600))]
    ttl_s: u64,
}

/// `rotary cluster break-glass`: signs with the node's own copy of the cluster's secret. It needs
/// neither a quorum nor a node that runs, only leave to read that file.
pub(crate) fn break_glass(args: &BreakGlassArgs) -> u8 {
    let config = match Config::load(&args.data.join("rotary.toml"), &[]) {
        Ok(config) => config,
        Err(error) => return fail(exit::USAGE, &error),
    };
    let path = config.auth.token_secret_file;
    match std::fs::read(&path) {
        Ok(secret) => {
            eprintln!(
                "rotary: whoever has this token administers the cluster for {} s; mend what locked \
                 you out (rotary user passwd, which also ends every token of that user, \
                 admin.token among the first one's), then let it expire",
                args.ttl_s
            );
            println!("{}", break_glass_token(secret.trim_ascii(), args.ttl_s));
            exit::OK
        }
        Err(error) => fail(exit::ERROR, &format!("{}: {error}", path.display())),
    }
}

/// `rotary cluster status`.
#[derive(Debug, Args)]
pub(crate) struct StatusArgs {
    /// Wait until every node is connected and has said what it runs, every shard has a leader, and
    /// those keep it that should.
    #[arg(long)]
    wait: bool,
    /// How long, in seconds.
    #[arg(long, default_value_t = 600, requires = "wait")]
    timeout_s: u64,
    #[command(flatten)]
    remote: Remote,
}

/// `rotary cluster status`
pub(crate) async fn status(args: &StatusArgs) -> Result<(), CliError> {
    let StatusArgs { wait, timeout_s, remote } = args;
    let (begun, patience) = (Instant::now(), Duration::from_secs(*timeout_s));
    let mut since = None;
    let (cluster, health) = loop {
        let cluster = read_value(remote, "/v1/cluster").await;
        let health = cluster.as_ref().map_or_else(|error| Err(error.to_string()), health);
        let is_so = health.is_ok() && cluster.as_ref().is_ok_and(is_settled);
        since = if is_so { since.or_else(|| Some(Instant::now())) } else { None };
        let is_steady = since.is_some_and(|since| since.elapsed() >= STEADY);
        if is_steady || !*wait || begun.elapsed() >= patience {
            break (cluster?, health);
        }
        tokio::time::sleep(LOOK).await;
    };
    show(remote, &cluster);
    health.map_err(CliError::Unhealthy)
}

fn show(remote: &Remote, cluster: &Value) {
    if remote.output == Format::Json {
        println!("{cluster:#}");
    } else {
        println!("{}", nodes(cluster));
        if let Some(gateways) = gateways(cluster) {
            println!("{gateways}");
        }
        print!("{}", shards(cluster));
        print!("{}", waiting(cluster));
    }
}

/// Whether every core node has said what it is, and every shard has the members that are wanted.
fn is_settled(cluster: &Value) -> bool {
    let mut keeps = rows(&cluster["nodes"]).iter().filter(|node| node["keeps"] != false);
    let announced = keeps.all(|node| !node["build"].is_null() && node["announced"] != false);
    announced && rows(&cluster["shards"]).iter().all(members::is_settled)
}

/// What is wrong with nodes and shards.
fn health(cluster: &Value) -> Result<(), String> {
    let without = rows(&cluster["shards"]).iter().filter(|shard| shard["leader"].is_null());
    let without: Vec<String> = without.map(|shard| cell(&shard["shard"])).collect();
    // Who keeps nothing any more may be gone.
    let keeps = rows(&cluster["nodes"]).iter().filter(|node| node["keeps"] != false);
    let away = keeps.chain(rows(&cluster["gateways"]));
    let away = away.filter(|node| node["connected"] != true);
    let away: Vec<String> = away.map(|node| cell(&node["node"])).collect();
    match (without.as_slice(), away.as_slice()) {
        ([], []) => Ok(()),
        ([], away) => Err(format!("not connected: {}", away.join(", "))),
        (without, _) => Err(format!("no leader: {}", without.join(", "))),
    }
}

fn nodes(cluster: &Value) -> Table {
    let mut table = Table::new(["NODE", "URL", "PEER", "CONNECTED", "LEADS", "VERSION", "ZONE"]);
    for node in rows(&cluster["nodes"]) {
        let of = |key: &str| cell(&node[key]);
        let [id, url, peer] = ["node", "url", "peer"].map(of);
        table.row([id, url, peer, of("connected"), of("leads"), of("build"), of("zone")]);
    }
    table
}

/// What shards wait for whose members are not those that are wanted, and what is left on nodes that
/// drain.
fn waiting(cluster: &Value) -> String {
    let waits = rows(&cluster["shards"]).iter().filter(|shard| !shard["waiting"].is_null());
    let line =
        |shard: &Value| format!("{} waits: {}\n", cell(&shard["shard"]), cell(&shard["waiting"]));
    let nodes = rows(&cluster["nodes"]).iter().chain(rows(&cluster["gateways"]));
    let drain = nodes.filter(|node| node["drains"] == Value::Bool(true));
    let drains = |node: &Value| {
        let remains = node["remains"].as_str().unwrap_or("it is empty");
        format!("{} drains: {remains}\n", cell(&node["node"]))
    };
    let zones = rows(&cluster["overweight"]).iter();
    let heavy = |zone: &Value| {
        format!("zone {} has so many votes that its loss leaves no majority\n", cell(zone))
    };
    let upgrade = (cluster["wanted"] != cluster["acts_by"]).then(|| {
        format!(
            "the cluster acts by version {} of the logic, and is to act by {}: rotary upgrade \
             status\n",
            cell(&cluster["acts_by"]),
            cell(&cluster["wanted"])
        )
    });
    let lines = waits.map(line).chain(drain.map(drains)).chain(zones.map(heavy));
    let lines: String = lines.chain(upgrade).collect();
    if lines.is_empty() { lines } else { format!("\n{lines}") }
}

/// Gateway-only nodes, if there are any.
pub(crate) fn gateways(cluster: &Value) -> Option<Table> {
    let all = rows(&cluster["gateways"]);
    let heads = ["GATEWAY", "URL", "CONNECTED", "SEEN BY", "LAST SEEN", "SESSIONS", "VERSION"];
    let mut table = Table::new(heads);
    for node in all {
        let of = |key: &str| cell(&node[key]);
        let seen_by: Vec<String> = rows(&node["seen_by"]).iter().map(cell).collect();
        let seen_by = if seen_by.is_empty() { "-".to_owned() } else { seen_by.join(", ") };
        let last_seen = match &node["last_seen"] {
            Value::Null => "-".to_owned(),
            at => moment(at),
        };
        let [id, url, connected] = ["node", "url", "connected"].map(of);
        table.row([id, url, connected, seen_by, last_seen, of("sessions"), of("build")]);
    }
    (!all.is_empty()).then_some(table)
}

fn shards(cluster: &Value) -> Table {
    let mut table = Table::new([
        "SHARD", "LEADER", "VOTERS", "TERM", "LAST", "APPLIED", "RECORDED", "SITES", "LOGIC",
    ]);
    for shard in rows(&cluster["shards"]) {
        let of = |key: &str| cell(&shard[key]);
        let log = [of("shard"), of("leader"), of("term"), of("last"), of("applied")];
        let [id, leader, term, last, applied] = log;
        let list = |key: &str| rows(&shard[key]).iter().map(cell).collect::<Vec<_>>().join(", ");
        // Who follows without a vote is in brackets.
        let members = match list("learners").as_str() {
            "" => list("voters"),
            learners => format!("{} ({learners})", list("voters")),
        };
        let [recorded, sites, logic] = ["recorded", "sites", "logic"].map(of);
        table.row([id, leader, members, term, last, applied, recorded, sites, logic]);
    }
    table
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_next_steps_are_whole_commands() {
        let dir = tempfile::tempdir().expect("a directory");
        let plan = Plan {
            dir: dir.path().join("c"),
            nodes: 1,
            gateways: 0,
            listen: IpAddr::from([127, 0, 0, 1]),
            base_port: 7080,
            shards: 1,
            zones: Vec::new(),
            id: Some("blue".to_owned()),
            password: None,
        };
        let made = make(&plan).expect("an empty directory");
        let text = next_steps(&plan, &made);
        let config = made.nodes[0].config.display().to_string();
        assert!(text.contains(&format!("rotary server --config {config}\n")), "{text}");
        let password = made.password.as_deref().expect("made up");
        assert!(text.contains(&format!("as admin, with the password {password}")), "{text}");
        assert!(text.contains(&made.token) && text.contains("http://127.0.0.1:7080"), "{text}");
    }

    #[test]
    fn shards_that_wait_say_for_what() {
        let shard = |shard: &str, waiting: Value| json!({"shard": shard, "waiting": waiting});
        let why = "nd_4 does not answer";
        let cluster = json!({"shards": [shard("sh_0", Value::Null), shard("sh_1", why.into())]});
        assert_eq!(waiting(&cluster), "\nsh_1 waits: nd_4 does not answer\n");
        assert_eq!(waiting(&json!({"shards": [shard("sh_0", Value::Null)]})), "");
        let node = |node: &str, drains: bool, remains: Value| {
            json!({"node": node, "drains": drains,
                "remains": remains})
        };
        let nodes = [node("nd_1", true, "3 sessions".into()), node("nd_2", false, Value::Null)];
        let gateways = [node("nd_4", true, Value::Null)];
        let told = waiting(&json!({"shards": [], "nodes": nodes, "gateways": gateways}));
        assert_eq!(told, "\nnd_1 drains: 3 sessions\nnd_4 drains: it is empty\n");
    }

    #[test]
    fn a_cluster_is_settled_when_those_keep_a_shard_that_should() {
        let of = |build: Value, voters: Value, learners: Value| {
            let node = json!({"node": "nd_1", "build": build, "announced": true});
            let gone = json!({"node": "nd_9", "build": null, "keeps": false});
            let shard = json!({"replicas": ["nd_1", "nd_2"], "voteless": ["nd_2"],
                "voters": voters, "learners": learners});
            is_settled(&json!({"nodes": [node, gone], "shards": [shard]}))
        };
        let (one, two, both) = (json!(["nd_1"]), json!(["nd_2"]), json!(["nd_1", "nd_2"]));
        assert!(of("1".into(), one.clone(), two.clone()));
        assert!(!of(Value::Null, one.clone(), two), "not announced");
        assert!(!of("1".into(), both, json!([])), "a vote too many");
        assert!(!of("1".into(), one.clone(), json!([])), "a member too few");
        assert!(!of("1".into(), one, json!(["nd_2", "nd_3"])), "a member too many");
        let restarted = json!({"node": "nd_1", "build": "1", "announced": false});
        assert!(!is_settled(&json!({"nodes": [restarted], "shards": []})), "an earlier build's");
    }

    #[test]
    fn gateways_are_shown_where_there_are_any() {
        assert!(gateways(&json!({"gateways": []})).is_none());
        let here = json!({"node": "nd_4", "url": "http://x:1", "connected": true, "build": "1.2",
            "seen_by": ["nd_1", "nd_3"], "last_seen": 0, "sessions": 7});
        let never = json!({"node": "nd_5", "url": "http://x:2", "connected": false, "build": "1.1",
            "seen_by": [], "last_seen": null, "sessions": null});
        let text = gateways(&json!({"gateways": [here, never]})).expect("two").to_string();
        let lines: Vec<&str> = text.lines().collect();
        assert!(lines[1].contains("true       nd_1, nd_3"), "{text}");
        assert!(lines[1].ends_with("7         1.2"), "{text}");
        assert!(lines[2].contains("false      -           -"), "{text}");
    }

    #[test]
    fn what_is_absent_is_a_dash() {
        let cluster = json!({"shards": [{"shard": "sh_1", "leader": null, "term": 3}]});
        assert!(
            shards(&cluster).to_string().contains("sh_1   -               3"),
            "{}",
            shards(&cluster)
        );
    }
}
