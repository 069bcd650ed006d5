//! A table of entities in order of their keys, with the digest of what is in it.
//!
//! An edit marks the entity; [`Table::settle`] hashes what was marked, but for the last few, so
//! that an entity which is edited again and again is hashed once. Entities lie in slots; an entry
//! mostly deals with the same few, so the slot found last is looked at first. Slots lie in pages,
//! which a frozen view shares until they are written again (`page`).

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use serde::Serialize;

use crate::digest::{Sum, hash_of};
use crate::page::Page;

/// Slots of one page: what is copied when an entity changes that a frozen view holds.
const PAGE: usize = 16;

#[derive(Debug, Clone)]
struct Slot<K, V> {
    key: K,
    value: V,
    hash: u128,
    marked: bool,
}

type Slots<K, V> = Vec<Option<Slot<K, V>>>;

/// Entities by key.
#[derive(Debug, Clone)]
pub(crate) struct Table<K, V> {
    kind: u64,
    index: BTreeMap<K, u32>,
    pages: Vec<Page<Option<Slot<K, V>>>>,
    /// How many slots there are, vacant ones included.
    slots: u32,
    vacant: Vec<u32>,
    /// Slots that were edited since they were hashed, the longest marked first.
    marked: VecDeque<u32>,
    last: u32,
    sum: Sum,
}

impl<K: Ord + Copy + Serialize, V: Clone + Serialize> Table<K, V> {
    /// An empty table; `kind` differs between tables of one site.
    pub(crate) const fn new(kind: u64) -> Self {
        Self {
            kind,
            index: BTreeMap::new(),
            pages: Vec::new(),
            slots: 0,
            vacant: Vec::new(),
            marked: VecDeque::new(),
            last: 0,
            sum: Sum::ZERO,
        }
    }

    /// How many entities there are.
    pub(crate) fn len(&self) -> usize {
        self.index.len()
    }

    fn slot(&self, key: K) -> Option<u32> {
        match self.read(self.last) {
            Some(slot) if slot.key == key => Some(self.last),
            _ => self.index.get(&key).copied(),
        }
    }

    fn read(&self, at: u32) -> Option<&Slot<K, V>> {
        self.pages.get(at as usize / PAGE)?.read().get(at as usize % PAGE)?.as_ref()
    }

    fn write(&mut self, at: u32) -> &mut Option<Slot<K, V>> {
        &mut self.pages[at as usize / PAGE].write()[at as usize % PAGE]
    }

    /// The entity of that key.
    pub(crate) fn get(&self, key: K) -> Option<&V> {
        self.read(self.slot(key)?).map(|slot| &slot.value)
    }

    /// Whether there is one.
    pub(crate) fn contains(&self, key: K) -> bool {
        self.slot(key).is_some()
    }

    /// The entity of that key, to be changed.
    pub(crate) fn edit(&mut self, key: K) -> Option<&mut V> {
        let at = self.slot(key)?;
        self.last = at;
        let slot = self.pages[at as usize / PAGE].write()[at as usize % PAGE].as_mut()?;
        if !slot.marked {
            slot.marked = true;
            self.marked.push_back(at);
        }
        Some(&mut slot.value)
    }

    /// The entity of that key, to be changed in what its digest leaves out.
    pub(crate) fn edit_derived(&mut self, key: K) -> Option<&mut V> {
        let at = self.slot(key)?;
        self.last = at;
        self.write(at).as_mut().map(|slot| &mut slot.value)
    }

    /// Puts an entity in, in place of one of the same key.
    pub(crate) fn put(&mut self, key: K, value: V) {
        self.take(key);
        let at = self.vacant.pop().unwrap_or_else(|| self.add_slot());
        *self.write(at) = Some(Slot { key, value, hash: 0, marked: true });
        self.index.insert(key, at);
        self.marked.push_back(at);
        self.last = at;
    }

    fn add_slot(&mut self) -> u32 {
        if (self.slots as usize).is_multiple_of(PAGE) {
            self.pages.push(Page::Own(Vec::with_capacity(PAGE)));
        }
        self.pages.last_mut().expect("a page begins with its first slot").write().push(None);
        self.slots += 1;
        self.slots - 1
    }

    /// Takes an entity out.
    pub(crate) fn take(&mut self, key: K) -> Option<V> {
        let at = self.index.remove(&key)?;
        let slot = self.write(at).take()?;
        self.vacant.push(at);
        self.sum.subtract(slot.hash);
        Some(slot.value)
    }

    /// Entities in order of their keys, from the first key above `after`.
    pub(crate) fn iter_after(&self, after: Option<K>) -> impl Iterator<Item = (K, &V)> {
        use std::ops::Bound::{Excluded, Unbounded};
        let from = after.map_or(Unbounded, Excluded);
        self.index
            .range((from, Unbounded))
            .filter_map(|(key, at)| self.read(*at).map(|slot| (*key, &slot.value)))
    }

    /// Entities in order of their keys.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (K, &V)> {
        self.iter_after(None)
    }

    /// Hashes what was edited, but for the `keep` slots marked last.
    pub(crate) fn settle(&mut self, keep: usize, buffer: &mut Vec<u8>) {
        while self.marked.len() > keep
            && let Some(at) = self.marked.pop_front()
        {
            let page = self.pages[at as usize / PAGE].write();
            if let Some(slot) = page[at as usize % PAGE].as_mut().filter(|slot| slot.marked) {
                let hash = hash_of(self.kind, &(slot.key, &slot.value), buffer);
                self.sum.subtract(slot.hash);
                self.sum.add(hash);
                (slot.hash, slot.marked) = (hash, false);
            }
        }
    }

    /// The digest of the table. What is marked is hashed for it each time.
    pub(crate) fn sum(&self) -> u128 {
        let (mut sum, mut buffer) = (self.sum, Vec::new());
        for at in self.marked.iter().collect::<BTreeSet<_>>() {
            if let Some(slot) = self.read(*at).filter(|slot| slot.marked) {
                sum.subtract(slot.hash);
                sum.add(hash_of(self.kind, &(slot.key, &slot.value), &mut buffer));
            }
        }
        sum.value()
    }

    /// A view of the settled table as it is at present.
    pub(crate) fn freeze(&mut self) -> FrozenTable<K, V> {
        debug_assert!(self.marked.is_empty(), "a settled table is frozen");
        FrozenTable { pages: self.pages.iter_mut().map(Page::freeze).collect() }
    }
}

/// The entities of a [`Table`] as they were.
#[derive(Debug)]
pub(crate) struct FrozenTable<K, V> {
    pages: Vec<Arc<Slots<K, V>>>,
}

impl<K: Copy, V> FrozenTable<K, V> {
    /// Its entities, in no order that means anything.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (K, &V)> {
        let slots = self.pages.iter().flat_map(|page| page.iter().flatten());
        slots.map(|slot| (slot.key, &slot.value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settled(edits: impl FnOnce(&mut Table<u32, String>)) -> u128 {
        let mut table = Table::new(7);
        edits(&mut table);
        table.settle(0, &mut Vec::new());
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
            table.settle(0, &mut Vec::new());
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
    fn a_digest_does_not_depend_on_what_is_settled() {
        let mut table = Table::new(7);
        let mut digests = Vec::new();
        for keep in [usize::MAX, 3, 1, 0] {
            let mut edited: Table<u32, String> = Table::new(7);
            for key in 0..6 {
                edited.put(key, "a".to_owned());
                edited.settle(keep, &mut Vec::new());
                edited.edit(key / 2).expect("there").push('b');
            }
            assert_eq!(edited.take(4), Some("a".to_owned()));
            edited.put(9, "c".to_owned());
            edited.settle(keep, &mut Vec::new());
            digests.push(edited.sum());
            table = edited;
        }
        digests.dedup();
        assert_eq!(digests, [table.sum()]);
        assert!(table.marked.is_empty());
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

    #[test]
    fn a_frozen_table_stays_as_it_was() {
        let mut table = Table::new(1);
        (0..100).for_each(|key| table.put(key, key * 10));
        table.settle(0, &mut Vec::new());
        let frozen = table.freeze();
        (0..50).for_each(|key| assert_eq!(table.take(key), Some(key * 10)));
        *table.edit(77).expect("there") = 0;
        table.put(200, 1);
        let mut rows: Vec<(i32, i32)> = frozen.iter().map(|(key, value)| (key, *value)).collect();
        rows.sort_unstable();
        assert_eq!(rows, (0..100).map(|key| (key, key * 10)).collect::<Vec<_>>());
        assert_eq!((table.len(), table.get(77), table.get(3)), (51, Some(&0), None));
    }
}
