//! The directory that one node of one cluster keeps its bytes in.
//!
//! ```text
//! identity   whose directory this is (JSON)
//! lock       held, and its process id written, by the process that uses it
//! log/       the log of all shards
//! journal/   the journals of all shards
//! blobs/     attached files, by site
//! ```

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// The format of the directory that this build makes and reads.
const FORMAT: u32 = 1;

/// A file that is there while the directory is being filled from a backup.
const RESTORING: &str = "restoring";

/// Whose directory it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Identity {
    /// The cluster's id.
    pub cluster: String,
    /// The node's number.
    pub node: u64,
    /// The format version of the directory.
    pub format: u32,
    /// What the node's log is recognised by, in hexadecimal; unlike any other node's.
    #[serde(default)]
    pub log: String,
    /// Whether it was made for a cluster that existed already: then this node founds nothing, and
    /// waits until it is admitted.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub joins: bool,
}

impl Identity {
    /// What the node's log is recognised by; 0 in a directory that was made without it.
    pub fn log_id(&self) -> u128 {
        u128::from_str_radix(&self.log, 16).unwrap_or(0)
    }
}

/// Why a data directory cannot be used, and how to mend it.
#[derive(Debug, thiserror::Error)]
pub enum DataDirError {
    /// There is no identity in it.
    #[error(
        "{0} is not initialised: run `rotary cluster init`, or point data_dir elsewhere. If this \
         node's disk was lost, another node takes its place: see `rotary node replace`"
    )]
    NotInitialised(PathBuf),
    /// It is being filled from a backup, or that was not finished.
    #[error(
        "{0} is being restored from a backup, or that broke off: make the cluster anew (`rotary \
         cluster init`), and restore into that"
    )]
    Restoring(PathBuf),
    /// It has an identity already.
    #[error("{path} belongs to node {node} of cluster {cluster} already: use an empty directory")]
    AlreadyInitialised {
        /// The directory.
        path: PathBuf,
        /// The cluster found there.
        cluster: String,
        /// The node found there.
        node: u64,
    },
    /// It belongs to another cluster.
    #[error(
        "{path} belongs to cluster {found}, this node is configured for {expected}: correct \
         data_dir or the cluster id; never copy a directory between clusters"
    )]
    OtherCluster {
        /// The directory.
        path: PathBuf,
        /// The cluster configured.
        expected: String,
        /// The cluster found there.
        found: String,
    },
    /// It belongs to another node.
    #[error(
        "{path} belongs to node {found}, this is node {expected}: correct data_dir or the node \
         id; two nodes with one history would break the cluster"
    )]
    OtherNode {
        /// The directory.
        path: PathBuf,
        /// The node configured.
        expected: u64,
        /// The node found there.
        found: u64,
    },
    /// Another process uses it.
    #[error("{path} is in use by process {pid}: stop that process first")]
    Locked {
        /// The directory.
        path: PathBuf,
        /// The process id it wrote, or "unknown".
        pid: String,
    },
    /// A newer build made it.
    #[error("{path} has format {found}, this build reads up to {FORMAT}: use a newer build")]
    NewerFormat {
        /// The directory.
        path: PathBuf,
        /// Its format version.
        found: u32,
    },
    /// The identity is not one.
    #[error("{path} is damaged: {what}; restore it from a copy of the cluster's configuration")]
    Damaged {
        /// The identity file.
        path: PathBuf,
        /// What is wrong with it.
        what: String,
    },
    /// The operating system refuses.
    #[error("{path} is not writable: {source}; check owner, permissions and free space")]
    NotWritable {
        /// The file or directory.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
}

/// A data directory in use by this process. Dropping it releases the lock.
#[derive(Debug)]
pub struct DataDir {
    path: PathBuf,
    identity: Identity,
    _lock: File,
}

impl DataDir {
    /// Makes a data directory and writes its identity, durably. It does not open it.
    ///
    /// # Errors
    /// `AlreadyInitialised`, `NotWritable`.
    pub fn initialise(path: &Path, cluster: &str, node: u64) -> Result<Identity, DataDirError> {
        Self::make(path, cluster, node, false)
    }

    /// The same of a node that joins a cluster which exists.
    ///
    /// # Errors
    /// `AlreadyInitialised`, `NotWritable`.
    pub fn initialise_joining(
        path: &Path,
        cluster: &str,
        node: u64,
    ) -> Result<Identity, DataDirError> {
        Self::make(path, cluster, node, true)
    }

    fn make(path: &Path, cluster: &str, node: u64, joins: bool) -> Result<Identity, DataDirError> {
        match read_identity(path) {
            Err(DataDirError::NotInitialised(_)) => {}
            Ok(Identity { cluster, node, .. }) => {
                let path = path.to_owned();
                return Err(DataDirError::AlreadyInitialised { path, cluster, node });
            }
            Err(error) => return Err(error),
        }
        let log = random_id()
            .map_err(|source| DataDirError::NotWritable { path: path.to_owned(), source })?;
        let log = format!("{log:032x}");
        let identity = Identity { cluster: cluster.to_owned(), node, format: FORMAT, log, joins };
        write_identity(path, &identity)
            .map_err(|source| DataDirError::NotWritable { path: path.to_owned(), source })?;
        Ok(identity)
    }

    /// Locks and opens the directory of that node of that cluster.
    ///
    /// # Errors
    /// Every variant of [`DataDirError`] but `AlreadyInitialised`.
    pub fn open(path: &Path, cluster: &str, node: u64) -> Result<Self, DataDirError> {
        let identity = read_identity(path)?;
        let path = path.to_owned();
        if identity.cluster != cluster {
            let (expected, found) = (cluster.to_owned(), identity.cluster);
            return Err(DataDirError::OtherCluster { path, expected, found });
        }
        if identity.node != node {
            let (expected, found) = (node, identity.node);
            return Err(DataDirError::OtherNode { path, expected, found });
        }
        let lock = take_lock(&path)?;
        if path.join(RESTORING).exists() {
            return Err(DataDirError::Restoring(path));
        }
        Ok(Self { path, identity, _lock: lock })
    }

    /// Notes that it is being filled from a backup: until that has ended it does not open.
    ///
    /// # Errors
    /// What the disk says.
    pub fn begin_restore(&self) -> io::Result<()> {
        File::create(self.path.join(RESTORING))?.sync_all()?;
        File::open(&self.path)?.sync_all()
    }

    /// Notes that all of the backup is there.
    ///
    /// # Errors
    /// What the disk says.
    pub fn end_restore(&self) -> io::Result<()> {
        std::fs::remove_file(self.path.join(RESTORING))?;
        File::open(&self.path)?.sync_all()
    }

    /// Reads whose directory it is, without opening it.
    ///
    /// # Errors
    /// `NotInitialised`, `NewerFormat`, `Damaged`, `NotWritable` where it cannot even be read.
    pub fn identity_of(path: &Path) -> Result<Identity, DataDirError> {
        read_identity(path)
    }

    /// Whose directory it is.
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// The directory itself.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Where the log of all shards is.
    pub fn log_path(&self) -> PathBuf {
        self.path.join("log")
    }

    /// Where the snapshots of all shards are.
    pub fn snapshots_path(&self) -> PathBuf {
        self.path.join("snapshots")
    }

    /// Where what the next start must know is.
    pub fn notes_path(&self) -> PathBuf {
        self.path.join("notes")
    }

    /// Where the journals of all shards are.
    pub fn journal_path(&self) -> PathBuf {
        self.path.join("journal")
    }

    /// Where the blobs of all sites are.
    pub fn blobs_path(&self) -> PathBuf {
        self.path.join("blobs")
    }

    /// Where the lookup index of the journals is; it is made again if it is removed.
    pub fn lookup_path(&self) -> PathBuf {
        self.path.join("lookup")
    }
}

/// A number that nobody else has.
fn random_id() -> io::Result<u128> {
    let mut bytes = [0; 16];
    File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(u128::from_le_bytes(bytes))
}

fn read_identity(path: &Path) -> Result<Identity, DataDirError> {
    let file = path.join("identity");
    let text = match std::fs::read_to_string(&file) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(DataDirError::NotInitialised(path.to_owned()));
        }
        Err(source) => return Err(DataDirError::NotWritable { path: file, source }),
    };
    let damaged = |what: String| DataDirError::Damaged { path: file.clone(), what };
    // The version first: a newer identity may have fields that this build would refuse.
    let value: serde_json::Value =
        serde_json::from_str(&text).map_err(|error| damaged(error.to_string()))?;
    let format = value.get("format").and_then(serde_json::Value::as_u64);
    let format = format.ok_or_else(|| damaged("it has no format".to_owned()))?;
    if format > u64::from(FORMAT) {
        let found = u32::try_from(format).unwrap_or(u32::MAX);
        return Err(DataDirError::NewerFormat { path: path.to_owned(), found });
    }
    serde_json::from_value(value).map_err(|error| damaged(error.to_string()))
}

/// Writes beside, syncs, renames, syncs the directory: an identity is whole or absent.
pub(crate) fn write_identity(path: &Path, identity: &Identity) -> io::Result<()> {
    std::fs::create_dir_all(path)?;
    let (draft, file) = (path.join("identity.new"), path.join("identity"));
    let mut text = serde_json::to_vec_pretty(identity).map_err(io::Error::other)?;
    text.push(b'\n');
    let mut out = File::create(&draft)?;
    out.write_all(&text)?;
    out.sync_all()?;
    std::fs::rename(&draft, &file)?;
    File::open(path)?.sync_all()
}

fn take_lock(path: &Path) -> Result<File, DataDirError> {
    let file = path.join("lock");
    let not_writable = |source| DataDirError::NotWritable { path: file.clone(), source };
    let mut options = OpenOptions::new();
    let opened = options.read(true).write(true).create(true).truncate(false).open(&file);
    let mut lock = opened.map_err(not_writable)?;
    match lock.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let mut pid = String::new();
            let read = lock.read_to_string(&mut pid);
            let known = read.is_ok() && !pid.trim().is_empty();
            let pid = if known { pid.trim().to_owned() } else { "unknown".to_owned() };
            return Err(DataDirError::Locked { path: path.to_owned(), pid });
        }
        Err(TryLockError::Error(source)) => return Err(not_writable(source)),
    }
    lock.set_len(0).map_err(not_writable)?;
    lock.write_all(std::process::id().to_string().as_bytes()).map_err(not_writable)?;
    Ok(lock)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(error: DataDirError, path: &Path) -> String {
        error.to_string().replace(&path.display().to_string(), "DIR")
    }

    #[test]
    fn a_directory_serves_its_own_node_and_no_other() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path();
        let refused =
            |cluster, node| text(DataDir::open(path, cluster, node).expect_err("no"), path);
        assert!(refused("blue", 1).starts_with("DIR is not initialised: run"));
        DataDir::initialise(path, "blue", 1).expect("empty");
        let again = DataDir::initialise(path, "blue", 2).expect_err("taken");
        assert!(text(again, path).starts_with("DIR belongs to node 1 of cluster blue already"));
        assert!(refused("red", 1).starts_with("DIR belongs to cluster blue, this node is"));
        assert!(refused("blue", 2).starts_with("DIR belongs to node 1, this is node 2"));
        let open = DataDir::open(path, "blue", 1).expect("its own");
        let busy = format!("DIR is in use by process {}", std::process::id());
        assert!(refused("blue", 1).starts_with(&busy));
        drop(open);
        DataDir::open(path, "blue", 1).expect("free again");
    }

    #[test]
    fn a_newer_format_and_damage_are_told_apart() {
        let dir = tempfile::tempdir().expect("a directory");
        let put = |text| std::fs::write(dir.path().join("identity"), text).expect("writable");
        put(r#"{"format": 2, "surprise": true}"#);
        let error = DataDir::identity_of(dir.path()).expect_err("newer");
        assert!(matches!(error, DataDirError::NewerFormat { found: 2, .. }));
        put(r#"{"format": 1}"#);
        let error = DataDir::identity_of(dir.path()).expect_err("damaged");
        assert!(matches!(error, DataDirError::Damaged { .. }));
    }
}
