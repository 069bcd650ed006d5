//! `rotary cluster tokens` and `rotary node join`: a new node's folder gets to its machine by a
//! token that is pasted there.

use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use clap::{Args, Subcommand};
use rotary_client::{Api, ApiError, Gateway, Method};
use rotary_proto::join::JOIN_SECRET_BYTES;
use rotary_proto::limits::{
    JOIN_FOLDER_BYTES_MAX, JOIN_TTL_DEFAULT_MS, JOIN_TTL_MAX_MS, JOIN_URL_BYTES_MAX, JOIN_URLS_MAX,
};
use rotary_proto::{JoinText, JoinTokenId, NodeId};
use serde_json::{Value, json};

use crate::cli::client::{CliError, PATIENCE, change, read_value, said, trust};
use crate::cli::node::read_id;
use crate::cli::output::{Table, cell, moment, rows, show};
use crate::cli::{Remote, exit, fail, fail_with, members};
use crate::config::{Config, Role};
use crate::gateway::secret::Secret;
use crate::join::writer::{JoinError, join as write};
use crate::join::{Keys, Packed};

const TTL_DEFAULT_S: u64 = JOIN_TTL_DEFAULT_MS / 1_000;
const TTL_MAX_S: u64 = JOIN_TTL_MAX_MS / 1_000;

/// `rotary cluster tokens`.
#[derive(Debug, Subcommand)]
pub(crate) enum TokensCommand {
    /// Makes a join token for a node whose folder is here, in place of one that nobody has used.
    Create(CreateArgs),
    /// Lists the join tokens that are good, and who has used them.
    #[command(visible_alias = "ls")]
    List(Remote),
    /// Makes a join token useless; the folder that waits under it is dropped.
    Revoke {
        /// Which, e.g. jt_3.
        join_token: JoinTokenId,
        #[command(flatten)]
        remote: Remote,
    },
}

/// `rotary cluster tokens create`.
#[derive(Debug, Args)]
pub(crate) struct CreateArgs {
    /// Whose folder: its id or its number.
    #[arg(value_parser = read_id)]
    node: NodeId,
    /// Where `cluster init` made the cluster: its node-N/ is read.
    #[arg(long, visible_alias = "folder")]
    dir: PathBuf,
    /// How long the token is good for, in seconds: at most a week.
    #[arg(long, default_value_t = TTL_DEFAULT_S,
        value_parser = clap::value_parser!(u64).range(1..=TTL_MAX_S))]
    ttl_s: u64,
    #[command(flatten)]
    remote: Remote,
}

/// `rotary cluster tokens …`
pub(crate) async fn tokens(command: TokensCommand) -> Result<(), CliError> {
    match command {
        TokensCommand::Create(args) => {
            let folder = args.dir.join(format!("node-{}", args.node.0));
            create(&folder, args.ttl_s, &args.remote).await
        }
        TokensCommand::List(remote) => list(&remote).await,
        TokensCommand::Revoke { join_token, remote } => {
            let path = format!("/v1/join-tokens/{join_token}");
            change(&remote, Method::DELETE, &path, &json!({})).await.map(drop)
        }
    }
}

/// Has a node's folder wait with the cluster, and shows the command that fetches it.
pub(crate) async fn create(folder: &Path, ttl_s: u64, remote: &Remote) -> Result<(), CliError> {
    let packed = Packed::read(folder).map_err(|error| CliError::File(error.to_string()))?;
    let bytes = packed.bytes().map_err(|error| CliError::File(error.to_string()))?;
    let mut secret = [0; JOIN_SECRET_BYTES];
    let random = |error: getrandom::Error| CliError::Local(format!("no randomness: {error}"));
    getrandom::fill(&mut secret).map_err(random)?;
    let Packed { cluster, node, role, .. } = packed;
    let status = read_value(remote, "/v1/cluster").await?;
    let keys = Keys::of(&secret, &cluster, node);
    let body = json!({
        "node": node, "kind": role, "proof": keys.proof().reveal(),
        "sealed": BASE64.encode(keys.seal(bytes)), "ttl_s": ttl_s,
    });
    let made = change(remote, Method::POST, "/v1/join-tokens", &body).await?;
    let token = made["join_token"].as_str().and_then(|id| id.parse().ok());
    let token: JoinTokenId = token.ok_or_else(|| unreadable("join_token"))?;
    let text = JoinText { token, node, cluster, secret, urls: urls(remote, &status) };
    let command = format!("rotary node join {} --dir node-{}", text.reveal(), node.0);
    let told = told(&made, &command, &text);
    said(
        remote,
        &json!({"join_token": token, "node": node, "command": command,
        "expires_at": made["expires_at"]}),
        &told,
    );
    Ok(())
}

fn told(made: &Value, command: &str, text: &JoinText) -> String {
    let tls = text.urls.iter().any(|url| url.starts_with("https:"));
    let tls =
        if tls { "\n\nNodes speak TLS: say there with --ca FILE who signs for them." } else { "" };
    format!(
        "The folder of {} waits for its machine until {}. There, once:\n\n  {command}{tls}\n\n\
         Until then that line is as good as the folder: show it to nobody else.",
        text.node,
        moment(&made["expires_at"])
    )
}

fn unreadable(field: &str) -> ApiError {
    ApiError::Unreadable(format!("the answer has no {field}"))
}

/// Where the folder may be fetched: where it was put, and at other nodes that are connected.
fn urls(remote: &Remote, status: &Value) -> Vec<String> {
    let nodes = rows(&status["nodes"]).iter().chain(rows(&status["gateways"]));
    let here = nodes.filter(|node| node["connected"] == true && node["keeps"] != false);
    let others = here.filter_map(|node| node["url"].as_str()?.parse::<Gateway>().ok());
    let mut urls = vec![remote.url.to_string()];
    for url in others.map(|gateway| gateway.to_string()) {
        if urls.len() < JOIN_URLS_MAX && url.len() <= JOIN_URL_BYTES_MAX && !urls.contains(&url) {
            urls.push(url);
        }
    }
    urls
}

async fn list(remote: &Remote) -> Result<(), CliError> {
    let tokens = read_value(remote, "/v1/join-tokens").await?;
    show(remote.output, &tokens["data"], |tokens| {
        let heads = ["JOIN TOKEN", "NODE", "KIND", "MADE BY", "EXPIRES", "FETCHED", "FROM"];
        let mut table = Table::new(heads);
        for token in rows(tokens) {
            let of = |key: &str| cell(&token[key]);
            let [id, node, kind, by] = ["join_token", "node", "kind", "principal"].map(of);
            let at = |key: &str| moment(&token[key]);
            table.row([id, node, kind, by, at("expires_at"), at("taken"), of("taken_from")]);
        }
        table
    });
    Ok(())
}

/// `rotary node join`.
#[derive(Debug, Args)]
pub(crate) struct JoinArgs {
    /// What `rotary cluster add-node --join-token` printed.
    #[arg(value_parser = |text: &str| text.parse::<JoinText>())]
    token: JoinText,
    /// The folder that the node is to be in: a new one, an empty one, or one in which this was
    /// begun.
    #[arg(long, visible_alias = "folder")]
    dir: PathBuf,
    /// A node to fetch it from, instead of those that the token names.
    #[arg(long)]
    url: Option<Gateway>,
    /// Who signs the certificates of nodes that speak TLS, in a PEM file.
    #[arg(long, env = "ROTARY_CA")]
    ca: Option<PathBuf>,
}

/// `rotary node join`
pub(crate) async fn join(args: JoinArgs) -> u8 {
    let JoinArgs { token, dir, url, ca } = args;
    let gateways = match url {
        Some(url) => vec![url],
        None => token.urls.iter().filter_map(|url| url.parse().ok()).collect(),
    };
    let api = trust(ca.as_deref())
        .and_then(|trust| Ok(Api::new(gateways, "", PATIENCE)?.trusting(&trust)));
    let api = match api {
        Ok(api) => api,
        Err(error) => return fail(error.exit_code(), &error),
    };
    let fetch = async |keys: &Keys, nonce: &Secret| fetched(&api, token.token, keys, nonce).await;
    match write(&dir, &token, fetch, &mut |_| Ok(())).await {
        Ok(config) => {
            let JoinText { node, cluster, .. } = &token;
            println!("{node} of cluster {cluster} is here. Start it:\n");
            println!("  rotary server --config {}", config.display());
            print!("{}", to_be_taken_in(&config));
            exit::OK
        }
        Err(JoinError::Refused(error)) => {
            let error = CliError::from(error);
            fail_with(error.exit_code(), &error, error.code())
        }
        Err(error) => fail(error.exit_code(), &error),
    }
}

/// What is to be done for a core node that was written there.
fn to_be_taken_in(config: &Path) -> String {
    let Ok(config) = Config::load(config, &[]) else { return String::new() };
    if config.node.role == Role::Gateway {
        return String::new();
    }
    // Others may reach it at other addresses than it listens on.
    let own = config.cluster.peers.iter().find(|peer| peer.id == config.node.id);
    let (peer, url) = match own {
        Some(own) => (own.peer, own.public.clone()),
        None => (config.listen.peer, format!("http://{}", config.listen.public)),
    };
    members::admission(NodeId(config.node.id), peer, &url, config.node.zone().as_ref())
}

/// Fetches the folder, from whichever node answers.
async fn fetched(
    api: &Api,
    token: JoinTokenId,
    keys: &Keys,
    nonce: &Secret,
) -> Result<Vec<u8>, ApiError> {
    let path = format!("/v1/join-tokens/{token}/take");
    let body = json!({"proof": keys.proof().reveal(), "nonce": nonce.reveal()});
    let answer: Value = api.change(Method::POST, &path, &body).await.acknowledged()?.read()?;
    let sealed = answer["sealed"].as_str().filter(|text| text.len() <= 2 * JOIN_FOLDER_BYTES_MAX);
    let sealed = sealed.and_then(|text| BASE64.decode(text).ok());
    sealed.ok_or_else(|| unreadable("folder"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::output::Format;

    #[test]
    fn a_core_node_is_taken_in_where_others_reach_it() {
        let dir = tempfile::tempdir().expect("a directory");
        let (path, gateway) =
            (dir.path().join("rotary.toml"), "[node]\nid = 4\nrole = 'gateway'\n");
        let peer = "[[cluster.peers]]\nid = 4\npeer = '10.0.0.4:7082'\npublic = 'https://d:7080'\n";
        let core = "[node]\nid = 4\n[listen]\npeer = '0.0.0.0:7082'\n[cluster]\nid = 'main'\n";
        std::fs::write(&path, format!("{core}{peer}")).expect("writable");
        let told = to_be_taken_in(&path);
        let add = "rotary node add 4 --peer 10.0.0.4:7082 --public https://d:7080 --wait";
        assert!(told.contains(add), "{told}");
        std::fs::write(&path, format!("{gateway}[cluster]\nid = 'main'\n{peer}"))
            .expect("writable");
        assert_eq!(to_be_taken_in(&path), "");
    }

    #[test]
    fn whoever_needs_an_authority_for_it_is_told() {
        let of = |url: &str| {
            let (token, node, cluster) = (JoinTokenId(1), NodeId(4), "main".to_owned());
            let text = JoinText { token, node, cluster, secret: [0; 32], urls: vec![url.into()] };
            told(&json!({"expires_at": 0}), "rotary node join x", &text)
        };
        let (plain, tls) = (of("http://10.0.0.1:7080"), of("https://10.0.0.1:7080"));
        assert!(plain.contains("nd_4") && plain.contains("until 1970-01-01 00:00:00Z"), "{plain}");
        assert!(tls.contains("--ca FILE") && !plain.contains("--ca"), "{tls}");
    }

    #[test]
    fn a_token_names_a_few_nodes_that_are_there() {
        let remote = Remote {
            url: "http://10.0.0.1:7080".parse().expect("an address"),
            token: String::new(),
            ca: None,
            output: Format::Table,
        };
        let node = |last: u32, connected: bool| json!({"url": format!("http://10.0.0.{last}:7080"), "connected": connected});
        let nodes = [node(1, true), node(2, false), node(3, true)];
        let gateways = (4..9).map(|last| node(last, true)).collect::<Vec<_>>();
        let urls = urls(&remote, &json!({"nodes": nodes, "gateways": gateways}));
        let due = [1, 3, 4, 5, 6].map(|last| format!("http://10.0.0.{last}:7080"));
        assert_eq!(urls, due);
    }
}
