//! The C library's clock and random numbers, as a thread that simulates sees them.
//!
//! Every caller in the process comes by: the standard library for `Instant`, `SystemTime` and the
//! keys of hash maps, others for secrets and ids. A thread that does not simulate gets what the
//! kernel says. Linux with glibc only, which is where simulations run.
#![allow(unsafe_code, reason = "functions of the C library are replaced, whose arguments are raw")]

use rotary_chaos::ambient;
use rustix::rand::GetRandomFlags;
use rustix::time::{ClockId, clock_gettime as kernel_clock};

/// `struct timespec` of a 64-bit Linux.
#[repr(C)]
pub(crate) struct Timespec {
    seconds: i64,
    nanoseconds: i64,
}

const REALTIME: i32 = 0;
const MONOTONIC: i32 = 1;
const REALTIME_COARSE: i32 = 5;
const MONOTONIC_COARSE: i32 = 6;
const BOOTTIME: i32 = 7;

const INVALID: i32 = 22;

unsafe extern "C" {
    fn __errno_location() -> *mut i32;
}

/// Says why a call failed, as the C library's functions do.
fn fail(number: i32) {
    // SAFETY: the C library gives a place that is the calling thread's own.
    unsafe { __errno_location().write(number) };
}

fn simulated(clock: i32) -> Option<u64> {
    match clock {
        REALTIME | REALTIME_COARSE => ambient::wall_ns(),
        MONOTONIC | MONOTONIC_COARSE | BOOTTIME => ambient::monotonic_ns(),
        _ => None,
    }
}

fn kernel(clock: i32) -> Option<Timespec> {
    let id = match clock {
        REALTIME => ClockId::Realtime,
        MONOTONIC => ClockId::Monotonic,
        2 => ClockId::ProcessCPUTime,
        3 => ClockId::ThreadCPUTime,
        REALTIME_COARSE => ClockId::RealtimeCoarse,
        MONOTONIC_COARSE => ClockId::MonotonicCoarse,
        BOOTTIME => ClockId::Boottime,
        _ => return None,
    };
    let now = kernel_clock(id);
    Some(Timespec { seconds: now.tv_sec, nanoseconds: now.tv_nsec })
}

/// What the C library's function of this name does.
///
/// # Safety
/// `into` is null or may be written.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn clock_gettime(clock: i32, into: *mut Timespec) -> i32 {
    let now = simulated(clock).map(|ns| Timespec {
        seconds: (ns / 1_000_000_000).cast_signed(),
        nanoseconds: (ns % 1_000_000_000).cast_signed(),
    });
    match now.or_else(|| kernel(clock)) {
        Some(now) if !into.is_null() => {
            // SAFETY: the caller says that it may be written.
            unsafe { into.write(now) };
            0
        }
        _ => {
            fail(INVALID);
            -1
        }
    }
}

/// What the C library's function of this name does.
///
/// # Safety
/// `into` may be written for `count` bytes.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn getrandom(into: *mut u8, count: usize, _flags: u32) -> isize {
    if into.is_null() {
        fail(INVALID);
        return -1;
    }
    // SAFETY: the caller says that these bytes may be written; they are made to be some first.
    let bytes = unsafe {
        into.write_bytes(0, count);
        std::slice::from_raw_parts_mut(into, count)
    };
    if ambient::fill(bytes) {
        return count.cast_signed();
    }
    match rustix::rand::getrandom(bytes, GetRandomFlags::empty()) {
        Ok(filled) => filled.cast_signed(),
        Err(error) => {
            fail(error.raw_os_error());
            -1
        }
    }
}
