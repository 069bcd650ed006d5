//! Space kept aside, so that a full disk can still take votes and what was accepted already.

use std::io;
use std::path::{Path, PathBuf};

use crate::disk::{Disk, DiskFile};

/// The file's name in the log's directory.
pub(crate) const RESERVE: &str = "reserve";

static ZEROS: [u8; 64 * 1024] = [0; 64 * 1024];

/// A file of zeros that is removed when the disk is full.
#[derive(Debug)]
pub(crate) struct Reserve {
    path: PathBuf,
    bytes: u64,
    is_there: bool,
}

impl Reserve {
    /// The reserve of that directory, which may be there already.
    pub(crate) fn of(disk: &dyn Disk, directory: &Path, bytes: u64) -> io::Result<Self> {
        let path = directory.join(RESERVE);
        let length = match disk.open(&path) {
            Ok(file) => Some(file.len()?),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(error),
        };
        let mut reserve = Self { path, bytes, is_there: length.is_some() };
        if length.is_some_and(|length| length != bytes) {
            reserve.release(disk)?;
        }
        Ok(reserve)
    }

    /// Bytes that have to be free before it can be made; 0 if it is there.
    pub(crate) fn missing_bytes(&self) -> u64 {
        if self.is_there { 0 } else { self.bytes }
    }

    /// Writes it, unless it is there. Without space for it there is none, and that is no error.
    pub(crate) fn make(&mut self, disk: &dyn Disk) -> io::Result<()> {
        if self.missing_bytes() == 0 {
            return Ok(());
        }
        let new = self.path.with_extension("new");
        remove_if_there(disk, &new)?;
        match self.write(disk, &new) {
            Ok(()) => self.is_there = true,
            Err(error) if is_full(&error) => remove_if_there(disk, &new)?,
            Err(error) => return Err(error),
        }
        Ok(())
    }

    /// Really written and not only made longer: a file system allocates what it has to store.
    fn write(&self, disk: &dyn Disk, new: &Path) -> io::Result<()> {
        let file = disk.create(new)?;
        write_zeros(&*file, 0, self.bytes)?;
        file.sync()?;
        disk.rename(new, &self.path)
    }

    /// Gives the space back. `false` if there was none to give.
    pub(crate) fn release(&mut self, disk: &dyn Disk) -> io::Result<bool> {
        if !self.is_there {
            return Ok(false);
        }
        disk.remove(&self.path)?;
        self.is_there = false;
        let directory = self.path.parent().unwrap_or(Path::new("/"));
        // Until the removal is on disk, a file system may hold on to the blocks.
        disk.sync_directory(directory)?;
        Ok(true)
    }
}

/// Whether a write failed for want of space.
pub(crate) fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

/// Writes zeros over a range, piece by piece.
pub(crate) fn write_zeros(file: &dyn DiskFile, mut from: u64, to: u64) -> io::Result<()> {
    while from < to {
        let count = usize::try_from(to - from).unwrap_or(usize::MAX).min(ZEROS.len());
        file.write_at(from, &ZEROS[..count])?;
        from += count as u64;
    }
    Ok(())
}

pub(crate) fn remove_if_there(disk: &dyn Disk, path: &Path) -> io::Result<()> {
    match disk.remove(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simulated_disk::SimulatedDisk;

    fn reserve(disk: &dyn Disk) -> Reserve {
        Reserve::of(disk, Path::new("/log"), 1000).expect("readable")
    }

    #[test]
    fn it_is_made_released_and_made_again() {
        let simulated = SimulatedDisk::new(1);
        let disk = simulated.process();
        disk.make_directory(Path::new("/log")).expect("a directory");
        let mut first = reserve(&*disk);
        assert_eq!(first.missing_bytes(), 1000);
        first.make(&*disk).expect("space");
        assert_eq!((first.missing_bytes(), simulated.used_bytes()), (0, 1000));
        let mut second = reserve(&*disk);
        assert_eq!(second.missing_bytes(), 0, "it is found again");
        assert!(second.release(&*disk).expect("released"));
        assert!(!second.release(&*disk).expect("nothing to release"));
        assert_eq!((second.missing_bytes(), simulated.used_bytes()), (1000, 0));
        simulated.set_capacity(999);
        second.make(&*disk).expect("no space is no error");
        assert_eq!((second.missing_bytes(), simulated.used_bytes()), (1000, 0));
    }

    #[test]
    fn one_of_another_size_is_replaced() {
        let simulated = SimulatedDisk::new(1);
        let disk = simulated.process();
        disk.make_directory(Path::new("/log")).expect("a directory");
        reserve(&*disk).make(&*disk).expect("space");
        let larger = Reserve::of(&*disk, Path::new("/log"), 2000).expect("readable");
        assert_eq!((larger.missing_bytes(), simulated.used_bytes()), (2000, 0));
    }
}
