//! What a node's folder is on its way: its files as one JSON text.

use std::path::Path;

use rotary_proto::NodeId;
use rotary_proto::limits::JOIN_FOLDER_BYTES_MAX;
use serde::{Deserialize, Serialize};

use crate::config::{Config, ConfigError, Role};

/// The form of the text.
const FORMAT: u32 = 1;
/// Bytes that a cipher adds.
const SEAL_BYTES: usize = 16;

/// The files that there may be, in the order in which they are written: the configuration comes
/// last, because with it a folder is a node's. Whether one is for its owner's eyes only, and
/// whether gateway-only nodes have it.
const FILES: [(&str, bool, bool); 5] = [
    ("tls/ca.pem", false, true),
    ("tls/node.pem", false, true),
    ("tls/node.key", true, true),
    ("token.secret", true, false),
    (CONFIG, false, true),
];

/// A node's configuration.
pub(super) const CONFIG: &str = "rotary.toml";
/// Its data directory.
pub(super) const DATA: &str = "data";

/// Why a folder cannot be packed, or what came is none.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PackError {
    /// Its configuration cannot be read.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// A file cannot be read.
    #[error("{path}: {source}")]
    Io {
        /// Which.
        path: String,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// It has a data directory.
    #[error(
        "{0} has a data directory: it is to run here, or has. A node whose machine is another one \
         has none here; if this one never ran, remove the data directory"
    )]
    HasData(String),
    /// Its data directory is to be somewhere else.
    #[error(
        "node.data_dir is {0}: a folder that goes to its machine by a token has it as `data`; move \
         it there, before the first start"
    )]
    OtherData(String),
    /// It is larger than it may be.
    #[error("the folder has {bytes} bytes packed, and may have {most}: shorten rotary.toml")]
    TooLarge {
        /// How large it is.
        bytes: usize,
        /// How large it may be.
        most: usize,
    },
    /// What came is no folder of that node.
    #[error("what was sealed is not a folder that this build can read: {0}; use the same build")]
    Unreadable(String),
}

/// A node's folder.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Packed {
    format: u32,
    /// The id of the cluster.
    pub(crate) cluster: String,
    /// Whose it is.
    pub(crate) node: NodeId,
    /// What that node is.
    pub(crate) role: Role,
    files: Vec<PackedFile>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct PackedFile {
    name: String,
    text: String,
}

/// A file that is to be written.
#[derive(Debug, Clone, Copy)]
pub(super) struct File<'a> {
    /// Where, within the folder.
    pub(super) name: &'static str,
    pub(super) text: &'a str,
    /// Whether it is for its owner's eyes only.
    pub(super) secret: bool,
}

impl Packed {
    /// Reads the folder of a node that is to run on another machine.
    ///
    /// # Errors
    /// [`PackError`].
    pub(crate) fn read(dir: &Path) -> Result<Self, PackError> {
        let config = Config::load(&dir.join(CONFIG), &[])?;
        if config.node.role == Role::Core {
            if config.node.data_dir != dir.join(DATA) {
                return Err(PackError::OtherData(config.node.data_dir.display().to_string()));
            }
            if config.node.data_dir.exists() {
                return Err(PackError::HasData(dir.display().to_string()));
            }
        }
        let role = config.node.role;
        let mut files = Vec::new();
        for (name, ..) in FILES.into_iter().filter(|(.., gateways)| *gateways || is_core(role)) {
            let path = dir.join(name);
            let failed = |source| PackError::Io { path: path.display().to_string(), source };
            let text = std::fs::read_to_string(&path).map_err(failed)?;
            files.push(PackedFile { name: name.to_owned(), text });
        }
        let (cluster, node) = (config.cluster.id, NodeId(config.node.id));
        Ok(Self { format: FORMAT, cluster, node, role, files })
    }

    /// The folder as it is sealed.
    ///
    /// # Errors
    /// [`PackError::TooLarge`].
    pub(crate) fn bytes(&self) -> Result<Vec<u8>, PackError> {
        let bytes = serde_json::to_vec(self).expect("texts are JSON");
        let most = JOIN_FOLDER_BYTES_MAX - SEAL_BYTES;
        if bytes.len() > most {
            return Err(PackError::TooLarge { bytes: bytes.len(), most });
        }
        Ok(bytes)
    }

    /// The folder of a node, as it was sealed.
    ///
    /// # Errors
    /// [`PackError::Unreadable`] for another node's, one with other files than a node has, or one
    /// of another form.
    pub(crate) fn of(bytes: &[u8], cluster: &str, node: NodeId) -> Result<Self, PackError> {
        let wrong = |what: String| PackError::Unreadable(what);
        let packed: Self =
            serde_json::from_slice(bytes).map_err(|error| wrong(error.to_string()))?;
        if packed.format != FORMAT {
            return Err(wrong(format!("its form is {}, not {FORMAT}", packed.format)));
        }
        if packed.cluster != cluster || packed.node != node {
            return Err(wrong(format!("it is that of {} of {}", packed.node, packed.cluster)));
        }
        let names: Vec<&str> = packed.files.iter().map(|file| file.name.as_str()).collect();
        let due = FILES.into_iter().filter(|(.., gateways)| *gateways || is_core(packed.role));
        let due: Vec<&str> = due.map(|(name, ..)| name).collect();
        if names != due {
            return Err(wrong(format!("it has the files {}", names.join(", "))));
        }
        Ok(packed)
    }

    /// The files, in the order in which they are to be written.
    pub(super) fn files(&self) -> impl Iterator<Item = File<'_>> {
        let known = |file: &PackedFile| FILES.into_iter().find(|(name, ..)| *name == file.name);
        self.files.iter().map(move |file| {
            let (name, secret, _) = known(file).expect("a folder has the files that are known");
            File { name, text: &file.text, secret }
        })
    }
}

fn is_core(role: Role) -> bool {
    role == Role::Core
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A folder without anything real in it.
    pub(crate) fn packed(role: Role) -> Packed {
        let names = FILES.into_iter().filter(|(.., gateways)| *gateways || is_core(role));
        let files = names.map(|(name, ..)| PackedFile {
            name: name.to_owned(),
            text: format!("text of {name}\n"),
        });
        let (cluster, node, files) = ("main".to_owned(), NodeId(4), files.collect());
        Packed { format: FORMAT, cluster, node, role, files }
    }

    #[test]
    fn a_folder_is_read_as_it_was_packed() {
        for role in [Role::Core, Role::Gateway] {
            let packed = packed(role);
            let bytes = packed.bytes().expect("small");
            assert_eq!(Packed::of(&bytes, "main", NodeId(4)).expect("its own"), packed);
            for (cluster, node) in [("other", 4), ("main", 5)] {
                assert!(Packed::of(&bytes, cluster, NodeId(node)).is_err());
            }
        }
        let count = |role| packed(role).files().count();
        assert_eq!((count(Role::Core), count(Role::Gateway)), (5, 4));
    }

    #[test]
    fn a_folder_has_the_files_of_a_node_and_no_other() {
        let change = |change: &dyn Fn(&mut Packed)| {
            let mut packed = packed(Role::Core);
            change(&mut packed);
            let bytes = serde_json::to_vec(&packed).expect("plain");
            Packed::of(&bytes, "main", NodeId(4)).is_err()
        };
        assert!(change(&|packed| packed.format = 2));
        assert!(change(&|packed| packed.files[0].name = "../../etc/passwd".to_owned()));
        assert!(change(&|packed| packed.files.swap(0, 1)));
        assert!(change(&|packed| drop(packed.files.pop())));
        assert!(change(&|packed| packed.role = Role::Gateway));
        assert!(!change(&|_| ()));
        let large = |packed: &mut Packed| packed.files[0].text = "x".repeat(JOIN_FOLDER_BYTES_MAX);
        let mut packed = packed(Role::Core);
        large(&mut packed);
        assert!(matches!(packed.bytes(), Err(PackError::TooLarge { .. })));
    }
}
