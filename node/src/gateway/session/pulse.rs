//! Signs of life of a session's client, and how far its connection has come.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::Notify;

use crate::gateway::session::End;

/// What other requests of a session may ask of its connection, and tell it.
#[derive(Debug, Default)]
pub(crate) struct Pulse {
    /// The dense number of the last event that was sent.
    seq: AtomicU64,
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

    /// The client was heard, on whatever node. Gives the number of the last event.
    pub(super) fn beat(&self) -> u64 {
        self.heard.notify_one();
        self.seq()
    }

    /// Waits until the client was not heard for that long.
    pub(super) async fn silence(&self, patience: Duration) -> End {
        while tokio::time::timeout(patience, self.heard.notified()).await.is_ok() {}
        End::resume("silent", format!("nothing was heard for {} ms", patience.as_millis()))
    }
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
        assert_eq!(pulse.beat(), 7);
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
