//! Reading a shard: what the API, boards and the command line show.
//!
//! Nothing here changes anything, and nothing here is asked while an entry is applied.

use rotary_proto::bot::BotPlan;
use rotary_proto::effect::PendingEffect;
use rotary_proto::ids::{
    AgentId, ConversationId, CustomerId, DispositionId, EffectId, GatewayId, QueueId, ReasonId,
    SessionId, ShardId, SiteId, SkillId, WebhookId,
};
use rotary_proto::outcome::Answer;
use rotary_proto::plan::WebhookPlan;
use rotary_proto::query::{
    AgentView, ConversationView, Named, QueueView, SessionView, SiteView, Stage as StageView,
    WebhookView,
};
use rotary_proto::values::Name;
use rotary_proto::web::Secret;
use rotary_proto::{Channel, Priority, Stamp};

use crate::agent::Agent;
use crate::conversation::{Conversation, Place, Stage};
use crate::effects::Webhook;
use crate::moves::Departure;
use crate::offerable::{Obstacle, obstacle};
use crate::queue::Queue;
use crate::shard::Shard;
use crate::site::Site;

/// A site that is on its way to another shard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Leaving {
    /// Where it is to live.
    pub to: ShardId,
    /// Counts its departures.
    pub number: u64,
    /// The index of the entry by which it departed.
    pub index: u64,
}

impl Shard {
    /// The sites of this shard.
    pub fn sites(&self) -> impl Iterator<Item = SiteId> + '_ {
        self.sites.keys().copied()
    }

    /// Whether a site lives here: its state is here, and it has not departed.
    pub fn has(&self, site: SiteId) -> bool {
        self.sites.contains_key(&site) && !self.moves.is_departed(site)
    }

    /// Whether the state of a site is here, departed or not.
    pub fn knows(&self, site: SiteId) -> bool {
        self.sites.contains_key(&site)
    }

    /// Whether a site that is here has ever departed.
    pub fn has_moved(&self, site: SiteId) -> bool {
        self.sites.get(&site).is_some_and(|site| site.travel.is_some())
    }

    /// Where a site went that lived here or was about to leave.
    pub fn gone_to(&self, site: SiteId) -> Option<ShardId> {
        self.moves.away.get(&site).map(|away| away.to)
    }

    /// The departure of a site whose state is still here.
    pub fn departure(&self, site: SiteId) -> Option<Leaving> {
        let (to, Departure { number, index, .. }) = self.moves.departure(site)?;
        Some(Leaving { to, number, index })
    }

    /// How often a site that is here has departed.
    pub fn departures_of(&self, site: SiteId) -> u64 {
        let travel = self.sites.get(&site).and_then(|site| site.travel.as_ref());
        travel.map_or(0, |travel| travel.departures)
    }

    /// Sites that have departed and whose state is still here.
    pub fn departures(&self) -> impl Iterator<Item = SiteId> + '_ {
        self.moves.away.iter().filter(|(_, away)| away.departed.is_some()).map(|(id, _)| *id)
    }

    /// Sites that lived here and whose state is here no more, and where each went.
    pub fn gone(&self) -> impl Iterator<Item = (SiteId, ShardId)> + '_ {
        let gone = self.moves.away.iter().filter(|(_, away)| away.departed.is_none());
        gone.map(|(site, away)| (*site, away.to))
    }

    /// The attempt to give this shard a site that is under way, if there is one: the index of the
    /// entry by which it is expected.
    pub fn expects(&self, site: SiteId) -> Option<u64> {
        self.moves.arriving.get(&site).map(|arrival| arrival.attempt())
    }

    /// The shards that a site lived in, each with the sequence of its first event there; the last
    /// one is where it is. None of a site that never moved.
    pub fn stays(&self, site: SiteId) -> Vec<(ShardId, u64)> {
        let travel = self.sites.get(&site).and_then(|site| site.travel.as_ref());
        let stays = travel.map_or(&[][..], |travel| &travel.stays);
        stays.iter().map(|stay| (stay.shard, stay.first)).collect()
    }

    /// Whether a site came from another shard and was not told yet that everything from before is
    /// on the disks of a quorum.
    pub fn is_unsettled(&self, site: SiteId) -> bool {
        let travel = self.sites.get(&site).and_then(|site| site.travel.as_ref());
        travel.is_some_and(|travel| !travel.settled)
    }

    /// The number of the site's last event.
    pub fn sequence(&self, site: SiteId) -> Option<u64> {
        self.sites.get(&site).map(|site| site.sequence)
    }

    /// A site at a glance.
    pub fn site_view(&self, site: SiteId) -> Option<SiteView> {
        let site = self.sites.get(&site)?;
        let ready = |agent: &Agent| site.is_routable(agent);
        Some(SiteView {
            settings: site.settings.clone(),
            sequence: site.sequence,
            frozen: site.frozen,
            queues: site.queues.len() as u64,
            agents: site.agents.len() as u64,
            ready: site.agents.iter().filter(|(_, agent)| ready(agent)).count() as u64,
            conversations: site.conversations.len() as u64,
            sessions: site.sessions.len() as u64,
        })
    }

    /// One queue.
    pub fn queue_view(&self, site: SiteId, queue: QueueId) -> Option<QueueView> {
        let site = self.sites.get(&site)?;
        Some(queue_view(site, queue, site.queues.get(queue)?, self.clock_of(site)))
    }

    /// Every queue of a site.
    pub fn queue_views(&self, site: SiteId) -> Option<Vec<QueueView>> {
        let site = self.sites.get(&site)?;
        let now = self.clock_of(site);
        Some(site.queues.iter().map(|(id, queue)| queue_view(site, id, queue, now)).collect())
    }

    /// Every webhook of a site.
    pub fn webhook_views(&self, site: SiteId) -> Option<Vec<WebhookView>> {
        let site = self.sites.get(&site)?;
        let view = |(id, webhook): (&WebhookId, &Webhook)| WebhookView {
            webhook: *id,
            version: webhook.version,
            plan: webhook.plan.clone(),
            pending: site.effects.waiting(*id) as u64,
        };
        Some(site.webhooks.iter().map(view).collect())
    }

    /// A webhook's version, what it is told and where, and what its messages are signed with.
    pub fn webhook(
        &self,
        site: SiteId,
        webhook: WebhookId,
    ) -> Option<(u32, &WebhookPlan, &Secret)> {
        let Webhook { version, plan, secret } = self.sites.get(&site)?.webhooks.get(&webhook)?;
        Some((*version, plan, secret))
    }

    /// The version of a queue's bot, where it is, and what its turns are signed with.
    pub fn bot(&self, site: SiteId, queue: QueueId) -> Option<(u32, &BotPlan, &Secret)> {
        let bot = self.sites.get(&site)?.queues.get(queue)?.bot.as_ref()?;
        Some((bot.version, bot.plan.as_ref()?, &bot.secret))
    }

    /// The version of a queue's bot, also of one that was taken away.
    pub fn bot_version(&self, site: SiteId, queue: QueueId) -> Option<u32> {
        self.sites.get(&site)?.queues.get(queue)?.bot.as_ref().map(|bot| bot.version)
    }

    /// What the clock of a site says: its deadlines are by that.
    pub fn clock(&self, site: SiteId) -> Option<Stamp> {
        self.sites.get(&site).map(|site| self.clock_of(site))
    }

    /// Whether an effect waits for its outcome still.
    pub fn is_pending(&self, site: SiteId, effect: EffectId) -> bool {
        self.sites.get(&site).is_some_and(|site| site.effects.pending.contains(effect))
    }

    /// An effect that waits for its outcome.
    pub fn effect(&self, site: SiteId, effect: EffectId) -> Option<&PendingEffect> {
        self.sites.get(&site)?.effects.pending.get(effect)
    }

    /// How many effects of all sites wait for their outcomes.
    pub fn effects_pending(&self) -> usize {
        let here = self.sites.values().filter(|site| self.has(site.id));
        here.map(|site| site.effects.pending.len()).sum()
    }

    /// At most `limit` effects that wait to be performed, oldest first, after a given one; none
    /// of a site that has departed.
    pub fn effects(
        &self,
        site: SiteId,
        after: Option<EffectId>,
        limit: usize,
    ) -> Option<Vec<PendingEffect>> {
        let pending = &self.sites.get(&site).filter(|_| self.has(site))?.effects.pending;
        Some(pending.iter_after(after).take(limit).map(|(_, effect)| effect.clone()).collect())
    }

    /// One agent.
    pub fn agent_view(&self, site: SiteId, agent: AgentId) -> Option<AgentView> {
        let site = self.sites.get(&site)?;
        Some(agent_view(site, agent, site.agents.get(agent)?))
    }

    /// At most `limit` agents, in order of their ids, after a given one.
    pub fn agent_views(
        &self,
        site: SiteId,
        after: Option<AgentId>,
        limit: usize,
    ) -> Option<Vec<AgentView>> {
        let site = self.sites.get(&site)?;
        let rows = site.agents.iter_after(after).take(limit);
        Some(rows.map(|(id, agent)| agent_view(site, id, agent)).collect())
    }

    /// One conversation; a closed one only while its tombstone stands.
    pub fn conversation_view(&self, id: ConversationId) -> Option<ConversationView> {
        let site = self.sites.get(&id.site)?;
        match site.conversations.get(id.unique) {
            Some(conversation) => Some(conversation_view(id, conversation, self.clock_of(site))),
            None if site.tombstones.contains(id.unique) => Some(closed_view(id)),
            None => None,
        }
    }

    /// At most `limit` live conversations, in order of their ids, after a given one.
    pub fn conversation_views(
        &self,
        site: SiteId,
        after: Option<u128>,
        limit: usize,
    ) -> Option<Vec<ConversationView>> {
        let found = self.sites.get(&site)?;
        let now = self.clock_of(found);
        let rows = found.conversations.iter_after(after).take(limit);
        let view = |(unique, conversation)| {
            conversation_view(ConversationId { site, unique }, conversation, now)
        };
        Some(rows.map(view).collect())
    }

    /// The live conversations of a customer.
    pub fn customer_conversations(
        &self,
        site: SiteId,
        customer: CustomerId,
    ) -> Vec<ConversationView> {
        let known = self.sites.get(&site).and_then(|site| site.by_customer.get(&customer));
        let ids = known.into_iter().flat_map(|known| known.conversations.iter());
        ids.filter_map(|unique| self.conversation_view(ConversationId { site, unique: *unique }))
            .collect()
    }

    /// What the session's commands came to, in order of their numbers, as far as the client has
    /// not acknowledged them: at most `SESSION_WINDOW_COMMANDS_MAX`.
    pub fn session_answers(
        &self,
        site: SiteId,
        session: SessionId,
    ) -> impl Iterator<Item = (u64, &Answer)> {
        let found = self.sites.get(&site).and_then(|site| site.sessions.get(session));
        found.into_iter().flat_map(|session| session.window.answers())
    }

    /// A session, also for a while after it is over.
    pub fn session_view(&self, site: SiteId, session: SessionId) -> Option<SessionView> {
        let found = self.sites.get(&site)?.sessions.get(session)?;
        let (subject, link, gateway) = (found.subject, found.link(), found.gateway);
        Some(SessionView { session, subject, link, gateway })
    }

    /// Sessions whose socket lives, as far as the log knows, on a gateway.
    pub fn sessions_at(
        &self,
        gateway: GatewayId,
    ) -> impl Iterator<Item = (SiteId, SessionId)> + '_ {
        self.sites.iter().flat_map(move |(id, site)| {
            let sessions = site.by_gateway.get(&gateway).into_iter().flatten();
            sessions.map(|session| (*id, *session))
        })
    }

    /// Skills and their names.
    pub fn skills(&self, site: SiteId) -> Option<Vec<Named<SkillId>>> {
        Some(named(self.sites.get(&site)?.skills.iter()))
    }

    /// Not-ready reasons and their names.
    pub fn reasons(&self, site: SiteId) -> Option<Vec<Named<ReasonId>>> {
        Some(named(self.sites.get(&site)?.reasons.iter()))
    }

    /// Dispositions and their names.
    pub fn dispositions(&self, site: SiteId) -> Option<Vec<Named<DispositionId>>> {
        Some(named(self.sites.get(&site)?.dispositions.iter()))
    }

    /// Gateways with a lease in this shard, and when it runs out.
    pub fn leases(&self) -> impl Iterator<Item = (GatewayId, Stamp)> + '_ {
        self.lease_table().iter().map(|(gateway, until)| (*gateway, *until))
    }

    /// What keeps a conversation from being offered to an agent at this index; `None` if nothing.
    pub fn obstacle(&self, id: ConversationId, agent: AgentId) -> Option<Obstacle> {
        let site = self.sites.get(&id.site);
        let found = site.and_then(|site| Some((site, site.conversations.get(id.unique)?)));
        found.map_or(Some(Obstacle::NotWaiting), |(site, c)| obstacle(site, c, agent))
    }

    /// Whether work of earlier entries is left over in a site.
    pub fn has_work(&self, site: SiteId) -> bool {
        self.sites.get(&site).is_some_and(|site| !site.work.is_empty())
    }
}

fn named<'a, T: Copy + 'a>(rows: impl Iterator<Item = (&'a T, &'a Name)>) -> Vec<Named<T>> {
    rows.map(|(id, name)| Named { id: *id, name: name.as_str().to_owned() }).collect()
}

fn queue_view(site: &Site, id: QueueId, queue: &Queue, now: Stamp) -> QueueView {
    let first = |(slot, urgency)| {
        let from = Place { urgency, since: Stamp::ZERO, unique: 0 };
        site.classes.class(slot).waiting.range(from..).next()
    };
    let lines =
        site.classes.of_queue(id).flat_map(|slot| (0..=Priority::MAX).map(move |u| (slot, u)));
    let oldest = lines.filter_map(first).map(|place| now.ms_since(place.since)).max();
    QueueView {
        queue: id,
        version: queue.version,
        plan: queue.plan.clone(),
        bot: queue.bot_plan().cloned(),
        self_service: queue.counts.self_service,
        waiting: queue.counts.waiting,
        offered: queue.counts.offered,
        assigned: queue.counts.assigned,
        wrap_up: queue.counts.wrap_up,
        oldest_wait_ms: oldest.unwrap_or(0),
    }
}

fn agent_view(site: &Site, id: AgentId, agent: &Agent) -> AgentView {
    let room = Channel::ALL.iter().any(|channel| agent.has_room(*channel));
    let ids = agent.held.iter().map(|unique| ConversationId { site: site.id, unique: *unique });
    AgentView {
        agent: id,
        version: agent.version,
        declared: agent.declared,
        link: agent.link.view(),
        routable: site.is_routable(agent) && room,
        capacity: agent.capacity,
        load: agent.debits,
        conversations: ids.collect(),
    }
}

fn conversation_view(id: ConversationId, found: &Conversation, now: Stamp) -> ConversationView {
    let stage = match found.stage {
        Stage::SelfService { .. } => StageView::SelfService,
        Stage::Waiting => StageView::Waiting,
        Stage::Offered { offer, agent, until, .. } => {
            StageView::Offered { offer, agent, remaining_ms: until.ms_since(now) }
        }
        Stage::Assigned { agent, held, .. } => StageView::Assigned { agent, held: held.is_some() },
        Stage::WrapUp { agent, until } => {
            StageView::WrapUp { agent, remaining_ms: until.ms_since(now) }
        }
    };
    ConversationView {
        conversation: id,
        stage,
        queue: Some(found.queue),
        channel: Some(found.channel),
        priority: Some(found.priority),
        customer: found.customer,
        items: found.items,
        legs: found.legs,
        waited_ms: found.waited_us(now) / 1_000,
    }
}

fn closed_view(id: ConversationId) -> ConversationView {
    ConversationView {
        conversation: id,
        stage: StageView::Closed,
        queue: None,
        channel: None,
        priority: None,
        customer: None,
        items: 0,
        legs: 0,
        waited_ms: 0,
    }
}
