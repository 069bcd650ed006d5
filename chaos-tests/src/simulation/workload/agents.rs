//! Agents: they sign in, answer, decline, look away, serve and wrap up; each has habits.

use std::collections::{BTreeMap, BTreeSet};

use rotary_proto::command::Subject;
use rotary_proto::plan::Declared;
use rotary_proto::{Actor, AgentId, Command, ConversationId, Event, GatewayId, OfferId, Origin};
use rotary_proto::{DispositionId, EventRecord, SessionId, SiteId};

use crate::simulation::history::Ms;
use crate::simulation::node::id_of;
use crate::simulation::random::Random;

/// How often an agent sees to it that they are signed in.
pub(crate) const TEND_EVERY_MS: Ms = 700;
/// Commands of a session without an outcome, after which the agent begins another session.
const OUTSTANDING_MAX: usize = 40;

/// What an agent is about to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Deed {
    Tend,
    Accept(ConversationId, OfferId),
    Decline(ConversationId, OfferId),
    Close(ConversationId),
    WrapUp(ConversationId),
}

/// Of a thousand offers, how many an agent accepts, and how many of the others they decline.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Habits {
    pub(crate) accept_permille: u64,
    pub(crate) decline_permille: u64,
    /// Of a thousand accepts, how many are sent a second time as a command of its own.
    pub(crate) contest_permille: u64,
    pub(crate) talk_ms: Ms,
}

/// Where everybody does what they should.
pub(crate) const DILIGENT: Habits =
    Habits { accept_permille: 1_000, decline_permille: 0, contest_permille: 0, talk_ms: 1_500 };

/// One agent, as their own screen knows them.
pub(crate) struct Agent {
    pub(crate) site: SiteId,
    pub(crate) shard: u32,
    pub(crate) id: AgentId,
    pub(crate) habits: Habits,
    /// The node of their session.
    pub(crate) home: usize,
    run: u64,
    session: SessionId,
    sequence: u64,
    outstanding: BTreeSet<u64>,
    /// Sequences by operation.
    asked: BTreeMap<usize, u64>,
    attached: bool,
    declared: Declared,
    /// Events read.
    pub(crate) cursor: usize,
}

/// A command that an agent gives, and what makes it recognisable.
pub(crate) struct Order {
    pub(crate) label: String,
    pub(crate) command: Command,
    pub(crate) origin: Option<Origin>,
}

impl Agent {
    pub(crate) fn new(site: SiteId, shard: u32, id: AgentId, random: &mut Random) -> Self {
        let habits = Habits {
            accept_permille: random.between(550, 950),
            decline_permille: random.between(200, 800),
            contest_permille: random.between(0, 250),
            talk_ms: random.between(1_000, 5_000),
        };
        Self {
            site,
            shard,
            id,
            habits,
            home: 0,
            run: 0,
            session: SessionId(random.wide()),
            sequence: 0,
            outstanding: BTreeSet::new(),
            asked: BTreeMap::new(),
            attached: false,
            declared: Declared::SignedOut,
            cursor: 0,
        }
    }

    pub(crate) fn actor(&self) -> Actor {
        Actor::Agent(self.id)
    }

    /// What there is to do to be signed in and ready, given the runs of all ready nodes.
    pub(crate) fn tend(&mut self, ready: &[(usize, u64)], random: &mut Random) -> Option<Order> {
        let home_lives = ready.contains(&(self.home, self.run));
        if self.outstanding.len() > OUTSTANDING_MAX {
            self.begin_anew(random);
        }
        if !home_lives || !self.attached {
            if !home_lives {
                (self.home, self.run) = random.pick(ready)?;
            }
            return Some(self.attach());
        }
        if self.declared == Declared::Ready {
            return None;
        }
        let command = Command::Declare { agent: self.id, declared: Declared::Ready };
        Some(Order { label: format!("{} ready", self.id), command, origin: None })
    }

    fn begin_anew(&mut self, random: &mut Random) {
        self.session = SessionId(random.wide());
        (self.sequence, self.attached) = (0, false);
        self.outstanding.clear();
        self.asked.clear();
    }

    fn attach(&self) -> Order {
        let gateway = GatewayId { node: id_of(self.home), run: self.run };
        let subject = Subject::Agent(self.id);
        let command = Command::Attach { session: self.session, subject, gateway };
        Order { label: format!("{} attach", self.id), command, origin: None }
    }

    /// The command of a deed, numbered within the session.
    pub(crate) fn order(&mut self, deed: Deed) -> Option<Order> {
        let (word, command) = match deed {
            Deed::Tend => return None,
            Deed::Accept(conversation, offer) => {
                ("accept", Command::Accept { conversation, offer })
            }
            Deed::Decline(conversation, offer) => {
                ("decline", Command::Decline { conversation, offer, reason: None })
            }
            Deed::Close(conversation) => ("close", Command::Close { conversation }),
            Deed::WrapUp(conversation) => {
                let disposition = Some(DispositionId(1));
                ("wrap-up", Command::WrapUp { conversation, disposition, note: None })
            }
        };
        self.sequence += 1;
        let floor = self.outstanding.first().map_or(self.sequence, |first| *first);
        self.outstanding.insert(self.sequence);
        let (session, sequence, acknowledged) = (self.session, self.sequence, floor - 1);
        let origin = Some(Origin::Session { session, sequence, acknowledged });
        Some(Order { label: format!("{} {word}", self.id), command, origin })
    }

    /// An operation of that order is on its way.
    pub(crate) fn asked(&mut self, operation: usize, order_origin: Option<Origin>) {
        if let Some(Origin::Session { sequence, .. }) = order_origin {
            self.asked.insert(operation, sequence);
        }
    }

    /// An operation has an outcome. One that is unknown stays outstanding: it may come yet.
    pub(crate) fn finished(&mut self, operation: usize, known: bool) {
        if let Some(sequence) = self.asked.remove(&operation)
            && known
        {
            self.outstanding.remove(&sequence);
        }
    }

    /// Reads an event of the site: what to do, and after how long.
    pub(crate) fn reads(&mut self, record: &EventRecord, random: &mut Random) -> Vec<(Ms, Deed)> {
        match &record.event {
            Event::SessionAttached { session, gateway, .. } if *session == self.session => {
                let here = GatewayId { node: id_of(self.home), run: self.run };
                self.attached = *gateway == here;
                Vec::new()
            }
            Event::SessionLost { session, .. } if *session == self.session => {
                self.attached = false;
                Vec::new()
            }
            Event::SessionEnded { session, .. } if *session == self.session => {
                self.begin_anew(random);
                Vec::new()
            }
            Event::AgentDeclared { agent, declared, .. } if *agent == self.id => {
                self.declared = *declared;
                Vec::new()
            }
            Event::Offered { conversation, offer, agent, .. } if *agent == self.id => {
                self.offered(*conversation, *offer, random)
            }
            Event::Assigned { conversation, agent, .. } if *agent == self.id => {
                vec![(random.between(500, self.habits.talk_ms), Deed::Close(*conversation))]
            }
            Event::WrapUpStarted { conversation, agent, .. } if *agent == self.id => {
                let forgets = random.permille(150);
                let deed = (random.between(200, 1_500), Deed::WrapUp(*conversation));
                if forgets { Vec::new() } else { vec![deed] }
            }
            _ => Vec::new(),
        }
    }

    fn offered(
        &self,
        conversation: ConversationId,
        offer: OfferId,
        random: &mut Random,
    ) -> Vec<(Ms, Deed)> {
        let after = random.between(100, 1_500);
        let accepts = random.permille(self.habits.accept_permille);
        let declines = random.permille(self.habits.decline_permille);
        let again = random.permille(self.habits.contest_permille);
        match (accepts, declines) {
            (true, _) if again => {
                let accept = Deed::Accept(conversation, offer);
                // The second may come when the offer is long gone.
                vec![(after, accept), (random.between(after, 8_000), accept)]
            }
            (true, _) => vec![(after, Deed::Accept(conversation, offer))],
            (false, true) => vec![(after, Deed::Decline(conversation, offer))],
            (false, false) => vec![(9_000, Deed::Accept(conversation, offer))],
        }
    }
}
