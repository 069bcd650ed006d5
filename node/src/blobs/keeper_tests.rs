//! What is missing is tried again, what nobody names goes, and what is named stays for as long as
//! its record does.

use std::path::Path;

use rotary_proto::codec::{self, Limit};
use rotary_proto::event::Author;
use rotary_proto::{
    Attachment, Audience, Body, ConversationId, Event, EventRecord, ItemId, MediaType, Stamp, Wall,
};
use rotary_storage::{
    BlobName, BlobRoom, Drive, Fatal, Journal, JournalOptions, JournalRecord, Lookup, SimulatedDisk,
};

use super::*;
use crate::blobs::NotingKeys;

const SITE: SiteId = SiteId::new(1, 1);
const SHARD: ShardId = ShardId(1);
/// When the blobs were stored.
const STORED_MS: u64 = 1_000_000;

fn replica() -> Replica {
    let drive = Drive::Manual(Arc::new(|| ()));
    let options = JournalOptions { drive, ..JournalOptions::default() };
    let disk = SimulatedDisk::new(1).process();
    let journal = Journal::open(disk, Path::new("/journal"), options).expect("empty");
    Replica::new([rotary_proto::ShardId(1)], Arc::new(journal), Lookup::in_memory())
}

fn store() -> Arc<Store> {
    let room = BlobRoom { bytes_max: 1 << 30, owner_bytes_max: u64::MAX, free_bytes_min: 0 };
    let fatal = Fatal::with(|_, reason| panic!("{reason}"));
    let disk = SimulatedDisk::new(2).process();
    Arc::new(Store::open(disk, Path::new("/blobs"), room, fatal).expect("empty"))
}

fn put(store: &Arc<Store>, site: SiteId, bytes: &[u8]) -> BlobId {
    let mut writer = store.begin(site.key(), BlobUse::New, 100).expect("room");
    writer.append(bytes).expect("room");
    BlobId(writer.finish(None, STORED_MS).expect("room").0.digest)
}

/// Records a message with those files as the next event, and indexes it.
fn tell(replica: &Replica, conversation: u128, blobs: &[BlobId]) {
    let journal = replica.journal();
    let index = journal.last_index(SHARD.0) + 1;
    let attach = |blob: &BlobId| Attachment {
        blob: *blob,
        name: None,
        media_type: MediaType::new("a/b").expect("valid"),
        bytes: 1,
    };
    let attachments = blobs.iter().map(attach).collect();
    let body = Body { attachments, ..Body::plain("here").expect("short") };
    let event = Event::Posted {
        conversation: ConversationId::new(SITE, conversation),
        item: ItemId(u128::from(index)),
        ordinal: 1,
        author: Author::Customer,
        note: false,
        body,
        mail: None,
    };
    let (sequence, audience) = (index, Audience::default());
    let (stamp, wall) = (Stamp(index), Wall(index));
    let record = EventRecord { site: SITE, sequence, index, stamp, wall, audience, event };
    let bytes = codec::encode(&record, Limit::Entry).expect("small");
    let kept = JournalRecord { stream: SITE.key(), sequence, index, ordinal: 0, bytes };
    journal.append(SHARD.0, vec![kept]).expect("in sequence");
    journal.flush().expect("written");
    let keys = NotingKeys(replica);
    let progress = replica.lookup().catch_up(journal, SHARD.0, &keys, 99).expect("indexed");
    assert!(progress.is_done());
}

fn left(store: &Store) -> Vec<BlobId> {
    let names = store.list(SITE.key()).expect("listed");
    names.into_iter().map(|BlobName { digest, .. }| BlobId(digest)).collect()
}

#[test]
fn what_no_record_names_goes_when_it_is_old_and_the_rest_with_its_record() {
    let (store, replica) = (store(), replica());
    let [named, unnamed] = [b"named".as_slice(), b"unnamed"].map(|it| put(&store, SITE, it));
    let elsewhere = put(&store, SiteId::new(1, 2), b"named");
    tell(&replica, 1, &[named]);
    let sweep =
        |before_ms| remove_of_site(&store, &replica, SITE, before_ms).expect("the disk is well");
    assert!(sweep(STORED_MS).is_empty(), "nothing is old enough");
    assert_eq!((sweep(STORED_MS + 1), left(&store)), (vec![unnamed], vec![named]));
    // Its bytes are somebody else's, too, who is not asked.
    assert!(store.find(stored(SiteId::new(1, 2), elsewhere)).expect("readable").is_some());
    tell(&replica, 2, &[named]);
    replica.lookup().prune(SHARD.0, 1).expect("pruned");
    assert!(sweep(u64::MAX).is_empty(), "a later message names it still");
    replica.lookup().prune(SHARD.0, 2).expect("pruned");
    assert_eq!((sweep(u64::MAX), left(&store)), (vec![named], vec![]));
}

#[test]
fn names_are_found_by_conversation_and_noted_once_indexed() {
    let replica = replica();
    let [one, two] = [1, 2].map(|byte| BlobId([byte; 32]));
    tell(&replica, 1, &[one, two, one]);
    tell(&replica, 2, &[two]);
    let noted = replica.named().take();
    assert_eq!(noted.blobs.into_iter().collect::<Vec<_>>(), [(SITE, one), (SITE, two)]);
    let naming = |conversation, blob| {
        let id = ConversationId::new(SITE, conversation);
        let records = replica.naming(id, blob, 9).expect("readable");
        records.iter().map(|record| record.sequence).collect::<Vec<_>>()
    };
    assert_eq!((naming(1, one), naming(1, two), naming(2, two)), (vec![1], vec![1], vec![2]));
    assert!(naming(2, one).is_empty());
    let (mut all, mut after) = (Vec::new(), None);
    loop {
        let (blobs, next) = replica.named_after(SHARD, after.as_ref(), 1).expect("readable");
        all.extend(blobs);
        after = next;
        if after.is_none() {
            break;
        }
    }
    assert_eq!(all, [(SITE, one), (SITE, two), (SITE, two)]);
}

#[test]
fn what_cannot_be_fetched_is_tried_later_and_later() {
    let (mut missing, now) = (Missing::default(), Instant::now());
    let (site, blob) = (SiteId::new(1, 2), BlobId([7; 32]));
    missing.add(site, blob, now);
    assert_eq!(missing.due(now, 9), [(site, blob)]);
    assert_eq!(missing.postpone(site, blob, now), 1);
    assert!(missing.due(now + FETCH_AGAIN / 2, 9).is_empty());
    missing.add(site, blob, now);
    assert!(missing.due(now + FETCH_AGAIN / 2, 9).is_empty(), "seen again, it waits on");
    for failures in 2..40 {
        assert_eq!(missing.postpone(site, blob, now), failures);
    }
    assert_eq!(missing.due(now + FETCH_AGAIN_MAX, 9), [(site, blob)]);
    missing.settle(site, blob);
    assert_eq!(missing.len(), 0);
}
