//! Making a cluster: a directory for each node, ready to be started.
//!
//! ```text
//! DIR/authority/    the cluster's own authority: keep its key offline, no node needs it
//! DIR/admin.token   the first administrator's token
//! DIR/node-N/       rotary.toml, tls/, token.secret, first-user.json, data/
//! ```

pub(crate) mod authority;
mod template;

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};

use rotary_directory::{Credential, FIRST_PRINCIPAL};
use rotary_proto::{Name, NodeId};
use rotary_storage::{DataDir, DataDirError};
use rotary_transport::{CertificateError, ClusterAuthority};

use crate::cli::exit;
use crate::cluster::authority::Folder;
use crate::config::{Config, ConfigError, PeerNode, Role};
use crate::founder::Founder;
use crate::gateway::password::Password;
use crate::gateway::token::{self, Claims, Tokens, UNBOUND_TTL_MAX_S, unix_s};

/// What the cluster is to be.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    /// Where its directories are made.
    pub(crate) dir: PathBuf,
    /// How many core nodes.
    pub(crate) nodes: u64,
    /// How many gateway-only nodes beside them.
    pub(crate) gateways: u64,
    /// The address that every node listens on.
    pub(crate) listen: IpAddr,
    /// Node N takes this port + 10 (N - 1) for clients and the next but one for peers.
    pub(crate) base_port: u16,
    /// Data shards.
    pub(crate) shards: u32,
    /// The zones that the core nodes are in, in turn; none if nobody says.
    pub(crate) zones: Vec<Name>,
    /// The cluster's id; made up if absent.
    pub(crate) id: Option<String>,
    /// The first administrator's password; made up if absent.
    pub(crate) password: Option<String>,
}

/// What was made.
#[derive(Debug, serde::Serialize)]
pub(crate) struct Made {
    pub(crate) cluster: String,
    pub(crate) token: String,
    /// What the first administrator signs in as.
    pub(crate) login: &'static str,
    /// Their password, if it was made up: it is nowhere else.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) password: Option<String>,
    pub(crate) nodes: Vec<MadeNode>,
    /// Gateway-only nodes.
    pub(crate) gateways: Vec<MadeNode>,
}

/// A node's directory.
#[derive(Debug, Clone, serde::Serialize)]
pub(crate) struct MadeNode {
    pub(crate) node: NodeId,
    pub(crate) config: PathBuf,
    pub(crate) url: String,
    /// What fails together with it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) zone: Option<Name>,
    #[serde(skip)]
    peer: SocketAddr,
    #[serde(skip)]
    public: SocketAddr,
}

/// Why a cluster cannot be made.
#[derive(Debug, thiserror::Error)]
pub(crate) enum InitError {
    /// There is something already.
    #[error("{0} is there already: choose another --dir, or remove it if it is not used")]
    Exists(PathBuf),
    /// The numbers do not fit.
    #[error("{0}")]
    Numbers(String),
    /// Certificates cannot be made.
    #[error(transparent)]
    Certificates(#[from] CertificateError),
    /// A data directory cannot be made.
    #[error(transparent)]
    DataDir(#[from] DataDirError),
    /// The operating system refuses.
    #[error("{path}: {source}")]
    Io { path: PathBuf, source: io::Error },
    /// There is no randomness to make secrets of.
    #[error("no randomness for secrets: {0}")]
    Randomness(String),
}

impl InitError {
    /// The exit code of the process.
    pub(crate) fn exit_code(&self) -> u8 {
        match self {
            Self::Exists(_) => exit::CONFLICT,
            Self::Numbers(_) => exit::USAGE,
            _ => exit::ERROR,
        }
    }
}

/// Most gateway-only nodes that are made at once.
const GATEWAYS_MAX: u64 = 64;

/// What the first administrator signs in as.
const LOGIN: &str = "admin";

/// How long the first administrator's token is good for, if their password does not change: ten
/// years.
const TOKEN_TTL_S: u64 = 10 * 365 * 24 * 3_600;

/// Makes a cluster's directories.
///
/// # Errors
/// [`InitError`]; what was made before an error stays, to be looked at.
pub(crate) fn init(plan: &Plan) -> Result<Made, InitError> {
    let id = plan.id.clone().map_or_else(|| random_hex::<4>().map(|hex| format!("c-{hex}")), Ok)?;
    let (nodes, gateways) = layout(plan)?;
    let (founder, password) = founder(plan)?;
    if plan.dir.join("node-1").exists() || plan.dir.join("authority").exists() {
        return Err(InitError::Exists(plan.dir.clone()));
    }
    let authority = ClusterAuthority::create(&id)?;
    let of_authority = plan.dir.join("authority");
    write(&of_authority.join("ca.pem"), authority.certificate_pem(), false)?;
    write(&of_authority.join("ca.key"), authority.key_pem(), true)?;
    let secret = random_hex::<32>()?;
    let signs = Signs { believed: authority.certificate_pem().to_owned(), authority };
    for node in &nodes {
        make_node(plan, &id, node, &nodes, &signs, &secret)?;
        write(&dir_of(&plan.dir, node).join("first-user.json"), &founder.text(), true)?;
    }
    let core = template::Core { id: &id, peers: &peers_of(&nodes) };
    for gateway in &gateways {
        let others = gateways.iter().filter(|other| other.node != gateway.node);
        let others = others.map(|other| other.url.clone());
        make_gateway(&plan.dir, &core, gateway, &others.collect::<Vec<_>>(), &signs)?;
    }
    let token = first_token(secret.as_bytes(), TOKEN_TTL_S);
    write(&plan.dir.join("admin.token"), &format!("{token}\n"), true)?;
    Ok(Made { cluster: id, token, login: LOGIN, password, nodes, gateways })
}

/// Who signs for nodes, and whom these are to believe.
struct Signs {
    authority: ClusterAuthority,
    believed: String,
}

/// The first administrator, and their password if it is made up here.
fn founder(plan: &Plan) -> Result<(Founder, Option<String>), InitError> {
    let made_up = plan.password.is_none().then(random_hex::<12>).transpose()?;
    let password = plan.password.clone().or_else(|| made_up.clone()).unwrap_or_default();
    let hash = Password::new(password).hash_here().map_err(InitError::Numbers)?;
    let login = Name::new(LOGIN).expect("a fixed name is valid");
    Ok((Founder { login, hash }, made_up))
}

/// The core nodes, and the gateway-only ones after them.
fn layout(plan: &Plan) -> Result<(Vec<MadeNode>, Vec<MadeNode>), InitError> {
    if !(1..=9).contains(&plan.nodes) {
        return Err(InitError::Numbers(format!("--nodes {}: 1 to 9", plan.nodes)));
    }
    if plan.gateways > GATEWAYS_MAX {
        return Err(InitError::Numbers(format!(
            "--gateways {}: 0 to {GATEWAYS_MAX}",
            plan.gateways
        )));
    }
    if !(1..=1_024).contains(&plan.shards) {
        return Err(InitError::Numbers(format!("--shards {}: 1 to 1024", plan.shards)));
    }
    let node = |number: u64| {
        let port = u64::from(plan.base_port) + 10 * (number - 1);
        let port = |add| u16::try_from(port + add).ok().filter(|port| *port > 0);
        let (Some(public), Some(peer)) = (port(0), port(2)) else {
            let detail = format!("--base-port {}: ports end at 65535", plan.base_port);
            return Err(InitError::Numbers(detail));
        };
        let public = SocketAddr::new(plan.listen, public);
        let zone = plan.zones.iter().cycle().nth(number as usize - 1).cloned();
        let peer = SocketAddr::new(plan.listen, peer);
        Ok(MadeNode { zone, ..made_node(&plan.dir, number, public, peer) })
    };
    let nodes: Vec<MadeNode> = (1..=plan.nodes).map(node).collect::<Result<_, _>>()?;
    let gateways = (plan.nodes + 1..=plan.nodes + plan.gateways).map(node);
    Ok((nodes, gateways.collect::<Result<_, _>>()?))
}

fn made_node(dir: &Path, number: u64, public: SocketAddr, peer: SocketAddr) -> MadeNode {
    let config = dir.join(format!("node-{number}")).join("rotary.toml");
    let url = format!("http://{public}");
    MadeNode { node: NodeId(number), config, url, zone: None, peer, public }
}

fn dir_of(dir: &Path, node: &MadeNode) -> PathBuf {
    dir.join(format!("node-{}", node.node.0))
}

fn peers_of(nodes: &[MadeNode]) -> Vec<PeerNode> {
    let peer =
        |node: &MadeNode| PeerNode { id: node.node.0, peer: node.peer, public: node.url.clone() };
    nodes.iter().map(peer).collect()
}

/// How a node's folder gets to its machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Goes {
    /// Somebody takes it there, or it stays.
    AsItIs,
    /// By a join token; so it has no data directory here, which makes it a node.
    ByToken,
}

/// Makes the directory of one more node of a cluster that was made in `dir`. A core node knows that
/// it joins: it founds nothing, and waits until it is admitted.
///
/// # Errors
/// [`InitError`].
pub(crate) fn add_node(
    dir: &Path,
    (role, goes): (Role, Goes),
    number: Option<u64>,
    (public, peer): (SocketAddr, SocketAddr),
    zone: Option<Name>,
) -> Result<MadeNode, InitError> {
    let wrong = |error: ConfigError| InitError::Numbers(error.to_string());
    let first = Config::load(&dir.join("node-1/rotary.toml"), &[]).map_err(wrong)?;
    let read = |path: PathBuf| {
        std::fs::read_to_string(&path).map_err(|source| InitError::Io { path, source })
    };
    let folder = Folder::open(dir)?;
    let signs = Signs { authority: folder.authority()?, believed: folder.believed()? };
    let taken = |number: &u64| dir.join(format!("node-{number}")).exists();
    let next = || (1..).find(|number| !taken(number)).expect("there are more numbers than nodes");
    let number = number.unwrap_or_else(next);
    if number == 0 || taken(&number) {
        return Err(InitError::Exists(dir.join(format!("node-{number}"))));
    }
    let node = MadeNode { zone, ..made_node(dir, number, public, peer) };
    let id = &first.cluster.id;
    match role {
        Role::Gateway => {
            let core = template::Core { id, peers: &first.cluster.peers };
            make_gateway(dir, &core, &node, &bases_of_gateways(dir), &signs)?;
        }
        Role::Core => {
            let secret = read(first.auth.token_secret_file.clone())?;
            let mut peers = first.cluster.peers.clone();
            peers.extend(peers_of(std::slice::from_ref(&node)));
            let core = template::Core { id, peers: &peers };
            let folder = dir_of(dir, &node);
            make_certificate(&folder, &node, &signs)?;
            write(&folder.join("token.secret"), &secret, true)?;
            if goes == Goes::AsItIs {
                DataDir::initialise_joining(&folder.join("data"), id, node.node.0)?;
            }
            write(&node.config, &template::config(first.cluster.shards, &node, &core), false)?;
        }
    }
    Ok(node)
}

fn make_gateway(
    dir: &Path,
    core: &template::Core<'_>,
    gateway: &MadeNode,
    others: &[String],
    signs: &Signs,
) -> Result<(), InitError> {
    let dir = dir_of(dir, gateway);
    make_certificate(&dir, gateway, signs)?;
    write(&gateway.config, &template::gateway(core, gateway, others), false)
}

/// Where clients reach the gateway-only nodes whose folders are in `dir`, as far as these can be
/// read.
fn bases_of_gateways(dir: &Path) -> Vec<String> {
    let folders = std::fs::read_dir(dir).into_iter().flatten().flatten();
    let configs = folders.map(|folder| folder.path().join("rotary.toml"));
    let configs = configs.filter_map(|path| Config::load(&path, &[]).ok());
    let gateways = configs.filter(|config| config.node.role == Role::Gateway);
    let base = |config: Config| match config.gateway.public.clone() {
        public if public.is_empty() => {
            let scheme = if config.gateway.is_tls() { "https" } else { "http" };
            format!("{scheme}://{}", config.listen.public)
        }
        public => public,
    };
    let mut bases: Vec<String> = gateways.map(base).collect();
    bases.sort_unstable();
    bases
}

/// What a node says who it is with.
fn make_certificate(dir: &Path, node: &MadeNode, signs: &Signs) -> Result<(), InitError> {
    let pem = signs.authority.issue(node.node)?;
    write(&dir.join("tls/ca.pem"), &signs.believed, false)?;
    write(&dir.join("tls/node.pem"), &pem.certificate, false)?;
    write(&dir.join("tls/node.key"), &pem.key, true)
}

fn make_node(
    plan: &Plan,
    id: &str,
    node: &MadeNode,
    nodes: &[MadeNode],
    signs: &Signs,
    secret: &str,
) -> Result<(), InitError> {
    let dir = dir_of(&plan.dir, node);
    make_certificate(&dir, node, signs)?;
    write(&dir.join("token.secret"), &format!("{secret}\n"), true)?;
    DataDir::initialise(&dir.join("data"), id, node.node.0)?;
    let core = template::Core { id, peers: &peers_of(nodes) };
    write(&node.config, &template::config(plan.shards, node, &core), false)
}

/// A token of the first administrator, which ends as any token of theirs: when their password or
/// their leave to sign in changes.
pub(crate) fn first_token(secret: &[u8], ttl_s: u64) -> String {
    sign(secret, Some(Credential::FirstUser), ttl_s)
}

/// An administrator's token of nobody's, good for so many seconds: nothing ends it before, so at
/// most [`UNBOUND_TTL_MAX_S`].
pub(crate) fn break_glass_token(secret: &[u8], ttl_s: u64) -> String {
    sign(secret, None, ttl_s.min(UNBOUND_TTL_MAX_S))
}

fn sign(secret: &[u8], by: Option<Credential>, ttl_s: u64) -> String {
    Tokens::new(secret).sign(&Claims {
        role: token::Role::Administrator,
        tenant: None,
        site: None,
        agent: None,
        customer: None,
        principal: FIRST_PRINCIPAL,
        by,
        exp: unix_s() + ttl_s,
        address: None,
    })
}

fn random_hex<const BYTES: usize>() -> Result<String, InitError> {
    let mut bytes = [0; BYTES];
    getrandom::fill(&mut bytes).map_err(|error| InitError::Randomness(error.to_string()))?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

/// Writes a file, for its owner's eyes only if it is secret.
fn write(path: &Path, text: &str, secret: bool) -> Result<(), InitError> {
    let failed = |source| InitError::Io { path: path.to_owned(), source };
    if let Some(parent) = path.parent() {
        std::fs::create_dir_all(parent).map_err(failed)?;
    }
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt as _;
        options.mode(if secret { 0o600 } else { 0o644 });
    }
    #[cfg(not(unix))]
    let _ = secret;
    let mut file = options.open(path).map_err(failed)?;
    file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(dir: &Path) -> Plan {
        Plan {
            dir: dir.to_owned(),
            nodes: 3,
            gateways: 0,
            listen: IpAddr::from([127, 0, 0, 1]),
            base_port: 7080,
            shards: 4,
            zones: Vec::new(),
            id: None,
            password: None,
        }
    }

    #[test]
    fn every_node_gets_a_configuration_that_loads() {
        let dir = tempfile::tempdir().expect("a directory");
        let made = init(&plan(dir.path())).expect("an empty directory");
        assert_eq!(made.nodes.len(), 3);
        for node in &made.nodes {
            let config = Config::load(&node.config, &[]).expect("valid");
            assert_eq!(config.node.id, node.node.0);
            assert_eq!((config.cluster.shards, config.cluster.peers.len()), (4, 3));
            assert_eq!(config.cluster.id, made.cluster);
            assert!(config.tls.key_file.exists() && config.auth.token_secret_file.exists());
            assert_eq!(config.listen.public.port() as u64, 7070 + 10 * node.node.0);
        }
        let again = init(&plan(dir.path())).expect_err("taken");
        assert!(matches!(again, InitError::Exists(_)));
    }

    #[test]
    fn a_gateway_has_no_secret_of_tokens_and_others_can_be_added() {
        let dir = tempfile::tempdir().expect("a directory");
        let made = init(&Plan { gateways: 1, ..plan(dir.path()) }).expect("an empty directory");
        let added = |number, port| {
            let at = |port| SocketAddr::from(([127, 0, 0, 1], port));
            let how = (Role::Gateway, Goes::AsItIs);
            add_node(dir.path(), how, number, (at(port), at(port + 2)), None)
        };
        let more = added(None, 9_000).expect("there is room");
        assert_eq!((made.gateways.len(), more.node), (1, NodeId(5)));
        for gateway in made.gateways.iter().chain([&more]) {
            let config = Config::load(&gateway.config, &[]).expect("valid");
            assert_eq!((config.node.role, config.node.id), (Role::Gateway, gateway.node.0));
            assert_eq!((&config.cluster.id, config.cluster.peers.len()), (&made.cluster, 3));
            assert!(config.tls.key_file.exists() && !config.auth.token_secret_file.exists());
        }
        let others =
            |node: &MadeNode| Config::load(&node.config, &[]).expect("valid").gateway.others;
        assert_eq!(others(&made.gateways[0]), [] as [&str; 0], "it was alone");
        assert_eq!(others(&more), [made.gateways[0].url.as_str()]);
        let two = init(&Plan { gateways: 2, ..plan(&dir.path().join("two")) });
        let two = two.expect("an empty directory").gateways;
        assert_eq!(others(&two[0]), [two[1].url.as_str()]);
        assert_eq!(others(&two[1]), [two[0].url.as_str()]);
        for taken in [0, 1, 4, 5] {
            assert!(matches!(added(Some(taken), 9_100), Err(InitError::Exists(_))), "{taken}");
        }
    }

    #[cfg(unix)]
    #[test]
    fn secrets_are_for_their_owner_only() {
        use std::os::unix::fs::PermissionsExt as _;
        let dir = tempfile::tempdir().expect("a directory");
        init(&plan(dir.path())).expect("an empty directory");
        for path in [
            "admin.token",
            "authority/ca.key",
            "node-2/token.secret",
            "node-2/first-user.json",
            "node-2/tls/node.key",
        ] {
            let mode = dir.path().join(path).metadata().expect(path).permissions().mode();
            assert_eq!(mode & 0o777, 0o600, "{path}");
        }
    }

    #[test]
    fn numbers_that_do_not_fit_are_refused() {
        let dir = tempfile::tempdir().expect("a directory");
        for wrong in [
            Plan { nodes: 0, ..plan(dir.path()) },
            Plan { gateways: 65, ..plan(dir.path()) },
            Plan { shards: 0, ..plan(dir.path()) },
            Plan { base_port: 65_530, ..plan(dir.path()) },
        ] {
            assert!(matches!(init(&wrong), Err(InitError::Numbers(_))), "{wrong:?}");
        }
    }
}
