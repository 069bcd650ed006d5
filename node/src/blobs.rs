//! Blobs: content of attachments, which is too large for the log.
//!
//! An upload is written to this node's disk and to those of as many other replicas as make a
//! majority, and only then acknowledged. Only after that may a command name it, and before it is
//! proposed it is made sure once more that a majority has it ([`Blobs::require`]). What a record
//! names and a replica lacks, it fetches from the others ([`keeper`]); what no record names is
//! removed after a while, and what retention drops the names of goes with them.
//!
//! What is deliberately absent: any state of the cluster's about blobs. Who names what is in the
//! journal, who has what is on the disks; both are looked at, and nothing else can differ from
//! them.

mod allowance;
mod exchange;
pub(crate) mod keeper;
mod named;
mod naming;
mod places;
mod scrub;

pub(crate) use allowance::{Allowances, Holder, Spent};
pub(crate) use exchange::SERVICE_BLOB;
pub(crate) use named::{Named, NotingKeys};

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use metrics::{counter, gauge};
use rotary_proto::{BlobId, NodeId, SiteId, TenantId};
use rotary_storage::{BlobError, BlobName, BlobReader, BlobUse, BlobWriter, Blobs as Store};
use rotary_transport::Transport;
use tokio::sync::{Semaphore, mpsc};

use crate::blobs::allowance::Rules;
use crate::blobs::exchange::{Errand, Kept, Lacking};
use crate::blobs::naming::Naming;
use crate::blobs::places::{Place, Places};
use crate::config;
use crate::gateway::token::unix_ms;
use crate::nodes::roster::Roster;
use crate::telemetry::names;

/// Uploads that this node takes at once. Tenants share them.
const UPLOADS_MAX: usize = 64;
/// Blobs that this node fetches from others at once: so many that others ask it to keep, and so
/// many that it needs itself.
const FETCHES_MAX: usize = 8;
/// Blobs of which this node remembers that a majority has them.
const KNOWN_MAX: usize = 4_096;
/// What others may take to keep a small blob.
const PATIENCE: Duration = Duration::from_secs(10);
/// And so much more for each of its bytes: a mebibyte in two seconds.
const BYTES_PER_MS: u64 = 512;

/// Why a blob cannot be had, or cannot be kept.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Lack {
    /// No replica has it.
    #[error("{0} is not in this site: upload it first, and name it within the time it is kept for")]
    Unknown(BlobId),
    /// It has another size than was said.
    #[error("attachments: {blob} has {found} bytes, not {said}")]
    OtherSize {
        /// Which.
        blob: BlobId,
        /// How many it has.
        found: u64,
        /// How many were said.
        said: u64,
    },
    /// There is no room for it.
    #[error("{0}")]
    Full(String),
    /// As many blobs of the tenant are being made sure of as its share allows.
    #[error("too many files of this tenant are being looked for at once")]
    Busy,
    /// Too few replicas answer.
    #[error("{0}")]
    Unreachable(String),
}

/// The blobs of this node, and the way to those of the others.
pub(crate) struct Blobs {
    store: Arc<Store>,
    transport: Arc<Transport>,
    roster: Arc<Roster>,
    voters: VotersOf,
    rules: config::Blobs,
    allowances: Arc<Allowances>,
    uploads: Arc<Places>,
    kept: Semaphore,
    fetches: Semaphore,
    naming: Naming,
    /// Blobs that a majority had at that time, with their sizes.
    known: Mutex<BTreeMap<BlobName, (u64, Instant)>>,
    missing: Mutex<keeper::Missing>,
    /// Something is missing that is not noted: everything is to be looked at.
    look_again: AtomicBool,
}

/// Says who votes in a site's shard at the moment.
pub(crate) type VotersOf = Box<dyn Fn(SiteId) -> BTreeSet<NodeId> + Send + Sync>;

/// How a blob is called where it is stored.
fn stored(site: SiteId, blob: BlobId) -> BlobName {
    BlobName { scope: site.key(), digest: blob.0 }
}

impl Blobs {
    /// The blobs in that store, shared with those core nodes; `voters` says whose copies count for
    /// a site's.
    pub(crate) fn new(
        store: Store,
        transport: Arc<Transport>,
        roster: Arc<Roster>,
        voters: VotersOf,
        rules: config::Blobs,
    ) -> Arc<Self> {
        let allowances = Allowances::new(Rules {
            uploads_per_minute_max: rules.uploads_per_minute_max,
            unnamed_bytes_max: rules.unnamed_bytes_max,
            site_unnamed_bytes_max: rules.site_unnamed_bytes_max,
            unnamed_keep: rules.unnamed_keep(),
        });
        Arc::new(Self {
            store: Arc::new(store),
            transport,
            roster,
            voters,
            rules,
            allowances: Arc::new(allowances),
            uploads: Places::new(UPLOADS_MAX),
            kept: Semaphore::new(FETCHES_MAX),
            fetches: Semaphore::new(FETCHES_MAX),
            naming: Naming::default(),
            known: Mutex::default(),
            missing: Mutex::default(),
            look_again: AtomicBool::new(false),
        })
    }

    /// Those that are on this node's disk.
    pub(crate) fn store(&self) -> &Arc<Store> {
        &self.store
    }

    /// The most bytes that an upload may have.
    pub(crate) fn upload_bytes_max(&self) -> u64 {
        self.rules.upload_bytes_max
    }

    /// What credentials and sites may bring.
    pub(crate) fn allowances(&self) -> &Arc<Allowances> {
        &self.allowances
    }

    /// A place for a tenant among the uploads of this node, if its share leaves one.
    pub(crate) fn take_place(&self, tenant: TenantId) -> Option<Place> {
        self.uploads.take(tenant)
    }

    /// Begins to take a new blob of a site.
    ///
    /// # Errors
    /// `Full`, `Unreachable` for a disk that fails.
    pub(crate) async fn begin(&self, site: SiteId, expected: u64) -> Result<BlobWriter, Lack> {
        let store = self.store.clone();
        let begin = move || store.begin(site.key(), BlobUse::New, expected);
        on_disk(begin).await
    }

    /// Makes a new blob durable here, and on as many other replicas as make a majority.
    ///
    /// # Errors
    /// `Full`, `Unreachable`; then it may be on some disks, and is removed there like any other
    /// that no item names.
    pub(crate) async fn complete(
        self: &Arc<Self>,
        site: SiteId,
        writer: BlobWriter,
    ) -> Result<(BlobId, u64), Lack> {
        let finish = move || writer.finish(None, unix_ms());
        let (name, bytes) = on_disk(finish).await?;
        let blob = BlobId(name.digest);
        self.spread(site, blob, bytes).await?;
        Ok((blob, bytes))
    }

    /// A blob to read, fetched from another replica if this one lacks it or has it damaged.
    ///
    /// # Errors
    /// [`Lack`].
    pub(crate) async fn open(
        self: &Arc<Self>,
        site: SiteId,
        blob: BlobId,
    ) -> Result<BlobReader, Lack> {
        for _ in 0..3 {
            let store = self.store.clone();
            let found = on_disk(move || store.find(stored(site, blob))).await?;
            if let Some(reader) = found {
                return Ok(reader);
            }
            self.obtain(site, blob, BlobUse::Promised, Errand::Read).await?;
        }
        Err(Lack::Unreachable(format!("{blob} cannot be read here at present")))
    }

    /// Looks whether a part of a blob is whole, and gets it anew if it is not.
    ///
    /// # Errors
    /// [`Lack`].
    pub(crate) async fn open_checked(
        self: &Arc<Self>,
        site: SiteId,
        blob: BlobId,
        part: impl FnOnce(u64) -> (u64, u64),
    ) -> Result<BlobReader, Lack> {
        let reader = self.open(site, blob).await?;
        let (from, to) = part(reader.bytes());
        let (store, checked) = (self.store.clone(), reader.clone());
        let check = move || match checked.check(from, to) {
            Err(BlobError::Damaged { .. }) => {
                store.set_aside_damaged(stored(site, blob)).map(|_| false)
            }
            other => other.map(|()| true),
        };
        if on_disk(check).await? {
            return Ok(reader);
        }
        self.found_damaged(site, blob);
        self.open(site, blob).await
    }

    /// Has a blob here, from this disk or from another replica, touched; gives its size.
    async fn obtain(
        self: &Arc<Self>,
        site: SiteId,
        blob: BlobId,
        why: BlobUse,
        errand: Errand,
    ) -> Result<u64, Lack> {
        if let Some(bytes) = self.touch(site, blob).await? {
            return Ok(bytes);
        }
        let mut doubt = None;
        for node in self.others() {
            match self.fetch(node, (site, blob), why, errand).await {
                Ok(bytes) => return Ok(bytes),
                Err(Lack::Unknown(_)) => {}
                Err(full @ Lack::Full(_)) => return Err(full),
                Err(lack) => doubt = Some(lack),
            }
        }
        Err(doubt.unwrap_or(Lack::Unknown(blob)))
    }

    /// Says here that a blob is about to be named; gives its size if it is here.
    async fn touch(&self, site: SiteId, blob: BlobId) -> Result<Option<u64>, Lack> {
        let store = self.store.clone();
        on_disk(move || store.touch(stored(site, blob), unix_ms())).await
    }

    /// Has as many others keep a blob that is here as make a majority of its shard's voters, with
    /// this node if it is one. Those beyond go on by themselves.
    async fn spread(self: &Arc<Self>, site: SiteId, blob: BlobId, bytes: u64) -> Result<(), Lack> {
        let patience = PATIENCE + Duration::from_millis(bytes / BYTES_PER_MS);
        let mut voters = (self.voters)(site);
        let mut needed = voters.len() / 2 + 1 - usize::from(voters.remove(&self.transport.node()));
        let (said, mut heard) = mpsc::channel(voters.len().max(1));
        for node in voters {
            let (this, said) = (self.clone(), said.clone());
            tokio::spawn(async move {
                let kept = this.have_kept(node, site, blob, patience).await;
                // Who asked may have heard enough.
                let _ = said.send(kept).await;
            });
        }
        drop(said);
        let mut lack = None;
        while needed > 0 {
            match heard.recv().await {
                Some(Ok(())) => needed -= 1,
                Some(Err(error)) => lack = Some(error),
                None => {
                    let none = || Lack::Unreachable("no other replica answers".to_owned());
                    return Err(lack.unwrap_or_else(none));
                }
            }
        }
        self.learn(stored(site, blob), bytes);
        Ok(())
    }

    fn others(&self) -> impl Iterator<Item = NodeId> + use<> {
        self.roster.others().into_iter()
    }

    /// The size of a blob that a majority had so lately that none of them has removed it.
    fn known(&self, name: BlobName) -> Option<u64> {
        let (bytes, at) = *self.lock_known().get(&name)?;
        (at.elapsed() < self.rules.unnamed_keep() / 4).then_some(bytes)
    }

    fn learn(&self, name: BlobName, bytes: u64) {
        let mut known = self.lock_known();
        if known.len() >= KNOWN_MAX {
            known.clear();
        }
        known.insert(name, (bytes, Instant::now()));
    }

    fn lock_known(&self) -> MutexGuard<'_, BTreeMap<BlobName, (u64, Instant)>> {
        self.known.lock().expect("no code panics while it holds this lock")
    }

    /// Sets the gauges.
    pub(crate) fn measure(&self) {
        gauge!(names::BLOBS_BYTES).set(self.store.used_bytes() as f64);
        gauge!(names::BLOBS_MISSING).set(self.lock_missing().len() as f64);
    }

    fn lock_missing(&self) -> MutexGuard<'_, keeper::Missing> {
        self.missing.lock().expect("no code panics while it holds this lock")
    }
}

/// Does something with the disk, off the threads that serve.
pub(crate) async fn on_disk<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, BlobError> + Send + 'static,
) -> Result<T, Lack> {
    let done = crate::blocking::run(work).await;
    let done = done.map_err(|error| Lack::Unreachable(error.to_string()))?;
    done.map_err(|error| match error {
        BlobError::Full(_) => {
            counter!(names::BLOBS_FULL).increment(1);
            Lack::Full(error.to_string())
        }
        BlobError::OwnerFull { .. } => {
            counter!(names::BLOBS_FULL).increment(1);
            let detail = "the files of this tenant take all the room of a node that those of one \
                          tenant may (blobs.tenant_disk_percent_max)";
            Lack::Full(detail.to_owned())
        }
        error => {
            tracing::warn!(%error, "a blob cannot be handled");
            Lack::Unreachable("this node cannot handle the blob; ask another node".to_owned())
        }
    })
}

impl From<Lacking> for Lack {
    fn from(lacking: Lacking) -> Self {
        match lacking {
            Lacking::Full(text) => Self::Full(text),
            Lacking::Silent(text) => Self::Unreachable(text),
        }
    }
}

impl Blobs {
    /// Has another replica keep a blob that is here, trying for as long as `patience`.
    async fn have_kept(
        &self,
        node: NodeId,
        site: SiteId,
        blob: BlobId,
        patience: Duration,
    ) -> Result<(), Lack> {
        let kept = exchange::ask_to_keep(&self.transport, node, (site, blob), patience).await;
        match kept {
            Ok(Kept) => Ok(()),
            Err(lacking) => {
                tracing::debug!(%node, %blob, ?lacking, "a blob is not kept there");
                Err(lacking.into())
            }
        }
    }
}
