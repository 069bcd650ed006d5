//! `rotary site`.

use std::path::PathBuf;

use clap::Subcommand;
use rotary_client::Method;
use rotary_proto::{ShardId, SiteId, TenantId};
use serde_json::{Value, json};

use crate::cli::Remote;
use crate::cli::client::{CliError, change, document, read_value, said};
use crate::cli::members::Waiting;
use crate::cli::output::{Table, cell, fields, rows, show};

const SITES: &str = "/v1/sites";

/// `rotary site`.
#[derive(Debug, Subcommand)]
pub(crate) enum SiteCommand {
    /// Lists the sites that the token may see.
    #[command(visible_alias = "list")]
    Ls {
        #[command(flatten)]
        remote: Remote,
    },
    /// Shows a site's settings and how much is in it.
    Show {
        /// Which one, e.g. st_1.1.
        site: SiteId,
        #[command(flatten)]
        remote: Remote,
    },
    /// Makes a site, with the settings of a file, or with a name and every default.
    Create {
        /// Whose it is.
        #[arg(long)]
        tenant: TenantId,
        /// What people call it.
        #[arg(long, required_unless_present = "file", conflicts_with = "file")]
        name: Option<String>,
        /// Its settings, JSON or TOML (by the name's end); - is standard input.
        #[arg(short, long)]
        file: Option<PathBuf>,
        /// The shard that it lives in; the emptiest if absent.
        #[arg(long)]
        shard: Option<ShardId>,
        #[command(flatten)]
        remote: Remote,
    },
    /// Has sites live in another shard, while they serve. They move one at a time, in order.
    Move {
        /// Which ones, e.g. st_1.1.
        #[arg(required = true)]
        sites: Vec<SiteId>,
        /// The shard that they are to live in, e.g. sh_2.
        #[arg(long)]
        to: ShardId,
        #[command(flatten)]
        waiting: Waiting,
        #[command(flatten)]
        remote: Remote,
    },
    /// Has a site stay where it is that was to move, or clears why it did not.
    CancelMove {
        /// Which one.
        site: SiteId,
        #[command(flatten)]
        remote: Remote,
    },
    /// Gives a site the settings of a file, whole.
    Put {
        /// Which one.
        site: SiteId,
        /// Its settings, JSON or TOML (by the name's end); - is standard input.
        #[arg(short, long)]
        file: PathBuf,
        #[command(flatten)]
        remote: Remote,
    },
}

/// `rotary site`
pub(crate) async fn command(command: SiteCommand) -> Result<(), CliError> {
    match command {
        SiteCommand::Ls { remote } => ls(&remote).await,
        SiteCommand::Show { site, remote } => {
            let view = read_value(&remote, &format!("/v1/sites/{site}")).await?;
            show(remote.output, &view, fields);
            Ok(())
        }
        SiteCommand::Create { tenant, name, file, shard, remote } => {
            let settings = match file {
                Some(file) => document(&file)?,
                None => json!({"name": name}),
            };
            let mut body = json!({"tenant": tenant, "settings": settings});
            if let Some(shard) = shard {
                body["shard"] = json!(shard);
            }
            let answer = change(&remote, Method::POST, "/v1/sites", &body).await?;
            show(remote.output, &answer, fields);
            Ok(())
        }
        SiteCommand::Move { sites, to, waiting, remote } => {
            relocate(&sites, to, waiting, &remote).await
        }
        SiteCommand::CancelMove { site, remote } => {
            let path = format!("/v1/sites/{site}/shard");
            let answer = change(&remote, Method::DELETE, &path, &json!({})).await?;
            said(&remote, &answer, &format!("{site} stays where it is"));
            Ok(())
        }
        SiteCommand::Put { site, file, remote } => {
            let path = format!("/v1/sites/{site}/settings");
            let answer = change(&remote, Method::PUT, &path, &document(&file)?).await?;
            said(&remote, &answer, &format!("{site}: done"));
            Ok(())
        }
    }
}

async fn relocate(
    sites: &[SiteId],
    to: ShardId,
    waiting: Waiting,
    remote: &Remote,
) -> Result<(), CliError> {
    for site in sites {
        let path = format!("/v1/sites/{site}/shard");
        let answer = change(remote, Method::PUT, &path, &json!({"shard": to})).await?;
        said(remote, &answer, &format!("{site} is to live in {to}"));
    }
    if !waiting.wait {
        return Ok(());
    }
    let row = |all: &Value, site: &SiteId| {
        let found = rows(&all["data"]).iter().find(|row| row["site"] == json!(site));
        found.cloned().unwrap_or_default()
    };
    let on_its_way = |all: &Value| {
        let waits = |site: &&SiteId| {
            let moving = &row(all, site)["moving"];
            moving.is_object() && moving["failed"].is_null()
        };
        let left: Vec<String> = sites.iter().filter(waits).map(SiteId::to_string).collect();
        (!left.is_empty()).then(|| format!("{} to live in {to}", left.join(", ")))
    };
    waiting.until_none(remote, SITES, on_its_way).await?;
    let (all, mut stayed) = (read_value(remote, SITES).await?, Vec::new());
    for site in sites {
        let row = row(&all, site);
        let shard = cell(&row["shard"]);
        match row["moving"]["failed"].as_str() {
            Some(why) => stayed.push(format!("{site} lives in {shard} as before: {why}")),
            None if shard != to.to_string() => {
                stayed.push(format!("{site} lives in {shard}: somebody else wanted it there"));
            }
            None => eprintln!("{site} lives in {shard}"),
        }
    }
    if stayed.is_empty() { Ok(()) } else { Err(CliError::Unhealthy(stayed.join("\n"))) }
}

async fn ls(remote: &Remote) -> Result<(), CliError> {
    let sites = read_value(remote, "/v1/sites").await?;
    show(remote.output, &sites, |sites| {
        let mut table = Table::new(["SITE", "SHARD", "NAME", "MOVES"]);
        for site in rows(&sites["data"]) {
            let moves = match (&site["moving"], &site["moving"]["failed"]) {
                (Value::Null, _) => "-".to_owned(),
                (moving, Value::Null) => format!("to {}", cell(&moving["to"])),
                (moving, why) => format!("not to {}: {}", cell(&moving["to"]), cell(why)),
            };
            let [id, shard, name] = ["site", "shard", "name"].map(|key| cell(&site[key]));
            table.row([id, shard, name, moves]);
        }
        table
    });
    Ok(())
}
