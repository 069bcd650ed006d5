//! What a run needs of the cluster before the first customer: a tenant of its own, sites, queues,
//! agents, and everybody's credentials.

use anyhow::Context as _;
use futures::{StreamExt as _, TryStreamExt as _, stream};
use rotary_client::{Api, Method};
use rotary_proto::{
    AgentId, AgentProfile, Capacity, Channel, CustomerId, DispositionId, Name, QueueId, QueuePlan,
    Sealed, SiteId, SiteSettings, SkillId, TenantId,
};
use serde::Deserialize;
use serde_json::{Value, json};

use super::args::Options;
use super::pace::Pace;

/// The queue of calls, in every site.
const CALLS: QueueId = QueueId(1);
/// The queue of chats, in every site.
const CHATS: QueueId = QueueId(2);
/// The skill that few contacts need and a third of the agents have.
pub(super) const SCARCE: SkillId = SkillId(3);
/// The dispositions that agents choose from.
pub(super) const DISPOSITIONS: [DispositionId; 3] =
    [DispositionId(1), DispositionId(2), DispositionId(3)];
/// Customers of a site that share its HTTP contacts.
const CUSTOMERS_PER_SITE: usize = 64;
/// Requests that are made at once.
const AT_ONCE: usize = 16;
/// Validity of the credentials.
const TOKEN_S: u64 = 24 * 3_600;

/// An agent to be.
#[derive(Debug, Clone)]
pub(super) struct AgentSpec {
    /// Where.
    pub site: SiteId,
    /// Who.
    pub agent: AgentId,
    /// Their credential.
    pub token: String,
    /// Counts the agents of the run.
    pub number: usize,
}

/// A customer with a credential.
#[derive(Clone)]
pub(super) struct CustomerSpec {
    /// Who.
    pub customer: CustomerId,
    /// The API with their credential.
    pub api: Api,
    /// Their credential.
    pub token: String,
}

/// A site of the run.
pub(super) struct SiteSpec {
    /// Which.
    pub site: SiteId,
    /// Whose contacts come over HTTP.
    pub customers: Vec<CustomerSpec>,
}

/// The cluster, prepared.
pub(super) struct World {
    /// The API with the administrator's credential.
    pub api: Api,
    /// Its tenant.
    pub tenant: TenantId,
    /// Its sites.
    pub sites: Vec<SiteSpec>,
    /// Its agents.
    pub agents: Vec<AgentSpec>,
}

/// The queue of a channel.
pub(super) const fn queue_of(channel: Channel) -> QueueId {
    if matches!(channel, Channel::Voice) { CALLS } else { CHATS }
}

#[derive(Deserialize)]
struct Tenant {
    tenant: TenantId,
}

#[derive(Deserialize)]
struct Site {
    site: SiteId,
}

#[derive(Deserialize)]
struct Token {
    token: String,
}

impl World {
    /// Makes everything, over the public API.
    ///
    /// # Errors
    /// What was refused or could not be reached, with what it was for.
    pub(super) async fn build(api: Api, options: &Options, pace: &Pace) -> anyhow::Result<Self> {
        let name = format!("load {} seed {}", options.day, options.seed);
        let made = change(&api, Method::POST, "/v1/tenants", &json!({ "name": name })).await?;
        let tenant = serde_json::from_value::<Tenant>(made)?.tenant;
        let mut sites = Vec::new();
        for number in 0..options.sites {
            let site = make_site(&api, tenant, number, options, pace).await?;
            let customers = stream::iter(0..CUSTOMERS_PER_SITE)
                .map(|_| customer(&api, tenant, site))
                .buffered(AT_ONCE)
                .try_collect()
                .await?;
            sites.push(SiteSpec { site, customers });
        }
        let ids: Vec<SiteId> = sites.iter().map(|spec| spec.site).collect();
        let agents = stream::iter(0..options.agents)
            .map(|number| make_agent(&api, tenant, &ids, number, options))
            .buffered(AT_ONCE)
            .try_collect()
            .await?;
        Ok(Self { api, tenant, sites, agents })
    }
}

/// A change that must succeed.
pub(super) async fn change(
    api: &Api,
    method: Method,
    path: &str,
    body: &Value,
) -> anyhow::Result<Value> {
    let outcome = api.change(method.clone(), path, body).await;
    let acknowledged = outcome.acknowledged().with_context(|| format!("{method} {path}"))?;
    if acknowledged.body.is_empty() {
        return Ok(Value::Null);
    }
    acknowledged.read().with_context(|| format!("{method} {path}"))
}

async fn make_site(
    api: &Api,
    tenant: TenantId,
    number: usize,
    options: &Options,
    pace: &Pace,
) -> anyhow::Result<SiteId> {
    let settings = SiteSettings::named(Name::new(format!("site {}", number + 1))?);
    let body = json!({ "tenant": tenant, "settings": settings });
    let made = change(api, Method::POST, "/v1/sites", &body).await?;
    let site = serde_json::from_value::<Site>(made)?.site;
    let path = format!("/v1/sites/{site}");
    for (number, name) in [(1, "calls"), (2, "chats"), (3, "loans")] {
        let path = format!("{path}/skills/sk_{number}");
        change(api, Method::PUT, &path, &json!({ "name": name })).await?;
    }
    for (number, name) in [(1, "solved"), (2, "sold"), (3, "call back")] {
        let path = format!("{path}/dispositions/di_{number}");
        change(api, Method::PUT, &path, &json!({ "name": name })).await?;
    }
    for (queue, name, skill) in [(CALLS, "calls", 1), (CHATS, "chats", 2)] {
        let plan = plan(name, skill, options, pace)?;
        let path = format!("{path}/queues/{queue}");
        change(api, Method::PUT, &path, &serde_json::to_value(plan)?).await?;
    }
    Ok(site)
}

/// A queue's deadlines are people's, so they are as fast as people; but none is shorter than what
/// a network, a log and the election of a leader need.
fn plan(name: &str, skill: u32, options: &Options, pace: &Pace) -> anyhow::Result<QueuePlan> {
    let skills = vec![rotary_proto::plan::RequiredSkill { skill: SkillId(skill), level: 1 }];
    Ok(QueuePlan {
        skills,
        offer_ms: pace.deadline_ms(20.0, 2_000),
        decline_delay_ms: pace.deadline_ms(30.0, 200),
        wait_max_ms: pace.deadline_ms(3_600.0, 20_000),
        idle_max_ms: pace.deadline_ms(1_800.0, 20_000),
        talk_max_ms: pace.deadline_ms(14_400.0, 60_000),
        hold_max_ms: pace.deadline_ms(600.0, 5_000),
        wrap_up_ms: pace.deadline_ms(60.0, 1_500),
        service_level_ms: pace.deadline_ms(options.service_level, 10),
        ..QueuePlan::named(Name::new(name)?)
    })
}

/// Agents are dealt out over the sites; in each, the first ones take calls, as many as the share
/// of calls asks for when one agent holds two chats on average.
async fn make_agent(
    api: &Api,
    tenant: TenantId,
    sites: &[SiteId],
    number: usize,
    options: &Options,
) -> anyhow::Result<AgentSpec> {
    let site = sites[number % sites.len()];
    let place = number / sites.len();
    let agent = AgentId(place as u32 + 1);
    let per_site = (options.agents - number % sites.len()).div_ceil(sites.len());
    let (calls, chats) = (options.mix.voice, (1.0 - options.mix.voice) / 2.0);
    let callers = (per_site as f64 * calls / (calls + chats)).round() as usize;
    let least = usize::from(calls > 0.0);
    let voice = place < callers.clamp(least, per_site - usize::from(chats > 0.0));
    let first_of_kind = place == 0 || place == callers;
    let mut skills = vec![(SkillId(if voice { 1 } else { 2 }), 5)];
    if first_of_kind || place.is_multiple_of(3) {
        skills.push((SCARCE, 5));
    }
    let capacity = if voice {
        Capacity { voice: true, chat: 0, email: 0, message: 0, task: 0, total: 0 }
    } else {
        let chats = options.chats;
        Capacity { voice: false, chat: chats, email: 0, message: 0, task: 0, total: chats }
    };
    let name = Sealed::plain(&format!("Agent {}", number + 1))?;
    let profile = AgentProfile { name, skills: skills.into_iter().collect(), capacity };
    let path = format!("/v1/sites/{site}/agents/{agent}");
    change(api, Method::PUT, &path, &serde_json::to_value(profile)?).await?;
    let claims = json!({
        "role": "agent", "tenant": tenant, "site": site, "agent": agent, "ttl_s": TOKEN_S,
    });
    let token = token(api, &claims).await?;
    Ok(AgentSpec { site, agent, token, number })
}

/// A customer of a site, with a credential.
pub(super) async fn customer(
    api: &Api,
    tenant: TenantId,
    site: SiteId,
) -> anyhow::Result<CustomerSpec> {
    let customer = CustomerId(rotary_client::unique());
    let claims = json!({
        "role": "customer", "tenant": tenant, "site": site, "customer": customer,
        "ttl_s": TOKEN_S,
    });
    let token = token(api, &claims).await?;
    Ok(CustomerSpec { customer, api: api.with_token(&token), token })
}

async fn token(api: &Api, claims: &Value) -> anyhow::Result<String> {
    let made = change(api, Method::POST, "/v1/tokens", claims).await?;
    Ok(serde_json::from_value::<Token>(made)?.token)
}
