//! A digest of state that costs only what changed.
//!
//! Every entity has a 128-bit hash of its canonical bytes (the codec's form, so that it does not
//! depend on a compiler or platform). The digest of a set is the wrapping sum of its entities'
//! hashes: commutative, so the order of edits does not matter, and incremental, because replacing
//! an entity is one subtraction and one addition. It guards against divergence, not against
//! forgery.

use rotary_proto::codec;
use serde::Serialize;
use xxhash_rust::xxh3::xxh3_128_with_seed;

/// A commutative sum of entity hashes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Sum(u128);

impl Sum {
    /// The sum of nothing.
    pub(crate) const ZERO: Self = Self(0);

    /// Counts an entity in.
    pub(crate) fn add(&mut self, hash: u128) {
        self.0 = self.0.wrapping_add(hash);
    }

    /// Counts an entity out.
    pub(crate) fn subtract(&mut self, hash: u128) {
        self.0 = self.0.wrapping_sub(hash);
    }

    /// The sum itself.
    pub(crate) const fn value(self) -> u128 {
        self.0
    }
}

/// The hash of one entity. `kind` keeps equal bytes of different tables apart; `buffer` is reused
/// between calls.
pub(crate) fn hash_of<T: Serialize + ?Sized>(kind: u64, entity: &T, buffer: &mut Vec<u8>) -> u128 {
    buffer.clear();
    codec::append_plain(entity, buffer).expect("entities are plain data and always serialise");
    xxh3_128_with_seed(buffer, kind)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order_does_not_matter_and_removal_undoes() {
        let mut buffer = Vec::new();
        let (a, b) = (hash_of(1, &1u32, &mut buffer), hash_of(1, &2u32, &mut buffer));
        let (mut one, mut other) = (Sum::default(), Sum::default());
        one.add(a);
        one.add(b);
        other.add(b);
        other.add(a);
        assert_eq!(one, other);
        one.subtract(b);
        one.subtract(a);
        assert_eq!(one, Sum::default());
    }

    #[test]
    fn kinds_are_kept_apart() {
        let mut buffer = Vec::new();
        assert_ne!(hash_of(1, &1u32, &mut buffer), hash_of(2, &1u32, &mut buffer));
    }
}
