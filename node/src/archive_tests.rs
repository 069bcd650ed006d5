//! What the archive finds is what reading the whole journal finds.

use std::sync::Arc;

use proptest::prelude::*;
use rotary_proto::codec::{self, Limit};
use rotary_proto::event::{EndReason, QueuedWhy, Viewer};
use rotary_proto::{
    AgentId, Attributes, Audience, Channel, CustomerId, Event, OfferId, Priority, QueueId, Stamp,
    Wall,
};
use rotary_storage::{
    Drive, FileDisk, Journal, JournalOptions, JournalRecord, Lookup, SimulatedDisk,
};

use super::*;
use crate::feed::Position;

const SITE: SiteId = SiteId::new(1, 1);
const SHARD: ShardId = ShardId(1);

/// A conversation with its parts, told in a few events.
#[derive(Debug, Clone)]
struct Told {
    queue: u32,
    agents: Vec<u32>,
    customer: Option<u128>,
    wall: u64,
}

impl Told {
    fn id(number: usize) -> ConversationId {
        ConversationId::new(SITE, number as u128)
    }

    fn events(&self, number: usize) -> Vec<(Event, Audience)> {
        let conversation = Self::id(number);
        let (queue, customer) = (QueueId(self.queue), self.customer.map(CustomerId));
        let audience = |agents: &[u32], shown: bool| Audience {
            agents: agents.iter().map(|agent| AgentId(*agent)).collect(),
            customer: customer.filter(|_| shown),
            queue: Some(queue),
        };
        let (channel, attributes) = (Channel::Chat, Attributes::default());
        let opened = Event::Opened { conversation, channel, customer, attributes, mail: None };
        let (since, until, why) = (Stamp(1), Stamp(2), QueuedWhy::Opened);
        let priority = Priority::default();
        let queued = Event::Queued { conversation, queue, priority, since, until, why };
        let mut events = vec![(opened, audience(&[], true)), (queued, audience(&[], true))];
        for (leg, agent) in (1..).zip(&self.agents) {
            let (offer, id) = (OfferId(1), AgentId(*agent));
            let assigned = Event::Assigned { conversation, offer, agent: id, leg };
            events.push((assigned, audience(&[*agent], true)));
        }
        let ended = Event::Ended { conversation, why: EndReason::Agent };
        let agent = self.agents.last().map(|agent| AgentId(*agent));
        let closed =
            Event::Closed { conversation, agent, disposition: None, note: None, expired: false };
        let last = self.agents.last().map(std::slice::from_ref).unwrap_or_default();
        events.extend([(ended, audience(last, true)), (closed, audience(last, false))]);
        events
    }
}

fn told() -> impl Strategy<Value = Told> {
    let agents = proptest::collection::vec(1u32..4, 0..3);
    (1u32..3, agents, proptest::option::of(1u128..4), 0u64..50)
        .prop_map(|(queue, agents, customer, wall)| Told { queue, agents, customer, wall })
}

/// A replica whose journal tells these, one event an index.
fn replica(all: &[Told]) -> (Replica, Vec<EventRecord>) {
    let drive = Drive::Manual(Arc::new(|| ()));
    let options = JournalOptions {
        segment_bytes_max: 4_096,
        recent_bytes_max: 2_048,
        drive,
        ..JournalOptions::default()
    };
    let path = std::path::Path::new("/journal");
    let journal = Journal::open(SimulatedDisk::new(1).process(), path, options).expect("empty");
    let mut events = Vec::new();
    for (number, told) in all.iter().enumerate() {
        for (event, audience) in told.events(number) {
            let sequence = events.len() as u64 + 1;
            let (index, stamp, wall) = (sequence, Stamp(sequence), Wall(told.wall));
            let record = EventRecord { site: SITE, sequence, index, stamp, wall, audience, event };
            let bytes = codec::encode(&record, Limit::Entry).expect("small");
            let kept = JournalRecord { stream: SITE.key(), sequence, index, ordinal: 0, bytes };
            journal.append(SHARD.0, vec![kept]).expect("in sequence");
            events.push(record);
        }
    }
    journal.flush().expect("written");
    (Replica::new([rotary_proto::ShardId(1)], Arc::new(journal), Lookup::in_memory()), events)
}

/// All that a viewer sees after a cursor, page by page.
fn seen(replica: &Replica, viewer: Viewer, after: u64, limit: usize) -> Vec<u64> {
    let mut position = Position::after(viewer, SITE, after);
    let mut seen = Vec::new();
    loop {
        let page = replica.page(viewer, SITE, position.sequence(), limit).expect("readable");
        if page.through == position.sequence() {
            return seen;
        }
        seen.extend(page.events.iter().filter(|e| position.pass(e)).map(|e| e.sequence));
        position.reach(page.through);
    }
}

/// The numbers of those that closed, page by page.
fn listed(replica: &Replica, filter: &ClosedFilter, limit: usize) -> Vec<u128> {
    let (mut listed, mut after) = (Vec::new(), None);
    loop {
        let page = replica.closed(SITE, filter, after, limit).expect("readable");
        assert!(page.rows.len() <= limit);
        listed.extend(page.rows.iter().map(|row| row.view.conversation.unique));
        let Some(next) = page.next else { return listed };
        after = Some(next.to_string().parse().expect("its own text"));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn a_viewer_sees_what_the_journal_shows(
        all in proptest::collection::vec(told(), 120..260),
        cursors in proptest::collection::vec((0u64..1_200, 1usize..40), 1..6),
    ) {
        let (replica, events) = replica(&all);
        for (after, limit) in cursors {
            for viewer in [
                Viewer::Supervisor, Viewer::Agent(AgentId(1)), Viewer::Agent(AgentId(9)),
                Viewer::Customer(CustomerId(2)),
            ] {
                let visible = events.iter().filter(|e| e.sequence > after);
                let visible = visible.filter(|e| e.audience.admits(viewer));
                let expected: Vec<u64> = visible.map(|e| e.sequence).collect();
                prop_assert_eq!(seen(&replica, viewer, after, limit), expected);
            }
        }
    }

    #[test]
    fn a_list_of_the_closed_is_what_their_stories_say(
        all in proptest::collection::vec(told(), 1..60),
        queue in proptest::option::of(1u32..4), agent in proptest::option::of(1u32..5),
        customer in proptest::option::of(1u128..5), from in 0u64..50,
        to in proptest::option::of(0u64..60), limit in 1usize..9,
    ) {
        let (replica, _) = replica(&all);
        let filter = ClosedFilter {
            queue: queue.map(QueueId),
            agent: agent.map(AgentId),
            customer: customer.map(CustomerId),
            from: Wall(from),
            to: to.map(Wall),
        };
        let wanted = |told: &Told| {
            queue.is_none_or(|queue| told.queue == queue)
                && agent.is_none_or(|agent| told.agents.contains(&agent))
                && (customer.is_none() || told.customer == customer)
                && told.wall >= from && to.is_none_or(|to| told.wall < to)
        };
        let numbered = all.iter().enumerate().filter(|(_, told)| wanted(told));
        let mut expected: Vec<(u64, u128)> = numbered.map(|(n, t)| (t.wall, n as u128)).collect();
        expected.sort_unstable();
        let expected: Vec<u128> = expected.into_iter().map(|(_, number)| number).collect();
        prop_assert_eq!(listed(&replica, &filter, limit), expected);
    }

    #[test]
    fn a_story_is_the_events_of_its_conversation(all in proptest::collection::vec(told(), 1..40)) {
        let (replica, events) = replica(&all);
        for number in 0..all.len() {
            let id = Told::id(number);
            let own = events.iter().filter(|e| e.event.conversation() == Some(id)).cloned();
            let expected: Vec<EventRecord> = own.collect();
            prop_assert_eq!(replica.story(id, usize::MAX).expect("readable"), expected);
        }
        let unknown = replica.story(Told::id(999), usize::MAX).expect("readable");
        prop_assert_eq!(unknown, []);
    }
}

#[test]
fn a_cursor_that_is_none_is_refused() {
    for text in ["", "1", "1.2", "1.2.3.4.5", "1.2.3.x", "a.b.c", "1.2.99999999999", "-1.2.3"] {
        assert!(text.parse::<ClosedCursor>().is_err(), "{text}");
    }
}

#[test]
fn what_retention_dropped_is_told_apart_from_what_never_was() {
    let told = Told { queue: 1, agents: vec![1], customer: Some(1), wall: 7 };
    let (replica, events) = replica(&vec![told; 300]);
    let middle = events.len() as u64 / 2;
    assert!(replica.journal().retain(SHARD.0, middle).expect("dropped") > 0);
    let viewer = Viewer::Agent(AgentId(1));
    let error = replica.page(viewer, SITE, 0, 10).expect_err("forgotten");
    assert!(error.is_forgotten(), "{error}");
    let first = replica.journal().first_sequence(SHARD.0, SITE.key());
    let visible = events.iter().filter(|e| e.sequence >= first && e.audience.admits(viewer));
    let expected: Vec<u64> = visible.map(|e| e.sequence).collect();
    assert_eq!(seen(&replica, viewer, first - 1, 10), expected);
    assert_eq!(replica.story(Told::id(0), 9).expect("readable"), []);
    let listed = listed(&replica, &ClosedFilter::default(), 50);
    assert!(listed.len() > 100 && listed.last() == Some(&299));
}

#[test]
fn an_archive_on_disk_is_indexed_by_its_thread() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("journal");
    let fatal = rotary_storage::Fatal::with(|_, reason| panic!("{reason}"));
    let options = JournalOptions { fatal: fatal.clone(), ..JournalOptions::default() };
    let journal = Journal::open(Arc::new(FileDisk), &path, options).expect("empty");
    let lookup = Lookup::open(&dir.path().join("lookup"), &journal).expect("empty");
    let event = Event::Ended { conversation: Told::id(1), why: EndReason::Agent };
    let (audience, wall) = (Audience::default(), Wall(1));
    let record =
        EventRecord { site: SITE, sequence: 1, index: 1, stamp: Stamp(1), wall, audience, event };
    let bytes = codec::encode(&record, Limit::Entry).expect("small");
    let kept = JournalRecord { stream: SITE.key(), sequence: 1, index: 1, ordinal: 0, bytes };
    let replica = Arc::new(Replica::new([rotary_proto::ShardId(1)], Arc::new(journal), lookup));
    let indexer = Indexer::start(replica.clone(), fatal).expect("a thread");
    replica.journal().append(SHARD.0, vec![kept]).expect("in sequence");
    while replica.lookup().through(SHARD.0) < 1 {
        std::thread::yield_now();
    }
    drop(indexer);
    assert_eq!(replica.story(Told::id(1), 9).expect("readable"), [record]);
}
