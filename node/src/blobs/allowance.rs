//! What one credential may bring before it says what for.
//!
//! Uploads have a rate, and the bytes that a credential has brought through this node and that no
//! item names yet have a bound. Both are this node's own knowledge and begin anew when it does:
//! what bounds the disk is the store.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use rotary_proto::{AgentId, BlobId, CustomerId, PrincipalId, SiteId};

use crate::gateway::token::Claims;

/// Blobs of one credential that no item names yet.
const UNNAMED_PER_HOLDER_MAX: usize = 1_024;
/// Uploads of one credential at once: a few that are slow leave room for others.
const UPLOADS_PER_HOLDER_MAX: usize = 16;
/// Blobs of all of them, and credentials that are remembered.
const UNNAMED_MAX: usize = 65_536;
const MINUTE: Duration = Duration::from_secs(60);

/// Whose uploads are counted together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Holder {
    principal: PrincipalId,
    agent: Option<AgentId>,
    customer: Option<CustomerId>,
}

impl From<&Claims> for Holder {
    fn from(claims: &Claims) -> Self {
        let Claims { principal, agent, customer, .. } = claims;
        Self { principal: *principal, agent: *agent, customer: *customer }
    }
}

/// How much one credential may bring.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rules {
    pub(crate) uploads_per_minute_max: u32,
    pub(crate) unnamed_bytes_max: u64,
    /// What is not named by then is forgotten here, as it is removed there.
    pub(crate) unnamed_keep: Duration,
}

/// Why somebody may bring nothing more for the moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Spent {
    pub(crate) detail: String,
    pub(crate) after_ms: u64,
}

/// What has been brought by whom.
#[derive(Debug)]
pub(crate) struct Allowances {
    rules: Rules,
    books: Mutex<Books>,
}

#[derive(Debug, Default)]
struct Books {
    holders: BTreeMap<Holder, Account>,
    unnamed: BTreeMap<(SiteId, BlobId), Entry>,
}

/// What one credential has brought.
#[derive(Debug)]
struct Account {
    /// Uploads that it may begin at once, in thousandths.
    allowed: u64,
    counted: Instant,
    unnamed: usize,
    /// Uploads that are under way.
    open: usize,
    /// Of blobs that no item names, and of uploads that are under way.
    bytes: u64,
}

#[derive(Debug)]
struct Entry {
    holder: Holder,
    bytes: u64,
    since: Instant,
}

/// An upload that is counted, for as long as this lives.
#[derive(Debug)]
pub(crate) struct Ticket {
    allowances: Arc<Allowances>,
    holder: Holder,
    bytes: u64,
}

impl Allowances {
    pub(crate) fn new(rules: Rules) -> Self {
        Self { rules, books: Mutex::default() }
    }

    /// Lets somebody begin to bring so many bytes at most, or says what is spent.
    pub(crate) fn admit(
        self: &Arc<Self>,
        holder: Holder,
        bytes: u64,
        now: Instant,
    ) -> Result<Ticket, Spent> {
        let mut books = self.lock();
        if books.holders.len() >= UNNAMED_MAX || books.unnamed.len() >= UNNAMED_MAX {
            self.forget(&mut books, now);
        }
        if books.holders.len() >= UNNAMED_MAX || books.unnamed.len() >= UNNAMED_MAX {
            let detail = "this node remembers as many files without a message as it can";
            return Err(Spent { detail: detail.to_owned(), after_ms: 5_000 });
        }
        let most = u64::from(self.rules.uploads_per_minute_max) * 1_000;
        let account = books.holders.entry(holder).or_insert_with(|| Account {
            allowed: most,
            counted: now,
            unnamed: 0,
            open: 0,
            bytes: 0,
        });
        account.refill(most, now);
        let unnamed_max = self.rules.unnamed_bytes_max;
        if account.bytes.saturating_add(bytes) > unnamed_max
            || account.unnamed >= UNNAMED_PER_HOLDER_MAX
        {
            let detail = format!(
                "this credential has brought {} bytes in {} files that no message names yet; at \
                 most {unnamed_max} in {UNNAMED_PER_HOLDER_MAX}",
                account.bytes, account.unnamed
            );
            return Err(Spent { detail, after_ms: 5_000 });
        }
        if account.open >= UPLOADS_PER_HOLDER_MAX {
            let detail =
                format!("a credential has at most {UPLOADS_PER_HOLDER_MAX} uploads at once");
            return Err(Spent { detail, after_ms: 1_000 });
        }
        if account.allowed < 1_000 {
            let rate = self.rules.uploads_per_minute_max;
            let detail = format!("a credential may upload {rate} files a minute");
            let lacking = 1_000 - account.allowed;
            return Err(Spent { detail, after_ms: (lacking * 60_000).div_ceil(most) });
        }
        account.allowed -= 1_000;
        account.bytes += bytes;
        account.open += 1;
        Ok(Ticket { allowances: self.clone(), holder, bytes })
    }

    /// A blob is named, or gone: it counts for nobody.
    pub(crate) fn release(&self, site: SiteId, blob: BlobId) {
        let mut books = self.lock();
        if let Some(entry) = books.unnamed.remove(&(site, blob)) {
            books.discharge(&entry);
        }
    }

    /// Forgets what is too old, and who has nothing here.
    fn forget(&self, books: &mut Books, now: Instant) {
        let keep = self.rules.unnamed_keep;
        let old = |entry: &Entry| now.saturating_duration_since(entry.since) >= keep;
        let (gone, kept) = std::mem::take(&mut books.unnamed)
            .into_iter()
            .partition::<BTreeMap<_, _>, _>(|(_, entry)| old(entry));
        books.unnamed = kept;
        gone.values().for_each(|entry| books.discharge(entry));
        let idle = |account: &Account| now.saturating_duration_since(account.counted) >= MINUTE;
        books.holders.retain(|_, it| it.bytes > 0 || it.open > 0 || !idle(it));
    }

    /// The same from time to time, so that what nobody names is not counted for ever.
    pub(crate) fn forget_old(&self, now: Instant) {
        self.forget(&mut self.lock(), now);
    }

    fn lock(&self) -> MutexGuard<'_, Books> {
        self.books.lock().expect("no code panics while it holds this lock")
    }
}

impl Account {
    fn refill(&mut self, most: u64, now: Instant) {
        let passed = now.saturating_duration_since(self.counted).min(MINUTE);
        let more = most * u64::try_from(passed.as_millis()).unwrap_or(0) / 60_000;
        // A rest too short to count is not lost: it counts with the next one.
        if more > 0 {
            self.allowed = self.allowed.saturating_add(more).min(most);
            self.counted = now;
        }
    }
}

impl Books {
    fn discharge(&mut self, entry: &Entry) {
        if let Some(account) = self.holders.get_mut(&entry.holder) {
            account.bytes = account.bytes.saturating_sub(entry.bytes);
            account.unnamed = account.unnamed.saturating_sub(1);
        }
    }
}

impl Ticket {
    /// What came of it: it counts until an item names it.
    pub(crate) fn stored(self, site: SiteId, blob: BlobId, bytes: u64, now: Instant) {
        let mut books = self.allowances.lock();
        let entry = Entry { holder: self.holder, bytes, since: now };
        if books.unnamed.contains_key(&(site, blob)) {
            return;
        }
        if let Some(account) = books.holders.get_mut(&self.holder) {
            account.bytes += bytes;
            account.unnamed += 1;
        }
        books.unnamed.insert((site, blob), entry);
        // Dropping the ticket takes what it stood for off, under the same lock.
        drop(books);
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        if let Some(account) = self.allowances.lock().holders.get_mut(&self.holder) {
            account.bytes = account.bytes.saturating_sub(self.bytes);
            account.open = account.open.saturating_sub(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULES: Rules = Rules {
        uploads_per_minute_max: 3,
        unnamed_bytes_max: 100,
        unnamed_keep: Duration::from_secs(3_600),
    };

    fn holder(number: u32) -> Holder {
        Holder { principal: PrincipalId(number), agent: None, customer: None }
    }

    fn blob(number: u8) -> (SiteId, BlobId) {
        (SiteId::new(1, 2), BlobId([number; 32]))
    }

    #[test]
    fn a_credential_has_a_rate() {
        let (allowances, now) = (Arc::new(Allowances::new(RULES)), Instant::now());
        for _ in 0..3 {
            drop(allowances.admit(holder(1), 1, now).expect("within the rate"));
        }
        let spent = allowances.admit(holder(1), 1, now).expect_err("spent");
        assert_eq!(spent.after_ms, 20_000, "{spent:?}");
        assert!(allowances.admit(holder(2), 1, now).is_ok(), "others have their own");
        assert!(allowances.admit(holder(1), 1, now + Duration::from_secs(19)).is_err());
        assert!(allowances.admit(holder(1), 1, now + Duration::from_secs(20)).is_ok());
    }

    #[test]
    fn bytes_without_a_message_are_bounded_until_one_names_them() {
        let (allowances, now) = (Arc::new(Allowances::new(RULES)), Instant::now());
        let ticket = allowances.admit(holder(1), 100, now).expect("room");
        assert!(allowances.admit(holder(1), 1, now).is_err(), "what is under way counts");
        let (site, id) = blob(1);
        ticket.stored(site, id, 60, now);
        assert!(allowances.admit(holder(1), 41, now).is_err());
        drop(allowances.admit(holder(1), 40, now).expect("what is given up does not count"));
        allowances.release(site, id);
        assert!(allowances.admit(holder(1), 100, now).is_ok());
    }

    #[test]
    fn a_credential_has_only_so_many_uploads_at_once() {
        let rules = Rules { uploads_per_minute_max: 1_000, ..RULES };
        let (allowances, now) = (Arc::new(Allowances::new(rules)), Instant::now());
        let admit = || allowances.admit(holder(1), 1, now);
        let mut open: Vec<Ticket> =
            (0..UPLOADS_PER_HOLDER_MAX).map(|_| admit().expect("room")).collect();
        assert!(admit().is_err());
        assert!(allowances.admit(holder(2), 1, now).is_ok());
        open.pop();
        assert!(admit().is_ok());
    }

    #[test]
    fn what_nobody_names_is_forgotten_in_the_end() {
        let (allowances, now) = (Arc::new(Allowances::new(RULES)), Instant::now());
        let (site, id) = blob(1);
        allowances.admit(holder(1), 100, now).expect("room").stored(site, id, 100, now);
        allowances.forget_old(now + RULES.unnamed_keep / 2);
        assert!(allowances.admit(holder(1), 1, now).is_err());
        allowances.forget_old(now + RULES.unnamed_keep);
        assert!(allowances.lock().holders.is_empty());
        assert!(allowances.admit(holder(1), 100, now).is_ok());
    }
}
