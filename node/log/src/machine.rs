//! What a shard replicates for.

use rotary_proto::{Stamp, Wall};

/// A deterministic state machine. Two replicas that apply the same entries must reach the same
/// state and give the same answers.
///
/// It starts empty and is given every entry of the shard's log from the first one on, again after
/// each restart. It runs on Raft's own tasks: it must not block, and what it wants written it hands
/// to somebody who writes.
pub trait Machine: Send + 'static {
    /// Applies one committed entry; returns the answer for the proposer. Stamps are strictly
    /// rising: what the leader wrote has been raised to just above the last applied one if need
    /// be. A panic here ends the process.
    fn apply(&mut self, index: u64, stamp: Stamp, wall: Wall, payload: &[u8]) -> Vec<u8>;

    /// Everything up to that index has been applied, entries of Raft's own included. Called after
    /// each run of entries, and before their proposers get their answers.
    fn applied(&mut self, through: u64) {
        let _ = through;
    }

    /// When the machine next needs a tick, in shard time; a time that has passed asks for one at
    /// once.
    fn next_deadline(&self) -> Option<Stamp>;

    /// The payload of a tick.
    fn tick(&self) -> Vec<u8>;

    /// The stamp of the last applied entry, [`Stamp::ZERO`] before the first.
    fn last_stamp(&self) -> Stamp;
}
