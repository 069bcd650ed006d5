//! A disk in memory that can lose its power.
//!
//! It keeps two images of every file, what a reader sees and what a power cut would leave, and the
//! writes between them. [`SimulatedDisk::power_cut`] drops, tears or keeps each write that was not
//! synced, by its own seeded dice, and forgets names that no directory sync made durable; whoever
//! has files open then holds handles of a dead process. Everything else that a disk does to people
//! can be asked for: no space, a failed sync (after which a repeated one succeeds and has written
//! nothing), a dead process after any operation, flipped bits.
//!
//! The same calls with the same seed give the same bytes.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};

use crate::dice::Dice;
use crate::disk::{Disk, DiskFile};

/// What a torn write is torn into, in bytes.
const SECTOR_BYTES: usize = 512;

/// The disk; clones are the same disk. As a [`Disk`] it is the one of the process that runs: what
/// was opened before a power cut is dead after it, and so is a [`SimulatedDisk::process`] taken
/// before.
#[derive(Clone)]
pub struct SimulatedDisk {
    inner: Arc<Mutex<Inner>>,
}

/// A [`SimulatedDisk`] as one process sees it, from its start to its death.
struct Process {
    inner: Arc<Mutex<Inner>>,
    boot: u64,
}

#[derive(Clone)]
struct Inner {
    dice: Dice,
    boot: u64,
    names: BTreeMap<PathBuf, u64>,
    durable_names: BTreeMap<PathBuf, u64>,
    /// Changes of names since the last sync of their directory, in order.
    name_changes: Vec<NameChange>,
    directories: BTreeSet<PathBuf>,
    files: BTreeMap<u64, Image>,
    next_file: u64,
    capacity_bytes: u64,
    operations: u64,
    dies_after: Option<u64>,
    failing_syncs: BTreeSet<u64>,
    syncs: u64,
    dead: bool,
}

#[derive(Clone)]
struct NameChange {
    directory: PathBuf,
    path: PathBuf,
    file: Option<u64>,
}

#[derive(Default, Clone)]
struct Image {
    seen: Vec<u8>,
    durable: Vec<u8>,
    pending: Vec<Change>,
}

#[derive(Clone)]
enum Change {
    Write(u64, Vec<u8>),
    SetLen(u64),
}

impl std::fmt::Debug for SimulatedDisk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let inner = self.lock();
        f.debug_struct("SimulatedDisk")
            .field("files", &inner.names.len())
            .field("operations", &inner.operations)
            .finish_non_exhaustive()
    }
}

impl SimulatedDisk {
    /// An empty disk of unlimited size.
    pub fn new(seed: u64) -> Self {
        let inner = Inner {
            dice: Dice::new(seed),
            boot: 0,
            names: BTreeMap::new(),
            durable_names: BTreeMap::new(),
            name_changes: Vec::new(),
            directories: BTreeSet::from([PathBuf::from("/")]),
            files: BTreeMap::new(),
            next_file: 0,
            capacity_bytes: u64::MAX,
            operations: 0,
            dies_after: None,
            failing_syncs: BTreeSet::new(),
            syncs: 0,
            dead: false,
        };
        Self { inner: Arc::new(Mutex::new(inner)) }
    }

    /// Another disk with the same content, on which a process that starts finds what it would here.
    pub fn duplicate(&self, seed: u64) -> Self {
        let inner = Inner { dice: Dice::new(seed), ..self.lock().clone() };
        Self { inner: Arc::new(Mutex::new(inner)) }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        lock(&self.inner)
    }

    /// The disk as the process that starts now sees it.
    pub fn process(&self) -> Arc<dyn Disk> {
        let boot = self.lock().boot;
        Arc::new(Process { inner: self.inner.clone(), boot })
    }

    /// The process dies, the operating system lives: nothing written is lost, handles are dead.
    pub fn kill(&self) {
        let mut inner = self.lock();
        inner.boot += 1;
        inner.dead = false;
        inner.dies_after = None;
    }

    /// The power is cut: what no sync made durable is lost, torn or kept, as the dice fall.
    pub fn power_cut(&self) {
        let mut inner = self.lock();
        inner.boot += 1;
        inner.dead = false;
        inner.dies_after = None;
        inner.lose();
    }

    /// Changes (creations, writes, cuts, syncs, removals, renames) so far. A change that failed
    /// counts.
    pub fn operations(&self) -> u64 {
        self.lock().operations
    }

    /// Every change after `operations` more of them fails, as if the process had died there.
    /// A power cut or kill ends it.
    pub fn die_after(&self, operations: u64) {
        let mut inner = self.lock();
        inner.dies_after = Some(inner.operations + operations);
    }

    /// Whether [`SimulatedDisk::die_after`] has struck.
    pub fn is_dead(&self) -> bool {
        self.lock().dead
    }

    /// The `nth` sync of a file from here on (0 is the next one) fails and loses what it should
    /// have made durable.
    pub fn fail_sync(&self, nth: u64) {
        let mut inner = self.lock();
        let at = inner.syncs + nth;
        inner.failing_syncs.insert(at);
    }

    /// Writes that would make all files together longer than this fail with `StorageFull`.
    pub fn set_capacity(&self, bytes: u64) {
        self.lock().capacity_bytes = bytes;
    }

    /// The bytes that all files together hold.
    pub fn used_bytes(&self) -> u64 {
        self.lock().used_bytes()
    }

    /// The files, sorted by path, with their lengths.
    pub fn files(&self) -> Vec<(PathBuf, u64)> {
        let inner = self.lock();
        let length = |file: &u64| inner.files[file].seen.len() as u64;
        inner.names.iter().map(|(path, file)| (path.clone(), length(file))).collect()
    }

    /// Turns one bit of a file over, where a reader and a power cut both find it.
    ///
    /// # Panics
    /// If there is no such file or bit: the fault would not have happened.
    pub fn flip_bit(&self, path: &Path, bit: u64) {
        let mut inner = self.lock();
        let file = *inner.names.get(path).expect("a bit is flipped in a file that exists");
        let image = inner.files.get_mut(&file).expect("a named file has an image");
        let (byte, mask) = (usize::try_from(bit / 8).expect("fits"), 1 << (bit % 8));
        image.seen[byte] ^= mask;
        if let Some(byte) = image.durable.get_mut(byte) {
            *byte ^= mask;
        }
    }
}

fn lock(inner: &Mutex<Inner>) -> MutexGuard<'_, Inner> {
    inner.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

impl Inner {
    fn used_bytes(&self) -> u64 {
        self.names.values().map(|file| self.files[file].seen.len() as u64).sum()
    }

    /// Counts a change, unless the process that asks for it is dead.
    fn change(&mut self, boot: u64) -> io::Result<()> {
        self.alive(boot)?;
        self.operations += 1;
        if self.dies_after.is_some_and(|last| self.operations > last) {
            self.dead = true;
            return Err(dead());
        }
        Ok(())
    }

    fn alive(&self, boot: u64) -> io::Result<()> {
        if self.dead || boot != self.boot { Err(dead()) } else { Ok(()) }
    }

    fn lose(&mut self) {
        // A journalling file system keeps a prefix of the changes of names.
        let changes = std::mem::take(&mut self.name_changes);
        let kept = self.dice.roll(changes.len() as u64 + 1) as usize;
        for change in changes.into_iter().take(kept) {
            change.make(&mut self.durable_names);
        }
        self.names = self.durable_names.clone();
        let named: BTreeSet<u64> = self.names.values().copied().collect();
        self.files.retain(|file, _| named.contains(file));
        let mut files = std::mem::take(&mut self.files);
        for image in files.values_mut() {
            for change in std::mem::take(&mut image.pending) {
                self.lose_change(&mut image.durable, change);
            }
            image.seen = image.durable.clone();
        }
        self.files = files;
    }

    /// Keeps, drops or tears one unsynced change.
    fn lose_change(&mut self, durable: &mut Vec<u8>, change: Change) {
        match (self.dice.roll(3), change) {
            (0, _) => {}
            (1, change) => change.make(durable),
            (_, Change::SetLen(_)) => {}
            (_, Change::Write(offset, bytes)) => {
                for (sector, piece) in bytes.chunks(SECTOR_BYTES).enumerate() {
                    if self.dice.roll(2) == 0 {
                        let at = offset + (sector * SECTOR_BYTES) as u64;
                        Change::Write(at, piece.to_vec()).make(durable);
                    }
                }
            }
        }
    }
}

fn dead() -> io::Error {
    io::Error::other("the simulated process is dead")
}

impl NameChange {
    fn make(self, names: &mut BTreeMap<PathBuf, u64>) {
        match self.file {
            Some(file) => names.insert(self.path, file),
            None => names.remove(&self.path),
        };
    }
}

impl Change {
    fn make(&self, bytes: &mut Vec<u8>) {
        match self {
            Self::SetLen(length) => bytes.resize(usize::try_from(*length).expect("fits"), 0),
            Self::Write(offset, new) => {
                let start = usize::try_from(*offset).expect("fits");
                let end = start + new.len();
                if bytes.len() < end {
                    bytes.resize(end, 0);
                }
                bytes[start..end].copy_from_slice(new);
            }
        }
    }
}

impl Process {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        lock(&self.inner)
    }

    fn file(&self, file: u64) -> Arc<dyn DiskFile> {
        Arc::new(Handle { inner: self.inner.clone(), boot: self.boot, file })
    }
}

fn not_found(path: &Path) -> io::Error {
    io::Error::new(io::ErrorKind::NotFound, format!("{} is not there", path.display()))
}

fn parent(path: &Path) -> PathBuf {
    path.parent().unwrap_or(Path::new("/")).to_owned()
}

impl Disk for Process {
    fn create(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        let mut inner = self.lock();
        inner.change(self.boot)?;
        if inner.names.contains_key(path) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let directory = parent(path);
        if !inner.directories.contains(&directory) {
            return Err(not_found(&directory));
        }
        let file = inner.next_file;
        inner.next_file += 1;
        inner.files.insert(file, Image::default());
        inner.names.insert(path.to_owned(), file);
        let change = NameChange { directory, path: path.to_owned(), file: Some(file) };
        inner.name_changes.push(change);
        Ok(self.file(file))
    }

    fn open(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        let inner = self.lock();
        inner.alive(self.boot)?;
        let file = inner.names.get(path).copied().ok_or_else(|| not_found(path))?;
        Ok(self.file(file))
    }

    fn list(&self, directory: &Path) -> io::Result<Vec<String>> {
        let inner = self.lock();
        inner.alive(self.boot)?;
        if !inner.directories.contains(directory) {
            return Err(not_found(directory));
        }
        let all = inner.names.keys().chain(&inner.directories);
        let here = all.filter(|path| path.parent() == Some(directory));
        let names = here.filter_map(|path| path.file_name()?.to_str().map(str::to_owned));
        let names: BTreeSet<String> = names.collect();
        Ok(names.into_iter().collect())
    }

    fn make_directory(&self, directory: &Path) -> io::Result<()> {
        let mut inner = self.lock();
        inner.change(self.boot)?;
        inner.directories.extend(directory.ancestors().map(Path::to_owned));
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut inner = self.lock();
        inner.change(self.boot)?;
        inner.names.remove(path).ok_or_else(|| not_found(path))?;
        let change = NameChange { directory: parent(path), path: path.to_owned(), file: None };
        inner.name_changes.push(change);
        Ok(())
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut inner = self.lock();
        inner.change(self.boot)?;
        let file = inner.names.remove(from).ok_or_else(|| not_found(from))?;
        inner.names.insert(to.to_owned(), file);
        let named = NameChange { directory: parent(to), path: to.to_owned(), file: Some(file) };
        let unnamed = NameChange { directory: parent(from), path: from.to_owned(), file: None };
        inner.name_changes.extend([named, unnamed]);
        Ok(())
    }

    fn sync_directory(&self, directory: &Path) -> io::Result<()> {
        let mut inner = self.lock();
        inner.change(self.boot)?;
        let changes = std::mem::take(&mut inner.name_changes);
        for change in changes {
            if change.directory == directory {
                change.make(&mut inner.durable_names);
            } else {
                inner.name_changes.push(change);
            }
        }
        Ok(())
    }

    fn free_bytes(&self, _directory: &Path) -> io::Result<u64> {
        let inner = self.lock();
        inner.alive(self.boot)?;
        Ok(inner.capacity_bytes.saturating_sub(inner.used_bytes()))
    }
}

struct Handle {
    inner: Arc<Mutex<Inner>>,
    boot: u64,
    file: u64,
}

impl Handle {
    /// The file, if the process lives and no power cut took it.
    fn image<'a>(&self, inner: &'a mut Inner) -> io::Result<&'a mut Image> {
        inner.alive(self.boot)?;
        inner.files.get_mut(&self.file).ok_or_else(dead)
    }

    fn apply(&self, change: Change) -> io::Result<()> {
        let mut inner = lock(&self.inner);
        inner.change(self.boot)?;
        let (used, capacity) = (inner.used_bytes(), inner.capacity_bytes);
        let image = self.image(&mut inner)?;
        let end = match &change {
            Change::Write(offset, bytes) => offset + bytes.len() as u64,
            Change::SetLen(length) => *length,
        };
        let growth = end.saturating_sub(image.seen.len() as u64);
        if growth > 0 && used.saturating_add(growth) > capacity {
            return Err(io::ErrorKind::StorageFull.into());
        }
        change.make(&mut image.seen);
        image.pending.push(change);
        Ok(())
    }
}

impl DiskFile for Handle {
    fn read_at(&self, offset: u64, into: &mut [u8]) -> io::Result<usize> {
        let mut inner = lock(&self.inner);
        let image = self.image(&mut inner)?;
        let start = usize::try_from(offset).unwrap_or(usize::MAX).min(image.seen.len());
        let count = into.len().min(image.seen.len() - start);
        into[..count].copy_from_slice(&image.seen[start..start + count]);
        Ok(count)
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.apply(Change::Write(offset, bytes.to_vec()))
    }

    fn sync(&self) -> io::Result<()> {
        let mut inner = lock(&self.inner);
        inner.change(self.boot)?;
        let nth = inner.syncs;
        inner.syncs += 1;
        let fails = inner.failing_syncs.remove(&nth);
        let pending = std::mem::take(&mut self.image(&mut inner)?.pending);
        if !fails {
            let image = self.image(&mut inner)?;
            for change in pending {
                change.make(&mut image.durable);
            }
            return Ok(());
        }
        // The kernel marks the pages clean: a reader sees them, the disk has what it has.
        let mut durable = std::mem::take(&mut self.image(&mut inner)?.durable);
        for change in pending {
            inner.lose_change(&mut durable, change);
        }
        self.image(&mut inner)?.durable = durable;
        Err(io::Error::other("the simulated sync failed"))
    }

    fn set_len(&self, bytes: u64) -> io::Result<()> {
        self.apply(Change::SetLen(bytes))
    }

    fn len(&self) -> io::Result<u64> {
        let mut inner = lock(&self.inner);
        Ok(self.image(&mut inner)?.seen.len() as u64)
    }
}

#[cfg(test)]
#[path = "simulated_disk_tests.rs"]
mod tests;
