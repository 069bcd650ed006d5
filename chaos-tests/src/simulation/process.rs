//! A process of the world: a runtime of its own, whose clock stands until the world moves it.
//! Dropping it is a crash: no task gets to do anything more.

use std::time::Duration;

use tokio::runtime::{Builder, RngSeed, Runtime};
use tokio::time::Instant;

use crate::simulation::ambient;
use crate::simulation::history::Ms;

/// A process.
pub(crate) struct Process {
    /// Where its tasks live.
    pub(crate) runtime: Runtime,
    base: Instant,
    started_ms: Ms,
    /// It is not given the processor before that time.
    paused_until: Ms,
}

impl Process {
    /// A process that starts at that time, while its wall clock says `wall_ms`.
    pub(crate) fn start(seed: u64, now_ms: Ms, wall_ms: u64) -> Self {
        let runtime = Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .rng_seed(RngSeed::from_bytes(&seed.to_le_bytes()))
            .build()
            .expect("a runtime without a network needs nothing");
        ambient::set(now_ms, wall_ms);
        let base = runtime.block_on(async { Instant::now() });
        Self { runtime, base, started_ms: now_ms, paused_until: 0 }
    }

    /// Whether it gets the processor at that time.
    pub(crate) fn may_run(&self, now_ms: Ms) -> bool {
        now_ms >= self.paused_until
    }

    /// Lets it run until that time, when its wall clock says `wall_ms`.
    pub(crate) fn run_to(&mut self, now_ms: Ms, wall_ms: u64) {
        let target = self.base + Duration::from_millis(now_ms - self.started_ms);
        let late = std::mem::take(&mut self.paused_until) > 0;
        ambient::set(now_ms, wall_ms);
        self.runtime.block_on(async {
            if late {
                // Whatever became due meanwhile is due at once, as after a process was stopped.
                tokio::time::advance(target - Instant::now()).await;
            }
            tokio::time::sleep_until(target).await;
        });
    }

    /// Keeps it from running until that time, or no longer than it is late already.
    pub(crate) fn pause_until(&mut self, ms: Ms) {
        self.paused_until = if ms == 0 { self.paused_until.min(1) } else { ms };
    }

    /// Whether it is kept from running, or has not run since.
    pub(crate) fn is_paused(&self) -> bool {
        self.paused_until > 0
    }
}
