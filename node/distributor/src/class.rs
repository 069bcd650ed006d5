//! Requirement classes: the index that makes matching cheap.
//!
//! Items that need the same of an agent (queue, channel, skills) form a *class*. A class keeps its
//! waiting items in line and its free agents in order of the queue's strategy; an agent keeps the
//! list of classes they can serve. So an arriving item looks at one class, and an agent who
//! becomes free looks at the heads of their own classes: O(C log n) for C classes served, never a
//! scan of all items or all agents.
//!
//! Which classes there are, in which slots, and how far the search for each one's agents has come
//! is state that later entries depend on; everything else is derived from entities (`rebuild`).

mod rebuild;

pub(crate) use rebuild::{ClassRow, FrozenClasses};

use std::collections::{BTreeMap, BTreeSet};

use rotary_proto::ids::{AgentId, QueueId, SkillId};
use rotary_proto::plan::{Requirement, Strategy};
use rotary_proto::{Channel, Stamp};
use serde::{Deserialize, Serialize};

use crate::agent::Agent;
use crate::conversation::Place;

/// A class in its slot. A slot is used again under another generation, so that a stale reference
/// is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct ClassRef {
    pub(crate) slot: u32,
    pub(crate) generation: u32,
}

/// A free agent's place in the order of a class's strategy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Candidate {
    /// As [`rotary_proto::event::Decision`] describes it.
    pub(crate) key: [i64; 2],
    /// Ties end in the id.
    pub(crate) agent: AgentId,
}

/// What identifies a class.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct ClassKey {
    pub(crate) requirement: Requirement,
    pub(crate) strategy: StrategyOrder,
}

/// [`Strategy`] with an order, to be part of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct StrategyOrder(u8);

impl From<Strategy> for StrategyOrder {
    fn from(strategy: Strategy) -> Self {
        Self(strategy as u8)
    }
}

/// One class.
#[derive(Debug, Clone)]
pub(crate) struct Class {
    pub(crate) key: ClassKey,
    pub(crate) strategy: Strategy,
    /// Items in line.
    pub(crate) waiting: BTreeSet<Place>,
    /// Agents who are free for this class.
    pub(crate) free: BTreeSet<Candidate>,
    /// Conversations that wait here or are on offer from here.
    pub(crate) members: u32,
    /// Where the search for agents who can serve it has come to, while it goes on.
    pub(crate) build: Option<Build>,
    /// The plan has changed: items move to another class, and none comes.
    pub(crate) stale: bool,
}

/// An unfinished search for agents.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Build {
    /// The required skill that fewest agents have; all signed-in agents if none is required.
    pub(crate) through: Option<SkillId>,
    /// The last agent looked at.
    pub(crate) after: Option<AgentId>,
}

/// What matching an agent reads of every class they serve, kept dense.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Head {
    pub(crate) first: Option<Place>,
    pub(crate) channel: Channel,
    pub(crate) generation: u32,
}

/// What an agent was indexed under, needed to find the entries again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FreeKey {
    pub(crate) idle_since: Stamp,
    pub(crate) holds: bool,
    pub(crate) load: i64,
    pub(crate) room: [bool; Channel::ALL.len()],
}

impl FreeKey {
    fn of(agent: &Agent) -> Self {
        Self {
            idle_since: agent.idle_since,
            holds: !agent.held.is_empty(),
            load: agent.load(),
            room: Channel::ALL.map(|channel| agent.has_room(channel)),
        }
    }
}

/// An agent in the index.
#[derive(Debug, Clone, Default)]
pub(crate) struct Indexed {
    /// Classes they can serve, in order of slots, so that looking at them takes the same steps
    /// whatever order they came in. What refers to a class that is gone goes when it is met.
    pub(crate) served: Vec<ClassRef>,
    /// Set while they are in the `free` sets of those classes that they have room for.
    pub(crate) free: Option<FreeKey>,
}

impl Class {
    fn new(key: ClassKey, strategy: Strategy, build: Option<Build>, stale: bool) -> Self {
        let (waiting, free) = (BTreeSet::new(), BTreeSet::new());
        Self { key, strategy, waiting, free, members: 0, build, stale }
    }
}

/// All classes of a site, and who can serve them.
#[derive(Debug, Clone, Default)]
pub(crate) struct Classes {
    slots: Vec<Option<Class>>,
    pub(crate) heads: Vec<Head>,
    /// Slots below the highest in use that are not in use; the lowest is used first.
    vacant: BTreeSet<u32>,
    by_key: BTreeMap<ClassKey, u32>,
    by_queue: BTreeMap<QueueId, BTreeSet<u32>>,
    /// By the first required skill.
    by_skill: BTreeMap<Option<SkillId>, BTreeSet<u32>>,
    /// Classes whose search for agents goes on.
    pub(crate) building: Vec<u32>,
    pub(crate) agents: BTreeMap<AgentId, Indexed>,
    /// Signed-in agents by skill; under `None`, all of them.
    signed_in: BTreeMap<Option<SkillId>, BTreeSet<AgentId>>,
}

impl Classes {
    /// How many classes there are.
    pub(crate) fn len(&self) -> usize {
        self.by_key.len()
    }

    /// The class in a slot.
    pub(crate) fn class(&self, slot: u32) -> &Class {
        self.slots[slot as usize].as_ref().expect("a conversation's class is kept while it counts")
    }

    /// The class in a slot, to be changed.
    pub(crate) fn class_mut(&mut self, slot: u32) -> &mut Class {
        self.slots[slot as usize].as_mut().expect("a conversation's class is kept while it counts")
    }

    /// The slot of the class with that key.
    pub(crate) fn find(&self, key: &ClassKey) -> Option<u32> {
        self.by_key.get(key).copied()
    }

    /// The classes of a queue.
    pub(crate) fn of_queue(&self, queue: QueueId) -> impl Iterator<Item = u32> + '_ {
        self.by_queue.get(&queue).into_iter().flatten().copied()
    }

    /// Makes a class and begins the search for its agents.
    pub(crate) fn create(&mut self, key: ClassKey, strategy: Strategy) -> u32 {
        let slot = self.vacant.pop_first().unwrap_or(self.slots.len() as u32);
        let skills = key.requirement.skills.iter().map(|need| need.skill);
        let through = skills.min_by_key(|skill| self.holders(Some(*skill)));
        let build = Some(Build { through, after: None });
        self.insert(slot, Class::new(key, strategy, build, false));
        slot
    }

    /// Puts a class into a slot that is not in use.
    fn insert(&mut self, slot: u32, class: Class) {
        while self.slots.len() <= slot as usize {
            self.slots.push(None);
            self.heads.push(Head { first: None, channel: Channel::Voice, generation: 0 });
        }
        let requirement = &class.key.requirement;
        self.heads[slot as usize].channel = requirement.channel;
        let first = requirement.skills.first().map(|need| need.skill);
        self.by_skill.entry(first).or_default().insert(slot);
        self.by_queue.entry(requirement.queue).or_default().insert(slot);
        if !class.stale {
            self.by_key.insert(class.key.clone(), slot);
        }
        if class.build.is_some() {
            self.building.push(slot);
        }
        self.slots[slot as usize] = Some(class);
    }

    /// Keeps a class from being found, because the plan behind it has changed.
    pub(crate) fn mark_stale(&mut self, slot: u32) {
        let class = self.slots[slot as usize].as_mut().expect("listed classes exist");
        class.stale = true;
        self.by_key.remove(&class.key);
    }

    /// Some class that no conversation counts in, if there is one.
    pub(crate) fn unused(&self) -> Option<u32> {
        let unused = |slot: &&u32| self.class(**slot).members == 0;
        self.by_key.values().find(unused).copied()
    }

    /// Gives a class's slot back. References to it become stale.
    pub(crate) fn remove(&mut self, slot: u32) {
        let class = self.slots[slot as usize].take().expect("listed classes exist");
        assert!(class.members == 0, "a class goes after its last conversation");
        if !class.stale {
            self.by_key.remove(&class.key);
        }
        let requirement = &class.key.requirement;
        let first = requirement.skills.first().map(|need| need.skill);
        remove_from(&mut self.by_skill, &first, slot);
        remove_from(&mut self.by_queue, &requirement.queue, slot);
        self.building.retain(|other| *other != slot);
        let head = &mut self.heads[slot as usize];
        head.first = None;
        head.generation += 1;
        self.vacant.insert(slot);
    }

    /// The first item in line of a class that is stale; nothing if the slot is another's now.
    pub(crate) fn first_of_stale(&self, slot: u32) -> Option<Place> {
        let class = self.slots.get(slot as usize)?.as_ref().filter(|class| class.stale)?;
        class.waiting.first().copied()
    }

    /// Ends the search for a class's agents.
    pub(crate) fn finish(&mut self, slot: u32) {
        self.building.retain(|other| *other != slot);
        self.class_mut(slot).build = None;
    }

    /// An agent's place in the order of a class.
    pub(crate) fn candidate(&self, slot: u32, id: AgentId, agent: &Agent) -> Candidate {
        candidate(self.class(slot), id, agent, FreeKey::of(agent))
    }

    /// A reference to the class in a slot.
    pub(crate) fn reference(&self, slot: u32) -> ClassRef {
        ClassRef { slot, generation: self.heads[slot as usize].generation }
    }

    /// Puts an item in line.
    pub(crate) fn line_up(&mut self, slot: u32, place: Place) {
        let class = self.slots[slot as usize].as_mut().expect("items line up in their class");
        class.waiting.insert(place);
        self.heads[slot as usize].first = class.waiting.first().copied();
    }

    /// Takes an item out of line; whether it was there.
    pub(crate) fn step_out(&mut self, slot: u32, place: Place) -> bool {
        let class = self.slots[slot as usize].as_mut().expect("items line up in their class");
        let was = class.waiting.remove(&place);
        self.heads[slot as usize].first = class.waiting.first().copied();
        was
    }

    /// How many signed-in agents have a skill; under `None`, how many there are.
    pub(crate) fn holders(&self, skill: Option<SkillId>) -> usize {
        self.signed_in.get(&skill).map_or(0, BTreeSet::len)
    }

    /// Signed-in agents with a skill (all, under `None`) after a given one.
    pub(crate) fn next_holder(
        &self,
        skill: Option<SkillId>,
        after: Option<AgentId>,
    ) -> Option<AgentId> {
        use std::ops::Bound::{Excluded, Unbounded};
        let from = after.map_or(Unbounded, Excluded);
        self.signed_in.get(&skill)?.range((from, Unbounded)).next().copied()
    }

    /// Counts an agent in as signed in, with the classes they can serve. Gives the steps taken.
    pub(crate) fn sign_in(&mut self, id: AgentId, agent: &Agent) -> u32 {
        let mut steps = 1;
        let mut served = Vec::new();
        for skill in std::iter::once(None).chain(agent.skills.keys().copied().map(Some)) {
            self.signed_in.entry(skill).or_default().insert(id);
            for slot in self.by_skill.get(&skill).into_iter().flatten() {
                let class = self.slots[*slot as usize].as_ref().expect("listed classes exist");
                steps += 1;
                if agent.has_skills(&class.key.requirement.skills) {
                    let generation = self.heads[*slot as usize].generation;
                    served.push(ClassRef { slot: *slot, generation });
                }
            }
        }
        served.sort_unstable();
        self.agents.insert(id, Indexed { served, free: None });
        steps
    }

    /// Counts an agent out, who is in no `free` set, with the skills they were counted in with.
    pub(crate) fn sign_out(&mut self, id: AgentId, agent: &Agent) {
        for skill in std::iter::once(None).chain(agent.skills.keys().copied().map(Some)) {
            remove_from(&mut self.signed_in, &skill, id);
        }
        let indexed = self.agents.remove(&id);
        debug_assert!(indexed.is_none_or(|indexed| indexed.free.is_none()), "taken out first");
    }

    /// Lets an agent serve a class, if they can and do not already.
    pub(crate) fn admit(&mut self, slot: u32, id: AgentId, agent: &Agent) {
        let reference = self.reference(slot);
        let class = self.slots[slot as usize].as_mut().expect("a class under search exists");
        let Some(indexed) = self.agents.get_mut(&id) else { return };
        let Err(place) = indexed.served.binary_search(&reference) else { return };
        if !agent.has_skills(&class.key.requirement.skills) {
            return;
        }
        indexed.served.insert(place, reference);
        if let Some(free) = indexed.free
            && free.room[class.key.requirement.channel.index()]
        {
            class.free.insert(candidate(class, id, agent, free));
        }
    }

    /// Puts an agent into the `free` sets of the classes they serve and have room for. Gives the
    /// steps taken.
    pub(crate) fn set_free(&mut self, id: AgentId, agent: &Agent) -> u32 {
        self.each_free_class(id, agent, FreeKey::of(agent), |class, candidate| {
            class.free.insert(candidate);
        })
    }

    /// Takes an agent out of every `free` set. Gives the steps taken.
    pub(crate) fn set_busy(&mut self, id: AgentId, agent: &Agent) -> u32 {
        let Some(key) = self.agents.get(&id).and_then(|indexed| indexed.free) else { return 0 };
        let steps = self.each_free_class(id, agent, key, |class, candidate| {
            let was = class.free.remove(&candidate);
            debug_assert!(was, "a free agent is found under the key of their indexing");
        });
        if let Some(indexed) = self.agents.get_mut(&id) {
            indexed.free = None;
        }
        steps
    }

    fn each_free_class(
        &mut self,
        id: AgentId,
        agent: &Agent,
        key: FreeKey,
        mut act: impl FnMut(&mut Class, Candidate),
    ) -> u32 {
        let Some(indexed) = self.agents.get_mut(&id) else { return 0 };
        indexed.free = Some(key);
        let (heads, slots) = (&self.heads, &mut self.slots);
        indexed.served.retain(|class| heads[class.slot as usize].generation == class.generation);
        for reference in &indexed.served {
            let slot = reference.slot as usize;
            if key.room[heads[slot].channel.index()] {
                let class = slots[slot].as_mut().expect("a live generation has a class");
                let candidate = candidate(class, id, agent, key);
                act(class, candidate);
            }
        }
        indexed.served.len() as u32 + 1
    }
}

/// An agent's place in a class's order, as [`rotary_proto::event::Decision`] describes it.
fn candidate(class: &Class, id: AgentId, agent: &Agent, key: FreeKey) -> Candidate {
    let idle = i64::try_from(key.idle_since.0).unwrap_or(i64::MAX);
    let order = match class.strategy {
        Strategy::LongestIdle => [i64::from(key.holds), idle],
        Strategy::MostSkilled => [-agent.proficiency(&class.key.requirement.skills), idle],
        Strategy::LeastLoaded => [key.load, idle],
        Strategy::RoundRobin => [0, i64::from(id.0)],
    };
    Candidate { key: order, agent: id }
}

fn remove_from<K: Ord, V: Ord>(map: &mut BTreeMap<K, BTreeSet<V>>, key: &K, value: V) {
    if let Some(set) = map.get_mut(key) {
        set.remove(&value);
        if set.is_empty() {
            map.remove(key);
        }
    }
}
