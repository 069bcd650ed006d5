//! What operators decide: how a site, its queues and its agents are set up.
//!
//! Everything that routing reads lives in the site's own shard, so that an edit is one entry
//! there. Each edit of a queue or an agent raises that entity's version, which decisions record.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::event::Topic;
use crate::ids::{QueueId, ReasonId, SkillId};
use crate::limits;
use crate::mail::MailAddress;
use crate::values::{BadValue, Channel, Name, Priority, Sealed};
use crate::web::WebUrl;

/// Settings of a whole site.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct SiteSettings {
    /// What people call it.
    pub name: Name,
    /// How long an agent's live conversations wait for the agent's lost session to return.
    #[serde(default = "defaults::agent_grace")]
    pub agent_grace_ms: u64,
    /// How long a chat waits for the customer's lost session to return.
    #[serde(default = "defaults::customer_grace")]
    pub customer_grace_ms: u64,
    /// Whom mails to customers are from. Without it none are sent.
    #[serde(default)]
    pub mail_from: Option<MailAddress>,
}

impl SiteSettings {
    /// A site of that name with every default.
    pub fn named(name: Name) -> Self {
        let (agent_grace_ms, customer_grace_ms) =
            (defaults::agent_grace(), defaults::customer_grace());
        Self { name, agent_grace_ms, customer_grace_ms, mail_from: None }
    }

    /// Whether it is within its bounds.
    ///
    /// # Errors
    /// [`BadValue`] naming the field.
    pub fn check(&self) -> Result<(), BadValue> {
        deadline("agent_grace_ms", self.agent_grace_ms)?;
        deadline("customer_grace_ms", self.customer_grace_ms)
    }
}

/// Which of several free agents gets an item.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Strategy {
    /// Whoever holds nothing and has been free for longest; after them, among those who have room
    /// beside what they hold, whoever took or finished something longest ago. Time not ready does
    /// not count, and is not lost either; signing in begins anew.
    #[default]
    LongestIdle,
    /// Whoever has the highest sum of proficiencies in the required skills.
    MostSkilled,
    /// Whoever uses the smallest share of their capacity.
    LeastLoaded,
    /// The next agent after the one who was offered last, in order of ids.
    RoundRobin,
}

/// A skill that an item needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct RequiredSkill {
    /// Which skill.
    pub skill: SkillId,
    /// The least proficiency that will do, 1 to 10.
    #[serde(default = "defaults::level")]
    pub level: u8,
}

/// What an agent must be able to do to be offered an item: the key of a requirement class.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Requirement {
    /// The queue it waits in, whose strategy chooses.
    pub queue: QueueId,
    /// The channel that must have room.
    pub channel: Channel,
    /// Required skills, each once, in order of their ids.
    pub skills: Vec<RequiredSkill>,
}

/// How a queue works.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct QueuePlan {
    /// What people call it.
    pub name: Name,
    /// Which of several free agents gets an item.
    #[serde(default)]
    pub strategy: Strategy,
    /// What everything in this queue requires of an agent.
    #[serde(default)]
    pub skills: Vec<RequiredSkill>,
    /// The priority of an item that names none.
    #[serde(default)]
    pub priority: Priority,
    /// How long an agent has to accept an offer.
    #[serde(default = "defaults::offer")]
    pub offer_ms: u64,
    /// How long an agent who declined an item, or gave it back, is not offered it again.
    #[serde(default = "defaults::decline_delay")]
    pub decline_delay_ms: u64,
    /// The longest wait, counted from entering the queue; then the item ends unserved.
    #[serde(default = "defaults::wait")]
    pub wait_max_ms: u64,
    /// The longest silence of an assigned chat or message conversation.
    #[serde(default = "defaults::idle")]
    pub idle_max_ms: u64,
    /// The longest assignment on voice, e-mail and task.
    #[serde(default = "defaults::talk")]
    pub talk_max_ms: u64,
    /// The longest hold.
    #[serde(default = "defaults::hold")]
    pub hold_max_ms: u64,
    /// The longest wrap-up; 0 means none.
    #[serde(default = "defaults::wrap_up")]
    pub wrap_up_ms: u64,
    /// Whether an agent must name a disposition to finish wrap-up by hand.
    #[serde(default)]
    pub disposition_required: bool,
    /// An answer within this time counts for the service level. Reports read it, routing does not.
    #[serde(default = "defaults::service_level")]
    pub service_level_ms: u64,
}

impl QueuePlan {
    /// A queue of that name with every default.
    pub fn named(name: Name) -> Self {
        Self {
            name,
            strategy: Strategy::default(),
            skills: Vec::new(),
            priority: Priority::default(),
            offer_ms: defaults::offer(),
            decline_delay_ms: defaults::decline_delay(),
            wait_max_ms: defaults::wait(),
            idle_max_ms: defaults::idle(),
            talk_max_ms: defaults::talk(),
            hold_max_ms: defaults::hold(),
            wrap_up_ms: defaults::wrap_up(),
            disposition_required: false,
            service_level_ms: defaults::service_level(),
        }
    }

    /// Whether it is within its bounds.
    ///
    /// # Errors
    /// [`BadValue`] naming the field.
    pub fn check(&self) -> Result<(), BadValue> {
        check_required("skills", &self.skills)?;
        deadline("offer_ms", self.offer_ms)?;
        deadline("decline_delay_ms", self.decline_delay_ms)?;
        deadline("wait_max_ms", self.wait_max_ms)?;
        deadline("idle_max_ms", self.idle_max_ms)?;
        deadline("talk_max_ms", self.talk_max_ms)?;
        deadline("hold_max_ms", self.hold_max_ms)?;
        if self.wrap_up_ms > 0 {
            deadline("wrap_up_ms", self.wrap_up_ms)?;
        }
        deadline("service_level_ms", self.service_level_ms)
    }
}

/// How much an agent may hold at once: one voice conversation, *or* a mix of the others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Capacity {
    /// Whether the agent takes calls.
    #[serde(default = "defaults::yes")]
    pub voice: bool,
    /// Most chats at once.
    #[serde(default = "defaults::mix")]
    pub chat: u8,
    /// Most e-mails at once.
    #[serde(default = "defaults::mix")]
    pub email: u8,
    /// Most messaging conversations at once.
    #[serde(default = "defaults::mix")]
    pub message: u8,
    /// Most tasks at once.
    #[serde(default = "defaults::mix")]
    pub task: u8,
    /// Most of all these together.
    #[serde(default = "defaults::mix")]
    pub total: u8,
}

impl Default for Capacity {
    fn default() -> Self {
        Self { voice: true, chat: 3, email: 3, message: 3, task: 3, total: 3 }
    }
}

impl Capacity {
    /// The most of `channel` alone.
    pub const fn of(&self, channel: Channel) -> u8 {
        match channel {
            Channel::Voice => self.voice as u8,
            Channel::Chat => self.chat,
            Channel::Email => self.email,
            Channel::Message => self.message,
            Channel::Task => self.task,
        }
    }

    /// Whether it is within its bounds.
    ///
    /// # Errors
    /// [`BadValue`] naming the field.
    pub fn check(&self) -> Result<(), BadValue> {
        let most = limits::CONVERSATIONS_PER_AGENT_MAX;
        if [self.chat, self.email, self.message, self.task, self.total].iter().any(|n| *n > most) {
            return Err(BadValue::new("capacity", format!("at most {most} conversations at once")));
        }
        Ok(())
    }
}

/// Who an agent is, and what they can do.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct AgentProfile {
    /// What colleagues and customers call them; personal.
    pub name: Sealed,
    /// Skills and their proficiencies, 1 to 10.
    #[serde(default)]
    pub skills: BTreeMap<SkillId, u8>,
    /// How much they may hold at once.
    #[serde(default)]
    pub capacity: Capacity,
}

impl AgentProfile {
    /// Whether it is within its bounds.
    ///
    /// # Errors
    /// [`BadValue`] naming the field.
    pub fn check(&self) -> Result<(), BadValue> {
        self.name.check_name("name")?;
        if self.skills.len() > limits::SKILLS_PER_AGENT_MAX {
            let rule = format!("at most {} skills per agent", limits::SKILLS_PER_AGENT_MAX);
            return Err(BadValue::new("skills", rule));
        }
        self.skills.values().try_for_each(|level| proficiency("skills", *level))?;
        self.capacity.check()
    }
}

/// A place outside that is told what happens.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct WebhookPlan {
    /// What people call it.
    pub name: Name,
    /// Where messages are posted to.
    pub url: WebUrl,
    /// What it is told of.
    pub topics: BTreeSet<Topic>,
    /// How long the endpoint is tried with one message.
    #[serde(default = "defaults::give_up")]
    pub give_up_ms: u64,
    /// Whether anything new is told. What waits already is given up while it is not.
    #[serde(default = "defaults::yes")]
    pub enabled: bool,
}

impl WebhookPlan {
    /// Whether it is within its bounds.
    ///
    /// # Errors
    /// [`BadValue`] naming the field.
    pub fn check(&self) -> Result<(), BadValue> {
        if self.topics.is_empty() {
            return Err(BadValue::new("topics", "at least one; set enabled to false to be silent"));
        }
        deadline("give_up_ms", self.give_up_ms)
    }
}

/// What an agent says of themselves. Routable is who declared ready, has a live session and has
/// room: three facts that are kept apart.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Declared {
    /// Not at work.
    #[default]
    SignedOut,
    /// At work, wanting no new conversations.
    NotReady {
        /// Why.
        reason: ReasonId,
    },
    /// Wanting conversations.
    Ready,
}

/// The reason that the system declares for an agent whose offer ran out. It exists in every site.
pub const NOT_RESPONDING: ReasonId = ReasonId(0);

/// Whether required skills are within their bounds: each skill once, levels 1 to 10.
///
/// # Errors
/// [`BadValue`] naming `field`.
pub fn check_required(field: &'static str, skills: &[RequiredSkill]) -> Result<(), BadValue> {
    if skills.len() > limits::REQUIRED_SKILLS_MAX {
        let rule = format!("at most {} required skills", limits::REQUIRED_SKILLS_MAX);
        return Err(BadValue::new(field, rule));
    }
    let mut ids: Vec<_> = skills.iter().map(|required| required.skill).collect();
    ids.sort_unstable();
    ids.dedup();
    if ids.len() < skills.len() {
        return Err(BadValue::new(field, "each skill at most once"));
    }
    skills.iter().try_for_each(|required| proficiency(field, required.level))
}

fn proficiency(field: &'static str, level: u8) -> Result<(), BadValue> {
    if (1..=10).contains(&level) {
        Ok(())
    } else {
        Err(BadValue::new(field, format!("proficiency {level} is not within 1 to 10")))
    }
}

fn deadline(field: &'static str, ms: u64) -> Result<(), BadValue> {
    let allowed = limits::DEADLINE_MIN_MS..=limits::DEADLINE_MAX_MS;
    if allowed.contains(&ms) {
        return Ok(());
    }
    let rule = format!("{ms} ms is not within {} to {} ms", allowed.start(), allowed.end());
    Err(BadValue::new(field, rule))
}

mod defaults {
    use crate::limits;

    pub(super) fn yes() -> bool {
        true
    }
    pub(super) fn give_up() -> u64 {
        limits::WEBHOOK_GIVE_UP_DEFAULT_MS
    }
    pub(super) fn mix() -> u8 {
        3
    }
    pub(super) fn level() -> u8 {
        1
    }
    pub(super) fn agent_grace() -> u64 {
        limits::AGENT_GRACE_DEFAULT_MS
    }
    pub(super) fn customer_grace() -> u64 {
        limits::CUSTOMER_GRACE_DEFAULT_MS
    }
    pub(super) fn offer() -> u64 {
        limits::OFFER_DEFAULT_MS
    }
    pub(super) fn decline_delay() -> u64 {
        limits::DECLINE_DELAY_DEFAULT_MS
    }
    pub(super) fn wait() -> u64 {
        limits::WAIT_DEFAULT_MS
    }
    pub(super) fn idle() -> u64 {
        limits::IDLE_DEFAULT_MS
    }
    pub(super) fn talk() -> u64 {
        limits::TALK_DEFAULT_MS
    }
    pub(super) fn hold() -> u64 {
        limits::HOLD_DEFAULT_MS
    }
    pub(super) fn wrap_up() -> u64 {
        limits::WRAP_UP_DEFAULT_MS
    }
    pub(super) fn service_level() -> u64 {
        20_000
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan() -> QueuePlan {
        QueuePlan::named(Name::new("sales").expect("valid"))
    }

    #[test]
    fn a_plan_with_only_a_name_is_whole_and_valid() {
        let read: QueuePlan = serde_json::from_str("{\"name\":\"sales\"}").expect("defaults");
        assert_eq!(read, plan());
        assert_eq!(read.check(), Ok(()));
    }

    #[test]
    fn an_unknown_field_is_refused() {
        let error = serde_json::from_str::<QueuePlan>("{\"name\":\"a\",\"offer\":1}");
        assert!(error.expect_err("unknown").to_string().contains("unknown field `offer`"));
    }

    #[test]
    fn every_bound_is_checked_by_name() {
        let skill = |skill, level| RequiredSkill { skill: SkillId(skill), level };
        let broken = [
            (QueuePlan { offer_ms: 0, ..plan() }, "offer_ms"),
            (QueuePlan { wait_max_ms: u64::MAX, ..plan() }, "wait_max_ms"),
            (QueuePlan { wrap_up_ms: 1, ..plan() }, "wrap_up_ms"),
            (QueuePlan { skills: vec![skill(1, 11)], ..plan() }, "skills"),
            (QueuePlan { skills: vec![skill(1, 1), skill(1, 2)], ..plan() }, "skills"),
            (QueuePlan { skills: (0..9).map(|n| skill(n, 1)).collect(), ..plan() }, "skills"),
        ];
        for (plan, field) in broken {
            assert_eq!(plan.check().expect_err(field).field, field);
        }
        assert_eq!(QueuePlan { wrap_up_ms: 0, ..plan() }.check(), Ok(()));
    }

    #[test]
    fn the_default_mix_is_three_and_voice() {
        let capacity = Capacity::default();
        assert_eq!(Channel::ALL.map(|channel| capacity.of(channel)), [1, 3, 3, 3, 3]);
        assert!(Capacity { chat: 13, ..capacity }.check().is_err());
    }
}
