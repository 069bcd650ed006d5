//! What an administrator sets up before the doors open: sites, queues, agents.

use std::collections::BTreeMap;

use rotary_proto::plan::{AgentProfile, Capacity, QueuePlan, RequiredSkill, SiteSettings};
use rotary_proto::values::{Name, Sealed};
use rotary_proto::{AgentId, Command, DispositionId, QueueId, ShardCommand, SiteId, SkillId};

use crate::simulation::random::Random;

/// The site of a shard.
pub(crate) fn site_of(shard: u32) -> SiteId {
    SiteId::new(1, shard + 1)
}

/// One step of setting up: for a site, or the making of it.
pub(crate) enum Step {
    Make(ShardCommand),
    Put(Command),
}

fn name(text: &str) -> Name {
    Name::new(text).expect("a plain word is a name")
}

/// Everything that makes a site, in order.
pub(crate) fn steps(site: SiteId, agents: u32, random: &mut Random) -> Vec<Step> {
    let settings = SiteSettings {
        agent_grace_ms: random.between(2_000, 8_000),
        ..SiteSettings::named(name("floor"))
    };
    let mut steps = vec![
        Step::Make(ShardCommand::CreateSite { site, settings }),
        Step::Put(Command::PutSkill { skill: SkillId(1), name: name("french") }),
        Step::Put(Command::PutDisposition { disposition: DispositionId(1), name: name("done") }),
    ];
    for queue in 1..=2 {
        steps.push(Step::Put(Command::PutQueue {
            queue: QueueId(queue),
            plan: plan(queue, random),
        }));
    }
    for agent in 1..=agents {
        let profile = profile(agent, random);
        steps.push(Step::Put(Command::PutAgent { agent: AgentId(agent), profile }));
    }
    steps
}

/// The second queue wants a skill.
fn plan(queue: u32, random: &mut Random) -> QueuePlan {
    let skill = RequiredSkill { skill: SkillId(1), level: 1 };
    QueuePlan {
        skills: if queue == 2 { vec![skill] } else { Vec::new() },
        offer_ms: random.between(2_000, 6_000),
        decline_delay_ms: random.between(500, 3_000),
        wait_max_ms: random.between(40_000, 90_000),
        idle_max_ms: 60_000,
        talk_max_ms: 60_000,
        wrap_up_ms: random.between(1_000, 4_000),
        ..QueuePlan::named(name("queue"))
    }
}

/// Every other agent has the skill.
fn profile(agent: u32, random: &mut Random) -> AgentProfile {
    let chat = random.between(1, 3) as u8;
    let capacity = Capacity { chat, total: chat, ..Capacity::default() };
    let skills = if agent % 2 == 1 { BTreeMap::from([(SkillId(1), 5)]) } else { BTreeMap::new() };
    AgentProfile { name: Sealed::plain("agent").expect("short"), skills, capacity }
}
