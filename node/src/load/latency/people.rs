//! Customers who ask and go, and agents who take what comes.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::Context as _;
use rotary_client::{Commander, Gateway, Notice, Session, SessionConfig};
use rotary_proto::frame::{CommandReply, CommandResult};
use rotary_proto::outcome::Outcome;
use rotary_proto::{Command, ConversationId, Declared, Event, NodeId, SiteId};
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::board::Board;
use crate::load::conduct::chat;
use crate::load::desk::request;
use crate::load::pace::raised;
use crate::load::world::{AgentSpec, CustomerSpec};

/// A contact that is not over after so long has failed, and the run with it.
const CONTACT: Duration = Duration::from_secs(30);

/// Customers of a site who ask at one door, in turn: nobody has more than a few chats at a time.
pub(super) struct Caller {
    board: Arc<Board>,
    site: SiteId,
    door: NodeId,
    /// With an API over that door only.
    customers: Vec<CustomerSpec>,
    turn: AtomicUsize,
}

impl Caller {
    /// Customers, at least one, whose requests all go to `door`.
    pub(super) fn new(
        board: Arc<Board>,
        site: SiteId,
        door: NodeId,
        customers: Vec<CustomerSpec>,
    ) -> Self {
        Self { board, site, door, customers, turn: AtomicUsize::new(0) }
    }

    /// Opens a chat and waits until it is over.
    ///
    /// # Errors
    /// A refusal, or a contact that does not end.
    pub(super) async fn call(&self) -> anyhow::Result<()> {
        let conversation = ConversationId::new(self.site, rotary_client::unique());
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        let customer = &self.customers[turn % self.customers.len()];
        let open = chat(conversation, customer.customer);
        let request = request(self.site, &open).context("an open has a route")?;
        let ended = self.board.begin(conversation, self.door);
        let asked = customer.api.change(request.method, &request.path, &request.body).await;
        asked.acknowledged().with_context(|| format!("opening {conversation}"))?;
        let ended = tokio::time::timeout(CONTACT, ended).await;
        let late = || format!("{conversation} is not over after {} s", CONTACT.as_secs());
        ended.with_context(late)?.with_context(late)
    }
}

/// An agent who accepts each offer and closes each conversation at once, until `closing`.
pub(super) async fn agent(
    board: Arc<Board>,
    spec: AgentSpec,
    mut gateways: Vec<Gateway>,
    closing: watch::Receiver<bool>,
) {
    let turn = spec.number % gateways.len();
    gateways.rotate_left(turn);
    let Ok(mut session) = Session::start(SessionConfig::new(gateways, spec.token.clone())) else {
        return;
    };
    let hands = Hands { board, spec, commander: session.commander() };
    let (mut node, mut tasks) = (NodeId(0), JoinSet::new());
    loop {
        tokio::select! {
            biased;
            notice = session.next_event() => match notice {
                Some(Notice::Welcome(welcomed)) => {
                    node = welcomed.node;
                    if welcomed.outage.is_zero() {
                        tasks.spawn(hands.clone().sign_in());
                    }
                }
                Some(Notice::Event(frame)) => {
                    if let Some(command) = hands.react(&frame.event, node) {
                        tasks.spawn(hands.clone().ask(command));
                    }
                }
                Some(Notice::Lost { gateway, why }) => {
                    tracing::warn!(%gateway, why, "a socket was lost; times include that");
                }
                Some(_) => {}
                None => return,
            },
            () = raised(closing.clone()) => return hands.commander.bye().await,
            Some(_) = tasks.join_next() => {}
        }
    }
}

/// What an agent's tasks act with.
#[derive(Clone)]
struct Hands {
    board: Arc<Board>,
    spec: AgentSpec,
    commander: Commander,
}

impl Hands {
    async fn sign_in(self) {
        let board = Arc::clone(&self.board);
        let (agent, declared) = (self.spec.agent, Declared::Ready);
        self.ask(Command::Declare { agent, declared }).await;
        board.signed_in();
    }

    /// What follows from an event, if it is this agent's.
    fn react(&self, event: &Event, node: NodeId) -> Option<Command> {
        let me = self.spec.agent;
        match *event {
            Event::Offered { conversation, offer, agent, .. } if agent == me => {
                self.board.offered(conversation, node);
                Some(Command::Accept { conversation, offer })
            }
            Event::Assigned { conversation, agent, .. } if agent == me => {
                Some(Command::Close { conversation })
            }
            Event::Ended { conversation, .. } => {
                self.board.ended(conversation);
                None
            }
            _ => None,
        }
    }

    async fn ask(self, command: Command) {
        let word = format!("{command:?}");
        match self.commander.send(self.spec.site, command).await {
            Ok(CommandResult { result: CommandReply::Outcome(Outcome::Done(_)), .. }) => {}
            other => tracing::warn!(command = word, answer = ?other, "not done"),
        }
    }
}
