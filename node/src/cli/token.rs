//! `rotary token`.

use clap::Args;
use rotary_client::Method;
use rotary_proto::{AgentId, CustomerId, SiteId, TenantId};
use serde_json::json;

use crate::cli::Remote;
use crate::cli::client::{CliError, change, said};
use crate::gateway::token::Role;

/// What whoever holds a token or credential may be, and whose they are.
#[derive(Debug, Args)]
pub(crate) struct HolderArgs {
    /// What its holder may be.
    #[arg(long, value_enum)]
    pub(crate) role: Role,
    /// Whose they are.
    #[arg(long)]
    pub(crate) tenant: Option<TenantId>,
    /// The one site they may see.
    #[arg(long)]
    pub(crate) site: Option<SiteId>,
    /// Which agent.
    #[arg(long)]
    pub(crate) agent: Option<AgentId>,
}

/// `rotary token create`.
#[derive(Debug, Args)]
pub(crate) struct CreateArgs {
    #[command(flatten)]
    holder: HolderArgs,
    /// Which customer.
    #[arg(long)]
    customer: Option<CustomerId>,
    /// How long it is good for, in seconds.
    #[arg(long, default_value_t = 12 * 3_600)]
    ttl_s: u64,
    #[command(flatten)]
    remote: Remote,
}

/// `rotary token create`
pub(crate) async fn create(args: CreateArgs) -> Result<(), CliError> {
    let CreateArgs { holder, customer, ttl_s, remote } = args;
    let HolderArgs { role, tenant, site, agent } = holder;
    let body = json!({
        "role": role, "tenant": tenant, "site": site, "agent": agent, "customer": customer,
        "ttl_s": ttl_s,
    });
    let answer = change(&remote, Method::POST, "/v1/tokens", &body).await?;
    said(&remote, &answer, answer["token"].as_str().unwrap_or_default());
    Ok(())
}
