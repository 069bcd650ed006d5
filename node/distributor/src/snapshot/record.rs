//! The records of a snapshot, and their order.
//!
//! ```text
//! Shard, Lease*, Away*, Passed*, ( Arriving, Part* )*,
//! ( Site, Travel?, Skill*, Reason*, Disposition*, Webhook*, Queue*, Class*, Agent*, Admitted*,
//!   Session*, Conversation*, Effect*, Tombstone*, Principal*, Request*, Work*, LostGateway*,
//!   LostSession*, SiteEnd )*,
//! End
//! ```
//!
//! A site's head comes with the digest that the site must have when it is whole again, its end with
//! the number of its records of each kind. Entities come in no order that means anything;
//! tombstones, outcomes and work come oldest first. Variants are append-only from the first tagged
//! release on.

use std::borrow::Cow;
use std::collections::BTreeMap;

use rotary_proto::effect::{PendingEffect, View};
use rotary_proto::ids::{
    AgentId, DispositionId, GatewayId, NodeId, PrincipalId, QueueId, ReasonId, RequestId,
    SessionId, ShardId, SiteId, SkillId, WebhookId,
};
use rotary_proto::outcome::Answer;
use rotary_proto::plan::{Requirement, SiteSettings, Strategy};
use rotary_proto::values::Name;
use rotary_proto::{SitePart, Stamp};
use serde::{Deserialize, Serialize};

use super::{Frozen, FrozenMoves, FrozenSite};
use crate::agent::Agent;
use crate::class::{Build, ClassRow};
use crate::conversation::{Conversation, Stage};
use crate::effects::Webhook;
use crate::moves::{Away, Expected, Passed, Travel};
use crate::queue::Queue;
use crate::session::Session;
use crate::site::{Tombstone, Work};

/// One record.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Record<'a> {
    /// The first of all.
    Shard {
        id: ShardId,
        last: Stamp,
        logic_version: u32,
        /// How far each member's journal is on disk.
        marks: Cow<'a, BTreeMap<NodeId, u64>>,
        view: Cow<'a, View>,
    },
    /// A gateway's lease.
    Lease {
        gateway: GatewayId,
        until: Stamp,
    },
    /// A site has left, or is about to.
    Away(SiteId, Away),
    /// The last departures of a site that were taken or declined here.
    Passed(SiteId, Passed),
    /// A site that is being given.
    Arriving(Expected),
    /// A part of it.
    Part(Cow<'a, SitePart>),
    /// A site begins.
    Site(Cow<'a, Head>),
    /// Where it was before.
    Travel(Cow<'a, Travel>),
    Skill(SkillId, Cow<'a, Name>),
    Reason(ReasonId, Cow<'a, Name>),
    Disposition(DispositionId, Cow<'a, Name>),
    Webhook(WebhookId, Cow<'a, Webhook>),
    Queue(QueueId, Cow<'a, Queue>),
    /// A class, in its slot.
    Class {
        slot: u32,
        requirement: Cow<'a, Requirement>,
        strategy: Strategy,
        stale: bool,
        build: Option<Build>,
    },
    Agent {
        id: AgentId,
        agent: Cow<'a, Agent>,
        skills: Cow<'a, BTreeMap<SkillId, u8>>,
        alarm: Option<Stamp>,
        /// Whether items can find them.
        free: bool,
    },
    /// An agent serves a class whose search goes on.
    Admitted {
        agent: AgentId,
        slot: u32,
    },
    Session {
        id: SessionId,
        session: Cow<'a, Session>,
        alarm: Option<Stamp>,
    },
    Conversation {
        unique: u128,
        conversation: Cow<'a, Conversation>,
        /// The slot of its class, while it waits or is on offer.
        class: Option<u32>,
        alarm: Option<Stamp>,
        declines_alarm: Option<Stamp>,
    },
    Effect(Cow<'a, PendingEffect>),
    Tombstone(Tombstone),
    /// A principal's floor.
    Principal {
        principal: PrincipalId,
        floor_ms: u64,
    },
    /// An outcome of a request.
    Request {
        at: Stamp,
        principal: PrincipalId,
        request: RequestId,
        answer: Cow<'a, Answer>,
    },
    Work(Work),
    LostGateway(GatewayId),
    /// A session of a lost gateway that is still to be walked.
    LostSession {
        gateway: GatewayId,
        session: SessionId,
    },
    /// The site is whole: how many records of each kind it had.
    SiteEnd(Counts),
    /// The last of all.
    End {
        sites: u64,
        digest: u128,
    },
}

/// How many records there are of each kind, by [`Record::kind`].
pub(super) type Counts = [u64; Record::KINDS];

/// What a site has one of.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Head {
    pub(super) id: SiteId,
    pub(super) settings: SiteSettings,
    pub(super) frozen: bool,
    pub(super) sequence: u64,
    pub(super) offers: u64,
    pub(super) due: Option<Stamp>,
    pub(super) shared_floor_ms: u64,
    pub(super) digest: u128,
}

impl Record<'_> {
    /// How many kinds there are.
    pub(super) const KINDS: usize = 27;

    /// The kind's place in the order of kinds, from 0.
    pub(super) const fn kind(&self) -> usize {
        match self {
            Self::Shard { .. } => 0,
            Self::Lease { .. } => 1,
            Self::Away(..) => 2,
            Self::Passed { .. } => 3,
            Self::Arriving(_) => 4,
            Self::Part(_) => 5,
            Self::Site(_) => 6,
            Self::Travel(_) => 7,
            Self::Skill(..) => 8,
            Self::Reason(..) => 9,
            Self::Disposition(..) => 10,
            Self::Webhook(..) => 11,
            Self::Queue(..) => 12,
            Self::Class { .. } => 13,
            Self::Agent { .. } => 14,
            Self::Admitted { .. } => 15,
            Self::Session { .. } => 16,
            Self::Conversation { .. } => 17,
            Self::Effect(_) => 18,
            Self::Tombstone(_) => 19,
            Self::Principal { .. } => 20,
            Self::Request { .. } => 21,
            Self::Work(_) => 22,
            Self::LostGateway(_) => 23,
            Self::LostSession { .. } => 24,
            Self::SiteEnd(_) => 25,
            Self::End { .. } => 26,
        }
    }
}

impl Frozen {
    /// Every record, in order.
    pub(super) fn records(&self) -> impl Iterator<Item = Record<'_>> {
        let Self { id, last, logic_version, marks, view, leases, moves, sites, digest } = self;
        let (marks, view) = (Cow::Borrowed(marks), Cow::Borrowed(view));
        let logic_version = *logic_version;
        let head = Record::Shard { id: *id, last: *last, logic_version, marks, view };
        let lease = |(gateway, until): (&GatewayId, &Stamp)| Record::Lease {
            gateway: *gateway,
            until: *until,
        };
        let end = Record::End { sites: sites.len() as u64, digest: *digest };
        std::iter::once(head)
            .chain(leases.iter().map(lease))
            .chain(moves.records())
            .chain(sites.iter().flat_map(FrozenSite::records))
            .chain(std::iter::once(end))
    }
}

impl FrozenMoves {
    /// Who went, who is not taken, and who is coming.
    fn records(&self) -> impl Iterator<Item = Record<'_>> {
        let away = self.away.iter().map(|(site, away)| Record::Away(*site, *away));
        let passed = |(site, passed): (&SiteId, &Passed)| Record::Passed(*site, *passed);
        let arriving = self.arriving.iter().flat_map(|(expected, parts)| {
            let parts = parts.iter().map(|part| Record::Part(Cow::Borrowed(&**part)));
            std::iter::once(Record::Arriving(*expected)).chain(parts)
        });
        away.chain(self.passed.iter().map(passed)).chain(arriving)
    }
}

impl FrozenSite {
    fn records(&self) -> impl Iterator<Item = Record<'_>> {
        let mut counts: Counts = [0; Record::KINDS];
        let mut body = self.plan().chain(self.people()).chain(self.contacts()).chain(self.rest());
        let mut ended = false;
        std::iter::from_fn(move || {
            if let Some(record) = body.next() {
                counts[record.kind()] += 1;
                return Some(record);
            }
            (!std::mem::replace(&mut ended, true)).then_some(Record::SiteEnd(counts))
        })
    }

    fn head(&self) -> Head {
        Head {
            id: self.id,
            settings: self.settings.clone(),
            frozen: self.frozen,
            sequence: self.sequence,
            offers: self.offers,
            due: self.due,
            shared_floor_ms: self.requests.shared_floor_ms,
            digest: self.digest,
        }
    }

    /// The head, names, queues and classes.
    fn plan(&self) -> impl Iterator<Item = Record<'_>> {
        let skills = self.skills.iter();
        let reasons = self.reasons.iter();
        let dispositions = self.dispositions.iter();
        let webhooks = self.webhooks.iter();
        let travel = self.travel.iter();
        std::iter::once(Record::Site(Cow::Owned(self.head())))
            .chain(travel.map(|travel| Record::Travel(Cow::Borrowed(travel))))
            .chain(skills.map(|(id, name)| Record::Skill(*id, Cow::Borrowed(name))))
            .chain(reasons.map(|(id, name)| Record::Reason(*id, Cow::Borrowed(name))))
            .chain(dispositions.map(|(id, name)| Record::Disposition(*id, Cow::Borrowed(name))))
            .chain(webhooks.map(|(id, webhook)| Record::Webhook(*id, Cow::Borrowed(webhook))))
            .chain(self.queues.iter().map(|(id, queue)| Record::Queue(id, Cow::Borrowed(queue))))
            .chain(self.classes.rows.iter().map(class_record))
    }

    /// Agents and sessions.
    fn people(&self) -> impl Iterator<Item = Record<'_>> {
        let agents = self.agents.iter().map(|(id, agent)| {
            let free = self.classes.free.binary_search(&id).is_ok();
            agent_record(id, agent, free)
        });
        let admitted = self.classes.admitted.iter();
        agents
            .chain(admitted.map(|(agent, slot)| Record::Admitted { agent: *agent, slot: *slot }))
            .chain(self.sessions.iter().map(|(id, session)| session_record(id, session)))
    }

    /// Conversations, effects and tombstones.
    fn contacts(&self) -> impl Iterator<Item = Record<'_>> {
        let tombstone = |tombstone: &Tombstone| Record::Tombstone(*tombstone);
        self.conversations
            .iter()
            .map(|(unique, conversation)| conversation_record(unique, conversation))
            .chain(self.effects.iter().map(|(_, effect)| Record::Effect(Cow::Borrowed(effect))))
            .chain(self.tombstones.iter().map(tombstone))
    }

    /// The window of requests, and work that is left over.
    fn rest(&self) -> impl Iterator<Item = Record<'_>> {
        let principals = self
            .requests
            .principals
            .iter()
            .map(|(principal, known)| Record::Principal { principal, floor_ms: known.floor_ms });
        let requests = self.requests.kept.iter().map(|kept| Record::Request {
            at: kept.at,
            principal: kept.principal,
            request: kept.request,
            answer: Cow::Borrowed(&kept.answer),
        });
        let gateways = self.lost_gateways.keys().map(|gateway| Record::LostGateway(*gateway));
        let lost = self.lost_gateways.iter().flat_map(|(gateway, sessions)| {
            let record =
                |session: &SessionId| Record::LostSession { gateway: *gateway, session: *session };
            sessions.iter().map(record)
        });
        principals
            .chain(requests)
            .chain(self.work.iter().map(|work| Record::Work(*work)))
            .chain(gateways)
            .chain(lost)
    }
}

fn class_record(row: &ClassRow) -> Record<'_> {
    Record::Class {
        slot: row.slot,
        requirement: Cow::Borrowed(&row.requirement),
        strategy: row.strategy,
        stale: row.stale,
        build: row.build,
    }
}

fn agent_record(id: AgentId, agent: &Agent, free: bool) -> Record<'_> {
    let (skills, alarm) = (Cow::Borrowed(&agent.skills), agent.alarm);
    Record::Agent { id, agent: Cow::Borrowed(agent), skills, alarm, free }
}

fn session_record(id: SessionId, session: &Session) -> Record<'_> {
    Record::Session { id, session: Cow::Borrowed(session), alarm: session.alarm }
}

fn conversation_record(unique: u128, conversation: &Conversation) -> Record<'_> {
    let in_class = matches!(conversation.stage, Stage::Waiting | Stage::Offered { .. });
    Record::Conversation {
        unique,
        conversation: Cow::Borrowed(conversation),
        class: in_class.then_some(conversation.class),
        alarm: conversation.alarm,
        declines_alarm: conversation.declines_alarm,
    }
}

#[cfg(test)]
#[path = "record_tests.rs"]
pub(super) mod tests;
