//! Works off the effects of one shard that are this node's.
//!
//! What is to be done is read from the shard's state, never from the feed: at the start, after a
//! view changed, and whenever something was applied. An effect is its owner's, whom the view names.
//! Its outcome is a command; until that is logged the effect is not over.
//!
//! A replica may be behind: one that starts, or that a view names anew, begins nothing until it has
//! applied all that was committed when it asked. Else it would repeat what others have done.
//!
//! How one is tried is said elsewhere: what may be repeated, in `webhook` and `bot`; what may not,
//! in `mail`.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures::stream::{FuturesUnordered, StreamExt};
use rand::RngExt;
use rotary_distributor::Shard;
use rotary_proto::effect::{EffectTarget, PendingEffect, View};
use rotary_proto::planted::{self, Planted};
use rotary_proto::{EffectId, NodeId, QueueId, ShardId, SiteId, Stamp, WebhookId};
use tokio::time::Instant;

use crate::effects::line::{Line, Pace, Waiting};
use crate::effects::{Tools, bot, mail, webhook};
use crate::gateway::doors::Doors;
use crate::replica::ShardReplica;

/// Entries are looked at together for this long.
const GATHER: Duration = Duration::from_millis(20);
/// Effects taken in at one look; a look holds the state's lock.
const LOOK_MAX: usize = 1_024;
/// The pause before something is tried again that this node could not try.
const POSTPONED: Duration = Duration::from_secs(1);
/// How long a shard's leader may take to say what is committed, and this node to apply it.
const CATCH_UP_MAX: Duration = Duration::from_secs(5);

/// What one line of effects is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Place {
    Webhook(SiteId, WebhookId),
    Mail(SiteId),
    Bot(SiteId, QueueId),
}

impl Place {
    const fn of(effect: &PendingEffect) -> Self {
        let site = effect.conversation.site;
        match effect.target {
            EffectTarget::Webhook(webhook) => Self::Webhook(site, webhook),
            EffectTarget::Mail { .. } => Self::Mail(site),
            EffectTarget::Turn(queue) => Self::Bot(site, queue),
        }
    }

    /// The version of what says where it goes.
    fn version(self, shard: &Shard) -> u32 {
        match self {
            Self::Webhook(site, webhook) => shard.webhook(site, webhook).map_or(0, |known| known.0),
            Self::Mail(_) => 0,
            Self::Bot(site, queue) => shard.bot(site, queue).map_or(0, |known| known.0),
        }
    }

    const fn pace(self) -> Pace {
        match self {
            Self::Webhook(..) | Self::Mail(_) => Pace::Patient,
            Self::Bot(..) => Pace::Quick,
        }
    }
}

/// An attempt that has ended.
struct Tried {
    place: Place,
    id: EffectId,
    came: Came,
}

/// What came of an attempt.
pub(super) enum Came {
    /// The outcome is logged. Whether the other side took it.
    Over {
        took: bool,
    },
    Failed {
        status: Option<u16>,
        after: Option<Duration>,
    },
    /// This node could not try, or could not have the outcome logged.
    Postponed,
}

type Running = FuturesUnordered<Pin<Box<dyn Future<Output = Tried> + Send>>>;
type CatchingUp = Pin<Box<dyn Future<Output = ()> + Send>>;

/// What an attempt needs to know.
pub(super) struct Job {
    pub(super) waiting: Waiting,
    /// Shard time at which the attempt began.
    now: Stamp,
    pace: Pace,
    /// Since when, at least, this node is the owner.
    pub(super) owner_since: Instant,
}

impl Job {
    /// The effect's site.
    pub(super) const fn site(&self) -> SiteId {
        self.waiting.effect.conversation.site
    }

    /// Whether another attempt comes before the effect is given up.
    pub(super) fn has_time(&self, attempts: u32, after: Option<Duration>) -> bool {
        let left = self.waiting.effect.until.0.saturating_sub(self.now.0);
        self.pace.pause(attempts, 0).max(after.unwrap_or_default()) < Duration::from_micros(left)
    }
}

/// The effects of one shard.
pub(crate) struct Performer {
    doors: Doors,
    shard: Arc<ShardReplica>,
    tools: Arc<Tools>,
    epoch: u64,
    /// When this node saw that epoch.
    owner_since: Instant,
    /// The last effect of each site that was looked at under this epoch, for each shard that the
    /// site made effects in.
    seen: BTreeMap<(SiteId, ShardId), EffectId>,
    /// Since when each site lives here, at least.
    since: BTreeMap<SiteId, Instant>,
    lines: BTreeMap<Place, Line>,
    running: Running,
    /// Whether the replica catches up with what was committed when that epoch was seen.
    catching_up: Option<CatchingUp>,
}

impl Performer {
    /// Of that shard.
    pub(crate) fn new(doors: Doors, shard: Arc<ShardReplica>, tools: Arc<Tools>) -> Self {
        let (seen, since) = (BTreeMap::new(), BTreeMap::new());
        let (lines, running) = (BTreeMap::new(), Running::new());
        let owner_since = Instant::now();
        let catching_up = Some(catch_up(doors.clone(), shard.id));
        Self {
            doors,
            shard,
            tools,
            epoch: 0,
            owner_since,
            seen,
            since,
            lines,
            running,
            catching_up,
        }
    }

    /// Works until the node ends.
    pub(crate) async fn run(mut self) {
        let mut applied = self.shard.applied();
        loop {
            let looked_all = self.look();
            let mut next = None;
            if self.catching_up.is_none() {
                self.begin_due();
                next = self.lines.values().filter_map(Line::next_due).min();
            }
            let due = tokio::time::sleep_until(next.unwrap_or_else(|| Instant::now() + POSTPONED));
            tokio::select! {
                biased;
                Some(tried) = self.running.next(), if !self.running.is_empty() => self.end(tried),
                () = caught_up(&mut self.catching_up) => self.catching_up = None,
                () = due, if next.is_some() => {}
                changed = applied.changed(), if looked_all => match changed {
                    Ok(()) => tokio::time::sleep(GATHER).await,
                    Err(_) => return,
                },
                () = tokio::time::sleep(GATHER), if !looked_all => {}
            }
        }
    }

    /// Takes in what is this node's; whether nothing was left for the next look.
    fn look(&mut self) -> bool {
        let (node, now) = (self.doors.node, Instant::now());
        let shard = self.shard.read();
        let view = shard.view();
        if view.epoch != self.epoch {
            (self.epoch, self.owner_since) = (view.epoch, now);
            if !planted::is(Planted::EffectsForgotten) {
                self.seen.clear();
            }
            self.catching_up = Some(catch_up(self.doors.clone(), self.shard.id));
            let mine = |effect: &PendingEffect| view.owner(effect.conversation) == Some(node);
            self.lines.values_mut().for_each(|line| line.retain(mine));
        }
        for (place, line) in &mut self.lines {
            line.note_version(place.version(&shard), now);
        }
        self.seen.retain(|(site, _), _| shard.has(*site));
        self.since.retain(|site, _| shard.has(*site));
        let mut left = LOOK_MAX;
        let here = shard.sites().filter(|site| shard.has(*site));
        for (site, origin) in here.flat_map(|site| origins(&shard, site)) {
            self.since.entry(site).or_insert(now);
            let first = EffectId { shard: origin, index: 0, ordinal: 0 };
            let after = self.seen.get(&(site, origin)).copied().unwrap_or(first);
            let mut found = shard.effects(site, Some(after), left).unwrap_or_default();
            found.retain(|effect| effect.id.shard == origin);
            left -= found.len();
            self.seen.extend(found.last().map(|last| ((site, origin), last.id)));
            for effect in found {
                if is_owner(view, &effect, node) {
                    let place = Place::of(&effect);
                    let line = || Line::of(place.version(&shard), place.pace());
                    self.lines.entry(place).or_insert_with(line).add(effect, now);
                }
            }
            if left == 0 {
                return false;
            }
        }
        true
    }

    fn begin_due(&mut self) {
        let now = Instant::now();
        let mut begun = Vec::new();
        for (place, line) in &mut self.lines {
            while let Some(waiting) = line.begin(now) {
                if self.tools.begin(waiting.effect.id) {
                    begun.push((*place, waiting));
                } else {
                    line.postpone(waiting.effect.id, now + POSTPONED);
                }
            }
        }
        for (place, waiting) in begun {
            match self.job(place, waiting) {
                Ok(job) => {
                    let attempt = attempt(self.doors.clone(), self.tools.clone(), place, job);
                    self.running.push(Box::pin(attempt));
                }
                Err(id) => {
                    self.tools.end(id);
                    self.change(place, |line| line.forget(id, now));
                }
            }
        }
        self.lines.retain(|_, line| !line.is_idle());
    }

    /// What an attempt needs; the effect's id if it is over or another node's.
    fn job(&self, place: Place, mut waiting: Waiting) -> Result<Job, EffectId> {
        let shard = self.shard.read();
        let id = waiting.effect.id;
        let mine = is_owner(shard.view(), &waiting.effect, self.doors.node);
        let site = waiting.effect.conversation.site;
        let found = shard.effect(site, id).filter(|_| shard.has(site));
        waiting.effect = found.filter(|_| mine).ok_or(id)?.clone();
        let now = shard.clock(site).unwrap_or_else(|| shard.last_stamp());
        let since = self.since.get(&site).copied().unwrap_or(self.owner_since);
        let (pace, owner_since) = (place.pace(), self.owner_since.max(since));
        Ok(Job { waiting, now, pace, owner_since })
    }

    fn change(&mut self, place: Place, change: impl FnOnce(&mut Line)) {
        // A line with something on its way stays.
        if let Some(line) = self.lines.get_mut(&place) {
            change(line);
        }
    }

    fn end(&mut self, tried: Tried) {
        let Tried { place, id, came } = tried;
        self.tools.end(id);
        let (now, scatter) = (Instant::now(), rand::rng().random_range(0..=1_000));
        self.change(place, |line| match came {
            Came::Over { took } => {
                if took {
                    line.works();
                }
                line.forget(id, now);
            }
            Came::Failed { status, after } => line.again(id, status, after, now, scatter),
            Came::Postponed => line.postpone(id, now + POSTPONED),
        });
    }
}

/// The shards that a site may have effects from, as their ids tell.
fn origins(shard: &Shard, site: SiteId) -> Vec<(SiteId, ShardId)> {
    let stays = shard.stays(site);
    let lived: BTreeSet<ShardId> = stays.into_iter().map(|(shard, _)| shard).collect();
    let here = [shard.id()].into_iter();
    here.chain(lived.into_iter().filter(|id| *id != shard.id())).map(|id| (site, id)).collect()
}

/// Waits until this node has applied all that was committed before the call.
async fn is_caught_up(doors: &Doors, shard: ShardId) -> bool {
    doors.spine.read_index(shard, CATCH_UP_MAX).await.is_ok()
}

fn catch_up(doors: Doors, shard: ShardId) -> CatchingUp {
    Box::pin(async move {
        while !is_caught_up(&doors, shard).await {
            tokio::time::sleep(POSTPONED).await;
        }
    })
}

/// Ends with it, and never where there is none.
async fn caught_up(catching_up: &mut Option<CatchingUp>) {
    match catching_up {
        Some(catching_up) => catching_up.await,
        None => std::future::pending().await,
    }
}

/// Whether the effect is still to be done, and by this node, says the shard's leader.
pub(super) async fn is_still_mine(doors: &Doors, job: &Job) -> bool {
    let effect = &job.waiting.effect;
    let Some(shard) = doors.replica.shard_of(job.site()) else { return false };
    if !is_caught_up(doors, shard.id).await {
        return false;
    }
    let shard = shard.read();
    is_owner(shard.view(), effect, doors.node) && shard.is_pending(job.site(), effect.id)
}

pub(super) fn is_owner(view: &View, effect: &PendingEffect, node: NodeId) -> bool {
    view.owner(effect.conversation) == Some(node)
}

/// Tries an effect once.
async fn attempt(doors: Doors, tools: Arc<Tools>, place: Place, job: Job) -> Tried {
    let id = job.waiting.effect.id;
    let came = match place {
        Place::Webhook(_, webhook) => {
            webhook::perform(&doors, &tools.endpoint, webhook, &job).await
        }
        Place::Bot(_, queue) => bot::perform(&doors, &tools.endpoint, queue, &job).await,
        Place::Mail(_) => mail::perform(&doors, tools.mailer.as_ref(), &job).await,
    };
    Tried { place, id, came }
}
