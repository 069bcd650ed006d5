//! A bounded way to an actor: ractor's own mailboxes have no bound.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use ractor::{ActorCell, ActorRef};
use rotary_proto::limits::MAILBOX_MAX;

/// Why a message was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SendError {
    /// Too many messages wait already.
    Full,
    /// The actor has stopped.
    Stopped,
}

/// An actor's address, with a count of what waits there.
pub(crate) struct Mailbox<M: Send + 'static> {
    actor: ActorRef<Counted<M>>,
    waiting: Arc<AtomicUsize>,
}

impl<M: Send + 'static> Clone for Mailbox<M> {
    fn clone(&self) -> Self {
        Self { actor: self.actor.clone(), waiting: self.waiting.clone() }
    }
}

/// A message that is counted until it has been dealt with.
pub(crate) struct Counted<M> {
    pub(crate) message: M,
    _place: Place,
}

struct Place(Arc<AtomicUsize>);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

impl<M: Send + 'static> Mailbox<M> {
    /// The way to an actor that was just spawned.
    pub(crate) fn new(actor: ActorRef<Counted<M>>) -> Self {
        Self { actor, waiting: Arc::default() }
    }

    /// Sends, unless too much waits there already.
    pub(crate) fn send(&self, message: M) -> Result<(), SendError> {
        let waiting = self.waiting.fetch_add(1, Ordering::AcqRel);
        let place = Place(self.waiting.clone());
        if waiting >= MAILBOX_MAX {
            return Err(SendError::Full);
        }
        let counted = Counted { message, _place: place };
        self.actor.send_message(counted).map_err(|_| SendError::Stopped)
    }

    /// The actor itself.
    pub(crate) fn cell(&self) -> ActorCell {
        self.actor.get_cell()
    }
}

#[cfg(test)]
mod tests {
    use ractor::{Actor, ActorProcessingErr};
    use tokio::sync::Semaphore;

    use super::*;

    struct Gate;

    impl Actor for Gate {
        type Msg = Counted<()>;
        type State = Arc<Semaphore>;
        type Arguments = Arc<Semaphore>;

        async fn pre_start(
            &self,
            _: ActorRef<Self::Msg>,
            gate: Arc<Semaphore>,
        ) -> Result<Arc<Semaphore>, ActorProcessingErr> {
            Ok(gate)
        }

        async fn handle(
            &self,
            _: ActorRef<Self::Msg>,
            _message: Self::Msg,
            gate: &mut Arc<Semaphore>,
        ) -> Result<(), ActorProcessingErr> {
            gate.acquire().await?.forget();
            Ok(())
        }
    }

    #[tokio::test]
    async fn a_full_mailbox_refuses_and_takes_again_once_it_has_room() {
        let gate = Arc::new(Semaphore::new(0));
        let (actor, handle) = Actor::spawn(None, Gate, gate.clone()).await.expect("it starts");
        let mailbox = Mailbox::new(actor);
        for _ in 0..MAILBOX_MAX {
            assert_eq!(mailbox.send(()), Ok(()));
        }
        assert_eq!(mailbox.send(()), Err(SendError::Full));
        gate.add_permits(MAILBOX_MAX);
        while mailbox.waiting.load(Ordering::Acquire) > 0 {
            tokio::task::yield_now().await;
        }
        assert_eq!(mailbox.send(()), Ok(()));
        gate.add_permits(1);
        mailbox.cell().stop(None);
        handle.await.expect("it ends");
        assert_eq!(mailbox.send(()), Err(SendError::Stopped));
    }
}
