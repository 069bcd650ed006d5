//! A site: everything that one match reads and writes.

mod rebuild;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use rotary_proto::Stamp;
use rotary_proto::ids::{
    AgentId, CustomerId, DispositionId, EffectId, GatewayId, QueueId, ReasonId, SessionId, SiteId,
    SkillId, WebhookId,
};
use rotary_proto::limits;
use rotary_proto::plan::SiteSettings;
use rotary_proto::values::Name;
use serde::{Deserialize, Serialize};

use crate::agent::Agent;
use crate::class::Classes;
use crate::conversation::Conversation;
use crate::digest::{Sum, hash_of};
use crate::effects::{Effects, Webhook};
use crate::moves::Travel;
use crate::page::{Fifo, FrozenFifo};
use crate::queue::Queue;
use crate::session::Session;
use crate::table::Table;
use crate::window::{RequestWindow, coarse};

/// A site's state: entities first, then what is derived from them.
#[derive(Debug, Clone)]
pub(crate) struct Site {
    pub(crate) id: SiteId,
    pub(crate) settings: SiteSettings,
    /// Set by a fault in applying; everything is refused until a fixed version lifts it.
    pub(crate) frozen: bool,
    /// The last event's number.
    pub(crate) sequence: u64,
    /// The last offer's number.
    pub(crate) offers: u64,
    /// Where it was before, once it has moved.
    pub(crate) travel: Option<Travel>,
    pub(crate) skills: Arc<BTreeMap<SkillId, Name>>,
    pub(crate) reasons: Arc<BTreeMap<ReasonId, Name>>,
    pub(crate) dispositions: Arc<BTreeMap<DispositionId, Name>>,
    pub(crate) webhooks: Arc<BTreeMap<WebhookId, Webhook>>,
    pub(crate) queues: Table<QueueId, Queue>,
    pub(crate) agents: Table<AgentId, Agent>,
    pub(crate) conversations: Table<u128, Conversation>,
    pub(crate) sessions: Table<SessionId, Session>,
    pub(crate) effects: Effects,
    pub(crate) tombstones: Tombstones,
    pub(crate) requests: RequestWindow,
    /// What is due at once, because an earlier entry had done its share of work.
    pub(crate) work: VecDeque<Work>,
    /// Gateways whose lease ran out, with those of their sessions that are still to be walked. A
    /// session that attaches anew in the meantime, there or elsewhere, is not among them.
    pub(crate) lost_gateways: BTreeMap<GatewayId, BTreeSet<SessionId>>,

    // Derived.
    /// The index up to which a quorum's journals are on disk, as the shard has it.
    pub(crate) recorded: u64,
    pub(crate) classes: Classes,
    pub(crate) alarms: Alarms,
    pub(crate) by_gateway: BTreeMap<GatewayId, BTreeSet<SessionId>>,
    pub(crate) by_customer: BTreeMap<CustomerId, Customer>,
    /// Something may be marked for its hash.
    pub(crate) unsettled: bool,
    buffer: Vec<u8>,
}

/// A customer's sessions and live conversations in this site.
#[derive(Debug, Clone, Default)]
pub(crate) struct Customer {
    pub(crate) sessions: BTreeSet<SessionId>,
    pub(crate) conversations: BTreeSet<u128>,
}

/// Something due at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Work {
    /// Find what this agent can be offered.
    MatchAgent(AgentId),
    /// Find who can be offered this conversation.
    MatchItem(u128),
    /// Go on with the search for agents who can serve a class.
    BuildClass(u32),
    /// Move items out of a class whose plan has changed.
    MoveItems(u32),
    /// Walk the sessions of a gateway whose lease ran out.
    LoseGateway(GatewayId),
}

/// What must happen when.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Due {
    /// The conversation's stage is over.
    Conversation(u128),
    /// A decline no longer holds.
    Declines(u128),
    /// The agent's grace is over.
    Agent(AgentId),
    /// The session's grace or its afterlife is over.
    Session(SessionId),
    /// The effect waits no longer for its outcome.
    Effect(EffectId),
}

/// At most one alarm for each thing that can be due, in order of time. Each entity keeps its own
/// alarms' times, so that they travel with it.
///
/// An alarm may ring early, where a deadline that moves often has moved later: whoever answers it
/// looks at the entity and sets it again.
#[derive(Debug, Clone, Default)]
pub(crate) struct Alarms {
    order: BTreeSet<(Stamp, Due)>,
}

/// A conversation that is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Tombstone {
    /// When it closed.
    pub(crate) at: Stamp,
    /// The entry that closed it.
    pub(crate) index: u64,
    pub(crate) unique: u128,
}

/// Conversations that are over, kept so that a late retry cannot open one again.
#[derive(Debug, Clone, Default)]
pub(crate) struct Tombstones {
    ids: BTreeSet<u128>,
    ages: Fifo<Tombstone>,
    sum: Sum,
}

impl Tombstones {
    /// Whether that conversation is known to be over.
    pub(crate) fn contains(&self, unique: u128) -> bool {
        self.ids.contains(&unique)
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.ages.len()
    }

    /// Remembers a conversation that is over.
    pub(crate) fn bury(&mut self, tombstone: Tombstone, buffer: &mut Vec<u8>) {
        if self.ids.insert(tombstone.unique) {
            self.ages.push(tombstone);
            self.sum.add(hash_of(TOMBSTONE, &tombstone, buffer));
        }
    }

    /// When the oldest is to be forgotten, if its closing is `recorded`.
    fn due(&self, recorded: impl Fn(&Tombstone) -> bool) -> Option<Stamp> {
        let oldest = self.ages.front().filter(|oldest| recorded(oldest))?;
        Some(coarse(oldest.at.plus_ms(limits::TOMBSTONE_MS)))
    }

    /// Forgets the oldest.
    pub(crate) fn forget_oldest(&mut self, buffer: &mut Vec<u8>) {
        if let Some(oldest) = self.ages.front().copied() {
            self.ages.drop_front();
            self.ids.remove(&oldest.unique);
            self.sum.subtract(hash_of(TOMBSTONE, &oldest, buffer));
        }
    }

    /// A view of all tombstones, oldest first.
    pub(crate) fn freeze(&mut self) -> FrozenFifo<Tombstone> {
        self.ages.freeze()
    }
}

const TOMBSTONE: u64 = 103;
const HEAD: u64 = 104;

impl Site {
    /// An empty site.
    pub(crate) fn new(id: SiteId, settings: SiteSettings) -> Self {
        Self {
            id,
            settings,
            frozen: false,
            sequence: 0,
            offers: 0,
            travel: None,
            skills: Arc::default(),
            reasons: Arc::default(),
            dispositions: Arc::default(),
            webhooks: Arc::default(),
            queues: Table::new(1),
            agents: Table::new(2),
            conversations: Table::new(3),
            sessions: Table::new(4),
            effects: Effects::new(),
            tombstones: Tombstones::default(),
            requests: RequestWindow::default(),
            work: VecDeque::new(),
            lost_gateways: BTreeMap::new(),
            recorded: u64::MAX,
            classes: Classes::default(),
            alarms: Alarms::default(),
            by_gateway: BTreeMap::new(),
            by_customer: BTreeMap::new(),
            unsettled: false,
            buffer: Vec::new(),
        }
    }

    /// What the site's clock says at a shard time. It goes on where it stood when the site moved.
    pub(crate) fn clock(&self, shard: Stamp) -> Stamp {
        let offset = self.travel.as_ref().map_or(0, |travel| travel.clock_us);
        Stamp(shard.0.saturating_add_signed(offset))
    }

    /// The shard time at which the site's clock says that.
    pub(crate) fn shard_time(&self, clock: Stamp) -> Stamp {
        let offset = self.travel.as_ref().map_or(0, |travel| travel.clock_us);
        Stamp(clock.0.saturating_add_signed(offset.saturating_neg()))
    }

    /// When the oldest tombstone is to be forgotten, if a quorum has its closing on disk.
    pub(crate) fn forgets_tombstones_at(&self) -> Option<Stamp> {
        let recorded = |oldest: &Tombstone| match &self.travel {
            Some(travel) if oldest.at <= travel.arrived => travel.settled,
            _ => oldest.index <= self.recorded,
        };
        self.tombstones.due(recorded)
    }

    /// When something must happen here by itself, by the site's clock.
    pub(crate) fn due(&self, now: Stamp) -> Option<Stamp> {
        if !self.work.is_empty() {
            return Some(now);
        }
        let alarm = self.alarms.order.first().map(|(at, _)| *at);
        let tombstone = self.forgets_tombstones_at();
        [alarm, self.requests.due(), tombstone].into_iter().flatten().min()
    }

    /// Sets an alarm, in place of the one that is set.
    pub(crate) fn set_alarm(&mut self, due: Due, at: Stamp) {
        let before = self.alarm_at(due);
        if before != Some(at) && self.note_alarm(due, Some(at)) {
            if let Some(before) = before {
                self.alarms.order.remove(&(before, due));
            }
            self.alarms.order.insert((at, due));
        }
    }

    /// Sets the alarm of what has none yet and never moves it.
    pub(crate) fn arm(&mut self, due: Due, at: Stamp) {
        self.alarms.order.insert((at, due));
    }

    /// Whether that alarm rings at that time.
    pub(crate) fn is_armed(&self, due: Due, at: Stamp) -> bool {
        self.alarms.order.contains(&(at, due))
    }

    /// Makes sure that an alarm rings no later than `at`; one that is set sooner stays, and
    /// whoever answers it sets it again.
    pub(crate) fn set_alarm_by(&mut self, due: Due, at: Stamp) {
        if self.alarm_at(due).is_none_or(|sooner| sooner > at) {
            self.set_alarm(due, at);
        }
    }

    /// Takes an alarm away.
    pub(crate) fn clear_alarm(&mut self, due: Due) {
        if let Some(at) = self.alarm_at(due) {
            self.alarms.order.remove(&(at, due));
            self.note_alarm(due, None);
        }
    }

    /// Takes the first alarm that rings at or before `now`.
    pub(crate) fn ring(&mut self, now: Stamp) -> Option<Due> {
        let (_, due) = *self.alarms.order.first().filter(|(at, _)| *at <= now)?;
        self.clear_alarm(due);
        Some(due)
    }

    /// When that alarm rings, if it is set.
    pub(crate) fn alarm_at(&self, due: Due) -> Option<Stamp> {
        match due {
            Due::Conversation(id) => self.conversations.get(id)?.alarm,
            Due::Declines(id) => self.conversations.get(id)?.declines_alarm,
            Due::Agent(id) => self.agents.get(id)?.alarm,
            Due::Session(id) => self.sessions.get(id)?.alarm,
            Due::Effect(id) => self.effects.pending.get(id).map(|effect| effect.until),
        }
    }

    /// Writes an alarm's time into its entity; whether there is one.
    fn note_alarm(&mut self, due: Due, at: Option<Stamp>) -> bool {
        let place = match due {
            Due::Conversation(id) => self.conversations.edit_derived(id).map(|c| &mut c.alarm),
            Due::Declines(id) => self.conversations.edit_derived(id).map(|c| &mut c.declines_alarm),
            Due::Agent(id) => self.agents.edit_derived(id).map(|agent| &mut agent.alarm),
            Due::Session(id) => self.sessions.edit_derived(id).map(|session| &mut session.alarm),
            Due::Effect(_) => None,
        };
        place.map(|place| *place = at).is_some()
    }

    /// Whether that agent can be offered something on some channel: declared ready, with a session
    /// whose gateway is not lost.
    pub(crate) fn is_routable(&self, agent: &Agent) -> bool {
        agent.is_routable() && (self.lost_gateways.is_empty() || self.has_live_session(agent))
    }

    fn has_live_session(&self, agent: &Agent) -> bool {
        agent.sessions.iter().any(|id| {
            self.sessions.get(*id).is_some_and(|session| {
                session.state == crate::session::SessionState::Up
                    && !self.is_being_lost(*id, session.gateway)
            })
        })
    }

    /// Whether the loss of a session with its gateway is known and not yet worked off.
    pub(crate) fn is_being_lost(&self, id: SessionId, gateway: GatewayId) -> bool {
        self.lost_gateways.get(&gateway).is_some_and(|sessions| sessions.contains(&id))
    }

    /// Hashes what was edited, but for the `keep` entities of each kind edited last.
    pub(crate) fn settle(&mut self, keep: usize) {
        self.queues.settle(keep, &mut self.buffer);
        self.agents.settle(keep, &mut self.buffer);
        self.conversations.settle(keep, &mut self.buffer);
        self.sessions.settle(keep, &mut self.buffer);
        self.effects.pending.settle(keep, &mut self.buffer);
        self.unsettled = keep > 0;
    }

    /// The digest of the site.
    pub(crate) fn digest(&self) -> u128 {
        let mut buffer = Vec::new();
        let head = (
            self.id,
            &self.settings,
            self.frozen,
            self.sequence,
            self.offers,
            &*self.skills,
            &*self.reasons,
            &*self.dispositions,
            &*self.webhooks,
        );
        [
            hash_of(HEAD, &head, &mut buffer),
            self.queues.sum(),
            self.agents.sum(),
            self.conversations.sum(),
            self.sessions.sum(),
            self.effects.pending.sum(),
            self.tombstones.sum.value(),
            self.requests.sum(),
            self.travel.as_ref().map_or(0, |travel| travel.digest(&mut buffer)),
        ]
        .into_iter()
        .fold(0, u128::wrapping_add)
    }

    /// The requests window with the buffer it hashes in.
    pub(crate) fn requests_mut(&mut self) -> (&mut RequestWindow, &mut Vec<u8>) {
        (&mut self.requests, &mut self.buffer)
    }

    /// The tombstones with the buffer they hash in.
    pub(crate) fn tombstones_mut(&mut self) -> (&mut Tombstones, &mut Vec<u8>) {
        (&mut self.tombstones, &mut self.buffer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rotary_proto::plan::Capacity;

    #[test]
    fn an_alarm_rings_once_and_never_late() {
        let settings = SiteSettings::named(Name::new("site").expect("valid"));
        let mut site = Site::new(SiteId::new(1, 1), settings);
        let due = Due::Agent(AgentId(1));
        site.set_alarm(due, Stamp(5));
        assert_eq!(site.alarm_at(due), None, "nobody is there to be due");
        site.agents.put(AgentId(1), Agent::new(Capacity::default(), Stamp(0)));
        site.set_alarm(due, Stamp(10));
        site.set_alarm_by(due, Stamp(20));
        assert_eq!(site.alarm_at(due), Some(Stamp(10)));
        site.set_alarm(due, Stamp(20));
        assert_eq!(site.due(Stamp(0)), Some(Stamp(20)));
        site.set_alarm_by(due, Stamp(5));
        assert_eq!(site.ring(Stamp(4)), None);
        assert_eq!(site.ring(Stamp(5)), Some(due));
        assert_eq!((site.ring(Stamp(99)), site.alarm_at(due)), (None, None));
    }

    #[test]
    fn a_tombstone_lasts_as_long_as_the_request_window() {
        let (mut tombstones, mut buffer) = (Tombstones::default(), Vec::new());
        let tombstone = |at, index| Tombstone { at: Stamp(at), index, unique: 7 };
        tombstones.bury(tombstone(1, 10), &mut buffer);
        tombstones.bury(tombstone(2, 11), &mut buffer);
        assert_eq!((tombstones.len(), tombstones.contains(7)), (1, true));
        let due = |recorded| tombstones.due(|oldest| oldest.index <= recorded);
        assert_eq!(due(9), None, "its closing is not on a quorum's disks");
        let due = due(10).expect("there is one");
        assert!(due >= Stamp(1).plus_ms(limits::TOMBSTONE_MS));
        tombstones.forget_oldest(&mut buffer);
        assert_eq!((tombstones.contains(7), tombstones.sum), (false, Sum::default()));
    }
}
