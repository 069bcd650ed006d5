//! Feeds: what became true, brought to those it concerns.
//!
//! Each data shard of this node has one dispatcher. The shard's machine hands it every batch of
//! events right after writing them to the journal; the dispatcher gives each event to the actors of
//! its audience, so its cost is the audience and not the number of sessions.
//!
//! The hand-over is bounded and may be full. Nothing is lost by that: sequences are dense per site,
//! so the dispatcher sees the hole when the next batch comes (or when it looks, five times a
//! second) and reads what is missing from the journal. The journal is the one source; what is
//! handed over only saves reading it.
//!
//! A session that joins reads the journal from its cursor until it finds nothing more, *after* its
//! actor has taken it in. What was dispatched before then is in the journal; what is dispatched
//! after then comes live; what is both is recognised by its sequence ([`Position`]). So there is
//! neither a hole nor a repeat.

mod board;
mod dispatcher;
mod position;

pub(crate) use board::{Boards, Figures, Latest};
pub(crate) use dispatcher::{FeedEntry, entry, start, viewer_of};
pub(crate) use position::Position;
