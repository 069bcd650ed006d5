//! Power that goes, on one node, on most, on all.
//!
//! The file system is shut down without a flush, so that what was not synced is gone, then the
//! process is killed, and the file system is mounted again. Power on several nodes goes before any
//! of them is looked at.

use super::processes::Down;
use super::{Fault, Kind, Refusal, Stage, partition};
use crate::real::view::NodeNumber;

pub(super) fn begin(kind: Kind, stage: &mut Stage<'_>) -> Result<Fault, Refusal> {
    let mut nodes = stage.all();
    partition::shuffle(stage.chance, &mut nodes);
    match kind {
        Kind::PowerCut => nodes = vec![stage.anyone()?],
        Kind::PowerCutMajority => {
            stage.whole()?;
            nodes.truncate(nodes.len() / 2 + 1);
        }
        _ => stage.whole()?,
    }
    let work = nodes.iter().find_map(|node| stage.work_of(*node));
    let cluster = &mut *stage.cluster;
    for node in &nodes {
        cluster.expect_end(*node);
        cluster.volume(*node).cut_power()?;
    }
    let mut endings = Vec::new();
    for node in &nodes {
        let ending = cluster.kill(*node)?.map_or_else(String::new, |ending| ending.to_string());
        endings.push(format!("{node} ended with {ending}"));
        cluster.volume(*node).unmount()?;
        cluster.volume(*node).mount()?;
    }
    let targets = nodes.iter().copied().collect::<std::collections::BTreeSet<NodeNumber>>();
    let detail = endings.join(", ");
    Ok(Fault { kind, targets, detail, damage: Box::new(Down { nodes, work }) })
}
