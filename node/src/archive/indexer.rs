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
        let seen = closing.clone();
        let thread = std::thread::Builder::new().name("archive".to_owned());
        let thread = thread.spawn(move || run(&replica, &fatal, &seen))?;
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

fn run(replica: &Replica, fatal: &Fatal, closing: &AtomicBool) {
    background::step_back();
    let shards: Vec<ShardId> = replica.shards().map(|shard| shard.id).collect();
    for shard in &shards {
        if let Err(error) = replica.journal().scrub(shard.0) {
            return fatal.end(EXIT_STORAGE, &format!("journal of {shard}: {error}"));
        }
    }
    let mut steps = 0_u64;
    while !closing.load(Ordering::Relaxed) {
        let mut behind = false;
        for shard in &shards {
            let keys = NotingKeys(replica.named());
            let step = replica.lookup().catch_up(replica.journal(), shard.0, &keys, STEP_RECORDS);
            match step {
                Ok(progress) if progress.is_done() => {}
                Ok(progress) => {
                    behind = true;
                    if steps.is_multiple_of(STEPS_PER_LINE) {
                        let (through, last) = (progress.through, progress.last);
                        tracing::info!(%shard, through, last, "the archive is being indexed");
                    }
                }
                Err(LookupError::Journal(error @ JournalError::Damaged { .. })) => {
                    return fatal.end(EXIT_STORAGE, &format!("journal of {shard}: {error}"));
                }
                Err(error) => {
                    tracing::error!(
                        code = "archive-failed",
                        %shard, %error,
                        "the archive cannot be indexed"
                    );
                }
            }
        }
        steps += u64::from(behind);
        if !behind {
            steps = 0;
        }
        std::thread::park_timeout(if behind { BREATH } else { REST });
    }
    if let Err(error) = replica.lookup().persist() {
        tracing::warn!(%error, "the lookup was not made durable; some is indexed again");
    }
}
