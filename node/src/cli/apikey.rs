//! `rotary apikey`.

use clap::{Args, Subcommand};
use rotary_client::Method;
use rotary_proto::{ApiKeyId, Name};
use serde_json::json;

use crate::cli::Remote;
use crate::cli::client::{CliError, change, read_all, said};
use crate::cli::output::{Table, cell, rows, show};
use crate::cli::token::HolderArgs;
use crate::gateway::secret::Secret;
use crate::gateway::token::unix_s;

/// `rotary apikey`.
#[derive(Debug, Subcommand)]
pub(crate) enum ApiKeyCommand {
    /// Makes an API key and shows it, once.
    Create(CreateArgs),
    /// Lists API keys, without their secrets.
    List(Remote),
    /// Makes an API key useless, and ends the sessions that were begun with it.
    Revoke {
        /// Which: what comes before its secret, e.g. rk_7.
        id: ApiKeyId,
        #[command(flatten)]
        remote: Remote,
    },
}

/// `rotary apikey create`.
#[derive(Debug, Args)]
pub(crate) struct CreateArgs {
    /// What people are to call it.
    #[arg(long, value_parser = |text: &str| Name::new(text))]
    name: Name,
    #[command(flatten)]
    holder: HolderArgs,
    /// How long it is good for, in seconds; until it is revoked if absent.
    #[arg(long)]
    ttl_s: Option<u64>,
    #[command(flatten)]
    remote: Remote,
}

/// `rotary apikey …`
pub(crate) async fn run(command: ApiKeyCommand) -> Result<(), CliError> {
    match command {
        ApiKeyCommand::Create(args) => create(args).await,
        ApiKeyCommand::List(remote) => list(&remote).await,
        ApiKeyCommand::Revoke { id, remote } => revoke(id, &remote).await,
    }
}

async fn create(args: CreateArgs) -> Result<(), CliError> {
    let CreateArgs { name, holder, ttl_s, remote } = args;
    let HolderArgs { role, tenant, site, agent } = holder;
    // The secret is made here, so that a retry after a lost answer shows the same key.
    let secret = Secret::random().map_err(|error| CliError::Local(error.to_string()))?;
    let expires_at = ttl_s.map(|ttl_s| unix_s().saturating_add(ttl_s));
    let body = json!({
        "name": name, "role": role, "tenant": tenant, "site": site, "agent": agent,
        "expires_at": expires_at, "secret": secret.reveal(),
    });
    let answer = change(&remote, Method::POST, "/v1/api-keys", &body).await?;
    said(&remote, &answer, answer["key"].as_str().unwrap_or_default());
    Ok(())
}

async fn list(remote: &Remote) -> Result<(), CliError> {
    let keys = read_all(remote, "/v1/api-keys").await?;
    show(remote.output, &keys, |keys| {
        let mut table = Table::new(["API KEY", "NAME", "ROLE", "OF", "EXPIRES", "REVOKED"]);
        for key in rows(keys) {
            let of = |field: &str| cell(&key[field]);
            let whose = if key["site"].is_null() { of("tenant") } else { of("site") };
            let [id, name, role] = ["api_key", "name", "role"].map(of);
            table.row([id, name, role, whose, of("expires_at"), of("revoked")]);
        }
        table
    });
    Ok(())
}

async fn revoke(id: ApiKeyId, remote: &Remote) -> Result<(), CliError> {
    let path = format!("/v1/api-keys/{id}");
    change(remote, Method::DELETE, &path, &json!({})).await.map(drop)
}
