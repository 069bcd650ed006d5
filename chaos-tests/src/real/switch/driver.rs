//! The switch's descriptors and clock: one thread that reads, decides and writes.

use std::io;
use std::net::Ipv4Addr;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::{Counts, Policy, Switch};

/// How long the thread sleeps at most: so late is a change of policy that lets packets go.
const NAP: Duration = Duration::from_millis(5);
/// Packets that are read from a device before the others have their turn.
const BATCH: usize = 64;
/// Bytes of the largest IP packet.
const PACKET_BYTES_MAX: usize = 65_535;

/// What others see of a running switch. Addresses that it does not know are ignored.
#[derive(Debug, Clone)]
pub struct Handle {
    switch: Arc<Mutex<Switch>>,
    began: Instant,
}

impl Handle {
    /// Sets the policy of one direction.
    pub fn set(&self, from: Ipv4Addr, to: Ipv4Addr, policy: Policy) {
        let now = self.now();
        self.lock().set(now, (from, to), policy);
    }

    /// Changes the policy of one direction and leaves the rest of it as it is.
    pub fn change(&self, from: Ipv4Addr, to: Ipv4Addr, change: impl FnOnce(&mut Policy)) {
        let now = self.now();
        let mut switch = self.lock();
        let mut policy = switch.policy((from, to));
        change(&mut policy);
        switch.set(now, (from, to), policy);
    }

    /// Makes every link whole.
    pub fn heal(&self) {
        let now = self.now();
        self.lock().heal(now);
    }

    /// What one direction's policy did so far.
    pub fn counts(&self, from: Ipv4Addr, to: Ipv4Addr) -> Counts {
        self.lock().counts((from, to))
    }

    /// What every direction's policy did so far: from, to, counts.
    pub fn all_counts(&self) -> Vec<(Ipv4Addr, Ipv4Addr, Counts)> {
        self.lock().all_counts().map(|((from, to), counts)| (from, to, counts)).collect()
    }

    fn now(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_micros()).unwrap_or(u64::MAX)
    }

    fn lock(&self) -> MutexGuard<'_, Switch> {
        self.switch.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A running switch; it ends when this is dropped.
#[derive(Debug)]
pub struct Driver {
    handle: Handle,
    ended: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Driver {
    /// Runs a switch over devices; its ports are places in that list. The descriptors must not
    /// block.
    ///
    /// # Errors
    /// No thread can be had.
    pub fn start(switch: Switch, devices: Vec<OwnedFd>) -> io::Result<Self> {
        let handle = Handle { switch: Arc::new(Mutex::new(switch)), began: Instant::now() };
        let ended = Arc::new(AtomicBool::new(false));
        let (of_thread, until) = (handle.clone(), ended.clone());
        let thread = std::thread::Builder::new().name("switch".into()).spawn(move || {
            while !until.load(Ordering::Relaxed) {
                turn(&of_thread, &devices);
            }
        })?;
        Ok(Self { handle, ended, thread: Some(thread) })
    }

    /// What sets policies and reads counters.
    pub fn handle(&self) -> &Handle {
        &self.handle
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}

/// Waits for packets or for a time to deliver, and does what there is.
fn turn(handle: &Handle, devices: &[OwnedFd]) {
    let next = handle.lock().next_due();
    let wait = next.map_or(NAP, |at| Duration::from_micros(at.saturating_sub(handle.now())));
    let wait = wait.min(NAP);
    let wait = Timespec { tv_sec: 0, tv_nsec: wait.subsec_nanos().into() };
    let mut polled: Vec<_> =
        devices.iter().map(|device| PollFd::new(device, PollFlags::IN)).collect();
    if poll(&mut polled, Some(&wait)).is_err() {
        return;
    }
    let ready: Vec<bool> = polled.iter().map(|one| !one.revents().is_empty()).collect();
    for (device, _) in devices.iter().zip(ready).filter(|(_, ready)| *ready) {
        take(handle, device);
    }
    deliver(handle, devices);
}

fn take(handle: &Handle, device: &OwnedFd) {
    let mut buffer = [0; PACKET_BYTES_MAX];
    for _ in 0..BATCH {
        let Ok(bytes) = rustix::io::read(device, &mut buffer) else { return };
        let now = handle.now();
        handle.lock().offer(now, buffer[..bytes].to_vec());
    }
}

/// Writes what is due. A device that has no room, or is gone, loses the packet, as a wire does.
fn deliver(handle: &Handle, devices: &[OwnedFd]) {
    let now = handle.now();
    loop {
        let due = handle.lock().due(now);
        let Some((port, packet)) = due else { return };
        if let Some(device) = devices.get(port) {
            let _lost = rustix::io::write(device, &packet);
        }
    }
}
