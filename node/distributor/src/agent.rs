//! An agent as routing knows them: what they can do, hold and have declared.
//!
//! Three facts are kept apart: what the agent declared, whether a session lives, and what room is
//! left. Only their conjunction makes the agent someone who can be offered something.

use std::collections::BTreeMap;

use rotary_proto::ids::{SessionId, SkillId};
use rotary_proto::plan::{Capacity, Declared, RequiredSkill};
use rotary_proto::planted::{self, Planted};
use rotary_proto::query::Link;
use rotary_proto::{Channel, Stamp};
use serde::{Deserialize, Serialize};

use crate::digest::hash_of;

const SKILLS: u64 = 107;

/// An agent's hot state. The name is personal and lives in the journal only.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Agent {
    /// Counts profiles, from 1.
    pub(crate) version: u32,
    /// Skills and proficiencies. The digest takes `skills_hash` instead.
    #[serde(skip)]
    pub(crate) skills: BTreeMap<SkillId, u8>,
    /// The hash of `skills`, so that taking a conversation does not cost hashing them.
    skills_hash: u128,
    /// What the profile allows; new work must fit it.
    pub(crate) capacity: Capacity,
    /// What bounds present work: `capacity`, or a former one while more than that is held.
    pub(crate) in_force: Capacity,
    /// What they said.
    pub(crate) declared: Declared,
    /// Sessions that live or may return, in order of their coming.
    pub(crate) sessions: Vec<SessionId>,
    /// Whether one of them lives.
    pub(crate) link: AgentLink,
    /// Conversations held: on offer, assigned, in wrap-up; in order of their coming.
    pub(crate) held: Vec<u128>,
    /// How many are held, by channel.
    pub(crate) debits: [u8; Channel::ALL.len()],
    /// Since when they have been free, for someone routable; time not routable is left out.
    pub(crate) idle_since: Stamp,
    /// How long they had been free when they last stopped being routable, in microseconds.
    pub(crate) idle_carried_us: u64,
    /// When the alarm for the end of their grace rings, if it is set.
    #[serde(skip)]
    pub(crate) alarm: Option<Stamp>,
}

/// Whether a session of an agent lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum AgentLink {
    /// No session, and none expected back.
    None,
    /// At least one lives.
    Up,
    /// The last one was lost; work goes back then.
    Lost {
        /// The end of the grace.
        until: Stamp,
    },
}

impl AgentLink {
    /// What a view shows.
    pub(crate) const fn view(self) -> Link {
        match self {
            Self::None => Link::None,
            Self::Up => Link::Up,
            Self::Lost { .. } => Link::Lost,
        }
    }
}

impl Agent {
    /// Someone new, signed out.
    pub(crate) fn new(capacity: Capacity, now: Stamp) -> Self {
        Self {
            version: 0,
            skills: BTreeMap::new(),
            skills_hash: 0,
            capacity,
            in_force: capacity,
            declared: Declared::SignedOut,
            sessions: Vec::new(),
            link: AgentLink::None,
            held: Vec::new(),
            debits: [0; Channel::ALL.len()],
            idle_since: now,
            idle_carried_us: 0,
            alarm: None,
        }
    }

    /// Replaces the skills.
    pub(crate) fn set_skills(&mut self, skills: &BTreeMap<SkillId, u8>) {
        self.skills.clone_from(skills);
        self.skills_hash = hash_of(SKILLS, skills, &mut Vec::new());
    }

    /// Ready, and reachable.
    pub(crate) fn is_routable(&self) -> bool {
        self.declared == Declared::Ready && self.link == AgentLink::Up
    }

    /// At work, whether ready or not.
    pub(crate) fn is_signed_in(&self) -> bool {
        self.declared != Declared::SignedOut
    }

    /// Whether one more conversation of that channel fits.
    pub(crate) fn has_room(&self, channel: Channel) -> bool {
        fits_one_more(&self.capacity, &self.debits, channel)
            && fits_one_more(&self.in_force, &self.debits, channel)
    }

    /// Whether they have every required skill at its level.
    pub(crate) fn has_skills(&self, required: &[RequiredSkill]) -> bool {
        let ignored = planted::is(Planted::SkillsIgnored);
        required.iter().all(|need| {
            ignored || self.skills.get(&need.skill).is_some_and(|level| *level >= need.level)
        })
    }

    /// The sum of proficiencies in the required skills.
    pub(crate) fn proficiency(&self, required: &[RequiredSkill]) -> i64 {
        let levels = required.iter().filter_map(|need| self.skills.get(&need.skill));
        levels.map(|level| i64::from(*level)).sum()
    }

    /// The share of capacity in use, in parts of 27 720: exact for capacities of 1 to 12. A call
    /// uses all of it.
    pub(crate) fn load(&self) -> i64 {
        let [voice, others @ ..] = self.debits;
        if voice > 0 {
            return 27_720;
        }
        let used: i64 = others.iter().map(|debit| i64::from(*debit)).sum();
        used * 27_720 / i64::from(self.capacity.total.max(1))
    }

    /// Takes one conversation on.
    pub(crate) fn debit(&mut self, conversation: u128, channel: Channel) {
        assert!(self.has_room(channel), "matching offers only what fits");
        self.held.push(conversation);
        self.debits[channel.index()] += 1;
    }

    /// Gives one conversation up; a smaller capacity takes effect once it fits.
    pub(crate) fn credit(&mut self, conversation: u128, channel: Channel) {
        let place = self.held.iter().position(|held| *held == conversation);
        self.held.remove(place.expect("an agent gives up what they hold"));
        if planted::is(Planted::SlotLeaked) && conversation.is_multiple_of(5) {
            return;
        }
        self.debits[channel.index()] -= 1;
        self.settle_capacity();
    }

    /// Puts the configured capacity in force if what is held fits it.
    pub(crate) fn settle_capacity(&mut self) {
        if within(&self.capacity, &self.debits) {
            self.in_force = self.capacity;
        }
    }

    /// Starts counting free time anew.
    pub(crate) fn reset_idle(&mut self, now: Stamp) {
        self.idle_since = now;
        self.idle_carried_us = 0;
    }

    /// Stops counting free time, because they stopped being routable.
    pub(crate) fn pause_idle(&mut self, now: Stamp) {
        self.idle_carried_us = now.micros_since(self.idle_since);
    }

    /// Goes on counting free time where it stopped.
    pub(crate) fn resume_idle(&mut self, now: Stamp) {
        self.idle_since = Stamp(now.0.saturating_sub(self.idle_carried_us));
    }
}

/// Whether debits are within a capacity: one voice conversation alone, or a mix of the others.
pub(crate) fn within(capacity: &Capacity, debits: &[u8; 5]) -> bool {
    let [voice, others @ ..] = debits;
    let mixed: u32 = others.iter().map(|debit| u32::from(*debit)).sum();
    let exclusive = *voice == 0 || (*voice == 1 && mixed == 0 && capacity.voice);
    exclusive
        && mixed <= u32::from(capacity.total)
        && Channel::ALL.iter().all(|channel| debits[channel.index()] <= capacity.of(*channel))
}

/// Whether debits with one more of that channel are [`within`] a capacity. Read in place: a copy
/// with one byte changed costs more than the comparison, as it is read back at once and wider.
fn fits_one_more(capacity: &Capacity, debits: &[u8; 5], channel: Channel) -> bool {
    if channel == Channel::Voice {
        return capacity.voice && *debits == [0; 5];
    }
    let [voice, others @ ..] = debits;
    let mixed: u32 = others.iter().map(|debit| u32::from(*debit)).sum();
    let fits = |each: &Channel| {
        u16::from(debits[each.index()]) + u16::from(*each == channel)
            <= u16::from(capacity.of(*each))
    };
    *voice == 0 && mixed < u32::from(capacity.total) && Channel::ALL.iter().all(fits)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn agent() -> Agent {
        let mut agent = Agent::new(Capacity::default(), Stamp(0));
        agent.set_skills(&BTreeMap::from([(SkillId(1), 7)]));
        agent
    }

    fn room(agent: &Agent) -> [bool; 5] {
        Channel::ALL.map(|channel| agent.has_room(channel))
    }

    #[test]
    fn one_more_fits_where_the_sum_is_within() {
        let least = Capacity { voice: false, chat: 0, email: 1, message: 2, task: 0, total: 1 };
        let mixed = Capacity { voice: true, chat: 2, email: 1, message: 0, task: 2, total: 3 };
        for capacity in [least, mixed, Capacity::default()] {
            for number in 0..3_u32.pow(5) {
                let debits =
                    std::array::from_fn(|place| (number / 3_u32.pow(place as u32) % 3) as u8);
                for channel in Channel::ALL {
                    let mut more = debits;
                    more[channel.index()] += 1;
                    let (fits, sum) =
                        (fits_one_more(&capacity, &debits, channel), within(&capacity, &more));
                    assert_eq!(fits, sum, "{channel:?} beside {debits:?} in {capacity:?}");
                }
            }
        }
    }

    #[test]
    fn a_call_excludes_everything_and_a_chat_excludes_calls() {
        let mut agent = agent();
        assert_eq!(room(&agent), [true; 5]);
        agent.debit(1, Channel::Voice);
        assert_eq!(room(&agent), [false; 5]);
        agent.credit(1, Channel::Voice);
        agent.debit(2, Channel::Chat);
        assert_eq!(room(&agent), [false, true, true, true, true]);
    }

    #[test]
    fn the_mix_is_bounded_in_all() {
        let mut agent = agent();
        agent.debit(1, Channel::Chat);
        agent.debit(2, Channel::Email);
        agent.debit(3, Channel::Task);
        assert_eq!(room(&agent), [false; 5]);
    }

    #[test]
    fn a_smaller_capacity_waits_until_it_fits() {
        let mut agent = agent();
        agent.debit(1, Channel::Chat);
        agent.debit(2, Channel::Chat);
        agent.capacity = Capacity { chat: 1, ..agent.capacity };
        agent.settle_capacity();
        assert_eq!(agent.in_force.chat, 3);
        assert!(!agent.has_room(Channel::Chat) && within(&agent.in_force, &agent.debits));
        agent.credit(1, Channel::Chat);
        assert_eq!(agent.in_force.chat, 1);
        assert!(!agent.has_room(Channel::Chat));
    }

    #[test]
    fn load_compares_exactly() {
        let mut one = agent();
        one.debit(1, Channel::Chat);
        let mut other = agent();
        other.capacity.total = 12;
        other.in_force.total = 12;
        for conversation in 0..3 {
            other.debit(conversation, Channel::Chat);
        }
        assert_eq!((one.load(), other.load()), (9_240, 6_930));
    }

    #[test]
    fn idle_time_is_carried_over_a_break() {
        let mut agent = agent();
        agent.pause_idle(Stamp(100));
        agent.resume_idle(Stamp(1_000));
        assert_eq!(agent.idle_since, Stamp(900));
        agent.reset_idle(Stamp(1_500));
        agent.pause_idle(Stamp(1_500));
        agent.resume_idle(Stamp(2_000));
        assert_eq!(agent.idle_since, Stamp(2_000));
    }

    #[test]
    fn skills_are_met_at_their_level() {
        let agent = agent();
        let need = |skill, level| RequiredSkill { skill: SkillId(skill), level };
        assert!(agent.has_skills(&[]) && agent.has_skills(&[need(1, 7)]));
        assert!(!agent.has_skills(&[need(1, 8)]) && !agent.has_skills(&[need(1, 1), need(2, 1)]));
        assert_eq!(agent.proficiency(&[need(1, 1), need(2, 1)]), 7);
    }
}
