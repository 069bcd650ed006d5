//! What a transport counts.

use std::sync::atomic::{AtomicU64, Ordering};

/// Counters since the transport was started.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct TransportStats {
    /// Frames written, requests and answers.
    pub frames_sent: u64,
    /// Writes that carried them; fewer than frames where they were coalesced.
    pub writes: u64,
    /// Bytes written.
    pub bytes_sent: u64,
    /// Frames read.
    pub frames_received: u64,
    /// Connections made by this node.
    pub connects: u64,
    /// Attempts to connect that failed.
    pub connect_failures: u64,
    /// Connections of others that were refused after the handshake, for who they are.
    pub refused: u64,
    /// Handlers that panicked.
    pub handler_panics: u64,
}

#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) frames_sent: AtomicU64,
    pub(crate) writes: AtomicU64,
    pub(crate) bytes_sent: AtomicU64,
    pub(crate) frames_received: AtomicU64,
    pub(crate) connects: AtomicU64,
    pub(crate) connect_failures: AtomicU64,
    pub(crate) refused: AtomicU64,
    pub(crate) handler_panics: AtomicU64,
}

impl Counters {
    pub(crate) fn read(&self) -> TransportStats {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        TransportStats {
            frames_sent: read(&self.frames_sent),
            writes: read(&self.writes),
            bytes_sent: read(&self.bytes_sent),
            frames_received: read(&self.frames_received),
            connects: read(&self.connects),
            connect_failures: read(&self.connect_failures),
            refused: read(&self.refused),
            handler_panics: read(&self.handler_panics),
        }
    }
}

/// Adds to a counter.
pub(crate) fn count(counter: &AtomicU64, amount: u64) {
    counter.fetch_add(amount, Ordering::Relaxed);
}
