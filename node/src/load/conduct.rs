//! What everybody in a run shares.

use std::sync::Arc;

use rotary_client::{Gateway, SessionConfig};
use rotary_proto::values::Item;
use rotary_proto::{Body, ItemId};
use tokio::sync::watch;

use super::desk::Desk;
use super::floor::Floor;
use super::pace::Pace;
use super::tally::Tally;

/// How people behave, and what they act through.
pub(super) struct Conduct {
    pub desk: Arc<Desk>,
    pub floor: Floor,
    pub tally: Arc<Tally>,
    pub pace: Pace,
    pub gateways: Vec<Gateway>,
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
        let mut gateways = self.gateways.clone();
        let turn = number % gateways.len();
        gateways.rotate_left(turn);
        SessionConfig::new(gateways, token.to_owned())
    }
}

/// A new message of those words.
pub(super) fn message(words: &str) -> Item {
    // The words are the load's own and short, so they always fit; an empty body would be refused.
    let body = Body::plain(words)
        .unwrap_or_else(|_| Body { text: Default::default(), attachments: vec![] });
    Item { id: ItemId(rotary_client::unique()), body }
}
