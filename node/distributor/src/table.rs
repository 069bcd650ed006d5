//! A table of entities in order of their keys, with the digest of what is in it.
//!
//! An edit marks the entity; [`Table::settle`] hashes what was marked, once per applied entry
//! however often it was edited. This is also the seam where snapshots will freeze a generation.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::digest::{Sum, hash_of};

#[derive(Debug, Clone)]
struct Slot<V> {
    value: V,
    hash: u128,
}

/// Entities by key.
#[derive(Debug, Clone)]
pub(crate) struct Table<K, V> {
    kind: u64,
    slots: BTreeMap<K, Slot<V>>,
    marked: Vec<K>,
    sum: Sum,
}

impl<K: Ord + Copy + Serialize, V: Serialize> Table<K, V> {
    /// An empty table; `kind` differs between tables of one site.
    pub(crate) const fn new(kind: u64) -> Self {
        Self { kind, slots: BTreeMap::new(), marked: Vec::new(), sum: Sum::ZERO }
    }

    /// How many entities there are.
    pub(crate) fn len(&self) -> usize {
        self.slots.len()
    }

    /// The entity of that key.
    pub(crate) fn get(&self, key: K) -> Option<&V> {
        self.slots.get(&key).map(|slot| &slot.value)
    }

    /// Whether there is one.
    pub(crate) fn contains(&self, key: K) -> bool {
        self.slots.contains_key(&key)
    }

    /// The entity of that key, to be changed.
    pub(crate) fn edit(&mut self, key: K) -> Option<&mut V> {
        let slot = self.slots.get_mut(&key)?;
        self.marked.push(key);
        Some(&mut slot.value)
    }

    /// Puts an entity in, in place of one of the same key.
    pub(crate) fn put(&mut self, key: K, value: V) {
        let old = self.slots.insert(key, Slot { value, hash: 0 });
        self.sum.subtract(old.map_or(0, |slot| slot.hash));
        self.marked.push(key);
    }

    /// Takes an entity out.
    pub(crate) fn take(&mut self, key: K) -> Option<V> {
        let slot = self.slots.remove(&key)?;
        self.sum.subtract(slot.hash);
        Some(slot.value)
    }

    /// Entities in order of their keys, from the first key above `after`.
    pub(crate) fn iter_after(&self, after: Option<K>) -> impl Iterator<Item = (K, &V)> {
        use std::ops::Bound::{Excluded, Unbounded};
        let from = after.map_or(Unbounded, Excluded);
        self.slots.range((from, Unbounded)).map(|(key, slot)| (*key, &slot.value))
    }

    /// Entities in order of their keys.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (K, &V)> {
        self.slots.iter().map(|(key, slot)| (*key, &slot.value))
    }

    /// Hashes what was edited since the last call.
    pub(crate) fn settle(&mut self, buffer: &mut Vec<u8>) {
        while let Some(key) = self.marked.pop() {
            if let Some(slot) = self.slots.get_mut(&key) {
                let hash = hash_of(self.kind, &(key, &slot.value), buffer);
                self.sum.subtract(slot.hash);
                self.sum.add(hash);
                slot.hash = hash;
            }
        }
    }

    /// The digest of the settled table.
    pub(crate) fn sum(&self) -> u128 {
        debug_assert!(self.marked.is_empty(), "a digest is read of a settled table");
        self.sum.value()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settled(edits: impl FnOnce(&mut Table<u32, String>)) -> u128 {
        let mut table = Table::new(7);
        edits(&mut table);
        table.settle(&mut Vec::new());
        table.sum()
    }

    #[test]
    fn the_digest_depends_on_content_not_on_history() {
        let direct = settled(|table| {
            table.put(1, "a".to_owned());
            table.put(2, "b".to_owned());
        });
        let roundabout = settled(|table| {
            table.put(2, "x".to_owned());
            table.put(3, "c".to_owned());
            table.settle(&mut Vec::new());
            table.put(1, "a".to_owned());
            *table.edit(2).expect("there") = "b".to_owned();
            assert_eq!(table.take(3), Some("c".to_owned()));
        });
        assert_eq!(direct, roundabout);
        assert_ne!(direct, settled(|table| table.put(1, "a".to_owned())));
        assert_eq!(settled(|_| ()), 0);
    }

    #[test]
    fn reading_goes_on_after_a_key() {
        let mut table = Table::new(1);
        for key in [3, 1, 2] {
            table.put(key, key * 10);
        }
        assert_eq!(table.iter_after(Some(1)).collect::<Vec<_>>(), [(2, &20), (3, &30)]);
        assert_eq!(table.iter().count(), table.len());
        assert!(table.edit(9).is_none() && !table.contains(9));
    }
}
