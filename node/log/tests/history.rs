//! Journals that lack what was before their snapshots, and nodes that fetch it from each other.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::future::BoxFuture;
use rotary_log::{Blocking, History, answer_history};
use rotary_proto::{NodeId, ShardId};
use rotary_storage::{
    Journal, JournalBase, JournalHead, JournalOptions, JournalRecord, SimulatedDisk,
};
use rotary_transport::{Certificates, ClusterAuthority, Handler, Lane, Transport, TransportConfig};

const SHARD: ShardId = ShardId(1);
/// Generous: a busy machine with one slow core must pass.
const LIMIT: Duration = Duration::from_secs(120);

struct Shelf(Arc<Journal>);

impl Handler for Shelf {
    fn handle(
        &self,
        _: NodeId,
        _: Lane,
        _: u8,
        payload: Bytes,
    ) -> BoxFuture<'static, Result<Vec<u8>, String>> {
        let journal = self.0.clone();
        Box::pin(async move { answer_history(&journal, &payload) })
    }
}

fn record(index: u64) -> JournalRecord {
    JournalRecord { stream: 7, sequence: index, index, ordinal: 0, bytes: vec![1; 40] }
}

/// A journal of segments of a few records each.
fn journal() -> Arc<Journal> {
    let options = JournalOptions { segment_bytes_max: 400, ..JournalOptions::default() };
    let disk = SimulatedDisk::new(1).process();
    Arc::new(Journal::open(disk, Path::new("/journal"), options).expect("an empty one"))
}

/// One that has everything from 1 to 100.
fn whole() -> Arc<Journal> {
    let journal = journal();
    append(&journal, 1..=100);
    journal
}

fn append(journal: &Journal, indexes: std::ops::RangeInclusive<u64>) {
    for index in indexes {
        journal.append(SHARD.0, vec![record(index)]).expect("in sequence");
    }
    journal.flush().expect("written");
}

/// One that began from a snapshot at `index`, and has what follows up to 100.
fn since(index: u64) -> Arc<Journal> {
    let (other, journal) = (self::journal(), journal());
    append(&other, 1..=index);
    let JournalBase { head, streams } = other.tip(SHARD.0);
    assert_eq!(head, JournalHead { index, ..head });
    journal.rebase(SHARD.0, JournalBase { head, streams }).expect("rebased");
    append(&journal, index + 1..=100);
    assert!(journal.missing(SHARD.0).is_some());
    journal
}

/// Nodes that fetch for as long as this lives.
struct Nodes(tokio::task::JoinSet<()>);

/// Joins journals to a cluster in which each node fetches what it lacks.
fn join(journals: &[Arc<Journal>]) -> Nodes {
    let authority = ClusterAuthority::create("blue").expect("made");
    let numbers = || (1..).map(NodeId);
    let started: Vec<Arc<Transport>> = numbers()
        .zip(journals)
        .map(|(node, journal)| {
            let pem = authority.issue(node).expect("signs");
            let ca = authority.certificate_pem();
            let certificates = Certificates::from_pem(ca, &pem.certificate, &pem.key);
            let config = TransportConfig {
                node,
                listen: ([127, 0, 0, 1], 0).into(),
                peers: Default::default(),
                certificates: certificates.expect("fits"),
            };
            let shelf = Arc::new(Shelf(journal.clone()));
            Arc::new(Transport::start(config, shelf).expect("starts"))
        })
        .collect();
    for (node, transport) in numbers().zip(&started) {
        let address = transport.local_address().expect("bound");
        started.iter().for_each(|other| other.set_peer(node, address));
    }
    let mut nodes = Nodes(tokio::task::JoinSet::new());
    let count = journals.len() as u64;
    for (transport, journal) in started.iter().zip(journals) {
        let history = History {
            journal: journal.clone(),
            transport: transport.clone(),
            members: Box::new(move |_| (1..=count).map(NodeId).collect()),
            shards: Box::new(|| vec![SHARD]),
            blocking: Blocking::Threads,
        };
        nodes.0.spawn(history.keep_whole());
    }
    nodes
}

async fn whole_again(journal: &Journal) {
    let whole = async {
        while journal.missing(SHARD.0).is_some() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(LIMIT, whole).await.expect("it waits for nothing");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_one_has_the_others_get() {
    let journals = [whole(), since(60), since(80)];
    let _nodes = join(&journals);
    for journal in &journals {
        whole_again(journal).await;
        assert_eq!(journal.first_index(SHARD.0), 0);
        assert_eq!(journal.head(SHARD.0), journals[0].head(SHARD.0));
        journal.scrub(SHARD.0).expect("sound");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_that_lack_the_same_do_not_wait_for_each_other() {
    let journals = [whole(), since(60), since(80)];
    journals[0].retain(SHARD.0, 50).expect("dropped");
    let first = journals[0].first_index(SHARD.0);
    assert!(first > 0 && first < 60);
    let _nodes = join(&journals);
    for journal in &journals {
        whole_again(journal).await;
        assert_eq!(journal.first_index(SHARD.0), first, "what is left is kept by all");
        assert_eq!(journal.head(SHARD.0), journals[0].head(SHARD.0));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_nobody_has_is_given_up() {
    let journals = [since(60), since(80)];
    let _nodes = join(&journals);
    for journal in &journals {
        whole_again(journal).await;
        assert_eq!(journal.first_index(SHARD.0), 60, "the one had it from there");
        assert_eq!(journal.head(SHARD.0), journals[0].head(SHARD.0));
    }
}
