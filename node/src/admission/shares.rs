//! How a shard is shared out among the tenants who want it.
//!
//! Max-min fairness: nobody is refused what is below everybody's level, and the level is as high as
//! what there is allows. Who wants less than the level leaves the rest to those who want more. What
//! somebody wants is told by what they had on its way at most in the last interval, and what they
//! were refused in it. Pure.

use std::collections::BTreeMap;

use rotary_proto::TenantId;

/// Whose work it is; administrators of the whole cluster share one share.
type Holder = Option<TenantId>;

/// What a tenant has and wants.
#[derive(Debug, Default, Clone, Copy)]
struct Share {
    in_flight: usize,
    bytes: usize,
    /// The most it had on its way in this interval.
    most: usize,
    refused: usize,
}

/// The tenants with something on its way, and those who wanted to have in this interval.
#[derive(Debug)]
pub(super) struct Shares {
    held: BTreeMap<Holder, Share>,
    level: usize,
    /// Whether more than one wants a part.
    contended: bool,
}

impl Shares {
    /// Of a whole of so much.
    pub(super) const fn new(whole: usize) -> Self {
        Self { held: BTreeMap::new(), level: whole, contended: false }
    }

    /// What everybody may have on its way.
    pub(super) const fn level(&self) -> usize {
        self.level
    }

    /// Whether what one is refused is taken by another.
    pub(super) const fn is_contended(&self) -> bool {
        self.contended
    }

    /// What a tenant has on its way: commands, and bytes.
    pub(super) fn of(&self, holder: Holder) -> (usize, usize) {
        self.held.get(&holder).map_or((0, 0), |share| (share.in_flight, share.bytes))
    }

    pub(super) fn take(&mut self, holder: Holder, bytes: usize) {
        let share = self.held.entry(holder).or_default();
        share.in_flight += 1;
        share.bytes += bytes;
        share.most = share.most.max(share.in_flight);
    }

    pub(super) fn give_back(&mut self, holder: Holder, bytes: usize) {
        // The interval's end may not forget who has something on its way.
        let share = self.held.get_mut(&holder).expect("what is given back was taken");
        share.in_flight -= 1;
        share.bytes -= bytes;
    }

    /// A tenant was refused. One that never had anything is not kept: there may be any number.
    pub(super) fn refuse(&mut self, holder: Holder, holders_max: usize) {
        if self.held.len() < holders_max || self.held.contains_key(&holder) {
            self.held.entry(holder).or_default().refused += 1;
        }
    }

    /// Ends an interval: shares `whole` out by what was wanted in it.
    pub(super) fn end_interval(&mut self, whole: usize) {
        let wants = self.held.values().map(|share| share.most + share.refused);
        let wants: Vec<usize> = wants.filter(|want| *want > 0).collect();
        self.contended = wants.len() > 1;
        self.level = level(wants, whole);
        self.held.retain(|_, share| {
            (share.most, share.refused) = (share.in_flight, 0);
            share.in_flight > 0
        });
    }
}

/// The level at which `whole` is used up, or `whole` itself if it is not.
fn level(mut wants: Vec<usize>, whole: usize) -> usize {
    wants.sort_unstable();
    let (mut left, mut others) = (whole, wants.len());
    for want in wants {
        if want > left / others {
            return (left / others).max(1);
        }
        left -= want;
        others -= 1;
    }
    whole
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_wants_little_gets_it_and_the_rest_is_divided() {
        assert_eq!(level(vec![], 64), 64);
        assert_eq!(level(vec![1_000], 64), 64);
        assert_eq!(level(vec![3, 1_000], 64), 61);
        assert_eq!(level(vec![1_000, 500], 64), 32);
        assert_eq!(level(vec![4, 100, 30, 500], 64), 20);
        assert_eq!(level(vec![10, 20, 30], 64), 64, "enough for all");
        assert_eq!(level(vec![9; 100], 64), 1, "nobody is shut out");
    }

    #[test]
    fn a_tenant_that_comes_to_a_full_shard_gets_its_part_at_the_next_interval() {
        let (greedy, small) = (Some(TenantId(1)), Some(TenantId(2)));
        let mut shares = Shares::new(10);
        (0..10).for_each(|_| shares.take(greedy, 1));
        (0..500).for_each(|_| shares.refuse(greedy, 8));
        shares.end_interval(10);
        assert_eq!((shares.level(), shares.is_contended()), (10, false));
        (0..4).for_each(|_| shares.take(small, 1));
        (0..500).for_each(|_| shares.refuse(greedy, 8));
        shares.end_interval(10);
        assert_eq!((shares.level(), shares.is_contended()), (6, true));
        assert_eq!((shares.of(greedy), shares.of(small)), ((10, 10), (4, 4)));
        (0..4).for_each(|_| shares.give_back(small, 1));
        shares.end_interval(10);
        shares.end_interval(10);
        assert_eq!((shares.level(), shares.held.len()), (10, 1), "who is gone is forgotten");
    }

    #[test]
    fn strangers_do_not_grow_the_table() {
        let mut shares = Shares::new(10);
        (0..1_000).for_each(|tenant| shares.refuse(Some(TenantId(tenant)), 8));
        assert_eq!(shares.held.len(), 8);
    }
}
