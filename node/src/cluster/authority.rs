//! New certificates for nodes of a cluster, and another authority in place of the one it has.
//!
//! An authority is exchanged in three steps, each of which ends with the nodes having their new
//! files, so that at every moment every node is believed by every other:
//!
//! ```text
//! begin    authority/next.*  is made    nodes believe ca + next       shown: by ca
//! switch   next -> ca -> previous       nodes believe ca + previous   shown: by the new ca
//! finish   previous is dropped          nodes believe ca              shown: by the new ca
//! ```
//!
//! Where a step broke off is seen from which files there are; it is taken again.

use std::io;
use std::path::{Path, PathBuf};

use rotary_proto::NodeId;
use rotary_transport::ClusterAuthority;

use super::{InitError, write};
use crate::config::{Config, ConfigError};
use crate::gateway::token::unix_s;

/// The folder of a cluster's authority.
const FOLDER: &str = "authority";
/// Files in it: the authority that signs, the one to come, the one before.
const CERTIFICATE: &str = "ca.pem";
const KEY: &str = "ca.key";
const NEXT_CERTIFICATE: &str = "next.pem";
const NEXT_KEY: &str = "next.key";
const PREVIOUS_CERTIFICATE: &str = "previous.pem";

/// A step of the exchange of an authority.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Step {
    /// Makes the new authority, which every node is to believe beside the old one.
    Begin,
    /// Signs the certificates of all nodes with the new one.
    Switch,
    /// Drops the old one.
    Finish,
}

/// A cluster's folder, with its authority.
pub(super) struct Folder<'a> {
    dir: &'a Path,
    cluster: String,
}

impl<'a> Folder<'a> {
    /// The folder that `cluster init` made.
    ///
    /// # Errors
    /// [`InitError::Numbers`] if there is no node in it whose configuration can be read.
    pub(super) fn open(dir: &'a Path) -> Result<Self, InitError> {
        let wrong = |error: ConfigError| InitError::Numbers(error.to_string());
        let nodes = nodes(dir)?;
        let first = nodes.first().map_or(1, |node| node.0);
        let config = dir.join(format!("node-{first}/rotary.toml"));
        let cluster = Config::load(&config, &[]).map_err(wrong)?.cluster.id;
        Ok(Self { dir, cluster })
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.join(FOLDER).join(name)
    }

    fn has(&self, name: &str) -> bool {
        self.path(name).exists()
    }

    fn text(&self, name: &str) -> Result<String, InitError> {
        let path = self.path(name);
        std::fs::read_to_string(&path).map_err(|source| InitError::Io { path, source })
    }

    fn rename(&self, from: &str, to: &str) -> Result<(), InitError> {
        let path = self.path(from);
        std::fs::rename(&path, self.path(to)).map_err(|source| InitError::Io { path, source })
    }

    /// The authority that signs.
    ///
    /// # Errors
    /// [`InitError`].
    pub(super) fn authority(&self) -> Result<ClusterAuthority, InitError> {
        if self.has(NEXT_CERTIFICATE) && !self.has(NEXT_KEY) {
            let why = "a switch of the authority broke off: rotary cluster rotate-authority switch";
            return Err(InitError::Numbers(why.to_owned()));
        }
        let (certificate, key) = (self.text(CERTIFICATE)?, self.text(KEY)?);
        Ok(ClusterAuthority::from_pem(&self.cluster, &certificate, &key)?)
    }

    /// Whom nodes are to believe.
    ///
    /// # Errors
    /// [`InitError`].
    pub(super) fn believed(&self) -> Result<String, InitError> {
        let names = [CERTIFICATE, NEXT_CERTIFICATE, PREVIOUS_CERTIFICATE];
        names.into_iter().filter(|name| self.has(name)).map(|name| self.text(name)).collect()
    }

    fn tls(&self, node: NodeId) -> PathBuf {
        self.dir.join(format!("node-{}/tls", node.0))
    }

    /// Gives a node a new certificate and key, and whom it is to believe.
    fn issue(
        &self,
        node: NodeId,
        authority: &ClusterAuthority,
        days: Option<u64>,
    ) -> Result<PathBuf, InitError> {
        let end_s = days.map(|days| unix_s() + days * 24 * 3_600);
        let (pem, tls) = (authority.issue_until(node, end_s)?, self.tls(node));
        replace(&tls.join("ca.pem"), &self.believed()?, false)?;
        replace(&tls.join("node.key"), &pem.key, true)?;
        replace(&tls.join("node.pem"), &pem.certificate, false)?;
        Ok(tls)
    }

    /// Has every node believe whom it is to believe.
    fn tell_all(&self) -> Result<Vec<PathBuf>, InitError> {
        let believed = self.believed()?;
        let tell = |node| {
            let tls = self.tls(node);
            replace(&tls.join("ca.pem"), &believed, false)?;
            Ok(tls)
        };
        nodes(self.dir)?.into_iter().map(tell).collect()
    }
}

/// Issues new certificates, with new keys, to nodes whose folders are there; to all, if none is
/// named. Names the folders that were written.
///
/// # Errors
/// [`InitError`].
pub(crate) fn renew(
    dir: &Path,
    some: &[NodeId],
    days: Option<u64>,
) -> Result<Vec<PathBuf>, InitError> {
    let (folder, known) = (Folder::open(dir)?, nodes(dir)?);
    if let Some(other) = some.iter().find(|node| !known.contains(node)) {
        let all: Vec<String> = known.iter().map(NodeId::to_string).collect();
        let detail = format!("{other} has no folder in {}, only {}", dir.display(), all.join(", "));
        return Err(InitError::Numbers(detail));
    }
    let authority = folder.authority()?;
    let nodes = if some.is_empty() { &known } else { some };
    nodes.iter().map(|node| folder.issue(*node, &authority, days)).collect()
}

/// Takes a step in the exchange of a cluster's authority. Names the folders that were written.
///
/// # Errors
/// [`InitError`]; a step that broke off can be taken again.
pub(crate) fn rotate(dir: &Path, step: Step, days: Option<u64>) -> Result<Vec<PathBuf>, InitError> {
    let folder = Folder::open(dir)?;
    let out_of_turn = |why: &str| Err(InitError::Numbers(why.to_owned()));
    match step {
        Step::Begin if folder.has(PREVIOUS_CERTIFICATE) => {
            out_of_turn("an exchange of the authority is to be finished first: `finish`")
        }
        Step::Begin => {
            if !folder.has(NEXT_CERTIFICATE) {
                let next = ClusterAuthority::create(&folder.cluster)?;
                replace(&folder.path(NEXT_KEY), next.key_pem(), true)?;
                replace(&folder.path(NEXT_CERTIFICATE), next.certificate_pem(), false)?;
            }
            folder.tell_all()
        }
        Step::Switch if !folder.has(NEXT_CERTIFICATE) && !folder.has(PREVIOUS_CERTIFICATE) => {
            out_of_turn("there is no new authority: `begin`")
        }
        Step::Switch => {
            if folder.has(NEXT_CERTIFICATE) {
                if folder.has(NEXT_KEY) {
                    let previous = folder.text(CERTIFICATE)?;
                    replace(&folder.path(PREVIOUS_CERTIFICATE), &previous, false)?;
                    folder.rename(NEXT_KEY, KEY)?;
                }
                folder.rename(NEXT_CERTIFICATE, CERTIFICATE)?;
            }
            renew(dir, &[], days)
        }
        Step::Finish if folder.has(NEXT_CERTIFICATE) => {
            out_of_turn("nodes still have certificates of the old authority: `switch`")
        }
        Step::Finish => {
            if folder.has(PREVIOUS_CERTIFICATE) {
                let path = folder.path(PREVIOUS_CERTIFICATE);
                std::fs::remove_file(&path).map_err(|source| InitError::Io { path, source })?;
            }
            folder.tell_all()
        }
    }
}

/// The nodes that have a folder, in order.
fn nodes(dir: &Path) -> Result<Vec<NodeId>, InitError> {
    let failed = |source| InitError::Io { path: dir.to_owned(), source };
    let mut nodes = Vec::new();
    for entry in std::fs::read_dir(dir).map_err(failed)? {
        let name = entry.map_err(failed)?.file_name();
        let number = name.to_str().and_then(|name| name.strip_prefix("node-")?.parse().ok());
        // Beside `node-1` there may be `node-1.log`.
        nodes.extend(number.map(NodeId));
    }
    nodes.sort_unstable();
    Ok(nodes)
}

/// Writes a file in place of the one that is there, whole or not at all.
pub(crate) fn replace(path: &Path, text: &str, secret: bool) -> Result<(), InitError> {
    let failed = |source: io::Error| InitError::Io { path: path.to_owned(), source };
    let draft = path.with_extension("new");
    match std::fs::remove_file(&draft) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error)),
        _ => {}
    }
    write(&draft, text, secret)?;
    std::fs::rename(&draft, path).map_err(failed)
}

#[cfg(test)]
mod tests {
    use rotary_transport::Certificates;

    use super::*;
    use crate::cluster::{Plan, init};

    const YEAR_2030_S: u64 = 1_893_456_000;

    fn made() -> tempfile::TempDir {
        let dir = tempfile::tempdir().expect("a directory");
        let plan = Plan {
            dir: dir.path().to_owned(),
            nodes: 2,
            gateways: 1,
            listen: [127, 0, 0, 1].into(),
            base_port: 7080,
            shards: 1,
            zones: Vec::new(),
            id: Some("blue".to_owned()),
            password: None,
        };
        init(&plan).expect("an empty directory");
        dir
    }

    fn tls(dir: &Path, node: u64, name: &str) -> String {
        let path = dir.join(format!("node-{node}/tls/{name}"));
        std::fs::read_to_string(path).expect("readable")
    }

    /// Whether what one node shows is believed by what another has.
    fn believes(dir: &Path, one: u64, other: u64) -> bool {
        let (authority, shown) = (tls(dir, one, "ca.pem"), tls(dir, other, "node.pem"));
        let read = Certificates::from_pem(&authority, &shown, &tls(dir, other, "node.key"));
        read.expect("they fit").check_at(YEAR_2030_S).is_ok()
    }

    #[test]
    fn a_node_gets_another_certificate_of_the_same_authority() {
        let dir = made();
        let (before, other) = (tls(dir.path(), 1, "node.pem"), tls(dir.path(), 2, "node.pem"));
        let written = renew(dir.path(), &[NodeId(1)], Some(90)).expect("renewed");
        assert_eq!(written, [dir.path().join("node-1/tls")]);
        assert_ne!(tls(dir.path(), 1, "node.pem"), before);
        assert_eq!(tls(dir.path(), 2, "node.pem"), other);
        let [ca, pem, key] =
            ["ca.pem", "node.pem", "node.key"].map(|name| tls(dir.path(), 1, name));
        let renewed = Certificates::from_pem(&ca, &pem, &key).expect("they fit");
        renewed.check_key().expect("they belong together");
        let left_s = renewed.ends_s().expect("it ends") - unix_s();
        assert!((89 * 86_400..=90 * 86_400).contains(&left_s), "{left_s}");
        let error = renew(dir.path(), &[NodeId(7)], None).expect_err("there is none");
        assert!(error.to_string().contains("nd_7 has no folder"), "{error}");
        assert_eq!(renew(dir.path(), &[], None).expect("all").len(), 3);
    }

    #[test]
    fn whoever_is_a_step_behind_is_still_believed() {
        let (dir, behind) = (made(), tempfile::tempdir().expect("a directory"));
        for step in [Step::Begin, Step::Switch, Step::Finish] {
            // One node has the files of the step before, the other those of this.
            let kept = behind.path().join("node-9/tls");
            std::fs::create_dir_all(&kept).expect("writable");
            for name in ["ca.pem", "node.pem", "node.key"] {
                std::fs::write(kept.join(name), tls(dir.path(), 1, name)).expect("writable");
            }
            rotate(dir.path(), step, None).expect("in turn");
            let old_shown = [tls(behind.path(), 9, "node.pem"), tls(behind.path(), 9, "node.key")];
            let ahead = tls(dir.path(), 2, "ca.pem");
            let read = Certificates::from_pem(&ahead, &old_shown[0], &old_shown[1]);
            read.expect("they fit").check_at(YEAR_2030_S).expect("who is behind is believed");
            let new_shown = [tls(dir.path(), 2, "node.pem"), tls(dir.path(), 2, "node.key")];
            let late = tls(behind.path(), 9, "ca.pem");
            let read = Certificates::from_pem(&late, &new_shown[0], &new_shown[1]);
            read.expect("they fit").check_at(YEAR_2030_S).expect("who is behind believes");
            assert!(believes(dir.path(), 1, 3) && believes(dir.path(), 3, 2), "gateways too");
        }
    }

    #[test]
    fn steps_are_taken_in_turn_and_may_be_taken_again() {
        let dir = made();
        let refused = |step| rotate(dir.path(), step, None).expect_err("out of turn").to_string();
        let first = tls(dir.path(), 1, "ca.pem");
        assert!(refused(Step::Switch).contains("`begin`"));
        rotate(dir.path(), Step::Begin, None).expect("in turn");
        let both = tls(dir.path(), 1, "ca.pem");
        rotate(dir.path(), Step::Begin, None).expect("again");
        assert_eq!(tls(dir.path(), 1, "ca.pem"), both, "no third authority");
        assert!(refused(Step::Finish).contains("`switch`"));
        // A kill between the two renames of a switch.
        let authority = dir.path().join("authority");
        std::fs::copy(authority.join("ca.pem"), authority.join("previous.pem")).expect("writable");
        std::fs::rename(authority.join("next.key"), authority.join("ca.key")).expect("writable");
        let error = renew(dir.path(), &[], None).expect_err("half way").to_string();
        assert!(error.contains("rotate-authority switch"), "{error}");
        rotate(dir.path(), Step::Switch, None).expect("it goes on");
        rotate(dir.path(), Step::Switch, None).expect("again");
        assert!(refused(Step::Begin).contains("`finish`"));
        rotate(dir.path(), Step::Finish, None).expect("in turn");
        rotate(dir.path(), Step::Finish, None).expect("again");
        let last = tls(dir.path(), 1, "ca.pem");
        assert!(last != first && both.contains(&last) && both.contains(&first));
        assert!(believes(dir.path(), 1, 2) && believes(dir.path(), 2, 3));
    }
}
