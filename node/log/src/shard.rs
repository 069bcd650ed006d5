//! One replica of one shard: its Raft, its clock, its tasks.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use openraft::async_runtime::watch::WatchReceiver;
use openraft::errors::Fatal;
use openraft::{Instant as _, ServerState};
use rotary_proto::limits::{
    PROPOSAL_BYTES_IN_FLIGHT_MAX, PROPOSALS_IN_FLIGHT_MAX, READS_IN_FLIGHT_MAX,
};
use rotary_proto::{NodeId, ShardId, Stamp};
use rotary_storage::{LogStore, Notes, Snapshots};
use rotary_transport::Transport;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::clock::ShardClock;
use crate::config::{LogConfig, LogError};
use crate::digests;
use crate::forward;
use crate::machine::Machine;
use crate::network::Network;
use crate::propose::ProposeError;
use crate::proposer::{self, Outcome, Place, Proposal, Room};
use crate::read::{self, Reader};
use crate::rebuild::{self, Peers};
use crate::snapshot::{self, SnapshotStore};
use crate::state_machine::{Applied, StateMachine};
use crate::store::RaftLog;
use crate::tail::{self, TailState, doubt_note};
use crate::ticker;
use crate::transfer::Receiving;
use crate::types::{LogId, Types};

pub(crate) type Raft = openraft::Raft<Types, StateMachine>;
/// When a replica last answered.
type Acked = openraft::metrics::SerdeInstant<openraft::type_config::alias::InstantOf<Types>>;

/// What a replica is to its shard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// It was elected, and proposes. Whether a quorum still follows it shows in its proposals.
    Leader,
    /// It follows a leader, or waits for one.
    Follower,
    /// It asks to be elected.
    Candidate,
    /// It follows without a vote; also a replica of a shard that was never initialized.
    Learner,
    /// It has stopped.
    Stopped,
}

/// Who leads a shard, as one replica sees it. Of two views the one with the higher term is newer.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LeaderView {
    /// The term of the replica's vote.
    pub term: u64,
    /// Who leads in that term, if that is known.
    pub leader: Option<NodeId>,
    /// Whether that is this node.
    pub is_self: bool,
}

/// A replica at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShardStatus {
    /// Its current term.
    pub term: u64,
    /// Who leads in that term, if that is known.
    pub leader: Option<NodeId>,
    /// What it is.
    pub role: Role,
    /// The index of the last entry in its log, 0 if there is none.
    pub last_index: u64,
    /// The index of the last entry it applied, 0 if there is none.
    pub applied_index: u64,
    /// The index up to which its log is forgotten, because a snapshot stands for it; 0 if nothing
    /// is.
    pub forgotten_index: u64,
    /// Shard time as it reads it.
    pub time: Stamp,
    /// Whether it lost the tail of its log and does not vote until it has caught up.
    pub cut: bool,
}

/// Another replica, as the leader sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Follower {
    /// Whose it is.
    pub node: NodeId,
    /// The index up to which its log is known to be the leader's, 0 if nothing is known.
    pub matched: u64,
    /// How long ago it last answered; `None` if it never did.
    pub silent: Option<Duration>,
}

impl Follower {
    /// Whether it answered within `silent_max`, and lacks at most so many of the entries up to
    /// `last`, the leader's last one.
    pub fn is_caught_up(&self, last: u64, silent_max: Duration, behind_max: u64) -> bool {
        self.silent.is_some_and(|silent| silent <= silent_max) && self.behind(last) <= behind_max
    }

    /// How many entries it lacks up to `last`.
    pub fn behind(&self, last: u64) -> u64 {
        last.saturating_sub(self.matched)
    }
}

/// What a replica has done since it was started.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ShardCounters {
    /// Entries applied, Raft's own included.
    pub applied: u64,
    /// Commands that its proposer gave to Raft.
    pub proposed: u64,
    /// Batches in which it did.
    pub batches: u64,
    /// Proposals that it handed to the leader.
    pub forwarded: u64,
    /// Ticks that it proposed.
    pub ticks: u64,
    /// Reads that asked it for a read index.
    pub reads: u64,
    /// Rounds in which it had their indexes confirmed.
    pub read_rounds: u64,
    /// The index of its current snapshot, 0 if it has none.
    pub snapshot_index: u64,
    /// Snapshots that it got from a leader.
    pub snapshots_installed: u64,
    /// The longest that applying stood still while its state was frozen, in microseconds.
    pub freeze_micros_max: u64,
    /// An index at which replicas differ without a majority that agrees, 0 if there is none.
    pub doubtful_index: u64,
}

#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) applied: AtomicU64,
    pub(crate) proposed: AtomicU64,
    pub(crate) batches: AtomicU64,
    pub(crate) forwarded: AtomicU64,
    pub(crate) ticks: AtomicU64,
    pub(crate) reads: AtomicU64,
    pub(crate) read_rounds: AtomicU64,
    pub(crate) snapshot_index: AtomicU64,
    pub(crate) snapshots_installed: AtomicU64,
    pub(crate) freeze_micros_max: AtomicU64,
    pub(crate) doubtful_index: AtomicU64,
}

/// Where the shards of a node keep what must survive.
#[derive(Clone)]
pub struct LogStores {
    /// Entries and votes.
    pub log: Arc<dyn LogStore>,
    /// What stands for entries that are forgotten.
    pub snapshots: Snapshots,
    /// What a replica must know at its next start.
    pub notes: Notes,
}

/// One replica.
pub(crate) struct Shard {
    pub(crate) id: ShardId,
    node: NodeId,
    pub(crate) raft: Raft,
    pub(crate) applied: Arc<Applied>,
    pub(crate) view: watch::Sender<LeaderView>,
    pub(crate) log: RaftLog,
    /// Whether its vote counts.
    pub(crate) tail: TailState,
    pub(crate) snapshots: SnapshotStore,
    /// The snapshot that a leader is sending.
    pub(crate) receiving: tokio::sync::Mutex<Option<Receiving>>,
    /// To its proposer, and how much may wait there.
    queue: (mpsc::Sender<Proposal>, Room),
    /// To its forwarder, and how much may wait there.
    forwarding: (mpsc::Sender<Proposal>, Room),
    pub(crate) reads: mpsc::Sender<Reader>,
    propose_timeout: Duration,
    pub(crate) read_timeout: Duration,
    tasks: Mutex<Vec<JoinHandle<()>>>,
}

impl Shard {
    /// Starts a replica, from its snapshot if it has one. Entries known to be committed are applied
    /// before this returns.
    pub(crate) async fn start(
        id: ShardId,
        machine: Box<dyn Machine>,
        config: LogConfig,
        stores: LogStores,
        transport: Arc<Transport>,
    ) -> Result<Arc<Self>, LogError> {
        let clock = ShardClock::new(config.lease());
        let notes = stores.notes.clone();
        let applied = Arc::new(Applied::new(id, machine, clock, &config, notes)?);
        let (group, blocking) = (id.0, config.blocking);
        let snapshots = SnapshotStore { group, snapshots: stores.snapshots.clone(), blocking };
        let peers = Peers { transport: &transport, members: transport.peers() };
        let rebuilt = rebuild::if_needed(&stores, &snapshots, peers).await?;
        if rebuilt && snapshots.current()?.is_none() {
            let again = applied.clone();
            blocking.run(move || again.begin_again()).await?;
        }
        let machine = StateMachine::open(applied.clone(), snapshots.clone()).await?;
        let log = RaftLog::new(group, stores.log.clone());
        let network = Network::new(transport.clone(), group, config.snapshot_bytes_per_second);
        let tail = TailState::new(log.was_cut()? || stores.notes.text(&doubt_note(id))?.is_some());
        let raft_config = config.raft(!tail.is_cut())?;
        let raft = Raft::new(config.node.0, raft_config, network, log.clone(), machine)
            .await
            .map_err(|error| LogError::Raft { shard: id, reason: error.to_string() })?;
        // Whatever has a place in the room has one in the channel; a tick has one beside them.
        let (queue, waiting) = mpsc::channel(PROPOSALS_IN_FLIGHT_MAX + 1);
        let (forwarding, to_forward) = mpsc::channel(PROPOSALS_IN_FLIGHT_MAX);
        let room = || Room::new(PROPOSALS_IN_FLIGHT_MAX, PROPOSAL_BYTES_IN_FLIGHT_MAX);
        let (reads, to_read) = mpsc::channel(READS_IN_FLIGHT_MAX);
        let shard = Arc::new(Self {
            id,
            node: config.node,
            raft,
            applied,
            view: watch::Sender::new(LeaderView::default()),
            log,
            tail,
            snapshots,
            receiving: tokio::sync::Mutex::default(),
            queue: (queue, room()),
            forwarding: (forwarding, room()),
            reads,
            propose_timeout: config.propose_timeout,
            read_timeout: config.read_timeout,
            tasks: Mutex::default(),
        });
        let (depth, wall) = (config.batches_in_flight_max, config.wall.clone());
        let proposer = proposer::run(shard.clone(), waiting, depth, wall);
        let ttl = config.propose_timeout;
        let forwarder = forward::run(shard.clone(), transport.clone(), to_forward, ttl);
        *shard.lock_tasks() = vec![
            tokio::spawn(watch_leader(shard.clone())),
            tokio::spawn(proposer),
            tokio::spawn(forwarder),
            tokio::spawn(read::run(shard.clone(), transport.clone(), to_read)),
            tokio::spawn(ticker::run(shard.clone())),
            tokio::spawn(snapshot::trigger(shard.raft.clone(), shard.applied.clone())),
            tokio::spawn(keep_whole(shard.clone(), &config, transport)),
        ];
        Ok(shard)
    }

    fn lock_tasks(&self) -> std::sync::MutexGuard<'_, Vec<JoinHandle<()>>> {
        self.tasks.lock().expect("no code panics while it holds this lock")
    }

    /// Proposes on this node, which should lead the shard, and waits as long as it takes. Returns
    /// an outcome for each payload. There must be no more of them than a batch may have.
    pub(crate) async fn propose_here(&self, payloads: Vec<Bytes>) -> Vec<Outcome> {
        let view = *self.view.borrow();
        if !view.is_self {
            return vec![Err(ProposeError::NotLeader { leader: view.leader }); payloads.len()];
        }
        match self.queue.1.take(&payloads) {
            Some(place) => queue(&self.queue.0, payloads, Some(place)).await,
            None => vec![Err(ProposeError::Busy); payloads.len()],
        }
    }

    /// Proposes a tick on this node, which should lead the shard, however much waits already: what
    /// is due must not wait for what is new. There is one at a time.
    pub(crate) async fn propose_tick(&self, tick: Bytes) -> Outcome {
        let view = *self.view.borrow();
        if !view.is_self {
            return Err(ProposeError::NotLeader { leader: view.leader });
        }
        let outcome = queue(&self.queue.0, vec![tick], None).await.pop();
        outcome.unwrap_or(Err(ProposeError::Stopped))
    }

    /// The same, for no longer than the configuration says; what is late has an unknown outcome.
    pub(crate) async fn propose_in_time(&self, payloads: Vec<Bytes>) -> Vec<Outcome> {
        let (timeout, count) = (self.propose_timeout, payloads.len());
        let late = |_| {
            let reason = format!("not committed within {} ms", timeout.as_millis());
            vec![Err(ProposeError::Unknown(reason)); count]
        };
        tokio::time::timeout(timeout, self.propose_here(payloads)).await.unwrap_or_else(late)
    }

    /// Has this node's forwarder propose at the leader.
    pub(crate) async fn forward(&self, payloads: Vec<Bytes>) -> Vec<Outcome> {
        match self.forwarding.1.take(&payloads) {
            Some(place) => queue(&self.forwarding.0, payloads, Some(place)).await,
            None => vec![Err(ProposeError::Busy); payloads.len()],
        }
    }

    /// Shard time at `now`.
    pub(crate) fn time(&self, now: Instant) -> Stamp {
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow_watched();
        let acked = if metrics.membership_config.voter_ids().nth(1).is_none() {
            // A quorum of one answers itself, and Raft does not keep when.
            Some(now)
        } else {
            metrics.last_quorum_acked.and_then(|acked| now.checked_sub(acked.elapsed()))
        };
        self.applied.clock.read(now, acked)
    }

    pub(crate) fn status(&self) -> ShardStatus {
        let time = self.time(Instant::now());
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow_watched();
        ShardStatus {
            term: metrics.current_term,
            leader: metrics.current_leader.map(NodeId),
            role: match metrics.state {
                ServerState::Leader => Role::Leader,
                ServerState::Follower => Role::Follower,
                ServerState::Candidate => Role::Candidate,
                ServerState::Learner => Role::Learner,
                ServerState::Shutdown => Role::Stopped,
            },
            last_index: metrics.last_log_index.unwrap_or(0),
            applied_index: metrics.last_applied.map_or(0, |id| id.index),
            forgotten_index: metrics.purged.map_or(0, |id| id.index),
            time,
            cut: self.tail.is_cut(),
        }
    }

    /// Every other replica, if this one leads.
    pub(crate) fn followers(&self) -> Option<Vec<Follower>> {
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow_watched();
        let (heard, matched) = (metrics.heartbeat.as_ref()?, metrics.replication.as_ref()?);
        let others = heard.iter().filter(|(node, _)| **node != self.node.0);
        let follower = |(node, acked): (&u64, &Option<_>)| Follower {
            node: NodeId(*node),
            matched: matched.get(node).copied().flatten().map_or(0, |id: LogId| id.index),
            silent: acked.as_ref().map(|acked: &Acked| acked.elapsed()),
        };
        Some(others.map(follower).collect())
    }

    pub(crate) fn counters(&self) -> ShardCounters {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let counters = &self.applied.counters;
        ShardCounters {
            applied: read(&counters.applied),
            proposed: read(&counters.proposed),
            batches: read(&counters.batches),
            forwarded: read(&counters.forwarded),
            ticks: read(&counters.ticks),
            reads: read(&counters.reads),
            read_rounds: read(&counters.read_rounds),
            snapshot_index: read(&counters.snapshot_index),
            snapshots_installed: read(&counters.snapshots_installed),
            freeze_micros_max: read(&counters.freeze_micros_max),
            doubtful_index: read(&counters.doubtful_index),
        }
    }

    /// Ends its tasks and its Raft.
    pub(crate) async fn stop(&self) {
        self.abort_tasks();
        if let Err(error) = self.raft.shutdown().await {
            tracing::warn!(shard = %self.id, %error, "raft did not stop cleanly");
        }
    }

    pub(crate) fn abort_tasks(&self) {
        for task in self.lock_tasks().drain(..) {
            task.abort();
        }
    }
}

async fn queue(
    queue: &mpsc::Sender<Proposal>,
    payloads: Vec<Bytes>,
    _place: Option<Place>,
) -> Vec<Outcome> {
    let count = payloads.len();
    let (outcomes, done) = oneshot::channel();
    match queue.try_send(Proposal { payloads, outcomes, _place }) {
        Ok(()) => {}
        Err(TrySendError::Full(_)) => return vec![Err(ProposeError::Busy); count],
        Err(TrySendError::Closed(_)) => return vec![Err(ProposeError::Stopped); count],
    }
    let gone = |_| vec![Err(ProposeError::Unknown("the shard has stopped".to_owned())); count];
    done.await.unwrap_or_else(gone)
}

/// Makes sure that the log's tail is whole; then compares digests with the other members, again and
/// again.
fn keep_whole(
    shard: Arc<Shard>,
    config: &LogConfig,
    transport: Arc<Transport>,
) -> impl Future<Output = ()> + use<> {
    let interval = config.digest_interval;
    async move {
        tail::run(&shard, &transport).await;
        loop {
            tokio::time::sleep(interval).await;
            let voters: Vec<NodeId> = shard.members().voters.into_iter().collect();
            digests::check(&shard, &voters, &transport).await;
        }
    }
}

/// Follows Raft's view of the leader: tells the clock, and whoever watches.
async fn watch_leader(shard: Arc<Shard>) {
    let mut metrics = shard.raft.server_metrics();
    loop {
        let view = {
            let seen = metrics.borrow_watched();
            let is_self = seen.state == ServerState::Leader;
            let leader = if is_self { Some(shard.node) } else { seen.current_leader.map(NodeId) };
            // A replica that is not the leader does not lead, whatever its vote says.
            let leader = leader.filter(|leader| is_self || *leader != shard.node);
            LeaderView { term: seen.vote.leader_id.term, leader, is_self }
        };
        let before = shard.view.send_replace(view);
        if view.is_self && (!before.is_self || before.term != view.term) {
            shard.applied.clock.take_office(Instant::now());
        } else if !view.is_self && before.is_self {
            shard.applied.clock.leave_office();
        }
        if before != view {
            let (term, leader) = (view.term, view.leader.map(|leader| leader.to_string()));
            tracing::info!(shard = %shard.id, term, leader, "leader");
        }
        if metrics.changed().await.is_err() {
            // Whoever stops a shard ends this task first, so Raft has ended by itself.
            match shard.raft.is_initialized().await {
                Ok(_) | Err(Fatal::Stopped) => {}
                Err(error) => shard.applied.raft_ended(&error),
            }
            return;
        }
    }
}
