//! An independent listing of every refusal that applies to a command.
//!
//! Each rule is looked at by itself, in no order; the one with the lowest precedence must be what
//! applying gave. It reads public views and keeps its own books of windows, items and answers.

use std::collections::{BTreeMap, BTreeSet};

use rotary_distributor::{Applied, Shard};
use rotary_proto::bot::BotAnswer;
use rotary_proto::command::Subject;
use rotary_proto::effect::{EffectOutcome, EffectTarget, PendingEffect};
use rotary_proto::event::Author;
use rotary_proto::ids::*;
use rotary_proto::plan::{RequiredSkill, check_required};
use rotary_proto::query::{ConversationView, Link, Stage};
use rotary_proto::{
    Actor, Channel, Command, Declared, Envelope, Event, Origin, QueuePlan, Stamp, limits,
};

use crate::oracle::{Oracle, required};

/// Books of what views do not show.
#[derive(Debug, Clone, Default)]
pub(crate) struct Ledger {
    sessions: BTreeMap<(SiteId, SessionId), (u64, BTreeSet<u64>)>,
    requests: BTreeMap<(SiteId, PrincipalId, RequestId), Stamp>,
    floors: BTreeMap<(SiteId, PrincipalId), u64>,
    items: BTreeMap<ConversationId, Vec<ItemId>>,
    answers: BTreeMap<ConversationId, BTreeMap<AgentId, u32>>,
}

/// What must come of a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Expected {
    /// The kept outcome.
    Repeated,
    /// The refusal of that precedence.
    Refused(u8),
    /// It is done.
    Done,
}

/// What must come of a command, and whether a window keeps it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Verdict {
    pub(crate) expected: Expected,
    kept: bool,
}

impl Ledger {
    /// What must come of a command applied at that stamp, where nothing is due before it.
    pub(crate) fn expect(
        &mut self,
        shard: &Shard,
        oracle: &Oracle,
        now: Stamp,
        envelope: &Envelope,
    ) -> Verdict {
        if shard.sequence(envelope.site).is_none() {
            return Verdict { expected: Expected::Refused(1), kept: false };
        }
        self.forget(now);
        let mut list = Vec::new();
        if self.window(shard, envelope, &mut list) {
            return Verdict { expected: Expected::Repeated, kept: false };
        }
        let kept = list.is_empty();
        Rules { shard, oracle, ledger: self, envelope, list: &mut list }.look();
        let expected = list.into_iter().min().map_or(Expected::Done, Expected::Refused);
        Verdict { expected, kept }
    }

    /// Notes what an entry did.
    pub(crate) fn follow(
        &mut self,
        now: Stamp,
        envelope: &Envelope,
        verdict: Verdict,
        applied: &Applied,
    ) {
        match envelope.origin {
            Origin::Session { session, sequence, .. } if verdict.kept => {
                let key = (envelope.site, session);
                self.sessions.entry(key).or_default().1.insert(sequence);
            }
            Origin::Request { principal, request } if verdict.kept => {
                self.requests.insert((envelope.site, principal, request), now);
            }
            _ => {}
        }
        self.note(applied);
    }

    /// Notes the items of an entry.
    pub(crate) fn note(&mut self, applied: &Applied) {
        for record in &applied.events {
            if let Event::Posted { conversation, item, ordinal, author, note, .. } = &record.event {
                self.items.entry(*conversation).or_default().push(*item);
                if let (Author::Agent(agent), false) = (author, note) {
                    let answers = self.answers.entry(*conversation).or_default();
                    answers.insert(*agent, *ordinal);
                }
            }
        }
    }

    fn forget(&mut self, now: Stamp) {
        let old = |kept: &Stamp| kept.plus_ms(limits::REQUEST_WINDOW_MS) <= now;
        let gone: Vec<_> =
            self.requests.iter().filter(|(_, kept)| old(kept)).map(|(key, _)| *key).collect();
        for key in gone {
            self.requests.remove(&key);
            let floor = self.floors.entry((key.0, key.1)).or_default();
            *floor = (*floor).max(key.2.unix_ms() + 1);
        }
    }

    /// Lists what the window refuses; whether it knows the command.
    fn window(&mut self, shard: &Shard, envelope: &Envelope, list: &mut Vec<u8>) -> bool {
        let site = envelope.site;
        match envelope.origin {
            Origin::Internal => {}
            Origin::Request { principal, request } => {
                if self.requests.contains_key(&(site, principal, request)) {
                    return true;
                }
                let floor = self.floors.get(&(site, principal)).copied().unwrap_or(0);
                if request.unix_ms() < floor {
                    list.push(3);
                }
            }
            Origin::Session { session, sequence, acknowledged } => {
                let Some(view) = shard.session_view(site, session) else {
                    self.sessions.remove(&(site, session));
                    list.push(5);
                    return false;
                };
                if view.link == Link::None {
                    list.push(5);
                }
                if !serves(view.subject, envelope.actor) {
                    list.push(6);
                    return false;
                }
                let (floor, known) = self.sessions.entry((site, session)).or_default();
                let newest = known.last().copied().unwrap_or(*floor);
                *floor = acknowledged.min(newest).max(*floor);
                known.retain(|number| number > floor);
                if known.contains(&sequence) {
                    list.clear();
                    return true;
                }
                if sequence <= acknowledged.max(*floor) {
                    list.push(3);
                } else if sequence - *floor > limits::SESSION_WINDOW_COMMANDS_MAX as u64 {
                    list.push(4);
                }
            }
        }
        false
    }
}

/// Whether an actor is whom a session serves.
fn serves(subject: Subject, actor: Actor) -> bool {
    match (subject, actor) {
        (_, Actor::System) => true,
        (Subject::Agent(one), Actor::Agent(other)) => one == other,
        (Subject::Customer(one), Actor::Customer(other)) => one == other,
        (Subject::Principal(one), Actor::Supervisor(other) | Actor::Administrator(other)) => {
            one == other
        }
        _ => false,
    }
}

/// One command under the rules.
struct Rules<'a> {
    shard: &'a Shard,
    oracle: &'a Oracle,
    ledger: &'a Ledger,
    envelope: &'a Envelope,
    list: &'a mut Vec<u8>,
}

impl Rules<'_> {
    fn rule(&mut self, applies: bool, precedence: u8) {
        if applies {
            self.list.push(precedence);
        }
    }

    fn look(mut self) {
        let envelope = self.envelope;
        let actor = envelope.actor;
        match &envelope.command {
            Command::PutSite { settings } => {
                self.administrator();
                self.rule(settings.check().is_err(), 7);
            }
            Command::PutSkill { .. } | Command::PutReason { .. } => self.administrator(),
            Command::PutDisposition { .. } => self.administrator(),
            Command::PutQueue { plan, .. } => {
                self.administrator();
                self.rule(plan.check().is_err(), 7);
                self.skills(plan.skills.iter().map(|need| need.skill));
            }
            Command::PutAgent { profile, .. } => {
                self.administrator();
                self.rule(profile.check().is_err(), 7);
                self.skills(profile.skills.keys().copied());
            }
            Command::PutWebhook { webhook, plan, secret } => {
                self.administrator();
                let views = self.shard.webhook_views(envelope.site).unwrap_or_default();
                let known = views.iter().any(|view| view.webhook == *webhook);
                self.rule(plan.check().is_err() || (secret.is_none() && !known), 7);
            }
            Command::PutBot { queue, plan, secret } => {
                self.administrator();
                let known = self.shard.bot_version(envelope.site, *queue).is_some();
                let bad = plan.as_ref().is_some_and(|plan| plan.check().is_err());
                let there = self.plan(*queue).is_some();
                self.rule(bad || (there && secret.is_none() && !known), 7);
                self.rule(!there, 9);
            }
            Command::EndTurn { effect, answer, .. } => self.end_turn(*effect, answer),
            Command::StartEffect { effect, start } => {
                self.rule(actor != Actor::System, 6);
                let view = self.shard.view();
                let begins = self.pending(*effect).is_some_and(|found| {
                    let owns = view.owner(found.conversation) == Some(start.owner);
                    let mail = matches!(found.target, EffectTarget::Mail { .. });
                    let anew = found.started.is_none() && owns && view.epoch == start.epoch;
                    found.started == Some(*start) || (mail && anew)
                });
                self.rule(!begins, 31);
            }
            Command::EndEffect { effect, outcome, start, .. } => {
                self.rule(actor != Actor::System, 6);
                let gives_up = start.is_none() && *outcome == EffectOutcome::Unknown;
                let theirs = self.pending(*effect).is_some_and(|found| found.started != *start);
                self.rule(theirs && !gives_up, 31);
            }
            Command::Attach { session, subject, .. } => self.attach(*session, *subject),
            Command::Detach { session, .. } => {
                let view = self.shard.session_view(envelope.site, *session);
                self.rule(view.is_none(), 5);
                self.rule(view.is_some_and(|view| !serves(view.subject, actor)), 6);
            }
            Command::Declare { agent, declared } => self.declare(*agent, *declared),
            Command::Open { .. } => self.open(),
            _ => self.conversation(),
        }
    }

    fn pending(&self, id: EffectId) -> Option<PendingEffect> {
        let pending = self.shard.effects(self.envelope.site, None, usize::MAX);
        pending.unwrap_or_default().into_iter().find(|effect| effect.id == id)
    }

    fn end_turn(&mut self, id: EffectId, answer: &BotAnswer) {
        self.rule(self.envelope.actor != Actor::System, 6);
        self.rule(answer.check().is_err(), 7);
        let Some(found) = self.pending(id) else { return };
        let all = self.shard.effects(self.envelope.site, None, usize::MAX).unwrap_or_default();
        let first = all.iter().find(|other| {
            let turn = matches!(other.target, EffectTarget::Turn(_));
            turn && other.conversation == found.conversation
        });
        let items = self.ledger.items.get(&found.conversation).cloned().unwrap_or_default();
        let recent = items.iter().rev().take(limits::ITEMS_REMEMBERED_MAX);
        let known: BTreeSet<_> = recent.copied().collect();
        let next = first.is_some_and(|first| first.id == id);
        self.rule(next && answer.messages.iter().any(|item| known.contains(&item.id)), 27);
        self.rule(!next, 31);
    }

    fn administrator(&mut self) {
        let may = matches!(self.envelope.actor, Actor::Administrator(_) | Actor::System);
        self.rule(!may, 6);
    }

    fn skills(&mut self, wanted: impl Iterator<Item = SkillId>) {
        let known = self.shard.skills(self.envelope.site).unwrap_or_default();
        let mut wanted = wanted;
        let unknown = wanted.any(|skill| known.iter().all(|named| named.id != skill));
        self.rule(unknown, 11);
    }

    fn attach(&mut self, session: SessionId, subject: Subject) {
        let site = self.envelope.site;
        let view = self.shard.session_view(site, session);
        self.rule(view.as_ref().is_some_and(|view| view.link == Link::None), 5);
        self.rule(!serves(subject, self.envelope.actor), 6);
        if let Subject::Agent(agent) = subject {
            self.rule(self.shard.agent_view(site, agent).is_none(), 10);
            let books = self.oracle.floors.get(&site);
            let all = books.into_iter().flat_map(|books| books.sessions.values());
            let count = all.filter(|(of, ..)| *of == subject).count();
            self.rule(view.is_none() && count >= limits::SESSIONS_PER_AGENT_MAX, 32);
        }
        self.rule(view.is_some_and(|view| view.subject != subject), 14);
    }

    fn declare(&mut self, agent: AgentId, declared: Declared) {
        let (site, actor) = (self.envelope.site, self.envelope.actor);
        let may = match actor {
            Actor::Agent(me) => me == agent,
            Actor::Customer(_) => false,
            _ => true,
        };
        self.rule(!may, 6);
        let view = self.shard.agent_view(site, agent);
        self.rule(view.is_none(), 10);
        if let Declared::NotReady { reason } = declared {
            self.reason(Some(reason));
        }
        let away = view.is_some_and(|view| view.link == Link::None);
        self.rule(away && declared != Declared::SignedOut, 21);
    }

    fn reason(&mut self, reason: Option<ReasonId>) {
        let known = self.shard.reasons(self.envelope.site).unwrap_or_default();
        self.rule(reason.is_some_and(|reason| known.iter().all(|named| named.id != reason)), 12);
    }

    fn plan(&self, queue: QueueId) -> Option<QueuePlan> {
        self.shard.queue_view(self.envelope.site, queue).map(|view| view.plan)
    }

    fn too_many_skills(&mut self, plan: Option<QueuePlan>, extra: &[RequiredSkill]) {
        let many = |plan: QueuePlan| required(&plan, extra).len() > limits::REQUIRED_SKILLS_MAX;
        self.rule(plan.is_some_and(many), 32);
    }

    fn sends_mail(&self) -> bool {
        let view = self.shard.site_view(self.envelope.site);
        view.is_some_and(|view| view.settings.mail_from.is_some())
    }

    fn open(&mut self) {
        let (site, actor) = (self.envelope.site, self.envelope.actor);
        let Command::Open {
            conversation,
            queue,
            channel,
            skills,
            customer,
            attributes,
            item,
            mail,
            ..
        } = &self.envelope.command
        else {
            return;
        };
        let may = match actor {
            Actor::Customer(me) => *customer == Some(me) && mail.is_none(),
            Actor::Agent(_) => false,
            _ => true,
        };
        self.rule(!may, 6);
        self.rule(check_required("skills", skills).is_err(), 7);
        self.rule(attributes.check().is_err(), 7);
        let mailed = mail.as_ref().is_some_and(|mail| {
            mail.check().is_err() || *channel != Channel::Email || !self.sends_mail()
        });
        self.rule(mailed, 7);
        self.rule(item.as_ref().is_some_and(|item| item.body.check().is_err()), 7);
        self.rule(conversation.site != site, 8);
        let plan = self.plan(*queue);
        self.rule(plan.is_none(), 9);
        self.skills(skills.iter().map(|need| need.skill));
        let here = ConversationId { site, ..*conversation };
        self.rule(self.shard.conversation_view(here).is_some(), 15);
        self.too_many_skills(plan, skills);
        if let Some(customer) = customer {
            let live = self.shard.customer_conversations(site, *customer).len();
            self.rule(live >= limits::CONVERSATIONS_PER_CUSTOMER_MAX, 32);
        }
    }

    /// Rules of every command about a conversation that may exist.
    fn conversation(&mut self) {
        let Some(id) = self.envelope.command.conversation() else { return };
        self.rule(id.site != self.envelope.site, 8);
        let here = ConversationId { site: self.envelope.site, ..id };
        let view = self.shard.conversation_view(here);
        self.rule(view.is_none(), 17);
        let stage = view.as_ref().map(|view| view.stage);
        self.rule(stage == Some(Stage::Closed), 16);
        self.roles();
        let view = view.filter(|view| view.stage != Stage::Closed);
        if let Some(view) = view {
            let over = matches!(view.stage, Stage::WrapUp { .. });
            let wraps_up = matches!(self.envelope.command, Command::WrapUp { .. });
            self.rule(over && !wraps_up, 16);
            self.of_live(&view);
        }
        match &self.envelope.command {
            Command::Decline { reason, .. } => self.reason(*reason),
            Command::Requeue { queue: Some(queue), .. }
            | Command::HandOver { queue: Some(queue), .. } => {
                let unknown = self.plan(*queue).is_none();
                self.rule(unknown, 9);
            }
            Command::WrapUp { disposition: Some(id), .. } => {
                let known = self.shard.dispositions(self.envelope.site).unwrap_or_default();
                self.rule(known.iter().all(|named| named.id != *id), 13);
            }
            _ => {}
        }
    }

    /// Who may not ask this of any conversation, and values out of bounds.
    fn roles(&mut self) {
        let (actor, command) = (self.envelope.actor, &self.envelope.command);
        let agent = matches!(actor, Actor::Agent(_));
        let customer = matches!(actor, Actor::Customer(_));
        let refused = match command {
            Command::Accept { .. } | Command::Decline { .. } | Command::WrapUp { .. } => !agent,
            Command::Hold { .. } | Command::Retrieve { .. } => !agent,
            Command::Post { note, .. } => customer && *note,
            Command::Requeue { .. } | Command::Close { .. } => customer,
            Command::Abandon { .. } => agent,
            Command::HandOver { queue, .. } => agent || (customer && queue.is_some()),
            _ => false,
        };
        self.rule(refused, 6);
        if let Command::Post { item, .. } = command {
            self.rule(item.body.check().is_err(), 7);
        }
    }

    /// Rules of a conversation that lives.
    fn of_live(&mut self, view: &ConversationView) {
        let actor = self.envelope.actor;
        let me = if let Actor::Agent(me) = actor { Some(me) } else { None };
        let served_by = match view.stage {
            Stage::Assigned { agent, .. } => Some(agent),
            _ => None,
        };
        match self.envelope.command.clone() {
            Command::Accept { offer, .. } | Command::Decline { offer, .. } => {
                let standing = match view.stage {
                    Stage::Offered { offer: stands, agent, .. } if stands == offer => Some(agent),
                    _ => None,
                };
                self.rule(standing.is_none(), 18);
                self.rule(standing.is_some() && standing != me, 19);
            }
            Command::Hold { .. } | Command::Retrieve { .. } => {
                self.serves(me, served_by);
                let held = matches!(view.stage, Stage::Assigned { held: true, .. });
                let holds = matches!(self.envelope.command, Command::Hold { .. });
                self.rule(held && holds, 23);
                self.rule(!held && !holds, 24);
            }
            Command::Post { item, note, seen_to, .. } => {
                self.post(view, me, served_by, (item.id, note, seen_to));
            }
            Command::Requeue { queue, .. } => {
                self.serves(me, served_by);
                let queue = queue.or(view.queue).unwrap_or_default();
                let books = self.oracle.floors.get(&self.envelope.site);
                let known = books.and_then(|b| b.items.get(&view.conversation.unique));
                let extra = known.map_or(Vec::new(), |item| item.extra.clone());
                self.too_many_skills(self.plan(queue), &extra);
            }
            Command::Close { .. } => self.serves(me, served_by),
            Command::Abandon { .. } => self.is_served(view),
            Command::HandOver { queue, .. } => {
                self.is_served(view);
                self.rule(view.stage != Stage::SelfService, 30);
                let books = self.oracle.floors.get(&self.envelope.site);
                let known = books.and_then(|b| b.items.get(&view.conversation.unique));
                let extra = known.map_or(Vec::new(), |item| item.extra.clone());
                self.too_many_skills(queue.and_then(|queue| self.plan(queue)), &extra);
            }
            Command::WrapUp { disposition, .. } => self.wrap_up(view, me, disposition),
            _ => {}
        }
    }

    fn serves(&mut self, me: Option<AgentId>, served_by: Option<AgentId>) {
        self.rule(me.is_some() && served_by.is_some() && me != served_by, 19);
        self.rule(me.is_some() && served_by.is_none(), 22);
    }

    fn is_served(&mut self, view: &ConversationView) {
        if let Actor::Customer(customer) = self.envelope.actor {
            self.rule(view.customer != Some(customer), 19);
        }
    }

    fn post(
        &mut self,
        view: &ConversationView,
        me: Option<AgentId>,
        served_by: Option<AgentId>,
        (item, note, seen_to): (ItemId, bool, Option<u32>),
    ) {
        self.serves(me, served_by);
        self.is_served(view);
        let items = self.ledger.items.get(&view.conversation).cloned().unwrap_or_default();
        let newest = items.iter().rev().take(limits::ITEMS_REMEMBERED_MAX);
        self.rule(newest.into_iter().any(|known| *known == item), 27);
        if me.is_none() || note {
            return;
        }
        let answers = self.ledger.answers.get(&view.conversation).cloned().unwrap_or_default();
        let others = answers.iter().filter(|(who, _)| Some(**who) != me);
        let unseen = others.map(|(_, ordinal)| *ordinal).max();
        self.rule(seen_to.is_some() && unseen > seen_to, 28);
        let slow = matches!(view.channel, Some(Channel::Email | Channel::Task));
        self.rule(seen_to.is_none() && slow, 29);
    }

    fn wrap_up(
        &mut self,
        view: &ConversationView,
        me: Option<AgentId>,
        disposition: Option<DispositionId>,
    ) {
        let whose = match view.stage {
            Stage::WrapUp { agent, .. } | Stage::Assigned { agent, .. } => Some(agent),
            _ => None,
        };
        self.rule(whose.is_some() && whose != me, 19);
        self.rule(!matches!(view.stage, Stage::WrapUp { .. }), 25);
        let plan = self.plan(view.queue.unwrap_or_default());
        self.rule(disposition.is_none() && plan.is_some_and(|plan| plan.disposition_required), 26);
    }
}
