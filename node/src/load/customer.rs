//! A simulated customer: opens, waits, talks or writes, and goes.

use std::sync::Arc;

use rotary_client::{Commander, Session};
use rotary_proto::event::Viewer;
use rotary_proto::plan::RequiredSkill;
use rotary_proto::{Actor, Attributes, Channel, Command, ConversationId, CustomerId, SiteId};
use tokio::task::JoinHandle;

use super::agent::rounds;
use super::conduct::{Conduct, message};
use super::desk::Told;
use super::floor::{Contact, Phase};
use super::plan::Arrival;
use super::recorder::Recorder;
use super::world::{CustomerSpec, SCARCE, queue_of};

/// How a customer speaks.
#[derive(Clone)]
enum Line {
    Http,
    Session(Commander),
}

/// What a customer's tasks act with.
#[derive(Clone)]
pub(super) struct Customer {
    conduct: Arc<Conduct>,
    site: SiteId,
    spec: CustomerSpec,
    line: Line,
    conversation: ConversationId,
    contact: Arc<Contact>,
}

impl Customer {
    /// A customer about to arrive.
    pub(super) fn new(
        conduct: Arc<Conduct>,
        site: SiteId,
        spec: CustomerSpec,
        arrival: Arrival,
    ) -> Self {
        let conversation = ConversationId::new(site, rotary_client::unique());
        let contact = conduct.floor.enter(conversation, arrival);
        Self { conduct, site, spec, line: Line::Http, conversation, contact }
    }

    /// From arrival to departure.
    pub(super) async fn live(mut self) {
        let reader = self.contact.arrival.web.then(|| self.connect()).flatten();
        self.visit().await;
        self.conduct.floor.leave(self.conversation);
        if let Line::Session(commander) = &self.line {
            commander.bye().await;
        }
        if let Some(reader) = reader {
            let _ = reader.await;
        }
    }

    /// Takes a session instead of HTTP.
    fn connect(&mut self) -> Option<JoinHandle<()>> {
        let number = self.contact.arrival.seed as usize;
        let mut session = Session::start(self.conduct.session(number, &self.spec.token)).ok()?;
        self.line = Line::Session(session.commander());
        let (desk, tally) = (Arc::clone(&self.conduct.desk), Arc::clone(&self.conduct.tally));
        let viewer = Viewer::Customer(self.spec.customer);
        let mut recorder = Recorder::new(desk, tally, viewer, self.site);
        Some(tokio::spawn(async move {
            while let Some(notice) = session.next_event().await {
                recorder.take(&notice);
            }
        }))
    }

    async fn ask(&self, command: Command) -> Told {
        let actor = Actor::Customer(self.spec.customer);
        let desk = &self.conduct.desk;
        match &self.line {
            Line::Http => desk.over_http(&self.spec.api, self.site, actor, command).await,
            Line::Session(commander) => {
                desk.over_session(commander, self.site, actor, command).await
            }
        }
    }

    /// Asks in a task of its own, so that the answer is written down even if the caller is cut
    /// short.
    async fn spawn_ask(&self, command: Command) -> Told {
        let customer = self.clone();
        let asked = tokio::spawn(async move { customer.ask(command).await });
        asked.await.unwrap_or(Told::Unknown)
    }

    async fn visit(&self) {
        let opened = self.ask(open(self.conversation, self.spec.customer, &self.contact.arrival));
        match opened.await {
            Told::Refused(code) => {
                tracing::warn!(code, "a conversation was refused");
                return;
            }
            Told::Done(_) | Told::Unknown => {}
        }
        let tally = &self.conduct.tally;
        tally.opened.add();
        loop {
            tally.waiting.move_by(1);
            let answered = self.wait().await;
            tally.waiting.move_by(-1);
            let Some(with) = answered else { break };
            tally.assigned.move_by(1);
            let phase = self.talk(with).await;
            tally.assigned.move_by(-1);
            if phase == Phase::Over {
                break;
            }
        }
        tally.done.add();
    }

    /// Waits for an agent as long as patience lasts; `None` if the customer left or it ended.
    async fn wait(&self) -> Option<Phase> {
        let answered = self.contact.leaves(Phase::Waiting);
        let patience = self.conduct.pace.pause(self.contact.arrival.patience_s);
        let reached = tokio::select! {
            biased;
            reached = answered => reached,
            () = patience => {
                if matches!(self.abandon().await, Told::Done(_)) {
                    self.conduct.tally.abandoned.add();
                }
                Phase::Over
            }
        };
        (reached != Phase::Over).then_some(reached)
    }

    /// With an agent, until it is over or the agent is gone.
    async fn talk(&self, with: Phase) -> Phase {
        let arrival = &self.contact.arrival;
        let part = async {
            match arrival.channel {
                Channel::Voice => self.conduct.pace.pause(arrival.handle_s).await,
                _ => self.write(arrival.handle_s).await,
            }
        };
        let changed = self.contact.leaves(with);
        tokio::pin!(changed);
        tokio::select! {
            biased;
            reached = &mut changed => return reached,
            () = part => {}
        }
        if arrival.hangs_up {
            self.abandon().await;
            return Phase::Over;
        }
        changed.await
    }

    /// Asks a question every now and then, each soon after the agent's answer is due.
    async fn write(&self, seconds: f64) {
        let rounds = rounds(seconds);
        for round in 1..=rounds {
            let share = if round == 1 { 0.2 } else { 1.0 };
            self.conduct.pace.pause(share * seconds / f64::from(rounds)).await;
            let (conversation, item) = (self.conversation, message(&format!("question {round}")));
            let post = Command::Post { conversation, item, note: false, seen_to: None };
            if let Told::Done(_) = self.spawn_ask(post).await {
                self.conduct.tally.messages.add();
            }
        }
        self.conduct.pace.pause(0.8 * seconds / f64::from(rounds)).await;
    }

    async fn abandon(&self) -> Told {
        let told = self.ask(Command::Abandon { conversation: self.conversation }).await;
        self.contact.learn(Phase::Over);
        told
    }
}

/// How a conversation begins.
fn open(conversation: ConversationId, customer: CustomerId, arrival: &Arrival) -> Command {
    let skills =
        if arrival.scarce { vec![RequiredSkill { skill: SCARCE, level: 1 }] } else { Vec::new() };
    let item = (arrival.channel != Channel::Voice).then(|| message("hello"));
    Command::Open {
        conversation,
        queue: queue_of(arrival.channel),
        channel: arrival.channel,
        priority: None,
        skills,
        customer: Some(customer),
        attributes: Attributes::default(),
        item,
        mail: None,
    }
}
