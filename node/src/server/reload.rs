//! What a running node takes up without a restart: the log level, on SIGHUP, and its certificates,
//! for clients and for other nodes, whenever they are written.
//!
//! On SIGHUP the configuration is read again from where it was read at the start. Keys that changed
//! and cannot be taken up are named, each with what it needs. A configuration that a node would not
//! start with changes nothing.

use std::path::PathBuf;
use std::time::Duration;

use serde_json::Value;
use tokio::time::MissedTickBehavior;

use crate::config::{Config, flat};
use crate::server::peer_tls::{self, PeerTls};
use crate::server::public_tls::PublicTls;
use crate::telemetry::LogLevel;

/// How often the certificates' files are looked at.
const LOOK: Duration = Duration::from_secs(5);
/// The key that is taken up from a configuration that is read again.
const TAKEN_UP: &str = "telemetry.log_level";

/// Where a configuration was read from.
#[derive(Debug, Clone)]
pub(crate) struct Origin {
    /// The file.
    pub(crate) file: PathBuf,
    /// Flags over it: `section.key=value`.
    pub(crate) set: Vec<String>,
}

/// What may change while a node runs.
pub(super) struct Reload {
    pub(super) origin: Option<Origin>,
    pub(super) config: Config,
    pub(super) level: LogLevel,
    pub(super) tls: Option<PublicTls>,
    pub(super) peers: PeerTls,
}

impl Reload {
    /// Takes up what changes, until the runtime ends.
    pub(super) async fn keep(mut self) {
        let mut look = tokio::time::interval(LOOK);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut hangup = Hangup::listen();
        loop {
            tokio::select! {
                () = hangup.next() => {
                    self.read_again();
                    self.look_at_certificates(true).await;
                }
                _ = look.tick() => self.look_at_certificates(false).await,
            }
        }
    }

    async fn look_at_certificates(&mut self, asked: bool) {
        match self.tls.as_ref().map(PublicTls::look_again) {
            Some(Ok(true)) => tracing::info!("clients are shown the new certificate"),
            Some(Err(error)) => tracing::warn!(
                code = "certificate-refused",
                %error,
                "the new certificate is not used; the one before is shown"
            ),
            Some(Ok(false)) | None => {}
        }
        peer_tls::measure("clients", self.tls.as_ref().and_then(PublicTls::ends_s));
        self.peers.look(asked).await;
    }

    fn read_again(&mut self) {
        let Some(origin) = &self.origin else { return };
        let config = match Config::load(&origin.file, &origin.set) {
            Ok(config) => config,
            Err(error) => {
                tracing::warn!(%error, "the configuration is not taken up");
                return;
            }
        };
        for key in changed(&self.config, &config) {
            if key != TAKEN_UP {
                tracing::warn!(key, "needs a restart");
                continue;
            }
            let level = config.telemetry.log_level.clone();
            match self.level.set(&level) {
                Ok(()) => {
                    tracing::info!(key, value = level, "taken up");
                    self.config.telemetry.log_level = level;
                }
                Err(error) => tracing::warn!(key, error, "not taken up"),
            }
        }
    }
}

/// The keys in which two configurations differ.
pub(crate) fn changed(one: &Config, other: &Config) -> Vec<String> {
    let whole = |config: &Config| -> Value {
        serde_json::to_value(config).expect("a configuration is plain data")
    };
    let (one, other) = (whole(one), whole(other));
    let differ = flat(&one).into_iter().zip(flat(&other)).filter(|(one, other)| one != other);
    differ.map(|((key, _), _)| key).collect()
}

/// SIGHUP, where there is such a thing.
struct Hangup {
    #[cfg(unix)]
    signal: Option<tokio::signal::unix::Signal>,
}

impl Hangup {
    #[cfg(unix)]
    fn listen() -> Self {
        use tokio::signal::unix::{SignalKind, signal};
        Self { signal: signal(SignalKind::hangup()).ok() }
    }

    #[cfg(not(unix))]
    fn listen() -> Self {
        Self {}
    }

    async fn next(&mut self) {
        #[cfg(unix)]
        if let Some(signal) = &mut self.signal
            && signal.recv().await.is_some()
        {
            return;
        }
        std::future::pending().await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_differs_is_named_by_key() {
        let one = Config::default();
        assert_eq!(changed(&one, &one), Vec::<String>::new());
        let mut other = one.clone();
        other.log.threads = 7;
        other.telemetry.log_level = "debug".to_owned();
        assert_eq!(changed(&one, &other), ["log.threads", "telemetry.log_level"]);
    }
}
