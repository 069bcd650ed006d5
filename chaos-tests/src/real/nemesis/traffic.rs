//! Packets that are late, lost, doubled, spoilt, overtaken, held, or squeezed.

use std::net::Ipv4Addr;

use rand::RngExt as _;

use super::{Damage, Fault, Kind, Refusal, Stage};
use crate::real::cluster::{Cluster, ClusterError};
use crate::real::network::{CLIENTS, address};
use crate::real::switch::{Counts, Policy};

pub(super) fn begin(kind: Kind, stage: &mut Stage<'_>) -> Result<Fault, Refusal> {
    let all = stage.all();
    // One node's links, or everyone's; clients are on the same network.
    let one = stage.chance.random_bool(0.5) || kind == Kind::HoldAndRelease;
    let chosen =
        if one { super::pick(stage.chance, &all).into_iter().collect() } else { all.clone() };
    let mut hosts: Vec<Ipv4Addr> = all.iter().map(|node| address(*node)).collect();
    hosts.push(CLIENTS);
    let touched: Vec<Ipv4Addr> = chosen.iter().map(|node| address(*node)).collect();
    let pairs = hosts.iter().flat_map(|from| hosts.iter().map(move |to| (*from, *to)));
    let touches =
        |(from, to): &(Ipv4Addr, Ipv4Addr)| touched.contains(from) || touched.contains(to);
    let ways: Vec<_> = pairs.filter(|way| way.0 != way.1).filter(touches).collect();
    let (strength, detail) = strength(kind, stage);
    let damage = Traffic { kind, before: met(stage.cluster, kind, &ways), ways };
    damage.set(stage.cluster, strength);
    let targets = chosen.into_iter().collect();
    Ok(Fault { kind, targets, detail, damage: Box::new(damage) })
}

/// How strong: a number of the policy's own unit, and that in words.
fn strength(kind: Kind, stage: &mut Stage<'_>) -> (u64, String) {
    let mut between = |low: u64, high: u64| stage.chance.random_range(low..=high);
    match kind {
        Kind::Delay => {
            let ms = between(5, 150);
            (ms * 1_000, format!("{ms} ms each way"))
        }
        Kind::Jitter => {
            let ms = between(5, 100);
            (ms * 1_000, format!("up to {ms} ms"))
        }
        Kind::Bandwidth => {
            let bytes = between(20_000, 400_000);
            (bytes, format!("{bytes} bytes a second"))
        }
        Kind::HoldAndRelease => (1, "all packets".into()),
        _ => {
            let permille = between(20, 300);
            (permille, format!("{permille} of 1000 packets"))
        }
    }
}

fn apply(kind: Kind, policy: &mut Policy, strength: u64, to_client: bool) {
    let permille = u16::try_from(strength).unwrap_or(1_000);
    match kind {
        Kind::Delay => policy.delay_us = strength,
        Kind::Jitter => policy.jitter_us = strength,
        Kind::Loss => policy.loss_permille = permille,
        Kind::Duplicate => policy.duplicate_permille = permille,
        Kind::Corrupt => {
            policy.corrupt_permille = permille;
            policy.mend_checksum = !to_client && strength > 0;
        }
        Kind::Reorder => policy.reorder_permille = permille,
        Kind::HoldAndRelease => policy.hold = strength > 0,
        Kind::Bandwidth => policy.bytes_per_second = strength,
        _ => {}
    }
}

/// Packets that met a kind of fault.
fn met(cluster: &Cluster, kind: Kind, ways: &[(Ipv4Addr, Ipv4Addr)]) -> u64 {
    let of = |counts: Counts| match kind {
        Kind::Delay | Kind::Jitter => counts.delayed,
        Kind::Loss => counts.lost,
        Kind::Duplicate => counts.duplicated,
        Kind::Corrupt => counts.corrupted,
        Kind::Reorder => counts.reordered,
        Kind::HoldAndRelease => counts.held,
        _ => counts.delayed + counts.clogged,
    };
    ways.iter().map(|(from, to)| of(cluster.switch().counts(*from, *to))).sum()
}

/// Links whose policy has one field set.
#[derive(Debug)]
struct Traffic {
    kind: Kind,
    ways: Vec<(Ipv4Addr, Ipv4Addr)>,
    before: u64,
}

impl Traffic {
    fn set(&self, cluster: &Cluster, strength: u64) {
        for (from, to) in &self.ways {
            let client = [*from, *to].contains(&CLIENTS);
            let change = |policy: &mut Policy| apply(self.kind, policy, strength, client);
            cluster.switch().change(*from, *to, change);
        }
    }
}

impl Damage for Traffic {
    fn bite(&mut self, cluster: &mut Cluster) -> Option<String> {
        let met = met(cluster, self.kind, &self.ways) - self.before;
        (met > 0).then(|| format!("{met} packets met it"))
    }

    fn mend(&mut self, cluster: &mut Cluster) -> Result<(), ClusterError> {
        self.set(cluster, 0);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mending_leaves_what_other_faults_set() {
        let traffic = [
            Kind::Delay,
            Kind::Jitter,
            Kind::Loss,
            Kind::Duplicate,
            Kind::Corrupt,
            Kind::Reorder,
            Kind::HoldAndRelease,
            Kind::Bandwidth,
        ];
        for kind in traffic {
            let before = Policy { cut: true, ..Policy::default() };
            let mut policy = before.clone();
            apply(kind, &mut policy, 100, false);
            assert_ne!(policy, before, "{kind} sets something");
            apply(kind, &mut policy, 0, false);
            assert_eq!(policy, before, "{kind} is mended");
        }
    }

    #[test]
    fn what_is_spoilt_for_clients_is_found_by_their_kernel() {
        let mut policy = Policy::default();
        apply(Kind::Corrupt, &mut policy, 100, true);
        assert!(policy.corrupt_permille == 100 && !policy.mend_checksum);
        apply(Kind::Corrupt, &mut policy, 100, false);
        assert!(policy.mend_checksum);
    }
}
