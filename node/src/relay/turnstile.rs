//! Where sessions that come back pass one after another.
//!
//! When a gateway dies, all of its sessions come to the others at once. Served all at a time, each
//! would take as long as all of them together, longer than its client waits; the client would come
//! again, and none would ever get through. So a few are served at a time, some wait for that, and
//! whoever finds the line too long is told to come again, which costs next to nothing.

use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::{Semaphore, SemaphorePermit};

use crate::gateway::session::End;

/// Sessions that are brought back at a time: what keeps the cores of a machine busy.
const AT_ONCE: usize = 64;
/// Sessions that may wait for that. They pass within about a second on two cores.
const LINE_MAX: usize = 1_024;

/// The turnstile of a gateway-only node.
pub(super) struct Turnstile {
    places: Semaphore,
    waiting: AtomicUsize,
}

impl Default for Turnstile {
    fn default() -> Self {
        Self { places: Semaphore::new(AT_ONCE), waiting: AtomicUsize::new(0) }
    }
}

/// One who waits, for as long as this lives.
struct Waiting<'a>(&'a AtomicUsize);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Turnstile {
    /// A place to be brought back in, once there is one.
    ///
    /// # Errors
    /// The good-bye for whoever finds the line too long.
    pub(super) async fn enter(&self) -> Result<SemaphorePermit<'_>, End> {
        if let Ok(place) = self.places.try_acquire() {
            return Ok(place);
        }
        let before = self.waiting.fetch_add(1, Ordering::Relaxed);
        let _waiting = Waiting(&self.waiting);
        if before >= LINE_MAX {
            let detail = "too many sessions return to this gateway at once; resume again";
            return Err(End::resume("behind", detail));
        }
        Ok(self.stay().await)
    }

    /// The same for who is in already, and waits however long the line is.
    pub(super) async fn stay(&self) -> SemaphorePermit<'_> {
        self.places.acquire().await.expect("nobody closes it")
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;

    use super::*;

    #[tokio::test]
    async fn a_few_pass_at_a_time_and_the_line_has_an_end() {
        let turnstile = Turnstile::default();
        let mut places = Vec::new();
        for _ in 0..AT_ONCE {
            places.push(turnstile.enter().now_or_never().expect("there is room").expect("a place"));
        }
        let mut line: Vec<_> = (0..LINE_MAX).map(|_| Box::pin(turnstile.enter())).collect();
        for waits in &mut line {
            assert!(waits.now_or_never().is_none());
        }
        assert!(turnstile.enter().now_or_never().is_some_and(|refused| refused.is_err()));
        drop(line.pop());
        assert!(turnstile.enter().now_or_never().is_none(), "there is room in the line again");
        drop(places.pop());
        assert!(line[0].as_mut().now_or_never().is_some_and(|passed| passed.is_ok()));
    }
}
