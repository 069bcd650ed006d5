//! Snapshots: the state of a shard as it was after one entry, apart from the running shard.
//!
//! [`Shard::freeze`] takes a view that shares its pages with the running shard (`page`), so it
//! costs moving some pointers, and applying goes on at once; whichever page changes next is copied
//! once. [`Frozen::chunks`] writes the view out, record by record, on any thread. [`Restore`] reads
//! chunks and gives a shard that *behaves* as the frozen one did: to every further entry the same
//! answer, events, digest, next deadline and steps of work.
//!
//! What travels (`record`): entities, windows, tombstones, leases, marks, the view, sites on their
//! way from or to the shard (`moves`), and the few
//! things that look derived and are not, because they follow from history:
//!
//! * work that entries left over, sessions of lost gateways that are still to be walked, and since
//!   when the site is due for it;
//! * when alarms ring, which may be sooner than their entities say;
//! * the slots of classes, stale ones included, which class a waiting item stands in, and how far
//!   the search for a class's agents has come;
//! * which agents let items find them.
//!
//! Everything else is rebuilt (`restore`, `class/rebuild`): lines, free agents, who can serve what,
//! counts, the order of alarms, sessions by gateway, customers, every hash. Counters of work are
//! of this process and start from zero.

mod record;
mod restore;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use rotary_proto::effect::{PendingEffect, View};
use rotary_proto::ids::{
    AgentId, DispositionId, EffectId, GatewayId, NodeId, QueueId, ReasonId, SessionId, ShardId,
    SiteId, SkillId, WebhookId,
};
use rotary_proto::plan::SiteSettings;
use rotary_proto::snapshot::{self, Machine};
use rotary_proto::values::Name;
use rotary_proto::{SitePart, Stamp, limits};

pub use restore::{Restore, RestoreError};

use crate::agent::Agent;
use crate::class::FrozenClasses;
use crate::conversation::Conversation;
use crate::effects::Webhook;
use crate::moves::{Arrival, Away, Expected, Passed, Travel};
use crate::page::FrozenFifo;
use crate::queue::Queue;
use crate::session::Session;
use crate::shard::Shard;
use crate::site::{Site, Tombstone, Work};
use crate::table::FrozenTable;
use crate::window::FrozenRequests;

/// A shard as it was when it was frozen.
///
/// It costs the memory of what the running shard has changed since, and nothing else. Dropping it
/// frees that, which takes as long as freezing or longer: best on the thread that wrote it out.
#[derive(Debug)]
pub struct Frozen {
    id: ShardId,
    last: Stamp,
    logic_version: u32,
    marks: BTreeMap<NodeId, u64>,
    view: View,
    leases: BTreeMap<GatewayId, Stamp>,
    moves: FrozenMoves,
    sites: Vec<FrozenSite>,
    digest: u128,
}

/// Sites on their way from and to the shard.
#[derive(Debug, Default)]
struct FrozenMoves {
    away: BTreeMap<SiteId, Away>,
    passed: BTreeMap<SiteId, Passed>,
    arriving: Vec<(Expected, Vec<Arc<SitePart>>)>,
}

const _: () = {
    const fn travels<T: Send + 'static>() {}
    travels::<Frozen>();
};

#[derive(Debug)]
struct FrozenSite {
    id: SiteId,
    settings: SiteSettings,
    frozen: bool,
    sequence: u64,
    offers: u64,
    /// When the site is next due, as its shard has it.
    due: Option<Stamp>,
    digest: u128,
    travel: Option<Travel>,
    skills: Arc<BTreeMap<SkillId, Name>>,
    reasons: Arc<BTreeMap<ReasonId, Name>>,
    dispositions: Arc<BTreeMap<DispositionId, Name>>,
    webhooks: Arc<BTreeMap<WebhookId, Webhook>>,
    queues: FrozenTable<QueueId, Queue>,
    agents: FrozenTable<AgentId, Agent>,
    sessions: FrozenTable<SessionId, Session>,
    conversations: FrozenTable<u128, Conversation>,
    effects: FrozenTable<EffectId, PendingEffect>,
    tombstones: FrozenFifo<Tombstone>,
    requests: FrozenRequests,
    work: VecDeque<Work>,
    lost_gateways: BTreeMap<GatewayId, BTreeSet<SessionId>>,
    classes: FrozenClasses,
}

impl Shard {
    /// A view of the shard as it is, for a snapshot; the shard is not changed by it.
    ///
    /// It takes some tens of nanoseconds for every 16 entities and 256 outcomes or tombstones, and
    /// a look at every class and signed-in agent. Any number of views may be held at a time.
    pub fn freeze(&mut self) -> Frozen {
        self.settle_all();
        Frozen {
            id: self.id(),
            last: self.last_stamp(),
            logic_version: self.logic_version(),
            marks: self.journal_marks().clone(),
            view: self.view().clone(),
            leases: self.lease_table().clone(),
            moves: FrozenMoves {
                away: self.moves.away.clone(),
                passed: self.moves.passed.clone(),
                arriving: self.moves.arriving.values().map(Arrival::freeze).collect(),
            },
            digest: self.digest(),
            sites: self.sites_with_due().map(|(site, due)| site.freeze(due)).collect(),
        }
    }

    /// The state of a site that has departed, as a snapshot of a shard that has nothing else: what
    /// the shard that expects it is given. `None` if it has not departed.
    pub fn freeze_departed(&mut self, site: SiteId) -> Option<Frozen> {
        self.settle_all();
        self.freeze_alone(site)
    }
}

impl Site {
    fn freeze(&mut self, due: Option<Stamp>) -> FrozenSite {
        FrozenSite {
            id: self.id,
            settings: self.settings.clone(),
            frozen: self.frozen,
            sequence: self.sequence,
            offers: self.offers,
            due,
            digest: self.digest(),
            travel: self.travel.clone(),
            skills: self.skills.clone(),
            reasons: self.reasons.clone(),
            dispositions: self.dispositions.clone(),
            webhooks: self.webhooks.clone(),
            queues: self.queues.freeze(),
            agents: self.agents.freeze(),
            sessions: self.sessions.freeze(),
            conversations: self.conversations.freeze(),
            effects: self.effects.pending.freeze(),
            tombstones: self.tombstones.freeze(),
            requests: self.requests.freeze(),
            work: self.work.clone(),
            lost_gateways: self.lost_gateways.clone(),
            classes: self.classes.freeze(),
        }
    }
}

impl Frozen {
    /// Adds a site behind all that are in it.
    pub(crate) fn add(&mut self, site: &mut Site, due: Option<Stamp>) {
        let site = site.freeze(due);
        self.digest = self.digest.wrapping_add(site.digest);
        self.sites.push(site);
    }

    /// Which shard it is of.
    pub const fn id(&self) -> ShardId {
        self.id
    }

    /// The stamp of the last entry that is in it.
    pub const fn last_stamp(&self) -> Stamp {
        self.last
    }

    /// The digest of the state that it holds, as [`Shard::digest`] gives it.
    pub const fn digest(&self) -> u128 {
        self.digest
    }

    /// The snapshot as chunks of at most [`limits::SNAPSHOT_CHUNK_BYTES_MAX`], each made when it is
    /// asked for. The same view gives the same chunks each time.
    pub fn chunks(&self) -> impl Iterator<Item = Vec<u8>> + '_ {
        snapshot::chunks(Machine::Distributor, self.records())
    }
}

const _: () = assert!(
    limits::SESSION_WINDOW_COMMANDS_MAX * 512 < limits::ENTRY_BYTES_MAX,
    "a session with a full window must fit a record"
);
