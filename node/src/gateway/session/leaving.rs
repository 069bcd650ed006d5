//! Sessions that are asked to go elsewhere, one after the other: this node drains, or stops.
//!
//! Each session gets its turn by lot, within a time that grows with how many there are, so that
//! the others do not get all of them at once. In its turn it is told `goaway`, and closed a moment
//! later if it is still here; it resumes elsewhere where it was.

use std::time::Duration;

use rotary_proto::frame::ServerFrame;
use tokio::sync::watch;

use crate::gateway::problem::Problem;
use crate::gateway::session::End;

/// How many sessions are asked to leave a draining node in a second.
const LEAVE_PER_S: f64 = 100.0;
/// How long after `goaway` a session is closed.
const LEAVE_PATIENCE: Duration = Duration::from_secs(2);
/// How long a client that goes is to wait at most before it comes elsewhere. They are spread
/// already, and while it waits it hears nothing.
const RECONNECT_WITHIN: Duration = Duration::from_millis(250);

/// Whether this node wants its sessions to be elsewhere, and within which time they are told.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Wish {
    /// They may stay.
    #[default]
    Stay,
    /// They are to go, and others may not come.
    Drain(Duration),
    /// The same, because the node stops.
    Stop(Duration),
}

/// What a node's sessions are asked.
#[derive(Debug, Default)]
pub(crate) struct Leaving(watch::Sender<Wish>);

impl Leaving {
    /// Has `sessions` leave, or lets those stay that are still here. A node that stops goes on
    /// stopping.
    pub(crate) fn drain(&self, drains: bool, sessions: usize) {
        let over = Duration::from_secs_f64(sessions as f64 / LEAVE_PER_S);
        self.0.send_if_modified(|wish| {
            let before = *wish;
            match (before, drains) {
                (Wish::Stay, true) => *wish = Wish::Drain(over),
                (Wish::Drain(_), false) => *wish = Wish::Stay,
                _ => {}
            }
            *wish != before
        });
    }

    /// Has `sessions` leave because the node stops, within `patience`.
    pub(crate) fn stop(&self, sessions: usize, patience: Duration) {
        let over = Duration::from_secs_f64(sessions as f64 / LEAVE_PER_S);
        self.0.send_replace(Wish::Stop(over.min(patience.saturating_sub(LEAVE_PATIENCE))));
    }

    /// Why sessions are to be elsewhere, if they are.
    pub(crate) fn reason(&self) -> Option<&'static str> {
        match *self.0.borrow() {
            Wish::Stay => None,
            Wish::Drain(_) => Some("this node drains"),
            Wish::Stop(_) => Some("this node is stopping"),
        }
    }

    /// Why no session can begin here.
    pub(crate) fn refusal(&self) -> Option<Problem> {
        let why = self.reason()?;
        Some(Problem::unavailable(format!("{why}; use another")))
    }

    /// Waits for a session's turn to leave, has it told, and gives it a moment to go by itself.
    pub(crate) async fn turn(&self, say: impl AsyncFnOnce(ServerFrame)) -> End {
        let end = self.is_due(rand::random()).await;
        let reconnect_within_ms = RECONNECT_WITHIN.as_millis() as u64;
        say(ServerFrame::Goaway { reason: end.code.to_owned(), reconnect_within_ms }).await;
        tokio::time::sleep(LEAVE_PATIENCE).await;
        end
    }

    /// Waits until it is the turn of the session that drew that lot, from 0 to 1, and says how
    /// it is to end.
    async fn is_due(&self, lot: f64) -> End {
        let mut wish = self.0.subscribe();
        loop {
            let now = *wish.borrow_and_update();
            let (over, end) = match now {
                Wish::Stay => {
                    // This node's sessions end before what is asked of them does.
                    let _ = wish.changed().await;
                    continue;
                }
                Wish::Drain(over) => {
                    (over, End::resume("draining", "this node drains; resume elsewhere"))
                }
                Wish::Stop(over) => {
                    (over, End::resume("stopping", "this node is stopping; resume elsewhere"))
                }
            };
            tokio::select! {
                biased;
                _ = wish.changed() => {}
                () = tokio::time::sleep(over.mul_f64(lot)) => return end,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;

    use super::*;

    fn wish(leaving: &Leaving) -> Wish {
        *leaving.0.borrow()
    }

    #[test]
    fn many_sessions_take_longer_than_few_unless_the_node_stops() {
        let (leaving, seconds) = (Leaving::default(), Duration::from_secs);
        assert!(leaving.refusal().is_none());
        leaving.drain(true, 1_000);
        assert_eq!(wish(&leaving), Wish::Drain(seconds(10)));
        assert_eq!(leaving.reason(), Some("this node drains"));
        leaving.drain(false, 1_000);
        assert_eq!((wish(&leaving), leaving.reason()), (Wish::Stay, None));
        leaving.stop(100, seconds(4));
        assert_eq!(wish(&leaving), Wish::Stop(seconds(1)));
        leaving.stop(100_000, seconds(4));
        assert_eq!(wish(&leaving), Wish::Stop(seconds(2)), "time to go by themselves is left");
        for drains in [true, false] {
            leaving.drain(drains, 0);
            assert_eq!(
                leaving.reason(),
                Some("this node is stopping"),
                "nothing keeps it from that"
            );
        }
    }

    #[tokio::test]
    async fn each_session_has_its_turn() {
        let leaving = Leaving::default();
        let (mut first, mut last) = (Box::pin(leaving.is_due(0.0)), Box::pin(leaving.is_due(1.0)));
        assert!((&mut first).now_or_never().is_none(), "it may stay");
        leaving.drain(true, 1_000_000_000);
        assert_eq!(first.await.code, "draining");
        assert!((&mut last).now_or_never().is_none(), "it is not its turn yet");
        leaving.drain(false, 0);
        assert!((&mut last).now_or_never().is_none(), "it may stay after all");
        leaving.stop(0, LEAVE_PATIENCE);
        assert_eq!(last.await.code, "stopping");
    }
}
