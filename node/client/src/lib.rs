//! The client library of Rotary.
//!
//! Everything here goes through the public doors: HTTP for requests ([`Api`]) and a WebSocket for
//! sessions ([`Session`]). Load generators, the command line and chaos harnesses use it, so it is
//! written for a world in which any gateway may die at any instant:
//!
//! * A request that changes something has a key. Whatever happens to the socket, it is sent again
//!   under the same key, to any gateway, until its outcome is known or its deadline is over. The
//!   three classes of the end are kept apart: acknowledged, refused, *unknown* ([`Outcome`]).
//! * A session outlives its sockets. It resumes on another gateway with its cursors and its dense
//!   number, sends unanswered commands again under their numbers, and refuses what it has seen.
//! * A hole or a repetition in a stream is never smoothed over: it is a [`StreamFault`], and the
//!   session ends with it.
//!
//! ```text
//!   caller --command--> Window --numbered--> driver --frame--> gateway
//!   caller <--notice--- Stream <--checked--- driver <--frame-- gateway
//! ```
//!
//! `session/stream.rs` and `session/window.rs` are pure: frames in, notices and answers out.
//! `session/driver.rs` owns the socket.
//!
//! Deliberately absent: no knowledge of placement or leaders (any gateway will do), no caching, no
//! authorities that are believed without being named ([`Trust`]).

pub mod api;
pub mod backoff;
pub mod gateway;
pub mod http;
pub mod network;
mod retry;
pub mod session;
pub mod trust;
mod written;

pub use api::{Acknowledged, Api, ApiError, Outcome, Patience, Refused};
pub use backoff::Backoff;
pub use gateway::{Gateway, GatewayError};
pub use hyper::Method;
pub use network::Network;
pub use session::{
    CommandError, Commander, End, Notice, Over, Session, SessionConfig, SessionError, StreamFault,
};
pub use trust::{Trust, TrustError};

/// A new unique number in the form of UUIDv7: for keys, items, conversations and customers. Its
/// time is the clock's, also where that has jumped back; numbers of one millisecond have no order.
pub fn unique() -> u128 {
    uuid::Uuid::new_v7(uuid::Timestamp::now(uuid::NoContext)).as_u128()
}
