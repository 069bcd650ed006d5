//! Reading a snapshot: chunks in order become a shard, or an error says why not.
//!
//! A shard is given only when the last chunk has come, every site has its digest, every count is
//! right, and the promises that hold after every entry hold (`invariants`). Nothing is believed: a
//! record that refers to something that is not there, comes twice, out of order or above its bound
//! is an error. Chunks are read one at a time, and what is built from them is the shard itself.

use std::sync::Arc;

use rotary_proto::effect::{EffectTarget, View};
use rotary_proto::ids::{AgentId, ShardId, SiteId};
use rotary_proto::planted::{self, Planted};
use rotary_proto::snapshot::{ChunkError, Machine, Reader};
use rotary_proto::values::Name;
use rotary_proto::{FIRST_LOGIC, LogicVersions, Stamp, UnfitBuild, limits};

use super::record::{Counts, Head, Record};
use crate::class::ClassRow;
use crate::conversation::Conversation;
use crate::invariants;
use crate::marks::Marks;
use crate::shard::Shard;
use crate::site::Site;

/// Why chunks are not a snapshot that can be installed. Another snapshot, or this one fetched anew,
/// may be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RestoreError {
    /// A chunk is not the next one.
    Chunk(ChunkError),
    /// It is of another shard.
    OtherShard {
        /// The shard that is restored.
        expected: ShardId,
        /// The shard found.
        found: ShardId,
    },
    /// It acts by a version of the logic that this build cannot apply.
    Unfit(UnfitBuild),
    /// A record where its kind may not be.
    OutOfOrder {
        /// The kind, as its place in the order of kinds.
        kind: usize,
    },
    /// More of something than there may be.
    LimitReached {
        /// The bound, by name.
        limit: &'static str,
    },
    /// Records of a site contradict each other, or a value breaks its bounds.
    Inconsistent {
        /// Where.
        site: SiteId,
        /// What is wrong.
        detail: String,
    },
    /// Not as many records as the end of a site, or of the snapshot, says.
    Count,
    /// The state has another digest than the one that was frozen: of a site, or of the shard.
    Digest {
        /// Which site, or none for the shard.
        site: Option<SiteId>,
    },
    /// A promise does not hold.
    Violation(invariants::Violation),
}

impl std::error::Error for RestoreError {}

impl std::fmt::Display for RestoreError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Chunk(error) => write!(f, "{error}"),
            Self::OtherShard { expected, found } => {
                write!(f, "a snapshot of {found} cannot become {expected}")
            }
            Self::Unfit(error) => write!(f, "{error}"),
            Self::OutOfOrder { kind } => write!(f, "a record of kind {kind} is out of order"),
            Self::LimitReached { limit } => write!(f, "the snapshot exceeds {limit}"),
            Self::Inconsistent { site, detail } => write!(f, "{site}: {detail}"),
            Self::Count => write!(f, "records are missing, or there are too many"),
            Self::Digest { site: Some(site) } => write!(f, "{site} has another digest"),
            Self::Digest { site: None } => write!(f, "the shard has another digest"),
            Self::Violation(violation) => write!(f, "a promise does not hold: {violation:?}"),
        }
    }
}

impl From<ChunkError> for RestoreError {
    fn from(error: ChunkError) -> Self {
        Self::Chunk(error)
    }
}

/// A shard on its way back from chunks.
#[derive(Debug, Clone)]
pub struct Restore {
    reader: Reader,
    building: Building,
}

#[derive(Debug, Clone)]
struct Building {
    shard: Shard,
    /// The kind of the last record.
    last: Option<usize>,
    site: Option<Box<Draft>>,
    can: LogicVersions,
    /// Whether nothing else is taken: no other site, and none on its way.
    alone: bool,
}

/// A site whose end has not come.
#[derive(Debug, Clone)]
struct Draft {
    site: Site,
    due: Option<Stamp>,
    digest: u128,
    free: Vec<AgentId>,
    admitted: Vec<(AgentId, u32)>,
    counts: Counts,
}

impl Restore {
    /// Nothing read so far of a snapshot of that shard, whichever version it acts by.
    pub fn new(shard: ShardId) -> Self {
        let can = LogicVersions { oldest: FIRST_LOGIC, newest: u32::MAX };
        Self::fitting(shard, can)
    }

    /// The same for a build that can apply those versions of the logic, and takes no other.
    pub fn fitting(shard: ShardId, can: LogicVersions) -> Self {
        let (shard, site) = (Shard::new(shard), None);
        let building = Building { shard, last: None, site, can, alone: false };
        Self { reader: Reader::new(Machine::Distributor), building }
    }

    /// The same of a shard that has one site only.
    pub(crate) fn alone(shard: ShardId, can: LogicVersions) -> Self {
        let mut restore = Self::fitting(shard, can);
        restore.building.alone = true;
        restore
    }

    /// Takes the next chunk. A refused one ends the restoration.
    ///
    /// # Errors
    /// [`RestoreError`] naming what is wrong. Bytes never panic.
    pub fn chunk(mut self, bytes: &[u8]) -> Result<Self, RestoreError> {
        self.reader.read(bytes, |record| self.building.take(record))?;
        Ok(self)
    }

    /// Whether all of it has come.
    pub(crate) fn is_whole(&self) -> bool {
        self.building.last == Some(END)
    }

    /// The shard, if all of it has come.
    ///
    /// # Errors
    /// [`RestoreError`]: chunks are missing, or a promise does not hold.
    pub fn finish(self) -> Result<Shard, RestoreError> {
        self.reader.finish()?;
        if !self.is_whole() {
            return Err(RestoreError::Count);
        }
        let shard = self.building.shard;
        match invariants::check(&shard).into_iter().next() {
            None => Ok(shard),
            Some(violation) => Err(RestoreError::Violation(violation)),
        }
    }
}

const SHARD: usize = 0;
const LEASE: usize = 1;
const ARRIVING: usize = 4;
const PART: usize = 5;
const SITE: usize = 6;
const TRAVEL: usize = 7;
const SITE_END: usize = 25;
const END: usize = 26;

impl Building {
    // long: one arm a kind of record, and nothing else.
    fn take(&mut self, record: Record) -> Result<(), RestoreError> {
        let kind = record.kind();
        let moves = LEASE < kind && kind < SITE;
        let another = kind == SITE && !self.shard.sites.is_empty();
        if !may_follow(self.last, kind) || self.alone && (moves || another) {
            return Err(RestoreError::OutOfOrder { kind });
        }
        self.last = Some(kind);
        match record {
            Record::Shard { id, last, logic_version, marks, view } => {
                let expected = self.shard.id();
                if id != expected {
                    return Err(RestoreError::OtherShard { expected, found: id });
                }
                if !self.can.include(logic_version) {
                    let (version, can) = (logic_version, self.can);
                    return Err(RestoreError::Unfit(UnfitBuild { version, can }));
                }
                let limit = "members_per_shard_max";
                let marks = Marks::restored(marks.into_owned());
                let marks = marks.ok_or(RestoreError::LimitReached { limit })?;
                self.shard.restore_head(
                    last,
                    logic_version,
                    marks,
                    restored_view(view.into_owned())?,
                );
            }
            Record::Lease { gateway, until } => {
                if !self.shard.restore_lease(gateway, until) {
                    return Err(RestoreError::LimitReached { limit: "gateways_per_shard_max" });
                }
            }
            Record::Away(site, away) => {
                let few = self.shard.moves.restore_away(site, away);
                few.then_some(()).ok_or(RestoreError::LimitReached { limit: "sites_gone_max" })?;
            }
            Record::Passed(site, passed) => {
                let few = self.shard.moves.restore_passed(site, passed);
                few.then_some(()).ok_or(RestoreError::LimitReached { limit: "sites_gone_max" })?;
            }
            Record::Arriving(expected) => {
                let few = self.shard.moves.restore_expected(expected);
                few.then_some(()).ok_or(RestoreError::LimitReached { limit: "arrivals_max" })?;
            }
            Record::Part(part) => {
                let (site, kept) = (part.site, self.shard.moves.take(part.into_owned()));
                kept.map_err(|refusal| inconsistent(site, refusal))?;
            }
            Record::Site(head) => {
                self.site = Some(Box::new(Draft::new(&head, self.shard.recorded())?));
            }
            Record::SiteEnd(counts) => self.end_site(counts)?,
            Record::End { sites, digest } => {
                if self.shard.sites.len() as u64 != sites {
                    return Err(RestoreError::Count);
                }
                if self.shard.digest() != digest {
                    return Err(RestoreError::Digest { site: None });
                }
            }
            record => {
                let draft = self.site.as_mut().expect("its site came before, by its order");
                draft.counts[kind] += 1;
                draft.take(record)?;
            }
        }
        Ok(())
    }

    fn end_site(&mut self, counts: Counts) -> Result<(), RestoreError> {
        let draft = self.site.take().expect("its site came before, by its order");
        if draft.counts != counts {
            return Err(RestoreError::Count);
        }
        let (due, digest) = (draft.due, draft.digest);
        let mut site = draft.site;
        let id = site.id;
        let departed = self.shard.moves.is_departed(id);
        let rebuilt = site.rebuild(&draft.free, &draft.admitted);
        rebuilt.map_err(|detail| inconsistent(id, detail))?;
        if site.digest() != digest {
            return Err(RestoreError::Digest { site: Some(id) });
        }
        let awaited = !site.frozen && !departed && site.due(Stamp::ZERO).is_some();
        if due.is_some() != awaited {
            return Err(inconsistent(id, "it is due and has nothing to do, or the reverse"));
        }
        if self.shard.sites.len() >= limits::SITES_PER_SHARD_MAX {
            return Err(RestoreError::LimitReached { limit: "sites_per_shard_max" });
        }
        let new = self.shard.restore_site(site, due);
        if new { Ok(()) } else { Err(inconsistent(id, "it comes twice")) }
    }
}

/// A view whose replicas rise and are not too many.
fn restored_view(view: View) -> Result<View, RestoreError> {
    let rises = view.replicas.is_sorted_by(|one, next| one < next);
    if rises && view.replicas.len() <= limits::MEMBERS_PER_SHARD_MAX {
        return Ok(view);
    }
    Err(RestoreError::LimitReached { limit: "members_per_shard_max" })
}

/// Whether a record of that kind may come after one of kind `last`, or as the first.
fn may_follow(last: Option<usize>, kind: usize) -> bool {
    match last {
        None => kind == SHARD,
        Some(ARRIVING | PART) => matches!(kind, ARRIVING | PART | SITE | END),
        Some(front) if front < SITE => {
            kind != SHARD && kind != PART && front <= kind && (kind <= SITE || kind == END)
        }
        Some(SITE_END) => matches!(kind, SITE | END),
        Some(TRAVEL) if kind == TRAVEL => false,
        Some(END) => false,
        Some(within) => within <= kind && kind > SITE && kind <= SITE_END,
    }
}

fn inconsistent(site: SiteId, detail: impl ToString) -> RestoreError {
    RestoreError::Inconsistent { site, detail: detail.to_string() }
}

fn within(count: usize, most: usize, limit: &'static str) -> Result<(), RestoreError> {
    if count < most { Ok(()) } else { Err(RestoreError::LimitReached { limit }) }
}

impl Draft {
    /// Of a shard whose quorum has recorded up to there.
    fn new(head: &Head, recorded: u64) -> Result<Self, RestoreError> {
        let Head { id, settings, frozen, sequence, offers, due, shared_floor_ms, digest } = head;
        settings.check().map_err(|bad| inconsistent(*id, bad))?;
        let mut site = Site::new(*id, settings.clone());
        (site.frozen, site.sequence, site.offers) = (*frozen, *sequence, *offers);
        site.recorded = recorded;
        site.requests.restore_shared_floor(*shared_floor_ms);
        let (free, admitted) = (Vec::new(), Vec::new());
        let mut counts: Counts = [0; Record::KINDS];
        counts[SITE] = 1;
        Ok(Self { site, due: *due, digest: *digest, free, admitted, counts })
    }

    fn is(&self, fine: bool, detail: &'static str) -> Result<(), RestoreError> {
        if fine { Ok(()) } else { Err(inconsistent(self.site.id, detail)) }
    }

    // long: one arm a kind of record, and nothing else.
    fn take(&mut self, record: Record) -> Result<(), RestoreError> {
        let site = &mut self.site;
        match record {
            Record::Travel(travel) => {
                let few = travel.stays.len() <= limits::SITE_STAYS_MAX;
                let fine = few && !travel.stays.is_empty();
                site.travel = Some(travel.into_owned());
                self.is(fine, "it has been nowhere, or in too many shards")
            }
            Record::Skill(id, name) => {
                within(site.skills.len(), limits::SKILLS_PER_SITE_MAX, "skills_per_site_max")?;
                put(Arc::make_mut(&mut site.skills).insert(id, name.into_owned()), site.id)
            }
            Record::Reason(id, name) => {
                let most = limits::REASONS_PER_SITE_MAX;
                within(site.reasons.len(), most, "reasons_per_site_max")?;
                put(Arc::make_mut(&mut site.reasons).insert(id, name.into_owned()), site.id)
            }
            Record::Disposition(id, name) => {
                let most = limits::REASONS_PER_SITE_MAX;
                within(site.dispositions.len(), most, "reasons_per_site_max")?;
                put(Arc::make_mut(&mut site.dispositions).insert(id, name.into_owned()), site.id)
            }
            Record::Webhook(id, webhook) => {
                let (count, most) = (site.webhooks.len(), limits::WEBHOOKS_PER_SITE_MAX);
                within(count, most, "webhooks_per_site_max")?;
                webhook.plan.check().map_err(|bad| inconsistent(site.id, bad))?;
                let before = Arc::make_mut(&mut site.webhooks).insert(id, webhook.into_owned());
                self.is(before.is_none(), "a webhook comes twice")
            }
            Record::Queue(id, queue) => {
                within(site.queues.len(), limits::QUEUES_PER_SITE_MAX, "queues_per_site_max")?;
                queue.plan.check().map_err(|bad| inconsistent(site.id, bad))?;
                let new = !site.queues.contains(id);
                site.queues.put(id, queue.into_owned());
                self.is(new, "a queue comes twice")
            }
            Record::Class { slot, requirement, strategy, stale, build } => {
                let requirement = requirement.into_owned();
                let row = ClassRow { slot, requirement, strategy, stale, build };
                let new = site.classes.restore_class(row);
                self.is(new, "a class comes twice, or in a slot beyond the bound")
            }
            Record::Effect(effect) => {
                let known = match effect.target {
                    EffectTarget::Webhook(webhook) => site.webhooks.contains_key(&webhook),
                    EffectTarget::Mail { .. } => true,
                    EffectTarget::Turn(queue) => site.queues.contains(queue),
                };
                let here = known && effect.conversation.site == site.id;
                let put = here && site.effects.put(effect.into_owned());
                self.is(put, "an effect comes twice, for nobody here, or is one too many")
            }
            Record::Tombstone(tombstone) => {
                let (count, most) = (site.tombstones.len(), limits::TOMBSTONES_PER_SITE_MAX);
                within(count, most, "tombstones_per_site_max")?;
                let new = site.tombstones.restore(tombstone);
                self.is(new, "a tombstone comes twice")
            }
            Record::Principal { principal, floor_ms } => {
                let new = site.requests.restore_principal(principal, floor_ms);
                self.is(new, "a principal comes twice, or is one too many")
            }
            Record::Request { at, principal, request, answer } => {
                let kept = (at, principal, request, answer.into_owned());
                let new = planted::is(Planted::WindowNotInSnapshot)
                    || site.requests.restore_outcome(kept);
                self.is(new, "a request comes twice, without its principal, or is one too many")
            }
            Record::Work(work) => {
                site.work.push_back(work);
                Ok(())
            }
            other => self.take_living(other),
        }
    }

    /// Agents, sessions and conversations.
    fn take_living(&mut self, record: Record) -> Result<(), RestoreError> {
        let site = &mut self.site;
        match record {
            Record::Agent { id, agent, skills, alarm, free } => {
                within(site.agents.len(), limits::AGENTS_PER_SITE_MAX, "agents_per_site_max")?;
                let mut agent = agent.into_owned();
                agent.set_skills(&skills);
                agent.alarm = alarm;
                agent.capacity.check().map_err(|bad| inconsistent(site.id, bad))?;
                let new = !site.agents.contains(id);
                site.agents.put(id, agent);
                self.free.extend(free.then_some(id));
                self.is(new, "an agent comes twice")
            }
            Record::Admitted { agent, slot } => {
                self.admitted.push((agent, slot));
                Ok(())
            }
            Record::Session { id, session, alarm } => {
                within(
                    site.sessions.len(),
                    limits::SESSIONS_PER_SITE_MAX,
                    "sessions_per_site_max",
                )?;
                let mut session = session.into_owned();
                session.alarm = alarm;
                let new = !site.sessions.contains(id) && session.window.is_in_order();
                site.sessions.put(id, session);
                self.is(new, "a session comes twice, or its outcomes are out of order")
            }
            Record::Conversation { unique, conversation, class, alarm, declines_alarm } => {
                let class = class.unwrap_or(u32::MAX);
                let entity =
                    Conversation { class, alarm, declines_alarm, ..conversation.into_owned() };
                self.take_conversation(unique, entity)
            }
            Record::LostGateway(gateway) => {
                let new = site.lost_gateways.insert(gateway, Default::default()).is_none();
                self.is(new, "a lost gateway comes twice")
            }
            Record::LostSession { gateway, session } => {
                let sessions = site.lost_gateways.get_mut(&gateway);
                let new = sessions.is_some_and(|sessions| sessions.insert(session));
                self.is(new, "a lost session comes twice, or without its gateway")
            }
            _ => unreachable!("every kind within a site has its arm"),
        }
    }

    fn take_conversation(
        &mut self,
        unique: u128,
        entity: Conversation,
    ) -> Result<(), RestoreError> {
        let (count, most) = (self.site.conversations.len(), limits::CONVERSATIONS_PER_SITE_MAX);
        within(count, most, "conversations_per_site_max")?;
        let few = entity.items <= limits::ITEMS_PER_CONVERSATION_MAX;
        let new = few && !self.site.conversations.contains(unique);
        self.site.conversations.put(unique, entity);
        self.is(new, "a conversation comes twice, or has too many items")
    }
}

fn put(before: Option<Name>, site: SiteId) -> Result<(), RestoreError> {
    before.map_or(Ok(()), |_| Err(inconsistent(site, "a name comes twice")))
}

#[cfg(test)]
#[path = "restore_tests.rs"]
mod tests;
