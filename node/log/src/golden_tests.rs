//! The bytes of what Raft keeps and of what nodes say to each other, compared with golden files.
//!
//! Most of these values are openraft's; another version of it that wrote them differently would
//! make logs unreadable, and is found here. See `proto/golden/README.md`.

use std::collections::BTreeSet;
use std::fmt::Debug;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use openraft::EntryPayload;
use openraft::impls::leader_id_adv::LeaderId;
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, TransferLeaderError, TransferLeaderRequest,
    TransferLeaderResponse, VoteResponse,
};
use openraft::vote::RaftLeaderId;
use rotary_proto::{NodeId, ShardId, Stamp, Wall};
use rotary_storage::{ChainHash, JournalBase, JournalHead, Notes, SimulatedDisk, SnapshotId};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::inbound::{Kind, raft_header, split_raft};
use crate::poison::Poison;
use crate::propose::{ProposeError, Proposed, join, split};
use crate::read::ReadError;
use crate::snapshot::Meta;
use crate::types::{
    Command, Entry, LogId, Octets, StoredMembership, Types, Vote, VoteRequest, decode, encode,
};
use crate::{digests, door, history, tail, transfer};

#[path = "../../../proto/tests/golden/kept.rs"]
mod kept;
#[path = "../../../proto/tests/golden/samples.rs"]
mod variants;

use kept::{Sample, check, from_hex, hex, same, settle};
use variants::samples;

/// A value in the house codec. Cut short or with something after it, it is none.
fn value<T: Serialize + DeserializeOwned + Debug>(name: &str, value: &T) -> Sample {
    let bytes = encode(value).expect("small");
    for end in 0..bytes.len() {
        assert!(decode::<T>(&bytes[..end]).is_err(), "{name} cut to {end} bytes");
    }
    assert!(decode::<T>(&[bytes.as_slice(), &[0]].concat()).is_err(), "{name} and a byte more");
    sample(name, &bytes, |bytes| {
        let value: T = decode(bytes).map_err(|error| error.to_string())?;
        let again = encode(&value).map_err(|error| error.to_string())?;
        Ok(format!("{value:?} ({})", hex(&again)))
    })
}

fn values<T: Serialize + DeserializeOwned + Debug>(
    prefix: &str,
    all: Vec<(&'static str, T)>,
) -> Vec<Sample> {
    all.iter().map(|(variant, sample)| value(&format!("{prefix}::{variant}"), sample)).collect()
}

/// Bytes, and what is read from them.
fn sample(name: &str, bytes: &[u8], read: fn(&[u8]) -> Result<String, String>) -> Sample {
    read(bytes).unwrap_or_else(|error| panic!("{name}: {error}"));
    let reads = move |then: &str, today: &str| {
        let read = |text: &str| from_hex(text).and_then(|bytes| read(&bytes));
        same(&read(then)?, &read(today)?)
    };
    Sample::new(name, hex(bytes), reads)
}

fn golden(file: &str, samples: &[Sample]) {
    let crates = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    let released = crates.join("../../proto/golden/released");
    let path = crates.join("golden").join(file);
    settle(&path, (&released, &format!("log_{file}")), samples);
}

fn id(index: u64) -> LogId {
    LogId::new(LeaderId::new(300, 2), index)
}

fn vote() -> Vote {
    let mut vote = Vote::new(300, 2);
    vote.committed = true;
    vote
}

fn membership() -> openraft::Membership<u64, ()> {
    openraft::Membership::new_with_defaults(vec![BTreeSet::from([1, 2, 3])], [])
}

fn meta() -> Meta {
    let last_membership = StoredMembership::new(Some(id(1)), membership());
    Meta { last_log_id: Some(id(70_000)), last_membership }
}

fn payloads() -> Vec<(&'static str, Entry)> {
    type Payload = EntryPayload<Command, u64, ()>;
    let payload = Octets(Bytes::from_static(b"open"));
    let command = Command { stamp: Stamp(7_000_000), wall: Wall(1_700_000_000_000), payload };
    let payloads = samples!(Payload {
        Blank => EntryPayload::Blank,
        Normal => EntryPayload::Normal(command),
        Membership => EntryPayload::Membership(membership()),
    });
    let entry = |(name, payload)| (name, Entry { log_id: id(70_000), payload });
    payloads.into_iter().map(entry).collect()
}

fn base() -> JournalBase {
    let head = JournalHead { index: 70_000, hash: ChainHash([9; 32]) };
    JournalBase { head, streams: [(7, 24), (1 << 40, 1)].into() }
}

/// The name and the text of the note of a poisoned entry, as its place holds it.
fn poison_note() -> Sample {
    let notes =
        || Notes::open(SimulatedDisk::new(1).process(), Path::new("/notes")).expect("opens");
    let written = notes();
    let poison = Poison::open(5, written.clone()).expect("opens");
    poison.note(70_000, &"index out of bounds", b"open");
    let name = written.names().expect("listed").pop().expect("it was noted");
    let text = written.text(&name).expect("readable").expect("it was noted");
    let today = format!("{name}={}", text.replace('\n', "; "));
    Sample::new("note of a poisoned entry", today, move |then, today| {
        let read = |text: &str| {
            let (name, said) = text.split_once('=').ok_or("no note")?;
            let notes = notes();
            notes.put(name, said).map_err(|error| error.to_string())?;
            let poison = Poison::open(5, notes).map_err(|error| error.to_string())?;
            Ok::<_, String>((poison.holds(70_000), said.to_owned()))
        };
        same(&read(then)?, &read(today)?)
    })
}

/// A name under which something is kept.
fn name(what: &str, name: String) -> Sample {
    Sample::new(what, name, |then, today| same(&then, &today))
}

fn stored() -> Vec<Sample> {
    let mut all = values("Entry", payloads());
    all.push(value("Vote", &vote()));
    all.push(value("LogId, as committed or purged", &id(70_000)));
    all.push(value("Meta", &meta()));
    all.push(sample("JournalBase", &history::encode_base(base()), |bytes| {
        history::decode_base(bytes).map(|base| format!("{base:?}"))
    }));
    all.push(name("note of doubt", tail::doubt_note(ShardId(5))));
    all.push(name("note to rebuild", digests::rebuild_note(5)));
    all.push(poison_note());
    all
}

fn raft_messages() -> Vec<Sample> {
    type Appended = AppendEntriesResponse<Types>;
    type Handed = TransferLeaderResponse<Types>;
    type Refused = TransferLeaderError<Types>;
    let entries = payloads().into_iter().map(|(_, entry)| entry).collect();
    let append = AppendEntriesRequest::<Types> {
        vote: vote(),
        prev_log_id: Some(id(69_999)),
        entries,
        leader_commit: Some(id(69_998)),
    };
    let heartbeat = AppendEntriesRequest { entries: Vec::new(), ..append.clone() };
    let transfer = TransferLeaderRequest::<Types>::new(vote(), 3, Some(id(70_000)));
    let mut all = vec![
        value("AppendEntriesRequest", &append),
        value("AppendEntriesRequest, a heartbeat", &heartbeat),
        value("VoteRequest", &VoteRequest::new(vote(), Some(id(70_000)))),
        value("VoteResponse", &VoteResponse::<Types>::new(vote(), Some(id(70_000)), true)),
        value("TransferLeaderRequest", &transfer),
        value("TransferLeaderResponse", &Handed::Ok(())),
    ];
    let answers = samples!(Appended {
        Success => Appended::Success,
        PartialSuccess => Appended::PartialSuccess(Some(id(9))),
        Conflict => Appended::Conflict,
        HigherVote => Appended::HigherVote(vote()),
    });
    all.extend(values("AppendEntriesResponse", answers));
    let (expected, actual) = (Some(id(70_000)), Some(id(69_999)));
    let refusals = samples!(Refused {
        VoteChanged => Refused::VoteChanged { expected: vote(), actual: Vote::new(301, 3) },
        LogNotFlushed => Refused::LogNotFlushed { expected, actual },
    });
    all.extend(refusals.into_iter().map(|(name, refused)| {
        value(&format!("TransferLeaderResponse of {name}"), &Handed::Err(refused))
    }));
    all
}

fn raft_headers() -> Vec<Sample> {
    let kinds = samples!(Kind {
        Append => Kind::Append,
        Vote => Kind::Vote,
        PreVote => Kind::PreVote,
        Transfer => Kind::Transfer,
    });
    let sampled = kinds.into_iter().map(|(name, kind)| {
        let message = [raft_header(kind, 70_000).as_slice(), b"body"].concat();
        let read = |bytes: &[u8]| split_raft(bytes).map(|split| format!("{split:?}"));
        sample(&format!("Kind::{name}"), &message, read)
    });
    sampled.collect()
}

fn proposals() -> Vec<Sample> {
    let (leader, reason) = (NodeId(2), "the connection was lost".to_owned());
    let errors = samples!(ProposeError {
        NotLeader => ProposeError::NotLeader { leader: Some(leader) },
        Unreachable => ProposeError::Unreachable { leader, reason: reason.clone() },
        Busy => ProposeError::Busy,
        TooLarge => ProposeError::TooLarge { bytes: 70_000, bytes_max: 65_536 },
        NoShard => ProposeError::NoShard(ShardId(5)),
        Stopped => ProposeError::Stopped,
        Unknown => ProposeError::Unknown(reason),
    });
    let request = join(ShardId(5), &[Bytes::from_static(b"one"), Bytes::new()]);
    let answer =
        vec![Ok(Proposed { index: 70_000, answer: b"ok".to_vec() }), Err(errors[2].1.clone())];
    let mut all = vec![
        sample("proposals", &request, |bytes| {
            split(&Bytes::copy_from_slice(bytes)).map(|split| format!("{split:?}"))
        }),
        value("outcomes of proposals", &answer),
    ];
    all.extend(values("ProposeError", errors));
    all
}

fn reads() -> Vec<Sample> {
    let (leader, reason) = (NodeId(2), "the connection was lost".to_owned());
    let errors = samples!(ReadError {
        NotLeader => ReadError::NotLeader { leader: None },
        Unreachable => ReadError::Unreachable { leader, reason: reason.clone() },
        Late => ReadError::Late(reason),
        Busy => ReadError::Busy,
        NoShard => ReadError::NoShard(ShardId(5)),
        Stopped => ReadError::Stopped,
    });
    let (last, committed) = (Some(id(70_000)), 69_998);
    let electorate = tail::Electorate::default();
    let report = tail::Report { term: 300, leads: true, cut: true, last, committed, electorate };
    let digests: Vec<(u64, digests::Pair)> = vec![(1_024, (5, 50)), (2_048, (u64::MAX, 60))];
    let mut all = vec![
        sample("about a shard", &door::about(ShardId(70_000)), |bytes| {
            door::group(bytes).map(|shard| shard.to_string())
        }),
        value("read index", &Ok::<u64, ReadError>(70_000)),
        value("tail::Report", &report),
        value("digests", &digests),
    ];
    all.extend(values("ReadError", errors));
    all
}

fn transfers() -> Vec<Sample> {
    use transfer::{Answer, Request};
    let id = transfer::Id::from(SnapshotId { index: 70_000, chunks: 3, sum: 0xdead_beef });
    let chunk = || Octets(Bytes::from_static(b"chunk"));
    let requests = samples!(Request {
        Offer => Request::Offer(id, meta()),
        Chunk => Request::Chunk(id, 2, chunk()),
        Install => Request::Install(id, vote()),
        Describe => Request::Describe(69_000),
        Read => Request::Read(id, 1),
    });
    let answers = samples!(Answer {
        Next => Answer::Next(2),
        Installed => Answer::Installed(vote()),
        Described => Answer::Described(Some((id, meta()))),
        Piece => Answer::Piece(chunk()),
    });
    let mut all = values("transfer::Request", requests);
    all.extend(values("transfer::Answer", answers));
    all
}

fn histories() -> Vec<Sample> {
    use history::{Answer, Request};
    let requests = samples!(Request {
        Base => Request::Base(ShardId(5)),
        Piece => Request::Piece { shard: ShardId(5), after: 300, skip: 17, through: 70_000 },
    });
    let head = || base().head.into();
    let answers = samples!(Answer {
        Base => Answer::Base(base().into()),
        Piece => Answer::Piece { after: head(), skip: 17, end: head(), bytes: b"frames".to_vec() },
        Lacking => Answer::Lacking(base().into()),
    });
    let mut all = values("history::Request", requests);
    all.extend(values("history::Answer", answers));
    all
}

fn messages() -> Vec<Sample> {
    let all = [raft_headers(), raft_messages(), proposals(), reads(), transfers(), histories()];
    all.into_iter().flatten().collect()
}

#[test]
fn what_raft_keeps_is_in_the_golden_file() {
    golden("stored.txt", &stored());
}

#[test]
fn what_nodes_say_to_each_other_is_in_the_golden_file() {
    golden("messages.txt", &messages());
}

/// Whatever byte of an older release's line is changed, it is noticed.
#[test]
fn a_golden_line_that_was_doctored_is_found() {
    let root = tempfile::tempdir().expect("a directory");
    let released = |version: &str, lines: String| {
        let folder = root.path().join(version);
        std::fs::create_dir_all(&folder).expect("writable");
        std::fs::write(folder.join("it.txt"), lines).expect("writable");
    };
    for samples in [stored(), messages()] {
        let line = |sample: &Sample| format!("{}: {}\n", sample.name, sample.today);
        released("1.1.0", samples.iter().map(line).collect());
        let hexadecimal = samples.iter().filter(|sample| from_hex(&sample.today).is_ok());
        for sample in hexadecimal {
            let bytes = from_hex(&sample.today).expect("hex");
            for at in 0..bytes.len() {
                let mut doctored = bytes.clone();
                doctored[at] ^= 1;
                released("1.0.0", format!("{}: {}\n", sample.name, hex(&doctored)));
                let found = check(root.path(), "it.txt", &samples);
                assert_eq!(found.len(), 1, "{} at {at}: {found:?}", sample.name);
            }
        }
        released("1.0.0", samples.iter().map(line).collect());
        assert_eq!(check(root.path(), "it.txt", &samples), Vec::<String>::new());
    }
}
