//! The thread that keeps the lookup near the journal's end.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use rotary_proto::ShardId;
use rotary_storage::{EXIT_STORAGE, Fatal, JournalError, LookupError};

use crate::background;
use crate::blobs::NotingKeys;
use crate::replica::Replica;

/// Records that are indexed at a time: readers wait for no more.
const STEP_RECORDS: usize = 2_048;
/// How long it rests between steps while it is far behind, to leave the disk to others.
const BREATH: Duration = Duration::from_millis(1);
/// How long it rests when it has caught up. A reader does not wait for it.
const REST: Duration = Duration::from_millis(100);
/// Steps between two lines that say how far it is.
const STEPS_PER_LINE: u64 = 100;

/// Keeps the lookup near the journal's end until it is dropped.
pub(crate) struct Indexer {
    closing: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Indexer {
    /// Starts it. First it reads all of the journal's closed segments once, so that damage that
    /// came while the node was down is found before anybody needs what it hit.
    ///
    /// # Errors
    /// If no thread can be had.
    pub(crate) fn start(replica: Arc<Replica>, fatal: Fatal) -> std::io::Result<Self> {
        let closing = Arc::new(AtomicBool::new(false));
        let work = Work { replica, fatal, steps: 0 };
        #[cfg(feature = "simulated")]
        if crate::simulated::is_on() {
            tokio::spawn(work.run_here());
            return Ok(Self { closing, thread: None });
        }
        let seen = closing.clone();
        let thread = std::thread::Builder::new().name("archive".to_owned());
        let thread = thread.spawn(move || work.run(&seen))?;
        Ok(Self { closing, thread: Some(thread) })
    }
}

impl Drop for Indexer {
    fn drop(&mut self) {
        self.closing.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            if thread.join().is_err() {
                tracing::error!(code = "thread-panicked", "the archive's thread had panicked");
            }
        }
    }
}

/// What the thread does.
struct Work {
    replica: Arc<Replica>,
    fatal: Fatal,
    steps: u64,
}

impl Work {
    fn run(mut self, closing: &AtomicBool) {
        background::step_back();
        if !self.scrub() {
            return;
        }
        while !closing.load(Ordering::Relaxed) {
            let Some(rest) = self.step() else { return };
            std::thread::park_timeout(rest);
        }
        if let Err(error) = self.replica.lookup().persist() {
            tracing::warn!(%error, "the lookup was not made durable; some is indexed again");
        }
    }

    /// The same on the runtime's only thread, until the runtime ends.
    #[cfg(feature = "simulated")]
    async fn run_here(mut self) {
        if !self.scrub() {
            return;
        }
        while let Some(rest) = self.step() {
            tokio::time::sleep(rest).await;
        }
    }

    fn shards(&self) -> Vec<ShardId> {
        self.replica.shard_ids()
    }

    /// Whether the journal's closed segments are as they were written.
    fn scrub(&self) -> bool {
        for shard in self.shards() {
            if let Err(error) = self.replica.journal().scrub(shard.0) {
                self.fatal.end(EXIT_STORAGE, &format!("journal of {shard}: {error}"));
                return false;
            }
        }
        true
    }

    /// Indexes some of every shard; how long to rest then, if it can go on.
    fn step(&mut self) -> Option<Duration> {
        let mut behind = false;
        for shard in self.shards() {
            behind |= self.index(shard)?;
        }
        self.steps = if behind { self.steps + 1 } else { 0 };
        Some(if behind { BREATH } else { REST })
    }

    /// Indexes some of a shard; whether there is more, if it can go on.
    fn index(&self, shard: ShardId) -> Option<bool> {
        let replica = &self.replica;
        let keys = NotingKeys(replica);
        let step = replica.lookup().catch_up(replica.journal(), shard.0, &keys, STEP_RECORDS);
        match step {
            Ok(progress) if progress.is_done() => Some(false),
            Ok(progress) => {
                if self.steps.is_multiple_of(STEPS_PER_LINE) {
                    let (through, last) = (progress.through, progress.last);
                    tracing::info!(%shard, through, last, "the archive is being indexed");
                }
                Some(true)
            }
            Err(LookupError::Journal(error @ JournalError::Damaged { .. })) => {
                self.fatal.end(EXIT_STORAGE, &format!("journal of {shard}: {error}"));
                None
            }
            Err(error) => {
                tracing::error!(
                    code = "archive-failed",
                    %shard, %error,
                    "the archive cannot be indexed"
                );
                Some(false)
            }
        }
    }
}
