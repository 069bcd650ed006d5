//! Work that blocks: on threads for it, or in place where a simulation runs a node on one thread.

use tokio::task::JoinError;

/// Does `work` where it delays nobody, and waits for it.
///
/// # Errors
/// If it panicked, or the runtime ends.
pub(crate) async fn run<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, JoinError> {
    #[cfg(feature = "simulated")]
    if crate::simulated::is_on() {
        tokio::task::yield_now().await;
        return Ok(work());
    }
    tokio::task::spawn_blocking(work).await
}
