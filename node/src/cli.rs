//! The command line.
//!
//! `server` and `cluster init` work on this machine; everything else speaks the public HTTP API and
//! nothing else, so it can do no more than its token may. What was asked for goes to standard
//! output, as a table or as JSON; everything said beside it goes to standard error.

mod agent;
mod apikey;
mod audit;
mod backup;
mod client;
mod cluster;
mod config;
mod conversation;
mod debug;
mod doctor;
pub(crate) mod exit;
mod explain;
mod join;
mod members;
mod node;
pub(crate) mod output;
mod queue;
mod site;
mod token;
mod top;
mod upgrade;
mod user;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, CommandFactory as _, Parser, Subcommand};
use rotary_client::Gateway;

pub(crate) use client::trust;

use crate::config::Config;
use crate::config::Role;
use crate::server::reload::Origin;
use crate::server::{self, ServerOptions, StartError};
use crate::{build, demo, load, runbook, simulate_day};
use output::Format;

/// A fault-tolerant distributor of calls and chats.
#[derive(Debug, Parser)]
#[command(name = "rotary", version = build::VERSION, propagate_version = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Runs a node until it is told to stop.
    Server(ServerArgs),
    /// Makes a cluster, or shows how one is doing.
    #[command(subcommand)]
    Cluster(ClusterCommand),
    /// Lists nodes, forgets one that is gone, or mends a stopped one.
    #[command(subcommand)]
    Node(NodeCommand),
    /// Upgrades the nodes of a cluster, one after the other, and then the cluster.
    #[command(subcommand)]
    Upgrade(upgrade::UpgradeCommand),
    /// Makes backups of a cluster, checks them, and makes a new cluster from them.
    #[command(subcommand)]
    Backup(backup::BackupCommand),
    /// Shows, checks or writes the configuration of a node.
    #[command(subcommand)]
    Config(config::ConfigCommand),
    /// Lists, shows and makes sites.
    #[command(subcommand)]
    Site(site::SiteCommand),
    /// Lists, shows and makes queues.
    #[command(subcommand)]
    Queue(queue::QueueCommand),
    /// Lists, shows and makes agents, and declares their states.
    #[command(subcommand)]
    Agent(agent::AgentCommand),
    /// Finds, shows and ends conversations.
    #[command(subcommand)]
    Conversation(conversation::ConversationCommand),
    /// Makes tokens.
    #[command(subcommand)]
    Token(TokenCommand),
    /// Signs in, and shows a token.
    Login(user::LoginArgs),
    /// Makes, lists and changes users.
    #[command(subcommand)]
    User(user::UserCommand),
    /// Makes, lists and revokes API keys.
    #[command(subcommand)]
    Apikey(apikey::ApiKeyCommand),
    /// Puts load on a cluster, and proves what it kept.
    #[command(subcommand)]
    Load(load::LoadCommand),
    /// Judges the ledger of a load against what every node tells.
    Verify(load::VerifyArgs),
    /// A whole cluster with traffic, and keys to break it.
    Demo(demo::DemoArgs),
    /// A contact centre's day in seconds: the real distributor in virtual time.
    SimulateDay(Box<simulate_day::SimulateDayArgs>),
    /// Nodes, shards, sites and queues, drawn again every second.
    Top(top::TopArgs),
    /// Looks for what is wrong around a node: disk, certificates, addresses, UDP, clocks, versions.
    Doctor(doctor::DoctorArgs),
    /// Lists who did what to the cluster, and what was refused.
    Audit(audit::AuditArgs),
    /// Gathers what somebody needs who looks for a fault.
    #[command(subcommand)]
    Debug(debug::DebugCommand),
    /// Says what a code means and what to do: of a problem, a log line, an exit.
    Explain {
        /// Which one, e.g. offer-gone or 74; without it, every code is listed.
        code: Option<String>,
    },
    /// Prints what makes a shell complete commands and flags: source it.
    Completions {
        /// Which shell.
        shell: clap_complete::Shell,
    },
    /// Says which build this is.
    Version,
}

/// `rotary server`.
#[derive(Debug, Args)]
struct ServerArgs {
    /// The node's configuration, as `rotary cluster init` writes it.
    #[arg(long, env = "ROTARY_CONFIG", default_value = "rotary.toml")]
    config: PathBuf,
    /// A key of the configuration, over file and environment: `section.key=value`.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// Write node, process id and addresses there, as JSON, once they are taken.
    #[arg(long)]
    ready_file: Option<PathBuf>,
    /// Stop when standard input ends: for a parent that may die.
    #[arg(long)]
    exit_with_stdin: bool,
}

/// `rotary cluster`.
#[derive(Debug, Subcommand)]
enum ClusterCommand {
    /// Writes a ready directory for each node of a new cluster.
    Init(cluster::InitArgs),
    /// Shows nodes and shards.
    Status(cluster::StatusArgs),
    /// Makes a short-lived administrator's token from a node's own files, when nobody can sign in.
    BreakGlass(cluster::BreakGlassArgs),
    /// Makes the directory of one more gateway-only node.
    AddGateway(cluster::AddNodeArgs),
    /// Makes the directory of one more core node, which `rotary node add` or `replace` then takes
    /// in.
    AddNode(cluster::AddNodeArgs),
    /// Makes, lists and revokes the tokens with which new nodes' machines fetch their folders.
    #[command(subcommand)]
    Tokens(join::TokensCommand),
    /// Gives votes to nodes of as many zones as there are, so that the loss of one zone leaves a
    /// majority, or changes how many have one.
    Rebalance(members::RebalanceArgs),
    /// Has more data shards made, while the cluster serves. They are never taken away.
    SetShards(members::SetShardsArgs),
    /// Makes backups from the folders of nodes that do not run, when a majority is gone for good:
    /// what only that had is given up. Another cluster is then made of them.
    Recover(backup::RecoverArgs),
    /// Issues new certificates to nodes, which take them up while they run.
    RenewNode(cluster::RenewArgs),
    /// Exchanges the cluster's authority while nodes run, in three steps.
    RotateAuthority(cluster::RotateArgs),
}

/// `rotary node`.
#[derive(Debug, Subcommand)]
enum NodeCommand {
    /// Lists every node: whether it is connected, and what it runs.
    #[command(visible_alias = "ls")]
    List(Remote),
    /// Fetches this machine's node, which was prepared by `rotary cluster add-node` or
    /// `add-gateway`, and writes its folder.
    Join(join::JoinArgs),
    /// Takes in a core node that was prepared by `rotary cluster add-node`: it is to keep every
    /// shard, with a vote if fewer than five have one.
    Add(members::AddArgs),
    /// Lets one core node take the place of another, which may be gone for good.
    Replace(members::ReplaceArgs),
    /// Lets a core node go. Whoever keeps what it keeps has caught up; it may be stopped once no
    /// shard has it.
    Decommission(members::DecommissionArgs),
    /// Has a node emptied: sessions, leaders and effects go to others, and none begin there. It
    /// answers requests until it is stopped, and drains until it is undrained.
    Drain(members::ChangeArgs),
    /// Lets a node that drains serve again.
    Undrain(members::ChangeArgs),
    /// Gives a core node a vote in every shard.
    Promote(members::ChangeArgs),
    /// Takes a core node's vote away; it goes on keeping every shard.
    Demote(members::ChangeArgs),
    /// Forgets a node that is gone and keeps nothing. A gateway-only node that comes back is listed
    /// again.
    Forget {
        /// Which: its id or its number, e.g. nd_4 or 4.
        #[arg(value_parser = node::read_id)]
        node: rotary_proto::NodeId,
        #[command(flatten)]
        remote: Remote,
    },
    /// Sets a damaged log, its snapshots and its journal aside; the node takes them from the others
    /// when it starts.
    Rebuild(node::RebuildArgs),
}

/// `rotary token`.
#[derive(Debug, Subcommand)]
enum TokenCommand {
    /// Makes a token that is no wider than the one that makes it.
    Create(token::CreateArgs),
}

/// Where the API is, who asks, and how to show the answer.
#[derive(Debug, Args)]
struct Remote {
    /// A node of the cluster.
    #[arg(long, env = "ROTARY_URL", default_value = "http://127.0.0.1:7080")]
    url: Gateway,
    /// A token or API key that may do this.
    #[arg(long, env = "ROTARY_TOKEN", hide_env_values = true)]
    token: String,
    /// Who signs the certificates of nodes that speak TLS, in a PEM file.
    #[arg(long, env = "ROTARY_CA")]
    ca: Option<PathBuf>,
    /// How to show the answer.
    #[arg(short, long, value_enum, default_value_t = Format::Table)]
    output: Format,
}

/// Runs the command line of this process.
pub(crate) fn run() -> ExitCode {
    let cli = Cli::parse();
    if !matches!(cli.command, Command::Server(_)) {
        exit::quietly_when_nobody_reads();
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let code = match runtime {
        Ok(runtime) => runtime.block_on(execute(cli.command)),
        Err(error) => fail(exit::ERROR, &error),
    };
    ExitCode::from(code)
}

async fn execute(command: Command) -> u8 {
    let done = match command {
        Command::Server(args) => return serve(args).await,
        Command::Cluster(ClusterCommand::Init(args)) => return cluster::init(args),
        Command::Cluster(ClusterCommand::BreakGlass(args)) => return cluster::break_glass(&args),
        Command::Cluster(ClusterCommand::AddGateway(args)) => {
            return cluster::add_to(args, Role::Gateway).await;
        }
        Command::Cluster(ClusterCommand::AddNode(args)) => {
            return cluster::add_to(args, Role::Core).await;
        }
        Command::Cluster(ClusterCommand::Recover(args)) => backup::recover(args).await,
        Command::Cluster(ClusterCommand::Tokens(command)) => join::tokens(command).await,
        Command::Cluster(ClusterCommand::Rebalance(args)) => members::rebalance(args).await,
        Command::Cluster(ClusterCommand::SetShards(args)) => members::set_shards(args).await,
        Command::Cluster(ClusterCommand::Status(args)) => cluster::status(&args).await,
        Command::Cluster(ClusterCommand::RenewNode(args)) => return cluster::renew(&args),
        Command::Cluster(ClusterCommand::RotateAuthority(args)) => return cluster::rotate(&args),
        Command::Node(NodeCommand::List(remote)) => node::list(&remote).await,
        Command::Node(NodeCommand::Forget { node, remote }) => node::forget(node, &remote).await,
        Command::Node(NodeCommand::Join(args)) => return join::join(args).await,
        Command::Node(NodeCommand::Add(args)) => members::add(args, None).await,
        Command::Node(NodeCommand::Replace(args)) => members::replace(args).await,
        Command::Node(NodeCommand::Decommission(args)) => members::decommission(args).await,
        Command::Node(NodeCommand::Drain(args)) => members::drain(args, true).await,
        Command::Node(NodeCommand::Undrain(args)) => members::drain(args, false).await,
        Command::Node(NodeCommand::Promote(args)) => members::vote(args, true).await,
        Command::Node(NodeCommand::Demote(args)) => members::vote(args, false).await,
        Command::Node(NodeCommand::Rebuild(args)) => return node::rebuild(&args),
        Command::Upgrade(command) => upgrade::command(command).await,
        Command::Backup(command) => backup::command(command).await,
        Command::Config(command) => return config::command(&command),
        Command::Site(command) => site::command(command).await,
        Command::Queue(command) => queue::command(command).await,
        Command::Agent(command) => agent::command(command).await,
        Command::Conversation(command) => conversation::command(command).await,
        Command::Top(args) => top::top(&args).await,
        Command::Token(TokenCommand::Create(args)) => token::create(args).await,
        Command::Login(args) => user::login(args).await,
        Command::User(command) => user::run(command).await,
        Command::Apikey(command) => apikey::run(command).await,
        Command::Load(command) => return judged(load::command(command).await),
        Command::Verify(args) => return judged(load::verify(args).await),
        Command::Demo(args) => return judged(demo::command(args).await),
        Command::SimulateDay(args) => return judged(simulate_day::run(&args)),
        Command::Completions { shell } => {
            clap_complete::generate(shell, &mut Cli::command(), "rotary", &mut std::io::stdout());
            Ok(())
        }
        Command::Audit(args) => audit::audit(&args).await,
        Command::Debug(command) => debug::command(command).await,
        Command::Doctor(args) => return doctor::doctor(&args).await,
        Command::Explain { code } => return explain::explain(code.as_deref()),
        Command::Version => {
            println!("rotary {}", build::VERSION);
            println!("applies versions {} of the logic", build::logic());
            Ok(())
        }
    };
    match done {
        Ok(()) => exit::OK,
        Err(error) => fail_with(error.exit_code(), &error, error.code()),
    }
}

async fn serve(args: ServerArgs) -> u8 {
    let ServerArgs { config, set, ready_file, exit_with_stdin } = args;
    let origin = Some(Origin { file: config.clone(), set: set.clone() });
    let options = ServerOptions { ready_file, exit_with_stdin, origin };
    let ran = match Config::load(&config, &set) {
        Ok(config) => server::run(config, options).await,
        Err(error) => Err(StartError::from(error)),
    };
    match ran {
        Ok(()) => exit::OK,
        Err(error) => fail_with(error.exit_code(), &error, Some(error.code())),
    }
}

/// What a load or demo came to.
fn judged(kept: anyhow::Result<bool>) -> u8 {
    match kept {
        Ok(true) => exit::OK,
        Ok(false) => exit::UNHEALTHY,
        Err(error) => fail(judged_code(&error), &format!("{error:#}")),
    }
}

fn judged_code(error: &anyhow::Error) -> u8 {
    if error.is::<demo::PortTaken>() || error.is::<demo::FolderTaken>() {
        exit::CONFLICT
    } else if error.is::<demo::Unverified>() {
        exit::UNKNOWN
    } else {
        exit::ERROR
    }
}

/// Says what failed and, if there is a page about it, how to read that.
fn fail_with(exit: u8, error: &dyn std::fmt::Display, code: Option<&str>) -> u8 {
    fail(exit, error);
    if let Some(page) = code.and_then(runbook::find) {
        eprintln!("rotary: more: rotary explain {}", page.code);
    }
    exit
}

fn fail(code: u8, error: &dyn std::fmt::Display) -> u8 {
    eprintln!("rotary: {error}");
    code
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_fits_together() {
        Cli::command().debug_assert();
    }

    #[test]
    fn ids_are_checked_where_they_are_given() {
        let wrong = ["rotary", "queue", "ls", "--site", "qu_1", "--token", "x"];
        let error = Cli::try_parse_from(wrong).expect_err("not a site");
        assert!(error.to_string().contains("is not a site id"), "{error}");
    }
}
