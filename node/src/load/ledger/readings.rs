//! What was read back from the nodes, and its form on disk.
//!
//! Each node's account of each site is kept apart, because that they agree is one of the things to
//! be proved. On disk a reading is a file of JSON lines per node and site, and one per node and
//! viewer with the events' digests.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufRead as _, BufReader, BufWriter, Write as _};
use std::path::Path;

use rotary_proto::event::Viewer;
use rotary_proto::{Event, NodeId, SiteId};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// The folder of readings within a ledger's.
const FOLDER: &str = "feeds";

/// An event as a supervisor reads it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct FeedEvent {
    /// Its place in its site.
    pub sequence: u64,
    /// The log index of its entry.
    pub index: u64,
    /// Milliseconds since 1970 of its entry.
    pub wall: u64,
    /// What happened.
    pub event: Event,
}

/// What one node told.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct NodeReading {
    /// Every event of every site.
    pub sites: BTreeMap<SiteId, Vec<FeedEvent>>,
    /// What each viewer with a session may see: places and digests.
    pub viewers: BTreeMap<(SiteId, Viewer), Vec<(u64, u64)>>,
}

/// What every node told.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Readings {
    /// By node.
    pub nodes: BTreeMap<NodeId, NodeReading>,
}

/// One viewer's feed, as a line of a file.
#[derive(Debug, Serialize, Deserialize)]
struct ViewerLine {
    site: SiteId,
    viewer: Viewer,
    events: Vec<(u64, u64)>,
}

impl Readings {
    /// Writes them below a ledger's folder.
    ///
    /// # Errors
    /// What the file system said.
    pub(crate) fn save(&self, ledger: &Path) -> io::Result<()> {
        for (node, reading) in &self.nodes {
            let folder = ledger.join(FOLDER).join(node.to_string());
            std::fs::create_dir_all(&folder)?;
            for (site, events) in &reading.sites {
                write_lines(&folder.join(format!("{site}.jsonl")), events.iter())?;
            }
            let viewers = reading.viewers.iter().map(|((site, viewer), events)| ViewerLine {
                site: *site,
                viewer: *viewer,
                events: events.clone(),
            });
            write_lines(&folder.join("viewers.jsonl"), viewers)?;
        }
        Ok(())
    }

    /// Reads what [`Readings::save`] wrote.
    ///
    /// # Errors
    /// What the file system said, or the file that cannot be read.
    pub(crate) fn load(ledger: &Path) -> io::Result<Self> {
        let mut readings = Self::default();
        for entry in std::fs::read_dir(ledger.join(FOLDER))? {
            let folder = entry?.path();
            let node: NodeId = parsed(&folder)?;
            let reading = readings.nodes.entry(node).or_default();
            for line in read_lines::<ViewerLine>(&folder.join("viewers.jsonl"))? {
                reading.viewers.insert((line.site, line.viewer), line.events);
            }
            for entry in std::fs::read_dir(&folder)? {
                let path = entry?.path();
                if path.file_stem().is_some_and(|stem| stem != "viewers") {
                    reading.sites.insert(parsed(&path.with_extension(""))?, read_lines(&path)?);
                }
            }
        }
        Ok(readings)
    }
}

/// The id that a file or folder is named by.
fn parsed<T: std::str::FromStr>(path: &Path) -> io::Result<T> {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    name.parse().map_err(|_| io::Error::other(format!("{} is not a reading", path.display())))
}

fn write_lines<T: Serialize>(path: &Path, lines: impl Iterator<Item = T>) -> io::Result<()> {
    let mut file = BufWriter::new(File::create(path)?);
    for line in lines {
        serde_json::to_writer(&mut file, &line)?;
        file.write_all(b"\n")?;
    }
    file.flush()
}

fn read_lines<T: DeserializeOwned>(path: &Path) -> io::Result<Vec<T>> {
    let failed = |error| io::Error::other(format!("{}: {error}", path.display()));
    let file = BufReader::new(File::open(path)?);
    file.lines().map(|line| serde_json::from_str(&line?).map_err(failed)).collect()
}
