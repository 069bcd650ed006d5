//! A disk that lies, and keeps account of where data ends in its files.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rotary_storage::{Disk, DiskFile};

use super::Bug;
use crate::simulation::node_disk::{Ends, is_journal};

/// A disk, with a bug that concerns disks or with another one, which then does nothing here.
pub(crate) struct PlantedDisk {
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) ends: Ends,
    pub(crate) bug: Option<Bug>,
}

impl PlantedDisk {
    fn file(&self, path: &Path, file: Arc<dyn DiskFile>) -> Arc<dyn DiskFile> {
        let (path, ends) = (path.to_owned(), self.ends.clone());
        Arc::new(PlantedFile { file, path, ends, bug: self.bug })
    }
}

impl Disk for PlantedDisk {
    fn create(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        self.disk.create(path).map(|file| self.file(path, file))
    }

    fn open(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        self.disk.open(path).map(|file| self.file(path, file))
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
        self.disk.rename(from, to)?;
        let mut ends = self.ends.lock().expect("no code panics while it holds this lock");
        if let Some(end) = ends.remove(from) {
            ends.insert(to.to_owned(), end);
        }
        Ok(())
    }

    fn sync_directory(&self, directory: &Path) -> io::Result<()> {
        self.disk.sync_directory(directory)
    }

    fn free_bytes(&self, directory: &Path) -> io::Result<u64> {
        self.disk.free_bytes(directory)
    }
}

struct PlantedFile {
    file: Arc<dyn DiskFile>,
    path: PathBuf,
    ends: Ends,
    bug: Option<Bug>,
}

impl DiskFile for PlantedFile {
    fn read_at(&self, offset: u64, into: &mut [u8]) -> io::Result<usize> {
        self.file.read_at(offset, into)
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        if let Some(last) = bytes.iter().rposition(|byte| *byte != 0) {
            let mut ends = self.ends.lock().expect("no code panics while it holds this lock");
            let end = ends.entry(self.path.clone()).or_default();
            *end = (*end).max(offset + last as u64 + 1);
        }
        self.file.write_at(offset, bytes)
    }

    fn sync(&self) -> io::Result<()> {
        match self.bug {
            Some(Bug::SyncIgnored) => Ok(()),
            Some(Bug::JournalSyncIgnored) if is_journal(&self.path) => Ok(()),
            Some(Bug::FailedSyncRetried) => self.file.sync().or_else(|_| self.file.sync()),
            _ => self.file.sync(),
        }
    }

    fn set_len(&self, bytes: u64) -> io::Result<()> {
        let mut ends = self.ends.lock().expect("no code panics while it holds this lock");
        if let Some(end) = ends.get_mut(&self.path) {
            *end = (*end).min(bytes);
        }
        drop(ends);
        self.file.set_len(bytes)
    }

    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }
}
