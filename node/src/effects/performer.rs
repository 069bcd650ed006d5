//! Works off the effects of one shard that are this node's.
//!
//! What is to be done is read from the shard's state, never from the feed: at the start, after a
//! view changed, and whenever something was applied. An effect is its owner's, whom the view names;
//! an owner that finds one simply tries it, because what is done here may be repeated under the
//! same id. Its outcome is a command; until that is logged the effect is not over.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures::stream::{FuturesUnordered, StreamExt};
use metrics::counter;
use rand::RngExt;
use rotary_proto::effect::{EffectOutcome, EffectTarget, PendingEffect, View};
use rotary_proto::outcome::Answer;
use rotary_proto::plan::WebhookPlan;
use rotary_proto::web::Secret;
use rotary_proto::{
    Actor, Command, EffectId, Envelope, Origin, ShardCommand, SiteId, Stamp, WebhookId,
};
use tokio::time::Instant;

use crate::effects::endpoint::{Endpoint, Said};
use crate::effects::line::{Line, Waiting, pause};
use crate::effects::message::Message;
use crate::gateway::doors::Doors;
use crate::replica::ShardReplica;
use crate::telemetry::names;

/// Entries are looked at together for this long.
const GATHER: Duration = Duration::from_millis(20);
/// Effects taken in at one look; a look holds the state's lock.
const LOOK_MAX: usize = 1_024;
/// How long an outcome waits for its commit, and the pause before it is proposed again.
const PATIENCE: Duration = Duration::from_secs(5);
const PROPOSE_AGAIN: Duration = Duration::from_millis(500);
/// The pause before something is tried again that this node could not try.
const POSTPONED: Duration = Duration::from_secs(1);

/// One site's endpoint.
type Place = (SiteId, WebhookId);

/// An attempt that has ended.
struct Tried {
    place: Place,
    id: EffectId,
    came: Came,
}

/// What came of an attempt.
enum Came {
    /// The outcome is logged. Whether the endpoint took the message.
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

/// What an attempt needs to know.
struct Job {
    place: Place,
    waiting: Waiting,
    plan: WebhookPlan,
    secret: Secret,
    /// Shard time at which the attempt began.
    now: Stamp,
}

impl Job {
    /// Whether another attempt comes before the effect is given up.
    fn has_time(&self, attempts: u32, after: Option<Duration>) -> bool {
        let left = self.waiting.effect.until.0.saturating_sub(self.now.0);
        pause(attempts, 0).max(after.unwrap_or_default()) < Duration::from_micros(left)
    }
}

/// The effects of one shard.
pub(crate) struct Performer {
    doors: Doors,
    shard: Arc<ShardReplica>,
    endpoint: Arc<Endpoint>,
    epoch: u64,
    /// The last effect of each site that was looked at under this epoch.
    seen: BTreeMap<SiteId, EffectId>,
    lines: BTreeMap<Place, Line>,
    running: Running,
}

impl Performer {
    /// Of that shard.
    pub(crate) fn new(doors: Doors, shard: Arc<ShardReplica>, endpoint: Arc<Endpoint>) -> Self {
        let (seen, lines) = (BTreeMap::new(), BTreeMap::new());
        Self { doors, shard, endpoint, epoch: 0, seen, lines, running: Running::new() }
    }

    /// Works until the node ends.
    pub(crate) async fn run(mut self) {
        let mut applied = self.shard.applied();
        loop {
            let looked_all = self.look();
            self.begin_due();
            let next = self.lines.values().filter_map(Line::next_due).min();
            let due = tokio::time::sleep_until(next.unwrap_or_else(|| Instant::now() + POSTPONED));
            tokio::select! {
                biased;
                Some(tried) = self.running.next(), if !self.running.is_empty() => self.end(tried),
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
            self.epoch = view.epoch;
            self.seen.clear();
            let mine = |effect: &PendingEffect| view.owner(effect.conversation) == Some(node);
            self.lines.values_mut().for_each(|line| line.retain(mine));
        }
        for ((site, webhook), line) in &mut self.lines {
            line.note_version(shard.webhook(*site, *webhook).map_or(0, |known| known.0), now);
        }
        let mut left = LOOK_MAX;
        for site in shard.sites() {
            let after = self.seen.get(&site).copied();
            let found = shard.effects(site, after, left).unwrap_or_default();
            left -= found.len();
            self.seen.extend(found.last().map(|last| (site, last.id)));
            for effect in found {
                if is_owner(view, &effect, node) {
                    let EffectTarget::Webhook(webhook) = effect.target;
                    let line = || Line::of(shard.webhook(site, webhook).map_or(0, |known| known.0));
                    self.lines.entry((site, webhook)).or_insert_with(line).add(effect, now);
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
                begun.push((*place, waiting));
            }
        }
        for (place, waiting) in begun {
            match self.job(place, waiting) {
                Ok(job) => {
                    let attempt = attempt(self.doors.clone(), self.endpoint.clone(), job);
                    self.running.push(Box::pin(attempt));
                }
                Err(id) => self.change(place, |line| line.forget(id)),
            }
        }
        self.lines.retain(|_, line| !line.is_idle());
    }

    /// What an attempt needs; the effect's id if it is over or another node's.
    fn job(&self, place: Place, waiting: Waiting) -> Result<Job, EffectId> {
        let (site, webhook) = place;
        let shard = self.shard.read();
        let id = waiting.effect.id;
        let mine = is_owner(shard.view(), &waiting.effect, self.doors.node);
        if !mine || !shard.is_pending(site, id) {
            return Err(id);
        }
        let (_, plan, secret) = shard.webhook(site, webhook).ok_or(id)?;
        let (plan, secret) = (plan.clone(), secret.clone());
        Ok(Job { place, waiting, plan, secret, now: shard.last_stamp() })
    }

    fn change(&mut self, place: Place, change: impl FnOnce(&mut Line)) {
        // A line with something on its way stays.
        if let Some(line) = self.lines.get_mut(&place) {
            change(line);
        }
    }

    fn end(&mut self, tried: Tried) {
        let Tried { place, id, came } = tried;
        let (now, scatter) = (Instant::now(), rand::rng().random_range(0..=1_000));
        self.change(place, |line| match came {
            Came::Over { took } => {
                if took {
                    line.works();
                }
                line.forget(id);
            }
            Came::Failed { status, after } => line.again(id, status, after, now, scatter),
            Came::Postponed => line.postpone(id, now + POSTPONED),
        });
    }
}

fn is_owner(view: &View, effect: &PendingEffect, node: rotary_proto::NodeId) -> bool {
    view.owner(effect.conversation) == Some(node)
}

/// Tries an effect once.
async fn attempt(doors: Doors, endpoint: Arc<Endpoint>, job: Job) -> Tried {
    let (place, id) = (job.place, job.waiting.effect.id);
    let came = perform(&doors, &endpoint, &job).await;
    Tried { place, id, came }
}

async fn perform(doors: &Doors, endpoint: &Endpoint, job: &Job) -> Came {
    let Waiting { effect, attempts, status } = &job.waiting;
    if !job.plan.enabled {
        return settle(doors, job, EffectOutcome::NotSent, *attempts, *status).await;
    }
    let message = match message(doors, job.place.0, effect).await {
        Read::Message(message) => message,
        Read::Later => return Came::Postponed,
        // It can be told no more, by nobody.
        Read::Forgotten => {
            return settle(doors, job, EffectOutcome::NotSent, *attempts, *status).await;
        }
    };
    let said = endpoint.post(&job.plan.url, &message, &job.secret).await;
    let (attempts, result) = (attempts + 1, word(said));
    counter!(names::WEBHOOK_ATTEMPTS, "result" => result).increment(1);
    match said {
        Said::Took { status } => {
            settle(doors, job, EffectOutcome::Sent, attempts, Some(status)).await
        }
        Said::Gone { status } => {
            settle(doors, job, EffectOutcome::NotSent, attempts, Some(status)).await
        }
        Said::Failed { status, after } if job.has_time(attempts, after) => {
            Came::Failed { status, after }
        }
        Said::Failed { status, .. } => {
            settle(doors, job, EffectOutcome::NotSent, attempts, status).await
        }
    }
}

const fn word(said: Said) -> &'static str {
    match said {
        Said::Took { .. } => "taken",
        Said::Gone { .. } => "gone",
        Said::Failed { status: Some(_), .. } => "refused",
        Said::Failed { status: None, .. } => "unanswered",
    }
}

/// What this node's journal has of an effect's event.
enum Read {
    Message(Message),
    /// Retention has dropped it.
    Forgotten,
    /// It is not here, or not yet.
    Later,
}

async fn message(doors: &Doors, site: SiteId, effect: &PendingEffect) -> Read {
    let (replica, id, after) = (doors.replica.clone(), effect.id, effect.sequence - 1);
    let read = move || replica.events(id.shard, site, after, 1);
    match tokio::task::spawn_blocking(read).await {
        Ok(Ok(mut events)) => {
            events.pop().and_then(|event| Message::of(id, event)).map_or(Read::Later, Read::Message)
        }
        Ok(Err(error)) if error.is_forgotten() && doors.replica.is_whole(id.shard) => {
            Read::Forgotten
        }
        Ok(Err(error)) => {
            tracing::debug!(effect = %id, %error, "the event of an effect cannot be read");
            Read::Later
        }
        Err(_) => Read::Later,
    }
}

/// Has an outcome logged, however long that takes while the effect is this node's.
async fn settle(
    doors: &Doors,
    job: &Job,
    outcome: EffectOutcome,
    attempts: u32,
    status: Option<u16>,
) -> Came {
    let (site, effect) = (job.place.0, job.waiting.effect.id);
    let command = Command::EndEffect { effect, outcome, attempts, status };
    let (origin, actor) = (Origin::Internal, Actor::System);
    let command = ShardCommand::Site(Envelope { site, origin, actor, command });
    loop {
        let told: Result<Answer, _> = doors.propose(effect.shard, &command, PATIENCE).await;
        let Some(shard) = doors.replica.shard(effect.shard) else { return Came::Postponed };
        let over = !shard.read().is_pending(site, effect);
        if told.is_ok() || over {
            return Came::Over { took: outcome == EffectOutcome::Sent };
        }
        if !is_owner(shard.read().view(), &job.waiting.effect, doors.node) {
            return Came::Postponed;
        }
        tokio::time::sleep(PROPOSE_AGAIN).await;
    }
}
