//! Who uses the cluster: agents with habits, customers with patience, gateways with leases.
//!
//! Everything here is a step at a time: what is due is done, what has come is read. Clients keep
//! to the API's habits: one id per command, however often and wherever it is sent.

mod agents;
mod clients;
mod readers;
mod registrar;
mod setup;

use std::collections::{BTreeMap, BTreeSet};

use rotary_proto::codec::{self, Limit};
use rotary_proto::values::Item;
use rotary_proto::{Actor, AgentId, Body, Channel, Command, ConversationId, CustomerId, Envelope};
use rotary_proto::{Event, GatewayId, ItemId, Origin, PrincipalId, QueueId, RequestId};
use rotary_proto::{ShardCommand, SiteId, limits};

use crate::simulation::history::{Known, Ms};
use crate::simulation::invariants::Liveness;
use crate::simulation::node::{DAWN_MS, Node, id_of};
use crate::simulation::observer::{Observed, Observer};
use crate::simulation::random::Random;
use agents::{Agent, DILIGENT, Deed, TEND_EVERY_MS};
use clients::{Clients, Request};
use setup::Step;

pub(crate) use clients::{Answered, Counts};
pub(crate) use readers::Following;
pub(crate) use registrar::Registrar;
pub(crate) use setup::site_of;

const ADMINISTRATOR: PrincipalId = PrincipalId(1);
/// What the integration that opens conversations signs with.
const DOORMAN: PrincipalId = PrincipalId(2);
/// An agent's own credential, plus the agent.
const AGENTS: u32 = 100;

/// What is to be done at some time.
#[derive(Debug, Clone, Copy)]
enum Act {
    Arrive(u32),
    Leave(ConversationId),
    Say(ConversationId),
    Agent(usize, Deed),
    Leases,
}

/// Whose operation it is.
#[derive(Debug, Clone, Copy)]
enum Owner {
    Setup,
    Agent(usize),
    Nobody,
}

/// The whole workload.
pub(crate) struct Workload {
    random: Random,
    pub(crate) clients: Clients,
    agents: Vec<Agent>,
    shards: u32,
    setup: Vec<(SiteId, Step)>,
    setting_up: Option<usize>,
    due: BTreeMap<(Ms, u64), Act>,
    next: u64,
    owners: BTreeMap<usize, Owner>,
    /// How far customers have read each shard's events.
    read: Vec<usize>,
    customers: BTreeMap<ConversationId, CustomerId>,
    over: BTreeSet<ConversationId>,
    arrivals_every_ms: Ms,
    open: bool,
    patient: bool,
}

impl Workload {
    pub(crate) fn new(seed: u64, shards: usize) -> Self {
        let mut random = Random::salted(seed, "workload");
        let (mut setup, mut agents) = (Vec::new(), Vec::new());
        for shard in 0..shards as u32 {
            let (site, count) = (site_of(shard), random.between(3, 8) as u32);
            let steps = setup::steps(site, count, &mut random);
            setup.extend(steps.into_iter().map(|step| (site, step)));
            let made = (1..=count).map(|id| Agent::new(site, shard, AgentId(id), &mut random));
            agents.extend(made);
        }
        setup.reverse();
        Self {
            arrivals_every_ms: random.between(150, 900),
            random,
            clients: Clients::new(seed),
            agents,
            shards: shards as u32,
            setup,
            setting_up: None,
            due: BTreeMap::new(),
            next: 0,
            owners: BTreeMap::new(),
            read: vec![0; shards],
            customers: BTreeMap::new(),
            over: BTreeSet::new(),
            open: false,
            patient: false,
        }
    }

    fn at(&mut self, ms: Ms, act: Act) {
        self.next += 1;
        self.due.insert((ms, self.next), act);
    }

    /// Whether sites are made and agents are at work.
    pub(crate) fn is_open(&self) -> bool {
        self.open
    }

    /// From here on nobody arrives but those who are expected to be served, and everybody works.
    pub(crate) fn be_diligent(&mut self) {
        self.patient = true;
        self.agents.iter_mut().for_each(|agent| agent.habits = DILIGENT);
    }

    /// Opens some conversations per site that must be served.
    pub(crate) fn probe(&mut self, now_ms: Ms, each: u32, liveness: &mut Liveness) {
        for shard in 0..self.shards {
            for number in 0..each {
                let at_ms = now_ms + Ms::from(number) * 100;
                let conversation = self.open_conversation(at_ms, shard);
                liveness.expect(conversation, now_ms);
            }
        }
    }

    /// Does what is due and reads what has come. Returns answers for the invariants, and replies
    /// that cannot be read.
    pub(crate) fn step(
        &mut self,
        now_ms: Ms,
        nodes: &[Node],
        observer: &Observer,
    ) -> (Vec<Answered>, Vec<String>) {
        self.set_up(now_ms);
        let later = self.due.split_off(&(now_ms + 1, 0));
        for (_, act) in std::mem::replace(&mut self.due, later) {
            self.act(now_ms, act, nodes);
        }
        {
            let observed = observer.lock();
            self.read_as_customers(now_ms, &observed);
            self.read_as_agents(now_ms, &observed);
        }
        let stepped = self.clients.step(now_ms, nodes);
        for operation in &stepped.finished {
            self.finished(*operation);
        }
        (stepped.answers, stepped.garbled)
    }

    fn finished(&mut self, operation: usize) {
        let known = &self.clients.operations[operation].known;
        let answered = matches!(known, Known::Answered { .. });
        match self.owners.remove(&operation).unwrap_or(Owner::Nobody) {
            Owner::Setup if answered => {
                self.setup.pop();
                self.setting_up = None;
            }
            Owner::Setup => self.setting_up = None,
            Owner::Agent(agent) => self.agents[agent].finished(operation, answered),
            Owner::Nobody => {}
        }
    }

    /// Goes through the administrator's steps, one at a time; then opens the doors.
    fn set_up(&mut self, now_ms: Ms) {
        if self.open || self.setting_up.is_some() {
            return;
        }
        let Some((site, step)) = self.setup.last() else {
            self.open = true;
            return self.open_doors(now_ms);
        };
        let (site, shard) = (*site, site.number - 1);
        let (label, payload) = match step {
            Step::Make(command) => ("create-site".to_owned(), encode(command)),
            Step::Put(command) => {
                let (word, command) = (command.word().to_owned(), command.clone());
                let origin = self.request(now_ms, ADMINISTRATOR);
                let actor = Actor::Administrator(ADMINISTRATOR);
                (word, encode_for(Envelope { site, origin, actor, command }))
            }
        };
        let operation = self.clients.ask(now_ms, Request { label, shard, payload, home: None });
        self.owners.insert(operation, Owner::Setup);
        self.setting_up = Some(operation);
    }

    fn open_doors(&mut self, now_ms: Ms) {
        self.at(now_ms, Act::Leases);
        for agent in 0..self.agents.len() {
            let after = self.random.below(1_000);
            self.at(now_ms + after, Act::Agent(agent, Deed::Tend));
        }
        for shard in 0..self.shards {
            self.at(now_ms + 1_500, Act::Arrive(shard));
        }
    }

    /// A request's id tells the client's time, as a UUIDv7 does.
    fn request(&mut self, now_ms: Ms, principal: PrincipalId) -> Origin {
        let time = u128::from(DAWN_MS + now_ms) << 80;
        let rest = self.random.wide() & ((1 << 76) - 1);
        Origin::Request { principal, request: RequestId(time | 7 << 76 | rest) }
    }

    fn act(&mut self, now_ms: Ms, act: Act, nodes: &[Node]) {
        match act {
            Act::Arrive(shard) => {
                let after = self.random.between(1, 2 * self.arrivals_every_ms);
                self.at(now_ms + after, Act::Arrive(shard));
                if !self.patient {
                    let conversation = self.open_conversation(now_ms, shard);
                    let patience = self.random.between(5_000, 40_000);
                    self.at(now_ms + patience, Act::Leave(conversation));
                }
            }
            Act::Leave(conversation) => self.leave(now_ms, conversation),
            Act::Say(conversation) => self.say(now_ms, conversation),
            Act::Agent(agent, deed) => self.deed(now_ms, agent, deed, nodes),
            Act::Leases => {
                self.at(now_ms + limits::LEASE_RENEWAL_MS, Act::Leases);
                self.renew_leases(now_ms, nodes);
            }
        }
    }

    fn open_conversation(&mut self, now_ms: Ms, shard: u32) -> ConversationId {
        let site = site_of(shard);
        let conversation = ConversationId::new(site, self.random.wide());
        let customer = CustomerId(self.random.wide());
        self.customers.insert(conversation, customer);
        let queue = QueueId(self.random.between(1, 2) as u32);
        let voice = self.random.permille(150);
        let channel = if voice { Channel::Voice } else { Channel::Chat };
        let command = Command::Open {
            conversation,
            queue,
            channel,
            priority: None,
            skills: Vec::new(),
            customer: Some(customer),
            attributes: Default::default(),
            item: None,
            mail: None,
        };
        let actor = Actor::Supervisor(DOORMAN);
        let label = format!("open {:x}", conversation.unique >> 96);
        self.request_of(now_ms, label, site, DOORMAN, actor, command);
        conversation
    }

    fn request_of(
        &mut self,
        now_ms: Ms,
        label: String,
        site: SiteId,
        principal: PrincipalId,
        actor: Actor,
        command: Command,
    ) -> usize {
        let origin = self.request(now_ms, principal);
        let payload = encode_for(Envelope { site, origin, actor, command });
        let request = Request { label, shard: site.number - 1, payload, home: None };
        self.clients.ask(now_ms, request)
    }

    fn leave(&mut self, now_ms: Ms, conversation: ConversationId) {
        let Some(customer) = self.customers.get(&conversation).copied() else { return };
        if self.over.contains(&conversation) {
            return;
        }
        let label = format!("leave {:x}", conversation.unique >> 96);
        let command = Command::Abandon { conversation };
        let (site, actor) = (conversation.site, Actor::Customer(customer));
        self.request_of(now_ms, label, site, DOORMAN, actor, command);
    }

    fn say(&mut self, now_ms: Ms, conversation: ConversationId) {
        let Some(customer) = self.customers.get(&conversation).copied() else { return };
        let body = Body::plain("is anybody there?").expect("short");
        let item = Item { id: ItemId(self.random.wide()), body };
        let command = Command::Post { conversation, item, note: false, seen_to: None };
        let label = format!("say {:x}", conversation.unique >> 96);
        let (site, actor) = (conversation.site, Actor::Customer(customer));
        self.request_of(now_ms, label, site, DOORMAN, actor, command);
    }

    fn deed(&mut self, now_ms: Ms, agent: usize, deed: Deed, nodes: &[Node]) {
        if deed == Deed::Tend {
            self.at(now_ms + TEND_EVERY_MS, Act::Agent(agent, Deed::Tend));
        }
        let who = &mut self.agents[agent];
        let order = if deed == Deed::Tend {
            let ready = nodes.iter().filter(|node| node.is_ready());
            let ready: Vec<_> = ready.map(|node| (node.index, node.starts())).collect();
            who.tend(&ready, &mut self.random)
        } else {
            who.order(deed)
        };
        let Some(order) = order else { return };
        let (site, shard, actor, home) = (who.site, who.shard, who.actor(), Some(who.home));
        let (principal, given) = (PrincipalId(AGENTS + who.id.0), order.origin);
        let origin = given.unwrap_or_else(|| self.request(now_ms, principal));
        let payload = encode_for(Envelope { site, origin, actor, command: order.command });
        let request = Request { label: order.label, shard, payload, home };
        let operation = self.clients.ask(now_ms, request);
        self.agents[agent].asked(operation, given);
        self.owners.insert(operation, Owner::Agent(agent));
    }

    fn renew_leases(&mut self, now_ms: Ms, nodes: &[Node]) {
        for node in nodes.iter().filter(|node| node.is_ready()) {
            let gateway = GatewayId { node: id_of(node.index), run: node.starts() };
            let payload = encode(&ShardCommand::RenewLease { gateway });
            for shard in 0..self.shards {
                let (label, payload) = (format!("renew {gateway}"), payload.clone());
                let home = Some(node.index);
                self.clients.ask(now_ms, Request { label, shard, payload, home });
            }
        }
    }

    fn read_as_customers(&mut self, now_ms: Ms, observed: &Observed) {
        for (shard, story) in observed.stories.iter().enumerate() {
            for record in &story.events()[self.read[shard]..] {
                match record.event {
                    Event::Assigned { conversation, .. } if !self.patient => {
                        let (says, leaves) = (self.random.below(3), self.random.permille(400));
                        for _ in 0..says {
                            let after = self.random.between(100, 3_000);
                            self.at(now_ms + after, Act::Say(conversation));
                        }
                        if leaves {
                            let after = self.random.between(300, 4_000);
                            self.at(now_ms + after, Act::Leave(conversation));
                        }
                    }
                    Event::Ended { conversation, .. } => {
                        self.over.insert(conversation);
                    }
                    _ => {}
                }
            }
            self.read[shard] = story.events().len();
        }
    }

    /// Each agent reads what the replica of their home has applied.
    fn read_as_agents(&mut self, now_ms: Ms, observed: &Observed) {
        for agent in 0..self.agents.len() {
            let who = &mut self.agents[agent];
            let through = observed.invariants.applied_to(who.home, who.shard);
            let events = &observed.stories[who.shard as usize].events()[who.cursor..];
            let mut deeds = Vec::new();
            for record in events.iter().take_while(|record| record.index <= through) {
                who.cursor += 1;
                deeds.extend(who.reads(record, &mut self.random));
            }
            for (after, deed) in deeds {
                self.at(now_ms + after, Act::Agent(agent, deed));
            }
        }
    }
}

fn encode(command: &ShardCommand) -> Vec<u8> {
    codec::encode(command, Limit::Entry).expect("these commands fit an entry")
}

fn encode_for(envelope: Envelope) -> Vec<u8> {
    encode(&ShardCommand::Site(envelope))
}
