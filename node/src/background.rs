//! Work that everything else goes before: indexes that are derived and can be made again.
//!
//! On Linux a niceness is a thread's own, and threads that it starts inherit it. What is derived
//! then takes the processor's time that is left over, and about a tenth where none is.

/// How far background work steps back; 19 is the most.
const NICENESS: i32 = 10;

/// Puts the calling thread, and all that it starts from now on, behind the others. Where that is
/// not allowed everything goes on as it was.
pub(crate) fn step_back() {
    if let Err(error) = rustix::process::nice(NICENESS) {
        tracing::debug!(%error, "background work has the priority of everything else");
    }
}

/// Does something on a thread that has stepped back, and waits for it: the threads that are
/// started by it are in the background.
pub(crate) fn begun_behind<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    let stepped = || {
        step_back();
        work()
    };
    std::thread::scope(|scope| {
        let done = scope.spawn(stepped).join();
        done.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn niceness() -> i32 {
        rustix::process::getpriority_process(None).expect("one's own is readable")
    }

    #[test]
    fn threads_of_a_thread_that_stepped_back_are_behind_and_no_others() {
        let before = niceness();
        let inherited = begun_behind(|| std::thread::spawn(niceness).join().expect("it ends"));
        assert_eq!(inherited, (before + NICENESS).min(19));
        assert_eq!(niceness(), before);
    }
}
