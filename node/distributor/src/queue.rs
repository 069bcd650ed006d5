//! A queue: its plan, and counts of what is in it.

use rotary_proto::ids::AgentId;
use rotary_proto::plan::{QueuePlan, RequiredSkill};
use serde::{Deserialize, Serialize};

use crate::bot::Bot;

/// A queue's hot state.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Queue {
    /// Counts plans, from 1.
    pub(crate) version: u32,
    /// How it works.
    pub(crate) plan: QueuePlan,
    /// Whom round robin offered last; other strategies leave it.
    pub(crate) last_offered: Option<AgentId>,
    /// What serves before agents do; kept when it is taken away, for its version and secret.
    pub(crate) bot: Option<Bot>,
    /// Conversations by stage. Derived.
    #[serde(skip)]
    pub(crate) counts: Counts,
}

/// Conversations of a queue by stage.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Counts {
    pub(crate) self_service: u64,
    pub(crate) waiting: u64,
    pub(crate) offered: u64,
    pub(crate) assigned: u64,
    pub(crate) wrap_up: u64,
}

impl Queue {
    /// What the queue and the conversation require together, each skill once at its higher level,
    /// in order of skills.
    pub(crate) fn requirement(&self, extra: &[RequiredSkill]) -> Vec<RequiredSkill> {
        let mut all = self.plan.skills.clone();
        all.extend_from_slice(extra);
        all.sort_unstable_by_key(|need| (need.skill, std::cmp::Reverse(need.level)));
        all.dedup_by_key(|need| need.skill);
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rotary_proto::ids::SkillId;
    use rotary_proto::values::Name;

    #[test]
    fn requirements_merge_at_the_higher_level() {
        let need = |skill, level| RequiredSkill { skill: SkillId(skill), level };
        let mut plan = QueuePlan::named(Name::new("q").expect("valid"));
        plan.skills = vec![need(2, 3), need(1, 5)];
        let queue =
            Queue { version: 1, plan, last_offered: None, bot: None, counts: Counts::default() };
        let merged = queue.requirement(&[need(2, 4), need(1, 1), need(3, 1)]);
        assert_eq!(merged, [need(1, 5), need(2, 4), need(3, 1)]);
    }
}
