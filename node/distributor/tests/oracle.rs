//! The oracle itself: it accepts what happened, and rejects what did not.
//!
//! A short shift is recorded: entries, events, and whether work was left over. As recorded, the
//! oracle finds nothing. Then one thing is changed, as a fault in the distributor would change it,
//! and the oracle must say so; a check that accepts everything checks nothing.

#[path = "history/chance.rs"]
#[allow(dead_code, reason = "shared between test binaries")]
mod chance;
#[path = "history/driver.rs"]
#[allow(dead_code, reason = "shared between test binaries")]
mod driver;
#[path = "history/oracle.rs"]
#[allow(dead_code, reason = "shared between test binaries")]
mod oracle;

use std::collections::BTreeMap;

use driver::Driver;
use oracle::Oracle;
use rotary_distributor::Applied;
use rotary_proto::command::Subject;
use rotary_proto::event::OfferEnd;
use rotary_proto::ids::*;
use rotary_proto::plan::{AgentProfile, RequiredSkill};
use rotary_proto::{
    Actor, Attributes, Capacity, Channel, Command, Declared, Envelope, Event, Name, Origin,
    Priority, QueuePlan, Sealed, ShardCommand, SiteSettings, Stamp,
};

const SITE: SiteId = SiteId::new(1, 1);
const GATEWAY: GatewayId = GatewayId { node: NodeId(1), run: 1 };
const ANA: AgentId = AgentId(1);
const BEN: AgentId = AgentId(2);

/// What was recorded of one entry.
#[derive(Clone)]
struct Entry {
    stamp: Stamp,
    command: ShardCommand,
    applied: Applied,
    quiet: (bool, bool),
}

/// A floor that records.
struct Shift {
    driver: Driver,
    record: Vec<Entry>,
}

fn name(text: &str) -> Name {
    Name::new(text).expect("short")
}

impl Shift {
    /// One queue that needs a skill; ana has it, ben has it, cho has it not.
    fn new() -> Self {
        let mut driver = Driver::new();
        driver.compares = false;
        let mut shift = Self { driver, record: Vec::new() };
        let settings = SiteSettings::named(name("site"));
        shift.enter(ShardCommand::CreateSite { site: SITE, settings });
        let skill = SkillId(1);
        shift.ask(Actor::System, Command::PutSkill { skill, name: name("french") });
        let skills = vec![RequiredSkill { skill, level: 5 }];
        let plan = QueuePlan { skills, ..QueuePlan::named(name("queue")) };
        shift.ask(Actor::System, Command::PutQueue { queue: QueueId(1), plan });
        for (number, level) in [(1, 7), (2, 5), (3, 4)] {
            let profile = AgentProfile {
                name: Sealed::plain("agent").expect("short"),
                skills: BTreeMap::from([(skill, level)]),
                capacity: Capacity { chat: 1, total: 1, ..Capacity::default() },
            };
            shift.ask(Actor::System, Command::PutAgent { agent: AgentId(number), profile });
        }
        shift
    }

    fn enter(&mut self, command: ShardCommand) {
        let stamp = Stamp(self.driver.now().0 + 1);
        let before = self.driver.is_quiet(stamp);
        let applied = self.driver.apply(stamp, command.clone());
        let quiet = (before, self.driver.is_quiet(self.driver.now()));
        self.record.push(Entry { stamp, command, applied, quiet });
    }

    fn ask(&mut self, actor: Actor, command: Command) {
        let origin = Origin::Internal;
        self.enter(ShardCommand::Site(Envelope { site: SITE, origin, actor, command }));
    }

    fn sign_in(&mut self, agent: AgentId) {
        let (session, subject) = (SessionId(agent.0.into()), Subject::Agent(agent));
        self.ask(Actor::Agent(agent), Command::Attach { session, subject, gateway: GATEWAY });
        self.ask(Actor::Agent(agent), Command::Declare { agent, declared: Declared::Ready });
    }

    fn open(&mut self, number: u128, level: u8) {
        let command = Command::Open {
            conversation: ConversationId::new(SITE, number),
            queue: QueueId(1),
            channel: Channel::Chat,
            priority: Some(Priority::new(level).expect("0 to 9")),
            skills: Vec::new(),
            customer: None,
            attributes: Attributes::default(),
            item: None,
            mail: None,
        };
        self.ask(Actor::System, command);
    }

    /// Three wait, ana comes and has the most urgent; then ben comes and has the oldest.
    fn recorded() -> Vec<Entry> {
        let mut shift = Self::new();
        shift.sign_in(AgentId(3));
        shift.open(1, 5);
        shift.open(2, 5);
        shift.open(3, 9);
        shift.sign_in(ANA);
        let conversation = ConversationId::new(SITE, 3);
        let offer = OfferId(1);
        shift.ask(Actor::Agent(ANA), Command::Decline { conversation, offer, reason: None });
        shift.sign_in(BEN);
        let (conversation, offer) = (ConversationId::new(SITE, 1), OfferId(2));
        shift.ask(Actor::Agent(ANA), Command::Accept { conversation, offer });
        shift.record
    }
}

/// What the oracle finds in a record.
fn found(record: &[Entry]) -> Vec<String> {
    let mut oracle = Oracle::default();
    let follow =
        |entry: &Entry| oracle.follow(entry.stamp, &entry.command, &entry.applied, entry.quiet);
    record.iter().flat_map(follow).collect()
}

/// The recorded shift with every event passed through `change`; `None` leaves one out.
fn doctored(mut change: impl FnMut(Event) -> Option<Event>) -> Vec<String> {
    let mut record = Shift::recorded();
    for entry in &mut record {
        let events = std::mem::take(&mut entry.applied.events);
        entry.applied.events = events
            .into_iter()
            .filter_map(|record| {
                let event = change(record.event.clone())?;
                Some(rotary_proto::EventRecord { event, ..record })
            })
            .collect();
    }
    found(&record)
}

/// Changes whom or what one offer is about.
fn with_offer(
    number: u64,
    change: impl Fn(&mut ConversationId, &mut AgentId),
) -> impl Fn(Event) -> Option<Event> {
    move |mut event| {
        if let Event::Offered { offer, conversation, agent, .. } = &mut event
            && offer.0 == number
        {
            change(conversation, agent);
        }
        Some(event)
    }
}

#[test]
fn what_happened_is_accepted() {
    assert_eq!(found(&Shift::recorded()), Vec::<String>::new());
    let offered = |event: Event| match &event {
        Event::Offered { .. } => Some(event),
        _ => None,
    };
    let offers = Shift::recorded().into_iter().flat_map(|entry| entry.applied.events);
    assert_eq!(offers.filter_map(|record| offered(record.event)).count(), 3);
}

#[test]
fn an_offer_that_takes_an_earlier_item_over_is_rejected() {
    let swapped = |number| move |id: &mut ConversationId, _: &mut AgentId| id.unique = number;
    let all = doctored(with_offer(1, swapped(1)));
    assert!(all.iter().any(|line| line.contains("was earlier")), "priority: {all:#?}");
    let all = doctored(with_offer(2, swapped(2)));
    assert!(all.iter().any(|line| line.contains("was earlier")), "arrival: {all:#?}");
}

#[test]
fn an_offer_left_out_is_idling() {
    for number in 1..=3 {
        let all = doctored(|event| match event {
            Event::Offered { offer, .. } if offer.0 == number => None,
            event => Some(event),
        });
        assert!(all.iter().any(|line| line.contains("is free for it")), "{number}: {all:#?}");
    }
}

#[test]
fn an_offer_to_who_may_not_have_it_is_rejected() {
    let to = |wrong: AgentId| move |_: &mut ConversationId, agent: &mut AgentId| *agent = wrong;
    for (wrong, why) in [(AgentId(3), "lacks the level"), (BEN, "is not there yet")] {
        let all = doctored(with_offer(1, to(wrong)));
        assert!(all.iter().any(|line| line.contains("may not be offered")), "{why}: {all:#?}");
    }
    let all = doctored(with_offer(3, to(ANA)));
    assert!(all.iter().any(|line| line.contains("P3")), "no room is left: {all:#?}");
}

#[test]
fn an_offer_of_what_the_agent_declined_is_rejected() {
    let again = |id: &mut ConversationId, _: &mut AgentId| id.unique = 3;
    let all = doctored(with_offer(2, again));
    assert!(all.iter().any(|line| line.contains("may not be offered")), "{all:#?}");
}

#[test]
fn an_offer_to_a_lost_session_is_rejected() {
    let session = SessionId(ANA.0.into());
    let lost = Event::SessionLost {
        session,
        subject: Subject::Agent(ANA),
        why: rotary_proto::event::SessionLoss::Socket,
    };
    let all = doctored(|event| match event {
        Event::AgentDeclared { agent: ANA, .. } => Some(lost.clone()),
        event => Some(event),
    });
    assert!(all.iter().any(|line| line.contains("may not be offered")), "{all:#?}");
}

#[test]
fn a_second_assignment_is_rejected() {
    let all = doctored(|event| match event {
        Event::OfferEnded { conversation, offer, agent, why: OfferEnd::Declined } => {
            Some(Event::Assigned { conversation, offer, agent, leg: 1 })
        }
        event => Some(event),
    });
    assert!(!all.is_empty(), "ana holds one already");
    let all = doctored(|event| match event {
        Event::Assigned { conversation, offer, leg, .. } => {
            Some(Event::Assigned { conversation, offer, agent: BEN, leg })
        }
        event => Some(event),
    });
    assert!(all.iter().any(|line| line.contains("P2")), "{all:#?}");
}

#[test]
fn an_expired_lease_makes_offers_wrong() {
    let mut record = Shift::recorded();
    let at = record.iter().position(|entry| {
        let offered = |r: &rotary_proto::EventRecord| matches!(r.event, Event::Offered { .. });
        entry.applied.events.iter().any(offered)
    });
    for entry in &mut record[at.expect("an offer")..] {
        entry.stamp = entry.stamp.plus_ms(60_000);
    }
    assert!(found(&record).iter().any(|line| line.contains("may not be offered")));
}

/// The oracle names who is free for longest, and the distributor offers to them.
#[test]
fn the_wrong_choice_among_free_agents_is_rejected() {
    let mut shift = Shift::new();
    shift.sign_in(BEN);
    shift.sign_in(ANA);
    shift.open(1, 5);
    assert_eq!(found(&shift.record), Vec::<String>::new());
    let last = shift.record.last_mut().expect("the arrival");
    for record in &mut last.applied.events {
        if let Event::Offered { agent, .. } = &mut record.event {
            assert_eq!(*agent, BEN, "ben came first");
            *agent = ANA;
        }
    }
    assert!(found(&shift.record).iter().any(|line| line.contains("names Some(ag_2)")));
}

/// Random histories, heavier on offers than the properties, under the oracle alone.
#[test]
fn the_oracle_agrees_with_random_histories() {
    let mut state = 7_u64;
    for _ in 0..40 {
        let mut bytes = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888);
            let [.., a, b, c, d, e, f] = (state ^ state >> 29).to_le_bytes();
            [a, b, c, d, e, f]
        };
        let mut driver = Driver::new();
        (driver.compares, driver.keeps) = (false, false);
        chance::set_up(&mut driver, bytes());
        let mut numbers = chance::Numbers::default();
        for _ in 0..200 {
            match chance::wish(&driver, &mut numbers, bytes()) {
                chance::Wish::Wait(ms) => {
                    let gateways = [1, 2].map(|node| GatewayId { node: NodeId(node), run: 1 });
                    for gateway in gateways {
                        driver.apply(driver.now(), ShardCommand::RenewLease { gateway });
                    }
                    driver.advance(driver.now().plus_ms(ms.min(1_900)));
                }
                chance::Wish::Calm(command) | chance::Wish::Late(_, command) => {
                    driver.calm(Stamp(driver.now().0 + 1), *command);
                }
            }
        }
    }
}
