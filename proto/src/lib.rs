//! The vocabulary of Rotary.
//!
//! Everything that two parts of Rotary say to each other, or that one part writes down for later,
//! is a type of this crate: ids, shard time, commands, events, refusals, session frames, the
//! envelope between nodes, and the one codec that turns them into bytes. There is no behaviour
//! here beyond parsing and checking a value against its bounds.
//!
//! The life of a contact, in these words:
//!
//! * A customer's *conversation* is opened in a *site* by a [`Command::Open`]. It waits in a
//!   *queue* and is *offered* to an *agent*, with a deadline. Accepted, the offer becomes an
//!   *assignment*; after the conversation comes *wrap-up*, with a *disposition*.
//! * A command is an intent. It is put in one durable order per *shard*, and applied there under a
//!   [`Stamp`] (shard time). Applying it gives an [`Outcome`] and [`Event`]s: facts.
//! * A deterministic no is a [`Refusal`]; it is an outcome like any other and is replicated. What
//!   went wrong in the world (a disk, a socket) is an error and never enters the log.
//! * Every event has a dense sequence within its site and an [`Audience`]: who may see it. A
//!   [`Cursor`] is a place in that sequence.
//!
//! What is deliberately absent: no clock, no socket, no file, no async, no state.

pub mod attachment;
pub mod board;
pub mod bot;
pub mod codec;
pub mod command;
pub mod effect;
pub mod event;
pub mod frame;
pub mod ids;
pub mod join;
pub mod limits;
pub mod logic;
pub mod mail;
pub mod outcome;
pub mod plan;
pub mod planted;
pub mod query;
pub mod refusal;
#[cfg(feature = "schema")]
mod schema;
pub mod snapshot;
pub mod stamp;
pub mod values;
pub mod web;
pub mod wire;

pub use attachment::{Attachment, BlobId, MediaType};
pub use command::{Actor, Command, Envelope, Origin, ShardCommand, SiteMove, SitePart};
pub use event::{Audience, Cursor, Decision, Event, EventRecord};
pub use ids::*;
pub use join::{JoinText, JoinTextError};
pub use logic::{FIRST_LOGIC, LogicVersions, UnfitBuild};
pub use mail::{MailAddress, MailParty};
pub use outcome::{Done, Outcome, Position};
pub use plan::{AgentProfile, Capacity, Declared, QueuePlan, Requirement, SiteSettings, Strategy};
pub use refusal::Refusal;
pub use stamp::{Stamp, Wall};
pub use values::{Attributes, Body, Channel, Name, Priority, Sealed};
pub use web::{Secret, WebUrl};
