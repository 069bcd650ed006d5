//! A site that moves between shards while it is used: nobody's session ends, nothing is asked
//! twice, and its story is one.

#[path = "support/nodes.rs"]
#[expect(dead_code, reason = "each test binary uses its own part of the support")]
mod nodes;

use std::collections::BTreeSet;
use std::process::Output;

use hyper::Method;
use nodes::{Nodes, done, eventually, rotary, said, tenant_and_site};
use rotary_client::{Notice, Session, SessionConfig};
use rotary_proto::frame::CommandReply;
use rotary_proto::{AgentId, Body, Command, ConversationId, Declared, Event, Outcome, SiteId};
use serde_json::{Value, json};

/// An agent at work.
struct Agent {
    session: Session,
    site: SiteId,
    seen: Vec<u64>,
    events: Vec<Event>,
    welcomes: usize,
}

impl Agent {
    async fn start(nodes: &Nodes, site: SiteId, node: usize) -> Self {
        let body = json!({"role": "agent", "site": site, "agent": "ag_1", "ttl_s": 3600});
        let made = done(&nodes.admin(1), Method::POST, "/v1/tokens", body).await;
        let token = made["token"].as_str().expect("a text").to_owned();
        let config = SessionConfig::new(vec![nodes.gateways[node - 1].clone()], token);
        let session = Session::start(config).expect("somewhere");
        let (seen, events) = (Vec::new(), Vec::new());
        let mut agent = Self { session, site, seen, events, welcomes: 0 };
        agent.ask(Command::Declare { agent: AgentId(1), declared: Declared::Ready }).await;
        agent
    }

    /// Takes in what happens next.
    async fn next(&mut self) {
        let notice = tokio::time::timeout(nodes::LIMIT, self.session.next_event()).await;
        match notice.expect("in time").expect("the session lives") {
            Notice::Event(frame) => {
                self.seen.push(frame.seq);
                self.events.push(frame.event);
            }
            Notice::Welcome(_) => self.welcomes += 1,
            Notice::Ended(end) => panic!("the session ended: {end:?}"),
            _ => {}
        }
    }

    /// Has something done, reading on meanwhile.
    async fn ask(&mut self, command: Command) {
        let (commander, site) = (self.session.commander(), self.site);
        let mut asked = tokio::spawn(async move { commander.send(site, command).await });
        let answer = loop {
            tokio::select! {
                answer = &mut asked => break answer.expect("it ends").expect("the session lives"),
                () = self.next() => {}
            }
        };
        assert!(matches!(answer.result, CommandReply::Outcome(Outcome::Done(_))), "{answer:?}");
    }

    /// Reads until something has been seen; what it was.
    async fn until<T>(&mut self, found: impl Fn(&Event) -> Option<T>) -> T {
        loop {
            if let Some(found) = self.events.iter().find_map(&found) {
                return found;
            }
            self.next().await;
        }
    }
}

fn site_command(nodes: &Nodes, args: &[&str]) -> Output {
    let url = nodes.gateways[0].to_string();
    let mut command = rotary();
    command.arg("site").args(args).args(["--url", &url, "--token", &nodes.token]);
    command.output().expect("it runs")
}

fn moves(nodes: &Nodes, site: SiteId, to: &str) {
    let moved = said(&site_command(nodes, &["move", &site.to_string(), "--to", to, "--wait"]));
    assert!(moved.0 == Some(0) && moved.1.contains(&format!("{site} lives in {to}")), "{moved:?}");
}

/// A chat of a customer, numbered.
async fn open(nodes: &Nodes, site: SiteId, number: u128) -> ConversationId {
    let body = json!({"queue": "qu_1", "channel": "chat", "customer": format!("cu_{number:032x}")});
    let path = format!("/v1/sites/{site}/conversations");
    let made = done(&nodes.admin(2), Method::POST, &path, body).await;
    made["conversation"].as_str().expect("an id").parse().expect("an id")
}

/// Every event of the site, as a node tells it; empty until it has `last`.
async fn events(nodes: &Nodes, node: usize, site: SiteId) -> Vec<Value> {
    let (mut all, mut after) = (Vec::new(), 0);
    loop {
        let path = format!("/v1/sites/{site}/events?after={after}&limit=100");
        let page: Value = nodes.admin(node).read(&path).await.expect("it answers");
        let through = page["through"].as_u64().expect("a number");
        all.extend(page["data"].as_array().expect("a list").iter().cloned());
        if through == after {
            return all;
        }
        after = through;
    }
}

/// The sequences of the site's events are the same on every node, dense, and one story.
async fn is_one_story(nodes: &Nodes, site: SiteId, moves: usize) -> Vec<Value> {
    let (api, path) = (nodes.admin(1), format!("/v1/sites/{site}?consistency=linearizable"));
    let view: Value = api.read(&path).await.expect("it answers");
    let last = view["sequence"].as_u64().expect("a number");
    let mut stories = BTreeSet::new();
    let mut told = Vec::new();
    for node in 1..=3 {
        told = eventually("a node has everything", async || {
            let all = events(nodes, node, site).await;
            (all.len() as u64 >= last).then_some(all)
        })
        .await;
        let sequences: Vec<u64> =
            told.iter().map(|event| event["cursor"]["sequence"].as_u64().expect("it is")).collect();
        assert_eq!(sequences, (1..=told.len() as u64).collect::<Vec<_>>(), "on nd_{node}");
        stories.insert(serde_json::to_string(&told[..last as usize]).expect("JSON"));
    }
    assert_eq!(stories.len(), 1, "every node tells the same");
    let moved = told.iter().filter(|event| event["event"]["site_moved"].is_object()).count();
    assert_eq!(moved, moves, "{told:#?}");
    told
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_site_moves_to_and_fro_while_it_is_used() {
    let mut nodes = Nodes::init(3, 3);
    nodes.start_all().await;
    let api = nodes.admin(1);
    let (_, site) = tenant_and_site(&api, "acme", json!({"name": "north"})).await;
    let under = format!("/v1/sites/{site}");
    done(&api, Method::PUT, &format!("{under}/queues/qu_1"), json!({"name": "support"})).await;
    let profile = json!({"name": {"text": "Lin"}, "capacity": {"chat": 3, "total": 3}});
    done(&api, Method::PUT, &format!("{under}/agents/ag_1"), profile).await;
    let site: SiteId = site.parse().expect("an id");

    let mut agent = Agent::start(&nodes, site, 3).await;
    let first = open(&nodes, site, 1).await;
    let offer = agent
        .until(|event| match event {
            Event::Offered { offer, .. } => Some(*offer),
            _ => None,
        })
        .await;
    agent.ask(Command::Accept { conversation: first, offer }).await;
    agent.ask(note(first, "before")).await;
    moves(&nodes, site, "sh_2");
    agent.ask(note(first, "after")).await;
    let second = open(&nodes, site, 2).await;
    moves(&nodes, site, "sh_3");
    let offer = agent
        .until(|event| match event {
            Event::Offered { offer, conversation, .. } if *conversation == second => Some(*offer),
            _ => None,
        })
        .await;
    agent.ask(Command::Accept { conversation: second, offer }).await;
    moves(&nodes, site, "sh_1");
    for conversation in [first, second] {
        agent.ask(Command::Close { conversation }).await;
        agent.ask(Command::WrapUp { conversation, disposition: None, note: None }).await;
    }
    assert_eq!(agent.welcomes, 1, "its session was never served anew");
    let dense: Vec<u64> = (1..=agent.seen.len() as u64).collect();
    assert_eq!(agent.seen, dense, "nothing is missing");

    is_one_story(&nodes, site, 3).await;
    for node in 1..=3 {
        let api = nodes.admin(node);
        let path = format!("/v1/conversations/{first}/messages");
        let said = eventually("messages from before and after", async || {
            let page: Value = api.read(&path).await.ok()?;
            let data = page["data"].as_array()?.clone();
            (data.len() == 2).then_some(data)
        })
        .await;
        assert!(said[0]["body"]["text"].to_string().contains("before"), "{said:?}");
        let by_agent = format!("/v1/conversations?site={site}&agent=ag_1");
        eventually("closed ones are found by who served before the move", async || {
            let page: Value = api.read(&by_agent).await.ok()?;
            (page["data"].as_array()?.len() == 2).then_some(())
        })
        .await;
    }
    agent.ask(Command::Declare { agent: AgentId(1), declared: Declared::SignedOut }).await;
}

fn note(conversation: ConversationId, text: &str) -> Command {
    Command::Post {
        conversation,
        item: rotary_proto::values::Item {
            id: rotary_proto::ItemId(rotary_client::unique()),
            body: Body::plain(text).expect("short"),
        },
        note: false,
        seen_to: None,
    }
}

/// Whoever leads, or is asked, dies on the way: the site gets there.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_site_gets_there_whoever_dies_on_the_way() {
    let mut nodes = Nodes::init(3, 3);
    nodes.start_all().await;
    let api = nodes.admin(1);
    let (_, site) = tenant_and_site(&api, "acme", json!({"name": "north"})).await;
    let under = format!("/v1/sites/{site}");
    done(&api, Method::PUT, &format!("{under}/queues/qu_1"), json!({"name": "support"})).await;
    let site: SiteId = site.parse().expect("an id");
    let mut kept = Vec::new();
    for (round, dies) in [3, 2, 3].into_iter().enumerate() {
        kept.push(open(&nodes, site, round as u128 + 1).await);
        let to = format!("sh_{}", (round + 1) % 3 + 1);
        let asked = site_command(&nodes, &["move", &site.to_string(), "--to", &to]);
        assert_eq!(said(&asked).0, Some(0), "{asked:?}");
        nodes.kill(dies);
        moves(&nodes, site, &to);
        nodes.start(dies);
        nodes.ready(&nodes.gateways[dies - 1].clone()).await;
    }
    is_one_story(&nodes, site, 3).await;
    for conversation in kept {
        let view: Value =
            api.read(&format!("/v1/conversations/{conversation}")).await.expect("it is there");
        assert_eq!(view["stage"], json!("waiting"), "{view}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_move_says_so() {
    let mut nodes = Nodes::init(1, 2);
    nodes.start_all().await;
    let (_, site) = tenant_and_site(&nodes.admin(1), "acme", json!({"name": "north"})).await;
    let to = |to: &str| said(&site_command(&nodes, &["move", &site, "--to", to]));
    let (code, told) = to("sh_9");
    assert!(code != Some(0) && told.contains("sh_1 to sh_2 exist"), "{told}");
    let unknown = said(&site_command(&nodes, &["move", "st_9.9", "--to", "sh_1"]));
    assert!(unknown.1.contains("there is no such site"), "{unknown:?}");
    let stays = said(&site_command(&nodes, &["cancel-move", &site]));
    assert_eq!(stays.0, Some(0), "{stays:?}");
    let listed = site_command(&nodes, &["ls"]).stdout;
    assert!(String::from_utf8_lossy(&listed).contains("MOVES"), "{listed:?}");
}

/// Who changes their mind while a site is on its way gets it where they want it last, once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_site_that_is_wanted_elsewhere_meanwhile_gets_there() {
    let mut nodes = Nodes::init(2, 3);
    nodes.start_all().await;
    let api = nodes.admin(1);
    let (_, site) = tenant_and_site(&api, "acme", json!({"name": "north"})).await;
    let under = format!("/v1/sites/{site}");
    done(&api, Method::PUT, &format!("{under}/queues/qu_1"), json!({"name": "support"})).await;
    let site: SiteId = site.parse().expect("an id");
    let mut kept = Vec::new();
    for round in 1..=4 {
        kept.push(open(&nodes, site, round).await);
        let asked = site_command(&nodes, &["move", &site.to_string(), "--to", "sh_2"]);
        assert_eq!(said(&asked).0, Some(0), "{asked:?}");
        let stays = site_command(&nodes, &["cancel-move", &site.to_string()]);
        assert_eq!(said(&stays).0, Some(0), "{stays:?}");
        moves(&nodes, site, "sh_3");
        moves(&nodes, site, "sh_1");
    }
    let told = events(&nodes, 2, site).await;
    let sequences: Vec<u64> =
        told.iter().map(|event| event["cursor"]["sequence"].as_u64().expect("it is")).collect();
    assert_eq!(sequences, (1..=told.len() as u64).collect::<Vec<_>>());
    for conversation in kept {
        let path = format!("/v1/conversations/{conversation}?consistency=linearizable");
        let view: Value = api.read(&path).await.expect("it is there");
        assert_eq!(view["stage"], json!("waiting"), "{view}");
    }
}
