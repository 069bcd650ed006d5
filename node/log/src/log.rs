//! The door: all shards of one node.

use futures::FutureExt as _;
use futures::future::BoxFuture;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, RwLock};
use std::time::Duration;

use bytes::Bytes;
use rotary_proto::limits::{APPEND_BYTES_MAX, ENTRY_BYTES_MAX, PROPOSAL_BATCH_MAX};
use rotary_proto::{NodeId, ShardId, Stamp};
use rotary_storage::{LogStats, Space};
use rotary_transport::Transport;
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::config::{LogConfig, LogError};
use crate::door::Door;
use crate::forward;
use crate::founding;
use crate::machine::Machine;
use crate::members::{Change, ChangeError, Members};
use crate::offline::OfflineLog;
use crate::propose::{ProposeError, Proposed};
use crate::proposer::Outcome;
use crate::read::{self, ReadError};
use crate::shard::{Follower, LeaderView, LogStores, Shard, ShardCounters, ShardStatus};
use crate::store::RaftLog;
use crate::tail;
use crate::types::seeded;

const RETRY_PAUSE_MIN: Duration = Duration::from_millis(10);
const RETRY_PAUSE_MAX: Duration = Duration::from_millis(200);
/// How long a graceful stop waits for another leader.
const TRANSFER_TIMEOUT: Duration = Duration::from_secs(1);
/// Why a lock is never poisoned.
const LOCK: &str = "no code panics while it holds this lock";

/// The shards of a node. [`Log::stop`] or [`Log::halt`] it before dropping it: Raft's own tasks do
/// not end by themselves.
pub struct Log {
    config: LogConfig,
    stores: LogStores,
    transport: Arc<Transport>,
    shards: RwLock<BTreeMap<ShardId, Arc<Shard>>>,
    door: Door,
}

impl std::fmt::Debug for Log {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Log").field("node", &self.config.node).finish_non_exhaustive()
    }
}

impl Log {
    /// Starts a replica of every shard given, side by side, and opens `door` for each as it stands:
    /// a replica that needs another node's state waits for it, and the other node may be waiting
    /// for this one. Entries known to be committed are applied before this returns.
    ///
    /// # Errors
    /// `Config`; `Storage`; `Raft` where the log store's content is refused. The shards that stand
    /// already are stopped.
    pub fn start(
        config: LogConfig,
        stores: LogStores,
        transport: Arc<Transport>,
        door: &Door,
        machines: Vec<(ShardId, Box<dyn Machine>)>,
    ) -> BoxFuture<'_, Result<Self, LogError>> {
        // In a box, so that Raft is compiled here, as this crate is, and not by whoever awaits it.
        Self::start_here(config, stores, transport, door, machines).boxed()
    }

    async fn start_here(
        config: LogConfig,
        stores: LogStores,
        transport: Arc<Transport>,
        door: &Door,
        machines: Vec<(ShardId, Box<dyn Machine>)>,
    ) -> Result<Self, LogError> {
        let log = Self { config, stores, transport, shards: RwLock::default(), door: door.clone() };
        let mut starting = JoinSet::new();
        for (id, machine) in machines {
            log.begin(id, machine, &mut starting);
        }
        while let Some(started) = starting.join_next().await {
            let started = started.map_err(|error| LogError::Storage(std::io::Error::other(error)));
            match started.and_then(|started| started) {
                Ok(shard) => log.take_in(shard),
                Err(error) => {
                    starting.abort_all();
                    while let Some(other) = starting.join_next().await {
                        other.ok().and_then(Result::ok).into_iter().for_each(|it| log.take_in(it));
                    }
                    log.halt().await;
                    return Err(error);
                }
            }
        }
        door.complete();
        Ok(log)
    }

    /// Has a replica start, on the runtime whose turn it is.
    fn begin(
        &self,
        id: ShardId,
        machine: Box<dyn Machine>,
        starting: &mut JoinSet<Result<Arc<Shard>, LogError>>,
    ) {
        let Self { config, stores, transport, .. } = self;
        let turn = id.0 as usize % config.runtimes.len().max(1);
        let runtime = config.runtimes.get(turn).cloned().unwrap_or_else(Handle::current);
        let seed = config.seed.map(|seed| seed.wrapping_add(u64::from(id.0)));
        let (config, stores, transport) = (config.clone(), stores.clone(), transport.clone());
        let start = Shard::start(id, machine, config, stores, transport);
        starting.spawn_on(seeded(seed, start), &runtime);
    }

    fn take_in(&self, shard: Arc<Shard>) {
        self.door.open_for(&shard);
        let before = self.shards.write().expect(LOCK).insert(shard.id, shard);
        assert!(before.is_none(), "a shard has one replica on a node");
    }

    fn get(&self, shard: ShardId) -> Option<Arc<Shard>> {
        self.shards.read().expect(LOCK).get(&shard).cloned()
    }

    fn all(&self) -> Vec<Arc<Shard>> {
        self.shards.read().expect(LOCK).values().cloned().collect()
    }

    /// Starts a replica of one more shard, beside those that stand. Whoever calls this makes sure
    /// that nobody else adds the same.
    ///
    /// # Errors
    /// As [`Log::start`]; the others go on.
    pub async fn add(&self, shard: ShardId, machine: Box<dyn Machine>) -> Result<(), LogError> {
        let mut starting = JoinSet::new();
        self.begin(shard, machine, &mut starting);
        let started = starting.join_next().await.expect("one was begun");
        let started = started.map_err(|error| LogError::Storage(std::io::Error::other(error)));
        self.take_in(started.and_then(|started| started)?);
        Ok(())
    }

    /// Says that this node never had anything of a shard: whatever its log lost, that shard's
    /// replica lost nothing with it. To be called before the first [`Log::add`] of it, and never
    /// after one.
    ///
    /// # Errors
    /// `Storage`.
    pub async fn never_had(&self, shard: ShardId) -> Result<(), LogError> {
        assert!(self.get(shard).is_none(), "a shard with a replica here is not new here");
        RaftLog::new(shard.0, self.stores.log.clone()).forget_cut().await.map_err(LogError::from)
    }

    /// Founds a shard, if it falls to this node and the shard is empty: the founders are its
    /// voters, and the one at position `shard % founders` founds it, and so is its first leader. On
    /// every other node, and on every other start, this does nothing.
    ///
    /// # Errors
    /// `NoShard`, `Raft`.
    pub async fn initialize(&self, shard: ShardId) -> Result<(), LogError> {
        let founders = &self.config.founders;
        let founder = founders.iter().nth(shard.0 as usize % founders.len().max(1));
        if founder != Some(&self.config.node) {
            return Ok(());
        }
        let replica = self.shard(shard)?;
        // One that was cut: the others have its entries, and a second beginning would be another
        // shard. One that votes: somebody began it.
        if replica.tail.is_cut() || founding::has_begun(&replica).await? {
            return Ok(());
        }
        founding::begin(&replica, founders).await
    }

    /// Founds a shard that has no entries here, with those voters; one that has any is left as it
    /// is. Whoever calls this makes sure that nobody else founds it with others.
    ///
    /// # Errors
    /// `NoShard`, `Raft`; `Unsure` where this replica may have lost what it had of the shard, or
    /// has voted for somebody who began it.
    pub async fn found(&self, shard: ShardId, voters: &BTreeSet<NodeId>) -> Result<(), LogError> {
        let replica = self.shard(shard)?;
        if founding::has_entries(&replica)? {
            return Ok(());
        }
        if founding::has_begun(&replica).await? {
            return Err(founding::unsure(shard, "somebody else has asked for votes in it"));
        }
        founding::begin(&replica, voters).await
    }

    /// The same, for a shard that somebody else may have begun, who is gone for good: where all of
    /// those voters say that they have no entry of it, nothing of that beginning is left but votes.
    ///
    /// # Errors
    /// As [`Log::found`]; `Unsure` also where somebody does not say so.
    pub async fn found_again(
        &self,
        shard: ShardId,
        voters: &BTreeSet<NodeId>,
    ) -> Result<(), LogError> {
        let replica = self.shard(shard)?;
        if founding::has_entries(&replica)? {
            return Ok(());
        }
        let others = voters.iter().copied().filter(|node| *node != self.config.node);
        let Some(term) = tail::term_of_new(&replica, &self.transport, others).await else {
            return Err(founding::unsure(
                shard,
                "not all of its voters say that it is new to them",
            ));
        };
        if founding::has_begun(&replica).await? {
            return founding::begin_after(&replica, term, voters).await;
        }
        founding::begin(&replica, voters).await
    }

    /// Proposes a command and waits until it is committed and applied on the leader. A node that
    /// does not lead the shard hands it to the leader, once.
    ///
    /// # Errors
    /// See [`ProposeError`].
    pub async fn propose(
        &self,
        shard: ShardId,
        payload: impl Into<Bytes>,
    ) -> Result<Proposed, ProposeError> {
        self.propose_at(shard, payload.into(), None).await
    }

    /// Proposes many commands, which may be committed in any grouping but in their order, and
    /// returns an outcome for each. Cheaper than as many calls of [`Log::propose`].
    pub async fn propose_many(&self, shard: ShardId, payloads: Vec<Bytes>) -> Vec<Outcome> {
        let mut outcomes = Vec::with_capacity(payloads.len());
        let (mut piece, mut bytes) = (Vec::new(), 0);
        for payload in payloads {
            if let Err(error) = fits(&payload) {
                outcomes.extend(self.propose_piece(shard, std::mem::take(&mut piece), None).await);
                outcomes.push(Err(error));
                bytes = 0;
                continue;
            }
            bytes += payload.len();
            if piece.len() == PROPOSAL_BATCH_MAX || bytes > APPEND_BYTES_MAX {
                bytes = payload.len();
                outcomes.extend(self.propose_piece(shard, std::mem::take(&mut piece), None).await);
            }
            piece.push(payload);
        }
        outcomes.extend(self.propose_piece(shard, piece, None).await);
        outcomes
    }

    /// Proposes on the leader this node knows, or on the node given.
    async fn propose_at(
        &self,
        shard: ShardId,
        payload: Bytes,
        at: Option<NodeId>,
    ) -> Result<Proposed, ProposeError> {
        fits(&payload)?;
        let outcome = self.propose_piece(shard, vec![payload], at).await.pop();
        outcome.unwrap_or(Err(ProposeError::Stopped))
    }

    /// Proposes no more than a batch may have.
    async fn propose_piece(
        &self,
        shard: ShardId,
        payloads: Vec<Bytes>,
        at: Option<NodeId>,
    ) -> Vec<Outcome> {
        let count = payloads.len();
        if count == 0 {
            return Vec::new();
        }
        let Some(replica) = self.get(shard) else {
            return vec![Err(ProposeError::NoShard(shard)); count];
        };
        let leader = at.or(replica.view.borrow().leader);
        match leader {
            None => vec![Err(ProposeError::NotLeader { leader: None }); count],
            Some(leader) if leader == self.config.node => replica.propose_in_time(payloads).await,
            Some(leader) if at.is_some() => {
                let ttl = self.config.propose_timeout;
                forward::send(&replica, &self.transport, leader, payloads, ttl).await
            }
            Some(_) => replica.forward(payloads).await,
        }
    }

    /// Proposes until it succeeds, is refused for good or because too much waits already, or the
    /// deadline passes. Other definite refusals are always repeated, with a growing pause, at
    /// whichever node is said to lead, or at each in turn. An unknown outcome is repeated only if
    /// the command is `idempotent`: if applying it twice does no more than applying it once.
    ///
    /// # Errors
    /// The last refusal; `Unknown` if the outcome of an attempt is, or if the deadline cut one
    /// short.
    pub async fn propose_with_retry(
        &self,
        shard: ShardId,
        payload: impl Into<Bytes>,
        deadline: impl Into<Instant>,
        idempotent: bool,
    ) -> Result<Proposed, ProposeError> {
        let (payload, deadline) = (payload.into(), deadline.into());
        let (mut pause, mut attempt, mut at) = (RETRY_PAUSE_MIN, 0, None);
        let mut doubt = None;
        loop {
            let proposed = self.propose_at(shard, payload.clone(), at);
            let proposed = tokio::time::timeout_at(deadline, proposed).await;
            let late = |_| Err(ProposeError::Unknown("the deadline has passed".to_owned()));
            let error = match proposed.unwrap_or_else(late) {
                Ok(proposed) => return Ok(proposed),
                Err(error) => error,
            };
            let repeat = error.may_pass() && (error.is_definite() || idempotent);
            if !repeat || Instant::now() + pause >= deadline {
                return Err(error.after(doubt));
            }
            attempt += 1;
            at = self.next_route(shard, &error, attempt);
            if let ProposeError::Unknown(reason) = error {
                doubt = Some(reason);
            }
            if self.pause(shard, pause).await {
                at = None;
            }
            pause = (pause * 2).min(RETRY_PAUSE_MAX);
        }
    }

    /// How far this node must have applied a shard to have everything that was acknowledged,
    /// anywhere, before the call; returns once it has. The leader asks a quorum whether it still
    /// leads, so no clock is trusted; a node that does not lead asks the one that does, once.
    /// Waits no longer than [`LogConfig::read_timeout`].
    ///
    /// # Errors
    /// See [`ReadError`]; all are definite.
    pub async fn read_index(&self, shard: ShardId) -> Result<u64, ReadError> {
        read::index(&*self.get(shard).ok_or(ReadError::NoShard(shard))?).await
    }

    /// The same, again and again with a growing pause until it succeeds or the deadline passes.
    ///
    /// # Errors
    /// The last one's, or `Late` if the deadline cut an attempt short.
    pub async fn read_index_with_retry(
        &self,
        shard: ShardId,
        deadline: impl Into<Instant>,
    ) -> Result<u64, ReadError> {
        let (deadline, mut pause) = (deadline.into(), RETRY_PAUSE_MIN);
        loop {
            let index = tokio::time::timeout_at(deadline, self.read_index(shard)).await;
            let late = |_| Err(ReadError::Late("the deadline has passed".to_owned()));
            let error = match index.unwrap_or_else(late) {
                Ok(index) => return Ok(index),
                Err(error) => error,
            };
            if !error.may_pass() || Instant::now() + pause >= deadline {
                return Err(error);
            }
            self.pause(shard, pause).await;
            pause = (pause * 2).min(RETRY_PAUSE_MAX);
        }
    }

    /// Rests, but no longer than until this node learns of another leader; says whether it has.
    async fn pause(&self, shard: ShardId, pause: Duration) -> bool {
        let Some(replica) = self.get(shard) else { return false };
        let mut view = replica.view.subscribe();
        let before = *view.borrow();
        let learns = view.wait_for(|view| *view != before && view.leader.is_some());
        tokio::time::timeout(pause, learns).await.is_ok()
    }

    /// Where to try after `error`: at the leader it names; else, in turn, where this node believes
    /// the leader to be, and at each member, because a leader that is cut off goes on calling
    /// itself one.
    fn next_route(&self, shard: ShardId, error: &ProposeError, attempt: usize) -> Option<NodeId> {
        if let ProposeError::NotLeader { leader: Some(leader) } = error {
            return Some(*leader);
        }
        let replica = self.get(shard)?;
        let view = *replica.view.borrow();
        let voters = replica.members().voters.into_iter();
        let others: Vec<NodeId> = voters.filter(|node| Some(*node) != view.leader).collect();
        if attempt.is_multiple_of(2) {
            None
        } else {
            others.get(attempt / 2 % others.len().max(1)).copied()
        }
    }

    pub(crate) fn shard(&self, shard: ShardId) -> Result<Arc<Shard>, LogError> {
        self.get(shard).ok_or(LogError::NoShard(shard))
    }

    /// The shards with a replica on this node at the moment.
    pub fn shards(&self) -> Vec<ShardId> {
        self.shards.read().expect(LOCK).keys().copied().collect()
    }

    /// A replica at this moment.
    pub fn status(&self, shard: ShardId) -> Option<ShardStatus> {
        self.get(shard).map(|shard| shard.status())
    }

    /// Shard time at this moment: it runs on the leader, and elsewhere is the last applied stamp.
    pub fn shard_time(&self, shard: ShardId) -> Option<Stamp> {
        self.get(shard).map(|shard| shard.time(Instant::now()))
    }

    /// The other replicas of a shard that this node leads; `None` if it does not.
    pub fn followers(&self, shard: ShardId) -> Option<Vec<Follower>> {
        self.get(shard)?.followers()
    }

    /// Who leads a shard, and every change of it.
    pub fn watch_leader(&self, shard: ShardId) -> Option<watch::Receiver<LeaderView>> {
        self.get(shard).map(|shard| shard.view.subscribe())
    }

    /// What a replica has done since it was started.
    pub fn counters(&self, shard: ShardId) -> Option<ShardCounters> {
        self.get(shard).map(|shard| shard.counters())
    }

    /// What the log store has done since it was opened.
    pub fn store_stats(&self) -> LogStats {
        self.stores.log.stats()
    }

    /// Whether this node's disk has room for new work.
    pub fn space(&self) -> Space {
        self.stores.log.space()
    }

    /// Has the log store look at the disk, so that [`Log::space`] says how it is a moment later,
    /// whether anything is written or not. Cheap.
    pub fn look_at_space(&self) {
        self.stores.log.look_at_space();
    }

    /// The entries of every shard, as this node's store has them: read only what is applied.
    pub fn stored(&self) -> OfflineLog {
        OfflineLog::of(Arc::clone(&self.stores.log))
    }

    /// Asks for a snapshot of a shard, however little was applied since the last. That there is one
    /// shows in [`Log::counters`].
    ///
    /// # Errors
    /// `NoShard`, `Raft`.
    pub async fn take_snapshot(&self, shard: ShardId) -> Result<(), LogError> {
        let asked = self.shard(shard)?.raft.trigger().snapshot().await;
        asked.map_err(|error| LogError::Raft { shard, reason: error.to_string() })
    }

    /// Who keeps a shard, as far as this node's replica knows.
    pub fn members(&self, shard: ShardId) -> Option<Members> {
        self.get(shard).map(|shard| shard.members())
    }

    /// Takes a step towards other members of a shard that this node leads, and waits until it is
    /// committed, no longer than [`LogConfig::propose_timeout`].
    ///
    /// # Errors
    /// See [`ChangeError`].
    pub async fn change_members(&self, shard: ShardId, change: Change) -> Result<(), ChangeError> {
        let replica = self.get(shard).ok_or(ChangeError::NotLeader)?;
        replica.change(change, self.config.propose_timeout).await
    }

    /// Hands a shard that this node leads to another member, which must be caught up.
    ///
    /// # Errors
    /// `NoShard`, `Raft`. That the other became leader shows in [`Log::watch_leader`].
    pub async fn transfer(&self, shard: ShardId, to: NodeId) -> Result<(), LogError> {
        let asked = self.shard(shard)?.raft.trigger().transfer_leader(to.0).await;
        asked.map_err(|error| LogError::Raft { shard, reason: error.to_string() })
    }

    /// Hands leadership on, for up to a second; then stops every replica and flushes the store.
    ///
    /// # Errors
    /// `Storage` if the flush fails.
    pub async fn stop(&self) -> Result<(), LogError> {
        let all = self.all();
        let handed_on = futures::future::join_all(all.iter().map(|shard| self.hand_on(shard)));
        if tokio::time::timeout(TRANSFER_TIMEOUT, handed_on).await.is_err() {
            tracing::warn!("stopping while still the leader of a shard");
        }
        self.halt().await;
        let store = self.stores.log.clone();
        let flushed = tokio::task::spawn_blocking(move || store.flush()).await;
        flushed.map_err(std::io::Error::other)?.map_err(LogError::from)
    }

    async fn hand_on(&self, shard: &Shard) {
        let mut view = shard.view.subscribe();
        if !view.borrow().is_self {
            return;
        }
        let mut others = shard.members().voters.into_iter().filter(|n| *n != self.config.node);
        let Some(to) = others.find(|node| self.transport.peer_connected(*node)) else { return };
        if let Err(error) = self.transfer(shard.id, to).await {
            tracing::warn!(shard = %shard.id, %error, "leadership was not handed on");
            return;
        }
        // An error means that the shard is gone, which is an end as well.
        drop(view.wait_for(|view| !view.is_self).await);
    }

    /// Stops every replica where it stands, without handing anything on and without a flush.
    pub async fn halt(&self) {
        futures::future::join_all(self.all().iter().map(|shard| shard.stop())).await;
    }
}

fn fits(payload: &Bytes) -> Result<(), ProposeError> {
    let (bytes, bytes_max) = (payload.len(), ENTRY_BYTES_MAX);
    if bytes > bytes_max { Err(ProposeError::TooLarge { bytes, bytes_max }) } else { Ok(()) }
}

impl Drop for Log {
    fn drop(&mut self) {
        for shard in self.all() {
            shard.abort_tasks();
        }
    }
}
