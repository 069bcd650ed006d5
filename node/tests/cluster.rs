//! The life of a chat over three real nodes, through the death of a leader and of all of them.

#[path = "support/nodes.rs"]
#[expect(dead_code, reason = "each test binary uses its own part of the support")]
mod nodes;

use std::time::Duration;

use hyper::Method;
use nodes::{Nodes, done, eventually, tenant_and_site};
use rotary_client::{Notice, Over, Patience, Session, SessionConfig};
use rotary_proto::event::Author;
use rotary_proto::frame::{CommandReply, EventFrame, Mode};
use rotary_proto::values::Item;
use rotary_proto::{Body, Command, ConversationId, Done, Event, ItemId, OfferId, Outcome, SiteId};
use serde_json::{Value, json};

/// A session, and everything that it was sent.
struct Client {
    session: Session,
    site: SiteId,
    seen: Vec<EventFrame>,
    modes: Vec<Mode>,
}

impl Client {
    /// Begins a session on the node at `first`, counted from 1; the others are for resuming.
    fn start(nodes: &Nodes, first: usize, token: &str, over: Over, site: SiteId) -> Self {
        let mut gateways = nodes.gateways.clone();
        gateways.rotate_left(first - 1);
        let config = SessionConfig::new(gateways, token.to_owned());
        let session = Session::start(SessionConfig { over, ..config });
        let session = session.expect("there are gateways");
        Self { session, site, seen: Vec::new(), modes: Vec::new() }
    }

    /// Takes notices until one is an event of which `pick` makes something.
    async fn until<T>(&mut self, what: &str, pick: impl Fn(&Event) -> Option<T>) -> T {
        loop {
            let notice = tokio::time::timeout(nodes::LIMIT, self.session.next_event()).await;
            match notice.unwrap_or_else(|_| panic!("never: {what}")) {
                Some(Notice::Event(frame)) => {
                    let picked = pick(&frame.event);
                    self.seen.push(*frame);
                    if let Some(picked) = picked {
                        return picked;
                    }
                }
                Some(Notice::Welcome(welcomed)) => self.modes.push(welcomed.mode),
                Some(Notice::Ended(end)) => panic!("{what}: the session ended: {end:?}"),
                Some(_) => {}
                None => panic!("{what}: the session is gone"),
            }
        }
    }

    async fn offered(&mut self) -> (ConversationId, OfferId) {
        self.until("an offer", |event| match event {
            Event::Offered { conversation, offer, .. } => Some((*conversation, *offer)),
            _ => None,
        })
        .await
    }

    async fn posted(&mut self, by_customer: bool) -> String {
        self.until("a message", |event| match event {
            Event::Posted { author, body, .. } if (*author == Author::Customer) == by_customer => {
                body.text.text().map(str::to_owned)
            }
            _ => None,
        })
        .await
    }

    /// Asks for something that must be done.
    async fn ask(&self, command: Command) -> Done {
        let word = command.word();
        let answer = self.session.commander().send(self.site, command).await;
        match answer.expect("the session lives").result {
            CommandReply::Outcome(Outcome::Done(done)) => done,
            other => panic!("{word}: {other:?}"),
        }
    }

    async fn say(&self, conversation: ConversationId, id: u128, words: &str) -> Done {
        let body = Body::plain(words).expect("short");
        let item = Item { id: ItemId(id), body };
        self.ask(Command::Post { conversation, item, note: false, seen_to: None }).await
    }

    /// What was sent is dense in its own numbers, and rises in the site's.
    fn assert_whole(&self) {
        let seqs: Vec<u64> = self.seen.iter().map(|frame| frame.seq).collect();
        let first = seqs.first().copied().unwrap_or(1);
        assert_eq!(seqs, (first..first + seqs.len() as u64).collect::<Vec<_>>());
        assert!(self.seen.is_sorted_by(|a, b| a.cursor.sequence < b.cursor.sequence));
    }
}

/// A tenant, a site, a queue, an agent and a customer, made on the first node.
async fn floor(nodes: &Nodes) -> (SiteId, String, String) {
    let api = nodes.admin(1);
    let settings = json!({"name": "north", "agent_grace_ms": 120_000});
    let (_, site) = tenant_and_site(&api, "acme", settings).await;
    let site: SiteId = site.parse().expect("an id");
    let plan = json!({"name": "sales", "offer_ms": 120_000, "wrap_up_ms": 120_000});
    done(&api, Method::PUT, &format!("/v1/sites/{site}/queues/qu_1"), plan).await;
    let profile = json!({"name": {"text": "Lin"}});
    done(&api, Method::PUT, &format!("/v1/sites/{site}/agents/ag_1"), profile).await;
    let token = async |body: Value| {
        let made = done(&api, Method::POST, "/v1/tokens", body).await;
        made["token"].as_str().expect("a text").to_owned()
    };
    let agent = json!({"role": "agent", "site": site, "agent": "ag_1", "ttl_s": 3600});
    let customer = rotary_proto::CustomerId(7);
    let customer = json!({"role": "customer", "site": site, "customer": customer, "ttl_s": 3600});
    (site, token(agent).await, token(customer).await)
}

/// Opens a chat for the customer on the first node, over HTTP.
async fn open(nodes: &Nodes, site: SiteId, customer: &str) -> ConversationId {
    let api = nodes.api(customer).only(&nodes.gateways[0]);
    let body = json!({"queue": "qu_1", "channel": "chat"});
    let opened = done(&api, Method::POST, &format!("/v1/sites/{site}/conversations"), body).await;
    opened["conversation"].as_str().expect("a text").parse().expect("an id")
}

/// The node, counted from 1, that leads the site's shard.
async fn leader(nodes: &Nodes, site: SiteId) -> usize {
    let api = nodes.api(&nodes.token);
    let sites: Value = api.read("/v1/sites").await.expect("readable");
    let ours = sites["data"].as_array().into_iter().flatten();
    let ours = ours.into_iter().find(|row| row["site"] == json!(site)).expect("it is there");
    let shard = ours["shard"].clone();
    eventually("a leader", async || {
        let cluster: Value = api.read("/v1/cluster").await.ok()?;
        let row = cluster["shards"].as_array()?.iter().find(|row| row["shard"] == shard)?.clone();
        row["leader"].as_str()?.strip_prefix("nd_")?.parse().ok()
    })
    .await
}

/// The words of a conversation, as a node tells them.
async fn words(nodes: &Nodes, node: usize, conversation: ConversationId) -> Vec<String> {
    let path = format!("/v1/conversations/{conversation}/messages");
    let messages: Value = nodes.admin(node).read(&path).await.expect("readable");
    let rows = messages["data"].as_array().cloned().unwrap_or_default();
    rows.iter().map(|row| row["body"]["text"]["text"].as_str().unwrap_or("").to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_chat_lives_through_the_death_of_its_leader_and_of_every_node() {
    let mut nodes = Nodes::init(3, 2);
    nodes.start_all().await;
    let (site, agent_token, customer_token) = floor(&nodes).await;

    let mut agent = Client::start(&nodes, 2, &agent_token, Over::Stream, site);
    agent.ask(Command::Declare { agent: rotary_proto::AgentId(1), declared: ready() }).await;
    let mut customer = Client::start(&nodes, 3, &customer_token, Over::Socket, site);
    let conversation = open(&nodes, site, &customer_token).await;
    let (offered, offer) = agent.offered().await;
    assert_eq!(offered, conversation);
    assert_eq!(agent.ask(Command::Accept { conversation, offer }).await, accepted(offer));
    assert_eq!(customer.say(conversation, 1, "hello").await, Done::Posted { ordinal: 1 });
    assert_eq!(agent.posted(true).await, "hello");
    assert_eq!(agent.say(conversation, 2, "good morning").await, Done::Posted { ordinal: 2 });
    assert_eq!(customer.posted(false).await, "good morning");

    let dead = leader(&nodes, site).await;
    nodes.kill(dead);
    assert_eq!(agent.say(conversation, 3, "still here").await, Done::Posted { ordinal: 3 });
    assert_eq!(customer.posted(false).await, "still here");
    assert_eq!(customer.say(conversation, 4, "me too").await, Done::Posted { ordinal: 4 });
    assert_eq!(agent.posted(true).await, "me too");
    nodes.start(dead);
    nodes.ready(&nodes.gateways[dead - 1].clone()).await;

    for node in 1..=3 {
        nodes.kill(node);
    }
    nodes.start_all().await;
    for node in 1..=3 {
        let said = words(&nodes, node, conversation).await;
        assert_eq!(said, ["hello", "good morning", "still here", "me too"], "node {node}");
    }

    agent.ask(Command::Close { conversation }).await;
    let wrap_up = Command::WrapUp { conversation, disposition: None, note: None };
    assert_eq!(agent.ask(wrap_up).await, Done::Ok);
    agent.until("the end", |event| matches!(event, Event::Closed { .. }).then_some(())).await;
    customer.until("the end", |event| matches!(event, Event::Ended { .. }).then_some(())).await;
    for client in [&agent, &customer] {
        client.assert_whole();
        assert!(!client.modes[1..].contains(&Mode::Snapshot), "{:?}", client.modes);
    }
    assert_stories_agree(&nodes, conversation).await;
    for node in 1..=3 {
        assert_archived(&nodes, node, site, conversation).await;
    }
    assert_only_their_own(&nodes, site, [&agent_token, &customer_token]).await;
    for node in 1..=3 {
        assert!(nodes.stop(node).success(), "node {node}");
    }
    // Another life, and one without its lookup, find it as well.
    std::fs::remove_dir_all(nodes.dir.path().join("node-2/data/lookup")).expect("it was there");
    nodes.start_all().await;
    for node in 1..=3 {
        assert_archived(&nodes, node, site, conversation).await;
        assert!(nodes.stop(node).success(), "node {node}");
    }
}

/// A node finds a conversation that is over by everything that it can be found by.
async fn assert_archived(nodes: &Nodes, node: usize, site: SiteId, conversation: ConversationId) {
    let api = nodes.admin(node);
    let customer = rotary_proto::CustomerId(7);
    let by_customer = format!("customer={customer}");
    for by in ["", "queue=qu_1", "agent=ag_1", &by_customer, "queue=qu_1&agent=ag_1&from=1"] {
        let path = format!("/v1/conversations?site={site}&{by}");
        eventually("it is listed", async || {
            let page: Value = api.read(&path).await.ok()?;
            let row = page["data"].as_array()?.first()?.clone();
            assert_eq!(row["conversation"], json!(conversation), "{path}");
            assert_eq!((&row["stage"], &row["items"]), (&json!("closed"), &json!(4)), "{path}");
            row["closed"].as_u64()
        })
        .await;
    }
    for by in ["queue=qu_2", "agent=ag_2", "from=9999999999999", "to=1"] {
        let path = format!("/v1/conversations?site={site}&{by}");
        let page: Value = api.read(&path).await.expect("readable");
        assert_eq!(page, json!({"data": []}), "{path}");
    }
    let view: Value = api.read(&format!("/v1/conversations/{conversation}")).await.expect("there");
    assert_eq!(view["stage"], "closed");
    assert_eq!(words(nodes, node, conversation).await.len(), 4);
}

/// Agents and customers list their own conversations, and nobody else's.
async fn assert_only_their_own(nodes: &Nodes, site: SiteId, [agent, customer]: [&str; 2]) {
    let other = rotary_proto::CustomerId(8);
    let others = [(agent, "agent=ag_2".to_owned()), (customer, format!("customer={other}"))];
    for (token, other) in others {
        let api = nodes.api(token);
        let page: Value = api.read("/v1/conversations").await.expect("the token says where");
        assert_eq!(page["data"].as_array().map(Vec::len), Some(1));
        let refused = api.read::<Value>(&format!("/v1/conversations?site={site}&{other}")).await;
        assert!(format!("{refused:?}").contains("not-allowed"), "{refused:?}");
    }
}

fn ready() -> rotary_proto::Declared {
    rotary_proto::Declared::Ready
}

fn accepted(offer: OfferId) -> Done {
    Done::Accepted { offer, leg: 1 }
}

/// Every node tells the same story.
async fn assert_stories_agree(nodes: &Nodes, conversation: ConversationId) {
    let path = format!("/v1/conversations/{conversation}/trace");
    let mut stories = Vec::new();
    for node in 1..=3 {
        let story = eventually("the whole story", async || {
            let story: Value = nodes.admin(node).read(&path).await.ok()?;
            let last = story["data"].as_array()?.last()?.clone();
            last["event"]["closed"].is_object().then_some(story)
        });
        stories.push(story.await);
    }
    assert!(stories.iter().all(|story| *story == stories[0]));
}

/// What a node measures of a shard, summed over those it has.
async fn measured(nodes: &Nodes, node: usize, name: &str) -> Option<f64> {
    let answer = nodes.admin(node).fetch("/metrics").await.ok()?;
    let text = String::from_utf8_lossy(&answer.body).into_owned();
    let rows = text.lines().filter(|line| line.starts_with(&format!("{name}{{shard=\"sh_1\"")));
    rows.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).reduce(|a, b| a + b)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_whose_log_was_set_aside_gets_state_and_history_from_the_others() {
    let mut nodes = Nodes::init(3, 1);
    for node in 1..=3 {
        nodes.configure(node, "[log]\nsnapshot_bytes_min = 4096\nsnapshot_entries_kept = 0");
    }
    nodes.start_all().await;
    let (site, _, customer) = floor(&nodes).await;
    let first = open(&nodes, site, &customer).await;
    let api = nodes.api(&customer).only(&nodes.gateways[0]);
    let path = format!("/v1/conversations/{first}/messages");
    for number in 0..400_u128 {
        let text = json!({"text": {"text": format!("word {number}")}});
        let id = ItemId(u128::from(u64::MAX) + number);
        let body = json!({"item": {"id": id, "body": text}});
        done(&api, Method::POST, &path, body).await;
    }
    // On every node the log has forgotten how the conversation began.
    for node in 1..=3 {
        eventually("the log is forgotten", async || {
            (measured(&nodes, node, "rotary_raft_forgotten_index").await? > 200.0).then_some(())
        })
        .await;
    }
    nodes.kill(3);
    let rebuild = nodes::rotary()
        .args(["node", "rebuild", "--yes", "--config"])
        .arg(nodes.config(3))
        .output()
        .expect("it runs");
    assert!(rebuild.status.success(), "{}", String::from_utf8_lossy(&rebuild.stderr));
    nodes.start(3);
    nodes.ready(&nodes.gateways[2].clone()).await;
    eventually("its history is whole", async || {
        let missing = measured(&nodes, 3, "rotary_journal_missing").await? > 0.0;
        let cut = measured(&nodes, 3, "rotary_raft_cut").await? > 0.0;
        (!missing && !cut).then_some(())
    })
    .await;
    let told = words(&nodes, 1, first).await;
    assert!(!told.is_empty());
    eventually("it tells the same", async || (words(&nodes, 3, first).await == told).then_some(()))
        .await;
    let path = format!("/v1/conversations/{first}/trace");
    let before: Value = nodes.admin(1).read(&path).await.expect("readable");
    assert!(before["data"][0]["event"]["opened"].is_object(), "{}", before["data"][0]);
    eventually("it tells the same story", async || {
        let after: Value = nodes.admin(3).read(&path).await.ok()?;
        (after == before).then_some(())
    })
    .await;
    // Whose history is whole tells the others how far it is on disk, as they do.
    let recorded: u64 = eventually("a quorum has recorded it", async || {
        let (recorded, _) = marks(&nodes).await?;
        (recorded > 400).then_some(recorded)
    })
    .await;
    done(&api, Method::POST, &format!("/v1/conversations/{first}/abandon"), json!({})).await;
    eventually("all three have recorded the end", async || {
        let (_, marks) = marks(&nodes).await?;
        (marks.len() == 3 && marks.iter().all(|mark| *mark > recorded)).then_some(())
    })
    .await;
}

/// How far a quorum's journals of the first shard are on disk, and each member's.
async fn marks(nodes: &Nodes) -> Option<(u64, Vec<u64>)> {
    let cluster: Value = nodes.admin(1).read("/v1/cluster").await.ok()?;
    let shard = cluster["shards"].as_array()?.iter().find(|row| row["shard"] == "sh_1")?.clone();
    let marks = shard["marks"].as_object()?.values().filter_map(Value::as_u64).collect();
    Some((shard["recorded"].as_u64()?, marks))
}

/// Where a site's state is read, the events and the words of a conversation among it.
fn readable(site: SiteId, conversation: ConversationId) -> Vec<String> {
    let of_site = ["", "/queues", "/queues/qu_1", "/agents", "/agents/ag_1", "/skills", "/reasons"];
    let of_site = of_site.into_iter().chain(["/dispositions", "/conversations", "/events"]);
    let of_site = of_site.map(|path| format!("/v1/sites/{site}{path}"));
    let of_one =
        ["", "/messages", "/trace"].map(|path| format!("/v1/conversations/{conversation}{path}"));
    of_site.chain(of_one).chain([format!("/v1/conversations?site={site}")]).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_linearizable_read_sees_what_any_node_acknowledged() {
    let mut nodes = Nodes::init(3, 1);
    nodes.start_all().await;
    let (site, _, customer) = floor(&nodes).await;
    let path = format!("/v1/sites/{site}/queues/qu_1");
    for number in 1..=30 {
        let (writer, reader) = (number % 3 + 1, (number + number / 3) % 3 + 1);
        let name = format!("sales {number}");
        done(&nodes.admin(writer), Method::PUT, &path, json!({"name": name})).await;
        let read = format!("{path}?consistency=linearizable");
        let view: Value = nodes.admin(reader).read(&read).await.expect("readable");
        assert_eq!(view["plan"]["name"], json!(name), "written on {writer}, read on {reader}");
    }
    // A site that a node has not heard of is there as well, for whoever asks so.
    let (_, made) = tenant_and_site(&nodes.admin(1), "south", json!({"name": "south"})).await;
    let path = format!("/v1/sites/{made}?consistency=linearizable");
    nodes.admin(3).read::<Value>(&path).await.expect("readable");
    let conversation = open(&nodes, site, &customer).await;
    let asked = |path: &str, how: &str| {
        let mark = if path.contains('?') { '&' } else { '?' };
        format!("{path}{mark}consistency={how}")
    };
    for path in readable(site, conversation) {
        for how in ["linearizable", "local"] {
            nodes.admin(2).read::<Value>(&asked(&path, how)).await.expect(&path);
        }
        let refused = nodes.admin(2).read::<Value>(&asked(&path, "eventual")).await;
        let refused = refused.expect_err(&path).to_string();
        for word in ["bad-value", "eventual", "`local`", "`linearizable`"] {
            assert!(refused.contains(word), "{path}: {refused}");
        }
    }
    let reads = measured(&nodes, 2, "rotary_raft_reads_total").await.expect("it is measured");
    let rounds = measured(&nodes, 2, "rotary_raft_read_rounds_total").await.expect("so is this");
    assert!(rounds > 10.0 && reads >= rounds, "{reads} reads in {rounds} rounds");
    nodes.kill(2);
    nodes.kill(3);
    let patience = Patience { attempt: Duration::from_secs(30), total: Duration::ZERO };
    let alone = nodes.admin(1).patient(patience);
    let path = format!("/v1/sites/{site}");
    alone.read::<Value>(&path).await.expect("it reads what it has");
    let refused = alone.read::<Value>(&asked(&path, "linearizable")).await;
    let refused = refused.expect_err("nobody confirms it").to_string();
    assert!(refused.contains("no leader") || refused.contains("late"), "{refused}");
    nodes.start(2);
    nodes.admin(1).read::<Value>(&asked(&path, "linearizable")).await.expect("a quorum is back");
}

/// Every node leads its share again after one was away, and the shards serve all the while.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn leaders_are_spread_over_the_nodes_again_after_one_was_away() {
    let mut nodes = Nodes::init(3, 5);
    nodes.start_all().await;
    let even = async |nodes: &Nodes| {
        let cluster: Value = nodes.api(&nodes.token).read("/v1/cluster").await.ok()?;
        let leads = cluster["nodes"].as_array()?.iter().filter_map(|node| node["leads"].as_u64());
        (leads.collect::<Vec<_>>() == [2, 2, 2]).then_some(())
    };
    eventually("an even start", async || even(&nodes).await).await;
    nodes.kill(2);
    eventually("others lead what it led", async || {
        let cluster: Value = nodes.admin(1).read("/v1/cluster").await.ok()?;
        let leads = cluster["nodes"].as_array()?.iter().filter_map(|node| node["leads"].as_u64());
        (leads.collect::<Vec<_>>() == [3, 0, 3]).then_some(())
    })
    .await;
    nodes.start(2);
    eventually("an even end", async || even(&nodes).await).await;
}
