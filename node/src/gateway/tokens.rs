//! Making tokens.

use axum::extract::State;
use rotary_directory::{DirectoryCommand, DirectoryDone};
use rotary_proto::{AgentId, CustomerId, PrincipalId, SiteId, TenantId};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::gateway::audit;
use crate::gateway::authority::{Action, permit};
use crate::gateway::doors::Doors;
use crate::gateway::extract::{Caller, Json, Key};
use crate::gateway::identity::{tenant_of, wrong};
use crate::gateway::list::Made;
use crate::gateway::problem::Problem;
use crate::gateway::token::{Claims, Role, unix_s};

/// Longest life of a token: ten years.
const TTL_MAX_S: u64 = 10 * 366 * 24 * 3_600;

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewToken {
    role: Role,
    #[serde(default)]
    tenant: Option<TenantId>,
    #[serde(default)]
    site: Option<SiteId>,
    #[serde(default)]
    agent: Option<AgentId>,
    #[serde(default)]
    customer: Option<CustomerId>,
    ttl_s: u64,
}

impl NewToken {
    /// The claims it asks for, before they have a principal.
    fn claims(&self, asker: &Claims) -> Result<Claims, Problem> {
        if !(1..=TTL_MAX_S).contains(&self.ttl_s) {
            return Err(wrong("ttl_s", "1 s to ten years"));
        }
        let tenant = tenant_of(self.role, self.tenant, self.site, self.agent)?;
        if self.customer.is_some() != (self.role == Role::Customer) {
            return Err(wrong("customer", "the role customer needs it, no other takes it"));
        }
        if matches!(self.role, Role::Agent | Role::Customer) && self.site.is_none() {
            return Err(wrong("site", "agents and customers belong to one"));
        }
        if matches!(self.role, Role::Supervisor | Role::Board) && tenant.is_none() {
            return Err(wrong("tenant", "supervisors and boards belong to one"));
        }
        let exp = unix_s() + self.ttl_s;
        // A token made with another one does not outlive it.
        let exp = exp.min(asker.exp);
        let NewToken { role, site, agent, customer, .. } = *self;
        let (principal, by) = (PrincipalId(0), asker.by);
        Ok(Claims { role, tenant, site, agent, customer, principal, by, exp, address: None })
    }
}

/// A token that was made.
#[derive(Serialize, JsonSchema)]
pub(crate) struct SignedToken {
    token: String,
    /// Seconds since 1970.
    expires_at: u64,
}

/// `POST /v1/tokens`
pub(crate) async fn create(
    State(doors): State<Doors>,
    Caller(asker): Caller,
    Key(key): Key,
    Json(body): Json<NewToken>,
) -> Result<Made<SignedToken>, Problem> {
    let wanted = body.claims(&asker)?;
    permit(&asker, Action::Sign(&wanted))?;
    let command = DirectoryCommand::CreatePrincipal { tenant: wanted.tenant };
    // Those of agents, customers and boards are made all day, and administer nothing.
    let for_the_record = matches!(wanted.role, Role::Administrator | Role::Supervisor);
    let asked = for_the_record.then(|| audit::asked(&doors, &asker));
    let decided = doors.ask_directory_as(&asker, asked, key, command).await?;
    let DirectoryDone::Principal(principal) = decided.done else {
        return Err(Problem::other_request());
    };
    let claims = Claims { principal, ..wanted };
    let token = doors.tokens.sign(&claims);
    let answer = SignedToken { token, expires_at: claims.exp };
    Ok(decided.answer(|_| answer))
}
