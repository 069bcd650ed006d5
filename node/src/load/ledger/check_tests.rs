//! The judge against evidence that was tampered with: each kind of lie must be caught, by name.

use rotary_proto::event::{
    Author, Decision, DeclaredWhy, EndReason, OfferEnd, QueuedWhy, Trigger, Viewer,
};
use rotary_proto::outcome::Done;
use rotary_proto::values::Item;
use rotary_proto::{
    Actor, AgentId, AgentProfile, Attributes, Body, Capacity, Channel, ConversationId, CustomerId,
    Declared, Event, ItemId, Name, NodeId, OfferId, Position, QueueId, Sealed, SessionId, ShardId,
    SiteId, SkillId, Stamp, Strategy,
};

use super::super::readings::{FeedEvent, NodeReading};
use super::super::record::{Record, Run};
use super::super::{History, Readings, Verdict, digest};
use super::*;

const SITE: SiteId = SiteId::new(1, 1);
const ANA: AgentId = AgentId(1);
const BEN: AgentId = AgentId(2);
const QUEUE: QueueId = QueueId(1);

fn chat(number: u128) -> ConversationId {
    ConversationId::new(SITE, number)
}

fn item(number: u128) -> Item {
    Item { id: ItemId(number), body: Body::plain("words").expect("short") }
}

/// A run's evidence, which a test may tamper with before it is judged.
struct Evidence {
    records: Vec<Record>,
    events: Vec<(u64, Event)>,
    /// What Ana's session received, as places of `events`, counted from 1.
    seen: Vec<u64>,
}

/// What the judge is given: each may be tampered with on its own.
struct Given {
    history: History,
    readings: Readings,
}

impl Evidence {
    /// Ana serves one chat of two messages to its end; the second customer leaves.
    fn sound() -> Self {
        let mut evidence = Self { records: vec![run()], events: Vec::new(), seen: Vec::new() };
        for agent in [ANA, BEN] {
            let capacity = Capacity { chat: 1, total: 1, ..Capacity::default() };
            let name = Sealed::plain("somebody").expect("short");
            let profile = AgentProfile { name, skills: [].into(), capacity };
            evidence.event(1, Event::AgentSet { agent, version: 1, profile });
        }
        evidence.open(10, chat(1), Some(item(1)));
        evidence.offer(10, chat(1), OfferId(1), ANA);
        evidence.accept(11, chat(1), OfferId(1), ANA, 1);
        evidence.post(12, chat(1), item(2), Author::Customer, 2);
        evidence.post(13, chat(1), item(3), Author::Agent(ANA), 3);
        evidence.post(14, chat(1), item(4), Author::Customer, 4);
        evidence.open(15, chat(2), None);
        evidence.close(16, chat(1), ANA);
        evidence.abandon(17, chat(2));
        evidence.seen = (1..=evidence.events.len() as u64).filter(|place| *place > 2).collect();
        evidence
    }

    fn event(&mut self, index: u64, event: Event) {
        self.events.push((index, event));
    }

    fn done(&mut self, index: u64, actor: Actor, command: Command, done: Option<Done>) {
        let op = self.records.len() as u64;
        let position = Some(Position { shard: ShardId(1), index });
        self.records.push(Record::Invoke { op, site: SITE, actor, command: Box::new(command) });
        self.records.push(Record::Ok { op, position, repeated: false, done });
    }

    fn open(&mut self, index: u64, conversation: ConversationId, first: Option<Item>) {
        let command = Command::Open {
            conversation,
            queue: QUEUE,
            channel: Channel::Chat,
            priority: None,
            skills: Vec::new(),
            customer: Some(CustomerId(1)),
            attributes: Attributes::default(),
            item: first.clone(),
            mail: None,
        };
        self.done(index, Actor::Customer(CustomerId(1)), command, None);
        let (channel, customer) = (Channel::Chat, Some(CustomerId(1)));
        let attributes = Attributes::default();
        let mail = None;
        self.event(index, Event::Opened { conversation, channel, customer, attributes, mail });
        if let Some(Item { id, body }) = first {
            let (author, note, mail) = (Author::Customer, false, None);
            self.event(
                index,
                Event::Posted { conversation, item: id, ordinal: 1, author, note, body, mail },
            );
        }
        let (priority, why) = (Default::default(), QueuedWhy::Opened);
        let (since, until) = (Stamp(1), Stamp(2));
        self.event(
            index,
            Event::Queued { conversation, queue: QUEUE, priority, since, until, why },
        );
    }

    fn offer(&mut self, index: u64, conversation: ConversationId, offer: OfferId, agent: AgentId) {
        let decision = Decision {
            trigger: Trigger::Arrival,
            strategy: Strategy::LongestIdle,
            plan_version: 1,
            key: [0, 0],
            candidates: 1,
            waited_ms: 0,
        };
        let (queue, channel, until) = (QUEUE, Channel::Chat, Stamp(9));
        self.event(
            index,
            Event::Offered { conversation, offer, agent, queue, channel, until, decision },
        );
    }

    fn accept(
        &mut self,
        index: u64,
        conversation: ConversationId,
        offer: OfferId,
        agent: AgentId,
        leg: u32,
    ) {
        let done = Some(Done::Accepted { offer, leg });
        self.done(index, Actor::Agent(agent), Command::Accept { conversation, offer }, done);
        self.event(index, Event::Assigned { conversation, offer, agent, leg });
    }

    fn post(
        &mut self,
        index: u64,
        conversation: ConversationId,
        item: Item,
        author: Author,
        ordinal: u32,
    ) {
        let actor = match author {
            Author::Agent(agent) => Actor::Agent(agent),
            _ => Actor::Customer(CustomerId(1)),
        };
        let command =
            Command::Post { conversation, item: item.clone(), note: false, seen_to: None };
        self.done(index, actor, command, Some(Done::Posted { ordinal }));
        let (note, mail, Item { id, body }) = (false, None, item);
        self.event(
            index,
            Event::Posted { conversation, item: id, ordinal, author, note, body, mail },
        );
    }

    fn close(&mut self, index: u64, conversation: ConversationId, agent: AgentId) {
        self.done(index, Actor::Agent(agent), Command::Close { conversation }, None);
        self.event(index, Event::Ended { conversation, why: EndReason::Agent });
        self.closed(index, conversation, Some(agent));
    }

    fn abandon(&mut self, index: u64, conversation: ConversationId) {
        let actor = Actor::Customer(CustomerId(1));
        self.done(index, actor, Command::Abandon { conversation }, None);
        self.event(index, Event::Ended { conversation, why: EndReason::Abandoned });
        self.closed(index, conversation, None);
    }

    fn closed(&mut self, index: u64, conversation: ConversationId, agent: Option<AgentId>) {
        let (disposition, note, expired) = (None, None, agent.is_some());
        self.event(index, Event::Closed { conversation, agent, disposition, note, expired });
    }

    /// Removes the events that `which` picks, as if they had never been.
    fn without(mut self, which: impl Fn(&Event) -> bool) -> Self {
        self.events.retain(|(_, event)| !which(event));
        self.seen = (3..=self.events.len() as u64).collect();
        self
    }

    fn given(&self) -> Given {
        let events: Vec<FeedEvent> = (1..)
            .zip(&self.events)
            .map(|(sequence, (index, event))| FeedEvent {
                sequence,
                index: *index,
                wall: 0,
                event: event.clone(),
            })
            .collect();
        let viewed = |place: &u64| (*place, digest(&self.events[*place as usize - 1].1));
        let shown: Vec<u64> = (3..=events.len() as u64).collect();
        let viewers = [((SITE, Viewer::Agent(ANA)), shown.iter().map(viewed).collect())].into();
        let reading = NodeReading { sites: [(SITE, events)].into(), viewers };
        let nodes = [(NodeId(1), reading.clone()), (NodeId(2), reading)].into();
        let mut history = History::default();
        let records = self.records.iter().cloned().chain(stream(&self.seen, &self.events));
        records.enumerate().for_each(|(line, record)| history.add(line, record));
        Given { history, readings: Readings { nodes } }
    }

    fn judged(&self) -> Verdict {
        let given = self.given();
        check(&given.history, &given.readings)
    }
}

fn run() -> Record {
    let (day, speed, seed, wall_ms, from_s) = ("2003-03-03".to_owned(), 1.0, 1, 0, 0.0);
    let sites = vec![SITE];
    Record::Run(Run { day, speed, seed, sites, wall_ms, from_s, service_level_s: 20.0 })
}

/// What Ana's session wrote down.
fn stream(seen: &[u64], events: &[(u64, Event)]) -> Vec<Record> {
    let (stream, session, viewer) = (1, SessionId(1), Viewer::Agent(ANA));
    let node = NodeId(1);
    let begun = Record::Attached { stream, session, viewer, site: SITE, node, seq: 0 };
    let mut records = vec![begun, Record::Snapshot { stream, sequence: 2 }];
    for (seq, place) in (1..).zip(seen) {
        let (index, event) = &events[*place as usize - 1];
        let (cursor, index, digest) = (*place, *index, digest(event));
        records.push(Record::Event { stream, seq, cursor, index, digest, after_ms: 0 });
    }
    records
}

/// The names of the lists that are not empty.
fn caught(verdict: &Verdict) -> Vec<&'static str> {
    let lists = verdict.lists();
    lists.iter().filter(|(_, list)| !list.is_empty()).map(|(name, _)| *name).collect()
}

#[test]
fn sound_evidence_passes() {
    let verdict = Evidence::sound().judged();
    assert!(verdict.passes(), "{verdict}");
    let at = &verdict.looked_at;
    assert_eq!((at.conversations, at.messages, at.acknowledged), (2, 4, 8));
    assert_eq!((at.nodes, at.streams, at.received), (2, 1, at.events - 2));
}

#[test]
fn indexes_fall_only_where_a_site_goes_on_in_another_shard() {
    let (from, to) = (ShardId(1), ShardId(2));
    let mut evidence = Evidence::sound();
    evidence.event(3, Event::SiteMoved { from, to });
    assert!(evidence.judged().passes(), "{}", evidence.judged());
    evidence.events.last_mut().expect("just added").1 =
        Event::SkillSet { skill: SkillId(1), name: Name::new("german").expect("valid") };
    assert_eq!(caught(&evidence.judged()), ["gaps"]);
}

#[test]
fn a_dropped_message_is_lost() {
    let last = |event: &Event| matches!(event, Event::Posted { item: ItemId(4), .. });
    assert_eq!(caught(&Evidence::sound().without(last).judged()), ["lost"]);
}

#[test]
fn a_missing_conversation_is_lost() {
    let second = |event: &Event| event.conversation() == Some(chat(2));
    assert_eq!(caught(&Evidence::sound().without(second).judged()), ["lost"]);
}

#[test]
fn a_duplicated_message_is_caught() {
    let mut evidence = Evidence::sound();
    let (conversation, Item { id, body }) = (chat(1), item(4));
    let (author, note, mail) = (Author::Customer, false, None);
    let again = Event::Posted { conversation, item: id, ordinal: 5, author, note, body, mail };
    evidence.event(18, again);
    assert_eq!(caught(&evidence.judged()), ["duplicated"]);
}

#[test]
fn a_message_nobody_wrote_is_caught() {
    let mut evidence = Evidence::sound();
    let (conversation, Item { id, body }) = (chat(1), item(99));
    let (author, note, mail) = (Author::Customer, false, None);
    let alien = Event::Posted { conversation, item: id, ordinal: 5, author, note, body, mail };
    evidence.event(18, alien);
    assert_eq!(caught(&evidence.judged()), ["duplicated"]);
}

#[test]
fn swapped_messages_are_caught() {
    let mut evidence = Evidence::sound();
    for (_, event) in &mut evidence.events {
        if let Event::Posted { item, .. } = event {
            item.0 = match item.0 {
                2 => 4,
                4 => 2,
                other => other,
            };
        }
    }
    for record in &mut evidence.records {
        if let Record::Ok { done: Some(Done::Posted { ordinal }), .. } = record {
            *ordinal = if *ordinal == 3 { 3 } else { 6 - *ordinal };
        }
    }
    let verdict = evidence.judged();
    assert!(caught(&verdict).contains(&"misordered"), "{verdict}");
}

#[test]
fn ordinals_with_a_hole_are_caught() {
    let second = |event: &Event| matches!(event, Event::Posted { item: ItemId(2), .. });
    assert_eq!(caught(&Evidence::sound().without(second).judged()), ["lost", "misordered"]);
}

#[test]
fn overlapping_assignments_are_caught() {
    let mut evidence = Evidence::sound();
    let place = evidence.events.iter().position(|(index, _)| *index == 12).expect("there");
    let ends = evidence.events.split_off(place);
    evidence.offer(11, chat(1), OfferId(2), BEN);
    evidence.accept(11, chat(1), OfferId(2), BEN, 2);
    evidence.events.extend(ends);
    evidence.seen = (3..=evidence.events.len() as u64).collect();
    assert_eq!(caught(&evidence.judged()), ["double_assigned"]);
}

#[test]
fn an_agent_over_capacity_is_caught() {
    let mut evidence = Evidence::sound();
    let place = evidence.events.iter().position(|(index, _)| *index == 16).expect("there");
    let ends = evidence.events.split_off(place);
    evidence.offer(15, chat(2), OfferId(2), ANA);
    evidence.events.extend(ends);
    let (conversation, offer, agent) = (chat(2), OfferId(2), ANA);
    let left = Event::OfferEnded { conversation, offer, agent, why: OfferEnd::CustomerLeft };
    let place = evidence.events.len() - 2;
    evidence.events.insert(place, (17, left));
    evidence.seen = (3..=evidence.events.len() as u64).collect();
    assert_eq!(caught(&evidence.judged()), ["over_capacity"]);
}

#[test]
fn an_event_that_never_came_is_caught() {
    let mut evidence = Evidence::sound();
    evidence.seen.remove(3);
    assert_eq!(caught(&evidence.judged()), ["gaps"]);
}

#[test]
fn a_repeated_event_is_caught() {
    let mut evidence = Evidence::sound();
    evidence.seen.insert(3, evidence.seen[3]);
    assert_eq!(caught(&evidence.judged()), ["gaps"]);
}

#[test]
fn an_event_that_says_something_else_is_caught() {
    let mut given = Evidence::sound().given();
    let log = given.history.streams.get_mut(&1).expect("there");
    log.segments[0].events[4].digest ^= 1;
    let verdict = check(&given.history, &given.readings);
    assert_eq!(caught(&verdict), ["gaps"]);
    assert_eq!(verdict.gaps.len(), 2, "against each of two nodes");
}

#[test]
fn a_fault_that_the_client_saw_is_caught() {
    let mut evidence = Evidence::sound();
    let given = {
        evidence.records.push(Record::Fault { stream: 1, detail: "early".to_owned() });
        let mut given = evidence.given();
        let fault = Record::Fault { stream: 1, detail: "a hole".to_owned() };
        given.history.add(usize::MAX, fault);
        given
    };
    assert_eq!(caught(&check(&given.history, &given.readings)), ["gaps"]);
}

#[test]
fn an_unresolved_unknown_is_caught() {
    for end in [None, Some(Record::Unknown { op: 900, detail: "?".to_owned() })] {
        let mut evidence = Evidence::sound();
        let actor = Actor::Agent(ANA);
        let command = Box::new(Command::Declare { agent: ANA, declared: Declared::Ready });
        evidence.records.push(Record::Invoke { op: 900, site: SITE, actor, command });
        evidence.records.extend(end);
        assert_eq!(caught(&evidence.judged()), ["unknown_unresolved"]);
        evidence.records.push(Record::Settled { op: 900, happened: false });
        assert!(evidence.judged().passes());
    }
}

#[test]
fn a_wrong_end_reason_is_caught() {
    let mut evidence = Evidence::sound();
    for (_, event) in &mut evidence.events {
        if let Event::Ended { conversation, why } = event
            && *conversation == chat(2)
        {
            *why = EndReason::WaitExpired;
        }
    }
    let verdict = evidence.judged();
    assert_eq!(caught(&verdict), ["lost"]);
    assert!(verdict.to_string().contains("it ended as WaitExpired"), "{verdict}");
}

#[test]
fn an_end_nobody_asked_for_is_caught() {
    let mut evidence = Evidence::sound();
    for record in &mut evidence.records {
        let abandon =
            matches!(record, Record::Invoke { command, .. } if command.word() == "abandon");
        if let (true, Record::Invoke { command, .. }) = (abandon, record) {
            **command = Command::Hold { conversation: chat(9) };
        }
    }
    assert!(caught(&evidence.judged()).contains(&"duplicated"));
}

#[test]
fn a_decision_at_another_index_is_lost() {
    let mut evidence = Evidence::sound();
    for record in &mut evidence.records {
        if let Record::Ok { position: Some(position), .. } = record
            && position.index == 13
        {
            position.index = 14;
        }
    }
    assert_eq!(caught(&evidence.judged()), ["lost"]);
}

#[test]
fn a_conversation_without_an_end_is_stuck() {
    let end = |event: &Event| {
        let closing = matches!(event, Event::Closed { .. });
        closing && event.conversation() == Some(chat(2))
    };
    assert_eq!(caught(&Evidence::sound().without(end).judged()), ["stuck"]);
}

#[test]
fn replicas_that_differ_are_caught() {
    let mut given = Evidence::sound().given();
    let reading = given.readings.nodes.get_mut(&NodeId(2)).expect("there");
    let event = reading.sites.get_mut(&SITE).and_then(|events| events.last_mut()).expect("there");
    event.wall += 1;
    assert_eq!(caught(&check(&given.history, &given.readings)), ["differing"]);
    let reading = given.readings.nodes.get_mut(&NodeId(2)).expect("there");
    reading.sites.get_mut(&SITE).and_then(Vec::pop).expect("there");
    let verdict = check(&given.history, &given.readings);
    assert!(caught(&verdict).contains(&"differing"), "{verdict}");
}

#[test]
fn readings_survive_the_disk() {
    let folder = tempfile::tempdir().expect("a folder");
    let given = Evidence::sound().given();
    given.readings.save(folder.path()).expect("written");
    assert_eq!(Readings::load(folder.path()).expect("read"), given.readings);
}

#[test]
fn what_an_agent_declares_leaves_no_trace_to_miss() {
    let mut evidence = Evidence::sound();
    let command = Command::Declare { agent: ANA, declared: Declared::Ready };
    evidence.done(18, Actor::Agent(ANA), command, None);
    assert!(evidence.judged().passes());
    let why = DeclaredWhy::Agent;
    evidence.event(18, Event::AgentDeclared { agent: ANA, declared: Declared::Ready, why });
    assert!(evidence.judged().passes());
}
