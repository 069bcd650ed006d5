//! Work that one entry may not do at once, and what holds while it goes on.
//!
//! Thousands of agents, items and sessions, so that building a class, editing a plan and losing a
//! gateway each take many entries. Every entry's steps are bounded; offers in between take nobody
//! over; when the work is over, nobody idles. A snapshot taken in the midst of it goes on alike.

#[path = "history/driver.rs"]
#[allow(dead_code, reason = "shared between test binaries")]
mod driver;
#[path = "history/oracle.rs"]
#[allow(dead_code, reason = "shared between test binaries")]
mod oracle;

use std::collections::BTreeMap;

use driver::Driver;
use rotary_proto::command::Subject;
use rotary_proto::ids::*;
use rotary_proto::plan::{AgentProfile, RequiredSkill};
use rotary_proto::{
    Actor, Attributes, Capacity, Channel, Command, Declared, Envelope, Event, Name, Origin,
    Priority, QueuePlan, Sealed, ShardCommand, SiteSettings, Stamp, limits,
};

const SITE: SiteId = SiteId::new(1, 1);
const QUEUE: QueueId = QueueId(1);
const MANY: u32 = limits::WORK_PER_ENTRY_MAX + 452;

fn name(text: &str) -> Name {
    Name::new(text).expect("short")
}

fn gateway(node: u64) -> GatewayId {
    GatewayId { node: NodeId(node), run: 1 }
}

/// A floor whose every entry is watched, the dear checks left to the end of each part.
struct Floor(Driver);

impl Floor {
    fn new() -> Self {
        let mut driver = Driver::new();
        (driver.keeps, driver.compares, driver.checks) = (false, false, false);
        let settings = SiteSettings::named(name("site"));
        driver.apply(Stamp(1), ShardCommand::CreateSite { site: SITE, settings });
        let mut floor = Self(driver);
        for number in [1, 2] {
            let skill = SkillId(number);
            floor.ask(Actor::System, Command::PutSkill { skill, name: name("skill") });
        }
        floor.put_queue(QUEUE, &[1]);
        floor
    }

    fn ask(&mut self, actor: Actor, command: Command) -> Vec<Event> {
        let envelope = Envelope { site: SITE, origin: Origin::Internal, actor, command };
        let stamp = Stamp(self.0.now().0 + 1);
        let applied = self.0.apply(stamp, ShardCommand::Site(envelope));
        applied.events.into_iter().map(|record| record.event).collect()
    }

    fn put_queue(&mut self, queue: QueueId, skills: &[u32]) {
        let need = |skill: &u32| RequiredSkill { skill: SkillId(*skill), level: 1 };
        let skills = skills.iter().map(need).collect();
        let plan = QueuePlan { skills, ..QueuePlan::named(name("queue")) };
        self.ask(Actor::System, Command::PutQueue { queue, plan });
    }

    /// Agents from `first` on, signed in at a gateway.
    fn staff(&mut self, first: u32, count: u32, skill: u32, node: u64) {
        self.staff_with(first, count, skill, node, 1);
    }

    fn staff_with(&mut self, first: u32, count: u32, skill: u32, node: u64, room: u8) {
        for number in first..first + count {
            let agent = AgentId(number);
            let profile = AgentProfile {
                name: Sealed::plain("agent").expect("short"),
                skills: BTreeMap::from([(SkillId(skill), 5)]),
                capacity: Capacity { chat: room, total: room, ..Capacity::default() },
            };
            self.ask(Actor::System, Command::PutAgent { agent, profile });
            let (session, subject) = (SessionId(number.into()), Subject::Agent(agent));
            let gateway = gateway(node);
            self.ask(Actor::Agent(agent), Command::Attach { session, subject, gateway });
            let declared = Declared::Ready;
            self.ask(Actor::Agent(agent), Command::Declare { agent, declared });
        }
    }

    fn open(&mut self, number: u32) -> Vec<Event> {
        let level = (number % 7) as u8;
        let command = Command::Open {
            conversation: ConversationId::new(SITE, number.into()),
            queue: QUEUE,
            channel: Channel::Chat,
            priority: Some(Priority::new(level).expect("0 to 9")),
            skills: Vec::new(),
            customer: None,
            attributes: Attributes::default(),
            item: None,
            mail: None,
        };
        self.ask(Actor::System, command)
    }

    /// Ticks until no work is left over; gives how many entries it took.
    fn rest(&mut self) -> u32 {
        let mut entries = 0;
        while !self.0.is_quiet(self.0.now()) {
            self.0.apply(Stamp(self.0.now().0 + 1), ShardCommand::Tick);
            entries += 1;
            assert!(entries < 1_000, "work comes to no end");
        }
        self.0.part();
        self.0.checks = true;
        self.0.apply(Stamp(self.0.now().0 + 1), ShardCommand::Tick);
        self.0.checks = false;
        entries
    }
}

/// The first item of a class finds its agents over several entries, and goes by the strategy.
#[test]
fn a_class_of_many_agents_is_built_over_several_entries() {
    let mut floor = Floor::new();
    floor.staff(1, MANY, 1, 1);
    let events = floor.open(7_006);
    let offered = events.iter().any(|event| matches!(event, Event::Offered { .. }));
    assert!(!offered && floor.0.shard.has_work(SITE), "the search is not over in one entry");
    floor.0.twin();
    // Who is matched is looked at for every class, ahead of the search.
    let (agent, declared) = (AgentId(MANY), Declared::Ready);
    floor.ask(Actor::Agent(agent), Command::Declare { agent, declared });
    floor.0.twin();
    (1..20).for_each(|number| drop(floor.open(number)));
    floor.rest();
    let view = floor.0.shard.queue_view(SITE, QUEUE).expect("it exists");
    assert_eq!((view.waiting, view.offered), (0, 20));
    let first = ConversationId::new(SITE, 7_006);
    let held = floor.0.shard.agent_view(SITE, AgentId(1)).expect("it exists").conversations;
    assert_eq!(held, [first], "the agent who is free for longest has the first");
}

/// Thousands of waiting items move to the class of another plan; arrivals come in between.
#[test]
fn a_plan_edit_moves_thousands_of_items_over_several_entries() {
    let mut floor = Floor::new();
    (1..=4_000).for_each(|number| drop(floor.open(number)));
    floor.staff(1, 3, 2, 1);
    floor.put_queue(QUEUE, &[2]);
    assert!(floor.0.shard.has_work(SITE));
    floor.0.twin();
    for number in 4_001..4_010 {
        floor.open(number);
        floor.staff(number - 3_900, 1, 1 + number % 2, 1);
    }
    floor.0.twin();
    floor.rest();
    let view = floor.0.shard.queue_view(SITE, QUEUE).expect("it exists");
    assert_eq!((view.waiting + view.offered, view.version), (4_009, 2));
    let ready = (3 + (4_001..4_010).filter(|number| number % 2 == 1).count()) as u64;
    assert_eq!(view.offered, ready, "everybody who has the skill has one");
}

/// Thousands of sessions go with their gateway; no offer is made to any of them meanwhile.
#[test]
fn a_lost_gateway_loses_thousands_of_sessions_over_several_entries() {
    let mut floor = Floor::new();
    floor.staff(1, MANY, 1, 1);
    floor.staff(MANY + 1, 1, 1, 2);
    (1..=8).for_each(|number| drop(floor.open(number)));
    floor.rest();
    let stamp = Stamp(floor.0.now().0 + limits::LEASE_MS * 1_000 - 500);
    floor.0.apply(stamp, ShardCommand::RenewLease { gateway: gateway(2) });
    let late = floor.0.shard.leases().find(|(id, _)| *id == gateway(1)).expect("a lease").1;
    let tick = floor.0.apply(late, ShardCommand::Tick);
    assert!(tick.events.len() < MANY as usize && floor.0.shard.has_work(SITE));
    floor.0.twin();
    // One who comes back while the loss is being walked can be offered something.
    let (agent, session) = (AgentId(MANY), SessionId(MANY.into()));
    let (subject, gateway) = (Subject::Agent(agent), gateway(2));
    floor.ask(Actor::Agent(agent), Command::Attach { session, subject, gateway });
    floor.open(9);
    floor.open(10);
    assert!(floor.rest() >= 1);
    let view = floor.0.shard.site_view(SITE).expect("it exists");
    assert_eq!(view.ready, 2, "who came back, and who was elsewhere");
    let held = floor.0.shard.agent_view(SITE, agent).expect("it exists").conversations;
    assert_eq!(held.len(), 1, "who came back has one");
}

/// Thousands of deadlines at one stamp are met over several entries.
#[test]
fn thousands_of_deadlines_at_once_are_met_over_several_entries() {
    let mut floor = Floor::new();
    (1..=3_000).for_each(|number| drop(floor.open(number)));
    let late = floor.0.now().plus_ms(limits::WAIT_DEFAULT_MS);
    let tick = floor.0.apply(late, ShardCommand::Tick);
    assert!(tick.events.len() < 6_000, "one entry does not end them all");
    floor.0.twin();
    assert!(floor.rest() >= 2);
    assert_eq!(floor.0.shard.site_view(SITE).expect("it exists").conversations, 0);
}

/// With every class in use, what needs no new class is still admitted.
#[test]
fn the_last_class_is_no_wall_for_what_exists() {
    let mut floor = Floor::new();
    let mut number = 0;
    let mut open = |floor: &mut Floor, queue: u32, channel| {
        number += 1;
        let command = Command::Open {
            conversation: ConversationId::new(SITE, number),
            queue: QueueId(queue),
            channel,
            priority: None,
            skills: Vec::new(),
            customer: None,
            attributes: Attributes::default(),
            item: None,
            mail: None,
        };
        floor.ask(Actor::System, command).len()
    };
    let queues = (limits::REQUIREMENT_CLASSES_MAX / 4) as u32;
    for queue in 1..=queues + 1 {
        floor.put_queue(QueueId(queue), &[]);
    }
    for queue in 1..=queues {
        for channel in [Channel::Voice, Channel::Chat, Channel::Email, Channel::Task] {
            assert_eq!(open(&mut floor, queue, channel), 2);
        }
    }
    assert_eq!(open(&mut floor, queues + 1, Channel::Chat), 0, "there is no class left");
    assert_eq!(open(&mut floor, 1, Channel::Chat), 2, "this one needs none");
}

/// An agent who serves a thousand classes and has room for twelve is filled over several entries.
#[test]
fn an_agent_of_many_classes_is_matched_over_several_entries() {
    let mut floor = Floor::new();
    for queue in 1..=1_100 {
        floor.put_queue(QueueId(queue), &[]);
        let command = Command::Open {
            conversation: ConversationId::new(SITE, queue.into()),
            queue: QueueId(queue),
            channel: Channel::Chat,
            priority: None,
            skills: Vec::new(),
            customer: None,
            attributes: Attributes::default(),
            item: None,
            mail: None,
        };
        floor.ask(Actor::System, command);
    }
    floor.staff_with(1, 1, 1, 1, 12);
    assert!(floor.0.shard.has_work(SITE));
    floor.0.twin();
    assert!(floor.rest() >= 1);
    let held = floor.0.shard.agent_view(SITE, AgentId(1)).expect("it exists").conversations;
    let first: Vec<_> = (1..=12).map(|number| ConversationId::new(SITE, number)).collect();
    assert_eq!(held, first);
}
