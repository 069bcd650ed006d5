//! A node's disk, and what it keeps there: the production log and journal, driven by hand.
//!
//! Neither writes by itself: each says when there is something to write, and the world decides
//! when the disk gets to it. Segments are small, so that they are closed, dropped and read from
//! disk often.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use rotary_log::{LogStores, doubt_note};
use rotary_proto::ShardId;
use rotary_storage::{
    Disk, Drive, Fatal, Journal, JournalOptions, LogStore, Notes, SegmentLog, SegmentLogOptions,
    SimulatedDisk, Snapshots,
};

use crate::simulation::bugs::{Bug, PlantedDisk, PlantedStore};
use crate::simulation::layer::Layered;
use crate::simulation::random::Random;

/// Where things are.
const LOG: &str = "/node/log";
const JOURNAL: &str = "/node/journal";
const SNAPSHOTS: &str = "/node/snapshots";
const NOTES: &str = "/node/notes";

/// Where data ends in each file; zeros written ahead are no data.
pub(crate) type Ends = Arc<Mutex<BTreeMap<PathBuf, u64>>>;

/// A node's disk, with what is planted between it and the log.
pub(crate) struct NodeDisk {
    pub(crate) disk: SimulatedDisk,
    bug: Option<Bug>,
    options: SegmentLogOptions,
    journal: JournalOptions,
    opened: bool,
    ends: Ends,
    /// Where data ended before the last batch of its kind.
    cold: BTreeMap<PathBuf, u64>,
}

/// What a process has opened.
pub(crate) struct Opened {
    pub(crate) engine: Engine,
    pub(crate) stores: LogStores,
}

/// The log and the journal of one process.
pub(crate) struct Engine {
    log: Arc<SegmentLog>,
    asks: Arc<AtomicBool>,
    pub(crate) journal: Arc<Journal>,
    journal_asks: Arc<AtomicBool>,
}

impl Engine {
    /// Whether there is something to write to the log.
    pub(crate) fn asks(&self) -> bool {
        self.asks.load(Ordering::Relaxed)
    }

    /// Whether there is something to write to the journal.
    pub(crate) fn journal_asks(&self) -> bool {
        self.journal_asks.load(Ordering::Relaxed)
    }

    /// Writes what is pending of the journal and syncs it. A journal that fails ends the process.
    pub(crate) fn pump_journal(&self) -> bool {
        self.journal_asks.store(false, Ordering::Relaxed);
        self.journal.pump().unwrap_or(true)
    }

    /// Writes one batch and syncs it; whether there was one.
    pub(crate) fn pump(&self) -> bool {
        self.asks.store(false, Ordering::Relaxed);
        let done = self.log.pump();
        if done {
            // Perhaps there was more than goes into one.
            self.asks.store(true, Ordering::Relaxed);
        }
        done
    }
}

impl NodeDisk {
    /// An empty disk.
    pub(crate) fn new(random: &mut Random, journal: &mut Random, bug: Option<Bug>) -> Self {
        let step_bytes = random.between(1, 16) * 1024;
        let options = SegmentLogOptions {
            log_id: random.wide(),
            segment_bytes: random.between(8, 128) * 1024,
            step_bytes,
            batch_bytes_max: 64 * 1024,
            tail_bytes_max: random.between(4, 64) as usize * 1024,
            queue_bytes_max: 1024 * 1024,
            reserve_bytes: 64 * 1024,
            free_bytes_min: 64 * 1024,
            ..SegmentLogOptions::default()
        };
        let journal = JournalOptions {
            segment_bytes_max: journal.between(4, 64) * 1024,
            recent_bytes_max: journal.between(1, 64) as usize * 1024,
            pending_bytes_max: 256 * 1024,
            mark_interval: journal.between(4, 512),
            ..JournalOptions::default()
        };
        let disk = SimulatedDisk::new(random.next());
        let (ends, cold) = (Ends::default(), BTreeMap::new());
        Self { disk, bug, options, journal, opened: false, ends, cold }
    }

    /// Opens everything for a process that starts, and reads all of the journal.
    ///
    /// # Errors
    /// What the log or the journal finds wrong.
    pub(crate) fn open(&mut self, fatal: Fatal) -> io::Result<Opened> {
        let (disk, ends) = (self.disk.process(), self.ends.clone());
        let disk: Arc<dyn Disk> = Arc::new(PlantedDisk { disk, ends, bug: self.bug });
        if self.bug == Some(Bug::TailLost) && self.opened {
            self.lose_tail(&*disk)?;
        }
        self.opened = true;
        let asks = Arc::new(AtomicBool::new(true));
        let log = match self.open_log(&disk, &fatal, &asks) {
            Err(_) if self.bug == Some(Bug::DamageBegunAnew) => {
                for (path, _) in self.disk.files() {
                    disk.remove(&path)?;
                }
                self.open_log(&disk, &fatal, &asks)?
            }
            opened => opened?,
        };
        let log = Arc::new(log);
        let store: Arc<dyn LogStore> =
            Arc::new(Layered(PlantedStore { store: log.clone(), bug: self.bug }));
        let snapshots = Snapshots::open(disk.clone(), Path::new(SNAPSHOTS), fatal.clone());
        let snapshots = snapshots.map_err(io::Error::other)?;
        let notes = Notes::open(disk.clone(), Path::new(NOTES))?;
        let journal_asks = Arc::new(AtomicBool::new(true));
        let journal = Arc::new(self.open_journal(&disk, fatal, &journal_asks)?);
        let engine = Engine { log, asks, journal, journal_asks };
        Ok(Opened { engine, stores: LogStores { log: store, snapshots, notes } })
    }

    fn open_journal(
        &self,
        disk: &Arc<dyn Disk>,
        fatal: Fatal,
        asks: &Arc<AtomicBool>,
    ) -> io::Result<Journal> {
        let asks = asks.clone();
        let drive = Drive::Manual(Arc::new(move || asks.store(true, Ordering::Relaxed)));
        let options = JournalOptions { fatal, drive, ..self.journal.clone() };
        let journal = Journal::open(disk.clone(), Path::new(JOURNAL), options);
        let journal = journal.map_err(io::Error::other)?;
        for group in journal.groups() {
            journal.scrub(group).map_err(io::Error::other)?;
        }
        Ok(journal)
    }

    /// What an operator does to a node that is damaged: a note for every group that its log is
    /// gone, and then it is gone, with all that is made again from the others.
    ///
    /// # Errors
    /// What the disk says.
    pub(crate) fn set_aside(&mut self, groups: u32) -> io::Result<()> {
        let disk = self.disk.process();
        let notes = Notes::open(disk.clone(), Path::new(NOTES))?;
        for group in (0..groups).filter(|_| self.bug != Some(Bug::RebuildUnnoted)) {
            notes.put(&doubt_note(ShardId(group)), "the log was set aside")?;
        }
        for (path, _) in self.disk.files() {
            if !path.starts_with(NOTES) {
                disk.remove(&path)?;
                disk.sync_directory(path.parent().unwrap_or(Path::new("/")))?;
            }
        }
        self.ends.lock().expect("no code panics while it holds this lock").clear();
        self.cold.clear();
        Ok(())
    }

    /// Everything on the disk is gone, as if it were another disk.
    ///
    /// # Errors
    /// What the disk says.
    pub(crate) fn lose(&mut self) -> io::Result<()> {
        let disk = self.disk.process();
        for (path, _) in self.disk.files() {
            disk.remove(&path)?;
            disk.sync_directory(path.parent().unwrap_or(Path::new("/")))?;
        }
        Ok(())
    }

    fn open_log(
        &self,
        disk: &Arc<dyn Disk>,
        fatal: &Fatal,
        asks: &Arc<AtomicBool>,
    ) -> io::Result<SegmentLog> {
        let asks = asks.clone();
        let wake = Arc::new(move || asks.store(true, Ordering::Relaxed));
        let drive = Drive::Manual(wake);
        let options = SegmentLogOptions { fatal: fatal.clone(), drive, ..self.options.clone() };
        SegmentLog::open(disk.clone(), LOG, options).map_err(io::Error::other)
    }

    /// The planted loss of the last bytes.
    fn lose_tail(&self, disk: &dyn Disk) -> io::Result<()> {
        let log = self.data().into_iter().rfind(|(path, _)| path.starts_with(LOG));
        let Some((path, end)) = log else { return Ok(()) };
        let file = disk.open(&path)?;
        file.set_len(end.saturating_sub(1))?;
        file.sync()
    }

    /// Files of data that are there, and where their data ends.
    pub(crate) fn data(&self) -> Vec<(PathBuf, u64)> {
        let ends = self.ends.lock().expect("no code panics while it holds this lock");
        let there = self.disk.files().into_iter();
        let files = there.filter(|(path, _)| is_data(path));
        files
            .filter_map(|(path, bytes)| {
                let end = *ends.get(&path)?;
                Some((path, end.min(bytes)))
            })
            .collect()
    }

    /// A batch was written whole, to the journal or to the log: what was there of it before is old.
    /// The last batch is not, since damage to it looks like a write that was torn.
    pub(crate) fn note_cold(&mut self, before: Vec<(PathBuf, u64)>, journal: bool) {
        let of_other = |path: &Path| if journal { path.starts_with(LOG) } else { is_journal(path) };
        self.cold.extend(before.into_iter().filter(|(path, _)| !of_other(path)));
    }

    fn cold(&self) -> impl Iterator<Item = (PathBuf, u64)> {
        let there = self.disk.files().into_iter();
        there.filter_map(|(path, bytes)| {
            let end = *self.cold.get(&path)?;
            Some((path, end.min(bytes)))
        })
    }

    /// How many bytes there are that no later write can have torn.
    pub(crate) fn cold_bytes(&self) -> u64 {
        self.cold().map(|(_, bytes)| bytes).sum()
    }

    /// Turns a bit of old data over, and says in which file.
    ///
    /// # Panics
    /// If there are fewer bits.
    pub(crate) fn flip(&self, mut bit: u64) -> PathBuf {
        for (path, bytes) in self.cold() {
            if bit < bytes * 8 {
                self.disk.flip_bit(&path, bit);
                return path;
            }
            bit -= bytes * 8;
        }
        panic!("a bit is flipped in what there is");
    }
}

/// Whether a file is a segment of the log or of the journal, or a snapshot.
fn is_data(path: &Path) -> bool {
    let data = ["segment", "journal", "snapshot"];
    path.extension().is_some_and(|extension| data.iter().any(|data| extension == *data))
}

/// Whether a file is the journal's.
pub(crate) fn is_journal(path: &Path) -> bool {
    path.starts_with(JOURNAL)
}
