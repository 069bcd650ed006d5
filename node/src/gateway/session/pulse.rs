//! Signs of life of a session's client, and how far its connection has come.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::sync::Notify;

use crate::gateway::session::End;

/// What other requests of a session may ask of its connection, and tell it.
#[derive(Debug, Default)]
pub(crate) struct Pulse {
    /// The dense number of the last event that was sent.
    seq: AtomicU64,
    /// Whether the log knows of the connection.
    told: AtomicBool,
    heard: Notify,
}

impl Pulse {
    /// The connection begins after that number.
    pub(super) fn start(&self, seq: u64) {
        self.seq.store(seq, Ordering::Release);
    }

    /// The number of the last event.
    pub(super) fn seq(&self) -> u64 {
        self.seq.load(Ordering::Acquire)
    }

    /// Numbers the next event.
    pub(super) fn next_seq(&self) -> u64 {
        self.seq.fetch_add(1, Ordering::AcqRel) + 1
    }

    /// The last number was not used after all.
    pub(super) fn take_seq_back(&self) {
        self.seq.fetch_sub(1, Ordering::AcqRel);
    }

    /// The log knows of the connection, everywhere.
    pub(super) fn is_told(&self) {
        self.told.store(true, Ordering::Release);
    }

    /// The connection is gone, and the log is about to know.
    pub(super) fn is_gone(&self) {
        self.told.store(false, Ordering::Release);
    }

    /// The client was heard, on whatever node.
    pub(super) fn beat(&self) -> Beat {
        self.heard.notify_one();
        Beat { seq: self.seq(), told: self.told.load(Ordering::Acquire) }
    }

    /// Waits until the client was not heard for that long.
    pub(super) async fn silence(&self, patience: Duration) -> End {
        while tokio::time::timeout(patience, self.heard.notified()).await.is_ok() {}
        End::resume("silent", format!("nothing was heard for {} ms", patience.as_millis()))
    }
}

/// How a session's connection is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Beat {
    /// The number of the last event that was sent.
    pub(crate) seq: u64,
    /// Whether the log knows of the connection.
    pub(crate) told: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn silence_begins_when_the_client_was_heard_last() {
        let (pulse, patience) = (Pulse::default(), Duration::from_millis(40));
        pulse.start(7);
        let mut silent = Box::pin(pulse.silence(patience));
        assert!(futures::poll!(&mut silent).is_pending());
        // Whatever it finds when it looks again, it finds that the client was heard.
        tokio::time::sleep(patience).await;
        let heard = tokio::time::Instant::now();
        assert_eq!(pulse.beat(), Beat { seq: 7, told: false });
        pulse.is_told();
        assert!(pulse.beat().told);
        pulse.is_gone();
        assert!(!pulse.beat().told);
        assert_eq!(silent.await.code, "silent");
        assert!(heard.elapsed() >= patience);
    }

    #[test]
    fn numbers_are_dense() {
        let pulse = Pulse::default();
        pulse.start(7);
        assert_eq!((pulse.next_seq(), pulse.next_seq(), pulse.seq()), (8, 9, 9));
        pulse.take_seq_back();
        assert_eq!(pulse.next_seq(), 9);
    }
}
