//! One reader per shard, which gives each event to the actors of its audience.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use metrics::counter;
use rotary_proto::command::Subject;
use rotary_proto::event::Viewer;
use rotary_proto::limits::FEED_HEARTBEAT_MS;
use rotary_proto::{Event, EventRecord, SiteId};
use tokio::sync::mpsc;

use crate::actor::Registry;
use crate::replica::stays::last_stay_in;
use crate::replica::{Replica, ShardReplica};
use crate::telemetry::names;

/// Batches on their way from a machine to its dispatcher.
const BATCHES_MAX: usize = 4_096;
/// Events read at once to fill a hole.
const PAGE: usize = 512;

/// Where a machine hands over what became true.
#[derive(Clone)]
pub(crate) struct FeedEntry(mpsc::Sender<Vec<EventRecord>>);

impl FeedEntry {
    /// Hands events over. If there is no room they are left to be read from the journal.
    pub(crate) fn hand_over(&self, events: Vec<EventRecord>) {
        // Full: the hole is seen by the next batch's sequences. Closed: the node is stopping.
        let _ = self.0.try_send(events);
    }
}

/// The far end of a [`FeedEntry`].
pub(crate) struct FeedSource(mpsc::Receiver<Vec<EventRecord>>);

/// Both ends of a hand-over.
pub(crate) fn entry() -> (FeedEntry, FeedSource) {
    let (sender, receiver) = mpsc::channel(BATCHES_MAX);
    (FeedEntry(sender), FeedSource(receiver))
}

/// Starts the dispatcher of a shard; it ends with its machine.
pub(crate) fn start(
    replica: Arc<Replica>,
    shard: Arc<ShardReplica>,
    registry: Arc<Registry>,
    source: FeedSource,
) -> tokio::task::JoinHandle<()> {
    let dispatcher = Dispatcher { replica, shard, registry, passed: BTreeMap::new() };
    tokio::spawn(dispatcher.run(source.0))
}

struct Dispatcher {
    replica: Arc<Replica>,
    shard: Arc<ShardReplica>,
    registry: Arc<Registry>,
    /// The last sequence dispatched in each site.
    passed: BTreeMap<SiteId, u64>,
}

impl Dispatcher {
    async fn run(mut self, mut source: mpsc::Receiver<Vec<EventRecord>>) {
        let mut look = tokio::time::interval(Duration::from_millis(FEED_HEARTBEAT_MS));
        look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                biased;
                batch = source.recv() => match batch {
                    Some(batch) => self.take(batch).await,
                    None => return,
                },
                _ = look.tick() => self.look_for_holes().await,
            }
        }
    }

    async fn take(&mut self, batch: Vec<EventRecord>) {
        for record in batch {
            let passed = self.passed(record.site);
            if record.sequence > passed + 1 {
                self.fill(record.site, record.sequence - 1).await;
            }
            self.dispatch(record);
        }
    }

    /// Finds sites whose journal is ahead of what was dispatched while nothing comes any more.
    async fn look_for_holes(&mut self) {
        let sites: BTreeSet<SiteId> = {
            let shard = self.shard.read();
            self.passed.retain(|site, _| shard.knows(*site));
            shard.sites().collect()
        };
        for site in sites {
            let last = self.replica.last_sequence_in(self.shard.id, site);
            if last > self.passed(site) {
                self.fill(site, last).await;
            }
        }
    }

    /// Dispatches, from the journal, everything of a site up to `through`.
    async fn fill(&mut self, site: SiteId, through: u64) {
        loop {
            let after = self.passed(site);
            if after >= through {
                return;
            }
            if !self.registry.serves(site) {
                self.passed.insert(site, through);
                return;
            }
            counter!(names::FEED_GAPS, "shard" => self.shard.id.to_string()).increment(1);
            let replica = self.replica.clone();
            let read = crate::blocking::run(move || replica.events(site, after, PAGE)).await;
            match read.map_err(|error| error.to_string()).and_then(|r| r.map_err(|e| e.to_string()))
            {
                Ok(events) if events.is_empty() => return,
                Ok(events) => events.into_iter().for_each(|record| self.dispatch(record)),
                Err(error) => {
                    tracing::error!(
                        code = "journal-unreadable",
                        %site, %error,
                        "the journal cannot be read; feeds are closed"
                    );
                    self.registry.close_site(site);
                    self.passed.insert(site, through);
                    return;
                }
            }
        }
    }

    /// The last sequence of a site that was dispatched, or came before it lived here.
    fn passed(&self, site: SiteId) -> u64 {
        let before = || last_stay_in(&self.shard.read(), site).first - 1;
        self.passed.get(&site).copied().unwrap_or_else(before)
    }

    fn dispatch(&mut self, record: EventRecord) {
        if record.sequence <= self.passed(record.site) {
            return;
        }
        self.passed.insert(record.site, record.sequence);
        if !self.registry.serves(record.site) {
            return;
        }
        let record = Arc::new(record);
        if matches!(record.event, Event::SiteMoved { .. }) {
            // What came before may be on its way still: whoever reads, reads it from the journal.
            return self.registry.deliver_to_all(record.site, &record);
        }
        for viewer in concerned(&record) {
            self.registry.deliver(record.site, viewer, &record);
        }
    }
}

/// Whose actors an event goes to: its audience, and whose session it is about.
fn concerned(record: &EventRecord) -> Vec<Viewer> {
    let audience = &record.audience;
    let mut viewers = vec![Viewer::Supervisor];
    viewers.extend(audience.agents.iter().map(|agent| Viewer::Agent(*agent)));
    viewers.extend(audience.customer.map(Viewer::Customer));
    let subject = match &record.event {
        Event::SessionAttached { subject, .. }
        | Event::SessionLost { subject, .. }
        | Event::SessionEnded { subject, .. } => Some(*subject),
        _ => None,
    };
    viewers.extend(subject.map(viewer_of));
    viewers.sort_unstable();
    viewers.dedup();
    viewers
}

/// As whom a subject reads.
pub(crate) fn viewer_of(subject: Subject) -> Viewer {
    match subject {
        Subject::Agent(agent) => Viewer::Agent(agent),
        Subject::Customer(customer) => Viewer::Customer(customer),
        Subject::Principal(_) => Viewer::Supervisor,
    }
}

#[cfg(test)]
#[path = "dispatcher_tests.rs"]
mod tests;
