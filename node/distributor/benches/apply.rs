//! What one `apply` costs, by the mix of the design's budgets: 10 000 agents with mostly distinct
//! skill sets, 1 000 requirement classes, 1 000 to 100 000 conversations waiting.
//!
//! An agent serves C classes: median 12, 99th percentile 100, one in a thousand all 1 000. A
//! distribution is an open, an accept and a close. Time includes the digest and encoding the events
//! as the journal does. Two regimes: `backlog` keeps the waiting constant while every agent is
//! busy; `surplus` keeps three agents in ten free and nothing waiting.
//!
//! Run it with `scripts/bench apply`; a number as argument is the distributions per row.

#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_macros,
    missing_docs,
    reason = "a bench reads the clock and prints; nothing here is replicated"
)]

#[path = "support/world.rs"]
#[allow(dead_code, reason = "shared between benches")]
mod world;

use world::{AGENTS, SITE, World};

/// `waiting` conversations wait throughout, and every agent is busy.
fn backlog(waiting: u64, distributions: u64) {
    let mut world = World::new();
    world.warm_classes();
    world.staff();
    world.accept_all();
    let queues = |world: &World| -> u64 {
        let queues = world.shard.queue_views(SITE).expect("the site exists");
        queues.iter().map(|queue| queue.waiting).sum()
    };
    while queues(&world) < waiting {
        for _ in 0..(waiting - queues(&world)) {
            world.open_any();
            world.accept_all();
        }
    }
    world.distribute(distributions / 10);
    world.forget_times();
    let before = world.shard.counters();
    world.distribute(distributions);
    let after = world.shard.counters();
    world.report(&format!("backlog: {} waiting, {} busy", queues(&world), world.assigned.len()));
    print_counters(before, after);
}

/// Three agents in ten are free, and nothing waits.
fn surplus(distributions: u64) {
    let mut world = World::new();
    world.warm_classes();
    world.staff();
    world.accept_all();
    while world.assigned.len() < (AGENTS as usize) * 7 / 10 {
        world.open_any();
        world.accept_all();
    }
    world.distribute(distributions / 10);
    world.forget_times();
    let before = world.shard.counters();
    world.distribute(distributions);
    let after = world.shard.counters();
    world.report(&format!("surplus: {} of {AGENTS} agents busy", world.assigned.len()));
    print_counters(before, after);
}

fn print_counters(before: rotary_distributor::Counters, after: rotary_distributor::Counters) {
    let entries = (after.entries - before.entries) as f64;
    let per = |after: u64, before: u64| (after - before) as f64 / entries;
    println!(
        "  work per entry: {:.1} classes, {:.2} candidates, {:.2} items, {:.2} offers; most steps \
         in one entry {}",
        per(after.classes, before.classes),
        per(after.candidates, before.candidates),
        per(after.items, before.items),
        per(after.offers, before.offers),
        after.steps_max,
    );
}

fn main() {
    let number = std::env::args().skip(1).find_map(|argument| argument.parse().ok());
    let distributions = number.unwrap_or(100_000);
    println!("apply: {AGENTS} agents, 1 000 classes, {distributions} distributions a row");
    for waiting in [1_000, 10_000, 100_000] {
        backlog(waiting, distributions);
    }
    surplus(distributions);
}
