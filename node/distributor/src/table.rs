//! A table of entities in order of their keys, with the digest of what is in it.
//!
//! An edit marks the entity; [`Table::settle`] hashes what was marked, once per applied entry
//! however often it was edited. Entities lie in slots; an entry mostly deals with the same few, so
//! the slot found last is looked at first. This is also the seam where snapshots will freeze a
//! generation.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::digest::{Sum, hash_of};

#[derive(Debug, Clone)]
struct Slot<K, V> {
    key: K,
    value: V,
    hash: u128,
    marked: bool,
}

/// Entities by key.
#[derive(Debug, Clone)]
pub(crate) struct Table<K, V> {
    kind: u64,
    index: BTreeMap<K, u32>,
    slots: Vec<Option<Slot<K, V>>>,
    vacant: Vec<u32>,
    marked: Vec<u32>,
    last: u32,
    sum: Sum,
}

impl<K: Ord + Copy + Serialize, V: Serialize> Table<K, V> {
    /// An empty table; `kind` differs between tables of one site.
    pub(crate) const fn new(kind: u64) -> Self {
        Self {
            kind,
            index: BTreeMap::new(),
            slots: Vec::new(),
            vacant: Vec::new(),
            marked: Vec::new(),
            last: 0,
            sum: Sum::ZERO,
        }
    }

    /// How many entities there are.
    pub(crate) fn len(&self) -> usize {
        self.index.len()
    }

    fn slot(&self, key: K) -> Option<u32> {
        let last = self.slots.get(self.last as usize).and_then(Option::as_ref);
        match last {
            Some(slot) if slot.key == key => Some(self.last),
            _ => self.index.get(&key).copied(),
        }
    }

    /// The entity of that key.
    pub(crate) fn get(&self, key: K) -> Option<&V> {
        let slot = self.slots[self.slot(key)? as usize].as_ref();
        slot.map(|slot| &slot.value)
    }

    /// Whether there is one.
    pub(crate) fn contains(&self, key: K) -> bool {
        self.slot(key).is_some()
    }

    /// The entity of that key, to be changed.
    pub(crate) fn edit(&mut self, key: K) -> Option<&mut V> {
        let at = self.slot(key)?;
        self.last = at;
        let slot = self.slots[at as usize].as_mut()?;
        if !slot.marked {
            slot.marked = true;
            self.marked.push(at);
        }
        Some(&mut slot.value)
    }

    /// The entity of that key, to be changed in what its digest leaves out.
    pub(crate) fn edit_derived(&mut self, key: K) -> Option<&mut V> {
        let at = self.slot(key)?;
        self.last = at;
        self.slots[at as usize].as_mut().map(|slot| &mut slot.value)
    }

    /// Puts an entity in, in place of one of the same key.
    pub(crate) fn put(&mut self, key: K, value: V) {
        self.take(key);
        let slot = Some(Slot { key, value, hash: 0, marked: true });
        let at = match self.vacant.pop() {
            Some(at) => {
                self.slots[at as usize] = slot;
                at
            }
            None => {
                self.slots.push(slot);
                (self.slots.len() - 1) as u32
            }
        };
        self.index.insert(key, at);
        self.marked.push(at);
        self.last = at;
    }

    /// Takes an entity out.
    pub(crate) fn take(&mut self, key: K) -> Option<V> {
        let at = self.index.remove(&key)?;
        let slot = self.slots[at as usize].take()?;
        self.vacant.push(at);
        self.sum.subtract(slot.hash);
        Some(slot.value)
    }

    /// Entities in order of their keys, from the first key above `after`.
    pub(crate) fn iter_after(&self, after: Option<K>) -> impl Iterator<Item = (K, &V)> {
        use std::ops::Bound::{Excluded, Unbounded};
        let from = after.map_or(Unbounded, Excluded);
        self.index.range((from, Unbounded)).filter_map(|(key, at)| {
            let slot = self.slots[*at as usize].as_ref();
            slot.map(|slot| (*key, &slot.value))
        })
    }

    /// Entities in order of their keys.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (K, &V)> {
        self.iter_after(None)
    }

    /// Hashes what was edited since the last call.
    pub(crate) fn settle(&mut self, buffer: &mut Vec<u8>) {
        while let Some(at) = self.marked.pop() {
            if let Some(slot) = self.slots[at as usize].as_mut().filter(|slot| slot.marked) {
                let hash = hash_of(self.kind, &(slot.key, &slot.value), buffer);
                self.sum.subtract(slot.hash);
                self.sum.add(hash);
                (slot.hash, slot.marked) = (hash, false);
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
            assert_eq!(table.take(3), Some("c".to_owned()));
            table.put(1, "a".to_owned());
            *table.edit(2).expect("there") = "y".to_owned();
            *table.edit(2).expect("there") = "b".to_owned();
        });
        assert_eq!(direct, roundabout);
        assert_ne!(direct, settled(|table| table.put(1, "a".to_owned())));
        assert_eq!(settled(|_| ()), 0);
    }

    #[test]
    fn an_entity_put_twice_or_taken_unsettled_counts_once() {
        let once = settled(|table| table.put(1, "a".to_owned()));
        let twice = settled(|table| {
            table.put(1, "x".to_owned());
            table.put(1, "a".to_owned());
            table.put(2, "gone".to_owned());
            table.take(2);
        });
        assert_eq!(once, twice);
    }

    #[test]
    fn the_slot_found_last_is_not_another_keys() {
        let mut table = Table::new(1);
        table.put(1, 10);
        table.put(2, 20);
        assert_eq!(table.edit(1), Some(&mut 10));
        assert_eq!(table.take(1), Some(10));
        assert_eq!((table.get(1), table.get(2)), (None, Some(&20)));
        table.put(3, 30);
        assert_eq!((table.get(1), table.get(3)), (None, Some(&30)));
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
