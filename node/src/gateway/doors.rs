//! What all doors share, and the one way from a door to the log.

use std::ops::Deref;
use std::sync::Arc;
use std::time::{Duration, Instant};

use metrics::{counter, histogram};
use metrics_exporter_prometheus::PrometheusHandle;
use rotary_directory::{
    Asked, DirectoryAnswer, DirectoryCommand, DirectoryDone, DirectoryEntry, DirectoryOutcome,
};
use rotary_proto::codec::{self, Limit};
use rotary_proto::outcome::{Answer, Position};
use rotary_proto::{Actor, Command, Done, Envelope, GatewayId, NodeId, Origin, Outcome};
use rotary_proto::{Refusal, RequestId, ShardCommand, ShardId, SiteId};
use schemars::JsonSchema;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::actor::Registry;
use crate::admission::{Admission, Asker, Caller, Class, Seats};
use crate::backup::schedule::Standing;
use crate::blobs::Blobs;
use crate::debug::About;
use crate::gateway::audit::{self, Notes};
use crate::gateway::authority::{self, Action};
use crate::gateway::list::Consistency;
use crate::gateway::login::Logins;
use crate::gateway::password::Passwords;
use crate::gateway::problem::Problem;
use crate::gateway::session::Sessions;
use crate::gateway::session::behind::Behind;
use crate::gateway::token::{Claims, Tokens};
use crate::hint::Hints;
use crate::nodes::drain::is_to_be_left;
use crate::nodes::roster::Roster;
use crate::nodes::{Gateways, Runs};
use crate::replica::{DIRECTORY, Replica, ShardReplica};
use crate::spine::{Spine, SpineError};
use crate::telemetry::{names, trace};

/// How long a request waits for its commit, retries included.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long a request waits for this node to learn of a site made elsewhere.
const SITE_PATIENCE: Duration = Duration::from_millis(500);
/// How long it waits for this node to learn of an API key or user made elsewhere.
pub(crate) const DIRECTORY_PATIENCE: Duration = SITE_PATIENCE;
/// How long a linearizable read waits for its index, retries included: longer than a failover.
const READ_PATIENCE: Duration = Duration::from_secs(2);
/// How often a site is followed to where it went while it is being read.
const MOVES_MAX: u32 = 4;
/// How often it is looked whether a site has come where it is going.
const HOME_LOOK: Duration = Duration::from_millis(5);
/// How long an answer waits for this node to have applied it itself.
const OWN_WRITE_PATIENCE: Duration = Duration::from_secs(1);

/// A node of the cluster as clients know it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub(crate) struct Peer {
    /// Which.
    pub(crate) node: NodeId,
    /// The base of its HTTP API.
    pub(crate) url: String,
    /// Where other nodes reach it.
    pub(crate) peer: String,
}

/// What all doors share.
pub(crate) struct Inner {
    pub(crate) node: NodeId,
    pub(crate) gateway: GatewayId,
    pub(crate) heartbeat_ms: u64,
    /// What this node runs.
    pub(crate) runs: Runs,
    /// The cluster's id.
    pub(crate) cluster: String,
    pub(crate) roster: Arc<Roster>,
    pub(crate) replica: Arc<Replica>,
    pub(crate) spine: Arc<dyn Spine>,
    pub(crate) blobs: Arc<Blobs>,
    pub(crate) admission: Admission,
    pub(crate) seats: Arc<Seats>,
    pub(crate) registry: Arc<Registry>,
    pub(crate) sessions: Arc<Sessions>,
    pub(crate) behind: Behind,
    pub(crate) hints: Hints,
    pub(crate) gateways: Gateways,
    pub(crate) tokens: Tokens,
    pub(crate) passwords: Passwords,
    pub(crate) logins: Logins,
    pub(crate) notes: Notes,
    pub(crate) metrics: PrometheusHandle,
    pub(crate) about: About,
    /// How the backups are doing that nodes make by themselves.
    pub(crate) backups: Arc<Standing>,
}

/// A handle to [`Inner`].
#[derive(Clone)]
pub(crate) struct Doors(Arc<Inner>);

impl Deref for Doors {
    type Target = Inner;

    fn deref(&self) -> &Inner {
        &self.0
    }
}

/// What a command came to, and in which shard: its index is one of that shard's log.
#[derive(Debug, Clone)]
pub(crate) struct Placed {
    pub(crate) shard: ShardId,
    pub(crate) answer: Answer,
}

/// A command that was done.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Decided<T> {
    pub(crate) done: T,
    pub(crate) position: Position,
    pub(crate) key: Option<RequestId>,
    pub(crate) repeated: bool,
}

impl Doors {
    /// Doors that share that.
    pub(crate) fn new(inner: Inner) -> Self {
        Self(Arc::new(inner))
    }

    /// The shard that a site lives in, once it is not on its way; `None` if that takes longer.
    async fn home(&self, site: SiteId, until: tokio::time::Instant) -> Option<ShardId> {
        loop {
            match self.replica.shard_of(site) {
                Some(shard) if shard.read().gone_to(site).is_none() => return Some(shard.id),
                _ if tokio::time::Instant::now() >= until => return None,
                _ => tokio::time::sleep(HOME_LOOK).await,
            }
        }
    }

    /// The shard of a site that exists.
    pub(crate) async fn shard_of(&self, site: SiteId) -> Result<Arc<ShardReplica>, Problem> {
        self.replica.find_site(site, SITE_PATIENCE).await.ok_or_else(|| site_unknown(site))
    }

    /// The same, to be read: as it is, or once it has everything that was acknowledged before.
    pub(crate) async fn shard_to_read(
        &self,
        site: SiteId,
        consistency: Consistency,
    ) -> Result<Arc<ShardReplica>, Problem> {
        if consistency == Consistency::Local {
            return self.shard_of(site).await;
        }
        if self.replica.shard_of(site).is_none() {
            self.spine.read_index(DIRECTORY, READ_PATIENCE).await?;
        }
        let mut shard = self.replica.shard_of(site).ok_or_else(|| site_unknown(site))?;
        self.spine.read_index(shard.id, READ_PATIENCE).await?;
        for _ in 0..MOVES_MAX {
            // It may live where it is going by now, and have taken something there.
            let Some(next) = shard.read().gone_to(site) else { break };
            self.spine.read_index(next, READ_PATIENCE).await?;
            let found = self.replica.shard_of(site).ok_or_else(|| site_unknown(site))?;
            if found.id == shard.id {
                break;
            }
            shard = found;
        }
        if self.replica.is_whole(shard.id) {
            return Ok(shard);
        }
        let detail = "this node is fetching what was before its snapshot; ask another node";
        Err(Problem::unavailable(detail).after(1_000))
    }

    /// Asks a command of a site for an HTTP request, and waits until this node has applied it too,
    /// so that the asker can read here what was written here.
    pub(crate) async fn ask(
        &self,
        claims: &Claims,
        key: RequestId,
        site: SiteId,
        command: Command,
    ) -> Result<Decided<Done>, Problem> {
        authority::permit(claims, Action::Ask(site, &command))?;
        let actor = claims.actor().ok_or_else(|| Problem::not_allowed("who are you?"))?;
        let origin = Origin::Request { principal: claims.principal, request: key };
        let key = Some(key);
        self.shard_of(site).await?;
        let placed = self.submit(Envelope { site, origin, actor, command }).await;
        let Placed { shard, answer } = placed.map_err(|error| Problem::from(error).under(key))?;
        let position = Position { shard, index: answer.index };
        match answer.outcome {
            Outcome::Done(done) => {
                self.replica.reach(shard, answer.index, OWN_WRITE_PATIENCE).await;
                Ok(Decided { done, position, key, repeated: answer.repeated })
            }
            Outcome::Refused(refusal) => {
                Err(Problem::from(refusal).decided(position, key, answer.repeated))
            }
        }
    }

    /// Puts a command in the order of the shard that its site lives in, and gives its answer. One
    /// that meets its site on the way to another shard waits for it there. Commands of sessions and
    /// requests are recognised when they come twice, and the cluster's own do nothing when
    /// repeated.
    pub(crate) async fn submit(&self, envelope: Envelope) -> Result<Placed, SpineError> {
        let (site, until) = (envelope.site, tokio::time::Instant::now() + PATIENCE);
        loop {
            let Some(shard) = self.home(site, until).await else {
                let detail = format!("{site} is on its way to another shard; ask again");
                return Err(SpineError::NotApplied(detail));
            };
            let answer = self.submit_to(shard, envelope.clone()).await?;
            let away = matches!(answer.outcome, Outcome::Refused(Refusal::SiteAway { .. }));
            if away && tokio::time::Instant::now() < until {
                // This node learns of it with the entry that was just refused, or soon.
                self.replica.reach(shard, answer.index, OWN_WRITE_PATIENCE).await;
                continue;
            }
            let shard = if answer.repeated { self.given_in(site, &answer, shard) } else { shard };
            return Ok(Placed { shard, answer });
        }
    }

    /// Where a repeated answer was given first: a site takes its answers along when it moves.
    fn given_in(&self, site: SiteId, answer: &Answer, shard: ShardId) -> ShardId {
        let stays = self.replica.stays(site);
        let stay = stays.iter().rev().find(|stay| stay.first <= answer.sequence.max(1));
        stay.map_or(shard, |stay| stay.shard)
    }

    async fn submit_to(&self, shard: ShardId, envelope: Envelope) -> Result<Answer, SpineError> {
        let op = envelope.command.word();
        let begun = Instant::now();
        let step = trace::step(op, envelope.command.conversation());
        let class = Class::of(&envelope.command);
        let full = if class == Class::New { self.spine.short_of_space() } else { None };
        let answer = match full {
            Some(full) => Err(SpineError::StorageFull(full)),
            None => self.propose_named(class, shard, envelope).await,
        };
        let result = match &answer {
            Ok(Answer { repeated: true, .. }) => "repeated",
            Ok(Answer { outcome: Outcome::Done(_), .. }) => "done",
            Ok(_) => "refused",
            Err(SpineError::Unknown(_)) => "unknown",
            Err(_) => "not_applied",
        };
        counter!(names::COMMANDS, "op" => op, "result" => result).increment(1);
        if let Some(step) = step {
            let status = self.spine.status(shard).filter(|status| !status.leads_here);
            step.end(shard, status.and_then(|status| status.leader), result);
        }
        if result == "repeated" {
            counter!(names::COMMANDS_DEDUPLICATED).increment(1);
        }
        histogram!(names::COMMAND_COMMIT, "op" => op).record(begun.elapsed().as_secs_f64());
        answer
    }

    /// Proposes a command of a site once a majority has the files that it names. That may take a
    /// while, so it is looked before whether the command may pass at all, and again once all is
    /// there. What the log will refuse for its own bounds has nothing looked for.
    async fn propose_named(
        &self,
        class: Class,
        shard: ShardId,
        envelope: Envelope,
    ) -> Result<Answer, SpineError> {
        let (asker, command) = (Asker::of(&envelope), ShardCommand::Site(envelope));
        let payload = encoded(&command)?;
        if let ShardCommand::Site(Envelope { site, command, .. }) = &command
            && command.attachments().next().is_some()
            && command.check_bodies().is_ok()
        {
            let passes = self.admission.admit(shard, class, asker, payload.len());
            drop(passes.map_err(SpineError::OverBudget)?);
            let named = self.blobs.require(*site, command.attachments()).await;
            named.map_err(SpineError::Attachment)?;
        }
        self.propose_encoded(class, asker, shard, payload, PATIENCE).await
    }

    /// The cluster's own command to a site.
    pub(crate) async fn submit_internal(
        &self,
        site: SiteId,
        actor: Actor,
        command: Command,
    ) -> Result<Placed, SpineError> {
        let origin = Origin::Internal;
        self.submit(Envelope { site, origin, actor, command }).await
    }

    /// Proposes something of the cluster's own to a shard and reads the answer.
    pub(crate) async fn propose<C: Serialize, A: DeserializeOwned>(
        &self,
        shard: ShardId,
        command: &C,
        patience: Duration,
    ) -> Result<A, SpineError> {
        self.propose_as(Class::Upkeep, None, shard, command, patience).await
    }

    /// The same for whoever asks, if there is room for that kind of work.
    async fn propose_as<C: Serialize, A: DeserializeOwned>(
        &self,
        class: Class,
        asker: Option<Asker>,
        shard: ShardId,
        command: &C,
        patience: Duration,
    ) -> Result<A, SpineError> {
        self.propose_encoded(class, asker, shard, encoded(command)?, patience).await
    }

    async fn propose_encoded<A: DeserializeOwned>(
        &self,
        class: Class,
        asker: Option<Asker>,
        shard: ShardId,
        payload: Vec<u8>,
        patience: Duration,
    ) -> Result<A, SpineError> {
        let permit = self.admission.admit(shard, class, asker, payload.len());
        let permit = permit.map_err(SpineError::OverBudget)?;
        let answer = self.spine.propose(shard, payload, patience, true).await?;
        permit.committed();
        codec::decode(&answer, Limit::Entry).map_err(|error| SpineError::Unknown(error.to_string()))
    }

    /// Asks the directory, and waits until this node knows what it decided.
    pub(crate) async fn ask_directory(
        &self,
        claims: &Claims,
        key: RequestId,
        command: DirectoryCommand,
    ) -> Result<Decided<DirectoryDone>, Problem> {
        let asked = audit::asked(self, claims);
        self.ask_directory_as(claims, Some(asked), key, command).await
    }

    /// The same, with or without a record of who asked.
    pub(crate) async fn ask_directory_as(
        &self,
        claims: &Claims,
        asked: Option<Asked>,
        key: RequestId,
        command: DirectoryCommand,
    ) -> Result<Decided<DirectoryDone>, Problem> {
        let origin = Some((claims.principal, key));
        let entry = DirectoryEntry { origin, asked, command };
        let asker = Some(asker_of(claims));
        let answer: Result<DirectoryAnswer, _> =
            self.propose_as(Class::New, asker, DIRECTORY, &entry, PATIENCE).await;
        let DirectoryAnswer { outcome, repeated, index } =
            answer.map_err(|error| Problem::from(error).under(Some(key)))?;
        let position = Position { shard: DIRECTORY, index };
        match outcome {
            DirectoryOutcome::Done(done) => {
                self.replica.reach(DIRECTORY, index, OWN_WRITE_PATIENCE).await;
                Ok(Decided { done, position, key: Some(key), repeated })
            }
            DirectoryOutcome::Refused(refusal) => {
                Err(Problem::from(refusal).decided(position, Some(key), repeated))
            }
        }
    }

    /// Makes a site in the shard that the directory has placed it in.
    pub(crate) async fn create_site(
        &self,
        claims: &Claims,
        shard: ShardId,
        command: &ShardCommand,
        key: RequestId,
    ) -> Result<Position, Problem> {
        let asker = Some(asker_of(claims));
        let answer: Result<Answer, _> =
            self.propose_as(Class::New, asker, shard, command, PATIENCE).await;
        let answer = answer.map_err(|error| Problem::from(error).under(Some(key)))?;
        let position = Position { shard, index: answer.index };
        match answer.outcome {
            Outcome::Done(_) => {
                self.replica.reach(shard, answer.index, OWN_WRITE_PATIENCE).await;
                Ok(position)
            }
            Outcome::Refused(refusal) => {
                Err(Problem::from(refusal).decided(position, Some(key), answer.repeated))
            }
        }
    }

    /// Where sessions may go on: core nodes that do not want to be left.
    pub(crate) fn urls(&self) -> Vec<String> {
        let peers = self.roster.peers();
        let stay = peers.values().filter(|peer| !is_to_be_left(&self.replica, peer.node));
        stay.map(|peer| peer.url.clone()).collect()
    }

    /// Whether this node's replica of a shard may serve feeds.
    pub(crate) fn is_fresh(&self, shard: ShardId) -> bool {
        self.replica.is_whole(shard) && self.spine.status(shard).is_some_and(|status| status.fresh)
    }

    /// Whether sessions that read that shard would be better off on another node.
    pub(crate) fn is_behind(&self, shard: ShardId) -> bool {
        !self.replica.is_whole(shard) || self.spine.status(shard).is_none_or(|status| status.behind)
    }
}

fn encoded<C: Serialize>(command: &C) -> Result<Vec<u8>, SpineError> {
    let payload = codec::encode(command, Limit::Entry);
    payload.map_err(|error| SpineError::NotApplied(error.to_string()))
}

fn site_unknown(site: SiteId) -> Problem {
    let detail = format!("there is no site {site}; GET /v1/sites lists what there is");
    Problem::new(axum::http::StatusCode::NOT_FOUND, "site-unknown", detail)
}

/// Who asks something of the directory, or for a site.
fn asker_of(claims: &Claims) -> Asker {
    Asker { tenant: claims.tenant, caller: Caller::Principal(claims.principal) }
}
