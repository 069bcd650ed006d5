//! One replica of one shard: its Raft, its clock, its tasks.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use openraft::async_runtime::watch::WatchReceiver;
use openraft::errors::Fatal;
use openraft::{Instant as _, ServerState};
use rotary_proto::limits::{ENTRY_BYTES_MAX, PROPOSALS_IN_FLIGHT_MAX};
use rotary_proto::{NodeId, ShardId, Stamp};
use rotary_storage::LogStore;
use rotary_transport::Transport;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::clock::ShardClock;
use crate::config::{LogConfig, LogError};
use crate::machine::Machine;
use crate::network::Network;
use crate::propose::ProposeError;
use crate::proposer::{self, Outcome, Proposal};
use crate::state_machine::{Applied, StateMachine};
use crate::store::RaftLog;
use crate::ticker;
use crate::types::Types;

pub(crate) type Raft = openraft::Raft<Types, StateMachine>;

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
    /// Shard time as it reads it.
    pub time: Stamp,
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
}

#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) applied: AtomicU64,
    pub(crate) proposed: AtomicU64,
    pub(crate) batches: AtomicU64,
    pub(crate) forwarded: AtomicU64,
    pub(crate) ticks: AtomicU64,
}

/// One replica.
pub(crate) struct Shard {
    pub(crate) id: ShardId,
    node: NodeId,
    pub(crate) raft: Raft,
    pub(crate) applied: Arc<Applied>,
    pub(crate) view: watch::Sender<LeaderView>,
    queue: mpsc::Sender<Proposal>,
    tasks: Mutex<Vec<JoinHandle<()>>>,
}

impl Shard {
    /// Starts a replica. Entries known to be committed are applied before this returns.
    pub(crate) async fn start(
        id: ShardId,
        machine: Box<dyn Machine>,
        config: &LogConfig,
        store: Arc<dyn LogStore>,
        transport: Arc<Transport>,
    ) -> Result<Arc<Self>, LogError> {
        let clock = ShardClock::new(config.lease());
        let applied = Arc::new(Applied::new(id, machine, clock, config.fatal.clone()));
        let machine = StateMachine::new(applied.clone());
        let (log, network) = (RaftLog::new(id.0, store), Network::new(transport, id.0));
        let raft = Raft::new(config.node.0, config.raft()?, network, log, machine)
            .await
            .map_err(|error| LogError::Raft { shard: id, reason: error.to_string() })?;
        let (queue, waiting) = mpsc::channel(PROPOSALS_IN_FLIGHT_MAX);
        let view = watch::Sender::new(LeaderView::default());
        let tasks = Mutex::default();
        let shard = Arc::new(Self { id, node: config.node, raft, applied, view, queue, tasks });
        let (depth, wall) = (config.batches_in_flight_max, config.wall.clone());
        let proposer = proposer::run(shard.clone(), waiting, depth, wall);
        *shard.lock_tasks() = vec![
            tokio::spawn(watch_leader(shard.clone())),
            tokio::spawn(proposer),
            tokio::spawn(ticker::run(shard.clone())),
        ];
        Ok(shard)
    }

    fn lock_tasks(&self) -> std::sync::MutexGuard<'_, Vec<JoinHandle<()>>> {
        self.tasks.lock().expect("no code panics while it holds this lock")
    }

    /// Proposes on this node, which should lead the shard, and waits as long as it takes.
    pub(crate) async fn propose_here(&self, payload: Bytes) -> Outcome {
        if payload.len() > ENTRY_BYTES_MAX {
            let (bytes, bytes_max) = (payload.len(), ENTRY_BYTES_MAX);
            return Err(ProposeError::TooLarge { bytes, bytes_max });
        }
        let view = *self.view.borrow();
        if !view.is_self {
            return Err(ProposeError::NotLeader { leader: view.leader });
        }
        let (outcome, done) = oneshot::channel();
        match self.queue.try_send(Proposal { payload, outcome }) {
            Ok(()) => {}
            Err(TrySendError::Full(_)) => return Err(ProposeError::Busy),
            Err(TrySendError::Closed(_)) => return Err(ProposeError::Stopped),
        }
        let gone = |_| Err(ProposeError::Unknown("the shard has stopped".to_owned()));
        done.await.unwrap_or_else(gone)
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
            time,
        }
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
