//! The sessions whose sockets are on this node, and the leases that keep them alive.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use rotary_proto::limits::{LEASE_MS, LEASE_RENEWAL_MS, SESSIONS_PER_GATEWAY_MAX};
use rotary_proto::outcome::Answer;
use rotary_proto::{SessionId, ShardCommand, SiteId};
use tokio::sync::{Mutex as AsyncMutex, OwnedMutexGuard};

use crate::feed::Boards;
use crate::gateway::doors::Doors;
use crate::gateway::session::leaving::Leaving;
use crate::gateway::session::pulse::{Beat, Pulse};

/// The sockets of this node, by session.
pub(crate) struct Sessions {
    open: Mutex<Open>,
    sockets: AtomicU64,
    /// Whether they are to be elsewhere.
    pub(crate) leaving: Leaving,
    /// What boards look at.
    pub(crate) boards: Arc<Boards>,
}

#[derive(Default)]
struct Open {
    sessions: HashMap<SessionId, Entry>,
    per_site: BTreeMap<SiteId, u64>,
}

struct Entry {
    /// The socket that serves the session.
    socket: u64,
    /// Held while the log is told about the session.
    order: Arc<AsyncMutex<()>>,
    sites: Vec<SiteId>,
    pulse: Arc<Pulse>,
}

/// A socket that serves a session, until another one takes the session over.
pub(crate) struct Served {
    pub(crate) session: SessionId,
    pub(crate) socket: u64,
    pub(crate) pulse: Arc<Pulse>,
}

impl Sessions {
    /// No sessions.
    pub(crate) fn new() -> Self {
        let (open, boards) = (Mutex::default(), Arc::default());
        Self { open, sockets: AtomicU64::new(0), leaving: Leaving::default(), boards }
    }

    fn open(&self) -> MutexGuard<'_, Open> {
        self.open.lock().expect("nothing panics under this lock")
    }

    /// Whether there is room for another socket.
    pub(crate) fn has_room(&self) -> bool {
        self.open().sessions.len() < SESSIONS_PER_GATEWAY_MAX
    }

    /// How many sessions have their socket here.
    pub(crate) fn count(&self) -> usize {
        self.open().sessions.len()
    }

    /// Makes a new socket the one that serves a session. It asks for the [`Sessions::last_word`]
    /// before it tells the log anything.
    pub(crate) fn take(&self, session: SessionId, sites: Vec<SiteId>) -> Served {
        let socket = self.sockets.fetch_add(1, Ordering::Relaxed);
        let mut open = self.open();
        let before = open.sessions.remove(&session);
        if let Some(before) = &before {
            open.count_out(&before.sites);
        }
        let order = before.map_or_else(Arc::default, |before| before.order);
        for site in &sites {
            *open.per_site.entry(*site).or_default() += 1;
        }
        let pulse = Arc::<Pulse>::default();
        open.sessions.insert(session, Entry { socket, order, sites, pulse: pulse.clone() });
        Served { session, socket, pulse }
    }

    /// The right to tell the log about a session, for as long as the guard is held; `None` if
    /// another socket of this node serves the session by now.
    pub(crate) async fn last_word(&self, served: &Served) -> Option<OwnedMutexGuard<()>> {
        let order = {
            let open = self.open();
            let entry = open.sessions.get(&served.session)?;
            (entry.socket == served.socket).then(|| entry.order.clone())?
        };
        let guard = order.lock_owned().await;
        let still = |entry: &Entry| entry.socket == served.socket;
        self.open().sessions.get(&served.session).is_some_and(still).then_some(guard)
    }

    /// Forgets a session, if that socket still serves it.
    pub(crate) fn release(&self, served: &Served) {
        let mut open = self.open();
        let ours = open.sessions.get(&served.session).is_some_and(|e| e.socket == served.socket);
        if ours && let Some(entry) = open.sessions.remove(&served.session) {
            open.count_out(&entry.sites);
        }
    }

    /// Tells every session that the node stops, and waits until they are gone or `patience` ends.
    pub(crate) async fn stop(&self, patience: Duration) {
        self.leaving.stop(self.count(), patience);
        let deadline = tokio::time::Instant::now() + patience;
        while self.count() > 0 && tokio::time::Instant::now() < deadline {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Whether a session has its socket here, or had it until the log knows otherwise.
    pub(crate) fn has(&self, session: SessionId) -> bool {
        self.open().sessions.contains_key(&session)
    }

    /// A session's client was heard, on whatever node. `None` if the session has no connection
    /// here.
    pub(crate) fn hear(&self, session: SessionId) -> Option<Beat> {
        Some(self.open().sessions.get(&session)?.pulse.beat())
    }

    /// The sites that its sessions read.
    fn sites(&self) -> Vec<SiteId> {
        self.open().per_site.keys().copied().collect()
    }
}

impl Open {
    fn count_out(&mut self, sites: &[SiteId]) {
        for site in sites {
            if let Some(count) = self.per_site.get_mut(site) {
                *count -= 1;
                if *count == 0 {
                    self.per_site.remove(site);
                }
            }
        }
    }
}

/// Renews this gateway's lease in every shard where it has sessions, for as long as the node runs.
/// A renewal that takes long does not delay those of other shards.
pub(crate) fn start_leases(doors: Doors) {
    tokio::spawn(async move {
        let mut renewal = tokio::time::interval(Duration::from_millis(LEASE_RENEWAL_MS));
        renewal.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            renewal.tick().await;
            let sites = doors.sessions.sites().into_iter();
            let shards = sites.filter_map(|site| Some(doors.replica.shard_of(site)?.id));
            for shard in shards.collect::<BTreeSet<_>>() {
                let doors = doors.clone();
                tokio::spawn(async move {
                    let command = ShardCommand::RenewLease { gateway: doors.gateway };
                    let patience = Duration::from_millis(LEASE_MS);
                    let renewed = doors.propose::<_, Answer>(shard, &command, patience).await;
                    if let Err(error) = renewed {
                        tracing::debug!(%shard, %error, "the lease was not renewed");
                    }
                });
            }
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    const SESSION: SessionId = SessionId(1);
    const SITE: SiteId = SiteId::new(1, 1);

    #[tokio::test]
    async fn the_latest_socket_has_the_last_word() {
        let sessions = Sessions::new();
        let first = sessions.take(SESSION, vec![SITE]);
        let second = sessions.take(SESSION, vec![SITE]);
        assert!(sessions.last_word(&first).await.is_none());
        sessions.release(&first);
        assert_eq!((sessions.count(), sessions.sites()), (1, vec![SITE]));
        assert!(sessions.last_word(&second).await.is_some());
        sessions.release(&second);
        assert_eq!((sessions.count(), sessions.sites()), (0, vec![]));
    }

    #[tokio::test]
    async fn a_socket_that_is_taken_over_while_it_waits_stays_silent() {
        let sessions = Arc::new(Sessions::new());
        let first = Arc::new(sessions.take(SESSION, Vec::new()));
        let order = sessions.last_word(&first).await.expect("nobody else is there");
        let waiting = tokio::spawn({
            let (sessions, first) = (sessions.clone(), first.clone());
            async move { sessions.last_word(&first).await.is_some() }
        });
        tokio::task::yield_now().await;
        let second = sessions.take(SESSION, Vec::new());
        drop(order);
        assert!(!waiting.await.expect("it ends"));
        assert!(sessions.last_word(&second).await.is_some());
    }
}
