//! What is old goes, with whatever would find it; what may be needed stays.

use std::path::Path;
use std::sync::Arc;

use rotary_proto::event::{EndReason, QueuedWhy, Viewer};
use rotary_proto::{
    Attributes, Audience, Channel, ConversationId, CustomerId, Event, Priority, QueueId, SiteId,
    Stamp,
};
use rotary_storage::{Drive, Journal, JournalOptions, Lookup, SimulatedDisk};

use super::*;
use crate::archive::ClosedFilter;
use crate::blobs::NotingKeys;

const SITE: SiteId = SiteId::new(1, 1);
const SHARD: ShardId = ShardId(1);
const OTHER: ShardId = ShardId(2);
const CUSTOMER: CustomerId = CustomerId(7);
/// The retention, and how far apart conversations are.
const KEEP_MS: u64 = 100_000;
const APART_MS: u64 = 1_000;

/// A node whose disk outlives it.
struct Node {
    disk: SimulatedDisk,
    replica: Replica,
    retention: Retention,
}

fn open(disk: &SimulatedDisk) -> Replica {
    let options = JournalOptions {
        segment_bytes_max: 4_096,
        recent_bytes_max: 2_048,
        drive: Drive::Manual(Arc::new(|| ())),
        ..JournalOptions::default()
    };
    let journal = Journal::open(disk.process(), Path::new("/journal"), options).expect("opens");
    Replica::new([1, 2].map(rotary_proto::ShardId), Arc::new(journal), Lookup::in_memory())
}

fn id(number: u64) -> ConversationId {
    ConversationId::new(SITE, u128::from(number))
}

/// The wall time of a conversation's events.
fn wall(number: u64) -> Wall {
    Wall(1_000_000 + number * APART_MS)
}

fn story(number: u64) -> [Event; 4] {
    let (conversation, queue, customer) = (id(number), QueueId(1), Some(CUSTOMER));
    let (channel, attributes) = (Channel::Chat, Attributes::default());
    let (since, until, why) = (Stamp(1), Stamp(2), QueuedWhy::Opened);
    let priority = Priority::default();
    [
        Event::Opened { conversation, channel, customer, attributes, mail: None },
        Event::Queued { conversation, queue, priority, since, until, why },
        Event::Ended { conversation, why: EndReason::Customer },
        Event::Closed { conversation, agent: None, disposition: None, note: None, expired: false },
    ]
}

impl Node {
    /// Conversations 1 to `count`, four entries each.
    fn new(count: u64) -> Self {
        let disk = SimulatedDisk::new(1);
        let replica = open(&disk);
        let mut node =
            Self { disk, replica, retention: Retention::of(Duration::from_millis(KEEP_MS)) };
        (1..=count).for_each(|number| node.tell(SHARD, number));
        node.index();
        node
    }

    /// A conversation of a shard; its sequences are its indexes.
    fn tell(&mut self, shard: ShardId, number: u64) {
        let journal = self.replica.journal();
        for event in story(number) {
            let index = journal.last_index(shard.0) + 1;
            let (sequence, stamp, wall) = (index, Stamp(index), wall(number));
            let audience =
                Audience { agents: [].into(), customer: Some(CUSTOMER), queue: Some(QueueId(1)) };
            let record = EventRecord { site: SITE, sequence, index, stamp, wall, audience, event };
            let bytes = codec::encode(&record, Limit::Entry).expect("small");
            let kept = JournalRecord { stream: SITE.key(), sequence, index, ordinal: 0, bytes };
            journal.append(shard.0, vec![kept]).expect("in sequence");
        }
        journal.flush().expect("written");
    }

    fn index(&self) {
        let (lookup, journal) = (self.replica.lookup(), self.replica.journal());
        while !lookup
            .catch_up(journal, SHARD.0, &NotingKeys(&self.replica), 999)
            .expect("indexed")
            .is_done()
        {}
    }

    fn sweep(&mut self, now: Wall, snapshot: u64) -> Swept {
        let now = present(&self.retention.rule, &self.replica, now).expect("readable");
        let swept = self.retention.sweep(&self.replica, SHARD, now, snapshot);
        let swept = swept.expect("the disk is well");
        self.replica.journal().flush().expect("written");
        swept
    }

    /// The numbers of the conversations whose stories can be read whole.
    fn whole(&self, count: u64) -> Vec<u64> {
        let story = |number| self.replica.story(id(number), 99).expect("readable");
        (1..=count).filter(|number| story(*number).len() == 4).collect()
    }

    fn first_index(&self) -> u64 {
        self.replica.journal().first_index(SHARD.0)
    }
}

#[test]
fn what_is_older_than_the_retention_goes_and_nothing_else() {
    let mut node = Node::new(300);
    let now = wall(300);
    let swept = node.sweep(now, u64::MAX);
    assert!(swept.segments > 3 && swept.bytes > 0 && !swept.wants_snapshot, "{swept:?}");
    // 200 conversations are older; a segment has some tens.
    let whole = node.whole(300);
    assert!(whole.contains(&200) && whole.ends_with(&[300]), "{whole:?}");
    assert!((150..=201).contains(&whole[0]), "{whole:?}");
    assert_eq!(node.sweep(now, u64::MAX).segments, 0, "once is enough");
    // What would find it is gone as well, and so is what came before a cursor.
    let filter = ClosedFilter { queue: Some(QueueId(1)), ..ClosedFilter::default() };
    let listed = node.replica.closed(SITE, &filter, None, 999).expect("readable");
    let listed: Vec<_> = listed.rows.iter().map(|row| row.view.conversation.unique).collect();
    assert_eq!(listed, whole.iter().map(|number| u128::from(*number)).collect::<Vec<_>>());
    for viewer in [Viewer::Supervisor, Viewer::Customer(CUSTOMER)] {
        let error = node.replica.page(viewer, SITE, 5, 10).expect_err("forgotten");
        assert!(error.is_forgotten(), "{error}");
    }
    let first = node.replica.story(id(1), 99).expect("readable");
    assert_eq!(first, []);
}

#[test]
fn a_restart_finds_what_was_kept_and_indexes_it_again() {
    let mut node = Node::new(300);
    node.sweep(wall(300), u64::MAX);
    let (whole, first) = (node.whole(300), node.first_index());
    node.disk.power_cut();
    node.replica = open(&node.disk);
    node.retention = Retention::of(Duration::from_millis(KEEP_MS));
    node.index();
    assert_eq!((node.whole(300), node.first_index()), (whole, first));
    assert_eq!(node.sweep(wall(300), u64::MAX).segments, 0);
}

#[test]
fn what_no_snapshot_stands_for_stays_and_a_snapshot_is_wanted() {
    let mut node = Node::new(300);
    let wanted = Swept { wants_snapshot: true, ..Swept::default() };
    assert_eq!((node.sweep(wall(300), 0), node.first_index()), (wanted, 0));
    let some = node.sweep(wall(300), 400);
    assert!(some.segments > 0 && some.wants_snapshot, "{some:?}");
    assert!((200..=400).contains(&node.first_index()), "{}", node.first_index());
    assert!(!node.sweep(wall(300), 1_200).wants_snapshot);
}

#[test]
fn what_the_lookup_has_not_read_stays() {
    let mut node = Node::new(0);
    (1..=300).for_each(|number| node.tell(SHARD, number));
    assert_eq!((node.sweep(wall(300), u64::MAX), node.first_index()), (Swept::default(), 0));
    node.index();
    assert!(node.sweep(wall(300), u64::MAX).segments > 0);
}

#[test]
fn a_shard_where_little_happens_lets_go_as_well() {
    let mut node = Node::new(2);
    assert_eq!(node.sweep(wall(3), u64::MAX), Swept::default());
    assert_eq!(node.replica.journal().segments(SHARD.0), [], "it grows still");
    // The other shard's records say how late it is.
    node.tell(OTHER, 20);
    node.sweep(wall(20), u64::MAX);
    assert_eq!(node.replica.journal().segments(SHARD.0).len(), 1, "an eighth has passed");
    node.tell(OTHER, 101);
    assert_eq!(node.sweep(wall(101), u64::MAX).segments, 0);
    node.tell(OTHER, 104);
    assert_eq!(node.sweep(wall(104), u64::MAX).segments, 1);
    assert!(node.whole(2).is_empty());
    node.tell(SHARD, 105);
    node.index();
    assert_eq!(node.replica.story(id(105), 99).expect("readable").len(), 4);
}

#[test]
fn a_clock_that_is_years_ahead_drops_nothing_before_its_time() {
    let mut node = Node::new(300);
    node.sweep(Wall(u64::MAX), u64::MAX);
    assert!(node.whole(300).contains(&200), "the newest record says how late it is");
    assert_eq!(node.sweep(Wall(0), u64::MAX).segments, 0);
}

#[test]
fn a_short_retention_is_looked_after_more_often() {
    let pause = |seconds| Retention::of(Duration::from_secs(seconds)).pause().as_millis();
    assert_eq!([1, 60, 3_600, 30 * 86_400].map(pause), [1_000, 3_750, 225_000, 300_000]);
}
