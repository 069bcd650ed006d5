//! One entry's turn at a site: the clock it is given, the events it makes, the work it may do.

use rotary_proto::effect::View;
use rotary_proto::event::{Audience, Event, EventRecord};
use rotary_proto::ids::{AgentId, ConversationId, CustomerId, QueueId, ShardId};
use rotary_proto::{Priority, Stamp, Wall, limits};

use crate::conversation::{Conversation, Stage};
use crate::queue::Counts;
use crate::site::{Due, Site, Work};

/// What one entry changes a site with.
pub(crate) struct Turn<'a> {
    pub(crate) site: &'a mut Site,
    /// Whose replicas perform what must happen outside.
    pub(crate) view: &'a View,
    pub(crate) now: Stamp,
    pub(crate) wall: Wall,
    pub(crate) shard: ShardId,
    pub(crate) index: u64,
    pub(crate) events: &'a mut Vec<EventRecord>,
    pub(crate) effort: &'a mut Effort,
}

/// What an entry may still do, and what all entries have done.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Effort {
    /// Steps left to this entry.
    left: u32,
    /// Steps this entry has taken.
    taken: u64,
    /// Steps of all entries.
    pub(crate) counters: Counters,
}

/// Steps of work, counted to show what applying costs without a clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counters {
    /// Entries applied.
    pub entries: u64,
    /// Classes looked at or changed for an agent.
    pub classes: u64,
    /// Candidates looked at for an item.
    pub candidates: u64,
    /// Waiting items looked at for an agent, heads left out.
    pub items: u64,
    /// Offers made.
    pub offers: u64,
    /// Alarms answered.
    pub alarms: u64,
    /// The most steps that one entry took.
    pub steps_max: u64,
}

impl Counters {
    const NONE: Self = Self {
        entries: 0,
        classes: 0,
        candidates: 0,
        items: 0,
        offers: 0,
        alarms: 0,
        steps_max: 0,
    };
}

impl Effort {
    /// Nothing done, nothing left to do.
    pub(crate) const NONE: Self = Self { left: 0, taken: 0, counters: Counters::NONE };

    /// Begins an entry.
    pub(crate) fn begin(&mut self) {
        (self.left, self.taken) = (limits::WORK_PER_ENTRY_MAX, 0);
        self.counters.entries += 1;
    }

    /// Ends an entry.
    pub(crate) fn end(&mut self) {
        self.counters.steps_max = self.counters.steps_max.max(self.taken);
    }

    /// Whether this entry may begin another piece of work.
    pub(crate) const fn remains(&self) -> bool {
        self.left > 0
    }

    /// Counts steps taken. A piece of work that was begun is finished, so this may use up more
    /// than is left.
    pub(crate) fn spend(&mut self, steps: u32) {
        self.left = self.left.saturating_sub(steps);
        self.taken += u64::from(steps);
    }
}

impl Turn<'_> {
    /// Makes an event.
    pub(crate) fn emit(&mut self, audience: Audience, event: Event) {
        self.site.sequence += 1;
        let told = if self.site.webhooks.is_empty() { None } else { event.topic() };
        self.events.push(EventRecord {
            site: self.site.id,
            sequence: self.site.sequence,
            index: self.index,
            stamp: self.now,
            wall: self.wall,
            audience,
            event,
        });
        if let Some((topic, conversation)) = told {
            self.want_effects(topic, conversation);
        }
    }

    /// The id of a conversation here.
    pub(crate) const fn id(&self, unique: u128) -> ConversationId {
        ConversationId { site: self.site.id, unique }
    }

    /// A conversation that a caller has made sure of.
    pub(crate) fn conversation(&self, unique: u128) -> &Conversation {
        self.site.conversations.get(unique).expect("the caller found it in this entry")
    }

    /// A conversation that a caller has made sure of, to be changed.
    pub(crate) fn conversation_mut(&mut self, unique: u128) -> &mut Conversation {
        self.site.conversations.edit(unique).expect("the caller found it in this entry")
    }

    /// Who may see what happens between an agent and a conversation; the customer too if `shown`.
    pub(crate) fn audience(
        &self,
        unique: u128,
        agents: impl IntoIterator<Item = AgentId>,
        shown: bool,
    ) -> Audience {
        let conversation = self.conversation(unique);
        Audience {
            agents: agents.into_iter().collect(),
            customer: conversation.customer.filter(|_| shown),
            queue: Some(conversation.queue),
        }
    }

    /// Moves a conversation to another stage and keeps its queue's counts and its alarm.
    pub(crate) fn set_stage(&mut self, unique: u128, stage: Stage) {
        let conversation = self.conversation_mut(unique);
        let (queue, before) = (conversation.queue, conversation.stage);
        conversation.stage = stage;
        self.count(queue, before, |count| *count -= 1);
        self.count(queue, stage, |count| *count += 1);
        self.rearm(unique);
    }

    /// Moves a conversation to another queue, or gives it another priority.
    pub(crate) fn change_queue(
        &mut self,
        unique: u128,
        queue: Option<QueueId>,
        priority: Option<Priority>,
    ) {
        let conversation = self.conversation(unique);
        let (before, stage) = (conversation.queue, conversation.stage);
        let after = queue.unwrap_or(before);
        self.count(before, stage, |count| *count -= 1);
        self.count(after, stage, |count| *count += 1);
        let conversation = self.conversation_mut(unique);
        conversation.queue = after;
        conversation.priority = priority.unwrap_or(conversation.priority);
    }

    /// Changes the count of a stage in a queue.
    pub(crate) fn count(&mut self, queue: QueueId, stage: Stage, change: impl FnOnce(&mut u64)) {
        let queue = self.site.queues.edit_derived(queue);
        let queue = queue.expect("conversations are in queues that exist");
        change(count_of(&mut queue.counts, stage));
    }

    /// Makes sure that what is due of a conversation will ring.
    pub(crate) fn rearm(&mut self, unique: u128) {
        let due = self.conversation(unique).due();
        self.site.set_alarm(Due::Conversation(unique), due);
    }

    /// Puts off work to the end of the entry, or to the next one.
    pub(crate) fn later(&mut self, work: Work) {
        self.site.work.push_back(work);
    }

    /// Forgets which conversation a customer had.
    pub(crate) fn forget_customer(&mut self, customer: CustomerId, unique: u128) {
        if let Some(known) = self.site.by_customer.get_mut(&customer) {
            known.conversations.remove(&unique);
            if known.conversations.is_empty() && known.sessions.is_empty() {
                self.site.by_customer.remove(&customer);
            }
        }
    }
}

/// The count of a stage.
pub(crate) const fn count_of(counts: &mut Counts, stage: Stage) -> &mut u64 {
    match stage {
        Stage::SelfService { .. } => &mut counts.self_service,
        Stage::Waiting => &mut counts.waiting,
        Stage::Offered { .. } => &mut counts.offered,
        Stage::Assigned { .. } => &mut counts.assigned,
        Stage::WrapUp { .. } => &mut counts.wrap_up,
    }
}
