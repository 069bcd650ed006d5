//! Places that tenants share, of which none takes the last ones.
//!
//! A tenant may take one more while it has fewer than are free. So one alone has half of them, and
//! whoever comes later finds some: the places are never all taken by a few (the dynamic threshold
//! that switches use for buffers; Choudhury and Hahne, 1998).

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};

use rotary_proto::TenantId;

/// Whether somebody who has so many may have one more, where so many are free.
pub(super) const fn leaves_room(has: usize, free: usize) -> bool {
    has < free
}

/// A number of places.
#[derive(Debug)]
pub(super) struct Places {
    max: usize,
    taken: Mutex<BTreeMap<TenantId, usize>>,
}

/// A place that is taken, for as long as this lives.
#[derive(Debug)]
pub(crate) struct Place {
    places: Arc<Places>,
    tenant: TenantId,
}

impl Places {
    /// So many.
    pub(super) fn new(max: usize) -> Arc<Self> {
        Arc::new(Self { max, taken: Mutex::default() })
    }

    /// One for a tenant, if its share leaves one.
    pub(super) fn take(self: &Arc<Self>, tenant: TenantId) -> Option<Place> {
        let mut taken = self.lock();
        let free = self.max.saturating_sub(taken.values().sum());
        let has = taken.get(&tenant).copied().unwrap_or(0);
        if !leaves_room(has, free) {
            return None;
        }
        taken.insert(tenant, has + 1);
        Some(Place { places: self.clone(), tenant })
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<TenantId, usize>> {
        self.taken.lock().expect("no code panics while it holds this lock")
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.places.lock();
        let has = taken.get(&self.tenant).copied().unwrap_or(0);
        if has > 1 {
            taken.insert(self.tenant, has - 1);
        } else {
            taken.remove(&self.tenant);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tenant_leaves_places_to_those_who_come_later() {
        let places = Places::new(64);
        let take_all = |tenant| {
            let all: Vec<Place> = std::iter::from_fn(|| places.take(TenantId(tenant))).collect();
            all
        };
        let held: Vec<Vec<Place>> = (1..=5).map(take_all).collect();
        let counts: Vec<usize> = held.iter().map(Vec::len).collect();
        assert_eq!(counts, [32, 16, 8, 4, 2]);
        assert!(places.take(TenantId(6)).is_some(), "there is one for somebody new");
        drop(held);
        assert!(places.lock().is_empty(), "who has none is not remembered");
        assert_eq!(take_all(7).len(), 32);
    }
}
