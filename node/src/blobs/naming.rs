//! What commands are about to name is made sure of: a majority has it before the log hears of it.
//!
//! Most of it was uploaded a moment before and is known to be there. The rest is asked about, and
//! fetched where this node lacks it, once for all who name it; whoever asks waits a bounded time
//! for that and may come again, while it goes on. It takes no place of uploads or readers.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use rotary_proto::{Attachment, BlobId, SiteId};
use rotary_storage::{BlobName, BlobUse};
use tokio::sync::watch;
use tokio::time::{Instant, timeout, timeout_at};

use crate::blobs::exchange::Errand;
use crate::blobs::places::{Place, Places};
use crate::blobs::{Blobs, Lack, stored};

/// Blobs that are made sure of at once. Tenants share them.
const UNDER_WAY_MAX: usize = 32;
/// How long a command waits for all that it names.
const PATIENCE: Duration = Duration::from_secs(4);
/// How long one blob may take in all: the largest one over a slow line.
const ONE_MAX: Duration = Duration::from_secs(300);

/// What came of it: the size of the blob.
type Sure = Result<u64, Lack>;
type Heard = watch::Receiver<Option<Sure>>;

/// What is being made sure of.
#[derive(Debug)]
pub(super) struct Naming {
    places: Arc<Places>,
    under_way: Mutex<BTreeMap<BlobName, Heard>>,
}

impl Default for Naming {
    fn default() -> Self {
        Self { places: Places::new(UNDER_WAY_MAX), under_way: Mutex::default() }
    }
}

impl Naming {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<BlobName, Heard>> {
        self.under_way.lock().expect("no code panics while it holds this lock")
    }
}

/// Takes a blob out of what is under way, whatever becomes of it.
struct UnderWay {
    blobs: Arc<Blobs>,
    name: BlobName,
    _place: Place,
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.blobs.naming.lock().remove(&self.name);
    }
}

impl Blobs {
    /// Makes sure that a majority has what a command names, which it may then name.
    ///
    /// # Errors
    /// [`Lack`].
    pub(crate) async fn require(
        self: &Arc<Self>,
        site: SiteId,
        attachments: impl Iterator<Item = &Attachment>,
    ) -> Result<(), Lack> {
        let deadline = Instant::now() + PATIENCE;
        for &Attachment { blob, bytes, .. } in attachments {
            let found = match self.known(stored(site, blob)) {
                Some(found) => found,
                None => self.hear(self.begin_sure(site, blob)?, blob, deadline).await?,
            };
            if found != bytes {
                return Err(Lack::OtherSize { blob, found, said: bytes });
            }
        }
        Ok(())
    }

    async fn hear(&self, mut heard: Heard, blob: BlobId, deadline: Instant) -> Sure {
        let told = timeout_at(deadline, heard.wait_for(Option::is_some)).await;
        let told = told.map(|told| told.ok().and_then(|sure| sure.clone()));
        told.ok().flatten().unwrap_or_else(|| {
            let text = format!("{blob} is on its way to a majority; name it again in a moment");
            Err(Lack::Unreachable(text))
        })
    }

    /// Has a blob made sure of, unless that is under way.
    fn begin_sure(self: &Arc<Self>, site: SiteId, blob: BlobId) -> Result<Heard, Lack> {
        let name = stored(site, blob);
        let mut under_way = self.naming.lock();
        if let Some(heard) = under_way.get(&name) {
            return Ok(heard.clone());
        }
        let place = self.naming.places.take(site.tenant).ok_or(Lack::Busy)?;
        let (say, heard) = watch::channel(None);
        under_way.insert(name, heard.clone());
        // A task that is dropped unborn takes its name off the list.
        drop(under_way);
        let ends = UnderWay { blobs: self.clone(), name, _place: place };
        tokio::spawn(async move {
            let sure = timeout(ONE_MAX, ends.blobs.make_sure(site, blob)).await;
            let slow = || Err(Lack::Unreachable(format!("{blob} cannot be had in time")));
            let sure = sure.unwrap_or_else(|_| slow());
            drop(ends);
            say.send_replace(Some(sure));
        });
        Ok(heard)
    }

    async fn make_sure(self: &Arc<Self>, site: SiteId, blob: BlobId) -> Sure {
        let found = self.obtain(site, blob, BlobUse::New, Errand::Name).await?;
        self.spread(site, blob, found).await?;
        Ok(found)
    }
}
