//! More than a shard may take, at the doors of real nodes with tiny budgets.

#[path = "support/nodes.rs"]
#[expect(dead_code, reason = "each test binary uses its own part of the support")]
mod nodes;
#[path = "support/wire.rs"]
#[expect(dead_code, reason = "each test binary uses its own part of the support")]
mod wire;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use hyper::Method;
use nodes::{LIMIT, Nodes, done, eventually, tenant_and_site};
use rotary_client::{Api, Gateway, Notice, Session, SessionConfig};
use rotary_proto::{AgentId, Command, Declared, Event, SiteId};
use serde_json::{Value, json};
use tokio::task::JoinSet;
use wire::{Answer, ask};

/// Who floods, at once.
const FLOOD: usize = 32;
/// Openings that the tenant who does not flood asks for, one after another.
const MODEST: usize = 40;
/// Conversations that are offered before the flood, or while it lasts.
const OFFERED: usize = 12;
/// A refusal waits for nothing: it is here long before a command is given up, which is after 5 s.
const AT_ONCE: Duration = Duration::from_millis(2_500);

/// A tenant's site with a queue, an agent, and credentials for both of them.
struct House {
    site: String,
    /// Those of its administrators.
    tokens: Vec<String>,
    agent: String,
}

impl House {
    async fn build(api: &Api, name: &str) -> Self {
        let (tenant, site) = tenant_and_site(api, name, json!({"name": name})).await;
        let at = |path: &str| format!("/v1/sites/{site}{path}");
        let plan = json!({"name": "chats", "wrap_up_ms": 0, "offer_ms": 600_000});
        done(api, Method::PUT, &at("/queues/qu_1"), plan).await;
        let capacity = json!({
            "voice": false, "chat": 1, "email": 0, "message": 0, "task": 0, "total": 1,
        });
        let profile = json!({"name": {"text": "Lin"}, "capacity": capacity});
        done(api, Method::PUT, &at("/agents/ag_1"), profile).await;
        let mut tokens = Vec::new();
        for _ in 0..4 {
            let claims = json!({"role": "administrator", "tenant": tenant, "ttl_s": 3_600});
            tokens.push(token(api, claims).await);
        }
        let claims = json!({
            "role": "agent", "tenant": tenant, "site": site, "agent": "ag_1", "ttl_s": 3_600,
        });
        let agent = token(api, claims).await;
        Self { site, tokens, agent }
    }

    /// Opens a conversation of that number.
    async fn open(&self, gateway: &Gateway, number: usize, token: usize) -> Answer {
        let body = json!({"conversation": self.id(number), "queue": "qu_1", "channel": "chat"});
        let path = format!("/v1/sites/{}/conversations", self.site);
        ask(gateway, "POST", &path, &self.tokens[token % self.tokens.len()], "", &body).await
    }

    fn id(&self, number: usize) -> String {
        format!("cv_{}.{number:032x}", &self.site["st_".len()..])
    }

    /// Every conversation that there is, once everything acknowledged is seen.
    async fn all(&self, api: &Api) -> BTreeSet<String> {
        let (mut all, mut after) = (BTreeSet::new(), String::new());
        loop {
            let path = format!("/v1/sites/{}/conversations", self.site);
            let path = format!("{path}?limit=100&consistency=linearizable{after}");
            let page: Value = api.read(&path).await.expect("readable");
            let rows = page["data"].as_array().expect("rows");
            let ids = rows.iter().map(|row| row["conversation"].as_str().expect("an id"));
            all.extend(ids.map(str::to_owned));
            let Some(next) = page["next"].as_str() else { return all };
            after = format!("&after={next}");
        }
    }
}

async fn token(api: &Api, claims: Value) -> String {
    let made = done(api, Method::POST, "/v1/tokens", claims).await;
    made["token"].as_str().expect("a text").to_owned()
}

/// What a flood came to.
#[derive(Default)]
struct Flood {
    opened: BTreeSet<usize>,
    refused: BTreeSet<usize>,
    codes: BTreeSet<String>,
}

/// Opens again and again without manners, until it is over.
async fn flood(house: Arc<House>, gateway: Gateway, lane: usize, over: Arc<AtomicBool>) -> Flood {
    let mut flood = Flood::default();
    for number in (lane..).step_by(FLOOD) {
        if over.load(Ordering::Relaxed) {
            break;
        }
        let begun = Instant::now();
        let answer = house.open(&gateway, 1_000 + number, lane).await;
        if answer.status == 201 {
            flood.opened.insert(1_000 + number);
            continue;
        }
        // A definite no (see `Answer::code`), with its reason and a time.
        let (code, took) = (answer.code(), begun.elapsed());
        let expected = match code.as_str() {
            "overloaded" => 503,
            "tenant-over-budget" => 429,
            other => panic!("{other}: {}", answer.body),
        };
        assert_eq!(answer.status, expected);
        let problem: Value = serde_json::from_str(&answer.body).expect("JSON");
        let after_ms = problem["retry_after_ms"].as_u64().expect("a time");
        assert!((50..=5_000).contains(&after_ms), "{after_ms}");
        let header = format!("retry-after: {}", after_ms.div_ceil(1_000));
        assert!(answer.head.to_lowercase().contains(&header), "{}", answer.head);
        assert!(took < AT_ONCE, "{code} after {} ms", took.as_millis());
        flood.refused.insert(1_000 + number);
        flood.codes.insert(code);
    }
    flood
}

/// An agent signs in, then accepts and closes what is offered, one at a time and so many times:
/// none of it is ever refused.
async fn serve(gateways: Vec<Gateway>, house: Arc<House>) {
    let gateway = gateways[0].clone();
    let config = SessionConfig::new(gateways, house.agent.clone());
    let mut session = Session::start(config).expect("there are gateways");
    let site: SiteId = house.site.parse().expect("an id");
    let ready = Command::Declare { agent: AgentId(1), declared: Declared::Ready };
    session.commander().send(site, ready).await.expect("declared");
    let mut served = 0;
    while served < OFFERED {
        let notice = tokio::time::timeout(LIMIT, session.next_event()).await.expect("an offer");
        let Notice::Event(frame) = notice.expect("the session lives") else { continue };
        let Event::Offered { conversation, offer, .. } = frame.event else { continue };
        let path = format!("/v1/conversations/{conversation}");
        for step in [format!("{path}/offers/{offer}/accept"), format!("{path}/close")] {
            let answer = ask(&gateway, "POST", &step, &house.agent, "", &json!({})).await;
            assert!(answer.status < 300, "{step}: {} {}", answer.status, answer.body);
        }
        served += 1;
    }
}

#[tokio::test]
async fn a_flooded_shard_refuses_new_work_and_keeps_its_promises() {
    let mut nodes = Nodes::init(3, 1);
    (1..=3).for_each(|node| nodes.configure(node, "[admission]\nshard_commands_max = 4"));
    nodes.start_all().await;
    let api = nodes.admin(1);
    let red = Arc::new(House::build(&api, "red").await);
    let blue = Arc::new(House::build(&api, "blue").await);
    let gateway = nodes.gateways[0].clone();
    for number in 0..OFFERED {
        assert_eq!(red.open(&gateway, number, 0).await.status, 201);
    }

    let (over, mut floods) = (Arc::new(AtomicBool::new(false)), JoinSet::new());
    for lane in 0..FLOOD {
        floods.spawn(flood(red.clone(), gateway.clone(), lane, over.clone()));
    }
    let serving = tokio::spawn(serve(nodes.gateways.clone(), red.clone()));
    let mut modest = BTreeSet::new();
    for number in 0..MODEST {
        if blue.open(&gateway, number, 0).await.status == 201 {
            modest.insert(number);
        }
    }
    serving.await.expect("what was offered is served");
    over.store(true, Ordering::Relaxed);
    let mut all = Flood::default();
    while let Some(flood) = floods.join_next().await {
        let Flood { opened, refused, codes } = flood.expect("refused as it should be");
        all.opened.extend(opened);
        all.refused.extend(refused);
        all.codes.extend(codes);
    }

    assert!(!all.refused.is_empty() && !all.opened.is_empty(), "it was a flood");
    assert!(all.codes.contains("tenant-over-budget"), "{:?}", all.codes);
    assert!(modest.len() >= MODEST * 3 / 4, "the other tenant got {} of {MODEST}", modest.len());
    // Everything that was opened is there, and nothing that was refused.
    let there = red.all(&nodes.admin(2)).await;
    let missing = all.opened.iter().filter(|number| !there.contains(&red.id(**number)));
    assert_eq!(missing.count(), 0, "acknowledged and lost");
    let present = all.refused.iter().filter(|number| there.contains(&red.id(**number)));
    assert_eq!(present.count(), 0, "refused and done");
    let there = blue.all(&nodes.admin(3)).await;
    assert!(modest.iter().all(|number| there.contains(&blue.id(*number))));
    // And afterwards everybody is served again.
    for number in 0..20 {
        for house in [&red, &blue] {
            let answer = house.open(&gateway, 10_000_000 + number, 0).await;
            assert_eq!(answer.status, 201, "{}", answer.body);
        }
    }
    let metrics = wire::get(&nodes, "/metrics", "").await.body;
    assert!(metrics.contains("rotary_admission_refused_total{budget=\"tenant\",class=\"new\"}"));
}

#[tokio::test]
async fn one_credential_has_so_much_on_its_way() {
    let mut nodes = Nodes::init(1, 1);
    nodes.configure(1, "[admission]\ncaller_commands_max = 1");
    nodes.start_all().await;
    let house = Arc::new(House::build(&nodes.admin(1), "red").await);
    let (gateway, mut opens) = (nodes.gateways[0].clone(), JoinSet::new());
    let next = Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let code = eventually("a credential is over its budget", async || {
        for _ in 0..16 {
            let (house, gateway, next) = (house.clone(), gateway.clone(), next.clone());
            opens.spawn(async move {
                let number = next.fetch_add(1, Ordering::Relaxed);
                house.open(&gateway, number, 0).await
            });
        }
        let mut code = None;
        while let Some(answer) = opens.join_next().await {
            let answer = answer.expect("answered");
            if answer.status != 201 {
                assert_eq!(answer.status, 429, "{}", answer.body);
                code = Some(answer.code());
            }
        }
        code
    })
    .await;
    assert_eq!(code, "caller-over-budget");
    assert!(nodes.stop(1).success());
}
