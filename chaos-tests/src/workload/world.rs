//! What must be there before the first customer: a tenant, sites, queues, skills, agents, and
//! everybody's credentials.

use std::sync::Arc;

use rand::RngExt as _;
use rotary_client::{Api, Gateway, Method, Network, SessionConfig, Trust};
use rotary_proto::ids::{AgentId, CustomerId, PrincipalId, QueueId, ShardId, SkillId, TenantId};
use rotary_proto::plan::{QueuePlan, RequiredSkill};
use rotary_proto::{
    Actor, AgentProfile, Capacity, Command, Name, Sealed, SiteId, SiteSettings, Strategy,
};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::desk::{Ask, Desk, Told};
use super::{Config, DriveError, LONG_PATIENCE, Receivers, hooks, stream};
use crate::history::Record;

/// Queues of each site, and skills, one for each queue.
pub(super) const QUEUES: u32 = 3;
/// Customers of each site who share its conversations.
const CUSTOMERS: u32 = 24;
/// Validity of the credentials, in seconds.
const TOKEN_S: u64 = 24 * 3_600;

/// Somebody with a credential.
#[derive(Clone)]
pub(super) struct Person<T> {
    pub(super) site: SiteId,
    pub(super) id: T,
    pub(super) token: String,
    pub(super) api: Api,
}

/// A site, its supervisor's credential and its customers.
#[derive(Clone)]
pub(super) struct Site {
    pub(super) site: SiteId,
    pub(super) supervisor: Person<PrincipalId>,
    pub(super) customers: Arc<[Person<CustomerId>]>,
    pub(super) agents: u32,
}

/// The cluster, prepared.
pub(super) struct World {
    /// The API with the administrator's credential.
    pub(super) api: Api,
    network: Network,
    trust: Trust,
    /// Who answers webhooks' messages, where there are webhooks.
    pub(super) receivers: Option<Receivers>,
    pub(super) sites: Vec<Site>,
    pub(super) agents: Vec<Person<AgentId>>,
}

#[derive(Deserialize)]
struct Tenant {
    tenant: TenantId,
}

#[derive(Deserialize)]
struct Made {
    site: SiteId,
    shard: ShardId,
}

#[derive(Deserialize)]
struct Token {
    token: String,
}

/// The administrator, as operations name them.
pub(super) const ADMINISTRATOR: Actor = Actor::Administrator(PrincipalId(0));
/// Every supervisor.
pub(super) const SUPERVISOR: Actor = Actor::Supervisor(PrincipalId(0));

impl World {
    /// Makes everything, over the public API.
    pub(super) async fn build(
        api: &Api,
        desk: &Arc<Desk>,
        config: &Config,
    ) -> Result<Self, DriveError> {
        let long = api.patient(LONG_PATIENCE);
        let name = format!("chaos {} {:x}", config.seed, rotary_client::unique());
        let tenant: Tenant = change(&long, "/v1/tenants", &json!({ "name": name })).await?;
        let (mut sites, mut agents) = (Vec::new(), Vec::new());
        for _ in 0..config.sites {
            let settings = SiteSettings {
                agent_grace_ms: 4_000,
                customer_grace_ms: 4_000,
                ..SiteSettings::named(named("site")?)
            };
            let body = json!({ "tenant": tenant.tenant, "settings": settings });
            let made: Made = change(&long, "/v1/sites", &body).await?;
            desk.recorder().record(Record::Site { site: made.site, shard: made.shard });
            queues(&long, desk, made.site).await?;
            for webhook in config.receivers.iter().flat_map(|known| hooks::first(known, made.site))
            {
                set(&long, desk, made.site, webhook).await?;
            }
            let at = Place { api, long: &long, tenant: tenant.tenant, site: made.site };
            for number in 1..=config.agents {
                agents.push(at.agent(desk, config.seed, AgentId(number)).await?);
            }
            let body = json!({ "role": "supervisor" });
            let supervisor = at.person(PrincipalId(0), body).await?;
            let mut customers = Vec::new();
            for _ in 0..CUSTOMERS {
                let id = CustomerId(rotary_client::unique());
                let body = json!({ "role": "customer", "customer": id });
                customers.push(at.person(id, body).await?);
            }
            let (site, customers) = (made.site, Arc::from(customers));
            sites.push(Site { site, supervisor, customers, agents: config.agents });
        }
        let (network, trust) = (config.network.clone(), config.trust.clone());
        let receivers = config.receivers.clone();
        Ok(Self { api: api.clone(), network, trust, receivers, sites, agents })
    }

    /// How somebody holds a session, beginning at a gateway of their own.
    pub(super) fn session(&self, token: &str, place: usize) -> SessionConfig {
        let mut gateways: Vec<Gateway> = self.api.gateways().to_vec();
        let at = place % gateways.len();
        gateways.rotate_left(at);
        let (network, trust) = (self.network.clone(), self.trust.clone());
        SessionConfig { network, trust, ..SessionConfig::new(gateways, token.to_owned()) }
    }
}

/// Where somebody is made.
struct Place<'a> {
    api: &'a Api,
    long: &'a Api,
    tenant: TenantId,
    site: SiteId,
}

impl Place<'_> {
    /// Somebody with a token of their own.
    async fn person<T>(&self, id: T, mut body: Value) -> Result<Person<T>, DriveError> {
        body["tenant"] = json!(self.tenant);
        body["site"] = json!(self.site);
        body["ttl_s"] = json!(TOKEN_S);
        let Token { token } = change(self.long, "/v1/tokens", &body).await?;
        Ok(Person { site: self.site, id, api: self.api.with_token(&token), token })
    }

    async fn agent(
        &self,
        desk: &Arc<Desk>,
        seed: u64,
        agent: AgentId,
    ) -> Result<Person<AgentId>, DriveError> {
        let profile = profile(seed, self.site, agent, 0)?;
        set(self.long, desk, self.site, Command::PutAgent { agent, profile }).await?;
        self.person(agent, json!({ "role": "agent", "agent": agent })).await
    }
}

/// Skills stay; what they may hold is drawn anew each time.
pub(super) fn profile(
    seed: u64,
    site: SiteId,
    agent: AgentId,
    edition: u64,
) -> Result<AgentProfile, DriveError> {
    let salt = u64::from(agent.0) << 32 | u64::from(site.number) << 16 | edition;
    let mut draw = stream(seed, salt);
    let skills = (1..=QUEUES)
        .filter(|skill| !(agent.0 + skill).is_multiple_of(3))
        .map(|skill| (SkillId(skill), 3 + ((agent.0 + skill) % 4) as u8))
        .collect();
    let capacity = Capacity { total: draw.random_range(1..=3), chat: 2, ..Capacity::default() };
    let name = Sealed::plain("somebody").map_err(|error| DriveError::new("a name", error))?;
    Ok(AgentProfile { name, skills, capacity })
}

fn named(name: &str) -> Result<Name, DriveError> {
    Name::new(name).map_err(|error| DriveError::new("a name", error))
}

async fn queues(api: &Api, desk: &Arc<Desk>, site: SiteId) -> Result<(), DriveError> {
    for number in 1..=QUEUES {
        let skill = SkillId(number);
        set(api, desk, site, Command::PutSkill { skill, name: named("skill")? }).await?;
        let mut plan = QueuePlan::named(named("queue")?);
        plan.strategy = [Strategy::LongestIdle, Strategy::MostSkilled, Strategy::RoundRobin]
            [number as usize % 3];
        plan.skills = vec![RequiredSkill { skill, level: 3 }];
        (plan.offer_ms, plan.decline_delay_ms) = (2_500, 2_000);
        (plan.wait_max_ms, plan.idle_max_ms) = (40_000, 20_000);
        (plan.talk_max_ms, plan.wrap_up_ms) = (20_000, u64::from(number - 1) * 1_000);
        set(api, desk, site, Command::PutQueue { queue: QueueId(number), plan }).await?;
    }
    Ok(())
}

/// A setting that must be made.
async fn set(
    api: &Api,
    desk: &Arc<Desk>,
    site: SiteId,
    command: Command,
) -> Result<(), DriveError> {
    let word = command.word();
    let ask = Ask { site, actor: ADMINISTRATOR, command };
    match desk.over_http(api, ask).await {
        Told::Done => Ok(()),
        told => Err(DriveError::new(word, format!("{told:?}"))),
    }
}

/// A change that must be made, of what no site's log decides.
async fn change<T: DeserializeOwned>(api: &Api, path: &str, body: &Value) -> Result<T, DriveError> {
    let outcome = api.change(Method::POST, path, body).await;
    let done = outcome.acknowledged().map_err(|error| DriveError::new(path, error))?;
    done.read().map_err(|error| DriveError::new(path, error))
}
