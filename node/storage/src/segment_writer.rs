//! The writer of a [`crate::SegmentLog`]: one round is one batch, one sync, its callbacks.
//!
//! A round takes what is queued, by whichever group. With it go the values that wait for company,
//! in a segment's first batch everything but the entries, and, when old segments are held back by
//! a few entries, copies of some of those. There are no timers: the sync that runs is the window in
//! which the next batch gathers.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::{Arc, Mutex};

use crate::disk::DiskFile;
use crate::fatal::EXIT_STORAGE;
use crate::log_store::{Group, Space};
use crate::segment_format::{BATCH_HEADER_BYTES, Batch, Record};
use crate::segment_head::Head;
use crate::segment_reader::{Piece, read_pieces};
use crate::segment_state::{Operation, Queued, Shared, State};

/// Bytes written between two looks at the free space.
const SPACE_CHECK_BYTES: u64 = 1024 * 1024;
/// Bytes of copies that go with a batch, beside twice its own.
const COPY_BYTES: usize = 16 * 1024;

/// What the writer keeps from round to round.
pub(crate) struct Writer {
    head: Head,
    batch: Batch,
    /// Entries of the oldest segment that are still to be copied, the next one last.
    to_copy: Vec<(Group, u64)>,
    written_since_look: u64,
}

/// What goes with a batch that nobody waits for.
struct Company {
    lazy: Vec<((Group, &'static str), Vec<u8>)>,
    copies: BTreeMap<Group, Vec<Piece>>,
    files: BTreeMap<u32, Arc<dyn DiskFile>>,
    /// At most what all that takes, in bytes.
    bytes: usize,
}

/// Writes until the store closes. What is queued then is dropped, as in a crash.
pub(crate) fn run(shared: &Shared, writer: &Mutex<Writer>) {
    let _guard = shared.options.fatal.on_panic("the log writer");
    while wait(shared) {
        let mut writer = writer.lock().expect("only this thread holds it");
        round(shared, &mut writer);
    }
}

/// Waits for work; `false` when the store closes.
fn wait(shared: &Shared) -> bool {
    let mut state = shared.lock();
    loop {
        if state.closing {
            return false;
        }
        if !state.queue.is_empty() || state.look_at_space {
            return true;
        }
        state = shared.filled.wait(state).expect("a panic under this lock ends the process");
    }
}

/// One round. `false` if there was nothing to do.
pub(crate) fn round(shared: &Shared, writer: &mut Writer) -> bool {
    let (queue, look) = take(shared);
    if queue.is_empty() && !look {
        return false;
    }
    let mut result = refused(shared);
    if result.is_ok() && !queue.is_empty() {
        result = writer.write(shared, &queue);
        if let Err(error) = &result {
            fail(shared, error);
        }
    }
    for queued in queue {
        (queued.done)(match &result {
            Ok(()) => Ok(()),
            Err(error) => Err(io::Error::new(error.kind(), error.to_string())),
        });
    }
    if result.is_ok()
        && let Err(error) = writer.tidy(shared, look)
    {
        fail(shared, &error);
    }
    true
}

/// The calls of the next batch, and whether to look at the space.
fn take(shared: &Shared) -> (Vec<Queued>, bool) {
    let mut state = shared.lock();
    let look = std::mem::take(&mut state.look_at_space);
    let mut bytes = 0;
    let fits = |queued: &&Queued| {
        bytes += queued.bytes;
        bytes - queued.bytes < shared.options.batch_bytes_max.max(1)
    };
    let count = state.queue.iter().take_while(fits).count();
    let queue: Vec<_> = state.queue.drain(..count).collect();
    state.queue_bytes -= queue.iter().map(|queued| queued.bytes).sum::<usize>();
    drop(state);
    shared.drained.notify_all();
    (queue, look)
}

/// The error that a log which has failed answers with.
fn refused(shared: &Shared) -> io::Result<()> {
    match &shared.lock().failed {
        Some(reason) => Err(io::Error::other(reason.clone())),
        None => Ok(()),
    }
}

fn fail(shared: &Shared, error: &io::Error) {
    let reason = format!("the log could not be written: {error}");
    shared.lock().failed = Some(reason.clone());
    shared.drained.notify_all();
    shared.options.fatal.end(EXIT_STORAGE, &reason);
}

impl Writer {
    pub(crate) fn new(head: Head) -> Self {
        Self { head, batch: Batch::new(), to_copy: Vec::new(), written_since_look: 0 }
    }

    /// Makes the calls durable.
    fn write(&mut self, shared: &Shared, queue: &[Queued]) -> io::Result<()> {
        let bytes = queue.iter().map(|queued| queued.bytes).sum();
        let company = self.company(&mut shared.lock(), bytes);
        if company.lazy.is_empty() && queue.iter().all(|queued| queued.operations.is_empty()) {
            // A flush of what is durable already.
            return Ok(());
        }
        self.begin(shared, BATCH_HEADER_BYTES + bytes + company.bytes)?;
        for (group, pieces) in &company.copies {
            read_pieces(&shared.home, &company.files, *group, pieces, |index, bytes| {
                self.batch.push(*group, Record::Copy(index, bytes));
            })?;
        }
        for queued in queue {
            for operation in &queued.operations {
                self.batch.push(queued.group, record(operation));
            }
        }
        for ((group, name), value) in &company.lazy {
            self.batch.push(*group, Record::Saved(name, value));
        }
        self.commit(shared, queue)
    }

    /// Values that wait for a batch, and entries to be copied.
    fn company(&mut self, state: &mut State, queue_bytes: usize) -> Company {
        let lazy: Vec<_> = std::mem::take(&mut state.lazy).into_iter().collect();
        let mut bytes = std::mem::take(&mut state.lazy_bytes);
        let mut copies = BTreeMap::<Group, Vec<Piece>>::new();
        let mut files = BTreeMap::new();
        let copied_max = bytes + COPY_BYTES + 2 * queue_bytes;
        while bytes < copied_max
            && let Some((group, index)) = self.to_copy.pop()
        {
            let location = state.index.locate(group, index);
            let Some(location) = location.filter(|at| at.segment == self.head.oldest) else {
                continue;
            };
            bytes += location.record_bytes();
            copies.entry(group).or_default().push(Piece { index, location });
        }
        copies.values_mut().for_each(|pieces| pieces.reverse());
        if let Some(file) = state.files.get(&self.head.oldest) {
            files.insert(self.head.oldest, file.clone());
        }
        Company { lazy, copies, files, bytes }
    }

    /// Begins a batch of about that many bytes, in another segment if need be.
    fn begin(&mut self, shared: &Shared, bytes: usize) -> io::Result<()> {
        self.batch.clear(shared.options.batch_bytes_max);
        if self.head.is_full_for(bytes) {
            self.head.rotate(bytes)?;
            let mut state = shared.lock();
            state.files.insert(self.head.segment, self.head.file.clone());
            state.index.segments.entry(self.head.segment).or_default();
        }
        if self.head.batches == 0 {
            let state = shared.lock();
            state.index.checkpoint(|group, record| self.batch.push(group, record));
        }
        Ok(())
    }

    /// Writes and syncs the batch, and tells the index and the tails.
    fn commit(&mut self, shared: &Shared, queue: &[Queued]) -> io::Result<()> {
        let at = self.head.append(&mut self.batch)?;
        self.written_since_look += self.batch.len() as u64;
        let mut state = shared.lock();
        let state = &mut *state;
        let applied = state.index.apply_batch(&self.batch, self.head.segment, at);
        applied.map_err(io::Error::other)?;
        let tail_bytes_max = state.tail_bytes_max(&shared.options);
        let durable = queue.last().map_or(0, |queued| queued.ticket);
        for number in queue.iter().map(|queued| queued.group).collect::<BTreeSet<_>>() {
            if let Some(group) = state.groups.get_mut(&number) {
                group.tail.evict(durable, tail_bytes_max);
            }
        }
        state.stats.batches += 1;
        state.stats.syncs = self.head.syncs;
        state.stats.operations += queue.len() as u64;
        let operations = queue.iter().flat_map(|queued| &queued.operations);
        let entries = operations.filter(|operation| matches!(operation, Operation::Append(_)));
        state.stats.entries += entries.count() as u64;
        Ok(())
    }

    /// What can wait until the callers have their answers.
    fn tidy(&mut self, shared: &Shared, look: bool) -> io::Result<()> {
        self.drop_segments(shared)?;
        self.plan_copies(shared);
        let is_low = matches!(shared.lock().space, Some(Space::Low { .. }));
        if look || is_low || self.written_since_look >= SPACE_CHECK_BYTES {
            self.look_at_space(shared)?;
        }
        Ok(())
    }

    /// Removes the segments before the first that is needed, once the log says so.
    fn drop_segments(&mut self, shared: &Shared) -> io::Result<()> {
        let oldest = shared.lock().index.oldest_needed(self.head.segment);
        if oldest <= self.head.oldest {
            return Ok(());
        }
        self.head.oldest = oldest;
        self.begin(shared, BATCH_HEADER_BYTES)?;
        self.commit(shared, &[])?;
        let dropped = {
            let mut state = shared.lock();
            let kept = state.index.segments.split_off(&oldest);
            state.index.segments = kept;
            let kept = state.files.split_off(&oldest);
            std::mem::replace(&mut state.files, kept)
        };
        for number in dropped.keys() {
            // Recovery removes what comes back.
            shared.home.disk.remove(&shared.home.path(*number))?;
        }
        Ok(())
    }

    /// When the log is more than twice as long as what it holds, and two segments besides, the
    /// entries of its oldest segment are to be copied. So what is copied is never more than what
    /// was written since.
    fn plan_copies(&mut self, shared: &Shared) {
        let state = shared.lock();
        if !self.to_copy.is_empty() || self.head.oldest == self.head.segment {
            return;
        }
        let segments = state.index.segments.values();
        let (bytes, live) =
            segments.fold((0, 0), |sum, used| (sum.0 + used.bytes, sum.1 + used.live_bytes));
        if bytes > 2 * live + 2 * shared.home.segment_bytes {
            self.to_copy = state.index.live_of(self.head.oldest);
        }
    }

    /// Makes the reserve again if there is space for it, and tells callers how the disk is.
    pub(crate) fn look_at_space(&mut self, shared: &Shared) -> io::Result<()> {
        self.written_since_look = 0;
        let Head { home, reserve, .. } = &mut self.head;
        let wanted = |missing: u64| shared.options.free_bytes_min.saturating_add(missing);
        let mut free = home.disk.free_bytes(&home.directory)?;
        if reserve.missing_bytes() > 0 && free >= wanted(reserve.missing_bytes()) {
            reserve.make(&*home.disk)?;
            free = home.disk.free_bytes(&home.directory)?;
        }
        let wanted = wanted(reserve.missing_bytes());
        let space = if free < wanted { Space::Low { free, wanted } } else { Space::Ok };
        let before = shared.lock().space.replace(space);
        if let Space::Low { .. } = space
            && !matches!(before, Some(Space::Low { .. }))
        {
            let directory = home.directory.display();
            tracing::warn!(code = "disk-low", %directory, free, wanted, "space on the disk is low");
        }
        Ok(())
    }
}

fn record(operation: &Operation) -> Record<'_> {
    match operation {
        Operation::Append(entry) => Record::Entry(entry.index, &entry.bytes),
        Operation::Vote(vote) => Record::Vote(vote),
        Operation::Truncate(from) => Record::Truncate(*from),
        Operation::Purge(through, mark) => Record::Purge(*through, mark),
        Operation::ClearCut => Record::CutCleared,
    }
}
