//! What a day looked like, per half hour: the figures that a contact centre is judged by.
//!
//! Pure: from [`Moment`]s to a [`Report`], whose `Display` is a table and whose
//! [`Report::picture`] is an SVG. Whoever has a day to show (a replayed load, a simulated day)
//! turns it into moments.
//!
//! The formulas, all by the half hour of a contact's *arrival*, so that a row's figures belong to
//! the same people (short abandons count as offered):
//!
//! * offered: contacts that arrived; answered: of these, those that reached an agent; abandoned:
//!   those whose customer left, or was sent away, before that.
//! * service level = answered within X / offered.
//! * ASA (average speed of answer) = mean wait of the answered.
//! * AHT (average handle time) = mean of answer to the end of wrap-up, over all assignments.
//! * occupancy = agents' handling time / staffed time, both within the half hour. Time with two
//!   chats at once counts once.
//! * max waiting: the most that waited at once during the half hour.

mod figures;
pub(crate) mod picture;
mod source;
mod table;

pub(crate) use figures::{Figures, Report};
pub(crate) use source::from_feeds;

use rotary_proto::Channel;

/// Something that happened to a contact or an agent.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Moment {
    /// When, in seconds since midnight.
    pub time_s: f64,
    /// What.
    pub kind: Kind,
    /// Which contact; 0 where none is concerned.
    pub conversation: u128,
    /// Which agent; 0 where none is concerned.
    pub agent: u64,
    /// How the contact travels.
    pub channel: Channel,
}

/// What happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A contact arrived and waits.
    Arrived,
    /// An agent took it.
    Answered,
    /// It went back into the line.
    Returned,
    /// Its customer's part ended.
    Ended,
    /// The agent has finished with it.
    Finished,
    /// An agent is there.
    Staffed,
    /// An agent is gone.
    Unstaffed,
}
