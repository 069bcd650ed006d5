//! Disks that are full, forget, or turn bits over.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rand::RngExt as _;
use rand::rngs::StdRng;

use super::{Damage, Fault, Kind, Refusal, Stage};
use crate::real::cluster::{Cluster, ClusterError, READY_LIMIT, Trouble};
use crate::real::process::Server;
use crate::real::shell;
use crate::real::view::NodeNumber;
use crate::real::volume::VolumeError;

/// What is left of a full disk: less than a node wants free, more than its reserve.
const LEFT_BYTES: u64 = 40_000_000;
/// The exit code of a server whose storage failed.
const STORAGE_FAILED: i32 = 74;
/// Files whose damage says nothing of storage: they only tell whose folder it is.
const LABELS: [&str; 2] = ["identity", "lock"];

pub(super) fn begin(kind: Kind, stage: &mut Stage<'_>) -> Result<Fault, Refusal> {
    match kind {
        Kind::DiskFull => fill(stage),
        Kind::FailedSync => fail_syncs(stage),
        _ => flip(stage),
    }
}

fn fill(stage: &mut Stage<'_>) -> Result<Fault, Refusal> {
    let all = stage.all();
    let one = super::pick(stage.chance, &all).filter(|_| stage.chance.random_bool(0.5));
    let nodes: BTreeSet<NodeNumber> = one.map_or_else(|| all.into_iter().collect(), |n| [n].into());
    for node in &nodes {
        stage.cluster.volume(*node).fill(LEFT_BYTES)?;
    }
    let detail = format!("{LEFT_BYTES} bytes are left");
    let damage = Box::new(Full { nodes: nodes.clone(), said: None });
    Ok(Fault { kind: Kind::DiskFull, targets: nodes, detail, damage })
}

#[derive(Debug)]
struct Full {
    nodes: BTreeSet<NodeNumber>,
    said: Option<String>,
}

impl Damage for Full {
    fn tick(&mut self, cluster: &mut Cluster) -> Result<(), ClusterError> {
        for node in &self.nodes {
            let Some(answer) = cluster.ask(*node, "/readyz").ok().filter(|_| self.said.is_none())
            else {
                continue;
            };
            let mut lines = answer.body.lines();
            self.said = lines.find(|line| line.contains("free")).map(str::to_owned);
        }
        Ok(())
    }

    fn bite(&mut self, _: &mut Cluster) -> Option<String> {
        self.said.take()
    }

    fn mend(&mut self, cluster: &mut Cluster) -> Result<(), ClusterError> {
        Ok(self.nodes.iter().try_for_each(|node| cluster.volume(*node).empty())?)
    }
}

/// A server whose syncs fail, from a certain one on: it is started anew for that.
fn fail_syncs(stage: &mut Stage<'_>) -> Result<Fault, Refusal> {
    let node = stage.anyone()?;
    let from = stage.chance.random_range(5..60);
    stage.cluster.kill(node)?;
    let trouble = Trouble { failing_sync: Some(from), ..Trouble::default() };
    stage.cluster.start(node, trouble)?;
    stage.cluster.expect_end(node);
    let detail = format!("from the {from}th sync of data of a thread on");
    let targets = BTreeSet::from([node]);
    Ok(Fault { kind: Kind::FailedSync, targets, detail, damage: Box::new(FailingSync { node }) })
}

#[derive(Debug)]
struct FailingSync {
    node: NodeNumber,
}

impl Damage for FailingSync {
    fn has_settled(&mut self, cluster: &mut Cluster) -> bool {
        cluster.server(self.node).is_none_or(|server| server.ended().is_some())
    }

    fn bite(&mut self, cluster: &mut Cluster) -> Option<String> {
        let ending = cluster.server(self.node)?.wait(Duration::from_secs(20))?;
        (ending.code() == Some(STORAGE_FAILED)).then(|| format!("it ended itself with {ending}"))
    }

    fn mend(&mut self, cluster: &mut Cluster) -> Result<(), ClusterError> {
        cluster.kill(self.node)?;
        cluster.start(self.node, Trouble::default())
    }
}

/// A bit of a stopped node's data, chosen among its bytes on the disk.
fn flip(stage: &mut Stage<'_>) -> Result<Fault, Refusal> {
    stage.whole()?;
    let unready = stage.cluster.unready();
    if !unready.is_empty() {
        return Err(super::not_yet(format!("{unready:?} do not serve: theirs may be needed")));
    }
    let node = stage.anyone()?;
    let cluster = &mut *stage.cluster;
    let killed = cluster.kill(node)?.is_some();
    let volume = cluster.volume(node);
    let folder = volume.folder().to_owned();
    shell::run_with("sync -f", &[&folder.to_string_lossy()]).map_err(ClusterError::from)?;
    let (file, at) = target(&folder, stage.chance).unwrap_or_default();
    let (before, bit) = (byte(&folder.join(&file), at), stage.chance.random_range(0..8));
    volume.unmount()?;
    let flipped = volume.locate(&file, at).and_then(|place| volume.flip(place, bit));
    volume.mount()?;
    if !matches!(flipped, Err(VolumeError::Hole(_))) {
        flipped?;
    }
    let changed = killed && byte(&folder.join(&file), at) != before;
    let detail = format!("bit {bit} of byte {at} of {}", file.display());
    cluster.start(node, Trouble::default())?;
    cluster.expect_end(node);
    let damage = Box::new(Flipped { node, changed, ended: None });
    Ok(Fault { kind: Kind::BitFlip, targets: BTreeSet::from([node]), detail, damage })
}

/// A byte of the files in `data`, each as likely: its file relative to the folder, and its place.
fn target(folder: &Path, chance: &mut StdRng) -> Option<(PathBuf, u64)> {
    let mut files = Vec::new();
    gather(&folder.join("data"), &mut files);
    files.sort();
    let total: u64 = files.iter().map(|(_, bytes)| bytes).sum();
    let mut at = (total > 0).then(|| chance.random_range(0..total))?;
    for (path, bytes) in files {
        if at < bytes {
            return Some((path.strip_prefix(folder).ok()?.to_owned(), at));
        }
        at -= bytes;
    }
    None
}

/// Files with their sizes in bytes, of those that are on the disk and not sparse.
fn gather(folder: &Path, files: &mut Vec<(PathBuf, u64)>) {
    use std::os::unix::fs::MetadataExt as _;
    let Ok(entries) = std::fs::read_dir(folder) else { return };
    for entry in entries.flatten() {
        let Ok(meta) = entry.metadata() else { continue };
        let label = LABELS.iter().any(|label| entry.file_name() == *label);
        let whole = meta.blocks() * 512 >= meta.len();
        if meta.is_dir() {
            gather(&entry.path(), files);
        } else if !label && whole && meta.len() > 0 {
            files.push((entry.path(), meta.len()));
        }
    }
}

fn byte(path: &Path, at: u64) -> Option<u8> {
    use std::os::unix::fs::FileExt as _;
    let mut byte = [0];
    std::fs::File::open(path).ok()?.read_exact_at(&mut byte, at).ok()?;
    Some(byte[0])
}

#[derive(Debug)]
struct Flipped {
    node: NodeNumber,
    changed: bool,
    ended: Option<String>,
}

impl Damage for Flipped {
    fn has_settled(&mut self, cluster: &mut Cluster) -> bool {
        let ended = |server: &mut Server| server.ended().is_some();
        cluster.server(self.node).is_none_or(ended) || cluster.is_ready(self.node)
    }

    fn bite(&mut self, cluster: &mut Cluster) -> Option<String> {
        if let Err(refused) = cluster.wait_ready(self.node, READY_LIMIT) {
            self.ended = Some(refused.to_string());
        }
        let became = if self.ended.is_some() { "refused to start" } else { "served" };
        self.changed.then(|| format!("the file read differently; the node {became}"))
    }

    fn mend(&mut self, cluster: &mut Cluster) -> Result<(), ClusterError> {
        if self.ended.is_some() {
            return cluster.rebuild(self.node);
        }
        cluster.expect_life(self.node);
        Ok(())
    }
}
