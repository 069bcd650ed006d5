//! Sessions: `rotary.v1` on a WebSocket, or as a stream and requests (`docs/api/session.md`).
//!
//! A session is the client's, a socket is the gateway's. While a socket lives, four things run for
//! it side by side, and whichever ends first ends it: a *reader* takes frames from the client
//! ([`reader`]), *commands* puts what is asked into the log, one at a time ([`commands`]), a *feed*
//! brings events from journal and actor ([`feed`]), and a *writer* owns the sending half. They
//! meet in one queue of frames. How a socket becomes a session's is in [`handshake`]. All that is
//! the same for a [`stream`], whose client has no reader: what it says is [`posted`] to any node.
//!
//! What the log is told: `Attach` when the session begins or returns, `Detach` when the socket is
//! gone. Both are put in order under the session's own lock, so that a socket that returns at once
//! is not detached by its predecessor.

pub(crate) mod behind;
mod board;
mod commands;
mod farewell;
mod feed;
mod handshake;
#[cfg(test)]
pub(crate) mod late_tests;
pub(crate) mod leaving;
mod posted;
pub(crate) mod pulse;
pub(crate) mod reader;
pub(crate) mod serving;
pub(crate) mod socket;
pub(crate) mod strays;
pub(crate) mod stream;
mod table;
mod telling;

pub(crate) use posted::{Holder, post};
pub(crate) use socket::upgrade;
pub(crate) use stream::open;
pub(crate) use table::{Sessions, start_leases};

use rotary_proto::frame::{Retry, ServerFrame};

/// Why a socket ends: the code, the detail and the advice of its `bye`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct End {
    pub(crate) code: &'static str,
    pub(crate) detail: String,
    pub(crate) retry: Retry,
    /// How long to stay away first.
    pub(crate) after_ms: Option<u64>,
    /// Whether the session itself is over, by the client's own word.
    pub(crate) over: bool,
    /// Whether there is still somebody to say it to.
    pub(crate) said: bool,
}

impl End {
    fn new(code: &'static str, retry: Retry, detail: impl Into<String>) -> Self {
        Self { code, detail: detail.into(), retry, after_ms: None, over: false, said: true }
    }

    /// Resume, here or elsewhere.
    pub(crate) fn resume(code: &'static str, detail: impl Into<String>) -> Self {
        Self::new(code, Retry::Resume, detail)
    }

    /// Resume, after that time.
    pub(crate) fn later(code: &'static str, detail: impl Into<String>, after_ms: u64) -> Self {
        Self { after_ms: Some(after_ms), ..Self::resume(code, detail) }
    }

    /// Start anew.
    pub(crate) fn restart(code: &'static str, detail: impl Into<String>) -> Self {
        Self::new(code, Retry::Restart, detail)
    }

    /// Do not come back with this.
    pub(crate) fn never(code: &'static str, detail: impl Into<String>) -> Self {
        Self::new(code, Retry::Never, detail)
    }

    /// The socket is gone, so nothing can be said.
    pub(crate) fn gone() -> Self {
        Self { said: false, ..Self::resume("silent", "the socket is gone") }
    }

    /// The client said good-bye.
    pub(crate) fn good_bye() -> Self {
        Self { over: true, ..Self::restart("session-ended", "good-bye") }
    }

    /// The end that another node's `bye` tells of; `None` for any other frame.
    pub(crate) fn of_frame(frame: ServerFrame) -> Option<Self> {
        let ServerFrame::Bye { code, detail, retry, after_ms } = frame else { return None };
        // A newer node may have words that this one does not know.
        let code = match (crate::runbook::find(&code), retry) {
            (Some(page), _) => page.code,
            (None, Retry::Resume) => "behind",
            (None, Retry::Restart) => "session-ended",
            (None, Retry::Never) => "protocol",
        };
        Some(Self { after_ms, ..Self::new(code, retry, detail) })
    }

    /// As a frame.
    pub(crate) fn frame(&self) -> ServerFrame {
        debug_assert!(crate::runbook::find(self.code).is_some(), "{} has no page", self.code);
        let (code, detail, retry) = (self.code.to_owned(), self.detail.clone(), self.retry);
        ServerFrame::Bye { code, detail, retry, after_ms: self.after_ms }
    }
}
