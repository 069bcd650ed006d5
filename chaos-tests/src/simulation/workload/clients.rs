//! Clients: they ask nodes, ask again elsewhere with the same id, and sometimes ask twice.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use rotary_proto::codec::{self, Limit};
use rotary_proto::outcome::Answer;

use crate::simulation::history::{Acknowledged, Known, Ms, Operation};
use crate::simulation::node::{Node, Replies, Reply};
use crate::simulation::random::Random;

/// Attempts after which a client gives up, not knowing.
const ATTEMPTS_MAX: u32 = 8;
/// Of a thousand commands, so many are sent to two nodes at once.
const TWICE_PERMILLE: u64 = 50;

/// A command on its way to a client's history.
pub(crate) struct Request {
    pub(crate) label: String,
    pub(crate) shard: u32,
    pub(crate) payload: Vec<u8>,
    /// The node to ask first.
    pub(crate) home: Option<usize>,
}

/// Everything that clients have asked.
pub(crate) struct Clients {
    random: Random,
    pub(crate) operations: Vec<Operation>,
    /// Attempts without a reply, by operation.
    flights: BTreeMap<usize, u32>,
    /// What is to be sent, by time and number, and to which node.
    sends: BTreeMap<(Ms, u64), (usize, Option<usize>)>,
    next: u64,
    replies: Replies,
    pub(crate) counts: Counts,
}

/// What clients experienced.
#[derive(Debug, Clone, Copy, Default, serde::Serialize, serde::Deserialize)]
pub(crate) struct Counts {
    pub(crate) attempts: u64,
    pub(crate) repeated: u64,
    pub(crate) answered: u64,
    pub(crate) refused: u64,
    pub(crate) unknown: u64,
}

/// An answer for the invariants: operation, node, when it was sent, place and answer.
pub(crate) struct Answered {
    operation: usize,
    node: usize,
    sent_ms: Ms,
    index: u64,
    answer: Answer,
}

impl Answered {
    pub(crate) fn acknowledged<'a>(&'a self, of: &'a Clients) -> Acknowledged<'a> {
        Acknowledged {
            operation: &of.operations[self.operation],
            node: self.node,
            sent_ms: self.sent_ms,
            index: self.index,
            answer: &self.answer,
        }
    }
}

/// What a step came to.
#[derive(Default)]
pub(crate) struct Stepped {
    /// Every answer that came, in order.
    pub(crate) answers: Vec<Answered>,
    /// Operations whose client knows all it will.
    pub(crate) finished: Vec<usize>,
    /// Replies that are no answers at all: an answer that cannot be read.
    pub(crate) garbled: Vec<String>,
}

impl Clients {
    pub(crate) fn new(seed: u64) -> Self {
        Self {
            random: Random::salted(seed, "clients"),
            operations: Vec::new(),
            flights: BTreeMap::new(),
            sends: BTreeMap::new(),
            next: 0,
            replies: Arc::new(Mutex::new(Vec::new())),
            counts: Counts::default(),
        }
    }

    /// A client asks; the number stands for the operation.
    pub(crate) fn ask(&mut self, now_ms: Ms, request: Request) -> usize {
        let Request { label, shard, payload, home } = request;
        let operation = self.operations.len();
        let (attempts, known) = (0, Known::Waits);
        self.operations.push(Operation { label, shard, payload, attempts, known });
        self.send(now_ms, operation, home);
        if self.random.permille(TWICE_PERMILLE) {
            self.send(now_ms + self.random.clone().below(20), operation, None);
        }
        operation
    }

    fn send(&mut self, at_ms: Ms, operation: usize, to: Option<usize>) {
        self.next += 1;
        self.sends.insert((at_ms, self.next), (operation, to));
        *self.flights.entry(operation).or_default() += 1;
    }

    /// Sends what is due and takes what has come.
    pub(crate) fn step(&mut self, now_ms: Ms, nodes: &[Node]) -> Stepped {
        let later = self.sends.split_off(&(now_ms + 1, 0));
        for (_, (operation, to)) in std::mem::replace(&mut self.sends, later) {
            self.attempt(now_ms, operation, to, nodes);
        }
        let replies = self.replies.clone();
        let came = std::mem::take(&mut *replies.lock().expect("nothing panics under it"));
        let mut stepped = Stepped::default();
        for reply in came {
            self.reply(now_ms, reply, &mut stepped);
        }
        stepped
    }

    fn attempt(&mut self, now_ms: Ms, operation: usize, to: Option<usize>, nodes: &[Node]) {
        let ready: Vec<usize> =
            nodes.iter().filter(|node| node.is_ready()).map(|node| node.index).collect();
        let to = to.filter(|to| ready.contains(to)).or_else(|| self.random.pick(&ready));
        let node = to.unwrap_or(0);
        let reply = Reply { operation, node, sent_ms: now_ms, told: None };
        let asked = &mut self.operations[operation];
        asked.attempts += 1;
        self.counts.attempts += 1;
        nodes[node].ask(asked.shard, &asked.payload, reply, &self.replies);
        if to.is_none() {
            // Nobody is there; the reply that says so is in the queue.
            asked.attempts -= 1;
        }
    }

    fn reply(&mut self, now_ms: Ms, reply: Reply, stepped: &mut Stepped) {
        let Reply { operation, node, sent_ms, told } = reply;
        let flights = self.flights.entry(operation).or_default();
        *flights = flights.saturating_sub(1);
        let others = *flights > 0;
        let Some(Ok(proposed)) = told else {
            return self.unanswered(now_ms, operation, others, stepped);
        };
        let index = proposed.index;
        let answer = match codec::decode::<Answer>(&proposed.answer, Limit::Entry) {
            Ok(answer) => answer,
            Err(error) => return stepped.garbled.push(error.to_string()),
        };
        let asked = &mut self.operations[operation];
        if asked.known == Known::Waits {
            asked.known = Known::Answered { index, answer: answer.clone() };
            stepped.finished.push(operation);
            self.counts.answered += 1;
            self.counts.repeated += u64::from(answer.repeated);
            let refused = matches!(answer.outcome, rotary_proto::Outcome::Refused(_));
            self.counts.refused += u64::from(refused);
        }
        stepped.answers.push(Answered { operation, node, sent_ms, index, answer });
    }

    fn unanswered(&mut self, now_ms: Ms, operation: usize, others: bool, out: &mut Stepped) {
        let asked = &mut self.operations[operation];
        if asked.known != Known::Waits || others {
            return;
        }
        if asked.attempts >= ATTEMPTS_MAX {
            asked.known = Known::Unknown;
            self.counts.unknown += 1;
            out.finished.push(operation);
            return;
        }
        let pause = self.random.between(50, 500);
        self.send(now_ms + pause, operation, None);
    }
}
