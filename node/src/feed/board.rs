//! Figures of sites for wallboards, counted once for all that look.
//!
//! A site is counted while somebody looks, once in [`BOARD_PAUSE_MS`] and not at each event, so
//! that boards cost as much on a busy day as on a quiet one. Agents are counted in pages between
//! which the shard is let go: who applies waits for who reads.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use rotary_proto::board::{BoardAgents, BoardQueue};
use rotary_proto::limits::BOARD_PAUSE_MS;
use rotary_proto::query::{AgentView, Link, QueueView};
use rotary_proto::{Declared, SiteId};
use tokio::sync::watch;

use crate::replica::{Replica, ShardReplica};

/// Agents counted while the shard is held.
const PAGE: usize = 512;

/// A site's figures.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Figures {
    /// The site's last sequence that is counted.
    pub(crate) sequence: u64,
    pub(crate) agents: BoardAgents,
    pub(crate) queues: Vec<BoardQueue>,
}

/// The latest figures, once there are any.
pub(crate) type Latest = watch::Receiver<Option<Arc<Figures>>>;

/// The sites that are being counted on this node.
#[derive(Default)]
pub(crate) struct Boards {
    counted: Mutex<HashMap<SiteId, Latest>>,
}

impl Boards {
    fn counted(&self) -> MutexGuard<'_, HashMap<SiteId, Latest>> {
        self.counted.lock().expect("nothing panics under this lock")
    }

    /// Looks at a site: it is counted for as long as somebody does.
    pub(crate) fn look(self: &Arc<Self>, replica: &Arc<Replica>, site: SiteId) -> Latest {
        match self.counted().entry(site) {
            Entry::Occupied(found) => found.get().clone(),
            Entry::Vacant(place) => {
                let (figures, latest) = watch::channel(None);
                place.insert(latest.clone());
                tokio::spawn(count(self.clone(), replica.clone(), site, figures));
                latest
            }
        }
    }

    /// Forgets a site that nobody looks at; whether it did.
    fn forget(&self, site: SiteId, figures: &watch::Sender<Option<Arc<Figures>>>) -> bool {
        let mut counted = self.counted();
        // One is the table's own.
        let idle = figures.receiver_count() <= 1;
        if idle {
            counted.remove(&site);
        }
        idle
    }
}

async fn count(
    boards: Arc<Boards>,
    replica: Arc<Replica>,
    site: SiteId,
    figures: watch::Sender<Option<Arc<Figures>>>,
) {
    while !boards.forget(site, &figures) {
        if let Some(shard) = replica.shard_of(site)
            && let Some(now) = figures_of(&shard, site).await
        {
            figures.send_replace(Some(Arc::new(now)));
        }
        tokio::time::sleep(Duration::from_millis(BOARD_PAUSE_MS)).await;
    }
}

async fn figures_of(shard: &ShardReplica, site: SiteId) -> Option<Figures> {
    let (sequence, queues) = {
        let shard = shard.read();
        (shard.sequence(site)?, shard.queue_views(site)?)
    };
    let queues = queues.into_iter().map(queue).collect();
    let (mut agents, mut after) = (BoardAgents::default(), None);
    loop {
        let page = shard.read().agent_views(site, after, PAGE)?;
        page.iter().for_each(|view| tally(&mut agents, view));
        after = page.last().map(|view| view.agent);
        if page.len() < PAGE {
            return Some(Figures { sequence, agents, queues });
        }
        tokio::task::yield_now().await;
    }
}

fn queue(view: QueueView) -> BoardQueue {
    BoardQueue {
        queue: view.queue,
        name: view.plan.name,
        self_service: view.self_service,
        waiting: view.waiting,
        oldest_wait_ms: view.oldest_wait_ms,
        offered: view.offered,
        assigned: view.assigned,
        wrap_up: view.wrap_up,
    }
}

/// Counts an agent in one place: what they hold goes before what they declared.
fn tally(agents: &mut BoardAgents, view: &AgentView) {
    let holds = !view.conversations.is_empty();
    let place = match (view.declared, view.link) {
        (Declared::SignedOut, _) if !holds => &mut agents.signed_out,
        (_, Link::None | Link::Lost) => &mut agents.away,
        _ if holds => &mut agents.busy,
        (Declared::Ready, Link::Up) => &mut agents.idle,
        (Declared::NotReady { .. } | Declared::SignedOut, Link::Up) => &mut agents.not_ready,
    };
    *place += 1;
}

#[cfg(test)]
mod tests {
    use rotary_proto::{AgentId, Capacity, ConversationId, ReasonId};

    use super::*;

    #[test]
    fn each_agent_is_counted_once() {
        let not_ready = Declared::NotReady { reason: ReasonId(1) };
        let view = |declared, link, held: usize| AgentView {
            agent: AgentId(1),
            version: 1,
            declared,
            link,
            routable: false,
            capacity: Capacity::default(),
            load: [0; 5],
            conversations: vec![ConversationId::default(); held],
        };
        let mut agents = BoardAgents::default();
        for declared in [Declared::Ready, not_ready, Declared::SignedOut] {
            for link in [Link::None, Link::Up, Link::Lost] {
                for held in [0, 2] {
                    tally(&mut agents, &view(declared, link, held));
                }
            }
        }
        let expected = BoardAgents { idle: 1, busy: 3, not_ready: 1, away: 10, signed_out: 3 };
        assert_eq!(agents, expected);
    }
}
