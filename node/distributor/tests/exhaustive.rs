//! Every history of a small floor, to a stated depth.
//!
//! Two agents, two queues, three conversations, and an alphabet of what people and time can do:
//! open, accept, decline, abandon, close, wrap up, break and ready, lose and return, and time up to
//! the next deadline. Every interleaving is applied, with invariants and the oracle at each step.
//!
//! Histories that lead to the same state have the same future, so a state is followed once. States
//! are compared by the oracle's books: who is where, in which order, and which deadline is how far
//! away, to 10 ms. Left out are offers' numbers, and outcomes kept for retries, of which there are
//! none here. `ROTARY_DEPTH` asks for another depth.

#[path = "history/driver.rs"]
#[allow(dead_code, reason = "shared between test binaries")]
mod driver;
#[path = "history/oracle.rs"]
#[allow(dead_code, reason = "shared between test binaries")]
mod oracle;

use std::collections::BTreeMap;
use std::io::Write as _;

use driver::Driver;
use rotary_proto::command::Subject;
use rotary_proto::ids::*;
use rotary_proto::plan::{AgentProfile, RequiredSkill};
use rotary_proto::query::{Link, Stage};
use rotary_proto::{
    Actor, Attributes, Capacity, Channel, Command, Declared, Envelope, Name, Origin, Priority,
    QueuePlan, Sealed, ShardCommand, SiteSettings, Stamp, Strategy,
};

const SITE: SiteId = SiteId::new(1, 1);
const GATEWAY: GatewayId = GatewayId { node: NodeId(1), run: 1 };

fn name(text: &str) -> Name {
    Name::new(text).expect("short")
}

fn inside(actor: Actor, command: Command) -> ShardCommand {
    ShardCommand::Site(Envelope { site: SITE, origin: Origin::Internal, actor, command })
}

/// A variant of the floor.
#[derive(Clone, Copy)]
struct Shape {
    strategies: [Strategy; 2],
    channels: [Channel; 3],
    rooms: [u8; 2],
}

/// Queue 2 needs a skill that agent 2 lacks; the third conversation is more urgent.
fn floor(shape: Shape) -> Driver {
    let mut driver = Driver::new();
    (driver.keeps, driver.compares) = (false, false);
    let settings = SiteSettings {
        agent_grace_ms: 5_000,
        customer_grace_ms: 5_000,
        ..SiteSettings::named(name("site"))
    };
    let mut enter = |command| drop(driver.calm(Stamp(1), command));
    enter(ShardCommand::CreateSite { site: SITE, settings });
    let system = |command| inside(Actor::System, command);
    enter(system(Command::PutSkill { skill: SkillId(1), name: name("skill") }));
    enter(system(Command::PutReason { reason: ReasonId(1), name: name("lunch") }));
    for number in [1, 2] {
        let need = RequiredSkill { skill: SkillId(1), level: 1 };
        let plan = QueuePlan {
            strategy: shape.strategies[number as usize - 1],
            skills: if number == 2 { vec![need] } else { vec![] },
            offer_ms: 4_000,
            decline_delay_ms: 3_000,
            wait_max_ms: 10_000,
            idle_max_ms: 8_000,
            talk_max_ms: 8_000,
            wrap_up_ms: if number == 1 { 2_000 } else { 0 },
            ..QueuePlan::named(name("queue"))
        };
        enter(system(Command::PutQueue { queue: QueueId(number), plan }));
    }
    for number in [1, 2] {
        let room = shape.rooms[number as usize - 1];
        let capacity = Capacity { chat: room, email: room, total: room, ..Capacity::default() };
        let skills = if number == 1 { BTreeMap::from([(SkillId(1), 5)]) } else { BTreeMap::new() };
        let name = Sealed::plain("agent").expect("short");
        let (agent, profile) = (AgentId(number), AgentProfile { name, skills, capacity });
        enter(system(Command::PutAgent { agent, profile }));
        enter(attach(agent));
        enter(declare(agent, Declared::Ready));
    }
    driver
}

fn attach(agent: AgentId) -> ShardCommand {
    let (session, subject) = (SessionId(agent.0.into()), Subject::Agent(agent));
    inside(Actor::Agent(agent), Command::Attach { session, subject, gateway: GATEWAY })
}

fn declare(agent: AgentId, declared: Declared) -> ShardCommand {
    inside(Actor::Agent(agent), Command::Declare { agent, declared })
}

fn open(number: u128, shape: Shape) -> ShardCommand {
    let command = Command::Open {
        conversation: ConversationId::new(SITE, number),
        queue: QueueId(if number == 2 { 2 } else { 1 }),
        channel: shape.channels[number as usize - 1],
        priority: (number == 3).then(|| Priority::new(9).expect("0 to 9")),
        skills: Vec::new(),
        customer: None,
        attributes: Attributes::default(),
        item: None,
        mail: None,
    };
    inside(Actor::System, command)
}

/// Everything that can happen in a state.
fn steps(driver: &Driver, shape: Shape) -> Vec<ShardCommand> {
    let mut steps = Vec::new();
    for number in 1..=3 {
        let conversation = ConversationId::new(SITE, number);
        let Some(view) = driver.shard.conversation_view(conversation) else {
            steps.push(open(number, shape));
            continue;
        };
        let mut by = |agent, command| steps.push(inside(Actor::Agent(agent), command));
        match view.stage {
            Stage::Offered { offer, agent, .. } => {
                by(agent, Command::Accept { conversation, offer });
                by(agent, Command::Decline { conversation, offer, reason: None });
            }
            Stage::Assigned { agent, .. } => by(agent, Command::Close { conversation }),
            Stage::WrapUp { agent, .. } => {
                by(agent, Command::WrapUp { conversation, disposition: None, note: None });
            }
            Stage::SelfService | Stage::Waiting | Stage::Closed => {}
        }
        if matches!(view.stage, Stage::Waiting | Stage::Offered { .. }) {
            steps.push(inside(Actor::System, Command::Abandon { conversation }));
        }
    }
    for agent in [AgentId(1), AgentId(2)] {
        let view = driver.shard.agent_view(SITE, agent).expect("both exist");
        let reason = ReasonId(1);
        match view.declared {
            Declared::Ready => steps.push(declare(agent, Declared::NotReady { reason })),
            _ if view.link == Link::Up => steps.push(declare(agent, Declared::Ready)),
            _ => {}
        }
        let session = SessionId(agent.0.into());
        match view.link {
            Link::Up => {
                let command = Command::Detach { session, gateway: GATEWAY, ended: false };
                steps.push(inside(Actor::System, command));
            }
            Link::Lost => steps.push(attach(agent)),
            Link::None => {}
        }
    }
    steps
}

/// Applies a step a microsecond later; without one, lets time pass to the next deadline.
fn follow(driver: &Driver, step: Option<ShardCommand>) -> Option<Driver> {
    let mut next = driver.clone();
    match step {
        Some(command) => {
            next.apply(Stamp(next.now().0 + 1), command);
        }
        None => {
            let until = soonest(&mut next)?;
            next.apply(until, ShardCommand::Tick);
        }
    }
    next.advance(next.now());
    Some(next)
}

/// The next deadline of the floor within a minute. The gateway lives: where its lease would be
/// next, it is renewed.
fn soonest(driver: &mut Driver) -> Option<Stamp> {
    let horizon = driver.now().plus_ms(60_000);
    loop {
        let (_, lease) = driver.shard.leases().next()?;
        let due = driver.shard.next_deadline()?;
        if due < lease {
            return Some(due);
        }
        if due >= horizon {
            return None;
        }
        driver.apply(Stamp(lease.0 - 1), ShardCommand::RenewLease { gateway: GATEWAY });
    }
}

fn explore(title: &str, shape: Shape, depth: usize) {
    let start = floor(shape);
    let key = |driver: &Driver| driver.oracle.floors[&SITE].canonical(driver.now());
    let mut level = BTreeMap::from([(key(&start), (start, 1_u128))]);
    let mut known = BTreeMap::from([(level.keys().next().expect("one").clone(), ())]);
    let (mut states, mut applied, mut histories) = (1_u64, 0_u64, 1_u128);
    let asked = std::env::var("ROTARY_DEPTH").ok().and_then(|text| text.parse().ok());
    let depth = asked.unwrap_or(depth);
    for _ in 0..depth {
        let mut next: BTreeMap<String, (Driver, u128)> = BTreeMap::new();
        for (driver, paths) in level.into_values() {
            let all = steps(&driver, shape).into_iter().map(Some).chain([None]);
            for driver in all.filter_map(|step| follow(&driver, step)) {
                applied += 1;
                histories += paths;
                let key = key(&driver);
                if let Some((_, others)) = next.get_mut(&key) {
                    *others += paths;
                } else if known.insert(key.clone(), ()).is_none() {
                    states += 1;
                    next.insert(key, (driver, paths));
                }
            }
        }
        level = next;
    }
    let line = format!(
        "{title}: depth {depth}, {states} states, {applied} steps, {histories} histories or more\n"
    );
    let _ = std::io::stdout().write_all(line.as_bytes());
}

#[test]
fn chats_of_a_small_floor() {
    let shape = Shape {
        strategies: [Strategy::LongestIdle, Strategy::LongestIdle],
        channels: [Channel::Chat, Channel::Chat, Channel::Chat],
        rooms: [2, 1],
    };
    explore("chats", shape, 6);
}

#[test]
fn calls_and_mails_of_a_small_floor() {
    let shape = Shape {
        strategies: [Strategy::RoundRobin, Strategy::LeastLoaded],
        channels: [Channel::Voice, Channel::Email, Channel::Chat],
        rooms: [1, 2],
    };
    explore("calls and mails", shape, 6);
}
