//! Commands that set the floor up and bring people to it.

use std::collections::BTreeMap;

use rotary_proto::command::Subject;
use rotary_proto::ids::*;
use rotary_proto::plan::{AgentProfile, Capacity, QueuePlan, RequiredSkill, SiteSettings};
use rotary_proto::{
    Actor, Command, Declared, MailAddress, Name, Priority, Sealed, ShardCommand, Strategy,
};

use crate::floor::{Floor, gateway};
use crate::words::Words;

pub(crate) const ADMIN: Actor = Actor::Administrator(PrincipalId(1));

impl Floor {
    /// Carries out a command of this file; whether it is one.
    pub(crate) fn set_up(&mut self, words: &Words) -> bool {
        match words.verb.as_str() {
            "site" => self.site_command(words),
            "settings" => {
                let settings = settings(words, "main");
                self.ask(ADMIN, Command::PutSite { settings });
            }
            "skill" => {
                let skill = SkillId(self.names.skills.number(words.at(0)));
                self.ask(ADMIN, Command::PutSkill { skill, name: name(words.at(0)) });
            }
            "reason" => {
                let reason = ReasonId(self.names.reasons.number(words.at(0)) as u16);
                self.ask(ADMIN, Command::PutReason { reason, name: name(words.at(0)) });
            }
            "disposition" => {
                let number = self.names.dispositions.number(words.at(0)) as u16;
                let disposition = DispositionId(number);
                self.ask(ADMIN, Command::PutDisposition { disposition, name: name(words.at(0)) });
            }
            "queue" => {
                let queue = self.queue(words.at(0));
                let plan = self.plan(words);
                self.ask(ADMIN, Command::PutQueue { queue, plan });
            }
            "agent" => {
                let agent = self.agent(words.at(0));
                let profile = self.profile(words);
                self.ask(ADMIN, Command::PutAgent { agent, profile });
            }
            "attach" => self.attach(words),
            "sign-in" => {
                self.attach(words);
                let agent = self.agent(words.at(0));
                self.ask(Actor::Agent(agent), ready(agent));
            }
            "ready" => {
                let agent = self.agent(words.at(0));
                self.ask(Actor::Agent(agent), ready(agent));
            }
            "break" => {
                let agent = self.agent(words.at(0));
                let reason = self.reason(words.at(1));
                let declared = Declared::NotReady { reason };
                self.ask(Actor::Agent(agent), Command::Declare { agent, declared });
            }
            "sign-out" => {
                let (agent, declared) = (self.agent(words.at(0)), Declared::SignedOut);
                self.ask(Actor::Agent(agent), Command::Declare { agent, declared });
            }
            "lose" => self.detach(words, false),
            "bye" => self.detach(words, true),
            _ => return false,
        }
        true
    }

    fn site_command(&mut self, words: &Words) {
        let tenant = words.number("tenant").unwrap_or(1) as u32;
        let number = self.names.sites.number(words.at(0));
        self.site = SiteId::new(tenant, number);
        if self.shard.sequence(self.site).is_none() || words.find(1) == Some("again") {
            let settings = settings(words, words.at(0));
            self.apply(ShardCommand::CreateSite { site: self.site, settings });
        }
    }

    fn subject(&mut self, word: &str) -> (Actor, Subject) {
        let actor = self.who(word);
        let subject = match actor {
            Actor::Agent(agent) => Subject::Agent(agent),
            Actor::Customer(customer) => Subject::Customer(customer),
            Actor::Supervisor(principal) | Actor::Administrator(principal) => {
                Subject::Principal(principal)
            }
            Actor::System => panic!("the cluster has no session"),
        };
        (actor, subject)
    }

    /// An attachment comes from the gateway, not through the session that it makes.
    fn attach(&mut self, words: &Words) {
        let (actor, subject) = self.subject(words.at(0));
        let session = self.session(words.option("session").unwrap_or(words.at(0)));
        let gateway = gateway(words);
        self.origin.get_or_insert(rotary_proto::Origin::Internal);
        self.ask(actor, Command::Attach { session, subject, gateway });
        if self.shard.session_view(self.site, session).is_some() {
            self.subjects.insert((self.site, session), subject);
            self.gateways.insert(gateway);
        }
        self.origin = None;
    }

    fn detach(&mut self, words: &Words, ended: bool) {
        let session = self.session(words.option("session").unwrap_or(words.at(0)));
        let gateway = gateway(words);
        self.ask(Actor::System, Command::Detach { session, gateway, ended });
    }

    /// `lunch`, made known without a trace where it is not; `nr_9` as it stands.
    pub(crate) fn reason(&mut self, word: &str) -> ReasonId {
        if let Ok(id) = word.parse() {
            return id;
        }
        let fresh = !self.names.reasons.has(word);
        let reason = ReasonId(self.names.reasons.number(word) as u16);
        if fresh {
            self.whisper(Command::PutReason { reason, name: name(word) });
        }
        reason
    }

    fn skill(&mut self, word: &str) -> SkillId {
        if let Ok(id) = word.parse() {
            return id;
        }
        let fresh = !self.names.skills.has(word);
        let skill = SkillId(self.names.skills.number(word));
        if fresh {
            self.whisper(Command::PutSkill { skill, name: name(word) });
        }
        skill
    }

    /// Applies something that the trace leaves out.
    pub(crate) fn whisper(&mut self, command: Command) {
        let (lines, origin, actor) = (self.lines.len(), self.origin, self.actor);
        (self.origin, self.actor) = (None, None);
        let last = self.last.take();
        self.ask(Actor::System, command);
        (self.origin, self.actor, self.last) = (origin, actor, last);
        self.lines.truncate(lines);
    }

    /// `french>=3,chess` as required skills.
    pub(crate) fn skills(&mut self, words: &Words) -> Vec<RequiredSkill> {
        let text = words.option("skills").unwrap_or_default().to_owned();
        let parts = text.split(',').filter(|part| !part.is_empty());
        let required = parts.map(|part| {
            let (skill, level) = part.split_once(">=").unwrap_or((part, "1"));
            RequiredSkill { skill: self.skill(skill), level: level.parse().expect("a level") }
        });
        required.collect()
    }

    fn plan(&mut self, words: &Words) -> QueuePlan {
        let mut plan = QueuePlan::named(name(words.at(0)));
        plan.skills = self.skills(words);
        plan.strategy = strategy(words.option("strategy").unwrap_or("longest_idle"));
        plan.priority = priority(words).unwrap_or_default();
        plan.offer_ms = words.duration("offer").unwrap_or(plan.offer_ms);
        plan.decline_delay_ms = words.duration("decline-delay").unwrap_or(plan.decline_delay_ms);
        plan.wait_max_ms = words.duration("wait").unwrap_or(plan.wait_max_ms);
        plan.idle_max_ms = words.duration("idle").unwrap_or(plan.idle_max_ms);
        plan.talk_max_ms = words.duration("talk").unwrap_or(plan.talk_max_ms);
        plan.hold_max_ms = words.duration("hold").unwrap_or(plan.hold_max_ms);
        plan.wrap_up_ms = words.duration("wrap-up").unwrap_or(plan.wrap_up_ms);
        plan.disposition_required = words.option("disposition") == Some("required");
        plan
    }

    fn profile(&mut self, words: &Words) -> AgentProfile {
        let (mut capacity, mut skills) = (Capacity::default(), BTreeMap::new());
        let options: Vec<(String, String)> =
            words.options().map(|(key, value)| (key.to_owned(), value.to_owned())).collect();
        for (key, value) in options {
            let number = || value.parse::<u8>().expect("a number");
            match key.as_str() {
                "voice" => capacity.voice = value == "yes",
                "chat" => capacity.chat = number(),
                "email" => capacity.email = number(),
                "message" => capacity.message = number(),
                "task" => capacity.task = number(),
                "total" => capacity.total = number(),
                skill => {
                    skills.insert(self.skill(skill), number());
                }
            }
        }
        let name = Sealed::plain(words.at(0)).expect("short");
        AgentProfile { name, skills, capacity }
    }
}

fn ready(agent: AgentId) -> Command {
    Command::Declare { agent, declared: Declared::Ready }
}

/// A name of at most 128 bytes; `too-long` is none that a site may have.
pub(crate) fn name(text: &str) -> Name {
    Name::new(text).expect("a short name")
}

fn settings(words: &Words, fallback: &str) -> SiteSettings {
    let mut settings = SiteSettings::named(name(fallback));
    settings.agent_grace_ms = words.duration("agent-grace").unwrap_or(settings.agent_grace_ms);
    settings.customer_grace_ms =
        words.duration("customer-grace").unwrap_or(settings.customer_grace_ms);
    settings.mail_from = words.option("from").map(|text| MailAddress::new(text).expect("valid"));
    settings
}

pub(crate) fn priority(words: &Words) -> Option<Priority> {
    words.number("priority").map(|level| Priority::new(level as u8).expect("0 to 9"))
}

fn strategy(word: &str) -> Strategy {
    match word {
        "longest_idle" => Strategy::LongestIdle,
        "most_skilled" => Strategy::MostSkilled,
        "least_loaded" => Strategy::LeastLoaded,
        "round_robin" => Strategy::RoundRobin,
        other => panic!("{other:?} is no strategy"),
    }
}
