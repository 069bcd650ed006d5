//! The brain of Rotary: decides who serves whom.
//!
//! A pure, deterministic state machine. [`Shard::apply`] takes one entry of a shard's log (a
//! command, its stamp of shard time, its index) and gives an answer and events. It is told the
//! time and never asks for it; it has no randomness, no floating point, no input or output, and
//! walks only ordered collections, so the same entries give the same bytes on every replica.
//!
//! **A conversation's life.** It is opened and takes a place in the line of its queue. It is
//! offered to an agent, keeping its place; the offer is accepted and becomes an assignment, or is
//! declined, runs out or is taken back, and the conversation is offered again. The customer's part
//! ends; the agent wraps up; the conversation closes and leaves a tombstone, so that a late retry
//! cannot open it again. Every stage has a deadline (`conversation`, `expiry`), so nothing needs a
//! loop that looks for what is stuck.
//!
//! **An agent** can be offered something if three separate facts hold: they declared themselves
//! ready, a session of theirs lives, and they have room: for one call, or for a mix of the other
//! channels (`agent`, `presence`). When the last session is lost, offers stop at once and
//! conversations go back after a grace, to the place they came from.
//!
//! **Matching** (`class`, `matching`) works on requirement classes. An agent is only ever offered
//! the first item in line of all that may be offered to them (`offerable` is the one definition);
//! among several free agents the queue's strategy chooses, and every offer records why.
//!
//! **Exactly once** (`window`): a retried command gets its first answer, or is refused as too old.
//!
//! **What is recorded** (`marks`): the replicas log how far their journals are on disk; what only
//! guards against retries is kept until a quorum's are far enough.
//!
//! **Bounded work** (`turn`, `site`): one entry does a bounded number of steps. What is left over
//! is due at once: [`Shard::next_deadline`] is then the present stamp.
//!
//! **Snapshots** (`snapshot`): the state as it was after one entry, written out while applying goes
//! on, and a shard made from it that goes on as if it had applied every entry itself.
//!
//! **Sites move** (`moves`, `shard/moving`): in steps that are entries of the two shards' logs; a
//! site has a clock of its own, so that its deadlines mean the same in the other shard.
//!
//! What is left out on purpose: words and names (only ids and counts are hot; words are in the
//! journal), wall time (an annotation), sockets and sessions' positions (actors hold them), and
//! any effect on the world.

mod agent;
mod apply;
mod authority;
mod bot;
mod class;
mod commands;
mod conversation;
mod digest;
mod effects;
mod expiry;
pub mod invariants;
mod life;
mod line;
mod marks;
mod matching;
mod moves;
mod offerable;
mod page;
mod presence;
mod queries;
mod queue;
mod session;
mod shard;
mod site;
mod snapshot;
mod table;
mod turn;
mod window;

/// The versions of the logic that this build can apply. A shard is raised from one to the next by
/// an entry of its log, once every node can apply that.
pub const LOGIC_VERSIONS: LogicVersions = LogicVersions { oldest: FIRST_LOGIC, newest: 1 };

/// A version that only builds for harnesses have, to rehearse upgrades with. From it on, what a new
/// site calls an agent who did not answer is `no answer`; nothing else differs.
pub const REHEARSED_LOGIC: u32 = LOGIC_VERSIONS.newest + 1;

use rotary_proto::{FIRST_LOGIC, LogicVersions};

pub use moves::{Assembled, Assembly};
pub use offerable::Obstacle;
pub use queries::Leaving;
pub use shard::{Applied, Forgotten, Shard};
pub use snapshot::{Frozen, Restore, RestoreError};
pub use turn::Counters;
