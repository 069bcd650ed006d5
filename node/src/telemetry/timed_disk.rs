//! A disk whose syncs are timed: how long the log waits for what it has written.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use metrics::{Histogram, histogram};
use rotary_storage::{Disk, DiskFile};

use crate::telemetry::names;

/// A disk under the log.
pub(crate) struct Timed {
    disk: Arc<dyn Disk>,
    syncs: Histogram,
}

impl Timed {
    /// Times the syncs of files on that disk.
    pub(crate) fn of(disk: Arc<dyn Disk>) -> Arc<dyn Disk> {
        Arc::new(Self { disk, syncs: histogram!(names::LOG_SYNC) })
    }

    fn file(&self, file: Arc<dyn DiskFile>) -> Arc<dyn DiskFile> {
        Arc::new(TimedFile { file, syncs: self.syncs.clone() })
    }
}

impl Disk for Timed {
    fn create(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        self.disk.create(path).map(|file| self.file(file))
    }

    fn open(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        self.disk.open(path).map(|file| self.file(file))
    }

    fn list(&self, directory: &Path) -> io::Result<Vec<String>> {
        self.disk.list(directory)
    }

    fn make_directory(&self, directory: &Path) -> io::Result<()> {
        self.disk.make_directory(directory)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.disk.remove(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.disk.rename(from, to)
    }

    fn sync_directory(&self, directory: &Path) -> io::Result<()> {
        self.disk.sync_directory(directory)
    }

    fn free_bytes(&self, directory: &Path) -> io::Result<u64> {
        self.disk.free_bytes(directory)
    }
}

struct TimedFile {
    file: Arc<dyn DiskFile>,
    syncs: Histogram,
}

impl DiskFile for TimedFile {
    fn read_at(&self, offset: u64, into: &mut [u8]) -> io::Result<usize> {
        self.file.read_at(offset, into)
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.file.write_at(offset, bytes)
    }

    fn sync(&self) -> io::Result<()> {
        let begun = Instant::now();
        let synced = self.file.sync();
        self.syncs.record(begun.elapsed().as_secs_f64());
        synced
    }

    fn set_len(&self, bytes: u64) -> io::Result<()> {
        self.file.set_len(bytes)
    }

    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }
}
