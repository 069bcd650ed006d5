//! Who uses the directory: it is founded, and then tenants, sites and principals come.
//!
//! A request is asked again, under its key, until it is answered or given up; some are sent to two
//! nodes at once.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use rotary_directory::{
    Announced, DirectoryAnswer, DirectoryCommand, DirectoryDone, DirectoryEntry, DirectoryOutcome,
    LogicVersions, NodeKind,
};
use rotary_proto::codec::{self, Limit};
use rotary_proto::values::Name;
use rotary_proto::{NodeId, PrincipalId, RequestId, ShardId, TenantId};

use crate::simulation::history::Ms;
use crate::simulation::node::{DAWN_MS, Node, Replies, Reply};
use crate::simulation::observer::{Observed, Observer};
use crate::simulation::random::Random;

const REGISTRAR: PrincipalId = PrincipalId(1);
/// Attempts after which a request is given up.
const ATTEMPTS_MAX: u32 = 8;
/// Of a thousand attempts, so many go to two nodes at once.
const TWICE_PERMILLE: u64 = 100;
/// Data shards that the directory is told of; it does not matter whether they are there.
const SHARDS: u32 = 4;
const PAUSE_MS_MAX: Ms = 600;

struct Asked {
    payload: Vec<u8>,
    attempts: u32,
}

/// The directory's clients.
pub(crate) struct Registrar {
    random: Random,
    /// The directory's group, if there is a directory.
    shard: Option<u32>,
    asked: BTreeMap<usize, Asked>,
    /// What is to be sent, by time and number.
    due: BTreeMap<(Ms, u64), usize>,
    next: usize,
    sends: u64,
    next_ms: Ms,
    founded: bool,
    tenants: Vec<TenantId>,
    replies: Replies,
    /// Answers got.
    pub(crate) answered: u64,
}

impl Registrar {
    pub(crate) fn new(seed: u64, shard: Option<u32>) -> Self {
        Self {
            random: Random::salted(seed, "registrar"),
            shard,
            asked: BTreeMap::new(),
            due: BTreeMap::new(),
            next: 0,
            sends: 0,
            next_ms: 0,
            founded: false,
            tenants: Vec::new(),
            replies: Arc::new(Mutex::new(Vec::new())),
            answered: 0,
        }
    }

    /// Asks what is due, and has every answer looked at.
    pub(crate) fn step(&mut self, now_ms: Ms, nodes: &[Node], observer: &Observer) {
        let Some(shard) = self.shard else { return };
        if now_ms >= self.next_ms {
            self.next_ms = now_ms + self.random.between(60, PAUSE_MS_MAX);
            self.ask(now_ms);
        }
        let later = self.due.split_off(&(now_ms + 1, 0));
        for (_, request) in std::mem::replace(&mut self.due, later) {
            self.send((shard, request), now_ms, nodes);
        }
        let replies = self.replies.clone();
        let came = std::mem::take(&mut *replies.lock().expect("nothing panics under it"));
        for reply in came {
            self.reply(now_ms, reply, &mut observer.lock());
        }
    }

    fn ask(&mut self, now_ms: Ms) {
        let time = u128::from(DAWN_MS + now_ms) << 80;
        let key = RequestId(time | 7 << 76 | self.random.wide() & ((1 << 76) - 1));
        let entry =
            DirectoryEntry { origin: Some((REGISTRAR, key)), asked: None, command: self.command() };
        let payload = codec::encode(&entry, Limit::Entry).expect("a request fits an entry");
        let request = self.next;
        self.next += 1;
        self.asked.insert(request, Asked { payload, attempts: 0 });
        self.send_at(now_ms, request);
        if self.random.permille(TWICE_PERMILLE) {
            self.send_at(now_ms + self.random.clone().below(20), request);
        }
    }

    fn command(&mut self) -> DirectoryCommand {
        if !self.founded {
            let members = (1..=3).map(NodeId).collect();
            return DirectoryCommand::Found { shards: SHARDS, members };
        }
        let name = || Name::new("acme").expect("a plain word is a name");
        let tenant = self.random.pick(&self.tenants);
        match (self.random.below(10), tenant) {
            (0..6, Some(tenant)) => {
                let named = self.random.permille(300);
                let shard =
                    named.then(|| ShardId(self.random.between(1, u64::from(SHARDS)) as u32));
                DirectoryCommand::CreateSite { tenant, name: name(), shard }
            }
            (6..8, tenant) => DirectoryCommand::CreatePrincipal { tenant },
            (8, _) => self.of_nodes(),
            _ => DirectoryCommand::CreateTenant { name: name() },
        }
    }

    /// A node says who it is, or is forgotten. The first three keep replicas.
    fn of_nodes(&mut self) -> DirectoryCommand {
        let node = NodeId(self.random.between(1, 6));
        if self.random.permille(200) {
            return DirectoryCommand::Forget { node };
        }
        let build = if self.random.permille(500) { "1" } else { "2" };
        let announced = Announced {
            kind: if node.0 <= 3 { NodeKind::Core } else { NodeKind::Gateway },
            peer: ([192, 0, 2, 1], 7_082).into(),
            public: "https://acd.example".to_owned(),
            build: Name::new(build).expect("a digit is a name"),
            logic: LogicVersions { oldest: 1, newest: 1 },
            zone: None,
        };
        DirectoryCommand::Announce { node, announced }
    }

    fn send_at(&mut self, at_ms: Ms, request: usize) {
        self.sends += 1;
        self.due.insert((at_ms, self.sends), request);
    }

    fn send(&mut self, (shard, request): (u32, usize), now_ms: Ms, nodes: &[Node]) {
        let Some(asked) = self.asked.get_mut(&request) else { return };
        asked.attempts += 1;
        let ready = nodes.iter().filter(|node| node.is_ready()).map(|node| node.index);
        let node = self.random.pick(&ready.collect::<Vec<_>>()).unwrap_or(0);
        let reply = Reply { operation: request, node, sent_ms: now_ms, told: None };
        nodes[node].ask(shard, &asked.payload, reply, &self.replies);
    }

    fn reply(&mut self, now_ms: Ms, reply: Reply, observed: &mut Observed) {
        let request = reply.operation;
        let Some(asked) = self.asked.get(&request) else { return };
        let Some(Ok(proposed)) = reply.told else {
            if asked.attempts >= ATTEMPTS_MAX {
                self.asked.remove(&request);
                return;
            }
            let pause = self.random.between(50, 500);
            return self.send_at(now_ms + pause, request);
        };
        let found = &mut observed.findings;
        let answer = match codec::decode::<DirectoryAnswer>(&proposed.answer, Limit::Entry) {
            Ok(answer) => answer,
            Err(error) => return found.breach("P7", format!("directory: {error}")),
        };
        let told = (proposed.index, asked.payload.as_slice());
        let story = &observed.directory;
        observed.invariants.directory_once.acknowledged(told, &answer, story, found);
        self.answered += 1;
        match answer.outcome {
            DirectoryOutcome::Done(DirectoryDone::Ok) => self.founded = true,
            DirectoryOutcome::Done(DirectoryDone::Tenant(tenant)) => self.tenants.push(tenant),
            _ => {}
        }
    }
}
