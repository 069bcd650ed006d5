//! What every node's log was told to keep, and what it said it keeps.
//!
//! A [`Shadow`] outlives its node's processes. It follows each write from its call to its
//! acknowledgement, and compares what a log gives back with it: what was acknowledged must be
//! there, byte for byte, and beyond it nothing but a beginning of what was asked for.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard};

use rotary_storage::{Done, Group, LogEntry, LogStore};

use crate::simulation::history::Ms;
use crate::simulation::layer::Layer;

#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Image {
    entries: BTreeMap<u64, Arc<[u8]>>,
    vote: Option<Vec<u8>>,
    purged: Option<u64>,
}

#[derive(Debug, Clone)]
enum Change {
    Append(Vec<LogEntry>),
    Vote(Vec<u8>),
    Truncate(Option<u64>),
    Purge(u64),
}

impl Image {
    fn make(&mut self, change: &Change) {
        match change {
            Change::Append(entries) => {
                let entries = entries.iter().map(|entry| (entry.index, entry.bytes.clone()));
                self.entries.extend(entries);
            }
            Change::Vote(bytes) => self.vote = Some(bytes.clone()),
            Change::Truncate(last) => {
                self.entries.split_off(&last.map_or(0, |last| last + 1));
            }
            Change::Purge(through) => {
                self.entries = self.entries.split_off(&(through + 1));
                self.purged = self.purged.max(Some(*through));
            }
        }
    }
}

#[derive(Default)]
struct Inner {
    durable: BTreeMap<Group, Image>,
    /// Asked for and not acknowledged, in order.
    pending: VecDeque<(u64, Group, Change)>,
    /// What readers must see: all of that together.
    visible: BTreeMap<Group, Image>,
    next: u64,
    /// When all of it was set aside, in the world's ms.
    forgotten_ms: Option<Ms>,
    wrong: Vec<String>,
}

/// What one node's disk owes. Clones are the same.
#[derive(Clone, Default)]
pub(crate) struct Shadow(Arc<Mutex<Inner>>);

impl Shadow {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().expect("no code panics while it holds this lock")
    }

    /// Compares a log just opened with what it owes, and takes it as it is.
    pub(crate) fn recover(&self, groups: &[Group], store: &dyn LogStore) -> io::Result<()> {
        let mut found = BTreeMap::new();
        for group in groups {
            let image = read_image(*group, store)?;
            if image != Image::default() {
                found.insert(*group, image);
            }
        }
        let mut inner = self.lock();
        let mut owed = std::mem::take(&mut inner.durable);
        let mut pending = std::mem::take(&mut inner.pending);
        while owed != found {
            let Some((_, group, change)) = pending.pop_front() else {
                let (was, is) = (summary(&inner.visible), summary(&found));
                inner.wrong.push(format!("a disk gave back {is}; it was told {was}"));
                break;
            };
            owed.entry(group).or_default().make(&change);
        }
        (inner.durable, inner.visible) = (found.clone(), found);
        Ok(())
    }

    /// The node owes nothing any more: what it had was set aside.
    pub(crate) fn forget(&self, now_ms: Ms) {
        let mut inner = self.lock();
        inner.forgotten_ms = Some(now_ms);
        inner.durable.clear();
        inner.pending.clear();
        inner.visible.clear();
    }

    /// What disks gave back wrongly since the last call.
    pub(crate) fn take_wrong(&self) -> Vec<String> {
        std::mem::take(&mut self.lock().wrong)
    }

    /// Whether the node has that payload on disk in the entry of that index, or may have had it at
    /// some moment since `since_ms`.
    pub(crate) fn keeps(&self, group: Group, index: u64, payload: &[u8], since_ms: Ms) -> bool {
        let inner = self.lock();
        if inner.forgotten_ms.is_some_and(|forgotten| forgotten >= since_ms) {
            return true;
        }
        let Some(image) = inner.durable.get(&group) else { return false };
        let holds = |bytes: &Arc<[u8]>| bytes.windows(payload.len()).any(|part| part == payload);
        image.purged.is_some_and(|through| index <= through)
            || image.entries.get(&index).is_some_and(holds)
    }

    fn ask(&self, group: Group, change: Change, done: Done) -> Done {
        let mut inner = self.lock();
        inner.visible.entry(group).or_default().make(&change);
        let id = inner.next;
        inner.next += 1;
        inner.pending.push_back((id, group, change));
        let shadow = self.clone();
        Box::new(move |result| {
            if result.is_ok() {
                shadow.acknowledge(id);
            }
            done(result);
        })
    }

    fn acknowledge(&self, id: u64) {
        let mut inner = self.lock();
        while inner.pending.front().is_some_and(|(first, ..)| *first <= id) {
            let Some((_, group, change)) = inner.pending.pop_front() else { return };
            inner.durable.entry(group).or_default().make(&change);
        }
    }

    fn compare(&self, group: Group, range: &Range<u64>, read: &[LogEntry]) {
        let mut inner = self.lock();
        let Some(image) = inner.visible.get(&group) else { return };
        let owed = image.entries.range(range.clone());
        let wrong = owed
            .zip(read)
            .find(|((index, bytes), entry)| **index != entry.index || *bytes != &entry.bytes);
        let missing = read.is_empty() && image.entries.range(range.clone()).next().is_some();
        if wrong.is_some() || missing {
            let what = format!("group {group}: a read of {range:?} gave other entries");
            inner.wrong.push(what);
        }
    }
}

fn summary(images: &BTreeMap<Group, Image>) -> String {
    let one = |(group, image): (&Group, &Image)| {
        let ends = (image.entries.keys().next(), image.entries.keys().next_back());
        format!("group {group}: entries {ends:?}, {} of them", image.entries.len())
    };
    images.iter().map(one).collect::<Vec<_>>().join("; ")
}

fn read_image(group: Group, store: &dyn LogStore) -> io::Result<Image> {
    let (mut image, mut next) = (Image::default(), 0);
    image.purged = store.purged(group)?.map(|(through, _)| through);
    image.vote = store.vote(group)?;
    next = image.purged.map_or(next, |through| through + 1);
    loop {
        let read = store.read(group, next..u64::MAX, 1 << 20)?;
        let Some(last) = read.last() else { return Ok(image) };
        next = last.index + 1;
        image.make(&Change::Append(read));
    }
}

/// A node's log with its shadow.
pub(crate) struct Shadowed {
    shadow: Shadow,
    store: Arc<dyn LogStore>,
}

impl Shadowed {
    pub(crate) fn new(shadow: Shadow, store: Arc<dyn LogStore>) -> Self {
        Self { shadow, store }
    }
}

impl Layer for Shadowed {
    fn beneath(&self) -> &dyn LogStore {
        &*self.store
    }

    fn append(&self, group: Group, entries: Vec<LogEntry>, done: Done) {
        let done = self.shadow.ask(group, Change::Append(entries.clone()), done);
        self.store.append(group, entries, done);
    }

    fn save_vote(&self, group: Group, bytes: Vec<u8>, done: Done) {
        let done = self.shadow.ask(group, Change::Vote(bytes.clone()), done);
        self.store.save_vote(group, bytes, done);
    }

    fn truncate_after(&self, group: Group, last: Option<u64>, done: Done) {
        let done = self.shadow.ask(group, Change::Truncate(last), done);
        self.store.truncate_after(group, last, done);
    }

    fn purge(&self, group: Group, through: u64, mark: Vec<u8>, done: Done) {
        let done = self.shadow.ask(group, Change::Purge(through), done);
        self.store.purge(group, through, mark, done);
    }

    fn read(&self, group: Group, range: Range<u64>, bytes_max: usize) -> io::Result<Vec<LogEntry>> {
        let read = self.store.read(group, range.clone(), bytes_max)?;
        self.shadow.compare(group, &range, &read);
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simulation::layer::Layered;
    use crate::simulation::node_disk::{NodeDisk, Opened};
    use crate::simulation::random::Random;
    use rotary_storage::Fatal;

    fn entry(index: u64) -> LogEntry {
        LogEntry { index, bytes: vec![index as u8; 300].into() }
    }

    #[test]
    fn what_was_acknowledged_must_come_back() {
        let shadow = Shadow::default();
        let mut random = Random::salted(1, "test");
        let mut disk = NodeDisk::new(&mut random.clone(), &mut random, None);
        let fatal = Fatal::with(|_, _| ());
        let Opened { engine, stores } = disk.open(fatal.clone()).expect("opens");
        let store = Layered(Shadowed::new(shadow.clone(), stores.log));
        store.append(7, vec![entry(1), entry(2)], Box::new(|_| ()));
        assert!(engine.pump());
        store.append(7, vec![entry(3)], Box::new(|_| ()));
        assert!(shadow.keeps(7, 2, &[2; 300], 0) && !shadow.keeps(7, 3, &[3; 300], 0));
        disk.disk.power_cut();
        let again = disk.open(fatal).expect("opens").stores.log;
        shadow.recover(&[7], &*again).expect("reads");
        assert_eq!(shadow.take_wrong(), Vec::<String>::new());
        shadow.recover(&[7], &rotary_storage::MemoryLog::new()).expect("reads");
        assert_eq!(shadow.take_wrong().len(), 1);
    }
}
