//! What nodes tell each other beside the log: signs of life, and what may be lost.
//!
//! Five times a second every node asks each of its peers which shards it leads, and of which it has
//! heard, and how long ago. A leader counts as in office while shard time runs, which it does only
//! with a quorum behind it. A replica that has not heard of one for [`FEED_SILENCE_MS`] takes no
//! new sessions; those it has stay, as long as nobody else is better off, having heard of one
//! clearly later: while a shard has no leader, its feeds stand still everywhere, and moving would
//! help nobody. Signals between the parties of a conversation travel the same lane.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use rotary_log::{Log, Role};
use rotary_proto::codec::{self, Limit};
use rotary_proto::frame::Signal;
use rotary_proto::limits::{FEED_HEARTBEAT_MS, FEED_SILENCE_MS};
use rotary_proto::wire::Lane;
use rotary_proto::{AgentId, ConversationId, LogicVersions, NodeId, SessionId, ShardId, Stamp};
use rotary_storage::Journal;
use rotary_transport::Transport;
use serde::{Deserialize, Serialize};

use crate::gateway::session::Sessions;
use crate::gateway::session::pulse::Beat as SessionBeat;
use crate::nodes::roster::{self, Roster};

/// The transport service that answers which shards this node leads.
pub(crate) const SERVICE_BEAT: u8 = 3;
/// The transport service that carries signals.
pub(crate) const SERVICE_SIGNAL: u8 = 4;
/// The transport service that hears of a session's client whose connection is here.
pub(crate) const SERVICE_HEAR: u8 = 11;

/// Two nodes hear the same sign of life at most a beat and an answer's way apart; who has heard one
/// so much later has heard another.
const CLEARLY_LATER: Duration = Duration::from_millis(2 * FEED_HEARTBEAT_MS + 50);

/// A shard that the answering node leads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Led {
    shard: ShardId,
    term: u64,
    /// Shard time there.
    time: Stamp,
    /// The last index applied there.
    applied: u64,
}

/// What a node answers to [`SERVICE_BEAT`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Beat {
    led: Vec<Led>,
    /// Shards whose leader it has heard lately, and how long ago, in milliseconds.
    fresh: BTreeMap<ShardId, u64>,
    /// Shards whose journal it has not fetched all of yet.
    lacking: BTreeSet<ShardId>,
    /// What keeps the members of shards that it leads from being those that are wanted.
    waiting: BTreeMap<ShardId, String>,
    /// Sessions that have their connection there.
    sessions: u32,
    /// Whether it wants them to be elsewhere.
    leaves: bool,
    /// Which versions of the logic its build can apply.
    can: LogicVersions,
    /// Shards in which it has no vote, since its log lost its tail.
    cut: BTreeSet<ShardId>,
    /// Shards whose replicas differ as far as it knows, and no majority agrees.
    doubtful: BTreeSet<ShardId>,
    /// What keeps shards that it leads from acting by the version of the logic that is wanted.
    raising: BTreeMap<ShardId, String>,
    /// Whether it has told the directory what it is, since it runs.
    announced: bool,
}

/// A signal on its way to where the other parties are.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) struct SignalHint {
    pub(crate) conversation: ConversationId,
    pub(crate) agent: Option<AgentId>,
    pub(crate) signal: Signal,
}

/// What was last heard of a shard's leader.
#[derive(Debug, Clone, Copy)]
struct Heard {
    at: Instant,
    led: Led,
}

/// When each shard's leader was last seen in office, and what every node said of it.
pub(crate) struct Freshness {
    roster: Arc<Roster>,
    journal: Arc<Journal>,
    sessions: Arc<Sessions>,
    /// Which versions of the logic this build can apply.
    can: LogicVersions,
    /// Whether this node has told the directory what it is.
    announced: AtomicBool,
    known: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    leaders: BTreeMap<ShardId, Heard>,
    /// What each node last answered.
    said: BTreeMap<NodeId, Said>,
    /// What keeps shards that this node leads from having the members that are wanted.
    waiting: BTreeMap<ShardId, String>,
    /// The same of the version of the logic that is wanted.
    raising: BTreeMap<ShardId, String>,
}

/// What a node answered.
struct Said {
    at: Instant,
    /// When it had last heard the leaders that it had heard.
    fresh: BTreeMap<ShardId, Instant>,
    waiting: BTreeMap<ShardId, String>,
    raising: BTreeMap<ShardId, String>,
    sessions: u32,
    announced: bool,
    health: Health,
}

/// What a node says of its build and its replicas.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Health {
    /// Which versions of the logic its build can apply.
    pub(crate) can: LogicVersions,
    /// Shards whose journal it has not fetched all of yet.
    pub(crate) lacking: BTreeSet<ShardId>,
    /// Shards in which it has no vote, since its log lost its tail.
    pub(crate) cut: BTreeSet<ShardId>,
    /// Shards whose replicas differ as far as it knows, and no majority agrees.
    pub(crate) doubtful: BTreeSet<ShardId>,
}

impl Known {
    /// What a node said, if it did lately.
    fn lately(&self, node: NodeId, now: Instant) -> Option<&Said> {
        self.said.get(&node).filter(|said| is_recent(said.at, now))
    }

    /// What was said lately.
    fn recent(&self, now: Instant) -> impl Iterator<Item = &Said> {
        self.said.values().filter(move |said| is_recent(said.at, now))
    }

    fn is_fresh(&self, shard: ShardId, now: Instant) -> bool {
        self.leaders.get(&shard).is_some_and(|heard| is_recent(heard.at, now))
    }
}

fn is_recent(at: Instant, now: Instant) -> bool {
    now.duration_since(at) <= Duration::from_millis(FEED_SILENCE_MS)
}

impl Freshness {
    /// Of those core nodes, with nothing heard so far.
    pub(crate) fn new(
        roster: Arc<Roster>,
        (journal, sessions): (Arc<Journal>, Arc<Sessions>),
        can: LogicVersions,
    ) -> Arc<Self> {
        let (announced, known) = (AtomicBool::new(false), Mutex::default());
        Arc::new(Self { roster, journal, sessions, can, announced, known })
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.known.lock().expect("nothing panics under this lock")
    }

    /// A node answered.
    fn answered(&self, node: NodeId, beat: Beat, at: Instant) {
        beat.led.into_iter().for_each(|led| self.note(led, at));
        let heard = |age_ms: u64| at.checked_sub(Duration::from_millis(age_ms)).unwrap_or(at);
        let fresh = beat.fresh.into_iter().map(|(shard, age_ms)| (shard, heard(age_ms))).collect();
        let Beat { lacking, waiting, sessions, can, cut, doubtful, raising, announced, .. } = beat;
        let health = Health { can, lacking, cut, doubtful };
        let mut known = self.lock();
        let said = Said { at, fresh, waiting, raising, sessions, announced, health };
        known.said.insert(node, said);
        known.said.retain(|node, _| self.roster.has(*node));
    }

    /// Whether a node said lately that it has all of a shard's journal.
    pub(crate) fn is_whole(&self, node: NodeId, shard: ShardId, now: Instant) -> bool {
        let known = self.lock();
        known.lately(node, now).is_some_and(|said| !said.health.lacking.contains(&shard))
    }

    /// What a node said of its build and its replicas, if it did lately.
    pub(crate) fn health(&self, node: NodeId, now: Instant) -> Option<Health> {
        self.lock().lately(node, now).map(|said| said.health.clone())
    }

    /// What a node said of its build and its replicas, if it did lately and after `since`.
    fn health_since(&self, node: NodeId, since: Instant, now: Instant) -> Option<Health> {
        let known = self.lock();
        known.lately(node, now).filter(|said| said.at > since).map(|said| said.health.clone())
    }

    /// Shards of which any node said lately that their replicas differ and no majority agrees.
    pub(crate) fn doubtful(&self, now: Instant) -> BTreeSet<ShardId> {
        let known = self.lock();
        known.recent(now).flat_map(|said| said.health.doubtful.iter().copied()).collect()
    }

    /// Notes what keeps shards that this node leads from the version of the logic that is wanted.
    pub(crate) fn raise(&self, raising: BTreeMap<ShardId, String>) {
        self.lock().raising = raising;
    }

    /// What keeps a shard from the version of the logic that is wanted, as its leader said lately.
    pub(crate) fn raising(&self, shard: ShardId, now: Instant) -> Option<String> {
        let known = self.lock();
        let said = known.recent(now).find_map(|said| said.raising.get(&shard));
        known.raising.get(&shard).or(said).cloned()
    }

    /// How many sessions a node has, if it said so lately.
    pub(crate) fn sessions(&self, node: NodeId, now: Instant) -> Option<u32> {
        self.lock().lately(node, now).map(|said| said.sessions)
    }

    /// Notes that this node has told the directory what it is.
    fn is_announced(&self) {
        self.announced.store(true, Ordering::Relaxed);
    }

    /// Whether a node has told the directory what it is, if it said so lately.
    fn announced(&self, node: NodeId, now: Instant) -> Option<bool> {
        self.lock().lately(node, now).map(|said| said.announced)
    }

    /// Notes what keeps shards that this node leads from having the members that are wanted.
    pub(crate) fn wait(&self, waiting: BTreeMap<ShardId, String>) {
        self.lock().waiting = waiting;
    }

    /// What keeps a shard from having the members that are wanted, as its leader said lately.
    pub(crate) fn waiting(&self, shard: ShardId, now: Instant) -> Option<String> {
        let known = self.lock();
        let said = known.recent(now).find_map(|said| said.waiting.get(&shard));
        known.waiting.get(&shard).or(said).cloned()
    }

    /// A node said that it leads a shard.
    fn note(&self, led: Led, at: Instant) {
        let mut known = self.lock();
        let known = known.leaders.entry(led.shard).or_insert(Heard { at, led });
        // A deposed or cut-off leader goes on calling itself one, but its time stands still. A new
        // leader's time may be behind the old one's, which ran on after the last entry.
        if (led.term, led.time) > (known.led.term, known.led.time) {
            *known = Heard { at, led };
        }
    }

    /// Whether the shard's leader was in office within [`FEED_SILENCE_MS`] before `now`.
    pub(crate) fn is_fresh(&self, shard: ShardId, now: Instant) -> bool {
        self.lock().is_fresh(shard, now)
    }

    /// Whether a session would be better off elsewhere: this node has not heard the shard's leader
    /// lately, and some other has, clearly later than this one did; or this node is cut off from
    /// most others. Of a leader that died all have heard at about the same time.
    pub(crate) fn is_behind(&self, shard: ShardId, now: Instant) -> bool {
        let known = self.lock();
        let recent = || known.recent(now);
        let later = |heard: &Instant| match known.leaders.get(&shard) {
            Some(own) => heard.saturating_duration_since(own.at) >= CLEARLY_LATER,
            None => true,
        };
        let better = recent().any(|said| said.fresh.get(&shard).is_some_and(later));
        let cut_off = recent().count() <= self.roster.count() / 2;
        !known.is_fresh(shard, now) && (better || cut_off)
    }

    /// Shards whose leader was heard lately, and how many milliseconds ago.
    fn fresh(&self, now: Instant) -> BTreeMap<ShardId, u64> {
        let known = self.lock();
        let fresh = known.leaders.iter().filter(|(shard, _)| known.is_fresh(**shard, now));
        fresh
            .map(|(shard, heard)| (*shard, now.duration_since(heard.at).as_millis() as u64))
            .collect()
    }

    /// The index up to which the leader had applied when it was last heard of.
    pub(crate) fn applied(&self, shard: ShardId) -> u64 {
        self.lock().leaders.get(&shard).map_or(0, |heard| heard.led.applied)
    }
}

/// The shards that a node leads.
fn led(log: &Log) -> Vec<Led> {
    let statuses = log.shards().into_iter().filter_map(|shard| Some((shard, log.status(shard)?)));
    let led = statuses.filter(|(_, status)| status.role == Role::Leader);
    led.map(|(shard, status)| Led {
        shard,
        term: status.term,
        time: status.time,
        applied: status.applied_index,
    })
    .collect()
}

/// Answers [`SERVICE_BEAT`].
pub(crate) fn answer_beat(log: &Log, freshness: &Freshness) -> Result<Vec<u8>, String> {
    let beat = beat(log, freshness);
    codec::encode(&beat, Limit::Wire).map_err(|error| error.to_string())
}

fn beat(log: &Log, freshness: &Freshness) -> Beat {
    let lacks = |shard: &ShardId| freshness.journal.missing(shard.0).is_some();
    let is_cut = |shard: &ShardId| log.status(*shard).is_some_and(|status| status.cut);
    let is_doubtful =
        |shard: &ShardId| log.counters(*shard).is_some_and(|counters| counters.doubtful_index > 0);
    let (waiting, raising) = {
        let known = freshness.lock();
        (known.waiting.clone(), known.raising.clone())
    };
    Beat {
        led: led(log),
        fresh: freshness.fresh(Instant::now()),
        lacking: log.shards().into_iter().filter(lacks).collect(),
        waiting,
        raising,
        can: freshness.can,
        cut: log.shards().into_iter().filter(is_cut).collect(),
        doubtful: log.shards().into_iter().filter(is_doubtful).collect(),
        sessions: u32::try_from(freshness.sessions.count()).unwrap_or(u32::MAX),
        leaves: freshness.sessions.leaving.reason().is_some(),
        announced: freshness.announced.load(Ordering::Relaxed),
    }
}

/// Asks every core node again and again, whichever they are, for as long as the node runs.
pub(crate) async fn keep_beating(
    log: Arc<Log>,
    transport: Arc<Transport>,
    freshness: Arc<Freshness>,
) {
    let ask = |peer| keep_asking(log.clone(), transport.clone(), freshness.clone(), peer);
    roster::for_each(&freshness.roster, ask).await;
}

async fn keep_asking(
    log: Arc<Log>,
    transport: Arc<Transport>,
    freshness: Arc<Freshness>,
    peer: NodeId,
) {
    loop {
        if let Some(beat) = ask(&log, &transport, &freshness, peer).await {
            freshness.answered(peer, beat, Instant::now());
        }
        tokio::time::sleep(Duration::from_millis(FEED_HEARTBEAT_MS)).await;
    }
}

async fn ask(
    log: &Log,
    transport: &Transport,
    freshness: &Freshness,
    peer: NodeId,
) -> Option<Beat> {
    if peer == transport.node() {
        return Some(beat(log, freshness));
    }
    call(transport, peer).await
}

async fn call(transport: &Transport, peer: NodeId) -> Option<Beat> {
    let ttl = Duration::from_millis(FEED_SILENCE_MS);
    let answer = transport.call(peer, Lane::Live, SERVICE_BEAT, Vec::new(), ttl).await.ok()?;
    codec::decode(&answer, Limit::Wire).ok()
}

/// Asks a node whether it lives: of how many shards it hears the leader, if it does. One that wants
/// to be left is as good as one that hears none.
pub(crate) async fn shards_heard(transport: &Transport, peer: NodeId) -> Option<usize> {
    let Beat { leaves, fresh, .. } = call(transport, peer).await?;
    Some(if leaves { 0 } else { fresh.len() })
}

/// Tells the other nodes what may be lost.
pub(crate) struct Hints {
    transport: Arc<Transport>,
    roster: Arc<Roster>,
    freshness: Arc<Freshness>,
}

impl Hints {
    /// To those core nodes, of which so much is heard.
    pub(crate) fn new(
        transport: Arc<Transport>,
        roster: Arc<Roster>,
        freshness: Arc<Freshness>,
    ) -> Self {
        Self { transport, roster, freshness }
    }

    /// How many sessions a node has, if it said so lately.
    pub(crate) fn sessions(&self, node: NodeId) -> Option<u32> {
        self.freshness.sessions(node, Instant::now())
    }

    /// Notes that this node has told the directory what it is.
    pub(crate) fn is_announced(&self) {
        self.freshness.is_announced();
    }

    /// Whether a node has told the directory what it is, since it runs, if it said so lately.
    pub(crate) fn announced(&self, node: NodeId) -> Option<bool> {
        self.freshness.announced(node, Instant::now())
    }

    /// What a node said of its build and its replicas, if it did lately.
    pub(crate) fn health(&self, node: NodeId) -> Option<Health> {
        self.freshness.health(node, Instant::now())
    }

    /// What a node said of its build and its replicas, if it did lately and after `since`.
    pub(crate) fn health_since(&self, node: NodeId, since: Instant) -> Option<Health> {
        self.freshness.health_since(node, since, Instant::now())
    }

    /// Shards of which any node said lately that their replicas differ and no majority agrees.
    pub(crate) fn doubtful(&self) -> BTreeSet<ShardId> {
        self.freshness.doubtful(Instant::now())
    }

    /// Notes what keeps shards that this node leads from the version of the logic that is wanted.
    pub(crate) fn raise(&self, raising: BTreeMap<ShardId, String>) {
        self.freshness.raise(raising);
    }

    /// What keeps a shard from the version of the logic that is wanted, as its leader said lately.
    pub(crate) fn raising(&self, shard: ShardId) -> Option<String> {
        self.freshness.raising(shard, Instant::now())
    }

    /// Whether that node can be reached at this moment.
    pub(crate) fn reaches(&self, node: NodeId) -> bool {
        self.transport.peer_connected(node)
    }

    /// Whether it can be reached, and said something lately.
    pub(crate) fn hears(&self, node: NodeId) -> bool {
        self.reaches(node) && self.sessions(node).is_some()
    }

    /// Asks every other node the same at once, and gives the answers that came.
    pub(crate) async fn ask_all(&self, service: u8, ttl: Duration) -> Vec<(NodeId, Bytes)> {
        let asked = self.roster.others().into_iter().map(|peer| async move {
            let answer = self.transport.call(peer, Lane::Live, service, Vec::new(), ttl).await;
            Some((peer, answer.ok()?))
        });
        futures::future::join_all(asked).await.into_iter().flatten().collect()
    }

    /// Tells the node that has a session's connection that its client lives: the one that it is
    /// believed to be, or else whichever it is. `None` if no node has it.
    pub(crate) async fn hear(
        &self,
        session: SessionId,
        first: Option<NodeId>,
    ) -> Option<SessionBeat> {
        let peers = self.roster.others();
        let first = first.filter(|node| peers.contains(node));
        if let Some(node) = first
            && let Some(heard) = self.hear_at(node, session).await
        {
            return Some(heard);
        }
        let others = peers.into_iter().filter(|peer| Some(*peer) != first);
        let mut asked: FuturesUnordered<_> =
            others.map(|peer| self.hear_at(peer, session)).collect();
        while let Some(heard) = asked.next().await {
            if heard.is_some() {
                return heard;
            }
        }
        None
    }

    async fn hear_at(&self, node: NodeId, session: SessionId) -> Option<SessionBeat> {
        let payload = codec::encode(&session, Limit::Entry).ok()?;
        let ttl = Duration::from_millis(FEED_SILENCE_MS);
        let answer =
            self.transport.call(node, Lane::Live, SERVICE_HEAR, payload, ttl).await.ok()?;
        codec::decode(&answer, Limit::Entry).ok()?
    }

    /// Tells every other node of a signal, once.
    pub(crate) fn signal(&self, hint: SignalHint) {
        let Ok(payload) = codec::encode(&hint, Limit::Entry) else { return };
        for peer in self.roster.others() {
            let (transport, payload) = (self.transport.clone(), payload.clone());
            let ttl = Duration::from_millis(FEED_SILENCE_MS);
            tokio::spawn(async move {
                // A signal may be lost.
                let _ = transport.call(peer, Lane::Live, SERVICE_SIGNAL, payload, ttl).await;
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CAN: LogicVersions = LogicVersions { oldest: 1, newest: 2 };

    /// Of three nodes.
    fn freshness() -> Arc<Freshness> {
        let mut config = crate::config::Config::default();
        for id in 1..=3 {
            let (peer, public) = (config.listen.peer, String::new());
            config.cluster.peers.push(crate::config::PeerNode { id, peer, public });
        }
        let disk = rotary_storage::SimulatedDisk::new(1).process();
        let options = rotary_storage::JournalOptions::default();
        let journal = Journal::open(disk, "/journal".as_ref(), options).expect("opens");
        let parts = (Arc::new(journal), Arc::new(Sessions::new()));
        Freshness::new(Roster::of(&config), parts, CAN)
    }

    #[test]
    fn a_node_is_whole_once_it_said_so_and_says_what_it_waits_for() {
        let (freshness, node, begin) = (freshness(), NodeId(2), Instant::now());
        let (shard, other) = (ShardId(1), ShardId(2));
        assert!(!freshness.is_whole(node, shard, begin), "it said nothing");
        let waiting = BTreeMap::from([(other, "nd_3 is silent".to_owned())]);
        let (led, fresh) = (Vec::new(), BTreeMap::new());
        let lacking = BTreeSet::from([other]);
        let (sessions, leaves) = (7, false);
        let raising = BTreeMap::from([(shard, "nd_3 can apply 1".to_owned())]);
        let (can, cut, doubtful) = (CAN, BTreeSet::new(), BTreeSet::from([other]));
        let beat = Beat {
            led,
            fresh,
            lacking,
            waiting,
            sessions,
            leaves,
            can,
            cut,
            doubtful,
            raising,
            announced: true,
        };
        freshness.answered(node, beat, begin);
        assert_eq!(freshness.announced(node, begin), Some(true));
        assert_eq!(freshness.sessions(node, begin), Some(7));
        assert!(freshness.is_whole(node, shard, begin));
        assert!(!freshness.is_whole(node, other, begin));
        assert_eq!(freshness.waiting(shard, begin), None);
        assert_eq!(freshness.waiting(other, begin).as_deref(), Some("nd_3 is silent"));
        assert_eq!(freshness.raising(other, begin), None);
        assert_eq!(freshness.raising(shard, begin).as_deref(), Some("nd_3 can apply 1"));
        assert_eq!(freshness.doubtful(begin), BTreeSet::from([other]));
        assert_eq!(freshness.health(node, begin).map(|health| health.can), Some(CAN));
        let before = begin.checked_sub(Duration::from_millis(1)).expect("it runs for a while");
        assert!(freshness.health_since(node, before, begin).is_some());
        assert_eq!(freshness.health_since(node, begin, begin), None, "that was said before");
        let later = begin + Duration::from_millis(FEED_SILENCE_MS + 1);
        assert!(!freshness.is_whole(node, shard, later), "that was long ago");
        assert_eq!(freshness.waiting(other, later), None);
        assert_eq!((freshness.raising(shard, later), freshness.health(node, later)), (None, None));
        assert_eq!(freshness.announced(node, later), None);
        assert!(freshness.doubtful(later).is_empty(), "who is silent raises no alarm");
        freshness.wait(BTreeMap::from([(other, "nobody leads it".to_owned())]));
        assert_eq!(freshness.waiting(other, later).as_deref(), Some("nobody leads it"));
    }

    #[test]
    fn a_leader_whose_time_stands_still_is_not_heard() {
        let (freshness, shard, begin) = (freshness(), ShardId(1), Instant::now());
        let at = |ms| begin + Duration::from_millis(ms);
        let led = |term, time, applied| Led { shard, term, time: Stamp(time), applied };
        assert!(!freshness.is_fresh(shard, begin));
        freshness.note(led(1, 10, 1), begin);
        assert!(freshness.is_fresh(shard, at(FEED_SILENCE_MS)));
        freshness.note(led(1, 10, 1), at(FEED_SILENCE_MS));
        assert!(!freshness.is_fresh(shard, at(FEED_SILENCE_MS + 1)));
        freshness.note(led(2, 3, 7), at(FEED_SILENCE_MS + 1));
        freshness.note(led(1, 11, 1), at(FEED_SILENCE_MS + 2));
        assert!(freshness.is_fresh(shard, at(2 * FEED_SILENCE_MS + 1)));
        assert!(!freshness.is_fresh(shard, at(2 * FEED_SILENCE_MS + 2)));
        assert_eq!(freshness.applied(shard), 7);
    }

    #[test]
    fn a_replica_is_behind_only_if_another_is_better_off() {
        let (freshness, shard, begin) = (freshness(), ShardId(1), Instant::now());
        let led = Led { shard, term: 1, time: Stamp(1), applied: 1 };
        let beat = |led: &[Led], fresh: &[(ShardId, u64)]| Beat {
            led: led.to_vec(),
            fresh: fresh.iter().copied().collect(),
            lacking: BTreeSet::new(),
            waiting: BTreeMap::new(),
            sessions: 0,
            leaves: false,
            can: CAN,
            cut: BTreeSet::new(),
            doubtful: BTreeSet::new(),
            raising: BTreeMap::new(),
            announced: false,
        };
        assert!(freshness.is_behind(shard, begin), "nobody was heard at all");
        freshness.answered(NodeId(1), beat(&[], &[]), begin);
        freshness.answered(NodeId(2), beat(&[led], &[(shard, 0)]), begin);
        assert!(!freshness.is_behind(shard, begin), "the leader is heard");
        let later = begin + Duration::from_millis(FEED_SILENCE_MS + 1);
        assert!(freshness.is_behind(shard, later), "cut off from everybody");
        freshness.answered(NodeId(1), beat(&[], &[]), later);
        freshness.answered(NodeId(3), beat(&[], &[]), later);
        assert!(!freshness.is_behind(shard, later), "nobody leads the shard");
        assert!(!freshness.is_fresh(shard, later));
        freshness.answered(NodeId(3), beat(&[], &[(shard, FEED_SILENCE_MS - 300)]), later);
        assert!(!freshness.is_behind(shard, later), "it heard of the same leader's end");
        freshness.answered(NodeId(3), beat(&[], &[(shard, 50)]), later);
        assert!(freshness.is_behind(shard, later), "another node hears the leader");
    }
}
