//! What of the classes is frozen, and the index made anew from it.
//!
//! A class's slot, its key, whether it is stale and how far the search for its agents has come are
//! kept: work that is left over names slots, and edits of plans go through classes in order of
//! slots. Of the agents two things are kept that follow from history: whether they let items find
//! them, and which classes still under search they were admitted to. Who serves a class whose
//! search is over, who stands in line, and every order among them follow from entities.

use rotary_proto::ids::AgentId;
use rotary_proto::limits;
use rotary_proto::plan::{Requirement, Strategy};

use super::{Build, Class, ClassKey, ClassRef, Classes, FreeKey};
use crate::agent::Agent;
use crate::conversation::Conversation;
use crate::table::Table;

/// Most slots of classes: those that may be made, and stale ones, each with a conversation.
const SLOTS_MAX: usize = limits::REQUIREMENT_CLASSES_MAX + limits::CONVERSATIONS_PER_SITE_MAX;

/// A class as a snapshot keeps it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ClassRow {
    pub(crate) slot: u32,
    pub(crate) requirement: Requirement,
    pub(crate) strategy: Strategy,
    pub(crate) stale: bool,
    pub(crate) build: Option<Build>,
}

/// What of [`Classes`] does not follow from entities.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct FrozenClasses {
    /// In order of slots.
    pub(crate) rows: Vec<ClassRow>,
    /// Agents that items can find, in order.
    pub(crate) free: Vec<AgentId>,
    /// Who was admitted to classes still under search, in order of agents, then slots.
    pub(crate) admitted: Vec<(AgentId, u32)>,
}

impl Classes {
    /// What of the classes does not follow from entities, as it is at present: a walk over classes
    /// and signed-in agents.
    pub(crate) fn freeze(&self) -> FrozenClasses {
        let row = |(slot, class): (usize, &Option<Class>)| {
            let Class { key, strategy, build, stale, .. } = class.as_ref()?;
            let requirement = key.requirement.clone();
            let (strategy, stale, build) = (*strategy, *stale, *build);
            Some(ClassRow { slot: slot as u32, requirement, strategy, stale, build })
        };
        let rows = self.slots.iter().enumerate().filter_map(row).collect();
        let free = self.agents.iter().filter(|(_, indexed)| indexed.free.is_some());
        let free = free.map(|(id, _)| *id).collect();
        FrozenClasses { rows, free, admitted: self.admitted() }
    }

    fn admitted(&self) -> Vec<(AgentId, u32)> {
        if self.building.is_empty() {
            return Vec::new();
        }
        let mut found = Vec::new();
        for (id, indexed) in &self.agents {
            let pending = indexed.served.iter().filter(|class| self.is_under_search(**class));
            found.extend(pending.map(|class| (*id, class.slot)));
        }
        found
    }

    fn is_under_search(&self, reference: ClassRef) -> bool {
        let class = self.slots[reference.slot as usize].as_ref();
        self.reference(reference.slot) == reference
            && class.is_some_and(|class| class.build.is_some())
    }

    /// Puts a class back; whether its slot is vacant, within the bound, and its key its own.
    pub(crate) fn restore_class(&mut self, row: ClassRow) -> bool {
        let ClassRow { slot, requirement, strategy, stale, build } = row;
        let key = ClassKey { requirement, strategy: strategy.into() };
        let occupied = self.slots.get(slot as usize).is_some_and(Option::is_some);
        if occupied || slot as usize >= SLOTS_MAX || (!stale && self.by_key.contains_key(&key)) {
            return false;
        }
        self.insert(slot, Class::new(key, strategy, build, stale));
        true
    }

    /// Whether a conversation that waits or is on offer requires what its class does.
    pub(crate) fn suits(&self, conversation: &Conversation) -> bool {
        let class = self.slots.get(conversation.class as usize).and_then(Option::as_ref);
        class.map(|class| &class.key.requirement).is_some_and(|requirement| {
            requirement.queue == conversation.queue
                && requirement.channel == conversation.channel
                && requirement.skills == conversation.required
        })
    }

    /// Indexes the agents anew, when every class is back; the reason if that cannot be.
    pub(crate) fn restore_agents(
        &mut self,
        agents: &Table<AgentId, Agent>,
        free: &[AgentId],
        admitted: &[(AgentId, u32)],
    ) -> Result<(), &'static str> {
        let vacant = |slot: &u32| self.slots[*slot as usize].is_none();
        self.vacant = (0..self.slots.len() as u32).filter(vacant).collect();
        self.building.sort_unstable();
        for (id, agent) in agents.iter().filter(|(_, agent)| agent.is_signed_in()) {
            self.sign_in(id, agent);
        }
        self.keep_admitted(admitted)?;
        for id in free {
            let agent = agents.get(*id).filter(|agent| agent.is_signed_in());
            let agent = agent.ok_or("an agent who is not signed in is free")?;
            self.set_free(*id, agent);
        }
        Ok(())
    }

    /// Takes agents out of classes under search that have not come to them.
    fn keep_admitted(&mut self, admitted: &[(AgentId, u32)]) -> Result<(), &'static str> {
        if !admitted.is_sorted() {
            return Err("admissions are out of order");
        }
        let mut kept = 0;
        let mut agents = std::mem::take(&mut self.agents);
        for (id, indexed) in &mut agents {
            indexed.served.retain(|class| {
                let searched = self.is_under_search(*class);
                let known = searched && admitted.binary_search(&(*id, class.slot)).is_ok();
                kept += usize::from(known);
                known || !searched
            });
        }
        self.agents = agents;
        let all = kept == admitted.len();
        if all { Ok(()) } else { Err("an agent was admitted to a class that they cannot serve") }
    }

    /// Whether everyone who is free is indexed as they are.
    pub(crate) fn is_indexed_as(&self, id: AgentId, agent: &Agent) -> bool {
        let indexed = self.agents.get(&id);
        indexed.is_some() == agent.is_signed_in()
            && indexed.and_then(|indexed| indexed.free).is_none_or(|key| key == FreeKey::of(agent))
    }
}
