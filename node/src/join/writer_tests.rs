//! Joining, killed before each of its steps, and into folders that are somebody's.

use std::collections::BTreeMap;

use super::*;
use crate::join::folder::tests::packed;

fn text(token: u32, node: u64) -> JoinText {
    JoinText {
        token: JoinTokenId(token),
        node: NodeId(node),
        cluster: "main".to_owned(),
        secret: [token as u8; 32],
        urls: vec!["http://127.0.0.1:1".to_owned()],
    }
}

/// A cluster with one folder, which whoever takes it first may take again.
#[derive(Default)]
struct Cluster {
    taken: BTreeMap<String, String>,
}

impl Cluster {
    fn give(&mut self, role: Role, keys: &Keys, nonce: &Secret) -> Result<Vec<u8>, ApiError> {
        let by = self.taken.entry(keys.proof().reveal()).or_insert_with(|| nonce.reveal());
        if *by != nonce.reveal() {
            return Err(ApiError::Unknown("taken".to_owned()));
        }
        Ok(keys.seal(packed(role).bytes().expect("small")))
    }

    /// Joins, until so many steps are done; all of them if there is no number. Says what was done.
    async fn join(
        &mut self,
        dir: &Path,
        text: &JoinText,
        role: Role,
        steps: Option<usize>,
    ) -> (Result<PathBuf, JoinError>, Vec<&'static str>) {
        let mut done = Vec::new();
        let mut watch = |step| {
            if Some(done.len()) == steps {
                return Err(JoinError::Killed(step));
            }
            done.push(step);
            Ok(())
        };
        let fetch = async |keys: &Keys, nonce: &Secret| self.give(role, keys, nonce);
        let joined = join(dir, text, fetch, &mut watch).await;
        (joined, done)
    }
}

/// Every file of a folder with its text, but for the number that tells logs apart.
fn files(dir: &Path) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    let mut open = vec![dir.to_owned()];
    while let Some(folder) = open.pop() {
        for entry in std::fs::read_dir(folder).expect("readable") {
            let path = entry.expect("readable").path();
            if path.is_dir() {
                open.push(path);
                continue;
            }
            let name = path.strip_prefix(dir).expect("below it").display().to_string();
            let text = std::fs::read_to_string(&path).expect("a text");
            let is_log = |line: &&str| !line.contains("\"log\"");
            found.insert(name, text.lines().filter(is_log).collect::<Vec<_>>().join("\n"));
        }
    }
    found
}

#[tokio::test]
async fn whoever_is_killed_before_any_step_goes_on() {
    for role in [Role::Core, Role::Gateway] {
        let home = tempfile::tempdir().expect("a directory");
        let whole = home.path().join("whole");
        let (joined, steps) = Cluster::default().join(&whole, &text(1, 4), role, None).await;
        assert_eq!(joined.expect("it is new"), whole.join("rotary.toml"));
        let due = files(&whole);
        assert!(due.contains_key("rotary.toml") && !due.contains_key(NOTE), "{due:?}");
        assert_eq!(due.contains_key("data/identity"), role == Role::Core, "{due:?}");
        for first in 0..steps.len() {
            for second in 0..=steps.len() - first {
                let dir = home.path().join(format!("{first}-{second}"));
                let mut cluster = Cluster::default();
                for killed in [first, second] {
                    let (broken, _) = cluster.join(&dir, &text(1, 4), role, Some(killed)).await;
                    let is_whole = !dir.join(NOTE).exists() && dir.join(CONFIG).exists();
                    assert!(broken.is_err() || is_whole, "{first} {second}");
                }
                let (last, _) = cluster.join(&dir, &text(1, 4), role, None).await;
                // The second attempt may have come to the end.
                let fine = matches!(&last, Ok(_) | Err(JoinError::There { .. }));
                assert!(fine || dir.join(CONFIG).exists(), "{first} {second}: {last:?}");
                assert_eq!(files(&dir), due, "{first} {second}");
            }
        }
    }
}

#[tokio::test]
async fn half_a_folder_is_gone_on_with_by_its_node_alone() {
    let home = tempfile::tempdir().expect("a directory");
    let dir = home.path().join("node");
    let (mut cluster, role) = (Cluster::default(), Role::Core);
    let (broken, _) = cluster.join(&dir, &text(1, 4), role, Some(3)).await;
    assert!(matches!(broken, Err(JoinError::Killed(_))), "{broken:?}");
    let (other, _) = cluster.join(&dir, &text(2, 5), role, None).await;
    let other = other.expect_err("another node's");
    assert_eq!(other.exit_code(), exit::CONFLICT);
    assert!(other.to_string().contains("half of nd_4 of cluster main"), "{other}");
    // Where the first token is over, another one of the node goes on.
    let (joined, _) = cluster.join(&dir, &text(2, 4), role, None).await;
    joined.expect("the same node");
    assert_eq!(cluster.taken.len(), 2);
}

#[tokio::test]
async fn what_is_somebodys_stays_as_it_is() {
    let home = tempfile::tempdir().expect("a directory");
    let (dir, role) = (home.path().join("node"), Role::Core);
    let mut cluster = Cluster::default();
    let empty = home.path().join("volume");
    std::fs::create_dir_all(empty.join(OF_VOLUMES)).expect("writable");
    cluster.join(&empty, &text(1, 4), role, None).await.0.expect("as good as empty");

    std::fs::create_dir(&dir).expect("writable");
    std::fs::write(dir.join("photo.png"), "x").expect("writable");
    let (other, done) = cluster.join(&dir, &text(1, 4), role, None).await;
    let other = other.expect_err("somebody's").to_string();
    assert!(other.contains("has photo.png in it") && done.is_empty(), "{other} {done:?}");
    std::fs::remove_file(dir.join("photo.png")).expect("it was there");

    DataDir::initialise(&dir.join("data"), "blue", 9).expect("empty");
    let (other, _) = cluster.join(&dir, &text(1, 4), role, None).await;
    let other = other.expect_err("another node").to_string();
    assert!(other.contains("nd_9 of cluster blue already"), "{other}");
    assert!(!dir.join(NOTE).exists());
}

#[tokio::test]
async fn who_is_not_of_the_cluster_gives_nothing_that_is_written() {
    let home = tempfile::tempdir().expect("a directory");
    let dir = home.path().join("node");
    let fetch = async |_: &Keys, _: &Secret| Ok(packed(Role::Core).bytes().expect("small"));
    let joined = join(&dir, &text(1, 4), fetch, &mut |_| Ok(())).await;
    assert!(matches!(joined, Err(JoinError::Sealed(_))), "{joined:?}");
    assert_eq!(files(&dir).keys().collect::<Vec<_>>(), [NOTE]);
}
