//! The one place that decides who may ask for what.
//!
//! A request is an [`Action`]; [`permit`] says yes or gives the reason why not. Isolation comes
//! first: nothing of another tenant is even told apart from what does not exist there. What an
//! agent or customer may do to *which* conversation is known only where the command is applied, and
//! is checked there; here it is only made sure that they speak for themselves.

use rotary_directory::Grant;
use rotary_proto::event::Viewer;
use rotary_proto::query::{ConversationView, Stage};
use rotary_proto::{AgentId, Command, SiteId, TenantId};

use crate::gateway::problem::Problem;
use crate::gateway::token::{Claims, Role};

/// What somebody wants to do.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Action<'a> {
    /// See the nodes and shards.
    SeeCluster,
    /// Say which nodes there are, who keeps the shards and who votes.
    ChangeNodes,
    /// Say which version of the logic the cluster is to act by.
    Upgrade,
    /// Take everything that a shard is to somewhere else.
    BackUp,
    /// Read who did what: to the cluster, or of their tenant.
    ReadAudit,
    /// See what a node tells somebody who looks for a fault.
    Debug,
    /// Make a tenant.
    CreateTenant,
    /// List tenants or sites; the lists hold what the asker may see.
    ListPlaces,
    /// Make a site of that tenant.
    CreateSite(TenantId),
    /// Ask a command of that site.
    Ask(SiteId, &'a Command),
    /// See what everybody in the site may: names of skills, reasons, dispositions, queues.
    SeeNames(SiteId),
    /// See the whole site: queues, agents, conversations.
    Oversee(SiteId),
    /// See one agent.
    SeeAgent(SiteId, AgentId),
    /// See one conversation.
    SeeConversation(SiteId, Option<&'a ConversationView>),
    /// Read the site's events as that viewer.
    Read(SiteId, Viewer),
    /// Upload a file for a message in that site.
    Upload(SiteId),
    /// Sign somebody else's token.
    Sign(&'a Claims),
    /// Make an API key or a user that may do that.
    Grant(&'a Claims),
    /// See API keys and users; lists hold those that the asker may handle.
    ListCredentials,
    /// See, change or revoke the API key or user that may do that.
    HandleCredential(&'a Grant),
}

/// Whether that may be done by these.
pub(crate) fn permit(claims: &Claims, action: Action<'_>) -> Result<(), Problem> {
    match action {
        Action::SeeCluster => oversees(claims, "see the cluster"),
        Action::ChangeNodes => of_the_cluster(claims, "change its nodes"),
        Action::Upgrade => of_the_cluster(claims, "upgrade it"),
        Action::BackUp => of_the_cluster(claims, "back it up"),
        Action::ReadAudit => match claims {
            Claims { role: Role::Administrator, site: None, .. } => Ok(()),
            _ => Err(Problem::not_allowed("only administrators read who did what")),
        },
        Action::Debug => of_the_cluster(claims, "look into a node"),
        Action::CreateTenant => of_the_cluster(claims, "make tenants"),
        Action::ListPlaces => oversees(claims, "list tenants and sites"),
        Action::CreateSite(tenant) => {
            within_tenant(claims, tenant)?;
            match claims {
                Claims { role: Role::Administrator, site: None, .. } => Ok(()),
                _ => Err(Problem::not_allowed("only the tenant's administrators make sites")),
            }
        }
        Action::Ask(site, command) => ask(claims, site, command),
        Action::SeeNames(site) | Action::Upload(site) => {
            within_site(claims, site)?;
            no_board(claims)
        }
        Action::Oversee(site) => {
            within_site(claims, site)?;
            oversees(claims, "see the whole site")
        }
        Action::SeeAgent(site, agent) => {
            within_site(claims, site)?;
            match claims.agent {
                Some(own) if own == agent => Ok(()),
                _ => oversees(claims, "see other agents"),
            }
        }
        Action::SeeConversation(site, view) => see_conversation(claims, site, view),
        Action::Read(site, viewer) => {
            within_site(claims, site)?;
            let own = match viewer {
                Viewer::Supervisor => false,
                Viewer::Agent(agent) => claims.agent == Some(agent),
                Viewer::Customer(customer) => claims.customer == Some(customer),
            };
            if own { Ok(()) } else { oversees(claims, "read others' events") }
        }
        Action::Sign(wanted) => sign(claims, wanted),
        Action::Grant(wanted) => {
            administers(claims)?;
            sign(claims, wanted)
        }
        Action::ListCredentials => administers(claims),
        Action::HandleCredential(grant) => {
            administers(claims)?;
            let tenant = claims.tenant.is_none() || claims.tenant == grant.tenant();
            let site = claims.site.is_none() || claims.site == grant.site();
            // What is somebody else's is not told apart from what is not there.
            if tenant && site { Ok(()) } else { Err(Problem::not_found("there is no such id")) }
        }
    }
}

/// As whom somebody reads a site, unless they ask for another view.
pub(crate) fn viewer(claims: &Claims) -> Viewer {
    match (claims.role, claims.agent, claims.customer) {
        (Role::Agent, Some(agent), _) => Viewer::Agent(agent),
        (Role::Customer, _, Some(customer)) => Viewer::Customer(customer),
        _ => Viewer::Supervisor,
    }
}

fn oversees(claims: &Claims, what: &str) -> Result<(), Problem> {
    match claims.role {
        Role::Administrator | Role::Supervisor => Ok(()),
        _ => Err(Problem::not_allowed(format!("only supervisors and administrators {what}"))),
    }
}

/// A board has its session and nothing else.
fn no_board(claims: &Claims) -> Result<(), Problem> {
    match claims.role {
        Role::Board => Err(Problem::not_allowed("boards see figures, in sessions alone")),
        _ => Ok(()),
    }
}

fn administers(claims: &Claims) -> Result<(), Problem> {
    match claims.role {
        Role::Administrator => Ok(()),
        _ => Err(Problem::not_allowed("only administrators handle API keys and users")),
    }
}

fn of_the_cluster(claims: &Claims, what: &str) -> Result<(), Problem> {
    match claims {
        Claims { role: Role::Administrator, tenant: None, .. } => Ok(()),
        _ => Err(Problem::not_allowed(format!("only the cluster's administrators {what}"))),
    }
}

fn within_tenant(claims: &Claims, tenant: TenantId) -> Result<(), Problem> {
    if claims.tenant.is_none_or(|own| own == tenant) {
        return Ok(());
    }
    let detail = format!("{tenant} is not your tenant");
    Err(Problem::new(axum::http::StatusCode::FORBIDDEN, "other-tenant", detail))
}

fn within_site(claims: &Claims, site: SiteId) -> Result<(), Problem> {
    within_tenant(claims, site.tenant)?;
    match claims.site {
        Some(own) if own != site => {
            Err(Problem::not_allowed(format!("your token is for {own}, not for {site}")))
        }
        _ => Ok(()),
    }
}

/// What each role may ask of a site. The distributor checks again whose things are.
fn ask(claims: &Claims, site: SiteId, command: &Command) -> Result<(), Problem> {
    within_site(claims, site)?;
    let none = |what: &str| Err(Problem::not_allowed(what.to_owned()));
    match (claims.role, command) {
        (_, Command::Attach { .. } | Command::Detach { .. }) => {
            none("sessions are attached and detached by gateways alone")
        }
        (Role::Administrator, _) => Ok(()),
        (
            _,
            Command::PutSite { .. }
            | Command::PutSkill { .. }
            | Command::PutReason { .. }
            | Command::PutDisposition { .. }
            | Command::PutQueue { .. }
            | Command::PutBot { .. }
            | Command::PutAgent { .. },
        ) => none("only administrators set a site up"),
        (Role::Supervisor, _) => Ok(()),
        (Role::Agent, Command::Declare { agent, .. }) if claims.agent != Some(*agent) => {
            Err(Problem::not_yours("an agent declares for themselves only"))
        }
        (Role::Agent, Command::Open { .. } | Command::Abandon { .. }) => {
            none("conversations are opened and abandoned by customers, or by supervisors for them")
        }
        (Role::Agent, _) => Ok(()),
        (Role::Customer, Command::Open { customer, .. }) if *customer != claims.customer => {
            Err(Problem::not_yours("a customer opens conversations for themselves only"))
        }
        (Role::Customer, Command::Post { note: true, .. }) => none("customers write no notes"),
        (
            Role::Customer,
            Command::Open { .. }
            | Command::Post { .. }
            | Command::HandOver { queue: None, .. }
            | Command::Abandon { .. },
        ) => Ok(()),
        (Role::Board, _) => no_board(claims),
        (Role::Customer, _) => {
            none("customers open, write to, hand over and abandon conversations")
        }
    }
}

fn see_conversation(
    claims: &Claims,
    site: SiteId,
    view: Option<&ConversationView>,
) -> Result<(), Problem> {
    within_site(claims, site)?;
    no_board(claims)?;
    match (claims.role, view) {
        (Role::Customer, Some(view)) if view.customer != claims.customer => {
            Err(Problem::not_yours("the conversation is not yours"))
        }
        (Role::Agent, Some(view)) => match view.stage {
            Stage::Offered { agent, .. }
            | Stage::Assigned { agent, .. }
            | Stage::WrapUp { agent, .. }
                if claims.agent != Some(agent) =>
            {
                Err(Problem::not_yours("the conversation is with another agent"))
            }
            _ => Ok(()),
        },
        _ => Ok(()),
    }
}

/// Nobody signs a token that may do what they may not.
fn sign(claims: &Claims, wanted: &Claims) -> Result<(), Problem> {
    oversees(claims, "make tokens")?;
    let wider = || Problem::not_allowed("a token cannot be wider than the one that makes it");
    match (claims.tenant, wanted.tenant) {
        (Some(own), Some(tenant)) if own != tenant => within_tenant(claims, tenant)?,
        (Some(_), None) => return Err(wider()),
        _ => {}
    }
    if claims.site.is_some() && wanted.site != claims.site {
        return Err(wider());
    }
    if claims.role == Role::Supervisor && wanted.role == Role::Administrator {
        return Err(wider());
    }
    Ok(())
}

#[cfg(test)]
#[path = "authority_tests.rs"]
mod tests;
