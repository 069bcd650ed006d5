//! Panics anywhere in the process: none is expected, and a task that swallows one hides a bug.

use std::sync::{Mutex, MutexGuard, Once};

static SEEN: Mutex<Vec<String>> = Mutex::new(Vec::new());
static HOOK: Once = Once::new();

fn seen() -> MutexGuard<'static, Vec<String>> {
    SEEN.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// Notes every panic from here on instead of printing it.
pub(crate) fn watch() {
    HOOK.call_once(|| {
        std::panic::set_hook(Box::new(|panic| {
            // Captured if RUST_BACKTRACE asks for it.
            let trace = std::backtrace::Backtrace::capture();
            let traced = trace.status() == std::backtrace::BacktraceStatus::Captured;
            let trace = if traced { format!("\n{trace}") } else { String::new() };
            seen().push(format!("{panic}{trace}"));
        }));
    });
    seen().clear();
}

/// What panicked since the last call.
pub(crate) fn take() -> Vec<String> {
    std::mem::take(&mut seen())
}
