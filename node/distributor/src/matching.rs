//! Matching: finding, for an agent, the item that is next; for an item, the agent who is best.
//!
//! One rule keeps both halves of promise P4, however much work earlier entries have left over: an
//! agent is only ever offered the first item in line of all that is offerable to them. An arriving
//! item chooses an agent by its queue's strategy, and that agent then takes *their* first item,
//! which is the arriving one unless something earlier was overlooked so far.

use rotary_proto::Channel;
use rotary_proto::event::{Decision, Event, Trigger};
use rotary_proto::ids::{AgentId, OfferId};
use rotary_proto::plan::Strategy;
use rotary_proto::planted::{self, Planted};

use crate::class::Candidate;
use crate::conversation::{Place, Stage};
use crate::site::Work;
use crate::turn::Turn;

impl Turn<'_> {
    /// Does what is due at once, as far as this entry may.
    pub(crate) fn run_work(&mut self) {
        while self.effort.remains() {
            let Some(work) = self.site.work.pop_front() else { return };
            self.effort.spend(1);
            match work {
                Work::MatchAgent(agent) => self.match_agent(agent),
                Work::MatchItem(unique) => self.match_item(unique),
                Work::BuildClass(slot) => self.build_class(slot),
                Work::MoveItems(slot) => self.move_items(slot),
                Work::LoseGateway(gateway) => self.lose_gateway(gateway),
            }
        }
    }

    /// Offers an agent what is next for them until nothing is, or no room is left; then, if they
    /// have room, lets items find them. Each offer is a walk over the agent's classes, so the
    /// entry's share of work may end in between.
    pub(crate) fn match_agent(&mut self, agent: AgentId) {
        self.set_busy(agent);
        while let Some((place, candidate)) = self.next_item_for(agent) {
            self.offer(place, candidate, Trigger::AgentFree);
            if !self.effort.remains() {
                return self.later(Work::MatchAgent(agent));
            }
        }
        self.set_free(agent);
    }

    /// Offers an item to the best agent who may have it, if there is one.
    fn match_item(&mut self, unique: u128) {
        while self.effort.remains() {
            let Some(conversation) = self.site.conversations.get(unique) else { return };
            if conversation.stage != Stage::Waiting {
                return;
            }
            let slot = conversation.class;
            let Some(candidate) = self.best_agent_for(unique, slot) else { return };
            let agent = candidate.agent;
            let Some((place, own)) = self.next_item_for(agent) else {
                // Not routable any more: the session's end is noted, its agent not yet.
                self.set_busy(agent);
                continue;
            };
            let key = if place.unique == unique { candidate } else { own };
            self.set_busy(agent);
            self.offer(place, key, Trigger::Arrival);
            self.match_agent(agent);
        }
        self.later(Work::MatchItem(unique));
    }

    /// The first candidate, in the order of the class's strategy, who has not declined the item.
    fn best_agent_for(&mut self, unique: u128, slot: u32) -> Option<Candidate> {
        let class = self.site.classes.class(slot);
        let conversation = self.site.conversations.get(unique)?;
        let mut looked_at = 0;
        let mut take = |candidate: &&Candidate| {
            looked_at += 1;
            !conversation.is_declined_by(candidate.agent)
        };
        let found = if class.strategy == Strategy::RoundRobin {
            let last =
                self.site.queues.get(conversation.queue)?.last_offered.map_or(-1, |a| a.0.into());
            let after = Candidate { key: [0, last + 1], agent: AgentId(0) };
            class.free.range(after..).find(&mut take).or_else(|| class.free.iter().find(&mut take))
        } else {
            class.free.iter().find(&mut take)
        };
        let found = found.copied();
        if planted::is(Planted::HashOrder) && planted::odd().is_multiple_of(3) {
            let mut free = class.free.iter().rev();
            return free.find(|last| !conversation.is_declined_by(last.agent)).copied();
        }
        self.effort.spend(looked_at);
        self.effort.counters.candidates += u64::from(looked_at);
        found
    }

    /// The first item in line of all that is offerable to an agent, with the agent's key in that
    /// item's class.
    fn next_item_for(&mut self, id: AgentId) -> Option<(Place, Candidate)> {
        self.finish_admission(id);
        let agent = self.site.agents.get(id)?;
        let room = Channel::ALL.map(|channel| agent.has_room(channel));
        if !self.site.is_routable(agent) || room == [false; Channel::ALL.len()] {
            return None;
        }
        let classes = &self.site.classes;
        let indexed = classes.agents.get(&id)?;
        let mut best: Option<(Place, u32)> = None;
        let (mut served, mut passed_over) = (0, 0);
        for reference in &indexed.served {
            let head = classes.heads[reference.slot as usize];
            if head.generation != reference.generation {
                continue;
            }
            served += 1;
            let Some(first) = head.first else { continue };
            if best.is_some_and(|(place, _)| place <= first) || !room[head.channel.index()] {
                continue;
            }
            let offerable = |place: &&Place| {
                passed_over += 1;
                let conversation = self.site.conversations.get(place.unique);
                conversation.is_some_and(|conversation| !conversation.is_declined_by(id))
            };
            let place = classes.class(reference.slot).waiting.iter().find(offerable);
            if let Some(place) = place
                && best.is_none_or(|(best, _)| *place < best)
            {
                best = Some((*place, reference.slot));
            }
        }
        let steps = served + passed_over;
        let found = best.map(|(place, slot)| (place, classes.candidate(slot, id, agent)));
        self.effort.spend(steps);
        self.effort.counters.classes += u64::from(steps - passed_over);
        self.effort.counters.items += u64::from(passed_over);
        found
    }

    /// Proposes an item to an agent who is in no `free` set.
    fn offer(&mut self, place: Place, candidate: Candidate, trigger: Trigger) {
        let (unique, agent) = (place.unique, candidate.agent);
        let conversation = self.conversation(unique);
        let (slot, queue, channel) = (conversation.class, conversation.queue, conversation.channel);
        let waited_ms = conversation.waited_us(self.now) / 1_000;
        let (offer_ms, plan_version) = {
            let queue = self.queue(queue);
            (queue.plan.offer_ms, queue.version)
        };
        self.site.offers += 1;
        let (offer, until) = (OfferId(self.site.offers), self.now.plus_ms(offer_ms));
        let class = self.site.classes.class(slot);
        let decision = Decision {
            trigger,
            strategy: class.strategy,
            plan_version,
            key: candidate.key,
            candidates: class.free.len() as u32 + 1,
            waited_ms,
        };
        self.site.classes.step_out(slot, place);
        self.set_stage(unique, Stage::Offered { offer, agent, until, promised: until });
        let entry = self.site.agents.edit(agent).expect("candidates are agents");
        entry.debit(unique, channel);
        if decision.strategy == Strategy::RoundRobin
            && let Some(queue) = self.site.queues.edit(queue)
        {
            queue.last_offered = Some(agent);
        }
        self.effort.counters.offers += 1;
        let conversation = self.id(unique);
        self.emit(
            self.audience(unique, [agent], false),
            Event::Offered { conversation, offer, agent, queue, channel, until, decision },
        );
    }

    /// Lets items find an agent who is routable and has room.
    fn set_free(&mut self, id: AgentId) {
        let Some(agent) = self.site.agents.get(id) else { return };
        if self.site.is_routable(agent) {
            let steps = self.site.classes.set_free(id, agent);
            self.effort.spend(steps);
            self.effort.counters.classes += u64::from(steps);
        }
    }

    /// Keeps items from finding an agent.
    pub(crate) fn set_busy(&mut self, id: AgentId) {
        let Some(agent) = self.site.agents.get(id) else { return };
        let steps = self.site.classes.set_busy(id, agent);
        self.effort.spend(steps);
        self.effort.counters.classes += u64::from(steps);
    }

    /// Lets an agent serve the classes whose search has not come to them yet, so that whoever is
    /// matched has been looked at for every class.
    fn finish_admission(&mut self, id: AgentId) {
        let Some(agent) = self.site.agents.get(id) else { return };
        for place in 0..self.site.classes.building.len() {
            let slot = self.site.classes.building[place];
            self.site.classes.admit(slot, id, agent);
            self.effort.spend(1);
        }
    }

    /// Goes on with the search for agents who can serve a class. Its items are matched when the
    /// search is over (each has its own work, which comes later in line), so that the strategy
    /// chooses among all who can serve them.
    fn build_class(&mut self, slot: u32) {
        if !self.site.classes.building.contains(&slot) {
            return;
        }
        let mut build = self.site.classes.class(slot).build.expect("it is being built");
        while self.effort.remains() {
            self.effort.spend(1);
            let next = self.site.classes.next_holder(build.through, build.after);
            let Some(id) = next else { return self.site.classes.finish(slot) };
            build.after = Some(id);
            let agent = self.site.agents.get(id).expect("who is signed in is an agent");
            self.site.classes.admit(slot, id, agent);
        }
        self.site.classes.class_mut(slot).build = Some(build);
        self.site.work.push_front(Work::BuildClass(slot));
    }

    /// Moves items out of a class whose plan has changed.
    fn move_items(&mut self, slot: u32) {
        while self.effort.remains() {
            let Some(place) = self.site.classes.first_of_stale(slot) else { return };
            self.effort.spend(4);
            self.change_class(place.unique);
            self.later(Work::MatchItem(place.unique));
        }
        self.site.work.push_front(Work::MoveItems(slot));
    }
}
