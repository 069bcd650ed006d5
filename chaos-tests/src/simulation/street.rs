//! Those who come to the doors: clients of the public API on a runtime of their own.
//!
//! Everything is asked through `rotary-client`, over connections that break as connections do.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use rotary::simulated;
use rotary_client::SessionConfig;
use rotary_client::{Api, Gateway, Method, Network, Notice, Outcome, Patience, Session};
use rotary_proto::plan::{AgentProfile, Capacity, QueuePlan, SiteSettings};
use rotary_proto::values::{Name, Sealed};
use rotary_proto::{
    AgentId, Attributes, Channel, Command, ConversationId, CustomerId, Declared, Event, QueueId,
    SiteId,
};
use serde_json::{Value, json};
use tokio::runtime::{Builder, RngSeed, Runtime};
use tokio::time::Instant;

use crate::simulation::ambient;
use crate::simulation::history::Ms;
use crate::simulation::node::{Cluster, DAWN_MS, Node, id_of};
use crate::simulation::random::Random;
use crate::simulation::whole::SECRET;

/// The clients' side of a world.
pub(crate) struct Street {
    runtime: Runtime,
    base: Instant,
    pub(crate) shared: Arc<Shared>,
}

#[derive(Default)]
pub(crate) struct Shared {
    open: AtomicBool,
    closing: AtomicBool,
    pub(crate) opened: AtomicU64,
    pub(crate) served: AtomicU64,
}

impl Street {
    pub(crate) fn new(cluster: &Cluster) -> Self {
        let seed = Random::salted(cluster.seed, "street").next();
        ambient::set(0, DAWN_MS);
        let runtime = Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .rng_seed(RngSeed::from_bytes(&seed.to_le_bytes()))
            .build()
            .expect("a runtime without a network needs nothing");
        let base = runtime.block_on(async { Instant::now() });
        let shared = Arc::<Shared>::default();
        let network = Network::Other(Arc::new(cluster.wires.clone()));
        let gateways: Vec<Gateway> = (0..cluster.nodes)
            .map(|node| simulated::url(id_of(node)).parse().expect("an address"))
            .collect();
        let shards = cluster.shards;
        let task = live(network, gateways, shards, seed, shared.clone());
        runtime.spawn(task);
        Self { runtime, base, shared }
    }

    /// Whether everything is set up.
    pub(crate) fn is_open(&self) -> bool {
        self.shared.open.load(Ordering::Relaxed)
    }

    /// Lets clients act until that time, and nodes let in who has come.
    pub(crate) fn run_to(&mut self, now_ms: Ms, cluster: &Cluster, nodes: &[Node]) {
        for guest in cluster.wires.deliver(now_ms, |node| nodes[node].listening()) {
            nodes[guest.node].admit(guest);
        }
        ambient::set(now_ms, DAWN_MS + now_ms);
        let target = self.base + Duration::from_millis(now_ms);
        self.runtime.block_on(async { tokio::time::sleep_until(target).await });
    }
}

async fn live(
    network: Network,
    gateways: Vec<Gateway>,
    shards: usize,
    seed: u64,
    shared: Arc<Shared>,
) {
    let token = simulated::administrator(SECRET);
    let patience = Patience { total: Duration::from_secs(60), ..Patience::default() };
    let api = Api::new(gateways.clone(), &token, patience).expect("there are gateways");
    let api = api.over(&network);
    let tenant = put(&api, Method::POST, "/v1/tenants", &json!({ "name": "street" })).await;
    let tenant = tenant["tenant"].clone();
    let mut random = Random::salted(seed, "people");
    for _ in 0..shards {
        let settings = SiteSettings::named(Name::new("floor").expect("a name"));
        let body = json!({ "tenant": tenant, "settings": settings });
        let site = put(&api, Method::POST, "/v1/sites", &body).await;
        let site: SiteId = serde_json::from_value(site["site"].clone()).expect("a site");
        let plan = QueuePlan {
            wrap_up_ms: 1_000,
            ..QueuePlan::named(Name::new("queue").expect("a name"))
        };
        let path = format!("/v1/sites/{site}/queues/qu_1");
        put(&api, Method::PUT, &path, &serde_json::to_value(plan).expect("plain")).await;
        for agent in 1..=3 {
            let agent = AgentId(agent);
            let capacity = Capacity { chat: 2, total: 2, ..Capacity::default() };
            let name = Sealed::plain("agent").expect("short");
            let profile = AgentProfile { name, skills: Default::default(), capacity };
            let path = format!("/v1/sites/{site}/agents/{agent}");
            put(&api, Method::PUT, &path, &serde_json::to_value(profile).expect("plain")).await;
            let claims = json!({ "role": "agent", "tenant": tenant, "site": site, "agent": agent,
                "ttl_s": 36_000 });
            let token = put(&api, Method::POST, "/v1/tokens", &claims).await;
            let token = token["token"].as_str().expect("a token").to_owned();
            let mut config = SessionConfig::new(gateways.clone(), token);
            config.network = network.clone();
            let number = random.below(gateways.len() as u64) as usize;
            config.gateways.rotate_left(number);
            tokio::spawn(work(config, site, agent, shared.clone()));
        }
        tokio::spawn(arrive(api.clone(), site, random.next(), shared.clone()));
    }
    shared.open.store(true, Ordering::Relaxed);
}

async fn put(api: &Api, method: Method, path: &str, body: &Value) -> Value {
    loop {
        match api.change(method.clone(), path, body).await {
            Outcome::Acknowledged(done) => {
                return serde_json::from_slice(&done.body).unwrap_or(Value::Null);
            }
            other => {
                tracing::warn!(?other, path, "again");
                tokio::time::sleep(Duration::from_millis(500)).await;
            }
        }
    }
}

async fn work(config: SessionConfig, site: SiteId, me: AgentId, shared: Arc<Shared>) {
    loop {
        let Ok(mut session) = Session::start(config.clone()) else { return };
        let hands = session.commander();
        while let Some(notice) = session.next_event().await {
            let hands = hands.clone();
            match notice {
                Notice::Welcome(_) => {
                    tokio::spawn(async move {
                        let declared = Declared::Ready;
                        let _ = hands.send(site, Command::Declare { agent: me, declared }).await;
                    });
                }
                Notice::Event(frame) => match frame.event {
                    Event::Offered { conversation, offer, agent, .. } if agent == me => {
                        tokio::spawn(async move {
                            let _ = hands.send(site, Command::Accept { conversation, offer }).await;
                        });
                    }
                    Event::Assigned { conversation, agent, .. } if agent == me => {
                        shared.served.fetch_add(1, Ordering::Relaxed);
                        tokio::spawn(async move {
                            tokio::time::sleep(Duration::from_millis(1_500)).await;
                            let close = Command::Close { conversation };
                            let _ = hands.send(site, close).await;
                        });
                    }
                    _ => {}
                },
                Notice::Ended(end) => {
                    tracing::info!(?end, "a session ended");
                    break;
                }
                _ => {}
            }
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}

async fn arrive(api: Api, site: SiteId, seed: u64, shared: Arc<Shared>) {
    let mut random = Random::salted(seed, "arrivals");
    while !shared.closing.load(Ordering::Relaxed) {
        tokio::time::sleep(Duration::from_millis(random.between(100, 1_500))).await;
        let (api, shared) = (api.clone(), shared.clone());
        tokio::spawn(async move {
            let conversation = ConversationId::new(site, rotary_client::unique());
            let open = Command::Open {
                conversation,
                queue: QueueId(1),
                channel: Channel::Chat,
                priority: None,
                skills: Vec::new(),
                customer: Some(CustomerId(rotary_client::unique())),
                attributes: Attributes::default(),
                item: None,
                mail: None,
            };
            drop(open);
            let body = json!({ "conversation": conversation, "queue": QueueId(1),
                "channel": "chat" });
            let path = format!("/v1/sites/{site}/conversations");
            if let Outcome::Acknowledged(_) = api.change(Method::POST, &path, &body).await {
                shared.opened.fetch_add(1, Ordering::Relaxed);
            }
        });
    }
}
