//! What can be seen on this machine: the data directory, its disk, certificates, the secret.

use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

use rotary_proto::NodeId;
use rotary_storage::{DataDir, DataDirError, Disk as _, FileDisk};
use rotary_transport::Certificates;

use crate::config::Config;
use crate::doctor::Finding;
use crate::gateway::token::unix_s;
use crate::server::{PublicTls, StartError};

/// Durable writes whose median is judged.
const SYNCS: usize = 15;
/// Bytes of each.
const WRITE_BYTES: usize = 4_096;
/// A median above this makes every command slow: each waits for two or three of them.
const SYNC_SLOW: Duration = Duration::from_millis(20);
/// A certificate that ends sooner should be replaced.
const EXPIRES_SOON_S: u64 = 30 * 24 * 3_600;
/// One that ends in more than a century is one without an end.
const NEVER_S: u64 = 100 * 365 * 24 * 3_600;

/// Looks at all of it. Blocks: it writes and syncs a small file.
pub(super) fn look(config: &Config) -> Vec<Finding> {
    let mut found = data_dir(config);
    found.push(certificates(config, unix_s()));
    found.extend(clients_certificate(config, unix_s()));
    found.push(secret(&config.auth.token_secret_file));
    found
}

/// Looks at what changes while a node runs: the disk and the certificates.
pub(super) fn look_again(config: &Config) -> Vec<Finding> {
    let data = &config.node.data_dir;
    let mut found = vec![space(config), sync(data), certificates(config, unix_s())];
    found.extend(clients_certificate(config, unix_s()));
    found
}

fn data_dir(config: &Config) -> Vec<Finding> {
    let data = &config.node.data_dir;
    let (path, cluster, node) = (data.clone(), &config.cluster.id, config.node.id);
    let foreign = match DataDir::identity_of(data) {
        Err(error) => Some(error),
        Ok(identity) if identity.cluster != *cluster => {
            let (expected, found) = (cluster.clone(), identity.cluster);
            Some(DataDirError::OtherCluster { path, expected, found })
        }
        Ok(identity) if identity.node != node => {
            Some(DataDirError::OtherNode { path, expected: node, found: identity.node })
        }
        Ok(_) => None,
    };
    match foreign {
        Some(error) => {
            let error = StartError::from(error);
            vec![Finding::failure(error.code(), data.display(), error.to_string())]
        }
        None => vec![space(config), sync(data)],
    }
}

/// How much room there is, against what the door wants to be free.
fn space(config: &Config) -> Finding {
    let (data, least) = (&config.node.data_dir, config.log.free_bytes_min);
    let of = data.display();
    let free = match FileDisk.free_bytes(data) {
        Ok(free) => free,
        Err(error) => return Finding::failure("data-dir-unusable", of, error.to_string()),
    };
    let mib = |bytes: u64| bytes / (1024 * 1024);
    let said = format!(
        "{} MiB free; log.free_bytes_min is {} MiB, and attached files leave twice as much",
        mib(free),
        mib(least)
    );
    if free < least {
        Finding::failure("disk-low", of, said)
    } else if free < least.saturating_mul(4) {
        Finding::warning("disk-low", of, said)
    } else {
        Finding::good(of, said)
    }
}

/// How long a durable write takes.
fn sync(data: &Path) -> Finding {
    let of = data.display();
    match sync_median(data) {
        Err(error) => {
            let detail = format!("a file cannot be written: {error}; check owner and permissions");
            Finding::failure("data-dir-unusable", of, detail)
        }
        Ok(median) => judged(of, median),
    }
}

fn judged(of: impl ToString, median: Duration) -> Finding {
    let said = format!("half of {SYNCS} syncs took {:.1} ms or more", median.as_secs_f64() * 1e3);
    match median > SYNC_SLOW {
        true => Finding::warning("disk-slow", of, said),
        false => Finding::good(of, said),
    }
}

/// Writes a file of its own, syncing each write, and removes it.
fn sync_median(folder: &Path) -> io::Result<Duration> {
    let path = folder.join(format!("doctor-{}", std::process::id()));
    let measured = (|| {
        let file = FileDisk.create(&path)?;
        let mut times = Vec::with_capacity(SYNCS);
        for at in 0..SYNCS {
            let begun = Instant::now();
            file.write_at((at * WRITE_BYTES) as u64, &[0x5a; WRITE_BYTES])?;
            file.sync()?;
            times.push(begun.elapsed());
        }
        times.sort_unstable();
        Ok(times[SYNCS / 2])
    })();
    match FileDisk.remove(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => measured,
    }
}

fn certificates(config: &Config, at_s: u64) -> Finding {
    let tls = &config.tls;
    let of = tls.cert_file.display();
    let ours = match Certificates::load(&tls.ca_file, &tls.cert_file, &tls.key_file) {
        Ok(ours) => ours,
        Err(error) => return Finding::failure("certificate-unusable", of, error.to_string()),
    };
    let (cluster, node) = (ours.cluster(), ours.node());
    let said = format!("{node} of cluster {cluster}");
    if cluster != config.cluster.id || node != NodeId(config.node.id) {
        return Finding::failure("certificate-foreign", of, format!("it is that of {said}"));
    }
    if let Err(error) = ours.check_at(at_s) {
        return Finding::failure("certificate-expires", of, format!("it is not good: {error}"));
    }
    if let Err(error) = ours.check_at(at_s + EXPIRES_SOON_S) {
        let detail =
            format!("it will not be good in 30 days: {error}{}", left(ours.ends_s(), at_s));
        return Finding::warning("certificate-expires", of, detail);
    }
    Finding::good(of, format!("{said}{}", left(ours.ends_s(), at_s)))
}

/// What clients are shown, where this node speaks TLS with them.
fn clients_certificate(config: &Config, at_s: u64) -> Option<Finding> {
    let of = config.gateway.certificate_file.display();
    let ends_s = match PublicTls::load(&config.gateway) {
        Ok(None) => return None,
        Ok(Some(shown)) => shown.ends_s(),
        Err(error) => {
            return Some(Finding::failure("certificate-unusable", of, error.to_string()));
        }
    };
    let detail = format!("for clients{}", left(ends_s, at_s));
    Some(match ends_s {
        Some(ends_s) if ends_s < at_s => Finding::failure("certificate-expires", of, detail),
        Some(ends_s) if ends_s < at_s + EXPIRES_SOON_S => {
            Finding::warning("certificate-expires", of, detail)
        }
        _ => Finding::good(of, detail),
    })
}

/// How long it is good yet, where that can be read.
fn left(ends_s: Option<u64>, at_s: u64) -> String {
    match ends_s.map(|ends_s| ends_s.checked_sub(at_s)) {
        None => String::new(),
        Some(None) => ", it has ended".to_owned(),
        Some(Some(left_s)) if left_s > NEVER_S => ", which does not end".to_owned(),
        Some(Some(left_s)) => format!(", good for {} days", left_s / (24 * 3_600)),
    }
}

fn secret(path: &Path) -> Finding {
    match std::fs::File::open(path) {
        Ok(_) => Finding::good(path.display(), "readable"),
        Err(error) => Finding::failure("secret-unreadable", path.display(), error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::{Plan, init};
    use crate::doctor::Grade;

    fn made() -> (tempfile::TempDir, Config) {
        let folder = tempfile::tempdir().expect("a folder");
        let plan = Plan {
            gateways: 0,
            dir: folder.path().join("c"),
            nodes: 2,
            listen: "127.0.0.1".parse().expect("an address"),
            base_port: 7_080,
            shards: 1,
            zones: Vec::new(),
            id: None,
            password: None,
        };
        let made = init(&plan).expect("made");
        let mut config = Config::load(&made.nodes[0].config, &[]).expect("valid");
        config.log.free_bytes_min = 1;
        (folder, config)
    }

    fn codes(found: &[Finding]) -> Vec<&str> {
        let bad = found.iter().filter(|finding| finding.code != Some("disk-slow"));
        bad.filter_map(|finding| finding.code).collect()
    }

    #[test]
    fn a_new_node_is_well_and_leaves_nothing_behind() {
        let (_folder, config) = made();
        let found = look(&config);
        assert_eq!((found.len(), codes(&found)), (4, vec![]), "{found:?}");
        let names = std::fs::read_dir(&config.node.data_dir).expect("there");
        let names = names.map(|name| name.expect("listed").file_name());
        assert!(names.into_iter().all(|name| !name.to_string_lossy().starts_with("doctor")));
    }

    #[test]
    fn each_ill_has_its_code() {
        let (_folder, config) = made();
        let with = |change: &dyn Fn(&mut Config)| {
            let mut config = config.clone();
            change(&mut config);
            let found = look(&config);
            codes(&found).join(" ")
        };
        assert_eq!(with(&|config| config.log.free_bytes_min = u64::MAX), "disk-low");
        assert_eq!(with(&|c| c.node.data_dir = "nowhere".into()), "data-dir-unusable");
        let other = config.node.data_dir.with_file_name("../node-2/data");
        assert_eq!(with(&|c| c.node.data_dir = other.clone()), "data-dir-foreign");
        assert_eq!(with(&|c| c.tls.ca_file = "nowhere".into()), "certificate-unusable");
        assert_eq!(with(&|c| c.auth.token_secret_file = "nowhere".into()), "secret-unreadable");
        let of_two = config.tls.cert_file.with_file_name("../../node-2/tls/node.pem");
        assert_eq!(with(&|c| c.tls.cert_file = of_two.clone()), "certificate-foreign");
    }

    #[test]
    fn a_certificate_and_a_disk_are_judged_by_their_measure() {
        let (_folder, config) = made();
        let century = 100 * 365 * 24 * 3_600;
        assert_eq!(certificates(&config, unix_s() + century).grade, Grade::Good);
        assert_eq!(certificates(&config, 0).code, Some("certificate-expires"));
        assert_eq!(judged("d", Duration::from_millis(20)).grade, Grade::Good);
        assert_eq!(judged("d", Duration::from_millis(21)).code, Some("disk-slow"));
    }
}
