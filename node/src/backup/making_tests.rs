//! Runs as they are made: which shards they take, and which of them again.

use rotary_directory::{Directory, DirectoryCommand, DirectoryEntry};
use rotary_distributor::Shard;
use rotary_log::encode_base;
use rotary_proto::{
    Name, NodeId, Outcome, ShardCommand, SiteId, SiteMove, SitePart, SiteSettings, Stamp, Wall,
};
use rotary_storage::{JournalBase, JournalHead};
use tempfile::TempDir;

use super::*;
use crate::backup::format::{End, Frame, Head};
use crate::backup::run::{choose, verify};
use crate::backup::store::{Access, open};

const RUN: &str = "main_20261123T193000.250Z_hand";
const SITE: SiteId = SiteId::new(1, 1);

fn store_in(folder: &TempDir) -> Arc<dyn Store> {
    open(folder.path().to_str().expect("plain"), &Access::default()).expect("a folder")
}

fn write(store: &dyn Store, name: &str, bytes: &[u8]) {
    let mut file = store.write(&format!("{RUN}/{name}")).expect("begun");
    file.write_all(bytes).expect("writable");
    file.finish().expect("finished");
}

fn put(store: &dyn Store, shard: ShardId, bytes: &[u8]) {
    write(store, &file_of(shard), bytes);
}

/// The file of a directory that wants so many data shards, of which two have begun, made while
/// its maker took it to have one.
fn directory(shards: u32) -> Vec<u8> {
    let mut directory = Directory::new();
    let commands = [
        DirectoryCommand::Found { shards: 2, members: [NodeId(1)].into() },
        DirectoryCommand::AddShards { shards },
    ];
    for (index, command) in (1..).zip(commands) {
        let entry = DirectoryEntry { origin: None, asked: None, command };
        directory.apply(index, Stamp(index), entry);
    }
    directory_file(&mut directory)
}

fn directory_file(directory: &mut Directory) -> Vec<u8> {
    file(DIRECTORY, directory.freeze().chunks().collect(), None)
}

/// A shard's file of a state, whose journal begins where the state stands.
fn file(shard: ShardId, chunks: Vec<Vec<u8>>, journal: Option<Vec<u8>>) -> Vec<u8> {
    let head = Head {
        cluster: "main".to_owned(),
        shard,
        shards: 1,
        index: 2,
        term: 1,
        leader: NodeId(1),
        build: "1".to_owned(),
        node: NodeId(1),
        wall: Wall(9),
    };
    let end = End { chunks: chunks.len() as u64, ..End::default() };
    let chunks = chunks.into_iter().map(Frame::Chunk).chain(journal.map(Frame::Base));
    let frames = [Frame::Head(head)].into_iter().chain(chunks).chain([Frame::End(end)]);
    let frames = frames.flat_map(|frame| frame.encode());
    rotary_storage::backup_preamble().into_iter().chain(frames).collect()
}

/// The file of a data shard that has recorded so many events of its one site.
fn shard_file(shard: &mut Shard, recorded: u64) -> Vec<u8> {
    let streams = [(SITE.key(), recorded)].into_iter().filter(|(_, last)| *last > 0);
    let base = JournalBase { head: JournalHead::default(), streams: streams.collect() };
    let base = encode_base(base);
    let chunks = std::iter::once(base.clone()).chain(shard.freeze().chunks()).collect();
    file(shard.id(), chunks, Some(base))
}

#[test]
fn which_shards_a_run_has_says_the_directory_in_it_and_nobody_else() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = store_in(&folder);
    let bytes = directory(4);
    put(&*store, DIRECTORY, &bytes);
    let mut making = Making::begin(store.clone(), RUN.parse().expect("a name"));
    making.prove(DIRECTORY, bytes.len() as u64).expect("whole");
    assert_eq!(making.wanted(), [ShardId(1), ShardId(2)], "3 and 4 have no beginning");
    let left_out = making.finish().expect_err("two are missing").to_string();
    assert!(left_out.contains("not every shard that the directory names"), "{left_out}");

    // A manifest that says otherwise is found out, though the file is whole.
    let (made, log, not_begun) = (Wall(9), None, [ShardId(1)].into());
    let (sites, records, files, bytes) = (0, 0, 0, bytes.len() as u64);
    let kept = Kept { shard: DIRECTORY, index: 2, sites, records, files, bytes, made, log };
    let (cluster, shards) = ("main".to_owned(), vec![kept]);
    let mut said = Manifest { form: FORM, cluster, ms: 1, shards, not_begun };
    write(&*store, MANIFEST, &serde_json::to_vec(&said).expect("JSON"));
    let found = choose(&*store, None).expect("it has a manifest");
    let wrong = verify(&*store, &found).expect_err("it has four").to_string();
    assert!(wrong.contains("sh_0.backup: it is not what the manifest says"), "{wrong}");
    said.not_begun = (1..=4).map(ShardId).collect();
    write(&*store, MANIFEST, &serde_json::to_vec(&said).expect("JSON"));
    verify(&*store, &found).expect_err("two of them have begun");
}

/// The directory of a cluster of two data shards, with a site.
fn with_a_site() -> Directory {
    let mut directory = Directory::new();
    let name = |text| Name::new(text).expect("short");
    let commands = [
        DirectoryCommand::Found { shards: 2, members: [NodeId(1)].into() },
        DirectoryCommand::CreateTenant { name: name("acme") },
        DirectoryCommand::CreateSite { tenant: SITE.tenant, name: name("north"), shard: None },
    ];
    for (index, command) in (1..).zip(commands) {
        let entry = DirectoryEntry { origin: None, asked: None, command };
        directory.apply(index, Stamp(index), entry);
    }
    assert_eq!(directory.sites(None).next().expect("it was made").site, SITE);
    directory
}

fn enter(shard: &mut Shard, index: u64, command: ShardCommand) -> usize {
    let applied = shard.apply(index, Stamp(index), Wall(1), command);
    assert!(matches!(applied.answer.outcome, Outcome::Done(_)), "{applied:?}");
    applied.events.len()
}

/// The files of two shards before a site moves from the first to the second, and after.
fn moved() -> [[Vec<u8>; 2]; 2] {
    let (mut from, mut to) = (Shard::new(ShardId(1)), Shard::new(ShardId(2)));
    let settings = SiteSettings::named(Name::new("north").expect("short"));
    let create = ShardCommand::CreateSite { site: SITE, settings };
    let recorded = enter(&mut from, 1, create) as u64;
    let before = [shard_file(&mut from, recorded), shard_file(&mut to, 0)];
    let (site, departed) = (SITE, 1);
    let depart = SiteMove::Depart { site, to: to.id(), departed };
    enter(&mut from, 2, ShardCommand::Move(depart));
    let expect = SiteMove::Expect { site, from: from.id(), departed };
    enter(&mut to, 1, ShardCommand::Move(expect));
    let frozen = from.freeze_departed(SITE).expect("it has departed");
    let mut parts = 0;
    for (number, bytes) in (0..).zip(frozen.chunks()) {
        let part = SitePart { site, attempt: 1, number, ends_chunk: true, bytes };
        let take = ShardCommand::Move(SiteMove::Take(part));
        enter(&mut to, 2 + u64::from(number), take);
        parts += 1;
    }
    let arrive = ShardCommand::Move(SiteMove::Arrive { site, attempt: 1, parts });
    let told = enter(&mut to, 2 + u64::from(parts), arrive) as u64;
    enter(&mut from, 3, ShardCommand::Move(SiteMove::Forget { site, departed }));
    [before, [shard_file(&mut from, recorded), shard_file(&mut to, told)]]
}

/// Takes the shard that is due, which must be that one.
fn take(making: &mut Making, store: &dyn Store, shard: ShardId, bytes: &[u8]) {
    assert_eq!(making.next().expect("it goes on"), Some(shard));
    put(store, shard, bytes);
    making.prove(shard, bytes.len() as u64).expect("whole");
}

#[test]
fn a_shard_that_is_behind_where_sites_moved_is_taken_again() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = store_in(&folder);
    let directory = directory_file(&mut with_a_site());
    let [before, after] = moved();
    let [first, second] = [ShardId(1), ShardId(2)];
    let begin = || {
        let mut making = Making::begin(store.clone(), RUN.parse().expect("a name"));
        take(&mut making, &*store, DIRECTORY, &directory);
        making
    };
    // It lives in both.
    let mut making = begin();
    take(&mut making, &*store, first, &before[0]);
    take(&mut making, &*store, second, &after[1]);
    assert!(!making.is_again());
    take(&mut making, &*store, first, &after[0]);
    assert!(making.is_again());
    assert_eq!(making.next().expect("it fits"), None);
    making.finish().expect("it is whole");
    let run = choose(&*store, None).expect("a run");
    assert_eq!(verify(&*store, &run).expect("it fits").len(), 3);
    // It lives in none; and then it is not let go as if it did.
    let mut making = begin();
    take(&mut making, &*store, first, &after[0]);
    take(&mut making, &*store, second, &before[1]);
    for _ in 1..ROUNDS_MAX {
        take(&mut making, &*store, second, &before[1]);
    }
    take(&mut making, &*store, second, &before[1]);
    let never = making.next().expect_err("it never comes").to_string();
    assert!(never.contains("sites moved all the time: st_1.1 left sh_1"), "{never}");
    // Nothing is taken again where nothing moved.
    let mut making = begin();
    take(&mut making, &*store, first, &before[0]);
    take(&mut making, &*store, second, &before[1]);
    assert_eq!(making.next().expect("it fits"), None);
}

#[test]
fn a_directory_that_does_not_know_a_site_is_taken_again() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = store_in(&folder);
    let ([before, _], [first, second]) = (moved(), [ShardId(1), ShardId(2)]);
    let mut making = Making::begin(store.clone(), RUN.parse().expect("a name"));
    take(&mut making, &*store, DIRECTORY, &directory(2));
    take(&mut making, &*store, first, &before[0]);
    take(&mut making, &*store, second, &before[1]);
    take(&mut making, &*store, DIRECTORY, &directory_file(&mut with_a_site()));
    assert_eq!(making.next().expect("it fits"), None);
    making.finish().expect("it is whole");
}
