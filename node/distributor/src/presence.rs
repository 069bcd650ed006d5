//! Who can be reached: sessions, links, leases, declared states, and what each change entails.

use rotary_proto::command::Subject;
use rotary_proto::event::{
    Audience, DeclaredWhy, EndReason, Event, OfferEnd, QueuedWhy, SessionLoss,
};
use rotary_proto::ids::{AgentId, CustomerId, GatewayId, SessionId};
use rotary_proto::plan::{Declared, NOT_RESPONDING};
use rotary_proto::planted::{self, Planted};
use rotary_proto::{Stamp, limits};

use crate::agent::{Agent, AgentLink};
use crate::conversation::Stage;
use crate::life::Finish;
use crate::session::{Session, SessionState};
use crate::site::{Due, Work};
use crate::turn::Turn;

/// How a session came to be over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Farewell {
    /// Its client said good-bye.
    Said,
    /// Its grace ran out.
    Missed,
}

impl Turn<'_> {
    /// An agent that a caller has made sure of, to be changed in what matching does not index.
    pub(crate) fn agent_mut(&mut self, id: AgentId) -> &mut Agent {
        self.site.agents.edit(id).expect("the caller found the agent in this entry")
    }

    /// Changes an agent in what matching indexes: skills, capacity, declared state, link.
    pub(crate) fn change_agent(&mut self, id: AgentId, change: impl FnOnce(&mut Agent)) {
        self.set_busy(id);
        let now = self.now;
        let before = self.site.agents.get(id).expect("the caller found the agent");
        let (was_routable, was_in) = (before.is_routable(), before.is_signed_in());
        if was_in {
            self.site.classes.sign_out(id, before);
        }
        let agent = self.site.agents.edit(id).expect("found just above");
        change(agent);
        agent.settle_capacity();
        let (is_routable, is_in) = (agent.is_routable(), agent.is_signed_in());
        if !was_in && is_in {
            agent.reset_idle(now);
        }
        if was_routable && !is_routable {
            agent.pause_idle(now);
        } else if !was_routable && is_routable {
            agent.resume_idle(now);
        }
        if is_in {
            let steps = self.site.classes.sign_in(id, agent);
            self.effort.spend(steps);
        }
        if is_routable {
            self.later(Work::MatchAgent(id));
        }
    }

    /// Changes what an agent declares, and takes pending offers back from who is not ready.
    pub(crate) fn declare(&mut self, id: AgentId, declared: Declared, why: DeclaredWhy) {
        self.change_agent(id, |agent| agent.declared = declared);
        let audience = Audience { agents: vec![id], ..Audience::default() };
        self.emit(audience, Event::AgentDeclared { agent: id, declared, why });
        if declared != Declared::Ready {
            self.withdraw_offers(id);
        }
        if declared == Declared::SignedOut {
            self.give_all_back(id, why);
        }
    }

    /// Takes every pending offer of an agent back.
    fn withdraw_offers(&mut self, id: AgentId) {
        for unique in self.held(id) {
            if let Stage::Offered { .. } = self.conversation(unique).stage {
                self.end_offer(unique, OfferEnd::AgentNotReady);
                self.return_to_line(unique);
            }
        }
    }

    /// Gives everything that a signed-out agent holds back.
    fn give_all_back(&mut self, id: AgentId, why: DeclaredWhy) {
        let why = match why {
            DeclaredWhy::SessionLost => QueuedWhy::AgentLost,
            _ => QueuedWhy::AgentSignedOut,
        };
        for unique in self.held(id) {
            match self.conversation(unique).stage {
                Stage::Assigned { agent, .. } => self.give_back(unique, agent, why),
                Stage::WrapUp { agent, .. } => {
                    self.finish(unique, agent, Finish { expired: true, ..Finish::default() });
                }
                Stage::SelfService { .. } | Stage::Waiting | Stage::Offered { .. } => {}
            }
        }
    }

    fn held(&self, id: AgentId) -> Vec<u128> {
        self.site.agents.get(id).map_or(Vec::new(), |agent| agent.held.clone())
    }

    /// An offer ran out.
    pub(crate) fn offer_expired(&mut self, unique: u128, id: AgentId) {
        let lost = self.site.agents.get(id).is_some_and(|agent| agent.link != AgentLink::Up);
        self.end_offer(unique, if lost { OfferEnd::AgentLost } else { OfferEnd::Expired });
        self.return_to_line(unique);
        if !lost {
            let declared = Declared::NotReady { reason: NOT_RESPONDING };
            self.declare(id, declared, DeclaredWhy::NotResponding);
        }
    }

    /// A session begins or returns.
    pub(crate) fn attach(&mut self, id: SessionId, subject: Subject, gateway: GatewayId) {
        let state = SessionState::Up;
        if let Some(session) = self.site.sessions.edit(id) {
            let before = session.gateway;
            (session.gateway, session.state) = (gateway, state);
            self.leave_gateway(before, id);
        } else {
            let window = crate::window::SessionWindow::default();
            let session = Session { subject, gateway, state, window, alarm: None };
            self.site.sessions.put(id, session);
        }
        self.site.clear_alarm(Due::Session(id));
        self.site.by_gateway.entry(gateway).or_default().insert(id);
        match subject {
            Subject::Agent(agent) => {
                let sessions = &mut self.agent_mut(agent).sessions;
                if !sessions.contains(&id) {
                    sessions.push(id);
                }
                self.refresh_link(agent);
                if !self.site.lost_gateways.is_empty() {
                    // Their link may not have changed: its loss was known and not worked off.
                    self.later(Work::MatchAgent(agent));
                }
            }
            Subject::Customer(customer) => {
                self.site.by_customer.entry(customer).or_default().sessions.insert(id);
            }
            Subject::Principal(_) => {}
        }
        self.emit(audience_of(subject), Event::SessionAttached { session: id, subject, gateway });
    }

    /// A session's socket is gone; it may return.
    pub(crate) fn lose_session(&mut self, id: SessionId, why: SessionLoss) {
        let Some(session) = self.site.sessions.get(id) else { return };
        let (subject, gateway) = (session.subject, session.gateway);
        let grace_ms = match subject {
            Subject::Agent(_) => self.site.settings.agent_grace_ms,
            Subject::Customer(_) => self.site.settings.customer_grace_ms,
            Subject::Principal(_) => limits::REQUEST_WINDOW_MS,
        };
        let until = self.now.plus_ms(grace_ms);
        self.set_session(id, SessionState::Lost { until });
        self.leave_gateway(gateway, id);
        self.emit(audience_of(subject), Event::SessionLost { session: id, subject, why });
        if let Subject::Agent(agent) = subject
            && !planted::is(Planted::LossIgnored)
        {
            self.refresh_link(agent);
        }
    }

    /// A session is over, at its client's word or because it did not return; its outcomes are kept
    /// for late retries.
    pub(crate) fn end_session(&mut self, id: SessionId, farewell: Farewell) {
        let Some(session) = self.site.sessions.get(id) else { return };
        let (subject, gateway) = (session.subject, session.gateway);
        let until = self.now.plus_ms(limits::TOMBSTONE_MS);
        self.set_session(id, SessionState::Ended { until });
        self.leave_gateway(gateway, id);
        self.emit(audience_of(subject), Event::SessionEnded { session: id, subject });
        match subject {
            Subject::Agent(agent) => {
                self.agent_mut(agent).sessions.retain(|other| *other != id);
                self.refresh_link(agent);
            }
            Subject::Customer(customer) => self.customer_session_over(customer, id, farewell),
            Subject::Principal(_) => {}
        }
    }

    fn set_session(&mut self, id: SessionId, state: SessionState) {
        if let Some(session) = self.site.sessions.edit(id) {
            session.state = state;
        }
        self.site.clear_alarm(Due::Session(id));
        if let SessionState::Lost { until } | SessionState::Ended { until } = state {
            self.site.set_alarm(Due::Session(id), until);
        }
    }

    fn leave_gateway(&mut self, gateway: GatewayId, id: SessionId) {
        if let Some(sessions) = self.site.by_gateway.get_mut(&gateway) {
            sessions.remove(&id);
            if sessions.is_empty() {
                self.site.by_gateway.remove(&gateway);
            }
        }
        if let Some(sessions) = self.site.lost_gateways.get_mut(&gateway) {
            sessions.remove(&id);
        }
    }

    /// Ends the live chats of a customer whose last session is over.
    fn customer_session_over(&mut self, customer: CustomerId, id: SessionId, how: Farewell) {
        let Some(known) = self.site.by_customer.get_mut(&customer) else { return };
        known.sessions.remove(&id);
        if !known.sessions.is_empty() {
            return;
        }
        let live: Vec<u128> = known.conversations.iter().copied().collect();
        if live.is_empty() {
            self.site.by_customer.remove(&customer);
        }
        for unique in live {
            let conversation = self.conversation(unique);
            let gone = matches!(conversation.stage, Stage::WrapUp { .. });
            if conversation.channel == rotary_proto::Channel::Chat && !gone {
                let why = match how {
                    Farewell::Said => conversation.ended_by_customer(),
                    Farewell::Missed => EndReason::CustomerLost,
                };
                self.end(unique, why);
            }
        }
    }

    /// Finds out whether an agent can be reached, after a change of their sessions.
    fn refresh_link(&mut self, id: AgentId) {
        let Some(agent) = self.site.agents.get(id) else { return };
        let up = agent.sessions.iter().any(|session| {
            self.site.sessions.get(*session).is_some_and(|s| s.state == SessionState::Up)
        });
        match (agent.link, up) {
            (AgentLink::Up, false) => self.link_lost(id),
            (AgentLink::None | AgentLink::Lost { .. }, true) => self.link_returned(id),
            _ => {}
        }
    }

    /// Nobody is there any more: no new offers, pending ones end soon, the grace begins.
    fn link_lost(&mut self, id: AgentId) {
        let until = self.now.plus_ms(self.site.settings.agent_grace_ms);
        self.change_agent(id, |agent| agent.link = AgentLink::Lost { until });
        self.site.set_alarm(Due::Agent(id), until);
        let soon = self.now.plus_ms(limits::OFFER_AFTER_LOSS_MS);
        for unique in self.held(id) {
            if let Stage::Offered { promised, .. } = self.conversation(unique).stage {
                self.bound_offer(unique, promised.min(soon));
            }
        }
    }

    /// Somebody is there again: pending offers last as long as was promised.
    fn link_returned(&mut self, id: AgentId) {
        self.site.clear_alarm(Due::Agent(id));
        self.change_agent(id, |agent| agent.link = AgentLink::Up);
        for unique in self.held(id) {
            if let Stage::Offered { promised, .. } = self.conversation(unique).stage {
                self.bound_offer(unique, promised);
            }
        }
    }

    /// Changes when a pending offer ends.
    fn bound_offer(&mut self, unique: u128, end: Stamp) {
        if let Stage::Offered { until, .. } = &mut self.conversation_mut(unique).stage {
            *until = end;
            self.rearm(unique);
        }
    }

    /// An agent's grace is over, unless a session returned.
    pub(crate) fn agent_due(&mut self, id: AgentId) {
        let Some(agent) = self.site.agents.get(id) else { return };
        let AgentLink::Lost { until } = agent.link else { return };
        if until > self.now {
            return self.site.set_alarm(Due::Agent(id), until);
        }
        let declared = agent.declared;
        for session in agent.sessions.clone() {
            self.end_session(session, Farewell::Missed);
        }
        self.change_agent(id, |agent| agent.link = AgentLink::None);
        if declared != Declared::SignedOut {
            self.declare(id, Declared::SignedOut, DeclaredWhy::SessionLost);
        }
    }

    /// A session's grace or afterlife is over.
    pub(crate) fn session_due(&mut self, id: SessionId) {
        let Some(session) = self.site.sessions.get(id) else { return };
        match session.due() {
            None => {}
            Some(until) if until > self.now => self.site.set_alarm(Due::Session(id), until),
            Some(_) if matches!(session.state, SessionState::Ended { .. }) => {
                self.site.sessions.take(id);
            }
            Some(_) => self.end_session(id, Farewell::Missed),
        }
    }

    /// Walks the sessions of a gateway whose lease ran out.
    pub(crate) fn lose_gateway(&mut self, gateway: GatewayId) {
        while self.effort.remains() {
            let lost = self.site.lost_gateways.get(&gateway);
            let first = lost.and_then(|sessions| sessions.first().copied());
            let Some(session) = first else {
                self.site.lost_gateways.remove(&gateway);
                return;
            };
            self.effort.spend(8);
            self.lose_session(session, SessionLoss::Gateway);
        }
        self.site.work.push_front(Work::LoseGateway(gateway));
    }
}

/// Whose eyes a session's events are for.
fn audience_of(subject: Subject) -> Audience {
    match subject {
        Subject::Agent(agent) => Audience { agents: vec![agent], ..Audience::default() },
        Subject::Customer(customer) => Audience { customer: Some(customer), ..Audience::default() },
        Subject::Principal(_) => Audience::default(),
    }
}
