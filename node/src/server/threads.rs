//! The threads that Raft and the transport have to themselves.
//!
//! Each runs a tokio runtime of one thread, which spares its tasks waking each other across
//! threads, and keeps heartbeats going however busy the doors are. The transport lives on the
//! first, shards on all of them in turn.

use std::io;
use std::thread::JoinHandle;

use tokio::runtime::{Builder, Handle};
use tokio::sync::watch;

/// Running threads; they end when this is dropped.
pub(crate) struct SpineThreads {
    handles: Vec<Handle>,
    ending: watch::Sender<bool>,
    threads: Vec<JoinHandle<()>>,
}

impl SpineThreads {
    /// Starts that many.
    ///
    /// # Errors
    /// What the operating system says.
    pub(crate) fn start(count: usize) -> io::Result<Self> {
        let (ending, ended) = watch::channel(false);
        let (mut handles, mut threads) = (Vec::new(), Vec::new());
        for number in 0..count.max(1) {
            let runtime = Builder::new_current_thread().enable_all().build()?;
            handles.push(runtime.handle().clone());
            let mut ended = ended.clone();
            let thread = std::thread::Builder::new().name(format!("spine-{number}"));
            threads.push(thread.spawn(move || {
                // An error is an end as well.
                let _ = runtime.block_on(ended.wait_for(|ended| *ended));
                runtime.shutdown_background();
            })?);
        }
        Ok(Self { handles, ending, threads })
    }

    /// The runtimes.
    pub(crate) fn handles(&self) -> &[Handle] {
        &self.handles
    }
}

impl Drop for SpineThreads {
    fn drop(&mut self) {
        self.ending.send_replace(true);
        for thread in self.threads.drain(..) {
            if thread.join().is_err() {
                tracing::error!(code = "thread-panicked", "a thread of the log had panicked");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tasks_run_until_the_threads_are_dropped() {
        let threads = SpineThreads::start(2).expect("threads");
        let name = || std::thread::current().name().map(str::to_owned);
        let tasks: Vec<_> =
            threads.handles().iter().map(|handle| handle.spawn(async move { name() })).collect();
        let runtime = Builder::new_current_thread().build().expect("a runtime");
        let names = runtime.block_on(futures::future::join_all(tasks));
        let names: Vec<_> = names.into_iter().map(|name| name.expect("it ran")).collect();
        assert_eq!(names, [Some("spine-0".to_owned()), Some("spine-1".to_owned())]);
        let endless = threads.handles()[0].spawn(std::future::pending::<()>());
        drop(threads);
        assert!(runtime.block_on(endless).is_err(), "it ended with its thread");
    }
}
