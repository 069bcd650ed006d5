//! What a run of backups is called, and what its *manifest* says: which files the run has and what
//! is in them.
//!
//! Both are of the world outside. Bytes are bounded before they are parsed, what they say is
//! compared with what is there, and names are nothing but names: none reaches beyond the store.
//! This file knows no store and no clock, so that it can be fuzzed.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use rotary_proto::{NodeId, ShardId, Wall};
use serde::{Deserialize, Serialize};
use time::{Date, Month, OffsetDateTime, Time};

/// What a manifest is called.
pub(crate) const MANIFEST: &str = "manifest.json";
/// The form of manifests that this build writes, and reads.
pub(crate) const FORM: u32 = 2;
/// Bytes that one may have; one of 1 024 shards has half of that.
pub(crate) const MANIFEST_BYTES_MAX: u64 = 1024 * 1024;
/// Shards that one may name beside the directory.
const SHARDS_MAX: u32 = 1_024;

/// Who made a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Maker {
    /// Somebody, with `rotary backup create`.
    Hand,
    /// A node, by its schedule.
    Node(NodeId),
    /// `rotary cluster recover`.
    Recovery,
}

/// What a run is called. They are in the order of their times.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub(crate) struct RunName {
    /// When it was begun, by its maker's clock.
    pub(crate) wall: Wall,
    pub(crate) cluster: String,
    pub(crate) maker: Maker,
}

impl TryFrom<String> for RunName {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<RunName> for String {
    fn from(name: RunName) -> Self {
        name.to_string()
    }
}

impl fmt::Display for RunName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { wall, cluster, maker } = self;
        let (at, ms) = date_time(*wall);
        let (year, month, day) = (at.year(), u8::from(at.month()), at.day());
        let (hour, minute, second) = at.to_hms();
        write!(
            f,
            "{cluster}_{year:04}{month:02}{day:02}T{hour:02}{minute:02}{second:02}.{ms:03}Z_"
        )?;
        match maker {
            Maker::Hand => f.write_str("hand"),
            Maker::Node(node) => node.fmt(f),
            Maker::Recovery => f.write_str("recovery"),
        }
    }
}

impl FromStr for RunName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{text}` is no name of a run: `rotary backup list` shows them");
        let mut parts = text.splitn(3, '_');
        let (Some(cluster), Some(time), Some(maker)) = (parts.next(), parts.next(), parts.next())
        else {
            return Err(wrong());
        };
        let maker = match maker {
            "hand" => Maker::Hand,
            "recovery" => Maker::Recovery,
            node => Maker::Node(node.parse().map_err(|_| wrong())?),
        };
        let wall = wall_of(time).ok_or_else(wrong)?;
        let name = Self { wall, cluster: cluster.to_owned(), maker };
        if cluster.is_empty() || name.to_string() != text { Err(wrong()) } else { Ok(name) }
    }
}

/// `20261123T193000.250Z`.
fn wall_of(text: &str) -> Option<Wall> {
    let number = |from: usize, to: usize| text.get(from..to)?.parse::<u32>().ok();
    let month = Month::try_from(u8::try_from(number(4, 6)?).ok()?).ok()?;
    let day = u8::try_from(number(6, 8)?).ok()?;
    let date = Date::from_calendar_date(number(0, 4)?.try_into().ok()?, month, day).ok()?;
    let byte = |from, to| number(from, to).and_then(|number| u8::try_from(number).ok());
    let time = Time::from_hms(byte(9, 11)?, byte(11, 13)?, byte(13, 15)?).ok()?;
    let at = OffsetDateTime::new_utc(date, time).unix_timestamp();
    let ms = u64::try_from(at).ok()? * 1_000 + u64::from(number(16, 19)?);
    Some(Wall(ms))
}

/// A moment for people and for the command line, as in `2026-11-23T19:30:00.250Z`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Moment(pub(crate) Wall);

impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (at, ms) = date_time(self.0);
        let (year, month, day) = (at.year(), u8::from(at.month()), at.day());
        let (hour, minute, second) = at.to_hms();
        write!(f, "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{ms:03}Z")
    }
}

impl FromStr for Moment {
    type Err = String;

    /// Seconds and milliseconds may be left out.
    fn from_str(text: &str) -> Result<Self, String> {
        let whole = match text.len() {
            17 => text.replace('Z', ":00.000Z"),
            20 => text.replace('Z', ".000Z"),
            _ => text.to_owned(),
        };
        let plain: String = whole.chars().filter(|byte| !matches!(byte, '-' | ':')).collect();
        let moment = wall_of(&plain).map(Self).filter(|moment| moment.to_string() == whole);
        moment.ok_or_else(|| {
            format!("`{text}` is no moment: write it in UTC, as in 2026-11-23T14:03:00Z")
        })
    }
}

fn date_time(wall: Wall) -> (OffsetDateTime, u64) {
    let at = i64::try_from(wall.0 / 1_000).ok();
    let at = at.and_then(|at| OffsetDateTime::from_unix_timestamp(at).ok());
    (at.unwrap_or(OffsetDateTime::UNIX_EPOCH), wall.0 % 1_000)
}

/// What a shard's file holds, as its maker found when it was read back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Kept {
    pub(crate) shard: ShardId,
    pub(crate) index: u64,
    pub(crate) sites: u64,
    pub(crate) records: u64,
    pub(crate) files: u64,
    pub(crate) bytes: u64,
    /// When its snapshot was there, by its node's clock.
    pub(crate) made: Wall,
    /// The entries that were taken beside it; `None` where a log was not asked, as after a loss of
    /// the majority.
    pub(crate) log: Option<Taken>,
}

/// The entries of a shard's log that a run took, in a file of their own, before the snapshot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Taken {
    /// The run that it goes on from, whose last entry was found to be this log's as well.
    pub(crate) previous: Option<RunName>,
    /// The entries behind this index, up to and with the other. Where the first is above what the
    /// run before had come to, those between were forgotten before anybody took them.
    pub(crate) after: u64,
    pub(crate) through: u64,
    /// Which entry the last one is.
    pub(crate) last: EntryMark,
    pub(crate) bytes: u64,
    /// The latest time of day that an entry of them has; 0 where none has one.
    pub(crate) latest: Wall,
    /// When they were taken, by the node's clock: everything that was acknowledged before is there.
    pub(crate) until: Wall,
}

/// Tells an entry from another one at the same index.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct EntryMark {
    pub(crate) term: u64,
    /// Of its bytes; 0 where only a snapshot stands for it.
    pub(crate) sum: u64,
}

impl EntryMark {
    /// Whether both can be of the same entry.
    pub(crate) fn fits(self, other: Self) -> bool {
        self.term == other.term && (self.sum == other.sum || self.sum == 0 || other.sum == 0)
    }
}

/// The data shards of a cluster.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub(crate) struct DataShards {
    pub(crate) count: u32,
    /// Those that have no beginning yet, and so nothing in them.
    pub(crate) not_begun: BTreeSet<ShardId>,
}

impl DataShards {
    /// Those that have something in them, in order.
    pub(crate) fn begun(&self) -> impl Iterator<Item = ShardId> + '_ {
        (1..=self.count).map(ShardId).filter(|shard| !self.not_begun.contains(shard))
    }
}

/// What a whole run holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Manifest {
    pub(crate) form: u32,
    pub(crate) cluster: String,
    /// How long it took, until everything was read back.
    pub(crate) ms: u64,
    /// The directory's first.
    pub(crate) shards: Vec<Kept>,
    /// Data shards that have no file, because they had no beginning.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub(crate) not_begun: BTreeSet<ShardId>,
}

impl Manifest {
    /// Bytes of all files.
    pub(crate) fn bytes(&self) -> u64 {
        let log = |kept: &Kept| kept.log.as_ref().map_or(0, |log| log.bytes);
        self.shards
            .iter()
            .map(|kept| kept.bytes.saturating_add(log(kept)))
            .fold(0, u64::saturating_add)
    }

    /// Of a manifest's bytes.
    ///
    /// # Errors
    /// What is wrong with them.
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self, String> {
        if bytes.len() as u64 > MANIFEST_BYTES_MAX {
            return Err("it is too long for a manifest".to_owned());
        }
        let any: serde_json::Value =
            serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
        if any["form"] != FORM {
            let found = &any["form"];
            return Err(format!(
                "its form is {found}; this build reads {FORM}: use the build that made it"
            ));
        }
        let manifest: Self = serde_json::from_value(any).map_err(|error| error.to_string())?;
        let data_shards = manifest.data_shards();
        let DataShards { count, not_begun } = &data_shards;
        let due = [ShardId(0)].into_iter().chain(data_shards.begun());
        let is_counted = not_begun.iter().all(|shard| (1..=*count).contains(&shard.0))
            && due.eq(manifest.shards.iter().map(|kept| kept.shard));
        if !is_counted || !(1..=SHARDS_MAX).contains(count) {
            return Err("it does not name every shard once, in order".to_owned());
        }
        let logs = manifest.shards.iter().filter_map(|kept| Some((kept.shard, kept.log.as_ref()?)));
        for (shard, log) in logs {
            if log.after > log.through {
                return Err(format!("the entries of {shard} end before they begin"));
            }
            if log.previous.as_ref().is_some_and(|run| run.cluster != manifest.cluster) {
                return Err(format!("the entries of {shard} go on from another cluster's"));
            }
        }
        Ok(manifest)
    }

    /// The data shards of the cluster.
    pub(crate) fn data_shards(&self) -> DataShards {
        let all = (self.shards.len() + self.not_begun.len()).saturating_sub(1);
        let count = u32::try_from(all).unwrap_or(u32::MAX);
        DataShards { count, not_begun: self.not_begun.clone() }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn name(text: &str) -> RunName {
        text.parse().expect("a name")
    }

    #[test]
    fn names_come_back_and_are_in_the_order_of_time() {
        let first = name("main_20261123T193000.250Z_nd_1");
        assert_eq!(first.wall, Wall(1_795_462_200_250));
        assert_eq!(first.maker, Maker::Node(NodeId(1)));
        let second = name("again_20261123T193000.251Z_hand");
        assert!(first < second && name("z_20261201T000000.000Z_recovery") > second);
        for text in ["", "main", "main_20261123T193000.250Z", "main_20261399T193000.250Z_hand"] {
            assert!(text.parse::<RunName>().is_err(), "{text}");
        }
        for text in ["main_20261123T193000.250Z_else", "main_+0261123T193000.250Z_hand", "_é_hand"]
        {
            assert!(text.parse::<RunName>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_moment_is_written_in_full_or_short_and_in_utc() {
        let moment = |text: &str| text.parse::<Moment>();
        assert_eq!(moment("2026-11-23T19:30:00.250Z"), Ok(Moment(Wall(1_795_462_200_250))));
        assert_eq!(moment("2026-11-23T19:30:00Z"), Ok(Moment(Wall(1_795_462_200_000))));
        assert_eq!(moment("2026-11-23T19:30Z"), moment("2026-11-23T19:30:00.000Z"));
        for text in ["", "14:03", "2026-11-23 19:30Z", "2026-11-23T19:30+01", "2026-11-23T25:30Z"] {
            assert!(
                moment(text).is_err_and(|what| what.contains("2026-11-23T14:03:00Z")),
                "{text}"
            );
        }
        assert!(moment("2026-11-2éT19:30Z").is_err() && moment("20261123T19:30:00.00Z").is_err());
    }

    fn manifest(bytes: u64) -> Manifest {
        let kept = |shard| {
            let (shard, made, log) = (ShardId(shard), Wall(7), None);
            Kept { shard, index: 3, sites: 0, records: 0, files: 0, bytes, made, log }
        };
        let (cluster, shards) = ("main".to_owned(), vec![kept(0), kept(1)]);
        Manifest { form: FORM, cluster, ms: 1, shards, not_begun: BTreeSet::new() }
    }

    #[test]
    fn a_manifest_that_is_none_is_refused() {
        let mut twice = manifest(1);
        twice.shards[1].shard = ShardId(0);
        let twice = serde_json::to_string(&twice).expect("JSON");
        let mut both = manifest(1);
        both.not_begun = [ShardId(1)].into();
        let both = serde_json::to_string(&both).expect("JSON");
        for (text, why) in [
            (r#"{"form": 9}"#, "its form is 9"),
            ("[]", "its form is null"),
            ("{", "EOF"),
            (r#"{"form": 2, "cluster": "a", "ms": 0, "shards": []}"#, "every shard once"),
            (twice.as_str(), "every shard once"),
            (both.as_str(), "every shard once"),
        ] {
            let found = Manifest::parse(text.as_bytes()).expect_err(text);
            assert!(found.contains(why), "{text}: {found}");
        }
        let long = vec![b' '; MANIFEST_BYTES_MAX as usize + 1];
        assert!(Manifest::parse(&long).is_err_and(|what| what.contains("too long")));
    }

    #[test]
    fn a_manifest_says_which_shards_had_no_beginning() {
        let of = |kept: &[u32], not_begun: &[u32]| {
            let mut of = manifest(1);
            let one = of.shards[0].clone();
            let kept = kept.iter().map(|shard| Kept { shard: ShardId(*shard), ..one.clone() });
            of.shards = kept.collect();
            of.not_begun = not_begun.iter().copied().map(ShardId).collect();
            Manifest::parse(&serde_json::to_vec(&of).expect("JSON")).map(|found| {
                assert_eq!(found, of);
                found.data_shards().count
            })
        };
        assert_eq!(of(&[0, 1, 2], &[]), Ok(2));
        assert_eq!(of(&[0, 1, 2, 4], &[3, 5]), Ok(5));
        for (kept, not_begun) in
            [(vec![0, 1, 3], vec![]), (vec![0, 1], vec![3]), (vec![1], vec![0])]
        {
            let wrong = of(&kept, &not_begun).expect_err("one is missing");
            assert!(wrong.contains("every shard once"), "{kept:?} {not_begun:?}: {wrong}");
        }
    }

    proptest! {
        /// Bytes from outside never panic.
        #[test]
        fn any_bytes_are_a_manifest_or_refused(
            bytes in proptest::collection::vec(any::<u8>(), 0..200),
            text in "\\PC{0,60}",
        ) {
            let _ = Manifest::parse(&bytes);
            let _ = text.parse::<RunName>();
        }
    }
}
