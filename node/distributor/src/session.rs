//! A session in a site: whom it serves, where its socket is, and its window of outcomes.

use rotary_proto::Stamp;
use rotary_proto::command::Subject;
use rotary_proto::ids::GatewayId;
use rotary_proto::outcome::Answer;
use rotary_proto::query::Link;
use serde::{Deserialize, Serialize};

use crate::window::SessionWindow;

/// A session's hot state.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Session {
    /// Whom it serves; never changes.
    pub(crate) subject: Subject,
    /// Where its socket is or was.
    pub(crate) gateway: GatewayId,
    /// Whether its socket lives.
    pub(crate) state: SessionState,
    /// Outcomes that its client has not acknowledged.
    pub(crate) window: SessionWindow<Answer>,
    /// When the alarm for the end of its grace or afterlife rings, if it is set.
    #[serde(skip)]
    pub(crate) alarm: Option<Stamp>,
}

/// Whether a session's socket lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum SessionState {
    /// It does.
    Up,
    /// It was lost and may return.
    Lost {
        /// Then the session is over.
        until: Stamp,
    },
    /// The session is over; outcomes are kept for late retries.
    Ended {
        /// Then it is forgotten.
        until: Stamp,
    },
}

impl Session {
    /// What a view shows.
    pub(crate) const fn link(&self) -> Link {
        match self.state {
            SessionState::Up => Link::Up,
            SessionState::Lost { .. } => Link::Lost,
            SessionState::Ended { .. } => Link::None,
        }
    }

    /// When something must happen to it.
    pub(crate) const fn due(&self) -> Option<Stamp> {
        match self.state {
            SessionState::Up => None,
            SessionState::Lost { until } | SessionState::Ended { until } => Some(until),
        }
    }
}
