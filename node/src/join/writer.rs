//! Writing a node's folder where it is to run, so that it may be killed between any two steps.
//!
//! ```text
//! joining.json    who is to be here, and the number that the folder is taken with
//!                 (the folder is fetched)
//! tls/ ...        the files
//! data/           whose data directory it is, and that it joins
//! rotary.toml     with it the folder is a node's
//!                 (joining.json is removed)
//! ```
//!
//! Each file is there whole or not at all. Whoever begins anew goes on where `joining.json` is, and
//! fetches the same folder with the same number; without it, what is in the folder is somebody's.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use rotary_client::ApiError;
use rotary_proto::{JoinText, JoinTokenId, NodeId};
use rotary_storage::{DataDir, DataDirError};
use serde::{Deserialize, Serialize};

use super::folder::{CONFIG, DATA};
use super::{Keys, PackError, Packed, SealError};
use crate::cli::exit;
use crate::cluster::{InitError, authority::replace};
use crate::config::{Config, Role};
use crate::gateway::secret::Secret;

/// What tells that a node is on its way into the folder.
const NOTE: &str = "joining.json";
/// What a volume may have of its own.
const OF_VOLUMES: &str = "lost+found";

/// Why a node cannot be written.
#[derive(Debug, thiserror::Error)]
pub(crate) enum JoinError {
    /// Somebody is there.
    #[error(
        "{dir} is the folder of {node} of cluster {cluster} already, and stays as it is. Start \
         that one (rotary server --config {dir}/rotary.toml), or name another folder"
    )]
    There {
        /// The folder.
        dir: String,
        /// Who is there.
        node: NodeId,
        /// Of which cluster.
        cluster: String,
    },
    /// Another one is on its way.
    #[error(
        "{dir} is half of {node} of cluster {cluster}, whose joining broke off: go on with a token \
         of that node, or remove the folder if it is to be no more"
    )]
    Half {
        /// The folder.
        dir: String,
        /// Whose it is to be.
        node: NodeId,
        /// Of which cluster.
        cluster: String,
    },
    /// There is something else.
    #[error("{dir} has {found} in it, and is no node's: name a folder that is empty, or new")]
    NotEmpty {
        /// The folder.
        dir: String,
        /// One of its files.
        found: String,
    },
    /// The note cannot be read.
    #[error("{0} is damaged: remove the folder, revoke the token and have another one made")]
    Damaged(String),
    /// The cluster did not give the folder.
    #[error(transparent)]
    Refused(#[from] ApiError),
    /// What it gave is not it.
    #[error(transparent)]
    Sealed(#[from] SealError),
    /// What it gave cannot be read.
    #[error(transparent)]
    Packed(#[from] PackError),
    /// The disk refuses.
    #[error(transparent)]
    Disk(#[from] InitError),
    /// The data directory cannot be made.
    #[error(transparent)]
    DataDir(#[from] DataDirError),
    /// There is no randomness for the number.
    #[error("no randomness: {0}")]
    Randomness(String),
    /// Somebody who tests had it end there.
    #[cfg(test)]
    #[error("killed before {0}")]
    Killed(&'static str),
}

impl JoinError {
    /// The exit code of the process, where it was not the cluster that refused.
    pub(crate) fn exit_code(&self) -> u8 {
        match self {
            Self::There { .. } | Self::Half { .. } | Self::NotEmpty { .. } => exit::CONFLICT,
            _ => exit::ERROR,
        }
    }
}

/// Who is on the way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Note {
    cluster: String,
    node: NodeId,
    token: JoinTokenId,
    /// What the folder is taken with.
    nonce: String,
}

/// What is in a folder.
#[derive(Debug, PartialEq, Eq)]
enum Found {
    /// Nothing.
    Nothing,
    /// A node that is on its way, and has all of its files perhaps.
    OnItsWay { note: Note, whole: bool },
}

/// Called before each step, with what it is.
pub(crate) type Watch<'a> = &'a mut dyn FnMut(&'static str) -> Result<(), JoinError>;

/// Fetches the folder that the token names and writes it, or goes on with that. `fetch` gives it
/// sealed, to whoever shows the proof and that nonce. Names the node's configuration.
///
/// # Errors
/// [`JoinError`]; whatever is there is as it was, or can be gone on with by the same token.
pub(crate) async fn join(
    dir: &Path,
    text: &JoinText,
    fetch: impl AsyncFnOnce(&Keys, &Secret) -> Result<Vec<u8>, ApiError>,
    watch: Watch<'_>,
) -> Result<PathBuf, JoinError> {
    let nonce = match look(dir)? {
        Found::OnItsWay { note, .. } if !note.is_of(text) => {
            let Note { node, cluster, .. } = note;
            return Err(JoinError::Half { dir: dir.display().to_string(), node, cluster });
        }
        Found::OnItsWay { whole: true, .. } => return end(dir, watch),
        Found::OnItsWay { note, .. } if note.token == text.token => note.nonce(dir)?,
        // Nothing is there, or what another token of the same node has left.
        _ => begin(dir, text, watch)?,
    };
    let keys = Keys::of(&text.secret, &text.cluster, text.node);
    watch("fetching")?;
    let sealed = fetch(&keys, &nonce).await?;
    let packed = Packed::of(&keys.open(sealed)?, &text.cluster, text.node)?;
    write(dir, &packed, watch)?;
    end(dir, watch)
}

/// What is in the folder.
fn look(dir: &Path) -> Result<Found, JoinError> {
    let shown = dir.display().to_string();
    let path = dir.join(NOTE);
    let has_config = dir.join(CONFIG).exists();
    match std::fs::read(&path) {
        Ok(bytes) => {
            let note = serde_json::from_slice(&bytes);
            let note = note.map_err(|_| JoinError::Damaged(path.display().to_string()))?;
            Ok(Found::OnItsWay { note, whole: has_config })
        }
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(InitError::Io { path, source: error }.into())
        }
        Err(_) => match (somebody(dir), something(dir)?) {
            (Some((node, cluster)), _) => Err(JoinError::There { dir: shown, node, cluster }),
            (None, Some(found)) => Err(JoinError::NotEmpty { dir: shown, found }),
            (None, None) => Ok(Found::Nothing),
        },
    }
}

/// Whose folder it is: what its configuration says, or its data directory.
fn somebody(dir: &Path) -> Option<(NodeId, String)> {
    if let Ok(config) = Config::load(&dir.join(CONFIG), &[])
        && config.node.id > 0
    {
        return Some((NodeId(config.node.id), config.cluster.id));
    }
    let places = [dir.join(DATA), dir.to_owned()];
    let identity = places.iter().find_map(|place| DataDir::identity_of(place).ok())?;
    Some((NodeId(identity.node), identity.cluster))
}

/// Something that is in the folder, beside what a volume has and what a note is made from.
fn something(dir: &Path) -> Result<Option<String>, JoinError> {
    let failed = |source| InitError::Io { path: dir.to_owned(), source };
    let entries = match std::fs::read_dir(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        entries => entries.map_err(failed)?,
    };
    let draft = draft_of(&dir.join(NOTE));
    for entry in entries {
        let path = entry.map_err(failed)?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if path != draft && name != OF_VOLUMES {
            return Ok(Some(name));
        }
    }
    Ok(None)
}

/// What a file is before it has its name.
fn draft_of(path: &Path) -> PathBuf {
    path.with_extension("new")
}

impl Note {
    fn is_of(&self, text: &JoinText) -> bool {
        (self.node, &self.cluster) == (text.node, &text.cluster)
    }

    fn nonce(&self, dir: &Path) -> Result<Secret, JoinError> {
        let damaged = |_| JoinError::Damaged(dir.join(NOTE).display().to_string());
        self.nonce.parse().map_err(damaged)
    }
}

/// Notes who is to be here, and with which number the folder is taken, before it is.
fn begin(dir: &Path, text: &JoinText, watch: Watch<'_>) -> Result<Secret, JoinError> {
    let nonce = Secret::random().map_err(|error| JoinError::Randomness(error.to_string()))?;
    let (cluster, node, token) = (text.cluster.clone(), text.node, text.token);
    let note = Note { cluster, node, token, nonce: nonce.reveal() };
    watch("the note")?;
    let json = serde_json::to_string(&note).expect("texts and numbers are JSON");
    replace(&dir.join(NOTE), &json, true)?;
    sync(dir)?;
    Ok(nonce)
}

/// Writes the files, the configuration last.
fn write(dir: &Path, packed: &Packed, watch: Watch<'_>) -> Result<(), JoinError> {
    for file in packed.files() {
        if file.name == CONFIG && packed.role == Role::Core {
            watch("the data directory")?;
            own(&dir.join(DATA), packed)?;
        }
        watch(file.name)?;
        let path = dir.join(file.name);
        replace(&path, file.text, file.secret)?;
        sync(path.parent().unwrap_or(dir))?;
    }
    Ok(())
}

/// Makes the data directory that the node's configuration names, unless it is there.
fn own(data: &Path, packed: &Packed) -> Result<(), JoinError> {
    let Packed { cluster, node, .. } = packed;
    match DataDir::initialise_joining(data, cluster, node.0) {
        Ok(_) => Ok(()),
        Err(DataDirError::AlreadyInitialised { cluster: of, node: found, .. })
            if (&of, found) == (cluster, node.0) =>
        {
            Ok(())
        }
        Err(error) => Err(error.into()),
    }
}

/// Removes the note: the folder is a node's.
fn end(dir: &Path, watch: Watch<'_>) -> Result<PathBuf, JoinError> {
    watch("the end")?;
    let path = dir.join(NOTE);
    std::fs::remove_file(&path).map_err(|source| InitError::Io { path, source })?;
    sync(dir)?;
    Ok(dir.join(CONFIG))
}

/// Has the disk know the names in a folder.
fn sync(dir: &Path) -> Result<(), JoinError> {
    let synced = File::open(dir).and_then(|dir| dir.sync_all());
    synced.map_err(|source| InitError::Io { path: dir.to_owned(), source }.into())
}

#[cfg(test)]
#[path = "writer_tests.rs"]
mod tests;
