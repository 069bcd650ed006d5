//! How many bytes blobs take: all of them, and those of each owner.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard};

/// Whose a scope is: the upper half of its number.
const fn owner_of(scope: u64) -> u64 {
    scope >> 32
}

/// Bytes of files that have a name or are being written.
#[derive(Debug, Default)]
pub(crate) struct Used(Mutex<Sums>);

#[derive(Debug, Default)]
struct Sums {
    all: u64,
    /// Of those who have any.
    owners: BTreeMap<u64, u64>,
}

impl Used {
    /// Of all blobs.
    pub(crate) fn all(&self) -> u64 {
        self.lock().all
    }

    /// Of all scopes of the one whose scope that is.
    pub(crate) fn of_owner(&self, scope: u64) -> u64 {
        self.lock().owners.get(&owner_of(scope)).copied().unwrap_or(0)
    }

    pub(crate) fn add(&self, scope: u64, bytes: u64) {
        let mut sums = self.lock();
        sums.all = sums.all.saturating_add(bytes);
        let owner = sums.owners.entry(owner_of(scope)).or_default();
        *owner = owner.saturating_add(bytes);
    }

    pub(crate) fn give_back(&self, scope: u64, bytes: u64) {
        let mut sums = self.lock();
        sums.all = sums.all.saturating_sub(bytes);
        let Some(owner) = sums.owners.get_mut(&owner_of(scope)) else { return };
        *owner = owner.saturating_sub(bytes);
        if *owner == 0 {
            sums.owners.remove(&owner_of(scope));
        }
    }

    fn lock(&self) -> MutexGuard<'_, Sums> {
        self.0.lock().expect("no code panics while it holds this lock")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scopes_of_one_owner_count_together() {
        let used = Used::default();
        let (first, second, other) = (1 << 32 | 1, 1 << 32 | 2, 2 << 32 | 1);
        used.add(first, 5);
        used.add(second, 7);
        used.add(other, 11);
        assert_eq!((used.all(), used.of_owner(first), used.of_owner(other)), (23, 12, 11));
        used.give_back(second, 7);
        used.give_back(other, 11);
        assert_eq!((used.all(), used.of_owner(second), used.of_owner(other)), (5, 5, 0));
        assert_eq!(used.lock().owners.len(), 1, "who has nothing is not remembered");
    }
}
