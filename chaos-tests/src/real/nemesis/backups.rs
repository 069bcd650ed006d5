//! A backup is made while everything goes wrong, by the command that operators give, again and
//! again until there is one. One that was made and does not verify is a broken promise.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use super::{Damage, Fault, Kind, Refusal, Stage};
use crate::real::cluster::{Cluster, ClusterError};
use crate::real::shell;

pub(super) fn begin(stage: &mut Stage<'_>) -> Result<Fault, Refusal> {
    let name = format!("rotary-chaos-{}-{:x}", std::process::id(), rotary_client::unique());
    let store = std::env::temp_dir().join(name);
    let mut damage = Box::new(Made { store, turn: 0, asked: None, made: false, tries: 0 });
    damage.ask(stage.cluster)?;
    let detail = "every shard is to be in it".to_owned();
    Ok(Fault { kind: Kind::Backup, targets: BTreeSet::new(), detail, damage })
}

/// A backup that is being made.
#[derive(Debug)]
struct Made {
    store: PathBuf,
    /// Which node is asked next.
    turn: usize,
    asked: Option<Child>,
    made: bool,
    tries: u32,
}

fn io(what: &str) -> impl FnOnce(std::io::Error) -> ClusterError {
    let what = what.to_owned();
    move |source| ClusterError::Io { what, source }
}

impl Made {
    fn ask(&mut self, cluster: &Cluster) -> Result<(), ClusterError> {
        let doors = cluster.back_doors();
        let door = &doors[self.turn % doors.len()];
        (self.turn, self.tries) = (self.turn + 1, self.tries + 1);
        let asked = Command::new(cluster.rotary())
            .args(["backup", "create", "--url", door, "--to"])
            .arg(&self.store)
            .env("ROTARY_TOKEN", cluster.token())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        self.asked = Some(asked.map_err(io("backup create"))?);
        Ok(())
    }

    fn end(&mut self) {
        if let Some(mut asked) = self.asked.take() {
            // It may have ended by itself.
            let _ = asked.kill();
            let _ = asked.wait();
        }
    }
}

impl Damage for Made {
    fn tick(&mut self, cluster: &mut Cluster) -> Result<(), ClusterError> {
        let Some(asked) = &mut self.asked else { return Ok(()) };
        let Some(status) = asked.try_wait().map_err(io("backup create"))? else { return Ok(()) };
        self.asked = None;
        self.made = status.success();
        if self.made { Ok(()) } else { self.ask(cluster) }
    }

    fn has_settled(&mut self, _: &mut Cluster) -> bool {
        self.made
    }

    fn bite(&mut self, _: &mut Cluster) -> Option<String> {
        self.made.then(|| format!("it was made at the {}. go", self.tries))
    }

    fn mend(&mut self, cluster: &mut Cluster) -> Result<(), ClusterError> {
        self.end();
        if self.made {
            let mut verify = Command::new(cluster.rotary());
            shell::finish(verify.args(["backup", "verify"]).arg(&self.store))?;
        }
        std::fs::remove_dir_all(&self.store).or_else(|error| {
            let absent = error.kind() == std::io::ErrorKind::NotFound;
            if absent { Ok(()) } else { Err(io("the backup's folder")(error)) }
        })
    }
}

impl Drop for Made {
    fn drop(&mut self) {
        self.end();
        let _ = std::fs::remove_dir_all(&self.store);
    }
}
