//! The threads that Raft and the transport have to themselves.
//!
//! Each runs a tokio runtime of one thread, which spares its tasks waking each other across
//! threads, and keeps heartbeats going however busy the doors are. The transport lives on the
//! first, shards on all of them in turn. They may each be bound to a core of its own, which pays
//! where a node has its cores to itself and costs where it shares them.

use std::io;
use std::thread::JoinHandle;

use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use tokio::runtime::{Builder, Handle};
use tokio::sync::watch;

/// Running threads; they end when this is dropped.
pub(crate) struct SpineThreads {
    handles: Vec<Handle>,
    ending: watch::Sender<bool>,
    threads: Vec<JoinHandle<()>>,
}

impl SpineThreads {
    /// Starts that many, each on one of the cores that this process may use if they are `pinned`.
    ///
    /// # Errors
    /// What the operating system says.
    pub(crate) fn start(count: usize, pinned: bool) -> io::Result<Self> {
        let cores = if pinned { cores()? } else { Vec::new() };
        let (ending, ended) = watch::channel(false);
        let (mut handles, mut threads) = (Vec::new(), Vec::new());
        for number in 0..count.max(1) {
            let runtime = Builder::new_current_thread().enable_all().build()?;
            handles.push(runtime.handle().clone());
            let mut ended = ended.clone();
            let core = (!cores.is_empty()).then(|| cores[number % cores.len()]);
            let (bound, told) = std::sync::mpsc::sync_channel(1);
            let thread = std::thread::Builder::new().name(format!("spine-{number}"));
            threads.push(thread.spawn(move || {
                // Whoever started this waits for the word.
                let _ = bound.send(core.map_or(Ok(()), bind));
                // An error is an end as well.
                let _ = runtime.block_on(ended.wait_for(|ended| *ended));
                runtime.shutdown_background();
            })?);
            told.recv().map_err(io::Error::other)??;
        }
        Ok(Self { handles, ending, threads })
    }

    /// The runtimes.
    pub(crate) fn handles(&self) -> &[Handle] {
        &self.handles
    }
}

/// The cores that this process may use.
fn cores() -> io::Result<Vec<usize>> {
    let allowed = sched_getaffinity(None)?;
    Ok((0..CpuSet::MAX_CPU).filter(|core| allowed.is_set(*core)).collect())
}

/// Binds the thread that runs this to a core.
fn bind(core: usize) -> io::Result<()> {
    let mut only = CpuSet::new();
    only.set(core);
    Ok(sched_setaffinity(None, &only)?)
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
        let threads = SpineThreads::start(2, false).expect("threads");
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

    #[test]
    fn pinned_threads_take_the_cores_in_turn() {
        let may = cores().expect("known");
        let threads = SpineThreads::start(may.len() + 1, true).expect("threads");
        let here = async || cores().expect("known");
        let tasks: Vec<_> = threads.handles().iter().map(|on| on.spawn(here())).collect();
        let runtime = Builder::new_current_thread().build().expect("a runtime");
        let found = runtime.block_on(futures::future::join_all(tasks)).into_iter();
        let found: Vec<Vec<usize>> = found.map(|cores| cores.expect("it ran")).collect();
        let wanted = may.iter().chain(&may[..1]).map(|core| vec![*core]);
        assert_eq!(found, wanted.collect::<Vec<_>>());
        assert_eq!(cores().expect("known"), may, "who started them is free");
    }
}
