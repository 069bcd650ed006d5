//! What it costs two shards to pass on a site of 100 000 live conversations: taking the view,
//! writing it out, and applying its parts, the last of which brings it to life.
//!
//! 10 000 agents, all busy; every conversation is a chat with two messages, whose customer has a
//! session.
//!
//! Run it with `scripts/bench moves`; a number as argument is how many conversations there are.

#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_macros,
    missing_docs,
    reason = "a bench reads the clock and prints; nothing here is replicated"
)]

#[path = "support/world.rs"]
#[allow(dead_code, reason = "shared between benches")]
mod world;

use std::time::{Duration, Instant};

use rotary_distributor::Shard;
use rotary_proto::ids::ShardId;
use rotary_proto::limits::PART_BYTES_MAX;
use rotary_proto::{Outcome, ShardCommand, SiteMove, SitePart, Stamp, Wall};
use world::{SITE, Times, World};

const FROM: ShardId = ShardId(1);
const TO: ShardId = ShardId(2);

/// Where the site goes to.
struct Log {
    shard: Shard,
    index: u64,
}

impl Log {
    fn step(&mut self, step: SiteMove) -> Duration {
        self.index += 1;
        let (index, stamp) = (self.index, Stamp(self.index * 20));
        let began = Instant::now();
        let applied = self.shard.apply(index, stamp, Wall(0), ShardCommand::Move(step));
        let taken = began.elapsed();
        assert!(matches!(applied.answer.outcome, Outcome::Done(_)), "{:?}", applied.answer);
        taken
    }
}

fn ms(taken: Duration) -> f64 {
    taken.as_secs_f64() * 1_000.0
}

fn fill(conversations: u64) -> World {
    let mut world = World::new();
    world.warm_classes();
    world.staff();
    world.accept_all();
    let present = world.shard.site_view(SITE).expect("the site exists").conversations;
    for number in present..conversations {
        world.chat(number);
        world.accept_all();
    }
    world
}

fn main() {
    let number = std::env::args().skip(1).find_map(|argument| argument.parse().ok());
    let mut world = fill(number.unwrap_or(100_000));
    let view = world.shard.site_view(SITE).expect("the site exists");
    println!("moves: a site of {} conversations, {} sessions", view.conversations, view.sessions);
    world.apply(ShardCommand::Move(SiteMove::Depart { site: SITE, to: TO, departed: 1 }));
    let began = Instant::now();
    let frozen = world.shard.freeze_departed(SITE).expect("it has departed");
    println!("  view                               {:.1} ms", ms(began.elapsed()));
    let began = Instant::now();
    let chunks: Vec<Vec<u8>> = frozen.chunks().collect();
    let bytes: usize = chunks.iter().map(Vec::len).sum();
    let mib = bytes as f64 / f64::from(1 << 20);
    println!("  writing                            {:.0} ms, {mib:.1} MiB", ms(began.elapsed()));

    let mut there = Log { shard: Shard::new(TO), index: 0 };
    there.step(SiteMove::Expect { site: SITE, from: FROM, departed: 1 });
    let attempt = there.shard.expects(SITE).expect("it is expected");
    let mut times = Times::default();
    let (mut number, mut all) = (0, Duration::ZERO);
    for chunk in &chunks {
        let pieces = chunk.chunks(PART_BYTES_MAX).count();
        for (at, bytes) in chunk.chunks(PART_BYTES_MAX).enumerate() {
            let ends_chunk = at + 1 == pieces;
            let bytes = bytes.to_vec();
            let part = SitePart { site: SITE, attempt, number, ends_chunk, bytes };
            let taken = there.step(SiteMove::Take(part));
            all += taken;
            times.add(taken);
            number += 1;
        }
    }
    println!("  {:<34}     count  mean us      p50      p99    p99.9       max", "apply");
    println!("  {:<34} {}", "parts", times.row());
    println!("  parts, all                         {:.0} ms", ms(all));
    let arrive = SiteMove::Arrive { site: SITE, attempt, parts: number };
    let mut late = Log { shard: there.shard.clone(), index: there.index };
    println!("  arrival, not put together ahead    {:.1} ms", ms(late.step(arrive.clone())));
    drop(late);
    let began = Instant::now();
    let mut assembly = there.shard.assembly().expect("it is expected");
    let parts = there.shard.parts_for(&assembly, usize::MAX).expect("it is expected");
    for part in &parts {
        assembly = assembly.take(part).expect("what was written can be read");
    }
    println!("  reading the parts elsewhere        {:.0} ms", ms(began.elapsed()));
    let began = Instant::now();
    let assembled = assembly.finish().expect("it is whole");
    println!("  proving it elsewhere               {:.0} ms", ms(began.elapsed()));
    there.shard.put_assembled(assembled);
    println!("  arrival                            {:.1} ms", ms(there.step(arrive)));
    let began = Instant::now();
    world.apply(ShardCommand::Move(SiteMove::Forget { site: SITE, departed: 1 }));
    println!("  forgetting                         {:.1} ms", ms(began.elapsed()));
    let began = Instant::now();
    drop(world.shard.take_forgotten());
    println!("  freeing it elsewhere               {:.0} ms", ms(began.elapsed()));
    assert!(there.shard.has(SITE));
}
