//! The two calls to the kernel that have no safe wrapper: attaching to a TUN device, and shutting
//! a file system down.

#![allow(unsafe_code, reason = "an ioctl's argument is a promise about memory that only we know")]

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::ioctl::{Setter, ioctl};

/// `TUNSETIFF` of `linux/if_tun.h`.
const TUN_SET_INTERFACE: rustix::ioctl::Opcode = 0x4004_54ca;
/// `IFF_TUN | IFF_NO_PI`: bare IP packets.
const TUN_BARE_PACKETS: u16 = 0x1001;
/// `EXT4_IOC_SHUTDOWN` of `fs/ext4/ext4.h`; XFS has the same.
const FILE_SYSTEM_SHUTDOWN: rustix::ioctl::Opcode = 0x8004_587d;
/// `EXT4_GOING_FLAGS_NOLOGFLUSH`: not even the journal in memory reaches the disk.
const WITHOUT_LOG_FLUSH: u32 = 2;

/// `struct ifreq` as `TUNSETIFF` reads it.
#[repr(C)]
struct InterfaceRequest {
    name: [u8; 16],
    flags: u16,
    rest: [u8; 22],
}

/// Makes a TUN device of this name in this process's network namespace and attaches to it. The
/// descriptor does not block, and goes on working when the device moves to another namespace.
///
/// # Errors
/// Those of the kernel: no `/dev/net/tun`, no right to use it, or a name of 16 bytes or more.
pub fn tun(name: &str) -> io::Result<OwnedFd> {
    let mut request = InterfaceRequest { name: [0; 16], flags: TUN_BARE_PACKETS, rest: [0; 22] };
    let room = request.name.get_mut(..name.len()).filter(|room| room.len() < 16);
    room.ok_or(Errno::INVAL)?.copy_from_slice(name.as_bytes());
    let flags = OFlags::RDWR | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let device = rustix::fs::open("/dev/net/tun", flags, Mode::empty())?;
    // SAFETY: TUNSETIFF reads a `struct ifreq`, 40 bytes on 64-bit machines, and writes within it.
    unsafe { ioctl(&device, Setter::<TUN_SET_INTERFACE, _>::new(request)) }?;
    Ok(device)
}

/// Shuts down the file system that a folder is the root of, as when the power goes: what was not
/// synced is gone, and every later write fails.
///
/// # Errors
/// Those of the kernel: the file system cannot do it, or this is not root.
pub fn cut_power(mount: &Path) -> io::Result<()> {
    let root = File::open(mount)?;
    // SAFETY: the call reads a 32-bit number.
    unsafe { ioctl(&root, Setter::<FILE_SYSTEM_SHUTDOWN, u32>::new(WITHOUT_LOG_FLUSH)) }?;
    Ok(())
}

const _: () = assert!(size_of::<InterfaceRequest>() == 40);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_does_not_fit_is_refused() {
        let error = tun("a-name-of-16-oct").expect_err("15 is the most");
        assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
    }
}
