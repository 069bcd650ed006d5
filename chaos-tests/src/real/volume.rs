//! A node's home: an ext4 file system of its own, in an image file on a loop device.
//!
//! Its power can be cut, its room taken, and its bits turned over, without the machine's own disk
//! noticing. The loop device is given back when the file system is unmounted, also by the end of
//! the namespace.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use super::shell::{self, ShellError};

/// Bytes of a block of these file systems.
const BLOCK_BYTES: u64 = 4_096;
/// The file that takes the room.
const BALLAST: &str = "ballast";

/// Something that could not be done to a volume.
#[derive(Debug, thiserror::Error)]
pub enum VolumeError {
    /// A command failed.
    #[error(transparent)]
    Shell(#[from] ShellError),
    /// A call failed.
    #[error("{path}: {source}")]
    Io {
        /// What it was about.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// There is nothing there to damage.
    #[error("no block of {0} is on the disk")]
    Hole(PathBuf),
}

/// One file system.
#[derive(Debug)]
pub struct Volume {
    image: PathBuf,
    mount: PathBuf,
}

/// A file's byte as a place in the image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place(u64);

impl Volume {
    /// Makes a file system of so many MiB in an image file, and mounts it on a folder, which is
    /// made if it is not there.
    ///
    /// # Errors
    /// [`VolumeError`].
    pub fn make(image: PathBuf, mount: PathBuf, mib: u64) -> Result<Self, VolumeError> {
        let failed = |source| VolumeError::Io { path: image.clone(), source };
        let file = File::create_new(&image).map_err(failed)?;
        file.set_len(mib * 1024 * 1024).map_err(failed)?;
        std::fs::create_dir_all(&mount)
            .map_err(|source| VolumeError::Io { path: mount.clone(), source })?;
        shell::run_with("mkfs.ext4 -q -F -b 4096 -m 0", &[&image.to_string_lossy()])?;
        let volume = Self { image, mount };
        volume.mount()?;
        Ok(volume)
    }

    /// Where it is mounted.
    pub fn folder(&self) -> &Path {
        &self.mount
    }

    /// Mounts it.
    ///
    /// # Errors
    /// [`VolumeError`].
    pub fn mount(&self) -> Result<(), VolumeError> {
        let (image, mount) = (self.image.to_string_lossy(), self.mount.to_string_lossy());
        shell::run_with("mount -t ext4 -o loop", &[&image, &mount])?;
        Ok(())
    }

    /// Unmounts it; no process may use it.
    ///
    /// # Errors
    /// [`VolumeError`].
    pub fn unmount(&self) -> Result<(), VolumeError> {
        shell::run_with("umount", &[&self.mount.to_string_lossy()])?;
        Ok(())
    }

    /// Cuts its power: what was not synced is gone. Its processes must be ended, and it must be
    /// unmounted and mounted, before it can be used.
    ///
    /// # Errors
    /// [`VolumeError`].
    pub fn cut_power(&self) -> Result<(), VolumeError> {
        super::ioctl::cut_power(&self.mount).map_err(|source| self.wrong(source))
    }

    /// Bytes that are free.
    ///
    /// # Errors
    /// [`VolumeError`].
    pub fn free_bytes(&self) -> Result<u64, VolumeError> {
        let state = rustix::fs::statvfs(&self.mount).map_err(|errno| self.wrong(errno.into()))?;
        Ok(state.f_bavail * state.f_frsize)
    }

    /// Takes room until so many bytes are free.
    ///
    /// # Errors
    /// [`VolumeError`].
    pub fn fill(&self, leave_bytes: u64) -> Result<(), VolumeError> {
        let bytes = self.free_bytes()?.saturating_sub(leave_bytes);
        let ballast = self.mount.join(BALLAST);
        let file = File::create(&ballast).map_err(|source| self.wrong(source))?;
        let kind = rustix::fs::FallocateFlags::empty();
        rustix::fs::fallocate(file, kind, 0, bytes.max(1)).map_err(|errno| self.wrong(errno.into()))
    }

    /// Gives the room back.
    ///
    /// # Errors
    /// [`VolumeError`]; none if nothing was taken.
    pub fn empty(&self) -> Result<(), VolumeError> {
        match std::fs::remove_file(self.mount.join(BALLAST)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            // Else a loss of power would bring it back.
            Ok(()) => File::open(&self.mount)
                .and_then(|root| root.sync_all())
                .map_err(|source| self.wrong(source)),
            Err(error) => Err(self.wrong(error)),
        }
    }

    /// Where a byte of a file is in the image. `file` is relative to the volume's folder. The
    /// volume may be mounted or not, but what it has must be on the disk.
    ///
    /// # Errors
    /// [`VolumeError::Hole`] if that part of the file has no block, and others.
    pub fn locate(&self, file: &Path, at: u64) -> Result<Place, VolumeError> {
        let request = format!("bmap \"/{}\" {}", file.display(), at / BLOCK_BYTES);
        let words = shell::run_with("debugfs -R", &[&request, &self.image.to_string_lossy()])?;
        let block = words.split_whitespace().find_map(|word| word.parse::<u64>().ok());
        let block = block.filter(|block| *block > 0);
        let block = block.ok_or_else(|| VolumeError::Hole(file.to_owned()))?;
        Ok(Place(block * BLOCK_BYTES + at % BLOCK_BYTES))
    }

    /// Turns over one bit, 0 to 7, of the byte at a place. The volume must not be mounted.
    ///
    /// # Errors
    /// [`VolumeError`].
    pub fn flip(&self, place: Place, bit: u32) -> Result<(), VolumeError> {
        let turn = || {
            let file = OpenOptions::new().read(true).write(true).open(&self.image)?;
            let mut byte = [0];
            file.read_exact_at(&mut byte, place.0)?;
            file.write_all_at(&[byte[0] ^ 1 << (bit % 8)], place.0)?;
            file.sync_all()
        };
        turn().map_err(|source| VolumeError::Io { path: self.image.clone(), source })
    }

    fn wrong(&self, source: io::Error) -> VolumeError {
        VolumeError::Io { path: self.mount.clone(), source }
    }
}
