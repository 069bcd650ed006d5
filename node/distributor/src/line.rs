//! Waiting in line: entering a queue, keeping a place, leaving.
//!
//! A conversation keeps its place while it is on offer: only an assignment or its end takes it out
//! of line. Its class is found when it takes its place; a plan edited later moves it, item by
//! item, without changing the order.

use rotary_proto::event::{Event, QueuedWhy};
use rotary_proto::limits;
use rotary_proto::plan::{RequiredSkill, Requirement, Strategy};
use rotary_proto::planted::{self, Planted};
use rotary_proto::{Channel, Priority, QueueId, Refusal, Stamp};

use crate::class::ClassKey;
use crate::conversation::Stage;
use crate::site::Work;
use crate::turn::Turn;

impl Turn<'_> {
    /// Puts a conversation whose stage is `Waiting` (and counted so) in line, and looks for an
    /// agent. `since` is the time that orders it.
    pub(crate) fn enter_line(&mut self, unique: u128, since: Stamp, why: QueuedWhy) {
        let now = self.now;
        let queue = self.conversation(unique).queue;
        let wait_max_ms = self.queue(queue).plan.wait_max_ms;
        let conversation = self.conversation_mut(unique);
        assert_eq!(conversation.stage, Stage::Waiting, "only who waits is in line");
        conversation.since = since;
        if planted::is(Planted::PriorityIgnored) {
            conversation.priority = Priority::default();
        }
        conversation.entered = now;
        conversation.wait_until = now.plus_ms(wait_max_ms);
        let (priority, until) = (conversation.priority, conversation.wait_until);
        self.rearm(unique);
        let conversation = self.id(unique);
        self.emit(
            self.audience(unique, None, true),
            Event::Queued { conversation, queue, priority, since, until, why },
        );
        if planted::is(Planted::RequeueForgotten) && why != QueuedWhy::Opened {
            return;
        }
        self.join_class(unique);
        self.later(Work::MatchItem(unique));
    }

    /// Finds the class of a waiting conversation and puts it in line there.
    pub(crate) fn join_class(&mut self, unique: u128) {
        let conversation = self.conversation(unique);
        let place = conversation.place(unique);
        let (queue, channel) = (conversation.queue, conversation.channel);
        let (key, strategy) = self.class_key(queue, channel, &conversation.skills);
        let skills = key.requirement.skills.clone();
        let slot = match self.site.classes.find(&key) {
            Some(slot) => slot,
            None => {
                let slot = self.site.classes.create(key, strategy);
                self.later(Work::BuildClass(slot));
                slot
            }
        };
        let conversation = self.conversation_mut(unique);
        conversation.required = skills;
        conversation.class = slot;
        self.site.classes.class_mut(slot).members += 1;
        self.site.classes.line_up(slot, place);
    }

    /// Takes a waiting or offered conversation out of its class, and a stale class with its last
    /// conversation.
    fn leave_class(&mut self, unique: u128) {
        let conversation = self.conversation(unique);
        let (slot, place) = (conversation.class, conversation.place(unique));
        self.site.classes.step_out(slot, place);
        let class = self.site.classes.class_mut(slot);
        class.members -= 1;
        if class.stale && class.members == 0 {
            self.site.classes.remove(slot);
        }
    }

    /// Takes a waiting or offered conversation out of line for good.
    pub(crate) fn leave_line(&mut self, unique: u128) {
        self.leave_class(unique);
        let now = self.now;
        let conversation = self.conversation_mut(unique);
        conversation.waited_us = conversation.waited_us(now);
        conversation.declines.clear();
    }

    /// Puts a conversation whose offer ended back in line, where it was.
    pub(crate) fn return_to_line(&mut self, unique: u128) {
        self.set_stage(unique, Stage::Waiting);
        let conversation = self.conversation(unique);
        let (slot, place) = (conversation.class, conversation.place(unique));
        if self.site.classes.class(slot).stale {
            self.change_class(unique);
        } else {
            self.site.classes.line_up(slot, place);
        }
        self.later(Work::MatchItem(unique));
    }

    /// Moves a waiting conversation from a stale class to the one its queue's plan gives.
    pub(crate) fn change_class(&mut self, unique: u128) {
        self.leave_class(unique);
        self.join_class(unique);
    }

    /// The class that the present plan of a queue gives, and the plan's strategy.
    fn class_key(
        &self,
        queue: QueueId,
        channel: Channel,
        extra: &[RequiredSkill],
    ) -> (ClassKey, Strategy) {
        let found = self.queue(queue);
        let strategy = found.plan.strategy;
        let requirement = Requirement { queue, channel, skills: found.requirement(extra) };
        (ClassKey { requirement, strategy: strategy.into() }, strategy)
    }

    /// Makes room for one more class, if a conversation needs one that does not exist.
    ///
    /// # Errors
    /// `LimitReached` where every class is in use.
    pub(crate) fn reserve_class(
        &mut self,
        queue: QueueId,
        channel: Channel,
        extra: &[RequiredSkill],
    ) -> Result<(), Refusal> {
        let room = self.site.classes.len() < limits::REQUIREMENT_CLASSES_MAX;
        if room || self.site.classes.find(&self.class_key(queue, channel, extra).0).is_some() {
            return Ok(());
        }
        let limit = || Refusal::LimitReached { limit: "requirement_classes_max".to_owned() };
        let unused = self.site.classes.unused().ok_or_else(limit)?;
        self.site.classes.remove(unused);
        Ok(())
    }

    /// A queue that a conversation is in.
    pub(crate) fn queue(&self, queue: QueueId) -> &crate::queue::Queue {
        self.site.queues.get(queue).expect("conversations are in queues that exist")
    }
}
