//! Snapshots at any point of random histories, damaged ones, and their bytes.
//!
//! A shard restored from a snapshot follows its original entry by entry and must give the same
//! answers, events, digests, deadlines and steps (`history/twin`). Bytes that were changed are
//! refused; bytes that were changed and whose sums were put right are refused or restored, and
//! never a panic.

#[path = "history/chance.rs"]
mod chance;
#[path = "history/driver.rs"]
#[allow(dead_code, reason = "shared between test binaries")]
mod driver;
#[path = "history/oracle.rs"]
#[allow(dead_code, reason = "shared between test binaries")]
mod oracle;

use chance::{Numbers, SITES, Step, Wish, set_up, wish};
use driver::Driver;
use driver::twin::restore;
use proptest::prelude::*;
use proptest::test_runner::FileFailurePersistence;
use rotary_distributor::{Restore, RestoreError, Shard, invariants};
use rotary_proto::ids::*;
use rotary_proto::snapshot::{ChunkError, HEADER_BYTES, mend};
use rotary_proto::{
    Actor, Attributes, Channel, Command, Envelope, Origin, ShardCommand, Stamp, Wall, limits,
};

/// The floor of a history, with nothing said so far.
fn begun(seed: Step) -> (Driver, Numbers) {
    let mut driver = Driver::new();
    driver.compares = false;
    set_up(&mut driver, seed);
    (driver, Numbers::default())
}

/// Does what a step wants, ticks before it or not as the step says.
fn play(driver: &mut Driver, numbers: &mut Numbers, step: Step) {
    match wish(driver, numbers, step) {
        Wish::Wait(ms) if step[5] & 1 == 0 => {
            let stamp = driver.now().plus_ms(ms);
            driver.apply(stamp, ShardCommand::Tick);
        }
        Wish::Wait(ms) => driver.advance(driver.now().plus_ms(ms)),
        Wish::Calm(command) if step[5] & 3 != 0 => drop(driver.calm(driver.now(), *command)),
        Wish::Calm(command) => drop(driver.apply(driver.now(), *command)),
        Wish::Late(us, command) => drop(driver.apply(Stamp(driver.now().0 + us), *command)),
    }
}

/// That many histories; `ROTARY_HISTORIES` asks for another number of each kind.
fn cases(count: u32) -> ProptestConfig {
    let asked = std::env::var("ROTARY_HISTORIES").ok().and_then(|text| text.parse().ok());
    let seeds = FileFailurePersistence::Direct("tests/snapshots.seeds");
    ProptestConfig {
        cases: asked.unwrap_or(count),
        max_shrink_iters: 2_000,
        failure_persistence: Some(Box::new(seeds)),
        ..ProptestConfig::default()
    }
}

fn steps() -> impl Strategy<Value = Vec<(Step, bool)>> {
    let frozen = prop::bool::weighted(0.08);
    prop::collection::vec((any::<Step>(), frozen), 1..120)
}

proptest! {
    #![proptest_config(cases(120))]

    /// At any point of any history, until the world has gone silent.
    #[test]
    fn a_restored_shard_goes_on_as_the_original(seed in any::<Step>(), steps in steps()) {
        let (mut driver, mut numbers) = begun(seed);
        for (step, frozen) in steps {
            if frozen {
                driver.twin();
            }
            play(&mut driver, &mut numbers, step);
        }
        driver.twin();
        driver.exhaust();
        driver.part();
    }

    /// Records that are not what was written, under sums that are right.
    #[test]
    fn what_is_wrong_behind_a_good_sum_never_panics(
        seed in any::<Step>(),
        steps in steps(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
    ) {
        let (mut driver, mut numbers) = begun(seed);
        steps.into_iter().for_each(|(step, _)| play(&mut driver, &mut numbers, step));
        let mut chunk = only_chunk(&mut driver.shard);
        for (at, byte) in changes {
            let at = HEADER_BYTES + at.index(chunk.len() - HEADER_BYTES);
            chunk[at] ^= byte;
        }
        mend(0, &mut chunk);
        if let Ok(mut restored) = restore(&driver.shard, &[chunk]) {
            prop_assert_eq!(invariants::check(&restored), []);
            let again: Vec<_> = restored.freeze().chunks().collect();
            let twice = restore(&restored, &again).expect("what was restored can be restored");
            prop_assert_eq!(twice.digest(), restored.digest());
        }
    }
}

fn only_chunk(shard: &mut Shard) -> Vec<u8> {
    let mut chunks: Vec<_> = shard.freeze().chunks().collect();
    assert_eq!(chunks.len(), 1, "a small shard has one chunk");
    chunks.remove(0)
}

/// A shard in which there is something of everything.
fn eventful() -> Driver {
    let (mut driver, mut numbers) = begun([7, 3, 200, 11, 5, 31]);
    let mut state = 0x9E37_79B9_7F4A_7C15_u64;
    for _ in 0..400 {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        let [a, b, c, d, e, f, ..] = state.to_le_bytes();
        play(&mut driver, &mut numbers, [a, b, c, d, e, f]);
    }
    driver
}

#[test]
fn a_changed_byte_is_refused_wherever_it_is() {
    let mut driver = eventful();
    let mut chunk = only_chunk(&mut driver.shard);
    assert!(restore(&driver.shard, &[chunk.clone()]).is_ok());
    for at in 0..chunk.len() {
        let change = 1 << (at % 8);
        chunk[at] ^= change;
        let restored = restore(&driver.shard, &[chunk.clone()]);
        assert!(restored.is_err(), "byte {at} of {}, changed by {change}", chunk.len());
        chunk[at] ^= change;
    }
    for end in (0..chunk.len()).step_by(7) {
        assert!(restore(&driver.shard, &[chunk[..end].to_vec()]).is_err(), "cut to {end}");
    }
}

#[test]
fn a_snapshot_of_another_shard_is_refused() {
    let chunk = only_chunk(&mut Shard::new(ShardId(2)));
    let (expected, found) = (ShardId(1), ShardId(2));
    let refused = Restore::new(expected).chunk(&chunk).err();
    assert_eq!(refused, Some(RestoreError::OtherShard { expected, found }));
    let empty = Restore::new(found).chunk(&chunk).and_then(Restore::finish).expect("its own");
    assert_eq!(empty.digest(), Shard::new(found).digest());
}

/// A conversation that waits.
fn opened(number: u128) -> ShardCommand {
    let command = Command::Open {
        conversation: ConversationId::new(SITES[0], number),
        queue: QueueId(1),
        channel: Channel::Chat,
        priority: None,
        skills: Vec::new(),
        customer: Some(CustomerId(number)),
        attributes: Attributes::default(),
        item: None,
        mail: None,
    };
    let origin = Origin::Internal;
    ShardCommand::Site(Envelope { site: SITES[0], origin, actor: Actor::System, command })
}

/// Applies entries at rising stamps from a number on.
fn apply(shard: &mut Shard, numbers: std::ops::Range<u128>) {
    for number in numbers {
        let stamp = Stamp(shard.last_stamp().0 + 1);
        shard.apply(number as u64, stamp, Wall(0), opened(number));
    }
}

#[test]
fn many_chunks_are_bounded_and_taken_in_order_only() {
    let mut shard = begun([0; 6]).0.shard;
    apply(&mut shard, 1_000..31_000);
    let chunks: Vec<_> = shard.freeze().chunks().collect();
    assert!(chunks.len() >= 2, "{} chunks", chunks.len());
    assert!(chunks.iter().all(|chunk| chunk.len() <= limits::SNAPSHOT_CHUNK_BYTES_MAX));
    assert_eq!(restore(&shard, &chunks).expect("whole").digest(), shard.digest());
    let refused = |chunks: &[Vec<u8>]| match restore(&shard, chunks) {
        Err(RestoreError::Chunk(error)) => error,
        other => panic!("{:?}", other.map(|shard| shard.digest())),
    };
    let truncated = ChunkError::Truncated { chunks: chunks.len() as u32 - 1 };
    assert_eq!(refused(&chunks[..chunks.len() - 1]), truncated);
    assert_eq!(refused(&chunks[1..]), ChunkError::OutOfOrder { expected: 0, found: 1 });
    let doubled = [&chunks[..1], &chunks].concat();
    assert_eq!(refused(&doubled), ChunkError::OutOfOrder { expected: 1, found: 0 });
    let longer = [&chunks[..], &chunks[..1]].concat();
    assert_eq!(refused(&longer), ChunkError::AfterLast);
}

/// One site has work left over since an entry of the other, and more entries of that one came.
#[test]
fn a_site_stays_due_since_when_it_was() {
    let mut driver = begun([0; 6]).0;
    driver.checks = false;
    let late = driver.now().plus_ms(limits::LEASE_MS + 1);
    driver.apply(late, opened(1_000));
    driver.apply(late.plus_ms(1), opened(1_001));
    assert!(driver.shard.has_work(SITES[1]) && !driver.shard.has_work(SITES[0]));
    assert_eq!(driver.shard.next_deadline(), Some(late), "before the present stamp");
    driver.twin();
    driver.apply(late.plus_ms(2), ShardCommand::Tick);
    driver.part();
}

/// A view is written out by another thread while entries are applied, and has none of them.
#[test]
fn a_view_is_written_while_the_shard_goes_on() {
    let mut shard = begun([0; 6]).0.shard;
    apply(&mut shard, 1_000..6_000);
    let before = shard.clone();
    let frozen = shard.freeze();
    let chunks: Vec<_> = std::thread::scope(|scope| {
        let writer = scope.spawn(move || frozen.chunks().collect());
        apply(&mut shard, 6_000..8_000);
        writer.join().expect("it writes")
    });
    assert_eq!(restore(&shard, &chunks).expect("whole").digest(), before.digest());
    assert_ne!(shard.digest(), before.digest());
}
