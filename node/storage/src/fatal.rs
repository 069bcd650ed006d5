//! How a process ends when it can no longer keep its promises.

use std::fmt;
use std::sync::Arc;

/// Exit code of a process whose disk failed under a write.
pub const EXIT_STORAGE: i32 = 74;
/// Exit code of a process in which log, storage or a state machine panicked.
pub const EXIT_PANIC: i32 = 70;

/// Exit code of a process one of whose replicas differs from a majority.
pub const EXIT_DIVERGED: i32 = 65;
/// Exit code of a process whose build cannot apply what the cluster acts by.
pub const EXIT_BUILD: i32 = 76;

/// Ends the process with a code and a reason. Tests put something else in its place.
///
/// Callers must not rely on it not returning: after it does, they answer with errors.
#[derive(Clone)]
pub struct Fatal(Arc<Hook>);

type Hook = dyn Fn(i32, &str) + Send + Sync;

impl Fatal {
    /// Prints the reason to standard error and exits with the code, without running destructors.
    pub fn exit() -> Self {
        Self::with(|code, reason| {
            eprintln!("rotary: fatal (exit code {code}): {reason}");
            std::process::exit(code)
        })
    }

    /// Calls `hook` instead of ending the process.
    pub fn with(hook: impl Fn(i32, &str) + Send + Sync + 'static) -> Self {
        Self(Arc::new(hook))
    }

    /// Ends the process, or calls the hook.
    pub fn end(&self, code: i32, reason: &str) {
        tracing::error!(code = "fatal", exit_code = code, reason, "the process ends");
        (self.0)(code, reason);
    }

    /// A guard that ends the process if the thread unwinds while it is held.
    pub fn on_panic(&self, place: impl Into<String>) -> PanicGuard {
        PanicGuard { fatal: self.clone(), place: place.into() }
    }
}

impl Default for Fatal {
    fn default() -> Self {
        Self::exit()
    }
}

impl fmt::Debug for Fatal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Fatal")
    }
}

/// See [`Fatal::on_panic`].
#[derive(Debug)]
pub struct PanicGuard {
    fatal: Fatal,
    place: String,
}

impl Drop for PanicGuard {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.fatal.end(EXIT_PANIC, &format!("panic in {}", self.place));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    #[test]
    fn a_panic_under_the_guard_is_reported_with_its_place() {
        let seen = Arc::new(Mutex::new(Vec::new()));
        let sink = seen.clone();
        let fatal = Fatal::with(move |code, reason| {
            sink.lock().expect("not poisoned").push((code, reason.to_owned()));
        });
        drop(fatal.on_panic("nothing"));
        let guarded = fatal.on_panic("the test");
        let outcome = std::thread::spawn(move || {
            let _guarded = guarded;
            panic!("expected by the test");
        });
        assert!(outcome.join().is_err());
        let seen = seen.lock().expect("not poisoned");
        assert_eq!(*seen, [(EXIT_PANIC, "panic in the test".to_owned())]);
    }
}
