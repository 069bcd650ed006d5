//! What the operating system is asked behind everybody's back: the time and random numbers.
//!
//! The standard library and many others call `clock_gettime` and `getrandom` of the C library. The
//! binary has functions of these names (`main.rs`), which ask here first. A thread that simulates
//! gets the world's time and numbers from the world's seed; any other gets the system's.
//!
//! A thread keeps random numbers of its own (for hash maps, for `rand`), so each world runs on a
//! thread of its own: else a world would depend on those before it.

use std::cell::Cell;

use crate::simulation::panics;
use crate::simulation::random::Random;

/// The world's time, as the process sees it that is running.
#[derive(Debug, Clone, Copy)]
struct Ambient {
    monotonic_ns: u64,
    wall_ns: u64,
    random: u64,
}

thread_local! {
    static AMBIENT: Cell<Option<Ambient>> = const { Cell::new(None) };
}

/// Runs a world on a thread of its own, on which nothing is random that does not come from `seed`.
pub(crate) fn simulate<T: Send>(seed: u64, world: impl FnOnce() -> T + Send) -> T {
    rotary::simulated::prepare();
    std::thread::scope(|scope| {
        let running = scope.spawn(move || {
            let random = Random::salted(seed, "ambient").next();
            let (monotonic_ns, wall_ns) = (1_000_000_000, 0);
            AMBIENT.set(Some(Ambient { monotonic_ns, wall_ns, random }));
            let done = world();
            AMBIENT.set(None);
            done
        });
        match running.join() {
            Ok(done) => done,
            Err(panic) => {
                eprintln!("the world itself panicked: {}", panics::take().join("; "));
                std::panic::resume_unwind(panic)
            }
        }
    })
}

/// From here on it is that long after the world's beginning, and that time of day, in ms.
pub(crate) fn set(now_ms: u64, wall_ms: u64) {
    if let Some(ambient) = AMBIENT.get() {
        let (monotonic_ns, wall_ns) = ((now_ms + 1_000) * 1_000_000, wall_ms * 1_000_000);
        AMBIENT.set(Some(Ambient { monotonic_ns, wall_ns, ..ambient }));
    }
}

/// The monotonic time in ns, on a thread that simulates.
pub fn monotonic_ns() -> Option<u64> {
    AMBIENT.get().map(|ambient| ambient.monotonic_ns)
}

/// The time of day in ns since 1970, on a thread that simulates.
pub fn wall_ns() -> Option<u64> {
    AMBIENT.get().map(|ambient| ambient.wall_ns)
}

/// Fills `into` with the world's random numbers; whether this thread simulates.
pub fn fill(into: &mut [u8]) -> bool {
    let Some(mut ambient) = AMBIENT.get() else { return false };
    for part in into.chunks_mut(8) {
        // SplitMix64 (Steele, Lea and Flood 2014).
        ambient.random = ambient.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = ambient.random;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^= mixed >> 31;
        part.copy_from_slice(&mixed.to_le_bytes()[..part.len()]);
    }
    AMBIENT.set(Some(ambient));
    true
}
