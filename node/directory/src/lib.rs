//! The directory: who exists, and where it lives.
//!
//! Shard 0 of every cluster runs this machine instead of a distributor. It knows the nodes and
//! which of them keep replicas of which shard, the tenants, each tenant's sites, the data shard
//! that each site lives in, API keys and users, and the counter from which principals (the holders
//! of credentials) get their numbers. Everything that routing reads lives in the site's own shard;
//! what is here is read at the doors.
//!
//! Like the distributor it is pure: [`Directory::apply`] is the only change, it is told the time,
//! and the same entries give the same state, answers and events on every replica. The rules:
//!
//! * A cluster is *founded* once, with a number of data shards and the core nodes that keep their
//!   replicas. Until then no site can be made.
//! * A node is known from its announcement on; one that keeps no replica can be forgotten.
//! * A core node is *admitted*, perhaps instead of another, and *released*; its number is never
//!   used again. Somebody always has a vote. Votes are *spread* over zones when somebody says so.
//! * An *upgrade* is finalised when every node known can apply the next version of the logic; the
//!   directory then raises its own, and from there on nothing is taken back.
//! * A site is placed when it is made: on the shard that was named, or else on the data shard with
//!   the fewest sites, the lowest id among equals. It does not move.
//! * Numbers are given densely from 1, and never twice.
//! * A new node's folder waits, sealed, under a join token, for the one machine that takes it.
//! * A revoked API key stays so; one that is forgotten to make room counts as revoked.
//! * What people ask is recorded with what it came to, and from where they asked; the newest
//!   records are kept.
//! * A retried request (same principal, same key) gets its first answer for ten minutes of shard
//!   time; a key too old to know is refused, never executed again.
//!
//! A snapshot (`snapshot`) is the state as it was after one entry, written out while applying goes
//! on; a directory restored from it goes on as if it had applied every entry itself.
//!
//! What is deliberately absent: secrets and passwords, movement of sites, whether a node lives, who
//! votes (each shard's own log says so, and follows what is wanted here), any clock.

mod audit;
mod command;
mod credentials;
mod drain;
#[cfg(test)]
mod golden_tests;
mod joins;
mod members;
mod moves;
mod nodes;
mod shards;
mod snapshot;
mod spread;
mod state;
mod upgrade;
mod window;

pub use audit::{AUDIT_DONE_MAX, AUDIT_REFUSED_MAX, Asked, AuditRecord, AuditTarget};
pub use command::{
    DirectoryAnswer, DirectoryCommand, DirectoryDone, DirectoryEntry, DirectoryEvent,
    DirectoryOutcome, DirectoryRefusal,
};
pub use credentials::{ApiKey, Credential, Grant, User};
pub use joins::{JoinToken, Taken};
pub use members::Seats;
pub use moves::SiteMoving;
pub use nodes::{Announced, NodeKind};
pub use rotary_proto::LogicVersions;
pub use shards::Founding;
pub use snapshot::{Frozen, Restore, RestoreError};
pub use spread::{Spread, ZoneVotes};
pub use state::{Applied, Directory, SiteRow, TenantRow};
pub use upgrade::Upgrade;

/// The principal of the first administrator, whose token is made with the cluster.
pub const FIRST_PRINCIPAL: rotary_proto::PrincipalId = rotary_proto::PrincipalId(1);
