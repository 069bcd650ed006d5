//! `rotary token`.

use clap::Args;
use rotary_proto::{AgentId, CustomerId, SiteId, TenantId};
use serde_json::{Value, json};

use crate::cli::Remote;
use crate::cli::client::{CliError, api};
use crate::cli::output::Format;
use crate::gateway::token::Role;

/// `rotary token create`.
#[derive(Debug, Args)]
pub(crate) struct CreateArgs {
    /// What its holder may be.
    #[arg(long, value_enum)]
    role: Role,
    /// Whose they are.
    #[arg(long)]
    tenant: Option<TenantId>,
    /// The one site they may see.
    #[arg(long)]
    site: Option<SiteId>,
    /// Which agent.
    #[arg(long)]
    agent: Option<AgentId>,
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
    let CreateArgs { role, tenant, site, agent, customer, ttl_s, remote } = args;
    let body = json!({
        "role": role, "tenant": tenant, "site": site, "agent": agent, "customer": customer,
        "ttl_s": ttl_s,
    });
    let outcome = api(&remote)?.change(axum::http::Method::POST, "/v1/tokens", &body).await;
    let answer: Value = outcome.acknowledged()?.read()?;
    match remote.output {
        Format::Json => println!("{answer:#}"),
        Format::Table => println!("{}", answer["token"].as_str().unwrap_or_default()),
    }
    Ok(())
}
