//! The floor that the benches measure: 10 000 agents with mostly distinct skill sets and 1 000
//! requirement classes. An agent serves C classes: median 12, 99th percentile 100, one in a
//! thousand all 1 000.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use rotary_distributor::Shard;
use rotary_proto::codec::{self, Limit};
use rotary_proto::command::Subject;
use rotary_proto::event::Event;
use rotary_proto::ids::SkillId;
use rotary_proto::ids::{
    CustomerId, GatewayId, ItemId, NodeId, OfferId, PrincipalId, SessionId, ShardId,
};
use rotary_proto::plan::RequiredSkill;
use rotary_proto::values::{Attributes, Item};
use rotary_proto::{
    Actor, AgentId, AgentProfile, Body, Capacity, Channel, Command, ConversationId, Declared,
    Envelope, Name, Origin, Outcome, QueueId, QueuePlan, Sealed, ShardCommand, SiteId,
    SiteSettings, Stamp, Wall,
};

pub(crate) const SITE: SiteId = SiteId::new(1, 1);
pub(crate) const AGENTS: u32 = 10_000;
const SKILLS: u32 = 100;
const LEVELS: u8 = 10;
const QUEUES: u32 = 20;

/// SplitMix64 (Steele, Lea and Flood 2014): repeatable, and nothing depends on its quality.
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }
}

/// How many classes an agent serves: median 12, 99th percentile 100, one in a thousand all.
fn classes_served(random: &mut Random) -> u64 {
    match random.below(1_000) {
        0 => u64::from(SKILLS) * u64::from(LEVELS),
        1..=9 => 100 + random.below(40),
        10..=99 => 40 + random.below(60),
        100..=499 => 12 + random.below(28),
        _ => 2 + random.below(10),
    }
}

/// Skills whose levels add up to the classes served: level 7 of a skill serves 7 of its classes.
fn skills(random: &mut Random, mut classes: u64) -> BTreeMap<SkillId, u8> {
    let mut skills = BTreeMap::new();
    while classes > 0 && skills.len() < SKILLS as usize {
        let skill = SkillId(random.below(u64::from(SKILLS)) as u32);
        let level = classes.min(u64::from(LEVELS)) as u8;
        if let std::collections::btree_map::Entry::Vacant(vacant) = skills.entry(skill) {
            vacant.insert(level);
            classes -= u64::from(level);
        }
    }
    skills
}

/// Times of one kind of command.
#[derive(Default)]
pub(crate) struct Times(pub(crate) Vec<u32>);

impl Times {
    pub(crate) fn add(&mut self, taken: Duration) {
        self.0.push(taken.as_nanos().min(u128::from(u32::MAX)) as u32);
    }

    pub(crate) fn row(&mut self) -> String {
        self.0.sort_unstable();
        let at = |q: f64| self.0[((self.0.len() - 1) as f64 * q) as usize];
        let sum: u64 = self.0.iter().map(|nanos| u64::from(*nanos)).sum();
        let mean = sum as f64 / self.0.len() as f64 / 1_000.0;
        let micros = |nanos: u32| f64::from(nanos) / 1_000.0;
        format!(
            "{:>9} {mean:>8.2} {:>8.2} {:>8.2} {:>8.2} {:>9.2}",
            self.0.len(),
            micros(at(0.5)),
            micros(at(0.99)),
            micros(at(0.999)),
            micros(at(1.0)),
        )
    }
}

pub(crate) struct World {
    pub(crate) shard: Shard,
    pub(crate) random: Random,
    pub(crate) index: u64,
    pub(crate) conversations: u128,
    pub(crate) served: Vec<u64>,
    pub(crate) offers: VecDeque<(ConversationId, OfferId, AgentId)>,
    pub(crate) assigned: Vec<(ConversationId, AgentId)>,
    pub(crate) journal: Vec<u8>,
    pub(crate) all: Times,
    pub(crate) by_classes: [Times; 4],
    pub(crate) by_command: [Times; 3],
}

impl World {
    pub(crate) fn new() -> Self {
        let mut world = Self {
            shard: Shard::new(ShardId(1)),
            random: Random(7),
            index: 0,
            conversations: 0,
            served: Vec::new(),
            offers: VecDeque::new(),
            assigned: Vec::new(),
            journal: Vec::new(),
            all: Times::default(),
            by_classes: Default::default(),
            by_command: Default::default(),
        };
        let settings = SiteSettings::named(Name::new("bench").expect("valid"));
        world.apply(ShardCommand::CreateSite { site: SITE, settings });
        for skill in 0..SKILLS {
            let name = Name::new(format!("skill {skill}")).expect("valid");
            world.ask(Actor::System, Command::PutSkill { skill: SkillId(skill), name });
        }
        for queue in 0..QUEUES {
            let name = Name::new(format!("queue {queue}")).expect("valid");
            let mut plan = QueuePlan { wrap_up_ms: 0, ..QueuePlan::named(name) };
            plan.offer_ms = 3_600_000;
            plan.wait_max_ms = 24 * 3_600_000;
            world.ask(Actor::System, Command::PutQueue { queue: QueueId(queue), plan });
        }
        world
    }

    /// Opens one conversation of every class, so that classes exist before agents sign in.
    pub(crate) fn warm_classes(&mut self) {
        for skill in 0..SKILLS {
            for level in 1..=LEVELS {
                self.open(skill, level);
            }
        }
    }

    pub(crate) fn staff(&mut self) {
        for number in 0..AGENTS {
            let classes = classes_served(&mut self.random);
            self.served.push(classes);
            let agent = AgentId(number);
            let profile = AgentProfile {
                name: Sealed::plain("Agent").expect("short"),
                skills: skills(&mut self.random, classes),
                capacity: Capacity::default(),
            };
            self.ask(Actor::System, Command::PutAgent { agent, profile });
            let (session, subject) = (SessionId(u128::from(number) + 1), Subject::Agent(agent));
            let gateway = GatewayId { node: NodeId(1), run: 1 };
            self.ask(Actor::System, Command::Attach { session, subject, gateway });
            self.ask(Actor::Agent(agent), Command::Declare { agent, declared: Declared::Ready });
        }
    }

    pub(crate) fn ask(&mut self, actor: Actor, command: Command) -> Duration {
        let origin = match &command {
            Command::Accept { .. } | Command::Close { .. } | Command::Open { .. } => {
                let request = u128::from(self.index) << 80 | 7 << 76 | 1 << 63;
                let request = rotary_proto::ids::RequestId(request);
                Origin::Request { principal: PrincipalId(1), request }
            }
            _ => Origin::Internal,
        };
        self.apply(ShardCommand::Site(Envelope { site: SITE, origin, actor, command }))
    }

    pub(crate) fn apply(&mut self, command: ShardCommand) -> Duration {
        self.index += 1;
        if self.index.is_multiple_of(20_000) {
            let gateway = GatewayId { node: NodeId(1), run: 1 };
            let (index, stamp) = (self.index, Stamp(self.index * 20));
            self.shard.apply(index, stamp, Wall(0), ShardCommand::RenewLease { gateway });
            self.index += 1;
        }
        let (index, stamp) = (self.index, Stamp(self.index * 20));
        let began = Instant::now();
        let applied = self.shard.apply(index, stamp, Wall(0), command);
        self.journal.clear();
        for event in &applied.events {
            codec::encode_into(event, Limit::Entry, &mut self.journal).expect("events fit");
        }
        let taken = began.elapsed();
        assert!(matches!(applied.answer.outcome, Outcome::Done(_)), "{:?}", applied.answer);
        for record in applied.events {
            match record.event {
                Event::Offered { conversation, offer, agent, .. } => {
                    self.offers.push_back((conversation, offer, agent));
                }
                Event::Assigned { conversation, agent, .. } => {
                    self.assigned.push((conversation, agent));
                }
                _ => {}
            }
        }
        taken
    }

    /// A customer attaches, opens a chat with a first message and posts another.
    pub(crate) fn chat(&mut self, number: u64) {
        let customer = CustomerId(u128::from(number) << 32 | 0xabc);
        let (subject, session) =
            (Subject::Customer(customer), SessionId(u128::from(number) + (1 << 64)));
        let gateway = GatewayId { node: NodeId(1), run: 1 };
        self.ask(Actor::Customer(customer), Command::Attach { session, subject, gateway });
        self.conversations += 1;
        let conversation = ConversationId::new(SITE, self.conversations);
        let item = |at: u128| {
            let body = Body::plain("Good morning, I have a question.").expect("short");
            Item { id: ItemId(u128::from(number) * 2 + at), body }
        };
        let skill = self.random.below(100) as u32;
        let level = self.random.below(10) as u8 + 1;
        let commands = [
            Command::Open {
                conversation,
                queue: QueueId(skill % 20),
                channel: Channel::Chat,
                priority: None,
                skills: vec![RequiredSkill { skill: SkillId(skill), level }],
                customer: Some(customer),
                attributes: Attributes::default(),
                item: Some(item(0)),
                mail: None,
            },
            Command::Post { conversation, item: item(1), note: false, seen_to: None },
        ];
        for (sequence, command) in (1..).zip(commands) {
            let origin = Origin::Session { session, sequence, acknowledged: sequence - 1 };
            let actor = Actor::Customer(customer);
            self.apply(ShardCommand::Site(Envelope { site: SITE, origin, actor, command }));
        }
    }

    pub(crate) fn open(&mut self, skill: u32, level: u8) -> Duration {
        self.conversations += 1;
        let conversation = ConversationId::new(SITE, self.conversations);
        self.ask(
            Actor::System,
            Command::Open {
                conversation,
                queue: QueueId(skill % QUEUES),
                channel: Channel::Voice,
                priority: None,
                skills: vec![RequiredSkill { skill: SkillId(skill), level }],
                customer: None,
                attributes: Attributes::default(),
                item: None,
                mail: None,
            },
        )
    }

    pub(crate) fn open_any(&mut self) -> Duration {
        let skill = self.random.below(u64::from(SKILLS)) as u32;
        let level = self.random.below(u64::from(LEVELS)) as u8 + 1;
        self.open(skill, level)
    }

    pub(crate) fn accept_all(&mut self) {
        while let Some((conversation, offer, agent)) = self.offers.pop_front() {
            let taken = self.ask(Actor::Agent(agent), Command::Accept { conversation, offer });
            self.note(1, agent, taken);
        }
    }

    pub(crate) fn close_any(&mut self) {
        let place = self.random.below(self.assigned.len() as u64) as usize;
        let (conversation, agent) = self.assigned.swap_remove(place);
        let taken = self.ask(Actor::Agent(agent), Command::Close { conversation });
        self.note(2, agent, taken);
    }

    pub(crate) fn note(&mut self, command: usize, agent: AgentId, taken: Duration) {
        let group = match self.served[agent.0 as usize] {
            0..=10 => 0,
            11..=64 => 1,
            65..=200 => 2,
            _ => 3,
        };
        self.by_classes[group].add(taken);
        self.by_command[command].add(taken);
        self.all.add(taken);
    }

    pub(crate) fn distribute(&mut self, distributions: u64) {
        for _ in 0..distributions {
            self.close_any();
            self.accept_all();
            let taken = self.open_any();
            self.by_command[0].add(taken);
            self.all.add(taken);
            self.accept_all();
        }
    }

    pub(crate) fn report(&mut self, title: &str) {
        println!("\n{title}");
        println!("  {:<22}     count  mean us      p50      p99    p99.9       max", "");
        println!("  {:<22} {}", "all commands", self.all.row());
        let commands = ["open", "accept", "close"];
        for (name, times) in commands.iter().zip(&mut self.by_command) {
            println!("  {name:<22} {}", times.row());
        }
        let groups = ["C <= 10", "C <= 64", "C <= 200", "C = 1 000"];
        for (name, times) in groups.iter().zip(&mut self.by_classes) {
            if !times.0.is_empty() {
                println!("  accept, close {name:<8} {}", times.row());
            }
        }
    }

    pub(crate) fn forget_times(&mut self) {
        (self.all, self.by_classes, self.by_command) = Default::default();
    }
}
