//! What everybody in a run shares.

use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use rotary_client::{Gateway, Over, SessionConfig, Trust};
use rotary_proto::values::Item;
use rotary_proto::{Attributes, Body, Channel, Command, ConversationId, CustomerId, ItemId};
use tokio::sync::watch;

use super::desk::Desk;
use super::floor::Floor;
use super::pace::Pace;
use super::tally::Tally;
use super::world::queue_of;

/// Where people come in; more may be opened while they do.
pub(crate) struct Entrances(RwLock<Vec<Gateway>>);

impl Entrances {
    pub(super) fn of(gateways: Vec<Gateway>) -> Self {
        Self(RwLock::new(gateways))
    }

    /// Opens another one, for whoever comes from here on.
    pub(crate) fn open(&self, gateway: Gateway) {
        self.0.write().unwrap_or_else(PoisonError::into_inner).push(gateway);
    }

    /// All of them, the `number`-th first, so that people are spread.
    fn from(&self, number: usize) -> Vec<Gateway> {
        let mut gateways = self.0.read().unwrap_or_else(PoisonError::into_inner).clone();
        let turn = number % gateways.len().max(1);
        gateways.rotate_left(turn);
        gateways
    }
}

/// How people behave, and what they act through.
pub(super) struct Conduct {
    pub desk: Arc<Desk>,
    pub floor: Floor,
    pub tally: Arc<Tally>,
    pub pace: Pace,
    pub entrances: Arc<Entrances>,
    /// Whom they take for one.
    pub trust: Trust,
    /// What carries sessions.
    pub over: Over,
    /// After how long without a sign of life a client goes elsewhere; it asks three times as often.
    pub silence: Duration,
    /// Of offers.
    pub decline_share: f64,
    /// Of offers.
    pub lapse_share: f64,
    /// Agents go home once it is true.
    pub closing: watch::Receiver<bool>,
}

impl Conduct {
    /// A session whose first gateway is the `number`-th, so that sessions are spread.
    pub(super) fn session(&self, number: usize, token: &str) -> SessionConfig {
        let config = SessionConfig::new(self.entrances.from(number), token.to_owned());
        SessionConfig {
            over: self.over,
            trust: self.trust.clone(),
            ping: self.silence.mul_f64(0.3),
            silence: self.silence,
            connect: config.connect.max(self.silence / 2),
            welcome: config.welcome.max(self.silence),
            ..config
        }
    }
}

/// A customer opens a chat.
pub(super) fn chat(conversation: ConversationId, customer: CustomerId) -> Command {
    Command::Open {
        conversation,
        queue: queue_of(Channel::Chat),
        channel: Channel::Chat,
        priority: None,
        skills: Vec::new(),
        customer: Some(customer),
        attributes: Attributes::default(),
        item: Some(message("hello")),
        mail: None,
    }
}

/// A new message of those words.
pub(super) fn message(words: &str) -> Item {
    // The words are the load's own and short, so they always fit; an empty body would be refused.
    let body = Body::plain(words)
        .unwrap_or_else(|_| Body { text: Default::default(), attachments: vec![] });
    Item { id: ItemId(rotary_client::unique()), body }
}
