//! A shift at a site, decided by the production distributor and written down as a client would.

use std::collections::BTreeMap;

use rotary_distributor::Shard;
use rotary_proto::command::Subject;
use rotary_proto::effect::{EffectOutcome, EffectTarget};
use rotary_proto::event::{Author, Event as ProtoEvent, EventRecord, Topic, Viewer};
use rotary_proto::frame::Mode;
use rotary_proto::ids::{
    AgentId, CustomerId, GatewayId, ItemId, NodeId, OfferId, PrincipalId, QueueId, RequestId,
    SessionId, ShardId, SkillId, WebhookId,
};
use rotary_proto::outcome::{Answer, Outcome};
use rotary_proto::plan::{QueuePlan, RequiredSkill, WebhookPlan};
use rotary_proto::values::Item;
use rotary_proto::web::{Secret, WebUrl};
use rotary_proto::{
    Actor, AgentProfile, Attributes, Body, Capacity, Channel, Command, ConversationId, Declared,
    Envelope, Name, Origin, Position, Priority, Sealed, ShardCommand, SiteId, SiteSettings, Stamp,
    Wall,
};

use crate::history::{End, Event, FORMAT, Head, History, Operation, Record, Reply};

pub(super) const SITE: SiteId = SiteId::new(1, 1);
pub(super) const SHARD: ShardId = ShardId(1);
const AGENTS: u32 = 6;
const QUEUES: u32 = 3;
const SKILLS: u32 = 3;
const GATEWAY: GatewayId = GatewayId { node: NodeId(1), run: 1 };

/// A conversation as the people of the shift know it.
#[derive(Clone, Copy)]
enum Phase {
    Waiting,
    Offered(OfferId, AgentId),
    Assigned(AgentId),
    WrapUp(AgentId),
    Over,
}

/// An agent's session, as its client knows it.
struct Line {
    session: SessionId,
    seq: u64,
    up: bool,
    /// What came while it was not up.
    missed: Vec<Event>,
}

pub(super) struct Shift {
    shard: Shard,
    index: u64,
    now: Stamp,
    seed: u64,
    random: u64,
    unique: u128,
    phases: BTreeMap<ConversationId, (Phase, CustomerId)>,
    declared: BTreeMap<AgentId, Declared>,
    sessions: BTreeMap<AgentId, Line>,
    transcripts: BTreeMap<ConversationId, Vec<(u32, ItemId, Author)>>,
    sent: Vec<(Actor, Command, RequestId)>,
    /// What webhooks are told of, by sequence.
    told: BTreeMap<u64, Event>,
    records: Vec<Record>,
}

impl Shift {
    pub(super) fn begin(seed: u64) -> Self {
        let mut shift = Self {
            shard: Shard::new(SHARD),
            index: 0,
            now: Stamp(1_000),
            seed,
            random: seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1,
            unique: 1,
            phases: BTreeMap::new(),
            declared: BTreeMap::new(),
            sessions: BTreeMap::new(),
            transcripts: BTreeMap::new(),
            sent: Vec::new(),
            told: BTreeMap::new(),
            records: vec![Record::Site { site: SITE, shard: SHARD }],
        };
        let settings = SiteSettings::named(Name::new("shift").expect("valid"));
        shift.apply(ShardCommand::CreateSite { site: SITE, settings });
        shift.apply(ShardCommand::RenewLease { gateway: GATEWAY });
        shift.set_up();
        shift.mark("calm");
        shift
    }

    fn set_up(&mut self) {
        let admin = Actor::Administrator(PrincipalId(1));
        for number in 1..=SKILLS {
            let (skill, name) = (SkillId(number), Name::new(format!("s{number}")).expect("valid"));
            self.ask(admin, Command::PutSkill { skill, name });
        }
        for number in 1..=QUEUES {
            let mut plan = QueuePlan::named(Name::new(format!("q{number}")).expect("valid"));
            plan.skills = vec![RequiredSkill { skill: SkillId(number), level: 3 }];
            (plan.offer_ms, plan.decline_delay_ms) = (3_000, 4_000);
            (plan.wait_max_ms, plan.wrap_up_ms) = (60_000, u64::from(number - 1) * 2_000);
            self.ask(admin, Command::PutQueue { queue: QueueId(number), plan });
        }
        for number in 1..=2 {
            let topics = [Topic::Opened, Topic::Posted, Topic::Closed].into_iter().collect();
            let (webhook, name) = (WebhookId(number), Name::new("hook").expect("valid"));
            let url = WebUrl::new("https://example.com/hook").expect("an address");
            let plan = WebhookPlan { name, url, topics, give_up_ms: 3_600_000, enabled: true };
            let secret = Some(Secret::new(vec![7; 32]).expect("32 bytes"));
            self.ask(admin, Command::PutWebhook { webhook, plan, secret });
        }
        for number in 1..=AGENTS {
            let agent = AgentId(number);
            self.put_agent(agent);
            let (session, subject) = (SessionId(u128::from(number)), Subject::Agent(agent));
            self.welcome(agent, session, Mode::New, 0);
            let gateway = GATEWAY;
            self.internal(Actor::Agent(agent), Command::Attach { session, subject, gateway });
            self.declare(agent, Declared::Ready);
        }
    }

    fn put_agent(&mut self, agent: AgentId) {
        let skills = (1..=SKILLS)
            .filter(|skill| !(agent.0 + skill).is_multiple_of(3))
            .map(|skill| (SkillId(skill), (3 + (agent.0 + skill) % 4) as u8))
            .collect();
        let total = 1 + self.below(3) as u8;
        let capacity = Capacity { total, chat: 2, ..Capacity::default() };
        let name = Sealed::plain("somebody").expect("short");
        let profile = AgentProfile { name, skills, capacity };
        self.ask(Actor::Administrator(PrincipalId(1)), Command::PutAgent { agent, profile });
    }

    fn declare(&mut self, agent: AgentId, declared: Declared) {
        self.ask(Actor::Agent(agent), Command::Declare { agent, declared });
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.random % bound
    }

    fn unique(&mut self) -> u128 {
        self.unique += 1;
        self.unique << 4
    }

    fn now_ms(&self) -> u64 {
        self.now.0 / 1_000
    }

    pub(super) fn mark(&mut self, name: &str) {
        let at_ms = self.now_ms();
        self.records.push(Record::Mark { at_ms, name: name.to_owned() });
    }

    /// Lets time pass, with a tick at every deadline and the lease renewed.
    fn pass(&mut self, ms: u64) {
        let until = self.now.plus_ms(ms);
        while let Some(due) = self.shard.next_deadline().filter(|due| *due <= until) {
            self.now = due.max(Stamp(self.now.0 + 1));
            self.apply(ShardCommand::Tick);
        }
        self.now = until.max(self.now);
        self.apply(ShardCommand::RenewLease { gateway: GATEWAY });
        self.tell_webhooks();
    }

    /// Webhooks are told what waits; some take a message at the second attempt only, and some get
    /// it once more after they took it.
    fn tell_webhooks(&mut self) {
        for effect in self.shard.effects(SITE, None, 1_000).unwrap_or_default() {
            let EffectTarget::Webhook(webhook) = effect.target else { continue };
            let answers: &[u16] = match effect.id.index % 4 {
                0 => &[500, 200],
                1 => &[200, 200],
                _ => &[200],
            };
            for answer in answers {
                self.records.push(Record::Delivered {
                    at_ms: self.now_ms(),
                    site: SITE,
                    webhook,
                    effect: Some(effect.id),
                    event: self.told.get(&effect.sequence).cloned(),
                    signed: true,
                    answer: Some(*answer),
                });
            }
            let (attempts, status, start) = (answers.len() as u32, Some(200), None);
            let (effect, outcome) = (effect.id, EffectOutcome::Sent);
            let end = Command::EndEffect { effect, outcome, attempts, status, start };
            self.internal(Actor::System, end);
        }
    }

    /// Somebody does something.
    pub(super) fn step(&mut self) {
        let (ms, luck) = (10 + self.below(300), self.below(100));
        self.pass(ms);
        match luck {
            0..25 => self.open(),
            25..29 => self.toggle(),
            29..32 => {
                let agent = AgentId(1 + self.below(AGENTS.into()) as u32);
                self.unplug(agent);
            }
            42..54 => self.return_to_work(),
            32..34 => {
                let agent = AgentId(1 + self.below(AGENTS.into()) as u32);
                self.put_agent(agent);
            }
            34..39 => self.repeat(),
            39..42 => self.pass(1_500),
            _ => self.serve(),
        }
    }

    fn open(&mut self) {
        let conversation = ConversationId::new(SITE, self.unique());
        let customer = CustomerId(self.unique());
        let priority = Some(self.below(3))
            .filter(|level| *level > 0)
            .map(|level| Priority::new(4 + level as u8).expect("within bounds"));
        let skill = SkillId(1 + self.below(SKILLS.into()) as u32);
        let skills =
            if self.below(4) == 0 { vec![RequiredSkill { skill, level: 4 }] } else { Vec::new() };
        let channel = if self.below(5) == 0 { Channel::Voice } else { Channel::Chat };
        self.phases.insert(conversation, (Phase::Waiting, customer));
        let item = (self.below(2) == 0).then(|| self.item());
        let queue = QueueId(1 + self.below(QUEUES.into()) as u32);
        let (attributes, mail) = (Attributes::default(), None);
        self.ask(
            Actor::Customer(customer),
            Command::Open {
                conversation,
                queue,
                channel,
                priority,
                skills,
                customer: Some(customer),
                attributes,
                item,
                mail,
            },
        );
    }

    fn item(&mut self) -> Item {
        Item { id: ItemId(self.unique()), body: Body::plain("hello").expect("short") }
    }

    /// Somebody takes a break, or comes back.
    fn toggle(&mut self) {
        let agent = AgentId(1 + self.below(AGENTS.into()) as u32);
        let ready = self.declared.get(&agent) == Some(&Declared::Ready);
        let away = if self.below(4) == 0 {
            Declared::SignedOut
        } else {
            Declared::NotReady { reason: rotary_proto::plan::NOT_RESPONDING }
        };
        self.declare(agent, if ready { away } else { Declared::Ready });
    }

    /// Somebody who is away comes back.
    fn return_to_work(&mut self) {
        let away = (1..=AGENTS)
            .map(AgentId)
            .find(|agent| self.declared.get(agent) != Some(&Declared::Ready));
        let Some(agent) = away else { return };
        if self.sessions.get(&agent).is_some_and(|line| !line.up) {
            self.unplug(agent);
        }
        self.declare(agent, Declared::Ready);
    }

    /// Somebody's network is lost, or back.
    fn unplug(&mut self, agent: AgentId) {
        let Some(line) = self.sessions.get_mut(&agent) else { return };
        let (session, seq, up) = (line.session, line.seq, line.up);
        let (subject, gateway, ended) = (Subject::Agent(agent), GATEWAY, false);
        if up {
            line.up = false;
            self.internal(Actor::Agent(agent), Command::Detach { session, gateway, ended });
            return;
        }
        let attach = Command::Attach { session, subject, gateway };
        let answer = self.internal(Actor::Agent(agent), attach);
        if let Outcome::Refused(_) = answer.outcome {
            let session = SessionId(self.unique());
            self.welcome(agent, session, Mode::New, 0);
            self.internal(Actor::Agent(agent), Command::Attach { session, subject, gateway });
            return;
        }
        self.welcome(agent, session, Mode::Replayed, seq);
    }

    /// A session is on, and gets what came meanwhile.
    fn welcome(&mut self, agent: AgentId, session: SessionId, mode: Mode, seq: u64) {
        let (viewer, at_ms, gateway) = (Viewer::Agent(agent), self.now_ms(), "g".to_owned());
        let outage_ms = u64::from(mode == Mode::Replayed) * 40;
        let site = SITE;
        self.records.push(Record::Welcome {
            at_ms,
            session,
            viewer,
            site,
            mode,
            seq,
            gateway,
            outage_ms,
        });
        let fresh = Line { session, seq, up: true, missed: Vec::new() };
        let missed = self.sessions.insert(agent, fresh).map_or(Vec::new(), |line| line.missed);
        for event in missed.into_iter().filter(|_| mode == Mode::Replayed) {
            self.receive(agent, event);
        }
    }

    fn receive(&mut self, agent: AgentId, event: Event) {
        let at_ms = self.now_ms();
        let Some(line) = self.sessions.get_mut(&agent) else { return };
        if !line.up {
            return line.missed.push(event);
        }
        line.seq += 1;
        let (session, seq) = (line.session, line.seq);
        self.records.push(Record::Received { at_ms, session, seq, event });
    }

    /// Somebody sends again what was sent before.
    fn repeat(&mut self) {
        let Some(last) = self.sent.len().checked_sub(1) else { return };
        let at = last - self.below(last.min(20) as u64 + 1) as usize;
        let (actor, command, key) = self.sent[at].clone();
        self.send(actor, command, key);
    }

    /// Something is done about a conversation.
    fn serve(&mut self) {
        let live: Vec<ConversationId> = self
            .phases
            .iter()
            .filter(|(_, (phase, _))| !matches!(phase, Phase::Over))
            .map(|(id, _)| *id)
            .collect();
        if live.is_empty() {
            return;
        }
        let conversation = live[self.below(live.len() as u64) as usize];
        let (phase, customer) = self.phases[&conversation];
        let luck = self.below(20);
        let (actor, command) = match phase {
            Phase::Waiting if luck < 2 => {
                (Actor::Customer(customer), Command::Abandon { conversation })
            }
            Phase::Waiting if luck < 4 => {
                let queue = Some(QueueId(1 + self.below(QUEUES.into()) as u32));
                let command = Command::Requeue { conversation, queue, priority: None };
                (Actor::Supervisor(PrincipalId(2)), command)
            }
            Phase::Offered(offer, agent) if luck < 3 => {
                (Actor::Agent(agent), Command::Decline { conversation, offer, reason: None })
            }
            Phase::Offered(offer, agent) if luck < 17 => {
                (Actor::Agent(agent), Command::Accept { conversation, offer })
            }
            Phase::Assigned(agent) if luck < 8 => {
                let (item, note, seen_to) = (self.item(), luck < 1, None);
                (Actor::Agent(agent), Command::Post { conversation, item, note, seen_to })
            }
            Phase::Assigned(agent) if luck < 10 => (
                Actor::Agent(agent),
                Command::Requeue { conversation, queue: None, priority: None },
            ),
            Phase::Assigned(agent) => (Actor::Agent(agent), Command::Close { conversation }),
            Phase::WrapUp(agent) if luck < 14 => {
                let (disposition, note) = (None, None);
                (Actor::Agent(agent), Command::WrapUp { conversation, disposition, note })
            }
            _ => {
                let (item, note, seen_to) = (self.item(), false, None);
                (Actor::Customer(customer), Command::Post { conversation, item, note, seen_to })
            }
        };
        self.ask(actor, command);
    }

    fn internal(&mut self, actor: Actor, command: Command) -> Answer {
        let (site, origin) = (SITE, Origin::Internal);
        self.apply(ShardCommand::Site(Envelope { site, origin, actor, command }))
    }

    /// Asks under a new key.
    fn ask(&mut self, actor: Actor, command: Command) {
        let counter = self.unique();
        let time = u128::from(self.now_ms() + 1) << 80;
        let key = RequestId(time | 7 << 76 | 2 << 62 | counter & 0xffff_ffff);
        self.sent.push((actor, command.clone(), key));
        self.send(actor, command, key);
    }

    fn send(&mut self, actor: Actor, command: Command, key: RequestId) {
        let invoked_ms = self.now_ms();
        self.now = self.now.plus_ms(2);
        let origin = Origin::Request { principal: PrincipalId(1), request: key };
        let envelope = Envelope { site: SITE, origin, actor, command: command.clone() };
        let answer = self.apply(ShardCommand::Site(envelope));
        self.now = self.now.plus_ms(2);
        let position = Some(Position { shard: SHARD, index: answer.index });
        let end = match answer.outcome {
            Outcome::Done(done) => {
                End::Ok { position, repeated: answer.repeated, reply: Reply::from(done) }
            }
            Outcome::Refused(refusal) => End::Fail { code: refusal.word().to_owned(), position },
        };
        self.records.push(Record::Operation(Operation {
            process: 1,
            site: SITE,
            actor,
            origin: crate::history::Origin::Key(key.to_string()),
            command: Box::new(command),
            invoked_ms,
            returned_ms: self.now_ms(),
            end,
        }));
    }

    fn apply(&mut self, command: ShardCommand) -> Answer {
        self.index += 1;
        self.now = Stamp(self.now.0 + 1);
        let applied = self.shard.apply(self.index, self.now, Wall(self.now_ms()), command);
        self.now = self.shard.last_stamp();
        for record in &applied.events {
            self.see(record);
        }
        applied.answer
    }

    /// What readers of the feed, and the sessions that may see it, write down.
    fn see(&mut self, record: &EventRecord) {
        let (at_ms, event) = (self.now_ms(), Event::from(record));
        let gateway = "g".to_owned();
        self.records.push(Record::Fed { at_ms, reader: 1, gateway, event: event.clone() });
        if event.fact.topic().is_some() {
            self.told.insert(event.sequence, event.clone());
        }
        for agent in (1..=AGENTS).map(AgentId) {
            if record.audience.admits(Viewer::Agent(agent)) {
                self.receive(agent, event.clone());
            }
        }
        match record.event {
            ProtoEvent::AgentDeclared { agent, declared, .. } => {
                self.declared.insert(agent, declared);
            }
            ProtoEvent::Posted { conversation, ordinal, item, author, .. } => {
                self.transcripts.entry(conversation).or_default().push((ordinal, item, author));
            }
            _ => {}
        }
        let phase = match record.event {
            ProtoEvent::Queued { .. } | ProtoEvent::OfferEnded { .. } => Phase::Waiting,
            ProtoEvent::Offered { offer, agent, .. } => Phase::Offered(offer, agent),
            ProtoEvent::Assigned { agent, .. } => Phase::Assigned(agent),
            ProtoEvent::WrapUpStarted { agent, .. } => Phase::WrapUp(agent),
            ProtoEvent::Closed { .. } => Phase::Over,
            _ => return,
        };
        let known = record.event.conversation().and_then(|id| self.phases.get_mut(&id));
        known.expect("the shift opened it").0 = phase;
    }

    /// Everything is brought to its end and read back.
    pub(super) fn end(mut self) -> History {
        self.mark("drain");
        self.pass(120_000);
        for id in self.phases.keys().copied().collect::<Vec<_>>() {
            if !matches!(self.phases[&id].0, Phase::Over) {
                let supervisor = Actor::Supervisor(PrincipalId(2));
                self.ask(supervisor, Command::Close { conversation: id });
            }
        }
        self.pass(120_000);
        self.tell_webhooks();
        self.mark("read-back");
        let at_ms = self.now_ms();
        for (conversation, _) in std::mem::take(&mut self.phases) {
            let items = self.transcripts.remove(&conversation).unwrap_or_default();
            let (gateway, closed) = ("g".to_owned(), Some(true));
            self.records.push(Record::Transcript { at_ms, gateway, conversation, closed, items });
        }
        let fed = |record: &Record| matches!(record, Record::Fed { .. });
        let sequence = self.records.iter().filter(|record| fed(record)).count() as u64;
        let (reader, gateway, site) = (1, "g".to_owned(), SITE);
        self.records.push(Record::FedThrough { at_ms, reader, gateway, site, sequence });
        let (lines, lost) = (self.records.len() as u64 + 1, 0);
        self.records.push(Record::End { lines, lost });
        let (name, replay) = ("shift".to_owned(), String::new());
        let head = Head { format: FORMAT, seed: self.seed, name, replay, nemeses: Vec::new() };
        History::of(head, self.records)
    }
}
