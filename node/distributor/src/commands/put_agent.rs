//! Makes or replaces an agent.

use rotary_proto::event::{Audience, Event};
use rotary_proto::plan::AgentProfile;
use rotary_proto::{Actor, AgentId, Done, Refusal, limits};

use crate::agent::Agent;
use crate::authority;
use crate::turn::Turn;

/// Stores a profile under the agent's next version. A smaller capacity takes effect as
/// conversations end; skills decide what is offered from here on.
pub(crate) fn apply(
    turn: &mut Turn,
    actor: Actor,
    id: AgentId,
    profile: AgentProfile,
) -> Result<Done, Refusal> {
    authority::administrator(actor)?;
    profile.check()?;
    if profile.skills.keys().any(|skill| !turn.site.skills.contains_key(skill)) {
        return Err(Refusal::SkillUnknown);
    }
    if !turn.site.agents.contains(id) {
        if turn.site.agents.len() >= limits::AGENTS_PER_SITE_MAX {
            return Err(Refusal::LimitReached { limit: "agents_per_site_max".to_owned() });
        }
        let agent = Agent::new(profile.capacity, turn.now);
        turn.site.agents.put(id, agent);
    }
    turn.change_agent(id, |agent| {
        agent.version += 1;
        agent.set_skills(&profile.skills);
        agent.capacity = profile.capacity;
    });
    let version = turn.agent_mut(id).version;
    let audience = Audience { agents: vec![id], ..Audience::default() };
    turn.emit(audience, Event::AgentSet { agent: id, version, profile });
    Ok(Done::Stored { version })
}
