//! Snapshots on disk: the state of a group at one index, in chunks.
//!
//! A snapshot is one file, `group-<n>/<index>.snapshot`: a header with what the caller wants to
//! know about it, chunks in order, and an end that says how many there were. Header, chunks and
//! end each carry their own CRC32C; the end also carries that of all chunks' sums, which names the
//! content ([`SnapshotId`]).
//!
//! It is written beside its place (`.part`), synced, and only then given its name, so a file with
//! that name is whole. The newest one is current; those before it are removed when it is named.
//! Parts left by a crash are removed when the store is opened.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use crate::disk::{Disk, DiskFile, read_up_to};
use crate::fatal::{EXIT_STORAGE, Fatal};

/// The most bytes that one chunk may have.
pub const SNAPSHOT_CHUNK_BYTES_MAX: usize = 1024 * 1024;
/// The most bytes that the caller's own header may have.
const META_BYTES_MAX: usize = 64 * 1024;
const MAGIC: [u8; 4] = *b"RSNP";
const FORMAT: u8 = 1;
/// Magic, format, group, index, length of the meta bytes.
const HEADER_BYTES: usize = 4 + 1 + 4 + 8 + 4;
/// Length and sum before a chunk.
const CHUNK_HEADER_BYTES: usize = 8;
/// What stands where a chunk's length would.
const END: u32 = u32::MAX;
/// The end: the mark, the count of chunks, the sum of their sums, and the sum of these.
const END_BYTES: usize = 16;

/// What a snapshot is recognised by: two files with the same id have the same chunks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct SnapshotId {
    /// The index up to which it holds the state.
    pub index: u64,
    /// How many chunks it has.
    pub chunks: u32,
    /// CRC32C over the sums of its chunks.
    pub sum: u32,
}

/// Why a snapshot cannot be written or read.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    /// The disk failed.
    #[error("snapshot {path}: {source}")]
    Io {
        /// The file or directory concerned.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// Bytes that were durable are damaged. Move the file away and start the node again: it takes
    /// the state from its log or from its peers.
    #[error(
        "snapshot {path} is damaged at byte {offset}: {what}; move the file away and restart, \
         the state is taken from the log or from the other replicas"
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Where the damage starts.
        offset: u64,
        /// What is wrong.
        what: String,
    },
}

/// The snapshots of all groups of a node.
#[derive(Clone)]
pub struct Snapshots {
    disk: Arc<dyn Disk>,
    directory: PathBuf,
    parts: Arc<AtomicU64>,
    fatal: Fatal,
    /// The current one of each group, once it was looked for: opening one reads its whole outline.
    current: Arc<Mutex<BTreeMap<u32, SnapshotReader>>>,
}

impl std::fmt::Debug for Snapshots {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Snapshots").field("directory", &self.directory).finish_non_exhaustive()
    }
}

impl Snapshots {
    /// Opens the snapshots in that directory, or makes an empty one there. A sync that fails later
    /// ends the process through `fatal`: nothing is known of the disk then.
    ///
    /// # Errors
    /// `Io`.
    pub fn open(
        disk: Arc<dyn Disk>,
        directory: &Path,
        fatal: Fatal,
    ) -> Result<Self, SnapshotError> {
        let failed = |source| SnapshotError::Io { path: directory.to_owned(), source };
        disk.make_directory(directory).map_err(failed)?;
        let groups = disk.list(directory).map_err(failed)?;
        for group in groups.iter().filter(|name| name.starts_with("group-")) {
            let group = directory.join(group);
            // A snapshot may have got its name from a process that died before this sync.
            disk.sync_directory(&group).map_err(failed)?;
            for name in disk.list(&group).map_err(failed)? {
                if name.ends_with(".part") {
                    disk.remove(&group.join(name)).map_err(failed)?;
                }
            }
        }
        Ok(Self {
            disk,
            directory: directory.to_owned(),
            parts: Arc::default(),
            fatal,
            current: Arc::default(),
        })
    }

    /// A sync of that path has failed.
    fn sync_failed(&self, path: &Path, source: io::Error) -> SnapshotError {
        let error = SnapshotError::Io { path: path.to_owned(), source };
        self.fatal.end(EXIT_STORAGE, &error.to_string());
        error
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<u32, SnapshotReader>> {
        self.current.lock().expect("no code panics while it holds this lock")
    }

    fn group(&self, group: u32) -> PathBuf {
        self.directory.join(format!("group-{group}"))
    }

    /// Begins a snapshot of the state at `index`; `meta` is the caller's, up to 64 KiB.
    ///
    /// # Errors
    /// `Io`; also for longer meta bytes.
    pub fn begin(
        &self,
        group: u32,
        index: u64,
        meta: Vec<u8>,
    ) -> Result<SnapshotWriter, SnapshotError> {
        let directory = self.group(group);
        let part = self.parts.fetch_add(1, Ordering::Relaxed);
        let path = directory.join(format!("{index:020}.{part}.part"));
        let failed = |source| SnapshotError::Io { path: path.clone(), source };
        if meta.len() > META_BYTES_MAX {
            let reason = format!("{} bytes of meta exceed {META_BYTES_MAX}", meta.len());
            return Err(failed(io::Error::other(reason)));
        }
        self.disk.make_directory(&directory).map_err(failed)?;
        let file = self.disk.create(&path).map_err(failed)?;
        let header = header(group, index, &meta);
        let mut writer = SnapshotWriter {
            home: self.clone(),
            file,
            directory,
            path,
            group,
            index,
            meta,
            length: 0,
            chunks: 0,
            sum: 0,
            named: false,
        };
        writer.write(&header)?;
        Ok(writer)
    }

    /// The newest snapshot of a group.
    ///
    /// # Errors
    /// `Io`, `Damaged`.
    pub fn current(&self, group: u32) -> Result<Option<SnapshotReader>, SnapshotError> {
        if let Some(known) = self.lock().get(&group) {
            return Ok(Some(known.clone()));
        }
        let Some(index) = indexes(&*self.disk, &self.group(group))?.pop() else { return Ok(None) };
        let path = named(&self.group(group), index);
        let found = SnapshotReader::open(&*self.disk, group, path)?;
        let mut current = self.lock();
        let known = current.entry(group).or_insert(found);
        Ok(Some(known.clone()))
    }

    /// Removes every snapshot of a group.
    ///
    /// # Errors
    /// `Io`.
    pub fn remove(&self, group: u32) -> Result<(), SnapshotError> {
        self.lock().remove(&group);
        remove_before(&*self.disk, &self.group(group), u64::MAX)
    }
}

fn named(directory: &Path, index: u64) -> PathBuf {
    directory.join(format!("{index:020}.snapshot"))
}

/// The indexes of the snapshots in a group's directory, rising.
fn indexes(disk: &dyn Disk, directory: &Path) -> Result<Vec<u64>, SnapshotError> {
    let names = match disk.list(directory) {
        Ok(names) => names,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(source) => return Err(SnapshotError::Io { path: directory.to_owned(), source }),
    };
    let index = |name: &String| name.strip_suffix(".snapshot")?.parse::<u64>().ok();
    let mut indexes: Vec<u64> = names.iter().filter_map(index).collect();
    indexes.sort_unstable();
    Ok(indexes)
}

fn remove_before(disk: &dyn Disk, directory: &Path, index: u64) -> Result<(), SnapshotError> {
    for old in indexes(disk, directory)?.into_iter().filter(|old| *old < index) {
        let path = named(directory, old);
        disk.remove(&path).map_err(|source| SnapshotError::Io { path, source })?;
    }
    Ok(())
}

fn header(group: u32, index: u64, meta: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(HEADER_BYTES + meta.len() + 4);
    bytes.extend(MAGIC);
    bytes.push(FORMAT);
    bytes.extend(group.to_le_bytes());
    bytes.extend(index.to_le_bytes());
    bytes.extend((meta.len() as u32).to_le_bytes());
    bytes.extend(meta);
    let sum = crc32c::crc32c(&bytes);
    bytes.extend(sum.to_le_bytes());
    bytes
}

fn end(chunks: u32, sum: u32) -> [u8; END_BYTES] {
    let mut bytes = [0; END_BYTES];
    bytes[..4].copy_from_slice(&END.to_le_bytes());
    bytes[4..8].copy_from_slice(&chunks.to_le_bytes());
    bytes[8..12].copy_from_slice(&sum.to_le_bytes());
    let check = crc32c::crc32c(&bytes[..12]);
    bytes[12..].copy_from_slice(&check.to_le_bytes());
    bytes
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

/// A snapshot being written. Dropping it unfinished removes what was written.
pub struct SnapshotWriter {
    home: Snapshots,
    file: Arc<dyn DiskFile>,
    directory: PathBuf,
    path: PathBuf,
    group: u32,
    index: u64,
    meta: Vec<u8>,
    length: u64,
    chunks: u32,
    sum: u32,
    named: bool,
}

impl std::fmt::Debug for SnapshotWriter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SnapshotWriter").field("path", &self.path).finish_non_exhaustive()
    }
}

impl SnapshotWriter {
    /// How many chunks it has so far: the number of the next one.
    pub fn chunks(&self) -> u32 {
        self.chunks
    }

    /// Adds a chunk.
    ///
    /// # Errors
    /// `Io`; also for a chunk that is empty or longer than [`SNAPSHOT_CHUNK_BYTES_MAX`].
    pub fn append(&mut self, chunk: &[u8]) -> Result<(), SnapshotError> {
        if chunk.is_empty() || chunk.len() > SNAPSHOT_CHUNK_BYTES_MAX {
            let reason = format!("a chunk of {} bytes", chunk.len());
            let source = io::Error::new(io::ErrorKind::InvalidInput, reason);
            return Err(SnapshotError::Io { path: self.path.clone(), source });
        }
        let sum = crc32c::crc32c(chunk);
        let mut bytes = Vec::with_capacity(CHUNK_HEADER_BYTES + chunk.len());
        bytes.extend((chunk.len() as u32).to_le_bytes());
        bytes.extend(sum.to_le_bytes());
        bytes.extend(chunk);
        self.write(&bytes)?;
        self.chunks += 1;
        self.sum = crc32c::crc32c_append(self.sum, &sum.to_le_bytes());
        Ok(())
    }

    /// Ends it and makes it durable, not yet current.
    ///
    /// # Errors
    /// `Io`.
    pub fn finish(mut self) -> Result<FinishedSnapshot, SnapshotError> {
        self.write(&end(self.chunks, self.sum))?;
        self.file.sync().map_err(|source| self.home.sync_failed(&self.path, source))?;
        Ok(FinishedSnapshot(self))
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), SnapshotError> {
        let written = self.file.write_at(self.length, bytes);
        written.map_err(|source| SnapshotError::Io { path: self.path.clone(), source })?;
        self.length += bytes.len() as u64;
        Ok(())
    }
}

impl Drop for SnapshotWriter {
    fn drop(&mut self) {
        if !self.named
            && let Err(error) = self.home.disk.remove(&self.path)
        {
            tracing::debug!(path = %self.path.display(), %error, "a part was left");
        }
    }
}

/// A snapshot that is durable and waits to become current.
#[derive(Debug)]
pub struct FinishedSnapshot(SnapshotWriter);

impl FinishedSnapshot {
    /// What it is recognised by.
    pub fn id(&self) -> SnapshotId {
        SnapshotId { index: self.0.index, chunks: self.0.chunks, sum: self.0.sum }
    }

    /// What the caller wrote in its header.
    pub fn meta(&self) -> &[u8] {
        &self.0.meta
    }

    /// Reads it before it is current.
    ///
    /// # Errors
    /// `Io`, `Damaged`.
    pub fn reader(&self) -> Result<SnapshotReader, SnapshotError> {
        SnapshotReader::open(&*self.0.home.disk, self.0.group, self.0.path.clone())
    }

    /// Makes it current, and removes those before it. A newer one stays current.
    ///
    /// # Errors
    /// `Io`.
    pub fn publish(mut self) -> Result<SnapshotReader, SnapshotError> {
        let writer = &mut self.0;
        let (home, group, index) = (writer.home.clone(), writer.group, writer.index);
        let path = named(&writer.directory, index);
        let failed = |source| SnapshotError::Io { path: path.clone(), source };
        home.disk.rename(&writer.path, &path).map_err(failed)?;
        writer.named = true;
        let synced = home.disk.sync_directory(&writer.directory);
        synced.map_err(|source| home.sync_failed(&writer.directory, source))?;
        remove_before(&*home.disk, &writer.directory, index)?;
        let reader = SnapshotReader::open(&*home.disk, group, path)?;
        let mut current = home.lock();
        if current.get(&group).is_none_or(|known| known.id.index <= index) {
            current.insert(group, reader.clone());
        }
        Ok(reader)
    }
}

/// A whole snapshot. Clones read the same file, also after a newer one replaced it.
#[derive(Clone)]
pub struct SnapshotReader {
    file: Arc<dyn DiskFile>,
    path: PathBuf,
    meta: Arc<[u8]>,
    id: SnapshotId,
    /// Where each chunk's header is.
    offsets: Arc<[u64]>,
    bytes: u64,
}

impl std::fmt::Debug for SnapshotReader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SnapshotReader").field("path", &self.path).field("id", &self.id).finish()
    }
}

impl SnapshotReader {
    fn open(disk: &dyn Disk, group: u32, path: PathBuf) -> Result<Self, SnapshotError> {
        let failed = |source| SnapshotError::Io { path: path.clone(), source };
        let file = disk.open(&path).map_err(failed)?;
        let damaged = |offset, what| SnapshotError::Damaged { path: path.clone(), offset, what };
        let (index, meta) =
            read_header(&*file, group).map_err(failed)?.map_err(|w| damaged(0, w))?;
        let mut at = (HEADER_BYTES + meta.len() + 4) as u64;
        let (mut offsets, mut sum) = (Vec::new(), 0);
        loop {
            let head = read_up_to(&*file, at, END_BYTES).map_err(failed)?;
            if head.len() < CHUNK_HEADER_BYTES {
                return Err(damaged(at, "it ends without an end".to_owned()));
            }
            let length = u32_at(&head, 0);
            if length == END {
                if head[..] != end(offsets.len() as u32, sum) {
                    return Err(damaged(at, "its end does not match its chunks".to_owned()));
                }
                let chunks = offsets.len() as u32;
                let id = SnapshotId { index, chunks, sum };
                let (meta, offsets) = (meta.into(), offsets.into());
                let bytes = at + END_BYTES as u64;
                return Ok(Self { file, meta, id, offsets, bytes, path });
            }
            if length == 0 || length as usize > SNAPSHOT_CHUNK_BYTES_MAX {
                return Err(damaged(at, format!("a chunk of {length} bytes")));
            }
            sum = crc32c::crc32c_append(sum, &head[4..8]);
            offsets.push(at);
            at += CHUNK_HEADER_BYTES as u64 + u64::from(length);
        }
    }

    /// What it is recognised by.
    pub fn id(&self) -> SnapshotId {
        self.id
    }

    /// What the caller wrote in its header.
    pub fn meta(&self) -> &[u8] {
        &self.meta
    }

    /// The file it is read from.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A chunk, by its number from 0.
    ///
    /// # Errors
    /// `Damaged` where its sum does not match, or there is no such chunk; `Io`.
    pub fn chunk(&self, number: u32) -> Result<Vec<u8>, SnapshotError> {
        let failed = |source| SnapshotError::Io { path: self.path.clone(), source };
        let damaged = |offset, what: &str| SnapshotError::Damaged {
            path: self.path.clone(),
            offset,
            what: format!("chunk {number} {what}"),
        };
        let at = self.offsets.get(number as usize).copied();
        let at = at.ok_or_else(|| damaged(0, "is beyond the last one"))?;
        let head = read_up_to(&*self.file, at, CHUNK_HEADER_BYTES).map_err(failed)?;
        if head.len() < CHUNK_HEADER_BYTES || u32_at(&head, 0) as usize > SNAPSHOT_CHUNK_BYTES_MAX {
            return Err(damaged(at, "has an impossible length"));
        }
        let (length, sum) = (u32_at(&head, 0) as usize, u32_at(&head, 4));
        let start = at + CHUNK_HEADER_BYTES as u64;
        let bytes = read_up_to(&*self.file, start, length).map_err(failed)?;
        if bytes.len() != length || crc32c::crc32c(&bytes) != sum {
            return Err(damaged(at, "does not match its checksum"));
        }
        Ok(bytes)
    }

    /// Bytes of the file.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// All chunks, in order.
    pub fn chunks(&self) -> impl Iterator<Item = Result<Vec<u8>, SnapshotError>> + '_ {
        (0..self.id.chunks).map(|number| self.chunk(number))
    }
}

type Header = (u64, Vec<u8>);

/// The index and meta bytes; the inner error says what is wrong with them.
fn read_header(file: &dyn DiskFile, group: u32) -> io::Result<Result<Header, String>> {
    let bytes = read_up_to(file, 0, HEADER_BYTES + META_BYTES_MAX + 4)?;
    Ok(parse_header(&bytes, group))
}

fn parse_header(bytes: &[u8], group: u32) -> Result<Header, String> {
    let fixed = bytes.get(..HEADER_BYTES).ok_or("its header is incomplete")?;
    if fixed[..4] != MAGIC {
        return Err("it does not begin as a snapshot does".to_owned());
    }
    if fixed[4] != FORMAT {
        return Err(format!("its format is {}, this build reads {FORMAT}", fixed[4]));
    }
    let length = u32_at(fixed, 17) as usize;
    let end = HEADER_BYTES + length.min(META_BYTES_MAX + 1);
    let (whole, rest) = bytes.split_at_checked(end).ok_or("its header is incomplete")?;
    let sum = rest.get(..4).map(|sum| u32_at(sum, 0)).ok_or("its header is incomplete")?;
    if crc32c::crc32c(whole) != sum {
        return Err("its header does not match its checksum".to_owned());
    }
    let found = u32_at(fixed, 5);
    if found != group {
        return Err(format!("it is of group {found}, not of {group}"));
    }
    let index = u64::from(u32_at(fixed, 9)) | u64::from(u32_at(fixed, 13)) << 32;
    Ok((index, whole[HEADER_BYTES..].to_vec()))
}

#[cfg(test)]
#[path = "snapshots_tests.rs"]
mod tests;
