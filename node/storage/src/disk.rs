//! The one door to the disk.
//!
//! Everything durable goes through [`Disk`], so that the same code runs on a file system
//! ([`FileDisk`]) and on one that can be cut from its power at any moment
//! ([`crate::SimulatedDisk`]).
//!
//! What a caller may rely on is what a POSIX file system keeps after a power cut, and no more: the
//! bytes of a file written before a [`DiskFile::sync`] that succeeded, and the names in a directory
//! made before a [`Disk::sync_directory`] that succeeded. Of everything later any part may be
//! there, torn at any sector. After a sync that failed nothing is known: the only safe answer is to
//! end the process ([`crate::Fatal`]).

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

/// Files in directories. Paths are whole paths; a simulated disk has a name space of its own.
pub trait Disk: Send + Sync + 'static {
    /// Makes an empty file. Its name is durable after [`Disk::sync_directory`] of its directory.
    ///
    /// # Errors
    /// `AlreadyExists`, `NotFound` without the directory, `StorageFull`, and what the disk says.
    fn create(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>>;

    /// Opens a file that exists, for reading and writing.
    ///
    /// # Errors
    /// `NotFound`, and what the disk says.
    fn open(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>>;

    /// The names in a directory, sorted.
    ///
    /// # Errors
    /// `NotFound`, and what the disk says.
    fn list(&self, directory: &Path) -> io::Result<Vec<String>>;

    /// Makes a directory and those above it, and makes their names durable.
    ///
    /// # Errors
    /// What the disk says.
    fn make_directory(&self, directory: &Path) -> io::Result<()>;

    /// Removes a file; readers that have it open keep it.
    ///
    /// # Errors
    /// `NotFound`, and what the disk says.
    fn remove(&self, path: &Path) -> io::Result<()>;

    /// Gives a file another name in one step, replacing what has that name.
    ///
    /// # Errors
    /// `NotFound`, and what the disk says.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Makes the names in a directory durable.
    ///
    /// # Errors
    /// What the disk says; then nothing is known about the names.
    fn sync_directory(&self, directory: &Path) -> io::Result<()>;

    /// Bytes that may still be written to the file system of that directory by this process.
    ///
    /// # Errors
    /// What the disk says.
    fn free_bytes(&self, directory: &Path) -> io::Result<u64>;
}

/// One open file.
pub trait DiskFile: Send + Sync + 'static {
    /// Reads from `offset` until `into` is full or the file ends, and returns how many bytes.
    ///
    /// # Errors
    /// What the disk says.
    fn read_at(&self, offset: u64, into: &mut [u8]) -> io::Result<usize>;

    /// Writes all of `bytes` at `offset`, making the file longer if need be.
    ///
    /// # Errors
    /// `StorageFull`, and what the disk says; then any part of the bytes may be there.
    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()>;

    /// Makes the file's bytes and length durable (`fdatasync`).
    ///
    /// # Errors
    /// What the disk says. Repeating a failed sync may report success without having written.
    fn sync(&self) -> io::Result<()>;

    /// Cuts the file, or makes it longer with zeros.
    ///
    /// # Errors
    /// What the disk says.
    fn set_len(&self, bytes: u64) -> io::Result<()>;

    /// The file's length in bytes.
    ///
    /// # Errors
    /// What the disk says.
    fn len(&self) -> io::Result<u64>;

    /// Whether the file has no bytes.
    ///
    /// # Errors
    /// What the disk says.
    fn is_empty(&self) -> io::Result<bool> {
        Ok(self.len()? == 0)
    }
}

/// Reads `count` bytes at `offset`, or fewer where the file ends.
///
/// # Errors
/// What the disk says.
pub fn read_up_to(file: &dyn DiskFile, offset: u64, count: usize) -> io::Result<Vec<u8>> {
    let left = file.len()?.saturating_sub(offset);
    let count = usize::try_from(left).unwrap_or(usize::MAX).min(count);
    let mut bytes = vec![0; count];
    let read = file.read_at(offset, &mut bytes)?;
    bytes.truncate(read);
    Ok(bytes)
}

/// The file system of the operating system.
#[derive(Debug, Clone, Copy, Default)]
pub struct FileDisk;

impl Disk for FileDisk {
    fn create(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        let file = OpenOptions::new().read(true).write(true).create_new(true).open(path)?;
        Ok(Arc::new(OsFile(file)))
    }

    fn open(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        let file = OpenOptions::new().read(true).write(true).open(path)?;
        Ok(Arc::new(OsFile(file)))
    }

    fn list(&self, directory: &Path) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for found in std::fs::read_dir(directory)? {
            // A name that is not UTF-8 is not one of ours.
            names.extend(found?.file_name().into_string());
        }
        names.sort_unstable();
        Ok(names)
    }

    fn make_directory(&self, directory: &Path) -> io::Result<()> {
        std::fs::create_dir_all(directory)?;
        for above in directory.ancestors().skip(1).take_while(|path| !path.as_os_str().is_empty()) {
            // A directory that we may not open was not made by us, so its names are durable.
            if File::open(above).and_then(|above| above.sync_all()).is_err() {
                break;
            }
        }
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        std::fs::remove_file(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        std::fs::rename(from, to)
    }

    fn sync_directory(&self, directory: &Path) -> io::Result<()> {
        File::open(directory)?.sync_all()
    }

    fn free_bytes(&self, directory: &Path) -> io::Result<u64> {
        let stat = rustix::fs::statvfs(directory)?;
        Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
    }
}

struct OsFile(File);

impl DiskFile for OsFile {
    fn read_at(&self, mut offset: u64, mut into: &mut [u8]) -> io::Result<usize> {
        let mut total = 0;
        while !into.is_empty() {
            match FileExt::read_at(&self.0, into, offset) {
                Ok(0) => break,
                Ok(read) => {
                    total += read;
                    offset += read as u64;
                    into = &mut into[read..];
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(total)
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.0.write_all_at(bytes, offset)
    }

    fn sync(&self) -> io::Result<()> {
        self.0.sync_data()
    }

    fn set_len(&self, bytes: u64) -> io::Result<()> {
        self.0.set_len(bytes)
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }
}
