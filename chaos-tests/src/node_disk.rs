//! A node's disk, and the log that it keeps there: the production engine, driven by hand.
//!
//! The engine writes nothing by itself: it says when there is something to write, and the world
//! decides when the disk gets to it. Segments are small, so that they are closed, dropped and read
//! from disk often.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use rotary_storage::{
    Disk, Drive, Fatal, LogStore, Notes, SegmentLog, SegmentLogOptions, SimulatedDisk, Snapshots,
};

use crate::bugs::{Bug, PlantedDisk, PlantedStore};
use crate::random::Random;

/// Where the log is.
const DIRECTORY: &str = "/node/log";

/// Where data ends in each file; zeros written ahead are no data.
pub(crate) type Ends = Arc<Mutex<BTreeMap<PathBuf, u64>>>;

/// A node's disk, with what is planted between it and the log.
pub(crate) struct NodeDisk {
    pub(crate) disk: SimulatedDisk,
    bug: Option<Bug>,
    options: SegmentLogOptions,
    opened: bool,
    ends: Ends,
    /// Where data ended before the last batch.
    cold: BTreeMap<PathBuf, u64>,
}

/// The log of one process.
pub(crate) struct Engine {
    log: Arc<SegmentLog>,
    asks: Arc<AtomicBool>,
}

impl Engine {
    /// Whether there is something to write.
    pub(crate) fn asks(&self) -> bool {
        self.asks.load(Ordering::Relaxed)
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
    pub(crate) fn new(random: &mut Random, bug: Option<Bug>) -> Self {
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
        let disk = SimulatedDisk::new(random.next());
        let (ends, cold) = (Ends::default(), BTreeMap::new());
        Self { disk, bug, options, opened: false, ends, cold }
    }

    /// Opens the node's log for a process that starts.
    ///
    /// # Errors
    /// What the log finds wrong.
    pub(crate) fn open(&mut self, fatal: Fatal) -> io::Result<(Engine, Arc<dyn LogStore>)> {
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
        let store = Arc::new(PlantedStore { store: log.clone(), bug: self.bug });
        Ok((Engine { log, asks }, store))
    }

    /// Opens what stands beside the log.
    ///
    /// # Errors
    /// What the disk says.
    pub(crate) fn open_beside(&self) -> io::Result<(Snapshots, Notes)> {
        let disk = self.disk.process();
        let snapshots = Snapshots::open(disk.clone(), Path::new("/node/snapshots"));
        let notes = Notes::open(disk, Path::new("/node/notes"))?;
        Ok((snapshots.map_err(io::Error::other)?, notes))
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
        SegmentLog::open(disk.clone(), DIRECTORY, options).map_err(io::Error::other)
    }

    /// The planted loss of the last bytes.
    fn lose_tail(&self, disk: &dyn Disk) -> io::Result<()> {
        let Some((path, end)) = self.data().pop() else { return Ok(()) };
        let file = disk.open(&path)?;
        file.set_len(end.saturating_sub(1))?;
        file.sync()
    }

    /// Segments that are there, and where their data ends.
    fn data(&self) -> Vec<(PathBuf, u64)> {
        let ends = self.ends.lock().expect("no code panics while it holds this lock");
        let there = self.disk.files().into_iter();
        let segments = there.filter(|(path, _)| is_segment(path));
        segments
            .filter_map(|(path, bytes)| {
                let end = *ends.get(&path)?;
                Some((path, end.min(bytes)))
            })
            .collect()
    }

    /// A batch is about to be written: all that is there by now is old.
    pub(crate) fn note_cold(&mut self) {
        self.cold = self.data().into_iter().collect();
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

    /// Turns a bit of old data over.
    ///
    /// # Panics
    /// If there are fewer bits.
    pub(crate) fn flip(&self, mut bit: u64) {
        for (path, bytes) in self.cold() {
            if bit < bytes * 8 {
                return self.disk.flip_bit(&path, bit);
            }
            bit -= bytes * 8;
        }
        panic!("a bit is flipped in what there is");
    }
}

fn is_segment(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "segment")
}
