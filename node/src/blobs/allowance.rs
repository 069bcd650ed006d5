//! What somebody may bring before it is said what for.
//!
//! Uploads of one credential have a rate, and the bytes that it has brought through this node and
//! that no item names yet have a bound; those of a whole site have one, too, and a tenant leaves
//! others room in what a node remembers. All of this is this node's own knowledge and begins anew
//! when it does: what bounds the disk, and a tenant's part of it, is the store.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use rotary_proto::{AgentId, BlobId, CustomerId, PrincipalId, SiteId, TenantId};

use crate::admission::Budget;
use crate::blobs::places::leaves_room;
use crate::gateway::token::Claims;

/// Blobs of one credential that no item names yet.
const UNNAMED_PER_HOLDER_MAX: usize = 1_024;
/// Uploads of one credential at once: a few that are slow leave room for others.
const UPLOADS_PER_HOLDER_MAX: usize = 16;
/// Blobs of all of them, and credentials that are remembered. Tenants share them.
const UNNAMED_MAX: usize = 65_536;
const MINUTE: Duration = Duration::from_secs(60);
/// Pause between looks for what may be forgotten while there is no place.
const FORGET_PAUSE: Duration = Duration::from_secs(1);

/// Whose uploads are counted together, and where.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Holder {
    site: SiteId,
    principal: PrincipalId,
    agent: Option<AgentId>,
    customer: Option<CustomerId>,
}

impl Holder {
    /// Who has these claims, in that site.
    pub(crate) fn new(claims: &Claims, site: SiteId) -> Self {
        let Claims { principal, agent, customer, .. } = claims;
        Self { site, principal: *principal, agent: *agent, customer: *customer }
    }

    const fn tenant(&self) -> TenantId {
        self.site.tenant
    }
}

/// How much may be brought.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rules {
    pub(crate) uploads_per_minute_max: u32,
    /// Of one credential in one site.
    pub(crate) unnamed_bytes_max: u64,
    /// Of one site.
    pub(crate) site_unnamed_bytes_max: u64,
    /// What is not named by then is forgotten here, as it is removed there.
    pub(crate) unnamed_keep: Duration,
}

/// Why somebody may bring nothing more for the moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Spent {
    /// Whose budget that is.
    pub(crate) budget: Budget,
    pub(crate) detail: String,
    pub(crate) after_ms: u64,
}

impl Spent {
    fn of(budget: Budget, after_ms: u64, detail: String) -> Self {
        Self { budget, detail, after_ms }
    }
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
    /// Bytes of each site that has any: of blobs that no item names, and of uploads under way.
    sites: BTreeMap<SiteId, u64>,
    /// What of these tables each tenant has.
    tenants: BTreeMap<TenantId, Tally>,
    /// When it was last looked for what may be forgotten, because there was no place.
    looked: Option<Instant>,
}

/// What is remembered of one tenant.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
struct Tally {
    holders: usize,
    unnamed: usize,
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
        if books.has_no_place(&holder) && books.forget_is_due(now) {
            self.forget(&mut books, now);
        }
        if books.has_no_place(&holder) {
            let detail = "this node remembers as many of this tenant's files without a message \
                          as it can";
            return Err(Spent::of(Budget::Tenant, 5_000, detail.to_owned()));
        }
        let (of_site, most) = (books.bytes_of(holder.site), self.rules.site_unnamed_bytes_max);
        if of_site.saturating_add(bytes) > most {
            let detail = format!(
                "{of_site} bytes were brought to {} that no message names yet; at most {most}",
                holder.site
            );
            return Err(Spent::of(Budget::Tenant, 5_000, detail));
        }
        books.account(holder, self.rules, now).charge(bytes, self.rules)?;
        books.charge_site(holder.site, bytes);
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
        let Books { holders, tenants, .. } = books;
        holders.retain(|holder, it| {
            let stays = it.bytes > 0 || it.open > 0 || !idle(it);
            if !stays && let Some(tally) = tenants.get_mut(&holder.tenant()) {
                tally.holders -= 1;
            }
            stays
        });
        tenants.retain(|_, tally| *tally != Tally::default());
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

    /// Counts an upload of so many bytes that begins, or says what is spent.
    fn charge(&mut self, bytes: u64, rules: Rules) -> Result<(), Spent> {
        let unnamed_max = rules.unnamed_bytes_max;
        if self.bytes.saturating_add(bytes) > unnamed_max || self.unnamed >= UNNAMED_PER_HOLDER_MAX
        {
            let detail = format!(
                "this credential has brought {} bytes in {} files that no message names yet; at \
                 most {unnamed_max} in {UNNAMED_PER_HOLDER_MAX}",
                self.bytes, self.unnamed
            );
            return Err(Spent::of(Budget::Caller, 5_000, detail));
        }
        if self.open >= UPLOADS_PER_HOLDER_MAX {
            let detail =
                format!("a credential has at most {UPLOADS_PER_HOLDER_MAX} uploads at once");
            return Err(Spent::of(Budget::Caller, 1_000, detail));
        }
        if self.allowed < 1_000 {
            let rate = rules.uploads_per_minute_max;
            let detail = format!("a credential may upload {rate} files a minute");
            let lacking = 1_000 - self.allowed;
            let after_ms = (lacking * 60).div_ceil(u64::from(rate));
            return Err(Spent::of(Budget::Caller, after_ms, detail));
        }
        self.allowed -= 1_000;
        self.bytes += bytes;
        self.open += 1;
        Ok(())
    }
}

impl Books {
    /// Whether a holder's tenant has as much of these tables as leaves room for others.
    fn has_no_place(&self, holder: &Holder) -> bool {
        let tally = self.tenants.get(&holder.tenant()).copied().unwrap_or_default();
        let free = |taken: usize| UNNAMED_MAX.saturating_sub(taken);
        let is_new = !self.holders.contains_key(holder);
        is_new && !leaves_room(tally.holders, free(self.holders.len()))
            || !leaves_room(tally.unnamed, free(self.unnamed.len()))
    }

    /// Looking through the tables is not for everybody who finds them full.
    fn forget_is_due(&mut self, now: Instant) -> bool {
        let recent = |at: Instant| now.saturating_duration_since(at) < FORGET_PAUSE;
        if self.looked.is_some_and(recent) {
            return false;
        }
        self.looked = Some(now);
        true
    }

    /// What somebody has brought, with what they may bring as of now.
    fn account(&mut self, holder: Holder, rules: Rules, now: Instant) -> &mut Account {
        let most = u64::from(rules.uploads_per_minute_max) * 1_000;
        if !self.holders.contains_key(&holder) {
            self.tenants.entry(holder.tenant()).or_default().holders += 1;
        }
        let account = self.holders.entry(holder).or_insert_with(|| Account {
            allowed: most,
            counted: now,
            unnamed: 0,
            open: 0,
            bytes: 0,
        });
        account.refill(most, now);
        account
    }

    fn bytes_of(&self, site: SiteId) -> u64 {
        self.sites.get(&site).copied().unwrap_or(0)
    }

    fn charge_site(&mut self, site: SiteId, bytes: u64) {
        *self.sites.entry(site).or_default() += bytes;
    }

    fn discharge_site(&mut self, site: SiteId, bytes: u64) {
        let left = self.bytes_of(site).saturating_sub(bytes);
        if left > 0 {
            self.sites.insert(site, left);
        } else {
            self.sites.remove(&site);
        }
    }

    /// A blob that was stored counts until it is named.
    fn enter(&mut self, key: (SiteId, BlobId), entry: Entry) {
        if self.unnamed.contains_key(&key) {
            return;
        }
        if let Some(account) = self.holders.get_mut(&entry.holder) {
            account.bytes += entry.bytes;
            account.unnamed += 1;
        }
        self.charge_site(entry.holder.site, entry.bytes);
        self.tenants.entry(entry.holder.tenant()).or_default().unnamed += 1;
        self.unnamed.insert(key, entry);
    }

    fn discharge(&mut self, entry: &Entry) {
        if let Some(account) = self.holders.get_mut(&entry.holder) {
            account.bytes = account.bytes.saturating_sub(entry.bytes);
            account.unnamed = account.unnamed.saturating_sub(1);
        }
        self.discharge_site(entry.holder.site, entry.bytes);
        if let Some(tally) = self.tenants.get_mut(&entry.holder.tenant()) {
            tally.unnamed = tally.unnamed.saturating_sub(1);
        }
    }
}

impl Ticket {
    /// What came of it: it counts until an item names it. The ticket itself counts no more.
    pub(crate) fn stored(self, blob: BlobId, bytes: u64, now: Instant) {
        let entry = Entry { holder: self.holder, bytes, since: now };
        self.allowances.lock().enter((self.holder.site, blob), entry);
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let mut books = self.allowances.lock();
        books.discharge_site(self.holder.site, self.bytes);
        if let Some(account) = books.holders.get_mut(&self.holder) {
            account.bytes = account.bytes.saturating_sub(self.bytes);
            account.open = account.open.saturating_sub(1);
        }
    }
}

#[cfg(test)]
#[path = "allowance_tests.rs"]
mod tests;
