//! Blobs on disk: content too large for the log, one file each, named by what it is.
//!
//! A blob of scope 7 is `0000000000000007/<digest in hexadecimal>` ([`crate::blob_file`]). It is
//! written beside its place (`new/<number>`), synced, and only then given its name, and the name is
//! synced too before anybody is told that the blob is there. So a file with a name is whole, unless
//! the disk lost something, which its checksums show. What was being written when the process died
//! is removed when the store is opened.
//!
//! What is deliberately absent: which blobs are wanted. The caller knows, and removes the others.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use crate::blob_error::BlobError;
use crate::blob_file::{
    BLOCK_BYTES, BlobDigest, BlobHeader, BlobName, HEADER_BYTES, SUM_BYTES, TOUCHED_AT, block_at,
    decode_block, encode_block, encode_touched, file_length,
};
use crate::blob_used::Used;
use crate::disk::{Disk, DiskFile, read_up_to};
use crate::fatal::{EXIT_STORAGE, Fatal};

/// Where blobs are written before they have a name.
const NEW: &str = "new";
/// Where damaged blobs are set aside, to be looked at by people,
const ASIDE: &str = "damaged";
/// so many at most: further ones are removed.
const ASIDE_MAX: usize = 16;
/// Bytes that are checked at a time.
const CHECK_BYTES: u64 = 1024 * 1024;
/// Bytes after which it is looked again whether there is room.
const LOOK_BYTES: u64 = 1024 * 1024;

/// How much room blobs may take.
#[derive(Debug, Clone, Copy)]
pub struct BlobRoom {
    /// Bytes of all files together.
    pub bytes_max: u64,
    /// Bytes of the files of one owner: of all scopes whose upper 32 bits are the same.
    pub owner_bytes_max: u64,
    /// Bytes that stay free on the disk for others.
    pub free_bytes_min: u64,
}

/// Why room is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BlobUse {
    /// Somebody brings something new: it must fit into [`BlobRoom::bytes_max`], and into what its
    /// owner may have.
    New,
    /// It has been promised already: only the disk itself bounds it.
    Promised,
}

/// The blobs of a node.
pub struct Blobs {
    disk: Arc<dyn Disk>,
    directory: PathBuf,
    fatal: Fatal,
    room: BlobRoom,
    parts: AtomicU64,
    used: Used,
    /// Directories of scopes that are known to be there. Held where a name comes or goes, so that
    /// what is touched is not removed.
    names: Mutex<BTreeSet<u64>>,
}

impl std::fmt::Debug for Blobs {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Blobs").field("directory", &self.directory).finish_non_exhaustive()
    }
}

impl Blobs {
    /// Opens the blobs in that directory, or makes an empty one there, and counts them. A sync that
    /// fails later, but for want of room, ends the process through `fatal`.
    ///
    /// # Errors
    /// `Io`.
    pub fn open(
        disk: Arc<dyn Disk>,
        directory: &Path,
        room: BlobRoom,
        fatal: Fatal,
    ) -> Result<Self, BlobError> {
        let new = directory.join(NEW);
        let failed = |source| BlobError::of(directory, source);
        disk.make_directory(&new).map_err(failed)?;
        for name in disk.list(&new).map_err(failed)? {
            disk.remove(&new.join(name)).map_err(failed)?;
        }
        let directory = directory.to_owned();
        let (parts, used, names) = (AtomicU64::new(0), Used::default(), Mutex::default());
        let blobs = Self { disk, directory, fatal, room, parts, used, names };
        blobs.count_aside();
        for scope in blobs.scopes()? {
            // A blob may have got its name from a process that died before this sync.
            blobs.sync_folder(&blobs.folder(scope))?;
            for name in blobs.list(scope)? {
                let path = blobs.path(name);
                let file = blobs.disk.open(&path).and_then(|file| file.len());
                blobs.used.add(scope, file.map_err(|error| BlobError::of(&path, error))?);
            }
        }
        Ok(blobs)
    }

    /// Bytes that all blobs take on disk, those that are being written included.
    pub fn used_bytes(&self) -> u64 {
        self.used.all()
    }

    /// Every scope that has or had a blob, in order.
    ///
    /// # Errors
    /// `Io`.
    pub fn scopes(&self) -> Result<Vec<u64>, BlobError> {
        let names = self.disk.list(&self.directory);
        let names = names.map_err(|error| BlobError::of(&self.directory, error))?;
        let of = |name: &String| (name.len() == 16).then(|| u64::from_str_radix(name, 16).ok());
        Ok(names.iter().filter_map(of).flatten().collect())
    }

    /// Every blob of a scope, in order.
    ///
    /// # Errors
    /// `Io`.
    pub fn list(&self, scope: u64) -> Result<Vec<BlobName>, BlobError> {
        let folder = self.folder(scope);
        let names = match self.disk.list(&folder) {
            Ok(names) => names,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(BlobError::of(&folder, error)),
        };
        let of = |name: &String| digest_of(name).map(|digest| BlobName { scope, digest });
        Ok(names.iter().filter_map(of).collect())
    }

    /// A blob, if it is there and its header is whole. One that is damaged is set aside: it counts
    /// as not there, and another replica has it.
    ///
    /// # Errors
    /// `Newer`, which stays where it is; `Io`.
    pub fn find(&self, name: BlobName) -> Result<Option<BlobReader>, BlobError> {
        match self.open_file(name) {
            Err(BlobError::Damaged { .. }) => self.set_aside_damaged(name).map(|_| None),
            found => found,
        }
    }

    /// Begins to check a blob, if it is there.
    ///
    /// # Errors
    /// `Damaged`, `Io`.
    pub fn begin_check(&self, name: BlobName) -> Result<Option<BlobCheck>, BlobError> {
        match self.open_file(name) {
            Ok(found) => Ok(found.map(|found| found.check_all())),
            // It is whole, as far as this build can say.
            Err(BlobError::Newer { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Reads a blob whole, sets it aside if it is damaged, and says whether it did.
    ///
    /// # Errors
    /// `Io`.
    pub fn set_aside_damaged(&self, name: BlobName) -> Result<bool, BlobError> {
        let names = self.lock();
        let checked = self
            .open_file(name)
            .and_then(|found| found.map_or(Ok(()), |found| found.check_all().finish()));
        match checked {
            Err(error @ BlobError::Damaged { .. }) => {
                tracing::warn!(%error, "a damaged blob is set aside");
                self.set_aside(&names, name).map(|()| true)
            }
            checked => checked.map(|()| false),
        }
    }

    /// Takes a blob out of its place. What is set aside takes room as before.
    fn set_aside(
        &self,
        names: &MutexGuard<'_, BTreeSet<u64>>,
        name: BlobName,
    ) -> Result<(), BlobError> {
        let (path, aside) = (self.path(name), self.directory.join(ASIDE));
        let failed = |error| BlobError::of(&aside, error);
        self.disk.make_directory(&aside).map_err(failed)?;
        if self.disk.list(&aside).map_err(failed)?.len() >= ASIDE_MAX {
            return self.remove_under(names, name);
        }
        let digits = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let to = aside.join(format!("{:016x}-{digits}", name.scope));
        let replaced = self.disk.open(&to).and_then(|file| file.len()).unwrap_or(0);
        self.disk.rename(&path, &to).map_err(failed)?;
        self.used.give_back(name.scope, replaced);
        Ok(())
    }

    /// Counts what was set aside before. The folder is for people, so what cannot be opened there
    /// is theirs.
    fn count_aside(&self) {
        let aside = self.directory.join(ASIDE);
        for name in self.disk.list(&aside).unwrap_or_default() {
            let path = aside.join(&name);
            let scope = name.get(..16).and_then(|digits| u64::from_str_radix(digits, 16).ok());
            match self.disk.open(&path).and_then(|file| file.len()) {
                Ok(bytes) => self.used.add(scope.unwrap_or_default(), bytes),
                Err(error) => tracing::warn!(path = %path.display(), %error, "not counted"),
            }
        }
    }

    fn open_file(&self, name: BlobName) -> Result<Option<BlobReader>, BlobError> {
        let path = self.path(name);
        let file = match self.disk.open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(BlobError::of(&path, error)),
        };
        let failed = |error| BlobError::of(&path, error);
        let head = read_up_to(file.as_ref(), 0, HEADER_BYTES).map_err(failed)?;
        let length = file.len().map_err(failed)?;
        if let Some(what) = BlobHeader::newer(&head) {
            return Err(BlobError::Newer { path, what });
        }
        let damaged = |what: String| BlobError::damaged(0, what).at(&path);
        let (header, touched_ms) = BlobHeader::decode(&head, length).map_err(damaged)?;
        if header.name != name {
            return Err(damaged("it is another blob".to_owned()));
        }
        Ok(Some(BlobReader { path, file, name, bytes: header.bytes, touched_ms }))
    }

    /// Says that a blob is about to be named, if it is there, and gives how many bytes it has. Its
    /// name is durable then, whoever gave it.
    ///
    /// # Errors
    /// `Io`.
    pub fn touch(&self, name: BlobName, now_ms: u64) -> Result<Option<u64>, BlobError> {
        let bytes = {
            let _names = self.lock();
            let Some(found) = self.open_file_or_none(name)? else { return Ok(None) };
            let failed = |error| BlobError::of(&found.path, error);
            found.file.write_at(TOUCHED_AT, &encode_touched(now_ms)).map_err(failed)?;
            found.bytes
        };
        self.sync_folder(&self.folder(name.scope))?;
        Ok(Some(bytes))
    }

    /// The same as [`Blobs::find`], for who holds the lock that removing takes.
    fn open_file_or_none(&self, name: BlobName) -> Result<Option<BlobReader>, BlobError> {
        match self.open_file(name) {
            Err(BlobError::Damaged { .. }) => Ok(None),
            found => found,
        }
    }

    /// Removes a blob that was last touched before that time, and says whether it did.
    ///
    /// # Errors
    /// `Io`.
    pub fn remove_older(&self, name: BlobName, before_ms: u64) -> Result<bool, BlobError> {
        let names = self.lock();
        let Some(found) = self.open_file_or_none(name)? else { return Ok(false) };
        let touched_ms = found.touched_ms.unwrap_or(u64::MAX);
        if touched_ms >= before_ms {
            return Ok(false);
        }
        self.remove_under(&names, name).map(|()| true)
    }

    fn remove_under(
        &self,
        _: &MutexGuard<'_, BTreeSet<u64>>,
        name: BlobName,
    ) -> Result<(), BlobError> {
        let path = self.path(name);
        let length = self.disk.open(&path).and_then(|file| file.len());
        match length.and_then(|length| self.disk.remove(&path).map(|()| length)) {
            Ok(length) => self.used.give_back(name.scope, length),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(BlobError::of(&path, error)),
        }
        Ok(())
    }

    /// Begins to write a blob of a scope. `expected` is how many bytes it may have: there must be
    /// room for as many.
    ///
    /// # Errors
    /// `Full`, `OwnerFull`, `Io`.
    pub fn begin(
        self: &Arc<Self>,
        scope: u64,
        why: BlobUse,
        expected: u64,
    ) -> Result<BlobWriter, BlobError> {
        self.look_for_room(scope, why, expected)?;
        let number = self.parts.fetch_add(1, Ordering::Relaxed);
        let path = self.directory.join(NEW).join(number.to_string());
        let file = self.disk.create(&path).map_err(|error| BlobError::of(&path, error))?;
        let (digest, block) = (BlobDigest::new(scope), Vec::with_capacity(BLOCK_BYTES));
        let (store, named, blocks, counted) = (self.clone(), false, 0, 0);
        let mut writer =
            BlobWriter { store, why, path, file, scope, digest, block, blocks, counted, named };
        writer.count(HEADER_BYTES as u64);
        Ok(writer)
    }

    /// Whether so many bytes more of a scope fit.
    ///
    /// # Errors
    /// `Full`, `OwnerFull`, `Io`.
    fn look_for_room(&self, scope: u64, why: BlobUse, more: u64) -> Result<(), BlobError> {
        let more = file_length(more).unwrap_or(u64::MAX);
        let BlobRoom { bytes_max, owner_bytes_max, free_bytes_min } = self.room;
        let used = self.used_bytes();
        if why == BlobUse::New && used.saturating_add(more) > bytes_max {
            return Err(BlobError::Full(format!("blobs take {used} of {bytes_max} bytes")));
        }
        let used = self.used.of_owner(scope);
        if why == BlobUse::New && used.saturating_add(more) > owner_bytes_max {
            return Err(BlobError::OwnerFull { used, owner_bytes_max });
        }
        let free = self.disk.free_bytes(&self.directory);
        let free = free.map_err(|error| BlobError::of(&self.directory, error))?;
        if free.saturating_sub(more) < free_bytes_min {
            let text = format!("{free} bytes are free on the disk, and {free_bytes_min} stay so");
            return Err(BlobError::Full(text));
        }
        Ok(())
    }

    fn folder(&self, scope: u64) -> PathBuf {
        self.directory.join(format!("{scope:016x}"))
    }

    fn path(&self, name: BlobName) -> PathBuf {
        let digits: String = name.digest.iter().map(|byte| format!("{byte:02x}")).collect();
        self.folder(name.scope).join(digits)
    }

    fn lock(&self) -> MutexGuard<'_, BTreeSet<u64>> {
        self.names.lock().expect("no code panics while it holds this lock")
    }

    /// Gives a written file its name, in place of whatever had it. The name is not durable yet.
    fn adopt(&self, from: &Path, name: BlobName) -> Result<(), BlobError> {
        let folder = self.folder(name.scope);
        let path = self.path(name);
        let mut scopes = self.lock();
        if !scopes.contains(&name.scope) {
            let made = self.disk.make_directory(&folder);
            made.map_err(|error| BlobError::of(&folder, error))?;
            scopes.insert(name.scope);
        }
        let replaced = self.disk.open(&path).and_then(|file| file.len()).unwrap_or(0);
        self.disk.rename(from, &path).map_err(|error| BlobError::of(&path, error))?;
        self.used.give_back(name.scope, replaced);
        Ok(())
    }

    fn sync_folder(&self, folder: &Path) -> Result<(), BlobError> {
        self.disk.sync_directory(folder).map_err(|error| self.sync_failed(folder, error))
    }

    /// Of a sync that failed nothing is known, unless it failed for want of room: then what it was
    /// about is given up, and was promised to nobody.
    fn sync_failed(&self, path: &Path, error: io::Error) -> BlobError {
        let error = BlobError::of(path, error);
        if matches!(error, BlobError::Io { .. }) {
            self.fatal.end(EXIT_STORAGE, &format!("a sync failed: {error}"));
        }
        error
    }
}

/// The digest that a file's name says.
fn digest_of(name: &str) -> Option<[u8; 32]> {
    if name.len() != 64 || !name.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) {
        return None;
    }
    let mut digest = [0; 32];
    for (at, byte) in digest.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&name[at * 2..at * 2 + 2], 16).ok()?;
    }
    Some(digest)
}

/// A blob that is being written. Dropping it before [`BlobWriter::finish`] removes it.
pub struct BlobWriter {
    store: Arc<Blobs>,
    why: BlobUse,
    path: PathBuf,
    file: Arc<dyn DiskFile>,
    scope: u64,
    digest: BlobDigest,
    /// What does not fill a block yet.
    block: Vec<u8>,
    /// Blocks that are written.
    blocks: u64,
    /// Bytes that the store counts for this file.
    counted: u64,
    named: bool,
}

impl BlobWriter {
    /// Bytes taken so far.
    pub fn bytes(&self) -> u64 {
        self.blocks * BLOCK_BYTES as u64 + self.block.len() as u64
    }

    /// Takes more bytes. They go to the file block by block.
    ///
    /// # Errors
    /// `Full`, `OwnerFull`, `Io`.
    pub fn append(&mut self, mut bytes: &[u8]) -> Result<(), BlobError> {
        self.digest.update(bytes);
        while !bytes.is_empty() {
            let (now, later) = bytes.split_at(bytes.len().min(BLOCK_BYTES - self.block.len()));
            self.block.extend_from_slice(now);
            bytes = later;
            if self.block.len() == BLOCK_BYTES {
                self.write_block()?;
            }
        }
        Ok(())
    }

    fn write_block(&mut self) -> Result<(), BlobError> {
        let block = encode_block(self.blocks, &self.block);
        let written = self.file.write_at(block_at(self.blocks), &block);
        written.map_err(|error| BlobError::of(&self.path, error))?;
        self.count(block.len() as u64);
        if (self.blocks * BLOCK_BYTES as u64).is_multiple_of(LOOK_BYTES) {
            self.store.look_for_room(self.scope, self.why, 0)?;
        }
        self.blocks += 1;
        self.block.clear();
        Ok(())
    }

    fn count(&mut self, bytes: u64) {
        self.counted += bytes;
        self.store.used.add(self.scope, bytes);
    }

    /// Makes the blob durable under its name, which is what its bytes say; with `expected` only if
    /// that is its name. It counts as touched at `now_ms`.
    ///
    /// # Errors
    /// `Damaged` where the name is not the expected one; `Full`, `Io`.
    pub fn finish(
        mut self,
        expected: Option<[u8; 32]>,
        now_ms: u64,
    ) -> Result<(BlobName, u64), BlobError> {
        let bytes = self.bytes();
        if !self.block.is_empty() {
            let block = encode_block(self.blocks, &self.block);
            let written = self.file.write_at(block_at(self.blocks), &block);
            written.map_err(|error| BlobError::of(&self.path, error))?;
            self.count(block.len() as u64);
        }
        let digest = std::mem::replace(&mut self.digest, BlobDigest::new(0)).finish();
        if expected.is_some_and(|expected| expected != digest) {
            let what = "its bytes are not those that its name says";
            return Err(BlobError::damaged(HEADER_BYTES as u64, what).at(&self.path));
        }
        let name = BlobName { scope: self.scope, digest };
        let header = BlobHeader { name, key: 0, bytes };
        let written = self.file.write_at(0, &header.encode(now_ms));
        written.map_err(|error| BlobError::of(&self.path, error))?;
        self.file.sync().map_err(|error| self.store.sync_failed(&self.path, error))?;
        self.store.adopt(&self.path, name)?;
        // It takes its room from here on, whatever becomes of the sync.
        self.named = true;
        self.store.sync_folder(&self.store.folder(name.scope))?;
        Ok((name, bytes))
    }
}

impl Drop for BlobWriter {
    fn drop(&mut self) {
        if self.named {
            return;
        }
        self.store.used.give_back(self.scope, self.counted);
        if let Err(error) = self.store.disk.remove(&self.path) {
            let path = self.path.display();
            tracing::debug!(%path, %error, "a blob that is given up is removed at the next start");
        }
    }
}

/// A blob that is there. It can be read for as long as this lives, even when it is removed.
#[derive(Clone)]
pub struct BlobReader {
    path: PathBuf,
    file: Arc<dyn DiskFile>,
    name: BlobName,
    bytes: u64,
    touched_ms: Option<u64>,
}

impl BlobReader {
    /// How many bytes it has.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Reads from `offset`, checked, at most to the end of the block that is there: at most 64 KiB,
    /// and nothing at or beyond the end.
    ///
    /// # Errors
    /// `Damaged`, `Io`.
    pub fn read(&self, offset: u64) -> Result<Vec<u8>, BlobError> {
        if offset >= self.bytes {
            return Ok(Vec::new());
        }
        let number = offset / BLOCK_BYTES as u64;
        let begins = number * BLOCK_BYTES as u64;
        let length = (self.bytes - begins).min(BLOCK_BYTES as u64) as usize;
        let block = read_up_to(self.file.as_ref(), block_at(number), length + SUM_BYTES);
        let block = block.map_err(|error| BlobError::of(&self.path, error))?;
        if block.len() < length + SUM_BYTES {
            return Err(BlobError::damaged(block_at(number), "a block is cut").at(&self.path));
        }
        let mut block = decode_block(number, block).map_err(|error| error.at(&self.path))?;
        Ok(block.split_off((offset - begins) as usize))
    }

    /// Begins to check all of it: its blocks, and that its bytes are what its name says.
    fn check_all(&self) -> BlobCheck {
        BlobCheck { reader: self.clone(), digest: BlobDigest::new(self.name.scope), at: 0 }
    }

    /// Checks every block that has bytes between two offsets.
    ///
    /// # Errors
    /// `Damaged`, `Io`.
    pub fn check(&self, from: u64, to: u64) -> Result<(), BlobError> {
        let mut at = from;
        while at < to.min(self.bytes) {
            at += self.read(at)?.len() as u64;
        }
        Ok(())
    }
}

/// A blob that is being checked, a piece at a time.
pub struct BlobCheck {
    reader: BlobReader,
    digest: BlobDigest,
    at: u64,
}

impl BlobCheck {
    /// Checks the next piece, at most a mebibyte and a block, and says how many bytes it had; 0
    /// once all of it is known to be whole.
    ///
    /// # Errors
    /// `Damaged`, `Io`.
    pub fn step(&mut self) -> Result<u64, BlobError> {
        let begun = self.at;
        while self.at < self.reader.bytes && self.at - begun < CHECK_BYTES {
            let block = self.reader.read(self.at)?;
            self.digest.update(&block);
            self.at += block.len() as u64;
        }
        if self.at == begun {
            let digest = std::mem::replace(&mut self.digest, BlobDigest::new(0)).finish();
            if digest != self.reader.name.digest {
                let what = "its bytes are not those that its name says";
                let damaged = BlobError::damaged(HEADER_BYTES as u64, what);
                return Err(damaged.at(&self.reader.path));
            }
        }
        Ok(self.at - begun)
    }

    /// Checks what is left.
    fn finish(mut self) -> Result<(), BlobError> {
        while self.step()? > 0 {}
        Ok(())
    }
}

#[cfg(test)]
#[path = "blobs_tests.rs"]
mod tests;
