//! What a snapshot of 500 000 live conversations costs: taking the view, applying beside it,
//! writing it out, and restoring a shard from it; and what a conversation and an agent weigh.
//!
//! 10 000 agents, all busy; 100 000 calls and 400 000 chats in all, all but the agents' waiting.
//! A chat has a customer with a session, whose window keeps an outcome, and two messages.
//!
//! Run it with `scripts/bench snapshot`; a number as argument is the distributions per row.

#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_macros,
    missing_docs,
    reason = "a bench reads the clock and prints; nothing here is replicated"
)]

#[path = "support/world.rs"]
#[allow(dead_code, reason = "shared between benches")]
mod world;

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rotary_distributor::{Frozen, Restore, Shard};
use rotary_proto::ShardId;
use world::{AGENTS, SITE, World};

const CALLS: u64 = 100_000;
const LIVE: u64 = 499_990;

/// Memory of this process, in KiB.
fn resident_kib() -> u64 {
    let text = std::fs::read_to_string("/proc/self/statm").expect("this is Linux");
    let pages = text.split(' ').nth(1).and_then(|pages| pages.parse::<u64>().ok());
    pages.expect("the second number is what is resident") * 4
}

fn live(world: &World) -> u64 {
    world.shard.site_view(SITE).expect("the site exists").conversations
}

fn ms(taken: Duration) -> f64 {
    taken.as_secs_f64() * 1_000.0
}

/// Fills the floor, and says what everybody weighs.
fn fill() -> World {
    let mut world = World::new();
    world.warm_classes();
    let mut before = resident_kib();
    world.staff();
    let mut weigh = |what: &str, count: u64| {
        let present = resident_kib();
        let kib = (present - before) as f64 / count as f64;
        println!("  memory per {what:<20} {kib:.2} KiB");
        before = present;
    };
    weigh("signed-in agent", u64::from(AGENTS));
    world.accept_all();
    let present = live(&world);
    while live(&world) < CALLS {
        for _ in 0..CALLS - live(&world) {
            world.open_any();
            world.accept_all();
        }
    }
    weigh("call", CALLS - present);
    for number in 0..LIVE - CALLS {
        world.chat(number);
        world.accept_all();
    }
    weigh("chat with its session", LIVE - CALLS);
    println!("  {} live conversations, {} assigned", live(&world), world.assigned.len());
    world
}

/// Distributes and says what an apply cost.
fn row(world: &mut World, title: &str, mut goes_on: impl FnMut(u64) -> bool) {
    world.forget_times();
    let mut done = 0;
    while goes_on(done) {
        world.distribute(100);
        done += 100;
    }
    println!("  {title:<34} {}", world.all.row());
}

fn restore(chunks: &[Vec<u8>]) -> Shard {
    let restored =
        chunks.iter().try_fold(Restore::new(ShardId(1)), |restore, chunk| restore.chunk(chunk));
    restored.and_then(Restore::finish).expect("what was frozen can be restored")
}

fn freeze(world: &mut World) -> (Frozen, Duration) {
    let began = Instant::now();
    let frozen = world.shard.freeze();
    (frozen, began.elapsed())
}

/// Applies while another thread writes the view out, as a node would.
fn beside(world: &mut World, distributions: u64) {
    let (frozen, taken) = freeze(world);
    println!("  freeze                             {:.2} ms", ms(taken));
    let held = AtomicBool::new(true);
    std::thread::scope(|scope| {
        let writer = scope.spawn(|| {
            let began = Instant::now();
            let (mut chunks, mut bytes, mut longest) = (0, 0, 0);
            for chunk in frozen.chunks() {
                (chunks, bytes, longest) =
                    (chunks + 1, bytes + chunk.len(), longest.max(chunk.len()));
            }
            let taken = began.elapsed();
            drop(frozen);
            held.store(false, Ordering::Release);
            (chunks, bytes, longest, taken)
        });
        row(world, "while the view is written", |_| held.load(Ordering::Acquire));
        row(world, "just after", |done| done < distributions);
        let (chunks, bytes, longest, taken) = writer.join().expect("it writes");
        let mib = bytes as f64 / f64::from(1 << 20);
        println!(
            "  writing beside it                  {:.0} ms: {chunks} chunks, {mib:.1} MiB, the \
             longest of {longest} bytes",
            ms(taken)
        );
    });
}

fn main() {
    let number = std::env::args().skip(1).find_map(|argument| argument.parse().ok());
    let distributions = number.unwrap_or(30_000);
    println!("snapshot: {LIVE} conversations live, {distributions} distributions a row");
    let mut world = fill();
    println!("  {:<34}     count  mean us      p50      p99    p99.9       max", "apply");
    row(&mut world, "no view so far", |done| done < distributions);
    for _ in 0..3 {
        beside(&mut world, distributions);
    }
    let (held, taken) = freeze(&mut world);
    println!("  freeze, and hold                   {:.2} ms", ms(taken));
    row(&mut world, "while a view is held", |done| done < distributions);
    row(&mut world, "and longer", |done| done < distributions);
    let (frozen, taken) = freeze(&mut world);
    println!("  freeze beside another              {:.2} ms", ms(taken));
    drop(held);
    let began = Instant::now();
    let chunks: Vec<Vec<u8>> = frozen.chunks().collect();
    let written = began.elapsed();
    let began = Instant::now();
    let restored = restore(&chunks);
    let taken = began.elapsed();
    assert_eq!(restored.digest(), frozen.digest());
    let view = restored.site_view(SITE).expect("the site exists");
    let entities = view.conversations + view.sessions + view.agents + view.queues;
    let per_million = |taken: Duration| ms(taken) * 1e6 / entities as f64;
    println!("  writing, nothing beside it         {:.0} ms", ms(written));
    println!("  restoring {entities} entities        {:.0} ms", ms(taken));
    println!(
        "  per million entities               {:.0} ms to write, {:.0} ms to restore",
        per_million(written),
        per_million(taken)
    );
}
