//! What a node answers is what it says of itself at `/v1/openapi.json`: every operation is asked
//! for something that it does, and body and answer are held against their schemas, in which a field
//! that is not named is an error.

#[path = "support/described.rs"]
mod described;
#[path = "support/nodes.rs"]
#[expect(dead_code, reason = "each test binary uses its own part of the support")]
mod nodes;
#[path = "support/wire.rs"]
#[expect(dead_code, reason = "each test binary uses its own part of the support")]
mod wire;

use std::collections::BTreeSet;

use described::Described;
use futures::SinkExt;
use nodes::{Nodes, eventually};
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message;
use wire::{Answer, ask, connect, frame};

/// Not asked here: it answers with another protocol, which other tests speak.
const UPGRADE: &str = "GET /v1/session";
const CUSTOMER: &str = "cu_00000000000000000000000000000001";

/// Somebody who tries every door there is.
struct Caller {
    nodes: Nodes,
    described: Described,
    token: String,
    /// What placeholders stand for.
    ids: Vec<(&'static str, String)>,
    asked: BTreeSet<String>,
}

impl Caller {
    async fn come_in() -> Self {
        let mut nodes = Nodes::init_before(1, 1, 1);
        nodes.configure(1, "[webhooks]\nallow_private = true");
        nodes.start_all().await;
        let described = Described::by(&nodes.gateways[0]).await;
        let (token, ids) = (nodes.token.clone(), Vec::new());
        Self { nodes, described, token, ids, asked: BTreeSet::new() }
    }

    fn know(&mut self, name: &'static str, id: &str) {
        self.ids.retain(|(known, _)| *known != name);
        self.ids.push((name, id.to_owned()));
    }

    /// Asks, and holds the answer, whatever it is, against what is said of it.
    async fn answer(&self, route: &str, query: &str, body: &Value) -> Answer {
        self.described.check_body(route, body);
        let (method, path) = route.split_once(' ').expect("a method and a path");
        let filled = self
            .ids
            .iter()
            .fold(path.to_owned(), |path, (name, id)| path.replace(&format!("{{{name}}}"), id));
        assert!(!filled.contains('{'), "{filled}: an id that is not known");
        let target = format!("{filled}{query}");
        let answer = ask(&self.nodes.gateways[0], method, &target, &self.token, "", body).await;
        self.described.check_answer(route, &answer);
        answer
    }

    /// The same, where it must be done.
    async fn done(&mut self, route: &str, body: Value) -> Value {
        self.done_with(route, "", body).await
    }

    async fn done_with(&mut self, route: &str, query: &str, body: Value) -> Value {
        let answer = self.answer(route, query, &body).await;
        assert!((200..300).contains(&answer.status), "{route}{query}: {}", answer.body);
        self.asked.insert(route.to_owned());
        serde_json::from_str(&answer.body).unwrap_or_default()
    }

    /// Makes a token for somebody, and asks as them from here on.
    async fn become_agent(&mut self) {
        let site = self.ids.iter().find(|(name, _)| *name == "site").expect("made").1.clone();
        let wanted = json!({"role": "agent", "site": site, "agent": "ag_1", "ttl_s": 600});
        let token = self.done("POST /v1/tokens", wanted).await;
        self.token = token["token"].as_str().expect("a text").to_owned();
    }

    /// Waits until the conversation is on offer, and knows the offer.
    async fn await_offer(&mut self) {
        let offer = eventually("an offer", async || {
            let answer = self.answer("GET /v1/conversations/{id}", "", &json!({})).await;
            let view: Value = serde_json::from_str(&answer.body).expect("JSON");
            view["stage"]["offered"]["offer"].as_str().map(str::to_owned)
        });
        let offer = offer.await;
        self.know("offer", &offer);
    }

    /// Says everything that a session's client says.
    async fn post_frames(&mut self) {
        let site = self.ids.iter().find(|(name, _)| *name == "site").expect("made").1.clone();
        let declare = |number, agent| {
            let command = json!({"declare": {"agent": agent, "declared": "ready"}});
            json!({"type": "cmd", "site": site, "number": number, "command": command})
        };
        let frames = json!([declare(1, "ag_1"), declare(2, "ag_2"), {"type": "ping", "t": 1},
            {"type": "ack", "seq": 1}]);
        let said = self.done("POST /v1/session/frames", json!({"frames": frames})).await;
        let said: Vec<&str> = said["frames"]
            .as_array()
            .expect("a list")
            .iter()
            .filter_map(|frame| frame["type"].as_str())
            .collect();
        assert_eq!(said, ["result", "result", "pong"]);
    }

    async fn open(&mut self, unique: u128) {
        let mut file = self.done("POST /v1/sites/{site}/blobs", json!({"file": unique})).await;
        self.know("blob", file["blob"].as_str().expect("a text"));
        file["name"] = json!({"text": "receipt.json"});
        let site = self.ids.iter().find(|(name, _)| *name == "site").expect("made").1.clone();
        let id = format!("cv_{}.{unique:032x}", &site["st_".len()..]);
        let item = json!({"id": format!("it_{unique:032x}"), 
            "body": {"text": {"text": "Hello"}, "attachments": [file]}});
        let open = json!({"conversation": id, "queue": "qu_1", "channel": "chat", "priority": 7,
            "skills": [{"skill": "sk_1", "level": 2}], "customer": CUSTOMER,
            "attributes": {"plan": "gold"}, "item": item});
        self.done("POST /v1/sites/{site}/conversations", open).await;
        self.know("id", &id);
    }
}

async fn build(caller: &mut Caller) {
    let tenant = caller.done("POST /v1/tenants", json!({"name": "Blue"})).await["tenant"].clone();
    let settings = json!({"name": "Lobby", "agent_grace_ms": 20_000});
    let body = json!({"tenant": tenant, "settings": settings});
    let site = caller.done("POST /v1/sites", body).await;
    caller.know("site", site["site"].as_str().expect("a text"));
    for (name, id) in [
        ("skill", "sk_1"),
        ("reason", "nr_1"),
        ("disposition", "di_1"),
        ("queue", "qu_1"),
        ("agent", "ag_1"),
        ("webhook", "wh_1"),
        ("code", "offer-gone"),
        ("shard", "sh_1"),
    ] {
        caller.know(name, id);
    }
    caller.done("PUT /v1/sites/{site}/settings", settings).await;
    for kind in ["skills/{skill}", "reasons/{reason}", "dispositions/{disposition}"] {
        caller.done(&format!("PUT /v1/sites/{{site}}/{kind}"), json!({"name": "One"})).await;
    }
    let plan = json!({"name": "Sales", "strategy": "most_skilled", "wrap_up_ms": 60_000,
        "offer_ms": 600_000, "skills": [{"skill": "sk_1"}]});
    caller.done("PUT /v1/sites/{site}/queues/{queue}", plan).await;
    let profile = json!({"name": {"text": "Ana"}, "skills": {"sk_1": 9}, "capacity": {"chat": 2}});
    caller.done("PUT /v1/sites/{site}/agents/{agent}", profile).await;
    // Nobody listens there, so what is to be told waits, and can be looked at.
    let plan =
        json!({"name": "CRM", "url": "http://127.0.0.1:9/", "topics": ["conversation.opened"]});
    let secret = "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
    let hook = json!({"plan": plan, "secret": secret});
    caller.done("PUT /v1/sites/{site}/webhooks/{webhook}", hook).await;
}

/// A gateway-only node is listed, and can be forgotten even while it lives. A core node that never
/// comes is taken in, and let go.
async fn nodes_known(caller: &mut Caller) {
    caller.know("node", "nd_2");
    eventually("the gateway is announced", async || {
        let cluster = caller.answer("GET /v1/cluster", "", &json!({})).await;
        cluster.body.contains("\"seen_by\":[\"nd_1\"]").then_some(())
    })
    .await;
    caller.done("GET /v1/upgrade", json!({})).await;
    caller.done("GET /v1/backups", json!({})).await;
    caller.done("PUT /v1/upgrade", json!({"version": 1})).await;
    caller.done("DELETE /v1/upgrade", json!({})).await;
    caller.done("DELETE /v1/nodes/{node}", json!({})).await;
    let new = json!({"node": "nd_9", "peer": "127.0.0.1:9", "url": "http://127.0.0.1:9"});
    caller.done("POST /v1/nodes", new).await;
    caller.know("node", "nd_9");
    caller.done("PUT /v1/nodes/{node}/vote", json!({"votes": false})).await;
    caller.done("PUT /v1/cluster/votes", json!({"count": 1})).await;
    caller.done("PUT /v1/cluster/shards", json!({"shards": 3})).await;
    caller.done("PUT /v1/sites/{site}/shard", json!({"shard": "sh_1"})).await;
    caller.done("DELETE /v1/sites/{site}/shard", json!({})).await;
    caller.done("PUT /v1/nodes/{node}/drain", json!({"drains": true})).await;
    caller.done("POST /v1/nodes/{node}/decommission", json!({})).await;
    eventually("no shard has it any more", async || {
        let cluster = caller.answer("GET /v1/cluster", "", &json!({})).await;
        let cluster: Value = serde_json::from_str(&cluster.body).expect("JSON");
        let shards = cluster["shards"].as_array().expect("a list");
        let is_gone =
            |shard: &Value| shard["voters"] == json!(["nd_1"]) && shard["learners"] == json!([]);
        shards.iter().all(is_gone).then_some(())
    })
    .await;
    caller.done("DELETE /v1/nodes/{node}", json!({})).await;
}

/// A folder that no node is in waits for a machine, which fetches it, and is dropped.
async fn folders(caller: &mut Caller) {
    let proof = "A".repeat(43);
    let new = json!({"node": "nd_20", "kind": "core", "proof": proof, "sealed": "AAAA"});
    let made = caller.done("POST /v1/join-tokens", new).await;
    caller.know("token", made["join_token"].as_str().expect("a text"));
    let take = json!({"proof": proof, "nonce": "B".repeat(42) + "A"});
    let given = caller.done("POST /v1/join-tokens/{token}/take", take).await;
    assert_eq!(given, json!({"node": "nd_20", "kind": "core", "sealed": "AAAA"}));
    let other = json!({"proof": proof, "nonce": "C".repeat(42) + "A"});
    let refused = caller.answer("POST /v1/join-tokens/{token}/take", "", &other).await;
    assert_eq!((refused.status, refused.code().as_str()), (409, "join-token-taken"));
    caller.done("GET /v1/join-tokens", json!({})).await;
    caller.done("DELETE /v1/join-tokens/{token}", json!({})).await;
    let over = caller.answer("POST /v1/join-tokens/{token}/take", "", &other).await;
    assert_eq!((over.status, over.code().as_str()), (410, "join-token-over"));
}

async fn credentials(caller: &mut Caller) {
    let key = json!({"name": "crm", "role": "administrator", "expires_at": 4_000_000_000u64});
    let key = caller.done("POST /v1/api-keys", key).await;
    caller.know("key", key["api_key"].as_str().expect("a text"));
    caller.done("GET /v1/api-keys", json!({})).await;
    caller.done("DELETE /v1/api-keys/{key}", json!({})).await;
    let user = json!({"login": "zoe", "password": "long enough", "role": "administrator"});
    let user = caller.done("POST /v1/users", user).await;
    caller.know("user", user["user"].as_str().expect("a text"));
    caller.done("GET /v1/users", json!({})).await;
    let login = json!({"login": "zoe", "password": "long enough"});
    caller.done("POST /v1/login", login).await;
    let password = json!({"password": "longer than that"});
    caller.done("PUT /v1/users/{user}/password", password).await;
    caller.done("PUT /v1/users/{user}/disabled", json!({"disabled": true})).await;
}

/// Two conversations: one that is served to its end, one that is declined and left.
async fn serve(caller: &mut Caller) {
    let administrator = caller.token.clone();
    caller.become_agent().await;
    let mut socket = connect(&caller.nodes).await;
    let start = json!({"type": "start", "token": caller.token});
    socket.send(Message::text(start.to_string())).await.expect("it takes frames");
    let welcome = frame(&mut socket).await;
    assert_eq!(welcome["type"], "welcome");
    let agent = std::mem::take(&mut caller.token);
    caller.token = welcome["resume_token"].as_str().expect("a text").to_owned();
    caller.post_frames().await;
    caller.token = agent;
    // Who is nobody is told so on the stream, which ends.
    caller.done("POST /v1/session/stream", json!({"type": "start", "token": "nobody"})).await;
    let ready = json!({"declared": "ready"});
    caller.done("PUT /v1/sites/{site}/agents/{agent}/state", ready).await;
    let agent = std::mem::replace(&mut caller.token, administrator.clone());
    caller.open(1).await;
    caller.done("GET /v1/sites/{site}/effects", json!({})).await;
    caller.await_offer().await;
    caller.token.clone_from(&agent);
    let conversation = |end: &str| format!("POST /v1/conversations/{{id}}{end}");
    caller.done(&conversation("/offers/{offer}/accept"), json!({})).await;
    let item = json!({"id": format!("it_{:032x}", 9), "body": {"text": {"text": "Hi"}}});
    caller.done(&conversation("/messages"), json!({"item": item, "note": false})).await;
    for (end, body) in [
        ("/hold", json!({})),
        ("/retrieve", json!({})),
        ("/close", json!({})),
        ("/wrap-up", json!({"disposition": "di_1", "note": {"text": "Sold."}})),
    ] {
        caller.done(&conversation(end), body).await;
    }
    caller.token.clone_from(&administrator);
    caller.open(2).await;
    caller.await_offer().await;
    caller.token = agent;
    caller.done(&conversation("/offers/{offer}/decline"), json!({"reason": "nr_1"})).await;
    caller.token = administrator;
    caller.done(&conversation("/requeue"), json!({"priority": 9})).await;
    caller.done("GET /v1/sites/{site}/conversations", json!({})).await;
    caller.done("GET /v1/conversations/{id}", json!({})).await;
    caller.done(&conversation("/abandon"), json!({})).await;
}

/// A bot that nobody runs keeps a conversation for as long as a turn may take, and gives it up when
/// asked to.
async fn be_handed_over(caller: &mut Caller) {
    let secret = "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
    let bot = json!({"plan": {"url": "http://127.0.0.1:9/", "turn_ms": 60_000}, "secret": secret});
    caller.done("PUT /v1/sites/{site}/queues/{queue}/bot", bot).await;
    caller.open(3).await;
    caller.done("POST /v1/conversations/{id}/hand-over", json!({"queue": "qu_1"})).await;
    caller.done("GET /v1/conversations/{id}", json!({})).await;
    caller.done("GET /v1/sites/{site}/queues/{queue}", json!({})).await;
}

async fn look(caller: &mut Caller) {
    let reads: Vec<String> = caller
        .described
        .routes()
        .into_iter()
        .filter(|route| {
            route.starts_with("GET ") && route != UPGRADE && route != "GET /v1/conversations"
        })
        .collect();
    for route in reads {
        caller.done(&route, json!({})).await;
    }
    let site = caller.ids.iter().find(|(name, _)| *name == "site").expect("made").1.clone();
    let over = eventually("both are over", async || {
        let query = format!("?site={site}&limit=2&consistency=linearizable");
        let answer = caller.answer("GET /v1/conversations", &query, &json!({})).await;
        let page: Value = serde_json::from_str(&answer.body).expect("JSON");
        (page["data"].as_array().expect("rows").len() == 2).then_some(query)
    });
    let query = over.await;
    caller.done_with("GET /v1/conversations", &query, json!({})).await;
}

/// Refusals are answers too, and say which codes they may have.
async fn be_refused(caller: &Caller) {
    for (route, query, body, code) in [
        ("GET /v1/sites/{site}/agents", "?limit=0", json!({}), "bad-value"),
        ("GET /v1/sites/{site}/queues", "?consistency=never", json!({}), "bad-value"),
        ("POST /v1/conversations/{id}/close", "", json!({}), "conversation-closed"),
        ("POST /v1/conversations/{id}/hold", "", json!({}), "not-allowed"),
    ] {
        let answer = caller.answer(route, query, &body).await;
        assert_eq!(answer.code(), code, "{route}{query}");
    }
}

#[tokio::test]
async fn every_answer_is_as_described() {
    let mut caller = Caller::come_in().await;
    build(&mut caller).await;
    nodes_known(&mut caller).await;
    folders(&mut caller).await;
    credentials(&mut caller).await;
    serve(&mut caller).await;
    look(&mut caller).await;
    be_refused(&caller).await;
    be_handed_over(&mut caller).await;
    let described: BTreeSet<String> = caller.described.routes().into_iter().collect();
    let missed: Vec<&String> = described.difference(&caller.asked).collect();
    assert_eq!(missed, [UPGRADE], "these were not asked");
}
