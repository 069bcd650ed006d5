//! `rotary site`.

use std::path::PathBuf;

use clap::Subcommand;
use rotary_client::Method;
use rotary_proto::{ShardId, SiteId, TenantId};
use serde_json::json;

use crate::cli::Remote;
use crate::cli::client::{CliError, change, document, read_value, said};
use crate::cli::output::{Table, cell, fields, rows, show};

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
        SiteCommand::Put { site, file, remote } => {
            let path = format!("/v1/sites/{site}/settings");
            let answer = change(&remote, Method::PUT, &path, &document(&file)?).await?;
            said(&remote, &answer, &format!("{site}: done"));
            Ok(())
        }
    }
}

async fn ls(remote: &Remote) -> Result<(), CliError> {
    let sites = read_value(remote, "/v1/sites").await?;
    show(remote.output, &sites, |sites| {
        let mut table = Table::new(["SITE", "SHARD", "NAME"]);
        for site in rows(&sites["data"]) {
            table.row([cell(&site["site"]), cell(&site["shard"]), cell(&site["name"])]);
        }
        table
    });
    Ok(())
}
