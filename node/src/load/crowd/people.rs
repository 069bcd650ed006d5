//! Agents who take every chat and keep it, and customers who write.

use std::future::Future;
use std::sync::Arc;

use anyhow::Context as _;
use rotary_client::{Commander, End, Notice, Session, SessionConfig};
use rotary_proto::event::Author;
use rotary_proto::frame::{CommandReply, CommandResult};
use rotary_proto::outcome::Outcome;
use rotary_proto::{Command, ConversationId, CustomerId, Declared, Event, SiteId};
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::meter::Meter;
use crate::load::conduct::{chat, message};
use crate::load::pace::raised;
use crate::load::world::AgentSpec;

/// Asks, and says so where it is not done.
async fn ask(commander: Commander, site: SiteId, command: Command) {
    let word = command.word();
    match commander.send(site, command).await {
        Ok(CommandResult { result: CommandReply::Outcome(Outcome::Done(_)), .. }) => {}
        other => tracing::warn!(command = word, answer = ?other, "not done"),
    }
}

/// An agent who accepts each offer and keeps it, until `closing`.
pub(super) async fn agent(
    meter: Arc<Meter>,
    spec: AgentSpec,
    config: SessionConfig,
    closing: watch::Receiver<bool>,
) {
    let Ok(mut session) = Session::start(config) else { return };
    let (commander, mut tasks) = (session.commander(), JoinSet::new());
    let (site, agent) = (spec.site, spec.agent);
    loop {
        let notice = tokio::select! {
            biased;
            notice = session.next_event() => notice,
            () = raised(closing.clone()) => return commander.bye().await,
            Some(_) = tasks.join_next() => continue,
        };
        match notice {
            Some(Notice::Welcome(welcomed)) if welcomed.outage.is_zero() => {
                let (commander, meter) = (commander.clone(), Arc::clone(&meter));
                tasks.spawn(async move {
                    let declared = Declared::Ready;
                    ask(commander, site, Command::Declare { agent, declared }).await;
                    meter.signed_in();
                });
            }
            Some(Notice::Welcome(welcomed)) => meter.is_back(welcomed.outage),
            Some(Notice::Event(frame)) => match frame.event {
                Event::Offered { conversation, offer, agent: to, .. } if to == agent => {
                    let accept = Command::Accept { conversation, offer };
                    tasks.spawn(ask(commander.clone(), site, accept));
                }
                Event::Posted { item, author: Author::Customer, .. } => meter.reads(site, item),
                _ => {}
            },
            Some(Notice::Ended(end)) => return tell_end(&meter, &end),
            Some(_) => {}
            None => return,
        }
    }
}

fn tell_end(meter: &Meter, end: &End) {
    if *end != End::Bye {
        meter.has_ended(format!("{end:?}"));
    }
}

/// A customer's pen.
#[derive(Clone)]
pub(super) struct Writer {
    meter: Arc<Meter>,
    commander: Commander,
    conversation: ConversationId,
}

impl Writer {
    /// Writes a message.
    pub(super) async fn write(self) {
        let (post, _) = self.post();
        ask(self.commander, self.conversation.site, post).await;
    }

    /// Writes a message and waits until it has been read.
    pub(super) async fn write_and_wait(&self) {
        let (post, read) = self.post();
        let commander = self.commander.clone();
        let _ = tokio::join!(ask(commander, self.conversation.site, post), read);
    }

    fn post(&self) -> (Command, tokio::sync::oneshot::Receiver<()>) {
        let (item, conversation) = (message("a line as people write them"), self.conversation);
        let read = self.meter.sends(item.id);
        (Command::Post { conversation, item, note: false, seen_to: None }, read)
    }
}

/// A customer with a session of their own, who opens a chat: their pen, and their life.
///
/// # Errors
/// A session that cannot be started.
pub(super) fn writer(
    meter: Arc<Meter>,
    site: SiteId,
    customer: CustomerId,
    config: SessionConfig,
    closing: watch::Receiver<bool>,
) -> anyhow::Result<(Writer, impl Future<Output = ()> + Send + 'static)> {
    let session = Session::start(config).context("a customer's session")?;
    let conversation = ConversationId::new(site, rotary_client::unique());
    let commander = session.commander();
    let writer = Writer { meter: Arc::clone(&meter), commander, conversation };
    Ok((writer, live(meter, session, conversation, customer, closing)))
}

async fn live(
    meter: Arc<Meter>,
    mut session: Session,
    conversation: ConversationId,
    customer: CustomerId,
    closing: watch::Receiver<bool>,
) {
    let (commander, mut tasks) = (session.commander(), JoinSet::new());
    loop {
        let notice = tokio::select! {
            biased;
            notice = session.next_event() => notice,
            () = raised(closing.clone()) => return commander.bye().await,
            Some(_) = tasks.join_next() => continue,
        };
        match notice {
            Some(Notice::Welcome(welcomed)) if welcomed.outage.is_zero() => {
                let open = chat(conversation, customer);
                tasks.spawn(ask(commander.clone(), conversation.site, open));
            }
            Some(Notice::Welcome(welcomed)) => meter.is_back(welcomed.outage),
            Some(Notice::Event(frame)) => {
                if matches!(frame.event, Event::Assigned { .. }) {
                    meter.has_agent();
                }
            }
            Some(Notice::Ended(end)) => return tell_end(&meter, &end),
            Some(_) => {}
            None => return,
        }
    }
}
