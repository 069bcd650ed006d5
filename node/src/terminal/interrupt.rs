//! Ctrl-C and a polite end.

/// Waits for an interrupt (Ctrl-C) or a request to end (`SIGTERM`).
pub(crate) async fn interrupted() {
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        if let Ok(mut terminate) = signal(SignalKind::terminate()) {
            tokio::select! {
                _ = tokio::signal::ctrl_c() => {}
                _ = terminate.recv() => {}
            }
            return;
        }
    }
    // Where there is nothing to wait for, the default is to end.
    let _ = tokio::signal::ctrl_c().await;
}
